//! Groups of a graph: drafted and tested, and drawn as single nodes.

use super::{GraphOutput, output};
use crate::analysis::verify::Verifier;
use crate::cast::short;
use crate::graph::format::{ALL, json, text};
use crate::graph::group::{self, collapse};
use crate::graph::tree::{Tree, TreeSource};
use crate::graph::verification::TestedDrafts;
use crate::graph::{Graph, NodeKind};
use crate::model::Model;
use crate::model::dictionary::Dictionary;
use crate::report::{Format, Report, Table};
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

/// Drafts groups by role, keeps each alone in the model, and puts those that matter into the graph with what was measured.
///
/// # Errors
/// The graph has a cycle or no target; a run fails.
pub fn add_tested_drafts(
    model: &Model,
    dictionary: Option<&Dictionary>,
    graph: &mut Graph,
    options: &GraphOutput,
) -> Result<()> {
    let mut drafts = group::drafts(graph)?;
    let groups: Vec<_> = drafts.iter().map(|draft| (draft.group.label.clone(), draft.group.members.clone())).collect();
    let tested = {
        let verifier = Verifier::new(model, dictionary, graph, None)?;
        verifier.drafts(&groups, &mut output::work_progress("groups"))?
    };
    let TestedDrafts { kept, together, tested } = tested;
    drafts.retain(|draft| kept.iter().any(|kept| kept.label == draft.group.label));
    let together = together.as_ref().inspect(|all| graph.record_kept((*all).clone()));
    let alone = together.and_then(|all| all.found.faithfulness()).map_or(String::new(), |alone| {
        format!("; together they do {alone:.3} of what the graph's units do, all others at their means")
    });
    output::remark(&format!("{} of {tested} drafted groups matter{alone}", kept.len()));
    kept.into_iter().for_each(|kept| graph.record_kept(kept));
    print_evidence(group::add_drafts(graph, &drafts), options)
}

/// Prints what speaks for drafted groups before the graph, where that is text.
///
/// # Errors
/// Standard output cannot be written.
pub fn print_evidence(evidence: Table, options: &GraphOutput) -> Result<()> {
    if options.is_text() {
        let mut report = Report::default();
        report.table("groups", "Groups", evidence);
        let mut out = std::io::stdout().lock();
        report.write(Format::Text, &mut out)?;
        writeln!(out)?;
    }
    Ok(())
}
