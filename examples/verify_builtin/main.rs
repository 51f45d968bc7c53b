//! How well attribution predicts intervention on the built-in model: for every family of prompts, graphs on neurons and on transcoder features,
//! the 20 units with the most influence set to zero one by one, predicted against measured change of the answer's logit.
//!
//! Columns: Spearman's rank correlation by prompt (mean, tenth and fiftieth percentile), over all prompts together, over all together with
//! attention patterns held and with norm scales held as well; the share of equal signs; of all effects those that are off by half because of
//! patterns, norm scales, nonlinearities; heads whose effect is large and predicted to be next to nothing.
//!
//! `cargo run --release --example verify_builtin -- [PROMPTS]` (50 by default)

#![allow(clippy::print_stdout, reason = "a table is what it makes")]

// None of the programs and tests that share it uses all of it.
#[allow(dead_code, missing_docs)]
#[path = "../common/corpus/mod.rs"]
mod corpus;

use anyhow::{Context, Result};
use corpus::{CorpusSplit, FAMILIES, prompts};
use mechscope::analysis::attribution_graph::{GraphSettings, build, most_probable};
use mechscope::analysis::next_token::NextToken;
use mechscope::analysis::verify::Verifier;
use mechscope::graph::verification::{Cause, Intervention, NodeEffect, Summary, Verification};
use mechscope::model::Model;
use mechscope::model::dictionary::Dictionary;
use mechscope::model::forward::Logits;
use mechscope::model::open::Options;
use mechscope::model::site::Sites;
use mechscope::model::text::Bos;

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
        let pooled = summary.rank_correlation.unwrap_or(f64::NAN);
        let effects = || self.all.iter().filter_map(Verification::target);
        let causes = |cause| effects().filter(|e| e.cause() == Some(cause)).count();
        // The same against the runs with patterns held, and with norm scales held too.
        let held = Summary::of(&effects().map(|e| NodeEffect { measured: e.held, ..e.clone() }).collect::<Vec<_>>());
        let held = held.rank_correlation.unwrap_or(f64::NAN);
        let all =
            Summary::of(&effects().map(|e| NodeEffect { measured: e.norms_held, ..e.clone() }).collect::<Vec<_>>());
        let norms_held = all.rank_correlation.unwrap_or(f64::NAN);
        let [patterns, norms, nonlinear] = [Cause::Patterns, Cause::Norms, Cause::Nonlinear].map(causes);
        format!(
            "{n:>7}  {mean:>8.3}  {:>6.3}  {:>6.3}  {pooled:>6.3}  {held:>6.3}  {norms_held:>10.3}  {sign:>5.3}  {patterns:>8}  {norms:>5}  {nonlinear:>9}",
            part(0.1),
            part(0.5)
        )
    }
}

fn main() -> Result<()> {
    let n = std::env::args().nth(1).map_or(Ok(50), |n| n.parse()).context("the number of prompts")?;
    let model = Model::open("hello", Options::default(), Box::new(|_, _| {}))?;
    let own = mechscope::builtin::get("hello").map(|b| Dictionary::built_in(b, &model.decoder)).transpose()?;
    let dictionary = own.flatten().context("hello has no transcoders")?;
    println!(
        "family         units     prompts  spearman    10 %    50 %  pooled    held  norms_held  signs  patterns  norms  nonlinear  heads"
    );
    for (family, _) in FAMILIES {
        let (mut neurons, mut features) = (Tally::default(), Tally::default());
        for prompt in prompts(family, CorpusSplit::HeldOut, n, 1) {
            let ids = model.encode(&prompt.case.text(), Bos::Auto)?.ids();
            test(&model, None, &ids, &mut neurons)?;
            test(&model, Some(&dictionary), &ids, &mut features)?;
        }
        println!("{:<13}  neurons   {}", family.name(), neurons.line());
        println!("{:<13}  features  {}  {:>5}", family.name(), features.line(), neurons.unseen_heads);
    }
    Ok(())
}

fn test(model: &Model, dictionary: Option<&Dictionary>, ids: &[u32], tally: &mut Tally) -> Result<()> {
    let mut quiet = |_: usize, _: usize| Ok(());
    let run = model.run(ids, &Sites::None, Logits::Last)?;
    let targets = most_probable(model, &NextToken::new(run.last_logits(0)?), 1.0, 1);
    let zero_positions = usize::from(dictionary.is_some());
    let settings = GraphSettings { max_nodes: Some(UNITS), zero_positions, ..GraphSettings::default() };
    let graph = build(model, &model.pieces(ids), dictionary, &targets, settings, &mut quiet)?;
    let verifier = Verifier::new(model, dictionary, &graph, None)?;
    let found = verifier.run(&verifier.top(TESTED, &Intervention::Zero, 0)?, &mut quiet)?;
    tally.correlations.extend(Summary::of_targets(&found).rank_correlation);
    tally.all.extend(found);
    if dictionary.is_none() {
        let heads = verifier.run(&verifier.heads(&Intervention::Zero), &mut quiet)?;
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
