//! The runs of one prompt, kept from one question to the next.

use super::input::Input;
use crate::address::Edit;
use crate::model::forward::{Logits, Start, Step};
use crate::model::site::{Site, Sites};
use crate::model::trace::Trace;
use crate::model::{Model, edit};
use anyhow::{Context, Result};
use std::collections::BTreeSet;

/// The runs of one prompt, clean and edited, with the sites that were asked for so far.
pub struct Runs {
    input: Input,
    edits: Vec<Edit>,
    sites: BTreeSet<Site>,
    clean: Option<Trace>,
    edited: Option<Trace>,
}

impl Runs {
    /// Nothing has run yet.
    pub fn new(input: Input, edits: Vec<Edit>) -> Self {
        Runs { input, edits, sites: BTreeSet::new(), clean: None, edited: None }
    }

    /// The prompt.
    pub fn input(&self) -> &Input {
        &self.input
    }

    /// The edits of the edited run.
    pub fn edits(&self) -> &[Edit] {
        &self.edits
    }

    /// Other edits for the same prompt; the clean run is kept.
    pub fn set_edits(&mut self, edits: Vec<Edit>) {
        if edits != self.edits {
            self.edits = edits;
            self.edited = None;
        }
    }

    /// Runs the model, unless what is kept holds these sites already. A run that has to be made again keeps every site asked for before.
    ///
    /// # Errors
    /// As [`Model::run_edited`]; what `step` returns. What was kept stays.
    pub fn ensure(&mut self, model: &Model, sites: BTreeSet<Site>, step: Step) -> Result<()> {
        let mut wanted = &self.sites | &sites;
        wanted.retain(|s| model.decoder.has_site(*s));
        let mut clean_sites = wanted.clone();
        if !self.edits.is_empty() {
            model.refuse_idle(&self.input.ids(), &self.edits, self.input.asked)?;
            clean_sites.extend(edit::needs(&model.scope(&self.input.ids()), &self.edits)?);
        }
        let holds = |trace: &Option<Trace>, sites: &BTreeSet<Site>| {
            trace.as_ref().is_some_and(|t| sites.iter().all(|s| t.batched(*s).is_some()))
        };
        if !holds(&self.clean, &clean_sites) {
            let sites = Sites::Only(clean_sites);
            let prompt = [self.input.ids()];
            let start = Start::Tokens(&prompt);
            self.clean = Some(model.decoder.run(start, &sites, edit::Plan::NONE, Logits::Last, step)?);
        }
        if self.edits.is_empty() {
            self.edited = None;
        } else if !holds(&self.edited, &wanted) {
            let (clean, sites) = (self.clean()?, Sites::Only(wanted.clone()));
            self.edited = Some(model.run_edited(clean, &self.edits, self.input.asked, &sites, Logits::Last, step)?);
        }
        self.sites = wanted;
        Ok(())
    }

    /// The run without edits.
    ///
    /// # Errors
    /// Nothing has run yet.
    pub fn clean(&self) -> Result<&Trace> {
        self.clean.as_ref().context("the prompt has not run yet")
    }

    /// The run with edits, when there are any and it has run.
    pub fn edited(&self) -> Option<&Trace> {
        self.edited.as_ref()
    }
}
