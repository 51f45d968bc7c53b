//! The training loop, and how well the transcoders stand in for the MLPs.

use std::cell::RefCell;
use std::fs;
use std::io::Write;
use std::time::Instant;

use crate::training::corpus::rng::Rng;
use crate::training::corpus::{self, TaskFamily};
use anyhow::{Context, Result, anyhow};
use rayon::prelude::*;
use tokenizers::Tokenizer;

use crate::Options;
use crate::training::adamw::AdamW;
use crate::training::folder;
use crate::training::gpt2::{Batch, Pass, mlp};
use crate::training::layout::Layout;
use crate::training::score::{Exam, exams, probabilities, top};
use crate::training::text::Encoder;
use crate::training::transcoder::{Quality, Transcoder};

const WARM_UP: usize = 200;

/// The model and what surrounds it.
struct Teacher {
    layout: Layout,
    params: Vec<f32>,
    encoder: Encoder,
}

/// What one MLP read and wrote, `[pos, d_model]` each.
#[derive(Default)]
struct Sample {
    input: Vec<f32>,
    output: Vec<f32>,
}

/// One layer's transcoder in training.
struct Student {
    transcoder: Transcoder,
    adam: AdamW,
    grads: Vec<f32>,
    /// Mean square of the MLP's output about its mean, summed over `d_model`.
    variance: f32,
    quality: Quality,
}

/// Trains, writes the folder and prints the report.
pub fn run(options: &Options) -> Result<()> {
    fs::create_dir_all(&options.out).with_context(|| format!("{}", options.out.display()))?;
    let mut teacher = Teacher::open(options)?;
    let quick = exams(100, 3, &mut teacher.encoder)?;
    let mut rng = Rng::new(options.seed);
    let mut students = Vec::new();
    let first = teacher.batch(4 * options.rows, &mut rng)?;
    let samples = teacher.samples(&first, None);
    for sample in &samples {
        let transcoder = Transcoder::new(options.features, teacher.layout.shape.d_model, &mut rng);
        students.push(Student::new(transcoder, sample));
    }
    let begun = Instant::now();
    for step in 0..options.steps {
        let batch = teacher.batch(options.rows, &mut rng)?;
        // Half of the time on the inputs the transcoders themselves bring about, so that their errors do not add up.
        let own = step > WARM_UP && step % 2 == 1;
        let samples = teacher.samples(&batch, own.then_some(&*students));
        let (rate, sparsity) = schedule(options, step);
        students.par_iter_mut().zip(&samples).for_each(|(student, sample)| student.step(sample, rate, sparsity));
        let done = step + 1;
        if done % 20 == 0 {
            let each = begun.elapsed().as_secs_f64() / done as f64;
            print!("\rstep {done}/{} {:.1} min to go  ", options.steps, each * (options.steps - done) as f64 / 60.0);
            std::io::stdout().flush()?;
        }
        if done % options.every == 0 {
            println!();
            report(&teacher, &students, &quick);
        }
    }
    for (layer, student) in students.iter_mut().enumerate() {
        student.transcoder.round();
        student.transcoder.write(&options.out.join(format!("layer_{layer}.safetensors")))?;
    }
    write_config(options, students.len())?;
    println!("\nas written, on 500 prompts each");
    let long = exams(500, 4, &mut teacher.encoder)?;
    report(&teacher, &students, &long);
    Ok(())
}

impl Teacher {
    fn open(options: &Options) -> Result<Self> {
        let read = |name: &str| {
            let path = options.model.join(name);
            fs::read(&path).with_context(|| format!("{}", path.display()))
        };
        let layout = Layout::new(folder::shape(&read("config.json")?)?);
        let params = folder::read(&read("model.safetensors")?, &layout, "")?;
        let tokenizer =
            Tokenizer::from_bytes(read("tokenizer.json")?).map_err(|error| anyhow!("tokenizer.json: {error}"))?;
        Ok(Self { layout, params, encoder: Encoder::new(tokenizer)? })
    }

    fn batch(&mut self, rows: usize, rng: &mut Rng) -> Result<Batch> {
        let mut batch = Batch::default();
        for _ in 0..rows {
            let (ids, weights) = self.encoder.row(&corpus::sentence(rng), 0.0)?;
            batch.push(&ids, &weights);
        }
        // These take longest to reproduce.
        let more =
            [(TaskFamily::Addition, rows / 2), (TaskFamily::GreaterThan, rows / 4), (TaskFamily::Opposites, rows / 3)];
        for (family, more) in more {
            for _ in 0..more {
                let (ids, weights) = self.encoder.row(&family.sentence(rng), 0.0)?;
                batch.push(&ids, &weights);
            }
        }
        Ok(batch)
    }

    /// What every MLP computes on these rows; with `students`, on the inputs it gets when they replace the MLPs.
    fn samples(&self, batch: &Batch, students: Option<&[Student]>) -> Vec<Sample> {
        let samples = RefCell::new(Vec::new());
        let replace = |layer: usize, input: &[f32], out: &mut [f32]| {
            mlp(&self.layout, &self.params, layer, input, out);
            samples.borrow_mut().push(Sample { input: input.to_vec(), output: out.to_vec() });
            if let Some(students) = students {
                students[layer].stand_in(input, out);
            }
        };
        Pass::default().forward(&self.layout, &self.params, batch, Some(&replace));
        samples.into_inner()
    }
}

impl Student {
    fn new(transcoder: Transcoder, sample: &Sample) -> Self {
        let d = transcoder.d_model;
        let n = (sample.output.len() / d) as f32;
        let mut variance = 0.0;
        for i in 0..d {
            let column = || sample.output.iter().skip(i).step_by(d);
            let mean = column().sum::<f32>() / n;
            variance += column().map(|value| (value - mean).powi(2)).sum::<f32>() / n;
        }
        let size = transcoder.params.len();
        Self {
            transcoder,
            adam: AdamW::new(vec![false; size]),
            grads: vec![0.0; size],
            variance,
            quality: Quality::default(),
        }
    }

    fn step(&mut self, sample: &Sample, rate: f32, sparsity: f32) {
        let (_, quality) =
            self.transcoder.loss(&sample.input, &sample.output, self.variance, sparsity, &mut self.grads);
        self.adam.step(&mut self.transcoder.params, &self.grads, 1.0, rate, 0.0);
        let blend = |old: f64, new: f64| old + 0.02 * (new - old);
        self.quality.unexplained = blend(self.quality.unexplained, quality.unexplained);
        self.quality.active = blend(self.quality.active, quality.active);
    }

    fn stand_in(&self, input: &[f32], out: &mut [f32]) {
        self.transcoder.decode(&self.transcoder.encode(input), out);
    }
}

/// Learning rate and sparsity: the one falls as a cosine, the other rises over the first fifth.
fn schedule(options: &Options, step: usize) -> (f32, f32) {
    let done = step as f32 / options.steps as f32;
    let warm = ((step + 1) as f32 / WARM_UP as f32).min(1.0);
    let cosine = 0.51 + 0.49 * (std::f32::consts::PI * done).cos();
    (options.rate * warm * cosine, options.sparsity * (5.0 * done).min(1.0))
}

/// Prints errors by layer, and by family how often the answer stays the same without any MLP.
fn report(teacher: &Teacher, students: &[Student], exams: &[Exam]) {
    for (layer, student) in students.iter().enumerate() {
        let Quality { unexplained, active } = student.quality;
        println!("  layer {layer}: unexplained {unexplained:.4}, {active:.1} features active");
    }
    for exam in exams {
        let replace = |layer: usize, input: &[f32], out: &mut [f32]| students[layer].stand_in(input, out);
        let (mut same, mut all) = (0, 0);
        for batch in &exam.batches {
            let true_run = probabilities(&teacher.layout, &teacher.params, batch, None);
            let replaced = probabilities(&teacher.layout, &teacher.params, batch, Some(&replace));
            all += true_run.len();
            same += true_run.iter().zip(&replaced).filter(|(a, b)| top(a) == top(b)).count();
        }
        let split = format!("{:?}", exam.split);
        println!("  {:<13} {split:<8} same answer {:.3}", exam.family.name(), f64::from(same as u32) / all as f64);
    }
}

fn write_config(options: &Options, n_layers: usize) -> Result<()> {
    let mut text = "model_name: hello\nmodel_kind: transcoder_set\nscan: hello\nfeature_input_hook: mlp.hook_in\n\
                    feature_output_hook: mlp.hook_out\nactivation: relu\ntranscoders:\n"
        .to_owned();
    for layer in 0..n_layers {
        text += &format!("  - layer_{layer}.safetensors\n");
    }
    let path = options.out.join("config.yaml");
    fs::write(&path, text).with_context(|| format!("{}", path.display()))
}
