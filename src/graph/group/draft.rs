//! A first draft of groups: units that read the same and feed the same.
//!
//! Two units are alike when their attribution profiles point the same way: the cosine of their rows (what they read) and that of their
//! columns (what they feed, each edge as a share of its target's input), averaged. Clusters are merged by average linkage, the most alike
//! first, until none are alike enough. What speaks for a group is kept with it: nobody has to believe it.

use std::collections::HashMap;

use super::Group;
use crate::cast::short;
use crate::graph::{Edges, Graph, NodeKind};

/// How groups are drafted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DraftSettings {
    /// Clusters less alike than this are not merged; a cosine.
    pub similarity: f64,
    /// Only units at one position go together.
    pub same_position: bool,
    /// Only units whose effects on all shared targets have one sign in sum go together: a group that cancels itself says nothing.
    pub same_sign: bool,
}

impl Default for DraftSettings {
    fn default() -> Self {
        DraftSettings { similarity: 0.6, same_position: true, same_sign: true }
    }
}

/// A drafted group and what speaks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// The group; its label names its position, its layers and what it feeds most.
    pub group: Group,
    /// Mean cosine of what its members read; `None` when no two of them read anything.
    pub inputs: Option<f64>,
    /// Mean cosine of what its members feed; `None` when no two of them feed anything.
    pub outputs: Option<f64>,
    /// What the group reads most, with its signed share in the group's absolute input.
    pub reads: Vec<(u32, f64)>,
    /// What the group feeds most, with its signed share in that node's absolute input.
    pub feeds: Vec<(u32, f64)>,
}

/// Sources or targets shown as evidence.
const SHOWN: usize = 3;

/// A sparse vector of length 1, by node; empty when there is nothing.
type Profile = Vec<(u32, f64)>;

/// Groups of at least two units, those of the most influence on what they feed first.
pub fn draft(graph: &Graph, settings: DraftSettings) -> Vec<Draft> {
    let units: Vec<u32> = (0..short(graph.nodes.len()))
        .filter(|u| matches!(graph.nodes[*u as usize].kind, NodeKind::Neuron | NodeKind::Feature))
        .collect();
    let columns = graph.edges.transposed();
    let totals: Vec<f64> = (0..graph.nodes.len()).map(|t| graph.edges.row(t).abs_sum()).collect();
    let share = |target: u32, weight: f32| f64::from(weight) / totals[target as usize].max(f64::MIN_POSITIVE);
    let inputs: Vec<Profile> =
        units.iter().map(|u| unit(graph.edges.row(*u as usize).iter().map(|(s, w)| (s, w.into())).collect())).collect();
    let outputs: Vec<Profile> =
        units.iter().map(|u| unit(columns.row(*u as usize).iter().map(|(t, w)| (t, share(t, w))).collect())).collect();

    let mut drafts = Vec::new();
    for together in classes(graph, &units, &outputs, settings) {
        for cluster in clusters(&together, &inputs, &outputs, settings.similarity) {
            if cluster.len() > 1 {
                let mean = |of: &[Profile]| mean_cosine(&cluster, of);
                let group = Group { label: String::new(), members: cluster.iter().map(|i| units[*i]).collect() };
                let (reads, feeds) = (reads(graph, &group), feeds(&columns, &totals, &group));
                let label = label(graph, &group, &feeds);
                let group = Group { label, ..group };
                drafts.push(Draft { group, inputs: mean(&inputs), outputs: mean(&outputs), reads, feeds });
            }
        }
    }
    let weight = |draft: &Draft| draft.feeds.iter().map(|f| f.1.abs()).fold(0.0, f64::max);
    drafts.sort_by(|a, b| weight(b).total_cmp(&weight(a)).then(a.group.members.cmp(&b.group.members)));
    distinguish(&mut drafts);
    drafts
}

/// Places in `units` that may be in one group.
fn classes(graph: &Graph, units: &[u32], outputs: &[Profile], settings: DraftSettings) -> Vec<Vec<usize>> {
    let mut classes: HashMap<(Option<u32>, bool), Vec<usize>> = HashMap::new();
    for (i, &node) in units.iter().enumerate() {
        let position = graph.nodes[node as usize].position.filter(|_| settings.same_position);
        let negative = settings.same_sign && outputs[i].iter().map(|o| o.1).sum::<f64>() < 0.0;
        classes.entry((position, negative)).or_default().push(i);
    }
    let mut classes: Vec<_> = classes.into_values().collect();
    classes.sort();
    classes
}

/// Average linkage: merges the two most alike clusters until none are alike enough.
fn clusters(together: &[usize], inputs: &[Profile], outputs: &[Profile], least: f64) -> Vec<Vec<usize>> {
    let n = together.len();
    let mut alike = vec![vec![0.0; n]; n];
    for a in 0..n {
        for b in 0..a {
            let (i, j) = (together[a], together[b]);
            let both = [cosine(&inputs[i], &inputs[j]), cosine(&outputs[i], &outputs[j])];
            let known: Vec<f64> = both.into_iter().flatten().collect();
            let mean = if known.is_empty() { 0.0 } else { known.iter().sum::<f64>() / known.len() as f64 };
            (alike[a][b], alike[b][a]) = (mean, mean);
        }
    }
    let mut clusters: Vec<Vec<usize>> = together.iter().map(|i| vec![*i]).collect();
    let mut alive: Vec<usize> = (0..n).collect();
    loop {
        let mut best: Option<(f64, usize, usize)> = None;
        for (x, &a) in alive.iter().enumerate() {
            for &b in &alive[x + 1..] {
                if best.is_none_or(|(s, ..)| alike[a][b] > s) {
                    best = Some((alike[a][b], a, b));
                }
            }
        }
        let Some((_, a, b)) = best.filter(|(s, ..)| *s >= least) else { break };
        let (n_a, n_b) = (clusters[a].len() as f64, clusters[b].len() as f64);
        for &c in alive.iter().filter(|c| **c != a && **c != b) {
            let mean = (n_a * alike[a][c] + n_b * alike[b][c]) / (n_a + n_b);
            (alike[a][c], alike[c][a]) = (mean, mean);
        }
        let other = std::mem::take(&mut clusters[b]);
        clusters[a].extend(other);
        alive.retain(|c| *c != b);
    }
    let mut found: Vec<Vec<usize>> = clusters.into_iter().filter(|c| !c.is_empty()).collect();
    found.iter_mut().for_each(|c| c.sort_unstable());
    found
}

fn unit(mut profile: Profile) -> Profile {
    let length = profile.iter().map(|p| p.1 * p.1).sum::<f64>().sqrt();
    if length == 0.0 {
        return Vec::new();
    }
    profile.iter_mut().for_each(|p| p.1 /= length);
    profile
}

/// The cosine of two profiles, whose nodes ascend; `None` when either is empty.
fn cosine(a: &Profile, b: &Profile) -> Option<f64> {
    if a.is_empty() || b.is_empty() {
        return None;
    }
    let (mut i, mut j, mut sum) = (0, 0, 0.0);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        if x.0 == y.0 {
            sum += x.1 * y.1;
        }
        i += usize::from(x.0 <= y.0);
        j += usize::from(y.0 <= x.0);
    }
    Some(sum)
}

fn mean_cosine(cluster: &[usize], profiles: &[Profile]) -> Option<f64> {
    let pairs = cluster.iter().enumerate().flat_map(|(x, i)| cluster[..x].iter().map(move |j| (*i, *j)));
    let found: Vec<f64> = pairs.filter_map(|(i, j)| cosine(&profiles[i], &profiles[j])).collect();
    (!found.is_empty()).then(|| found.iter().sum::<f64>() / found.len() as f64)
}

fn strongest(sums: HashMap<u32, f64>) -> Vec<(u32, f64)> {
    let mut all: Vec<(u32, f64)> = sums.into_iter().collect();
    all.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()).then(a.0.cmp(&b.0)));
    all.truncate(SHOWN);
    all
}

fn reads(graph: &Graph, group: &Group) -> Vec<(u32, f64)> {
    let rows = || group.members.iter().map(|m| graph.edges.row(*m as usize));
    let total = rows().map(|row| row.abs_sum()).sum::<f64>().max(f64::MIN_POSITIVE);
    let mut sums = HashMap::new();
    for (source, weight) in rows().flat_map(|row| row.iter()) {
        *sums.entry(source).or_insert(0.0) += f64::from(weight) / total;
    }
    strongest(sums)
}

fn feeds(columns: &Edges, totals: &[f64], group: &Group) -> Vec<(u32, f64)> {
    let mut sums = HashMap::new();
    for (target, weight) in group.members.iter().flat_map(|m| columns.row(*m as usize).iter()) {
        *sums.entry(target).or_insert(0.0) += f64::from(weight) / totals[target as usize].max(f64::MIN_POSITIVE);
    }
    strongest(sums)
}

/// `" Dallas"@7 L0-L1 -> L2.N88@9`
fn label(graph: &Graph, group: &Group, feeds: &[(u32, f64)]) -> String {
    let nodes = group.members.iter().map(|m| &graph.nodes[*m as usize]);
    let positions: Vec<Option<u32>> = nodes.clone().map(|n| n.position).collect();
    let place = match positions[..] {
        [Some(first), ..] if positions.iter().all(|p| *p == Some(first)) => {
            graph.metadata.token(Some(first)).map_or(format!("@{first}"), |token| format!("{token:?}@{first}"))
        }
        _ => "several positions".to_owned(),
    };
    let layers = nodes.filter_map(|n| n.layer);
    let layers = match (layers.clone().min(), layers.max()) {
        (Some(low), Some(high)) if low == high => format!(" L{low}"),
        (Some(low), Some(high)) => format!(" L{low}-L{high}"),
        _ => String::new(),
    };
    let feeds = feeds.first().map_or(String::new(), |(target, _)| {
        let node = &graph.nodes[*target as usize];
        if node.kind.is_logit() { format!(" -> {:?}", node.label) } else { format!(" -> {}", node.name()) }
    });
    format!("{place}{layers}{feeds}")
}

/// Numbers labels that occur more than once.
fn distinguish(drafts: &mut [Draft]) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for draft in drafts {
        let count = seen.entry(draft.group.label.clone()).or_default();
        *count += 1;
        if *count > 1 {
            draft.group.label.push_str(&format!(" ({count})"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Edge, Metadata, Node};

    /// Units a and b read token 0 and feed the target up, c reads token 1, d is like a but feeds it down; e is like a at another position.
    fn graph() -> Graph {
        let nodes = vec![
            Node::embedding(1, 0),
            Node::embedding(2, 1),
            Node::neuron(0, 0, 1, 1.0),
            Node::neuron(1, 1, 1, 1.0),
            Node::neuron(0, 2, 1, 1.0),
            Node::neuron(0, 3, 1, 1.0),
            Node::neuron(0, 4, 0, 1.0),
            Node::logit(7, "x", 1.0, 2, 1),
        ];
        let edge = |target, source, weight| Edge { target, source, weight };
        let list = vec![
            edge(2, 0, 2.0),
            edge(3, 0, 1.0),
            edge(3, 1, 0.1),
            edge(4, 1, 1.0),
            edge(5, 0, 1.0),
            edge(6, 0, 1.0),
            edge(7, 2, 1.0),
            edge(7, 3, 3.0),
            edge(7, 4, 2.0),
            edge(7, 5, -1.0),
            edge(7, 6, 1.0),
        ];
        let tokens = vec!["a".into(), " b".into()];
        let metadata = Metadata { prompt_tokens: tokens, ..Metadata::default() };
        Graph::new(metadata, nodes, Edges::from_list(8, list).unwrap().0).unwrap()
    }

    #[test]
    fn units_that_read_and_feed_alike_go_together() {
        let graph = graph();
        let drafts = draft(&graph, DraftSettings::default());
        assert_eq!(drafts.len(), 1);
        let one = &drafts[0];
        assert_eq!(one.group.members, [2, 3]);
        assert_eq!(one.group.label, "\" b\"@1 L0-L1 -> \"x\"");
        assert!((one.inputs.unwrap() - 1.0 / 1.01f64.sqrt()).abs() < 1e-6);
        assert_eq!(one.outputs, Some(1.0));
        assert_eq!(one.feeds, [(7, 0.5)]);
        assert_eq!((one.reads[0].0, one.reads[1].0), (0, 1));
        assert!((one.reads[0].1 - 3.0 / 3.1).abs() < 1e-6);

        let anywhere = draft(&graph, DraftSettings { same_position: false, ..DraftSettings::default() });
        assert_eq!(anywhere[0].group.members, [2, 3, 6]);
        let any_sign = draft(&graph, DraftSettings { same_sign: false, similarity: -1.0, ..DraftSettings::default() });
        assert_eq!(any_sign[0].group.members, [2, 3, 4, 5]);
        assert!(draft(&graph, DraftSettings { similarity: 0.999, ..DraftSettings::default() }).is_empty());
    }
}
