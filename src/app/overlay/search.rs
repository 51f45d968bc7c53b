//! Finding entries of a list by words: those of a question, in any order, or the beginning of a name.

use super::PickerItem;
use nucleo_matcher::pattern::{CaseMatching, Normalization, Pattern};
use nucleo_matcher::{Config, Matcher, Utf32Str};

/// Words that say nothing of what is looked for.
const EMPTY: [&str; 26] = [
    "a", "an", "and", "are", "can", "do", "does", "for", "how", "i", "in", "is", "it", "me", "my", "of", "on", "or",
    "show", "that", "the", "to", "what", "when", "where", "with",
];

/// The entries that fit what was typed, the best first.
///
/// All words have to be there: in the name, the keys, the description or what more is said. Where no entry has them all, those count that have
/// any of the longer ones; where none has, those whose name has the letters in their order. Nothing typed: all, in their own order.
pub(super) fn found(all: &[PickerItem], typed: &str) -> Vec<PickerItem> {
    let typed = typed.trim().to_lowercase();
    let every: Vec<&str> = typed.split_whitespace().collect();
    let telling: Vec<&str> = every.iter().copied().filter(|word| !EMPTY.contains(word)).collect();
    // One word may be a name that is being typed, a letter a key.
    let words = if every.len() > 1 && !telling.is_empty() { telling } else { every };
    if words.is_empty() {
        return all.to_vec();
    }
    let whole = |item: &PickerItem| words.iter().map(|word| rank(item, word)).sum::<Option<u32>>();
    let some = |item: &PickerItem| {
        let ranks: Vec<u32> = words.iter().filter(|word| word.len() > 3).filter_map(|word| rank(item, word)).collect();
        let n = u32::try_from(ranks.len()).unwrap_or(u32::MAX);
        (n > 0).then(|| 1000 * n + ranks.iter().sum::<u32>())
    };
    let all_words = ranked(all, whole);
    if !all_words.is_empty() {
        return all_words;
    }
    let any_words = if words.len() > 1 { ranked(all, some) } else { Vec::new() };
    if any_words.is_empty() { by_letters(all, &typed) } else { any_words }
}

fn ranked(all: &[PickerItem], rank: impl Fn(&PickerItem) -> Option<u32>) -> Vec<PickerItem> {
    let mut hits: Vec<(u32, &PickerItem)> = all.iter().filter_map(|item| Some((rank(item)?, item))).collect();
    hits.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
    hits.into_iter().map(|(_, item)| item.clone()).collect()
}

/// How well a word fits an entry: its name before its description, the beginning of a word before the middle of one.
fn rank(item: &PickerItem, word: &str) -> Option<u32> {
    let name = item.name.to_lowercase();
    if name == word {
        return Some(400);
    }
    if item.keys.split_whitespace().any(|key| key.to_lowercase() == word) {
        return Some(120);
    }
    let (about, more) = (item.about.to_lowercase(), item.more.to_lowercase());
    // A letter is in everything.
    let inside = |text: &str| word.chars().count() > 2 && text.contains(word);
    match () {
        () if name.starts_with(word) => Some(100),
        () if begins(&name, word) => Some(80),
        () if inside(&name) => Some(40),
        () if begins(&about, word) => Some(30),
        () if inside(&about) => Some(15),
        () if begins(&more, word) => Some(8),
        () if inside(&more) => Some(4),
        () => None,
    }
}

/// Whether one of the text's words begins with this one.
fn begins(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric()).any(|of| of.starts_with(word))
        || text.split_whitespace().any(|of| of == word)
}

/// Those whose name has the letters in their order.
fn by_letters(all: &[PickerItem], typed: &str) -> Vec<PickerItem> {
    let pattern = Pattern::parse(typed, CaseMatching::Ignore, Normalization::Smart);
    let (mut matcher, mut buffer) = (Matcher::new(Config::DEFAULT), Vec::new());
    let mut hits: Vec<(u32, &PickerItem)> = Vec::new();
    for item in all {
        let score = pattern.score(Utf32Str::new(&item.name, &mut buffer), &mut matcher);
        hits.extend(score.map(|score| (score, item)));
    }
    hits.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    hits.into_iter().map(|(_, item)| item.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Overlay, PickerKind};
    use super::*;
    use crate::keymap::{Context, Keymap};

    fn names(kind: PickerKind, typed: &str) -> Vec<String> {
        let keymap = Keymap::load(&[], &[]).unwrap();
        let Overlay::Picker(picker) = Overlay::actions(kind, &keymap, Context::Heads) else { panic!("no list") };
        found(&picker.items, typed).into_iter().map(|item| item.name).collect()
    }

    #[test]
    fn words_are_found_where_they_are_written() {
        for kind in [PickerKind::Help, PickerKind::Palette] {
            let relp = names(kind, "RelP");
            assert!(relp.contains(&"patch_estimate".to_owned()) && relp.contains(&"neurons".to_owned()), "{relp:?}");
            assert!(!relp.contains(&"tab_lens".to_owned()), "letters strewn over a sentence are no match: {relp:?}");
            assert_eq!(names(kind, "colours")[0], "theme", "settings are found too");
        }
        let words = names(PickerKind::Help, "OV circuit");
        assert_eq!(words[0].to_lowercase(), "ov circuit", "words of the field are found by their names");
        assert_eq!(names(PickerKind::Help, "attention sink")[0], "attention sink");
        assert_eq!(names(PickerKind::Palette, "induction")[0], "heads", "what it is for, not its name alone");
        assert_eq!(names(PickerKind::Palette, "how do I set a unit to zero")[0], "zero_unit");
        assert_eq!(names(PickerKind::Palette, "zzzz"), [""; 0]);
        assert_eq!(names(PickerKind::Palette, "tbheads"), ["tab_heads"], "letters of a name in their order");
    }

    #[test]
    fn the_help_begins_with_the_keys_of_the_tab() {
        let keymap = Keymap::load(&[], &[]).unwrap();
        let Overlay::Picker(picker) = Overlay::actions(PickerKind::Help, &keymap, Context::Heads) else { panic!() };
        let own = keymap.iter().filter(|(context, ..)| *context == Context::Heads).count();
        assert!(own > 0 && picker.items[0].group == "On this tab", "{:?}", picker.items[0]);
        let mut seen = std::collections::BTreeSet::new();
        assert!(
            picker.items.iter().all(|item| seen.insert((
                item.group == "Methods",
                item.group == "Words",
                item.name.clone()
            ))),
            "each once"
        );
    }
}
