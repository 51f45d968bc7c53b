//! Drafted groups put into a graph, and what speaks for each of them.

use super::draft::{Draft, DraftSettings, draft};
use super::{groups, supernodes};
use crate::cast::single;
use crate::graph::Graph;
use crate::report::{Cell, Column, Table};

/// Adds drafted groups to those of the file; units that are in a group already stay there. Returns the evidence for each.
pub fn add_drafts(graph: &mut Graph) -> Table {
    let (known, _) = groups(graph);
    let taken = |node: &u32| known.iter().any(|group| group.members.contains(node));
    let mut drafts = draft(graph, DraftSettings::default());
    drafts.iter_mut().for_each(|draft| draft.group.members.retain(|m| !taken(m)));
    drafts.retain(|draft| draft.group.members.len() > 1);
    let drafted: Vec<_> = drafts.iter().map(|draft| draft.group.clone()).collect();
    let table = evidence(graph, &drafts);
    let supernodes = supernodes(graph, &drafted);
    graph.view.supernodes.extend(supernodes);
    table
}

fn evidence(graph: &Graph, drafts: &[Draft]) -> Table {
    let mut table = Table::new([
        Column::text("group"),
        Column::text("members"),
        Column::number("same_inputs", "cosine", 3),
        Column::number("same_outputs", "cosine", 3),
        Column::text("reads"),
        Column::text("feeds"),
    ]);
    let name = |node: u32| {
        let node = &graph.nodes[node as usize];
        if node.kind.is_logit() { format!("{:?}", node.label) } else { node.name() }
    };
    let shares = |list: &[(u32, f64)]| {
        let one = |&(node, share): &(u32, f64)| format!("{} {:+.0}%", name(node), 100.0 * share);
        list.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    for draft in drafts {
        let members: Vec<String> = draft.group.members.iter().map(|m| name(*m)).collect();
        table.push([
            Cell::from(draft.group.label.clone()),
            members.join(" ").into(),
            draft.inputs.map(single).into(),
            draft.outputs.map(single).into(),
            shares(&draft.reads).into(),
            shares(&draft.feeds).into(),
        ]);
    }
    table
}
