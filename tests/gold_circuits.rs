//! Circuits made by hand: graphs must find them, and be blind where the frozen model is.

mod gold;

use gold::{induction, two_hops};
use mechscope::analysis::attribution_graph::{GraphSettings, LogitTarget, build};
use mechscope::graph::tree::strongest_paths;
use mechscope::graph::{Graph, Influence, Node, NodeKind};
use mechscope::model::Model;
use mechscope::model::forward::Logits;
use mechscope::model::site::{BlockSite, Sites};
use mechscope::model::text::Bos;
use mechscope::replacement::Gate;
use mechscope::replacement::{ReplacementModel, SourceBlocks};

fn close(got: f32, want: f32) -> bool {
    (got - want).abs() <= 1e-6
}

fn logits(model: &Model, ids: &[u32]) -> Vec<f32> {
    model.run(ids, &Sites::None, Logits::Last).unwrap().last_logits(0).unwrap()
}

fn without(model: &Model, ids: &[u32], edit: &str) -> Vec<f32> {
    let edits = [edit.parse().unwrap()];
    model.intervene(ids, &edits, Bos::Never, Logits::Last).unwrap().1.last_logits(0).unwrap()
}

fn graph(model: &Model, ids: &[u32], target: LogitTarget) -> Graph {
    let tokens = model.pieces(ids);
    build(model, &tokens, None, &[target], GraphSettings::default(), &mut |_, _| Ok(())).unwrap()
}

fn place(graph: &Graph, name: &str) -> usize {
    graph.nodes.iter().position(|n| n.name() == name).unwrap_or_else(|| panic!("{name} is not in the graph"))
}

/// The edges into a node that are not zero, by the sources' names.
fn edges(graph: &Graph, target: &str) -> Vec<(String, f32)> {
    let row = graph.edges.row(place(graph, target));
    let found = row.iter().filter(|(_, w)| w.abs() > 1e-6);
    found.map(|(s, w)| (graph.nodes[s as usize].name(), w)).collect()
}

fn assert_edges(graph: &Graph, target: &str, want: &[(&str, f32)]) {
    let got = edges(graph, target);
    assert_eq!(got.len(), want.len(), "{target}: {got:?}");
    for ((name, weight), (want, value)) in got.iter().zip(want) {
        assert!(name == want && close(*weight, *value), "{target}: {got:?}");
    }
}

#[test]
fn the_induction_head_does_what_it_was_made_for() {
    let model = induction::model();
    let last = logits(&model, &induction::IDS);
    for (t, logit) in last.iter().enumerate() {
        assert!(close(*logit, f32::from(t as u32 == induction::ANSWER)), "{last:?}");
    }
    let patterns = Sites::parse("blocks.*.attn.hook_pattern", 2, |_| true).unwrap();
    let run = model.run(&induction::IDS, &patterns, Logits::Last).unwrap();
    let of = |l| run.block(l, BlockSite::Pattern).unwrap().get(0).unwrap().to_vec2::<f32>().unwrap();
    for (q, row) in of(0).iter().enumerate().skip(1) {
        assert!(close(row[q - 1], 1.0), "query {q}: {row:?}");
    }
    assert!(close(of(1)[5][2], 1.0), "{:?}", of(1)[5]);
}

#[test]
fn a_frozen_graph_is_blind_to_where_a_head_looks() {
    let model = induction::model();
    let graph = graph(&model, &induction::IDS, induction::target());
    // All that is seen is the token that the second head copies.
    assert_edges(&graph, "logit:2@5", &[("embed@2", induction::VALUE)]);
    let certificate = graph.nodes[place(&graph, "logit:2@5")].certificate.unwrap();
    assert!(close(certificate.value, induction::VALUE) && certificate.holds(), "{certificate:?}");

    let trace = model.run(&induction::IDS, &ReplacementModel::sites(&model.decoder), Logits::All).unwrap();
    let frozen = ReplacementModel::new(&model.decoder, &trace).unwrap();
    let biases = SourceBlocks::output_biases(&frozen, &model.decoder).unwrap();
    let sources = SourceBlocks::new(&frozen, &trace, 0, &[], &biases, None).unwrap();
    let maker = frozen.targets(&model.decoder, &trace, Gate::Half);
    let target = maker.logits(5, &[(induction::ANSWER, 1.0)], true).unwrap();
    let mut heads = Vec::new();
    frozen
        .rows(&[target], &sources, |rows| {
            heads.extend(rows.into_iter().flat_map(|(_, row)| row.heads));
            Ok(())
        })
        .unwrap();
    assert_eq!(heads[0], induction::PREDICTED, "L0.H0 works by where L1.H0 looks");
    assert!(close(heads[1], induction::VALUE), "L1.H0 carries it all: {heads:?}");

    // Measured, it is the other way round.
    let cut = without(&model, &induction::IDS, "L0.H0=0");
    for (got, want) in cut.iter().zip([1.0, 2.0, 1.0, 1.0, 1.0, 0.0]) {
        assert!(close(*got, want / 6.0), "{cut:?}");
    }
    let before = logits(&model, &induction::IDS)[induction::ANSWER as usize];
    assert!(close(cut[induction::ANSWER as usize], induction::WITHOUT));
    assert!(close(before - cut[induction::ANSWER as usize], induction::VALUE));
}

/// A logit less the mean over the vocabulary.
fn demeaned(token: u32) -> LogitTarget {
    LogitTarget { name: format!("<{token}>"), weights: vec![(token, 1.0)], probability: 1.0 }
}

#[test]
fn both_hops_are_edges_of_weight_one() {
    let model = two_hops::model();
    let ids = two_hops::ids(two_hops::DALLAS);
    let graph = graph(&model, &ids, demeaned(two_hops::AUSTIN));
    assert_edges(&graph, "logit:0@3", &[("L1.N0@3", 1.0 - 1.0 / 3.0)]);
    assert_edges(&graph, "L1.N0@3", &[("L0.N0@3", 1.0), ("L0.N2@3", 1.0)]);
    assert_edges(&graph, "L0.N0@3", &[("embed@2", 1.0)]);
    assert_edges(&graph, "L0.N2@3", &[("embed@1", 1.0)]);
    let row = graph.nodes[place(&graph, "L1.N0@3")].certificate.unwrap();
    assert!(close(row.bias, -1.0) && close(row.value, 1.0), "{row:?}");
    assert_eq!(graph.nodes.iter().filter(|n| n.kind == NodeKind::Neuron).count(), 3);

    let begins = |n: &Node| n.kind.is_input();
    let influence = Influence::of(&graph).unwrap();
    let paths = strongest_paths(&graph, &influence, place(&graph, "logit:0@3") as u32, 5, begins);
    let names = |path: &[u32]| path.iter().map(|n| graph.nodes[*n as usize].name()).collect::<Vec<_>>().join(" < ");
    let found: Vec<String> = paths.iter().map(|p| names(&p.nodes)).collect();
    assert_eq!(found.len(), 2, "{found:?}");
    for path in ["logit:0@3 < L1.N0@3 < L0.N0@3 < embed@2", "logit:0@3 < L1.N0@3 < L0.N2@3 < embed@1"] {
        assert!(found.iter().any(|f| f == path), "{found:?}");
    }
}

#[test]
fn edges_of_the_two_hops_hold_when_measured() {
    let model = two_hops::model();
    let answer = |logits: &[f32]| [logits[0], logits[1], logits[2]].map(|x| (x * 1e5).round() / 1e5);
    assert_eq!(answer(&logits(&model, &two_hops::ids(two_hops::DALLAS))), [1.0, 0.0, 0.0]);
    assert_eq!(answer(&logits(&model, &two_hops::ids(two_hops::SEATTLE))), [0.0, 1.0, 0.0]);
    let ids = two_hops::ids(two_hops::DALLAS);
    for edit in ["L0.N0@3=0", "L0.N2@3=0", "L1.N0@3=0"] {
        assert_eq!(answer(&without(&model, &ids, edit)), [0.0; 3], "{edit}");
    }
    assert_eq!(answer(&without(&model, &ids, "L0.N1@3=0")), [1.0, 0.0, 0.0]);
}

#[test]
fn at_the_kink_nothing_passes() {
    let model = two_hops::model();
    let ids = two_hops::ids(two_hops::DALLAS);
    let trace = model.run(&ids, &ReplacementModel::sites(&model.decoder), Logits::Last).unwrap();
    let pre = trace.block(1, BlockSite::MlpPre).unwrap().get(3).unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(pre[two_hops::SAY_OLYMPIA], 0.0, "one of the two that it needs");
    let frozen = ReplacementModel::new(&model.decoder, &trace).unwrap();
    let maker = frozen.targets(&model.decoder, &trace, Gate::Half);
    let target = maker.neurons(1, &[(3, two_hops::SAY_OLYMPIA)]).unwrap().remove(0);
    assert!(target.vector.iter().all(|v| *v == 0.0) && target.bias == 0.0, "u > 0 is strict");
}
