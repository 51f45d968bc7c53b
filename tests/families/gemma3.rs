//! Gemma-3's models of text and images: their text side is the text model.

use crate::{common, logits, read_config};
use candle_core::{DType, Device, Tensor};
use mechscope::model::Model;
use mechscope::model::device::DTypeChoice;
use mechscope::model::source::Source;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use tempfile::TempDir;

/// The text model of `test_data` as the text side of a model of text and images, its tensors under `prefix` instead of `model.`.
fn wrapped(prefix: &str, change: impl FnOnce(&mut Map<String, Value>)) -> TempDir {
    let from = common::test_data().join("models/tiny-gemma3");
    let tensors = candle_core::safetensors::load(from.join("model.safetensors"), &Device::Cpu).unwrap();
    let rename = |name: String| format!("{prefix}{}", name.strip_prefix("model.").unwrap());
    let mut tensors: HashMap<String, Tensor> = tensors.into_iter().map(|(name, t)| (rename(name), t)).collect();
    let zeros = Tensor::zeros(8, DType::F32, &Device::Cpu).unwrap();
    for image in ["vision_tower.vision_model.post_layernorm.weight", "multi_modal_projector.mm_soft_emb_norm.weight"] {
        let image = if prefix.starts_with("model.") { format!("model.{image}") } else { image.to_owned() };
        tensors.insert(image, zeros.clone());
    }
    let mut text = read_config(&from);
    change(&mut text);
    let config = json!({"model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"], "text_config": text,
        "vision_config": {"model_type": "siglip_vision_model", "hidden_size": 8}, "mm_tokens_per_image": 256,
        "boi_token_index": 255_999, "eoi_token_index": 256_000, "image_token_index": 262_144});
    let folder = tempfile::tempdir().unwrap();
    candle_core::safetensors::save(&tensors, folder.path().join("model.safetensors")).unwrap();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    folder
}

#[test]
fn the_text_side_of_a_model_of_text_and_images_is_the_text_model() {
    let want = logits(&common::open(&common::test_data().join("models/tiny-gemma3")));
    for prefix in ["language_model.model.", "model.language_model."] {
        let folder = wrapped(prefix, |_| ());
        let got = common::open(folder.path());
        assert_eq!(got.decoder.arch.family, "Gemma-3");
        assert_eq!(logits(&got), want, "{prefix}");
    }
}

/// Gemma-3-4B leaves out what transformers has defaults for; here the defaults do not fit the tensors, and the error says which it took.
#[test]
fn sizes_that_are_left_out_are_those_of_transformers() {
    let folder = wrapped("language_model.model.", |text| drop(text.shift_remove("vocab_size")));
    let source = Source::Folder { name: "wrapped".into(), path: folder.path().into() };
    let opened = Model::open_source(source, &Device::Cpu, DTypeChoice::F32, Box::new(|_, _| {}));
    let error = format!("{:#}", opened.err().unwrap());
    assert!(error.contains("262208") && error.contains("embed_tokens"), "{error}");
}

#[test]
fn a_field_of_the_text_side_that_may_change_what_it_computes_is_an_error() {
    let folder = wrapped("language_model.model.", |text| drop(text.insert("novel_scale".into(), json!(3.5))));
    let source = Source::Folder { name: "wrapped".into(), path: folder.path().into() };
    let opened = Model::open_source(source, &Device::Cpu, DTypeChoice::F32, Box::new(|_, _| {}));
    let error = format!("{:#}", opened.err().unwrap());
    assert!(error.contains("text_config") && error.contains("novel_scale"), "{error}");
}
