//! Drafted groups put into a graph, and what speaks for each of them.

use super::role::{Draft, draft};
use super::{groups, supernodes};
use crate::cast::single;
use crate::graph::Graph;
use crate::graph::verification::KeepOnly;
use crate::report::{Cell, Column, Table};
use anyhow::Result;

/// Drafts for a graph; units that are in a group already stay there.
///
/// # Errors
/// The graph has a cycle.
pub fn drafts(graph: &Graph) -> Result<Vec<Draft>> {
    let (known, _) = groups(graph);
    let taken = |node: &u32| known.iter().any(|group| group.members.contains(node));
    let mut drafts = draft(graph)?;
    drafts.iter_mut().for_each(|draft| draft.group.members.retain(|m| !taken(m)));
    drafts.retain(|draft| draft.group.members.len() > 1);
    Ok(drafts)
}

/// Adds drafted groups to those of the graph. Returns the evidence for each.
pub fn add_drafts(graph: &mut Graph, drafts: &[Draft]) -> Table {
    let table = evidence(graph, drafts);
    let drafted: Vec<_> = drafts.iter().map(|draft| draft.group.clone()).collect();
    let supernodes = supernodes(graph, &drafted);
    graph.view.supernodes.extend(supernodes);
    table
}

/// What a group did alone, where that was measured: of the graph's first target before others.
pub fn kept_alone<'a>(graph: &'a Graph, label: &str, target: Option<&str>) -> Option<&'a KeepOnly> {
    let of = graph.kept.iter().rev().filter(|kept| kept.label == label);
    of.filter(|kept| target.is_none_or(|target| kept.target == target)).map(|kept| &kept.found).next()
}

/// The drafts in lines: what was measured, what is predicted, who they are.
pub fn evidence(graph: &Graph, drafts: &[Draft]) -> Table {
    let number = |name| Column::number(name, "", 3);
    let mut table = Table::new([
        Column::text("group"),
        Column::integer("nodes"),
        number("faithfulness"),
        number("completeness"),
        number("writes"),
        number("counts"),
        Column::text("members"),
    ]);
    for draft in drafts {
        let members: Vec<String> = draft.group.members.iter().map(|m| graph.nodes[*m as usize].name()).collect();
        let kept = kept_alone(graph, &draft.group.label, None);
        table.push([
            Cell::from(draft.group.label.clone()),
            draft.group.members.len().into(),
            kept.and_then(KeepOnly::faithfulness).into(),
            kept.and_then(KeepOnly::completeness).into(),
            single(draft.writes).into(),
            draft.counts.map(single).into(),
            members.join(" ").into(),
        ]);
    }
    table
}
