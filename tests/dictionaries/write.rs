//! Writes transcoders the way their publishers do.

use candle_core::{Device, Tensor};
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

/// A layer's tensors under circuit-tracer's names, without the layer's number.
pub type Tensors = HashMap<String, Tensor>;

/// Writes a file and the folders above it.
pub fn text(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// Writes safetensors and the folders above it.
pub fn safetensors<'a>(path: &Path, tensors: impl IntoIterator<Item = (&'a str, Tensor)>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let tensors: HashMap<&str, Tensor> = tensors.into_iter().collect();
    candle_core::safetensors::save(&tensors, path).unwrap();
}

/// One array as NumPy writes it.
pub fn npy(tensor: &Tensor) -> Vec<u8> {
    let shape: Vec<String> = tensor.dims().iter().map(|n| format!("{n},")).collect();
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", shape.join(" "));
    let width = (10 + header.len() + 1).next_multiple_of(64) - 11;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((width as u16 + 1).to_le_bytes());
    bytes.extend(format!("{header:width$}\n").bytes());
    let numbers: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
    bytes.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
    bytes
}

/// An archive of arrays, stored or deflated.
pub fn npz(path: &Path, arrays: &[(&str, Vec<u8>)], deflated: bool) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let method = if deflated { CompressionMethod::Deflated } else { CompressionMethod::Stored };
    let mut archive = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    for (name, bytes) in arrays {
        archive.start_file(format!("{name}.npy"), SimpleFileOptions::default().compression_method(method)).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap();
}

/// The transcoders of a folder in circuit-tracer's layout, per layer or cross-layer.
pub fn read(folder: &Path, n_layers: usize) -> Vec<Tensors> {
    let load = |file: String| candle_core::safetensors::load(folder.join(file), &Device::Cpu);
    let layer = |l: usize| {
        let tensors = load(format!("layer_{l}.safetensors")).or_else(|_| -> candle_core::Result<Tensors> {
            let mut both = load(format!("W_enc_{l}.safetensors"))?;
            both.extend(load(format!("W_dec_{l}.safetensors"))?);
            Ok(both.into_iter().map(|(name, t)| (name.trim_end_matches(&format!("_{l}")).to_owned(), t)).collect())
        });
        tensors.unwrap()
    };
    (0..n_layers).map(layer).collect()
}

/// The transpose of one of the tensors.
pub fn turned(t: &Tensor) -> Tensor {
    t.t().unwrap().contiguous().unwrap()
}

/// circuit-tracer's own layout, its files under names that its config lists.
pub fn circuit_tracer(folder: &Path, layers: &[Tensors], hooks: (&str, &str), activation: &str) {
    let files: Vec<String> = (0..layers.len()).map(|l| format!("  - parts/number_{l}.safetensors\n")).collect();
    let config = format!(
        "model_kind: transcoder_set # of one kind\nfeature_input_hook: \"{}\"\nfeature_output_hook: {}\n\
         activation: {activation}\ntranscoders:\n{}",
        hooks.0,
        hooks.1,
        files.concat()
    );
    text(&folder.join("config.yaml"), &config);
    for (l, tensors) in layers.iter().enumerate() {
        let tensors = tensors.iter().map(|(name, t)| (name.as_str(), t.clone()));
        safetensors(&folder.join(format!("parts/number_{l}.safetensors")), tensors);
    }
}

/// The arrays of Gemma Scope's archives.
pub fn arrays(tensors: &Tensors) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("W_enc", npy(&turned(&tensors["W_enc"]))),
        ("W_dec", npy(&tensors["W_dec"])),
        ("b_enc", npy(&tensors["b_enc"])),
        ("b_dec", npy(&tensors["b_dec"])),
        ("threshold", npy(&tensors["activation_function.threshold"])),
    ]
}

/// Gemma Scope: a folder for each layer, width and sparsity.
pub fn gemma_scope(folder: &Path, layers: &[Tensors], deflated: bool) {
    for (l, tensors) in layers.iter().enumerate() {
        let path = folder.join(format!("layer_{l}/width_64/average_l0_{}/params.npz", 9 + l));
        npz(&path, &arrays(tensors), deflated);
    }
}

/// Gemma Scope 2: a folder for each layer, with the modules that it reads and writes at.
pub fn gemma_scope_2(folder: &Path, layers: &[Tensors]) {
    for (l, tensors) in layers.iter().enumerate() {
        let inside = folder.join(format!("transcoder_all/layer_{l}_width_16k_l0_small"));
        let config = format!(
            r#"{{"hf_hook_point_in": "model.layers.{l}.pre_feedforward_layernorm.output",
                "hf_hook_point_out": "model.layers.{l}.post_feedforward_layernorm.output", "width": 64,
                "architecture": "jump_relu", "l0": 10, "type": "transcoder"}}"#
        );
        text(&inside.join("config.json"), &config);
        let mut parts = vec![
            ("w_enc", turned(&tensors["W_enc"])),
            ("w_dec", tensors["W_dec"].clone()),
            ("b_enc", tensors["b_enc"].clone()),
            ("b_dec", tensors["b_dec"].clone()),
            ("threshold", tensors["activation_function.threshold"].clone()),
        ];
        parts.extend(tensors.get("W_skip").map(|w| ("affine_skip_connection", turned(w))));
        safetensors(&inside.join("params.safetensors"), parts);
    }
}

/// SAELens: a folder for each layer, with `cfg.json`; `nested` puts the hooks where SAELens 6 does.
pub fn sae_lens(folder: &Path, layers: &[Tensors], hooks: (&str, &str), nested: bool) {
    for (l, tensors) in layers.iter().enumerate() {
        let inside = folder.join(format!("blocks.{l}"));
        let jump = tensors.contains_key("activation_function.threshold");
        let skip = tensors.contains_key("W_skip");
        let architecture = match (jump, skip) {
            (false, false) => "transcoder",
            (false, true) => "skip_transcoder",
            (true, false) => "jumprelu_transcoder",
            (true, true) => "jumprelu_skip_transcoder",
        };
        let hooks = format!(r#""hook_name": "blocks.{l}.{}", "hook_name_out": "blocks.{l}.{}""#, hooks.0, hooks.1);
        let hooks = if nested { format!(r#""metadata": {{{hooks}}}"#) } else { hooks };
        let config = format!(
            r#"{{"architecture": "{architecture}", "d_in": 64, "d_sae": 64, "d_out": 64, "dtype": "float32",
                "apply_b_dec_to_input": false, "normalize_activations": "none", "reshape_activations": "none", {hooks}}}"#
        );
        text(&inside.join("cfg.json"), &config);
        let mut parts = vec![
            ("W_enc", turned(&tensors["W_enc"])),
            ("W_dec", tensors["W_dec"].clone()),
            ("b_enc", tensors["b_enc"].clone()),
            ("b_dec", tensors["b_dec"].clone()),
        ];
        parts.extend(tensors.get("activation_function.threshold").map(|t| ("threshold", t.clone())));
        parts.extend(tensors.get("W_skip").map(|t| ("W_skip", t.clone())));
        safetensors(&inside.join("sae_weights.safetensors"), parts);
    }
}

/// sparsify's layout: the `k` greatest features of each layer, thresholds left out.
pub fn sparsify(folder: &Path, layers: &[Tensors], k: usize) {
    for (l, tensors) in layers.iter().enumerate() {
        let folder = folder.join(format!("layers.{l}.mlp"));
        let config = format!(
            r#"{{"activation": "topk", "expansion_factor": 1, "normalize_decoder": true, "num_latents": 0, "k": {k}, "multi_topk": false,
            "skip_connection": false, "transcode": true, "d_in": 64}}"#
        );
        text(&folder.join("cfg.json"), &config);
        let names = [("encoder.weight", "W_enc"), ("encoder.bias", "b_enc"), ("W_dec", "W_dec"), ("b_dec", "b_dec")];
        safetensors(&folder.join("sae.safetensors"), names.map(|(to, from)| (to, tensors[from].clone())));
    }
}
