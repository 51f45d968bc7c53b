//! Whether a prompt begins with BOS: what is asked for, what the tokenizer's files say, and what was done.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use anyhow::{Error, Result, bail};

use super::config::TokenizerConfig;

/// What to do about the beginning-of-sequence token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Bos {
    /// What the model's own tokenizer files do.
    #[default]
    Auto,
    /// One at the start, unless there is one already.
    Always,
    /// None, nor any other special token that the prompt does not spell out.
    Never,
}

impl FromStr for Bos {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Bos::Auto),
            "always" => Ok(Bos::Always),
            "never" => Ok(Bos::Never),
            _ => bail!("bos: found {text:?}, expected auto, always or never"),
        }
    }
}

impl Display for Bos {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str(match self {
            Bos::Auto => "auto",
            Bos::Always => "always",
            Bos::Never => "never",
        })
    }
}

/// What was done about BOS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BosDone {
    /// There is none.
    None,
    /// This token was put before the prompt.
    Added(u32),
    /// The prompt itself begins with it and none was added.
    InPrompt(u32),
    /// It was put before a prompt that itself begins with it, as the tokenizer's files ask.
    Doubled(u32),
}

impl Display for BosDone {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            BosDone::None => f.write_str("no BOS"),
            BosDone::Added(id) => write!(f, "BOS added (token {id})"),
            BosDone::InPrompt(id) => write!(f, "BOS in the prompt (token {id}), none added"),
            BosDone::Doubled(id) => write!(f, "BOS added (token {id}) to a prompt that begins with it"),
        }
    }
}

/// What puts special tokens around a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// The post-processor of `tokenizer.json`.
    PostProcessor,
    /// These tokens, instead of the post-processor.
    Template { bos: Option<u32>, eos: Option<u32> },
}

impl Frame {
    /// The rule of transformers 4.57.3, measured over its tokenizer classes: some rebuild the post-processor from `add_bos_token` and
    /// `add_eos_token`, all others leave it as it is and ignore both.
    pub fn of(config: &TokenizerConfig, bos: Option<u32>, eos: Option<u32>) -> Result<Self> {
        let class = config.tokenizer_class.as_deref().unwrap_or_default();
        let adds_bos_by_default = match class.strip_suffix("Fast").unwrap_or(class) {
            "LlamaTokenizer" | "CodeLlamaTokenizer" | "GemmaTokenizer" | "CohereTokenizer" => true,
            "GPTNeoXTokenizer" => false,
            _ => return Ok(Frame::PostProcessor),
        };
        let add_bos = config.add_bos_token.unwrap_or(adds_bos_by_default);
        let add_eos = config.add_eos_token.unwrap_or(false);
        if add_bos && bos.is_none() {
            if config.add_bos_token.is_none() {
                return Ok(Frame::PostProcessor);
            }
            bail!("add_bos_token is true, but bos_token names no token of tokenizer.json");
        }
        if add_eos && eos.is_none() {
            bail!("add_eos_token is true, but eos_token names no token of tokenizer.json");
        }
        Ok(Frame::Template { bos: bos.filter(|_| add_bos), eos: eos.filter(|_| add_eos) })
    }
}
