//! The sets of prompts that travel in the program: `src/prompt_set/hello.jsonl` and `letters.jsonl`. `tests/builtin_corpus.rs` holds them
//! against what is made here.

use super::rng::Rng;
use super::{CorpusSplit, FAMILIES, TaskFamily, prompts};

/// Prompts of a family.
const OF_ONE: usize = 20;
/// Prompts of letters.
const LETTERS: usize = 10;
/// Whatever draws prompts draws the same ones every time.
const SEED: u64 = 1;

/// One line of a set, its fields in this order.
#[derive(serde::Serialize)]
pub struct Line {
    pub id: String,
    pub label: &'static str,
    pub clean: String,
    pub corrupt: String,
    pub target: String,
    pub contrast: String,
}

/// A set as a file, one JSON object a line.
pub fn text(lines: &[Line]) -> serde_json::Result<String> {
    lines.iter().map(|line| Ok(serde_json::to_string(line)? + "\n")).collect()
}

/// Every family of the corpus.
pub fn hello() -> Vec<Line> {
    FAMILIES.iter().flat_map(|(family, _)| of_family(*family, OF_ONE)).collect()
}

/// Different prompts of a family that training held out, with their twins.
fn of_family(family: TaskFamily, n: usize) -> Vec<Line> {
    let mut items: Vec<Line> = Vec::new();
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
        let id = format!("{}-{}", family.name(), items.len() + 1);
        items.push(Line { id, label: family.name(), clean, corrupt, target, contrast });
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

/// Six letters and the beginning of their copy; in the twin the letter that comes next was another one.
pub fn letters() -> Vec<Line> {
    let mut rng = Rng::new(SEED);
    let one = |i: usize| {
        let mut left: Vec<char> = ('a'..='z').collect();
        let drawn: Vec<char> = (0..7).map(|_| left.remove(rng.below(left.len()))).collect();
        let (word, other, at) = (&drawn[..6], drawn[6], 1 + rng.below(5));
        let text = |word: &[char]| word.iter().chain(&word[..at]).collect::<String>();
        let mut twin = word.to_vec();
        twin[at] = other;
        Line {
            id: format!("letters-{}", i + 1),
            label: "letters",
            clean: text(word),
            corrupt: text(&twin),
            target: word[at].to_string(),
            contrast: other.to_string(),
        }
    };
    (0..LETTERS).map(one).collect()
}
