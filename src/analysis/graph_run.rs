//! A graph on the run it was made from: the values its nodes have there, and what they write.

use super::attribution_graph;
use crate::cast::{short, single, size};
use crate::graph::{Graph, Node, NodeKind};
use crate::model::Model;
use crate::model::arch::Block;
use crate::model::dictionary::{Active, Dictionary, ReadPoint, WritePoint};
use crate::model::forward::Logits;
use crate::model::site::{BlockSite as S, Site, Sites};
use crate::model::source;
use crate::model::text::Bos;
use crate::model::trace::Trace;
use crate::replacement::Gate;
use crate::replacement::{MlpInput, ReplacementModel};
use anyhow::{Context, Result, bail, ensure};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

/// Has or makes the run of these tokens that recorded these sites and the last logits.
pub type Run<'r> = &'r mut dyn FnMut(&[u32], BTreeSet<Site>) -> Result<Arc<Trace>>;

/// A graph with the model, the dictionary and the run it was made from.
pub struct GraphRun<'a> {
    /// The model.
    pub model: &'a Model,
    /// The dictionary whose features are nodes.
    pub dictionary: Option<&'a Dictionary>,
    /// The graph.
    pub graph: &'a Graph,
    /// The run, with all that its frozen model and edited runs take.
    pub trace: Arc<Trace>,
    /// What was done about BOS: other prompts begin as the graph's does, so that positions stand for the same.
    pub bos: Bos,
    replacement: Rc<OnceCell<ReplacementModel>>,
}

/// What a graph stands on, to be kept from one question to the next: its run, and the model frozen there once that was asked for.
#[derive(Clone)]
pub struct RunState {
    trace: Arc<Trace>,
    bos: Bos,
    replacement: Rc<OnceCell<ReplacementModel>>,
}

impl RunState {
    /// Bytes that the run takes and, where there is one, the frozen model: about as much again, and copies of attention's weights.
    pub fn bytes(&self, model: &Model) -> usize {
        let attention = |b: &Block| b.attention.o.weight.elem_count() + b.attention.v.weight.elem_count();
        let weights: usize = model.decoder.blocks.iter().map(attention).sum();
        let frozen = self.replacement.get().map_or(0, |_| self.trace.bytes() + weights * size_of::<f32>());
        self.trace.bytes() + frozen
    }
}

/// The sites that a graph's run records for all that is asked about it: its growth, its frozen model, tests from any layer on.
///
/// # Errors
/// As [`attribution_graph::sites`].
pub fn sites(model: &Model, dictionary: Option<&Dictionary>) -> Result<BTreeSet<Site>> {
    let mut sites = attribution_graph::sites(model, dictionary)?;
    sites.extend((0..model.decoder.arch.n_layers).map(|l| Site::Block(l, S::ResidPre)));
    Ok(sites)
}

/// The token ids of a graph's prompt: as the file has them, or from its text.
///
/// # Errors
/// The text does not give as many tokens as the graph has.
pub fn prompt_ids(model: &Model, graph: &Graph) -> Result<Vec<u32>> {
    let metadata = &graph.metadata;
    if !metadata.prompt_ids.is_empty() {
        return Ok(metadata.prompt_ids.clone());
    }
    let n = metadata.prompt_tokens.len();
    for bos in [Bos::Auto, Bos::Never] {
        let ids = model.encode(&metadata.prompt, bos).context("the graph's prompt")?.ids();
        if ids.len() == n {
            return Ok(ids);
        }
    }
    bail!("the graph's prompt {:?} has {n} tokens; the model's tokenizer gives another number", metadata.prompt)
}

/// What to ask about BOS for a prompt to begin as `ids` do.
fn bos(model: &Model, graph: &Graph, ids: &[u32]) -> Bos {
    if model.encode(&graph.metadata.prompt, Bos::Auto).is_ok_and(|e| e.ids() == ids) {
        return Bos::Auto;
    }
    match model.text.as_ref().and_then(|text| text.bos_id()) {
        Some(id) if ids.first() == Some(&id) => Bos::Always,
        _ => Bos::Never,
    }
}

/// What to say when a graph does not fit `model` and its file says that it was made with another one: which, and how to name it.
pub fn made_with_another(model: &Model, graph: &Graph) -> Option<String> {
    let name = graph.metadata.made_with();
    // Other programs' graphs of features name their dictionary there.
    let known = graph.metadata.model.is_some()
        || graph.nodes.iter().all(|n| n.kind != NodeKind::Feature)
        || source::is_model(name);
    let other = known && !name.is_empty() && name != model.source.to_string();
    other.then(|| format!("made with {name}: pass -m {name}"))
}

impl<'a> GraphRun<'a> {
    /// Runs the graph's prompt and checks that its units have the activations that the graph says.
    ///
    /// # Errors
    /// A graph of another model or dictionary; features without a dictionary; a run that fails.
    pub fn new(model: &'a Model, dictionary: Option<&'a Dictionary>, graph: &'a Graph) -> Result<Self> {
        // As edited runs: logits of all positions would be rounded otherwise, and show in every difference.
        Self::by(model, dictionary, graph, &mut |ids, sites| {
            model.run(ids, &Sites::Only(sites), Logits::Last).map(Arc::new)
        })
    }

    /// [`GraphRun::new`] on the run that `run` has, or makes, of these tokens with these sites and the last logits.
    ///
    /// # Errors
    /// As [`GraphRun::new`]; what `run` returns.
    pub fn by(model: &'a Model, dictionary: Option<&'a Dictionary>, graph: &'a Graph, run: Run) -> Result<Self> {
        Self::checked(model, dictionary, graph, run).map_err(|e| match made_with_another(model, graph) {
            Some(hint) => e.context(hint),
            None => e,
        })
    }

    /// The graph on what it stood on before; nothing is run or checked.
    pub fn on(model: &'a Model, dictionary: Option<&'a Dictionary>, graph: &'a Graph, kept: &RunState) -> Self {
        let RunState { trace, bos, replacement } = kept.clone();
        GraphRun { model, dictionary, graph, trace, bos, replacement }
    }

    /// What it stands on, for [`GraphRun::on`].
    pub fn run_state(&self) -> RunState {
        RunState { trace: self.trace.clone(), bos: self.bos, replacement: self.replacement.clone() }
    }

    fn checked(model: &'a Model, dictionary: Option<&'a Dictionary>, graph: &'a Graph, run: Run) -> Result<Self> {
        let ids = prompt_ids(model, graph)?;
        let trace = run(&ids, sites(model, dictionary)?)?;
        let bos = bos(model, graph, &ids);
        let graph_run = GraphRun { model, dictionary, graph, trace, bos, replacement: Rc::default() };
        graph_run.check()?;
        Ok(graph_run)
    }

    /// Whether the units are what the graph says they are.
    fn check(&self) -> Result<()> {
        // Other programs put activations on other nodes too, which no run of the model can be compared with.
        let compared = |u: &u32| {
            let node = self.node(*u);
            node.activation.is_some() && node.is_unit()
        };
        let units: Vec<u32> = (0..short(self.graph.nodes.len())).filter(compared).collect();
        let found = self.values(&self.trace, 1, &units)?.remove(0);
        for (&unit, found) in units.iter().zip(found) {
            let node = self.node(unit);
            let (found, expected) = (single(found), node.activation.unwrap_or_default());
            ensure!(
                (found - expected).abs() <= 1e-3 * expected.abs().max(1.0),
                "{} is {expected} in the graph and {found} in {}: the graph was made from another model{}",
                node.name(),
                self.model.source,
                if self.dictionary.is_some() { " or dictionary" } else { "" }
            );
        }
        Ok(())
    }

    /// A node of the graph.
    pub fn node(&self, node: u32) -> &'a Node {
        &self.graph.nodes[node as usize]
    }

    /// Layer, position and number of a unit of the graph.
    ///
    /// # Errors
    /// The model has no such unit.
    pub fn place(&self, node: &Node) -> Result<(usize, usize, usize)> {
        let arch = &self.model.decoder.arch;
        let place =
            (node.layer.unwrap_or(0) as usize, node.position.unwrap_or(0) as usize, size(node.index.unwrap_or(0)));
        let wide = match (&node.kind, self.dictionary) {
            (NodeKind::Feature, Some(d)) => d.n_features.get(place.0).copied().unwrap_or(0),
            (NodeKind::Feature, None) => {
                bail!("{}: the graph is made of features; a dictionary is needed", node.name())
            }
            _ => arch.d_mlp,
        };
        ensure!(
            place.0 < arch.n_layers && place.1 < self.trace.n_pos() && place.2 < wide,
            "{} is outside this model, prompt or dictionary",
            node.name()
        );
        Ok(place)
    }

    /// The tokens of a target with their weights.
    ///
    /// # Errors
    /// The node is no target, or its file does not say what it is made of, or speaks of tokens that the model does not have.
    pub fn weights(&self, node: &Node) -> Result<Vec<(u32, f32)>> {
        let weights = node.weights().with_context(|| format!("{}: its tokens are not known", node.name()))?;
        let d_vocab = self.model.decoder.arch.d_vocab;
        for (id, _) in &weights {
            ensure!(
                (*id as usize) < d_vocab,
                "{}: token id {id}; accepted: the {d_vocab} ids of the vocabulary of {}",
                node.name(),
                self.model.source
            );
        }
        Ok(weights)
    }

    /// How the graph linearised gated neurons, as its file says; the half rule when it does not.
    ///
    /// # Errors
    /// It names a rule that is not known.
    pub fn gate(&self) -> Result<Gate> {
        let Some(found) = self.graph.metadata.setting("gate") else { return Ok(Gate::default()) };
        let names = || Gate::ALL.map(Gate::name).join(", ");
        let gate = found.as_str().and_then(Gate::named);
        gate.with_context(|| format!("generation_settings: gate {found}; accepted: {}", names()))
    }

    /// The site that holds the value of a node in a run, if that is a site inside the model.
    pub fn sites_of(&self, node: &Node) -> Result<Vec<Site>> {
        Ok(match node.kind {
            NodeKind::Neuron => vec![Site::Block(self.place(node)?.0, S::MlpPost)],
            NodeKind::Feature => {
                let (layer, ..) = self.place(node)?;
                let parallel = self.model.decoder.arch.parallel;
                self.dictionary.map_or_else(Vec::new, |d| d.read_sites(layer, parallel))
            }
            NodeKind::Logit { .. } => Vec::new(),
            _ => bail!("{} has no activation that could change; accepted: neurons, features, logits", node.name()),
        })
    }

    /// The logits' site: before any soft-cap, as targets are.
    pub fn logits(&self) -> Site {
        let capped = self.model.decoder.has_site(Site::LogitsPreSoftcap);
        if capped { Site::LogitsPreSoftcap } else { Site::Logits }
    }

    /// The values of `nodes` in each of the first `n` prompts of a run: activations, and for targets logits (before any soft-cap) less the mean
    /// over the vocabulary. What the run did not record is as in the clean run. In f64, so that differences lose nothing more. `[n][nodes]`
    ///
    /// # Errors
    /// A node without a value.
    pub fn values(&self, run: &Trace, n: usize, nodes: &[u32]) -> Result<Vec<Vec<f64>>> {
        let mut values = vec![vec![0.0; nodes.len()]; n];
        let mut features: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut neurons: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut targets = Vec::new();
        for (i, node) in nodes.iter().map(|n| self.node(*n)).enumerate() {
            self.sites_of(node)?;
            match node.kind {
                NodeKind::Neuron => neurons.entry(self.place(node)?.0).or_default().push(i),
                NodeKind::Feature => features.entry(self.place(node)?.0).or_default().push(i),
                _ => targets.push((i, self.weights(node)?)),
            }
        }
        for (b, values) in values.iter_mut().enumerate() {
            let of = |site| run.of(b, site).or_else(|_| self.trace.get(site));
            for (&layer, which) in &neurons {
                let post = of(Site::Block(layer, S::MlpPost))?.to_dtype(candle_core::DType::F32)?.to_vec2::<f32>()?;
                for &i in which {
                    let (_, position, index) = self.place(self.node(nodes[i]))?;
                    values[i] = post[position][index].into();
                }
            }
            if !targets.is_empty() {
                let logits = of(self.logits())?;
                let logits: Vec<f32> = logits.get(logits.dim(0)? - 1)?.to_dtype(candle_core::DType::F32)?.to_vec1()?;
                for (i, weights) in &targets {
                    values[*i] = demeaned(&logits, weights);
                }
            }
        }
        if let Some(dictionary) = self.dictionary {
            for (layer, which) in features {
                self.features(dictionary, run, layer, nodes, &which, &mut values)?;
            }
        }
        Ok(values)
    }

    /// The activations of features of one layer; the rows they read in all prompts are encoded together.
    fn features(
        &self,
        dictionary: &Dictionary,
        run: &Trace,
        layer: usize,
        nodes: &[u32],
        which: &[usize],
        values: &mut [Vec<f64>],
    ) -> Result<()> {
        let (d, parallel) = (self.model.decoder.arch.d_model, self.model.decoder.arch.parallel);
        let recorded = dictionary.read_sites(layer, parallel).iter().all(|s| run.batched(*s).is_some());
        let places = which.iter().map(|i| self.place(self.node(nodes[*i]))).collect::<Result<Vec<_>>>()?;
        let positions: Vec<usize> = places.iter().map(|p| p.1).collect::<BTreeSet<_>>().into_iter().collect();
        let mut rows = Vec::new();
        for b in 0..values.len() {
            let x = if recorded {
                dictionary.input(layer, parallel, &run.alone(b)?)?
            } else {
                dictionary.input(layer, parallel, &self.trace)?
            };
            positions.iter().for_each(|p| rows.extend_from_slice(&x[p * d..(p + 1) * d]));
        }
        let active = dictionary.encode(layer, &rows)?;
        let active: BTreeMap<(usize, usize), f32> =
            active.into_iter().map(|a| ((a.position, a.feature), a.activation)).collect();
        for (b, values) in values.iter_mut().enumerate() {
            for (&i, &(_, position, feature)) in which.iter().zip(&places) {
                let row = positions.iter().position(|p| *p == position).unwrap_or(0);
                let found = active.get(&(b * positions.len() + row, feature)).copied();
                values[i] = found.unwrap_or(0.0).into();
            }
        }
        Ok(())
    }

    /// The model frozen at the run, with the linear skips of the dictionary; made when it is first asked for.
    ///
    /// # Errors
    /// A dictionary that cannot be read.
    pub fn replacement(&self) -> Result<&ReplacementModel> {
        self.freeze(&mut || Ok(()))
    }

    /// [`GraphRun::replacement`], asking whether to go on once a layer or so.
    ///
    /// # Errors
    /// As [`GraphRun::replacement`]; what `go_on` returns.
    pub fn freeze(&self, go_on: &mut dyn FnMut() -> Result<()>) -> Result<&ReplacementModel> {
        if let Some(replacement) = self.replacement.get() {
            return Ok(replacement);
        }
        let mut replacement = ReplacementModel::new_while(&self.model.decoder, &self.trace, go_on)?;
        if let Some(dictionary) = self.dictionary {
            for layer in 0..replacement.n_layers() {
                go_on()?;
                if let Some(skip) = dictionary.skip(layer)? {
                    let before = dictionary.writes == WritePoint::BeforePostNorm;
                    replacement.set_skip(layer, &skip, Self::reads(dictionary), before)?;
                }
            }
        }
        Ok(self.replacement.get_or_init(|| replacement))
    }

    /// What a feature with this activation writes: layers with vectors `[d_model]`, after any post-norm.
    ///
    /// # Errors
    /// A dictionary that cannot be read.
    pub fn written(&self, dictionary: &Dictionary, active: &Active) -> Result<Vec<(usize, Vec<f32>)>> {
        let rows = dictionary.decoder_rows(active.layer, active.feature)?.into_iter().enumerate();
        let scaled = |row: Vec<f32>| row.into_iter().map(|x| x * active.activation).collect();
        rows.map(|(above, row)| {
            let layer = active.layer + above;
            Ok((layer, self.after_norm(dictionary, layer, active.position, scaled(row))?))
        })
        .collect()
    }

    /// What a vector written by the dictionary adds to the residual stream.
    fn after_norm(&self, dictionary: &Dictionary, layer: usize, position: usize, vector: Vec<f32>) -> Result<Vec<f32>> {
        let early = dictionary.writes == WritePoint::BeforePostNorm;
        Ok(if early { self.replacement()?.written(layer, position, vector) } else { vector })
    }

    /// What the dictionary leaves of the MLP output of a layer at a position, `[d_model]`: the vector of an error node.
    ///
    /// # Errors
    /// A dictionary that cannot be read.
    pub fn error(&self, dictionary: &Dictionary, layer: usize, position: usize) -> Result<Vec<f32>> {
        let (d, parallel) = (self.model.decoder.arch.d_model, self.model.decoder.arch.parallel);
        let mut rest = self.trace.row(Site::Block(layer, S::MlpOut), position)?;
        let mut less = |vector: &[f32]| rest.iter_mut().zip(vector).for_each(|(r, v)| *r -= v);
        let input = |l: usize| -> Result<Vec<f32>> {
            Ok(dictionary.input(l, parallel, &self.trace)?[position * d..(position + 1) * d].to_vec())
        };
        less(&self.after_norm(dictionary, layer, position, dictionary.decoder_bias(layer)?)?);
        let from = if dictionary.cross_layer() { 0 } else { layer };
        for l in from..=layer {
            for active in dictionary.encode(l, &input(l)?)? {
                let written = self.written(dictionary, &Active { position, ..active })?;
                written.iter().filter(|(to, _)| *to == layer).for_each(|(_, vector)| less(vector));
            }
        }
        if let Some(skip) = dictionary.skip(layer)? {
            let mut out = vec![0.0; d];
            for (x, weights) in input(layer)?.iter().zip(skip.chunks_exact(d)) {
                out.iter_mut().zip(weights).for_each(|(o, w)| *o += x * w);
            }
            less(&self.after_norm(dictionary, layer, position, out)?);
        }
        Ok(rest)
    }

    /// Where and in what form the dictionary reads.
    pub fn reads(dictionary: &Dictionary) -> MlpInput {
        match dictionary.reads {
            ReadPoint::Normalized => MlpInput::Normalized,
            ReadPoint::Unweighted => MlpInput::Unweighted,
            ReadPoint::Residual => MlpInput::Residual,
        }
    }

    /// The site at which features write in a layer.
    pub fn write_site(&self, dictionary: &Dictionary, layer: usize) -> Site {
        let before = Site::Block(layer, S::MlpOutPrePostNorm);
        let early = dictionary.writes == WritePoint::BeforePostNorm && self.model.decoder.has_site(before);
        if early { before } else { Site::Block(layer, S::MlpOut) }
    }
}

/// A weighted sum of logits, less the mean over the vocabulary as often as the weights say.
pub fn demeaned(logits: &[f32], weights: &[(u32, f32)]) -> f64 {
    let mean = logits.iter().map(|x| f64::from(*x)).sum::<f64>() / logits.len().max(1) as f64;
    let one = |&(id, weight): &(u32, f32)| f64::from(weight) * (f64::from(logits[id as usize]) - mean);
    weights.iter().map(one).sum()
}
