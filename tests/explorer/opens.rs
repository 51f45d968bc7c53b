//! What a tab opens on, what its colours say, and what searching in lists finds.

use crate::harness::Harness;
use mechscope::app::Slot;
use mechscope::report::{Body, Cell};
use mechscope::view::theme::{Colors, Theme};
use ratatui::style::Color;

/// The effects of the table of heads, in its order.
fn effects(h: &Harness) -> Vec<f32> {
    let report = h.app.pane(Slot::Heads).report.clone().unwrap();
    let table =
        report.parts.iter().find_map(|part| if let Body::Table(table) = &part.body { Some(table) } else { None });
    let table = table.unwrap();
    let at = table.columns.iter().position(|column| column.name == "direct_effect").unwrap();
    let number = |row: &Vec<Cell>| if let Cell::Number(value) = row[at] { value } else { f32::NAN };
    table.rows.iter().map(number).collect()
}

fn strongest_is_selected(h: &Harness) {
    let effects = effects(h);
    assert!(effects.windows(2).all(|two| two[0].abs() >= two[1].abs()), "{effects:?}");
    let grid = h.app.pane(Slot::Heads).grid().expect("the cursor is in the grid").0;
    let (layer, head) = h.app.selection.head;
    let selected = grid.values[layer * grid.columns.labels.len() + head];
    assert_eq!(selected.abs(), effects[0].abs(), "{:?}", h.app.selection.head);
}

#[test]
fn heads_open_on_the_strongest_and_stay_where_one_goes() {
    let mut h = Harness::of(crate::harness::session("hello"), 80, 24);
    h.press("3");
    strongest_is_selected(&h);
    assert_ne!(h.app.selection.head, (0, 0));
    let detail = h.app.pane(Slot::Head);
    let (layer, head) = h.app.selection.head;
    assert!(format!("{:?}", detail.asked).contains(&format!("L{layer}.H{head}")), "{:?}", detail.asked);
    let strongest = h.app.selection.head;
    h.press("0 [ ]");
    assert_eq!(h.app.selection.head, strongest, "it stays when an edit makes another the strongest");
    h.press("g g k Left");
    let here = h.app.selection.head;
    h.press("2 [ 3");
    assert_eq!(h.app.selection.head, here, "a head that was gone to stays");
    h.press("1 i");
    h.type_text("The opposite of hot is");
    h.press("Enter 3");
    strongest_is_selected(&h);
    let (list, before) = (h.app.selection.head, strongest);
    assert_ne!(list, before, "the prompts are told apart by their strongest heads");
}

#[test]
fn neurons_open_on_the_strongest_of_all_layers() {
    let mut h = Harness::of(crate::harness::session("hello"), 100, 30);
    h.press("4");
    let screen = h.screen();
    assert!(screen.contains("Neurons of all layers"), "{screen}");
    let (layer, _) = h.app.address().layer().map(|layer| (layer, ())).expect("a neuron is selected");
    h.press("}");
    assert!(h.screen().contains("Neurons of layer"), "a step through layers looks at one of them, from {layer}");
}

#[test]
fn heat_maps_have_grounds_and_a_legend() {
    for (colors, grounds) in
        [(Colors::Mono, false), (Colors::Sixteen, true), (Colors::Many, true), (Colors::True, true)]
    {
        for tab in ["2", "3", "3 Enter"] {
            let mut h = Harness::of(crate::harness::session("hello"), 120, 40);
            h.theme = Theme { colors, ascii: false };
            h.press(tab);
            let buffer = h.buffer();
            let painted = buffer.content().iter().filter(|cell| cell.bg != Color::Reset).count();
            assert_eq!(painted > 4, grounds, "{painted} cells at {colors:?} on {tab}");
        }
        let mut h = Harness::of(crate::harness::session("hello"), 160, 50);
        h.theme = Theme { colors, ascii: false };
        h.press("3");
        let (strongest, screen) = (effects(&h)[0].abs(), h.screen());
        let heading = screen.lines().nth(1).unwrap();
        assert!(heading.contains(&format!(" {strongest:.4} ")), "the legend ends at the strongest: {heading}");
    }
}

#[test]
fn what_fits_nothing_is_said_and_what_fits_is_found() {
    for key in ["?", ":"] {
        let mut h = Harness::new(80, 24);
        h.press(key);
        h.type_text("relp");
        let screen = h.screen();
        assert!(screen.contains("patch_estimate") && !screen.contains("tab_lens"), "{screen}");
        h.press("Ctrl-u");
        h.type_text("qqqq");
        let screen = h.screen();
        assert!(screen.contains("nothing fits \"qqqq\""), "{screen}");
    }
}

#[test]
fn a_text_of_several_words_is_typed_behind_a_method() {
    let mut h = Harness::of(crate::harness::session("hello"), 120, 40);
    h.press(":");
    h.type_text("heads probe-length=4 probe-words= apple key grand Dallas red Anna clock probe");
    h.press("Enter");
    let report = h.app.pane(Slot::Method).report.clone().expect("it ran");
    assert!(format!("{report:?}").contains("probe_induction"));
}

#[test]
fn what_is_typed_takes_the_place_of_the_prompt() {
    let mut h = Harness::new(80, 24);
    h.press("i");
    h.type_text("abcabc");
    h.press("Enter");
    assert_eq!(h.app.prompt.as_deref(), Some("abcabc"));
    h.press("i End");
    h.type_text("ab");
    h.press("Enter");
    assert_eq!(h.app.prompt.as_deref(), Some("abcabcab"), "moving keeps it");
}
