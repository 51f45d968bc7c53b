//! The frozen model with its MLPs blocked, run forwards plainly and in f64: what the rows of a graph are held against.

use candle_core::Tensor;
use mechscope::model::Model;
use mechscope::model::site::BlockSite as S;
use mechscope::model::trace::Trace;
use mechscope::replacement::{ResidualPoint, ResidualTarget};

/// The frozen model run forwards in f64, from a change of the residual stream to a target.
pub fn forward(model: &Model, trace: &Trace, from: (usize, usize), write: &[f32], target: &ResidualTarget) -> f64 {
    let n_pos = trace.n_pos();
    let decoder = &model.decoder;
    let wide = |t: &Tensor| -> Vec<f64> {
        let t = t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        t.into_iter().map(f64::from).collect()
    };
    let d = decoder.arch.d_model;
    let read =
        |x: &[Vec<f64>]| -> f64 { x[target.position].iter().zip(&target.vector).map(|(a, b)| a * *b as f64).sum() };
    let mut x = vec![vec![0f64; d]; n_pos];
    let (first, position) = from;
    x[position] = write.iter().map(|v| *v as f64).collect();
    let norm = |x: &[f64], weight: &[f64], centre: bool, scale: f64| -> Vec<f64> {
        let mean = if centre { x.iter().sum::<f64>() / x.len() as f64 } else { 0.0 };
        x.iter().zip(weight).map(|(x, w)| (x - mean) / scale * w).collect()
    };
    let product = |w: &[f64], x: &[f64]| -> Vec<f64> {
        w.chunks_exact(x.len()).map(|row| row.iter().zip(x).map(|(a, b)| a * b).sum()).collect()
    };
    let writes_at_the_top = matches!(target.entry, ResidualPoint::Post(l) if l + 1 == first);
    if writes_at_the_top || (first == 0 && target.entry == ResidualPoint::Embed) {
        return read(&x);
    }
    for l in first..decoder.blocks.len() {
        let block = &decoder.blocks[l];
        let a = &block.attention;
        let scale = |site| wide(&trace.block(l, site).unwrap());
        let ln1 = block.ln1.as_ref();
        let s1 = ln1.map_or(vec![1.0; n_pos], |_| scale(S::Ln1Scale));
        let w1 = ln1.map_or(vec![1.0; d], |norm| wide(&norm.weight));
        let (w_v, w_o) = (wide(&a.v.weight), wide(&a.o.weight));
        let values: Vec<Vec<f64>> =
            (0..n_pos).map(|p| product(&w_v, &norm(&x[p], &w1, ln1.is_some_and(|norm| norm.centre), s1[p]))).collect();
        let pattern = trace.block(l, S::Pattern).unwrap().to_vec3::<f32>().unwrap();
        let group = pattern.len() / decoder.arch.n_kv_heads;
        for q in 0..n_pos {
            let mut z = Vec::new();
            for (h, pattern) in pattern.iter().enumerate() {
                for i in 0..a.d_head {
                    let at = h / group * a.d_head + i;
                    z.push((0..n_pos).map(|k| pattern[q][k] as f64 * values[k][at]).sum::<f64>());
                }
            }
            let mut out = product(&w_o, &z);
            if let Some(post) = &block.ln1_post {
                out = norm(&out, &wide(&post.weight), post.centre, scale(S::Ln1PostScale)[q]);
            }
            x[q].iter_mut().zip(out).for_each(|(x, o)| *x += o);
        }
        match target.entry {
            ResidualPoint::Mid(t) | ResidualPoint::Post(t) if t == l => return read(&x),
            _ => {}
        }
    }
    0.0
}
