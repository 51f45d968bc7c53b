//! How a graph grows: in rounds, by influence, to a number or a share, and what is left when it is stopped.

mod common;

use anyhow::bail;
use common::{open, test_data};
use mechscope::analysis::attribution_graph::{GraphSettings, LogitTarget, build, grow};
use mechscope::graph::format::json;
use mechscope::graph::{Graph, Influence};
use mechscope::model::Model;
use mechscope::model::dictionary::Dictionary;
use mechscope::model::text::Bos;
use std::collections::HashMap;

const IDS: [u32; 9] = [3, 60, 9, 120, 33, 60, 9, 77, 5];

fn model() -> Model {
    open(&test_data().join("models/tiny-gpt2"))
}

fn targets() -> Vec<LogitTarget> {
    let target = |id: u32, probability| LogitTarget { name: format!("<{id}>"), weights: vec![(id, 1.0)], probability };
    vec![target(7, 0.6), target(100, 0.3)]
}

fn graph(model: &Model, dictionary: Option<&Dictionary>, settings: GraphSettings) -> Graph {
    build(model, &model.pieces(&IDS), dictionary, &targets(), settings, &mut |_, _| Ok(())).unwrap()
}

fn units(graph: &Graph) -> Vec<&str> {
    let units = graph.nodes.iter().filter(|n| n.kind.needs_inputs());
    units.map(|n| &*n.id).collect()
}

/// Rows by the names of their ends.
fn edges(graph: &Graph) -> HashMap<(&str, &str), f32> {
    let name = |i: u32| &*graph.nodes[i as usize].id;
    graph.edges.iter().map(|e| ((name(e.target), name(e.source)), e.weight)).collect()
}

#[test]
fn a_graph_that_is_stopped_keeps_its_rows_and_says_so() {
    let model = model();
    let whole = graph(&model, None, GraphSettings { max_nodes: Some(300), ..GraphSettings::default() });
    assert!(!whole.metadata.partial);
    for calls in [0, 1, 4, 9] {
        let mut count = 0;
        let mut step = |_: usize, _: usize| {
            count += 1;
            if count > calls { bail!("enough") } else { Ok(()) }
        };
        let settings = GraphSettings { max_nodes: Some(300), ..GraphSettings::default() };
        let part = build(&model, &model.pieces(&IDS), None, &targets(), settings, &mut step).unwrap();
        assert!(part.metadata.partial, "after {calls} calls");
        assert!(units(&part).len() < 300 && part.failed_certificates().count() == 0);
        assert!(Influence::of(&part).is_ok());
        // What is there is what the whole graph has: only remainders hold more.
        let all = edges(&whole);
        for ((target, source), weight) in edges(&part).into_iter().filter(|e| !e.0.1.contains("error")) {
            assert_eq!(all.get(&(target, source)), Some(&weight), "{target} from {source}");
        }
        let mut file = Vec::new();
        json::write(&part, &mut file).unwrap();
        assert!(String::from_utf8(file).unwrap().contains("\"partial\":true"));
    }
}

#[test]
fn every_round_leaves_a_graph_to_look_at() {
    let model = model();
    let settings = GraphSettings { max_nodes: Some(400), ..GraphSettings::default() };
    let mut sizes = Vec::new();
    let tokens = model.pieces(&IDS);
    let targets = targets();
    grow(&model, &tokens, None, &targets, settings, &mut |growth, done, total| {
        let now = growth.graph()?;
        assert!(done <= total && now.failed_certificates().count() == 0);
        Influence::of(&now)?;
        sizes.push(units(&now).len());
        Ok(())
    })
    .unwrap();
    assert!(sizes.is_sorted() && sizes.contains(&96) && sizes.last() == Some(&400), "{sizes:?}");
}

/// Neurons chosen by relevance alone carry less influence than those that rows have ranked again.
#[test]
fn ranking_again_finds_more_influence() {
    // On a model that has learned something: of random weights all paths are alike, and relevance alone finds as much.
    let model = Model::open("hello", Default::default(), Box::new(|_, _| {})).unwrap();
    let tokens = model.encode("The capital of the state containing Dallas is", Bos::Auto).unwrap().tokens;
    let id = model.encode(" Austin", Bos::Never).unwrap().ids()[0];
    let targets = vec![LogitTarget { name: "Austin".into(), weights: vec![(id, 1.0)], probability: 1.0 }];
    let carried = |every: usize| {
        let settings = GraphSettings { max_nodes: Some(300), rerank_every: Some(every), ..GraphSettings::default() };
        let graph = build(&model, &tokens, None, &targets, settings, &mut |_, _| Ok(())).unwrap();
        Influence::of(&graph).unwrap().scores().replacement.unwrap()
    };
    let (at_once, again) = (carried(300), carried(50));
    assert!(again > at_once, "{again} after ranking again, {at_once} at once");
}

#[test]
fn a_share_takes_as_many_units_as_carry_it() {
    let model = model();
    let dictionary = Dictionary::open(&test_data().join("transcoders/tiny-gpt2"), &model.decoder).unwrap();
    for dictionary in [None, Some(&dictionary)] {
        let counts: Vec<usize> = [0.3, 0.6, 0.9, 1.0]
            .map(|share| {
                let settings = GraphSettings { share: Some(share), rerank_every: Some(16), ..GraphSettings::default() };
                units(&graph(&model, dictionary, settings)).len()
            })
            .to_vec();
        assert!(counts.is_sorted() && counts[0] > 0 && counts[0] * 2 < counts[3], "{counts:?}");
        let capped = GraphSettings { share: Some(0.9), max_nodes: Some(5), ..GraphSettings::default() };
        assert_eq!(units(&graph(&model, dictionary, capped)).len(), 5);
    }
}

/// Invariant m: with all neurons there is nothing that the graph does not explain.
#[test]
fn all_neurons_leave_no_remainder() {
    let model = model();
    let whole = graph(&model, None, GraphSettings::default());
    let scores = Influence::of(&whole).unwrap().scores();
    assert!(scores.replacement.unwrap() > 1.0 - 1e-4 && scores.completeness.unwrap() > 1.0 - 1e-4, "{scores:?}");
}

#[test]
fn units_that_are_always_on_are_marked_in_files_too() {
    let model = open(&test_data().join("models/tiny-gpt2"));
    let graph = graph(&model, None, GraphSettings::default());
    let marked: Vec<&str> = graph.nodes.iter().filter(|n| n.always_on).map(|n| &*n.id).collect();
    assert!(!marked.is_empty() && marked.len() * 3 < graph.nodes.len(), "{} marked", marked.len());
    let mut file = Vec::new();
    json::write(&graph, &mut file).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("graph.json");
    std::fs::write(&path, &file).unwrap();
    let again = json::open(&path).unwrap().graph;
    let read: Vec<&str> = again.nodes.iter().filter(|n| n.always_on).map(|n| &*n.id).collect();
    assert_eq!(read, marked);
}
