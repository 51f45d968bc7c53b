//! Activation patching: beside one forward pass for every cell, beside published numbers of the built-in model, and what holds on random models.

mod common;
mod program;
mod random_models;

use mechscope::address::Edit;
use mechscope::analysis::patch::{
    AnswerMetric, EffectEstimate, PatchAnswer, PatchCells, PatchDirection, PatchQuestion, PatchSite, PromptPair,
};
use mechscope::analysis::target::Target;
use mechscope::model::Model;
use mechscope::model::edit::EditPlan;
use mechscope::model::forward::Logits;
use mechscope::model::site::{BlockSite, Site, Sites};
use mechscope::model::text::Bos;
use mechscope::model::trace::Trace;
use random_models::{Recipe, families, recipes, runner};

/// Sites with their names in a run, patterns aside.
const HOOKS: [(PatchSite, BlockSite); 10] = [
    (PatchSite::ResidPre, BlockSite::ResidPre),
    (PatchSite::ResidMid, BlockSite::ResidMid),
    (PatchSite::ResidPost, BlockSite::ResidPost),
    (PatchSite::AttnOut, BlockSite::AttnOut),
    (PatchSite::MlpOut, BlockSite::MlpOut),
    (PatchSite::Z, BlockSite::Z),
    (PatchSite::Q, BlockSite::Q),
    (PatchSite::K, BlockSite::K),
    (PatchSite::V, BlockSite::V),
    (PatchSite::Neuron, BlockSite::MlpPost),
];

fn question(site: PatchSite) -> PatchQuestion {
    let (by, way, metric) = (None, PatchDirection::Denoise, AnswerMetric::LogitDifference);
    PatchQuestion {
        site,
        by,
        way,
        metric,
        layer: (site == PatchSite::Neuron).then_some(0),
        at: None,
        approx: vec![EffectEstimate::Exact],
    }
}

fn ask(model: &Model, ids: (&[u32], &[u32]), target: Target, patch: &PatchQuestion) -> anyhow::Result<PatchAnswer> {
    let pair = PromptPair::new(model, ids, ids.0.len() - 1, patch, &mut |_, _| Ok(()))?;
    pair.patch(target, patch, &mut |_, _| Ok(()))
}

/// Two prompts with as many tokens.
fn pair(model: &Model) -> (&'static str, &'static str) {
    let clean = "hello world, this is a small text";
    let others = [
        "hello there, this is a small text",
        "hello world, that is a small text",
        "hello earth, this is a small text",
        "hello world, here is a small text",
        "hello world, this was a small text",
        "hello world, this is a large text",
    ];
    let long = |text: &str| model.encode(text, Bos::Auto).unwrap().ids().len();
    let same = |other: &&str| long(other) == long(clean);
    (clean, others.into_iter().find(same).expect("one of them has as many tokens"))
}

/// Every cell of every site, in both directions, against an edited run of its own that starts at the tokens.
fn one_forward_a_cell(model: &Model, prompts: (&str, &str)) {
    let ids = |text: &str| model.encode(text, Bos::Auto).unwrap().ids();
    let (clean, corrupt) = (ids(prompts.0), ids(prompts.1));
    let target = Target::new(7, Some(11));
    let difference = |run: &Trace| {
        let logits = run.last_logits(0).unwrap();
        f64::from(logits[7]) - f64::from(logits[11])
    };
    let mut checked = 0;
    for site in PatchSite::ALL.into_iter().filter(|s| *s != PatchSite::ResidMid || !model.decoder.arch.parallel) {
        let heads = !matches!(
            site,
            PatchSite::ResidPre | PatchSite::ResidMid | PatchSite::ResidPost | PatchSite::AttnOut | PatchSite::MlpOut
        );
        for (by, way) in [
            (None, PatchDirection::Denoise),
            (None, PatchDirection::Noise),
            (Some(PatchCells::Both), PatchDirection::Denoise),
        ] {
            if by.is_some() && !heads {
                continue;
            }
            let at = (site == PatchSite::Neuron && by.is_some()).then_some(-1);
            let patched =
                ask(model, (&clean, &corrupt), target, &PatchQuestion { by, way, at, ..question(site) }).unwrap();
            let gap = patched.clean - patched.corrupt;
            let (base, donor, from, sign) = match way {
                PatchDirection::Denoise => (&corrupt, prompts.0, patched.corrupt, 1.0),
                PatchDirection::Noise => (&clean, prompts.1, patched.clean, -1.0),
            };
            for (cell, effect) in patched.cells.iter().zip(&patched.effects[0]) {
                let address = cell.address.clone().unwrap();
                let edit: Edit = format!("{address}=from:{donor:?}").parse().unwrap();
                let (_, edited) = model.intervene(base, &[edit], Bos::Auto, Logits::Last).unwrap();
                let want = sign * (difference(&edited) - from) / gap;
                // In units of the metric: a part of the gap may be as small as one likes.
                let off = (f64::from(*effect) - want).abs() * gap.abs();
                let range = patched.clean.abs().max(patched.corrupt.abs()).max(1.0);
                assert!(off <= 1e-5 * range, "{} {address} {way:?}: {effect} for {want}", model.source);
                checked += 1;
            }
        }
    }
    assert!(checked > 300, "{checked} cells");
}

#[test]
fn every_cell_is_an_edited_run() {
    for name in ["tiny-gpt2", "tiny-gemma2", "tiny-gpt-neox", "tiny-qwen2"] {
        let model = common::open(&common::test_data().join("models").join(name));
        one_forward_a_cell(&model, pair(&model));
    }
}

/// What was measured on the built-in model before.
#[test]
fn the_built_in_model_looks_the_state_up_and_moves_it() {
    let clean = "The capital of the state containing Dallas is";
    let corrupt = "The capital of the state containing Seattle is";
    let effect = |site: &str, address: &str| -> f64 {
        let args = ["patch", "-p", clean, "--corrupt", corrupt, "-t", " Austin", "-c", " Olympia", "--format", "json"];
        let report = program::mechscope(&[&args[..], &["--site", site]].concat()).json();
        assert!((report["metric_clean"].as_f64().unwrap() - 7.6429).abs() < 1e-3);
        assert!((report["metric_corrupt"].as_f64().unwrap() + 7.9699).abs() < 1e-3);
        let cells = report["cells"].as_array().unwrap();
        let cell = cells.iter().find(|c| c["address"] == address).unwrap_or_else(|| panic!("{address}"));
        cell["effect"].as_f64().unwrap()
    };
    let published = [
        ("resid_pre", "L0.resid_pre@7", 1.000),
        ("resid_pre", "L1.resid_pre@7", 0.998),
        ("resid_pre", "L2.resid_pre@7", 0.997),
        ("resid_pre", "L3.resid_pre@7", -0.003),
        ("resid_pre", "L3.resid_pre@8", 1.006),
        ("mlp_out", "L0.mlp@7", 0.693),
        ("mlp_out", "L1.mlp@7", 0.943),
        ("attn_out", "L2.attn@8", 1.003),
        ("mlp_out", "L2.mlp@8", 0.316),
        ("mlp_out", "L3.mlp@8", 0.234),
        ("z", "L2.H0", 0.209),
        ("z", "L2.H1", 0.379),
        ("z", "L2.H2", 0.165),
        ("z", "L2.H3", 0.065),
    ];
    for (site, address, want) in published {
        let found = effect(site, address);
        assert!((found - want).abs() <= 1e-3, "{site} {address}: {found} for {want}");
    }
}

/// Prompts that differ in the second position alone, or in the only one there is.
fn random_pair(recipe: &Recipe, model: &Model) -> (Vec<u32>, Vec<u32>, usize) {
    let at = usize::from(recipe.prompt.len() > 1);
    let mut other = recipe.prompt.clone();
    other[at] = (other[at] + 1) % model.decoder.arch.d_vocab as u32;
    (recipe.prompt.clone(), other, at)
}

#[test]
fn on_random_models_cells_are_what_they_must_be() {
    for family in families() {
        let result = runner(10).run(&recipes(family), |recipe: Recipe| {
            let model = recipe.model();
            let (clean, corrupt, differs) = random_pair(&recipe, &model);
            let (target, last) = (Target::new(3, Some(1)), clean.len() - 1);
            let grid = |patch: &PatchQuestion| ask(&model, (&clean, &corrupt), target, patch);
            let Ok(before) = grid(&question(PatchSite::ResidPre)) else { return Ok(()) };
            // Differences of logits, so that a small gap does not blow rounding up.
            let slack =
                2e-5 * before.clean.abs().max(before.corrupt.abs()).max(1.0) / (before.clean - before.corrupt).abs();
            let near = |found: f32, want: f64| (f64::from(found) - want).abs() <= slack;
            for way in [PatchDirection::Denoise, PatchDirection::Noise] {
                let of = |site, by| grid(&PatchQuestion { way, by, ..question(site) }).unwrap();
                for (cell, effect) in before.cells.iter().zip(&of(PatchSite::ResidPre, None).effects[0]) {
                    let p = cell.position.unwrap();
                    assert!(p >= differs || *effect == 0.0, "both prompts are the same before {differs}");
                    assert!(
                        cell.layer > 0 || p != differs || near(*effect, 1.0),
                        "{way:?}: all that differs is patched"
                    );
                }
                let after = of(PatchSite::ResidPost, None);
                let end = model.decoder.arch.n_layers - 1;
                for (cell, effect) in after.cells.iter().zip(&after.effects[0]).filter(|(c, _)| c.layer == end) {
                    let want = if cell.position == Some(last) { 1.0 } else { 0.0 };
                    assert!(near(*effect, want), "{way:?} {}: {effect} for {want}", cell.name);
                    assert!(want == 1.0 || *effect == 0.0);
                }
                // Attention writes what its heads mix.
                let (out, z) = (of(PatchSite::AttnOut, None), of(PatchSite::Z, Some(PatchCells::Position)));
                for (a, b) in out.effects[0].iter().zip(&z.effects[0]) {
                    assert!(near(*a, f64::from(*b)), "{way:?}: {a} and {b}");
                }
            }
            Ok(())
        });
        result.unwrap_or_else(|e| panic!("{family}: {e}"));
    }
}

/// The estimate is the slope of the metric on the way from the one run's values to the other's.
#[test]
fn attribution_patching_is_the_slope_of_patching() {
    const STEP: f32 = 0.04;
    for name in ["tiny-gpt2", "tiny-llama", "tiny-gemma2", "tiny-gpt-neox", "tiny-qwen2"] {
        let model = common::open(&common::test_data().join("models").join(name));
        let (clean, corrupt) = pair(&model);
        let ids = |text: &str| model.encode(text, Bos::Auto).unwrap().ids();
        let (clean, corrupt) = (ids(clean), ids(corrupt));
        let logits = |run: &Trace| run.last_logits(0).unwrap();
        for metric in [AnswerMetric::LogitDifference, AnswerMetric::LogProbability] {
            let value = |logits: &[f32]| match metric {
                AnswerMetric::LogitDifference => f64::from(logits[7]) - f64::from(logits[11]),
                _ => f64::from(logits[7]) - logits.iter().map(|x| f64::from(*x).exp()).sum::<f64>().ln(),
            };
            for (site, hook) in
                HOOKS.into_iter().filter(|(s, _)| *s != PatchSite::ResidMid || !model.decoder.arch.parallel)
            {
                let by = Some(PatchCells::Position);
                let patch = PatchQuestion { metric, by, approx: vec![EffectEstimate::Atp], ..question(site) };
                let found = ask(&model, (&clean, &corrupt), Target::new(7, Some(11)), &patch).unwrap();
                let all = Sites::only((0..model.decoder.arch.n_layers).map(|l| Site::Block(l, hook)));
                let [from, to] = [&corrupt, &clean].map(|ids| model.run(ids, &all, Logits::Last).unwrap());
                let gap = found.clean - found.corrupt;
                let size = found.effects[0].iter().fold(0f32, |m, x| m.max(x.abs()));
                for (cell, effect) in found.cells.iter().zip(&found.effects[0]) {
                    let (place, p) = (Site::Block(cell.layer, hook), cell.position.unwrap());
                    let (old, new) = (from.row(place, p).unwrap(), to.row(place, p).unwrap());
                    let at = |step: f32| {
                        let row: Vec<f32> = old.iter().zip(&new).map(|(a, b)| a + step * (b - a)).collect();
                        let mut plan = EditPlan::default();
                        plan.replace(0, place, vec![p], 0..row.len(), vec![row]);
                        value(&logits(
                            &model.run_copies(&from, 1, &plan, &Sites::None, Logits::Last, &mut |_, _| Ok(())).unwrap(),
                        ))
                    };
                    // Differences of two widths, so that the third derivative drops out.
                    let difference = |step: f32| (at(step) - at(-step)) / f64::from(2.0 * step);
                    let slope = ((4.0 * difference(STEP / 2.0) - difference(STEP)) / 3.0 / gap) as f32;
                    assert!((slope - effect).abs() <= 0.01 * size + 2e-3, "{name} {}: {effect} for {slope}", cell.name);
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_asked_is_refused_with_a_reason() {
    let model = common::open(&common::test_data().join("models/tiny-llama"));
    let target = Target::new(3, Some(1));
    let said = |ids: (&[u32], &[u32]), target, patch: &PatchQuestion| {
        format!("{:#}", ask(&model, ids, target, patch).unwrap_err())
    };
    let pair: (&[u32], &[u32]) = (&[1, 2, 3], &[1, 5, 3]);
    let z = question(PatchSite::Z);
    let empty = PromptPair::new(&model, (&[], &[]), 0, &z, &mut |_, _| Ok(())).err().unwrap();
    assert!(format!("{empty:#}").contains("no tokens"));
    assert!(said((&[1, 2], &[1, 2, 3]), target, &z).contains("2 tokens and the corrupt one 3"));
    assert!(said((&[1, 2], &[1, 2]), target, &z).contains("no gap"));
    assert!(said(pair, Target::new(3, None), &z).contains("contrast"));
    assert!(
        said(pair, target, &PatchQuestion { by: Some(PatchCells::Head), ..question(PatchSite::ResidPre) })
            .contains("no heads")
    );
    assert!(said(pair, target, &PatchQuestion { layer: None, ..question(PatchSite::Neuron) }).contains("--layer"));
    assert!(said(pair, target, &PatchQuestion { layer: Some(99), ..z.clone() }).contains("layers 0..="));
    assert!(
        said(pair, target, &PatchQuestion { approx: vec![EffectEstimate::Relp], ..question(PatchSite::Q) })
            .contains("atp")
    );
    let kl =
        PatchQuestion { metric: AnswerMetric::Kl, way: PatchDirection::Noise, approx: vec![EffectEstimate::Atp], ..z };
    assert!(said(pair, target, &kl).contains("no slope"));
}

#[test]
fn a_set_is_averaged_and_says_its_error() {
    let args = ["patch", "--set", "builtin:opposites", "--site", "z", "--format", "json", "--rows"];
    let report = program::mechscope(&args).json();
    let (cells, pairs) = (report["cells"].as_array().unwrap(), report["pairs"].as_array().unwrap());
    assert_eq!((cells.len(), pairs.len()), (16, 320));
    for cell in cells {
        let own: Vec<f64> =
            pairs.iter().filter(|p| p["address"] == cell["address"]).map(|p| p["effect"].as_f64().unwrap()).collect();
        let mean = own.iter().sum::<f64>() / own.len() as f64;
        let spread = own.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 19.0;
        assert_eq!(cell["n"].as_i64(), Some(20));
        assert!((cell["effect"].as_f64().unwrap() - mean).abs() < 1e-5, "{cell}");
        assert!((cell["effect_se"].as_f64().unwrap() - (spread / 20.0).sqrt()).abs() < 1e-5, "{cell}");
    }
}

/// A file with this text, for the length of a test.
fn set_file(name: &str, lines: &[&str]) -> std::path::PathBuf {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, lines.join("\n")).unwrap();
    path
}

const DALLAS: &str = r#"{"id":"tx","clean":"The capital of the state containing Dallas is","corrupt":"The capital of the state containing Seattle is","target":" Austin","contrast":" Olympia","positions":{"city":" Dallas","state":[4,5],"end":-1}}"#;
const FORMULA: &str = r#"{"id":"same","clean":"The capital of the state containing Dallas is","corrupt":"The capital of the state containing Dallas is","target":" Austin","contrast":" Olympia","positions":{"city":7}}"#;

#[test]
fn pairs_without_a_gap_are_left_out_and_told() {
    let file = set_file("no_gap.jsonl", &[DALLAS, FORMULA]);
    let both = program::mechscope(&["patch", "--set", program::arg(&file), "--format", "json"]).json();
    assert_eq!((both["pairs"].as_i64(), both["left_out"][0]["pair"].as_str()), (Some(1), Some("same")));
    let one =
        program::mechscope(&["patch", "--set", program::arg(&set_file("gap.jsonl", &[DALLAS])), "--format", "json"]);
    assert_eq!(both["cells"], one.json()["cells"]);
    let none = set_file("only_no_gap.jsonl", &[FORMULA]);
    let failed = program::mechscope(&["patch", "--set", program::arg(&none)]);
    assert!(failed.code == Some(1) && failed.err.contains("no gap"), "{}", failed.err);
}

#[test]
fn every_pair_is_checked_before_anything_runs() {
    let alone = r#"{"id":"alone","clean":"The capital of Texas is"}"#;
    let longer = r#"{"id":"longer","clean":"The capital of Texas is","corrupt":"The capital is"}"#;
    let file = set_file("wrong.jsonl", &[DALLAS, alone, longer]);
    let failed = program::mechscope(&["patch", "--set", program::arg(&file)]);
    for word in ["2 of 3 pairs", "alone: \"corrupt\" is missing", "longer: the clean prompt has"] {
        assert!(failed.err.contains(word), "{word}: {}", failed.err);
    }
    let short = r#"{"id":"short","clean":"The capital of Texas is","corrupt":"The capital of Ohio is","target":" Austin","contrast":" Columbus","positions":{"city":" Texas"}}"#;
    let mixed = set_file("lengths.jsonl", &[DALLAS, short]);
    let failed = program::mechscope(&["patch", "--set", program::arg(&mixed)]);
    assert!(failed.err.contains("tx has 9 tokens and short has"), "{}", failed.err);
}

/// A place that the set names is where each pair has it, so that prompts of different lengths are averaged.
#[test]
fn a_named_place_is_patched_wherever_it_is() {
    let short = DALLAS.replace("of the state", "of state").replace("tx", "short");
    let file = set_file("places.jsonl", &[DALLAS, &short]);
    let report = |more: &[&str]| {
        let args = ["patch", "--set", program::arg(&file), "--format", "json"];
        program::mechscope(&[&args[..], more].concat())
    };
    let named = report(&["--at", "city", "--rows"]).json();
    assert_eq!(named["cells"][1]["address"].as_str(), Some("L1.resid_pre@city"), "{named}");
    let pairs = named["pairs"].as_array().unwrap();
    let of = |pair: &str, address: &str| {
        let row = pairs.iter().find(|row| row["pair"] == pair && row["address"] == address);
        row.unwrap_or_else(|| panic!("{pair} {address}"))["effect"].as_f64().unwrap()
    };
    let mean = f64::midpoint(of("tx", "L1.resid_pre@7"), of("short", "L1.resid_pre@6"));
    assert!((named["cells"][1]["effect"].as_f64().unwrap() - mean).abs() < 1e-5);
    let wrong = report(&["--at", "country"]);
    assert!(wrong.code == Some(1) && wrong.err.contains("one of city, end, state"), "{}", wrong.err);
}

#[test]
fn standard_input_is_one_prompt() {
    let failed = program::mechscope(&["patch", "-p", "-", "--corrupt", "-"]);
    assert!(failed.code == Some(1) && failed.err.contains("standard input is one prompt"), "{}", failed.err);
}

/// All heads of a layer at a position have one name, whatever their kind and number.
#[test]
fn cells_of_several_units_are_named_with_a_star() {
    let model = common::open(&common::test_data().join("models/tiny-llama"));
    let (target, pair): (_, (&[u32], &[u32])) = (Target::new(3, Some(1)), (&[1, 2, 3], &[1, 5, 3]));
    for (site, name) in [(PatchSite::Z, "L1.H*@2"), (PatchSite::K, "L1.KV*.k@2"), (PatchSite::Neuron, "L1.N*@2")] {
        let patch = PatchQuestion { by: Some(PatchCells::Position), layer: Some(1), ..question(site) };
        let cell = ask(&model, pair, target, &patch).unwrap().cells.pop().unwrap();
        assert_eq!((&*cell.name, cell.address), (name, None));
        assert!(name.parse::<mechscope::address::EditTarget>().is_ok(), "{name} is what edits call it");
    }
}

/// Between two batches of a layer the work that is done is told, so that it can be ended there.
#[test]
fn progress_goes_on_within_a_layer() {
    let model = common::open(&common::test_data().join("models/tiny-llama"));
    let (patch, target) = (question(PatchSite::Neuron), Target::new(3, Some(1)));
    let pair = PromptPair::new(&model, (&[1, 2, 3], &[1, 5, 3]), 2, &patch, &mut |_, _| Ok(())).unwrap();
    let mut told = std::collections::BTreeSet::new();
    let mut step = |done: usize, _: usize| {
        told.insert(done);
        Ok(())
    };
    let n = pair.patch(target, &patch, &mut step).unwrap().cells.len();
    assert!(n > 32 && told.len() > 2, "{told:?} of {n}");
    let ended = pair.patch(target, &patch, &mut |done, _| {
        anyhow::ensure!(done == 0, "ended");
        Ok(())
    });
    assert_eq!(ended.unwrap_err().to_string(), "ended");
}

/// The pairs that travel in the program are pairs for tokenizers of real models.
#[test]
fn pairs_of_words_fit_a_real_tokenizer() {
    for name in ["SmolLM2-135M-Instruct.Q4_1.gguf", "gemma-3-270m-q4_k_m.gguf"] {
        let Some(path) = common::real(name) else { continue };
        for (set, pairs) in [("builtin:capitals", 50), ("builtin:real", 20)] {
            let model = program::arg(&path);
            let args = ["patch", "-m", model, "--set", set, "--site", "z", "--layer", "5", "--format", "json"];
            let report = program::mechscope(&args).json();
            assert_eq!(report["pairs"].as_i64(), Some(pairs));
            assert!(report["cells"].as_array().unwrap().iter().all(|c| c["n"].as_i64() == Some(pairs)), "{report}");
        }
    }
}

/// Grids of TransformerLens 4.3's own `patching`, made by `test_data/make/patching.py`.
#[test]
fn grids_are_those_of_transformer_lens() {
    let mut compared = 0;
    for name in ["tiny-gpt2", "tiny-gpt-neox"] {
        let model = common::open(&common::test_data().join("models").join(name));
        let file = common::test_data().join("patching").join(format!("{name}.json"));
        let theirs: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let ids = |key: &str| -> Vec<u32> {
            theirs[key].as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect()
        };
        let token = |key: &str| u32::try_from(theirs[key].as_u64().unwrap()).unwrap();
        let (clean, corrupt) = (ids("clean"), ids("corrupt"));
        let target = Target::new(token("target"), Some(token("contrast")));
        for (site, grid) in theirs["effects"].as_object().unwrap() {
            let site = PatchSite::ALL.into_iter().find(|s| s.name() == site).unwrap();
            let ours = ask(&model, (&clean, &corrupt), target, &question(site)).unwrap();
            let gap = ours.clean - ours.corrupt;
            assert!((ours.clean - theirs["metric_clean"].as_f64().unwrap()).abs() < 1e-4);
            let rows = grid.as_array().unwrap().iter().flat_map(|row| row.as_array().unwrap());
            let want: Vec<f64> = rows.map(|x| x.as_f64().unwrap()).collect();
            assert_eq!(want.len(), ours.cells.len(), "{name} {}", site.name());
            for ((cell, got), want) in ours.cells.iter().zip(&ours.effects[0]).zip(want) {
                let off = (f64::from(*got) - want).abs() * gap.abs();
                assert!(off < 1e-4, "{name} {} {}: {got} for {want}", site.name(), cell.name);
                compared += 1;
            }
        }
    }
    assert!(compared > 200, "{compared} cells");
}
