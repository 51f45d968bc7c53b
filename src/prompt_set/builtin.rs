//! Sets that travel in the program: prompts of the built-in models' corpora, and some that fit any model of English.
//!
//! `hello.jsonl` holds prompts that the built-in model's training held out, `letters.jsonl` such of the induction model;
//! `examples/common/corpus/sets.rs` makes both.

use super::{BUILTIN, PromptItem, PromptSet};
use anyhow::{Result, bail};

/// Prompts of each family in `builtin:hello`.
const OF_EACH: usize = 10;

/// Prompts by family, the label of each.
const HELLO: &str = include_str!("hello.jsonl");
const LETTERS: &str = include_str!("letters.jsonl");
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
    let items = match name {
        "hello" => families()?.into_iter().flat_map(|(_, items)| items.into_iter().take(OF_EACH)).collect(),
        "real" => PromptSet::of_jsonl(REAL)?,
        "capitals" => capitals(),
        "letters" => PromptSet::of_jsonl(LETTERS)?,
        _ => {
            let all = families()?;
            let names: Vec<String> = all.iter().map(|(family, _)| format!("{BUILTIN}{family}")).collect();
            let found = all.into_iter().find(|(family, _)| family == name);
            let Some((_, items)) = found else {
                bail!(
                    "there is no set {BUILTIN}{name}; accepted: {BUILTIN}hello, {BUILTIN}real, {BUILTIN}capitals, {BUILTIN}letters, {}, or a file",
                    names.join(", ")
                )
            };
            items
        }
    };
    Ok(PromptSet { name: format!("{BUILTIN}{name}"), items })
}

/// The prompts of each family of the built-in model's corpus.
fn families() -> Result<Vec<(String, Vec<PromptItem>)>> {
    let mut families: Vec<(String, Vec<PromptItem>)> = Vec::new();
    for item in PromptSet::of_jsonl(HELLO)? {
        let label = item.label.clone().unwrap_or_default();
        match families.iter_mut().find(|(family, _)| *family == label) {
            Some((_, items)) => items.push(item),
            None => families.push((label, vec![item])),
        }
    }
    Ok(families)
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

#[cfg(test)]
mod tests {
    use super::*;

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
