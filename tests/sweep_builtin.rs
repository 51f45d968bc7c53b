//! The built-in model's own corpus, of which the truth is known: forty neurons that stand for forty states.

// None of the programs and tests that share it uses all of it.
#[allow(dead_code, missing_docs)]
#[path = "../examples/common/corpus/mod.rs"]
mod corpus;
mod program;

use corpus::states::{STATES, UsState};
use mechscope::corpus::index::Index;
use mechscope::corpus::plan::{INDEX, Plan};
use mechscope::corpus::search::search;
use mechscope::corpus::{merge, spec, worker};
use mechscope::model::Model;
use mechscope::model::open::Options;
use program::{arg, keys, mechscope};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Sentences of the corpus: some twenty about every state.
const SENTENCES: usize = 4000;

/// An index of them.
fn index() -> &'static Path {
    static INDEXED: OnceLock<PathBuf> = OnceLock::new();
    INDEXED.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sweep_builtin");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let text = folder.join("corpus.txt");
        let sentences = corpus::sentences(1).take(SENTENCES).map(|sentence| sentence.text() + "\n");
        std::fs::write(&text, sentences.collect::<String>()).unwrap();
        let spec = spec::Spec { corpus: vec![text], documents: spec::Documents::Line, ..spec::Spec::default() };
        let plan = Plan::new(spec, Some(1)).unwrap().keep(&folder).unwrap();
        let model = Model::open("hello", Options::default(), Box::new(|_, _| {})).unwrap();
        worker::Worker::new(&plan, &model).unwrap().run(&folder, 0, &mut |_, _| Ok(())).unwrap();
        let state = merge::merge(&[plan.part(&folder, 0)], &mut |_, _| Ok(())).unwrap();
        merge::write(&state, &folder.join(INDEX)).unwrap();
        folder
    })
}

fn names_a_place_of(tokens: &[String], state: &UsState) -> bool {
    tokens.iter().any(|token| state.cities.contains(&token.trim()) || token.trim() == state.name)
}

#[test]
fn state_neurons_fire_on_the_cities_of_their_state_and_are_found_by_its_name() {
    let index = Index::open(index()).unwrap();
    let (mut by_contexts, mut by_search) = (0, 0);
    for (s, state) in STATES.iter().enumerate() {
        let page = index.unit(1, s).unwrap();
        let shown = page.examples(page.main_case(), 10).unwrap();
        assert_eq!(shown.len(), 10, "{}", state.name);
        by_contexts += usize::from(shown.iter().all(|shown| names_a_place_of(&shown.tokens, state)));
        let hits = search(&index, state.name, 1).unwrap();
        by_search += usize::from(hits.first().is_some_and(|hit| (hit.layer, hit.neuron) == (1, s)));
    }
    assert!(by_contexts >= 39, "{by_contexts} of 40 by their contexts");
    assert!(by_search >= 39, "{by_search} of 40 by search");
}

#[test]
fn the_commands_print_what_scripts_hold_on_to() {
    let texas = STATES.iter().position(|state| state.name == "Texas").unwrap();
    let unit = format!("L1.N{texas}");
    let page = mechscope(&["unit", &unit, "--index", arg(index()), "--format", "json"]).json();
    assert_eq!(keys(&page)[..6], ["address", "density", "quantiles", "contexts", "tokens", "label"]);
    assert_eq!(
        (page["address"].as_str(), page["label"].as_str(), &page["partial"]),
        (Some(&*unit), None, &false.into())
    );
    let first = &page["contexts"][0];
    for key in ["value", "doc", "pos", "tokens", "activations"] {
        assert!(!first[key].is_null(), "{key} in {first}");
    }
    let tokens = first["tokens"].as_array().unwrap();
    assert_eq!(tokens.len(), first["activations"].as_array().unwrap().len());
    let at = (first["pos"].as_u64().unwrap() - first["first"].as_u64().unwrap()) as usize;
    let (value, shown) = (first["value"].as_f64().unwrap(), first["activations"][at].as_f64().unwrap());
    assert!((value - shown).abs() < 2e-3 * value, "{value} {shown}");
    let density = page["density"].as_f64().unwrap();
    assert!(density > 0.0 && density < 0.01, "{density}");
    assert!(page["quantiles"]["0.9999"].as_f64().unwrap() > 2.0, "it was drawn towards 3");

    let found = mechscope(&["search", "Texas", "--index", arg(index()), "--format", "tsv"]);
    let lines: Vec<&str> = found.output().lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert!(
        lines[0].starts_with("address\tcase\tby\t") && lines[1].starts_with(&format!("{unit}\t+\ttoken\t Texas\t")),
        "{lines:?}"
    );
    // No token says three words: they are looked for in contexts.
    let words: String = tokens[at - 2..=at].iter().map(|token| token.as_str().unwrap()).collect();
    let found = mechscope(&["search", words.trim(), "--index", arg(index()), "--format", "tsv"]);
    assert!(found.output().contains("\tcontexts\t"), "{words}: {}", found.out);
}

#[test]
fn what_neurons_fire_on_stands_beside_what_they_do_here() {
    let texas = STATES.iter().position(|state| state.name == "Texas").unwrap();
    let unit = format!("L1.N{texas}");
    let prompt = "The city of Dallas is in the state of";
    let asked = |more: &[&str]| {
        let fixed = ["neurons", "-p", prompt, "--index", arg(index()), "--format", "json"];
        mechscope(&[&fixed[..], more].concat()).json()
    };
    // On the city, only the neuron of its state is where few positions of the corpus are.
    let report = asked(&["--layer", "1", "--position", "-6", "--filter", "percentile>99 density<0.01", "--top", "0"]);
    let rows = report["neurons"].as_array().unwrap();
    let address = |row: &serde_json::Value| row["neuron"].as_str().unwrap().split('@').next().unwrap().to_owned();
    let found = rows.iter().find(|row| address(row) == unit);
    let row = found.unwrap_or_else(|| panic!("{unit} is not among {rows:?}"));
    assert!(rows.len() < 60 && row["fires_on"].as_str().unwrap().contains("\" "), "{rows:?}");
    let by_token = asked(&["--layer", "1", "--filter", "\"Houston\"", "--top", "0"]);
    assert!(by_token["neurons"].as_array().unwrap().iter().any(|row| address(row) == unit));

    let page = asked(&["--neuron", &unit, "--position", "-6"]);
    assert!(page["percentile"].as_f64().unwrap() > 99.0 && page["density"].as_f64().unwrap() < 0.01);
    let contexts = page["contexts"].as_array().unwrap();
    assert_eq!(contexts.len(), 20);
    let context = contexts[0]["context"].as_array().unwrap();
    let strongest = context.iter().map(|pair| pair[1].as_f64().unwrap()).fold(0.0, f64::max);
    assert!((strongest - contexts[0]["value"].as_f64().unwrap()).abs() < 2e-3 * strongest);
    assert_eq!(page["histogram"].as_array().unwrap().iter().filter(|bin| !bin["here"].is_null()).count(), 1);
    assert!(page["companions"].as_array().is_some());

    let other = mechscope(&["neurons", "-m", "induction", "-p", "a", "--index", arg(index())]);
    assert!(other.code == Some(1) && other.err.contains("is of another model"), "{}", other.err);
}

#[test]
fn labels_beside_an_index_are_shown_and_searched() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(index().join(INDEX), folder.path().join(INDEX)).unwrap();
    std::fs::write(folder.path().join("labels.tsv"), "L1.N7\t+\tplaces in Delaware\ttest\t0.8\n").unwrap();
    let page = mechscope(&["unit", "L1.N7", "--index", arg(folder.path()), "--format", "json"]).json();
    assert_eq!(page["label"], "places in Delaware");
    let found = mechscope(&["search", "places in", "--index", arg(folder.path()), "--format", "tsv"]);
    assert!(found.output().contains("L1.N7\t+\tlabel\tplaces in Delaware\t"), "{}", found.out);
}

#[test]
fn what_an_index_has_not_is_an_error() {
    let place = arg(index());
    for (args, expected) in [
        (vec!["unit", "L9.N1", "--index", place], "layer: found 9; the indexed model has the layers 0..=3"),
        (vec!["unit", "L1.N999", "--index", place], "neuron: found 999; the indexed model has the neurons 0..=511"),
        (vec!["unit", "L1.H1", "--index", place], "accepted: a neuron, L5.N300"),
        (vec!["unit", "L1.N1", "--index", place, "--case", "++"], "--case: found \"++\"; accepted: +, -"),
        (vec!["search", "x", "--index", "nowhere"], "nowhere holds no index"),
    ] {
        let ran = mechscope(&args);
        assert!(ran.code == Some(1) && ran.err.contains(expected), "{args:?}: {}", ran.err);
    }
}
