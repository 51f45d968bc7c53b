//! Prompts to token ids, and token ids to what a reader can see.
//!
//! Ids equal those of transformers 4.57.3 on the same files, BOS included. What a token stands for is worked out from its own
//! spelling and not by decoding it alone, which loses leading spaces and parts of characters.

mod bos;
pub mod chat;
mod config;
mod spelling;

use std::collections::HashMap;
use std::ops::Range;

use anyhow::{Context, Result, anyhow, bail};
use tokenizers::{PreTokenizerWrapper, Tokenizer};

use super::caught::caught;
use super::gguf::tokenizer::Rebuilt;
use bos::Frame;
pub use bos::{Bos, BosDone};
use chat::Chat;
use config::TokenizerConfig;
use spelling::Spelling;

/// A tokenizer with what its files say about BOS.
pub struct Text {
    tokenizer: Tokenizer,
    spelling: Spelling,
    /// Tokens matched in the raw prompt before anything else, by id: their content, and whether they are special.
    added: HashMap<u32, (String, bool)>,
    frame: Frame,
    bos_id: Option<u32>,
    chat: Option<Chat>,
}

/// A prompt as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// The tokens, BOS included; never empty.
    pub tokens: Vec<Piece>,
    /// What was done about BOS.
    pub bos: BosDone,
}

/// One token as shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The token's id.
    pub id: u32,
    /// What it stands for, as [`Text::piece`] writes it.
    pub text: String,
    /// The bytes of the prompt it covers, on character boundaries; `None` for tokens that are not in the prompt, as BOS.
    ///
    /// Tokens that share a character share its span, and some tokenizers leave leading spaces out.
    pub span: Option<Range<usize>>,
}

impl Encoding {
    /// The ids alone.
    pub fn ids(&self) -> Vec<u32> {
        self.tokens.iter().map(|piece| piece.id).collect()
    }
}

impl Text {
    /// Reads `tokenizer.json` and, if there is one, `tokenizer_config.json`; errors name the file, in `where_from`.
    pub fn from_bytes(tokenizer_json: &[u8], tokenizer_config: Option<&[u8]>, where_from: &str) -> Result<Self> {
        Self::from_files(tokenizer_json, tokenizer_config, None, where_from)
    }

    /// As [`Self::from_bytes`], with `special_tokens_map.json`, if there is one.
    pub fn from_files(
        tokenizer_json: &[u8],
        tokenizer_config: Option<&[u8]>,
        special_tokens_map: Option<&[u8]>,
        where_from: &str,
    ) -> Result<Self> {
        let mut tokenizer = caught(&format!("{where_from}: tokenizer.json"), || Tokenizer::from_bytes(tokenizer_json))?
            .map_err(|error| anyhow!("{where_from}: tokenizer.json: {error}"))?;
        let in_config = || format!("{where_from}: tokenizer_config.json");
        let config: TokenizerConfig = match tokenizer_config {
            Some(bytes) => serde_json::from_slice(bytes).with_context(in_config)?,
            None => TokenizerConfig::default(),
        };
        let config = match special_tokens_map {
            Some(map) => config.overruled(map).with_context(|| format!("{where_from}: special_tokens_map.json"))?,
            None => config,
        };
        // Both are for batches; a prompt is neither cut nor filled up.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| anyhow!("{where_from}: tokenizer.json: {error}"))?;
        set_prefix_space(&mut tokenizer, config.add_prefix_space.unwrap_or(false));

        let named_bos = config.bos_token.as_ref().and_then(|token| tokenizer.token_to_id(token.content()));
        let eos = config.eos_token.as_ref().and_then(|token| tokenizer.token_to_id(token.content()));
        let frame = Frame::of(&config, named_bos, eos).with_context(in_config)?;
        let mut text = Self::with_frame(tokenizer, frame, named_bos)
            .with_context(|| format!("{where_from}: tokenizer.json: unreadable decoder"))?;
        text.bos_id = text.bos_id.or_else(|| text.leading_special(""));
        Ok(text)
    }

    /// Takes a tokenizer rebuilt from another kind of file.
    ///
    /// # Errors
    /// Its decoder cannot be read.
    pub fn rebuilt(from: Rebuilt) -> Result<Self> {
        let frame = Frame::Template { bos: from.bos.filter(|_| from.adds_bos), eos: from.eos_added };
        Self::with_frame(from.tokenizer, frame, from.bos)
    }

    fn with_frame(tokenizer: Tokenizer, frame: Frame, bos_id: Option<u32>) -> Result<Self> {
        let spelling = Spelling::of(&tokenizer)?;
        let added = tokenizer.get_added_tokens_decoder().into_iter();
        let added = added.map(|(id, token)| (id, (token.content, token.special))).collect();
        Ok(Text { tokenizer, spelling, added, frame, bos_id, chat: None })
    }

    /// Takes `id` (`bos_token_id` of `config.json`) as the BOS if the tokenizer's own files name none.
    pub fn with_default_bos(mut self, id: Option<u32>) -> Self {
        let known = id.filter(|id| self.tokenizer.id_to_token(*id).is_some());
        self.bos_id = self.bos_id.or(known);
        self
    }

    /// With the template that makes prompts of messages.
    pub fn with_chat(mut self, chat: Option<Chat>) -> Self {
        self.chat = chat;
        self
    }

    /// The template that makes prompts of messages, if the model has one.
    pub fn chat(&self) -> Option<&Chat> {
        self.chat.as_ref()
    }

    /// The beginning-of-sequence token, if there is one.
    pub fn bos_id(&self) -> Option<u32> {
        self.bos_id
    }

    /// The highest id of the vocabulary plus one; added tokens apart.
    pub fn vocab_size(&self) -> usize {
        highest_plus_one(self.tokenizer.get_vocab(false).into_values())
    }

    /// The highest id plus one, added tokens included: what the embedding must have rows for.
    pub fn n_ids(&self) -> usize {
        self.vocab_size().max(highest_plus_one(self.added.keys().copied()))
    }

    /// The tokens of `prompt`.
    ///
    /// Errors when there would be none, and when BOS is asked for and the model has none.
    pub fn encode(&self, prompt: &str, bos: Bos) -> Result<Encoding> {
        let mut tokens = self.framed(prompt, bos != Bos::Never)?;
        let typed = tokens.iter().find(|piece| piece.span.is_some()).map(|piece| piece.id);
        let in_prompt = typed.filter(|id| Some(*id) == self.bos_id);
        let mut added = tokens.first().filter(|piece| piece.span.is_none()).map(|piece| piece.id);
        if bos == Bos::Always && added.is_none() && in_prompt.is_none() {
            let id = self.bos_id.ok_or_else(|| {
                anyhow!(
                    "this model has no BOS token: neither bos_token in tokenizer_config.json, nor a post-processor \
                     in tokenizer.json, nor bos_token_id in config.json names one of its tokens"
                )
            })?;
            tokens.insert(0, Piece { id, text: self.piece(id), span: None });
            added = Some(id);
        }
        if tokens.is_empty() {
            bail!("the prompt is empty and no BOS is added: there is nothing to run (--bos always adds one)");
        }
        let bos = match (added, in_prompt) {
            (None, None) => BosDone::None,
            (Some(id), None) => BosDone::Added(id),
            (None, Some(id)) => BosDone::InPrompt(id),
            (Some(id), Some(_)) => BosDone::Doubled(id),
        };
        Ok(Encoding { tokens, bos })
    }

    /// The tokens of `prompt` with what the tokenizer's files put around it, if `special`.
    fn framed(&self, prompt: &str, special: bool) -> Result<Vec<Piece>> {
        let by_post_processor = special && matches!(self.frame, Frame::PostProcessor);
        let encoding = caught("tokenizer.json cannot be used", || self.tokenizer.encode(prompt, by_post_processor))?
            .map_err(|error| anyhow!("tokenizer: {error}"))?;
        let spans = encoding.get_offsets().iter().zip(encoding.get_special_tokens_mask());
        let in_prompt = encoding.get_ids().iter().zip(spans).map(|(&id, (&(start, end), &special))| Piece {
            id,
            text: self.piece(id),
            span: (special == 0).then(|| whole_characters(prompt, start..end)),
        });
        let outside = |id: Option<u32>| id.map(|id| Piece { id, text: self.piece(id), span: None });
        Ok(match self.frame {
            Frame::Template { bos, eos } if special => {
                outside(bos).into_iter().chain(in_prompt).chain(outside(eos)).collect()
            }
            Frame::Template { .. } | Frame::PostProcessor => in_prompt.collect(),
        })
    }

    fn leading_special(&self, prompt: &str) -> Option<u32> {
        let pieces = self.framed(prompt, true).ok()?;
        pieces.first().filter(|piece| piece.span.is_none()).map(|piece| piece.id)
    }

    /// What a token stands for, control characters and all.
    ///
    /// Leading spaces are kept, special tokens are shown by their content, bytes that are no whole character as `\xE8`, an id without a
    /// token as `<unused 50300>` and a token without text as `<empty 3>`.
    pub fn piece(&self, id: u32) -> String {
        match self.spelled(id) {
            None => format!("<unused {id}>"),
            Some(bytes) if bytes.is_empty() => format!("<empty {id}>"),
            Some(bytes) => spelling::shown(&bytes),
        }
    }

    /// The bytes a token stands for, `<s>` and its like by their content; none for an id without a token.
    ///
    /// Tokenizers that put a space before every prompt have it in the first token.
    pub fn bytes(&self, id: u32) -> Vec<u8> {
        self.spelled(id).unwrap_or_default()
    }

    /// Whether a token stands for text: it exists, is not special and is not empty.
    pub fn is_plain(&self, id: u32) -> bool {
        let special = self.added.get(&id).is_some_and(|(_, special)| *special);
        !special && Some(id) != self.bos_id && self.spelled(id).is_some_and(|bytes| !bytes.is_empty())
    }

    fn spelled(&self, id: u32) -> Option<Vec<u8>> {
        match self.added.get(&id) {
            Some((content, special)) => Some(self.spelling.bytes_of_added(content, *special)),
            None => self.tokenizer.id_to_token(id).map(|token| self.spelling.bytes(&token)),
        }
    }

    /// Tokens given by their ids, which have no spans.
    pub fn pieces(&self, ids: &[u32]) -> Vec<Piece> {
        ids.iter().map(|&id| Piece { id, text: self.piece(id), span: None }).collect()
    }

    /// The text of several tokens as the tokenizer itself writes it, special tokens included.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        caught("tokenizer.json cannot be used", || self.tokenizer.decode(ids, false))?
            .map_err(|error| anyhow!("tokenizer: {error}"))
    }

    /// The id of the token that stands for exactly `text`, leading space included.
    ///
    /// When there is none the error says which tokens `text` splits into.
    pub fn token_id(&self, text: &str) -> Result<u32> {
        if let Some(id) = self.exact(text) {
            return Ok(id);
        }
        let split: Vec<String> = self.framed(text, false)?.iter().map(|piece| format!("{:?}", piece.text)).collect();
        let spaced = if let Some(bare) = text.strip_prefix(' ') { bare.to_owned() } else { format!(" {text}") };
        let hint = match self.exact(&spaced) {
            Some(_) => format!("; {spaced:?} is one token"),
            None => String::new(),
        };
        bail!("{text:?} is not one token: it splits into {}{hint}", split.join(" "))
    }

    fn exact(&self, text: &str) -> Option<u32> {
        let spellings = std::iter::once(text.to_owned()).chain(self.spelling.spellings(text));
        spellings
            .filter_map(|token| self.tokenizer.token_to_id(&token))
            .find(|id| !text.is_empty() && self.bytes(*id) == text.as_bytes())
    }
}

/// Sets whether a byte-level tokenizer puts a space before the prompt: transformers lets `tokenizer_config.json` (or its default, no)
/// overrule `tokenizer.json`.
fn set_prefix_space(tokenizer: &mut Tokenizer, add_prefix_space: bool) {
    if let Some(PreTokenizerWrapper::ByteLevel(byte_level)) = tokenizer.get_pre_tokenizer() {
        let mut byte_level = *byte_level;
        byte_level.add_prefix_space = add_prefix_space;
        tokenizer.with_pre_tokenizer(Some(byte_level));
    }
}

fn highest_plus_one(ids: impl Iterator<Item = u32>) -> usize {
    ids.max().and_then(|id| usize::try_from(id).ok()).map_or(0, |id| id + 1)
}

/// The smallest span on character boundaries that covers `span`.
fn whole_characters(prompt: &str, span: Range<usize>) -> Range<usize> {
    let mut start = span.start.min(prompt.len());
    let mut end = span.end.clamp(start, prompt.len());
    while !prompt.is_char_boundary(start) {
        start -= 1;
    }
    while !prompt.is_char_boundary(end) {
        end += 1;
    }
    start..end
}
