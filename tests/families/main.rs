//! How families read `config.json` and tensors, beyond what the reference models show.

#[path = "../common/mod.rs"]
mod common;

mod gemma3;
mod opt;
mod phi3;
mod refused;
mod rope;
mod spelling;

use mechscope::model::Model;
use mechscope::model::forward::Logits;
use mechscope::model::site::Sites;
use serde_json::{Map, Value};
use std::path::Path;
use tempfile::TempDir;

/// Twenty ids: more than the windows and original lengths of the tiny models.
const IDS: [u32; 20] = [5, 99, 300, 41, 7, 7, 410, 12, 200, 3, 77, 501, 18, 256, 33, 64, 128, 9, 310, 2];

fn read_config(folder: &Path) -> Map<String, Value> {
    serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap()
}

/// A folder with these settings and the weights of a model of `test_data`.
fn with_config(model: &str, config: &Map<String, Value>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let weights = common::test_data().join("models").join(model).join("model.safetensors");
    std::fs::copy(weights, folder.path().join("model.safetensors")).unwrap();
    std::fs::write(folder.path().join("config.json"), serde_json::to_vec(config).unwrap()).unwrap();
    folder
}

/// The logits of every position of [`IDS`], bit by bit.
fn logits(model: &Model) -> Vec<u32> {
    let run = model.run(&IDS, &Sites::None, Logits::All).unwrap();
    let numbers: Vec<f32> = run.logits().unwrap().flatten_all().unwrap().to_vec1().unwrap();
    assert!(numbers.iter().all(|x| x.is_finite()));
    numbers.into_iter().map(f32::to_bits).collect()
}
