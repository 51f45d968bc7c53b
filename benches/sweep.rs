//! A sweep beside the forward passes that it is made of: the same contexts in the same batches, with statistics and without.
//!
//! `MECHSCOPE_BENCH_MODEL=MODEL MECHSCOPE_BENCH_CORPUS=FILE cargo bench --bench sweep`; by turns, the median of each. Without them the built-in model on a text that is made here.

#![allow(clippy::print_stdout, reason = "a bench prints its numbers")]

use mechscope::corpus::blocks;
use mechscope::corpus::context::{batches, cut};
use mechscope::corpus::layer::Batch;
use mechscope::corpus::plan::Plan;
use mechscope::corpus::spec::Spec;
use mechscope::corpus::worker::Worker;
use mechscope::model::Model;
use mechscope::model::open::Options;
use mechscope::model::site::Sites;
use std::time::Instant;

/// Bytes of the corpus that are run.
const BYTES: usize = 40_000;

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = match std::env::var_os("MECHSCOPE_BENCH_CORPUS") {
        Some(path) => std::fs::read_to_string(path).expect("a text"),
        None => "The train from Houston Texas to Omaha Nebraska is late.\n".repeat(2000),
    };
    let path = folder.path().join("corpus.txt");
    let end = text.char_indices().map(|(at, _)| at).find(|at| *at >= BYTES).unwrap_or(text.len());
    std::fs::write(&path, &text[..end]).expect("a corpus");
    let name = std::env::var("MECHSCOPE_BENCH_MODEL").unwrap_or_else(|_| "hello".to_owned());
    let spec = Spec { model: name.clone(), corpus: vec![path.clone()], ..Spec::default() };
    let plan = Plan::new(spec, Some(1)).expect("a plan");
    let model = Model::open(&name, Options::default(), Box::new(|_, _| {})).expect("a model");
    let worker = Worker::new(&plan, &model).expect("a worker");

    let raw = blocks::read(&path, (0, BYTES as u64), &plan.spec).expect("documents");
    let vocabulary = model.decoder.arch.d_vocab;
    let documents: Vec<_> =
        raw.iter().map(|raw| raw.tokenize(0, model.text.as_ref(), vocabulary, &plan.spec).expect("tokens")).collect();
    let batches = batches(cut(&documents, &plan.spec), plan.spec.batch);
    let tokens: usize = batches.iter().flatten().map(|context| context.ids.len()).sum();

    let (mut plain, mut swept) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let begun = Instant::now();
        for batch in &batches {
            let prompts = Batch::new(batch, 0).prompts();
            model.decoder.stream(&prompts, &Sites::None, &mut |_, _| Ok(())).expect("a run");
        }
        plain.push(tokens as f64 / begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        worker.compute(0, &mut |_, _| Ok(())).expect("a sweep");
        swept.push(tokens as f64 / begun.elapsed().as_secs_f64());
    }
    let median = |rates: &mut Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let (plain, swept) = (median(&mut plain), median(&mut swept));
    println!("{name}: {tokens} tokens in {} batches", batches.len());
    println!("forward passes {plain:.0} tokens/s, sweep {swept:.0} tokens/s: {:.2} of it", swept / plain);
}
