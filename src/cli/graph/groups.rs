//! Groups of a graph file: a first draft with its evidence, and the graph of groups.

use super::{Format, GraphOutput, output};
use crate::graph::format::{dot, svg, text, tsv};
use crate::graph::group::draft::{self, Draft};
use crate::graph::group::{self, collapse};
use crate::graph::tree::{Limits, Source, Tree};
use crate::graph::{Graph, NodeKind};
use crate::report::{Cell, Column, Table};
use anyhow::{Result, bail};
use std::io::{BufWriter, Write};

/// Adds drafted groups to those of the file; units that are in a group already stay there. Returns the evidence for each.
pub fn add_drafts(graph: &mut Graph) -> Table {
    let (known, _) = group::groups(graph);
    let taken = |node: &u32| known.iter().any(|group| group.members.contains(node));
    let mut drafts = draft::draft(graph, draft::Settings::default());
    drafts.iter_mut().for_each(|draft| draft.group.members.retain(|m| !taken(m)));
    drafts.retain(|draft| draft.group.members.len() > 1);
    let groups: Vec<_> = drafts.iter().map(|draft| draft.group.clone()).collect();
    let table = evidence(graph, &drafts);
    let supernodes = group::supernodes(graph, &groups);
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
            draft.inputs.map(|x| x as f32).into(),
            draft.outputs.map(|x| x as f32).into(),
            shares(&draft.reads).into(),
            shares(&draft.feeds).into(),
        ]);
    }
    table
}

/// Prints the graph whose groups are single nodes.
pub fn print_collapsed(graph: &Graph, options: &GraphOutput) -> Result<()> {
    let (mut groups, _) = group::groups(graph);
    groups.retain(|group| !group.members.is_empty());
    let collapsed = collapse(graph, &groups, None)?.graph(graph, &groups)?;
    let limits = Limits { depth: options.depth, ..Limits::default() };
    let write = |to: &mut dyn Write| -> Result<()> {
        let mut to = BufWriter::new(to);
        match options.format {
            Format::Json => {
                bail!("--collapse has no JSON: groups are in the graph's own; accepted: text, dot, tsv, svg, svg-tree")
            }
            Format::Dot => dot::write(&collapsed, &mut to)?,
            Format::Tsv => tsv::write(&collapsed, &mut to)?,
            Format::Svg => svg::write(&collapsed, &mut to)?,
            Format::SvgTree => svg::write_tree(&collapsed, &limits, &mut to)?,
            Format::Text => {
                let guides = if options.ascii { text::ASCII } else { text::UNICODE };
                let is_group = |kind: &NodeKind| matches!(kind, NodeKind::Other(kind) if **kind == *group::KIND);
                let n = collapsed.nodes.iter().filter(|node| is_group(&node.kind)).count();
                let (nodes, edges) = (collapsed.nodes.len(), collapsed.edges.len());
                writeln!(to, "graph         {nodes} nodes of which {n} are groups, {edges} edges")?;
                // Groups can feed each other in circles: there are trees, but no influence.
                for target in collapsed.targets() {
                    let source = Source { graph: &collapsed, columns: None, pruned: None };
                    writeln!(to)?;
                    text::write_tree(&collapsed, &Tree::upstream(source, target as u32, &limits), guides, &mut to)?;
                }
            }
        }
        Ok(to.flush()?)
    };
    match &options.out {
        None => write(&mut std::io::stdout().lock()),
        Some(path) => output::replace(path, write),
    }
}
