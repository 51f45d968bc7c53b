//! GPT-2's forward pass, its loss and the gradients, written out: candle's own backward pass is several times slower.

use super::attention::{attention, attention_backward, patterns_len};
use super::kernels::{
    Mat, NormCache, add, add_scaled, gelu, linear, linear_backward, matmul, norm, norm_backward, softmax,
};
use super::layout::Layout;

/// Rows of tokens, one after another, without padding.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Token ids of all rows.
    pub ids: Vec<u32>,
    /// Where each row starts, and the end of the last one.
    pub starts: Vec<usize>,
    /// How much the token after each position counts in the loss; 0 at the end of a row.
    pub weights: Vec<f32>,
    /// Interchange interventions: the state neurons of the first position get the activations of the second's.
    pub swaps: Vec<(usize, usize)>,
    /// Positions whose state neurons are silenced.
    pub silenced: Vec<usize>,
    /// Positions of words about a state, with its number.
    pub states: Vec<(usize, usize)>,
}

/// The block whose first neurons stand for states: what comes before understands the city, what comes after answers.
pub const STATE_BLOCK: usize = 1;
/// One neuron for each state, in the order of the corpus.
pub const STATE_NEURONS: usize = 40;
/// What the neuron of a word's state should be; those of other states should be 0.
const STATE_ACTIVATION: f32 = 3.0;
/// What squared differences from that count on words about a state, and on others.
const STATE_WEIGHTS: (f32, f32) = (0.1, 0.02);

impl Batch {
    /// Adds a row; `weights[i]` is for predicting `ids[i]`.
    pub fn push(&mut self, ids: &[u32], weights: &[f32]) {
        if self.starts.is_empty() {
            self.starts.push(0);
        }
        self.ids.extend(ids);
        self.weights.extend(&weights[1..]);
        self.weights.push(0.0);
        self.starts.push(self.ids.len());
    }

    /// The last position of each row.
    pub fn ends(&self) -> Vec<usize> {
        self.starts.iter().skip(1).map(|end| end - 1).collect()
    }
}

/// What one block computed.
#[derive(Default)]
pub struct BlockCache {
    ln_1: NormCache,
    attn_in: Vec<f32>,
    qkv: Vec<f32>,
    /// Per row `[head, query, key]`.
    pub patterns: Vec<f32>,
    z: Vec<f32>,
    ln_2: NormCache,
    /// `ln2.hook_normalized`, `[pos, d_model]`.
    pub mlp_in: Vec<f32>,
    post: Vec<f32>,
    slopes: Vec<f32>,
    /// `hook_mlp_out`, `[pos, d_model]`.
    pub mlp_out: Vec<f32>,
}

/// Replaces the output of a block's MLP: layer, MLP input `[pos, d_model]`, MLP output to write.
pub type Replace<'a> = &'a dyn Fn(usize, &[f32], &mut [f32]);

/// What one forward pass computed; its buffers are used again by the next.
#[derive(Default)]
pub struct Pass {
    pub blocks: Vec<BlockCache>,
    ln_f: NormCache,
    out: Vec<f32>,
}

impl Pass {
    /// Runs the blocks; with `replace`, its output stands in for each MLP's.
    pub fn forward(&mut self, layout: &Layout, params: &[f32], batch: &Batch, replace: Option<Replace>) {
        let shape = layout.shape;
        let d = shape.d_model;
        let n = batch.ids.len();
        let mut resid = embed(layout, params, batch);
        self.blocks.resize_with(shape.n_layers, BlockCache::default);
        for (layer, (block, cache)) in layout.blocks.iter().zip(&mut self.blocks).enumerate() {
            cache.attn_in.resize(n * d, 0.0);
            norm(&mut cache.attn_in, &resid, &block.ln_1, params, &mut cache.ln_1);
            cache.qkv.resize(n * 3 * d, 0.0);
            linear(&mut cache.qkv, &cache.attn_in, &block.qkv, params);
            cache.z.resize(n * d, 0.0);
            cache.patterns.resize(patterns_len(&batch.starts, shape.n_heads), 0.0);
            attention(&mut cache.z, &mut cache.patterns, &cache.qkv, &batch.starts, shape.n_heads, d);
            cache.mlp_out.resize(n * d, 0.0);
            linear(&mut cache.mlp_out, &cache.z, &block.attn_out, params);
            add(&mut resid, &cache.mlp_out);

            cache.mlp_in.resize(n * d, 0.0);
            norm(&mut cache.mlp_in, &resid, &block.ln_2, params, &mut cache.ln_2);
            if let Some(replace) = replace {
                replace(layer, &cache.mlp_in, &mut cache.mlp_out);
            } else {
                cache.post.resize(n * shape.d_mlp, 0.0);
                cache.slopes.resize(n * shape.d_mlp, 0.0);
                linear(&mut cache.post, &cache.mlp_in, &block.mlp_in, params);
                gelu(&mut cache.post, &mut cache.slopes);
                if layer == STATE_BLOCK {
                    let width = STATE_NEURONS.min(shape.d_mlp);
                    for &(to, from) in &batch.swaps {
                        let from = from * shape.d_mlp;
                        cache.post.copy_within(from..from + width, to * shape.d_mlp);
                    }
                    for &at in &batch.silenced {
                        cache.post[at * shape.d_mlp..][..width].fill(0.0);
                    }
                }
                linear(&mut cache.mlp_out, &cache.post, &block.mlp_out, params);
            }
            add(&mut resid, &cache.mlp_out);
        }
        self.out.resize(n * d, 0.0);
        norm(&mut self.out, &resid, &layout.ln_f, params, &mut self.ln_f);
    }

    /// Logits `[positions, d_vocab]` at some positions.
    pub fn logits(&self, layout: &Layout, params: &[f32], positions: &[usize]) -> Vec<f32> {
        let d = layout.shape.d_model;
        let out = gather(&self.out, positions, d);
        let mut logits = vec![0.0; positions.len() * layout.shape.d_vocab];
        let wte = Mat::new(&params[layout.wte.clone()], layout.shape.d_vocab, d);
        matmul(&mut logits, Mat::new(&out, positions.len(), d), wte.t(), false);
        logits
    }

    /// Weighted sum of the cross-entropies; adds its gradient to `grads`. Call after `forward` on the same batch.
    pub fn backward(&mut self, layout: &Layout, params: &[f32], batch: &Batch, grads: &mut [f32]) -> f64 {
        let shape = layout.shape;
        let (d, n) = (shape.d_model, batch.ids.len());
        let (mut loss, dout) = self.head(layout, params, batch, grads);
        let mut dresid = vec![0.0; n * d];
        norm_backward(&mut dresid, &dout, &layout.ln_f, params, grads, &self.ln_f);
        let mut dpost = vec![0.0; n * shape.d_mlp];
        let mut dinner = vec![0.0; n * d];
        let mut dqkv = vec![0.0; n * 3 * d];
        for (layer, (block, cache)) in layout.blocks.iter().zip(&self.blocks).enumerate().rev() {
            linear_backward(&mut dpost, &cache.post, &dresid, &block.mlp_out, params, grads);
            if layer == STATE_BLOCK {
                loss += state_neurons(batch, &cache.post, &mut dpost, shape.d_mlp);
            }
            for (d, slope) in dpost.iter_mut().zip(&cache.slopes) {
                *d *= slope;
            }
            linear_backward(&mut dinner, &cache.mlp_in, &dpost, &block.mlp_in, params, grads);
            norm_backward(&mut dresid, &dinner, &block.ln_2, params, grads, &cache.ln_2);
            linear_backward(&mut dinner, &cache.z, &dresid, &block.attn_out, params, grads);
            attention_backward(&mut dqkv, &dinner, &cache.patterns, &cache.qkv, &batch.starts, shape.n_heads, d);
            linear_backward(&mut dinner, &cache.attn_in, &dqkv, &block.qkv, params, grads);
            norm_backward(&mut dresid, &dinner, &block.ln_1, params, grads, &cache.ln_1);
        }
        for (pos, row) in positions(batch).zip(dresid.chunks_exact(d)) {
            let id = batch.ids[pos.0] as usize;
            add(&mut grads[layout.wte.clone()][id * d..][..d], row);
            add(&mut grads[layout.wpe.clone()][pos.1 * d..][..d], row);
        }
        loss
    }

    /// Loss and the gradient of the final norm's output, `[pos, d_model]`.
    fn head(&self, layout: &Layout, params: &[f32], batch: &Batch, grads: &mut [f32]) -> (f64, Vec<f32>) {
        let (d, d_vocab) = (layout.shape.d_model, layout.shape.d_vocab);
        let counted: Vec<usize> = (0..batch.ids.len()).filter(|&pos| batch.weights[pos] > 0.0).collect();
        let mut dlogits = self.logits(layout, params, &counted);
        let mut loss = 0.0;
        for (row, &pos) in dlogits.chunks_exact_mut(d_vocab).zip(&counted) {
            let (target, weight) = (batch.ids[pos + 1] as usize, batch.weights[pos]);
            let logit = row[target];
            loss += f64::from(weight) * f64::from(softmax(row) - logit);
            row[target] -= 1.0;
            for value in row {
                *value *= weight;
            }
        }
        let out = gather(&self.out, &counted, d);
        let (dlogits, out) = (Mat::new(&dlogits, counted.len(), d_vocab), Mat::new(&out, counted.len(), d));
        matmul(&mut grads[layout.wte.clone()], dlogits.t(), out, true);
        let mut dgathered = vec![0.0; counted.len() * d];
        let wte = Mat::new(&params[layout.wte.clone()], d_vocab, d);
        matmul(&mut dgathered, dlogits, wte, false);
        let mut dout = vec![0.0; batch.ids.len() * d];
        for (row, &pos) in dgathered.chunks_exact(d).zip(&counted) {
            dout[pos * d..][..d].copy_from_slice(row);
        }
        (loss, dout)
    }
}

/// What the state neurons' activations cost, and its gradient added to that of the activations; what [`Batch::swaps`] replaced
/// passes its gradient on to where it came from.
fn state_neurons(batch: &Batch, post: &[f32], dpost: &mut [f32], d_mlp: usize) -> f64 {
    let width = STATE_NEURONS.min(d_mlp);
    for &(to, from) in &batch.swaps {
        let moved = dpost[to * d_mlp..][..width].to_vec();
        add(&mut dpost[from * d_mlp..][..width], &moved);
        dpost[to * d_mlp..][..width].fill(0.0);
    }
    for &at in &batch.silenced {
        dpost[at * d_mlp..][..width].fill(0.0);
    }
    let mut wanted = vec![None; batch.ids.len()];
    for &(position, state) in &batch.states {
        wanted[position] = Some(state);
    }
    let mut loss = 0.0;
    for (position, state) in wanted.into_iter().enumerate() {
        // An activation that was replaced is not this position's own.
        if batch.swaps.iter().any(|(to, _)| *to == position) || batch.silenced.contains(&position) {
            continue;
        }
        let weight = if state.is_some() { STATE_WEIGHTS.0 } else { STATE_WEIGHTS.1 };
        let rows = post[position * d_mlp..][..width].iter().zip(&mut dpost[position * d_mlp..][..width]);
        for (neuron, (value, gradient)) in rows.enumerate() {
            let off = value - if state == Some(neuron) { STATE_ACTIVATION } else { 0.0 };
            *gradient += weight * off;
            loss += f64::from(0.5 * weight * off * off);
        }
    }
    loss
}

/// The output of a block's MLP for inputs `[pos, d_model]`.
pub fn mlp(layout: &Layout, params: &[f32], layer: usize, input: &[f32], out: &mut [f32]) {
    let block = &layout.blocks[layer];
    let mut post = vec![0.0; input.len() / layout.shape.d_model * layout.shape.d_mlp];
    let mut slopes = vec![0.0; post.len()];
    linear(&mut post, input, &block.mlp_in, params);
    gelu(&mut post, &mut slopes);
    linear(out, &post, &block.mlp_out, params);
}

/// Every position: in the batch, and in its row.
fn positions(batch: &Batch) -> impl Iterator<Item = (usize, usize)> {
    super::attention::rows(&batch.starts).flat_map(|(start, length)| (0..length).map(move |pos| (start + pos, pos)))
}

fn embed(layout: &Layout, params: &[f32], batch: &Batch) -> Vec<f32> {
    let d = layout.shape.d_model;
    let (wte, wpe) = (&params[layout.wte.clone()], &params[layout.wpe.clone()]);
    let mut resid = vec![0.0; batch.ids.len() * d];
    for ((at, pos), row) in positions(batch).zip(resid.chunks_exact_mut(d)) {
        row.copy_from_slice(&wte[batch.ids[at] as usize * d..][..d]);
        add_scaled(row, &wpe[pos * d..][..d], 1.0);
    }
    resid
}

fn gather(values: &[f32], positions: &[usize], width: usize) -> Vec<f32> {
    positions.iter().flat_map(|&pos| &values[pos * width..][..width]).copied().collect()
}
