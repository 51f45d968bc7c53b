//! The five-minute walk of docs/five-minutes.md, key by key, with the numbers that it states; and pictures of every tab.

use crate::graph::{node_name, shown};
use crate::harness::Harness;
use mechscope::app::session::Session;
use mechscope::app::{Effect, Slot, Tab};
use mechscope::report::{Body, Cell};
use mechscope::view::picture;
use std::path::Path;

/// The rows of the walk's table: keys, and what is to be seen.
fn walk() -> Vec<(Vec<String>, String)> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/five-minutes.md")).unwrap();
    let rows = text.lines().skip_while(|l| !l.starts_with("|---")).skip(1).take_while(|l| l.starts_with('|'));
    let row = |line: &str| {
        let (keys, seen) = line.trim_matches('|').split_once('|').expect("two columns");
        (keys.split('`').skip(1).step_by(2).map(str::to_owned).collect(), seen.to_owned())
    };
    rows.map(row).collect()
}

#[test]
fn five_minutes_go_as_they_are_told() {
    let walk = walk();
    assert!(walk.len() >= 7, "{walk:?}");
    // As it opens by itself.
    let mut h = Harness::of(Session::new("hello"), 80, 24);
    assert_eq!(h.app.prompt.as_deref(), Some("The capital of the state containing Dallas is"));
    let mut pressed = 0;
    for (at, (keys, seen)) in walk.iter().enumerate() {
        for key in keys {
            h.press(key);
            pressed += 1;
        }
        let screen = h.screen();
        let number = |text: &str| assert!(seen.contains(text), "the walk says nothing of {text}: {seen}");
        match at {
            0 => {
                assert!(screen.contains("why \" Austin\" rather than \" Olympia\""), "{screen}");
                let lines: Vec<&str> = screen.lines().collect();
                let head =
                    lines.iter().position(|line| line.contains("L2.H1@8") && line.contains("looks at 7 \" Dallas\""));
                let head = head.unwrap_or_else(|| panic!("{screen}"));
                // What it carries, the strongest first.
                assert!(lines[head + 1].contains("L1.mlp@7") && seen.contains("`L1.mlp@7`"), "{screen}");
            }
            1 => {
                number("`L1.N33@7`");
                let line = screen.lines().find(|l| l.contains("L1.N33@7")).unwrap_or_else(|| panic!("{screen}"));
                assert_eq!(
                    screen.lines().position(|l| l == line),
                    Some(6),
                    "the first line under the target\n{screen}"
                );
                assert!(line.contains("\" Dallas\"") && line.contains("\" Texas\""), "{line}");
                let beside = shown(&h).source.drivers.clone();
                h.press("j");
                let node = h.app.graph_node().unwrap();
                assert_eq!(beside[node as usize][..2], [" Texas", " Houston"]);
                h.press("k");
            }
            2 => {
                let node = h.app.graph_node().unwrap();
                assert_eq!(node_name(&h), "L1.N33@7");
                let fed: Vec<u32> =
                    shown(&h).rows.iter().filter(|r| r.parent == Some(node)).filter_map(|r| r.node()).collect();
                let graph = shown(&h);
                assert!(
                    fed.len() >= 5 && fed.iter().all(|n| graph.graph.nodes[*n as usize].position == Some(8)),
                    "{screen}"
                );
                let target = graph.first_target() as usize;
                let raises = |n: &&u32| graph.graph.edges.weight(target, **n).is_some_and(|weight| weight > 0.0);
                assert!(2 * fed.iter().filter(raises).count() > fed.len(), "most of them raise the answer\n{screen}");
            }
            3 => {
                number("-11.34");
                number("-6.69");
                let effect = shown(&h).graph.verified.last().unwrap().target().unwrap();
                assert_eq!(format!("{:.2} {:.2}", effect.predicted.unwrap(), effect.measured), "-11.34 -6.69");
                assert!(screen.contains("measured -6.69, predicted -11.34"), "{screen}");
            }
            4 => {
                for text in ["0.9935", "0.0649", "\" Jefferson\""] {
                    number(text);
                }
                let message = h.app.message.clone().unwrap();
                assert!(
                    message
                        .starts_with("answer at 8: \" Austin\" -> \" Jefferson\" (\" Austin\" from 0.9935 to 0.0649)"),
                    "{message}"
                );
            }
            5 => {
                for text in ["`L1.N37@7=3`", "\" Olympia\"", "0.9929"] {
                    number(text);
                }
                h.type_text("L1.N37@7=3");
                h.press("Enter");
                let message = h.app.message.clone().unwrap();
                assert!(message.starts_with("answer at 8: \" Austin\" -> \" Olympia\""), "{message}");
                h.press("1");
                let screen = h.screen();
                assert!(screen.contains("0.9929"), "{screen}");
                h.press("5 u u");
                assert!(h.app.edits.on().is_empty());
            }
            6 => {
                assert_eq!(h.app.tab, Tab::Neurons);
                let report = h.app.pane(Slot::Neuron).report.clone().expect("the neuron itself");
                let part = |name: &str| match report.parts.iter().find(|p| p.name == name).map(|p| p.body.clone()) {
                    Some(Body::Table(table)) => table,
                    other => panic!("{name}: {other:?}"),
                };
                let on: Vec<usize> = part("activations")
                    .rows
                    .iter()
                    .enumerate()
                    .filter(|(_, row)| match row[2] {
                        Cell::Number(x) => x > 0.5,
                        _ => false,
                    })
                    .map(|(p, _)| p)
                    .collect();
                assert_eq!(on, [7], "on at \" Dallas\" alone");
                let drivers = part("driven_by");
                let texas = [" Texas", " Houston"].map(Cell::token);
                assert!(texas.iter().all(|t| drivers.rows[..3].iter().any(|row| row[1] == *t)), "{drivers:?}");
            }
            _ => {}
        }
    }
    assert!(pressed < 25, "{pressed} keys");
}

#[test]
fn every_tab_is_saved_as_a_picture() {
    let folder = tempfile::tempdir().unwrap();
    let mut h = Harness::of(crate::harness::session("hello"), 100, 30);
    h.press("5 j v");
    for (tab, keys) in [("prompt", "1"), ("lens", "2"), ("heads", "3"), ("neurons", "4"), ("graph", "5"), ("qk", "3 Q")]
    {
        h.press(keys);
        for ending in ["svg", "txt", "ans"] {
            let file = folder.path().join(format!("{tab}.{ending}"));
            h.press(":");
            h.type_text(&format!("screenshot {}", file.display()));
            h.press("Enter");
            let Some(Effect::Screenshot(asked)) = h.effects.last() else { panic!("{tab}: no picture is asked for") };
            assert_eq!(Path::new(asked), file);
            let screen = h.screen();
            let bytes = picture::save(&h.buffer(), &file).unwrap();
            let text = std::fs::read_to_string(&file).unwrap();
            assert_eq!(text.len(), bytes);
            if ending == "txt" {
                assert_eq!(text.trim_end(), screen.trim_end(), "{tab}");
            } else if ending == "svg" {
                assert!(text.starts_with("<svg") && text.ends_with("</svg>\n"), "{tab}");
                // What the first line of the tab says is in the picture.
                let heading: String =
                    screen.lines().nth(1).unwrap().split_whitespace().next().unwrap().chars().collect();
                assert!(text.contains(&heading.replace('"', "&quot;")), "{tab}: {heading}");
            }
        }
    }
}
