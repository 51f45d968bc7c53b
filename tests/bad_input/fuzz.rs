//! Random damage to settings and weights, in process: an answer or an error, never a panic, never a wild allocation.

use crate::{Copied, joined, parted};
use candle_core::{DType, Device};
use mechscope::model::checkpoint::Checkpoint;
use mechscope::model::config::ModelConfig;
use mechscope::model::edit::EditPlan;
use mechscope::model::families;
use mechscope::model::forward::{Logits, Start};
use mechscope::model::site::Sites;
use mechscope::model::text::{Bos, Text};
use serde_json::{Map, Value, json};

/// Marsaglia's xorshift: the same cases in every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// Builds the model and, if that works, runs three tokens. Returns whether it worked.
fn attempt(config: &[u8], weights: &Checkpoint) -> bool {
    let built = ModelConfig::parse("config.json", config).and_then(|mut c| families::build(&mut c, weights));
    match built {
        Ok(decoder) => {
            let prompt = [vec![1, 2, 3]];
            let run =
                decoder.run(Start::Tokens(&prompt), &Sites::Standard, EditPlan::NONE, Logits::All, &mut |_, _| Ok(()));
            // A context of one or two tokens is a model's right.
            run.map_or(decoder.arch.n_ctx < 3, |r| r.logits().unwrap().dims() == [3, decoder.arch.d_vocab])
        }
        Err(e) => {
            assert!(!format!("{e:#}").is_empty());
            false
        }
    }
}

#[test]
fn damaged_settings() {
    let values = [
        json!(0),
        json!(1),
        json!(2),
        json!(3),
        json!(4),
        json!(7),
        json!(8),
        json!(16),
        json!(64),
        json!(-1),
        json!(512),
        json!(i32::MAX),
        json!(i32::MAX - 1),
        json!(1u64 << 32),
        json!(u64::MAX),
        json!(0.5),
        json!(1.0),
        json!(1e-30),
        json!(1e30),
        json!(1e300),
        json!(true),
        json!(false),
        Value::Null,
        json!("x"),
        json!("linear"),
        json!([]),
        json!({}),
        json!(["full_attention"]),
        json!(["sliding_attention", "sliding_attention", "full_attention"]),
        json!({"rope_type": "linear", "factor": 2.0}),
        json!({"rope_theta": 100.0, "partial_rotary_factor": 0.5}),
        json!({"type": "longrope", "short_factor": [1, 1, 1, 1, 1, 1, 1, 1], "long_factor": [2, 2, 2, 2, 2, 2, 2, 2],
            "original_max_position_embeddings": 64}),
    ];
    let more = [
        "rope_scaling",
        "rope_parameters",
        "partial_rotary_factor",
        "sliding_window",
        "layer_types",
        "head_dim",
        "num_key_value_heads",
        "model_type",
        "attention_types",
        "original_max_position_embeddings",
    ];
    let kinds: Vec<&str> = families::ALL.iter().flat_map(|f| f.model_types).copied().collect();
    let names = [
        "tiny-gpt2",
        "tiny-gpt-neo",
        "tiny-gpt-neox",
        "tiny-gpt-neox-sequential",
        "tiny-llama",
        "tiny-llama3",
        "tiny-mistral",
        "tiny-qwen2",
        "tiny-qwen3",
        "tiny-gemma2",
        "tiny-gemma3",
    ];
    for (seed, name) in names.iter().enumerate() {
        let copy = Copied::of(name);
        let whole: Map<String, Value> =
            serde_json::from_slice(&std::fs::read(copy.path("config.json")).unwrap()).unwrap();
        let fields: Vec<&str> = whole.keys().map(String::as_str).chain(more).collect();
        let mut dice = Dice(0x9E37_79B9_7F4A_7C15 ^ seed as u64);
        let mut worked = 0;
        for _ in 0..1000 {
            let mut config = whole.clone();
            for _ in 0..=dice.below(2) {
                let field = dice.one(&fields).to_string();
                match dice.below(8) {
                    0 => drop(config.shift_remove(&field)),
                    1 => drop(config.insert("model_type".into(), json!(dice.one(&kinds)))),
                    _ => drop(config.insert(field, dice.one(&values).clone())),
                }
            }
            let files = [copy.path("model.safetensors")];
            let weights = Checkpoint::open(&files, &Device::Cpu, DType::F32, Box::new(|_, _| {})).unwrap();
            worked += usize::from(attempt(&serde_json::to_vec(&config).unwrap(), &weights));
        }
        assert!((50..950).contains(&worked), "{name}: {worked} of 1000 cases worked: the damage is of one kind only");
    }
}

/// A Llama of a few hundred bytes, so that damage hits something that matters.
fn small() -> (Vec<u8>, Vec<u8>) {
    let config = json!({"model_type": "llama", "hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1,
        "num_attention_heads": 2, "vocab_size": 5, "max_position_embeddings": 8, "tie_word_embeddings": true});
    let (mut header, mut data) = (Map::new(), Vec::new());
    let parts = [
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "mlp.gate_proj",
        "mlp.up_proj",
        "mlp.down_proj",
    ];
    let matrices = parts.iter().map(|p| (format!("model.layers.0.{p}.weight"), vec![4, 4]));
    let norms = ["layers.0.input_layernorm", "layers.0.post_attention_layernorm", "norm"];
    let norms = norms.iter().map(|n| (format!("model.{n}.weight"), vec![4]));
    let embed = [("model.embed_tokens.weight".to_owned(), vec![5, 4])];
    for (name, shape) in embed.into_iter().chain(matrices).chain(norms) {
        let start = data.len();
        for i in 0..shape.iter().product() {
            data.extend(((i % 7) as f32 * 0.25 - 0.5).to_le_bytes());
        }
        header.insert(name, json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]}));
    }
    (config.to_string().into_bytes(), joined(&header, &data))
}

#[test]
fn damaged_weights() {
    let (config, whole) = small();
    let open = |bytes: Vec<u8>| {
        let bytes: &'static [u8] = bytes.leak();
        Checkpoint::built_in("model.safetensors", bytes, &Device::Cpu, DType::F32)
    };
    assert!(attempt(&config, &open(whole.clone()).unwrap()));
    let end_of_header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize + 8;
    let mut dice = Dice(0xD1B5_4A32_D192_ED03);
    let (mut opened, mut worked) = (0, 0);
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..=dice.below(3) {
            let anywhere = dice.below(4) == 0;
            let at = dice.below(if anywhere { bytes.len() } else { end_of_header.min(bytes.len()) });
            match dice.below(5) {
                0 => bytes[at] = dice.next() as u8,
                1 => bytes[at] = *dice.one(b"0123456789[]{}\",:-eF"),
                2 => bytes[at] ^= 1 << dice.below(8),
                3 => drop(bytes.remove(at)),
                _ => bytes.truncate(at.max(1)),
            }
        }
        if let Ok(weights) = open(bytes) {
            opened += 1;
            worked += usize::from(attempt(&config, &weights));
        }
    }
    assert!(opened > worked && worked > 100, "{opened} of 20000 opened, {worked} ran: the damage is of one kind only");
}

#[test]
fn damaged_header_entries() {
    let (config, whole) = small();
    let (header, data) = parted(&whole);
    let names: Vec<String> = header.keys().cloned().collect();
    let numbers: Vec<Value> = [0u64, 1, 4, 5, 16, 64, 128, 1 << 31, 1 << 32, 1 << 62, 1 << 63, u64::MAX - 63, u64::MAX]
        .map(|n| json!(n))
        .into();
    let types = ["F64", "F32", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "F4", ""];
    let mut dice = Dice(0x2545_F491_4F6C_DD1D);
    for _ in 0..20_000 {
        let mut lying = header.clone();
        for _ in 0..=dice.below(3) {
            let entry = lying.get_mut(dice.one(&names)).unwrap();
            match dice.below(4) {
                0 => entry["dtype"] = json!(dice.one(&types)),
                1 => entry["shape"] = (0..dice.below(4)).map(|_| dice.one(&numbers).clone()).collect(),
                2 => entry["data_offsets"][dice.below(2)] = dice.one(&numbers).clone(),
                _ => *entry = header[dice.one(&names)].clone(),
            }
        }
        let bytes: &'static [u8] = joined(&lying, &data).leak();
        if let Ok(weights) = Checkpoint::built_in("model.safetensors", bytes, &Device::Cpu, DType::F32) {
            attempt(&config, &weights);
        }
    }
}

#[test]
fn damaged_tokenizers() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("test_data/tokenizers");
    let mut dice = Dice(0xA076_1D64_78BD_642F);
    for style in ["llama2-style", "llama3-style", "gemma-style"] {
        let whole: Value =
            serde_json::from_slice(&std::fs::read(folder.join(style).join("tokenizer.json")).unwrap()).unwrap();
        let mut read = 0;
        for _ in 0..700 {
            let mut json = whole.clone();
            for _ in 0..=dice.below(2) {
                damage(&mut json, &mut dice);
            }
            let Ok(text) = Text::from_bytes(json.to_string().as_bytes(), None, "a folder") else { continue };
            read += 1;
            for bos in [Bos::Auto, Bos::Always, Bos::Never] {
                if let Ok(encoding) = text.encode("The king said:\n 語 to\u{301} me  7 <s> é", bos) {
                    assert!(!encoding.tokens.is_empty());
                }
            }
            (0..20).for_each(|id| drop(text.piece(id)));
        }
        assert!(read > 50, "{style}: {read} of 700 could be read: the damage is of one kind only");
    }
}

/// Changes one value somewhere inside.
fn damage(json: &mut Value, dice: &mut Dice) {
    let inner = match json {
        Value::Object(map) if !map.is_empty() => {
            let at = dice.below(map.len());
            let key = map.keys().nth(at).unwrap().clone();
            if dice.below(12) == 0 {
                map.shift_remove(&key);
                return;
            }
            map.get_mut(&key)
        }
        Value::Array(list) if !list.is_empty() => {
            let at = dice.below(list.len());
            if dice.below(12) == 0 {
                list.swap_remove(at);
                return;
            }
            list.get_mut(at)
        }
        _ => None,
    };
    match inner {
        Some(inner) if dice.below(8) != 0 => damage(inner, dice),
        _ => {
            let values = [
                json!(0),
                json!(-1),
                json!(u64::MAX),
                json!(0.5),
                json!(""),
                json!(" "),
                json!("a"),
                json!(null),
                json!([]),
                json!({}),
                json!(true),
                json!(false),
                json!("<unk>"),
                json!(70_000),
            ];
            *json = dice.one(&values).clone();
        }
    }
}
