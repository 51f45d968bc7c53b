//! `mechscope graph`: the attribution graph of a prompt.

mod circuit;
mod groups;
mod marks;
mod row;
mod view;

pub use view::ViewArgs;

use super::output;
use super::{ModelArgs, PromptArgs};
use crate::analysis::attribution_graph::{GraphSettings, LogitTarget, TARGETS, build, explained, most_probable, plan};
use crate::analysis::circuit::CircuitRowTarget;
use crate::analysis::circuit_graph::Sink;
use crate::analysis::target::Target;
use crate::graph::format::{self, GraphFormat, WriteOptions, json, text};
use crate::graph::tree::Limits;
use crate::graph::{Graph, Influence, Thresholds, prune};
use crate::model::Model;
use crate::model::dictionary::Dictionary;
use crate::model::forward::Logits;
use crate::model::source::Source;
use crate::replacement::Gate;
use anyhow::{Context, Result, bail, ensure};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use signal_hook::consts::SIGINT;
use signal_hook::flag::{register, register_conditional_shutdown};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Options of `mechscope graph`.
#[derive(Args, Debug)]
pub struct GraphArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    prompt: PromptArgs,
    /// Explain this token instead of the most probable ones: text, JSON string or id; repeatable
    #[arg(short, long, value_name = "TOKEN", allow_hyphen_values = true)]
    target: Vec<String>,
    /// Explain the target's logit less this token's; with --attention nodes the most probable other token when not given, none takes no token off
    #[arg(short, long, value_name = "TOKEN", allow_hyphen_values = true)]
    contrast: Option<String>,
    /// With --attention through: explain at most this many of the most probable tokens (10 when not given)
    #[arg(long, value_name = "N")]
    targets: Option<usize>,
    /// What nodes are: MLP neurons, or features of a dictionary (default with --dictionary)
    #[arg(long, value_enum)]
    nodes: Option<Nodes>,
    /// Whether attention is inside: heads and MLPs are nodes (nodes, the default for neurons), or effects run through held patterns and heads are on no
    /// node (through, the default with a dictionary)
    #[arg(long, value_enum)]
    attention: Option<circuit::Attention>,
    /// With --attention nodes: MLPs stay whole, as in the explorer before they are opened
    #[arg(long)]
    whole_mlps: bool,
    /// The positions that are drawn as one node: those that attention rests on, none, or a list (0,1); with --row one line of it (auto as text, none as
    /// tsv and json when not given)
    #[arg(long, value_name = "auto|none|LIST")]
    sink: Option<Sink>,
    /// Transcoders: a folder in the layout of circuit-tracer, Gemma Scope, SAELens or sparsify, or a name in the Hugging Face cache;
    /// the built-in model hello has its own
    #[arg(long, value_name = "DIR")]
    dictionary: Option<String>,
    /// At most this many units: 500 neurons or 7500 features when neither this nor --share is given
    #[arg(long, value_name = "N")]
    max_nodes: Option<usize>,
    /// As many units as carry this share: of all neurons' relevance, or of the active features' influence
    #[arg(long, value_name = "SHARE")]
    share: Option<f32>,
    /// Rank by influence anew after every N units (circuit-tracer: batch_size * update_interval); when not given, whenever
    /// their number has doubled
    #[arg(long, value_name = "N")]
    rerank_every: Option<usize>,
    /// Keep the nodes that carry this share of the influence
    #[arg(long, default_value_t = Thresholds::default().node(), value_name = "SHARE")]
    node_threshold: f64,
    /// Keep the edges that carry this share of their influence
    #[arg(long, default_value_t = Thresholds::default().edge(), value_name = "SHARE")]
    edge_threshold: f64,
    /// How the gate of a gated MLP is linearised
    #[arg(long, value_enum, default_value_t)]
    gate: GateChoice,
    /// Leave out units and remainders at this many first positions: 1 with a dictionary, 0 with neurons
    #[arg(long, value_name = "N")]
    zero_positions: Option<usize>,
    /// Print one node's whole row instead: what every embedding, head and MLP below wrote of what it reads (edges along the residual stream only);
    /// a head, MLP or neuron at a position, or target
    #[arg(long, value_name = "ADDRESS")]
    row: Option<CircuitRowTarget>,
    /// With --row: what the node reads for this reader of it, instead of for the target
    #[arg(long, value_name = "ADDRESS", requires = "row")]
    towards: Option<CircuitRowTarget>,
    /// With --row of a head: what it carries (values), or why it looks where it looks (query, keys), by the exact gradient
    #[arg(long, value_enum, requires = "row")]
    branch: Option<row::BranchChoice>,
    /// Draft groups of units by their roles, keep each alone (all other units of the graph at their means), and hold on to those that matter
    #[arg(long, conflicts_with = "row")]
    draft_groups: bool,
    #[command(flatten)]
    output: GraphOutput,
}

/// How a graph is printed.
#[derive(Args, Debug)]
struct GraphOutput {
    /// How to print: when not given, as the ending of --out names one, else text
    #[arg(long, value_parser = graph_format())]
    format: Option<&'static GraphFormat>,
    /// Draw trees with ASCII characters
    #[arg(long)]
    ascii: bool,
    /// List the N heads that carry most to each target (text; a JSON graph has all of them)
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "10")]
    heads: Option<usize>,
    /// Levels of the tree
    #[arg(long, default_value_t = Limits::default().depth, value_name = "N")]
    depth: usize,
    /// Tell units that are on at nearly all positions one by one, not in one line below each node
    #[arg(long)]
    always_on: bool,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE", value_parser = output::place)]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Nodes {
    /// MLP neurons
    Neurons,
    /// Features of a dictionary
    Features,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum GateChoice {
    /// Half to the gate, half to the linear branch
    #[default]
    Half,
    /// All to the linear branch
    Freeze,
}

impl GateChoice {
    fn rule(self) -> Gate {
        match self {
            GateChoice::Half => Gate::Half,
            GateChoice::Freeze => Gate::Freeze,
        }
    }
}

/// Reads the name of a format; the help lists them all.
fn graph_format() -> impl TypedValueParser<Value = &'static GraphFormat> {
    let values = format::ALL.iter().map(|format| PossibleValue::new(format.name).help(format.about));
    PossibleValuesParser::new(values).try_map(|name| format::named(&name))
}

impl GraphArgs {
    /// Builds, prunes and prints the graph; returns the exit code, 130 for a graph that Ctrl-C ended early.
    pub fn run(self) -> Result<u8> {
        if let Some(node) = &self.row {
            self.print_row(node)?;
            return Ok(0);
        }
        let thresholds = Thresholds::new(self.node_threshold, self.edge_threshold)?;
        self.output.check()?;
        ensure!(self.targets != Some(0), "--targets 0: a graph needs at least one target");
        ensure!(self.rerank_every != Some(0), "--rerank-every 0; accepted: a number from 1");
        if let Some(share) = self.share {
            ensure!(share > 0.0 && share <= 1.0, "--share {share}; accepted: above 0, at most 1");
        }
        let model = self.model.open()?;
        let dictionary = self.open_dictionary(&model)?;
        if self.has_nodes_for_attention(dictionary.as_ref())? {
            return self.run_circuit(&model, thresholds);
        }
        ensure!(self.sink.is_none(), "--sink is of graphs with attention inside; --attention nodes makes one");
        let input = self.prompt.read(&model)?;
        let usual = GraphSettings::usual(dictionary.is_some());
        let settings = GraphSettings {
            max_nodes: self.max_nodes.or(usual.max_nodes.filter(|_| self.share.is_none())),
            share: self.share,
            gate: self.gate.rule(),
            zero_positions: self.zero_positions.unwrap_or(usual.zero_positions),
            rerank_every: self.rerank_every,
        };
        let n_pos = input.tokens.len();
        ensure!(
            settings.zero_positions <= n_pos,
            "--zero-positions {}: this prompt has {n_pos} tokens",
            settings.zero_positions
        );
        plan(&model, n_pos, dictionary.is_some(), settings)?;
        let targets = self.targets(&model, &input.ids())?;
        let interrupted = interrupts()?;
        let mut progress = output::work_progress("rows");
        let (mut done, mut total) = (0, 0);
        let mut step = |now: usize, all: usize| {
            (done, total) = (now, all);
            progress(now, all)?;
            ensure!(!interrupted.load(Ordering::Relaxed), "interrupted");
            Ok(())
        };
        let mut graph = build(&model, &input.tokens, dictionary.as_ref(), &targets, settings, &mut step)?;
        progress(total, total)?;
        if graph.metadata.partial && graph.edges.is_empty() {
            output::remark("interrupted before the first row: there is no graph yet, and nothing was written");
            return Ok(INTERRUPTED);
        }
        if let Some(prompt) = &input.prompt {
            graph.metadata.prompt.clone_from(prompt);
        }
        let influence = Influence::of(&graph)?;
        let pruned = prune(&graph, &influence, thresholds)?;
        let scores = graph.scores(&influence, Some(&pruned));
        let scores = scores.in_words().into_iter().map(|(name, words)| format!("; {name} {words}"));
        output::remark(&format!(
            "{} nodes and {} edges, pruned to {} and {}{}",
            graph.nodes.len(),
            graph.edges.len(),
            pruned.n_nodes(),
            pruned.n_edges(),
            scores.collect::<String>()
        ));
        remark_on_worth(&graph, dictionary.as_ref());
        let partial = graph.metadata.partial;
        if partial {
            output::remark(&format!("interrupted: the graph is partial, {done} of {total} rows"));
        }
        let kept = graph.pruned(&influence, &pruned)?;
        self.warn_of_bare_targets(&kept);
        self.finish(&model, dictionary.as_ref(), kept)?;
        Ok(if partial { INTERRUPTED } else { 0 })
    }

    /// Prints a graph, with groups where they are wanted.
    fn finish(&self, model: &Model, dictionary: Option<&Dictionary>, mut graph: Graph) -> Result<()> {
        if self.draft_groups {
            groups::add_tested_drafts(model, dictionary, &mut graph, &self.output)?;
        }
        print(&graph, &self.output)
    }

    /// Says which targets that were named have nothing left that leads to them.
    fn warn_of_bare_targets(&self, kept: &Graph) {
        let bare = |t: &usize| !self.target.is_empty() && kept.edges.row(*t).is_empty();
        for target in kept.targets().filter(bare) {
            output::remark(&format!(
                "{:?} weighs as much as it is probable: pruning leaves no edge into it; --node-threshold 1 --edge-threshold 1 keeps all",
                kept.nodes[target].label
            ));
        }
    }

    fn open_dictionary(&self, model: &Model) -> Result<Option<Dictionary>> {
        let found = self.find_dictionary(model)?;
        warn_of_another_model(found.as_ref(), model);
        Ok(found)
    }

    fn find_dictionary(&self, model: &Model) -> Result<Option<Dictionary>> {
        let nodes = self.nodes.unwrap_or(if self.dictionary.is_some() { Nodes::Features } else { Nodes::Neurons });
        match (nodes, &self.dictionary) {
            (Nodes::Neurons, None) => Ok(None),
            (Nodes::Neurons, Some(name)) => {
                bail!("--nodes neurons does not use --dictionary {name}; accepted: one of the two")
            }
            (Nodes::Features, Some(name)) => {
                self.model.on.hub.dictionary(name, || Dictionary::find(name, &model.decoder)).map(Some)
            }
            (Nodes::Features, None) => {
                let own = own_dictionary(model)?;
                ensure!(own.is_some(), "--nodes features needs --dictionary DIR: {} has no transcoders", model.source);
                Ok(own)
            }
        }
    }

    fn targets(&self, model: &Model, ids: &[u32]) -> Result<Vec<LogitTarget>> {
        let contrast = self.contrast.as_deref().filter(|text| *text != "none");
        ensure!(
            contrast.is_none() || !self.target.is_empty(),
            "--contrast goes with a --target where effects run through attention, there is none"
        );
        let run = model.run(ids, &crate::model::site::Sites::None, Logits::Last)?;
        let next = super::next_token(model, &run)?;
        if self.target.is_empty() {
            return Ok(most_probable(model, &next, TARGETS.0, self.targets.unwrap_or(TARGETS.1)));
        }
        let n = self.target.len();
        ensure!(n == 1 || contrast.is_none(), "--contrast goes with one --target, there are {n}");
        let mut named: Vec<Target> = Vec::with_capacity(n);
        for text in &self.target {
            let target = Target::parse(model, Some(text), contrast)?;
            let target = target.context("--target names no token")?;
            super::target::hint(model, "--target", text);
            ensure!(!named.contains(&target), "--target {text:?}: the token is named twice");
            named.push(target);
        }
        Ok(named.iter().map(|target| LogitTarget::of(model, target, &next)).collect())
    }
}

/// Says on standard error how far the rows of a graph, and the dictionary that it was made with, stand for the model.
fn remark_on_worth(graph: &Graph, dictionary: Option<&Dictionary>) {
    let failed = graph.failed_certificates().count();
    if failed > 0 {
        output::remark(&format!(
            "warning: {failed} of the rows do not add up to their values to 1e-5 of their absolute sum"
        ));
    }
    if let (Some(explained), Some(dictionary)) = (explained(graph), dictionary) {
        output::remark(&format!("the transcoders explain this share of what the MLPs write: {}", explained.words()));
        explained.warning(&dictionary.name).iter().for_each(|warning| output::remark(&format!("warning: {warning}")));
    }
}

/// The exit code of what Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// A flag that the first Ctrl-C raises; a second one ends the program.
fn interrupts() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    register_conditional_shutdown(SIGINT, INTERRUPTED.into(), flag.clone()).context("cannot handle Ctrl-C")?;
    register(SIGINT, flag.clone()).context("cannot handle Ctrl-C")?;
    Ok(flag)
}

fn print(graph: &Graph, output: &GraphOutput) -> Result<()> {
    output.check()?;
    let write = |to: &mut dyn Write| -> Result<()> {
        let mut to = BufWriter::new(to);
        (output.format().write)(graph, &output.options(), &mut to)?;
        if let Some(count) = output.heads {
            text::write_heads(graph, count, &mut to)?;
        }
        Ok(to.flush()?)
    };
    output::write_to(output.out.as_deref(), write)
}

/// The transcoders that travel with a model, if it has any.
pub(super) fn own_dictionary(model: &Model) -> Result<Option<Dictionary>> {
    match &model.source {
        Source::BuiltIn(builtin) => Dictionary::built_in(builtin, &model.decoder),
        Source::Folder { .. } | Source::Gguf { .. } => Ok(None),
    }
}

/// Says on standard error when a dictionary names another model.
pub(super) fn warn_of_another_model(dictionary: Option<&Dictionary>, model: &Model) {
    if let Some(warning) = dictionary.and_then(|dictionary| dictionary.of_another_model(&model.source)) {
        output::remark(&format!("warning: {warning}"));
    }
}

/// Opens a graph file; `-` is standard input, and what a shell gives for `<(...)` is read as that is. `~/` is the home folder where no shell
/// made it so.
pub(super) fn open(file: &Path) -> Result<json::Opened> {
    if file == Path::new(output::STANDARD) {
        return json::read(std::io::stdin().lock(), json::DEFAULT_MEMORY).context("standard input");
    }
    if file.starts_with("/dev/fd") {
        // It is open already: nothing waits for a writer that never comes.
        let named = || format!("cannot read {}", file.display());
        return json::read(std::fs::File::open(file).with_context(named)?, json::DEFAULT_MEMORY).with_context(named);
    }
    json::open(&file.to_str().map_or_else(|| file.to_owned(), crate::files::home))
}

/// Says on standard error what was odd about a file.
pub(super) trait Warn {
    /// One line for each warning.
    fn warn(&self);
}

impl Warn for json::Opened {
    fn warn(&self) {
        self.warnings.iter().for_each(|warning| output::remark(&format!("warning: {}", warning.0)));
    }
}

impl GraphOutput {
    /// Whether its options fit together.
    fn check(&self) -> Result<()> {
        ensure!(
            self.heads.is_none() || self.is_text(),
            "--heads lists them as text; --format json always has them, other formats have none"
        );
        Ok(())
    }

    fn format(&self) -> &'static GraphFormat {
        let ending = self.out.as_ref().and_then(|out| out.extension()).and_then(|ending| ending.to_str());
        let by_ending =
            || format::ALL.iter().copied().find(|format| format.ending.is_some() && format.ending == ending);
        self.format.or_else(by_ending).unwrap_or(format::ALL[0])
    }

    fn is_text(&self) -> bool {
        self.format().name == text::FORMAT.name
    }

    fn options(&self) -> WriteOptions {
        let limits = Limits { depth: self.depth, each_always_on: self.always_on, ..Limits::default() };
        WriteOptions { limits, ascii: self.ascii }
    }
}
