//! The forward pass at GPT-2 small's shape beside the machine's matrix product rate of the same run.
//!
//! Throughput is in floating-point operations a second: "Gelem/s" reads GFLOP/s. `cargo bench --bench forward`

#![allow(missing_docs, reason = "criterion's macro makes the entry point")]

mod common;

use common::{CONFIG, flops, prompt, weights};
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use mechscope::address::Edit;
use mechscope::model::arch::Decoder;
use mechscope::model::checkpoint::Checkpoint;
use mechscope::model::config::ModelConfig;
use mechscope::model::edit::{EditPlan, Reference, References, Scope};
use mechscope::model::families;
use mechscope::model::forward::{Logits, Start};
use mechscope::model::kernel::matmul::{Strided, gemm};
use mechscope::model::kernel::shared::RowBlock;
use mechscope::model::site::{BlockSite, Site, Sites};
use mechscope::model::trace::Trace;
use std::time::Duration;

fn model() -> Decoder {
    let mut config = ModelConfig::parse("config.json", CONFIG.as_bytes()).unwrap();
    let device = candle_core::Device::Cpu;
    let weights = Checkpoint::from_tensors(weights(), &device, candle_core::DType::F32);
    families::build(&mut config, &weights).unwrap()
}

fn run(model: &Decoder, start: Start, sites: &Sites, plan: &EditPlan, logits: Logits) -> Trace {
    model.run(start, sites, plan, logits, &mut |_, _| Ok(())).unwrap()
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
        bench.iter(|| gemm(RowBlock::rows(&mut out, n), n, Strided::rows(&a, n), Strided::rows(&b, n), 1.0, threads));
    });
}

struct NoReferences;
impl References for NoReferences {
    fn site(&mut self, _: Reference, site: Site) -> anyhow::Result<candle_core::Tensor> {
        anyhow::bail!("{site} is not needed")
    }
    fn prompts(&mut self, set: &str) -> anyhow::Result<Vec<String>> {
        anyhow::bail!("{set} is not needed")
    }
    fn mean(&mut self, set: &str, _: bool, _: Site) -> anyhow::Result<candle_core::Tensor> {
        anyhow::bail!("{set} is not needed")
    }
    fn draw(&mut self, set: &str, _: u64, _: bool) -> anyhow::Result<String> {
        anyhow::bail!("{set} is not needed")
    }
    fn direction(&mut self, name: &str, _: Option<usize>, _: usize) -> anyhow::Result<Vec<f32>> {
        anyhow::bail!("{name} is not needed")
    }
}

fn forward(c: &mut Criterion) {
    let model = model();
    for n in [64, 512] {
        let prompts = [prompt(n)];
        let start = || Start::Tokens(&prompts);
        let mut group = c.benchmark_group(format!("{n} tokens"));
        group.sampling_mode(SamplingMode::Flat);
        group.throughput(Throughput::Elements(flops(n, n)));
        group.bench_function("forward, all logits", |b| {
            b.iter(|| run(&model, start(), &Sites::None, EditPlan::NONE, Logits::All))
        });
        group.bench_function("full trace, all logits", |b| {
            b.iter(|| run(&model, start(), &Sites::Standard, EditPlan::NONE, Logits::All))
        });
        group.throughput(Throughput::Elements(flops(n, 1)));
        group.bench_function("forward, last logits", |b| {
            b.iter(|| run(&model, start(), &Sites::None, EditPlan::NONE, Logits::Last))
        });
        let clean =
            run(&model, start(), &Sites::only([Site::Block(8, BlockSite::ResidPre)]), EditPlan::NONE, Logits::Last);
        let edit: Edit = "L8.H3=0".parse().unwrap();
        let plan = EditPlan::new(&Scope::new(&model, n), &[edit], &mut NoReferences).unwrap();
        group.throughput(Throughput::Elements(flops(n, 1) / 3));
        group.bench_function("edited re-run from layer 8 of 12, last logits", |b| {
            b.iter(|| run(&model, Start::Block { layer: 8, clean: &clean }, &Sites::None, &plan, Logits::Last))
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(6));
    targets = peak, forward
}
criterion_main!(benches);
