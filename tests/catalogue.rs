//! Every method of the catalogue on a small random model of every family: it finishes, says the same twice, stops where it is told to, and its numbers are numbers.

mod random_models;

use anyhow::{Result, bail};
use mechscope::address::Edit;
use mechscope::analysis::input::Input;
use mechscope::analysis::param::Values;
use mechscope::analysis::patch::path::{PathQuestion, Receivers};
use mechscope::analysis::patch::{
    AnswerMetric, EffectEstimate, NoGap, PatchDirection, PatchQuestion, PatchSite, PromptPair, tables,
};
use mechscope::analysis::runs::Runs;
use mechscope::analysis::target::{Target, last_stream, next_token};
use mechscope::analysis::{self, Question};
use mechscope::model::Model;
use mechscope::model::forward::Step;
use mechscope::model::text::Bos;
use mechscope::report::{Body, Cell, Format, Report};
use random_models::{Recipe, families, recipes, runner};
use std::path::Path;

/// Methods whose answer is a graph, a file or weights, or that need a dictionary: each with the tests that run it on models of every family.
const ELSEWHERE: [(&str, &str); 9] = [
    ("features", "tests/features.rs"),
    ("generate", "tests/generate.rs"),
    ("graph", "tests/circuit_graph_random.rs"),
    ("loadings", "tests/loadings.rs"),
    ("verify", "tests/verify.rs"),
    ("keep-only", "tests/verify.rs"),
    ("trust", "tests/trust.rs"),
    ("circuit", "tests/eap.rs"),
    ("weights", "tests/weights.rs"),
];

/// What a method of the catalogue says, by its name; none of those that are tested elsewhere.
fn answer(name: &str, model: &Model, ids: &[u32], step: Step) -> Option<Result<Report>> {
    if ELSEWHERE.iter().any(|(elsewhere, _)| *elsewhere == name) {
        return None;
    }
    Some(match name {
        "predict" => predicted(model, ids, &[], step),
        "intervene" => predicted(model, ids, &["L0.H0=0".parse().unwrap(), "L0.mlp*=0.5".parse().unwrap()], step),
        "patch" | "path" => between(name, model, ids, step),
        name => asked(name, &[], model, ids, step),
    })
}

fn asked(name: &str, given: &[(&str, &str)], model: &Model, ids: &[u32], step: Step) -> Result<Report> {
    let of = analysis::named(name)?;
    let given: Vec<(String, String)> = given.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let values = Values::parse(of.about().params, &given)?;
    let mut runs = Runs::new(Input::of_ids(model, ids, Bos::Never)?, Vec::new());
    let question = Question { position: -1, target: Some(Target::new(0, Some(1))), values };
    analysis::ask(of, model, &mut runs, &question, step)
}

fn predicted(model: &Model, ids: &[u32], edits: &[Edit], step: Step) -> Result<Report> {
    let mut runs = Runs::new(Input::of_ids(model, ids, Bos::Never)?, edits.to_vec());
    runs.ensure(model, [last_stream(model)].into(), step)?;
    let run = runs.edited().map_or_else(|| runs.clean(), Ok)?;
    let next = next_token(model, run, ids.len() - 1)?;
    let mut report = Report::default();
    report.table("top", "", next.table(&next.top(5), |id| model.piece(id)));
    Ok(report)
}

/// The methods of two prompts; two that the model answers alike have no report to be looked at.
fn between(name: &str, model: &Model, ids: &[u32], step: Step) -> Result<Report> {
    let mut other = ids.to_vec();
    let at = usize::from(ids.len() > 1);
    other[at] = (other[at] + 1) % model.decoder.arch.d_vocab as u32;
    let target = Target::new(0, Some(1));
    let (way, metric) = (PatchDirection::Noise, AnswerMetric::LogitDifference);
    let patch = PatchQuestion {
        site: PatchSite::Z,
        way,
        metric,
        approx: vec![EffectEstimate::Exact],
        ..PatchQuestion::default()
    };
    let found = if name == "patch" {
        PromptPair::new(model, (ids, &other), ids.len() - 1, &patch, step)?.patch(target, &patch, step)?
    } else {
        let receivers = Receivers::Logits;
        let path = PathQuestion { receivers, way, metric, at: None, hold_mlps: false, hold_norms: false };
        PromptPair::for_paths(model, (ids, &other), ids.len() - 1, &path, step)?.paths(target, &path, step)?
    };
    let mut report = Report::default();
    tables::describe(&mut report, model, &patch, &found, ids.len() - 1);
    report.table("cells", "", tables::cells(&found, &patch, 0));
    Ok(report)
}

/// Whether two prompts measure the same: nothing to be explained.
fn no_gap(error: &anyhow::Error) -> bool {
    error.is::<NoGap>()
}

/// Every number of a report is one, but scores that a mask puts at minus infinity.
fn finite(method: &str, report: &Report) {
    for part in &report.parts {
        match &part.body {
            Body::Table(table) => {
                for (column, cell) in table.rows.iter().flat_map(|row| table.columns.iter().zip(row)) {
                    let masked = column.name.contains("score");
                    if let Cell::Number(x) = cell {
                        assert!(
                            x.is_finite() || (masked && *x == f32::NEG_INFINITY),
                            "{method}: {} is {x}",
                            column.name
                        );
                    }
                }
            }
            Body::Grid(grid) => assert!(grid.values.iter().all(|x| x.is_finite()), "{method}: {}", part.name),
            Body::Note(text) => assert!(!text.is_empty(), "{method}: {}", part.name),
        }
    }
}

/// A step that ends the job at its `last` call, and how often it was called.
fn stopping(last: usize) -> (impl FnMut(usize, usize) -> Result<()>, std::rc::Rc<std::cell::Cell<usize>>) {
    let calls = std::rc::Rc::new(std::cell::Cell::new(0));
    let counted = calls.clone();
    let step = move |_: usize, _: usize| {
        counted.set(counted.get() + 1);
        if counted.get() >= last {
            bail!("stopped");
        }
        Ok(())
    };
    (step, calls)
}

#[test]
fn every_method_finishes_repeats_itself_and_stops() {
    let answered = std::cell::Cell::new(0);
    for family in families() {
        let result = runner(2).run(&recipes(family), |recipe: Recipe| {
            let model = recipe.model();
            for entry in analysis::catalogue() {
                let name = entry.about.name;
                let Some(first) = answer(name, &model, &recipe.prompt, &mut |_, _| Ok(())) else { continue };
                let first = match first {
                    Err(error) if no_gap(&error) => continue,
                    other => other.unwrap_or_else(|e| panic!("{family}: {name}: {e:#}")),
                };
                finite(&format!("{family}: {name}"), &first);
                let again = answer(name, &model, &recipe.prompt, &mut |_, _| Ok(())).unwrap().unwrap();
                assert!(first == again, "{family}: {name} says something else the second time");
                for last in [1, 2] {
                    let (mut step, calls) = stopping(last);
                    let stopped = answer(name, &model, &recipe.prompt, &mut step).unwrap();
                    let asked = calls.get();
                    assert!(asked <= last, "{family}: {name} went on after it was told to stop");
                    assert!(asked < last || stopped.is_err(), "{family}: {name} swallowed the end of the job");
                }
                for format in [Format::Text, Format::Tsv, Format::Json] {
                    let mut out = Vec::new();
                    first.write(format, &mut out).unwrap();
                    assert!(!out.is_empty(), "{family}: {name}");
                }
                answered.set(answered.get() + 1);
            }
            Ok(())
        });
        result.unwrap_or_else(|e| panic!("{family}: {e}"));
    }
    assert!(answered.get() > 100, "{} answers", answered.get());
}

#[test]
fn what_is_tested_elsewhere_is_in_the_catalogue_and_the_tests_are_there() {
    for (name, file) in ELSEWHERE {
        assert!(analysis::catalogue().any(|entry| entry.about.name == name), "{name}");
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(file).is_file(), "{file}");
    }
}

#[test]
fn no_field_of_the_catalogue_is_empty() {
    for entry in analysis::catalogue() {
        let about = entry.about;
        let fields = [
            about.name,
            about.title,
            about.question,
            about.unit,
            about.assumes,
            about.cost,
            about.reference,
            &entry.run,
        ];
        assert!(fields.iter().all(|field| !field.trim().is_empty()), "{}", about.name);
        assert!(about.params.iter().all(|p| !p.help.is_empty()), "{}", about.name);
    }
}
