//! The columns of the tree: which fit, and how the others are reached.

use crate::graph::{hello, shown};
use crate::harness::Harness;
use mechscope::view::theme::{Colors, Theme};

fn header(h: &mut Harness) -> String {
    let screen = h.screen();
    screen.lines().find(|l| l.starts_with("node ")).unwrap_or_else(|| panic!("{screen}")).to_owned()
}

fn words(text: &str) -> Vec<&str> {
    text.split('│').next().unwrap_or_default().split_whitespace().collect()
}

#[test]
fn a_wide_tree_shows_influence_and_unexplained_share() {
    let mut h = hello(160, 50);
    h.press("j");
    assert_eq!(words(&header(&mut h)), ["node", "token", "weight", "share", "infl", "unexpl", "reads", ">", "writes"]);
    let node = h.app.graph_node().unwrap() as usize;
    let (influence, certificate) = (shown(&h).influence.values()[node], shown(&h).graph.nodes[node].certificate);
    let name = shown(&h).graph.nodes[node].name();
    let screen = h.screen();
    let line = screen.lines().find(|l| l.contains(&format!("─▸ {name} "))).unwrap_or_else(|| panic!("{screen}"));
    assert!(line.contains(&format!(" {influence:.3} ")), "{line}");
    assert!(line.contains(&format!(" {:.0}% ", 100.0 * certificate.unwrap().unexplained)), "{line}");
    h.press("v");
    assert_eq!(
        words(&header(&mut h)),
        ["node", "token", "weight", "share", "infl", "unexpl", "predict", "measure", "reads", ">", "writes"]
    );
}

#[test]
fn what_does_not_fit_is_scrolled_to() {
    let mut h = hello(80, 24);
    h.press("j v");
    assert_eq!(
        words(&header(&mut h)),
        ["node", "token", "weight", "share", "predict", "measure", "reads", ">", "writes"]
    );
    h.press("Shift-Right Shift-Right Shift-Right");
    assert_eq!(
        words(&header(&mut h)),
        ["node", "share", "infl", "unexpl", "predict", "measure", "reads", ">", "writes"]
    );
    // To the end and no further: one step back shows one more.
    (0..30).for_each(|_| h.press("Shift-Right"));
    assert_eq!(words(&header(&mut h)), ["node", "reads", ">", "writes"]);
    h.press("Shift-Left");
    assert_eq!(words(&header(&mut h)), ["node", "measure", "reads", ">", "writes"]);
    h.press("L");
    (0..30).for_each(|_| h.press("Shift-Left"));
    assert_eq!(words(&header(&mut h))[..4], ["node", "token", "weight", "infl"]);
}

/// What a tree looks like where there is room for all of it.
#[test]
fn trees_at_widths() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/test_data/circuit-tracer/tiny-gpt2-graph.json");
    for ascii in [false, true] {
        let mut all = String::new();
        for (columns, rows) in [(100, 16), (108, 16), (160, 16), (200, 16)] {
            let mut session = crate::harness::session("induction");
            (session.graph, session.tab) = (Some(file.to_owned()), mechscope::app::Tab::Graph);
            let mut h = Harness::of(session, columns, rows);
            h.theme = Theme { colors: Colors::Mono, ascii };
            h.press("l j l");
            all += &format!("== {columns}x{rows}\n{}", h.screen());
        }
        insta::assert_snapshot!(format!("trees_{}", if ascii { "ascii" } else { "plain" }), all);
    }
}
