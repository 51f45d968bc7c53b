//! Sets that travel in the program: prompts of the built-in models' corpora, and some that fit any model of English.

use super::{BUILTIN, PromptItem, PromptSet};
use crate::builtin::corpus::rng::Rng;
use crate::builtin::corpus::{CorpusSplit, FAMILIES, TaskFamily, prompts};
use anyhow::{Result, bail};

/// Prompts of each family in `builtin:hello`.
const OF_EACH: usize = 10;
/// Prompts of a family by itself.
const OF_ONE: usize = 20;
/// Whatever draws prompts draws the same ones every time.
const SEED: u64 = 1;

const REAL: &str = include_str!("real.jsonl");

/// Countries and their capitals, each one token of most vocabularies of English.
const CAPITALS: [(&str, &str); 25] = [
    ("France", "Paris"),
    ("Germany", "Berlin"),
    ("Italy", "Rome"),
    ("Spain", "Madrid"),
    ("Japan", "Tokyo"),
    ("China", "Beijing"),
    ("Russia", "Moscow"),
    ("Egypt", "Cairo"),
    ("Iran", "Tehran"),
    ("Iraq", "Baghdad"),
    ("Cuba", "Havana"),
    ("Greece", "Athens"),
    ("Poland", "Warsaw"),
    ("Portugal", "Lisbon"),
    ("Austria", "Vienna"),
    ("Ireland", "Dublin"),
    ("Sweden", "Stockholm"),
    ("Norway", "Oslo"),
    ("Finland", "Helsinki"),
    ("Denmark", "Copenhagen"),
    ("Hungary", "Budapest"),
    ("Peru", "Lima"),
    ("Chile", "Santiago"),
    ("Canada", "Ottawa"),
    ("England", "London"),
];

/// The set `builtin:NAME`.
pub(super) fn set(name: &str) -> Result<PromptSet> {
    let family = FAMILIES.iter().map(|(family, _)| *family).find(|family| family.name() == name);
    let items = match (name, family) {
        ("hello", _) => FAMILIES.iter().flat_map(|(family, _)| of_family(*family, OF_EACH)).collect(),
        ("real", _) => PromptSet::of_jsonl(REAL)?,
        ("capitals", _) => capitals(),
        ("letters", _) => letters(OF_EACH),
        (_, Some(family)) => of_family(family, OF_ONE),
        _ => {
            let families: Vec<String> = FAMILIES.iter().map(|(f, _)| format!("{BUILTIN}{}", f.name())).collect();
            bail!(
                "there is no set {BUILTIN}{name}; accepted: {BUILTIN}hello, {BUILTIN}real, {BUILTIN}capitals, {BUILTIN}letters, {}, or a file",
                families.join(", ")
            )
        }
    };
    Ok(PromptSet { name: format!("{BUILTIN}{name}"), items })
}

/// Different prompts of a family that training held out, with their twins.
fn of_family(family: TaskFamily, n: usize) -> Vec<PromptItem> {
    let mut items: Vec<PromptItem> = Vec::new();
    for prompt in prompts(family, CorpusSplit::HeldOut, 20 * n, SEED) {
        let (clean, corrupt) = (prompt.case.text(), prompt.twin.text());
        // A year that is late enough for the one may be for the other too: what parts them is an answer of one alone.
        let right = |a: &[String], b: &[String]| a.iter().find(|answer| !b.contains(answer)).cloned();
        let target = right(&prompt.case.answers, &prompt.twin.answers);
        let contrast = right(&prompt.twin.answers, &prompt.case.answers);
        let (target, contrast) = match (target, contrast) {
            (Some(target), Some(contrast)) => (target, contrast),
            (Some(target), None) => {
                let Some(wrong) = earlier(family, &prompt.case.answers) else { continue };
                (target, wrong)
            }
            _ => continue,
        };
        if items.len() == n || items.iter().any(|item| item.clean == clean) {
            continue;
        }
        items.push(PromptItem {
            id: format!("{}-{}", family.name(), items.len() + 1),
            clean,
            corrupt: Some(corrupt),
            target: Some(target),
            contrast: Some(contrast),
            label: Some(family.name().to_owned()),
            ..PromptItem::default()
        });
    }
    items
}

/// The year before all that are right: the nearest wrong answer.
fn earlier(family: TaskFamily, answers: &[String]) -> Option<String> {
    if family != TaskFamily::GreaterThan {
        return None;
    }
    let first: usize = answers.first()?.trim().parse().ok()?;
    Some(format!(" {:02}", first.checked_sub(1)?))
}

/// Every country with two others, so that each is as often the clean one as the corrupt one.
fn capitals() -> Vec<PromptItem> {
    let n = CAPITALS.len();
    let pair = |i: usize, by: usize| {
        let ((country, capital), (other, wrong)) = (CAPITALS[i], CAPITALS[(i + by) % n]);
        PromptItem {
            id: format!("{}-{}", country.to_lowercase(), other.to_lowercase()),
            clean: format!("The capital of {country} is"),
            corrupt: Some(format!("The capital of {other} is")),
            target: Some(format!(" {capital}")),
            contrast: Some(format!(" {wrong}")),
            label: Some("capitals".into()),
            ..PromptItem::default()
        }
    };
    (0..n).flat_map(|i| [pair(i, 1), pair(i, 7)]).collect()
}

/// Six letters and the beginning of their copy; in the twin the letter that comes next was another one.
fn letters(n: usize) -> Vec<PromptItem> {
    let mut rng = Rng::new(SEED);
    let one = |i: usize| {
        let mut left: Vec<char> = ('a'..='z').collect();
        let drawn: Vec<char> = (0..7).map(|_| left.remove(rng.below(left.len()))).collect();
        let (word, other, at) = (&drawn[..6], drawn[6], 1 + rng.below(5));
        let text = |word: &[char]| word.iter().chain(&word[..at]).collect::<String>();
        let mut twin = word.to_vec();
        twin[at] = other;
        PromptItem {
            id: format!("letters-{}", i + 1),
            clean: text(word),
            corrupt: Some(text(&twin)),
            target: Some(word[at].to_string()),
            contrast: Some(other.to_string()),
            label: Some("letters".into()),
            ..PromptItem::default()
        }
    };
    (0..n).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Model;
    use crate::model::open::Options;
    use crate::model::text::Bos;

    fn model(name: &str) -> Model {
        Model::open(name, Options::default(), Box::new(|_, _| {})).unwrap()
    }

    /// Every prompt has a twin of as many tokens, and a target and a contrast that are tokens.
    fn fits(model: &Model, set: &str) -> usize {
        let set = PromptSet::open(set).unwrap();
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
        for (family, _) in FAMILIES {
            assert_eq!(fits(&hello, &format!("builtin:{}", family.name())), 20, "{}", family.name());
        }
        assert_eq!(fits(&model("induction"), "builtin:letters"), 10);
    }

    #[test]
    fn the_real_prompts_are_twenty_of_seven_kinds() {
        let set = set("real").unwrap();
        let kinds: std::collections::BTreeSet<&str> = set.items.iter().filter_map(|i| i.label.as_deref()).collect();
        assert_eq!((set.items.len(), kinds.len()), (20, 7));
        assert!(set.items.iter().all(|i| i.target().is_some() && i.contrast.is_some()));
    }

    #[test]
    fn every_country_is_as_often_clean_as_corrupt() {
        let items = set("capitals").unwrap().items;
        let distinct: std::collections::BTreeSet<&str> = items.iter().map(|i| i.id.as_str()).collect();
        assert_eq!((items.len(), distinct.len()), (50, 50));
        for (country, capital) in CAPITALS {
            let said = format!("The capital of {country} is");
            assert_eq!(
                items.iter().filter(|i| i.clean == said && i.target() == Some(&format!(" {capital}"))).count(),
                2
            );
            assert_eq!(items.iter().filter(|i| i.corrupt.as_ref() == Some(&said)).count(), 2);
        }
    }

    #[test]
    fn an_unknown_set_is_told_what_there_is() {
        let said = format!("{:#}", set("fancy").unwrap_err());
        assert!(said.contains("builtin:hello") && said.contains("builtin:two-hop"), "{said}");
    }
}
