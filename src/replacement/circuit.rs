//! The circuit graph: heads, MLPs, neurons and embeddings as nodes, edges along the residual stream only, so that a target is traced to its tokens
//! without remainder.
//!
//! Every node is one number, its total: how much it moves the target by every path of the local replacement model (patterns, norm scales and gates
//! held). Every node has a row: what it reads, split by what wrote it. What a node reads is a [`StreamReading`], a linear functional of the residual
//! stream at one or more positions; an edge is the reading of what a unit wrote. No edge crosses attention: that is what head nodes are for.
//!
//! Beside that total stands the exact first-order one, gradient times activation with nothing held: it has no sum rule, but it sees where heads look.

mod looks;
mod many;
mod reading;
mod row;
mod split;
mod totals;

use super::backward::{Backward, Gradients, StreamGradients};
use super::direct::TargetRow;
use super::norm::{FrozenNorm, dot, vector};
use super::rules::{Gate, GradientRule, Rules};
use crate::model::arch::{Decoder, Norm};
use crate::model::edit::Passes;
use crate::model::forward::Step;
use crate::model::memory::Need;
use crate::model::ops;
use crate::model::site::{BlockSite as S, Site, Sites};
use crate::model::trace::Trace;
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Tensor};
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

pub use many::{Apart, NodeRow};
pub use reading::{ReadDirection, StreamReading};
pub use row::CircuitRow;
pub use split::TotalsSplit;
pub use totals::Total;
use totals::UnitEffects;

/// A node of the circuit graph. Orders as the model computes: by layers, in a layer heads, the MLP, its neurons, each by positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CircuitNode {
    /// The token embedding at a position.
    Embed {
        /// Its position.
        position: usize,
    },
    /// The learned position embedding at a position.
    PosEmbed {
        /// Its position.
        position: usize,
    },
    /// What a head writes at a position.
    Head {
        /// Its layer.
        layer: usize,
        /// Its number.
        head: usize,
        /// The position it writes at.
        position: usize,
    },
    /// What all neurons of an MLP write at a position, its output bias aside.
    Mlp {
        /// Its layer.
        layer: usize,
        /// The position.
        position: usize,
    },
    /// What one neuron writes at a position.
    Neuron {
        /// Its layer.
        layer: usize,
        /// Its number.
        neuron: usize,
        /// The position.
        position: usize,
    },
}

impl Ord for CircuitNode {
    fn cmp(&self, other: &Self) -> Ordering {
        // Embeddings come before layer 0.
        let key = |unit: &CircuitNode| match *unit {
            CircuitNode::Embed { position } => (0, 0, position, 0),
            CircuitNode::PosEmbed { position } => (0, 1, position, 0),
            CircuitNode::Head { layer, head, position } => (layer + 1, 0, position, head),
            CircuitNode::Mlp { layer, position } => (layer + 1, 1, position, 0),
            CircuitNode::Neuron { layer, neuron, position } => (layer + 1, 2, position, neuron),
        };
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for CircuitNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl CircuitNode {
    /// Its position.
    pub fn position(self) -> usize {
        match self {
            CircuitNode::Embed { position }
            | CircuitNode::PosEmbed { position }
            | CircuitNode::Head { position, .. }
            | CircuitNode::Mlp { position, .. }
            | CircuitNode::Neuron { position, .. } => position,
        }
    }

    /// Its layer; embeddings have none.
    pub fn layer(self) -> Option<usize> {
        match self {
            CircuitNode::Embed { .. } | CircuitNode::PosEmbed { .. } => None,
            CircuitNode::Head { layer, .. } | CircuitNode::Mlp { layer, .. } | CircuitNode::Neuron { layer, .. } => {
                Some(layer)
            }
        }
    }
}

/// What a circuit explains: a weighted sum of logits before any soft-cap, less the mean logit as often as the weights say.
#[derive(Clone, Debug)]
pub struct Objective {
    /// Tokens with the weights of their logits.
    pub weights: Vec<(u32, f32)>,
    /// The position whose logits they are.
    pub position: usize,
}

impl Objective {
    /// The target's value in a run without edits, and all gradients of it by each of these rules, with those to the sites of `keep`.
    ///
    /// # Errors
    /// As [`Circuit::new`].
    pub fn gradients<const N: usize>(
        &self,
        model: &Decoder,
        trace: &Trace,
        by: [Rules; N],
        keep: &Sites,
        step: Step,
    ) -> Result<(f32, [Gradients; N])> {
        let goal = Goal::new(model, trace, self)?;
        let one = |(nth, rules): (usize, Rules)| {
            let (direction, by) = goal.backward(model, trace, rules, &Passes::default(), keep)?;
            model.backward(direction, by, &mut |done, all| step(nth * all + done, N * all))
        };
        let found: Vec<Gradients> = by.into_iter().enumerate().map(one).collect::<Result<_>>()?;
        let n = found.len();
        Ok((goal.value, found.try_into().map_err(|_| anyhow::anyhow!("{n} backward passes of {N}"))?))
    }
}

/// A target as the model reads it.
struct Goal {
    position: usize,
    /// At the output of the final norm, `[1, d_model]`.
    row: Tensor,
    /// At the last residual stream, the scale of the final norm held, `[d_model]`.
    covector: Vec<f32>,
    /// The part that comes from the biases of final norm and unembedding.
    bias: f32,
    value: f32,
}

/// The circuit of a run: its nodes and their rows, for one target.
pub struct Circuit<'a> {
    model: &'a Decoder,
    trace: &'a Trace,
    kept: Arc<CircuitState>,
}

/// What a circuit computed, to be taken up again beside the same model and run ([`Circuit::again`]).
pub struct CircuitState {
    gate: Gate,
    /// The edits of the run.
    passes: Passes,
    goal: Goal,
    /// Everything held.
    frozen: OneBackward,
    /// Nothing held; not there before [`Circuit::count`].
    exact: OnceLock<OneBackward>,
    /// `[pos, d_model]`
    embed: Vec<f32>,
    /// `[pos, d_model]`
    pos_embed: Option<Vec<f32>>,
    layers: Vec<OnceLock<Written>>,
    /// What biases put into the target.
    biases: OnceLock<f32>,
}

/// One backward pass, as totals and rows need it.
struct OneBackward {
    /// What it held.
    rules: Rules,
    stream: StreamGradients,
    /// Gradient times activation of heads and MLPs, by layer.
    units: Vec<UnitEffects>,
}

/// What attention and MLP of a layer wrote, as rows need it.
struct Written {
    /// Mixed values, `[pos, n_heads * d_head]`.
    z: Vec<f32>,
    /// The post-norm of attention.
    attn_post: Option<FrozenNorm>,
    /// The bias of attention's output, `[d_model]`.
    attn_bias: Vec<f32>,
    /// What the neurons wrote, without the output bias, `[pos, d_model]`.
    mlp: Vec<f32>,
    /// What the MLP writes whatever it reads, `[pos, d_model]`; empty without biases.
    mlp_bias: Vec<f32>,
}

impl<'a> Circuit<'a> {
    /// The sites that a run must record. Patterns and rotated queries are not among them where they can be made again ([`Decoder::remakes_patterns`]).
    pub fn sites(model: &Decoder) -> BTreeSet<Site> {
        let mut sites = model.backward_sites(Rules::EXACT);
        sites.extend(model.relp_sites());
        let blocks = (0..model.arch.n_layers).flat_map(|l| [S::Z, S::MlpPost, S::MlpOut].map(|s| Site::Block(l, s)));
        sites.extend(blocks.chain([Site::Embed, Site::PosEmbed]).filter(|s| model.has_site(*s)));
        // Keys are asked again for every head's row, queries are not.
        sites.retain(|site| !(model.remakes_patterns() && matches!(site, Site::Block(_, S::Pattern | S::RotQ))));
        sites
    }

    /// Two backward passes from the target: with everything held and with nothing held. `passes` are the edits of the run.
    ///
    /// # Errors
    /// A site was not recorded, a token outside the vocabulary, a position outside the prompt, or what `step` returns.
    pub fn new(
        model: &'a Decoder,
        trace: &'a Trace,
        objective: &Objective,
        gate: Gate,
        passes: &Passes,
        step: Step,
    ) -> Result<Self> {
        let circuit = Circuit::begin(model, trace, objective, gate, passes, &mut |done, all| step(done, 2 * all))?;
        circuit.count(&mut |done, all| step(all + done, 2 * all))?;
        Ok(circuit)
    }

    /// [`Circuit::new`] as far as what units write: what they count for comes with [`Circuit::count`].
    ///
    /// # Errors
    /// As [`Circuit::new`].
    pub fn begin(
        model: &'a Decoder,
        trace: &'a Trace,
        objective: &Objective,
        gate: Gate,
        passes: &Passes,
        step: Step,
    ) -> Result<Self> {
        let goal = Goal::new(model, trace, objective)?;
        let frozen = OneBackward::new(model, trace, &goal, Rules::relp(gate), passes, step)?;
        let kept = CircuitState {
            gate,
            passes: passes.clone(),
            goal,
            frozen,
            exact: OnceLock::new(),
            embed: trace.numbers(Site::Embed)?,
            pos_embed: model.pos_embed.is_some().then(|| trace.numbers(Site::PosEmbed)).transpose()?,
            layers: (0..model.arch.n_layers).map(|_| OnceLock::new()).collect(),
            biases: OnceLock::new(),
        };
        Ok(Circuit { model, trace, kept: Arc::new(kept) })
    }

    /// Finds what units count for, with nothing held; once.
    ///
    /// # Errors
    /// A site was not recorded, or what `step` returns.
    pub fn count(&self, step: Step) -> Result<()> {
        if self.kept.exact.get().is_none() {
            let exact =
                OneBackward::new(self.model, self.trace, &self.kept.goal, Rules::EXACT, &self.kept.passes, step)?;
            self.kept.exact.get_or_init(|| exact);
        }
        Ok(())
    }

    /// Whether it is known what units count for.
    pub fn is_counted(&self) -> bool {
        self.kept.exact.get().is_some()
    }

    /// All gradients of the target by some rules, with those to the sites of `keep`.
    ///
    /// # Errors
    /// As [`Circuit::count`].
    pub fn gradients(&self, rules: Rules, keep: &Sites, step: Step) -> Result<Gradients> {
        let (direction, by) = self.kept.goal.backward(self.model, self.trace, rules, &self.kept.passes, keep)?;
        self.model.backward(direction, by, step)
    }

    /// The circuit that [`Circuit::kept`] is of, on the same model and run.
    pub fn again(model: &'a Decoder, trace: &'a Trace, kept: Arc<CircuitState>) -> Self {
        Circuit { model, trace, kept }
    }

    /// What it computed.
    pub fn kept(&self) -> Arc<CircuitState> {
        self.kept.clone()
    }

    /// The model.
    pub fn model(&self) -> &Decoder {
        self.model
    }

    /// The run.
    pub fn trace(&self) -> &Trace {
        self.trace
    }

    /// Checks that what a row is made of adds up to its value.
    ///
    /// # Errors
    /// It does not, beyond rounding: what a run in 16 bits records is rounded more.
    pub fn check_sum(&self, residual: f32, abs_sum: f32) -> Result<()> {
        let allowed = if self.model.embed.dtype() == DType::F32 { 1e-4 } else { 5e-2 };
        ensure!(
            residual.abs() <= allowed * abs_sum.max(f32::MIN_POSITIVE),
            "the row does not add up: {residual} of {abs_sum}"
        );
        Ok(())
    }

    /// Whether the model is on the CPU.
    pub fn is_on_cpu(&self) -> bool {
        self.model.device().is_cpu()
    }

    /// The target's value.
    pub fn value(&self) -> f32 {
        self.kept.goal.value
    }

    /// The gradient with everything held; it has kept what attention and MLPs write.
    pub fn frozen(&self) -> &StreamGradients {
        &self.kept.frozen.stream
    }

    /// The gradient with nothing held; it has kept queries, keys and what MLPs write.
    ///
    /// # Errors
    /// [`Circuit::count`] was not asked for.
    pub fn exact(&self) -> Result<&StreamGradients> {
        Ok(&self.kept.exact.get().context("what units count for was not computed")?.stream)
    }

    fn written(&self, layer: usize) -> Result<&Written> {
        let Some(slot) = self.kept.layers.get(layer) else { anyhow::bail!("there is no layer {layer}") };
        if let Some(written) = slot.get() {
            return Ok(written);
        }
        let made = Written::new(self.model, self.trace, layer).with_context(|| format!("layer {layer}"))?;
        Ok(slot.get_or_init(|| made))
    }
}

impl OneBackward {
    fn new(model: &Decoder, trace: &Trace, goal: &Goal, rules: Rules, passes: &Passes, step: Step) -> Result<Self> {
        let wanted = |l: usize| {
            let sites: &[S] = match rules.patterns {
                GradientRule::Exact => &[S::Q, S::K, S::MlpOut],
                GradientRule::Frozen => &[S::AttnOut, S::MlpOut],
            };
            sites.iter().map(move |s| Site::Block(l, *s))
        };
        let keep = Sites::only((0..model.arch.n_layers).flat_map(wanted));
        let (direction, by) = goal.backward(model, trace, rules, passes, &keep)?;
        let mut units = Vec::with_capacity(model.arch.n_layers);
        let mut each = |l: usize, to_neurons: &Tensor, to_heads: &Tensor| {
            units.push(UnitEffects::new(model, trace, l, to_neurons, to_heads)?);
            Ok(())
        };
        let stream = model.backward_by_layers(direction, by, &mut each, step)?;
        units.reverse();
        if rules.norms == GradientRule::Exact {
            for (l, of_layer) in units.iter_mut().enumerate() {
                let at = Site::Block(l, S::MlpOut);
                let to_output = stream.at(at).context("the gradient to what MLPs write was not kept")?;
                let to_output = passes.apply(at, to_output.contiguous()?, 0)?;
                of_layer.by_what_mlps_write(model, trace, l, &to_output)?;
            }
        }
        Ok(OneBackward { rules, stream, units })
    }
}

impl Goal {
    /// Where a backward pass from it begins, and what it goes by.
    fn backward<'t>(
        &self,
        model: &Decoder,
        trace: &'t Trace,
        rules: Rules,
        passes: &Passes,
        keep: &'t Sites,
    ) -> Result<(Tensor, Backward<'t>)> {
        let direction = model.before_final_norm(trace, self.position, &self.row, rules.norms)?;
        Ok((direction, Backward { trace, position: self.position, rules, passes: passes.clone(), keep }))
    }

    fn new(model: &Decoder, trace: &Trace, objective: &Objective) -> Result<Self> {
        let Objective { weights, position } = objective;
        ensure!(*position < trace.n_pos(), "position {position}: this prompt has positions 0..={}", trace.n_pos() - 1);
        if model.device().is_cpu() {
            Need::of_backward(&model.arch, trace.n_pos()).check_load("the backward passes")?;
        }
        let TargetRow { row, bias: own } = TargetRow::demeaned(model, weights)?;
        let numbers = vector(&row)?;
        let resid = trace.block(model.arch.n_layers - 1, S::ResidPost)?.narrow(0, *position, 1)?.contiguous()?;
        let normalized = vector(&ops::norm(model.route(), &resid, &model.ln_final)?.0)?;
        let value = dot(&normalized, &numbers) + own;
        let beta = model.ln_final.bias.as_ref().map(vector).transpose()?;
        let bias = own + beta.map_or(0.0, |beta| dot(&beta, &numbers));
        let covector = vector(&model.before_final_norm(trace, *position, &row, GradientRule::Frozen)?)?;
        Ok(Goal { position: *position, row, covector, bias, value })
    }
}

impl Written {
    fn new(model: &Decoder, trace: &Trace, l: usize) -> Result<Self> {
        let block = &model.blocks[l];
        let d = model.arch.d_model;
        let post = |norm: &Option<Norm>, site| -> Result<Option<FrozenNorm>> {
            norm.as_ref().map(|n| FrozenNorm::new(n, &trace.block(l, site)?)).transpose()
        };
        let bias = |of: &Option<Tensor>| of.as_ref().map_or_else(|| Ok(vec![0.0; d]), vector);
        let (attn_post, mlp_post) = (post(&block.ln1_post, S::Ln1PostScale)?, post(&block.ln2_post, S::Ln2PostScale)?);
        let mut mlp = trace.numbers(Site::Block(l, S::MlpOut))?;
        let mut mlp_bias = Vec::new();
        if block.mlp.output.bias.is_some() || mlp_post.as_ref().is_some_and(FrozenNorm::has_bias) {
            let own = bias(&block.mlp.output.bias)?;
            for (pos, row) in mlp.chunks_exact_mut(d).enumerate() {
                let mut constant = own.clone();
                if let Some(norm) = &mlp_post {
                    norm.forward(&mut constant, pos);
                    constant.iter_mut().zip(&norm.bias).for_each(|(c, b)| *c += b);
                }
                row.iter_mut().zip(&constant).for_each(|(x, c)| *x -= c);
                mlp_bias.append(&mut constant);
            }
        }
        let attn_bias = bias(&block.attention.o.bias)?;
        Ok(Written { z: trace.numbers(Site::Block(l, S::Z))?, attn_post, attn_bias, mlp, mlp_bias })
    }
}

/// One position's row of a recorded site as a tensor `[1, width]`, f32.
fn one_row(trace: &Trace, layer: usize, site: S, position: usize) -> Result<Tensor> {
    Ok(trace.block(layer, site)?.narrow(0, position, 1)?.to_dtype(DType::F32)?.contiguous()?)
}
