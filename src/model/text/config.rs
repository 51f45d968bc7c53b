//! What is read of `tokenizer_config.json`.

use serde::Deserialize;
use serde::de::IgnoredAny;

/// The fields that decide which ids a prompt gets.
#[derive(Debug, Default, Deserialize)]
pub(super) struct TokenizerConfig {
    pub tokenizer_class: Option<String>,
    pub bos_token: Option<SpecialToken>,
    pub eos_token: Option<SpecialToken>,
    pub add_bos_token: Option<bool>,
    pub add_eos_token: Option<bool>,
    pub add_prefix_space: Option<bool>,
    /// There since transformers 4.34; without it, the older files beside are read.
    added_tokens_decoder: Option<IgnoredAny>,
}

impl TokenizerConfig {
    /// Lets `special_tokens_map.json` overrule, as transformers 4.57 does where `added_tokens_decoder` is missing.
    ///
    /// # Errors
    /// The map is not JSON, or a token in it is neither a string nor an object with a content.
    pub fn overruled(mut self, map: &[u8]) -> serde_json::Result<Self> {
        let map: SpecialTokens = serde_json::from_slice(map)?;
        if self.added_tokens_decoder.is_none() {
            self.bos_token = map.bos_token.or(self.bos_token);
            self.eos_token = map.eos_token.or(self.eos_token);
        }
        Ok(self)
    }
}

/// What is read of `special_tokens_map.json`.
#[derive(Debug, Deserialize)]
struct SpecialTokens {
    bos_token: Option<SpecialToken>,
    eos_token: Option<SpecialToken>,
}

/// A special token, written as its text or as an object.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a string or an object with a content")]
pub(super) enum SpecialToken {
    Text(String),
    Object { content: String },
}

impl SpecialToken {
    /// The token's text.
    pub fn content(&self) -> &str {
        match self {
            SpecialToken::Text(content) | SpecialToken::Object { content } => content,
        }
    }
}
