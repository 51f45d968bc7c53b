//! What the tour says: stops, and the steps of each, read from `script.toml`.

use crate::action::Action;
use crate::app::Tab;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::sync::OnceLock;

const SCRIPT: &str = include_str!("script.toml");

/// A place where the tour stops: what is looked at, and what is done there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// What it is about.
    pub title: String,
    /// The model; the last stop has none of its own and takes a real one that is there.
    #[serde(default)]
    pub model: Option<String>,
    /// The prompt.
    pub prompt: String,
    /// The token that is explained, and the one it is compared with.
    #[serde(default)]
    pub target: Option<String>,
    /// See [`Stop::target`].
    #[serde(default)]
    pub contrast: Option<String>,
    /// The tab it begins on.
    #[serde(default)]
    pub tab: Tab,
    /// What is said before anything is done. What stands between backquotes is to be seen on the screen.
    pub says: String,
    /// What is said instead where there is no real model.
    #[serde(default)]
    pub without: Option<String>,
    /// What is done.
    #[serde(default, rename = "step")]
    pub steps: Vec<StopStep>,
}

/// Something that is done at a stop.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopStep {
    /// The actions by name, with their argument after a space.
    pub does: Vec<String>,
    /// What they are done for, as what follows their keys.
    #[serde(rename = "for")]
    pub aim: String,
    /// What is said once they are done. What stands between backquotes is to be seen on the screen.
    pub says: String,
}

/// An action with its argument, if it takes one.
pub(super) type Deed = (Action, Option<String>);

impl StopStep {
    /// The actions. The script's own test makes sure that all of them exist.
    pub(super) fn deeds(&self) -> Vec<Deed> {
        self.does.iter().filter_map(|text| deed(text).ok()).collect()
    }
}

fn deed(text: &str) -> Result<Deed> {
    let (name, argument) = text.split_once(' ').map_or((text, None), |(name, rest)| (name, Some(rest.to_owned())));
    Ok((name.parse()?, argument))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Script {
    #[serde(rename = "stop")]
    stops: Vec<Stop>,
}

fn read(text: &str) -> Result<Vec<Stop>> {
    let script: Script = toml::from_str(text).context("script.toml")?;
    for stop in &script.stops {
        for text in stop.steps.iter().flat_map(|step| &step.does) {
            deed(text).with_context(|| format!("stop {:?}", stop.title))?;
        }
        ensure!(
            stop.model.is_some() || stop.without.is_some(),
            "stop {:?} has neither model nor `without`",
            stop.title
        );
    }
    Ok(script.stops)
}

/// The stops of the tour, in their order.
pub fn stops() -> &'static [Stop] {
    static STOPS: OnceLock<Vec<Stop>> = OnceLock::new();
    // It is part of the program, and a test reads it.
    STOPS.get_or_init(|| read(SCRIPT).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_can_be_read() {
        let stops = read(SCRIPT).unwrap();
        assert_eq!(stops.len(), 7);
        assert!(stops[..6].iter().all(|stop| stop.model.is_some() && !stop.steps.is_empty()));
        assert!(stops[6].model.is_none());
    }

    #[test]
    fn what_is_wrong_in_a_script_is_named() {
        let stop = "[[stop]]\ntitle = 'A'\nmodel = 'hello'\nprompt = 'x'\nsays = 's'\n";
        let step = "[[stop.step]]\ndoes = ['tab_lense']\nfor = 'f'\nsays = 's'\n";
        let error = format!("{:#}", read(&format!("{stop}{step}")).unwrap_err());
        assert!(error.contains("stop \"A\"") && error.contains("tab_lense"), "{error}");
        assert!(read(stop).is_ok());
    }
}
