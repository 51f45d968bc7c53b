//! The frozen model's rows by tensor operations against those of the kernels, from the same run: random models of every
//! family, dictionaries, half precision. On the GPU, of a build that can use one and where there is one.

mod common;
mod random_models;

use candle_core::Device;
use common::{device, open_on, shared, test_data};
use mechscope::model::Model;
use mechscope::model::device::DTypeChoice;
use mechscope::model::dictionary::{Dictionary, ReadPoint, WritePoint};
use mechscope::model::forward::Logits;
use mechscope::model::ops::Route;
use mechscope::model::site::Sites;
use mechscope::model::trace::Trace;
use mechscope::replacement::Gate;
use mechscope::replacement::{EffectRow, MlpInput, ReplacementModel, ResidualTarget, SourceBlocks, Write};
use random_models::{families, recipes, runner};

const CASES: u32 = 12;

/// One run, frozen for either route.
struct Pair {
    model: Model,
    trace: Trace,
    kernels: ReplacementModel,
    tensors: ReplacementModel,
}

/// What sources write: `[layer][pos]` vectors of biases and of linear skips beside the writes themselves.
struct Written {
    columns: usize,
    writes: Vec<Write>,
    biases: Vec<Vec<Vec<f32>>>,
    skips: Option<Vec<Vec<Vec<f32>>>>,
}

impl Pair {
    fn new(model: Model, ids: &[u32], dictionary: Option<&Dictionary>) -> Self {
        let Sites::Only(mut sites) = ReplacementModel::sites(&model.decoder) else { panic!("sites by name") };
        let parallel = model.decoder.arch.parallel;
        let read = |d: &Dictionary| (0..model.decoder.blocks.len()).flat_map(|l| d.read_sites(l, parallel)).collect();
        let read: Vec<_> = dictionary.map_or(Vec::new(), read);
        sites.extend(read);
        let trace = model.run(ids, &Sites::Only(sites), Logits::Last).unwrap();
        let by = |route| ReplacementModel::new_by(route, &model.decoder, &trace).unwrap();
        let (kernels, tensors) = (by(Route::Kernels), by(Route::Portable));
        Pair { model, trace, kernels, tensors }
    }

    fn set_skip(&mut self, layer: usize, weight: &[f32], reads: MlpInput, post: bool) {
        for frozen in [&mut self.kernels, &mut self.tensors] {
            frozen.set_skip(layer, weight, reads, post).unwrap();
        }
    }

    fn neurons(&self, which: &[(usize, usize, usize)]) -> Written {
        let decoder = &self.model.decoder;
        let writes = SourceBlocks::neuron_writes(&self.kernels, decoder, &self.trace, which).unwrap();
        let biases = SourceBlocks::output_biases(&self.kernels, decoder).unwrap();
        Written { columns: which.len(), writes, biases, skips: None }
    }

    fn sources(&self, frozen: &ReplacementModel, w: &Written) -> SourceBlocks {
        SourceBlocks::new(frozen, &self.trace, w.columns, &w.writes, &w.biases, w.skips.as_deref()).unwrap()
    }

    /// Holds all that a row says against the other route's. Of sources whose own products cancel, the absolute sum shows
    /// nothing: there it is the vectors' lengths that count.
    fn compare(&self, name: &str, targets: &[ResidualTarget], written: &Written) {
        let want = rows(&self.kernels, targets, &self.sources(&self.kernels, written));
        let got = rows(&self.tensors, targets, &self.sources(&self.tensors, written));
        let length = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
        let vectors =
            self.kernels.embed.chunks(self.kernels.d_model).chain(written.writes.iter().map(|w| &w.vector[..]));
        let longest = vectors.map(length).fold(0.0, f32::max);
        for (t, (got, want)) in got.iter().zip(&want).enumerate() {
            let slack = 1e-5 * want.abs_sum + 32.0 * f32::EPSILON * length(&targets[t].vector) * longest;
            let alike = |part: &str, got: &[f32], want: &[f32]| {
                assert_eq!(got.len(), want.len(), "{name}: {part} of target {t}");
                for (i, (g, w)) in got.iter().zip(want).enumerate() {
                    assert!((g - w).abs() <= slack, "{name}: {part} {i} of target {t}: {g} for {w}, slack {slack}");
                }
            };
            alike("effect", &got.effects, &want.effects);
            alike("head", &got.heads, &want.heads);
            let sums = |row: &EffectRow| [row.bias, row.residual, row.abs_sum];
            alike("sums", &sums(got), &sums(want));
        }
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

/// Numbers between -1 and 1.
struct Numbers(u64);

impl Numbers {
    fn take(&mut self, n: usize) -> Vec<f32> {
        let mut next = || {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }
}

/// Runs `test` on random models of every family.
fn for_all(test: impl Fn(&str, Pair)) {
    for family in families() {
        let result = runner(CASES).run(&recipes(family), |recipe| {
            test(&format!("{recipe:?}"), Pair::new(recipe.model_on(&device()), &recipe.prompt, None));
            Ok(())
        });
        result.unwrap_or_else(|e| panic!("{family}: {e}"));
    }
}

#[test]
fn rows_of_neurons_and_logits_are_those_of_the_kernels() {
    for_all(|name, pair| {
        let (n_pos, d_mlp) = (pair.kernels.n_pos, pair.model.decoder.arch.d_mlp);
        let of = |l| (0..n_pos).flat_map(move |p| (0..d_mlp).map(move |n| (l, p, n)));
        let all: Vec<(usize, usize, usize)> = (0..pair.kernels.n_layers()).flat_map(of).collect();
        // The other half is in the remainders.
        let half: Vec<_> = all.iter().copied().step_by(2).collect();
        for gate in [Gate::Half, Gate::Freeze] {
            let maker = pair.kernels.targets(&pair.model.decoder, &pair.trace, gate);
            let one = |&(l, p, n): &(usize, usize, usize)| maker.neurons(l, &[(p, n)]).unwrap();
            let mut targets: Vec<ResidualTarget> = all.iter().flat_map(one).collect();
            targets.push(maker.logits(n_pos - 1, &[(3, 1.0), (1, -0.5)], true).unwrap());
            targets.push(maker.logits(n_pos - 1, &[(2, 1.0)], false).unwrap());
            pair.compare(name, &targets, &pair.neurons(&half));
        }
    });
}

/// Units that write to several layers, many of them at one position, with linear skips of every kind.
#[test]
fn rows_of_units_with_skips_are_those_of_the_kernels() {
    for_all(|name, mut pair| {
        let (n_layers, n_pos, d) = (pair.kernels.n_layers(), pair.kernels.n_pos, pair.kernels.d_model);
        let mut numbers = Numbers(name.len() as u64);
        let inputs = [MlpInput::Residual, MlpInput::Normalized, MlpInput::Unweighted];
        let centred = pair.model.decoder.blocks[0].ln2.as_ref().is_some_and(|norm| norm.centre);
        let reads = |l: usize| if centred && l % 3 == 2 { MlpInput::Normalized } else { inputs[l % 3] };
        for l in 0..n_layers {
            let weight: Vec<f32> = numbers.take(d * d).iter().map(|x| x / (d as f32).sqrt()).collect();
            pair.set_skip(l, &weight, reads(l), n_pos.is_multiple_of(2));
        }
        let mut writes = Vec::new();
        let columns = 24;
        for column in 0..columns {
            let position = if column % 2 == 0 { n_pos / 2 } else { column % n_pos };
            for layer in column % n_layers..n_layers {
                writes.push(Write { column, layer, position, vector: numbers.take(d) });
            }
        }
        let mut everywhere =
            || -> Vec<Vec<Vec<f32>>> { (0..n_layers).map(|_| (0..n_pos).map(|_| numbers.take(d)).collect()).collect() };
        let (biases, skips) = (everywhere(), Some(everywhere()));
        let mut targets = vec![pair.kernels.output_target(n_pos - 1, numbers.take(d), 0.5, 1.0).unwrap()];
        for l in 0..n_layers {
            for p in 0..n_pos {
                targets.push(pair.kernels.input_target(l, p, numbers.take(d), reads(l), 0.25, 2.0));
            }
        }
        pair.compare(name, &targets, &Written { columns, writes, biases, skips });
    });
}

/// Features of the transcoders that circuit-tracer was run with: plain, with skips, cross-layer.
#[test]
fn rows_of_features_are_those_of_the_kernels() {
    let mut cases = vec![("tiny-gpt2", "tiny-gpt2", test_data()), ("tiny-llama-clt", "tiny-llama", test_data())];
    cases.push(("tiny-gemma2", "tiny-gemma2", test_data()));
    cases.extend(shared().map(|root| ("tiny-llama-skip", "tiny-llama", root)));
    for (name, model, root) in cases {
        let model = open_on(&root.join("models").join(model), &device(), DTypeChoice::F32);
        let dictionary = Dictionary::open(&root.join("transcoders").join(name), &model.decoder).unwrap();
        let ids: Vec<u32> = (0..8).map(|i| 20 + 31 * i).collect();
        let mut pair = Pair::new(model, &ids, Some(&dictionary));
        let (n_layers, n_pos, parallel) = (pair.kernels.n_layers(), pair.kernels.n_pos, pair.kernels.parallel);
        let before_norm = dictionary.writes == WritePoint::BeforePostNorm;
        let reads = match dictionary.reads {
            ReadPoint::Normalized => MlpInput::Normalized,
            ReadPoint::Unweighted => MlpInput::Unweighted,
            ReadPoint::Residual => MlpInput::Residual,
        };
        let mut active = Vec::new();
        for l in 0..n_layers {
            active.extend(dictionary.encode(l, &dictionary.input(l, parallel, &pair.trace).unwrap()).unwrap());
            if let Some(skip) = dictionary.skip(l).unwrap() {
                pair.set_skip(l, &skip, reads, before_norm);
            }
        }
        active.truncate(600);
        let mut writes = Vec::new();
        let mut targets = vec![];
        for (column, a) in active.iter().enumerate() {
            for (above, row) in dictionary.decoder_rows(a.layer, a.feature).unwrap().into_iter().enumerate() {
                let (layer, position) = (a.layer + above, a.position);
                let vector: Vec<f32> = row.iter().map(|x| x * a.activation).collect();
                let vector = if before_norm { pair.kernels.written(layer, position, vector) } else { vector };
                writes.push(Write { column, layer, position, vector });
            }
            let (row, bias) = dictionary.encoder_rows(a.layer, &[a.feature]).unwrap().remove(0);
            targets.push(pair.kernels.input_target(a.layer, a.position, row, reads, bias, a.pre));
        }
        let maker = pair.kernels.targets(&pair.model.decoder, &pair.trace, Gate::Half);
        targets.push(maker.logits(n_pos - 1, &[(9, 1.0)], true).unwrap());
        let biases = SourceBlocks::output_biases(&pair.kernels, &pair.model.decoder).unwrap();
        assert!(active.len() > 100 && writes.len() >= active.len(), "{name}: {} features", active.len());
        assert!(writes.len() > active.len() || !dictionary.cross_layer(), "{name}");
        pair.compare(name, &targets, &Written { columns: active.len(), writes, biases, skips: None });
    }
}

#[test]
fn weights_in_half_precision_give_the_rows_of_the_kernels() {
    for model in ["tiny-gpt2", "tiny-gemma2", "tiny-llama"] {
        for dtype in [DTypeChoice::Bf16, DTypeChoice::F16] {
            let model = open_on(&test_data().join("models").join(model), &device(), dtype);
            let pair = Pair::new(model, &(0..9).map(|i| 3 + 17 * i).collect::<Vec<_>>(), None);
            let neurons: Vec<_> =
                (0..pair.kernels.n_layers()).flat_map(|l| (0..9).map(move |p| (l, p, 3 * p + l))).collect();
            let maker = pair.kernels.targets(&pair.model.decoder, &pair.trace, Gate::Half);
            let mut targets: Vec<ResidualTarget> =
                neurons.iter().flat_map(|&(l, p, n)| maker.neurons(l, &[(p, n)]).unwrap()).collect();
            targets.push(maker.logits(8, &[(5, 1.0)], true).unwrap());
            pair.compare(&format!("{dtype:?}"), &targets, &pair.neurons(&neurons));
        }
    }
}

#[test]
fn a_walk_by_tensors_ends_when_it_is_told_to() {
    let model = open_on(&test_data().join("models/tiny-gpt2"), &device(), DTypeChoice::F32);
    let pair = Pair::new(model, &[1, 2, 3, 4], None);
    let written = pair.neurons(&[(0, 1, 2)]);
    let maker = pair.kernels.targets(&pair.model.decoder, &pair.trace, Gate::Half);
    let targets = [maker.logits(3, &[(5, 1.0)], true).unwrap()];
    let sources = pair.sources(&pair.tensors, &written);
    let (mut asked, mut done) = (0, 0);
    let mut go_on = || {
        asked += 1;
        anyhow::ensure!(asked < 2, "enough");
        Ok(())
    };
    let stopped = pair.tensors.rows_while(&targets, &sources, &mut go_on, |rows| {
        done += rows.len();
        Ok(())
    });
    assert_eq!((stopped.unwrap_err().to_string().as_str(), asked, done), ("enough", 2, 0));

    let wrong = pair.kernels.rows(&targets, &sources, |_| Ok(())).unwrap_err().to_string();
    assert_eq!(wrong, "sources and frozen model were made for different routes");
}

/// Without a GPU a frozen model takes the kernels: then even its last bit is theirs.
#[test]
fn the_route_follows_the_device() {
    let model = open_on(&test_data().join("models/tiny-gpt2"), &Device::Cpu, DTypeChoice::F32);
    let pair = Pair::new(model, &[1, 2, 3, 4, 5], None);
    let own = ReplacementModel::new(&pair.model.decoder, &pair.trace).unwrap();
    let written = pair.neurons(&[(0, 1, 2), (1, 2, 7)]);
    let maker = pair.kernels.targets(&pair.model.decoder, &pair.trace, Gate::Half);
    let targets = maker.neurons(2, &[(3, 1), (4, 9)]).unwrap();
    let got = rows(&own, &targets, &pair.sources(&own, &written));
    let want = rows(&pair.kernels, &targets, &pair.sources(&pair.kernels, &written));
    for (got, want) in got.iter().zip(&want) {
        assert_eq!((&got.effects, got.bias, &got.heads), (&want.effects, want.bias, &want.heads));
    }
}
