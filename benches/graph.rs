//! Direct-effect rows at GPT-2 small's shape beside the machine's matrix product rate of the same run.
//!
//! Throughput counts the operations that each target must take to its own layer and position; choosing the nodes and
//! gathering sources is in the time and not in the count. "Gelem/s" reads GFLOP/s. `cargo bench --bench graph`

#![allow(missing_docs, reason = "criterion's macro makes the entry point")]

mod common;

use common::{CONFIG, prompt, weights};
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use mechscope::analysis::attribution_graph::{LogitTarget, Settings, build};
use mechscope::model::Model;
use mechscope::model::checkpoint::Checkpoint;
use mechscope::model::config::Config;
use mechscope::model::families;
use mechscope::model::forward::Logits;
use mechscope::model::kernel::matmul::{Strided, gemm};
use mechscope::model::linear::{Frozen, cost};
use mechscope::model::relp::Gate;
use mechscope::model::source::Source;
use std::time::Duration;

fn model() -> Model {
    let mut config = Config::parse("config.json", CONFIG.as_bytes()).unwrap();
    let device = candle_core::Device::Cpu;
    let weights = Checkpoint::from_tensors(weights(), &device, candle_core::DType::F32);
    let decoder = families::build(&mut config, &weights).unwrap();
    let source = Source::Folder { name: "random".into(), path: "random".into() };
    Model { source, decoder, text: None, directions: Vec::new() }
}

/// The best that large square products reach on all threads: what the other rates are read against.
fn peak(c: &mut Criterion) {
    let n = 1536;
    let (a, b) = (vec![0.5f32; n * n], vec![0.25f32; n * n]);
    let mut out = vec![0f32; n * n];
    let mut group = c.benchmark_group("matmul peak");
    group.throughput(Throughput::Elements(2 * (n * n * n) as u64));
    group.bench_function("1536 cubed", |bench| {
        let threads = rayon::current_num_threads();
        bench.iter(|| gemm(n, n, n, &mut out, n, Strided::rows(&a, n), Strided::rows(&b, n), 1.0, false, threads));
    });
}

fn graphs(c: &mut Criterion) {
    let model = model();
    let ids = prompt(64);
    let tokens = model.pieces(&ids);
    let targets = vec![LogitTarget { name: "t".into(), weights: vec![(100, 1.0)], probability: 1.0 }];
    let trace = model.run(&ids, &Frozen::sites(&model.decoder), Logits::All).unwrap();
    let frozen = Frozen::new(&model.decoder, &trace).unwrap();
    let maker = frozen.targets(&model.decoder, &trace, Gate::Half);
    let mut group = c.benchmark_group("graph, 64 tokens");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    for n in [100, 512, 2048] {
        let settings = Settings { max_nodes: Some(n), ..Settings::default() };
        let mut step = |_: usize, _: usize| Ok(());
        let graph = build(&model, &tokens, None, &targets, settings, &mut step).unwrap();
        let mut rows = vec![maker.logits(63, &[(100, 1.0)], true).unwrap()];
        for node in graph.nodes.iter().filter(|n| n.kind == mechscope::graph::NodeKind::Neuron) {
            let (l, p) = (node.layer.unwrap() as usize, node.position.unwrap() as usize);
            rows.extend(maker.neurons(l, &[(p, node.index.unwrap() as usize)]).unwrap());
        }
        group.throughput(Throughput::Elements(cost(&frozen, &rows)));
        group.bench_function(format!("{n} neurons, forward pass and selection included"), |b| {
            b.iter(|| build(&model, &tokens, None, &targets, settings, &mut |_, _| Ok(())).unwrap())
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(8));
    targets = peak, graphs
}
criterion_main!(benches);
