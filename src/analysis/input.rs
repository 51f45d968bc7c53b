//! A prompt as the model sees it.

use crate::model::Model;
use crate::model::text::{Bos, BosDone, Piece};
use anyhow::{Result, ensure};

/// A prompt as the model sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The text, unless ids were given.
    pub prompt: Option<String>,
    /// The tokens; never empty.
    pub tokens: Vec<Piece>,
    /// What was done about BOS.
    pub bos: BosDone,
    /// What was asked about BOS; prompts named in edits follow it too.
    pub asked: Bos,
}

impl Input {
    /// Tokenizes a prompt.
    ///
    /// # Errors
    /// As [`Model::encode`].
    pub fn of_prompt(model: &Model, prompt: String, bos: Bos) -> Result<Self> {
        let encoding = model.encode(&prompt, bos)?;
        Ok(Input { prompt: Some(prompt), tokens: encoding.tokens, bos: encoding.bos, asked: bos })
    }

    /// Takes token ids as they are.
    ///
    /// # Errors
    /// There are none.
    pub fn of_ids(model: &Model, ids: &[u32], bos: Bos) -> Result<Self> {
        ensure!(!ids.is_empty(), "the list of token ids is empty");
        Ok(Input { prompt: None, tokens: model.pieces(ids), bos: BosDone::None, asked: bos })
    }

    /// Takes a prompt with its tokens: some were generated, so that its text alone would not give them.
    ///
    /// # Errors
    /// There are none, or one that the model does not have.
    pub fn of_tokens(model: &Model, prompt: String, ids: &[u32], bos: Bos) -> Result<Self> {
        let first = ids.first().copied().filter(|id| model.text.as_ref().is_some_and(|t| t.bos_id() == Some(*id)));
        let input = Self::of_ids(model, ids, bos)?;
        Ok(Input { prompt: Some(prompt), bos: first.map_or(BosDone::None, BosDone::Added), ..input })
    }

    /// Token ids.
    pub fn ids(&self) -> Vec<u32> {
        self.tokens.iter().map(|t| t.id).collect()
    }

    /// One label a position, as axes show it: `3 " king"`.
    pub fn labels(&self) -> Vec<String> {
        self.tokens.iter().enumerate().map(|(p, t)| format!("{p} \"{}\"", t.text)).collect()
    }
}
