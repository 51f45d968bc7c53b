//! The pictures of the documentation, made of real frames: those of the tabs, and one that moves.
//!
//! `MECHSCOPE_MAKE_PICTURES=1 cargo test --release --test explorer pictures` makes those in `docs/screens` anew. Otherwise the test says which of them
//! show an older explorer.

use crate::harness::Harness;
use mechscope::app::session::Session;
use mechscope::view::picture;
use mechscope::view::theme::{Colors, Theme};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Columns and rows of the pictures.
const SIZE: (u16, u16) = (100, 26);

/// A kept picture is not larger, so that the package stays small.
const LARGEST: usize = 120_000;

/// How long every frame of the moving picture stays, in seconds.
const STAYS: usize = 3;

/// The height of a line of a picture, and where its first one begins, as `view::picture` draws them.
const LINE: (f64, f64) = (18.0, 8.0);

/// The tabs with the keys that lead to what is shown of them.
const TABS: [(&str, &str); 6] = [
    ("prompt", "1"),
    ("lens", "2"),
    ("heads", "3 Enter Esc"),
    ("neurons", "4"),
    ("graph", "5 j j l S"),
    ("patch", "6 C |The capital of the state containing Seattle is| Enter"),
];

/// The moving picture: keys (or text that is typed), and what is said of them.
const STORY: [(&str, &str); 8] = [
    ("", "mechscope opens a language model and runs a prompt"),
    ("2", "what every layer would answer: at Dallas it reads Texas"),
    ("5", "the circuit: which units carried the answer"),
    ("j j l", "a head looks at Dallas; what it carries was written there"),
    ("b j", "the neurons: one of them reads Texas and Houston"),
    ("v", "is it true? silence it, run the model, measure"),
    ("0", "keep it silent: the answer is another state's capital"),
    ("e |L1.N37@7=3| Enter", "switch Washington on instead: the answer is Olympia"),
];

fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/screens")
}

fn explorer(session: Session) -> Harness {
    let mut h = Harness::of(session, SIZE.0, SIZE.1);
    h.theme = Theme { colors: Colors::Many, ascii: false };
    h
}

/// Presses keys; what stands between bars is typed into the line that they opened.
fn press(h: &mut Harness, keys: &str) {
    for (at, part) in keys.split('|').enumerate() {
        if at % 2 == 1 {
            h.press("Ctrl-u");
            h.type_text(part);
        } else {
            part.split_whitespace().for_each(|key| h.press(key));
        }
    }
}

/// A frame as SVG, its lines of markup by the line of the screen they draw.
fn lines(svg: &str, down: f64) -> BTreeMap<usize, String> {
    let mut found: BTreeMap<usize, String> = BTreeMap::new();
    for markup in svg.lines().filter(|l| l.starts_with("<text") || l.starts_with("<rect x")) {
        let (before, rest) = markup.split_once(" y=\"").unwrap();
        let (y, after) = rest.split_once('"').unwrap();
        let y: f64 = y.parse().unwrap();
        let row = ((y - LINE.1) / LINE.0) as usize;
        let line = found.entry(row).or_default();
        writeln!(line, "{before} y=\"{:.1}\"{after}", y + down).unwrap();
    }
    found
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Frames one after another, each with a caption over it; a line that stays the same from frame to frame is drawn once. Where nothing moves the
/// first frame is shown.
fn moving(frames: &[(String, String, String)]) -> String {
    let caption = 30.0;
    let first = &frames[0].2;
    let size = |name: &str| -> f64 {
        let (_, rest) = first.split_once(&format!(" {name}=\"")).unwrap();
        rest.split_once('"').unwrap().0.parse().unwrap()
    };
    let (width, height) = (size("width"), size("height") + caption);
    let all: Vec<BTreeMap<usize, String>> = frames.iter().map(|(_, _, svg)| lines(svg, caption)).collect();
    let n = frames.len();
    // What is drawn, and the frames from which to which it stands.
    let mut drawn: Vec<(usize, usize, String)> = Vec::new();
    let rows = all.iter().flat_map(|frame| frame.keys()).max().unwrap() + 1;
    for row in 0..rows {
        let mut from = 0;
        while from < n {
            let text = all[from].get(&row);
            let to = (from + 1..n).find(|at| all[*at].get(&row) != text).unwrap_or(n);
            drawn.extend(text.map(|text| (from, to, text.clone())));
            from = to;
        }
    }
    for (at, (keys, says, _)) in frames.iter().enumerate() {
        let keys = keys.replace('|', "");
        let shown = format!("{keys}{}{says}", if keys.is_empty() { "" } else { "   " });
        drawn.push((
            at,
            at + 1,
            format!(
                "<text x=\"8\" y=\"21\" font-size=\"16\" font-weight=\"bold\" fill=\"#8a4600\">{}</text>\n",
                escaped(&shown)
            ),
        ));
    }
    let mut styles = String::new();
    let mut body = String::new();
    let mut known = BTreeMap::new();
    for (from, to, text) in &drawn {
        if (*from, *to) == (0, n) {
            body += text;
            continue;
        }
        let name = format!("a{from}_{to}");
        if known.insert(name.clone(), ()).is_none() {
            let share = |at: usize| 100.0 * at as f64 / n as f64;
            let hidden = if *from == 0 { "" } else { "0%{visibility:hidden}" };
            let off = if *to == n { String::new() } else { format!("{:.3}%{{visibility:hidden}}", share(*to)) };
            writeln!(
                styles,
                "@keyframes {name}{{{hidden}{:.3}%{{visibility:visible}}{off}}} .{name}{{visibility:{};animation:{name} {}s step-end infinite}}",
                share(*from),
                if *from == 0 { "visible" } else { "hidden" },
                n * STAYS
            )
            .unwrap();
        }
        write!(body, "<g class=\"{name}\">\n{text}</g>\n").unwrap();
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.1} {height:.1}\" \
         font-family=\"DejaVu Sans Mono, Menlo, Consolas, monospace\" font-size=\"14\" xml:space=\"preserve\">\n\
         <style>\n{styles}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{body}</svg>\n"
    )
}

/// Every picture with its name.
fn pictures() -> Vec<(&'static str, String)> {
    let mut made: Vec<(&str, String)> = Vec::new();
    for (name, keys) in TABS {
        let mut h = explorer(Session::new("hello"));
        press(&mut h, keys);
        made.push((name, picture::svg(&h.buffer())));
    }
    let mut h = explorer(Session::new("hello"));
    let mut frames = Vec::new();
    for (keys, says) in STORY {
        press(&mut h, keys);
        frames.push((keys.to_owned(), says.to_owned(), picture::svg(&h.buffer())));
    }
    let last = h.screen();
    assert!(last.contains("\" Austin\" -> \" Olympia\""), "{last}");
    made.push(("moving", moving(&frames)));
    made
}

#[test]
fn pictures_show_this_explorer_and_are_small() {
    let make = std::env::var_os("MECHSCOPE_MAKE_PICTURES").is_some();
    for (name, svg) in pictures() {
        assert!(svg.len() <= LARGEST, "{name}: {} bytes", svg.len());
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"), "{name}");
        let file = kept().join(format!("{name}.svg"));
        if make {
            fs::write(&file, &svg).unwrap();
        }
        let there = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        // Numbers and looks may be older; the tabs are those that are there.
        for tab in ["1 Prompt", "2 Lens", "3 Heads", "4 Neurons", "5 Graph", "6 Patch"] {
            assert!(there.contains(tab), "{} is of an older explorer: see the head of {}", file.display(), file!());
        }
    }
}
