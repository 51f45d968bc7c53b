//! The training loop.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use crate::training::corpus::rng::Rng;
use crate::training::corpus::{self, CorpusSplit, TaskFamily};
use anyhow::{Context, Result, anyhow, ensure};
use rayon::prelude::*;
use serde_json::json;
use tokenizers::Tokenizer;

use crate::Options;
use crate::training::adamw::AdamW;
use crate::training::folder;
use crate::training::gpt2::{Batch, Pass};
use crate::training::layout::{Layout, Shape};
use crate::training::score::{Exam, exams};
use crate::training::text::{BOS, Encoder, train_tokenizer};

/// A batch is cut into this many parts whatever the number of threads, so that sums come out the same.
const PARTS: usize = 4;
const WARM_UP: usize = 200;
const CLIP: f64 = 1.0;
/// Height of the position sinusoids: about the length of a token's embedding at the start.
const WAVE: f32 = 0.03;
/// Radians are this many times fewer per position in the slowest sinusoid than in the fastest.
const LONGEST_WAVE: f64 = 1000.0;

/// Trains, or goes on; writes the folder and prints the accuracies.
pub fn run(options: &Options) -> Result<()> {
    for folder in [&options.out, &options.work] {
        fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
    }
    let tokenizer = tokenizer(options)?;
    let shape = Shape {
        n_layers: options.layers,
        d_model: options.width,
        n_heads: options.heads,
        d_mlp: 4 * options.width,
        n_ctx: options.context,
        d_vocab: tokenizer.get_vocab_size(true),
    };
    let layout = Layout::new(shape);
    println!("{shape:?}: {} parameters", layout.len());
    let mut encoder = Encoder::new(tokenizer)?;
    let quick = exams(200, 1, &mut encoder)?;
    let mut state = State::open(options, &layout)?;
    let steps = options.steps + options.polish;
    let until = options.until.unwrap_or(steps).min(steps);
    let (begun, first) = (Instant::now(), state.adam.step);
    let mut passes: Vec<(Pass, Vec<f32>)> = (0..PARTS).map(|_| (Pass::default(), vec![0.0; layout.len()])).collect();
    let mut losses = (0.0, 0);
    while state.adam.step < until {
        let step = state.adam.step;
        let batches = batches(options, step, &mut encoder)?;
        let loss = state.step(&layout, &batches, &mut passes, options);
        losses = (losses.0 + loss, losses.1 + 1);
        let (done, seconds) = (step + 1, begun.elapsed().as_secs_f64());
        if done % 20 == 0 {
            let each = seconds / (done - first) as f64;
            print!(
                "\rstep {done}/{steps} loss {:.4} {:.0} ms a step, {:.1} min to go  ",
                losses.0 / f64::from(losses.1),
                1e3 * each,
                each * (until - done) as f64 / 60.0
            );
            std::io::stdout().flush()?;
        }
        if done % options.every == 0 || done == until {
            println!();
            report(&quick, &layout, &state.params);
            losses = (0.0, 0);
            state.save(options, &layout)?;
        }
    }
    write_folder(options, &layout, &state.params)?;
    println!("held-out and seen accuracies, 500 prompts each");
    report(&exams(500, 2, &mut encoder)?, &layout, &state.params);
    Ok(())
}

/// Parameters and the optimizer.
struct State {
    params: Vec<f32>,
    adam: AdamW,
}

impl State {
    fn open(options: &Options, layout: &Layout) -> Result<Self> {
        let path = options.work.join("checkpoint.safetensors");
        let mut adam = AdamW::new(layout.decays());
        if !path.exists() {
            let params = first_weights(layout, options.seed);
            return Ok(Self { params, adam });
        }
        let read = || -> Result<Self> {
            let bytes = fs::read(&path)?;
            adam.mean = folder::read(&bytes, layout, "mean.")?;
            adam.square = folder::read(&bytes, layout, "square.")?;
            let (begun, now) = (folder::note(&bytes, "recipe")?, options.recipe());
            ensure!(
                begun == now,
                "begun with {begun}; found {now}; accepted: the options it was begun with, or another --work folder"
            );
            adam.step = folder::note(&bytes, "step")?.parse().context("metadata \"step\"")?;
            let params = folder::read(&bytes, layout, "")?;
            println!("going on from step {}", adam.step);
            Ok(Self { params, adam })
        };
        read().with_context(|| format!("{}", path.display()))
    }

    fn save(&self, options: &Options, layout: &Layout) -> Result<()> {
        let buffers: [(&str, &[f32]); 3] =
            [("", &self.params), ("mean.", &self.adam.mean), ("square.", &self.adam.square)];
        let path = options.work.join("checkpoint.safetensors");
        let notes = [("step", self.adam.step.to_string()), ("recipe", options.recipe())];
        folder::write(&path, layout, &buffers, &notes)
    }

    /// One optimizer step; returns the mean loss.
    fn step(&mut self, layout: &Layout, batches: &[Batch], passes: &mut [(Pass, Vec<f32>)], options: &Options) -> f64 {
        let params = &self.params;
        let loss: Vec<f64> = passes
            .par_iter_mut()
            .zip(batches)
            .map(|((pass, grads), batch)| {
                grads.fill(0.0);
                pass.forward(layout, params, batch, None);
                pass.backward(layout, params, batch, grads)
            })
            .collect();
        let (sum, rest) = passes.split_at_mut(1);
        let sum = &mut sum[0].1;
        sum.par_chunks_mut(1 << 15).enumerate().for_each(|(chunk, sum)| {
            for (_, grads) in rest.iter() {
                crate::training::kernels::add(sum, &grads[chunk << 15..][..sum.len()]);
            }
        });
        let weight: f64 = batches.iter().flat_map(|batch| &batch.weights).map(|&weight| f64::from(weight)).sum();
        let length = sum
            .par_chunks(1 << 15)
            .map(|chunk| f64::from(crate::training::kernels::dot(chunk, chunk)))
            .collect::<Vec<_>>()
            .iter()
            .sum::<f64>()
            .sqrt()
            / weight;
        let factor = (CLIP / length).min(1.0) / weight;
        let rate = rate(options, self.adam.step);
        self.adam.step(&mut self.params, sum, factor as f32, rate, options.decay);
        loss.iter().sum::<f64>() / weight
    }
}

/// Linear warm-up, then a cosine down to a fiftieth; the last part again on the end of such a cosine.
fn rate(options: &Options, step: usize) -> f32 {
    let warm = (step + 1) as f32 / WARM_UP as f32;
    let whole = if step < options.steps { options.steps } else { options.steps + options.polish };
    let done = step as f32 / whole as f32;
    let cosine = 0.51 + 0.49 * (std::f32::consts::PI * done).cos();
    options.rate * warm.min(1.0) * cosine
}

/// The rows of one step depend on the seed and the step alone, so that a resumed run sees the same ones.
fn batches(options: &Options, step: usize, encoder: &mut Encoder) -> Result<Vec<Batch>> {
    let mut rng = Rng::new(corpus::rng::hash(&["rows", &options.seed.to_string(), &step.to_string()]));
    let mut batches = vec![Batch::default(); PARTS];
    for row in 0..options.rows {
        let sentence = corpus::sentence(&mut rng);
        let (ids, weights) = encoder.row(&sentence, options.unsettled)?;
        let batch = &mut batches[row % PARTS];
        let start = batch.ids.len();
        batch.states.extend(encoder.states(&sentence)?.into_iter().map(|(at, state)| (start + at, state)));
        batch.push(&ids, &weights);
    }
    for (family, rows) in [(TaskFamily::Addition, options.sums), (TaskFamily::GreaterThan, options.years)] {
        for row in 0..rows {
            let (ids, weights) = encoder.row(&family.sentence(&mut rng), options.unsettled)?;
            batches[row % PARTS].push(&ids, &weights);
        }
    }
    if step >= options.interchange_after {
        for pair in 0..options.interchanges {
            let prompt = corpus::prompt(TaskFamily::TwoHop, CorpusSplit::Seen, &mut rng);
            encoder.interchange(&prompt, &mut batches[pair % PARTS])?;
        }
    }
    if step >= options.steps {
        for row in 0..options.silences {
            let prompt = corpus::prompt(TaskFamily::TwoHop, CorpusSplit::Seen, &mut rng);
            encoder.silence(&prompt, &mut batches[row % PARTS])?;
        }
    }
    Ok(batches)
}

/// GPT-2's start (normal with deviation 0.02, smaller where a block writes to the residual stream), but positions start
/// as sinusoids (Vaswani et al., 2017): then a head that looks one token back is the same at every position.
fn first_weights(layout: &Layout, seed: u64) -> Vec<f32> {
    let mut rng = Rng::new(seed ^ 0x5EED);
    let mut normal = move || {
        let radius = (-2.0 * (1.0 - rng.unit()).ln()).sqrt();
        (radius * (std::f64::consts::TAU * rng.unit()).cos()) as f32
    };
    let mut params = vec![0.0; layout.len()];
    let written = 0.02 / (2.0 * layout.shape.n_layers as f32).sqrt();
    for tensor in &layout.tensors {
        let values = &mut params[tensor.range.clone()];
        if tensor.shape.len() == 2 {
            let deviation = if tensor.name.contains("c_proj") { written } else { 0.02 };
            values.fill_with(|| deviation * normal());
        } else if tensor.name.contains("ln_") && tensor.name.ends_with("weight") {
            values.fill(1.0);
        }
    }
    let width = layout.shape.d_model;
    for (pos, row) in params[layout.wpe.clone()].chunks_exact_mut(width).enumerate() {
        for (i, value) in row.iter_mut().enumerate() {
            let angle = pos as f64 * LONGEST_WAVE.powf(-((i / 2) as f64) / (width / 2) as f64);
            *value = WAVE * (if i % 2 == 0 { angle.sin() } else { angle.cos() }) as f32;
        }
    }
    params
}

fn tokenizer(options: &Options) -> Result<Tokenizer> {
    let path = options.out.join("tokenizer.json");
    let tokenizer = train_tokenizer(options.seed)?;
    tokenizer.save(&path, true).map_err(|error| anyhow!("{}: {error}", path.display()))?;
    Ok(tokenizer)
}

fn report(exams: &[Exam], layout: &Layout, params: &[f32]) {
    for exam in exams {
        let score = exam.score(layout, params);
        let split = format!("{:?}", exam.split);
        println!("  {:<13} {split:<8} {:.3} (mass {:.3})", exam.family.name(), score.top, score.mass);
    }
}

fn write_folder(options: &Options, layout: &Layout, params: &[f32]) -> Result<()> {
    let shape = layout.shape;
    let config = json!({
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "layer_norm_epsilon": 1e-5,
        "n_ctx": shape.n_ctx,
        "n_positions": shape.n_ctx,
        "n_embd": shape.d_model,
        "n_head": shape.n_heads,
        "n_inner": shape.d_mlp,
        "n_layer": shape.n_layers,
        "tie_word_embeddings": true,
        "torch_dtype": "float32",
        "vocab_size": shape.d_vocab,
    });
    let tokens = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": BOS,
        "unk_token": BOS,
        "add_bos_token": true,
        "clean_up_tokenization_spaces": false,
        "model_max_length": shape.n_ctx,
    });
    let generation = json!({ "bos_token_id": 0, "eos_token_id": 0, "max_length": shape.n_ctx });
    let files = [("config.json", config), ("tokenizer_config.json", tokens), ("generation_config.json", generation)];
    for (name, value) in files {
        write_json(&options.out.join(name), &value)?;
    }
    let path = options.out.join("model.safetensors");
    folder::write(&path, layout, &[("", params)], &[])
}

fn write_json(path: &Path, value: &serde_json::Value) -> Result<()> {
    let text = serde_json::to_string_pretty(value)? + "\n";
    fs::write(path, text).with_context(|| format!("{}", path.display()))
}
