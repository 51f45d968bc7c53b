//! The runs of one prompt, kept from one question to the next.

mod cache;

use super::input::Input;
use crate::address::Edit;
use crate::model::forward::{Logits, Start, Step};
use crate::model::site::{Site, Sites};
use crate::model::trace::Trace;
use crate::model::{Model, edit};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

pub use cache::{RunCache, RunKey};

/// The runs of one prompt, clean and edited, with the sites that were asked for so far.
pub struct Runs {
    input: Input,
    edits: Vec<Edit>,
    kept: Rc<RunCache>,
    clean: Option<Arc<Trace>>,
    edited: Option<Arc<Trace>>,
}

impl Runs {
    /// Nothing has run yet, and what will is kept for this prompt alone.
    pub fn new(input: Input, edits: Vec<Edit>) -> Self {
        Self::kept_in(Rc::new(RunCache::new(usize::MAX)), input, edits)
    }

    /// Runs that are looked for in a cache first and kept there.
    pub fn kept_in(kept: Rc<RunCache>, input: Input, edits: Vec<Edit>) -> Self {
        Runs { input, edits, kept, clean: None, edited: None }
    }

    /// The prompt.
    pub fn input(&self) -> &Input {
        &self.input
    }

    /// The edits of the edited run.
    pub fn edits(&self) -> &[Edit] {
        &self.edits
    }

    /// Runs the model, unless what is kept holds these sites already. A run that has to be made again keeps every site it had before.
    ///
    /// # Errors
    /// As [`Model::run_edited`]; what `step` returns. What was kept stays.
    pub fn ensure(&mut self, model: &Model, sites: BTreeSet<Site>, step: Step) -> Result<()> {
        let mut wanted = sites;
        wanted.retain(|s| model.decoder.has_site(*s));
        let mut clean_sites = wanted.clone();
        if !self.edits.is_empty() {
            model.refuse_idle(&self.input.ids(), &self.edits, self.input.asked)?;
            clean_sites.extend(edit::needs(&model.scope(&self.input.ids()), &self.edits)?);
        }
        let clean = self.kept.run(self.key(Vec::new()), clean_sites, &mut |sites| {
            let prompt = [self.input.ids()];
            model.forward(Start::Tokens(&prompt), &Sites::Only(sites), edit::EditPlan::NONE, Logits::Last, step)
        })?;
        self.clean = Some(clean.clone());
        self.edited = None;
        if !self.edits.is_empty() {
            let edited = self.kept.run(self.key(self.edits.clone()), wanted, &mut |sites| {
                let sites = Sites::Only(sites);
                model.run_edited(&clean, &self.edits, self.input.asked, &sites, Logits::Last, step)
            })?;
            self.edited = Some(edited);
        }
        Ok(())
    }

    fn key(&self, edits: Vec<Edit>) -> RunKey {
        RunKey { ids: self.input.ids(), edits, bos: self.input.asked }
    }

    /// The run without edits.
    ///
    /// # Errors
    /// Nothing has run yet.
    pub fn clean(&self) -> Result<&Trace> {
        self.clean.as_deref().context("the prompt has not run yet")
    }

    /// The run without edits, to be kept.
    ///
    /// # Errors
    /// Nothing has run yet.
    pub fn owned(&self) -> Result<Arc<Trace>> {
        self.clean.clone().context("the prompt has not run yet")
    }

    /// The run with edits, when there are any and it has run.
    pub fn edited(&self) -> Option<&Trace> {
        self.edited.as_deref()
    }
}
