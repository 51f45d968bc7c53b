//! Features changed with everything else held, against circuit-tracer's interventions on the same models and transcoders:
//! edges, measured. (`verify.rs` has the modes that compute on.)

mod common;

use candle_core::{Device, Tensor};
use common::{open, shared, test_data};
use mechscope::model::Model;
use mechscope::model::dictionary::{Dictionary, WritePoint};
use mechscope::model::forward::Logits;
use mechscope::model::site::{Site, Sites};
use mechscope::replacement::Gate;
use mechscope::replacement::{ReplacementModel, ResidualTarget, SourceBlocks, Write};
use std::path::PathBuf;

/// The third of circuit-tracer's modes: patterns, norms and MLPs held.
const DIRECT: usize = 2;

/// One model with its transcoders and the reference.
struct Case {
    name: String,
    model: Model,
    dictionary: Dictionary,
    ids: Vec<u32>,
    /// Layer, position, feature, activation.
    features: Vec<(usize, usize, usize, f32)>,
    /// `[feature, value, mode, vocab]`
    logits: Tensor,
    base: Vec<f32>,
}

fn cases() -> Vec<Case> {
    let mut found = Vec::new();
    for root in std::iter::once(test_data()).chain(shared()) {
        let Ok(files) = std::fs::read_dir(root.join("circuit-tracer")) else { continue };
        for file in files.flatten().map(|f| f.path()) {
            let stem = file.file_stem().unwrap().to_str().unwrap().to_owned();
            let Some(name) = stem.strip_suffix("-interventions") else { continue };
            if file.extension().is_none_or(|e| e != "safetensors") {
                continue;
            }
            let about = std::fs::read(file.with_file_name(format!("{name}.json"))).unwrap();
            let about: serde_json::Value = serde_json::from_slice(&about).unwrap();
            let graph =
                candle_core::safetensors::load(file.with_file_name(format!("{name}.safetensors")), &Device::Cpu);
            let ids = graph.unwrap()["input_tokens"].to_vec1::<i64>().unwrap();
            let folders = [name, "stories260K-relu512-sparse"].map(|n| root.join("transcoders").join(n));
            let folder: &PathBuf = folders.iter().find(|f| f.is_dir()).unwrap();
            let model = open(&root.join(about["model"].as_str().unwrap()));
            let dictionary = Dictionary::open(folder, &model.decoder).unwrap();
            let reference = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
            let places: Vec<Vec<i64>> = reference["features"].to_vec2().unwrap();
            let activations: Vec<f32> = reference["activation"].to_vec1().unwrap();
            let feature = |(f, a): (&Vec<i64>, &f32)| (f[0] as usize, f[1] as usize, f[2] as usize, *a);
            found.push(Case {
                name: name.to_owned(),
                ids: ids.into_iter().map(|i| i as u32).collect(),
                features: places.iter().zip(&activations).map(feature).collect(),
                logits: reference["logits"].clone(),
                base: reference["base_logits"].to_vec1().unwrap(),
                model,
                dictionary,
            });
        }
    }
    assert!(found.len() >= 3, "reference interventions are missing");
    found
}

impl Case {
    fn want(&self, feature: usize, value: usize, mode: usize) -> Vec<f32> {
        let at = self.logits.get(feature).unwrap().get(value).unwrap().get(mode).unwrap();
        at.to_vec1().unwrap()
    }

    fn assert_close(&self, what: &str, got: &[f32], want: &[f32]) {
        let worst = got.iter().zip(want).map(|(g, w)| (g - w).abs() / (1e-3 * w.abs()).max(1e-4));
        let worst = worst.fold(0f32, f32::max);
        assert!(worst <= 1.0, "{} {what}: {worst} times what is allowed", self.name);
        // A change that could be missed would show nothing.
        let moved = want.iter().zip(&self.base).map(|(w, b)| (w - b).abs()).fold(0f32, f32::max);
        assert!(moved > 1e-3, "{} {what}: the logits move by {moved}", self.name);
    }
}

#[test]
fn activations_are_the_references() {
    for case in cases() {
        let decoder = &case.model.decoder;
        for &(layer, position, feature, activation) in &case.features {
            let sites = Sites::only(case.dictionary.read_sites(layer, decoder.arch.parallel));
            let run = case.model.run(&case.ids, &sites, Logits::Last).unwrap();
            let input = case.dictionary.input(layer, decoder.arch.parallel, &run).unwrap();
            let found = case.dictionary.encode(layer, &input).unwrap();
            let found = found.iter().find(|a| a.position == position && a.feature == feature).unwrap();
            assert!((found.activation - activation).abs() < 1e-4 * activation, "{}: {found:?}", case.name);
        }
    }
}

/// With patterns, norms and MLPs held, a change of a feature moves every logit by its edge times the change.
#[test]
fn held_the_logits_move_by_the_edges() {
    for case in cases() {
        let decoder = &case.model.decoder;
        let trace = case.model.run(&case.ids, &ReplacementModel::sites(decoder), Logits::Last).unwrap();
        let frozen = ReplacementModel::new(decoder, &trace).unwrap();
        let mut writes = Vec::new();
        for (column, &(layer, position, feature, activation)) in case.features.iter().enumerate() {
            for (above, row) in case.dictionary.decoder_rows(layer, feature).unwrap().into_iter().enumerate() {
                let vector = row.into_iter().map(|x| x * activation).collect();
                let vector = match case.dictionary.writes {
                    WritePoint::BeforePostNorm => frozen.written(layer + above, position, vector),
                    WritePoint::Residual => vector,
                };
                writes.push(Write { column, layer: layer + above, position, vector });
            }
        }
        let biases = SourceBlocks::output_biases(&frozen, decoder).unwrap();
        let n = case.features.len();
        let sources = SourceBlocks::new(&frozen, &trace, n, &writes, &biases, None).unwrap();
        let maker = frozen.targets(decoder, &trace, Gate::Half);
        let last = case.ids.len() - 1;
        let vocab = case.base.len() as u32;
        let targets: Vec<ResidualTarget> =
            (0..vocab).map(|v| maker.logits(last, &[(v, 1.0)], false).unwrap()).collect();
        let mut effects = vec![vec![0f32; n]; targets.len()];
        let take = |rows: Vec<(usize, mechscope::replacement::EffectRow)>| {
            rows.into_iter().for_each(|(t, row)| effects[t].copy_from_slice(&row.effects[..n]));
            Ok(())
        };
        frozen.rows(&targets, &sources, take).unwrap();
        let capped = decoder.has_site(Site::LogitsPreSoftcap);
        let before = trace.get(if capped { Site::LogitsPreSoftcap } else { Site::Logits }).unwrap();
        let before: Vec<f32> = before.flatten_all().unwrap().to_vec1().unwrap();
        for f in 0..n {
            for (value, sign) in [(0, -1.0), (1, 1.0)] {
                let after = before.iter().zip(&effects).map(|(b, e)| b + sign * e[f]);
                let cap = |x: f32| decoder.arch.final_softcap.map_or(x, |cap| cap * (x / cap).tanh());
                let got: Vec<f32> = after.map(cap).collect();
                case.assert_close(&format!("feature {f}, value {value}"), &got, &case.want(f, value, DIRECT));
            }
        }
    }
}
