//! Our matrix kernels beside the `gemm` crate, on the shapes that they are for: a kernel of our own stays where it is faster.
//!
//! Both sides of a line run by turns on all threads; printed are medians in GFLOP/s, and how many times as fast ours is. `gemm` is given either
//! the whole product or, where that is faster, one part of the columns for each task.
//!
//! `cargo bench --bench kernels`

// A bench tells what it measured.
#![allow(clippy::print_stdout)]

use mechscope::model::kernel::lanes::{LANES, PackedTiles};
use mechscope::model::kernel::matmul::{After, Strided, gemm, linear, linear_new};
use mechscope::model::kernel::shared::RowBlock;
use rayon::prelude::*;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Turns of a line.
const ROUNDS: usize = 15;
/// Both sides of a turn work at least so long.
const TURN: Duration = Duration::from_millis(20);

fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + 13) % 1021) as f32 / 510.0 - 1.0).collect()
}

/// The seconds of one call, over as many as a turn takes.
fn timed(work: &mut dyn FnMut()) -> f64 {
    let (begun, mut calls) = (Instant::now(), 0);
    while begun.elapsed() < TURN {
        work();
        calls += 1;
    }
    begun.elapsed().as_secs_f64() / f64::from(calls)
}

/// The median rates of what runs by turns.
fn rates(flops: f64, sides: &mut [&mut dyn FnMut()]) -> Vec<f64> {
    let mut times = vec![Vec::new(); sides.len()];
    for _ in 0..ROUNDS {
        for (times, side) in times.iter_mut().zip(sides.iter_mut()) {
            times.push(timed(*side));
        }
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        flops / times[times.len() / 2] / 1e9
    };
    times.into_iter().map(median).collect()
}

/// `x` `[rows, inputs]` times weights `[outputs, inputs]`.
fn products(rows: usize, inputs: usize, outputs: usize) {
    let (x, w) = (numbers(rows * inputs), numbers(outputs * inputs));
    let [mut own, mut whole, mut parts] = [0, 1, 2].map(|_| vec![0f32; rows * outputs]);
    let threads = rayon::current_num_threads();
    let by = Strided::rows(&w, inputs).t();
    let width = outputs.div_ceil(threads * 4).next_multiple_of(32);
    let rates = rates(
        2.0 * (rows * inputs * outputs) as f64,
        &mut [
            &mut || linear(&mut own, &x, &w, None, inputs, outputs),
            &mut || gemm(RowBlock::rows(&mut whole, outputs), inputs, Strided::rows(&x, inputs), by, 1.0, threads),
            // One matrix for each part: the crate's side need not gather them.
            &mut || {
                let each = parts.par_chunks_mut(rows * width).zip(w.par_chunks(width * inputs));
                each.for_each(|(y, w)| {
                    let cols = y.len() / rows;
                    gemm(
                        RowBlock::rows(y, cols),
                        inputs,
                        Strided::rows(&x, inputs),
                        Strided::rows(w, inputs).t(),
                        1.0,
                        1,
                    );
                });
            },
        ],
    );
    let best = rates[1].max(rates[2]);
    println!(
        "| {rows} x {inputs} x {outputs} | {:.0} | {:.0} | {:.0} | {:.2} |",
        rates[0],
        rates[1],
        rates[2],
        rates[0] / best
    );
}

/// A packed matrix `[rows, inner]` times as many columns as there are lanes, on one thread.
fn lanes(rows: usize, inner: usize) {
    let (a, b) = (numbers(rows * inner), numbers(inner * LANES));
    let packed = PackedTiles::new(rows, inner, |r, i| a[r * inner + i]);
    let [mut own, mut other] = [0, 1].map(|_| vec![0f32; rows * LANES]);
    let rates = rates(
        2.0 * (rows * inner * LANES) as f64,
        &mut [&mut || packed.multiply_all(&b, LANES, &mut own, LANES, false), &mut || {
            gemm(RowBlock::rows(&mut other, LANES), inner, Strided::rows(&a, inner), Strided::rows(&b, LANES), 1.0, 1)
        }],
    );
    println!(
        "| {rows} x {inner} x {LANES}, one thread | {:.0} | {:.0} | | {:.2} |",
        rates[0],
        rates[1],
        rates[0] / rates[1]
    );
}

/// A product with what follows it, against the product and then what follows.
fn after(rows: usize, inputs: usize, outputs: usize) {
    let (x, w, bias, plus) =
        (numbers(rows * inputs), numbers(outputs * inputs), numbers(outputs), numbers(rows * outputs));
    let rates = rates(
        2.0 * (rows * inputs * outputs) as f64,
        &mut [
            &mut || {
                let after = After { bias: Some(&bias), plus: Some(&plus), ..After::default() };
                black_box(linear_new(&x, &w, after, inputs, outputs));
            },
            &mut || {
                let mut y = vec![0f32; rows * outputs];
                linear(&mut y, &x, &w, Some(&bias), inputs, outputs);
                black_box(y.iter().zip(&plus).map(|(y, p)| y + p).collect::<Vec<f32>>());
            },
        ],
    );
    println!(
        "| {rows} x {inputs} x {outputs}, added to a stream | {:.0} | {:.0} | | {:.2} |",
        rates[0],
        rates[1],
        rates[0] / rates[1]
    );
}

fn main() {
    if let Ok(load) = std::fs::read_to_string("/proc/loadavg") {
        println!("load average: {}; {} threads", load.trim(), rayon::current_num_threads());
    }
    println!("| rows x inputs x outputs | ours | gemm, whole | gemm, by columns | ours / best |");
    println!("|---|---|---|---|---|");
    for (inputs, outputs) in [(768, 3072), (3072, 768), (768, 50257), (576, 1536)] {
        for rows in [1, 4, 13, 64, 200, 320] {
            products(rows, inputs, outputs);
        }
    }
    for (rows, inner) in [(64, 768), (768, 64), (143, 143)] {
        lanes(rows, inner);
    }
    for rows in [64, 512] {
        after(rows, 768, 768);
    }
}
