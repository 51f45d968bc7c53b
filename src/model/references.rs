//! Where edits take values from: other prompts, sets of prompts, saved directions.

use super::Model;
use super::corpus_mean;
use super::edit::{Reference, References};
use super::forward::Logits;
use super::site::{Site, Sites};
use super::text::Bos;
use super::trace::Trace;
use crate::cast::single;
use crate::prompt_set::{Draw, PromptSet};
use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor};
use std::collections::HashMap;

/// Reads edit values from a model's runs; keeps the runs of other prompts.
pub(super) struct ModelReferences<'a> {
    model: &'a Model,
    clean: &'a Trace,
    bos: Bos,
    traces: HashMap<(String, Site), Tensor>,
    directions: HashMap<(String, Option<usize>, usize), Vec<f32>>,
    sets: HashMap<String, Vec<SetPrompt>>,
    means: HashMap<(String, bool, Site), Tensor>,
}

/// A clean prompt of a set.
#[derive(Clone)]
struct SetPrompt {
    id: String,
    text: String,
    ids: Vec<u32>,
    /// It or its twin is the prompt that is edited.
    own: bool,
}

impl<'a> ModelReferences<'a> {
    pub(super) fn new(model: &'a Model, clean: &'a Trace, bos: Bos) -> Self {
        ModelReferences {
            model,
            clean,
            bos,
            traces: HashMap::new(),
            directions: HashMap::new(),
            sets: HashMap::new(),
            means: HashMap::new(),
        }
    }

    /// The clean prompts of a set.
    fn set(&mut self, name: &str) -> Result<Vec<SetPrompt>> {
        if let Some(kept) = self.sets.get(name) {
            return Ok(kept.clone());
        }
        ensure!(name != "-", "a set that edits take values from cannot be standard input; accepted: a name or a file");
        let set = PromptSet::open(name, self.model)?;
        let ids = |text: &str| Ok::<_, anyhow::Error>(self.model.encode(text, self.bos)?.ids());
        let read = |item: &crate::prompt_set::PromptItem| {
            let of = ids(&item.clean).with_context(|| format!("{name}: {}", item.id))?;
            let twin = item.corrupt.as_deref().map(ids).transpose()?;
            let own = of == self.clean.tokens() || twin.as_deref() == Some(self.clean.tokens());
            Ok(SetPrompt { id: item.id.clone(), text: item.clean.clone(), ids: of, own })
        };
        let prompts = set.items.iter().map(read).collect::<Result<Vec<_>>>()?;
        self.sets.insert(name.to_owned(), prompts.clone());
        Ok(prompts)
    }

    /// Means over the clean prompts of a set for `site` and the same site of every layer: one run of each prompt serves them all. `[1, width]` over all
    /// positions, `[pos, width]` position by position.
    fn average(&self, name: &str, prompts: &[SetPrompt], by_position: bool, site: Site) -> Result<Vec<(Site, Tensor)>> {
        let all: Vec<Site> = match site {
            Site::Block(_, of) => (0..self.model.decoder.arch.n_layers).map(|l| Site::Block(l, of)).collect(),
            other => vec![other],
        };
        let recorded = Sites::only(all.iter().copied());
        let n_pos = self.clean.n_pos();
        let mut sums: Vec<Vec<f64>> = vec![Vec::new(); all.len()];
        let mut rows_in_all = 0;
        for prompt in prompts {
            let n = prompt.ids.len();
            ensure!(
                !by_position || n == n_pos,
                "{name}: {} has {n} tokens, the prompt that is edited {n_pos}: positions cannot be averaged; accepted: equal lengths, or the mean over \
                 all positions (=mean:@{name})",
                prompt.id
            );
            let run = self.model.run(&prompt.ids, &recorded, Logits::Last)?;
            for (sum, site) in sums.iter_mut().zip(&all) {
                let numbers = run.numbers(*site)?;
                let width = numbers.len() / n;
                let rows = if by_position { n } else { 1 };
                sum.resize(rows * width, 0.0);
                for (p, row) in numbers.chunks_exact(width).enumerate() {
                    let at = if by_position { p * width } else { 0 };
                    sum[at..at + width].iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
                }
            }
            rows_in_all += if by_position { 1 } else { n };
        }
        let rows = if by_position { n_pos } else { 1 };
        let mean = |(sum, site): (Vec<f64>, &Site)| {
            let width = sum.len() / rows;
            let numbers: Vec<f32> = sum.into_iter().map(|x| single(x / rows_in_all as f64)).collect();
            Ok((*site, Tensor::from_vec(numbers, (rows, width), &Device::Cpu)?))
        };
        sums.into_iter().zip(&all).map(mean).collect()
    }
}

impl References for ModelReferences<'_> {
    fn site(&mut self, reference: Reference, site: Site) -> Result<Tensor> {
        let Reference::Prompt(prompt) = reference else {
            return match self.clean.get(site) {
                Ok(value) => Ok(value),
                Err(_) => self.model.run(self.clean.tokens(), &Sites::only([site]), Logits::Last)?.get(site),
            };
        };
        let key = (prompt.to_owned(), site);
        if let Some(value) = self.traces.get(&key) {
            return Ok(value.clone());
        }
        let ids = self.model.encode(prompt, self.bos).with_context(|| format!("the prompt {prompt:?}"))?.ids();
        let run = self.model.run(&ids, &Sites::only([site]), Logits::Last);
        let value = run.with_context(|| format!("the prompt {prompt:?}"))?.get(site)?;
        self.traces.insert(key, value.clone());
        Ok(value)
    }

    fn prompts(&mut self, name: &str) -> Result<Vec<String>> {
        let prompts = self.set(name)?;
        if let Some(own) = prompts.iter().find(|p| p.own) {
            bail!(
                "{name}: {} is the prompt that is edited, or its twin: its own values would be in the mean; accepted: a set without it",
                own.id
            );
        }
        Ok(prompts.into_iter().map(|p| p.text).collect())
    }

    fn mean(&mut self, name: &str, by_position: bool, site: Site) -> Result<Tensor> {
        let key = (name.to_owned(), by_position, site);
        if let Some(index) = corpus_mean::index_of(name) {
            ensure!(
                !by_position,
                "{name}: a corpus has no means position by position; accepted: =mean:@{name}, over all of its positions"
            );
            if !self.means.contains_key(&key) {
                let width = self.site(Reference::Clean, site)?.flatten_from(1)?.dim(1)?;
                let mean = corpus_mean::mean(&index, site, self.model.decoder.arch.n_layers, width)?;
                self.means.insert(key.clone(), Tensor::from_vec(mean, (1, width), &Device::Cpu)?);
            }
            return self.means.get(&key).cloned().with_context(|| format!("{site} has no mean"));
        }
        self.prompts(name)?;
        if !self.means.contains_key(&key) {
            let prompts = self.set(name)?;
            for (site, mean) in self.average(name, &prompts, by_position, site)? {
                self.means.insert((name.to_owned(), by_position, site), mean.to_dtype(DType::F32)?);
            }
        }
        self.means.get(&key).cloned().with_context(|| format!("{site} has no mean"))
    }

    fn draw(&mut self, name: &str, seed: u64, equal: bool) -> Result<String> {
        let n_pos = self.clean.n_pos();
        let all = self.set(name)?;
        let first = Draw(seed).below(all.len());
        let fits = |p: &&SetPrompt| !p.own && (!equal || p.ids.len() == n_pos);
        // The next that fits, so that what does not fit moves no other draw.
        let found = all[first..].iter().chain(&all[..first]).find(fits);
        let found = found.with_context(|| {
            let long = if equal { format!(" that has {n_pos} tokens") } else { String::new() };
            format!("{name}: no prompt but this one and its twin{long} can be drawn; accepted: another set")
        })?;
        Ok(found.text.clone())
    }

    fn direction(&mut self, name: &str, layer: Option<usize>, width: usize) -> Result<Vec<f32>> {
        let key = (name.to_owned(), layer, width);
        if let Some(direction) = self.directions.get(&key) {
            return Ok(direction.clone());
        }
        let direction = self.model.direction(name, layer, width)?;
        self.directions.insert(key, direction.clone());
        Ok(direction)
    }
}
