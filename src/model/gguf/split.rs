//! How byte-level tokenizers cut a prompt before merging: one rule for each name that `tokenizer.ggml.pre` may have.
//!
//! The names are llama.cpp's (`llama-vocab.cpp`), the patterns those of the `tokenizer.json` files that the names were given to.

use serde_json::{Value, json};

/// GPT-2's pattern is part of the tokenizer library.
const GPT2: &str = "";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// One way to cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceSplit {
    /// Every digit by itself, before all else.
    digits: bool,
    /// The pattern of a piece.
    pattern: &'static str,
    /// Unicode's composed form (NFC) first.
    composed: bool,
    /// A piece that is itself a token is not cut up.
    pub whole_tokens: bool,
    /// BOS where the file does not say.
    pub adds_bos: bool,
}

/// The names of which every one is cut in its own way, for messages.
pub const KNOWN: &str = "gpt-2, phi-2, olmo, mpt, smollm, starcoder, refact, command-r, codeshell, exaone, minerva-7b, llama-bpe, llama3, \
     llama-v3, falcon3, pixtral, dbrx, smaug-bpe, qwen2, deepseek-r1-qwen, megrez, stablelm2, qwen35, tekken, gpt-4o, llama4, kanana2";

impl PieceSplit {
    /// The rule that a name stands for.
    pub fn named(name: &str) -> Option<Self> {
        let plain = PieceSplit { digits: false, pattern: GPT2, composed: false, whole_tokens: false, adds_bos: false };
        Some(match name {
            "gpt-2" | "phi-2" => plain,
            "olmo" | "mpt" => PieceSplit { composed: true, ..plain },
            "smollm" | "starcoder" | "refact" | "codeshell" | "exaone" | "minerva-7b" => {
                PieceSplit { digits: true, ..plain }
            }
            "command-r" => PieceSplit { digits: true, composed: true, ..plain },
            "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "pixtral" => {
                PieceSplit { pattern: LLAMA3, whole_tokens: true, adds_bos: true, ..plain }
            }
            "dbrx" | "smaug-bpe" => PieceSplit { pattern: LLAMA3, ..plain },
            "qwen2" | "deepseek-r1-qwen" | "megrez" | "stablelm2" => {
                PieceSplit { pattern: QWEN2, composed: true, ..plain }
            }
            "qwen35" => PieceSplit { pattern: QWEN35, composed: true, ..plain },
            "tekken" => PieceSplit { pattern: TEKKEN, whole_tokens: true, adds_bos: true, ..plain },
            "gpt-4o" | "llama4" | "kanana2" => PieceSplit { pattern: GPT4O, ..plain },
            _ => return None,
        })
    }

    /// The pre-tokenizer as `tokenizer.json` writes it.
    pub fn pre_tokenizer(self) -> Value {
        let own = self.pattern == GPT2;
        let mut steps = Vec::new();
        if self.digits {
            steps.push(json!({"type": "Digits", "individual_digits": true}));
        }
        if !own {
            steps.push(
                json!({"type": "Split", "pattern": {"Regex": self.pattern}, "behavior": "Isolated", "invert": false}),
            );
        }
        steps.push(json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": own}));
        json!({"type": "Sequence", "pretokenizers": steps})
    }

    /// The normalizer as `tokenizer.json` writes it.
    pub fn normalizer(self) -> Option<Value> {
        self.composed.then(|| json!({"type": "NFC"}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, PreTokenizerWrapper};

    fn pieces(name: &str, text: &str) -> Vec<String> {
        let split = PieceSplit::named(name).unwrap();
        let pre: PreTokenizerWrapper = serde_json::from_value(split.pre_tokenizer()).unwrap();
        let mut string = PreTokenizedString::from(text);
        pre.pre_tokenize(&mut string).unwrap();
        let found = string.get_splits(OffsetReferential::Original, OffsetType::Byte);
        found.into_iter().map(|(_, (from, to), _)| text[from..to].to_owned()).collect()
    }

    #[test]
    fn every_known_name_has_its_rule_and_no_other_has_one() {
        for name in KNOWN.split(", ") {
            assert_eq!(pieces(name, "a b").concat(), "a b", "{name}");
        }
        assert_eq!(PieceSplit::named("default"), None);
        assert_eq!(PieceSplit::named(""), None);
    }

    #[test]
    fn numbers_and_words_are_cut_as_each_family_does() {
        assert_eq!(pieces("gpt-2", "it's 1234"), ["it", "'s", " 1234"]);
        assert_eq!(pieces("smollm", "it's 123"), ["it", "'s", " ", "1", "2", "3"]);
        assert_eq!(pieces("llama-bpe", "it's 1234"), ["it", "'s", " ", "123", "4"]);
        assert_eq!(pieces("qwen2", "IT'S 12"), ["IT", "'S", " ", "1", "2"]);
        assert_eq!(pieces("tekken", "camelCase 12"), ["camel", "Case", " ", "1", "2"]);
        assert_eq!(pieces("gpt-4o", "it's 1234"), ["it's", " ", "123", "4"]);
    }
}
