//! Feature graphs against circuit-tracer's own, on the same models and transcoders.

mod common;

use candle_core::{Device, Tensor};
use common::{open, shared, test_data};
use mechscope::analysis::attribution_graph::{GraphSettings, LogitTarget, build, most_probable};
use mechscope::analysis::next_token::NextToken;
use mechscope::graph::{Edge, Graph, Influence, NodeKind, Thresholds, prune};
use mechscope::model::Model;
use mechscope::model::dictionary::Dictionary;
use mechscope::model::forward::Logits;
use mechscope::model::site::Sites;
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

struct Case {
    name: String,
    model: Model,
    dictionary: Dictionary,
    reference: HashMap<String, Tensor>,
    about: serde_json::Value,
}

/// The reference graphs of this project, and those of the larger reference folder.
const OWN: [&str; 4] = ["tiny-gemma2", "tiny-gpt2", "tiny-llama-clt", "tiny-llama-max200"];
const LARGER: [&str; 4] = ["stories260K-sparse", "tiny-gemma2-gscope", "tiny-llama", "tiny-llama-skip"];

fn cases() -> Vec<Case> {
    let mut found = Vec::new();
    for root in std::iter::once(test_data()).chain(shared()) {
        let Ok(files) = std::fs::read_dir(root.join("circuit-tracer")) else { continue };
        for file in files.flatten().map(|f| f.path()) {
            let stem = file.file_stem().unwrap().to_str().unwrap().to_owned();
            if file.extension().is_none_or(|e| e != "safetensors") || stem.ends_with("-interventions") {
                continue;
            }
            let about: serde_json::Value =
                serde_json::from_slice(&std::fs::read(file.with_extension("json")).unwrap()).unwrap();
            let model = root.join(about["model"].as_str().unwrap());
            let names = [stem.clone(), "stories260K-relu512-sparse".to_owned()];
            let folders: Vec<PathBuf> = names.iter().map(|n| root.join("transcoders").join(n)).collect();
            let folder = folders.iter().find(|f| f.is_dir());
            let folder = folder.unwrap_or_else(|| panic!("{}: no transcoders {names:?}", file.display()));
            let model = open(&model);
            let dictionary = Dictionary::open(folder, &model.decoder).unwrap();
            let reference = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
            found.push(Case { name: stem, model, dictionary, reference, about });
        }
    }
    let names: BTreeSet<&str> = found.iter().map(|case| case.name.as_str()).collect();
    let all: BTreeSet<&str> = OWN.into_iter().chain(LARGER.into_iter().filter(|_| shared().is_some())).collect();
    assert_eq!(names, all, "reference feature graphs");
    found
}

impl Case {
    fn vector(&self, name: &str) -> Vec<f32> {
        self.reference[name].to_vec1().unwrap()
    }

    fn ids(&self) -> Vec<u32> {
        self.reference["input_tokens"].to_vec1::<i64>().unwrap().into_iter().map(|i| i as u32).collect()
    }

    fn targets(&self) -> Vec<LogitTarget> {
        let run = self.model.run(&self.ids(), &Sites::None, Logits::Last).unwrap();
        most_probable(&self.model, &NextToken::new(run.last_logits(0).unwrap()), 0.95, 10)
    }

    fn graph(&self) -> Graph {
        let max_nodes = self.about["max_feature_nodes"].as_u64().map(|n| n as usize);
        // Batches of 16 with an update interval of 4, as in the reference.
        let settings =
            GraphSettings { max_nodes, zero_positions: 1, rerank_every: Some(64), ..GraphSettings::default() };
        let tokens = self.model.pieces(&self.ids());
        let mut step = |_: usize, _: usize| Ok(());
        build(&self.model, &tokens, Some(&self.dictionary), &self.targets(), settings, &mut step).unwrap()
    }

    /// Place of every node of ours in circuit-tracer's order.
    fn places(&self, graph: &Graph) -> Vec<usize> {
        let active: Vec<Vec<i64>> = self.reference["active_features"].to_vec2().unwrap();
        let selected: Vec<i64> = self.reference["selected_features"].to_vec1().unwrap();
        let features: HashMap<(i64, i64, i64), usize> = selected
            .iter()
            .enumerate()
            .map(|(i, s)| {
                let f = &active[*s as usize];
                ((f[0], f[1], f[2]), i)
            })
            .collect();
        let (n_pos, n_layers) = (self.ids().len(), self.model.decoder.arch.n_layers);
        let logits: Vec<i64> = self.reference["logit_token_ids"].to_vec1().unwrap();
        let n = features.len();
        let place = |node: &mechscope::graph::Node| {
            let (l, p) = (node.layer.unwrap_or(0) as i64, node.position.unwrap_or(0) as i64);
            match &node.kind {
                NodeKind::Feature => {
                    let key = (l, p, node.index.unwrap() as i64);
                    *features.get(&key).unwrap_or_else(|| panic!("{}: feature {key:?} was not chosen", self.name))
                }
                NodeKind::Error => n + l as usize * n_pos + p as usize,
                NodeKind::Embedding { .. } => n + n_layers * n_pos + p as usize,
                NodeKind::Logit { token: Some(id), .. } => {
                    let at = logits.iter().position(|x| *x == *id as i64);
                    n + (n_layers + 1) * n_pos + at.unwrap_or_else(|| panic!("{}: logit {id}", self.name))
                }
                other => panic!("{}: unexpected node {other:?}", self.name),
            }
        };
        graph.nodes.iter().map(place).collect()
    }
}

/// The kept nodes and edges are circuit-tracer's, by place; what differs must lie at the very cut.
fn same_kept_sets(case: &Case, graph: &Graph, places: &[usize], influence: &Influence) {
    let name = &case.name;
    let pruned = prune(graph, influence, Thresholds::default()).unwrap();
    let mask = |key: &str| -> Vec<u8> { case.reference[key].flatten_all().unwrap().to_vec1().unwrap() };
    let (nodes, edges) = (mask("node_mask"), mask("edge_mask"));
    let n = nodes.len();

    let values = case.vector("node_influence");
    let least = influence.ranked().iter().find(|i| influence.cumulative()[**i as usize] >= 0.8);
    let cut = influence.values()[*least.unwrap() as usize];
    let mut tied = 0;
    for (i, node) in graph.nodes.iter().enumerate() {
        if pruned.nodes()[i] != (nodes[places[i]] != 0) {
            let value = f64::from(values[places[i]]);
            assert!((value / cut - 1.0).abs() <= 1e-6, "{name}: {} has influence {value}, cut {cut}", node.name());
            tied += 1;
        }
    }
    // The cut of the edges is the lowest score that was kept.
    let kept = graph.edges.iter().filter(|edge| pruned.keeps(*edge));
    let cut = kept.map(|e| pruned.score(e.target as usize, e.weight)).fold(f32::INFINITY, f32::min);
    let adjacency: Vec<Vec<f32>> = case.reference["adjacency"].to_vec2().unwrap();
    let (mut both, mut at_the_cut) = (0, 0);
    for t in 0..graph.nodes.len() {
        let mut row = vec![None; n];
        graph.edges.row(t).iter().for_each(|(s, weight)| row[places[s as usize]] = Some((s, weight)));
        for (s, entry) in row.into_iter().enumerate() {
            let want = edges[places[t] * n + s] != 0;
            let (source, weight) = entry.unwrap_or((0, 0.0));
            let got = entry.is_some() && pruned.keeps(Edge { target: t as u32, source, weight });
            both += usize::from(want && got);
            if want != got {
                let (ours, theirs) = (pruned.score(t, weight), pruned.score(t, adjacency[places[t]][s]));
                // A score is as good as its weight, and that of circuit-tracer as good as f32.
                let slack = (ours - theirs).abs() + 1e-5 * cut;
                assert!((ours - cut).abs() <= slack, "{name}: edge {} <- {s}: score {ours}, cut {cut}", places[t]);
                at_the_cut += 1;
            }
        }
    }
    eprintln!("{name}: {} nodes kept, {both} edges; at the cut {tied} nodes, {at_the_cut} edges", pruned.n_nodes());
    assert!(both > 300 && tied <= 2 && at_the_cut <= 4, "{name}: {both} edges, {tied} and {at_the_cut} at the cut");
}

#[test]
fn features_edges_and_scores_equal_circuit_tracers() {
    for case in cases() {
        let (name, graph) = (&case.name, case.graph());
        let places = case.places(&graph);
        let selected = case.reference["selected_features"].dim(0).unwrap();
        let units = graph.nodes.iter().filter(|n| n.kind == NodeKind::Feature).count();
        assert_eq!(units, selected, "{name}: selected features");
        let active: Vec<i64> = case.reference["selected_features"].to_vec1().unwrap();
        let activations = case.vector("activation_values");
        let probabilities = case.vector("logit_probabilities");
        let adjacency: Vec<Vec<f32>> = case.reference["adjacency"].to_vec2().unwrap();
        let (mut compared, mut worst) = (0, 0f32);
        for (t, node) in graph.nodes.iter().enumerate() {
            match node.kind {
                NodeKind::Feature => {
                    let want = activations[active[places[t]] as usize];
                    let got = node.activation.unwrap();
                    assert!((got - want).abs() <= 1e-4 * want.abs().max(1.0), "{name}: activation {got} for {want}");
                }
                NodeKind::Logit { probability, .. } => {
                    let first = adjacency.len() - probabilities.len();
                    assert!((probability - probabilities[places[t] - first]).abs() < 1e-5, "{name}: probability");
                }
                _ => continue,
            }
            let row = &adjacency[places[t]];
            let sum: f32 = row.iter().map(|x| x.abs()).sum();
            let mut got = vec![0f32; row.len()];
            graph.edges.row(t).iter().for_each(|(s, w)| got[places[s as usize]] = w);
            for (s, (g, w)) in got.iter().zip(row).enumerate() {
                let off = (g - w).abs();
                worst = worst.max(off);
                assert!(off <= 5e-4 + 1e-3 * sum, "{name}: edge {} <- {s}: {g} for {w}", places[t]);
                compared += 1;
            }
            let certificate = node.certificate.unwrap();
            // Rows that see the first position's zeroed features lose their part; all others must add up.
            assert!(certificate.holds(), "{name}: {certificate:?}");
        }
        assert!(compared > 1000 && worst < 5e-4, "{name}: {compared} edges compared, worst {worst}");

        let influence = Influence::of(&graph).unwrap();
        let want = case.vector("node_influence");
        for (i, got) in influence.values().iter().enumerate() {
            let want = want[places[i]] as f64;
            assert!((got - want).abs() <= 1e-4, "{name}: influence of {} is {got} for {want}", graph.nodes[i].id);
        }
        let scores = influence.scores();
        for (got, key) in [(scores.replacement, "replacement_score"), (scores.completeness, "completeness_score")] {
            let (got, want) = (got.unwrap(), case.about[key].as_f64().unwrap());
            assert!((got - want).abs() <= 1e-3, "{name}: {key} {got} for {want}");
        }
        same_kept_sets(&case, &graph, &places, &influence);
    }
}
