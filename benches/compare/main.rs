//! One side of a comparison: does what its standard input asks and prints how long it took. `compare.py` drives it, round by round beside
//! transformers, so that both see the same machine.
//!
//! `forward N` (all logits, some positions at a time), `whole N` (all logits at once) and `generate N` print milliseconds, `peak` GFLOP/s of a
//! large product, `memory` the most bytes that the process has had. `cargo bench --bench compare --no-run`

#![allow(clippy::print_stdout, reason = "its answers")]

use mechscope::analysis::generate::{GenerateSettings, generate};
use mechscope::model::Model;
use mechscope::model::device::{DTypeChoice, DeviceChoice};
use mechscope::model::forward::Logits;
use mechscope::model::kernel::matmul::{Strided, gemm};
use mechscope::model::kernel::shared::RowBlock;
use mechscope::model::open::Options;
use mechscope::model::site::{BlockSite, Site, Sites};
use mechscope::model::text::Bos;
use std::io::{BufRead, Write};
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mechscope::model::memory::allocator::Allocator = mechscope::model::memory::allocator::Allocator;

/// The same ids on both sides.
fn ids(n: usize) -> Vec<u32> {
    (0..n as u32).map(|i| 5 + (i * 7919) % 40_000).collect()
}

/// Milliseconds that `work` takes.
fn timed(work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64() * 1e3
}

/// The rate of a product of two matrices of 1536 by 1536, in GFLOP/s: what the other rates are read against.
fn peak() -> f64 {
    let n = 1536;
    let (a, b) = (vec![0.5f32; n * n], vec![0.25f32; n * n]);
    let mut out = vec![0f32; n * n];
    let threads = rayon::current_num_threads();
    let ms = timed(|| gemm(RowBlock::rows(&mut out, n), n, Strided::rows(&a, n), Strided::rows(&b, n), 1.0, threads));
    2.0 * (n * n * n) as f64 / ms / 1e6
}

/// All logits of a prompt of `n` tokens, each looked at as it comes.
fn forward(model: &Model, n: usize) {
    let last = Site::Block(model.decoder.arch.n_layers - 1, BlockSite::ResidPost);
    let run = model.run(&ids(n), &Sites::only([last]), Logits::None).expect("a run");
    let (stream, mut rows) = (run.get(last).expect("the stream"), 0);
    model
        .decoder
        .each_logits(&stream, &mut |first, some| {
            assert_eq!(first, rows, "positions in order");
            rows += some.len() / model.decoder.arch.d_vocab;
            Ok(())
        })
        .expect("logits");
    assert_eq!(rows, n, "every position");
}

/// The most memory that this process has had, in bytes; 0 where the system does not tell.
fn memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse::<f64>().ok());
    peak.unwrap_or(0.0) * 1024.0
}

fn main() {
    let Some(folder) = std::env::args().skip(1).find(|a| !a.starts_with("--")) else {
        return println!("the folder of a model is missing: compare.py says how this is used");
    };
    let options = Options { device: DeviceChoice::Cpu, dtype: DTypeChoice::F32, accept: &[] };
    let model = Model::open(&folder, options, Box::new(|_, _| {})).expect("a model");
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a line");
        let (what, n) = line.split_once(' ').unwrap_or((&line, "0"));
        let n: usize = n.parse().expect("a number");
        let answer = match what {
            "peak" => peak(),
            "forward" => timed(|| forward(&model, n)),
            "whole" => timed(|| drop(model.run(&ids(n), &Sites::None, Logits::All).expect("a run"))),
            // Bytes.
            "memory" => memory(),
            "generate" => timed(|| {
                let settings = GenerateSettings { count: n, ..GenerateSettings::default() };
                let run = generate(&model, &ids(13), &[], Bos::Never, &settings, &mut |_, _| Ok(()), &mut |_| Ok(true));
                run.expect("a text");
            }),
            _ => panic!("found {what:?}; accepted: peak, memory, forward N, whole N, generate N"),
        };
        println!("{answer}");
        std::io::stdout().flush().expect("standard output");
    }
}
