//! QK attribution: the attention score of one head from a query to a key as a sum over what the query side and the key side read.
//!
//! `score = scale * R_q N_q(W_Q n(r_q) + b_Q) . R_k N_k(W_K n(r_k) + b_K)` with the norms `n`, `N` (QK-norm, where there is one) held at the
//! run's scales and `R` the rotation of the position is bilinear in the two residual streams. Each is the sum of embeddings, of what every head
//! and every MLP below wrote, and of biases, so that the score is the sum of one term for each pair (Kamath et al. 2025, "Tracing Attention
//! Computation Through Feature Interactions"; Elhage et al. 2021). The score is that before any soft-cap. In f64.

use super::arch::{Decoder, HeadNorm, Norm, Over};
use super::kernel::attention::Pairs;
use super::site::{BlockSite as S, Site};
use super::trace::Trace;
use anyhow::{Result, ensure};
use candle_core::{DType, Tensor};
use std::collections::BTreeSet;

/// A summand of the residual stream before a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Summand {
    /// The token embedding.
    Embed,
    /// The learned position.
    PosEmbed,
    /// What a head wrote: layer and head.
    Head(usize, usize),
    /// What attention of a layer adds whatever it reads.
    AttnBias(usize),
    /// What the MLP of a layer wrote, bias included.
    Mlp(usize),
    /// Biases of the head's own norm and projection.
    Bias,
}

/// A head's score from a query to a key.
#[derive(Clone, Debug)]
pub struct QkScore {
    /// Parts of the query's stream.
    pub query: Vec<Summand>,
    /// Parts of the key's stream.
    pub key: Vec<Summand>,
    /// One term for each pair, `[query, key]`.
    pub terms: Vec<f64>,
    /// The gradient of the score to the stream at the query, `[d_model]`: a neuron's write vector times it is the neuron's share.
    pub to_query: Vec<f64>,
    /// The same at the key.
    pub to_key: Vec<f64>,
}

impl QkScore {
    /// The score: the sum of all terms.
    pub fn total(&self) -> f64 {
        self.terms.iter().sum()
    }

    /// The term of query part `q` and key part `k`.
    pub fn term(&self, q: usize, k: usize) -> f64 {
        self.terms[q * self.key.len() + k]
    }

    /// What each query part adds with all of the key.
    pub fn by_query(&self) -> Vec<f64> {
        self.terms.chunks_exact(self.key.len().max(1)).map(|row| row.iter().sum()).collect()
    }

    /// What each key part adds with all of the query.
    pub fn by_key(&self) -> Vec<f64> {
        (0..self.key.len()).map(|k| (0..self.query.len()).map(|q| self.term(q, k)).sum()).collect()
    }
}

/// One side of a head: how a vector of the residual stream becomes its part of a query or key.
struct Side {
    centre: bool,
    /// `gamma / scale` of the norm before attention, `[d]`; ones without.
    gain: Vec<f64>,
    /// `[width, d]`
    weight: Vec<f64>,
    /// Weight over scale of QK-norm, `[width]`; ones without.
    inner: Vec<f64>,
    inner_centre: bool,
    /// Cosine and sine of every rotated pair.
    turn: Vec<(f64, f64)>,
    pairs: Pairs,
}

impl Decoder {
    /// The sites that [`Decoder::qk_score`] reads for heads of `layer`.
    pub fn qk_sites(&self, layer: usize) -> BTreeSet<Site> {
        let below = [S::Z, S::MlpOut, S::Ln1PostScale];
        let below = (0..layer).flat_map(|l| below.map(|s| Site::Block(l, s)));
        let own = [S::Ln1Scale, S::Q, S::K].map(|s| Site::Block(layer, s));
        below.chain(own).chain([Site::Embed, Site::PosEmbed]).filter(|s| self.has_site(*s)).collect()
    }

    /// The score of head `head` of `layer` from position `query` to position `key`, from a run that recorded [`Decoder::qk_sites`].
    ///
    /// # Errors
    /// A layer, head or position that does not exist; a key after the query; a site that was not recorded.
    pub fn qk_score(&self, trace: &Trace, layer: usize, head: usize, query: usize, key: usize) -> Result<QkScore> {
        let arch = &self.arch;
        ensure!(layer < arch.n_layers && head < arch.n_heads, "there is no head L{layer}.H{head}");
        ensure!(
            key <= query && query < trace.n_pos(),
            "query {query} reads no key {key} of {} positions",
            trace.n_pos()
        );
        let attention = &self.blocks[layer].attention;
        let kv = head / (arch.n_heads / arch.n_kv_heads);
        let q = self.side(trace, layer, S::Q, head, query)?;
        let k = self.side(trace, layer, S::K, kv, key)?;
        let width = attention.d_head;
        let sum = |rows: &[(Summand, Vec<f64>)]| -> Vec<f64> {
            (0..width).map(|i| rows.iter().map(|(_, row)| row[i]).sum()).collect()
        };
        let of = |side: &Side, site, at, position| -> Result<Vec<(Summand, Vec<f64>)>> {
            let mut rows = Vec::new();
            for (part, vector) in self.stream_parts(trace, layer, position)? {
                rows.push((part, side.project(&vector)));
            }
            rows.push((Summand::Bias, self.own_bias(side, layer, site, at)?));
            Ok(rows)
        };
        let (queries, keys) = (of(&q, S::Q, head, query)?, of(&k, S::K, kv, key)?);
        let scale = f64::from(attention.scale);
        let pairs = queries.iter().flat_map(|(_, q)| keys.iter().map(move |(_, k)| scale * dot(q, k)));
        let (whole_q, whole_k) = (sum(&queries), sum(&keys));
        let scaled = |x: &[f64]| x.iter().map(|x| scale * x).collect::<Vec<f64>>();
        Ok(QkScore {
            terms: pairs.collect(),
            to_query: q.back(&scaled(&whole_k)),
            to_key: k.back(&scaled(&whole_q)),
            query: queries.into_iter().map(|q| q.0).collect(),
            key: keys.into_iter().map(|k| k.0).collect(),
        })
    }

    /// The summands of `hook_resid_pre` of `layer` at a position, `[d_model]` each: together they are the stream.
    ///
    /// # Errors
    /// A site that was not recorded.
    pub fn stream_parts(&self, trace: &Trace, layer: usize, position: usize) -> Result<Vec<(Summand, Vec<f64>)>> {
        let row = |site| -> Result<Vec<f64>> { Ok(widen(&trace.row(site, position)?)) };
        let mut parts = vec![(Summand::Embed, row(Site::Embed)?)];
        if self.pos_embed.is_some() {
            parts.push((Summand::PosEmbed, row(Site::PosEmbed)?));
        }
        for (l, block) in self.blocks.iter().enumerate().take(layer) {
            let z = row(Site::Block(l, S::Z))?;
            let (width, d) = (block.attention.d_head, self.arch.d_model);
            let o = numbers(&block.attention.o.weight)?;
            let scale = block.ln1_post.as_ref().map(|_| row(Site::Block(l, S::Ln1PostScale))).transpose()?;
            let through = |x: Vec<f64>, constant: bool| -> Result<Vec<f64>> {
                match (&block.ln1_post, &scale) {
                    (Some(norm), Some(scale)) => held(norm, x, scale[0], constant),
                    _ => Ok(x),
                }
            };
            let wide = z.len();
            for (h, z) in z.chunks_exact(width).enumerate() {
                let out = |i: usize| dot(&o[i * wide + h * width..][..width], z);
                parts.push((Summand::Head(l, h), through((0..d).map(out).collect(), false)?));
            }
            let bias = match &block.attention.o.bias {
                Some(bias) => numbers(bias)?,
                None => vec![0.0; d],
            };
            let bias = through(bias, true)?;
            if bias.iter().any(|b| *b != 0.0) {
                parts.push((Summand::AttnBias(l), bias));
            }
            parts.push((Summand::Mlp(l), row(Site::Block(l, S::MlpOut))?));
        }
        Ok(parts)
    }

    /// What each neuron of `layer` adds at a position to a functional of the stream with this gradient `[d_model]`: `[d_mlp]`.
    ///
    /// # Errors
    /// A site that was not recorded.
    pub fn neuron_shares(&self, trace: &Trace, layer: usize, position: usize, gradient: &[f64]) -> Result<Vec<f64>> {
        let block = &self.blocks[layer];
        let mut g = gradient.to_vec();
        if let Some(norm) = &block.ln2_post {
            let scale = f64::from(trace.row(Site::Block(layer, S::Ln2PostScale), position)?[0]);
            g.iter_mut().zip(numbers(&norm.weight)?).for_each(|(g, w)| *g *= w / scale);
            if norm.centre {
                let mean = g.iter().sum::<f64>() / g.len() as f64;
                g.iter_mut().for_each(|g| *g -= mean);
            }
        }
        let post = trace.row(Site::Block(layer, S::MlpPost), position)?;
        let mut shares = vec![0.0; post.len()];
        for (g, row) in g.iter().zip(numbers(&block.mlp.output.weight)?.chunks_exact(post.len())) {
            shares.iter_mut().zip(row).for_each(|(s, w)| *s += g * w);
        }
        shares.iter_mut().zip(post).for_each(|(s, a)| *s *= f64::from(a));
        Ok(shares)
    }

    /// How query or key head `at` of `layer` reads the stream at a position.
    fn side(&self, trace: &Trace, layer: usize, site: S, at: usize, position: usize) -> Result<Side> {
        let (block, attention) = (&self.blocks[layer], &self.blocks[layer].attention);
        let width = attention.d_head;
        let (linear, norm) =
            if site == S::Q { (&attention.q, &attention.q_norm) } else { (&attention.k, &attention.k_norm) };
        let gain = match &block.ln1 {
            Some(norm) => {
                let scale = f64::from(trace.row(Site::Block(layer, S::Ln1Scale), position)?[0]);
                numbers(&norm.weight)?.into_iter().map(|g| g / scale).collect()
            }
            None => vec![1.0; self.arch.d_model],
        };
        let (inner, inner_centre) = match norm {
            Some(norm) => inner(norm, &trace.row(Site::Block(layer, site), position)?, at, width)?,
            None => (vec![1.0; width], false),
        };
        let (mut turn, mut pairs) = (Vec::new(), Pairs::default());
        if let Some(rope) = attention.rope.map(|rope| &self.ropes[rope]) {
            let (cos, sin) = rope.tables(trace.n_pos());
            let n = rope.frequencies.len();
            let of = |table: &[f32]| widen(&table[position * n..(position + 1) * n]);
            turn = of(&cos).into_iter().zip(of(&sin)).collect();
            pairs = rope.pairs;
        }
        let weight = numbers(&linear.weight.narrow(0, at * width, width)?)?;
        let centre = block.ln1.as_ref().is_some_and(|norm| norm.centre);
        Ok(Side { centre, gain, weight, inner, inner_centre, turn, pairs })
    }

    /// The part of a query or key that no token gives: the norm's bias through the projection, the projection's bias, QK-norm's bias.
    fn own_bias(&self, side: &Side, layer: usize, site: S, at: usize) -> Result<Vec<f64>> {
        let (block, attention) = (&self.blocks[layer], &self.blocks[layer].attention);
        let width = attention.d_head;
        let (linear, norm) =
            if site == S::Q { (&attention.q, &attention.q_norm) } else { (&attention.k, &attention.k_norm) };
        let mut x = vec![0.0; width];
        if let Some(bias) = block.ln1.as_ref().and_then(|norm| norm.bias.as_ref()) {
            let bias = numbers(bias)?;
            x.iter_mut().zip(side.weight.chunks_exact(bias.len())).for_each(|(x, row)| *x += dot(row, &bias));
        }
        if let Some(bias) = &linear.bias {
            let bias = numbers(&bias.narrow(0, at * width, width)?)?;
            x.iter_mut().zip(bias).for_each(|(x, b)| *x += b);
        }
        let mut x = side.norm(x);
        let own = norm.as_ref().map(|norm| norm.of_head(at, width)).transpose()?;
        if let Some(bias) = own.and_then(|norm| norm.bias) {
            x.iter_mut().zip(numbers(&bias)?).for_each(|(x, b)| *x += b);
        }
        Ok(side.rotate(x, 1.0))
    }
}

impl Side {
    /// A vector of the stream as its part of the query or key: `[d] -> [width]`.
    fn project(&self, x: &[f64]) -> Vec<f64> {
        let mean = if self.centre { x.iter().sum::<f64>() / x.len() as f64 } else { 0.0 };
        let x: Vec<f64> = x.iter().zip(&self.gain).map(|(x, g)| (x - mean) * g).collect();
        let y = self.weight.chunks_exact(x.len()).map(|row| dot(row, &x)).collect();
        self.rotate(self.norm(y), 1.0)
    }

    /// Its transpose: `[width] -> [d]`.
    fn back(&self, g: &[f64]) -> Vec<f64> {
        // The amplitude of a scaled rotation stays, its angle turns round.
        let mut g: Vec<f64> = self.rotate(g.to_vec(), -1.0).iter().zip(&self.inner).map(|(g, w)| g * w).collect();
        if self.inner_centre {
            let mean = g.iter().sum::<f64>() / g.len() as f64;
            g.iter_mut().for_each(|g| *g -= mean);
        }
        let d = self.gain.len();
        let mut out = vec![0.0; d];
        for (g, row) in g.iter().zip(self.weight.chunks_exact(d)) {
            out.iter_mut().zip(row).for_each(|(o, w)| *o += g * w);
        }
        out.iter_mut().zip(&self.gain).for_each(|(o, g)| *o *= g);
        if self.centre {
            let mean = out.iter().sum::<f64>() / d as f64;
            out.iter_mut().for_each(|o| *o -= mean);
        }
        out
    }

    fn norm(&self, mut x: Vec<f64>) -> Vec<f64> {
        let mean = if self.inner_centre { x.iter().sum::<f64>() / x.len() as f64 } else { 0.0 };
        x.iter_mut().zip(&self.inner).for_each(|(x, w)| *x = (*x - mean) * w);
        x
    }

    fn rotate(&self, mut x: Vec<f64>, sign: f64) -> Vec<f64> {
        for (i, (cos, sin)) in self.turn.iter().enumerate() {
            let (at, with) = self.pairs.of(i, self.turn.len());
            let (a, b) = (x[at], x[with]);
            (x[at], x[with]) = (a * cos - sign * b * sin, b * cos + sign * a * sin);
        }
        x
    }
}

/// Weight over scale of QK-norm for head `at` of the queries or keys `row` `[heads * width]`, and whether it centres.
fn inner(norm: &HeadNorm, row: &[f32], at: usize, width: usize) -> Result<(Vec<f64>, bool)> {
    let own = norm.of_head(at, width)?;
    let x = widen(if norm.over == Over::All { row } else { &row[at * width..(at + 1) * width] });
    let mean = if own.centre { x.iter().sum::<f64>() / x.len() as f64 } else { 0.0 };
    let square = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
    let scale = (square + f64::from(own.eps)).sqrt();
    Ok((numbers(&own.weight)?.into_iter().map(|w| w / scale).collect(), own.centre))
}

/// A norm with its scale held, with its bias for a constant.
fn held(norm: &Norm, mut x: Vec<f64>, scale: f64, constant: bool) -> Result<Vec<f64>> {
    let mean = if norm.centre { x.iter().sum::<f64>() / x.len() as f64 } else { 0.0 };
    x.iter_mut().zip(numbers(&norm.weight)?).for_each(|(x, w)| *x = (*x - mean) / scale * w);
    if let Some(bias) = norm.bias.as_ref().filter(|_| constant) {
        x.iter_mut().zip(numbers(bias)?).for_each(|(x, b)| *x += b);
    }
    Ok(x)
}

fn numbers(t: &Tensor) -> Result<Vec<f64>> {
    Ok(t.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

fn widen(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
