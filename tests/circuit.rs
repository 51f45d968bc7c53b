//! The circuit graph beside reference numbers, and what holds for it on random models of every family.

mod common;
mod random_models;

use candle_core::{DType, Device, Tensor};
use mechscope::model::Model;
use mechscope::model::edit::Passes;
use mechscope::model::forward::Logits;
use mechscope::model::site::{BlockSite, Site, Sites};
use mechscope::model::trace::Trace;
use mechscope::replacement::Gate;
use mechscope::replacement::circuit::{Circuit, CircuitNode, CircuitRow, Objective, Total};
use random_models::{Recipe, families, recipes, runner};
use std::collections::HashMap;
use std::path::PathBuf;

/// Models of each family.
const CASES: u32 = 24;

/// A run with all that circuits take.
fn run(model: &Model, ids: &[u32]) -> Trace {
    model.run(ids, &Sites::Only(Circuit::sites(&model.decoder)), Logits::Last).unwrap()
}

fn circuit<'a>(model: &'a Model, trace: &'a Trace, weights: &[(u32, f32)], gate: Gate) -> Circuit<'a> {
    let objective = Objective { weights: weights.to_vec(), position: trace.n_pos() - 1 };
    Circuit::new(&model.decoder, trace, &objective, gate, &Passes::default(), &mut |_, _| Ok(())).unwrap()
}

/// Graphs computed by autograd in f64, with their models.
fn references() -> Vec<(PathBuf, PathBuf)> {
    let mut found = Vec::new();
    for root in std::iter::once(common::test_data()).chain(common::shared()) {
        let Ok(graphs) = std::fs::read_dir(root.join("circuit-graphs")) else { continue };
        for numbers in graphs.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "json")) {
            let model = root.join("models").join(numbers.file_stem().unwrap());
            // The numbers of models that others made lie beside ours, their weights do not.
            if model.is_dir() {
                found.push((model, numbers));
            }
        }
    }
    found
}

struct Numbers(HashMap<String, Tensor>);

impl Numbers {
    fn of(&self, name: &str) -> Vec<f64> {
        self.0[name].to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    fn units(&self, name: &str) -> Vec<CircuitNode> {
        let rows: Vec<Vec<i64>> = self.0[name].to_vec2().unwrap();
        let unit = |row: &Vec<i64>| {
            let [kind, layer, head, position] = [0, 1, 2, 3].map(|i| row[i] as usize);
            match kind {
                0 => CircuitNode::Embed { position },
                1 => CircuitNode::Head { layer, head, position },
                _ => CircuitNode::Mlp { layer, position },
            }
        };
        rows.iter().map(unit).collect()
    }

    fn node(&self, name: &str) -> Option<Vec<usize>> {
        Some(self.0.get(name)?.to_vec1::<i64>().unwrap().iter().map(|x| *x as usize).collect())
    }
}

fn close(found: &[f64], want: &[f64], what: &str) {
    assert_eq!(found.len(), want.len(), "{what}");
    let sum: f64 = want.iter().map(|x| x.abs()).sum();
    for (i, (found, want)) in found.iter().zip(want).enumerate() {
        assert!((found - want).abs() <= 1e-4 * sum, "{what}, {i}: {found} for {want}, of {sum}");
    }
}

fn check_row(row: &CircuitRow, numbers: &Numbers, name: &str) {
    assert!(row.residual.abs() <= 1e-5 * row.abs_sum, "{name}: {} of {}", row.residual, row.abs_sum);
    let effects: HashMap<CircuitNode, f32> = row.effects.iter().copied().collect();
    let units = numbers.units(&format!("{name}.units"));
    let found: Vec<f64> = units.iter().map(|u| f64::from(effects[u])).collect();
    close(&found, &numbers.of(&format!("{name}.effects")), name);
}

#[test]
fn totals_and_rows_are_the_references() {
    let references = references();
    assert!(references.len() >= 2, "{references:?}");
    for (folder, description) in references {
        let about: serde_json::Value = serde_json::from_slice(&std::fs::read(&description).unwrap()).unwrap();
        let number = |value: &serde_json::Value| value.as_u64().unwrap() as u32;
        let ids: Vec<u32> = about["ids"].as_array().unwrap().iter().map(number).collect();
        let weights = [(number(&about["target"]), 1.0), (number(&about["contrast"]), -1.0)];
        let numbers =
            Numbers(candle_core::safetensors::load(description.with_extension("safetensors"), &Device::Cpu).unwrap());
        let model = common::open(&folder);
        let trace = run(&model, &ids);
        let circuit = circuit(&model, &trace, &weights, Gate::Half);
        let value = about["value"].as_f64().unwrap();
        assert!((f64::from(circuit.value()) - value).abs() <= 1e-4 * value.abs(), "{}", folder.display());

        let totals = circuit.totals(true).unwrap();
        check_totals(&totals, &numbers);
        for (site, name, heads) in [
            (BlockSite::Q, "exact_query_total", model.decoder.arch.n_heads),
            (BlockSite::K, "exact_key_total", model.decoder.arch.n_kv_heads),
        ] {
            let mut found = Vec::new();
            for l in 0..model.decoder.arch.n_layers {
                let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                let gradient = flat(circuit.exact().unwrap().at(Site::Block(l, site)).unwrap());
                let values = flat(&trace.block(l, site).unwrap());
                let width = model.decoder.arch.d_head;
                let products: Vec<f64> =
                    gradient.iter().zip(&values).map(|(g, x)| f64::from(*g) * f64::from(*x)).collect();
                for h in 0..heads {
                    let one = |p: usize| products[(p * heads + h) * width..][..width].iter().sum::<f64>();
                    found.extend((0..ids.len()).map(one));
                }
            }
            close(&found, &numbers.of(name), name);
        }

        check_row(&circuit.row(&circuit.target()).unwrap(), &numbers, "root");
        let mut rows = 0;
        for i in 0..4 {
            if let Some(node) = numbers.node(&format!("head{i}.node")) {
                let unit = CircuitNode::Head { layer: node[0], head: node[1], position: node[2] };
                check_row(&circuit.row(&circuit.reading(unit).unwrap()).unwrap(), &numbers, &format!("head{i}"));
                rows += 1;
            }
            if let Some(node) = numbers.node(&format!("mlp{i}.node")) {
                let unit = CircuitNode::Mlp { layer: node[0], position: node[1] };
                check_row(&circuit.row(&circuit.reading(unit).unwrap()).unwrap(), &numbers, &format!("mlp{i}"));
                rows += 1;
            }
        }
        assert!(rows > 4);
    }
}

/// Totals of every kind in the order of the reference's arrays.
fn check_totals(totals: &[Total], numbers: &Numbers) {
    type Pick = fn(&CircuitNode) -> Option<[usize; 3]>;
    let kinds: [(&str, Pick); 4] = [
        ("embed", |u| if let CircuitNode::Embed { position } = *u { Some([0, 0, position]) } else { None }),
        ("head", |u| {
            if let CircuitNode::Head { layer, head, position } = *u { Some([layer, head, position]) } else { None }
        }),
        ("mlp", |u| if let CircuitNode::Mlp { layer, position } = *u { Some([layer, position, 0]) } else { None }),
        ("neuron", |u| {
            if let CircuitNode::Neuron { layer, neuron, position } = *u {
                Some([layer, position, neuron])
            } else {
                None
            }
        }),
    ];
    for (kind, place) in kinds {
        let mut of: Vec<([usize; 3], &Total)> = totals.iter().filter_map(|t| Some((place(&t.unit)?, t))).collect();
        of.sort_by_key(|(place, _)| *place);
        let writes: Vec<f64> = of.iter().map(|(_, t)| f64::from(t.writes)).collect();
        close(&writes, &numbers.of(&format!("{kind}_total")), kind);
        if kind != "neuron" {
            let counts: Vec<f64> = of.iter().map(|(_, t)| f64::from(t.counts)).collect();
            close(&counts, &numbers.of(&format!("exact_{kind}_total")), &format!("exact {kind}"));
        }
    }
}

/// Runs `test` on circuits of random models of every family, of one logit and of two, with both gate rules where there are gates.
fn for_all(test: impl Fn(&Model, &Circuit, f64)) {
    for family in families() {
        let result = runner(CASES).run(&recipes(family), |recipe: Recipe| {
            let model = recipe.model();
            let trace = run(&model, &recipe.prompt);
            for gate in [Gate::Half, Gate::Freeze] {
                for weights in [&[(3, 1.0)][..], &[(3, 1.0), (1, -1.0)]] {
                    let circuit = circuit(&model, &trace, weights, gate);
                    test(&model, &circuit, slack(&circuit));
                    if family.starts_with("gpt") {
                        break;
                    }
                }
            }
            Ok(())
        });
        result.unwrap_or_else(|e| panic!("{family}: {e}"));
    }
}

/// What rounding may leave where products of long vectors cancel: a part of all that is moved in the model.
fn slack(circuit: &Circuit) -> f64 {
    let totals = circuit.totals(false).unwrap();
    2e-6 * totals.iter().map(|t| f64::from(t.writes.abs())).sum::<f64>() + 1e-6
}

/// Every reader of a circuit: the target, all heads and all MLPs, with their values.
fn readers(circuit: &Circuit) -> Vec<(Option<CircuitNode>, f32, CircuitRow)> {
    let target = circuit.target();
    let mut all = vec![(None, circuit.value(), circuit.row(&target).unwrap())];
    for total in circuit.totals(false).unwrap() {
        if matches!(total.unit, CircuitNode::Head { .. } | CircuitNode::Mlp { .. }) {
            let reading = circuit.reading(total.unit).unwrap();
            all.push((Some(total.unit), total.writes, circuit.row(&reading).unwrap()));
        }
    }
    all
}

#[test]
fn rows_add_up_and_columns_are_totals() {
    for_all(|_, circuit, slack| {
        let readers = readers(circuit);
        let (mut columns, mut scale): (HashMap<CircuitNode, f64>, HashMap<CircuitNode, f64>) = Default::default();
        for (reader, value, row) in &readers {
            let allowed = 1e-5 * f64::from(row.abs_sum) + slack;
            assert!(f64::from(row.residual.abs()) <= allowed, "{reader:?}: {} of {}", row.residual, row.abs_sum);
            assert!(f64::from((row.value - value).abs()) <= allowed, "{reader:?}: {} for {value}", row.value);
            for (unit, effect) in &row.effects {
                *columns.entry(*unit).or_default() += f64::from(*effect);
                *scale.entry(*unit).or_default() += f64::from(effect.abs());
            }
        }
        for total in circuit.totals(false).unwrap() {
            let found = columns.get(&total.unit).copied().unwrap_or(0.0);
            let allowed = 1e-5 * scale.get(&total.unit).copied().unwrap_or(0.0) + slack;
            let off = (found - f64::from(total.writes)).abs();
            assert!(off <= allowed, "{:?}: readers {found}, total {}", total.unit, total.writes);
        }
    });
}

#[test]
fn the_target_is_traced_to_tokens_and_biases() {
    for_all(|_, circuit, slack| {
        let biases: f64 = readers(circuit).iter().map(|(_, _, row)| f64::from(row.bias)).sum();
        let totals = circuit.totals(false).unwrap();
        let embeddings = totals.iter().filter(|t| t.unit.layer().is_none()).map(|t| f64::from(t.writes));
        let found = embeddings.sum::<f64>() + biases;
        assert!((found - f64::from(circuit.value())).abs() <= 4.0 * slack, "{found} for {}", circuit.value());
        assert!((biases - f64::from(circuit.beside_embeddings().unwrap())).abs() <= 4.0 * slack, "{biases}");
        let own = f64::from(circuit.biases(&mut || Ok(())).unwrap());
        assert!((biases - own).abs() <= 4.0 * slack, "{own} for {biases}");
    });
}

/// A run need not keep patterns: made again from queries and keys they give the same numbers.
#[test]
fn patterns_made_again_are_those_of_the_run() {
    for_all(|model, circuit, slack| {
        let decoder = &model.decoder;
        let remade = circuit.trace();
        let pattern = |l| Site::Block(l, BlockSite::Pattern);
        assert!((0..decoder.arch.n_layers).all(|l| remade.batched(pattern(l)).is_none()), "nobody asked for patterns");
        let mut sites = Circuit::sites(decoder);
        sites.extend((0..decoder.arch.n_layers).map(pattern));
        let kept = model.run(remade.tokens(), &Sites::Only(sites), Logits::Last).unwrap();
        let of = |trace| self::circuit(model, trace, &[(3, 1.0), (1, -1.0)], Gate::Half).totals(false).unwrap();
        let (a, b) = (of(remade), of(&kept));
        let sizes = |of: fn(&Total) -> f32| b.iter().map(|t| f64::from(of(t).abs())).sum::<f64>();
        let counts = 1e-5 * sizes(|t| t.counts) + slack;
        for (a, b) in a.iter().zip(&b) {
            assert!(f64::from((a.writes - b.writes).abs()) <= slack, "{a:?} for {b:?}");
            assert!(f64::from((a.counts - b.counts).abs()) <= counts, "{a:?} for {b:?}");
        }
        let close = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-4);
        let received = |trace| decoder.attention_received(trace, &mut || Ok(())).unwrap();
        assert!(close(&received(remade), &received(&kept)));
        for l in 0..decoder.arch.n_layers {
            let row = |trace| decoder.pattern_row(trace, l, decoder.arch.n_heads - 1, kept.n_pos() / 2).unwrap();
            let wide = |row: Vec<f32>| row.into_iter().map(f64::from).collect::<Vec<_>>();
            assert!(close(&wide(row(remade)), &wide(row(&kept))), "layer {l}");
        }
    });
}

/// Rows of queries and keys add up to gradient times activation.
#[test]
fn what_queries_and_keys_read_adds_up() {
    for_all(|model, circuit, slack| {
        let arch = &model.decoder.arch;
        let (layer, position) = (arch.n_layers - 1, 0);
        for head in 0..arch.n_heads {
            for reading in [circuit.query(layer, head, position).unwrap(), circuit.keys(layer, head).unwrap()] {
                let row = circuit.row(&reading).unwrap();
                let allowed = 1e-5 * f64::from(row.abs_sum) + slack;
                assert!(f64::from(row.residual.abs()) <= allowed, "head {head}: {} of {}", row.residual, row.abs_sum);
            }
        }
    });
}

#[test]
fn units_see_only_what_is_below_and_before() {
    for_all(|model, circuit, _| {
        for (reader, _, row) in readers(circuit) {
            let Some(reader) = reader else { continue };
            let same_layer = |unit: CircuitNode| {
                matches!((reader, unit), (CircuitNode::Mlp { .. }, CircuitNode::Head { .. }))
                    && !model.decoder.arch.parallel
            };
            for (unit, effect) in &row.effects {
                let below = unit.layer().is_none_or(|l| l < reader.layer().unwrap())
                    || (unit.layer() == reader.layer() && same_layer(*unit));
                let before = match reader {
                    CircuitNode::Head { position, .. } => unit.position() <= position,
                    _ => unit.position() == reader.position(),
                };
                assert!(below && before, "{reader:?} from {unit:?}: {effect}");
            }
        }
    });
}

#[test]
fn an_mlp_is_its_neurons_and_their_rest() {
    for_all(|model, circuit, slack| {
        let arch = &model.decoder.arch;
        let neurons = circuit.totals(true).unwrap();
        let (layer, position) = (arch.n_layers - 1, 0);
        let whole = circuit.row(&circuit.reading(CircuitNode::Mlp { layer, position }).unwrap()).unwrap();
        let apart: Vec<usize> = (0..arch.d_mlp).step_by(2).collect();
        let rest = circuit.row(&circuit.rest(layer, position, &apart).unwrap()).unwrap();
        let mut sums: HashMap<CircuitNode, f64> = rest.effects.iter().map(|(u, x)| (*u, f64::from(*x))).collect();
        let mut scale: HashMap<CircuitNode, f64> = sums.iter().map(|(u, x)| (*u, x.abs())).collect();
        for &neuron in &apart {
            let unit = CircuitNode::Neuron { layer, neuron, position };
            let total = neurons.iter().find(|t| t.unit == unit).unwrap().writes;
            let row = circuit.row(&circuit.reading(unit).unwrap()).unwrap();
            if row.value == 0.0 {
                continue; // It writes nothing.
            }
            for (unit, effect) in &row.effects {
                let effect = f64::from(effect / row.value * total);
                *sums.get_mut(unit).unwrap() += effect;
                *scale.get_mut(unit).unwrap() += effect.abs();
            }
        }
        for (unit, effect) in &whole.effects {
            let off = (sums[unit] - f64::from(*effect)).abs();
            assert!(off <= 1e-4 * scale[unit] + slack, "{unit:?}: {} for {effect}", sums[unit]);
        }
    });
}

#[test]
fn a_head_that_writes_nothing_has_no_edges() {
    for family in families() {
        let result = runner(8).run(&recipes(family), |recipe: Recipe| {
            let mut model = recipe.model();
            let (layer, head, width) = (0, model.decoder.arch.n_heads - 1, model.decoder.arch.d_head);
            let output = &mut model.decoder.blocks[layer].attention.o.weight;
            let columns = output.dim(1).unwrap();
            let kept: Vec<f32> = (0..columns).map(|c| if c / width == head { 0.0 } else { 1.0 }).collect();
            *output = output.broadcast_mul(&Tensor::from_vec(kept, (1, columns), &Device::Cpu).unwrap()).unwrap();
            let trace = run(&model, &recipe.prompt);
            let circuit = circuit(&model, &trace, &[(3, 1.0), (1, -1.0)], Gate::Half);
            for total in circuit.totals(false).unwrap() {
                let CircuitNode::Head { layer: 0, head: h, .. } = total.unit else { continue };
                if h == head {
                    assert_eq!((total.writes, total.counts), (0.0, 0.0));
                    let row = circuit.row(&circuit.reading(total.unit).unwrap()).unwrap();
                    assert!(row.value == 0.0 && row.effects.iter().all(|(_, x)| *x == 0.0));
                }
            }
            let edges = readers(&circuit).into_iter().flat_map(|(_, _, row)| row.effects);
            let mut of = edges.filter(|(u, _)| matches!(u, CircuitNode::Head { layer: 0, head: h, .. } if *h == head));
            assert!(of.all(|(_, x)| x == 0.0));
            Ok(())
        });
        result.unwrap_or_else(|e| panic!("{family}: {e}"));
    }
}
