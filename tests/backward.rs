//! The backward pass with nothing held beside finite differences, on random models of every family; each of its rules by itself.

mod random_models;

use candle_core::Tensor;
use mechscope::address::Edit;
use mechscope::model::Model;
use mechscope::model::arch::Linear;
use mechscope::model::edit::Passes;
use mechscope::model::forward::Logits;
use mechscope::model::site::{BlockSite as S, Site, Sites};
use mechscope::model::text::Bos;
use mechscope::model::trace::Trace;
use mechscope::replacement::backward::{Backward, Gradients};
use mechscope::replacement::{Gate, Gates, GradientRule, Rules};
use random_models::{Recipe, families, recipes, runner};
use std::cell::Cell;

/// Models of each family.
const CASES: u32 = 16;
const TARGET: [(u32, f32); 2] = [(3, 1.0), (1, -1.0)];

fn everything(model: &Model) -> Sites {
    let all = (0..model.decoder.arch.n_layers).flat_map(|l| S::ALL.iter().map(move |s| Site::Block(l, *s)));
    let outer = [Site::Embed, Site::PosEmbed, Site::LogitsPreSoftcap];
    Sites::only(all.chain(outer).filter(|s| model.decoder.has_site(*s)))
}

fn gradients(model: &Model, trace: &Trace, rules: Rules) -> Gradients {
    let position = trace.n_pos() - 1;
    let row = model.decoder.target_row(&TARGET).unwrap();
    let direction = model.decoder.before_final_norm(trace, position, &row, rules.norms).unwrap();
    let keep = everything(model);
    let by = Backward { trace, position, rules, passes: Passes::default(), keep: &keep };
    model.decoder.backward(direction, by, &mut |_, _| Ok(())).unwrap()
}

/// The target of a run, before any soft-cap.
fn value(model: &Model, run: &Trace) -> f64 {
    let capped = model.decoder.has_site(Site::LogitsPreSoftcap);
    let logits = run.numbers(if capped { Site::LogitsPreSoftcap } else { Site::Logits }).unwrap();
    TARGET.iter().map(|(id, w)| f64::from(*w) * f64::from(logits[*id as usize])).sum()
}

/// The derivative at 0 by central differences at two steps, extrapolated; none where they disagree: by a kink (relu) or a window of rounding.
fn derivative(f: impl Fn(f32) -> f64) -> Option<f64> {
    let central = |h: f32| (f(h) - f(-h)) / f64::from(2.0 * h);
    let (near, far) = (central(0.004), central(0.008));
    let smooth = (near - far).abs() <= 2e-3 * near.abs().max(far.abs()).max(0.05);
    smooth.then_some((4.0 * near - far) / 3.0)
}

fn sum(gradient: &Tensor, row: usize, columns: std::ops::Range<usize>) -> f64 {
    let row: Vec<f32> = gradient.get(row).unwrap().to_vec1().unwrap();
    row[columns].iter().map(|x| f64::from(*x)).sum()
}

fn for_all(test: impl Fn(&Recipe, &Model)) {
    for family in families() {
        let result = runner(CASES).run(&recipes(family), |recipe: Recipe| {
            test(&recipe, &recipe.model());
            Ok(())
        });
        result.unwrap_or_else(|e| panic!("{family}: {e}"));
    }
}

/// Compares where the differences are smooth and counts.
#[derive(Default)]
struct Compared {
    done: Cell<usize>,
    rough: Cell<usize>,
}

impl Compared {
    fn check(&self, found: f64, want: Option<f64>, what: &str) {
        let Some(want) = want else { return self.rough.set(self.rough.get() + 1) };
        self.done.set(self.done.get() + 1);
        assert!((found - want).abs() <= 2e-3 * want.abs().max(found.abs()) + 1e-3, "{what}: {found} for {want}");
    }

    fn mostly(&self) {
        assert!(
            self.done.get() > 500 && self.rough.get() < self.done.get(),
            "{} {}",
            self.done.get(),
            self.rough.get()
        );
    }
}

#[test]
fn every_unit_that_can_be_edited_has_its_derivative() {
    let compared = Compared::default();
    for_all(|recipe, model| {
        let arch = &model.decoder.arch;
        let trace = model.run(&recipe.prompt, &everything(model), Logits::Last).unwrap();
        let found = gradients(model, &trace, Rules::EXACT);
        let clean = model.run(&recipe.prompt, &Sites::None, Logits::Last).unwrap();
        let moved = |unit: &str| {
            derivative(|h| {
                let edits: Vec<Edit> = vec![format!("{unit}+={h}").parse().unwrap()];
                let sites = Sites::only([Site::LogitsPreSoftcap]);
                let step = &mut |_: usize, _: usize| Ok(());
                value(model, &model.run_edited(&clean, &edits, Bos::Never, &sites, Logits::Last, step).unwrap())
            })
        };
        let mut random = recipe.numbers();
        let mut pick = |n: usize| ((random() * n as f32) as usize).min(n - 1);
        for _ in 0..2 {
            let (l, p) = (pick(arch.n_layers), pick(trace.n_pos()));
            let at = |site| found.at(Site::Block(l, site)).unwrap();
            let (h, n) = (pick(arch.n_heads), pick(arch.d_mlp));
            let mut units = vec![
                (format!("L{l}.H{h}@{p}"), sum(&found.heads[l], p, h * arch.d_head..(h + 1) * arch.d_head)),
                (format!("L{l}.N{n}@{p}"), sum(&found.neurons[l], p, n..n + 1)),
                (format!("embed@{p}"), sum(&found.embed, p, 0..arch.d_model)),
            ];
            let streams = [
                (S::ResidPre, "resid_pre"),
                (S::ResidMid, "resid_mid"),
                (S::ResidPost, "resid_post"),
                (S::AttnOut, "attn"),
                (S::MlpOut, "mlp"),
            ];
            for (site, name) in streams.into_iter().filter(|(s, _)| model.decoder.has_site(Site::Block(l, *s))) {
                units.push((format!("L{l}.{name}@{p}"), sum(at(site), p, 0..arch.d_model)));
            }
            for (unit, found) in units {
                compared.check(found, moved(&unit), &format!("{unit} of {recipe:?}"));
            }
        }
    });
    compared.mostly();
}

/// A map with the outputs `columns` multiplied by a factor.
fn scaled(map: &Linear, columns: std::ops::Range<usize>, by: f32) -> Linear {
    let rows = map.weight.dim(0).unwrap();
    let factors: Vec<f32> = (0..rows).map(|r| if columns.contains(&r) { by } else { 1.0 }).collect();
    let factors = Tensor::from_vec(factors, rows, map.weight.device()).unwrap();
    Linear {
        weight: map.weight.broadcast_mul(&factors.unsqueeze(1).unwrap()).unwrap(),
        bias: map.bias.as_ref().map(|b| (b * &factors).unwrap()),
    }
}

/// Queries, keys, values and what goes into neurons cannot be edited by name: their maps are scaled, which moves them along themselves at all positions.
#[test]
fn queries_keys_values_and_inputs_of_neurons_have_their_derivatives() {
    let compared = Compared::default();
    for_all(|recipe, model| {
        let arch = &model.decoder.arch;
        let trace = model.run(&recipe.prompt, &everything(model), Logits::Last).unwrap();
        let found = gradients(model, &trace, Rules::EXACT);
        let mut random = recipe.numbers();
        let mut pick = |n: usize| ((random() * n as f32) as usize).min(n - 1);
        let l = pick(arch.n_layers);
        let (h, kv, n) = (pick(arch.n_heads), pick(arch.n_kv_heads), pick(arch.d_mlp));
        let head = |h: usize| h * arch.d_head..(h + 1) * arch.d_head;
        type Map = fn(&mut Model, usize) -> &mut Linear;
        let gated = model.decoder.blocks[l].mlp.gate.is_some();
        let before: Map = if gated {
            |m, l| m.decoder.blocks[l].mlp.gate.as_mut().unwrap()
        } else {
            |m, l| &mut m.decoder.blocks[l].mlp.input
        };
        let mut maps: Vec<(S, std::ops::Range<usize>, Map)> = vec![
            (S::Q, head(h), |m, l| &mut m.decoder.blocks[l].attention.q),
            (S::K, head(kv), |m, l| &mut m.decoder.blocks[l].attention.k),
            (S::V, head(kv), |m, l| &mut m.decoder.blocks[l].attention.v),
            (S::MlpPre, n..n + 1, before),
        ];
        if gated {
            maps.push((S::MlpPreLinear, n..n + 1, |m, l| &mut m.decoder.blocks[l].mlp.input));
        }
        for (site, columns, map) in maps {
            let values = trace.block(l, site).unwrap().flatten_from(1).unwrap();
            let along = (found.at(Site::Block(l, site)).unwrap() * values).unwrap();
            let found = (0..trace.n_pos()).map(|p| sum(&along, p, columns.clone())).sum();
            let want = derivative(|h| {
                let mut changed = recipe.model();
                let linear = map(&mut changed, l);
                *linear = scaled(linear, columns.clone(), 1.0 + h);
                let sites = Sites::only([Site::LogitsPreSoftcap]);
                value(&changed, &changed.run(&recipe.prompt, &sites, Logits::Last).unwrap())
            });
            compared.check(found, want, &format!("{site:?} of {recipe:?}"));
        }
    });
    compared.mostly();
}

/// Each rule changes only its own part: with patterns held nothing comes by queries and keys, with all held the pass is RelP's.
#[test]
fn rules_are_switches_of_their_own() {
    for_all(|recipe, model| {
        let position = recipe.prompt.len() - 1;
        let trace = model.run(&recipe.prompt, &everything(model), Logits::Last).unwrap();
        for gate in Gate::ALL {
            let found = gradients(model, &trace, Rules::relp(gate));
            let relp = model.decoder.relp(&trace, &TARGET, position, gate, Passes::default(), &mut |_, _| Ok(()));
            let relp = relp.unwrap();
            let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for l in 0..found.neurons.len() {
                assert_eq!(flat(&found.neurons[l]), flat(&relp.neurons[l]));
                assert_eq!(flat(&found.heads[l]), flat(&relp.heads[l]));
                assert!(found.at(Site::Block(l, S::Q)).is_none() && found.at(Site::Block(l, S::Pattern)).is_none());
            }
            assert_eq!(flat(&found.embed), flat(&relp.embed));
        }
        let held = Rules { patterns: GradientRule::Frozen, ..Rules::EXACT };
        let one = gradients(model, &trace, held);
        assert!(one.at(Site::Block(0, S::K)).is_none());
        // Of a prompt of one token the pattern is constant: there patterns make no difference, and norms are differentiated either way.
        if recipe.prompt.len() == 1 {
            let exact = gradients(model, &trace, Rules::EXACT);
            let difference = (exact.embed - one.embed).unwrap().abs().unwrap().max_all().unwrap();
            assert!(difference.to_scalar::<f32>().unwrap() <= 1e-5);
        }
        // Gradient times activation of a stream that norms rescale is nothing: with nothing held it cannot matter how long the last stream is.
        let last = Site::Block(model.decoder.arch.n_layers - 1, S::ResidPost);
        let exact = gradients(model, &trace, Rules { gates: Gates::Held(Gate::Half), ..Rules::EXACT });
        if model.decoder.ln_final.bias.is_none() && !model.decoder.ln_final.centre {
            let along = (exact.at(last).unwrap() * trace.get(last).unwrap()).unwrap();
            let row = along.get(position).unwrap();
            let (sum, scale) = (row.sum_all().unwrap(), row.abs().unwrap().sum_all().unwrap());
            let (sum, scale) = (sum.to_scalar::<f32>().unwrap(), scale.to_scalar::<f32>().unwrap());
            assert!(sum.abs() <= 1e-3 * scale + 1e-4, "{sum} of {scale}");
        }
    });
}
