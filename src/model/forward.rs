//! The forward pass: one decoder for every family, open at every site.

mod head_norm;
mod stream;

use super::arch::{Attention, Block, Decoder, HeadNorm, Linear, Mlp, Norm};
use super::cache::Cache;
use super::edit::EditPlan;
use super::edit::features::Added;
use super::kernel::attention::{Pairs, PatternRule};
use super::memory::Need;
use super::ops::{self, Route};
use super::site::{BlockSite as S, Site, Sites};
use super::trace::Trace;
use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};

/// For which positions logits are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logits {
    /// Every position.
    All,
    /// The last position only: all that next-token prediction needs.
    Last,
    /// None: the run is for its sites. From the last residual stream [`Decoder::each_logits`] makes them, some positions at a time.
    None,
}

/// Where a run begins.
#[derive(Clone, Copy)]
pub enum Start<'a> {
    /// At the tokens of one or more prompts of equal length.
    Tokens(&'a [Vec<u32>]),
    /// At block `layer`, with the residual stream of an earlier run.
    Block {
        /// The first block to run.
        layer: usize,
        /// A run that recorded `hook_resid_pre` of that block.
        clean: &'a Trace,
    },
}

/// Called before every block with its number and the number of blocks; an error ends the run.
pub type Step<'a> = &'a mut dyn FnMut(usize, usize) -> Result<()>;

/// One run: what it records, what it edits, which route it takes.
struct Pass<'a> {
    route: Route,
    sites: &'a Sites,
    edits: &'a EditPlan,
    trace: Trace,
    /// The position of the first row: 0, or as many as the cache holds.
    first: usize,
    /// Keys and values of the positions before.
    cache: Option<&'a mut Cache>,
    /// Cosine and sine of every rotary embedding of the model, and which features it pairs.
    tables: Vec<(Tensor, Tensor, Pairs)>,
    /// What edited features read.
    reads: Trace,
    /// What edited features add at sites to come.
    added: Vec<Added>,
}

impl Decoder {
    /// Runs the model.
    ///
    /// # Errors
    /// Prompts that are empty, of different lengths or longer than the context, ids outside the vocabulary, what
    /// `step` returns, or logits that are no numbers: the run left the range of its dtype.
    pub fn run(&self, start: Start, sites: &Sites, edits: &EditPlan, logits: Logits, step: Step) -> Result<Trace> {
        let run = self.run_by(self.route(), start, sites, edits, logits, step)?;
        self.refuse_out_of_range(&run, start, edits)?;
        Ok(run)
    }

    /// [`Decoder::run`] by a given route, whatever its numbers are.
    ///
    /// # Errors
    /// As [`Decoder::run`], but for the range.
    pub fn run_by(
        &self,
        route: Route,
        start: Start,
        sites: &Sites,
        edits: &EditPlan,
        logits: Logits,
        step: Step,
    ) -> Result<Trace> {
        let (prompts, first) = match &start {
            Start::Tokens(prompts) => (prompts.to_vec(), 0),
            Start::Block { layer, clean } => (clean.prompts().to_vec(), *layer),
        };
        self.check(&prompts)?;
        let n_pos = prompts[0].len();
        if self.device().is_cpu() {
            Need::of_run(&self.arch, (prompts.len(), n_pos), sites, logits == Logits::All).check_now("this run")?;
        }
        let tables = self.tables(0, n_pos)?;
        let (trace, reads) = (Trace::new(prompts.clone()), Trace::new(prompts));
        let mut pass = Pass { route, sites, edits, trace, first: 0, cache: None, tables, reads, added: Vec::new() };
        let mut resid = match start {
            Start::Tokens(prompts) => self.embed(prompts, &mut pass)?,
            Start::Block { layer, clean } => {
                pass.trace.keep_below(clean, layer, |s| sites.has(s));
                let site = Site::Block(layer, S::ResidPre);
                let found = clean.batched(site);
                found.ok_or_else(|| anyhow::anyhow!("{site} was not recorded by the clean run"))?.clone()
            }
        };
        for (l, block) in self.blocks.iter().enumerate().skip(first) {
            step(l, self.blocks.len())?;
            resid = block.forward(l, resid, self.arch.parallel, &mut pass)?;
        }
        self.finish(resid, logits, &mut pass)?;
        Ok(pass.trace)
    }

    /// Runs `ids` at the positions after those that `cache` holds, which then holds them too; the logits, in f32, of all of `ids` or of the
    /// last one, `[pos, d_vocab]`. They are those of a run of all positions at once, but for rounding. Edits count positions from the first
    /// of the prompt; an edit of a position that the cache holds is not applied again ([`Cache::truncate`] forgets it).
    ///
    /// # Errors
    /// No ids, edits that need all positions ([`EditPlan::needs_all_positions`]), ids outside the vocabulary, more positions than the model was
    /// made for, or what `step` returns; the cache is then as before.
    pub fn extend(
        &self,
        cache: &mut Cache,
        ids: &[u32],
        edits: &EditPlan,
        logits: Logits,
        step: Step,
    ) -> Result<Tensor> {
        ensure!(!ids.is_empty(), "there is no token to predict from");
        ensure!(!edits.needs_all_positions(), "edits of patterns and features need a run of all positions");
        let (old, n_pos) = (cache.len(), cache.len() + ids.len());
        let mut all = cache.tokens().to_vec();
        all.extend_from_slice(ids);
        self.check(std::slice::from_ref(&all))?;
        // Keys that were turned with other frequencies are of no use.
        if !self.ropes.iter().all(|r| r.same_at(old.max(1), n_pos)) {
            cache.truncate(0);
        }
        cache.begin();
        let first = cache.len();
        let (route, sites) = (cache.route(), &Sites::None);
        let (trace, tables) = (Trace::new(vec![all[first..].to_vec()]), self.tables(first, n_pos)?);
        let reads = Trace::default();
        let mut pass = Pass { route, sites, edits, trace, first, cache: Some(cache), tables, reads, added: Vec::new() };
        let mut resid = self.embed(&[all[first..].to_vec()], &mut pass)?;
        for (l, block) in self.blocks.iter().enumerate() {
            step(l, self.blocks.len())?;
            resid = block.forward(l, resid, self.arch.parallel, &mut pass)?;
        }
        let wanted = resid.narrow(1, old - first, ids.len())?.contiguous()?;
        self.finish(wanted, logits, &mut pass)?;
        let values = pass.trace.logits()?;
        cache.keep(all)?;
        Ok(values)
    }

    /// Cosine and sine at the positions `first..n_pos` for every rotary embedding.
    fn tables(&self, first: usize, n_pos: usize) -> Result<Vec<(Tensor, Tensor, Pairs)>> {
        let tables = self.ropes.iter().map(|r| {
            let (cos, sin) = r.tables_of(first..n_pos, n_pos);
            let shape = (n_pos - first, r.frequencies.len());
            let table = |t| Tensor::from_vec(t, shape, self.device());
            Ok((table(cos)?, table(sin)?, r.pairs))
        });
        tables.collect()
    }

    /// From the last residual stream `[batch, pos, d_model]` to logits.
    fn finish(&self, resid: Tensor, logits: Logits, pass: &mut Pass) -> Result<()> {
        let last_norm = [Site::LnFinalScale, Site::LnFinalNormalized];
        if logits == Logits::None && !last_norm.into_iter().any(|s| pass.sites.has(s)) {
            return Ok(());
        }
        let (mut resid, route) = (resid, pass.route);
        if logits == Logits::Last {
            let last = resid.dim(1)? - 1;
            pass.first += last;
            resid = resid.narrow(1, last, 1)?.contiguous()?;
        }
        let normalized = pass.norm(&self.ln_final, Site::LnFinalScale, &resid)?;
        let normalized = pass.at(Site::LnFinalNormalized, normalized)?;
        if logits == Logits::None {
            return Ok(());
        }
        let values = ops::linear(route, &normalized, &self.unembed)?.to_dtype(DType::F32)?;
        let values = match self.arch.final_softcap {
            Some(cap) => {
                let values = pass.at(Site::LogitsPreSoftcap, values)?;
                ops::soft_cap(route, &values, cap)?
            }
            None => values,
        };
        pass.trace.put(Site::Logits, values);
        Ok(())
    }

    fn check(&self, prompts: &[Vec<u32>]) -> Result<()> {
        let n_pos = prompts.first().map_or(0, Vec::len);
        ensure!(n_pos > 0, "the prompt is empty: there is no token to predict from (--bos always adds one)");
        ensure!(prompts.iter().all(|p| p.len() == n_pos), "prompts of one batch must have the same number of tokens");
        let (limit, rows) = (self.arch.n_ctx, self.arch.d_vocab);
        // Rotary positions go on for ever; learned ones are a table that ends.
        ensure!(
            n_pos <= limit || self.pos_embed.is_none(),
            "the prompt has {n_pos} tokens; this model has positions for at most {limit}"
        );
        if let Some(id) = prompts.iter().flatten().find(|id| **id as usize >= rows) {
            anyhow::bail!("token id {id} is outside the vocabulary; accepted: 0..={}", rows - 1);
        }
        Ok(())
    }

    fn embed(&self, prompts: &[Vec<u32>], pass: &mut Pass) -> Result<Tensor> {
        let (batch, n_pos, d) = (prompts.len(), prompts[0].len(), self.arch.d_model);
        let ids = Tensor::from_vec(prompts.concat(), batch * n_pos, self.device())?;
        let embed = self.embed.index_select(&ids, 0)?;
        let embed = match self.embed_scale {
            Some(s) => (embed * s as f64)?,
            None => embed,
        };
        let embed = pass.at(Site::Embed, embed.reshape((batch, n_pos, d))?)?;
        let Some(table) = &self.pos_embed else { return Ok(embed) };
        let pos = table.narrow(0, pass.first, n_pos)?.broadcast_as((batch, n_pos, d))?.contiguous()?;
        let pos = pass.at(Site::PosEmbed, pos)?;
        Ok(ops::add(pass.route, &embed, &pos)?)
    }

    /// Where the model's tensors are.
    pub fn device(&self) -> &Device {
        self.embed.device()
    }

    /// The dtype the model computes in.
    pub fn dtype(&self) -> DType {
        self.embed.dtype()
    }

    /// The route its operations take.
    pub fn route(&self) -> Route {
        Route::best(self.device(), self.dtype())
    }

    /// Whether the forward pass of this model goes through `site`.
    pub fn has_site(&self, site: Site) -> bool {
        let Site::Block(l, s) = site else {
            return match site {
                Site::PosEmbed => self.pos_embed.is_some(),
                Site::LogitsPreSoftcap => self.arch.final_softcap.is_some(),
                _ => true,
            };
        };
        let Some(block) = self.blocks.get(l) else { return false };
        match s {
            S::ResidMid => !self.arch.parallel,
            S::RotQ | S::RotK => block.attention.rope.is_some(),
            S::MlpPreLinear => block.mlp.gate.is_some(),
            S::Ln1Scale | S::Ln1Normalized => block.ln1.is_some(),
            S::Ln2Scale | S::Ln2Normalized => block.ln2.is_some(),
            S::AttnOutPrePostNorm | S::Ln1PostScale => block.ln1_post.is_some(),
            S::MlpOutPrePostNorm | S::Ln2PostScale => block.ln2_post.is_some(),
            _ => true,
        }
    }
}

impl Block {
    fn forward(&self, l: usize, resid: Tensor, parallel: bool, pass: &mut Pass) -> Result<Tensor> {
        let resid_pre = pass.at(Site::Block(l, S::ResidPre), resid)?;

        let read = pass.read(&self.ln1, l, (S::Ln1Scale, S::Ln1Normalized), &resid_pre)?;
        let (attn, mlp) = (Site::Block(l, S::AttnOut), Site::Block(l, S::MlpOut));
        // What nobody looks at on its way is added to the stream as it is made: the same numbers, one pass over memory less.
        let onto = (!parallel && self.ln1_post.is_none() && pass.unseen(attn)).then_some(&resid_pre);
        let attn_out = self.attention.forward(l, &read, onto, pass)?;
        let attn_out = match &self.ln1_post {
            Some(norm) => {
                let out = pass.at(Site::Block(l, S::AttnOutPrePostNorm), attn_out)?;
                pass.norm(norm, Site::Block(l, S::Ln1PostScale), &out)?
            }
            None => attn_out,
        };
        // In a parallel block the MLP does not see what attention writes.
        let (resid_mid, attn_out) = match onto {
            Some(_) => (pass.at(Site::Block(l, S::ResidMid), attn_out)?, None),
            None => {
                let attn_out = pass.at(attn, attn_out)?;
                match parallel {
                    true => (resid_pre, Some(attn_out)),
                    false => {
                        let mid = ops::add(pass.route, &resid_pre, &attn_out)?;
                        (pass.at(Site::Block(l, S::ResidMid), mid)?, None)
                    }
                }
            }
        };
        let read = pass.read(&self.ln2, l, (S::Ln2Scale, S::Ln2Normalized), &resid_mid)?;
        let onto = (self.ln2_post.is_none() && pass.unseen(mlp)).then_some(&resid_mid);
        let mlp_out = self.mlp.forward(l, &read, onto, pass)?;
        let mlp_out = match &self.ln2_post {
            Some(norm) => {
                let out = pass.at(Site::Block(l, S::MlpOutPrePostNorm), mlp_out)?;
                pass.norm(norm, Site::Block(l, S::Ln2PostScale), &out)?
            }
            None => mlp_out,
        };
        let resid_post = match onto {
            Some(_) => mlp_out,
            None => ops::add(pass.route, &resid_mid, &pass.at(mlp, mlp_out)?)?,
        };
        let resid_post = match attn_out {
            Some(attn_out) => ops::add(pass.route, &resid_post, &attn_out)?,
            None => resid_post,
        };
        pass.at(Site::Block(l, S::ResidPost), resid_post)
    }
}

impl Attention {
    /// `x` `[batch, pos, d_model]` is what attention reads; what it writes is added to `onto`, if there is that.
    fn forward(&self, l: usize, x: &Tensor, onto: Option<&Tensor>, pass: &mut Pass) -> Result<Tensor> {
        let q = pass.at(Site::Block(l, S::Q), pass.heads(x, &self.q, self.d_head)?)?;
        let k = pass.at(Site::Block(l, S::K), pass.heads(x, &self.k, self.d_head)?)?;
        let v = pass.at(Site::Block(l, S::V), pass.heads(x, &self.v, self.d_head)?)?;
        let q = self.place(l, S::RotQ, q, self.q_norm.as_ref(), pass)?;
        let k = self.place(l, S::RotK, k, self.k_norm.as_ref(), pass)?;

        // A pattern that an edit had a hand in cannot be made again from queries and keys: it is kept beside them.
        let keeps = pass.sites.has(Site::Block(l, S::Pattern))
            || pass.sites.has(Site::Block(l, S::Q)) && pass.edits.touches_pattern(l);
        let want = (pass.sites.has(Site::Block(l, S::AttnScores)), keeps);
        let rule = PatternRule { scale: self.scale, softcap: self.softcap, window: self.window, cut: &[] };
        let edited = pass.edits.edits_pattern(l);
        let want = (want.0, want.1 || edited);
        let mut attended = match (pass.edits.held(l), &mut pass.cache) {
            (Some(pattern), _) => ops::mix(pattern, &v, want.1)?,
            (None, None) => ops::attend(pass.route, &q, &k, &v, rule, pass.edits.cuts(l), want)?,
            (None, Some(cache)) => cache.attend(l, (&q, &k, &v), rule, pass.edits.cuts(l))?,
        };
        if let Some(pattern) = attended.pattern.take_if(|_| edited) {
            let pattern = pass.edits.apply_to_pattern(l, pattern)?;
            attended.z = ops::mix_each(pass.route, &pattern, &v, self.window)?;
            attended.pattern = keeps.then_some(pattern);
        }
        for (site, value) in [(S::AttnScores, attended.scores), (S::Pattern, attended.pattern)] {
            if let Some(value) = value {
                pass.trace.put(Site::Block(l, site), value);
            }
        }
        let z = pass.at(Site::Block(l, S::Z), attended.z)?;
        if pass.sites.has(Site::Block(l, S::Result)) {
            pass.trace.put(Site::Block(l, S::Result), self.results(&z, pass.route)?);
        }
        let (batch, pos, heads, width) = z.dims4()?;
        Ok(linear_onto(pass.route, &z.reshape((batch, pos, heads * width))?, &self.o, onto)?)
    }

    /// Norm and rotation of query or key heads.
    fn place(&self, l: usize, site: S, x: Tensor, norm: Option<&HeadNorm>, pass: &mut Pass) -> Result<Tensor> {
        let x = match norm {
            Some(n) => n.forward(&x, pass.route)?,
            None => x,
        };
        let Some(rope) = self.rope else { return Ok(x) };
        let (cos, sin, pairs) = &pass.tables[rope];
        let x = ops::rotate(pass.route, &x, cos, sin, *pairs)?;
        pass.at(Site::Block(l, site), x)
    }

    /// What every head writes to the residual stream, without bias: `[batch, pos, n_heads, d_model]`.
    fn results(&self, z: &Tensor, route: Route) -> Result<Tensor> {
        let (_, _, heads, width) = z.dims4()?;
        let one = |h: usize| -> Result<Tensor> {
            let weight = self.o.weight.narrow(1, h * width, width)?.contiguous()?;
            Ok(ops::linear(route, &z.narrow(2, h, 1)?.contiguous()?, &Linear { weight, bias: None })?)
        };
        let all = (0..heads).map(one).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::cat(&all, 2)?)
    }
}

impl Mlp {
    /// `x` `[batch, pos, d_model]` is what the MLP reads; what it writes is added to `onto`, if there is that.
    fn forward(&self, l: usize, x: &Tensor, onto: Option<&Tensor>, pass: &mut Pass) -> Result<Tensor> {
        let (route, act) = (pass.route, self.activation);
        let (pre, branch) = (Site::Block(l, S::MlpPre), Site::Block(l, S::MlpPreLinear));
        // As with the streams: what nobody looks at is not kept.
        let unseen = pass.unseen(pre);
        let post = match &self.gate {
            Some(gate) => {
                let up = ops::linear(route, x, &self.input)?;
                if unseen {
                    ops::linear_activated(route, x, gate, act, Some(&pass.at(branch, up)?))?
                } else {
                    let gate = pass.at(pre, ops::linear(route, x, gate)?)?;
                    ops::activate(route, act, &gate, Some(&pass.at(branch, up)?))?
                }
            }
            None if unseen => ops::linear_activated(route, x, &self.input, act, None)?,
            None => ops::activate(route, act, &pass.at(pre, ops::linear(route, x, &self.input)?)?, None)?,
        };
        let post = pass.at(Site::Block(l, S::MlpPost), post)?;
        Ok(linear_onto(route, &post, &self.output, onto)?)
    }
}

/// `x Wᵀ + b`, added to `onto` if there is that.
fn linear_onto(route: Route, x: &Tensor, l: &Linear, onto: Option<&Tensor>) -> candle_core::Result<Tensor> {
    match onto {
        Some(to) => ops::linear_onto(route, x, l, to),
        None => ops::linear(route, x, l),
    }
}

impl Pass<'_> {
    /// Passes through a site: edits what is to be edited there, records what is to be recorded.
    fn at(&mut self, site: Site, value: Tensor) -> Result<Tensor> {
        let value = self.edits.apply(site, value, self.first)?;
        let value = self.with_features(site, value)?;
        if self.sites.has(site) {
            self.trace.put(site, value.clone());
        }
        Ok(value)
    }

    /// Whether nobody records, changes or reads the value at a site: the run need not have it by itself.
    fn unseen(&self, site: Site) -> bool {
        !self.sites.has(site) && !self.edits.touches(site)
    }

    /// `value` `[batch, pos, d_model]` with what edited features add to it here.
    fn with_features(&mut self, site: Site, value: Tensor) -> Result<Tensor> {
        let Some(features) = self.edits.features() else { return Ok(value) };
        if features.reads(site) {
            self.reads.put(site, value.clone());
        }
        self.added.extend(features.added(site, &self.reads)?);
        let (here, later) = std::mem::take(&mut self.added).into_iter().partition::<Vec<Added>, _>(|a| a.0 == site);
        self.added = later;
        if here.is_empty() {
            return Ok(value);
        }
        let (shape, dtype, device) = (value.dims3()?, value.dtype(), value.device().clone());
        let mut numbers: Vec<f32> = value.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        for (_, batch, position, row) in here {
            let to = &mut numbers[(batch * shape.1 + position) * shape.2..][..shape.2];
            to.iter_mut().zip(row).for_each(|(x, by)| *x += by);
        }
        Ok(Tensor::from_vec(numbers, shape, &device)?.to_dtype(dtype)?)
    }

    /// What attention or MLP reads of the residual stream `x`: through its norm where it has one.
    fn read(&mut self, norm: &Option<Norm>, l: usize, (scale, normalized): (S, S), x: &Tensor) -> Result<Tensor> {
        let Some(norm) = norm else { return Ok(x.clone()) };
        let y = self.norm(norm, Site::Block(l, scale), x)?;
        self.at(Site::Block(l, normalized), y)
    }

    fn norm(&mut self, norm: &Norm, scale_site: Site, x: &Tensor) -> Result<Tensor> {
        let (normalized, scale) = match self.edits.scale(scale_site) {
            Some(held) => held_norm(x, norm, held)?,
            None => ops::norm(self.route, x, norm)?,
        };
        if self.edits.features().is_some_and(|f| f.reads(scale_site)) {
            self.reads.put(scale_site, scale.clone());
        }
        if self.sites.has(scale_site) {
            self.trace.put(scale_site, scale);
        }
        Ok(normalized)
    }

    /// Projects `x` to heads: `[batch, pos, heads, d_head]`.
    fn heads(&self, x: &Tensor, l: &Linear, width: usize) -> Result<Tensor> {
        let (batch, pos, _) = x.dims3()?;
        Ok(ops::linear(self.route, x, l)?.reshape((batch, pos, l.weight.dim(0)? / width, width))?)
    }
}

/// The norm of `x` `[batch, pos, d_model]` with the scales of a run `[all, 1]`, of whose positions `x` has the last ones; the scales used with it.
fn held_norm(x: &Tensor, norm: &Norm, scales: &Tensor) -> Result<(Tensor, Tensor)> {
    let (batch, pos, _) = x.dims3()?;
    let scale = scales.narrow(0, scales.dim(0)? - pos, pos)?;
    let y = ops::norm_with_scale(&x.to_dtype(DType::F32)?, norm, &scale)?;
    let y = match &norm.bias {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    };
    Ok((y.to_dtype(x.dtype())?.contiguous()?, scale.unsqueeze(0)?.expand((batch, pos, 1))?.contiguous()?))
}
