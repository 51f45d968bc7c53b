//! The gradients of the training program, against differences of its loss.

// The numbers are worth reading when a test fails.
#![allow(clippy::print_stdout)]

#[allow(dead_code, missing_docs)]
#[path = "../examples/common/training.rs"]
mod training;

use mechscope::model::Model;
use mechscope::model::forward::Logits;
use mechscope::model::open::Options;
use mechscope::model::site::Sites;
use mechscope::model::text::Bos;
use training::corpus::rng::Rng;
use training::corpus::sentences;
use training::folder;
use training::gpt2::{Batch, Pass};
use training::layout::{Layout, Shape};
use training::transcoder::Transcoder;

const SHAPE: Shape = Shape { n_layers: 2, d_model: 24, n_heads: 3, d_mlp: 40, n_ctx: 12, d_vocab: 37 };

/// Numbers in `-size..size`.
fn noise(n: usize, size: f32, rng: &mut Rng) -> Vec<f32> {
    (0..n).map(|_| size * (2.0 * rng.unit() as f32 - 1.0)).collect()
}

/// Rows of several lengths, one of a single token, with weights that differ.
fn batch(rng: &mut Rng) -> Batch {
    let mut batch = Batch::default();
    for length in [5, 1, 12, 8] {
        let ids: Vec<u32> = (0..length).map(|_| rng.below(SHAPE.d_vocab) as u32).collect();
        let weights: Vec<f32> = (0..length).map(|i| [0.0, 0.3, 1.0][i % 3]).collect();
        batch.push(&ids, &weights);
    }
    // The state neurons at position 2 of the first row get the activations of those at position 4 of the third, which starts at 6.
    batch.swaps.push((2, 6 + 4));
    // Position 1 of the last row has none.
    batch.silenced.push(18 + 1);
    batch.states.extend([(1, 5), (2, 7), (6 + 4, 30)]);
    batch
}

fn loss(layout: &Layout, params: &[f32], batch: &Batch) -> f64 {
    let mut pass = Pass::default();
    pass.forward(layout, params, batch, None);
    pass.backward(layout, params, batch, &mut vec![0.0; layout.len()])
}

#[test]
fn every_tensors_gradient_is_the_slope_of_the_loss() {
    let layout = Layout::new(SHAPE);
    let mut rng = Rng::new(3);
    let mut params = noise(layout.len(), 0.5, &mut rng);
    let batch = batch(&mut rng);
    let mut grads = vec![0.0; layout.len()];
    let mut pass = Pass::default();
    pass.forward(&layout, &params, &batch, None);
    pass.backward(&layout, &params, &batch, &mut grads);

    const STEP: f32 = 2e-3;
    for tensor in &layout.tensors {
        let range = tensor.range.clone();
        let direction = noise(range.len(), 1.0, &mut rng);
        let expected: f64 = grads[range.clone()].iter().zip(&direction).map(|(g, d)| f64::from(g * d)).sum();
        let before = params[range.clone()].to_vec();
        let mut at = |factor: f32| {
            for ((param, start), d) in params[range.clone()].iter_mut().zip(&before).zip(&direction) {
                *param = start + factor * STEP * d;
            }
            loss(&layout, &params, &batch)
        };
        // Five-point stencil: its own error is of fourth order in the step.
        let slope = (8.0 * (at(1.0) - at(-1.0)) - (at(2.0) - at(-2.0))) / (12.0 * f64::from(STEP));
        params[range.clone()].copy_from_slice(&before);
        let length = grads[range].iter().map(|g| g * g).sum::<f32>().sqrt();
        println!("{} {slope} {expected} {length}", tensor.name);
        assert!(
            (slope - expected).abs() < 3e-3 * f64::from(length) + 3e-3,
            "{}: slope {slope}, gradient {expected}, length {length}",
            tensor.name
        );
        assert!(length > 1e-4, "{} has no gradient", tensor.name);
    }
}

#[test]
fn a_later_token_changes_nothing_before_it() {
    let layout = Layout::new(SHAPE);
    let mut rng = Rng::new(4);
    let params = noise(layout.len(), 0.5, &mut rng);
    let logits = |last: u32| {
        let mut batch = Batch::default();
        batch.push(&[1, 2, 3, last], &[0.0; 4]);
        let mut pass = Pass::default();
        pass.forward(&layout, &params, &batch, None);
        pass.logits(&layout, &params, &[0, 1, 2, 3])
    };
    let (a, b) = (logits(4), logits(5));
    let settled = 3 * SHAPE.d_vocab;
    assert_eq!(a[..settled], b[..settled]);
    assert_ne!(a[settled..], b[settled..]);
}

#[test]
fn the_transcoders_gradient_is_the_slope_of_its_loss() {
    let mut rng = Rng::new(5);
    let mut transcoder = Transcoder::new(13, 6, &mut rng);
    let (n, sparsity, variance) = (9, 0.7, 1.3);
    transcoder.params = noise(transcoder.params.len(), 0.8, &mut rng);
    let (input, target) = (noise(6 * n, 1.0, &mut rng), noise(6 * n, 1.0, &mut rng));
    let mut grads = vec![0.0; transcoder.params.len()];
    transcoder.loss(&input, &target, variance, sparsity, &mut grads);
    let start = transcoder.params.clone();
    let mut unused = grads.clone();
    for i in 0..start.len() {
        let mut at = |change: f32| {
            transcoder.params[i] = start[i] + change;
            transcoder.loss(&input, &target, variance, sparsity, &mut unused).0
        };
        let slope = (at(1e-3) - at(-1e-3)) / 2e-3;
        transcoder.params[i] = start[i];
        assert!((slope - f64::from(grads[i])).abs() < 4e-3, "{i}: slope {slope}, gradient {}", grads[i]);
    }
}

#[test]
fn the_engine_computes_what_was_trained() {
    let hello = mechscope::builtin::get("hello").unwrap();
    let layout = Layout::new(folder::shape(hello.file("config.json").unwrap()).unwrap());
    let params = folder::read(hello.file("model.safetensors").unwrap(), &layout, "").unwrap();
    let model = Model::open("hello", Options::default(), Box::new(|_, _| {})).unwrap();
    for sentence in sentences(31).take(40) {
        let ids = model.encode(&sentence.text(), Bos::Auto).unwrap().ids();
        let mut batch = Batch::default();
        batch.push(&ids, &vec![0.0; ids.len()]);
        let mut pass = Pass::default();
        pass.forward(&layout, &params, &batch, None);
        let positions: Vec<usize> = (0..ids.len()).collect();
        let trained = pass.logits(&layout, &params, &positions);
        let run = model.run(&ids, &Sites::None, Logits::All).unwrap();
        let opened: Vec<f32> = run.logits().unwrap().flatten_all().unwrap().to_vec1().unwrap();
        // Logits are up to 30 here: 1e-5 of that scale.
        let scale = trained.iter().fold(1.0f32, |most, value| most.max(value.abs()));
        for (a, b) in trained.iter().zip(&opened) {
            assert!((a - b).abs() <= 1e-5 * scale, "{a} and {b} in {:?}", sentence.text());
        }
    }
}
