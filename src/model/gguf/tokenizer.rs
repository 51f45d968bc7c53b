//! The tokenizer of a GGUF file, rebuilt from its vocabulary.

use super::split::{KNOWN, PieceSplit};
use super::{Gguf, MetadataValue, pieces};
use crate::model::text::chat::Chat;
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Value as Json, json};
use tokenizers::models::bpe::{BPE, BpeBuilder, Merges, Vocab};
use tokenizers::{AddedToken, DecoderWrapper, NormalizerWrapper, PreTokenizerWrapper, Tokenizer};

/// Types of tokens, as `llama.h` numbers them.
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// A tokenizer, and what is put around a prompt.
pub struct Rebuilt {
    /// Cuts and merges.
    pub tokenizer: Tokenizer,
    /// The beginning-of-sequence token.
    pub bos: Option<u32>,
    /// Whether it goes before every prompt.
    pub adds_bos: bool,
    /// The token that goes behind every prompt, if one does.
    pub eos_added: Option<u32>,
}

/// The steps around a vocabulary, as `tokenizer.json` writes them.
struct Steps {
    normalizer: Option<Json>,
    pre_tokenizer: Option<Json>,
    decoder: Json,
}

/// Whether the file says that it has no vocabulary: then only token ids can be run.
pub fn is_absent(file: &Gguf) -> bool {
    matches!(file.text("tokenizer.ggml.model"), Some("none" | "no_vocab"))
}

/// Why the file's own vocabulary cannot be used, if a `tokenizer.json` beside it could.
///
/// # Errors
/// As [`rebuild`], without doing its work.
pub fn check(file: &Gguf) -> Result<()> {
    split(file).map(|_| ())
}

/// The cut of a byte-level tokenizer; nothing for SentencePiece.
fn split(file: &Gguf) -> Result<Option<PieceSplit>> {
    let beside = "a tokenizer.json beside the file is used instead where there is one";
    match file.text("tokenizer.ggml.model") {
        Some("llama") => Ok(None),
        Some("gpt2") => {
            let name = file.text("tokenizer.ggml.pre").unwrap_or("");
            let place =
                || format!("{}: setting \"tokenizer.ggml.pre\" is {name:?}; accepted: {KNOWN}; {beside}", file.place());
            PieceSplit::named(name).map(Some).with_context(place)
        }
        found => {
            let found = found.unwrap_or("missing");
            bail!("{}: setting \"tokenizer.ggml.model\" is {found:?}; accepted: gpt2, llama; {beside}", file.place())
        }
    }
}

/// Rebuilds the tokenizer.
///
/// # Errors
/// A kind of vocabulary or a way to cut that is not known, or lists that do not fit each other.
pub fn rebuild(file: &Gguf) -> Result<Rebuilt> {
    let place = || format!("{}: the tokenizer", file.place());
    let split = split(file)?;
    let Some(MetadataValue::Texts(tokens)) = file.value("tokenizer.ggml.tokens") else {
        bail!("{}: setting \"tokenizer.ggml.tokens\" is missing or no list of strings", file.place())
    };
    let kinds = match file.value("tokenizer.ggml.token_type") {
        Some(MetadataValue::Ints(kinds)) => kinds.clone(),
        None => vec![1; tokens.len()],
        Some(_) => bail!("{}: setting \"tokenizer.ggml.token_type\" is no list of whole numbers", file.place()),
    };
    ensure!(kinds.len() == tokens.len(), "{}: {} tokens, {} types", place(), tokens.len(), kinds.len());
    let id = |key: &str| {
        let id = file.int(&format!("tokenizer.ggml.{key}_token_id")).and_then(|id| u32::try_from(id).ok());
        id.filter(|id| (*id as usize) < tokens.len())
    };
    let (model, steps) = match split {
        Some(split) => (byte_level(file, tokens, split)?, split_steps(split)),
        None => {
            let unknown = kinds.iter().position(|kind| *kind == UNKNOWN).or(id("unknown").map(|id| id as usize));
            let unknown = unknown.map(|id| tokens[id].clone());
            (sentence_pieces(file, tokens, &kinds, unknown).with_context(place)?, piece_steps(prefixed(file)))
        }
    };
    let mut tokenizer = Tokenizer::new(model);
    put(&mut tokenizer, steps).with_context(place)?;
    let with_prefix = split.is_none() && prefixed(file);
    let added = tokens.iter().zip(&kinds).filter_map(|(token, kind)| match *kind {
        CONTROL => Some(AddedToken::from(token.clone(), true)),
        // Without a prefix they are looked for where spaces have become ▁, as some are written with either.
        USER_DEFINED => Some(AddedToken::from(token.clone(), false).normalized(split.is_none() && !with_prefix)),
        _ => None,
    });
    tokenizer.add_tokens(added).map_err(|e| anyhow!("{}: {e}", place()))?;
    let bos = id("bos");
    let adds_bos = file.flag("tokenizer.ggml.add_bos_token").unwrap_or(split.is_none_or(|s| s.adds_bos));
    let adds_eos = file.flag("tokenizer.ggml.add_eos_token").unwrap_or(false);
    Ok(Rebuilt { tokenizer, bos, adds_bos: adds_bos && bos.is_some(), eos_added: id("eos").filter(|_| adds_eos) })
}

/// The chat template, with the special tokens it may name.
pub fn chat(file: &Gguf) -> Option<Chat> {
    let template = file.text("tokenizer.chat_template")?.to_owned();
    let Some(MetadataValue::Texts(tokens)) = file.value("tokenizer.ggml.tokens") else { return None };
    let names = [("bos_token", "bos"), ("eos_token", "eos"), ("unk_token", "unknown"), ("pad_token", "padding")];
    let special = names.iter().filter_map(|(name, key)| {
        let id = usize::try_from(file.int(&format!("tokenizer.ggml.{key}_token_id"))?).ok()?;
        Some(((*name).to_owned(), tokens.get(id)?.clone()))
    });
    Some(Chat::new(&format!("{}: tokenizer.chat_template", file.place()), template, special.collect()))
}

/// Tokens that end an answer, by their texts, for files that name the end of a text alone (`llama-vocab.cpp` knows them so too).
const TURN_ENDS: [&str; 9] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<EOT>",
    "<｜end▁of▁sentence｜>",
    "<|END_OF_TURN_TOKEN|>",
    "<|end_of_text|>",
];

/// The tokens after which nothing follows: the ends of a text, of a turn and of a message that the file names, and those that its chat template
/// ends an answer with.
pub fn ends(file: &Gguf) -> Vec<i64> {
    let named = ["eos", "eot", "eom"].iter().filter_map(|key| file.int(&format!("tokenizer.ggml.{key}_token_id")));
    let mut all: Vec<i64> = named.collect();
    let template = file.text("tokenizer.chat_template").unwrap_or_default();
    let in_template: Vec<&str> = TURN_ENDS.into_iter().filter(|end| template.contains(end)).collect();
    if let (false, Some(MetadataValue::Texts(tokens))) = (in_template.is_empty(), file.value("tokenizer.ggml.tokens")) {
        all.extend((0..).zip(tokens).filter(|(_, token)| in_template.contains(&token.as_str())).map(|(id, _)| id));
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// Whether a space goes before every prompt.
fn prefixed(file: &Gguf) -> bool {
    file.flag("tokenizer.ggml.add_space_prefix").unwrap_or(true)
}

fn vocabulary(tokens: &[String]) -> Vocab {
    tokens.iter().cloned().zip(0..).collect()
}

fn byte_level(file: &Gguf, tokens: &[String], split: PieceSplit) -> Result<BPE> {
    let place = || format!("{}: setting \"tokenizer.ggml.merges\"", file.place());
    let Some(MetadataValue::Texts(lines)) = file.value("tokenizer.ggml.merges") else {
        bail!("{} is missing or no list of strings", place())
    };
    // The space that parts them is not one that a token begins with.
    let pair = |line: &String| {
        let at = line.char_indices().skip(1).find(|(_, c)| *c == ' ').map(|(at, _)| at);
        let at = at.with_context(|| format!("{} holds {line:?}; accepted: two tokens and a space between", place()))?;
        Ok((line[..at].to_owned(), line[at + 1..].to_owned()))
    };
    let merges = lines.iter().map(pair).collect::<Result<Merges>>()?;
    let builder = BpeBuilder::new().vocab_and_merges(vocabulary(tokens), merges).ignore_merges(split.whole_tokens);
    builder.build().map_err(|e| anyhow!("{}: {e}", place()))
}

fn sentence_pieces(file: &Gguf, tokens: &[String], kinds: &[i64], unknown: Option<String>) -> Result<BPE> {
    let Some(MetadataValue::Floats(scores)) = file.value("tokenizer.ggml.scores") else {
        bail!("setting \"tokenizer.ggml.scores\" is missing or no list of numbers")
    };
    let ids = vocabulary(tokens);
    let merges = pieces::merges(tokens, &ids, scores, kinds)?;
    let mut builder = BpeBuilder::new().vocab_and_merges(ids, merges).byte_fallback(true).fuse_unk(true);
    if let Some(unknown) = unknown {
        builder = builder.unk_token(unknown);
    }
    builder.build().map_err(|e| anyhow!("{e}"))
}

fn split_steps(split: PieceSplit) -> Steps {
    let decoder = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    Steps { normalizer: split.normalizer(), pre_tokenizer: Some(split.pre_tokenizer()), decoder }
}

fn piece_steps(prefixed: bool) -> Steps {
    let replaced = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let normalizer = if prefixed {
        json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replaced]})
    } else {
        replaced
    };
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefixed {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    Steps {
        normalizer: Some(normalizer),
        pre_tokenizer: None,
        decoder: json!({"type": "Sequence", "decoders": decoders}),
    }
}

fn put(tokenizer: &mut Tokenizer, steps: Steps) -> Result<()> {
    if let Some(normalizer) = steps.normalizer {
        let normalizer: NormalizerWrapper = serde_json::from_value(normalizer)?;
        tokenizer.with_normalizer(Some(normalizer)).map_err(|e| anyhow!("{e}"))?;
    }
    if let Some(cut) = steps.pre_tokenizer {
        let cut: PreTokenizerWrapper = serde_json::from_value(cut)?;
        tokenizer.with_pre_tokenizer(Some(cut));
    }
    let decoder: DecoderWrapper = serde_json::from_value(steps.decoder)?;
    tokenizer.with_decoder(Some(decoder));
    Ok(())
}
