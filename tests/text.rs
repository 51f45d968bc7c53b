//! Token ids equal those of transformers, and every token can be seen for what it is.

use std::fs;
use std::path::{Path, PathBuf};

use mechscope::model::text::{Bos, BosDone, Text};
use serde_json::{Value, json};

fn test_data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("test_data")
}

fn open(folder: &Path) -> Text {
    let tokenizer = fs::read(folder.join("tokenizer.json")).unwrap();
    let config = fs::read(folder.join("tokenizer_config.json")).unwrap();
    Text::from_bytes(&tokenizer, Some(&config), &folder.display().to_string()).unwrap()
}

fn style(name: &str) -> Text {
    open(&test_data().join("tokenizers").join(name))
}

fn json_file(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

/// The folders with `models` and `dumps`: ours and, where it is lent, the full set.
fn references() -> Vec<PathBuf> {
    let lent = std::env::var_os("MECHSCOPE_SHARED").map(|shared| Path::new(&shared).join("reference"));
    [Some(test_data()), lent].into_iter().flatten().collect()
}

fn folders(parent: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<_> = fs::read_dir(parent).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.join("tokenizer.json").exists());
    folders.sort();
    folders
}

fn every_tokenizer() -> Vec<PathBuf> {
    let mut all = folders(&test_data().join("tokenizers"));
    all.extend(references().iter().flat_map(|reference| folders(&reference.join("models"))));
    all
}

#[test]
fn the_ids_of_the_reference_dumps() {
    for reference in references() {
        let mut compared = 0;
        for model in folders(&reference.join("models")) {
            let name = model.file_name().unwrap().to_str().unwrap();
            let dump = reference.join("dumps").join(format!("{name}.json"));
            if !dump.exists() {
                continue;
            }
            let dump = json_file(&dump);
            let prompt = dump["prompt"].as_str().unwrap();
            let encoding = open(&model).encode(prompt, Bos::Auto).unwrap();
            assert_eq!(encoding.ids(), ids(&dump["ids"]), "{name}");
            compared += 1;
        }
        assert!(compared >= 14, "{compared} dumps under {}", reference.display());
    }
}

#[test]
fn the_ids_of_transformers_for_hard_prompts() {
    let expected = json_file(&test_data().join("tokenizers/expected.json"));
    let prompts: Vec<&str> = expected["prompts"].as_array().unwrap().iter().map(|p| p.as_str().unwrap()).collect();
    for (name, by_bos) in expected["ids"].as_object().unwrap() {
        let text = if name.starts_with("tiny") { open(&test_data().join("models").join(name)) } else { style(name) };
        for bos in [Bos::Auto, Bos::Never] {
            for (i, prompt) in prompts.iter().enumerate() {
                let found = text.encode(prompt, bos).unwrap().ids();
                assert_eq!(found, ids(&by_bos[bos.to_string()][i]), "{name}, bos {bos}: {prompt:?}");
            }
        }
    }
}

#[test]
fn the_bytes_of_the_tokens_are_those_of_the_prompt() {
    let prompts =
        ["The king said\n\n to  the", "naïve café 語り 🙂👩‍👩‍👧 \u{202e}x\u{202c}", "a\0b\x1b[31m", " lead", "\u{10ffff}"];
    for folder in every_tokenizer() {
        let kind = json_file(&folder.join("tokenizer.json"));
        if kind["model"]["type"] == "WordLevel" {
            continue; // Letters alone: other characters are lost to the unknown token.
        }
        let text = open(&folder);
        let prepends_space = kind["normalizer"]["normalizers"][0]["type"] == "Prepend";
        for prompt in prompts {
            let encoding = text.encode(prompt, Bos::Never).unwrap();
            let bytes: Vec<u8> = encoding.tokens.iter().flat_map(|piece| text.bytes(piece.id)).collect();
            let written = if prepends_space { format!(" {prompt}") } else { prompt.to_owned() };
            assert_eq!(bytes, written.as_bytes(), "{}: {prompt:?}", folder.display());
        }
    }
}

#[test]
fn spans_cover_the_prompt_and_can_be_cut_out() {
    let prompt = "naïve 語り 🙂 the king";
    for folder in every_tokenizer() {
        for bos in [Bos::Auto, Bos::Never] {
            let mut covered = vec![false; prompt.len()];
            for piece in open(&folder).encode(prompt, bos).unwrap().tokens {
                if let Some(span) = piece.span {
                    assert!(prompt.get(span.clone()).is_some(), "{}: {span:?}", folder.display());
                    covered[span].fill(true);
                }
            }
            // Some byte-level tokenizers leave spaces out, letter ones what is not in their vocabulary.
            let words = prompt.bytes().zip(covered).filter(|(byte, _)| *byte != b' ');
            assert!(words.into_iter().all(|(_, covered)| covered), "{}", folder.display());
        }
    }
}

#[test]
fn every_token_can_be_seen_and_named() {
    for folder in every_tokenizer() {
        let text = open(&folder);
        assert!(text.n_ids() >= text.vocab_size() && text.vocab_size() > 1);
        for id in 0..u32::try_from(text.n_ids()).unwrap() {
            let piece = text.piece(id);
            assert!(!piece.is_empty() && !piece.starts_with("<unused"), "{}: {id} is {piece:?}", folder.display());
            if std::str::from_utf8(&text.bytes(id)).is_ok() {
                // Another spelling of the same text may come first: `<0x41>` beside `A`.
                let named = text.token_id(&piece).unwrap();
                assert_eq!(text.bytes(named), text.bytes(id), "{}: {id} is {piece:?}", folder.display());
            } else {
                assert!(piece.contains("\\x"), "{}: {id} is {piece:?}", folder.display());
            }
        }
        let past = u32::try_from(text.n_ids()).unwrap();
        assert_eq!(text.piece(past), format!("<unused {past}>"));
        assert_eq!(text.bytes(past), b"");
    }
}

#[test]
fn parts_of_characters_are_shown_as_bytes() {
    for (name, pieces) in [
        ("llama2-style", [" ", "\\xE8", "\\xAA", "\\x9E"].as_slice()),
        ("llama3-style", ["\\xE8", "\\xAA", "\\x9E"].as_slice()),
        ("gemma-style", ["\\xE8", "\\xAA", "\\x9E"].as_slice()),
    ] {
        let text = style(name);
        let encoding = text.encode("語", Bos::Never).unwrap();
        assert_eq!(encoding.tokens.iter().map(|piece| piece.text.as_str()).collect::<Vec<_>>(), pieces, "{name}");
        assert_eq!(encoding.tokens.last().unwrap().span, Some(0..3), "{name}");
    }
}

#[test]
fn special_and_added_tokens_are_shown_by_their_content() {
    let llama3 = style("llama3-style");
    let encoding = llama3.encode("naïve <|end_of_text|>", Bos::Auto).unwrap();
    let shown: Vec<_> = encoding.tokens.iter().map(|piece| piece.text.as_str()).collect();
    assert_eq!(shown, ["<|begin_of_text|>", "naïve", " ", "<|end_of_text|>"]);
    assert_eq!((encoding.tokens[0].span.clone(), encoding.tokens[1].span.clone()), (None, Some(0..6)));
    assert_eq!(style("gemma-style").piece(600), "  ", "a run of spaces listed as an added token");
}

#[test]
fn decoding_gives_the_prompt_back() {
    for folder in every_tokenizer() {
        let text = open(&folder);
        let prompt = if folder.ends_with("gpt-nano-sort") { "CABBAC" } else { "qwerty" };
        let encoding = text.encode(prompt, Bos::Never).unwrap();
        assert_eq!(text.decode(&encoding.ids()).unwrap(), prompt, "{}", folder.display());
    }
}

const BOS: &str = "<|endoftext|>";

/// The tiny GPT-2 tokenizer with a post-processor that adds BOS or not, and this `tokenizer_config.json`.
fn variant(post_processor_adds: bool, config: &Value) -> anyhow::Result<Text> {
    let mut tokenizer = json_file(&test_data().join("models/tiny-gpt2/tokenizer.json"));
    if post_processor_adds {
        tokenizer["post_processor"] = json!({
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": BOS, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {BOS: {"id": BOS, "ids": [0], "tokens": [BOS]}},
        });
    }
    Text::from_bytes(tokenizer.to_string().as_bytes(), Some(config.to_string().as_bytes()), "here")
}

/// Measured with transformers 4.57.3 on these very files: each row is no `add_bos_token`, false, true.
#[test]
fn auto_adds_bos_where_transformers_does() {
    let (yes, no) = (true, false);
    for (class, without, with) in [
        ("PreTrainedTokenizerFast", [no, no, no], [yes, yes, yes]),
        ("GPT2Tokenizer", [no, no, no], [yes, yes, yes]),
        ("Qwen2Tokenizer", [no, no, no], [yes, yes, yes]),
        ("LlamaTokenizer", [yes, no, yes], [yes, no, yes]),
        ("LlamaTokenizerFast", [yes, no, yes], [yes, no, yes]),
        ("GemmaTokenizer", [yes, no, yes], [yes, no, yes]),
        ("GPTNeoXTokenizer", [no, no, yes], [no, no, yes]),
    ] {
        for (post_processor_adds, expected) in [(false, without), (true, with)] {
            for (flag, expected) in [Value::Null, json!(false), json!(true)].into_iter().zip(expected) {
                let config = json!({"tokenizer_class": class, "bos_token": {"content": BOS}, "add_bos_token": flag});
                let text = variant(post_processor_adds, &config).unwrap();
                let encoding = text.encode("the king", Bos::Auto).unwrap();
                let row = format!("{class}, {post_processor_adds}, {flag}");
                assert_eq!(encoding.bos, if expected { BosDone::Added(0) } else { BosDone::None }, "{row}");
                assert_eq!(encoding.tokens[0].id == 0, expected, "{row}");
                assert_eq!(
                    encoding.tokens.iter().filter(|piece| piece.id == 0).count(),
                    usize::from(expected),
                    "{row}"
                );
                // Asked for, there is exactly one, whoever adds it; refused, there is none.
                let always = text.encode("the king", Bos::Always).unwrap();
                assert_eq!((always.bos, always.tokens[0].id), (BosDone::Added(0), 0), "{row}");
                assert_eq!(always.tokens.iter().filter(|piece| piece.id == 0).count(), 1, "{row}");
                let never = text.encode("the king", Bos::Never).unwrap();
                assert_eq!((never.bos, &never.tokens), (BosDone::None, &always.tokens[1..].to_vec()), "{row}");
            }
        }
    }
}

#[test]
fn a_bos_in_the_prompt_is_told_apart() {
    let plain = variant(false, &json!({"bos_token": BOS})).unwrap();
    let adding = variant(true, &json!({"bos_token": BOS})).unwrap();
    let prompt = format!("{BOS}the king");
    let done = |text: &Text, bos| text.encode(&prompt, bos).unwrap().bos;
    assert_eq!(done(&plain, Bos::Always), BosDone::InPrompt(0));
    assert_eq!(done(&plain, Bos::Auto), BosDone::InPrompt(0));
    assert_eq!(done(&adding, Bos::Never), BosDone::InPrompt(0));
    assert_eq!(done(&adding, Bos::Auto), BosDone::Doubled(0));
    assert_eq!(adding.encode(&prompt, Bos::Auto).unwrap().ids()[..2], [0, 0]);
}

#[test]
fn which_token_is_bos() {
    assert_eq!(variant(false, &json!({"bos_token": BOS})).unwrap().bos_id(), Some(0));
    assert_eq!(variant(true, &json!({})).unwrap().bos_id(), Some(0), "by the post-processor");
    let nameless = variant(false, &json!({})).unwrap();
    assert_eq!(nameless.bos_id(), None);
    let error = nameless.encode("the", Bos::Always).unwrap_err().to_string();
    assert!(error.contains("no BOS token") && error.contains("bos_token_id"), "{error}");
    let by_config = variant(false, &json!({})).unwrap().with_default_bos(Some(0));
    assert_eq!(by_config.encode("the", Bos::Always).unwrap().bos, BosDone::Added(0));
    let out_of_range = variant(false, &json!({})).unwrap().with_default_bos(Some(99_999));
    assert_eq!(out_of_range.bos_id(), None);
}

#[test]
fn an_empty_prompt_needs_a_bos() {
    let text = variant(false, &json!({"bos_token": BOS})).unwrap();
    for bos in [Bos::Auto, Bos::Never] {
        let error = text.encode("", bos).unwrap_err().to_string();
        assert!(error.contains("empty"), "{error}");
    }
    assert_eq!(text.encode("", Bos::Always).unwrap().ids(), [0]);
}

#[test]
fn a_token_named_by_its_text() {
    let gpt2 = open(&test_data().join("models/tiny-gpt2"));
    assert_eq!(gpt2.token_id(" the").unwrap(), 261);
    assert_eq!(gpt2.token_id(BOS).unwrap(), 0);
    let error = gpt2.token_id(" kingly").unwrap_err().to_string();
    assert_eq!(error, "\" kingly\" is not one token: it splits into \" k\" \"ing\" \"ly\"");
    let error = gpt2.token_id(" Ther").unwrap_err().to_string();
    assert!(error.starts_with("\" Ther\" is not one token: it splits into "), "{error}");
    assert!(gpt2.token_id("").is_err());
    // In SentencePiece, " The" and "The" are two things although either begins a prompt as the same token.
    let llama2 = style("llama2-style");
    let the = llama2.token_id(" The").unwrap();
    assert_eq!(llama2.encode("The", Bos::Never).unwrap().ids(), [the]);
    let error = llama2.token_id("The").unwrap_err().to_string();
    assert!(error.ends_with("; \" The\" is one token"), "{error}");
    assert_eq!(llama2.piece(llama2.token_id("\n").unwrap()), "\n");
}

#[test]
fn truncation_and_padding_in_the_file_are_for_batches() {
    let mut tokenizer = json_file(&test_data().join("models/tiny-gpt2/tokenizer.json"));
    tokenizer["truncation"] = json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
    tokenizer["padding"] = json!({"strategy": {"Fixed": 64}, "direction": "Left", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": BOS});
    let text = Text::from_bytes(tokenizer.to_string().as_bytes(), None, "here").unwrap();
    let plain = open(&test_data().join("models/tiny-gpt2"));
    let prompt = "the king said";
    assert!(plain.encode(prompt, Bos::Auto).unwrap().tokens.len() > 2);
    assert_eq!(text.encode(prompt, Bos::Auto).unwrap(), plain.encode(prompt, Bos::Auto).unwrap());
}

#[test]
fn broken_files_are_named() {
    let tokenizer = fs::read(test_data().join("models/tiny-gpt2/tokenizer.json")).unwrap();
    let error = |tokenizer: &[u8], config: &str| {
        let error = Text::from_bytes(tokenizer, Some(config.as_bytes()), "models/x").err().unwrap();
        format!("{error:#}")
    };
    assert!(error(&tokenizer[..5000], "{}").starts_with("models/x: tokenizer.json: "));
    assert!(error(b"{}", "{}").starts_with("models/x: tokenizer.json: "));
    let wrong = error(&tokenizer, "{\"bos_token\": 5}");
    assert!(wrong.starts_with("models/x: tokenizer_config.json: expected a string or an object"), "{wrong}");
    let wrong = error(&tokenizer, "{\"add_bos_token\": \"yes\"}");
    assert!(wrong.contains("tokenizer_config.json: invalid type: string \"yes\", expected a boolean"), "{wrong}");
    let wrong =
        error(&tokenizer, r#"{"tokenizer_class": "LlamaTokenizer", "add_bos_token": true, "bos_token": "<s>"}"#);
    assert!(wrong.contains("add_bos_token is true, but bos_token names no token"), "{wrong}");
}

#[test]
fn bos_is_typed_and_printed() {
    for bos in [Bos::Auto, Bos::Always, Bos::Never] {
        assert_eq!(bos.to_string().parse::<Bos>().unwrap(), bos);
    }
    let error = "yes".parse::<Bos>().unwrap_err().to_string();
    assert_eq!(error, "bos: found \"yes\", expected auto, always or never");
}

#[test]
fn the_map_of_special_tokens_overrules_an_older_config() {
    let folder = test_data().join("tokenizers/llama2-style");
    let tokenizer = fs::read(folder.join("tokenizer.json")).unwrap();
    let config = |more: Value| {
        let mut config = json!({"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>"});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config.to_string()
    };
    let bos = |config: &str| {
        let map = br#"{"bos_token": {"content": "</s>"}}"#;
        Text::from_files(&tokenizer, Some(config.as_bytes()), Some(map), "here").unwrap().bos_id().unwrap()
    };
    let text = Text::from_bytes(&tokenizer, Some(config(json!({})).as_bytes()), "here").unwrap();
    let (first, last) = (text.token_id("<s>").unwrap(), text.token_id("</s>").unwrap());
    assert_eq!(bos(&config(json!({}))), last);
    // Since transformers 4.34 the config lists the added tokens, and the map is not read.
    assert_eq!(bos(&config(json!({"added_tokens_decoder": {"1": {"content": "<s>"}}}))), first);
}
