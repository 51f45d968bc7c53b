//! Edge attribution and circuits: beside scores and runs by torch, beside circuits written out as runs of the model itself, and what holds on random models.

mod common;
mod program;
mod random_models;

use candle_core::{DType, Tensor};
use mechscope::analysis::eap::edges::{EdgeGraph, EdgeReader, EdgeSet, EdgeWriter};
use mechscope::analysis::eap::{AnswerPair, CircuitQuestion, EdgeMethod, EdgeStudy, Outside, file};
use mechscope::analysis::target::Target;
use mechscope::model::Model;
use mechscope::model::arch::Over;
use mechscope::model::edit::EditPlan;
use mechscope::model::forward::{Logits, Start};
use mechscope::model::site::{BlockSite as S, Site, Sites};
use mechscope::model::trace::Trace;
use random_models::{Recipe, families, recipes, runner};

fn quiet(_: usize, _: usize) -> anyhow::Result<()> {
    Ok(())
}

fn question(method: EdgeMethod, steps: usize) -> CircuitQuestion {
    CircuitQuestion { method, steps, ..CircuitQuestion::default() }
}

fn pair(clean: &[u32], corrupt: &[u32], target: Target) -> AnswerPair {
    AnswerPair { id: "pair".into(), clean: clean.into(), corrupt: corrupt.into(), target: Some(target) }
}

fn scores(model: &Model, pair: AnswerPair, question: &CircuitQuestion) -> Vec<f64> {
    EdgeStudy::new(model, vec![pair], question, &mut quiet).unwrap().scores(&mut quiet).unwrap().mean
}

/// `test_data/make/eap.py` made these numbers: plain attention, shared keys, norms behind blocks, parallel blocks, norms on queries and keys, a window.
#[test]
fn scores_and_circuits_are_those_of_the_reference() {
    let text = std::fs::read(common::test_data().join("eap/scores.json")).unwrap();
    let reference: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let ids = |name: &str| -> Vec<u32> {
        reference[name].as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as u32).collect()
    };
    let token = |name: &str| reference[name].as_u64().unwrap() as u32;
    let target = Target::new(token("target"), Some(token("contrast")));
    for (name, wanted) in reference["models"].as_object().unwrap() {
        let model = common::open(&common::test_data().join("models").join(name));
        let graph = EdgeGraph::new(&model.decoder.arch);
        for (key, question) in [("eap", question(EdgeMethod::Eap, 0)), ("eap_ig", question(EdgeMethod::EapIg, 5))] {
            let found = scores(&model, pair(&ids("clean"), &ids("corrupt"), target), &question);
            let wanted = wanted[key].as_object().unwrap();
            assert_eq!(wanted.len(), graph.edges(), "{name}");
            let largest = wanted.values().fold(0f64, |m, x| m.max(x.as_f64().unwrap().abs()));
            for edge in graph.all() {
                let (edge, found) = (file::edge_name(&graph, edge), found[graph.index(edge)]);
                let wanted = wanted[&edge].as_f64().unwrap();
                assert!((found - wanted).abs() < 2e-5 * largest + 1e-6, "{name} {key} {edge}: {found} for {wanted}");
            }
        }
        // Circuits of the first edges by the reference's own scores.
        let question = question(EdgeMethod::EapIg, 5);
        let study =
            EdgeStudy::new(&model, vec![pair(&ids("clean"), &ids("corrupt"), target)], &question, &mut quiet).unwrap();
        let score = |edge: &(usize, usize)| wanted["eap_ig"][file::edge_name(&graph, *edge)].as_f64().unwrap().abs();
        let mut order: Vec<(usize, usize)> = graph.all().collect();
        order.sort_by(|a, b| score(b).total_cmp(&score(a)));
        for top in wanted["top"].as_array().unwrap() {
            let mut circuit = graph.none();
            order.iter().take(top[0].as_u64().unwrap() as usize).for_each(|edge| circuit.insert(*edge));
            let loss = top[1].as_f64().unwrap();
            // A node that writes nowhere still has a part in norms over the queries or keys of all heads.
            let circuits = if tied(&model) { vec![circuit] } else { vec![circuit.clone(), circuit.pruned()] };
            for circuit in circuits {
                let measured = study.measure(std::slice::from_ref(&circuit), &mut quiet).unwrap();
                let found = -measured.circuits[0];
                assert!((found - loss).abs() < 2e-4, "{name}, {} edges: {found} for {loss}", circuit.len());
                assert!((measured.clean + wanted["clean_loss"].as_f64().unwrap()).abs() < 2e-4);
            }
        }
    }
}

/// Whether queries or keys of all heads are normed together.
fn tied(model: &Model) -> bool {
    model.decoder.blocks.iter().any(|b| b.attention.k_norm.as_ref().is_some_and(|n| n.over == Over::All))
}

/// Prompts that differ in their first token, so that every position differs.
fn random_pair(recipe: &Recipe, model: &Model) -> (Vec<u32>, Vec<u32>) {
    let mut other = recipe.prompt.clone();
    other[0] = (other[0] + 1) % model.decoder.arch.d_vocab as u32;
    (recipe.prompt.clone(), other)
}

/// Some edges, the same ones for the same recipe; keys that a norm over all heads ties together are chosen together.
fn some_edges(recipe: &Recipe, model: &Model, share: f32) -> EdgeSet {
    let graph = EdgeGraph::new(&model.decoder.arch);
    let (mut number, mut set) = (recipe.numbers(), graph.none());
    for edge in graph.all() {
        if number() < share {
            set.insert(edge);
        }
    }
    let tied = |l: usize| model.decoder.blocks[l].attention.k_norm.as_ref().is_some_and(|n| n.over == Over::All);
    let group = graph.n_heads / model.decoder.arch.n_kv_heads;
    for edge in graph.all() {
        let EdgeReader::Key(l, h) = graph.reader(edge.1) else { continue };
        if tied(l) && h % group > 0 {
            if set.has((edge.0, edge.1 - h % group)) { set.insert(edge) } else { set.remove(edge) }
        }
    }
    set
}

/// A norm, in f64.
fn normed(x: &[f32], norm: &mechscope::model::arch::Norm) -> Vec<f32> {
    let numbers = |t: &Tensor| -> Vec<f64> { t.to_dtype(DType::F64).unwrap().to_vec1().unwrap() };
    let (weight, bias) = (numbers(&norm.weight), norm.bias.as_ref().map(numbers));
    let rows = x.chunks_exact(weight.len()).flat_map(|row| {
        let n = row.len() as f64;
        let mean = if norm.centre { row.iter().map(|x| f64::from(*x)).sum::<f64>() / n } else { 0.0 };
        let centred: Vec<f64> = row.iter().map(|x| f64::from(*x) - mean).collect();
        let scale = (centred.iter().map(|x| x * x).sum::<f64>() / n + f64::from(norm.eps)).sqrt();
        let bias = |i: usize| bias.as_ref().map_or(0.0, |b| b[i]);
        centred.iter().enumerate().map(|(i, x)| (x / scale * weight[i] + bias(i)) as f32).collect::<Vec<f32>>()
    });
    rows.collect()
}

/// A circuit, written out as runs of the model itself: what every reader reads is put into a run of its own, and what its node writes there is read off.
struct WrittenOut<'a> {
    model: &'a Model,
    circuit: &'a EdgeSet,
    clean: Trace,
    corrupt: Trace,
    /// What every writer wrote in the circuit, `[pos * d_model]`.
    now: Vec<Vec<f32>>,
}

impl<'a> WrittenOut<'a> {
    fn new(model: &'a Model, circuit: &'a EdgeSet, clean: &[u32], corrupt: &[u32]) -> Self {
        let layers = 0..model.decoder.arch.n_layers;
        let sites = layers.flat_map(|l| [S::Result, S::MlpOut, S::ResidPre].map(|s| Site::Block(l, s)));
        let sites = Sites::only(sites.chain([Site::Embed, Site::PosEmbed]));
        let run = |ids| model.run(ids, &sites, Logits::Last).unwrap();
        let (clean, corrupt) = (run(clean), run(corrupt));
        let now = vec![clean.numbers(Site::Embed).unwrap()];
        WrittenOut { model, circuit, clean, corrupt, now }
    }

    fn d(&self) -> usize {
        self.model.decoder.arch.d_model
    }

    /// What a writer writes in a run.
    fn by(&self, run: &Trace, writer: EdgeWriter) -> Vec<f32> {
        match writer {
            EdgeWriter::Input => run.numbers(Site::Embed).unwrap(),
            EdgeWriter::Mlp(l) => run.numbers(Site::Block(l, S::MlpOut)).unwrap(),
            EdgeWriter::Head(l, h) => {
                let all = run.block(l, S::Result).unwrap().narrow(1, h, 1).unwrap();
                all.contiguous().unwrap().flatten_all().unwrap().to_vec1().unwrap()
            }
        }
    }

    /// What a reader reads: every writer before it from this run or the corrupt one, with positions, biases and norms behind attention.
    fn reads(&self, reader: usize) -> Vec<f32> {
        let (graph, decoder) = (self.circuit.graph(), &self.model.decoder);
        let mut sum = vec![0f32; self.now[0].len()];
        let add = |to: &mut [f32], x: &[f32]| to.iter_mut().zip(x).for_each(|(to, x)| *to += x);
        if decoder.pos_embed.is_some() {
            add(&mut sum, &self.clean.numbers(Site::PosEmbed).unwrap());
        }
        let mut heads = vec![0f32; sum.len()];
        for w in 0..graph.seen_by(reader) {
            let writer = graph.writer(w);
            let value =
                if self.circuit.has((w, reader)) { self.now[w].clone() } else { self.by(&self.corrupt, writer) };
            let EdgeWriter::Head(l, h) = writer else {
                add(&mut sum, &value);
                continue;
            };
            add(&mut heads, &value);
            if h + 1 == graph.n_heads {
                let block = &decoder.blocks[l];
                if let Some(bias) = &block.attention.o.bias {
                    let bias: Vec<f32> = bias.to_vec1().unwrap();
                    heads.chunks_exact_mut(bias.len()).for_each(|row| add(row, &bias));
                }
                let out = block.ln1_post.as_ref().map_or_else(|| heads.clone(), |norm| normed(&heads, norm));
                add(&mut sum, &out);
                heads.fill(0.0);
            }
        }
        sum
    }

    /// A run from block `l` on whose residual stream is `x`, under a plan.
    fn run_from(&self, l: usize, x: &[f32], plan: &EditPlan, sites: &[S]) -> Trace {
        let mut start = Trace::new(self.clean.prompts().to_vec());
        let stream = Tensor::from_slice(x, (1, self.clean.n_pos(), self.d()), self.model.decoder.device()).unwrap();
        start.record(Site::Block(l, S::ResidPre), stream);
        let sites = Sites::only(sites.iter().map(|s| Site::Block(l, *s)));
        self.model
            .decoder
            .run(Start::Block { layer: l, clean: &start }, &sites, plan, Logits::None, &mut quiet)
            .unwrap()
    }

    /// The columns of one head's projection of what it reads.
    fn projected(&self, l: usize, reader: usize, site: S, unit: usize) -> Vec<Vec<f32>> {
        let run = self.run_from(l, &self.reads(reader), EditPlan::NONE, &[site]);
        let all = run.block(l, site).unwrap().narrow(1, unit, 1).unwrap().squeeze(1).unwrap();
        all.to_vec2().unwrap()
    }

    fn logits(mut self) -> Vec<f32> {
        let (graph, arch) = (*self.circuit.graph(), self.model.decoder.arch.clone());
        let (width, group, places) =
            (arch.d_head, arch.n_heads / arch.n_kv_heads, (0..self.clean.n_pos()).collect::<Vec<_>>());
        let per = 3 * graph.n_heads + 1;
        for l in 0..graph.n_layers {
            let first = l * per;
            let before = graph.parallel.then(|| self.reads(first + per - 1));
            let mut heads = Vec::new();
            for h in 0..graph.n_heads {
                // All queries, and for every key/value head what the query head that is read off gives it; other groups by their first head.
                let mut plan = EditPlan::default();
                for other in 0..graph.n_heads {
                    let rows = self.projected(l, first + other, S::Q, other);
                    plan.replace(0, Site::Block(l, S::Q), places.clone(), other * width..(other + 1) * width, rows);
                }
                for kv in 0..arch.n_kv_heads {
                    let of = if h / group == kv { h } else { kv * group };
                    for (site, part) in [(S::K, 1), (S::V, 2)] {
                        let rows = self.projected(l, first + part * graph.n_heads + of, site, kv);
                        plan.replace(0, Site::Block(l, site), places.clone(), kv * width..(kv + 1) * width, rows);
                    }
                }
                let run = self.run_from(l, &vec![0.5; self.now[0].len()], &plan, &[S::Result]);
                heads.push(self.by(&run, EdgeWriter::Head(l, h)));
            }
            self.now.extend(heads);
            let x = before.unwrap_or_else(|| self.reads(first + per - 1));
            let run = if graph.parallel {
                self.run_from(l, &x, EditPlan::NONE, &[S::MlpOut])
            } else {
                let mut plan = EditPlan::default();
                let rows = x.chunks_exact(self.d()).map(<[f32]>::to_vec).collect();
                plan.replace(0, Site::Block(l, S::ResidMid), places.clone(), 0..self.d(), rows);
                self.run_from(l, &x, &plan, &[S::MlpOut])
            };
            self.now.push(self.by(&run, EdgeWriter::Mlp(l)));
        }
        let x = self.reads(graph.readers() - 1);
        let last = Tensor::from_slice(&x[x.len() - self.d()..], (1, self.d()), self.model.decoder.device()).unwrap();
        self.model.decoder.read_out(&last).unwrap().logits.squeeze(0).unwrap().to_vec1().unwrap()
    }
}

#[test]
fn a_circuit_is_what_its_definition_says_on_random_models_of_every_family() {
    for family in families() {
        let result = runner(6).run(&recipes(family), |recipe: Recipe| {
            let model = recipe.model();
            let (clean, corrupt) = random_pair(&recipe, &model);
            let (circuit, target) = (some_edges(&recipe, &model, 0.6), Target::new(3, Some(1)));
            let question = question(EdgeMethod::Eap, 0);
            let study = EdgeStudy::new(&model, vec![pair(&clean, &corrupt, target)], &question, &mut quiet).unwrap();
            let Ok(measured) = study.measure(&[circuit.clone(), study.graph.whole()], &mut quiet) else {
                return Ok(());
            };
            let logits = WrittenOut::new(&model, &circuit, &clean, &corrupt).logits();
            let wanted = f64::from(logits[3]) - f64::from(logits[1]);
            let size = measured.clean.abs().max(measured.corrupt.abs()).max(1.0);
            let near = |a: f64, b: f64| (a - b).abs() <= 3e-5 * size;
            assert!(near(measured.circuits[0], wanted), "{recipe:?}: {} for {wanted}", measured.circuits[0]);
            // All edges are the clean run, none the corrupt one.
            assert!(near(measured.circuits[1], measured.clean), "{} for {}", measured.circuits[1], measured.clean);
            assert!(near(measured.empty, measured.corrupt), "{} for {}", measured.empty, measured.corrupt);
            // What leads nowhere changes nothing, where heads have nothing to do with each other.
            let pruned = study.measure(&[circuit.pruned()], &mut quiet).unwrap();
            assert!(tied(&model) || near(pruned.circuits[0], wanted), "{} for {wanted}", pruned.circuits[0]);
            Ok(())
        });
        result.unwrap_or_else(|e| panic!("{family}: {e}"));
    }
}

/// On the path between both prompts the edges from the embeddings add up to the gap, and more steps bring them closer.
#[test]
fn on_the_path_edges_from_the_input_add_up_to_the_gap() {
    for name in ["tiny-gpt2", "tiny-llama", "tiny-gemma2", "tiny-gpt-neox", "olmo2-1"] {
        let model = common::open(&common::test_data().join("models").join(name));
        let (clean, corrupt, target) = ([5, 17, 42, 8, 30], [5, 23, 42, 8, 11], Target::new(7, Some(11)));
        let left = |steps| {
            let question = question(EdgeMethod::EapIg, steps);
            let study = EdgeStudy::new(&model, vec![pair(&clean, &corrupt, target)], &question, &mut quiet).unwrap();
            let measured = study.measure(&[], &mut quiet).unwrap();
            let sum = study.scores(&mut quiet).unwrap().of_input(&study.graph);
            (f64::from(sum) - (measured.clean - measured.corrupt)).abs() / (measured.clean - measured.corrupt).abs()
        };
        let (coarse, fine) = (left(50), left(800));
        assert!(
            fine < 0.02 && fine < coarse.max(2e-3),
            "{name}: {coarse} of the gap is left with 50 steps, {fine} with 800"
        );
    }
}

#[test]
fn scores_are_what_they_must_be_on_random_models() {
    for family in families() {
        let result = runner(6).run(&recipes(family), |recipe: Recipe| {
            let model = recipe.model();
            let (clean, corrupt) = random_pair(&recipe, &model);
            let target = Target::new(3, Some(1));
            let graph = EdgeGraph::new(&model.decoder.arch);
            let of = |clean: &[u32], corrupt: &[u32], method| {
                scores(&model, pair(clean, corrupt, target), &question(method, 4))
            };
            // Nothing differs: nothing scores.
            assert!(of(&clean, &clean, EdgeMethod::Eap).iter().all(|s| *s == 0.0));
            let all = of(&clean, &corrupt, EdgeMethod::Eap);
            // There are no edges but those of the graph.
            let mut real = vec![false; all.len()];
            graph.all().for_each(|edge| real[graph.index(edge)] = true);
            assert!(all.iter().zip(&real).all(|(score, real)| *real || *score == 0.0));
            assert!(all.iter().all(|s| s.is_finite()));
            // Both ends: the mean of the two, and the path of one step begins at the corrupt end.
            let (back, ends) = (of(&corrupt, &clean, EdgeMethod::Eap), of(&clean, &corrupt, EdgeMethod::CleanCorrupt));
            let one = scores(&model, pair(&clean, &corrupt, target), &question(EdgeMethod::EapIg, 1));
            let size = all.iter().chain(&back).fold(1f64, |m, x| m.max(x.abs()));
            for i in 0..all.len() {
                assert!((ends[i] - f64::midpoint(all[i], -back[i])).abs() <= 1e-5 * size);
                assert!((one[i] + back[i]).abs() <= 1e-5 * size);
            }
            Ok(())
        });
        result.unwrap_or_else(|e| panic!("{family}: {e}"));
    }
}

/// A head that writes nothing has no edges that carry anything.
#[test]
fn a_head_without_output_scores_nothing() {
    let mut model = common::open(&common::test_data().join("models/tiny-qwen2"));
    let (head, width) = (2, model.decoder.arch.d_head);
    let weight = &model.decoder.blocks[1].attention.o.weight;
    let mut rows: Vec<Vec<f32>> = weight.to_vec2().unwrap();
    rows.iter_mut().for_each(|row| row[head * width..(head + 1) * width].fill(0.0));
    model.decoder.blocks[1].attention.o.weight = Tensor::new(rows, weight.device()).unwrap();
    let graph = EdgeGraph::new(&model.decoder.arch);
    let found =
        scores(&model, pair(&[5, 17, 42, 8], &[5, 23, 42, 8], Target::new(7, Some(11))), &question(EdgeMethod::Eap, 0));
    let node = (0..graph.writers()).find(|w| graph.writer(*w) == EdgeWriter::Head(1, head)).unwrap();
    for edge in graph.all() {
        let touches = edge.0 == node || graph.node_of(edge.1) == Some(node);
        assert!(!touches || found[graph.index(edge)].abs() < 1e-7, "{}", file::edge_name(&graph, edge));
    }
    assert!(found.iter().any(|score| *score != 0.0), "the other edges carry something");
}

/// An edge by itself is estimated by its score: the closer the two prompts' values, the better.
#[test]
fn a_score_is_the_slope_of_patching_its_edge() {
    for name in ["tiny-gpt2", "tiny-llama", "tiny-gemma2", "tiny-gpt-neox", "olmo2-1"] {
        let mut model = common::open(&common::test_data().join("models").join(name));
        // Two tokens that are nearly the same.
        let mut rows: Vec<Vec<f32>> = model.decoder.embed.to_vec2().unwrap();
        rows[23] = rows[17].iter().zip(&rows[23]).map(|(a, b)| a + 0.003 * (b - a)).collect();
        model.decoder.embed = Tensor::new(rows, model.decoder.device()).unwrap();
        let pair = pair(&[5, 17, 42, 8, 30], &[5, 23, 42, 8, 30], Target::new(7, Some(11)));
        let (by_slope, by_run) = (
            scores(&model, pair.clone(), &question(EdgeMethod::Eap, 0)),
            scores(&model, pair, &question(EdgeMethod::Exact, 0)),
        );
        let size = by_run.iter().fold(0f64, |m, x| m.max(x.abs()));
        let worst = by_slope.iter().zip(&by_run).fold(0f64, |m, (a, b)| m.max((a - b).abs()));
        assert!(worst < 0.02 * size + 2e-5, "{name}: off by {worst}, the largest is {size}");
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    let model = common::open(&common::test_data().join("models/tiny-llama"));
    let said = |pairs: Vec<AnswerPair>, question: &CircuitQuestion| {
        let asked = EdgeStudy::new(&model, pairs, question, &mut quiet).and_then(|s| s.scores(&mut quiet));
        format!("{:#}", asked.expect_err("refused"))
    };
    let one = |clean: &[u32], corrupt: &[u32]| vec![pair(clean, corrupt, Target::new(3, Some(1)))];
    assert!(said(one(&[1, 2], &[1, 2, 3]), &question(EdgeMethod::Eap, 0)).contains("2 tokens and the corrupt one 3"));
    assert!(said(one(&[1, 2], &[1, 3]), &question(EdgeMethod::EapIg, 0)).contains("0 steps"));
    assert!(said(Vec::new(), &question(EdgeMethod::Eap, 0)).contains("no pair"));
    let mean = |prompts: &[&[u32]], method| CircuitQuestion {
        outside: Outside::Mean { set: "s".into(), prompts: prompts.iter().map(|p| p.to_vec()).collect() },
        ..question(method, 5)
    };
    assert!(said(one(&[1, 2], &[1, 3]), &mean(&[&[4, 5]], EdgeMethod::EapIg)).contains("a mean is no prompt"));
    assert!(said(one(&[1, 2], &[1, 3]), &mean(&[&[4, 5], &[1, 2]], EdgeMethod::Eap)).contains("itself"));
    let same = question(EdgeMethod::Eap, 0);
    let study = EdgeStudy::new(&model, one(&[1, 2], &[1, 2]), &same, &mut quiet).unwrap();
    assert!(format!("{:#}", study.measure(&[], &mut quiet).unwrap_err()).contains("no gap"));
}

/// Against a mean, an edge's exact score and the circuit of all edges say the same of the clean run.
#[test]
fn edges_outside_can_carry_a_mean() {
    let model = common::open(&common::test_data().join("models/tiny-gemma2"));
    let prompts = [[1, 2, 3, 4], [9, 8, 7, 6], [3, 1, 4, 1]];
    let outside = Outside::Mean { set: "s".into(), prompts: prompts.iter().map(|p| p.to_vec()).collect() };
    let question = CircuitQuestion { outside, ..question(EdgeMethod::Eap, 0) };
    let study =
        EdgeStudy::new(&model, vec![pair(&[5, 17, 42], &[5, 23, 42], Target::new(7, Some(11)))], &question, &mut quiet)
            .unwrap();
    let measured = study.measure(&[study.graph.whole(), study.graph.none()], &mut quiet).unwrap();
    assert!(
        (measured.circuits[0] - measured.clean).abs() < 1e-4 && (measured.circuits[1] - measured.empty).abs() < 1e-5
    );
    // Nothing at all is the mean of every writer, summed.
    let sites = (0..model.decoder.arch.n_layers).flat_map(|l| [S::Result, S::MlpOut].map(|s| Site::Block(l, s)));
    let sites = Sites::only(sites.chain([Site::Embed]));
    let d = model.decoder.arch.d_model;
    let mut sum = vec![0f32; d];
    let runs: Vec<Trace> = prompts.iter().map(|ids| model.run(ids, &sites, Logits::Last).unwrap()).collect();
    let mean = |site: Site, of: &dyn Fn(Vec<f32>) -> Vec<f32>| -> Vec<f32> {
        let mut mean = vec![0f32; d];
        for run in &runs {
            let rows = of(run.numbers(site).unwrap());
            rows.chunks_exact(d).for_each(|row| mean.iter_mut().zip(row).for_each(|(m, x)| *m += x / 12.0));
        }
        mean
    };
    let add = |to: &mut Vec<f32>, x: Vec<f32>| to.iter_mut().zip(x).for_each(|(to, x)| *to += x);
    add(&mut sum, mean(Site::Embed, &|x| x));
    for (l, block) in model.decoder.blocks.iter().enumerate() {
        let heads = mean(Site::Block(l, S::Result), &|x| {
            x.chunks_exact(model.decoder.arch.n_heads * d)
                .flat_map(|heads| {
                    (0..d).map(|i| heads.chunks_exact(d).map(|h| h[i]).sum::<f32>()).collect::<Vec<f32>>()
                })
                .collect()
        });
        add(&mut sum, normed(&heads, block.ln1_post.as_ref().unwrap()));
        add(&mut sum, mean(Site::Block(l, S::MlpOut), &|x| x));
    }
    let logits: Vec<f32> = {
        let x = Tensor::from_slice(&sum, (1, d), model.decoder.device()).unwrap();
        model.decoder.read_out(&x).unwrap().logits.squeeze(0).unwrap().to_vec1().unwrap()
    };
    let wanted = f64::from(logits[7]) - f64::from(logits[11]);
    assert!((measured.empty - wanted).abs() < 1e-4, "{} for {wanted}", measured.empty);
    assert!(study.scores(&mut quiet).unwrap().mean.iter().any(|s| s.abs() > 1e-4));
}

const DALLAS: [&str; 8] = [
    "-p",
    "The capital of the state containing Dallas is",
    "--corrupt",
    "The capital of the state containing Seattle is",
    "-t",
    " Austin",
    "-c",
    " Olympia",
];

/// What the command prints is what it saves, and what it reads again; the file has the names of the public implementation.
#[test]
fn a_circuit_file_goes_round() {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("circuit.json");
    let path = program::arg(&path);
    let run =
        |more: &[&str]| program::mechscope(&[&["circuit", "--format", "json"], &DALLAS[..], more].concat()).json();
    let made = run(&["--save", path, "--edges", "60"]);
    let text: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(program::keys(&text), ["cfg", "nodes", "edges"]);
    assert_eq!(program::keys(&text["cfg"]), ["n_layers", "n_heads", "parallel_attn_mlp", "d_model"]);
    let edges = made["edges"].as_array().unwrap();
    assert_eq!(edges.len(), text["edges"].as_object().unwrap().len());
    for edge in edges {
        let kept = &text["edges"][edge["edge"].as_str().unwrap()];
        assert!((kept["score"].as_f64().unwrap() - edge["score"].as_f64().unwrap()).abs() < 1e-5, "{edge}");
        assert_eq!(kept["in_graph"].as_bool(), Some(edge["in_circuit"] == 1), "{edge}");
    }
    let read = run(&["--load", path]);
    for fact in ["circuit_edges", "circuit_faithfulness", "cmd", "cpr", "curve", "nodes"] {
        assert_eq!(made[fact], read[fact], "{fact}");
    }
    let wrong = program::mechscope(
        &[
            &["circuit", "-m", "induction", "-p", "abc", "--corrupt", "abd", "-t", "a", "-c", "b"][..],
            &["--load", path],
        ]
        .concat(),
    );
    assert!(wrong.code == Some(1) && wrong.err.contains("cfg: found"), "{}", wrong.err);
}

/// The built-in model's two hops: few edges are enough, and the last of the curve is the model.
#[test]
fn the_built_in_circuit_is_small_and_faithful() {
    let report = program::mechscope(&[&["circuit", "--format", "json", "--steps", "20"], &DALLAS[..]].concat()).json();
    let number = |name: &str| report[name].as_f64().unwrap();
    assert!((number("metric_clean") - 7.6429).abs() < 1e-3 && (number("metric_empty") + 7.9699).abs() < 1e-3);
    assert!(
        (number("circuit_faithfulness") - 1.0).abs() <= 0.1 && number("circuit_edges") < number("all_edges") / 4.0,
        "{report}"
    );
    let curve = report["curve"].as_array().unwrap();
    assert!((curve[9]["faithfulness_absolute"].as_f64().unwrap() - 1.0).abs() < 1e-4);
    let greedy =
        program::mechscope(&[&["circuit", "--format", "json", "--select", "greedy"], &DALLAS[..]].concat()).json();
    assert_eq!(greedy["curve"][9]["faithfulness_signed"], report["curve"][9]["faithfulness_signed"]);
}

#[test]
fn a_set_has_means_with_errors() {
    let args = [
        "circuit",
        "--set",
        "builtin:two-hop",
        "--format",
        "json",
        "--method",
        "eap",
        "--ablate",
        "mean:builtin:agreement",
    ];
    let report = program::mechscope(&args).json();
    assert_eq!(report["pairs"].as_i64(), Some(20));
    assert!(report["edges"][0]["score_se"].as_f64().unwrap() > 0.0);
    let own = program::mechscope(&[
        "circuit",
        "--set",
        "builtin:two-hop",
        "--method",
        "eap",
        "--ablate",
        "mean:builtin:two-hop",
    ]);
    assert!(own.code == Some(1) && own.err.contains("itself"), "{}", own.err);
}
