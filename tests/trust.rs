//! Predictions beside interventions: what is measured is what interventions measure, and how well predictions agree on a real model.

mod common;
mod program;
mod random_models;

use mechscope::address::{Component, Edit, Part};
use mechscope::analysis::target::Target;
use mechscope::analysis::trust::{Ablation, TargetTrial, TestedPrompt, Trial, UnitKind, to_explain};
use mechscope::model::Model;
use mechscope::model::device::{DTypeChoice, DeviceChoice};
use mechscope::model::edit::Passes;
use mechscope::model::forward::Logits;
use mechscope::model::open::Options;
use mechscope::model::site::Sites;
use mechscope::model::text::Bos;
use mechscope::replacement::Gate;
use mechscope::replacement::circuit::{Circuit, Objective};
use random_models::{Recipe, families, recipes, runner};

fn open(name: &str) -> Model {
    let options = Options { device: DeviceChoice::Cpu, dtype: DTypeChoice::F32, accept: &[] };
    Model::open(name, options, Box::new(|_, _| {})).unwrap()
}

fn everything(against: &[Ablation]) -> Trial {
    Trial { kinds: UnitKind::ALL.to_vec(), against: against.to_vec(), neurons: 12 }
}

fn value(logits: &[f32], target: &Target) -> f64 {
    let mean = || logits.iter().map(|x| f64::from(*x)).sum::<f64>() / logits.len() as f64;
    f64::from(logits[target.token as usize]) - target.contrast.map_or_else(mean, |c| f64::from(logits[c as usize]))
}

fn tried(model: &Model, ids: &[u32], target: Target, trial: &Trial) -> TargetTrial {
    let bench = TestedPrompt::new(model, ids, ids.len() - 1).unwrap();
    bench.test(&[target], trial, &mut |_, _| Ok(())).unwrap().remove(0)
}

#[test]
fn what_is_measured_is_what_an_intervention_measures() {
    let model = open("hello");
    let ids = model.encode("The capital of the state containing Dallas is", Bos::Auto).unwrap().ids();
    let token = |text| model.text().unwrap().token_id(text).unwrap();
    for contrast in [None, Some(token(" Olympia"))] {
        let target = Target::new(token(" Austin"), contrast);
        let tried = tried(&model, &ids, target, &everything(&[Ablation::Zero]));
        let arch = &model.decoder.arch;
        assert_eq!(tried.effects.len(), arch.n_layers * (arch.n_heads + ids.len() - 1) + 12);
        for effect in &tried.effects {
            let edit: Edit = format!("{}=0", effect.unit).parse().unwrap();
            let (before, after) = model.intervene(&ids, &[edit], Bos::Auto, Logits::Last).unwrap();
            let lost = |run: &mechscope::model::trace::Trace| value(&run.last_logits(0).unwrap(), &target);
            let want = lost(&before) - lost(&after);
            let found = f64::from(effect.measured.unwrap());
            assert!((found - want).abs() < 1e-5 * want.abs().max(1.0) * 4.0, "{}: {found} for {want}", effect.unit);
        }
    }
}

#[test]
fn a_mean_is_that_of_the_positions_but_the_first() {
    let model = open("hello");
    let ids = model.encode("The capital of the state containing Dallas is", Bos::Auto).unwrap().ids();
    let target = Target::new(model.text().unwrap().token_id(" Austin").unwrap(), None);
    let tried = tried(&model, &ids, target, &everything(&[Ablation::MeanButFirst]));
    for effect in tried.effects.iter().filter(|e| e.kind == UnitKind::Neuron) {
        let (site, cols) = mechscope::model::edit::place(&model.decoder, &effect.unit).unwrap();
        let run = model.run(&ids, &Sites::only([site]), Logits::Last).unwrap();
        let activations: Vec<f32> = (1..ids.len()).map(|p| run.row(site, p).unwrap()[cols.start]).collect();
        let mean = activations.iter().map(|x| f64::from(*x)).sum::<f64>() / activations.len() as f64;
        let edit: Edit = format!("{}={}", effect.unit, mean as f32).parse().unwrap();
        let (before, after) = model.intervene(&ids, &[edit], Bos::Auto, Logits::Last).unwrap();
        let lost = |run: &mechscope::model::trace::Trace| value(&run.last_logits(0).unwrap(), &target);
        let want = lost(&before) - lost(&after);
        let found = f64::from(effect.measured.unwrap());
        assert!((found - want).abs() < 4e-5 * want.abs().max(1.0), "{}: {found} for {want}", effect.unit);
    }
}

#[test]
fn trials_repeat_themselves_stop_when_told_and_do_all_targets_at_once() {
    let model = open("hello");
    let ids = model.encode("Le contraire de petit est", Bos::Auto).unwrap().ids();
    let bench = TestedPrompt::new(&model, &ids, ids.len() - 1).unwrap();
    let single = bench.most_probable().unwrap();
    let both = [single, Target { contrast: Some(single.token + 1), ..single }];
    let trial = everything(&[Ablation::Zero, Ablation::MeanButFirst]);
    let run = || bench.test(&both, &trial, &mut |_, _| Ok(())).unwrap();
    let numbers = |tried: &[TargetTrial]| -> Vec<(String, u32)> {
        let all = tried.iter().flat_map(|t| &t.effects);
        all.map(|e| (e.unit.to_string(), e.measured.unwrap().to_bits())).collect()
    };
    let first = run();
    assert_eq!(numbers(&first), numbers(&run()));
    let stopped = bench.test(&both, &trial, &mut |done, _| {
        anyhow::ensure!(done < 20, "cancelled");
        Ok(())
    });
    assert!(stopped.unwrap_err().to_string().contains("cancelled"));
    // Company changes nothing but rounding.
    let alone = tried(&model, &ids, both[1], &trial);
    for (a, b) in alone.effects.iter().zip(&first[1].effects) {
        assert_eq!((&a.unit, a.against), (&b.unit, b.against));
        assert!((a.measured.unwrap() - b.measured.unwrap()).abs() < 1e-4, "{}", a.unit);
    }
}

/// Culprits write onto what is measured: without a contrast that is the logit less the mean logit.
#[test]
fn culprits_change_what_is_measured() {
    let model = open("hello");
    let decoder = &model.decoder;
    let ids = model.encode("The capital of the state containing Dallas is", Bos::Auto).unwrap().ids();
    let token = |text| model.text().unwrap().token_id(text).unwrap();
    let (austin, last) = (token(" Austin"), ids.len() - 1);
    let run = model.run(&ids, &Sites::Only(decoder.direct_sites()), Logits::Last).unwrap();
    for target in [Target::new(austin, None), Target::new(austin, Some(token(" Olympia")))] {
        let bench = TestedPrompt::new(&model, &ids, last).unwrap();
        let tried = bench.test(&[target], &everything(&[Ablation::Zero]), &mut |_, _| Ok(())).unwrap().remove(0);
        // The same as a sum over the vocabulary.
        let mut weights: Vec<(u32, f32)> = target.weights().collect();
        if target.contrast.is_none() {
            let d_vocab = decoder.arch.d_vocab as u32;
            weights.extend((0..d_vocab).map(|id| (id, -1.0 / d_vocab as f32)));
        }
        let wrote = decoder.direct(&run, last, &weights, false).unwrap();
        assert!((wrote.total - tried.value).abs() < 1e-3, "{} for {}", wrote.total, tried.value);
        let missed = bench.explain(target, to_explain(&tried.effects, 0), &mut |_, _| Ok(())).unwrap();
        let mut named = 0;
        for culprit in missed.iter().filter_map(|m| m.culprit.as_ref()) {
            let want = match culprit.unit.place {
                Component::Unit { layer, part: Part::Head(h) } => wrote.layers[layer].heads[h],
                _ => wrote.layers[culprit.unit.layer().unwrap()].mlp,
            };
            assert!((culprit.before - want).abs() < 1e-3, "{}: {} for {want}", culprit.unit, culprit.before);
            named += 1;
        }
        assert!(named > 3, "{named} culprits");
    }
}

#[test]
fn what_both_totals_differ_by_is_split_without_remainder() {
    for family in families() {
        let result = runner(12).run(&recipes(family), |recipe: Recipe| {
            let model = recipe.model();
            let sites = Sites::Only(Circuit::sites(&model.decoder));
            let trace = model.run(&recipe.prompt, &sites, Logits::Last).unwrap();
            let objective = Objective { weights: vec![(3, 1.0), (1, -1.0)], position: trace.n_pos() - 1 };
            let (passes, step) = (Passes::default(), &mut |_: usize, _: usize| Ok(()));
            let circuit = Circuit::new(&model.decoder, &trace, &objective, Gate::Half, &passes, step).unwrap();
            let (totals, split) = (circuit.totals(true).unwrap(), circuit.split(true, step).unwrap());
            assert_eq!(totals.len(), split.len());
            for (total, split) in totals.iter().zip(&split) {
                assert_eq!(total.unit, split.unit);
                let parts = [split.looks, split.norms, split.gates];
                let size = parts.iter().map(|x| x.abs()).sum::<f32>() + total.writes.abs() + total.counts.abs();
                let left = total.counts - total.writes - parts.iter().sum::<f32>();
                assert!(left.abs() <= 1e-5 * size + 1e-6, "{:?}: {left} of {size}", total.unit);
            }
            // What the last layer's MLP writes goes through the final norm alone.
            let last = model.decoder.arch.n_layers - 1;
            let at = trace.n_pos() - 1;
            let own = mechscope::replacement::circuit::CircuitNode::Mlp { layer: last, position: at };
            let split = split.iter().find(|s| s.unit == own).unwrap();
            assert_eq!(split.looks, 0.0);
            Ok(())
        });
        result.unwrap_or_else(|e| panic!("{family}: {e}"));
    }
}

/// Rank correlations over all 270 heads and how many of the 20 that matter most are found, against autograd and forward passes in f64.
#[test]
fn on_a_real_model_heads_agree_as_published() {
    let Some(path) = common::real("SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    let model = open(path.to_str().unwrap());
    let published = [
        ("When Mary and John went to the store, John gave a drink to", (0.33, 7), (0.92, 14)),
        ("The Eiffel Tower is located in the city of", (0.55, 9), (0.94, 13)),
    ];
    for (prompt, writes, counts) in published {
        let ids = model.encode(prompt, Bos::Never).unwrap().ids();
        let run = model.run(&ids, &Sites::None, Logits::Last).unwrap();
        let likeliest = mechscope::analysis::next_token::NextToken::new(run.last_logits(0).unwrap()).top(2);
        let target = Target::new(likeliest[0], Some(likeliest[1]));
        let trial = Trial { kinds: vec![UnitKind::Head], against: vec![Ablation::Zero], neurons: 0 };
        let bench = TestedPrompt::new(&model, &ids, ids.len() - 1).unwrap();
        let tried = bench.test(&[target], &trial, &mut |_, _| Ok(())).unwrap().remove(0);
        let found = tried.agreements().remove(0);
        for (name, score, (rank, top)) in [("writes", found.writes, writes), ("counts", found.counts, counts)] {
            let (got, matter) = (score.rank.unwrap(), score.found as i64);
            eprintln!("{prompt}: {name} {got:.3} for {rank}, {matter} of 20 for {top}");
            assert!((got - rank).abs() <= 0.015, "{prompt}: {name} {got} for {rank}");
            assert!((matter - top as i64).abs() <= 1, "{prompt}: {name} found {matter} for {top}");
        }
    }
}

/// A head whose loss another one makes up for, by no longer working against the answer.
#[test]
fn on_a_real_model_the_culprit_is_named() {
    let Some(path) = common::real("SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    let model = open(path.to_str().unwrap());
    let token = |text| model.text().unwrap().token_id(text).unwrap();
    let prompt = "When Mary and John went to the store, John gave a drink to";
    let ids = model.encode(prompt, Bos::Never).unwrap().ids();
    let target = Target::new(token(" Mary"), Some(token(" John")));
    let trial = Trial { kinds: vec![UnitKind::Head], against: vec![Ablation::Zero], neurons: 0 };
    let bench = TestedPrompt::new(&model, &ids, ids.len() - 1).unwrap();
    let tried = bench.test(&[target], &trial, &mut |_, _| Ok(())).unwrap().remove(0);
    let silenced = tried.effects.iter().find(|e| e.unit.to_string() == "L23.H0").unwrap();
    let [writes, counts, measured] = [silenced.writes, silenced.counts, silenced.measured.unwrap()];
    assert!((writes - 1.41).abs() < 0.02 && (counts - 0.14).abs() < 0.02 && (measured - 0.01).abs() < 0.02);
    let missed = bench.explain(target, vec![silenced.clone()], &mut |_, _| Ok(())).unwrap().remove(0);
    let said = missed.sentence();
    assert!(said.contains("L24.H4@13 stops working against it (-1.07 to -0.4"), "{said}");
}

#[test]
fn the_command_says_how_far_to_trust_and_what_misses() {
    let prompt = ["-p", "The capital of the state containing Dallas is", "-t", " Austin", "-c", " Olympia"];
    let ran = program::mechscope(&[&["trust", "--format", "json", "--against", "both"][..], &prompt].concat());
    let report = ran.json();
    let rows = report["agreement"].as_array().unwrap();
    assert_eq!(rows.len(), 6, "three kinds, two ways: {report}");
    let heads = &rows[0];
    assert_eq!((heads["units"].as_str(), heads["n"].as_i64()), (Some("heads"), Some(16)));
    assert!((1..=8).contains(&heads["counts_found"].as_f64().map(|x| x as i64).unwrap()), "{heads}");
    assert!(report["effects"].as_array().unwrap().iter().all(|row| row["measured"].is_number()));
    let set =
        program::mechscope(&["trust", "--set", "builtin:opposites", "--units", "heads", "--rows", "--format", "json"]);
    let report = set.json();
    assert_eq!(report["means"].as_array().unwrap().len(), 2, "single and contrast");
    assert_eq!(report["prompts"].as_array().map(Vec::len), Some(40));
    let why = program::mechscope(&[&["attribute", "--total", "--why", "--format", "json"][..], &prompt].concat());
    let rows = why.json();
    for row in rows["totals"].as_array().unwrap() {
        let of = |name: &str| row[name].as_f64().unwrap();
        let left = of("counts") - of("writes") - of("looks") - of("norms") - of("gates");
        assert!(left.abs() < 1e-4, "{row}");
    }
}
