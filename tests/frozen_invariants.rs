//! What holds for the rows of any model: checked on random models of every family.

#[path = "frozen_common/blocked.rs"]
mod blocked;
mod random_models;

use candle_core::Tensor;
use mechscope::analysis::attribution_graph::{LogitTarget, Settings, build};
use mechscope::graph::{Graph, Influence, NodeKind};
use mechscope::model::Model;
use mechscope::model::edit::Passes;
use mechscope::model::forward::Logits;
use mechscope::model::linear::{Frozen, Row, SourceBlocks, Target};
use mechscope::model::relp::Gate;
use mechscope::model::site::{BlockSite, Sites};
use mechscope::model::trace::Trace;
use proptest::test_runner::{Config, TestRunner};
use random_models::{Recipe, families, recipes};

/// Models of each family.
const CASES: u32 = 12;
const TOKEN: u32 = 3;

/// Layer, position, neuron.
type Neuron = (usize, usize, usize);

/// A model frozen at its prompt, with rows for every neuron and a logit over all neurons.
struct Case {
    model: Model,
    trace: Trace,
    frozen: Frozen,
    neurons: Vec<Neuron>,
    sources: SourceBlocks,
    targets: Vec<Target>,
    rows: Vec<Row>,
}

impl Case {
    fn new(recipe: &Recipe, gate: Gate, demeaned: bool) -> Self {
        let model = recipe.model();
        let decoder = &model.decoder;
        let Sites::Only(mut sites) = Frozen::sites(decoder) else { panic!("sites by name") };
        sites.extend(decoder.relp_sites());
        let trace = model.run(&recipe.prompt, &Sites::Only(sites), Logits::Last).unwrap();
        let frozen = Frozen::new(decoder, &trace).unwrap();
        let n_pos = frozen.n_pos;
        let of = |l| (0..n_pos).flat_map(move |p| (0..decoder.arch.d_mlp).map(move |n| (l, p, n)));
        let neurons: Vec<Neuron> = (0..frozen.n_layers()).flat_map(of).collect();
        let writes = SourceBlocks::neuron_writes(&frozen, decoder, &trace, &neurons).unwrap();
        let biases = SourceBlocks::output_biases(&frozen, decoder).unwrap();
        let sources = SourceBlocks::new(&frozen, &trace, neurons.len(), &writes, &biases, None).unwrap();
        let maker = frozen.targets(decoder, &trace, gate);
        let mut targets: Vec<Target> =
            neurons.iter().flat_map(|&(l, p, n)| maker.neurons(l, &[(p, n)]).unwrap()).collect();
        targets.push(maker.logits(n_pos - 1, &[(TOKEN, 1.0)], demeaned).unwrap());
        let rows = rows(&frozen, &targets, &sources);
        Case { model, trace, frozen, neurons, sources, targets, rows }
    }

    /// The largest error that rounding may leave in a row. Of one or two sources whose own products cancel, the absolute
    /// sum shows nothing: there it is the vectors' lengths that count.
    fn slack(&self, row: usize) -> f64 {
        let length = |v: &[f32]| v.iter().map(|x| (*x as f64).powi(2)).sum::<f64>().sqrt();
        let longest = self.frozen.embed.chunks(self.frozen.d_model).map(length).fold(0.0, f64::max);
        1e-5 * self.rows[row].abs_sum as f64 + 1e-6 * length(&self.targets[row].vector) * longest
    }
}

fn rows(frozen: &Frozen, targets: &[Target], sources: &SourceBlocks) -> Vec<Row> {
    let mut rows = vec![None; targets.len()];
    let take = |done: Vec<(usize, Row)>| {
        done.into_iter().for_each(|(t, row)| rows[t] = Some(row));
        Ok(())
    };
    frozen.rows(targets, sources, take).unwrap();
    rows.into_iter().map(Option::unwrap).collect()
}

/// Runs `test` on random models of every family, with both gate rules where there are gates.
fn for_all(test: impl Fn(&Recipe, Gate)) {
    for family in families() {
        let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
        let mut runner = TestRunner::new(config);
        let result = runner.run(&recipes(family), |recipe| {
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
        let (mut inputs, mut size) = (0f64, 0f64);
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
            size += (by * row.abs_sum as f64).abs();
        }
        for (i, &(l, p, neuron)) in case.neurons.iter().enumerate() {
            let post = case.trace.block(l, BlockSite::MlpPost).unwrap();
            let at = |t: &Tensor| t.get(p).unwrap().get(neuron).unwrap().to_scalar::<f32>().unwrap() as f64;
            let want = at(&gradients.neurons[l]) * at(&post);
            assert!((relevance[i] - want).abs() <= 2e-5 * size, "{:?}: {} for {want}", case.neurons[i], relevance[i]);
        }
        let value = case.targets[n].value as f64;
        assert!((inputs - value).abs() <= 2e-5 * size, "{inputs} for the logit {value}");
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
        let settings = Settings { gate, max_nodes: Some(9), ..Settings::default() };
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
