//! Causal attention over rows of different lengths that lie one after another.

use super::kernels::{add_scaled, dot, softmax, wide};

/// Positions of row `i` are `starts[i]..starts[i + 1]`.
pub fn rows(starts: &[usize]) -> impl Iterator<Item = (usize, usize)> {
    starts.windows(2).map(|pair| (pair[0], pair[1] - pair[0]))
}

/// Numbers all patterns together take.
pub fn patterns_len(starts: &[usize], n_heads: usize) -> usize {
    rows(starts).map(|(_, length)| n_heads * length * length).sum()
}

#[inline(always)]
fn attention_lanes(z: &mut [f32], patterns: &mut [f32], qkv: &[f32], starts: &[usize], n_heads: usize, d_model: usize) {
    let d_head = d_model / n_heads;
    let scale = 1.0 / (d_head as f32).sqrt();
    z.fill(0.0);
    let mut at = 0;
    for (start, length) in rows(starts) {
        for head in 0..n_heads {
            let part = |which: usize, pos: usize| {
                let from = (start + pos) * 3 * d_model + which * d_model + head * d_head;
                &qkv[from..from + d_head]
            };
            for query in 0..length {
                let pattern = &mut patterns[at + query * length..][..length];
                pattern.fill(0.0);
                for (key, score) in pattern[..=query].iter_mut().enumerate() {
                    *score = scale * dot(part(0, query), part(1, key));
                }
                softmax(&mut pattern[..=query]);
                let out = &mut z[(start + query) * d_model + head * d_head..][..d_head];
                for (key, &weight) in pattern[..=query].iter().enumerate() {
                    add_scaled(out, part(2, key), weight);
                }
            }
            at += length * length;
        }
    }
}

#[inline(always)]
fn attention_backward_lanes(
    dqkv: &mut [f32],
    dz: &[f32],
    patterns: &[f32],
    qkv: &[f32],
    starts: &[usize],
    n_heads: usize,
    d_model: usize,
) {
    let d_head = d_model / n_heads;
    let scale = 1.0 / (d_head as f32).sqrt();
    dqkv.fill(0.0);
    let mut at = 0;
    let mut dpattern = Vec::new();
    for (start, length) in rows(starts) {
        for head in 0..n_heads {
            let place = |which: usize, pos: usize| {
                let from = (start + pos) * 3 * d_model + which * d_model + head * d_head;
                from..from + d_head
            };
            for query in 0..length {
                let pattern = &patterns[at + query * length..][..=query];
                let dout = &dz[(start + query) * d_model + head * d_head..][..d_head];
                dpattern.clear();
                dpattern.extend((0..=query).map(|key| dot(dout, &qkv[place(2, key)])));
                let mean = dot(&dpattern, pattern);
                for key in 0..=query {
                    add_scaled(&mut dqkv[place(2, key)], dout, pattern[key]);
                    let dscore = scale * pattern[key] * (dpattern[key] - mean);
                    add_scaled(&mut dqkv[place(0, query)], &qkv[place(1, key)], dscore);
                    add_scaled(&mut dqkv[place(1, key)], &qkv[place(0, query)], dscore);
                }
            }
            at += length * length;
        }
    }
}

wide! {
    /// `z` `[pos, d_model]` and the patterns (per row `[head, query, key]`) from `qkv` `[pos, 3 d_model]`.
    attention, attention_lanes,
    (z: &mut [f32], patterns: &mut [f32], qkv: &[f32], starts: &[usize], n_heads: usize, d_model: usize) -> ()
}
wide! {
    /// The gradient of `qkv` from that of `z`.
    attention_backward, attention_backward_lanes,
    (dqkv: &mut [f32], dz: &[f32], patterns: &[f32], qkv: &[f32], starts: &[usize], n_heads: usize, d_model: usize) -> ()
}
