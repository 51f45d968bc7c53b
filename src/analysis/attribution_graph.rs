//! Attribution graphs: which units carried the prediction, as direct effects in the frozen model.
//!
//! Nodes are raw MLP neurons or the features of a dictionary, one remainder for each layer and position, token (and
//! position) embeddings, and logits. Ameisen et al. 2025 for features; Jafari et al. 2025 for the rules of neurons.

mod choose;

use crate::graph::{Certificate, Generator, Graph, Metadata, Node, RowStore};
use crate::model::Model;
use crate::model::dictionary::{Active, Dictionary, ReadPoint, WritePoint};
use crate::model::forward::{Logits, Step};
use crate::model::linear::{Columns, Frozen, Input, Row, SourceBlocks, Target, Write};
use crate::model::relp::Gate;
use crate::model::site::{Site, Sites};
use crate::model::text::Piece;
use crate::model::trace::Trace;
use anyhow::{Result, ensure};
use std::collections::HashMap;

use choose::strongest_neurons;
pub use choose::{LogitTarget, most_probable};

/// How a graph is to be made.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// At most this many units; a dictionary without a limit takes every active feature.
    pub max_nodes: Option<usize>,
    /// How gated neurons are linearised.
    pub gate: Gate,
    /// Units and remainders at this many first positions are left out.
    pub zero_positions: usize,
}

/// A prompt frozen, with the units that may become nodes.
struct Ground<'a> {
    model: &'a Model,
    dictionary: Option<&'a Dictionary>,
    trace: Trace,
    frozen: Frozen,
    units: Vec<Unit>,
    sources: SourceBlocks,
    gate: Gate,
    zero_positions: usize,
}

/// A neuron or feature at a position.
#[derive(Clone, Copy, Debug)]
struct Unit {
    layer: usize,
    position: usize,
    index: usize,
    activation: f32,
    /// Pre-activation of a feature.
    pre: f32,
}

/// Builds the graph of `targets` on neurons, or on the features of `dictionary`.
///
/// `step` is called with rows done and rows in all; when it ends the work, the graph of the rows so far is returned,
/// marked partial.
///
/// # Errors
/// A dictionary that does not fit, or a run that fails.
pub fn build(
    model: &Model,
    tokens: &[Piece],
    dictionary: Option<&Dictionary>,
    targets: &[LogitTarget],
    settings: Settings,
    step: Step,
) -> Result<Graph> {
    ensure!(!targets.is_empty(), "a graph needs at least one target");
    let ids: Vec<u32> = tokens.iter().map(|t| t.id).collect();
    let ground = Ground::new(model, &ids, dictionary, targets, settings)?;
    let mut rows: HashMap<usize, Row> = HashMap::new();
    let all: Vec<usize> = (0..targets.len() + ground.units.len()).collect();
    let mut wanted = ground.logits(targets)?;
    let chosen = match settings.max_nodes.filter(|max| dictionary.is_some() && *max < ground.units.len()) {
        Some(max) => ground.grow(&wanted, targets, max, &mut rows, step)?,
        None => {
            wanted.extend(ground.targets(&(0..ground.units.len()).collect::<Vec<_>>())?);
            let done = ground.rows(&wanted, &all, &mut rows, step)?;
            (0..ground.units.len()).map(|u| (u, done)).collect()
        }
    };
    let complete = chosen.iter().all(|c| c.1);
    let chosen: Vec<usize> = chosen.into_iter().map(|c| c.0).collect();
    ground.graph(tokens, targets, &chosen, &rows, complete)
}

impl<'a> Ground<'a> {
    fn new(
        model: &'a Model,
        ids: &[u32],
        dictionary: Option<&'a Dictionary>,
        targets: &[LogitTarget],
        settings: Settings,
    ) -> Result<Self> {
        let decoder = &model.decoder;
        let Sites::Only(mut sites) = Frozen::sites(decoder) else { anyhow::bail!("a frozen model names its sites") };
        sites.extend(decoder.relp_sites());
        let n_layers = decoder.arch.n_layers;
        if let Some(d) = dictionary {
            sites.extend((0..n_layers).flat_map(|l| d.read_sites(l, decoder.arch.parallel)));
        }
        let trace = model.run(ids, &Sites::Only(sites), Logits::All)?;
        let mut frozen = Frozen::new(decoder, &trace)?;
        let (units, sources) = match dictionary {
            None => neuron_sources(model, &trace, &frozen, targets, settings)?,
            Some(d) => feature_sources(d, model, &trace, &mut frozen, settings.zero_positions)?,
        };
        let (gate, zero_positions) = (settings.gate, settings.zero_positions);
        Ok(Ground { model, dictionary, trace, frozen, units, sources, gate, zero_positions })
    }

    fn logits(&self, targets: &[LogitTarget]) -> Result<Vec<Target>> {
        let maker = self.frozen.targets(&self.model.decoder, &self.trace, self.gate);
        let last = self.frozen.n_pos - 1;
        targets.iter().map(|t| maker.logits(last, &t.weights, true)).collect()
    }

    /// The targets that units are.
    fn targets(&self, units: &[usize]) -> Result<Vec<Target>> {
        let Some(dictionary) = self.dictionary else {
            let maker = self.frozen.targets(&self.model.decoder, &self.trace, self.gate);
            let one = |u: &usize| {
                let unit = self.units[*u];
                Ok(maker.neurons(unit.layer, &[(unit.position, unit.index)])?.remove(0))
            };
            return maker_by_layer(&maker, &self.units, units).or_else(|_| units.iter().map(one).collect());
        };
        let reads = input_of(dictionary);
        units
            .iter()
            .map(|u| {
                let unit = self.units[*u];
                let (row, bias) = dictionary.encoder_row(unit.layer, unit.index)?;
                Ok(self.frozen.input_target(unit.layer, unit.position, row, reads, bias, unit.pre))
            })
            .collect()
    }

    /// Computes rows; `keys[i]` names the row of `targets[i]`. False when `step` ended the work.
    fn rows(&self, targets: &[Target], keys: &[usize], rows: &mut HashMap<usize, Row>, step: Step) -> Result<bool> {
        let total = keys.len();
        let mut done = 0;
        let mut stopped = false;
        let result = self.frozen.rows(targets, &self.sources, |batch| {
            done += batch.len();
            rows.extend(batch.into_iter().map(|(t, row)| (keys[t], row)));
            step(done, total).inspect_err(|_| stopped = true)
        });
        if stopped {
            return Ok(false);
        }
        result.map(|()| true)
    }

    /// Chooses features by influence as their rows come in, circuit-tracer's way: rank the features not yet visited by
    /// the influence that known rows give them, attribute the best, and again.
    fn grow(
        &self,
        logits: &[Target],
        targets: &[LogitTarget],
        max: usize,
        rows: &mut HashMap<usize, Row>,
        step: Step,
    ) -> Result<Vec<(usize, bool)>> {
        const AT_ONCE: usize = 64;
        let n = targets.len();
        let keys: Vec<usize> = (0..n).collect();
        let mut complete = self.rows(logits, &keys, rows, &mut |_, _| Ok(()))?;
        let mut chosen: Vec<usize> = Vec::new();
        while chosen.len() < max && complete {
            let influence = choose::influence(&self.units, &self.sources.columns, targets, rows, self.zero_positions);
            let mut rest: Vec<usize> = (0..self.units.len()).filter(|u| !rows.contains_key(&(n + u))).collect();
            rest.sort_by(|a, b| influence[*b].total_cmp(&influence[*a]).then(a.cmp(b)));
            rest.truncate(AT_ONCE.min(max - chosen.len()));
            if rest.is_empty() {
                break;
            }
            let keys: Vec<usize> = rest.iter().map(|u| n + u).collect();
            complete = self.rows(&self.targets(&rest)?, &keys, rows, &mut |_, _| Ok(()))?;
            chosen.extend(rest);
            complete &= step(chosen.len(), max).is_ok();
        }
        chosen.sort_unstable();
        Ok(chosen.into_iter().map(|u| (u, complete)).collect())
    }

    /// Nodes in circuit-tracer's order: units, remainders, embeddings, logits.
    fn graph(
        &self,
        tokens: &[Piece],
        targets: &[LogitTarget],
        chosen: &[usize],
        rows: &HashMap<usize, Row>,
        complete: bool,
    ) -> Result<Graph> {
        let (n_layers, n_pos) = (self.frozen.n_layers(), self.frozen.n_pos);
        let columns = &self.sources.columns;
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let mut nodes = Vec::new();
        let mut shown = Vec::new();
        for &u in chosen {
            let unit = self.units[u];
            let (l, i, p) = (small(unit.layer), unit.index as u64, small(unit.position));
            let make = if self.dictionary.is_some() { Node::feature } else { Node::neuron };
            nodes.push(make(l, i, p, unit.activation));
            shown.push(u);
        }
        for l in 0..n_layers {
            for p in self.zero_positions..n_pos {
                nodes.push(Node::error(small(l), small(p)));
                shown.push(columns.remainder(l, p));
            }
        }
        for (p, token) in tokens.iter().enumerate() {
            nodes.push(Node { label: token.text.clone(), ..Node::embedding(token.id, small(p)) });
            shown.push(columns.token(p));
        }
        // circuit-tracer counts position embeddings among the constants; on neurons they are inputs of their own.
        if self.dictionary.is_none() {
            for p in 0..n_pos {
                if let Some(column) = columns.pos_embed(p) {
                    nodes.push(Node::positional_embedding(small(p)));
                    shown.push(column);
                }
            }
        }
        let first_logit = nodes.len();
        let last = small(n_pos - 1);
        for t in targets {
            nodes.push(match t.weights[..] {
                [(id, _)] => Node::logit(id, &t.name, t.probability, small(n_layers), last),
                _ => Node::contrast(&t.name, small(n_layers), last).with_weights(&t.weights),
            });
        }
        let mut store = RowStore::new(nodes.len());
        let at: Vec<u32> = (0..shown.len()).map(small).collect();
        let logit_rows = (0..targets.len()).map(|t| (first_logit + t, t));
        let unit_rows = chosen.iter().enumerate().map(|(node, u)| (node, targets.len() + u));
        let values = self.values(targets)?;
        for (node, key) in logit_rows.chain(unit_rows) {
            let Some(row) = rows.get(&key) else { continue };
            let weights: Vec<f32> = shown.iter().map(|c| row.effects[*c]).collect();
            nodes[node].certificate = Some(certificate(row, &weights, values.get(&key).copied(), chosen.len(), self));
            store.set_dense(node, &at, &weights)?;
        }
        let mut graph = Graph::new(self.metadata(tokens, targets, complete), nodes, store.edges())?;
        graph.view.extras.insert("linkType".into(), "both".into());
        Ok(graph)
    }

    /// The value of every row, by key.
    fn values(&self, targets: &[LogitTarget]) -> Result<HashMap<usize, f32>> {
        let logits = self.logits(targets)?;
        let units = self.units.iter().map(|u| if self.dictionary.is_some() { u.pre } else { u.activation });
        Ok(logits.iter().map(|t| t.value).chain(units).enumerate().collect())
    }

    fn metadata(&self, tokens: &[Piece], targets: &[LogitTarget], complete: bool) -> Metadata {
        let names: Vec<&str> = targets.iter().map(|t| t.name.as_str()).collect();
        let mut extras = serde_json::Map::new();
        let unit = if self.dictionary.is_some() { "feature" } else { "neuron" };
        extras.insert("node_type".into(), unit.into());
        Metadata {
            slug: "graph".into(),
            scan: self.dictionary.map_or_else(|| self.model.source.to_string(), |d| d.name.clone()),
            prompt: tokens.iter().map(|t| t.text.as_str()).collect(),
            prompt_tokens: tokens.iter().map(|t| t.text.clone()).collect(),
            prompt_ids: tokens.iter().map(|t| t.id).collect(),
            target: Some(names.join(", ")),
            partial: !complete,
            schema_version: Some(1),
            generator: Some(Generator { name: "mechscope".into(), version: env!("CARGO_PKG_VERSION").into() }),
            extras,
            ..Metadata::default()
        }
    }
}

fn maker_by_layer(maker: &crate::model::linear::TargetMaker, all: &[Unit], units: &[usize]) -> Result<Vec<Target>> {
    let mut out: Vec<Option<Target>> = vec![None; units.len()];
    let layers = units.iter().map(|u| all[*u].layer).collect::<std::collections::BTreeSet<_>>();
    for layer in layers {
        let here: Vec<usize> = (0..units.len()).filter(|i| all[units[*i]].layer == layer).collect();
        let which: Vec<(usize, usize)> = here.iter().map(|i| (all[units[*i]].position, all[units[*i]].index)).collect();
        for (i, target) in here.into_iter().zip(maker.neurons(layer, &which)?) {
            out[i] = Some(target);
        }
    }
    Ok(out.into_iter().flatten().collect())
}

fn certificate(row: &Row, shown: &[f32], value: Option<f32>, n_units: usize, ground: &Ground) -> Certificate {
    let columns = &ground.sources.columns;
    let n_errors = columns.n_layers * (columns.n_pos - ground.zero_positions);
    let explained: f32 =
        shown.iter().enumerate().filter(|(i, _)| *i < n_units || *i >= n_units + n_errors).map(|(_, x)| x.abs()).sum();
    let unexplained = if row.abs_sum > 0.0 { 1.0 - (explained + row.bias.abs()) / row.abs_sum } else { 0.0 };
    Certificate {
        value: value.unwrap_or(f32::NAN),
        bias: row.bias,
        residual: row.residual,
        abs_sum: row.abs_sum,
        unexplained: unexplained.clamp(0.0, 1.0),
    }
}

fn neuron_sources(
    model: &Model,
    trace: &Trace,
    frozen: &Frozen,
    targets: &[LogitTarget],
    settings: Settings,
) -> Result<(Vec<Unit>, SourceBlocks)> {
    let decoder = &model.decoder;
    let units = strongest_neurons(model, trace, targets, settings)?;
    let which: Vec<(usize, usize, usize)> = units.iter().map(|u| (u.layer, u.position, u.index)).collect();
    let writes = SourceBlocks::neuron_writes(frozen, decoder, trace, &which)?;
    let biases = SourceBlocks::output_biases(frozen, decoder)?;
    let sources = SourceBlocks::new(frozen, trace, units.len(), &writes, &biases, None)?;
    Ok((units, sources))
}

fn input_of(dictionary: &Dictionary) -> Input {
    match dictionary.reads {
        ReadPoint::Normalized => Input::Normalized,
        ReadPoint::Unweighted => Input::Unweighted,
        ReadPoint::Residual => Input::Residual,
    }
}

/// Every active feature; remainders are what the whole dictionary leaves of each MLP output.
fn feature_sources(
    dictionary: &Dictionary,
    model: &Model,
    trace: &Trace,
    frozen: &mut Frozen,
    zero_positions: usize,
) -> Result<(Vec<Unit>, SourceBlocks)> {
    let (decoder, n_layers, n_pos) = (&model.decoder, frozen.n_layers(), frozen.n_pos);
    let d = frozen.d_model;
    let before_norm = dictionary.writes == WritePoint::BeforePostNorm;
    let reads = input_of(dictionary);
    let mut active: Vec<Active> = Vec::new();
    let (mut biases, mut skips) = (Vec::new(), Vec::new());
    let mut any_skip = false;
    let through =
        |frozen: &Frozen, l: usize, p: usize, v: Vec<f32>| if before_norm { frozen.written(l, p, v) } else { v };
    for l in 0..n_layers {
        let x = dictionary.input(l, decoder.arch.parallel, trace)?;
        active.extend(dictionary.encode(l, &x)?.into_iter().filter(|a| a.position >= zero_positions));
        let mut bias = dictionary.decoder_bias(l)?;
        let skip = dictionary.skip(l)?;
        let mut written = vec![vec![0.0; d]; n_pos];
        if let Some(w) = &skip {
            any_skip = true;
            // The norm's bias through the skip is a constant; the rest is linear in the residual stream.
            let constant = if reads == Input::Normalized { frozen.input_bias(l) } else { vec![0.0; d] };
            let product = |x: &[f32]| (0..d).map(|o| (0..d).map(|i| x[i] * w[i * d + o]).sum()).collect::<Vec<f32>>();
            bias.iter_mut().zip(product(&constant)).for_each(|(b, c)| *b += c);
            for (p, written) in written.iter_mut().enumerate() {
                let linear: Vec<f32> = x[p * d..(p + 1) * d].iter().zip(&constant).map(|(x, c)| x - c).collect();
                *written = through(frozen, l, p, product(&linear));
            }
            frozen.set_skip(l, w, reads, before_norm);
        }
        biases.push((0..n_pos).map(|p| through(frozen, l, p, bias.clone())).collect::<Vec<_>>());
        skips.push(written);
    }
    let mut writes = Vec::new();
    for (column, a) in active.iter().enumerate() {
        for (above, row) in dictionary.decoder_rows(a.layer, a.feature)?.into_iter().enumerate() {
            let layer = a.layer + above;
            let vector = row.into_iter().map(|x| x * a.activation).collect();
            let vector = through(frozen, layer, a.position, vector);
            writes.push(Write { column, layer, position: a.position, vector });
        }
    }
    let skips = any_skip.then_some(skips.as_slice());
    let sources = SourceBlocks::new(frozen, trace, active.len(), &writes, &biases, skips)?;
    let unit = |a: &Active| Unit {
        layer: a.layer,
        position: a.position,
        index: a.feature,
        activation: a.activation,
        pre: a.pre,
    };
    Ok((active.iter().map(unit).collect(), sources))
}

/// The sites a graph is made from, besides those of its dictionary: for callers that record once and ask often.
pub fn sites(model: &Model) -> Vec<Site> {
    let Sites::Only(mut sites) = Frozen::sites(&model.decoder) else { return Vec::new() };
    sites.extend(model.decoder.relp_sites());
    sites.into_iter().collect()
}

/// The layout of rows, for callers outside.
pub type RowColumns = Columns;
