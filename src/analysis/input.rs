//! A prompt as the model sees it.

use crate::model::Model;
use crate::model::text::chat::ChatMessage;
use crate::model::text::{Bos, BosDone, Piece};
use anyhow::{Context, Result, ensure};

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
        // A template writes its own.
        let written = |id: &u32| prompt.starts_with(model.piece(*id).as_str());
        let bos = match first {
            Some(id) if written(&id) => BosDone::InPrompt(id),
            Some(id) => BosDone::Added(id),
            None => BosDone::None,
        };
        Ok(Input { prompt: Some(prompt), bos, ..input })
    }

    /// A prompt in the model's chat template, as what the user says after what the system says, up to where the assistant answers.
    ///
    /// # Errors
    /// The model has no chat template, or one that refuses this; as [`Model::encode`].
    pub fn of_chat(model: &Model, prompt: String, system: Option<String>, bos: Bos) -> Result<Self> {
        let chat = model.text()?.chat().with_context(|| {
            format!(
                "{} has no chat template; accepted: models with chat_template in tokenizer_config.json, chat_template.jinja, or \
                 tokenizer.chat_template in a GGUF file",
                model.source
            )
        })?;
        let system = system.map(|content| ChatMessage { role: "system", content });
        let messages: Vec<ChatMessage> =
            system.into_iter().chain([ChatMessage { role: "user", content: prompt }]).collect();
        // The template writes its own BOS.
        let written = if bos == Bos::Auto { Bos::Never } else { bos };
        Ok(Input { asked: bos, ..Self::of_prompt(model, chat.prompt(&messages, true)?, written)? })
    }

    /// What is odd about the prompt for this model: a doubled BOS, more tokens than it was trained on.
    pub fn warnings(&self, model: &Model) -> Vec<String> {
        let mut warnings = Vec::new();
        if matches!(self.bos, BosDone::Doubled(_)) {
            warnings.push(format!("{}; --bos never adds none", self.bos));
        }
        // Rotary models run beyond their trained length, where what they say is another matter.
        let (n, trained) = (self.tokens.len(), model.decoder.arch.n_ctx);
        if n > trained && model.decoder.pos_embed.is_none() {
            warnings.push(format!(
                "the prompt has {n} tokens; this model was trained on at most {trained}, and numbers beyond may mean little"
            ));
        }
        warnings
    }

    /// What was decided on the way from the text to the model: about BOS, and about settings that nobody reads.
    pub fn decided(&self, model: &Model) -> Vec<String> {
        let unread = model.unread.iter().map(|unread| format!("config.json: {unread}"));
        std::iter::once(self.bos.to_string()).chain(unread).collect()
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
