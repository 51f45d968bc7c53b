//! How well attribution predicts intervention on the built-in model: for every family of prompts, graphs on neurons and on transcoder features,
//! the 20 units with the most influence set to zero one by one, predicted against measured change of the answer's logit.
//!
//! `cargo run --release --example verify_builtin -- [PROMPTS]` (50 by default)

#![allow(clippy::print_stdout, reason = "a table is what it makes")]

use anyhow::{Context, Result};
use mechscope::analysis::attribution_graph::{Settings, build, most_probable};
use mechscope::analysis::next_token::NextToken;
use mechscope::analysis::verify::Verifier;
use mechscope::builtin::corpus::{FAMILIES, Split, prompts};
use mechscope::graph::verification::{Cause, Summary, Verification, With};
use mechscope::model::Model;
use mechscope::model::dictionary::Dictionary;
use mechscope::model::forward::Logits;
use mechscope::model::open::Options;
use mechscope::model::relp::Gate;
use mechscope::model::site::Sites;
use mechscope::model::text::Bos;
use std::path::Path;

/// Units of a graph, and how many of them are tested.
const UNITS: usize = 300;
const TESTED: usize = 20;

/// What was found over the prompts of one family.
#[derive(Default)]
struct Tally {
    /// Rank correlations, one a prompt.
    correlations: Vec<f64>,
    all: Vec<Verification>,
    /// Heads whose effect is large and predicted to be next to nothing, because they act through patterns.
    unseen_heads: usize,
}

impl Tally {
    fn line(&self) -> String {
        let summary = Summary::of_targets(&self.all);
        let n = self.correlations.len();
        let mean = self.correlations.iter().sum::<f64>() / n.max(1) as f64;
        let mut sorted = self.correlations.clone();
        sorted.sort_by(f64::total_cmp);
        let part = |p: f64| sorted.get(((n as f64 - 1.0) * p).round() as usize).copied().unwrap_or(f64::NAN);
        let sign = summary.sign_agreement.unwrap_or(f64::NAN);
        format!("{n:>7}  {mean:>6.3}  {:>6.3}  {:>6.3}  {sign:>6.3}  {:>6}", part(0.1), part(0.5), summary.n)
    }
}

fn main() -> Result<()> {
    let n = std::env::args().nth(1).map_or(Ok(50), |n| n.parse()).context("the number of prompts")?;
    let model = Model::open("hello", Options::default(), Box::new(|_, _| {}))?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/builtin/transcoders");
    let dictionary = Dictionary::open(&folder, &model.decoder)?;
    println!("family         units     prompts  spearman  10 %    50 %    signs   effects");
    for (family, _) in FAMILIES {
        let (mut neurons, mut features) = (Tally::default(), Tally::default());
        for prompt in prompts(family, Split::HeldOut, n, 1) {
            let ids = model.encode(&prompt.case.text(), Bos::Auto)?.ids();
            test(&model, None, &ids, &mut neurons)?;
            test(&model, Some(&dictionary), &ids, &mut features)?;
        }
        println!("{:<13}  neurons   {}", family.name(), neurons.line());
        println!("{:<13}  features  {}   {} heads unseen", family.name(), features.line(), neurons.unseen_heads);
    }
    Ok(())
}

fn test(model: &Model, dictionary: Option<&Dictionary>, ids: &[u32], tally: &mut Tally) -> Result<()> {
    let mut quiet = |_: usize, _: usize| Ok(());
    let run = model.run(ids, &Sites::None, Logits::Last)?;
    let targets = most_probable(model, &NextToken::new(run.last_logits(0)?), 1.0, 1);
    let zero_positions = usize::from(dictionary.is_some());
    let settings = Settings { max_nodes: Some(UNITS), gate: Gate::Half, zero_positions };
    let graph = build(model, &model.pieces(ids), dictionary, &targets, settings, &mut quiet)?;
    let verifier = Verifier::new(model, dictionary, &graph, None)?;
    let found = verifier.run(&verifier.top(TESTED, &With::Zero, 0)?, &mut quiet)?;
    tally.correlations.extend(Summary::of_targets(&found).rank_correlation);
    tally.all.extend(found);
    if dictionary.is_none() {
        let heads = verifier.run(&verifier.heads(&With::Zero), &mut quiet)?;
        let effects = heads.iter().filter_map(Verification::target);
        let unseen = effects.filter(|e| {
            e.measured.abs() > 1.0
                && e.predicted.is_some_and(|p| p.abs() < 0.1 * e.measured.abs())
                && e.cause() == Some(Cause::Patterns)
        });
        tally.unseen_heads += unseen.count();
    }
    Ok(())
}
