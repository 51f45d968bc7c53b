//! Phi-3 beside its reference models: it is Llama or Mistral with fused projections, so a fused copy of theirs must give their
//! numbers; partial rotation and longrope are checked at the sites they act on.

use crate::{IDS, common, logits, read_config};
use candle_core::{Device, Tensor};
use mechscope::model::forward::Logits;
use mechscope::model::site::{BlockSite, Site, Sites};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use tempfile::TempDir;

/// A Phi-3 folder made of a Llama-like model.
fn fused(model: &str, change: impl FnOnce(&mut Map<String, Value>)) -> TempDir {
    let from = common::test_data().join("models").join(model);
    let mut tensors = candle_core::safetensors::load(from.join("model.safetensors"), &Device::Cpu).unwrap();
    let mut config = read_config(&from);
    for l in 0..config["num_hidden_layers"].as_u64().unwrap() {
        let layer = format!("model.layers.{l}.");
        for (whole, parts) in [
            ("self_attn.qkv_proj", &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"][..]),
            ("mlp.gate_up_proj", &["mlp.gate_proj", "mlp.up_proj"]),
        ] {
            let parts: Vec<Tensor> =
                parts.iter().map(|p| tensors.remove(&format!("{layer}{p}.weight")).unwrap()).collect();
            tensors.insert(format!("{layer}{whole}.weight"), Tensor::cat(&parts, 0).unwrap());
        }
    }
    config.insert("model_type".into(), json!("phi3"));
    for unknown in ["mlp_bias", "head_dim"] {
        config.shift_remove(unknown);
    }
    change(&mut config);
    let folder = tempfile::tempdir().unwrap();
    let tensors: HashMap<String, Tensor> = tensors.into_iter().collect();
    candle_core::safetensors::save(&tensors, folder.path().join("model.safetensors")).unwrap();
    std::fs::write(folder.path().join("config.json"), serde_json::to_vec(&config).unwrap()).unwrap();
    folder
}

// Checks T6 of ARCHITECTURE.md.
#[test]
fn fused_projections_give_the_numbers_of_separate_ones() {
    for model in ["tiny-llama", "tiny-mistral"] {
        let want = logits(&common::open(&common::test_data().join("models").join(model)));
        let folder = fused(model, |_| ());
        let got = common::open(folder.path());
        assert_eq!(got.decoder.arch.family, "Phi-3");
        assert_eq!(logits(&got), want, "{model}");
    }
    let windowless = fused("tiny-mistral", |c| drop(c.insert("sliding_window".into(), Value::Null)));
    let want = logits(&common::open(&common::test_data().join("models/tiny-mistral")));
    assert_ne!(logits(&common::open(windowless.path())), want);
}

#[test]
fn partial_rotation_and_longrope_act_on_the_first_features_of_a_head() {
    let factors: [(usize, Vec<f64>); 2] = [(12, vec![1.0, 1.5, 2.0, 2.5]), (20, vec![1.25, 3.0, 6.0, 9.0])];
    let folder = fused("tiny-llama", |c| {
        c.insert("partial_rotary_factor".into(), json!(0.5));
        c.insert("original_max_position_embeddings".into(), json!(16));
        let scaling = json!({"type": "longrope", "short_factor": factors[0].1, "long_factor": factors[1].1});
        c.insert("rope_scaling".into(), scaling);
    });
    let model = common::open(folder.path());
    // d_head is 16: 8 features are rotated, in 4 pairs; 128 / 16 positions.
    let amplitude = (1.0 + 8f64.ln() / 16f64.ln()).sqrt();
    for (n_pos, factors) in factors {
        let run = model.run(&IDS[..n_pos], &Sites::Standard, Logits::All).unwrap();
        for (plain, rotated) in [(BlockSite::Q, BlockSite::RotQ), (BlockSite::K, BlockSite::RotK)] {
            let read = |site| run.get(Site::Block(1, site)).unwrap().to_vec3::<f32>().unwrap();
            for (p, (before, after)) in read(plain).iter().zip(read(rotated)).enumerate() {
                for (before, after) in before.iter().zip(after) {
                    assert_eq!(before[8..], after[8..], "the second half of a head is not rotated");
                    for i in 0..4 {
                        let angle = p as f64 / (factors[i] * 10000f64.powf(i as f64 / 4.0));
                        let (a, b) = (f64::from(before[i]), f64::from(before[i + 4]));
                        let want = [a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()];
                        for (got, want) in [after[i], after[i + 4]].iter().zip(want) {
                            let wrong = (f64::from(*got) - amplitude * want).abs();
                            assert!(wrong < 1e-5, "{n_pos} positions, position {p}, pair {i}: off by {wrong}");
                        }
                    }
                }
            }
        }
    }
}
