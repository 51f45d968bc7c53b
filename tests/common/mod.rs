//! What several tests need: the reference models and numbers.
#![allow(dead_code)]

use candle_core::{Device, Tensor};
use mechscope::model::Model;
use mechscope::model::device::{DTypeChoice, DeviceChoice};
use mechscope::model::source::Source;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A reference model with the numbers of one prompt.
pub struct Reference {
    pub name: String,
    pub folder: PathBuf,
    pub numbers: PathBuf,
}

impl Reference {
    /// Opens the model in f32 on the CPU.
    pub fn model(&self) -> Model {
        open(&self.folder)
    }

    /// Tensors by name.
    pub fn tensors(&self) -> HashMap<String, Tensor> {
        candle_core::safetensors::load(&self.numbers, &Device::Cpu).unwrap()
    }

    /// Prompt, ids and the rest of the description.
    pub fn about(&self) -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(self.numbers.with_extension("json")).unwrap()).unwrap()
    }

    /// Token ids of the prompt.
    pub fn ids(&self) -> Vec<u32> {
        self.about()["ids"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect()
    }
}

/// Opens a model folder in f32 on the CPU.
pub fn open(folder: &Path) -> Model {
    open_on(folder, &Device::Cpu, DTypeChoice::F32)
}

/// Opens a model folder.
pub fn open_on(folder: &Path, device: &Device, dtype: DTypeChoice) -> Model {
    let source = Source::Folder { name: folder.display().to_string(), path: folder.into() };
    Model::open_source(source, device, dtype, Box::new(|_, _| {})).unwrap()
}

/// Where the portable route is tested: on the GPU, of a build that can use one and where there is one, else on the CPU.
pub fn device() -> Device {
    DeviceChoice::Auto.open().unwrap()
}

/// `test_data` of this project.
pub fn test_data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("test_data")
}

/// The larger reference folder, where there is one.
pub fn shared() -> Option<PathBuf> {
    std::env::var_os("MECHSCOPE_SHARED").map(|p| PathBuf::from(p).join("reference")).filter(|p| p.is_dir())
}

/// A real model's file of `target/real`, or of the folder that `MECHSCOPE_REAL` names; says so where it is not there.
pub fn real(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("MECHSCOPE_REAL").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/real"));
    let path = folder.join(name);
    if !path.is_file() {
        eprintln!("\n*** SKIPPED: {} is not there (test_data/real/get.sh fetches it)\n", path.display());
        return None;
    }
    Some(path)
}

/// Every reference model: those of `test_data`, and all of `MECHSCOPE_SHARED` when it is set.
pub fn references() -> Vec<Reference> {
    let mut found = Vec::new();
    for root in std::iter::once(test_data()).chain(shared()) {
        let Ok(dumps) = std::fs::read_dir(root.join("dumps")) else { continue };
        for numbers in dumps.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "safetensors")) {
            let stem = numbers.file_stem().unwrap().to_str().unwrap().to_owned();
            let model = stem.strip_prefix("one-").unwrap_or(&stem);
            let folder = root.join("models").join(model);
            assert!(folder.is_dir(), "{} has no model folder", numbers.display());
            found.push(Reference { name: stem.clone(), folder, numbers: numbers.clone() });
            // The same weights in several files must give the same numbers.
            let sharded = root.join("models").join(format!("{stem}-sharded"));
            if sharded.is_dir() {
                found.push(Reference { name: format!("{stem}-sharded"), folder: sharded, numbers });
            }
        }
    }
    found.sort_by(|a, b| (&a.name, &a.folder).cmp(&(&b.name, &b.folder)));
    assert!(!found.is_empty(), "no reference models");
    found
}

/// Largest difference beyond what is allowed: `|a - b| <= 2e-5 max|b| + 1e-5`; equal infinities agree.
pub fn disagreement(got: &[f32], want: &[f32]) -> Option<String> {
    if got.len() != want.len() {
        return Some(format!("{} numbers for {}", got.len(), want.len()));
    }
    let top = want.iter().filter(|x| x.is_finite()).fold(0f32, |m, x| m.max(x.abs()));
    let allowed = 2e-5 * top + 1e-5;
    let worst = got.iter().zip(want).map(|(g, w)| if g == w { 0.0 } else { (g - w).abs() });
    let worst = worst.fold(0f32, |m, d| if d.is_nan() { f32::INFINITY } else { m.max(d) });
    (worst > allowed).then(|| format!("off by {worst:e}, allowed {allowed:e} (largest value {top})"))
}
