//! A first draft of groups: units that play one role.
//!
//! A role is which token a unit reads, by which way it reaches the answer, and what it does there: heads of one position that look at the same token;
//! MLPs, neurons and features of one position whose input comes from the same token, and which the same position reads; those that raise the target
//! apart from those that lower it. A head's token is the one that it looks at most; one that looks at a sink rests. Any other unit reads its own
//! token, unless most of its input, in absolute values, was carried there by heads from another one. Units that are on at nearly all positions play no
//! role of their own.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::Group;
use crate::cast::short;
use crate::graph::order::targets_first;
use crate::graph::{Edges, Graph, Node, NodeKind};

/// What units of a group have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Role {
    /// Where they are.
    pub position: u32,
    /// Whether they are heads.
    pub heads: bool,
    /// The position of the token that they read.
    pub reads: u32,
    /// The other position that reads most of what they write; `None` where none does.
    pub on_to: Option<u32>,
    /// Whether they lower the target.
    pub against: bool,
}

/// A drafted group and what speaks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// The group; its label says its role.
    pub group: Group,
    /// Its role.
    pub role: Role,
    /// What its members put into the target by every path, together.
    pub writes: f64,
    /// What they count for to first order, together; `None` where nobody counted.
    pub counts: Option<f64>,
}

/// Groups of at least two units with one role, those that write most into the target first.
///
/// # Errors
/// The graph has a cycle.
pub fn draft(graph: &Graph) -> Result<Vec<Draft>> {
    let columns = graph.edges.transposed();
    let effects = Effects::of(graph)?;
    let mut roles: BTreeMap<Role, Vec<u32>> = BTreeMap::new();
    for at in 0..short(graph.nodes.len()) {
        if let Some(role) = role(graph, &columns, &effects, at) {
            roles.entry(role).or_default().push(at);
        }
    }
    let mut drafts = Vec::new();
    for (role, mut members) in roles.into_iter().filter(|(_, members)| members.len() > 1) {
        let size = |at: &u32| effects.writes[*at as usize].abs();
        members.sort_by(|a, b| size(b).total_cmp(&size(a)).then(a.cmp(b)));
        let writes = members.iter().map(|at| effects.writes[*at as usize]).sum();
        let counts = members.iter().map(|at| Some(f64::from(graph.nodes[*at as usize].totals?.counts?))).sum();
        let label = label(graph, &columns, &effects, &role, &members);
        drafts.push(Draft { group: Group { label, members }, role, writes, counts });
    }
    drafts.sort_by(|a, b| b.writes.abs().total_cmp(&a.writes.abs()).then(a.role.cmp(&b.role)));
    Ok(drafts)
}

/// What nodes do to the targets by every path of the graph.
struct Effects {
    /// By node, in units of the targets, each by its weight.
    writes: Vec<f64>,
    /// By reader, what turns an edge into it into units of the targets.
    scales: Vec<f64>,
    /// The positions that attention rests on.
    sinks: BTreeSet<u32>,
}

impl Effects {
    /// With attention inside nodes know their totals, and rows of heads and MLPs are in units of the target; else the edges of all paths multiply.
    fn of(graph: &Graph) -> Result<Self> {
        let n = graph.nodes.len();
        let (mut writes, mut scales) = (vec![0.0; n], vec![0.0; n]);
        for target in targets_first(&graph.edges, |i| graph.nodes[i].name())?.into_iter().map(|at| at as usize) {
            let node = &graph.nodes[target];
            if let Some(totals) = node.totals {
                writes[target] = f64::from(totals.writes);
            }
            scales[target] = match (&node.kind, node.value()) {
                (NodeKind::Logit { probability, .. }, _) => f64::from(*probability),
                (_, Some(value)) if value != 0.0 => writes[target] / f64::from(value),
                _ => 0.0,
            };
            for (source, weight) in graph.edges.row(target).iter() {
                if graph.nodes[source as usize].totals.is_none() {
                    writes[source as usize] += scales[target] * f64::from(weight);
                }
            }
        }
        let sinks = graph.nodes.iter().filter_map(Node::sink_positions).flatten();
        Ok(Effects { writes, scales, sinks: sinks.filter_map(|p| u32::try_from(p).ok()).collect() })
    }
}

/// Whether groups are made of it.
fn plays(node: &Node) -> bool {
    node.can_be_kept() && !node.always_on
}

fn role(graph: &Graph, columns: &Edges, effects: &Effects, at: u32) -> Option<Role> {
    let node = graph.nodes.get(at as usize).filter(|node| plays(node))?;
    let (position, writes) = (node.position?, effects.writes[at as usize]);
    let heads = node.kind == NodeKind::Head;
    let looks = if heads { node.looks().first().map(|look| look.0) } else { None };
    let reads = looks.or_else(|| most_of(sources(graph, effects, at))).unwrap_or(position);
    let on_to = most_of(readers(graph, columns, effects, at).map(|(reader, by)| (reader.position.unwrap_or(0), by)));
    (writes != 0.0).then_some(Role { position, heads, reads, on_to, against: writes < 0.0 })
}

/// Where what a node reads comes from: the positions of tokens, with the absolute weights of edges.
fn sources<'a>(graph: &'a Graph, effects: &'a Effects, at: u32) -> impl Iterator<Item = (u32, f64)> {
    graph.edges.row(at as usize).iter().filter_map(move |(source, weight)| {
        let node = &graph.nodes[source as usize];
        let tells = !node.always_on && !matches!(node.kind, NodeKind::Error | NodeKind::Sink);
        let of = tells.then_some(node.position)??;
        let looks = if node.kind == NodeKind::Head { node.looks().first().map(|look| look.0) } else { None };
        // What a head that rests brings is no token's.
        let looks = looks.filter(|key| !effects.sinks.contains(key));
        Some((looks.unwrap_or(of), f64::from(weight.abs())))
    })
}

/// Who reads a node at other positions, with the absolute effect on the target that runs there.
fn readers<'a>(
    graph: &'a Graph,
    columns: &'a Edges,
    effects: &'a Effects,
    at: u32,
) -> impl Iterator<Item = (&'a Node, f64)> {
    let position = graph.nodes[at as usize].position;
    columns.row(at as usize).iter().filter_map(move |(reader, weight)| {
        let node = &graph.nodes[reader as usize];
        let away = node.position.is_some() && node.position != position;
        away.then(|| (node, (effects.scales[reader as usize] * f64::from(weight)).abs()))
    })
}

/// The key that most goes to; of equals the lowest.
fn most_of<K: Ord + Copy>(parts: impl Iterator<Item = (K, f64)>) -> Option<K> {
    let mut sums: BTreeMap<K, f64> = BTreeMap::new();
    parts.for_each(|(key, part)| *sums.entry(key).or_default() += part);
    let most = sums.into_iter().reduce(|a, b| if b.1 > a.1 { b } else { a })?;
    (most.1 > 0.0).then_some(most.0)
}

/// `heads@13 for: look at 9 " John"`, `units@7 for: own " Dallas", on by L2.H1@8`, `units@8 against: read 7 " Dallas"`
fn label(graph: &Graph, columns: &Edges, effects: &Effects, role: &Role, members: &[u32]) -> String {
    let Role { position, reads, .. } = *role;
    let token = |position: u32| graph.metadata.token(Some(position)).map_or(String::new(), |text| format!(" {text:?}"));
    // What tells groups of one position apart comes first: lines are narrow.
    let sign = if role.against { "against" } else { "for" };
    let mut text = match role.heads {
        true if effects.sinks.contains(&reads) => format!("heads@{position} {sign}: rest on {reads}{}", token(reads)),
        true => format!("heads@{position} {sign}: look at {reads}{}", token(reads)),
        false if reads == position => format!("units@{position} {sign}: own{}", token(position)),
        false => format!("units@{position} {sign}: read {reads}{}", token(reads)),
    };
    if let Some(on_to) = role.on_to {
        let there = members.iter().flat_map(|at| readers(graph, columns, effects, *at));
        let carriers = there.filter(|(node, _)| node.position == Some(on_to) && node.kind == NodeKind::Head);
        match most_of(carriers.map(|(node, by)| ((node.layer, node.index), by))) {
            Some((Some(layer), Some(head))) => text += &format!(", on by L{layer}.H{head}@{on_to}"),
            _ => text += &format!(", on to {on_to}{}", token(on_to)),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Certificate, Edge, Metadata, NodeTotals};

    /// Two neurons at position 0 that the head at 1 carries on, one that works against; two heads at 1 that look at 0; two neurons at 1, one of which
    /// reads what the heads bring.
    fn graph() -> Graph {
        let row = |value| Certificate { value, bias: 0.0, residual: 0.0, abs_sum: 1.0, unexplained: 0.0 };
        let with = |writes: f32, counts, node: Node| Node {
            totals: Some(NodeTotals { writes, counts: Some(counts) }),
            certificate: Some(row(node.activation.unwrap_or(writes))),
            ..node
        };
        let nodes = vec![
            Node::embedding(1, 0),
            Node::embedding(2, 1),
            with(2.0, 1.0, Node::neuron(0, 0, 0, 1.0)),
            with(1.0, 0.5, Node::neuron(0, 1, 0, 1.0)),
            with(-1.0, -1.0, Node::neuron(0, 2, 0, 1.0)),
            with(3.0, 2.0, Node::head(1, 0, 1).with_looks(&[(0, 0.9), (1, 0.1)])),
            with(1.0, 1.0, Node::head(1, 1, 1).with_looks(&[(0, 0.8), (1, 0.2)])),
            with(2.0, 2.0, Node::neuron(1, 5, 1, 1.0)),
            with(1.0, 1.0, Node::neuron(1, 6, 1, 1.0)),
            with(1.0, 1.0, Node { always_on: true, ..Node::neuron(1, 7, 1, 1.0) }),
            Node::contrast("\" x\" - \" y\"", 2, 1),
        ];
        let edge = |target, source, weight| Edge { target, source, weight };
        let list = vec![
            edge(2, 0, 1.0),
            edge(3, 0, 1.0),
            edge(4, 0, 1.0),
            edge(5, 2, 2.0),
            edge(5, 3, 1.0),
            edge(5, 4, -1.0),
            edge(6, 0, 1.0),
            edge(7, 5, 0.8),
            edge(7, 1, 0.2),
            edge(8, 1, 1.0),
            edge(9, 1, 1.0),
            edge(10, 5, 1.0),
            edge(10, 6, 1.0),
            edge(10, 7, 2.0),
            edge(10, 8, 1.0),
        ];
        let tokens = vec!["a".into(), " b".into()];
        let metadata = Metadata { prompt_tokens: tokens, ..Metadata::default() };
        Graph::new(metadata, nodes, Edges::from_list(11, list).unwrap().0).unwrap()
    }

    #[test]
    fn units_of_one_role_go_together() {
        let graph = graph();
        let drafts = draft(&graph).unwrap();
        let found: Vec<(&str, &[u32])> = drafts.iter().map(|d| (&*d.group.label, &*d.group.members)).collect();
        // One alone is no group: neither the neuron that works against, nor the two at 1 that read different tokens.
        assert_eq!(
            found,
            [("heads@1 for: look at 0 \"a\"", &[5, 6][..]), ("units@0 for: own \"a\", on by L1.H0@1", &[2, 3][..])]
        );
        assert_eq!((drafts[1].writes, drafts[1].counts), (3.0, Some(1.5)));
    }

    #[test]
    fn heads_that_look_at_a_sink_rest() {
        let mut graph = graph();
        for head in [5, 6] {
            graph.nodes[head] = graph.nodes[head].clone().with_looks(&[(0, 0.9)]);
        }
        graph.nodes[4] = Node::sink(&[0]);
        let drafts = draft(&graph).unwrap();
        let found: Vec<&str> = drafts.iter().map(|d| &*d.group.label).collect();
        // What they bring is not the first token's: the neuron that reads them reads its own, as the other one does.
        assert!(found.contains(&"heads@1 for: rest on 0 \"a\""), "{found:?}");
        assert!(found.contains(&"units@1 for: own \" b\""), "{found:?}");
    }

    #[test]
    fn without_totals_the_edges_of_all_paths_say_what_a_unit_writes() {
        let nodes = vec![
            Node::embedding(1, 0),
            Node::neuron(0, 0, 0, 2.0),
            Node::neuron(0, 1, 0, 1.0),
            Node::neuron(1, 0, 1, 4.0),
            Node::logit(1, "x", 0.5, 2, 1),
        ];
        let edge = |target, source, weight| Edge { target, source, weight };
        let list =
            vec![edge(1, 0, 2.0), edge(2, 0, 1.0), edge(3, 1, 1.0), edge(3, 2, 3.0), edge(4, 3, 8.0), edge(4, 1, 1.0)];
        let graph = Graph::new(Metadata::default(), nodes, Edges::from_list(5, list).unwrap().0).unwrap();
        let drafts = draft(&graph).unwrap();
        assert_eq!(drafts.len(), 1);
        // 3.0 of 4.0 times 8.0, and 1.0 of 4.0 times 8.0 with 1.0 besides; the target weighs a half.
        assert_eq!((&drafts[0].group.members[..], drafts[0].writes), (&[2, 1][..], 3.0 + 1.5));
        assert_eq!((&*drafts[0].group.label, drafts[0].counts), ("units@0 for: own, on to 1", None));
    }
}
