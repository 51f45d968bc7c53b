//! The frozen model's rows by either route: against autograd, against forward propagation in f64, and their invariants.

#[path = "frozen_common/blocked.rs"]
mod blocked;
mod common;

use blocked::forward;
use candle_core::{Device, Tensor};
use common::{Reference, device, open_on, references, shared, test_data};
use mechscope::model::Model;
use mechscope::model::device::DTypeChoice;
use mechscope::model::forward::Logits;
use mechscope::model::ops::Route;
use mechscope::model::site::{BlockSite as S, Sites};
use mechscope::model::trace::Trace;
use mechscope::replacement::Gate;
use mechscope::replacement::{EffectRow, ReplacementModel, ResidualPoint, ResidualTarget, SourceBlocks};
use std::path::{Path, PathBuf};

/// A model frozen at a prompt.
struct Case {
    model: Model,
    trace: Trace,
    frozen: ReplacementModel,
}

impl Case {
    fn new(folder: &Path, ids: &[u32], route: Route) -> Self {
        let device = if route == Route::Kernels { Device::Cpu } else { device() };
        let model = open_on(folder, &device, DTypeChoice::F32);
        let trace = model.run(ids, &ReplacementModel::sites(&model.decoder), Logits::All).unwrap();
        let frozen = ReplacementModel::new_by(route, &model.decoder, &trace).unwrap();
        Case { model, trace, frozen }
    }

    /// By our kernels, and by tensor operations.
    fn both(folder: &Path, ids: &[u32]) -> [(Self, Route); 2] {
        [Route::Kernels, Route::Portable].map(|route| (Case::new(folder, ids, route), route))
    }

    fn sources(&self, neurons: &[(usize, usize, usize)]) -> SourceBlocks {
        let decoder = &self.model.decoder;
        let writes = SourceBlocks::neuron_writes(&self.frozen, decoder, &self.trace, neurons).unwrap();
        let biases = SourceBlocks::output_biases(&self.frozen, decoder).unwrap();
        SourceBlocks::new(&self.frozen, &self.trace, neurons.len(), &writes, &biases, None).unwrap()
    }

    fn neurons(&self, which: &[(usize, usize, usize)], rule: Gate) -> Vec<ResidualTarget> {
        let maker = self.frozen.targets(&self.model.decoder, &self.trace, rule);
        which.iter().flat_map(|&(l, p, n)| maker.neurons(l, &[(p, n)]).unwrap()).collect()
    }

    fn logit(&self, id: u32, demeaned: bool) -> ResidualTarget {
        let maker = self.frozen.targets(&self.model.decoder, &self.trace, Gate::Half);
        maker.logits(self.frozen.n_pos - 1, &[(id, 1.0)], demeaned).unwrap()
    }

    fn rows(&self, targets: &[ResidualTarget], sources: &SourceBlocks) -> Vec<EffectRow> {
        let mut rows: Vec<Option<EffectRow>> = vec![None; targets.len()];
        let take = |done: Vec<(usize, EffectRow)>| {
            done.into_iter().for_each(|(t, row)| rows[t] = Some(row));
            Ok(())
        };
        self.frozen.rows(targets, sources, take).unwrap();
        rows.into_iter().map(Option::unwrap).collect()
    }
}

fn every_neuron(case: &Case) -> Vec<(usize, usize, usize)> {
    let (layers, d_mlp) = (case.frozen.n_layers(), case.model.decoder.arch.d_mlp);
    let at = |l| (0..case.frozen.n_pos).flat_map(move |p| (0..d_mlp).map(move |n| (l, p, n)));
    (0..layers).flat_map(at).collect()
}

fn matrix(t: &Tensor) -> Vec<Vec<f32>> {
    t.to_vec2().unwrap()
}

/// `|got - want| <= 1e-5 x sum |want| + 1e-6`.
fn assert_row(name: &str, got: &EffectRow, case: &Case, n_neurons: usize, want: &[f32], factor: f32) {
    let n_pos = case.frozen.n_pos;
    let has_pos = case.frozen.pos_embed.is_some();
    let columns = case.sources(&[]).columns;
    let shift = n_neurons;
    let mut mine = Vec::new();
    mine.extend((0..n_pos).map(|p| got.effects[shift + columns.token(p)]));
    if has_pos {
        mine.extend((0..n_pos).map(|p| got.effects[shift + columns.pos_embed(p).unwrap()]));
    }
    mine.extend(&got.effects[..n_neurons]);
    assert_eq!(mine.len(), want.len(), "{name}");
    let sum: f32 = want.iter().map(|x| x.abs()).sum();
    for (i, (g, w)) in mine.iter().zip(want).enumerate() {
        assert!((g * factor - w).abs() <= 1e-5 * sum + 1e-6, "{name} column {i}: {} for {w}, sum {sum}", g * factor);
    }
}

fn graphs() -> Vec<(PathBuf, PathBuf)> {
    let mut found = Vec::new();
    for root in std::iter::once(test_data()).chain(shared()) {
        let Ok(files) = std::fs::read_dir(root.join("neuron-graphs")) else { continue };
        for file in files.flatten().map(|f| f.path()).filter(|p| p.extension().is_some_and(|e| e == "safetensors")) {
            found.push((file, root.join("models")));
        }
    }
    assert!(found.len() >= 6, "reference neuron graphs are missing");
    found
}

#[test]
fn rows_equal_autograd_in_the_frozen_model() {
    for (file, models) in graphs() {
        let about: serde_json::Value =
            serde_json::from_slice(&std::fs::read(file.with_extension("json")).unwrap()).unwrap();
        let model = models.join(about["model"].as_str().unwrap().trim_start_matches("models/"));
        let ids: Vec<u32> = about["ids"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect();
        // The plain product rule counts every gated neuron twice over.
        let (rule, factor) = match about["gated_rule"].as_str() {
            Some("up") => (Gate::Freeze, 1.0),
            Some("full") => (Gate::Half, 2.0),
            _ => (Gate::Half, 1.0),
        };
        let reference = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
        for (case, route) in Case::both(&model, &ids) {
            let name = format!("{} {route:?}", file.file_stem().unwrap().display());
            let sources = every_neuron(&case);
            let blocks = case.sources(&sources);

            let logit_ids: Vec<i64> = reference["logit_ids"].to_vec1().unwrap();
            let mut targets: Vec<ResidualTarget> = logit_ids.iter().map(|id| case.logit(*id as u32, false)).collect();
            targets.extend(logit_ids.iter().map(|id| case.logit(*id as u32, true)));
            let triples: Vec<Vec<i64>> = reference["target_neurons"].to_vec2().unwrap();
            let neurons: Vec<_> = triples.iter().map(|t| (t[0] as usize, t[1] as usize, t[2] as usize)).collect();
            targets.extend(case.neurons(&neurons, rule));
            let rows = case.rows(&targets, &blocks);

            let (logits, mean) =
                (matrix(&reference["logit_rows"]), reference["meanlogit_row"].to_vec1::<f32>().unwrap());
            for (k, want) in logits.iter().enumerate() {
                assert_row(&format!("{name} logit {k}"), &rows[k], &case, sources.len(), want, 1.0);
                let demeaned: Vec<f32> = want.iter().zip(&mean).map(|(w, m)| w - m).collect();
                let row = &rows[logits.len() + k];
                assert_row(&format!("{name} demeaned logit {k}"), row, &case, sources.len(), &demeaned, 1.0);
            }
            let values: Vec<f32> = reference["neuron_values"].to_vec1().unwrap();
            let biases: Vec<f32> = reference["neuron_bias"].to_vec1().unwrap();
            for (k, want) in matrix(&reference["neuron_rows"]).iter().enumerate() {
                let (row, t) = (&rows[2 * logits.len() + k], 2 * logits.len() + k);
                assert_row(&format!("{name} neuron {:?}", neurons[k]), row, &case, sources.len(), want, factor);
                assert!((targets[t].value - values[k]).abs() <= 1e-5 * row.abs_sum + 1e-6, "{name} value {k}");
                if factor == 1.0 {
                    assert!((row.bias - biases[k]).abs() <= 1e-5 * row.abs_sum + 1e-6, "{name} bias {k}");
                }
            }
            for row in &rows {
                assert!(
                    row.residual.abs() <= 1e-5 * row.abs_sum,
                    "{name}: residual {} of {}",
                    row.residual,
                    row.abs_sum
                );
            }
        }
    }
}

fn families() -> Vec<Reference> {
    let mut all = references();
    all.retain(|r| r.name.starts_with("tiny-") && !r.name.ends_with("-sharded"));
    all.dedup_by(|a, b| a.name == b.name);
    all
}

/// Some neurons of every layer, at many positions.
fn some_neurons(case: &Case) -> Vec<(usize, usize, usize)> {
    let n = case.model.decoder.arch.d_mlp;
    let at = |l: usize| (0..case.frozen.n_pos).map(move |p| (l, p, (p * 37 + l * 11 + 5) % n));
    (0..case.frozen.n_layers()).flat_map(at).collect()
}

#[test]
fn every_row_obeys_the_sum_rule_and_causality() {
    for reference in families() {
        let both = Case::both(&reference.folder, &reference.ids()[..21]);
        for (rule, (case, route)) in
            [Gate::Half, Gate::Freeze].into_iter().flat_map(|r| both.iter().map(move |b| (r, b)))
        {
            let neurons = some_neurons(case);
            let blocks = case.sources(&neurons);
            let mut targets = case.neurons(&neurons, rule);
            targets.extend([3, 77].map(|id| case.logit(id, true)));
            let rows = case.rows(&targets, &blocks);
            for (t, row) in rows.iter().enumerate() {
                let name = format!("{} {route:?} {rule:?} target {t}", reference.name);
                assert!(row.abs_sum > 0.0, "{name}");
                assert!(
                    row.residual.abs() <= 1e-5 * row.abs_sum,
                    "{name}: residual {:e} of {:e}",
                    row.residual,
                    row.abs_sum
                );
                let Some(&(layer, position, _)) = neurons.get(t) else { continue };
                for (s, &(l, p, _)) in neurons.iter().enumerate() {
                    if l >= layer || p > position {
                        assert_eq!(row.effects[s], 0.0, "{name}: source L{l} at {p}");
                    }
                }
                for p in position + 1..case.frozen.n_pos {
                    assert_eq!(row.effects[blocks.columns.token(p)], 0.0, "{name}: token {p}");
                }
                for (l, heads) in row.heads.chunks(case.frozen.n_heads()).enumerate() {
                    let below = l < layer || (l == layer && !case.frozen.parallel);
                    assert!(below || heads.iter().all(|h| *h == 0.0), "{name}: heads of layer {l}");
                }
            }
        }
    }
}

/// In the last layer nothing is above a head: what it carries is its direct logit attribution.
#[test]
fn heads_of_the_last_layer_carry_their_direct_logit_attribution() {
    for reference in families() {
        let (ids, wanted) = (reference.ids(), reference.tensors());
        let about = reference.about();
        for (case, route) in Case::both(&reference.folder, &ids) {
            let targets: Vec<ResidualTarget> = about["dla_targets"]
                .as_array()
                .unwrap()
                .iter()
                .map(|id| case.logit(id.as_u64().unwrap() as u32, false))
                .collect();
            let rows = case.rows(&targets, &case.sources(&[]));
            let dla = wanted["dla.heads"].to_vec3::<f32>().unwrap();
            for (k, row) in rows.iter().enumerate() {
                for (h, got) in row.heads.chunks(case.frozen.n_heads()).last().unwrap().iter().enumerate() {
                    let want = dla.last().unwrap()[h][k];
                    let close = (got - want).abs() <= 1e-5 * row.abs_sum;
                    assert!(close, "{} {route:?} head {h} target {k}: {got} for {want}", reference.name);
                }
            }
        }
    }
}

/// Further down, what a head carries is the effect of what it writes, at every position and by every path.
#[test]
fn heads_carry_the_effect_of_what_they_write() {
    for reference in families().into_iter().filter(|r| !r.name.contains("gemma")) {
        let ids = &reference.ids()[..9];
        for (case, route) in Case::both(&reference.folder, ids) {
            let target = case.logit(9, true);
            let row = &case.rows(std::slice::from_ref(&target), &case.sources(&[]))[0];
            let results = Sites::parse("blocks.*.attn.hook_result", case.frozen.n_layers(), |_| true).unwrap();
            let trace = case.model.run(ids, &results, Logits::Last).unwrap();
            for l in 0..case.frozen.n_layers() - 1 {
                let written = trace.block(l, S::Result).unwrap().to_vec3::<f32>().unwrap();
                for h in 0..case.frozen.n_heads() {
                    let of = |(p, written): (usize, &Vec<Vec<f32>>)| {
                        forward(&case.model, &case.trace, (l + 1, p), &written[h], &target)
                    };
                    let want: f64 = written.iter().enumerate().map(of).sum();
                    let got = row.heads[l * case.frozen.n_heads() + h] as f64;
                    assert!(
                        (got - want).abs() <= 1e-5 * row.abs_sum as f64,
                        "{} {route:?} L{l}.H{h}: {got} for {want}",
                        reference.name
                    );
                }
            }
        }
    }
}

#[test]
fn rows_equal_the_frozen_model_run_forwards() {
    for reference in families() {
        for (case, route) in Case::both(&reference.folder, &reference.ids()[..14]) {
            let neurons = some_neurons(&case);
            let blocks = case.sources(&neurons);
            let writes = SourceBlocks::neuron_writes(&case.frozen, &case.model.decoder, &case.trace, &neurons).unwrap();
            let last = case.frozen.n_layers() - 1;
            let picked = [(1, 6, neurons[14 + 6].2), (last, 13, neurons[14 * last + 13].2)];
            let mut targets = case.neurons(&picked, Gate::Half);
            targets.push(case.logit(5, true));
            let rows = case.rows(&targets, &blocks);
            for (target, row) in targets.iter().zip(&rows) {
                for write in writes.iter().filter(|w| w.position.is_multiple_of(3)) {
                    let above = (write.layer + 1, write.position);
                    let want = match target.entry {
                        // The MLP of the last layer has nothing above it but the unembedding.
                        ResidualPoint::Post(l) if write.layer == l => {
                            let same = write.position == target.position;
                            let dot = write.vector.iter().zip(&target.vector).map(|(a, b)| *a as f64 * *b as f64);
                            if same { dot.sum() } else { 0.0 }
                        }
                        _ => forward(&case.model, &case.trace, above, &write.vector, target),
                    };
                    let got = row.effects[write.column] as f64;
                    assert!(
                        (got - want).abs() <= 1e-5 * row.abs_sum as f64,
                        "{} {route:?} {:?}@{} from L{}@{}: {got} for {want}",
                        reference.name,
                        target.entry,
                        target.position,
                        write.layer,
                        write.position
                    );
                }
                for p in [0, 7, 13] {
                    let embed = &case.frozen.embed[p * case.frozen.d_model..][..case.frozen.d_model];
                    let got = row.effects[blocks.columns.token(p)] as f64;
                    let want = forward(&case.model, &case.trace, (0, p), embed, target);
                    assert!((got - want).abs() <= 1e-5 * row.abs_sum as f64, "{} {route:?} token {p}", reference.name);
                }
            }
        }
    }
}

#[test]
fn neither_company_nor_order_nor_threads_change_a_bit_of_the_kernels() {
    let reference = families().into_iter().find(|r| r.name == "tiny-gemma3").unwrap();
    let case = Case::new(&reference.folder, &reference.ids()[..21], Route::Kernels);
    let neurons = some_neurons(&case);
    let blocks = case.sources(&neurons);
    let targets = case.neurons(&neurons, Gate::Half);
    let together = case.rows(&targets, &blocks);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let on_one_thread = pool.install(|| case.rows(&targets, &blocks));
    let mut backwards: Vec<ResidualTarget> = targets.clone();
    backwards.reverse();
    let mut reversed = case.rows(&backwards, &blocks);
    reversed.reverse();
    for (t, row) in together.iter().enumerate() {
        let alone = &case.rows(&targets[t..t + 1], &blocks)[0];
        for other in [&on_one_thread[t], &reversed[t], alone] {
            assert_eq!(row.effects, other.effects, "target {t}");
            assert_eq!((row.bias, &row.heads), (other.bias, &other.heads), "target {t}");
        }
    }
}
