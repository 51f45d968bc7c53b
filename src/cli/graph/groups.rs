//! The graph of groups of a graph file.

use super::{GraphOutput, output};
use crate::cast::short;
use crate::graph::format::{ALL, json, text};
use crate::graph::group::{self, collapse};
use crate::graph::tree::{Tree, TreeSource};
use crate::graph::{Graph, NodeKind};
use anyhow::{Result, bail};
use std::io::{BufWriter, Write};

/// Prints the graph whose groups are single nodes.
pub fn print_collapsed(graph: &Graph, options: &GraphOutput) -> Result<()> {
    let (mut groups, _) = group::groups(graph);
    groups.retain(|group| !group.members.is_empty());
    let collapsed = collapse(graph, &groups, None)?.graph(graph, &groups)?;
    let limits = options.options().limits;
    let write = |to: &mut dyn Write| -> Result<()> {
        let mut to = BufWriter::new(to);
        let format = options.format();
        if format.name == json::FORMAT.name {
            let others = ALL.iter().map(|format| format.name).filter(|name| *name != json::FORMAT.name);
            let others = others.collect::<Vec<_>>().join(", ");
            bail!("--collapse has no JSON: groups are in the graph's own; accepted: {others}")
        } else if !options.is_text() {
            (format.write)(&collapsed, &options.options(), &mut to)?;
        } else {
            let guides = if options.ascii { text::ASCII } else { text::UNICODE };
            let is_group = |kind: &NodeKind| matches!(kind, NodeKind::Other(kind) if **kind == *group::KIND);
            let n = collapsed.nodes.iter().filter(|node| is_group(&node.kind)).count();
            let (nodes, edges) = (collapsed.nodes.len(), collapsed.edges.len());
            writeln!(to, "graph         {nodes} nodes of which {n} are groups, {edges} edges")?;
            // Groups can feed each other in circles: there are trees, but no influence.
            for target in collapsed.targets() {
                let source = TreeSource { graph: &collapsed, columns: None, pruned: None };
                writeln!(to)?;
                text::write_tree(&collapsed, &Tree::upstream(source, short(target), &limits), guides, &mut to)?;
            }
        }
        Ok(to.flush()?)
    };
    output::write_to(options.out.as_deref(), write)
}
