//! Words of questions: in small letters, without the words that all questions have, without endings, and what means the same made the same.

/// Words that say nothing of what is asked.
const COMMON: &str = " a an and are as at be been by can could did do does doing for from had has have how i if in into is it its me my of on one or out should so \
                      some than that the them there these they thing things this those to up was we were what when where which who whose why will with would you your model models \
                      happen here any ";

/// Words that ask for the same thing.
const SAME: &[(&str, &str)] = &[
    ("attend", "look"),
    ("attention", "look"),
    ("ablate", "silence"),
    ("remove", "silence"),
    ("delete", "silence"),
    ("knock", "silence"),
    ("prune", "silence"),
    ("zero", "silence"),
    ("important", "matter"),
    ("responsible", "matter"),
    ("cause", "matter"),
    ("causal", "matter"),
    ("store", "keep"),
    ("hold", "keep"),
    ("live", "keep"),
    ("information", "tell"),
    ("send", "tell"),
    ("communicate", "tell"),
    ("talk", "tell"),
    ("output", "answer"),
    ("prediction", "answer"),
    ("decide", "know"),
    ("steer", "change"),
    ("edit", "change"),
    ("modify", "change"),
    ("necessary", "need"),
    ("sufficient", "enough"),
    ("fire", "active"),
    ("activate", "active"),
    ("sae", "feature"),
    ("transcoder", "feature"),
    ("continuation", "write"),
    ("circuits", "circuit"),
    ("connection", "edge"),
    ("believe", "trust"),
    ("reliable", "trust"),
    ("layers", "layer"),
];

/// The stems of a text's words, in its order.
pub(super) fn stems(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty());
    let said = words.filter(|word| !COMMON.contains(&format!(" {word} ")));
    said.map(|word| {
        let stem = stem(word);
        let same = SAME.iter().find(|(other, _)| self::stem(other) == stem);
        same.map_or(stem, |(_, word)| self::stem(word))
    })
    .collect()
}

/// A word without its ending: `looks`, `looking` and `looked` are `look`.
fn stem(word: &str) -> String {
    for (ending, instead) in [("ies", "y"), ("ing", ""), ("ed", ""), ("es", ""), ("s", ""), ("ly", ""), ("e", "")] {
        if let Some(bare) = word.strip_suffix(ending)
            && bare.len() >= 3
            && !bare.ends_with('s')
        {
            return format!("{bare}{instead}");
        }
    }
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_a_word_are_one_and_empty_words_go() {
        assert_eq!(stems("Why did it look there?"), ["look"]);
        assert_eq!(stems("looking, looks, looked, attends"), ["look"; 4]);
        assert_eq!(stem("move"), stem("moves"));
        assert_eq!(stem("queries"), "query");
        assert!(stems("what is it").is_empty());
    }
}
