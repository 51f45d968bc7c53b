//! The frozen model run forwards, plainly and in f64, to hold its backward pass against.
#![allow(dead_code)]

use candle_core::{D, DType, Device, Tensor};
use mechscope::model::Model;
use mechscope::model::arch::{Linear, Norm};
use mechscope::model::site::{BlockSite as S, Site};
use mechscope::model::trace::Trace;
use mechscope::replacement::Gate;

/// A change of one number of the run.
#[derive(Clone, Copy)]
pub enum Bump {
    Neuron { layer: usize, position: usize, neuron: usize, by: f64 },
    Embed { position: usize, column: usize, by: f64 },
}

fn wide(t: &Tensor) -> Tensor {
    t.to_dtype(DType::F64).unwrap()
}

fn linear(x: &Tensor, l: &Linear) -> Tensor {
    let y = x.matmul(&wide(&l.weight).t().unwrap()).unwrap();
    match &l.bias {
        Some(b) => y.broadcast_add(&wide(b)).unwrap(),
        None => y,
    }
}

fn norm(x: &Tensor, n: &Norm, scale: Tensor) -> Tensor {
    let x = if n.centre { x.broadcast_sub(&x.mean_keepdim(D::Minus1).unwrap()).unwrap() } else { x.clone() };
    let y = x.broadcast_div(&wide(&scale)).unwrap().broadcast_mul(&wide(&n.weight)).unwrap();
    match &n.bias {
        Some(b) => y.broadcast_add(&wide(b)).unwrap(),
        None => y,
    }
}

/// What attention or MLP of block `l` reads: through its norm, where it has one.
fn through(x: &Tensor, n: &Option<Norm>, trace: &Trace, l: usize, scale: S) -> Tensor {
    match n {
        Some(n) => norm(x, n, trace.block(l, scale).unwrap()),
        None => x.clone(),
    }
}

/// `[rows, width]` with one entry changed.
fn bumped(x: Tensor, row: usize, column: usize, by: f64) -> Tensor {
    let mut rows: Vec<Vec<f64>> = x.to_vec2().unwrap();
    rows[row][column] += by;
    Tensor::new(rows, &Device::Cpu).unwrap()
}

/// The target's logits in the frozen model of `trace`, with one number changed.
pub fn frozen_target(
    model: &Model,
    trace: &Trace,
    target: &[(u32, f32)],
    position: usize,
    gate: Gate,
    bump: Option<Bump>,
) -> f64 {
    let (m, n_pos) = (&model.decoder, trace.n_pos());
    let site = |l, s| trace.block(l, s).unwrap();
    let mut x = wide(&trace.get(Site::Embed).unwrap());
    if m.pos_embed.is_some() {
        x = (x + wide(&trace.get(Site::PosEmbed).unwrap())).unwrap();
    }
    if let Some(Bump::Embed { position, column, by }) = bump {
        x = bumped(x, position, column, by);
    }
    for (l, block) in m.blocks.iter().enumerate() {
        let read = through(&x, &block.ln1, trace, l, S::Ln1Scale);
        let values = linear(&read, &block.attention.v);
        let (width, group) = (m.arch.d_head, m.arch.n_heads / m.arch.n_kv_heads);
        let pattern = wide(&site(l, S::Pattern));
        let heads = (0..m.arch.n_heads).map(|h| {
            let values = values.narrow(1, h / group * width, width).unwrap().contiguous().unwrap();
            pattern.get(h).unwrap().matmul(&values).unwrap()
        });
        let z = Tensor::cat(&heads.collect::<Vec<_>>(), 1).unwrap();
        let mut attn = linear(&z, &block.attention.o);
        if let Some(post) = &block.ln1_post {
            attn = norm(&attn, post, site(l, S::Ln1PostScale));
        }
        let mid = if m.arch.parallel { x.clone() } else { (&x + &attn).unwrap() };
        let read = through(&mid, &block.ln2, trace, l, S::Ln2Scale);
        let held = wide(&site(l, S::MlpPre));
        let c: Vec<f64> = site(l, S::MlpPre)
            .flatten_all()
            .unwrap()
            .to_vec1::<f32>()
            .unwrap()
            .iter()
            .map(|x| block.mlp.activation.coefficient(*x) as f64)
            .collect();
        let c = Tensor::from_vec(c, held.shape(), &Device::Cpu).unwrap();
        let mut neurons = match &block.mlp.gate {
            None => (linear(&read, &block.mlp.input) * c).unwrap(),
            Some(gate_weights) => {
                let held_up = wide(&site(l, S::MlpPreLinear));
                let (g, up) = (linear(&read, gate_weights), linear(&read, &block.mlp.input));
                let by_up = ((&c * held).unwrap() * up).unwrap();
                match gate {
                    Gate::Freeze => by_up,
                    Gate::Half => ((((c * held_up).unwrap() * g).unwrap() + by_up).unwrap() * 0.5).unwrap(),
                }
            }
        };
        if let Some(Bump::Neuron { layer, position, neuron, by }) = bump
            && layer == l
        {
            neurons = bumped(neurons, position, neuron, by);
        }
        let mut out = linear(&neurons, &block.mlp.output);
        if let Some(post) = &block.ln2_post {
            out = norm(&out, post, site(l, S::Ln2PostScale));
        }
        x = (mid + out).unwrap();
        if m.arch.parallel {
            x = (x + attn).unwrap();
        }
    }
    // The final norm's scale at the position, from the recorded stream.
    let last = trace.block(m.arch.n_layers - 1, S::ResidPost).unwrap();
    let scale = m.read_out(&last).unwrap().scale;
    assert_eq!(scale.dims(), [n_pos, 1]);
    let logits = linear(&norm(&x, &m.ln_final, scale), &m.unembed);
    let row: Vec<f64> = logits.get(position).unwrap().to_vec1().unwrap();
    target.iter().map(|(t, w)| row[*t as usize] * *w as f64).sum()
}
