//! What one forward pass recorded.

use super::site::{BlockSite, Site};
use anyhow::{Context, Result};
use candle_core::Tensor;
use std::collections::BTreeMap;

/// The sites of one forward pass over one or more prompts of equal length.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    tokens: Vec<Vec<u32>>,
    sites: BTreeMap<Site, Tensor>,
}

impl Trace {
    /// An empty trace of these prompts.
    pub fn new(tokens: Vec<Vec<u32>>) -> Self {
        Trace { tokens, sites: BTreeMap::new() }
    }

    /// Token ids of the first prompt.
    pub fn tokens(&self) -> &[u32] {
        self.tokens.first().map_or(&[], Vec::as_slice)
    }

    /// Token ids of every prompt.
    pub fn prompts(&self) -> &[Vec<u32>] {
        &self.tokens
    }

    /// Positions.
    pub fn n_pos(&self) -> usize {
        self.tokens().len()
    }

    /// Records a site, `value` with its batch dimension first.
    pub fn record(&mut self, site: Site, value: Tensor) {
        self.sites.insert(site, value);
    }

    pub(super) fn put(&mut self, site: Site, value: Tensor) {
        self.sites.insert(site, value);
    }

    /// A site with its batch dimension first, if it was recorded.
    pub fn batched(&self, site: Site) -> Option<&Tensor> {
        self.sites.get(&site)
    }

    /// A site of the first prompt, shaped as [`Site`] says.
    ///
    /// # Errors
    /// The site was not recorded.
    pub fn get(&self, site: Site) -> Result<Tensor> {
        self.of(0, site)
    }

    /// A site of prompt `batch`, shaped as [`Site`] says.
    ///
    /// # Errors
    /// The site was not recorded, or there is no such prompt.
    pub fn of(&self, batch: usize, site: Site) -> Result<Tensor> {
        let value = self.sites.get(&site).with_context(|| format!("{site} was not recorded"))?;
        Ok(value.get(batch)?)
    }

    /// A site inside a block, of the first prompt.
    ///
    /// # Errors
    /// The site was not recorded.
    pub fn block(&self, layer: usize, site: BlockSite) -> Result<Tensor> {
        self.get(Site::Block(layer, site))
    }

    /// The numbers of a site of the first prompt, row-major, f32.
    ///
    /// # Errors
    /// The site was not recorded.
    pub fn numbers(&self, site: Site) -> Result<Vec<f32>> {
        Ok(self.get(site)?.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1()?)
    }

    /// One position of a site that has positions first, row-major, f32.
    ///
    /// # Errors
    /// The site was not recorded, or there is no such position.
    pub fn row(&self, site: Site, position: usize) -> Result<Vec<f32>> {
        let row = self.get(site)?.narrow(0, position, 1)?;
        Ok(row.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1()?)
    }

    /// The logits of the first prompt, `[pos, d_vocab]` or, when only the last position was computed, `[1, d_vocab]`.
    ///
    /// # Errors
    /// The run did not get that far.
    pub fn logits(&self) -> Result<Tensor> {
        self.get(Site::Logits)
    }

    /// The logits of the last position of prompt `batch`, `d_vocab` numbers.
    ///
    /// # Errors
    /// The run did not get that far.
    pub fn last_logits(&self, batch: usize) -> Result<Vec<f32>> {
        let logits = self.of(batch, Site::Logits)?;
        Ok(logits.get(logits.dim(0)? - 1)?.to_dtype(candle_core::DType::F32)?.to_vec1()?)
    }

    /// What was recorded, in the order of the forward pass.
    pub fn sites(&self) -> impl Iterator<Item = (Site, &Tensor)> {
        self.sites.iter().map(|(s, t)| (*s, t))
    }

    /// Bytes that its numbers take; those of sites that share their memory count twice.
    pub fn bytes(&self) -> usize {
        self.sites.values().map(|t| t.elem_count() * t.dtype().size_in_bytes()).sum()
    }

    /// `n` copies of the first prompt with `site` alone: where a batch of edited runs can start.
    ///
    /// # Errors
    /// The site was not recorded.
    pub fn copies(&self, site: Site, n: usize) -> Result<Trace> {
        let one = self.get(site)?;
        let mut shape = one.dims().to_vec();
        shape.insert(0, n);
        let mut copies = Trace::new(vec![self.tokens().to_vec(); n]);
        copies.put(site, one.unsqueeze(0)?.expand(shape)?.contiguous()?);
        Ok(copies)
    }

    /// One prompt of a batch by itself, with all its sites.
    ///
    /// # Errors
    /// There is no such prompt.
    pub fn alone(&self, batch: usize) -> Result<Trace> {
        let tokens = self.tokens.get(batch).with_context(|| format!("there is no prompt {batch} in the batch"))?;
        let one = |(site, value): (&Site, &Tensor)| Ok((*site, value.narrow(0, batch, 1)?));
        Ok(Trace { tokens: vec![tokens.clone()], sites: self.sites.iter().map(one).collect::<Result<_>>()? })
    }

    /// Takes over from `clean` the sites before block `layer`, which an edit above left as they were.
    pub(super) fn keep_below(&mut self, clean: &Trace, layer: usize, wanted: impl Fn(Site) -> bool) {
        for (site, value) in clean.sites.iter().filter(|(s, _)| wanted(**s)) {
            let below = match site {
                Site::Embed | Site::PosEmbed => true,
                Site::Block(l, _) => *l < layer,
                _ => false,
            };
            if below {
                self.sites.entry(*site).or_insert_with(|| value.clone());
            }
        }
    }
}
