//! Fetching models and dictionaries: what is said, and what is asked.

use super::output;
use crate::model::hub::{self, ASK_ABOVE, DownloadPlan, Policy};
use crate::model::source::Source;
use anyhow::{Result, bail};
use clap::Args;
use std::io::{IsTerminal, Write};

/// What may be fetched from the hub.
#[derive(Args, Clone, Copy, Debug)]
pub struct HubArgs {
    /// Open no connection: what is not here is not fetched (as HF_HUB_OFFLINE=1)
    #[arg(long)]
    pub offline: bool,
    /// Fetch more than 2 GB without asking
    #[arg(long)]
    pub yes: bool,
}

impl HubArgs {
    /// Fetches what is missing of a model of the hub.
    ///
    /// # Errors
    /// As [`hub::obtain_model`]; the user said no.
    pub fn model(self, name: &str) -> Result<()> {
        hub::obtain_model(name, self.policy(), &mut |plan| self.announce(plan), &mut progress(name))
    }

    /// Opens a dictionary with `open`, after fetching what is missing of it when it is one of the hub's.
    ///
    /// # Errors
    /// As [`hub::open_dictionary`]; the user said no.
    pub fn dictionary<T>(self, name: &str, open: impl FnMut() -> Result<T>) -> Result<T> {
        hub::open_dictionary(name, self.policy(), open, &mut |plan| self.announce(plan), &mut progress(name))
    }

    /// Makes sure, before there is a screen, that a model is here or may be fetched; returns what the explorer may fetch.
    ///
    /// # Errors
    /// There is no such model, here or at the hub; the user said no.
    pub fn before_screen(self, name: &str) -> Result<Policy> {
        let policy = self.policy();
        let plan = hub::plan_model(name, policy)?;
        if let Some(plan) = &plan {
            self.announce(plan)?;
        } else {
            Source::find(name)?;
        }
        Ok(Policy { limit: policy.limit.max(plan.map_or(0, |p| p.bytes)), ..policy })
    }

    fn policy(self) -> Policy {
        Policy::new(self.offline, self.yes)
    }

    /// Says how much is fetched; asks, at a terminal, above 2 GB.
    fn announce(self, plan: &DownloadPlan) -> Result<()> {
        output::remark(&format!("fetching {plan}"));
        let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        if self.yes || plan.bytes <= ASK_ABOVE || !terminal {
            return Ok(());
        }
        let mut err = std::io::stderr();
        write!(err, "go on? [y/N] ")?;
        err.flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if !["y", "yes"].contains(&answer.trim().to_lowercase().as_str()) {
            bail!("{} was not fetched", plan.name);
        }
        Ok(())
    }
}

fn progress(name: &str) -> impl FnMut(u64, u64) -> Result<()> + use<> {
    let mut show = output::progress(format!("fetching {name}"));
    move |done, total| {
        show(done >= total, &|| format!("{} of {} MB", done / 1_000_000, total.div_ceil(1_000_000)));
        Ok(())
    }
}
