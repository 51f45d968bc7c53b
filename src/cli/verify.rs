//! `mechscope verify`: tests a graph file by intervention and writes what was measured into it.

use super::graph_file::{self, GraphFile, GraphFileArgs};
use super::output::{self, OutputFormat};
use crate::analysis::verify::{Test, Verifier};
use crate::analysis::verify_request::{FACTOR, STRONGEST};
use crate::cast::single;
use crate::graph::Graph;
use crate::graph::format::json;
use crate::graph::group::{self, Group};
use crate::graph::verification::{Intervention, Kept, NodeEffect, Subject, Summary, Verification};
use crate::model::Model;
use crate::report::{Cell, Column, Report, Table};
use anyhow::{Context, Error, Result, bail, ensure};
use clap::{Args, ValueEnum};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Options of `mechscope verify`.
#[derive(Args, Debug)]
pub struct Verify {
    #[command(flatten)]
    file: GraphFileArgs,
    /// Test this many neurons and features, those with the most influence
    #[arg(long, default_value_t = STRONGEST, value_name = "N")]
    top: usize,
    /// Test this node or unit too, by its address or its id: L1.N30@10, L0.H1; repeatable
    #[arg(long, value_name = "ADDRESS")]
    unit: Vec<String>,
    /// Test every attention head too
    #[arg(long)]
    heads: bool,
    /// Test every group of the file too: changed together, and kept alone
    #[arg(long)]
    groups: bool,
    /// Test the group of this name too, as --groups does; repeatable
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    group: Vec<String>,
    /// What becomes of a unit
    #[arg(long, value_enum, default_value_t)]
    with: InterventionKind,
    /// The prompt that resample takes values from
    #[arg(long, value_name = "PROMPT")]
    from: Option<String>,
    /// The factor of scale
    #[arg(long, default_value_t = FACTOR, value_name = "X", allow_negative_numbers = true)]
    factor: f32,
    /// Measure this many of the nodes that a node feeds most, besides the target
    #[arg(long, default_value_t = 3, value_name = "N")]
    watch: usize,
    /// The target whose change is measured, by its text or token id: the most probable one when not given
    #[arg(short, long, value_name = "TOKEN", allow_hyphen_values = true)]
    target: Option<String>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: OutputFormat,
    /// Write the graph with its tests to this file instead of back into its own
    #[arg(short, long, value_name = "FILE", value_parser = output::place)]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum InterventionKind {
    /// It becomes 0
    #[default]
    Zero,
    /// It becomes its mean over the positions of the prompt
    Mean,
    /// It becomes what it is in another prompt (--from) at the same position
    Resample,
    /// It is multiplied (--factor)
    Scale,
}

impl Verify {
    /// Makes the tests, writes them into the file, prints the table.
    pub fn run(self) -> Result<()> {
        let with = self.with()?;
        let place = self.out.as_deref().unwrap_or(&self.file.file);
        if self.out.is_none() {
            output::place(&place.display().to_string()).map_err(Error::msg)?;
        }
        let opened = self.file.open()?;
        let target = self.target.as_deref().map(|t| target(&opened.graph, t)).transpose()?;
        self.file.check(&opened)?;
        let GraphFile { mut graph, model, dictionary } = opened;
        let verifier = Verifier::new(&model, dictionary.as_ref(), &graph, target)
            .with_context(|| self.file.file.display().to_string())?;

        let mut tests = verifier.top(self.top, &with, self.watch)?;
        for unit in &self.unit {
            tests.push(Test { subject: subject(&graph, unit), with: with.clone(), watch: Vec::new() });
        }
        if self.heads {
            tests.extend(verifier.heads(&with));
        }
        let (groups, unknown) = group::groups(&graph);
        for id in unknown.iter().filter(|_| self.groups) {
            output::remark(&format!("warning: a group names {id:?}, which is no node"));
        }
        let groups = testable(&verifier, self.chosen(groups)?, &with);
        for group in &groups {
            let subject = verifier.group(&group.label, &group.members);
            tests.push(Test { subject, with: with.clone(), watch: Vec::new() });
        }
        ensure!(!tests.is_empty(), "nothing to test: the graph has no units; --heads tests attention heads");
        let mut progress = output::work_progress("verify");
        let found = verifier.run(&tests, &mut progress)?;
        let mut kept = Vec::new();
        let has_units = |group: &&Group| group.members.iter().any(|m| graph.nodes[*m as usize].can_be_kept());
        for group in groups.iter().filter(has_units) {
            kept.push(verifier.kept(&group.label, &group.members, &mut |_, _| Ok(()))?);
        }

        let report = self.report(&model, &graph, verifier.target(), &found, &kept);
        found.into_iter().for_each(|verification| graph.record(verification));
        kept.into_iter().for_each(|kept| graph.record_kept(kept));
        // Where the graph has standard output, the table goes beside it.
        let beside = place == Path::new(output::STANDARD);
        if beside {
            json::write(&graph, &mut BufWriter::new(std::io::stdout().lock()))?;
        } else {
            json::save(&graph, place)?;
        }
        let to: &mut dyn Write = if beside { &mut std::io::stderr() } else { &mut std::io::stdout().lock() };
        let mut to = BufWriter::new(to);
        report.write(self.format.into(), &mut to)?;
        Ok(to.flush()?)
    }

    /// The groups that are to be tested, of those of the file.
    fn chosen(&self, mut groups: Vec<Group>) -> Result<Vec<Group>> {
        for name in &self.group {
            let known = || groups.iter().map(|group| format!("{:?}", group.label)).collect::<Vec<_>>().join(", ");
            ensure!(
                groups.iter().any(|group| group.label == *name),
                "{}: no group is called {name:?}; accepted: {}",
                self.file.file.display(),
                if groups.is_empty() { "none, the file has no groups".to_owned() } else { known() }
            );
        }
        groups.retain(|group| self.groups || self.group.contains(&group.label));
        Ok(groups)
    }

    /// What becomes of a unit.
    fn with(&self) -> Result<Intervention> {
        Ok(match (self.with, &self.from) {
            (InterventionKind::Zero, None) => Intervention::Zero,
            (InterventionKind::Mean, None) => Intervention::Mean,
            (InterventionKind::Scale, None) => Intervention::Scale(self.factor),
            (InterventionKind::Resample, Some(prompt)) => Intervention::Resample(prompt.clone()),
            (InterventionKind::Resample, None) => {
                bail!("--with resample needs --from PROMPT, the prompt that values come from")
            }
            (_, Some(_)) => bail!("--from belongs to --with resample"),
        })
    }

    /// What was measured of the graph's node `target`, as tables.
    fn report(&self, model: &Model, graph: &Graph, target: u32, found: &[Verification], kept: &[Kept]) -> Report {
        let mut report = Report::default();
        report.fact("graph", self.file.file.display().to_string());
        report.fact("model", model.source.to_string());
        output::unread(&mut report, model);
        report.fact("prompt", graph.metadata.prompt.clone());
        report.fact(
            "target",
            format!("{} {:?}", graph.nodes[target as usize].name(), graph.nodes[target as usize].label),
        );
        let nodes = found.iter().filter(|v| matches!(v.subject, Subject::Node(_)));
        let summary = Summary::of_targets(nodes);
        report.fact("nodes_tested", summary.n);
        report.fact("rank_correlation", summary.rank_correlation.map(single));
        report.fact("sign_agreement", summary.sign_agreement.map(single));
        let left = Summary::of(found.iter().flat_map(|v| &v.effects)).left_range;
        if left > 0 {
            report.fact("left_the_range", left);
        }
        report.table("verified", "Change of the target", table(graph, found));
        if found.iter().any(|v| v.effects.len() > 1) {
            report.table("downstream", "Change of nodes downstream", downstream(graph, found));
        }
        if !kept.is_empty() {
            report.table("keep_only", "Groups kept alone, all other units mean-ablated", keep_only(kept));
        }
        report
    }
}

/// The groups that can be changed this way; what the others lack is said on standard error.
fn testable(verifier: &Verifier, mut groups: Vec<Group>, with: &Intervention) -> Vec<Group> {
    groups.retain(|group| {
        let checked = verifier.check(&verifier.group(&group.label, &group.members), with);
        if let Err(e) = &checked {
            output::remark(&format!("warning: group {:?} is left out: {e:#}", group.label));
        }
        checked.is_ok()
    });
    groups
}

/// The target of this text or token id.
fn target(graph: &Graph, text: &str) -> Result<u32> {
    graph_file::target(graph, text).with_context(|| {
        let labels: Vec<String> = graph.targets().map(|t| format!("{:?}", graph.nodes[t].label)).collect();
        format!("the graph has no target {text:?}; accepted: {}", labels.join(", "))
    })
}

/// A node by address or id; else a unit of the model.
fn subject(graph: &Graph, text: &str) -> Subject {
    let node = graph_file::node(graph, text).map(|at| &graph.nodes[at as usize]);
    node.map_or_else(|| Subject::Unit(text.to_owned()), |n| Subject::Node(n.id.to_string()))
}

/// What a test is called, and the token it is at.
fn name(graph: &Graph, subject: &Subject) -> (String, Cell) {
    match subject {
        Subject::Node(id) => match graph.by_id().get(id.as_str()) {
            Some(&at) => {
                let node = &graph.nodes[at];
                (node.name(), graph.metadata.token(node.position).map_or(Cell::Empty, Cell::token))
            }
            None => (id.clone(), Cell::Empty),
        },
        Subject::Group { label, members } => (format!("{label:?} ({} nodes)", members.len()), Cell::Empty),
        Subject::Unit(address) => (address.clone(), Cell::Empty),
    }
}

fn cells(effect: &NodeEffect) -> [Cell; 6] {
    let note = effect.note().map_or(Cell::Empty, Cell::from);
    let [measured, held, norms_held] = [effect.measured, effect.held, effect.norms_held].map(Cell::finite);
    [effect.before.into(), effect.predicted.into(), measured, held, norms_held, note]
}

fn columns() -> [Column; 6] {
    [
        Column::number("before", "", 4),
        Column::number("predicted", "", 4),
        Column::number("measured", "", 4),
        Column::number("patterns_held", "", 4),
        Column::number("norms_held", "", 4),
        Column::text("note"),
    ]
}

fn table(graph: &Graph, found: &[Verification]) -> Table {
    let mut table =
        Table::new([Column::text("unit"), Column::token("token"), Column::text("with")].into_iter().chain(columns()));
    for verification in found {
        let Some(effect) = verification.target() else { continue };
        let (name, token) = name(graph, &verification.subject);
        table.push([name.into(), token, verification.with.to_string().into()].into_iter().chain(cells(effect)));
    }
    table
}

fn downstream(graph: &Graph, found: &[Verification]) -> Table {
    let mut table = Table::new([Column::text("unit"), Column::text("node")].into_iter().chain(columns()));
    for verification in found {
        let (from, _) = name(graph, &verification.subject);
        for effect in verification.effects.iter().skip(1) {
            let (to, _) = name(graph, &Subject::Node(effect.node.clone()));
            table.push([from.clone().into(), to.into()].into_iter().chain(cells(effect)));
        }
    }
    table
}

fn keep_only(kept: &[Kept]) -> Table {
    let number = |name| Column::number(name, "", 4);
    let mut table = Table::new([
        Column::text("group"),
        Column::integer("kept"),
        Column::integer("ablated"),
        number("whole"),
        number("kept_alone"),
        number("without_it"),
        number("without_all"),
        number("faithfulness"),
        number("completeness"),
    ]);
    for Kept { label, found: k, .. } in kept {
        let values = [k.whole, k.group, k.rest, k.empty].map(Cell::finite);
        let scores = [k.faithfulness(), k.completeness()].map(Cell::from);
        let start = [label.clone().into(), k.kept.into(), k.ablated.into()];
        table.push(start.into_iter().chain(values).chain(scores));
    }
    table
}
