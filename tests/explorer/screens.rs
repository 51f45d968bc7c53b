//! Screens as they are: at three sizes, in colour, without colour, in ASCII.

use crate::harness::Harness;
use mechscope::view::picture;
use mechscope::view::theme::{Colors, Theme};

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (40, 12)];

/// Keys and what they lead to.
const PLACES: [(&str, &str); 9] = [
    ("prompt", "Esc"),
    ("lens", "2"),
    ("heads", "3"),
    ("pattern", "3 Enter"),
    ("neurons", "4"),
    ("neuron", "4 Enter"),
    ("marked", "3 Space j Space"),
    ("edited", "3 j 0 1"),
    ("help", "?"),
];

fn screens(kind: &str, theme: Theme, render: impl Fn(&mut Harness) -> String) {
    for (columns, rows) in SIZES {
        let mut all = String::new();
        for (name, keys) in PLACES {
            let mut h = Harness::new(columns, rows);
            h.theme = theme;
            h.press(keys);
            all += &format!("== {name}\n{}", render(&mut h));
        }
        insta::assert_snapshot!(format!("{kind}_{columns}x{rows}"), all);
    }
}

#[test]
fn plain() {
    let theme = Theme { colors: Colors::Mono, ascii: false };
    screens("plain", theme, Harness::screen);
}

#[test]
fn ascii() {
    let theme = Theme { colors: Colors::Mono, ascii: true };
    screens("ascii", theme, |h| {
        let screen = h.screen();
        assert!(screen.is_ascii(), "{screen}");
        screen
    });
}

#[test]
fn styles() {
    for (name, colors) in [("mono", Colors::Mono), ("sixteen", Colors::Sixteen), ("many", Colors::Many)] {
        let theme = Theme { colors, ascii: false };
        screens(name, theme, |h| {
            let text = picture::ansi(&h.buffer());
            let colored = text.contains("[0;3") || text.contains(";3");
            assert_eq!(colored, colors != Colors::Mono, "{text:?}");
            // Readable in a review: the escape character is written out.
            text.replace('\u{1b}', "^")
        });
    }
}

#[test]
fn pictures_are_written() {
    let mut h = Harness::new(80, 24);
    let buffer = h.buffer();
    let folder = tempfile::tempdir().unwrap();
    for ending in ["svg", "txt", "ans"] {
        let file = folder.path().join(format!("screen.{ending}"));
        let bytes = picture::save(&buffer, &file).unwrap();
        assert_eq!(std::fs::read(&file).unwrap().len(), bytes);
    }
    let svg = std::fs::read_to_string(folder.path().join("screen.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && svg.contains("&quot;u&quot;"));
    let wrong = picture::save(&buffer, &folder.path().join("screen.png")).unwrap_err().to_string();
    assert!(wrong.contains(".svg, .txt or .ans"), "{wrong}");
}

/// The Graph tab on a file that circuit-tracer wrote: its numbers are the same on every machine.
fn graph_screens(kind: &str, theme: Theme, render: impl Fn(&mut Harness) -> String) {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/test_data/circuit-tracer/tiny-gpt2-graph.json");
    for (columns, rows) in SIZES {
        let mut all = String::new();
        for (name, keys) in [("tree", "l j l"), ("list", "L"), ("beside", "J a"), ("groups", "j Space j Space C")] {
            let mut session = crate::harness::session("induction");
            (session.graph, session.tab) = (Some(file.to_owned()), mechscope::app::Tab::Graph);
            let mut h = Harness::of(session, columns, rows);
            h.theme = theme;
            h.press(keys);
            all += &format!("== {name}\n{}", render(&mut h));
        }
        insta::assert_snapshot!(format!("graph_{kind}_{columns}x{rows}"), all);
    }
}

#[test]
fn graphs() {
    let plain = Theme { colors: Colors::Mono, ascii: false };
    graph_screens("plain", plain, Harness::screen);
    graph_screens("ascii", Theme { ascii: true, ..plain }, |h| {
        let screen = h.screen();
        // Tokens keep their text: this model's has a character that stands for a byte.
        assert!(screen.replace('\u{fffd}', "").is_ascii(), "{screen}");
        screen
    });
    graph_screens("many", Theme { colors: Colors::Many, ascii: false }, |h| {
        picture::ansi(&h.buffer()).replace('\u{1b}', "^")
    });
}
