//! Pages of heads and neurons from weights: beside the same numbers by torch from whole matrices, and what must hold of made-up weights.

mod common;
mod program;

use candle_core::Tensor;
use mechscope::address::Address;
use mechscope::analysis::weights::{WeightQuestion, page};
use mechscope::model::Model;
use mechscope::report::{Body, Cell, Report, Table};

fn ask(model: &Model, unit: &str) -> Report {
    let unit: Address = unit.parse().unwrap();
    page(model, &unit, WeightQuestion::default(), &mut |_, _| Ok(())).unwrap()
}

fn fact(report: &Report, name: &str) -> f64 {
    match report.facts.iter().find(|(known, _)| known == name) {
        Some((_, Cell::Number(value))) => f64::from(*value),
        other => panic!("{name}: {other:?}"),
    }
}

fn table<'a>(report: &'a Report, name: &str) -> &'a Table {
    match &report.parts.iter().find(|part| part.name == name).unwrap_or_else(|| panic!("{name}")).body {
        Body::Table(table) => table,
        other => panic!("{name}: {other:?}"),
    }
}

/// The numbers of a column.
fn column(table: &Table, name: &str) -> Vec<f64> {
    let at = table.columns.iter().position(|c| c.name == name).unwrap_or_else(|| panic!("{name}"));
    let number = |row: &Vec<Cell>| match &row[at] {
        Cell::Number(x) => f64::from(*x),
        Cell::Integer(x) => *x as f64,
        other => panic!("{name}: {other:?}"),
    };
    table.rows.iter().map(number).collect()
}

fn near(found: f64, wanted: f64, what: &str) {
    assert!((found - wanted).abs() < 2e-5 * wanted.abs().max(1.0), "{what}: {found} for {wanted}");
}

/// `test_data/make/weights.py` made these numbers.
#[test]
fn pages_are_those_of_whole_matrices() {
    let text = std::fs::read(common::test_data().join("eap/weights.json")).unwrap();
    let reference: serde_json::Value = serde_json::from_slice(&text).unwrap();
    for (name, wanted) in reference.as_object().unwrap() {
        let model = common::open(&common::test_data().join("models").join(name));
        let head = ask(&model, wanted["head"].as_str().unwrap());
        near(fact(&head, "copying_score"), wanted["copying_score"].as_f64().unwrap(), name);
        for (part, ids) in [("ov", ["source_id", "output_id"]), ("qk", ["query_id", "key_id"])] {
            let (found, wanted) = (table(&head, part), wanted[part].as_array().unwrap());
            let [from, to, values] = [ids[0], ids[1], "value"].map(|c| column(found, c));
            for (i, pair) in wanted.iter().enumerate() {
                near(values[i], pair[2].as_f64().unwrap(), part);
                assert_eq!((from[i], to[i]), (pair[0].as_f64().unwrap(), pair[1].as_f64().unwrap()), "{name} {part}");
            }
        }
        for (part, values) in [("ov_directions", "ov_values"), ("qk_directions", "qk_values")] {
            for (found, wanted) in column(table(&head, part), "value").iter().zip(wanted[values].as_array().unwrap()) {
                near(*found, wanted.as_f64().unwrap(), part);
            }
        }
        let random = fact(&head, "composition_random");
        near(random, 1.0 / (model.decoder.arch.d_model as f64).sqrt(), "random");
        for (part, name) in ["composition_q", "composition_k", "composition_v"].into_iter().enumerate() {
            let Body::Grid(grid) = &head.parts.iter().find(|p| p.name == name).unwrap().body else { panic!("{name}") };
            let wanted: Vec<f64> =
                wanted["composition"].as_object().unwrap().values().map(|by| by[part].as_f64().unwrap()).collect();
            assert_eq!(grid.values.len(), wanted.len());
            grid.values.iter().zip(wanted).for_each(|(found, wanted)| near(f64::from(*found) + random, wanted, name));
        }
        let neuron = ask(&model, wanted["neuron"].as_str().unwrap());
        for cosine in ["cosine_input_output", "cosine_gate_output", "cosine_gate_input"] {
            if let Some(wanted) = wanted.get(cosine) {
                near(fact(&neuron, cosine), wanted.as_f64().unwrap(), cosine);
            }
        }
        let kind = match fact(&neuron, "cosine_input_output") {
            x if x > 0.5 => "strengthens what it reads",
            x if x < -0.5 => "weakens what it reads",
            _ => "writes something else than it reads",
        };
        assert!(neuron.facts.iter().any(|(name, cell)| name == "kind" && *cell == Cell::from(kind)), "{name}");
        if let Some(wanted) = wanted.get("upstream") {
            let upstream = table(&neuron, "upstream");
            near(column(upstream, "cosine")[0].abs(), wanted[0].as_f64().unwrap(), "upstream");
            assert_eq!(upstream.rows[0][0], Cell::Address(wanted[1].as_str().unwrap().parse().unwrap()));
        }
    }
}

/// A tied model without norm weights whose head `L1.H2` writes `by` times what it reads.
fn copying(by: f64) -> Model {
    let mut model = common::open(&common::test_data().join("models/tiny-llama3"));
    let (d, width, group) = (model.decoder.arch.d_model, model.decoder.arch.d_head, 2);
    let ones = Tensor::ones(d, candle_core::DType::F32, model.decoder.device()).unwrap();
    model.decoder.ln_final.weight = ones.clone();
    let block = &mut model.decoder.blocks[1];
    block.ln1.as_mut().unwrap().weight = ones;
    let value = block.attention.v.weight.narrow(0, 2 / group * width, width).unwrap();
    let own = (value.t().unwrap() * by).unwrap();
    let o = &block.attention.o.weight;
    let rest = o.dim(1).unwrap() - 3 * width;
    let parts = [o.narrow(1, 0, 2 * width).unwrap(), own, o.narrow(1, 3 * width, rest).unwrap()];
    block.attention.o.weight = Tensor::cat(&parts, 1).unwrap();
    model
}

#[test]
fn a_head_that_copies_scores_one_and_its_opposite_minus_one() {
    for (by, wanted) in [(1.0, 1.0), (0.3, 1.0), (-1.0, -1.0)] {
        near(fact(&ask(&copying(by), "L1.H2"), "copying_score"), wanted, "copying");
    }
}

/// Values that are equal are one block, and nothing is said of its single directions.
#[test]
fn equal_singular_values_are_a_block_without_tokens() {
    let mut model = copying(1.0);
    let (d, width) = (model.decoder.arch.d_model, model.decoder.arch.d_head);
    // Values read the first features as they are.
    let rows: Vec<f32> = (0..width).flat_map(|i| (0..d).map(move |j| f32::from(u8::from(i == j)))).collect();
    let rows = Tensor::from_vec(rows, (width, d), model.decoder.device()).unwrap();
    let attention = &mut model.decoder.blocks[1].attention;
    attention.v.weight = Tensor::cat(&[&rows, &rows], 0).unwrap();
    let columns = rows.t().unwrap();
    attention.o.weight = Tensor::cat(&[&columns, &columns, &columns, &columns], 1).unwrap();
    let report = ask(&model, "L1.H2");
    let directions = table(&report, "ov_directions");
    assert!(column(directions, "value").iter().all(|v| (v - 1.0).abs() < 1e-6));
    assert!(column(directions, "in_block").iter().all(|n| *n == width as f64));
    assert!(directions.rows.iter().all(|row| row[3..].iter().all(|cell| *cell == Cell::Empty)));
}

#[test]
fn the_command_prints_pages_and_refuses_other_units() {
    let head = program::mechscope(&["weights", "L1.H2", "-m", "induction", "--format", "json"]).json();
    assert!(head["copying_score"].as_f64().unwrap() > 0.5, "its induction heads copy: {head}");
    assert_eq!(head["ov"].as_array().unwrap().len(), 10);
    let text = program::mechscope(&["weights", "L1.N3", "--top", "3"]);
    assert!(text.output().contains("upstream") || text.output().contains("Earlier neurons"), "{}", text.out);
    for (unit, word) in [("L1.mlp", "accepted: a head"), ("L9.H0", "L9"), ("L1.H2@3", "no position")] {
        let failed = program::mechscope(&["weights", unit]);
        assert!(failed.code == Some(1) && failed.err.contains(word), "{unit}: {}", failed.err);
    }
}
