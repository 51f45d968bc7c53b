//! Graphs on transcoder features: GPT-2 small's shape with 24,576 features a layer, random weights, about 30 active at a
//! position. The files (1.8 GB) are made in a temporary folder. `cargo bench --bench graph_features`

#![allow(missing_docs, reason = "criterion's macro makes the entry point")]

mod common;

use candle_core::{Device, Tensor};
use common::{model, prompt};
use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use mechscope::analysis::attribution_graph::{GraphSettings, LogitTarget, build};
use mechscope::graph::NodeKind;
use mechscope::model::dictionary::Dictionary;
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

const FEATURES: usize = 24_576;
const D: usize = 768;

/// Writes circuit-tracer's layout. Normalized inputs have a square sum of `D`, so that pre-activations of these encoders
/// have a standard deviation of one; the bias lets one in 700 be active.
fn write(folder: &Path, n_layers: usize) {
    let config =
        r#"{"activation": "relu", "feature_input_hook": "mlp.hook_in", "feature_output_hook": "hook_mlp_out"}"#;
    std::fs::write(folder.join("config.json"), config).expect("a config");
    let mut state = 7u64;
    let mut random = |shape: (usize, usize), scale: f32| {
        let numbers = (0..shape.0 * shape.1).map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * scale
        });
        Tensor::from_vec(numbers.collect::<Vec<f32>>(), shape, &Device::Cpu).expect("numbers")
    };
    for l in 0..n_layers {
        let tensors = HashMap::from([
            ("W_enc", random((FEATURES, D), (3.0 / D as f32).sqrt())),
            ("W_dec", random((FEATURES, D), 0.05)),
            ("b_enc", Tensor::full(-3f32, FEATURES, &Device::Cpu).expect("biases")),
            ("b_dec", Tensor::full(0.01f32, D, &Device::Cpu).expect("biases")),
        ]);
        candle_core::safetensors::save(&tensors, folder.join(format!("layer_{l}.safetensors"))).expect("a file");
    }
}

fn features(c: &mut Criterion) {
    let model = model();
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), model.decoder.arch.n_layers);
    let dictionary = Dictionary::open(folder.path(), &model.decoder).expect("a dictionary");
    let targets = vec![LogitTarget { name: "t".into(), weights: vec![(100, 1.0)], probability: 1.0 }];
    let mut group = c.benchmark_group("graph on features, 24k a layer");
    group.sampling_mode(SamplingMode::Flat).sample_size(10).measurement_time(Duration::from_secs(10));
    for (n_tokens, max) in [(15, 1000), (64, 1000)] {
        let tokens = model.pieces(&prompt(n_tokens));
        let settings = GraphSettings { max_nodes: Some(max), zero_positions: 1, ..GraphSettings::default() };
        let build =
            || build(&model, &tokens, Some(&dictionary), &targets, settings, &mut |_, _| Ok(())).expect("a graph");
        let count = build().nodes.iter().filter(|n| n.kind == NodeKind::Feature).count();
        group.bench_function(format!("{n_tokens} tokens, {count} features"), |b| b.iter(build));
    }
}

criterion_group!(benches, features);
criterion_main!(benches);
