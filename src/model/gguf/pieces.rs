//! The merges of a SentencePiece vocabulary, which a GGUF file does not hold.

use crate::cast::short;
use anyhow::{Result, ensure};
use rayon::prelude::*;
use tokenizers::models::bpe::{Merges, Vocab};

/// Number of an ordinary token among the types of tokens.
const ORDINARY: i64 = 1;

/// All ways to make an ordinary token of two tokens of the vocabulary, the best-scored token first; of those of one token, by the ids of the
/// parts. Merging in that order is what SentencePiece does when it joins the pair with the best score.
///
/// # Errors
/// There is not one score and one type for every token.
pub fn merges(tokens: &[String], ids: &Vocab, scores: &[f32], kinds: &[i64]) -> Result<Merges> {
    ensure!(
        scores.len() == tokens.len() && kinds.len() == tokens.len(),
        "{} tokens have {} scores and {} types; accepted: one of each for every token",
        tokens.len(),
        scores.len(),
        kinds.len()
    );
    let splits = |id: usize| {
        let token = tokens[id].as_str();
        let cuts = token.char_indices().map(|(at, _)| at).skip(1);
        let cuts = if kinds[id] == ORDINARY { Some(cuts) } else { None };
        cuts.into_iter().flatten().filter_map(move |at| token.split_at_checked(at))
    };
    let mut found: Vec<(u32, u32, u32)> = (0..tokens.len())
        .into_par_iter()
        .flat_map_iter(|id| {
            let parts = splits(id).filter_map(|(l, r)| Some((short(id), *ids.get(l)?, *ids.get(r)?)));
            parts.collect::<Vec<_>>()
        })
        .collect();
    let score = |id: u32| scores[id as usize];
    found.par_sort_unstable_by(|a, b| score(b.0).total_cmp(&score(a.0)).then((a.1, a.2).cmp(&(b.1, b.2))));
    let text = |id: u32| tokens[id as usize].clone();
    Ok(found.into_par_iter().map(|(_, left, right)| (text(left), text(right))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_score_merges_first_and_ties_go_by_the_parts() {
        let tokens = ["<s>", "a", "b", "ab", "ba", "aba", "▁"].map(str::to_owned);
        let scores = [0.0, -9.0, -9.0, -2.0, -1.0, -3.0, -9.0];
        let ids: Vocab = tokens.iter().cloned().zip(0..).collect();
        let made = merges(&tokens, &ids, &scores, &[3, 1, 1, 1, 1, 1, 1]).unwrap();
        let made: Vec<String> = made.into_iter().map(|(a, b)| format!("{a}+{b}")).collect();
        assert_eq!(made, ["b+a", "a+b", "a+ba", "ab+a"]);
        // A control token is never merged together, and no token is read past the end of a list.
        assert_eq!(merges(&tokens, &ids, &scores, &[3, 1, 1, 3, 1, 1, 1]).unwrap().len(), 3);
        assert!(merges(&tokens, &ids, &scores[1..], &[1; 7]).is_err());
    }
}
