//! `mechscope tour`: the guided tour in the explorer; where there is no terminal, what it says.

use super::Cli;
use super::explore::Look;
use super::tour_kept::start;
use crate::action::Action;
use crate::app::tour::{Stop, TourStart, stops};
use crate::keymap::{Context as KeyContext, Keymap};
use crate::model::source;
use anyhow::{Result, ensure};
use clap::{Args, Parser};
use std::io::{IsTerminal, Write};

/// Options of the tour.
#[derive(Args, Debug)]
pub struct TourArgs {
    /// Begin at this stop, counted from 1; without it the tour goes on where it was left
    #[arg(value_name = "STOP")]
    stop: Option<usize>,
    /// A real model for the last stop; without it a small one is taken that is there
    #[arg(short, long)]
    model: Option<String>,
    #[command(flatten)]
    look: Look,
}

impl TourArgs {
    /// Runs the explorer with the tour, or prints what it says; returns the exit code.
    pub fn run(self) -> Result<u8> {
        let all = stops().len();
        if let Some(stop) = self.stop {
            ensure!((1..=all).contains(&stop), "there is no stop {stop}; accepted: 1 to {all}");
        }
        if !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
            return print(self.stop).map(|()| 0);
        }
        self.model.as_deref().map(source::Source::find).transpose()?;
        let kept = start(false);
        let tour = TourStart {
            stop: self.stop.map_or(kept.stop, |stop| stop - 1),
            at_once: true,
            real: self.model.or(kept.real),
            ..kept
        };
        Cli::try_parse_from(["mechscope", "--model", source::DEFAULT])?.explore.run_tour(self.look, tour)
    }
}

/// What the tour says, all of it or one stop, with the default keys.
fn print(only: Option<usize>) -> Result<()> {
    let keymap = Keymap::load(&[], &[])?;
    let mut out = std::io::stdout().lock();
    for (at, stop) in stops().iter().enumerate().filter(|(at, _)| only.is_none_or(|stop| stop == at + 1)) {
        let Stop { title, prompt, says, without, steps, .. } = stop;
        writeln!(out, "{}. {title}\n\n  {prompt}\n\n{}\n", at + 1, told(says))?;
        for step in steps {
            let keys: Vec<String> = step.does.iter().map(|deed| key(&keymap, deed)).collect();
            writeln!(out, "  {}  {}\n\n{}\n", keys.join(" "), step.aim, told(&step.says))?;
        }
        if let Some(without) = without {
            writeln!(out, "{}\n", told(without))?;
        }
    }
    Ok(())
}

/// A text of the script in lines: without a screen there is nothing for its marks to point at.
fn told(text: &str) -> String {
    text.replace('`', "").replace("{model}", "the model").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The keys of an action with its argument.
fn key(keymap: &Keymap, deed: &str) -> String {
    let (name, argument) = deed.split_once(' ').unwrap_or((deed, ""));
    let action = name.parse::<Action>().ok();
    let keys = action.and_then(|a| keymap.keys(a.context().unwrap_or(KeyContext::Normal), a).into_iter().next());
    let key = keys.unwrap_or_else(|| format!(":{name}"));
    if argument.is_empty() { key } else { format!("{key} {argument} Enter") }
}
