//! What feeds a neuron and who reads it: against autograd in float64, and the same numbers in the report.

mod common;
mod program;

use candle_core::{Device, Tensor};
use common::{open, shared, test_data};
use mechscope::model::Model;
use mechscope::model::edit::{EditPlan, Passes};
use mechscope::model::forward::{Logits, Start};
use mechscope::model::site::{BlockSite, Site, Sites};
use mechscope::model::trace::Trace;
use mechscope::replacement::Gate;
use mechscope::replacement::feeds::NeuronAt;
use program::{arg, mechscope, model};
use std::collections::HashMap;

/// A prompt whose direct effects between neurons autograd has computed.
struct Graph {
    name: String,
    model: Model,
    trace: Trace,
    rule: Gate,
    tensors: HashMap<String, Tensor>,
}

fn graphs() -> Vec<Graph> {
    let mut found = Vec::new();
    for root in std::iter::once(test_data()).chain(shared()) {
        let Ok(files) = std::fs::read_dir(root.join("neuron-graphs")) else { continue };
        for file in files.flatten().map(|f| f.path()).filter(|p| p.extension().is_some_and(|e| e == "safetensors")) {
            let about: serde_json::Value =
                serde_json::from_slice(&std::fs::read(file.with_extension("json")).unwrap()).unwrap();
            let rule = match about["gated_rule"].as_str() {
                // The plain product counts twice over what the half rule counts once.
                Some("full") => continue,
                Some("up") => Gate::Freeze,
                _ => Gate::Half,
            };
            let model = open(&root.join("models").join(about["model"].as_str().unwrap().trim_start_matches("models/")));
            let ids: Vec<u32> = about["ids"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect();
            let start = [ids];
            let trace = model.decoder.run(
                Start::Tokens(&start),
                &Sites::Standard,
                EditPlan::NONE,
                Logits::Last,
                &mut |_, _| Ok(()),
            );
            found.push(Graph {
                name: file.file_stem().unwrap().to_string_lossy().into_owned(),
                model,
                trace: trace.unwrap(),
                rule,
                tensors: candle_core::safetensors::load(&file, &Device::Cpu).unwrap(),
            });
        }
    }
    assert!(found.len() >= 5, "reference neuron graphs are missing");
    found
}

impl Graph {
    /// Target neurons with their rows: embeddings, positions, then neurons by layer, position and number.
    fn rows(&self) -> Vec<(NeuronAt, Vec<f32>)> {
        let triples: Vec<Vec<i64>> = self.tensors["target_neurons"].to_vec2().unwrap();
        let at = |t: &Vec<i64>| NeuronAt { layer: t[0] as usize, position: t[1] as usize, neuron: t[2] as usize };
        let rows: Vec<Vec<f32>> = self.tensors["neuron_rows"].to_vec2().unwrap();
        triples.iter().map(at).zip(rows).collect()
    }

    /// Columns before those of neurons.
    fn before(&self) -> usize {
        self.trace.n_pos() * (1 + usize::from(self.model.decoder.pos_embed.is_some()))
    }
}

fn numbers(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

fn product(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() as f32
}

#[test]
fn what_feeds_a_neuron_is_what_autograd_says() {
    for graph in graphs() {
        let (model, trace) = (&graph.model.decoder, &graph.trace);
        let (n_pos, d, d_mlp) = (trace.n_pos(), model.arch.d_model, model.arch.d_mlp);
        for (at, want) in graph.rows() {
            let feeds = model.feeds(trace, at, graph.rule, Passes::default(), &mut |_, _| Ok(())).unwrap();
            let mut got = vec![0f32; want.len()];
            let embed = numbers(&feeds.embed);
            for (table, site) in [Site::Embed, Site::PosEmbed].into_iter().filter(|s| model.has_site(*s)).enumerate() {
                let rows = trace.numbers(site).unwrap();
                for (p, g) in embed.chunks(d).enumerate() {
                    got[table * n_pos + p] = product(&rows[p * d..][..d], g);
                }
            }
            for (l, gradient) in feeds.neurons.iter().enumerate() {
                let post = trace.numbers(Site::Block(l, BlockSite::MlpPost)).unwrap();
                for (i, g) in numbers(gradient).iter().enumerate() {
                    got[graph.before() + l * n_pos * d_mlp + i] = g * post[i];
                }
            }
            let sum: f32 = want.iter().map(|x| x.abs()).sum();
            for (i, (g, w)) in got.iter().zip(&want).enumerate() {
                assert!((g - w).abs() <= 1e-5 * sum + 1e-6, "{} {at:?} column {i}: {g} for {w}", graph.name);
            }
        }
    }
}

#[test]
fn who_reads_a_neuron_is_what_autograd_says() {
    for graph in graphs() {
        let (model, trace) = (&graph.model.decoder, &graph.trace);
        let (n_pos, d_mlp) = (trace.n_pos(), model.arch.d_mlp);
        let mut read = 0;
        for (at, row) in graph.rows().into_iter().filter(|(at, _)| at.layer > 0).step_by(3) {
            // The neuron that this one reads most.
            let neurons = &row[graph.before()..];
            let (column, want) = neurons.iter().enumerate().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs())).unwrap();
            let source =
                NeuronAt { layer: column / (n_pos * d_mlp), position: column / d_mlp % n_pos, neuron: column % d_mlp };
            let found =
                model.readers(trace, source, graph.rule, Passes::default(), usize::MAX, &mut |_, _| Ok(())).unwrap();
            let of = |r: &&mechscope::replacement::readers::NeuronReader| {
                (r.layer, r.position, r.unit) == (at.layer, at.position, at.neuron)
            };
            let got = found.neurons.iter().find(of).map_or(0.0, |r| r.size);
            let sum: f32 = row.iter().map(|x| x.abs()).sum();
            assert!((got - want).abs() <= 1e-5 * sum + 1e-6, "{} {at:?} from {source:?}: {got}", graph.name);
            let strongest = model.readers(trace, source, graph.rule, Passes::default(), 3, &mut |_, _| Ok(())).unwrap();
            assert_eq!(strongest.neurons[..], found.neurons[..3], "{}: the strongest come first", graph.name);
            read += 1;
        }
        assert!(read > 5, "{}: {read} pairs", graph.name);
    }
}

fn part<'a>(report: &'a serde_json::Value, name: &str) -> &'a Vec<serde_json::Value> {
    report[name].as_array().unwrap_or_else(|| panic!("{name} in {report}"))
}

#[test]
fn the_report_adds_up_and_reads_the_weights() {
    for name in ["tiny-gpt2", "tiny-llama", "tiny-gemma2", "tiny-gpt-neox"] {
        let folder = model(name);
        let command = ["neurons", "-m", arg(&folder), "--ids", "0,30,40,50,60,70,80", "--neuron", "L2.N17"];
        let all = mechscope(&[&command[..], &["--position", "5", "--top", "9", "--format", "json"]].concat()).json();
        let number = |value: &serde_json::Value| value.as_f64().unwrap();
        let inputs = part(&all, "inputs");
        let (whole, parts) = inputs.split_last().unwrap();
        assert_eq!(whole["effect"], all["activation"], "{name}");
        let (sum, size) = parts.iter().map(|p| number(&p["effect"])).fold((0.0, 0.0), |(s, a), x| (s + x, a + x.abs()));
        assert!((sum - number(&whole["effect"])).abs() <= 1e-5 * size, "{name}: {sum} of {whole}");
        let more = parts.iter().any(|p| p["component"].as_str().unwrap().ends_with(" more"));
        assert!(more && parts.len() == 10, "{name}: {inputs:?}");

        let tensors = open(&folder);
        let decoder = &tensors.decoder;
        let block = &decoder.blocks[2];
        let (d, row) = (decoder.arch.d_model, numbers(&block.mlp.input.weight.narrow(0, 17, 1).unwrap()));
        let norm = block.ln2.as_ref().unwrap();
        let (weight, embed) = (numbers(&norm.weight), numbers(&decoder.embed));
        // The definition, token by token: the row against the normed embedding, but for the norm's scale.
        let by_hand = |id: usize| {
            let e = &embed[id * d..][..d];
            let mean = if norm.centre { e.iter().sum::<f32>() / d as f32 } else { 0.0 };
            let normed: Vec<f32> = e.iter().zip(&weight).map(|(e, w)| (e - mean) * w).collect();
            product(&normed, &row) * decoder.embed_scale.unwrap_or(1.0)
        };
        let mut values: Vec<f32> = (0..decoder.arch.d_vocab).map(by_hand).collect();
        for token in part(&all, "driven_by").iter().chain(part(&all, "inhibited_by")) {
            let want = values[token["id"].as_u64().unwrap() as usize];
            assert!((number(&token["weight"]) as f32 - want).abs() < 1e-4, "{name} {token}: {want}");
        }
        values.sort_by(|a, b| b.total_cmp(a));
        assert!((number(&part(&all, "driven_by")[0]["weight"]) as f32 - values[0]).abs() < 1e-4, "{name}");
        assert_eq!(all["opened_by"].as_array().map(Vec::len), block.mlp.gate.as_ref().map(|_| 5), "{name}");
        let everywhere = part(&all, "activations");
        assert_eq!((everywhere.len(), &everywhere[5]["activation"]), (7, &all["activation"]), "{name}");
    }
}

#[test]
fn a_neuron_that_does_not_exist_is_an_error() {
    let folder = model("tiny-gpt2");
    let ran = mechscope(&["neurons", "-m", arg(&folder), "--ids", "0,1", "--neuron", "L2.N9999"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("L2.N9999") && ran.err.contains("neurons 0..="), "{}", ran.err);
    let ran = mechscope(&["neurons", "-m", arg(&folder), "--ids", "0,1", "--neuron", "L2.H1"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("a neuron such as L5.N17"), "{}", ran.err);
}
