//! What holds for the rows of any model: checked on random models of every family.

#[path = "frozen_common/blocked.rs"]
mod blocked;
mod random_models;

use candle_core::{Device, Tensor};
use mechscope::analysis::attribution_graph::{GraphSettings, LogitTarget, build};
use mechscope::graph::{Graph, Influence, NodeKind};
use mechscope::model::Model;
use mechscope::model::dictionary::Dictionary;
use mechscope::model::edit::Passes;
use mechscope::model::forward::Logits;
use mechscope::model::site::{BlockSite, Sites};
use mechscope::model::trace::Trace;
use mechscope::replacement::Gate;
use mechscope::replacement::{EffectRow, ReplacementModel, ResidualTarget, SourceBlocks};
use random_models::{Recipe, families, recipes, runner};
use std::cell::Cell;
use std::path::Path;

/// Models of each family.
const CASES: u32 = 24;
const TOKEN: u32 = 3;

/// Layer, position, neuron.
type Neuron = (usize, usize, usize);

/// A model frozen at its prompt, with rows for every neuron and a logit over all neurons.
struct Case {
    model: Model,
    trace: Trace,
    frozen: ReplacementModel,
    neurons: Vec<Neuron>,
    sources: SourceBlocks,
    targets: Vec<ResidualTarget>,
    rows: Vec<EffectRow>,
}

impl Case {
    fn new(recipe: &Recipe, gate: Gate, demeaned: bool) -> Self {
        let model = recipe.model();
        let decoder = &model.decoder;
        let Sites::Only(mut sites) = ReplacementModel::sites(decoder) else { panic!("sites by name") };
        sites.extend(decoder.relp_sites());
        let trace = model.run(&recipe.prompt, &Sites::Only(sites), Logits::Last).unwrap();
        let frozen = ReplacementModel::new(decoder, &trace).unwrap();
        let n_pos = frozen.n_pos;
        let of = |l| (0..n_pos).flat_map(move |p| (0..decoder.arch.d_mlp).map(move |n| (l, p, n)));
        let neurons: Vec<Neuron> = (0..frozen.n_layers()).flat_map(of).collect();
        let writes = SourceBlocks::neuron_writes(&frozen, decoder, &trace, &neurons).unwrap();
        let biases = SourceBlocks::output_biases(&frozen, decoder).unwrap();
        let sources = SourceBlocks::new(&frozen, &trace, neurons.len(), &writes, &biases, None).unwrap();
        let maker = frozen.targets(decoder, &trace, gate);
        let mut targets: Vec<ResidualTarget> =
            neurons.iter().flat_map(|&(l, p, n)| maker.neurons(l, &[(p, n)]).unwrap()).collect();
        targets.push(maker.logits(n_pos - 1, &[(TOKEN, 1.0)], demeaned).unwrap());
        let rows = rows(&frozen, &targets, &sources);
        Case { model, trace, frozen, neurons, sources, targets, rows }
    }

    /// The largest error that rounding may leave in a row. Of sources whose own products cancel, the absolute sum shows
    /// nothing: there it is the vectors' lengths that count, 64 roundings (half an epsilon each) of their product.
    fn slack(&self, row: usize) -> f64 {
        let length = |v: &[f32]| v.iter().map(|x| (*x as f64).powi(2)).sum::<f64>().sqrt();
        let longest = self.frozen.embed.chunks(self.frozen.d_model).map(length).fold(0.0, f64::max);
        1e-5 * self.rows[row].abs_sum as f64
            + 32.0 * f64::from(f32::EPSILON) * length(&self.targets[row].vector) * longest
    }
}

fn rows(frozen: &ReplacementModel, targets: &[ResidualTarget], sources: &SourceBlocks) -> Vec<EffectRow> {
    let mut rows = vec![None; targets.len()];
    let take = |done: Vec<(usize, EffectRow)>| {
        done.into_iter().for_each(|(t, row)| rows[t] = Some(row));
        Ok(())
    };
    frozen.rows(targets, sources, take).unwrap();
    rows.into_iter().map(Option::unwrap).collect()
}

/// Runs `test` on random models of every family, with both gate rules where there are gates.
fn for_all(test: impl Fn(&Recipe, Gate)) {
    for family in families() {
        let result = runner(CASES).run(&recipes(family), |recipe| {
            test(&recipe, Gate::Half);
            if !family.starts_with("gpt") {
                test(&recipe, Gate::Freeze);
            }
            Ok(())
        });
        result.unwrap_or_else(|e| panic!("{family}: {e}"));
    }
}

/// Invariants a and b.
// Checks I2 of ARCHITECTURE.md.
#[test]
fn rows_add_up_and_see_only_what_came_before() {
    for_all(|recipe, gate| {
        let case = Case::new(recipe, gate, true);
        let columns = case.sources.columns;
        for (t, row) in case.rows.iter().enumerate() {
            assert!(row.residual.abs() as f64 <= case.slack(t), "target {t}: {} of {}", row.residual, row.abs_sum);
            let Some(&(layer, position, _)) = case.neurons.get(t) else { continue };
            for (s, &(l, p, _)) in case.neurons.iter().enumerate() {
                assert!(row.effects[s] == 0.0 || (l < layer && p <= position), "target {t} from {:?}", (l, p));
            }
            for p in position + 1..case.frozen.n_pos {
                let later = [Some(columns.token(p)), columns.pos_embed(p)];
                assert!(later.into_iter().flatten().all(|c| row.effects[c] == 0.0), "target {t} from token {p}");
            }
        }
    });
}

/// Invariant b with remainders: when some of the neurons are sources only, what the others write is in the columns of their layers and
/// positions, and from those at or above a target, or after it, comes nothing at all.
#[test]
fn remainders_from_above_or_later_have_exactly_no_effect() {
    let (remainders, forbidden) = (Cell::new(0), Cell::new(0));
    for_all(|recipe, gate| {
        let case = Case::new(recipe, gate, true);
        let mut random = recipe.numbers();
        let some: Vec<Neuron> = case.neurons.iter().copied().filter(|_| random() < 0.5).collect();
        let decoder = &case.model.decoder;
        let writes = SourceBlocks::neuron_writes(&case.frozen, decoder, &case.trace, &some).unwrap();
        let biases = SourceBlocks::output_biases(&case.frozen, decoder).unwrap();
        let sources = SourceBlocks::new(&case.frozen, &case.trace, some.len(), &writes, &biases, None).unwrap();
        let (columns, rows) = (sources.columns, rows(&case.frozen, &case.targets, &sources));
        for (t, row) in rows.iter().enumerate() {
            assert!(row.residual.abs() as f64 <= case.slack(t), "target {t}: {} of {}", row.residual, row.abs_sum);
            let Some(&(layer, position, _)) = case.neurons.get(t) else { continue };
            for l in 0..columns.n_layers {
                for p in 0..columns.n_pos {
                    let effect = row.effects[columns.remainder(l, p)];
                    let allowed = l < layer && p <= position;
                    assert!(allowed || effect == 0.0, "target {t} from the remainder of {l}@{p}: {effect}");
                    remainders.set(remainders.get() + usize::from(effect != 0.0));
                    forbidden.set(forbidden.get() + usize::from(!allowed));
                }
            }
            for (s, &(l, p, _)) in some.iter().enumerate() {
                assert!(row.effects[s] == 0.0 || (l < layer && p <= position), "target {t} from {:?}", (l, p));
            }
        }
    });
    assert!(remainders.get() > 1000 && forbidden.get() > 1000, "{} and {}", remainders.get(), forbidden.get());
}

/// Writes random transcoders for a model, of one layer each or across layers.
fn random_dictionary(folder: &Path, model: &Model, cross_layer: bool, read: &str, random: &mut dyn FnMut() -> f32) {
    const FEATURES: usize = 5;
    let (d, n_layers) = (model.decoder.arch.d_model, model.decoder.arch.n_layers);
    let mut tensor = |shape: &[usize]| {
        let numbers: Vec<f32> = (0..shape.iter().product()).map(|_| random() - 0.5).collect();
        Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()
    };
    let save = |name: String, tensors: Vec<(String, Tensor)>| {
        candle_core::safetensors::save(&tensors.into_iter().collect(), folder.join(name)).unwrap();
    };
    for l in 0..n_layers {
        let name = |stem: &str| if cross_layer { format!("{stem}_{l}") } else { stem.to_owned() };
        let mut parts = vec![
            (name("W_enc"), tensor(&[FEATURES, d])),
            (name("b_enc"), tensor(&[FEATURES])),
            (name("b_dec"), tensor(&[d])),
        ];
        if cross_layer {
            save(format!("W_dec_{l}.safetensors"), vec![(name("W_dec"), tensor(&[FEATURES, n_layers - l, d]))]);
            save(format!("W_enc_{l}.safetensors"), parts);
        } else {
            parts.push((name("W_dec"), tensor(&[FEATURES, d])));
            save(format!("layer_{l}.safetensors"), parts);
        }
    }
    let kind = if cross_layer { "clt" } else { "plt" };
    let config = format!(
        r#"{{"kind": "{kind}", "activation": "relu", "feature_input_hook": "{read}", "feature_output_hook": "hook_mlp_out"}}"#
    );
    std::fs::write(folder.join("config.json"), config).unwrap();
}

/// Invariant b on features: those of transcoders of one layer and across layers, and what a dictionary leaves of each MLP.
#[test]
fn features_and_errors_reach_only_what_comes_after_and_above() {
    let kinds: Cell<[usize; 3]> = Cell::default();
    for_all(|recipe, _| {
        let model = recipe.model();
        let mut random = recipe.numbers();
        let cross_layer = random() < 0.5;
        let read = if random() < 0.5 { "mlp.hook_in" } else { "hook_resid_mid" };
        let folder = tempfile::tempdir().unwrap();
        random_dictionary(folder.path(), &model, cross_layer, read, &mut random);
        let dictionary = Dictionary::open(folder.path(), &model.decoder).unwrap();
        let targets = vec![LogitTarget { name: "a".into(), weights: vec![(TOKEN, 1.0)], probability: 0.5 }];
        let tokens = model.pieces(&recipe.prompt);
        let settings = GraphSettings::default();
        let graph = build(&model, &tokens, Some(&dictionary), &targets, settings, &mut |_, _| Ok(())).unwrap();
        for edge in graph.edges.iter() {
            let (source, target) = (&graph.nodes[edge.source as usize], &graph.nodes[edge.target as usize]);
            let name = format!("{} -> {}", source.name(), target.name());
            assert!(source.position <= target.position, "{name}: from a later position");
            assert!(source.layer < target.layer || source.kind.is_input(), "{name}: from its own layer or above");
            let mut seen = kinds.get();
            seen[0] += usize::from(source.kind == NodeKind::Feature && target.is_unit() && !cross_layer);
            seen[1] += usize::from(source.kind == NodeKind::Feature && target.is_unit() && cross_layer);
            seen[2] += usize::from(source.kind == NodeKind::Error && target.is_unit());
            kinds.set(seen);
        }
    });
    assert!(kinds.get().iter().all(|n| *n > 100), "{:?}", kinds.get());
}

/// Invariants c and q: in the company of targets at later positions and higher layers, or alone; on one thread or two.
#[test]
fn company_and_threads_change_no_bit() {
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    for_all(|recipe, gate| {
        let case = Case::new(recipe, gate, true);
        let single = one.install(|| rows(&case.frozen, &case.targets, &case.sources));
        for (t, row) in case.rows.iter().enumerate() {
            let alone = &rows(&case.frozen, &case.targets[t..=t], &case.sources)[0];
            for other in [alone, &single[t]] {
                assert_eq!((&row.effects, row.bias, &row.heads), (&other.effects, other.bias, &other.heads), "{t}");
            }
        }
    });
}

/// Invariants d and h: the rows of the packed layout against a plain forward pass in f64. The frozen model is linear, so
/// any step will do; a step of one source takes it away.
#[test]
fn edges_are_what_a_plain_forward_pass_says() {
    for_all(|recipe, gate| {
        let case = Case::new(recipe, gate, true);
        let writes =
            SourceBlocks::neuron_writes(&case.frozen, &case.model.decoder, &case.trace, &case.neurons).unwrap();
        let d = case.frozen.d_model;
        for (t, row) in case.rows.iter().enumerate().rev().step_by(5) {
            let plain =
                |from, vector: &[f32]| blocked::forward(&case.model, &case.trace, from, vector, &case.targets[t]);
            for write in writes.iter().step_by(3) {
                let got = row.effects[write.column] as f64;
                for step in [1e-3f32, 1.0, -1.0] {
                    let vector: Vec<f32> = write.vector.iter().map(|v| v * step).collect();
                    let want = plain((write.layer + 1, write.position), &vector) / step as f64;
                    assert!((got - want).abs() <= case.slack(t), "target {t}, source {:?}", case.neurons[write.column]);
                }
            }
            for p in 0..case.frozen.n_pos {
                let got = row.effects[case.sources.columns.token(p)] as f64;
                let want = plain((0, p), &case.frozen.embed[p * d..(p + 1) * d]);
                assert!((got - want).abs() <= case.slack(t), "target {t}, token {p}: {got} for {want}");
            }
        }
    });
}

/// Invariants e and f: summed over all paths, the edges give every neuron the relevance that one backward pass through
/// the whole frozen model gives it, and inputs and biases together the logit.
#[test]
fn paths_add_up_to_the_relevance_and_the_logit() {
    for_all(|recipe, gate| {
        let case = Case::new(recipe, gate, false);
        let (decoder, n) = (&case.model.decoder, case.neurons.len());
        let last = case.frozen.n_pos - 1;
        let gradients =
            decoder.relp(&case.trace, &[(TOKEN, 1.0)], last, gate, Passes::default(), &mut |_, _| Ok(())).unwrap();
        // Of the logit by each neuron: from the top down, over all that the neuron feeds.
        let mut relevance = vec![0f64; n];
        // What the rounding of every row may come to, by all that it feeds.
        let (mut inputs, mut slack) = (0f64, 0f64);
        let columns = case.sources.columns;
        for t in (0..=n).rev() {
            let (row, value) = (&case.rows[t], case.targets[t].value as f64);
            // Its share of the logit for each unit of its value; a neuron at zero passes nothing on, and carries nothing.
            let by = if t == n {
                1.0
            } else if value == 0.0 {
                0.0
            } else {
                relevance[t] / value
            };
            relevance.iter_mut().zip(&row.effects).for_each(|(r, e)| *r += by * *e as f64);
            let outer = columns.token(0)..columns.len();
            inputs += by * (row.bias as f64 + row.effects[outer].iter().map(|e| *e as f64).sum::<f64>());
            let remainders = n..columns.token(0);
            let left: f64 = row.effects[remainders].iter().map(|e| e.abs() as f64).sum();
            assert!(left <= 10.0 * case.slack(t), "all neurons leave nothing: {left}");
            slack += 2.0 * by.abs() * case.slack(t);
        }
        for (i, &(l, p, neuron)) in case.neurons.iter().enumerate() {
            let post = case.trace.block(l, BlockSite::MlpPost).unwrap();
            let at = |t: &Tensor| t.get(p).unwrap().get(neuron).unwrap().to_scalar::<f32>().unwrap() as f64;
            let want = at(&gradients.neurons[l]) * at(&post);
            assert!((relevance[i] - want).abs() <= slack, "{:?}: {} for {want}", case.neurons[i], relevance[i]);
        }
        let value = case.targets[n].value as f64;
        assert!((inputs - value).abs() <= slack, "{inputs} for the logit {value}");
    });
}

/// `I = w (A + A^2 + ...)`, term by term.
fn by_series(graph: &Graph, influence: &Influence) -> (Vec<f64>, usize) {
    let n = graph.nodes.len();
    let mut term = influence.weights().to_vec();
    let mut sum = vec![0f64; n];
    for round in 0..=n {
        let mut next = vec![0f64; n];
        for (t, weight) in term.iter().enumerate().filter(|(_, w)| **w != 0.0) {
            let row = graph.edges.row(t);
            let total = row.iter().map(|(_, w)| w.abs() as f64).sum::<f64>().max(1e-10);
            row.iter().for_each(|(s, w)| next[s as usize] += weight * w.abs() as f64 / total);
        }
        if next.iter().all(|x| *x == 0.0) {
            return (sum, round);
        }
        sum.iter_mut().zip(&next).for_each(|(s, x)| *s += x);
        term = next;
    }
    panic!("the series does not end: there is a cycle")
}

/// Invariant g: influence by back-substitution is that of the series, which ends after a round for each layer; and all of
/// it arrives at the leaves.
#[test]
fn influence_is_the_sum_over_all_paths() {
    for_all(|recipe, gate| {
        let model = recipe.model();
        let targets = vec![
            LogitTarget { name: "a".into(), weights: vec![(TOKEN, 1.0)], probability: 0.5 },
            LogitTarget { name: "b".into(), weights: vec![(1, 1.0)], probability: 0.25 },
        ];
        let settings = GraphSettings { gate, max_nodes: Some(9), ..GraphSettings::default() };
        let tokens = model.pieces(&recipe.prompt);
        let graph = build(&model, &tokens, None, &targets, settings, &mut |_, _| Ok(())).unwrap();
        let influence = Influence::of(&graph).unwrap();
        let (series, rounds) = by_series(&graph, &influence);
        assert!(rounds <= model.decoder.arch.n_layers + 1, "{rounds} rounds");
        for (i, (got, want)) in influence.values().iter().zip(&series).enumerate() {
            assert!((got - want).abs() <= 1e-12, "{}: {got} for {want}", graph.nodes[i].id);
        }
        // A row that is nearly nothing does not count as whole (circuit-tracer's clamp), so it is left out here.
        let whole = (0..graph.nodes.len()).all(|t| {
            let sum = graph.edges.row(t).abs_sum();
            sum == 0.0 || sum > 1e-10
        });
        let leaf =
            |i: &usize| graph.edges.row(*i).is_empty() && !matches!(graph.nodes[*i].kind, NodeKind::Logit { .. });
        let arrived: f64 = (0..graph.nodes.len()).filter(leaf).map(|i| series[i]).sum();
        let empty: f64 =
            graph.targets().filter(|t| graph.edges.row(*t).is_empty()).map(|t| influence.weights()[t]).sum();
        assert!(!whole || (arrived - 0.75 + empty).abs() <= 1e-9, "{arrived} of 0.75 arrived");
    });
}
