//! Two graphs of one prompt side by side, such as one of neurons and one of transcoder features: how much of each target they explain, and
//! whether they point to the same tokens, layers and places.

mod table;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};

use super::{Graph, GraphScores, Influence, NodeKind};
use crate::cast::short;
use crate::report::statistics::spearman;
pub use table::report;

/// Two graphs of one prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The graphs as wholes.
    pub sides: [Side; 2],
    /// The targets that both have.
    pub targets: Vec<TargetPair>,
    /// Every position of the prompt.
    pub positions: Vec<InfluenceShare>,
    /// Every layer with units in either graph.
    pub layers: Vec<InfluenceShare>,
    /// How far influence by position agrees.
    pub by_position: Agreement,
    /// How far influence by layer agrees.
    pub by_layer: Agreement,
    /// How far influence by layer and position agrees.
    pub by_place: Agreement,
}

/// One graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Side {
    /// What its units are: neurons, features, or both.
    pub units: &'static str,
    /// Neurons and features.
    pub n_units: usize,
    /// Edges.
    pub n_edges: usize,
    /// What it explains, before it was pruned and after.
    pub scores: GraphScores,
}

/// What two graphs say of one target.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetPair {
    /// Its label.
    pub label: String,
    /// In either graph.
    pub sides: [Explained; 2],
}

/// How much of a target comes directly from where.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Explained {
    /// Signed direct effect of neurons and features.
    pub units: f64,
    /// That of embeddings.
    pub inputs: f64,
    /// That of errors and remainders.
    pub errors: f64,
    /// Share of the absolute direct input that is units and inputs.
    pub share: f64,
}

/// A position or layer: the share of all influence on units and inputs that is there, in either graph.
#[derive(Clone, Debug, PartialEq)]
pub struct InfluenceShare {
    /// The position or layer.
    pub at: u32,
    /// The token, of a position.
    pub token: Option<String>,
    /// Shares, first and second graph.
    pub shares: [f64; 2],
}

/// How far two distributions of influence agree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// What they have in common: the sum of the smaller shares, from 0 to 1.
    pub overlap: f64,
    /// Their rank correlation, where there is one.
    pub rank_correlation: Option<f64>,
}

/// Compares two graphs of one prompt.
///
/// # Errors
/// Another prompt, or a graph whose influence cannot be computed.
pub fn compare(a: &Graph, b: &Graph) -> Result<Comparison> {
    let (x, y) = (&a.metadata, &b.metadata);
    ensure!(
        x.prompt_tokens == y.prompt_tokens,
        "the graphs are of two prompts: {:?} and {:?}",
        x.prompt_tokens.concat(),
        y.prompt_tokens.concat()
    );
    let influences = [Influence::of(a)?, Influence::of(b)?];
    let graphs = [a, b];
    let spread = |g: usize, key: &dyn Fn(&super::Node) -> Option<(u32, u32)>, inputs: bool| {
        let mut sums: BTreeMap<(u32, u32), f64> = BTreeMap::new();
        for (node, value) in graphs[g].nodes.iter().zip(influences[g].values()) {
            let counts = is_unit(&node.kind) || (inputs && node.kind.is_input());
            if let Some(key) = key(node).filter(|_| counts) {
                *sums.entry(key).or_default() += value;
            }
        }
        let total = sums.values().sum::<f64>();
        sums.values_mut().for_each(|s| *s = if total > 0.0 { *s / total } else { 0.0 });
        sums
    };
    let both =
        |key: &dyn Fn(&super::Node) -> Option<(u32, u32)>, inputs| [spread(0, key, inputs), spread(1, key, inputs)];
    let positions = both(&|n| Some((n.position?, 0)), true);
    let layers = both(&|n| Some((n.layer?, 0)), false);
    let places = both(&|n| Some((n.layer?, n.position?)), false);
    let n_pos = short(x.prompt_tokens.len());
    let place = |sums: &[BTreeMap<(u32, u32), f64>; 2], at: u32, token| InfluenceShare {
        at,
        token,
        shares: [0, 1].map(|g| sums[g].get(&(at, 0)).copied().unwrap_or(0.0)),
    };
    let used: BTreeSet<u32> = layers.iter().flat_map(|sums| sums.keys().map(|k| k.0)).collect();
    Ok(Comparison {
        sides: [side(a, &influences[0]), side(b, &influences[1])],
        targets: targets(a, b),
        positions: (0..n_pos).map(|p| place(&positions, p, x.token(Some(p)).map(str::to_owned))).collect(),
        layers: used.into_iter().map(|l| place(&layers, l, None)).collect(),
        by_position: agreement(&positions),
        by_layer: agreement(&layers),
        by_place: agreement(&places),
    })
}

fn is_unit(kind: &NodeKind) -> bool {
    matches!(kind, NodeKind::Neuron | NodeKind::Feature)
}

fn side(graph: &Graph, influence: &Influence) -> Side {
    let count = |kind: &NodeKind| graph.nodes.iter().filter(|n| n.kind == *kind).count();
    let (neurons, features) = (count(&NodeKind::Neuron), count(&NodeKind::Feature));
    Side {
        units: match (neurons, features) {
            (_, 0) => "neurons",
            (0, _) => "features",
            _ => "neurons and features",
        },
        n_units: neurons + features,
        n_edges: graph.edges.len(),
        scores: graph.scores(influence, None),
    }
}

/// Targets of equal tokens, or of equal label where no token is known.
fn targets(a: &Graph, b: &Graph) -> Vec<TargetPair> {
    let mut pairs = Vec::new();
    for t in a.targets() {
        let (node, weights) = (&a.nodes[t], a.nodes[t].weights());
        let same = |u: &usize| {
            let other = &b.nodes[*u];
            if weights.is_some() { other.weights() == weights } else { other.label == node.label }
        };
        if let Some(u) = b.targets().find(same) {
            pairs.push(TargetPair { label: node.label.clone(), sides: [explained(a, t), explained(b, u)] });
        }
    }
    pairs
}

fn explained(graph: &Graph, target: usize) -> Explained {
    let (mut found, mut known) = (Explained::default(), 0.0);
    let row = graph.edges.row(target);
    for (source, weight) in row.iter() {
        let kind = &graph.nodes[source as usize].kind;
        let to = if is_unit(kind) {
            &mut found.units
        } else if kind.is_input() {
            &mut found.inputs
        } else {
            &mut found.errors
        };
        *to += f64::from(weight);
        if is_unit(kind) || kind.is_input() {
            known += f64::from(weight.abs());
        }
    }
    // Columns that pruning dropped are not explained either.
    let whole = graph.nodes[target].certificate.map_or(0.0, |c| f64::from(c.abs_sum - c.bias.abs()));
    let total = row.abs_sum().max(whole);
    found.share = if total > 0.0 { (known / total).min(1.0) } else { 0.0 };
    found
}

fn agreement(sums: &[BTreeMap<(u32, u32), f64>; 2]) -> Agreement {
    let keys: BTreeSet<&(u32, u32)> = sums[0].keys().chain(sums[1].keys()).collect();
    let values = |g: usize| keys.iter().map(|k| sums[g].get(*k).copied().unwrap_or(0.0)).collect::<Vec<f64>>();
    let (a, b) = (values(0), values(1));
    Agreement { overlap: a.iter().zip(&b).map(|(a, b)| a.min(*b)).sum(), rank_correlation: spearman(&a, &b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Edge, Edges, Metadata, Node};

    /// The target reads a unit at position 0 by 3, one at position 1 by `second`, and an error by 1.
    fn graph(features: bool, second: f32) -> Graph {
        let make = if features { Node::feature } else { Node::neuron };
        let nodes = vec![
            make(0, 1, 0, 1.0),
            make(1, 2, 1, 1.0),
            Node::error(0, 1),
            Node::logit(5, "x", 1.0, 2, 1),
            Node::logit(6, "y", 0.0, 2, 1),
        ];
        let edge = |source, weight| Edge { target: 3, source, weight };
        let (edges, _) = Edges::from_list(5, vec![edge(0, 3.0), edge(1, second), edge(2, 1.0)]).unwrap();
        let metadata = Metadata { prompt_tokens: vec!["a".into(), "b".into()], ..Metadata::default() };
        Graph::new(metadata, nodes, edges).unwrap()
    }

    #[test]
    fn shares_and_overlaps_of_two_small_graphs() {
        let found = compare(&graph(false, 1.0), &graph(true, -3.0)).unwrap();
        assert_eq!([found.sides[0].units, found.sides[1].units], ["neurons", "features"]);
        assert_eq!(found.targets.len(), 2);
        let [a, b] = found.targets[0].sides;
        assert_eq!((a.units, a.errors, a.share), (4.0, 1.0, 0.8));
        assert_eq!((b.units, b.errors, b.share), (0.0, 1.0, 6.0 / 7.0));
        // Influence of units: 3/4 and 1/4 against a half each.
        assert_eq!(found.positions[1].shares, [0.25, 0.5]);
        assert_eq!(found.positions[1].token.as_deref(), Some("b"));
        assert_eq!(found.layers.len(), 2);
        assert!((found.by_position.overlap - 0.75).abs() < 1e-12);
        assert_eq!(found.by_place.rank_correlation, None);
        let same = compare(&graph(false, 1.0), &graph(false, 1.0)).unwrap();
        assert!((same.by_place.overlap - 1.0).abs() < 1e-12);
        assert_eq!(same.by_layer.rank_correlation, Some(1.0));
        let mut other = graph(false, 1.0);
        other.metadata.prompt_tokens[0] = "c".into();
        assert!(compare(&graph(false, 1.0), &other).is_err());
    }
}
