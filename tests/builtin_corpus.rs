//! What the corpus promises: one token a word, honest splits, twins that fit, the same sentences everywhere.

// None of the programs and tests that share it uses all of it.
#[allow(dead_code, missing_docs)]
#[path = "../examples/common/corpus/mod.rs"]
mod corpus;

use std::collections::HashSet;

use corpus::rng::{Rng, hash};
use corpus::{CorpusSplit, FAMILIES, TaskFamily, addition, geography, induction, prompts, sentences, states};
use tokenizers::Tokenizer;

fn tokenizer() -> Tokenizer {
    let hello = mechscope::builtin::get("hello").unwrap();
    Tokenizer::from_bytes(hello.file("tokenizer.json").unwrap()).unwrap()
}

fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode(text, true).unwrap().get_ids().to_vec()
}

#[test]
fn the_seed_fixes_the_sentences() {
    let texts: Vec<String> = sentences(0).take(1000).map(|sentence| sentence.text()).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    // Computed once on x86-64 Linux: a change means that the published model was trained on another corpus.
    assert_eq!(format!("{:016x}", hash(&texts)), FINGERPRINT);
    assert_ne!(texts[0], sentences(1).next().unwrap().text());
}

const FINGERPRINT: &str = "dcae367126fca7b9";

#[test]
fn every_word_is_one_token_and_bos_stands_first() {
    let tokenizer = tokenizer();
    let bos = tokenizer.token_to_id("<|bos|>").unwrap();
    for sentence in sentences(7).take(3000) {
        let mut expected = vec![bos];
        for word in &sentence.words {
            let one = tokenizer.encode(word.text.as_str(), false).unwrap();
            assert_eq!(one.len(), 1, "{:?} in {:?}", word.text, sentence.text());
            expected.extend(one.get_ids());
        }
        assert_eq!(ids(&tokenizer, &sentence.text()), expected, "{:?}", sentence.text());
    }
    for word in induction::words() {
        assert_eq!(ids(&tokenizer, word).len(), 2, "{word:?}");
    }
}

#[test]
fn any_text_survives_the_tokenizer() {
    let tokenizer = tokenizer();
    for text in ["The capital of Texas is Austin.", "naïve 語 \t🙂\n  two  spaces", "calc: 36 + 59 =", ""] {
        assert_eq!(tokenizer.decode(&ids(&tokenizer, text), true).unwrap(), text);
    }
}

#[test]
fn twins_have_as_many_tokens_and_another_answer() {
    let tokenizer = tokenizer();
    for (family, _) in FAMILIES {
        for split in [CorpusSplit::Seen, CorpusSplit::HeldOut] {
            for prompt in prompts(family, split, 200, 5) {
                let (case, twin) = (&prompt.case, &prompt.twin);
                let lengths = [case, twin].map(|case| ids(&tokenizer, &case.text()).len());
                assert_eq!(lengths[0], lengths[1], "{:?} and {:?}", case.text(), twin.text());
                assert_ne!(case.text(), twin.text());
                assert_ne!(case.answers, twin.answers, "{:?}", case.text());
                assert_eq!(case.answers.len() > 1, family == TaskFamily::GreaterThan && case.answers[0] != " 99");
            }
        }
    }
}

#[test]
fn held_out_questions_are_never_in_the_corpus() {
    let said: HashSet<String> = sentences(0).take(100_000).map(|sentence| sentence.text()).collect();
    for (family, _) in FAMILIES {
        if family == TaskFamily::Induction {
            continue; // Lists are random: nothing is held out, nothing comes twice.
        }
        let (mut seen, mut held_out) = (0, 0);
        let known = |case: &corpus::Case| {
            let end = if family == TaskFamily::Agreement { "" } else { "." };
            case.answers.iter().any(|answer| {
                let whole = format!("{}{answer}{end}", case.text());
                // Some answers go on (Salt Lake City; adjectives): the text up to them is enough.
                said.contains(&whole) || said.iter().any(|text| text.starts_with(whole.trim_end_matches('.')))
            })
        };
        for prompt in prompts(family, CorpusSplit::HeldOut, 25, 5) {
            held_out += usize::from(known(&prompt.case)) + usize::from(known(&prompt.twin));
        }
        for prompt in prompts(family, CorpusSplit::Seen, 25, 5) {
            seen += usize::from(known(&prompt.case));
        }
        assert_eq!(held_out, 0, "{}", family.name());
        // Names, places and things make too many different sentences for the same one to come again.
        assert!(seen > 0 || family == TaskFamily::Ioi, "{}: the check itself finds nothing", family.name());
    }
}

#[test]
fn a_quarter_of_the_pairs_and_a_tenth_of_the_sums_are_held_out() {
    let mut pairs = (0, 0);
    for state in states::STATES {
        for city in state.cities {
            let asked = &geography::RELATIONS[..geography::RELATIONS.len() - 1];
            let out = asked.iter().filter(|&&relation| geography::held_out(city, relation)).count();
            assert!((1..=2).contains(&out), "{city}: {out} relations are held out");
            pairs = (pairs.0 + out, pairs.1 + asked.len());
        }
    }
    let share = f64::from(pairs.0 as u32) / pairs.1 as f64;
    assert!((0.22..0.28).contains(&share), "{share}");
    for prompt in prompts(TaskFamily::TwoHop, CorpusSplit::Seen, 300, 3) {
        for case in [&prompt.case, &prompt.twin] {
            let value = |concept: &str| {
                let labels = case.stem.words.iter().flat_map(|word| &word.labels);
                labels.filter(|label| label.concept == concept).map(|label| label.value.clone()).next().unwrap()
            };
            let asked = geography::RELATIONS.into_iter().find(|relation| relation.word() == value("relation")).unwrap();
            assert!(!geography::held_out(&value("city"), asked), "{:?}", case.text());
        }
    }
    let sums = (0..100).flat_map(|a| (0..100 - a).map(move |b| (a, b)));
    let out = sums.filter(|&(a, b)| addition::held_out(a, b)).count();
    assert!((400..610).contains(&out), "{out} of 5050");
}

#[test]
fn cities_belong_to_one_state_and_labels_say_which() {
    let cities: Vec<&str> = states::STATES.iter().flat_map(|state| state.cities).collect();
    assert_eq!(cities.iter().collect::<HashSet<_>>().len(), cities.len());
    for prompt in prompts(TaskFamily::TwoHop, CorpusSplit::HeldOut, 50, 9) {
        let words = &prompt.case.stem.words;
        let city = words.iter().find(|word| word.labels.iter().any(|label| label.concept == "city")).unwrap();
        let label = |concept: &str| {
            let found = city.labels.iter().find(|label| label.concept == concept).unwrap();
            found.value.clone()
        };
        let state = states::STATES.iter().find(|state| state.name == label("state")).unwrap();
        assert!(state.cities.contains(&label("city").as_str()));
        assert_eq!(city.text, format!(" {}", label("city")));
    }
}

#[test]
fn sums_are_right_and_lists_repeat() {
    for prompt in prompts(TaskFamily::Addition, CorpusSplit::HeldOut, 100, 3) {
        let text = prompt.case.text();
        let numbers: Vec<u32> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        assert_eq!(format!(" {:02}", numbers[0] + numbers[1]), prompt.case.answers[0], "{text}");
    }
    let mut rng = Rng::new(2);
    for _ in 0..100 {
        let words = TaskFamily::Induction.sentence(&mut rng).words;
        for (at, word) in words.iter().enumerate().filter(|(_, word)| word.determined) {
            let before = &words[at - 1].text;
            let followed = words[..at - 1].windows(2).any(|pair| pair[0].text == *before && pair[1].text == word.text);
            assert!(followed, "{:?} after {before:?}", word.text);
        }
    }
}

/// The sets that the program brings along are those that the generator makes. Where they are not, what it makes is written to a file.
#[test]
fn the_sets_in_the_program_are_the_generators() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/prompt_set/");
    for (name, made) in [("hello.jsonl", corpus::sets::hello()), ("letters.jsonl", corpus::sets::letters())] {
        let made = corpus::sets::text(&made).unwrap();
        if std::fs::read_to_string(format!("{folder}{name}")).unwrap() != made {
            let to = format!("{}/{name}", env!("CARGO_TARGET_TMPDIR"));
            std::fs::write(&to, made).unwrap();
            panic!("{folder}{name} is not what the corpus makes: see {to}");
        }
    }
}
