//! Scores of all edges at once: what a writer writes differently times the gradient of the metric to what a reader reads, one backward pass for each
//! point of the path at which the gradient is taken.

use super::EdgeMethod;
use super::edges::EdgeGraph;
use super::runs::{self, PairRuns, written};
use crate::analysis::patch::slope;
use crate::model::arch::{Decoder, Linear, Norm};
use crate::model::edit::{EditPlan, Passes};
use crate::model::forward::Step;
use crate::model::site::{BlockSite as S, Site, Sites};
use crate::model::trace::Trace;
use crate::replacement::Rules;
use crate::replacement::backward::{Backward, Gradients};
use crate::replacement::transpose::{linear_back, norm_back_exact, norm_exact};
use anyhow::{Context, Result};
use candle_core::{DType, Tensor};

/// Scores of one pair, by [`EdgeGraph::index`]; `outside` `[writers, n_pos * d_model]` is what edges outside a circuit carry.
pub(super) struct PairScores<'a> {
    pub model: &'a Decoder,
    pub graph: EdgeGraph,
    pub runs: &'a PairRuns,
    pub outside: &'a Tensor,
}

impl PairScores<'_> {
    /// By the gradient: at the clean run, at both ends, or at `steps` points of the path between their embeddings, the corrupt end included and the clean one not.
    ///
    /// # Errors
    /// What `step` returns.
    pub fn by_gradient(&self, method: EdgeMethod, steps: usize, step: Step) -> Result<Vec<f64>> {
        let difference = (written(&self.graph, &self.runs.clean)? - self.outside)?;
        let mut scores = vec![0.0; self.graph.writers() * self.graph.readers()];
        let (clean, corrupt) = (&self.runs.clean, &self.runs.corrupt);
        match method {
            EdgeMethod::EapIg => {
                for k in 0..steps {
                    let run = self.on_the_path(k as f64 / steps as f64, step)?;
                    self.add(&run, &difference, 1.0 / steps as f64, &mut scores, step)?;
                }
            }
            EdgeMethod::CleanCorrupt => {
                for run in [clean, corrupt] {
                    self.add(run, &difference, 0.5, &mut scores, step)?;
                }
            }
            EdgeMethod::Eap | EdgeMethod::Exact => self.add(clean, &difference, 1.0, &mut scores, step)?,
        }
        Ok(scores)
    }

    /// The run whose token embeddings lie `share` of the way from the corrupt ones to the clean ones.
    fn on_the_path(&self, share: f64, step: Step) -> Result<Trace> {
        let (clean, corrupt) = (&self.runs.clean, &self.runs.corrupt);
        if share == 0.0 {
            return Ok(corrupt.clone());
        }
        let (from, to) = (corrupt.get(Site::Embed)?, clean.get(Site::Embed)?);
        let rows = (&from + ((to - &from)? * share)?)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        let mut plan = EditPlan::default();
        plan.replace(0, Site::Embed, (0..rows.len()).collect(), 0..self.graph.d_model, rows);
        runs::run(self.model, clean.tokens(), &plan, true, step)
    }

    /// Adds the scores with the gradient at `run`, times `weight`.
    fn add(&self, run: &Trace, difference: &Tensor, weight: f64, scores: &mut [f64], step: Step) -> Result<()> {
        let (model, graph, n) = (self.model, self.graph, run.n_pos());
        let gradients = self.gradients(run, step)?;
        let difference = self.through_post_norms(run, difference)?;
        let per = graph.readers_of_layer();
        let weight = weight * self.runs.measure.sign();
        for l in 0..=graph.n_layers {
            let (first, at) = match l < graph.n_layers {
                true => (l * per, readers_of(model, l, run, &gradients)?),
                false => {
                    let site = Site::Block(l - 1, S::ResidPost);
                    (l * per, gradients.at(site).with_context(|| format!("{site} has no gradient"))?.unsqueeze(0)?)
                }
            };
            let count = at.dim(0)?;
            let at = at.reshape((count, n * graph.d_model))?;
            // The MLP is a layer's last reader, and no other one sees more.
            let seen = graph.seen_by(first + count - 1);
            let products = difference.narrow(0, 0, seen)?.matmul(&at.t()?)?.to_vec2::<f32>()?;
            for (w, row) in products.iter().enumerate() {
                for (r, product) in row.iter().enumerate().filter(|(r, _)| w < graph.seen_by(first + r)) {
                    scores[graph.index((w, first + r))] += weight * f64::from(*product);
                }
            }
        }
        Ok(())
    }

    fn gradients(&self, run: &Trace, step: Step) -> Result<Gradients> {
        let (model, position) = (self.model, run.n_pos() - 1);
        let rules = Rules::EXACT;
        let logits = run.last_logits(0)?;
        let direction = slope::direction(model, run, position, &logits, &self.runs.measure, rules.norms)?;
        let last = Site::Block(self.graph.n_layers - 1, S::ResidPost);
        let read = [S::Q, S::K, S::V, S::MlpPre, S::MlpPreLinear];
        let keep = Sites::only((0..self.graph.n_layers).flat_map(|l| read.map(|s| Site::Block(l, s))).chain([last]));
        model.backward(
            direction,
            Backward { trace: run, position, rules, passes: Passes::default(), keep: &keep },
            step,
        )
    }

    /// `[writers, n_pos * d_model]` with what heads write taken through the norm behind attention, differentiated at `run`, where there is one.
    fn through_post_norms(&self, run: &Trace, difference: &Tensor) -> Result<Tensor> {
        let (graph, n) = (self.graph, run.n_pos());
        if self.model.blocks.iter().all(|b| b.ln1_post.is_none()) {
            return Ok(difference.clone());
        }
        let mut parts = vec![difference.narrow(0, 0, 1)?];
        for (l, block) in self.model.blocks.iter().enumerate() {
            let heads = difference.narrow(0, 1 + l * (graph.n_heads + 1), graph.n_heads)?;
            parts.push(match &block.ln1_post {
                Some(norm) => {
                    let at = NormInput::new(run, l, (S::Ln1PostScale, S::AttnOutPrePostNorm), graph.n_heads)?;
                    let rows = heads.reshape((graph.n_heads * n, graph.d_model))?;
                    norm_exact(&rows, norm, &at.scale, &at.x)?.reshape((graph.n_heads, n * graph.d_model))?
                }
                None => heads,
            });
            parts.push(difference.narrow(0, (l + 1) * (graph.n_heads + 1), 1)?);
        }
        Ok(Tensor::cat(&parts, 0)?)
    }
}

/// A norm's scale and input in a run, once for each of `times` readers: `[times * n_pos, 1]` and `[times * n_pos, d_model]`, f32.
struct NormInput {
    scale: Tensor,
    x: Tensor,
}

impl NormInput {
    fn new(run: &Trace, l: usize, (scale, x): (S, S), times: usize) -> Result<Self> {
        let repeated = |site| -> Result<Tensor> {
            let one = run.block(l, site)?.to_dtype(DType::F32)?;
            let (n, width) = one.dims2()?;
            Ok(one.unsqueeze(0)?.expand((times, n, width))?.contiguous()?.reshape((times * n, width))?)
        };
        Ok(NormInput { scale: repeated(scale)?, x: repeated(x)? })
    }
}

/// The gradients to what the readers of a layer read, before their norms: `[3 * n_heads + 1, n_pos, d_model]`.
fn readers_of(model: &Decoder, l: usize, run: &Trace, gradients: &Gradients) -> Result<Tensor> {
    let (block, arch) = (&model.blocks[l], &model.arch);
    let at = |site| {
        let site = Site::Block(l, site);
        gradients.at(site).with_context(|| format!("{site} has no gradient"))
    };
    let by_head = |site, map: &Linear| -> Result<Tensor> {
        let (g, heads, width) = (at(site)?, arch.n_heads, arch.d_head);
        let g = g.reshape((g.dim(0)?, heads, width))?.transpose(0, 1)?.contiguous()?;
        Ok(g.matmul(&map.weight.to_dtype(DType::F32)?.reshape((heads, width, arch.d_model))?)?)
    };
    let attention = &block.attention;
    let parts = [by_head(S::Q, &attention.q)?, by_head(S::K, &attention.k)?, by_head(S::V, &attention.v)?];
    let heads = Tensor::cat(&parts, 0)?;
    let heads = before(heads, &block.ln1, run, l, (S::Ln1Scale, S::ResidPre))?;
    let by_mlp = match &block.mlp.gate {
        Some(gate) => (linear_back(at(S::MlpPreLinear)?, &block.mlp.input)? + linear_back(at(S::MlpPre)?, gate)?)?,
        None => linear_back(at(S::MlpPre)?, &block.mlp.input)?,
    };
    let reads = if arch.parallel { S::ResidPre } else { S::ResidMid };
    let by_mlp = before(by_mlp.unsqueeze(0)?, &block.ln2, run, l, (S::Ln2Scale, reads))?;
    Ok(Tensor::cat(&[heads, by_mlp], 0)?)
}

/// Gradients `[readers, n_pos, d_model]` before a norm, differentiated; without a norm they themselves.
fn before(g: Tensor, norm: &Option<Norm>, run: &Trace, l: usize, sites: (S, S)) -> Result<Tensor> {
    let Some(norm) = norm else { return Ok(g) };
    let (readers, n, d) = g.dims3()?;
    let at = NormInput::new(run, l, sites, readers)?;
    Ok(norm_back_exact(&g.reshape((readers * n, d))?, norm, &at.scale, &at.x)?.reshape((readers, n, d))?)
}
