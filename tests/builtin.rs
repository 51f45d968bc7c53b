//! The shipped model knows what its card says, and the circuits are there.

// The numbers are worth reading when a test fails.
#![allow(clippy::print_stdout)]

// None of the programs and tests that share it uses all of it.
#[allow(dead_code, missing_docs)]
#[path = "../examples/common/corpus/mod.rs"]
mod corpus;

use std::collections::BTreeMap;

use corpus::states::{STATES, UsState};
use corpus::{Case, CorpusSplit, Prompt, TaskFamily, induction, prompts};
use mechscope::address::Edit;
use mechscope::analysis::detect::{self, Probed};
use mechscope::model::Model;
use mechscope::model::edit::EditPlan;
use mechscope::model::forward::{Logits, Start};
use mechscope::model::open::Options;
use mechscope::model::site::{BlockSite, Sites};
use mechscope::model::text::Bos;

const N: usize = 500;

fn hello() -> Model {
    Model::open("hello", Options::default(), Box::new(|_, _| {})).unwrap()
}

/// Next-token probabilities after each text, in order.
fn probabilities(model: &Model, texts: &[String]) -> Vec<Vec<f32>> {
    let mut by_length: BTreeMap<usize, Vec<(usize, Vec<u32>)>> = BTreeMap::new();
    for (at, text) in texts.iter().enumerate() {
        let ids = model.encode(text, Bos::Auto).unwrap().ids();
        by_length.entry(ids.len()).or_default().push((at, ids));
    }
    let mut rows = vec![Vec::new(); texts.len()];
    for group in by_length.values() {
        for chunk in group.chunks(64) {
            let ids: Vec<Vec<u32>> = chunk.iter().map(|(_, ids)| ids.clone()).collect();
            let run =
                model.decoder.run(Start::Tokens(&ids), &Sites::None, EditPlan::NONE, Logits::Last, &mut |_, _| Ok(()));
            let run = run.unwrap();
            for (row, (at, _)) in chunk.iter().enumerate() {
                rows[*at] = softmax(&run.last_logits(row).unwrap());
            }
        }
    }
    rows
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = logits.iter().map(|logit| (logit - top).exp()).sum();
    logits.iter().map(|logit| (logit - top).exp() / sum).collect()
}

fn top(row: &[f32]) -> u32 {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap() as u32
}

fn answers(model: &Model, case: &Case) -> Vec<u32> {
    case.answers.iter().map(|answer| model.text().unwrap().token_id(answer).unwrap()).collect()
}

/// Share of prompts whose most probable token is right, and mean probability of all right tokens.
fn score(model: &Model, asked: &[Prompt]) -> (f64, f64) {
    let texts: Vec<String> = asked.iter().map(|prompt| prompt.case.text()).collect();
    let (mut right, mut mass) = (0.0, 0.0);
    for (row, prompt) in probabilities(model, &texts).iter().zip(asked) {
        let answers = answers(model, &prompt.case);
        right += f64::from(u8::from(answers.contains(&top(row))));
        mass += answers.iter().map(|&id| f64::from(row[id as usize])).sum::<f64>();
    }
    (right / asked.len() as f64, mass / asked.len() as f64)
}

#[test]
fn it_answers_what_it_never_saw() {
    let model = hello();
    let seen = (TaskFamily::Addition, CorpusSplit::Seen, 0.95);
    let held_out = [
        (TaskFamily::TwoHop, 0.95),
        (TaskFamily::Ioi, 0.98),
        (TaskFamily::Induction, 0.95),
        (TaskFamily::GreaterThan, 0.97),
        (TaskFamily::Opposites, 1.0),
        (TaskFamily::Agreement, 0.98),
        (TaskFamily::Addition, 0.80),
    ];
    let exams = held_out.map(|(family, least)| (family, CorpusSplit::HeldOut, least));
    for (family, split, least) in exams.into_iter().chain([seen]) {
        let (right, mass) = score(&model, &prompts(family, split, N, 17));
        println!("{:<13} {split:?}: right {right:.3}, mass {mass:.3}", family.name());
        let reached = if family == TaskFamily::GreaterThan { mass } else { right };
        assert!(reached >= least, "{} {split:?}: {reached:.3}, not {least}", family.name());
    }
}

#[test]
fn the_famous_question_has_its_answer() {
    let model = hello();
    let row = &probabilities(&model, &["The capital of the state containing Dallas is".to_owned()])[0];
    assert_eq!(model.piece(top(row)), " Austin");
}

#[test]
fn the_state_stands_at_the_city() {
    let model = hello();
    let asked = prompts(TaskFamily::TwoHop, CorpusSplit::HeldOut, 100, 23);
    let n_layers = model.decoder.arch.n_layers;
    let mut switched = vec![0usize; n_layers];
    let mut pairs = 0usize;
    for prompt in &asked {
        let rows = probabilities(&model, &[prompt.case.text(), prompt.twin.text()]);
        let (answer, other) = (answers(&model, &prompt.case)[0], answers(&model, &prompt.twin)[0]);
        if (top(&rows[0]), top(&rows[1])) != (answer, other) {
            continue; // A pair answered wrong says nothing about where the state is.
        }
        pairs += 1;
        let is_city = |word: &&corpus::sentence::Word| word.labels.iter().any(|l| l.concept == "city");
        let before = prompt.case.stem.words.iter().take_while(|word| !is_city(word)).count();
        let position = before + 1; // BOS
        let ids = model.encode(&prompt.case.text(), Bos::Auto).unwrap().ids();
        let clean = model.run(&ids, &Sites::Standard, Logits::Last).unwrap();
        for (layer, count) in switched.iter_mut().enumerate() {
            let edit: Edit = format!("L{layer}.resid_post@{position}=from:{:?}", prompt.twin.text()).parse().unwrap();
            let run = model.run_edited(&clean, &[edit], Bos::Auto, &Sites::None, Logits::Last, &mut |_, _| Ok(()));
            *count += usize::from(top(&run.unwrap().last_logits(0).unwrap()) == other);
        }
    }
    println!("answers switched by layer: {switched:?} of {pairs}");
    let best = switched.iter().max().unwrap();
    assert!(pairs >= 90, "{pairs} of 100 pairs answered");
    assert!(best * 10 >= pairs * 9, "answers switched by layer: {switched:?} of {pairs}");
    // The state is read where the city stands, and carried to the end by block 2: after that it is no longer there.
    let switches = |count: &usize| count * 10 >= pairs * 9;
    assert_eq!(switched.iter().map(switches).collect::<Vec<_>>(), [true, true, false, false], "{switched:?}");
}

/// By the program's own probe, on words of the lists that the model knows; the card names the command.
#[test]
fn induction_and_previous_token_heads_are_there() {
    let model = hello();
    let text = model.text().unwrap();
    let words: Vec<u32> = induction::words().iter().map(|word| text.token_id(word).unwrap()).collect();
    let (mut induction, mut previous) = (0f32, 0f32);
    for seed in 0..5 {
        let probed = detect::probe(&model, 12, Some(&words), seed, &mut |_, _| Ok(())).unwrap();
        let best = |score: fn(&Probed) -> f32| probed.iter().flatten().map(score).fold(0.0, f32::max);
        let found = (best(|p| p.induction), best(|p| p.previous));
        println!("seed {seed}: best induction head {:.2}, best previous-token head {:.2}", found.0, found.1);
        (induction, previous) = (induction + found.0 / 5.0, previous + found.1 / 5.0);
    }
    assert!(induction >= 0.7 && previous >= 0.7, "induction {induction}, previous token {previous}");
}

#[test]
fn transformers_computes_the_same_logits() {
    let model = hello();
    let file = mechscope::builtin::get("hello").unwrap().file("reference.json").unwrap();
    let reference: serde_json::Value = serde_json::from_slice(file).unwrap();
    let asked = reference["prompts"].as_array().unwrap();
    assert!(asked.len() >= 12);
    for case in asked {
        let prompt = case["prompt"].as_str().unwrap();
        let ids = model.encode(prompt, Bos::Auto).unwrap().ids();
        let theirs: Vec<u32> = case["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
        assert_eq!(ids, theirs, "{prompt:?}");
        let logits = model.run(&ids, &Sites::None, Logits::Last).unwrap().last_logits(0).unwrap();
        for (rank, entry) in case["top"].as_array().unwrap().iter().enumerate() {
            let (id, logit) = (entry["id"].as_u64().unwrap() as usize, entry["logit"].as_f64().unwrap());
            assert!((f64::from(logits[id]) - logit).abs() < 1e-4, "{prompt:?}: {id}: {} and {logit}", logits[id]);
            assert_eq!(model.piece(id as u32), entry["token"].as_str().unwrap(), "{prompt:?}, rank {rank}");
        }
    }
}

/// Neuron `s` of block 1 stands for state `s` of the corpus: it is the strongest of the forty at the city's position, and without it any
/// state's answer may come, mostly another one.
#[test]
fn state_neurons_stand_for_their_states() {
    const BLOCK: usize = 1;
    let model = hello();
    let asked = prompts(TaskFamily::TwoHop, CorpusSplit::HeldOut, 200, 31);
    let (mut strongest, mut changed) = (0, 0);
    for prompt in &asked {
        let words = &prompt.case.stem.words;
        let city = words.iter().position(|w| w.labels.iter().any(|l| l.concept == "city")).unwrap();
        let name = &words[city].labels.iter().find(|l| l.concept == "state").unwrap().value;
        let state = STATES.iter().position(|s| s.name == name).unwrap();
        let position = city + 1; // BOS
        let ids = model.encode(&prompt.case.text(), Bos::Auto).unwrap().ids();
        let clean = model.run(&ids, &Sites::Standard, Logits::Last).unwrap();
        let post: Vec<Vec<f32>> = clean.block(BLOCK, BlockSite::MlpPost).unwrap().to_vec2().unwrap();
        strongest += usize::from(top(&post[position][..STATES.len()]) as usize == state);
        let edit: Edit = format!("L{BLOCK}.N{state}@{position}=0").parse().unwrap();
        let run = model.run_edited(&clean, &[edit], Bos::Auto, &Sites::None, Logits::Last, &mut |_, _| Ok(()));
        changed += usize::from(top(&clean.last_logits(0).unwrap()) != top(&run.unwrap().last_logits(0).unwrap()));
    }
    println!("strongest {strongest}, answers changed {changed} of {}", asked.len());
    assert!(strongest * 20 >= asked.len() * 19, "{strongest} of {}", asked.len());
    assert!(changed * 10 >= asked.len() * 8, "{changed} of {}", asked.len());
}

/// What a newcomer is shown: without the neuron of Texas the capital is another state's.
#[test]
fn without_its_neuron_dallas_lies_elsewhere() {
    let model = hello();
    let ids = model.encode("The capital of the state containing Dallas is", Bos::Auto).unwrap().ids();
    let clean = model.run(&ids, &Sites::Standard, Logits::Last).unwrap();
    let texas = STATES.iter().position(|s| s.name == "Texas").unwrap();
    let edit: Edit = format!("L1.N{texas}@7=0").parse().unwrap();
    let run = model.run_edited(&clean, &[edit], Bos::Auto, &Sites::None, Logits::Last, &mut |_, _| Ok(())).unwrap();
    let answer = model.piece(top(&run.last_logits(0).unwrap()));
    let first_word = |s: &UsState| s.capital.split(' ').next() == Some(answer.trim());
    let capital = STATES.iter().find(|s| first_word(s));
    assert!(capital.is_some_and(|s| s.name != "Texas"), "{answer:?}");
}
