//! What holds for graphs with attention inside, on random models of every family.

mod random_models;

use mechscope::analysis::attribution_graph::LogitTarget;
use mechscope::analysis::circuit_graph::{self, BranchPlace, CircuitSettings, Sink};
use mechscope::graph::{Graph, Influence, Node, NodeKind};
use mechscope::model::Model;
use mechscope::model::forward::Logits;
use mechscope::model::site::Sites;
use mechscope::model::trace::Trace;
use mechscope::replacement::Gate;
use mechscope::replacement::circuit::Circuit;
use random_models::{Recipe, families, recipes, runner};
use std::cell::Cell;
use std::collections::HashMap;

const CASES: u32 = 12;

fn target(weights: &[(u32, f32)]) -> LogitTarget {
    LogitTarget { name: "target".into(), weights: weights.to_vec(), probability: 1.0 }
}

/// Every head and MLP is a node, and no pruning hides any.
fn all(sink: Sink, neurons: bool) -> CircuitSettings {
    CircuitSettings { max_nodes: 100_000, sink, neurons, ..CircuitSettings::default() }
}

fn graph(model: &Model, trace: &Trace, settings: &CircuitSettings) -> Graph {
    let tokens = model.pieces(trace.tokens());
    let target = target(&[(3, 1.0), (1, -1.0)]);
    circuit_graph::build_on(model, trace, &tokens, &target, settings, &mut |_, _| Ok(())).unwrap()
}

fn for_all(test: impl Fn(&Model, &Trace)) {
    for family in families() {
        let result = runner(CASES).run(&recipes(family), |recipe: Recipe| {
            let model = recipe.model();
            let sites = Sites::Only(Circuit::sites(&model.decoder));
            let trace = model.run(&recipe.prompt, &sites, Logits::Last).unwrap();
            test(&model, &trace);
            Ok(())
        });
        result.unwrap_or_else(|e| panic!("{family}: {e}"));
    }
}

/// Edges by the names of their ends.
fn edges(graph: &Graph) -> HashMap<(String, String), f64> {
    let name = |i: u32| graph.nodes[i as usize].id.to_string();
    graph.edges.iter().map(|e| ((name(e.target), name(e.source)), f64::from(e.weight))).collect()
}

/// What rounding may leave: a part of all that is moved in the model.
fn slack(graph: &Graph) -> f64 {
    let all = graph.nodes.iter().filter_map(|n| n.totals).map(|t| f64::from(t.writes.abs()));
    2e-5 * all.sum::<f64>() + 1e-5
}

#[test]
fn whole_rows_add_up_and_columns_are_totals() {
    for_all(|model, trace| {
        let graph = graph(model, trace, &all(Sink::None, false));
        let slack = slack(&graph);
        let (mut columns, mut scale): (HashMap<u32, f64>, HashMap<u32, f64>) = Default::default();
        for (at, node) in graph.nodes.iter().enumerate() {
            let Some(row) = node.certificate else { continue };
            let sum: f64 = graph.edges.row(at).iter().map(|(_, w)| f64::from(w)).sum();
            let off = (sum - f64::from(row.value)).abs();
            assert!(off <= 1e-5 * f64::from(row.abs_sum) + slack, "{}: {sum} for {}", node.name(), row.value);
            assert!(row.unexplained <= 1e-6 + slack as f32, "{}: {}", node.name(), row.unexplained);
            for (source, weight) in graph.edges.row(at).iter() {
                *columns.entry(source).or_default() += f64::from(weight);
                *scale.entry(source).or_default() += f64::from(weight.abs());
            }
        }
        for (at, node) in (0..).zip(&graph.nodes).filter(|(_, n)| n.totals.is_some()) {
            let (found, want) = (columns.get(&at).copied().unwrap_or(0.0), node.totals.unwrap().writes);
            let allowed = 1e-5 * scale.get(&at).copied().unwrap_or(0.0) + slack;
            assert!((found - f64::from(want)).abs() <= allowed, "{}: readers {found}, total {want}", node.name());
        }
        let traced = graph.metadata.traced.unwrap();
        let off = f64::from(traced.tokens) + f64::from(traced.biases) - f64::from(traced.value);
        assert!(off.abs() <= slack, "{traced:?}");
    });
}

#[test]
fn taking_neurons_out_of_an_mlp_changes_no_other_row() {
    for_all(|model, trace| {
        let (whole, split) =
            (graph(model, trace, &all(Sink::None, false)), graph(model, trace, &all(Sink::None, true)));
        let slack = slack(&whole);
        let (whole_edges, split_edges) = (edges(&whole), edges(&split));
        // By layer and position, what stands for one MLP in the graph of neurons.
        let mut parts: HashMap<String, Vec<String>> = HashMap::new();
        for node in &split.nodes {
            if matches!(node.kind, NodeKind::Neuron | NodeKind::Rest | NodeKind::Mlp) {
                let mlp = Node::mlp(node.layer.unwrap(), node.position.unwrap()).id;
                parts.entry(mlp.to_string()).or_default().push(node.id.to_string());
            }
        }
        for ((reader, source), weight) in &whole_edges {
            if !matches!(whole.by_id().get(reader.as_str()), Some(at) if whole.nodes[*at].kind != NodeKind::Mlp) {
                continue;
            }
            let own = vec![source.clone()];
            let sources = parts.get(source).unwrap_or(&own);
            let found: Vec<f64> =
                sources.iter().filter_map(|s| split_edges.get(&(reader.clone(), s.clone())).copied()).collect();
            let (sum, scale) = (found.iter().sum::<f64>(), found.iter().map(|x| x.abs()).sum::<f64>());
            assert!((sum - weight).abs() <= 1e-4 * scale + slack, "{reader} <- {source}: {sum} for {weight}");
        }
    });
}

#[test]
fn a_sink_is_its_members_and_its_row_is_what_comes_from_outside() {
    for_all(|model, trace| {
        if trace.n_pos() < 2 {
            return;
        }
        let (open, sunk) =
            (graph(model, trace, &all(Sink::None, false)), graph(model, trace, &all(Sink::At(vec![0]), false)));
        let slack = slack(&open);
        let Some(sink) = sunk.nodes.iter().position(|n| n.kind == NodeKind::Sink) else { return };
        let row = sunk.nodes[sink].certificate.unwrap();
        let sum: f64 = sunk.edges.row(sink).iter().map(|(_, w)| f64::from(w)).sum();
        assert!((sum - f64::from(row.value)).abs() <= 1e-5 * f64::from(row.abs_sum) + slack, "{sum}: {row:?}");
        // What leaves it: the members' edges to all that is outside.
        let inside = |n: &Node| n.position == Some(0) && matches!(n.kind, NodeKind::Head | NodeKind::Mlp);
        let mut leaves = 0.0;
        let mut scale = 0.0;
        for edge in open.edges.iter() {
            let (source, reader) = (&open.nodes[edge.source as usize], &open.nodes[edge.target as usize]);
            if inside(source) && !inside(reader) {
                leaves += f64::from(edge.weight);
                scale += f64::from(edge.weight.abs());
            }
        }
        let off = (leaves - f64::from(row.value)).abs();
        assert!(off <= 1e-5 * scale + 4.0 * slack, "{leaves} leave it, it is {}", row.value);
    });
}

/// Positions with a gap between them are a node each: as one, what stands in the gap would read from it and write into it.
#[test]
fn sinks_with_a_gap_between_them_make_no_cycle() {
    let (tried, parted) = (Cell::new(0), Cell::new(0));
    for_all(|model, trace| {
        let n_pos = trace.n_pos();
        if n_pos < 4 {
            return;
        }
        let sinks = graph(model, trace, &all(Sink::At(vec![0, n_pos - 2]), false));
        let found: Vec<Vec<usize>> = sinks.nodes.iter().filter_map(Node::sink_positions).collect();
        assert!(found.iter().all(|run| [vec![0], vec![n_pos - 2]].contains(run)), "{found:?}");
        Influence::of(&sinks).expect("no cycle");
        tried.set(tried.get() + 1);
        parted.set(parted.get() + usize::from(found.len() == 2));
    });
    let (tried, parted) = (tried.get(), parted.get());
    assert!(parted * 2 > tried, "{parted} of {tried} have both");
}

/// Down the tree the children of every node add up to its own edge, whatever leads to it.
#[test]
fn branches_add_up_to_the_edge_they_open() {
    for_all(|model, trace| {
        let tokens = model.pieces(trace.tokens());
        let circuit =
            circuit_graph::circuit_of(model, trace, &[(3, 1.0), (1, -1.0)], Gate::Half, &mut |_, _| Ok(())).unwrap();
        let open = |path: &[BranchPlace]| circuit_graph::branch(model, &circuit, &tokens, path, &[vec![0]]).unwrap();
        let mut places: Vec<(Vec<BranchPlace>, f32)> = vec![(Vec::new(), circuit.value())];
        for _ in 0..3 {
            let mut below = Vec::new();
            for (path, edge) in &places {
                let branch = open(path);
                let sum: f64 = branch.children.iter().map(|(_, w)| f64::from(*w)).sum();
                let abs: f64 = branch.children.iter().map(|(_, w)| f64::from(w.abs())).sum();
                let off = (sum - f64::from(*edge)).abs();
                let allowed = 1e-4 * abs + f64::from(branch.more_abs) + 1e-4;
                assert!(off <= allowed, "{path:?}: {sum} for {edge}, {} more", branch.more);
                // The strongest few, of every kind that has something below it.
                let next = branch.children.iter().filter_map(|(node, w)| Some((BranchPlace::of(node)?, *w)));
                below.extend(next.take(4).map(|(place, w)| (path.iter().cloned().chain([place]).collect(), w)));
            }
            places = below;
        }
    });
}

/// A heavier company changes no row: fewer nodes only hide columns.
#[test]
fn fewer_nodes_leave_the_rows_of_the_others_as_they_are() {
    for_all(|model, trace| {
        let whole = graph(model, trace, &all(Sink::None, false));
        let few = graph(model, trace, &CircuitSettings { max_nodes: 6, ..all(Sink::None, false) });
        assert!(few.nodes.len() <= whole.nodes.len());
        let (slack, whole) = (slack(&whole), edges(&whole));
        for (ends, weight) in edges(&few) {
            let want = whole.get(&ends).copied().unwrap_or(0.0);
            assert!((weight - want).abs() <= 1e-5 * want.abs() + slack, "{ends:?}: {weight} for {want}");
        }
    });
}
