//! Sets of prompts: those that travel in the program fit their models, a method over a set is the mean of what it says of each prompt, and edits take means
//! and draws from sets.

use mechscope::address::Edit;
use mechscope::analysis::input::Input;
use mechscope::analysis::over_set::{self, SetPlace, SetPrompt, Told};
use mechscope::analysis::param::Values;
use mechscope::analysis::runs::Runs;
use mechscope::analysis::{self, Question};
use mechscope::model::Model;
use mechscope::model::forward::Logits;
use mechscope::model::open::Options;
use mechscope::model::site::{BlockSite, Site, Sites};
use mechscope::model::text::Bos;
use mechscope::prompt_set::{PromptSet, Vocabulary, templates};
use mechscope::report::statistics::mean_and_error;
use mechscope::report::{Body, Cell, Report, Table};
use std::collections::BTreeSet;

fn model(name: &str) -> Model {
    Model::open(name, Options::default(), Box::new(|_, _| {})).unwrap()
}

fn silent(_: usize, _: usize) -> anyhow::Result<()> {
    Ok(())
}

fn prompts(model: &Model, set: &str) -> Vec<SetPrompt> {
    let set = PromptSet::open(set, model).unwrap();
    let read = |text: &str| Input::of_prompt(model, text.to_owned(), Bos::Auto);
    over_set::read(model, &set, &SetPlace::At(-1), &read).unwrap()
}

fn table<'a>(report: &'a Report, name: &str) -> &'a Table {
    let part = report.parts.iter().find(|p| p.name == name).unwrap();
    let Body::Table(table) = &part.body else { panic!("{name} is no table") };
    table
}

fn column(table: &Table, name: &str) -> usize {
    table.columns.iter().position(|c| c.name == name).unwrap_or_else(|| panic!("no column {name}"))
}

fn number(cell: &Cell) -> f64 {
    let Cell::Number(x) = cell else { panic!("{cell:?} is no number") };
    f64::from(*x)
}

/// Every prompt has a twin of as many tokens, and a target and a contrast that are tokens.
fn fits(model: &Model, set: &str) -> usize {
    let set = PromptSet::open(set, model).unwrap();
    for item in &set.items {
        let long = |text: &str| model.encode(text, Bos::Auto).unwrap().ids().len();
        let corrupt = item.corrupt.as_deref().unwrap();
        assert_eq!(long(&item.clean), long(corrupt), "{}: {} / {corrupt}", item.id, item.clean);
        for token in [item.target().unwrap(), item.contrast.as_deref().unwrap()] {
            model.text().unwrap().token_id(token).unwrap();
        }
        assert_ne!(item.target(), item.contrast.as_deref(), "{}", item.id);
    }
    set.items.len()
}

#[test]
fn the_sets_of_the_built_in_models_are_their_words() {
    let hello = model("hello");
    assert_eq!(fits(&hello, "builtin:hello"), 70);
    for family in ["two-hop", "ioi"] {
        assert_eq!(fits(&hello, &format!("builtin:{family}")), 20, "{family}");
    }
    assert_eq!(fits(&model("induction"), "builtin:letters"), 10);
}

/// A tokenizer for which every word is a token; with `digits` every digit is one too, and no number.
struct Words {
    digits: bool,
}

impl Vocabulary for Words {
    fn is_token(&self, text: &str) -> bool {
        !self.digits || text.len() < 2 || !text.bytes().all(|b| b.is_ascii_digit())
    }

    fn length(&self, prompt: &str) -> Option<usize> {
        Some(prompt.split(' ').count())
    }
}

#[test]
fn templates_make_as_many_different_pairs_as_asked_for_and_the_same_ones_again() {
    for digits in [false, true] {
        let words = Words { digits };
        for name in templates() {
            let open = |name: &str| PromptSet::open(name, &words).unwrap();
            let set = open(name);
            assert_eq!(set.items, open(name).items, "{name}");
            assert_eq!((set.items.len(), open(&format!("{name}:7")).items.len()), (50, 7), "{name}");
            assert_ne!(set.items, open(&format!("{name}:50:1")).items, "{name}: another seed draws others");
            let different: BTreeSet<_> = set.items.iter().map(|i| (&i.clean, &i.corrupt)).collect();
            assert_eq!(different.len(), 50, "{name}");
            for item in &set.items {
                assert_ne!(Some(&item.clean), item.corrupt.as_ref(), "{name}");
                assert_ne!(item.target, item.contrast, "{name}");
            }
        }
    }
}

#[test]
fn a_template_says_what_its_tokenizer_lacks() {
    struct Nothing;
    impl Vocabulary for Nothing {
        fn is_token(&self, _: &str) -> bool {
            false
        }
        fn length(&self, _: &str) -> Option<usize> {
            None
        }
    }
    let said = |name: &str| format!("{:#}", PromptSet::open(name, &Nothing).unwrap_err());
    assert!(said("ioi").contains("names") && said("ioi").contains("as one token each"), "{}", said("ioi"));
    assert!(said("ioi:0").contains("accepted: 1..=10000") && said("ioi:5:x").contains("seed"), "{}", said("ioi:0"));
    assert!(said("no-such-set").contains("greater-than"), "{}", said("no-such-set"));
}

#[test]
fn names_of_indirect_objects_are_where_the_set_says() {
    let set = PromptSet::open("ioi:20", &Words { digits: false }).unwrap();
    for item in &set.items {
        let text = |place: &str| match &item.positions[place] {
            mechscope::prompt_set::PromptPlace::Text(text) => text.clone(),
            other => panic!("{other:?}"),
        };
        let (target, subject) = (item.target().unwrap(), item.contrast.as_deref().unwrap());
        assert!(text("IO").ends_with(target) && text("S1").ends_with(subject) && text("S2").ends_with(subject));
        for place in ["IO", "S1", "S2"] {
            assert_eq!(item.clean.matches(&text(place)).count(), 1, "{place}: {}", item.clean);
        }
    }
}

/// Every row's mean and error are those of the reports one by one, of every method that lists units.
#[test]
fn a_method_over_a_set_is_the_mean_of_what_it_says_of_each_prompt() {
    let model = model("hello");
    let prompts = prompts(&model, "builtin:two-hop");
    for (method, name, row, measured, extra) in [
        ("attribute", "effects", "unit", "effect", None),
        ("attribute", "totals", "address", "counts", Some(("total", "true"))),
        ("heads", "heads", "head", "entropy", None),
        ("neurons", "neurons", "neuron", "attribution", Some(("layer", "1"))),
        ("lens", "streams", "stream", "target_prob", None),
    ] {
        let of = analysis::named(method).unwrap();
        let params = of.about().params;
        let mut values = Values::defaults(params).unwrap();
        if let Some((param, value)) = extra {
            values = values.with(params, param, value).unwrap();
        }
        let found = over_set::ask_all(of, &model, &prompts, &values, &[], true, &mut silent).unwrap();
        let means = table(&found, name);
        let all = if method == "lens" { values.clone() } else { values.with(params, "top", "0").unwrap() };
        let mut each: Vec<(i64, Table)> = Vec::new();
        for prompt in &prompts {
            let question = Question { position: -1, target: prompt.target, values: all.clone() };
            let mut runs = Runs::new(prompt.input.clone(), Vec::new());
            let report = analysis::ask(of, &model, &mut runs, &question, &mut silent).unwrap();
            each.push((prompt.input.tokens.len() as i64, table(&report, name).clone()));
        }
        let lengths: BTreeSet<i64> = each.iter().map(|(n, _)| *n).collect();
        assert!(lengths.len() > 1, "positions of prompts of different lengths are what is tested");
        assert!(!means.rows.is_empty());
        for mean in &means.rows {
            let Some(address) = mean[column(means, row)].address() else { continue };
            let values = each.iter().filter_map(|(n, table)| {
                let here = |a: &mechscope::address::Address| a.position.map(|p| if p < 0 { p } else { p - n });
                let same = |cells: &&Vec<Cell>| {
                    let other = cells[column(table, row)].address();
                    other.is_some_and(|a| a.place == address.place && here(a) == address.position)
                };
                Some(number(&table.rows.iter().find(same)?[column(table, measured)]))
            });
            let values: Vec<f64> = values.collect();
            let (want, error) = mean_and_error(values.clone());
            let at = column(means, measured);
            assert_eq!(mean.last(), Some(&Cell::from(values.len())), "{method} {address}");
            assert!((number(&mean[at]) - want.unwrap()).abs() < 1e-5, "{method} {address}");
            if let Some(error) = error {
                assert!((number(&mean[at + 1]) - error).abs() < 1e-5, "{method} {address}");
            }
        }
        let every = table(&found, &format!("{name}_rows"));
        assert!(every.rows.len() >= means.rows.len() && every.columns[0].name == "prompt");
    }
}

#[test]
fn answers_over_a_set_are_those_of_each_prompt_before_and_after_edits() {
    let model = model("hello");
    let prompts = prompts(&model, "builtin:two-hop");
    let edits: Vec<Edit> = vec!["L2.H1=0".parse().unwrap()];
    let found = over_set::answers(&model, &prompts, &edits, Told::Both, true, &mut silent).unwrap();
    let (means, every) = (table(&found, "facts"), table(&found, "prompts"));
    let mean = |name: &str| {
        let row = means.rows.iter().find(|r| r[0] == Cell::from(name)).unwrap();
        number(&row[1])
    };
    let of = |name: &str| mean_and_error(every.rows.iter().map(|r| number(&r[column(every, name)]))).0.unwrap();
    assert!((mean("target_logit_after") - of("target_logit")).abs() < 1e-4);
    assert!((mean("logit_difference_before") - of("logit_difference_before")).abs() < 1e-4);
    let change = mean("logit_difference_after") - mean("logit_difference_before");
    assert!((mean("logit_difference_change") - change).abs() < 1e-4 && change < 0.0, "{change}");
    let clean = over_set::answers(&model, &prompts, &[], Told::Last, false, &mut silent).unwrap();
    let first = table(&clean, "facts").rows.iter().find(|r| r[0] == Cell::from("target_first")).unwrap();
    assert_eq!(number(&first[1]), 1.0, "the built-in model knows its corpus");
}

/// The logits of a run with one edit.
fn logits(model: &Model, ids: &[u32], edit: &str) -> anyhow::Result<Vec<f32>> {
    let (_, edited) = model.intervene(ids, &[edit.parse()?], Bos::Auto, Logits::Last)?;
    edited.last_logits(0)
}

#[test]
fn a_mean_over_a_set_is_the_mean_of_its_runs() {
    let model = model("hello");
    let prompt = "The capital of the state containing Dallas is";
    let ids = model.encode(prompt, Bos::Auto).unwrap().ids();
    let set = PromptSet::open("builtin:ioi", &model).unwrap();
    for (site, address) in [(BlockSite::MlpOut, "L2.mlp"), (BlockSite::Z, "L1.H1"), (BlockSite::MlpPost, "L1.N5")] {
        let site = Site::Block(if address.starts_with("L2") { 2 } else { 1 }, site);
        let (mut sum, mut rows) = (Vec::<f64>::new(), 0usize);
        for item in &set.items {
            let ids = model.encode(&item.clean, Bos::Auto).unwrap().ids();
            let run = model.run(&ids, &Sites::only([site]), Logits::Last).unwrap();
            let numbers = run.numbers(site).unwrap();
            let width = numbers.len() / ids.len();
            sum.resize(width, 0.0);
            for row in numbers.chunks(width) {
                sum.iter_mut().zip(row).for_each(|(s, x)| *s += f64::from(*x));
                rows += 1;
            }
        }
        let width = model.decoder.arch.d_head;
        let cols = match address {
            "L1.H1" => width..2 * width,
            "L1.N5" => 5..6,
            _ => 0..sum.len(),
        };
        let mean: Vec<f32> = sum[cols.clone()].iter().map(|s| (s / rows as f64) as f32).collect();
        let mut plan = mechscope::model::edit::EditPlan::default();
        let positions: Vec<usize> = (0..ids.len()).collect();
        plan.replace(0, site, positions, cols, vec![mean; ids.len()]);
        let start = mechscope::model::forward::Start::Tokens(std::slice::from_ref(&ids));
        let by_hand = model.forward(start, &Sites::None, &plan, Logits::Last, &mut silent).unwrap();
        let got = logits(&model, &ids, &format!("{address}=mean:@builtin:ioi")).unwrap();
        assert_eq!(got, by_hand.last_logits(0).unwrap(), "{address}");
    }
}

#[test]
fn a_prompt_is_no_part_of_the_mean_that_replaces_it() {
    let model = model("hello");
    let set = PromptSet::open("builtin:two-hop", &model).unwrap();
    for own in [set.items[3].clean.clone(), set.items[3].corrupt.clone().unwrap()] {
        let ids = model.encode(&own, Bos::Auto).unwrap().ids();
        for edit in ["L1.H0=mean:@builtin:two-hop", "L1.mlp=mean:@builtin:two-hop:pos"] {
            let said = format!("{:#}", logits(&model, &ids, edit).unwrap_err());
            assert!(said.contains("two-hop-4") && said.contains("accepted: a set without it"), "{said}");
        }
    }
    let ids = model.encode("The capital of the state containing Dallas is", Bos::Auto).unwrap().ids();
    let said = format!("{:#}", logits(&model, &ids, "L1.mlp=mean:@builtin:two-hop:pos").unwrap_err());
    assert!(said.contains("positions cannot be averaged") && said.contains("accepted: equal lengths"), "{said}");
}

#[test]
fn what_is_drawn_is_a_prompt_of_the_set_and_the_same_one_again() {
    let model = model("hello");
    let set = PromptSet::open("builtin:two-hop", &model).unwrap();
    let own = &set.items[0].clean;
    let ids = model.encode(own, Bos::Auto).unwrap().ids();
    let mut drawn = BTreeSet::new();
    for seed in 0..12 {
        let edit = format!("L2.H1@-1=resample:@builtin:two-hop:{seed}");
        let got = logits(&model, &ids, &edit).unwrap();
        assert_eq!(got, logits(&model, &ids, &edit).unwrap());
        let others = set.items.iter().filter(|i| i.clean != *own);
        let from = |clean: &str| format!("L2.H1@-1=from:{}", serde_json::to_string(clean).unwrap());
        let found = others.clone().find(|i| logits(&model, &ids, &from(&i.clean)).unwrap() == got);
        drawn.insert(found.unwrap_or_else(|| panic!("seed {seed} drew no prompt of the set")).id.clone());
    }
    assert!(drawn.len() > 3, "{drawn:?}");
}
