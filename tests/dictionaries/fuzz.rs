//! Random damage to dictionaries of every layout: their numbers or one error that names the file, never a panic.
//!
//! `MECHSCOPE_FUZZ` sets the number of cases for each layout.

use super::common::{open, test_data};
use super::write::{self, Tensors};
use candle_core::{Device, Tensor};
use mechscope::model::Model;
use mechscope::model::dictionary::Dictionary;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

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
        (self.next() % n.max(1) as u64) as usize
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// Opens the folder and reads a bit of everything; whether all of it worked.
fn attempt(folder: &Path, model: &Model) -> bool {
    let read = || -> anyhow::Result<()> {
        let dictionary = Dictionary::open(folder, &model.decoder)?;
        let d = model.decoder.arch.d_model;
        let x: Vec<f32> = (0..2 * d).map(|i| (i % 7) as f32 - 3.0).collect();
        for (layer, n) in dictionary.n_features.iter().enumerate() {
            let active = dictionary.encode(layer, &x)?;
            assert!(active.iter().all(|a| a.feature < *n && a.position < 2));
            assert_eq!(dictionary.encoder_rows(layer, &[n - 1])?[0].0.len(), d);
            assert!(dictionary.decoder_rows(layer, n - 1)?.iter().all(|row| row.len() == d));
            assert_eq!(dictionary.decoder_bias(layer)?.len(), d);
            assert!(dictionary.skip(layer)?.is_none_or(|skip| skip.len() == d * d));
        }
        Ok(())
    };
    let Err(error) = read() else { return true };
    let text = format!("{error:#}");
    assert!(text.contains(&folder.display().to_string()), "which file? {text}");
    false
}

/// Every file below a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Damages a layout's files one or two at a time.
fn fuzz(seed: u64, model: &Model, layout: impl Fn(&Path)) {
    let count = std::env::var("MECHSCOPE_FUZZ").ok().and_then(|n| n.parse().ok()).unwrap_or(600u64);
    let temp = tempfile::tempdir().unwrap();
    layout(temp.path());
    assert!(attempt(temp.path(), model), "{seed}: the whole files are refused");
    let whole: Vec<(PathBuf, Vec<u8>)> =
        files(temp.path()).into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect();
    let settings: Vec<usize> = (0..whole.len()).filter(|f| is_text(&whole[*f].0)).collect();
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15 ^ seed);
    let mut worked = 0;
    for _ in 0..count {
        let mut damaged = Vec::new();
        for _ in 0..=dice.below(2) {
            // Configs are few and say much.
            let at = match settings.is_empty() || dice.below(2) == 0 {
                true => dice.below(whole.len()),
                false => *dice.one(&settings),
            };
            let (path, bytes) = &whole[at];
            damaged.push(path);
            if dice.below(40) == 0 {
                // The same file may have gone before.
                let _ = std::fs::remove_file(path);
            } else {
                std::fs::write(path, damage(path, bytes, &mut dice)).unwrap();
            }
        }
        worked += u64::from(attempt(temp.path(), model));
        for (path, bytes) in whole.iter().filter(|(path, _)| damaged.contains(&path)) {
            std::fs::write(path, bytes).unwrap();
        }
    }
    assert!(
        worked > count / 100 && worked < count * 99 / 100,
        "{seed}: {worked} of {count} worked: damage of one kind"
    );
}

fn is_text(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "json" || e == "yaml")
}

fn damage(path: &Path, whole: &[u8], dice: &mut Dice) -> Vec<u8> {
    let kind = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    match kind {
        "json" if dice.below(4) != 0 => {
            let mut fields: Map<String, Value> = serde_json::from_slice(whole).unwrap();
            exchange(&mut fields, dice);
            serde_json::to_vec(&fields).unwrap()
        }
        "json" | "yaml" => scribble(whole, 0..whole.len(), dice),
        "safetensors" if dice.below(2) == 0 => lie(whole, dice),
        "safetensors" => {
            let end = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
            scribble(whole, 0..end, dice)
        }
        _ => {
            // Local headers and those of arrays begin there; the directory is the end.
            let mut places: Vec<usize> = (0..whole.len() - 4).filter(|i| whole[*i..].starts_with(b"PK")).collect();
            places.extend((0..whole.len() - 6).filter(|i| whole[*i..].starts_with(b"\x93NUMPY")));
            let at = if dice.below(4) == 0 { dice.below(whole.len()) } else { *dice.one(&places) };
            scribble(whole, at..whole.len().min(at + 120), dice)
        }
    }
}

/// Puts other bytes somewhere into `range`, takes some out, or ends the file there.
fn scribble(whole: &[u8], range: std::ops::Range<usize>, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for _ in 0..=dice.below(3) {
        let at = (range.start + dice.below(range.len())).min(bytes.len().saturating_sub(1));
        match dice.below(12) {
            0..=3 => bytes[at] = dice.next() as u8,
            4..=6 => bytes[at] ^= 1 << dice.below(8),
            7..=8 => bytes[at] = *dice.one(b"0123456789[]{}\",:-_/.eF"),
            9 => bytes[at] = 0xff,
            10 => drop(bytes.remove(at)),
            _ => bytes.truncate(at.max(1)),
        }
    }
    bytes
}

/// Changes, takes out or adds a field of a config.
fn exchange(fields: &mut Map<String, Value>, dice: &mut Dice) {
    let words = ["", "x", "relu", "topk", "jumprelu", "skip_transcoder", "clt", "mlp.hook_in", "blocks.0.hook_mlp_out"];
    let more = ["k", "architecture", "transcoders", "activation", "model_kind", "metadata", "hook_name"];
    let keys: Vec<String> = fields.keys().cloned().chain(more.map(str::to_owned)).collect();
    let key = dice.one(&keys).clone();
    let value = match dice.below(8) {
        0 => return drop(fields.shift_remove(&key)),
        1 => json!(dice.one(&[0u64, 1, 64, 1 << 40, u64::MAX])),
        2 => json!(-0.5),
        3 => Value::Null,
        4 => json!([dice.one(&words)]),
        5 => json!({ *dice.one(&words): *dice.one(&words) }),
        6 => json!(dice.below(2) == 0),
        _ => json!(dice.one(&words)),
    };
    fields.insert(key, value);
}

/// Makes the header of a safetensors file speak of other tensors.
fn lie(whole: &[u8], dice: &mut Dice) -> Vec<u8> {
    let length = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let mut header: Map<String, Value> = serde_json::from_slice(&whole[8..8 + length]).unwrap();
    let names: Vec<String> = header.keys().filter(|k| *k != "__metadata__").cloned().collect();
    let sizes = [0u64, 1, 8, 32, 64, 128, 4096, 1 << 31, 1 << 32, 1 << 62, u64::MAX];
    let (name, other) = (dice.one(&names).clone(), dice.one(&names).clone());
    match dice.below(5) {
        0 => header[&name]["dtype"] = json!(dice.one(&["F64", "F16", "BF16", "I32", "U8", "F4"])),
        1 => header[&name]["shape"] = (0..dice.below(4)).map(|_| json!(dice.one(&sizes))).collect(),
        2 => header[&name]["data_offsets"][dice.below(2)] = json!(dice.one(&sizes)),
        3 => {
            // Two tensors of one shape change places, which may well be read.
            let (a, b) = (header[&name].clone(), header[&other].clone());
            (header[&name], header[&other]) = (b, a);
        }
        _ => {
            let entry = header.shift_remove(&name).unwrap();
            header.insert(dice.one(&["W_skip", "threshold", "w_enc", "x"]).to_string(), entry);
        }
    }
    let text = serde_json::to_vec(&header).unwrap();
    [&(text.len() as u64).to_le_bytes()[..], &text, &whole[8 + length..]].concat()
}

fn gemma() -> (Model, Vec<Tensors>) {
    let model = open(&test_data().join("models/tiny-gemma2"));
    let layers = write::read(&test_data().join("transcoders/tiny-gemma2-gscope"), model.decoder.arch.n_layers);
    (model, layers)
}

const HOOKS: (&str, &str) = ("ln2.hook_normalized", "hook_mlp_out");

#[test]
fn damaged_circuit_tracer() {
    let (model, layers) = gemma();
    fuzz(1, &model, |folder| write::circuit_tracer(folder, &layers, HOOKS, "jumprelu"));
    let config = json!({"model_kind": "transcoder_set", "feature_input_hook": HOOKS.0, "feature_output_hook": HOOKS.1,
        "activation": "topk", "k": 3});
    fuzz(2, &model, |folder| {
        write::text(&folder.join("config.json"), &config.to_string());
        for (l, tensors) in layers.iter().enumerate() {
            let kept = tensors.iter().filter(|(name, _)| !name.contains("threshold"));
            let kept = kept.map(|(name, t)| (name.as_str(), t.clone()));
            write::safetensors(&folder.join(format!("layer_{l}.safetensors")), kept);
        }
    });
}

#[test]
fn damaged_cross_layer_transcoders() {
    let model = open(&test_data().join("models/tiny-llama"));
    fuzz(3, &model, |folder| {
        let own = test_data().join("transcoders/tiny-llama-clt");
        for file in files(&own) {
            std::fs::copy(&file, folder.join(file.file_name().unwrap())).unwrap();
        }
    });
}

#[test]
fn damaged_gemma_scope() {
    let (model, layers) = gemma();
    fuzz(4, &model, |folder| write::gemma_scope(folder, &layers, false));
    fuzz(5, &model, |folder| write::gemma_scope(folder, &layers, true));
    fuzz(6, &model, |folder| write::gemma_scope_2(folder, &layers));
}

#[test]
fn damaged_sae_lens() {
    let (model, mut layers) = gemma();
    fuzz(7, &model, |folder| write::sae_lens(folder, &layers, HOOKS, true));
    for tensors in &mut layers {
        tensors.insert("W_skip".into(), Tensor::full(0.25f32, (64, 64), &Device::Cpu).unwrap());
    }
    fuzz(8, &model, |folder| write::sae_lens(folder, &layers, HOOKS, false));
}
