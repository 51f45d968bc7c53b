//! Path patching: beside runs that are written out one by one, and what holds on models of several families.

mod common;
mod program;
mod random_models;

use mechscope::address::{Address, Edit, Part};
use mechscope::analysis::patch::path::{PathQuestion, Receivers};
use mechscope::analysis::patch::{AnswerMetric, PatchAnswer, PatchDirection, PromptPair};
use mechscope::analysis::target::Target;
use mechscope::model::Model;
use mechscope::model::edit::{EditPlan, place};
use mechscope::model::forward::{Logits, Start};
use mechscope::model::site::{BlockSite, Site, Sites};
use mechscope::model::text::Bos;
use mechscope::model::trace::Trace;

fn question(receivers: &[&str], way: PatchDirection) -> PathQuestion {
    let names: Vec<String> = receivers.iter().map(|r| (*r).to_owned()).collect();
    PathQuestion {
        receivers: Receivers::parse(&names).unwrap(),
        way,
        metric: AnswerMetric::LogitDifference,
        at: None,
        hold_mlps: false,
        hold_norms: false,
    }
}

const TARGET: (u32, u32) = (7, 11);

fn ask(model: &Model, ids: (&[u32], &[u32]), path: &PathQuestion) -> anyhow::Result<PatchAnswer> {
    let pair = PromptPair::for_paths(model, ids, ids.0.len() - 1, path, &mut |_, _| Ok(()))?;
    pair.paths(Target::new(TARGET.0, Some(TARGET.1)), path, &mut |_, _| Ok(()))
}

fn difference(run: &Trace) -> f64 {
    let logits = run.last_logits(0).unwrap();
    f64::from(logits[TARGET.0 as usize]) - f64::from(logits[TARGET.1 as usize])
}

/// Two lists of as many tokens that differ in two places.
fn ids(model: &Model) -> (Vec<u32>, Vec<u32>) {
    let n = model.decoder.arch.d_vocab as u32;
    let clean: Vec<u32> = (0..7).map(|i| (3 + 5 * i) % n).collect();
    let mut corrupt = clean.clone();
    corrupt[2] = (clean[2] + 1) % n;
    corrupt[4] = (clean[4] + 2) % n;
    (clean, corrupt)
}

/// Edits run from the tokens on, without batches and shared beginnings; `replaced` are rows written over columns of a site.
fn run(model: &Model, ids: &[u32], plan: &EditPlan, sites: &Sites) -> Trace {
    model.forward(Start::Tokens(&[ids.to_vec()]), sites, plan, Logits::Last, &mut |_, _| Ok(())).unwrap()
}

/// Writes all rows of a site as they are in another run.
fn copy(plan: &mut EditPlan, site: Site, cols: std::ops::Range<usize>, from: &Trace) {
    let (numbers, n) = (from.numbers(site).unwrap(), from.n_pos());
    let width = numbers.len() / n;
    let rows = (0..n).map(|p| numbers[p * width..][cols.clone()].to_vec()).collect();
    plan.replace(0, site, (0..n).collect(), cols, rows);
}

/// Every sender by three runs of its own: what the receivers read when the sender alone changes and every head is held, then the answer when they read it.
fn one_by_one(name: &str, receivers: &[&str]) {
    let model = common::open(&common::test_data().join("models").join(name));
    let (clean, corrupt) = ids(&model);
    let arch = &model.decoder.arch;
    let all =
        Sites::only((0..arch.n_layers).flat_map(|l| [BlockSite::Z, BlockSite::MlpOut].map(|s| Site::Block(l, s))));
    for way in [PatchDirection::Noise, PatchDirection::Denoise] {
        for hold_mlps in [false, true] {
            let path = PathQuestion { hold_mlps, ..question(receivers, way) };
            let found = ask(&model, (&clean, &corrupt), &path).unwrap();
            let (base_ids, donor_ids) =
                if way == PatchDirection::Noise { (&clean, &corrupt) } else { (&corrupt, &clean) };
            let (base, donor) =
                (run(&model, base_ids, EditPlan::NONE, &all), run(&model, donor_ids, EditPlan::NONE, &all));
            let from = difference(&run(&model, base_ids, EditPlan::NONE, &Sites::None));
            let sign = if way == PatchDirection::Noise { -1.0 } else { 1.0 };
            let reads: Vec<(Site, std::ops::Range<usize>)> = match &path.receivers {
                Receivers::Logits => Vec::new(),
                Receivers::Inputs(addresses) => addresses.iter().map(|a| place(&model.decoder, a).unwrap()).collect(),
            };
            let mut moved = 0;
            for (sender, effect) in found.cells.iter().zip(&found.effects[0]) {
                let mut plan = EditPlan::default();
                let width = arch.n_heads * arch.d_head;
                // Heads of the sender's layer are mixed before its MLP, or beside it.
                let first = if sender.unit.is_some() { sender.layer } else { sender.layer + 1 };
                for l in first..arch.n_layers {
                    copy(&mut plan, Site::Block(l, BlockSite::Z), 0..width, &base);
                    if hold_mlps {
                        copy(&mut plan, Site::Block(l, BlockSite::MlpOut), 0..arch.d_model, &base);
                    }
                }
                let (site, cols) = match sender.unit {
                    Some(h) => (Site::Block(sender.layer, BlockSite::Z), h * arch.d_head..(h + 1) * arch.d_head),
                    None => (Site::Block(sender.layer, BlockSite::MlpOut), 0..arch.d_model),
                };
                copy(&mut plan, site, cols, &donor);
                let second = run(&model, base_ids, &plan, &Sites::only(reads.iter().map(|r| r.0)));
                let answer = if reads.is_empty() {
                    difference(&second)
                } else {
                    let mut plan = EditPlan::default();
                    reads.iter().for_each(|(site, cols)| copy(&mut plan, *site, cols.clone(), &second));
                    difference(&run(&model, base_ids, &plan, &Sites::None))
                };
                let gap = found.clean - found.corrupt;
                let want = sign * (answer - from) / gap;
                let off = (f64::from(*effect) - want).abs() * gap.abs();
                let range = found.clean.abs().max(found.corrupt.abs()).max(1.0);
                assert!(off <= 1e-5 * range, "{name} {} {way:?}: {effect} for {want}", sender.name);
                moved += usize::from(want.abs() * gap.abs() > 1e-6);
            }
            assert!(moved > 0, "{name}: no sender reaches {receivers:?}");
        }
    }
}

#[test]
fn every_sender_is_three_runs_written_out() {
    one_by_one("tiny-gpt2", &["L1.H1.q"]);
    one_by_one("tiny-gpt2", &["L1.H0.v", "L1.H1.k"]);
    one_by_one("tiny-gpt2", &["logits"]);
    one_by_one("tiny-gpt-neox", &["L1.H0.q"]);
    one_by_one("tiny-gpt-neox", &["logits"]);
    one_by_one("tiny-gemma2", &["L1.H0.q", "L1.KV0.v"]);
    one_by_one("tiny-gemma2", &["logits"]);
    one_by_one("tiny-qwen2", &["L1.KV0.k"]);
    one_by_one("tiny-qwen2", &["L1.resid_pre"]);
}

#[test]
fn what_no_receiver_sees_is_nothing_and_receivers_are_checked() {
    let model = common::open(&common::test_data().join("models").join("tiny-gpt2"));
    let (clean, corrupt) = ids(&model);
    let found = ask(&model, (&clean, &corrupt), &question(&["L0.H0.q"], PatchDirection::Noise)).unwrap();
    assert!(found.effects[0].iter().all(|e| *e == 0.0), "nothing writes before the first layer");
    let late = ask(&model, (&clean, &corrupt), &question(&["L1.H0.q"], PatchDirection::Noise)).unwrap();
    let after = late.cells.iter().zip(&late.effects[0]).filter(|(c, _)| c.layer >= 1);
    assert!(after.map(|(_, e)| *e).all(|e| e == 0.0), "what comes behind a receiver tells it nothing");
    let refused = |receivers: &[&str]| {
        format!("{:#}", ask(&model, (&clean, &corrupt), &question(receivers, PatchDirection::Noise)).unwrap_err())
    };
    assert!(refused(&["L9.H0.q"]).contains("the receiver L9.H0.q"), "{}", refused(&["L9.H0.q"]));
    assert!(refused(&["L1.N3"]).contains("accepted: logits, queries"), "{}", refused(&["L1.N3"]));
    assert!(Receivers::parse(&["logits".into(), "L1.H0.q".into()]).is_err());
}

/// Edits say the same as path patching where there is one head between: all of a head's inputs from the receivers' names.
#[test]
fn a_head_as_receiver_is_its_query_key_and_value() {
    let model = common::open(&common::test_data().join("models").join("tiny-gemma2"));
    let (clean, corrupt) = ids(&model);
    let whole = ask(&model, (&clean, &corrupt), &question(&["L1.H0"], PatchDirection::Noise)).unwrap();
    let parts = ask(&model, (&clean, &corrupt), &question(&["L1.H0.q", "L1.KV0.k", "L1.KV0.v"], PatchDirection::Noise))
        .unwrap();
    assert_eq!(whole.effects, parts.effects);
    let address = Address::unit(1, Part::Query(0));
    let _: Edit = format!("{address}=0").parse().unwrap();
    assert_eq!(model.encode("a", Bos::Auto).is_err(), model.text.is_none());
}

/// With heads, MLPs and norms held nothing but the sender's own output reaches the logits: its direct effect's change, by linearity exactly.
#[test]
fn a_direct_path_with_all_held_is_the_change_of_direct_effects() {
    for name in ["tiny-gpt2", "tiny-qwen2", "tiny-gpt-neox"] {
        let model = common::open(&common::test_data().join("models").join(name));
        let (clean, corrupt) = ids(&model);
        let path = PathQuestion { hold_mlps: true, hold_norms: true, ..question(&["logits"], PatchDirection::Noise) };
        let found = ask(&model, (&clean, &corrupt), &path).unwrap();
        let sites = |model: &Model| {
            let mut sites = model.decoder.direct_sites();
            sites.extend(
                (0..model.decoder.arch.n_layers)
                    .flat_map(|l| [BlockSite::Result, BlockSite::MlpOut].map(|s| Site::Block(l, s))),
            );
            sites.insert(Site::LnFinalScale);
            Sites::Only(sites)
        };
        let (of_clean, of_corrupt) = (
            run(&model, &clean, EditPlan::NONE, &sites(&model)),
            run(&model, &corrupt, EditPlan::NONE, &sites(&model)),
        );
        let last = clean.len() - 1;
        let arch = &model.decoder.arch;
        // Only the last position is normed where its logits alone are asked for.
        let scale = of_clean.row(Site::LnFinalScale, 0).unwrap()[0];
        let weight = |id: u32| -> Vec<f32> {
            let row = model.decoder.unembed.weight.narrow(0, id as usize, 1).unwrap();
            row.flatten_all().unwrap().to_vec1().unwrap()
        };
        let (plus, minus) = (weight(TARGET.0), weight(TARGET.1));
        let gamma: Vec<f32> = model.decoder.ln_final.weight.to_vec1().unwrap();
        let centred = model.decoder.ln_final.bias.is_some();
        for (sender, effect) in found.cells.iter().zip(&found.effects[0]) {
            let written = |run: &Trace| -> Vec<f32> {
                match sender.unit {
                    Some(h) => {
                        let all = run.row(Site::Block(sender.layer, BlockSite::Result), last).unwrap();
                        all[h * arch.d_model..(h + 1) * arch.d_model].to_vec()
                    }
                    None => run.row(Site::Block(sender.layer, BlockSite::MlpOut), last).unwrap(),
                }
            };
            let (before, after) = (written(&of_clean), written(&of_corrupt));
            let change: Vec<f64> = before.iter().zip(&after).map(|(b, a)| f64::from(a - b)).collect();
            let mean = if centred { change.iter().sum::<f64>() / change.len() as f64 } else { 0.0 };
            let read = |i: usize| f64::from(plus[i] - minus[i]) * f64::from(gamma[i]) / f64::from(scale);
            let direct: f64 = change.iter().enumerate().map(|(i, x)| (x - mean) * read(i)).sum();
            let got = -f64::from(*effect) * (found.clean - found.corrupt);
            assert!((got - direct).abs() < 1e-4, "{name} {}: {got} for {direct}", sender.name);
        }
    }
}
