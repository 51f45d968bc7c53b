//! What is read of `tokenizer_config.json`.

use serde::Deserialize;

/// The fields that decide which ids a prompt gets.
#[derive(Debug, Default, Deserialize)]
pub(super) struct TokenizerConfig {
    pub tokenizer_class: Option<String>,
    pub bos_token: Option<SpecialToken>,
    pub eos_token: Option<SpecialToken>,
    pub add_bos_token: Option<bool>,
    pub add_eos_token: Option<bool>,
    pub add_prefix_space: Option<bool>,
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
