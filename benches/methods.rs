//! What each method takes beside the forward pass that it reads: a model of GPT-2 small's shape, 64 tokens.
//!
//! `cargo bench --bench methods`

#![allow(missing_docs, reason = "criterion's macro makes the entry point")]

mod common;

use candle_core::{DType, Device};
use criterion::{Criterion, criterion_group, criterion_main};
use mechscope::analysis::input::Input;
use mechscope::analysis::param::Values;
use mechscope::analysis::runs::Runs;
use mechscope::analysis::{self, Question};
use mechscope::model::checkpoint::Checkpoint;
use mechscope::model::config::ModelConfig;
use mechscope::model::source::Source;
use mechscope::model::text::Bos;
use mechscope::model::{Model, families};
use std::hint::black_box;

fn model() -> Model {
    let mut config = ModelConfig::parse("config.json", common::CONFIG.as_bytes()).unwrap();
    let weights = Checkpoint::from_tensors(common::weights(), &Device::Cpu, DType::F32);
    let decoder = families::build(&mut config, &weights).unwrap();
    let source = Source::Folder { name: "bench".into(), path: "bench".into() };
    Model::new(source, decoder, None)
}

fn methods(c: &mut Criterion) {
    let model = model();
    let input = Input::of_ids(&model, &common::prompt(64), Bos::Auto).unwrap();
    let mut group = c.benchmark_group("methods");
    group.sample_size(10);
    for (name, given) in [
        ("lens", &[][..]),
        ("attribute", &[]),
        ("attribute", &[("neurons", "true")]),
        ("heads", &[]),
        ("heads", &[("head", "L5.H1")]),
        ("neurons", &[]),
        ("neurons", &[("top", "0"), ("tokens", "0")]),
    ] {
        let method = analysis::named(name).unwrap();
        let given: Vec<_> = given.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        let values = Values::parse(method.about().params, &given).unwrap();
        let question = Question { position: -1, target: None, values };
        // The first answer runs the model; the runs are kept, as between two keys in the explorer.
        let mut runs = Runs::new(input.clone(), Vec::new());
        let mut ask = || analysis::ask(method, &model, &mut runs, &question, &mut |_, _| Ok(())).unwrap();
        ask();
        group.bench_function(format!("{name} {given:?}"), |b| b.iter(|| black_box(ask())));
    }
}

criterion_group!(benches, methods);
criterion_main!(benches);
