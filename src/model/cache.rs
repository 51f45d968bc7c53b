//! Keys and values of the positions that a run has been through, so that one more token costs one position and not all of them again.
//!
//! Layers with a sliding window forget what no later position sees, but for as many positions again, so that a run can step back.

use super::arch::Decoder;
use super::kernel::attention::{self, PatternRule, Shape, Wanted};
use super::ops::{self, Attended, Cuts, Route, numbers};
use anyhow::{Result, bail};
use candle_core::{Device, Tensor};

/// The keys and values of one prompt in every layer.
#[derive(Debug)]
pub struct Cache {
    route: Route,
    tokens: Vec<u32>,
    layers: Vec<CachedLayer>,
}

/// Keys, rotated, and values of one layer, `[positions, kv_heads, d_head]`.
#[derive(Debug)]
struct CachedLayer {
    /// The first position that is kept.
    first: usize,
    window: Option<usize>,
    keys: Rows,
    values: Rows,
}

impl Cache {
    /// Holds no position of `model` yet.
    pub fn new(model: &Decoder) -> Self {
        Self::by(model.route(), model)
    }

    /// The same, for runs by a given route.
    pub fn by(route: Route, model: &Decoder) -> Self {
        let layer = |window| CachedLayer { first: 0, window, keys: Rows::new(route), values: Rows::new(route) };
        let layers = model.blocks.iter().map(|b| layer(b.attention.window)).collect();
        Cache { route, tokens: Vec::new(), layers }
    }

    /// The route that runs take.
    pub fn route(&self) -> Route {
        self.route
    }

    /// Positions.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The tokens at these positions.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Bytes of keys and values that are held.
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(|l| l.keys.bytes() + l.values.bytes()).sum()
    }

    /// Forgets the positions from `n` on, or all where a window has already forgotten what position `n` sees. What is left is
    /// [`Cache::len`].
    pub fn truncate(&mut self, n: usize) {
        let seen = |l: &CachedLayer| l.first <= l.window.map_or(0, |w| (n + 1).saturating_sub(w));
        let n = if self.layers.iter().all(seen) { n } else { 0 };
        self.tokens.truncate(n);
    }

    /// Makes ready for more: what an unfinished run left behind is forgotten.
    pub(super) fn begin(&mut self) {
        let n = self.tokens.len();
        for layer in &mut self.layers {
            layer.first = layer.first.min(n);
            layer.keys.truncate(n - layer.first);
            layer.values.truncate(n - layer.first);
        }
    }

    /// Every layer now holds `tokens`.
    pub(super) fn keep(&mut self, tokens: Vec<u32>) -> Result<()> {
        self.tokens = tokens;
        self.layers.iter_mut().try_for_each(CachedLayer::roll)
    }

    /// Takes in keys and values `[1, pos, kv_heads, d_head]` of the next positions and lets their queries `[1, pos, heads, d_head]` read
    /// all.
    pub(super) fn attend(
        &mut self,
        layer: usize,
        (q, k, v): (&Tensor, &Tensor, &Tensor),
        rule: PatternRule,
        cuts: &[Cuts],
    ) -> Result<Attended> {
        let layer = &mut self.layers[layer];
        layer.keys.push(k)?;
        layer.values.push(v)?;
        let kept = |c: &&(usize, usize, usize)| c.1 >= layer.first && c.2 >= layer.first;
        let among_keys = |c: &(usize, usize, usize)| (c.0, c.1 - layer.first, c.2 - layer.first);
        let cuts: Cuts = cuts.first().into_iter().flatten().filter(kept).map(among_keys).collect();
        match (&layer.keys, &layer.values) {
            (Rows::Host(row, keys), Rows::Host(_, values)) => {
                let (_, queries, heads, width) = q.dims4()?;
                let shape = Shape { queries, keys: keys.len() / row, heads, kv_heads: k.dim(2)?, width };
                let mut z = vec![0f32; q.elem_count()];
                let rule = PatternRule { cut: &cuts, ..rule };
                attention::attend(&mut z, numbers(q)?.get(), keys, values, shape, rule, Wanted::default());
                Ok(Attended { z: Tensor::from_vec(z, q.shape(), &Device::Cpu)?, scores: None, pattern: None })
            }
            (Rows::Device(used, Some(keys)), Rows::Device(_, Some(values))) => {
                let (keys, values) = (keys.narrow(1, 0, *used)?, values.narrow(1, 0, *used)?);
                Ok(ops::attend(self.route, q, &keys, &values, rule, &[cuts], (false, false))?)
            }
            _ => bail!("the cache of a layer is on two devices: a bug in mechscope"),
        }
    }
}

impl CachedLayer {
    /// Forgets what lies outside the window, not at every step: moving the rest down costs as much as it holds.
    fn roll(&mut self) -> Result<()> {
        let Some(window) = self.window else { return Ok(()) };
        let (kept, room) = (self.keys.len(), window.max(16));
        if kept > window + 2 * room {
            let surplus = kept - window - room;
            self.first += surplus;
            self.keys.forget(surplus)?;
            self.values.forget(surplus)?;
        }
        Ok(())
    }
}

/// A growing list of rows `[kv_heads, d_head]`.
#[derive(Debug)]
enum Rows {
    /// For our kernels: numbers of one row, and all rows.
    Host(usize, Vec<f32>),
    /// On any device: rows in use, and room for more, `[1, rows, kv_heads, d_head]`.
    Device(usize, Option<Tensor>),
}

impl Rows {
    fn new(route: Route) -> Self {
        match route {
            Route::Kernels => Rows::Host(1, Vec::new()),
            Route::Portable => Rows::Device(0, None),
        }
    }

    fn len(&self) -> usize {
        match self {
            Rows::Host(width, numbers) => numbers.len() / width,
            Rows::Device(used, _) => *used,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Rows::Host(_, numbers) => numbers.len() * size_of::<f32>(),
            Rows::Device(_, room) => room.as_ref().map_or(0, |t| t.elem_count() * t.dtype().size_in_bytes()),
        }
    }

    fn truncate(&mut self, n: usize) {
        match self {
            Rows::Host(width, numbers) => numbers.truncate(n * *width),
            Rows::Device(used, _) => *used = n.min(*used),
        }
    }

    /// Takes out the first `n` rows.
    fn forget(&mut self, n: usize) -> Result<()> {
        match self {
            Rows::Host(width, numbers) => drop(numbers.drain(..n * *width)),
            Rows::Device(used, room) => {
                *used -= n;
                *room = room.as_ref().map(|t| t.narrow(1, n, *used)?.contiguous()?.copy()).transpose()?;
            }
        }
        Ok(())
    }

    /// Adds rows `[1, pos, kv_heads, d_head]`.
    fn push(&mut self, rows: &Tensor) -> Result<()> {
        let (batch, pos, heads, width) = rows.dims4()?;
        match self {
            Rows::Host(row, numbers) => {
                *row = heads * width;
                numbers.extend_from_slice(ops::numbers(rows)?.get());
            }
            Rows::Device(used, room) => {
                let wanted = *used + pos;
                if room.as_ref().is_none_or(|t| t.dims()[1] < wanted) {
                    let more = Tensor::zeros((batch, 2 * wanted, heads, width), rows.dtype(), rows.device())?;
                    if let Some(old) = room.as_ref().filter(|_| *used > 0) {
                        more.slice_set(&old.narrow(1, 0, *used)?.contiguous()?, 1, 0)?;
                    }
                    *room = Some(more);
                }
                if let Some(room) = room {
                    room.slice_set(&rows.contiguous()?, 1, *used)?;
                }
                *used = wanted;
            }
        }
        Ok(())
    }
}
