//! Contexts: what the model is run on, cut from documents.

use super::example::{Example, position_hash};
use super::spec::Spec;
use crate::cast::short;
use crate::model::text::{Bos, BosDone, Text};
use anyhow::{Context as _, Result};

/// A piece of the corpus that the model is run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorpusContext {
    /// The document of its first token.
    pub doc: u64,
    /// Which token of that document its first one is, BOS apart.
    pub start: u32,
    /// The token ids, BOS included.
    pub ids: Vec<u32>,
    /// Positions after the first where a document's own BOS stands, in contexts that hold several.
    pub inner_bos: Vec<usize>,
}

/// A document as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// [`super::example::document_id`].
    pub id: u64,
    /// The token that is put before every context of it.
    pub bos: Option<u32>,
    /// The others.
    pub body: Vec<u32>,
}

impl Document {
    /// Tokenizes a document; what the tokenizer's files put at its end is left out.
    ///
    /// # Errors
    /// The tokenizer refuses it.
    pub fn of_text(id: u64, text: &str, tokenizer: &Text, bos: Bos) -> Result<Self> {
        if text.is_empty() {
            return Ok(Document { id, bos: None, body: Vec::new() });
        }
        let encoding = tokenizer.encode(text, bos)?;
        let bos = match encoding.bos {
            BosDone::Added(id) | BosDone::Doubled(id) => Some(id),
            BosDone::None | BosDone::InPrompt(_) => None,
        };
        let body = encoding.tokens.iter().filter(|piece| piece.span.is_some()).map(|piece| piece.id).collect();
        Ok(Document { id, bos, body })
    }

    /// Takes token ids as they are; `bos` always puts the tokenizer's before them unless it is there.
    ///
    /// # Errors
    /// A BOS is asked for and there is none.
    pub fn of_ids(id: u64, ids: Vec<u32>, tokenizer: Option<&Text>, bos: Bos) -> Result<Self> {
        let own = tokenizer.and_then(Text::bos_id);
        let bos = match bos {
            Bos::Always if own.is_some() && ids.first().copied() == own => None,
            Bos::Always => Some(own.context("bos: this model has no BOS token")?),
            Bos::Auto | Bos::Never => None,
        };
        Ok(Document { id, bos, body: ids })
    }
}

/// Cuts documents into contexts of at most `ctx` tokens: each document by itself, every piece with its BOS, or (`packed`) one after the other without a gap.
pub fn cut(documents: &[Document], spec: &Spec) -> Vec<CorpusContext> {
    if spec.packed {
        return packed(documents, spec.ctx);
    }
    let mut contexts = Vec::new();
    for document in documents {
        let room = spec.ctx.saturating_sub(usize::from(document.bos.is_some())).max(1);
        for (piece, body) in document.body.chunks(room).enumerate() {
            let ids = document.bos.into_iter().chain(body.iter().copied()).collect();
            contexts.push(CorpusContext { doc: document.id, start: short(piece * room), ids, inner_bos: Vec::new() });
        }
    }
    contexts
}

fn packed(documents: &[Document], ctx: usize) -> Vec<CorpusContext> {
    let mut contexts: Vec<CorpusContext> = Vec::new();
    for document in documents.iter().filter(|document| !document.body.is_empty()) {
        let bos = document.bos.map(|id| (0, id, true));
        let body = document.body.iter().enumerate().map(|(i, id)| (i, *id, false));
        for (i, id, is_bos) in bos.into_iter().chain(body) {
            match contexts.last_mut().filter(|context| context.ids.len() < ctx) {
                Some(context) => {
                    context.inner_bos.extend(is_bos.then_some(context.ids.len()));
                    context.ids.push(id);
                }
                None => contexts.push(CorpusContext {
                    doc: document.id,
                    start: short(i),
                    ids: vec![id],
                    inner_bos: Vec::new(),
                }),
            }
        }
    }
    contexts
}

impl CorpusContext {
    /// Whether a position is counted: the first is not, for what is there is more about being first than about the token; nor is a BOS.
    #[inline(always)]
    pub fn counts(&self, pos: usize) -> bool {
        pos > 0 && (self.inner_bos.is_empty() || !self.inner_bos.contains(&pos))
    }

    /// How many positions are counted.
    pub fn counted(&self) -> usize {
        self.ids.len().saturating_sub(1 + self.inner_bos.len())
    }

    /// A position with an activation there.
    pub fn example(&self, pos: usize, value: f32) -> Example {
        Example { value, doc: self.doc, start: self.start, pos: short(pos), token: self.ids[pos] }
    }

    /// The number of every position under a seed.
    pub fn hashes(&self, seed: u64) -> Vec<u64> {
        (0..self.ids.len()).map(|pos| position_hash(seed, self.doc, self.start, short(pos))).collect()
    }
}

/// Puts contexts into batches of about `tokens` tokens, those of like length together, so that little is filled up: the order of what is computed, not of what
/// is found.
pub fn batches(mut contexts: Vec<CorpusContext>, tokens: usize) -> Vec<Vec<CorpusContext>> {
    contexts.retain(|context| context.counted() > 0);
    contexts.sort_by_key(|context| (std::cmp::Reverse(context.ids.len()), context.doc, context.start));
    let mut batches: Vec<Vec<CorpusContext>> = Vec::new();
    for context in contexts {
        match batches.last_mut().filter(|batch| (batch.len() + 1) * batch[0].ids.len() <= tokens) {
            Some(batch) => batch.push(context),
            None => batches.push(vec![context]),
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents() -> Vec<Document> {
        let document = |id, bos, n: u32| Document { id, bos, body: (10..10 + n).collect() };
        vec![document(1, Some(0), 7), document(2, Some(0), 2), document(3, Some(0), 0)]
    }

    #[test]
    fn every_piece_of_a_document_begins_with_its_bos() {
        let spec = Spec { ctx: 4, ..Spec::default() };
        let found = cut(&documents(), &spec);
        let ids: Vec<(u64, u32, &[u32])> = found.iter().map(|c| (c.doc, c.start, &c.ids[..])).collect();
        let expected: [(u64, u32, &[u32]); 4] =
            [(1, 0, &[0, 10, 11, 12]), (1, 3, &[0, 13, 14, 15]), (1, 6, &[0, 16]), (2, 0, &[0, 10, 11])];
        assert_eq!(ids, expected);
        assert_eq!(found[3].counted(), 2);
    }

    #[test]
    fn packed_documents_follow_without_a_gap_and_no_bos_is_counted() {
        let spec = Spec { ctx: 5, packed: true, ..Spec::default() };
        let found = cut(&documents(), &spec);
        let ids: Vec<(u64, u32, &[u32], &[usize])> =
            found.iter().map(|c| (c.doc, c.start, &c.ids[..], &c.inner_bos[..])).collect();
        let expected: [(u64, u32, &[u32], &[usize]); 3] =
            [(1, 0, &[0, 10, 11, 12, 13], &[]), (1, 4, &[14, 15, 16, 0, 10], &[3]), (2, 1, &[11], &[])];
        assert_eq!(ids, expected);
        assert_eq!(found.iter().map(CorpusContext::counted).collect::<Vec<_>>(), [4, 3, 0]);
        assert!(!found[1].counts(0) && !found[1].counts(3) && found[1].counts(4));
    }

    #[test]
    fn batches_hold_like_lengths_and_all_that_counts() {
        let spec = Spec { ctx: 4, ..Spec::default() };
        let contexts = cut(&documents(), &spec);
        let found = batches(contexts, 8);
        let lengths: Vec<Vec<usize>> = found.iter().map(|b| b.iter().map(|c| c.ids.len()).collect()).collect();
        assert_eq!(lengths, [vec![4, 4], vec![3, 2]]);
    }
}
