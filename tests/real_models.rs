//! Real language models in GGUF files, against what transformers computes from their dequantised weights.
//!
//! `test_data/real/get.sh` fetches the files, into `target/real`; `MECHSCOPE_REAL` names another folder.

mod common;

use candle_core::{Device, Tensor};
use mechscope::analysis::generate::{GenerateSettings, Generated, generate};
use mechscope::model::Model;
use mechscope::model::device::DTypeChoice;
use mechscope::model::forward::Logits;
use mechscope::model::site::{BlockSite, Site, Sites};
use mechscope::model::source::Source;
use mechscope::model::text::Bos;
use std::collections::HashMap;

/// Largest difference, as a share of the largest value of the tensor.
const ALLOWED: f32 = 2e-4;

fn numbers(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// One site of every layer at the last position, in the layers' order.
fn last(trace: &mechscope::model::trace::Trace, n_layers: usize, site: BlockSite) -> Vec<f32> {
    let one = |l| {
        let value = trace.get(Site::Block(l, site)).unwrap();
        // Positions are the second axis of patterns, the first of all else.
        let axis = usize::from(site == BlockSite::Pattern);
        numbers(&value.narrow(axis, trace.n_pos() - 1, 1).unwrap().contiguous().unwrap())
    };
    (0..n_layers).flat_map(one).collect()
}

fn check(what: &str, got: &[f32], want: &Tensor) {
    let want = numbers(want);
    assert_eq!(got.len(), want.len(), "{what}");
    let largest = want.iter().fold(0f32, |m, x| m.max(x.abs()));
    let worst = got.iter().zip(&want).map(|(g, w)| (g - w).abs()).fold(0f32, f32::max);
    eprintln!("{what}: off by {:.1e} of the largest value", worst / largest);
    assert!(worst <= ALLOWED * largest, "{what}: off by {worst}, largest value {largest}");
}

fn agrees(name: &str, gguf: &str, ends: &[u32]) {
    let Some(path) = common::real(gguf) else { return };
    let source = Source::find(path.to_str().unwrap()).unwrap();
    let model = Model::open_source(source, &Device::Cpu, DTypeChoice::F32, Box::new(|_, _| {})).unwrap();
    let folder = common::test_data().join("real");
    let want: HashMap<String, Tensor> =
        candle_core::safetensors::load(folder.join(format!("{name}.safetensors")), &Device::Cpu).unwrap();
    let about: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join(format!("{name}.json"))).unwrap()).unwrap();
    assert_eq!(mechscope::analysis::generate::end_ids(&model), ends, "the tokens that end a text");
    let n_layers = model.decoder.arch.n_layers;
    let prompts = about["prompts"].as_array().unwrap();
    assert!(prompts.len() >= 4);
    for prompt in prompts {
        let name = prompt["name"].as_str().unwrap();
        let ids: Vec<u32> =
            want[&format!("{name}.ids")].to_vec1::<i64>().unwrap().into_iter().map(|id| id as u32).collect();
        if let Some(text) = prompt["prompt"].as_str() {
            assert_eq!(model.encode(text, Bos::Auto).unwrap().ids(), ids, "{name}: {text:?}");
        }
        let sites = [BlockSite::ResidPost, BlockSite::MlpPost, BlockSite::Pattern];
        let all = (0..n_layers).flat_map(|l| sites.map(|site| Site::Block(l, site)));
        let trace = model.run(&ids, &Sites::only(all), Logits::Last).unwrap();
        for (key, site) in ["resid_post", "mlp_post", "pattern"].into_iter().zip(sites) {
            check(&format!("{name}.{key}"), &last(&trace, n_layers, site), &want[&format!("{name}.{key}")]);
        }
        let logits = trace.last_logits(0).unwrap();
        check(&format!("{name}.logits"), &logits, &want[&format!("{name}.logits")]);
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
        let top: Vec<usize> =
            prompt["top"].as_array().unwrap().iter().map(|t| t[0].as_u64().unwrap() as usize).collect();
        assert_eq!(order[..top.len()], top, "{name}");
    }
}

/// Whether a model writes on as transformers does, greedily, token by token with its log-probability.
fn writes_on(name: &str, gguf: &str) {
    let Some(path) = common::real(gguf) else { return };
    let source = Source::find(path.to_str().unwrap()).unwrap();
    let model = Model::open_source(source, &Device::Cpu, DTypeChoice::F32, Box::new(|_, _| {})).unwrap();
    let folder = common::test_data().join("real");
    let inputs: HashMap<String, Tensor> =
        candle_core::safetensors::load(folder.join(format!("{name}.safetensors")), &Device::Cpu).unwrap();
    let all: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("generated.json")).unwrap()).unwrap();
    let prompts = all[name].as_array().unwrap();
    assert!(prompts.len() >= 3);
    for prompt in prompts {
        let key = format!("{}.ids", prompt["prompt"].as_str().unwrap());
        let ids: Vec<u32> = inputs[&key].to_vec1::<i64>().unwrap().into_iter().map(|id| id as u32).collect();
        let want: Vec<u64> = prompt["generated"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
        let settings = GenerateSettings { count: want.len(), ..GenerateSettings::default() };
        let mut got = Vec::new();
        let mut each = |token: &Generated| {
            got.push((u64::from(token.id), token.logprob));
            Ok(true)
        };
        generate(&model, &ids, &[], Bos::Never, &settings, &mut |_, _| Ok(()), &mut each).unwrap();
        assert_eq!(got.iter().map(|token| token.0).collect::<Vec<_>>(), want, "{name}: {key}");
        for ((_, got), want) in got.iter().zip(prompt["logprobs"].as_array().unwrap()) {
            let off = (f64::from(*got) - want.as_f64().unwrap()).abs();
            assert!(off < 1e-3, "{name}: {key}: a log-probability is off by {off}");
        }
    }
}

#[test]
fn real_models_write_on_as_transformers_does() {
    writes_on("smollm2-135m", "SmolLM2-135M-Instruct.Q4_1.gguf");
    writes_on("gemma-3-270m", "gemma-3-270m-q4_k_m.gguf");
}

#[test]
fn smollm2_equals_transformers() {
    agrees("smollm2-135m", "SmolLM2-135M-Instruct.Q4_1.gguf", &[2]);
}

#[test]
fn gemma3_equals_transformers_within_and_beyond_its_windows() {
    agrees("gemma-3-270m", "gemma-3-270m-q4_k_m.gguf", &[1]);
}
