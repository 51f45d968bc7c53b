//! `attribute --total` and `graph --row`: what scripts hold on to.

mod program;

use program::mechscope;
use serde_json::Value;
use std::collections::HashMap;

const PROMPT: [&str; 8] = ["-m", "induction", "-p", "qwertyqwer", "--target", "t", "--contrast", "q"];

/// The rows of a table printed as TSV, by their first column; rows without an address by their last.
fn rows(out: &str, table: &str) -> HashMap<String, Vec<String>> {
    let mut lines = out.lines().skip_while(|line| *line != format!("# {table}")).skip(1);
    assert!(lines.next().unwrap().starts_with("address\t"), "{out}");
    let cells = |line: &str| line.split('\t').map(str::to_owned).collect::<Vec<_>>();
    let rows = lines.take_while(|line| !line.is_empty()).map(cells);
    rows.map(|row| (if row[0].is_empty() { row.last().unwrap().clone() } else { row[0].clone() }, row)).collect()
}

fn number(cell: &str) -> f64 {
    cell.parse().unwrap_or_else(|e| panic!("{cell}: {e}"))
}

fn attribute(more: &[&str]) -> String {
    mechscope(&[&["attribute", "--total", "--top", "0", "--format", "tsv"], &PROMPT[..], more].concat())
        .output()
        .to_owned()
}

fn graph(more: &[&str]) -> program::Ran {
    mechscope(&[&["graph", "--format", "tsv"], &PROMPT[..], more].concat())
}

#[test]
fn every_unit_has_its_two_totals() {
    let totals = rows(&attribute(&[]), "totals");
    // 11 positions with BOS, 2 layers of 4 heads.
    assert_eq!(totals.len(), 11 * (1 + 2 * (4 + 1)));
    let tokens: f64 = (0..11).map(|p| number(&totals[&format!("embed@{p}")][1])).sum();
    let value = mechscope(&[&["attribute", "--total", "--format", "json"], &PROMPT[..]].concat()).json();
    assert!((tokens - value["difference"].as_f64().unwrap()).abs() < 1e-4, "{tokens}: {value}");

    let neurons = rows(&attribute(&["--neurons"]), "totals");
    for column in [1, 2] {
        let sum: f64 = (0..).map_while(|n| neurons.get(&format!("L1.N{n}@10"))).map(|row| number(&row[column])).sum();
        assert!((sum - number(&neurons["L1.mlp@10"][column])).abs() < 1e-4, "{sum}");
    }
}

#[test]
fn a_row_adds_up_to_the_total_of_its_node() {
    let totals = rows(&attribute(&[]), "totals");
    for node in ["L1.H2@10", "L1.mlp@10", "L0.H1@6"] {
        let out = graph(&["--row", node]);
        let sum: f64 = rows(out.output(), "row").values().map(|row| number(&row[1])).sum();
        assert!((sum - number(&totals[node][1])).abs() < 1e-4, "{node}: {sum}");
        assert!(node.contains("mlp") || out.out.contains("# looks_at\t"), "{}", out.out);
    }
    let target: f64 = rows(graph(&["--row", "target"]).output(), "row").values().map(|row| number(&row[1])).sum();
    let report = mechscope(&[&["graph", "--row", "target", "--format", "json"], &PROMPT[..]].concat()).json();
    assert!((target - report["value"].as_f64().unwrap()).abs() < 1e-4);
    assert!(report["row"].is_string() || report["row"].is_array(), "{report}");
}

/// A head expanded towards a neuron adds up to the edge between them.
#[test]
fn a_row_towards_a_reader_adds_up_to_their_edge() {
    let read = rows(graph(&["--row", "L1.N30@10"]).output(), "row");
    let edge = number(&read["L1.H2@10"][1]);
    let towards = rows(graph(&["--row", "L1.H2@10", "--towards", "L1.N30@10"]).output(), "row");
    let sum: f64 = towards.values().map(|row| number(&row[1])).sum();
    assert!((sum - edge).abs() < 1e-4 && edge != 0.0, "{sum} for {edge}");
}

#[test]
fn heads_and_mlps_of_a_sink_are_one_line_of_a_row() {
    let apart = rows(graph(&["--row", "L1.H2@10"]).output(), "row");
    let out = graph(&["--row", "L1.H2@10", "--sink", "1,2"]);
    assert!(out.output().contains("sink @1,2: its heads and MLPs are one line"), "{}", out.out);
    let together = rows(&out.out, "row");
    let sunk = |name: &String| name.starts_with('L') && (name.ends_with("@1") || name.ends_with("@2"));
    assert!(!together.keys().any(sunk) && together.contains_key("embed@1"), "{together:?}");
    let there: f64 = apart.iter().filter(|(name, _)| sunk(name)).map(|(_, row)| number(&row[1])).sum();
    let line = number(&together["sink @1,2"][1]);
    assert!((line - there).abs() < 1e-4, "{line}, apart {there}");
    // Nothing else has changed.
    for (name, row) in apart.iter().filter(|(name, _)| !sunk(name)) {
        assert_eq!(together[name], *row);
    }
}

#[test]
fn what_has_no_row_is_said() {
    for (arguments, error) in [
        (&["--row", "embed@3"][..], "an embedding reads nothing; accepted: heads, MLPs, neurons and the target"),
        (&["--row", "L1.H2"], "L1.H2 needs a position: L1.H2@-1 is the last"),
        (&["--row", "L1.H9@3"], "head 9: this model has heads 0..=3"),
        (&["--row", "L7.mlp@3"], "layer 7: this model has layers 0..=1"),
        (&["--row", "L1.mlp@11"], "position 11: this prompt has positions 0..=10"),
        (&["--row", "L1.attn@3"], "L1.attn@3 is no node of a circuit; accepted: embeddings, heads, MLPs and neurons"),
        (&["--row", "L1.mlp@10", "--towards", "L0.H1@10"], "L0.H1@10 does not read what L1.mlp@10 writes"),
        (&["--row", "target", "--towards", "L0.H1@10"], "the target's row is towards the target alone"),
        (&["--row", "target", "--format", "dot"], "--row makes tables; accepted: text, tsv, json"),
        (&["--row", "target", "--nodes", "features"], "--row is of heads, MLPs and neurons"),
    ] {
        let mut all = vec!["graph"];
        all.extend(PROMPT);
        all.extend(arguments);
        let ran = mechscope(&all);
        assert_eq!(ran.code, Some(1), "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(error), "{arguments:?}: {}", ran.err);
    }
    assert_eq!(graph(&["--towards", "L0.H1@3"]).code, Some(2));
    assert_eq!(graph(&["--row", "nonsense"]).code, Some(2));
}

#[test]
fn the_method_says_which_it_is() {
    let direct: Value = mechscope(&["attribute", "-m", "induction", "-p", "qwertyqwer", "--format", "json"]).json();
    assert!(direct["method"].as_str().unwrap().contains("direct logit attribution"));
    let total: Value = mechscope(&[&["attribute", "--total", "--format", "json"], &PROMPT[..]].concat()).json();
    assert!(total["method"].as_str().unwrap().contains("total effects"), "{total}");
}

#[test]
fn totals_do_not_follow_a_pattern_that_was_written() {
    let with = |edit| mechscope(&[&["attribute", "--total", "--edit", edit], &PROMPT[..]].concat());
    let ran = with("L1.H2.pattern@10<-4=0.5");
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("no gradient through an attention pattern that is written"), "{}", ran.err);
    assert_eq!(with("L1.H2@10<-4=0").code, Some(0));
}

/// Where a norm stands behind the MLP, the scale of its neurons changes nothing: what the MLP counts for is what the stream would lose of it.
#[test]
fn an_mlp_before_a_norm_counts_for_what_it_writes() {
    let model = program::model("olmo2-1").display().to_string();
    let prompt = ["-m", model.as_str(), "--ids", "3,1,4,1,5,9,2", "--target", "3", "--contrast", "1"];
    let args = ["attribute", "--total", "--top", "0", "--format", "tsv"];
    let totals = rows(mechscope(&[&args[..], &prompt[..]].concat()).output(), "totals");
    let scaled = |unit: &str, factor: f64| {
        let edit = format!("{unit}*={factor}");
        let ran = mechscope(&[&["intervene", "--format", "json", "--edit", &edit], &prompt[..]].concat());
        ran.json()["logit_difference_after"].as_f64().unwrap()
    };
    let mut seen = 0;
    for (unit, row) in totals.iter().filter(|(unit, _)| unit.contains(".mlp@")) {
        let slope = (scaled(unit, 1.02) - scaled(unit, 0.98)) / 0.04;
        let counts = number(&row[2]);
        // Logits have seven digits, of which the difference leaves some.
        assert!((counts - slope).abs() < 2e-3 * (1.0 + slope.abs()), "{unit}: counts {counts}, its slope is {slope}");
        seen += usize::from(slope.abs() > 0.02);
    }
    assert!(seen > 3, "{seen} MLPs matter");
}
