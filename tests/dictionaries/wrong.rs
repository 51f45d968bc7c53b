//! Wrong files: one error each, naming the file, what was found and what is accepted.

use super::common::{open, test_data};
use super::write::{self, Tensors};
use candle_core::{DType, Device, Tensor};
use mechscope::model::Model;
use mechscope::model::dictionary::Dictionary;
use std::path::Path;

/// Spoils a folder.
type Spoil = fn(&Path, &[Tensors]);

fn model() -> (Model, Vec<Tensors>) {
    let model = open(&test_data().join("models/tiny-gemma2"));
    let layers = write::read(&test_data().join("transcoders/tiny-gemma2-gscope"), model.decoder.arch.n_layers);
    (model, layers)
}

const HOOKS: (&str, &str) = ("ln2.hook_normalized", "hook_mlp_out");

fn replace(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{}: {from}", path.display());
    std::fs::write(path, text.replace(from, to)).unwrap();
}

fn narrow() -> Tensor {
    Tensor::zeros((64, 32), DType::F32, &Device::Cpu).unwrap()
}

fn with_nan() -> Tensor {
    let mut numbers = vec![0.5f32; 64];
    numbers[17] = f32::NAN;
    Tensor::from_vec(numbers, 64, &Device::Cpu).unwrap()
}

/// Layer 2 of a Gemma Scope folder with one array exchanged or left out.
fn scope_with(folder: &Path, layers: &[Tensors], name: &str, bytes: Option<Vec<u8>>) {
    let mut arrays = write::arrays(&layers[2]);
    match bytes {
        Some(bytes) => arrays.iter_mut().filter(|a| a.0 == name).for_each(|a| a.1 = bytes.clone()),
        None => arrays.retain(|a| a.0 != name),
    }
    write::npz(&folder.join("layer_2/width_64/average_l0_11/params.npz"), &arrays, false);
}

fn check(layout: fn(&Path, &[Tensors]), cases: &[(Spoil, &[&str])]) {
    let (model, layers) = model();
    for (spoil, says) in cases {
        let temp = tempfile::tempdir().unwrap();
        layout(temp.path(), &layers);
        Dictionary::open(temp.path(), &model.decoder).unwrap();
        spoil(temp.path(), &layers);
        let Err(error) = Dictionary::open(temp.path(), &model.decoder) else { panic!("{says:?} was accepted") };
        let text = format!("{error:#}");
        assert!(says.iter().all(|part| text.contains(part)), "{text}\nlacks one of {says:?}");
        assert!(!text.contains('\n') && text.contains(&temp.path().display().to_string()), "{text}");
    }
}

#[test]
fn of_gemma_scope() {
    let npz = |folder: &Path| folder.join("layer_2/width_64/average_l0_11/params.npz");
    assert!(npz(Path::new("x")).ends_with("params.npz"));
    check(
        |folder, layers| write::gemma_scope(folder, layers, false),
        &[
            (
                |folder, _| {
                    let path = folder.join("layer_2/width_64/average_l0_11/params.npz");
                    let bytes = std::fs::read(&path).unwrap();
                    std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
                },
                &["average_l0_11/params.npz", "truncated"],
            ),
            (
                |folder, _| std::fs::write(folder.join("layer_2/width_64/average_l0_11/params.npz"), "").unwrap(),
                &["no zip archive"],
            ),
            (
                |folder, _| std::fs::remove_dir_all(folder.join("layer_3")).unwrap(),
                &["layer 3 has no transcoder", "4 layers"],
            ),
            // A small file that would fill the disk.
            (
                |folder, layers| {
                    let mut arrays = write::arrays(&layers[2]);
                    arrays.push(("W_skip", vec![0; 65 << 20]));
                    write::npz(&folder.join("layer_2/width_64/average_l0_11/params.npz"), &arrays, true);
                },
                &["params.npz", "array \"W_skip\"", "to 68157440 bytes", "accepted: at most 67108864"],
            ),
            (
                |folder, layers| scope_with(folder, layers, "threshold", None),
                &["params.npz", "\"threshold\" is missing"],
            ),
            (|folder, layers| scope_with(folder, layers, "W_enc", None), &["params.npz", "\"W_enc\" is missing"]),
            (
                |folder, layers| scope_with(folder, layers, "threshold", Some(write::npy(&with_nan()))),
                &["params.npz", "\"threshold\"", "NaN", "element 17"],
            ),
            (
                |folder, layers| scope_with(folder, layers, "W_dec", Some(write::npy(&narrow()))),
                &["\"W_dec\" has shape [64, 32]", "accepted: [64, 64]"],
            ),
            (
                |folder, layers| {
                    let bytes = write::npy(&layers[2]["W_dec"]);
                    scope_with(folder, layers, "W_dec", Some(bytes[..bytes.len() - 4].to_vec()));
                },
                &["array \"W_dec\"", "shape [64, 64]", "truncated"],
            ),
            (
                |folder, layers| {
                    let bytes = String::from_utf8_lossy(&write::npy(&layers[2]["b_dec"])[..80]).replace("<f4", "<i4");
                    scope_with(folder, layers, "b_dec", Some(bytes.into_bytes()));
                },
                &["array \"b_dec\""],
            ),
            (
                |folder, layers| {
                    let mut bytes = write::npy(&layers[2]["b_dec"]);
                    let at = bytes.windows(3).position(|w| w == b"<f4").unwrap();
                    bytes[at + 1] = b'i';
                    scope_with(folder, layers, "b_dec", Some(bytes));
                },
                &["array \"b_dec\"", "dtype \"<i4\"", "accepted: <f4, <f2, <f8"],
            ),
            (
                |folder, layers| {
                    let mut bytes = write::npy(&layers[2]["W_dec"]);
                    let at = bytes.windows(5).position(|w| w == b"False").unwrap();
                    bytes[at..at + 5].copy_from_slice(b"True ");
                    scope_with(folder, layers, "W_dec", Some(bytes));
                },
                &["array \"W_dec\"", "Fortran order"],
            ),
            (
                |folder, layers| {
                    write::npz(
                        &folder.join("layer_1/width_64/average_l0_80/params.npz"),
                        &write::arrays(&layers[1]),
                        true,
                    )
                },
                &["layer 1 has several transcoders", "average_l0_10", "average_l0_80", "transcoders"],
            ),
            (
                |folder, layers| {
                    write::npz(
                        &folder.join("layer_4/width_64/average_l0_80/params.npz"),
                        &write::arrays(&layers[1]),
                        true,
                    )
                },
                &["layer_4", "layers 0..=3"],
            ),
        ],
    );
}

#[test]
fn of_gemma_scope_2() {
    const CONFIG: &str = "transcoder_all/layer_1_width_16k_l0_small/config.json";
    check(
        write::gemma_scope_2,
        &[
            (|folder, _| std::fs::remove_file(folder.join(CONFIG)).unwrap(), &["config.json is missing"]),
            (
                |folder, _| replace(&folder.join(CONFIG), "jump_relu", "swish"),
                &["config.json", "architecture \"swish\"", "accepted: jump_relu"],
            ),
            (
                |folder, _| replace(&folder.join(CONFIG), "pre_feedforward_layernorm.output", "output"),
                &["hf_hook_point_in", "model.layers.1.output", "accepted"],
            ),
            (|folder, _| replace(&folder.join(CONFIG), "layers.1.post", "layers.2.post"), &["points of one layer"]),
            (
                |folder, _| replace(&folder.join(CONFIG), "post_feedforward_layernorm", "mlp"),
                &["the same points in every layer"],
            ),
        ],
    );
}

#[test]
fn of_sae_lens() {
    const CONFIG: &str = "blocks.1/cfg.json";
    check(
        |folder, layers| write::sae_lens(folder, layers, HOOKS, true),
        &[
            (
                |folder, _| replace(&folder.join(CONFIG), "jumprelu_transcoder", "gated"),
                &["cfg.json", "architecture \"gated\"", "accepted: transcoder"],
            ),
            (
                |folder, _| replace(&folder.join(CONFIG), "\"none\"", "\"layer_norm\""),
                &["cfg.json", "normalize_activations \"layer_norm\"", "accepted: \"none\""],
            ),
            (|folder, _| replace(&folder.join(CONFIG), "false", "true"), &["apply_b_dec_to_input true"]),
            (
                |folder, _| replace(&folder.join(CONFIG), "ln2.hook_normalized", "hook_resid_post"),
                &["hook_name \"hook_resid_post\"", "accepted: mlp.hook_in"],
            ),
            (|folder, _| replace(&folder.join(CONFIG), "hook_name_out", "hook_out"), &["\"hook_name_out\" is missing"]),
            (|folder, _| std::fs::write(folder.join(CONFIG), "[1").unwrap(), &["cfg.json is not a JSON object"]),
            (
                |folder, _| std::fs::remove_file(folder.join("blocks.1/sae_weights.safetensors")).unwrap(),
                &["sae_weights.safetensors is missing"],
            ),
            // What a skip writes would be left out of the numbers, or was in no config.
            (
                |folder, _| replace(&folder.join(CONFIG), "jumprelu_transcoder", "jumprelu_skip_transcoder"),
                &["blocks.1/sae_weights.safetensors", "layer 1 has no \"W_skip\"", "config says so"],
            ),
            (
                |folder, layers| {
                    let mut layers = layers.to_vec();
                    layers[1].insert("W_skip".into(), Tensor::zeros((64, 64), DType::F32, &Device::Cpu).unwrap());
                    write::sae_lens(folder, &layers, HOOKS, true);
                    replace(&folder.join(CONFIG), "jumprelu_skip_transcoder", "jumprelu_transcoder");
                },
                &["blocks.1/sae_weights.safetensors", "layer 1 has \"W_skip\"", "config does not say so"],
            ),
            // A plain transcoder has no thresholds: they would be left out of the numbers.
            (
                |folder, _| replace(&folder.join(CONFIG), "jumprelu_transcoder", "transcoder"),
                &["layer 1 has \"threshold\"", "config does not say so"],
            ),
        ],
    );
}

#[test]
fn of_circuit_tracer() {
    const CONFIG: &str = "config.yaml";
    check(
        |folder, layers| write::circuit_tracer(folder, layers, HOOKS, "jumprelu"),
        &[
            (
                |folder, _| replace(&folder.join(CONFIG), "jumprelu", "swish"),
                &["config.yaml", "activation \"swish\"", "accepted: relu, jumprelu, topk"],
            ),
            (|folder, _| replace(&folder.join(CONFIG), "jumprelu", "topk"), &["field \"k\" is null"]),
            (
                |folder, _| replace(&folder.join(CONFIG), "  - parts/number_3.safetensors\n", ""),
                &["\"transcoders\" lists 3 files", "4 layers"],
            ),
            (
                |folder, _| replace(&folder.join(CONFIG), "number_3", "number_5"),
                &["number_5.safetensors is listed but not there"],
            ),
            (
                |folder, _| replace(&folder.join(CONFIG), "parts/number_3", "./parts/number_1"),
                &["\"transcoders\"", "number_1.safetensors is listed for layer 1 and for layer 3"],
            ),
            (|folder, _| replace(&folder.join(CONFIG), "parts/number_3", "hf://a/b/../c"), &["hf://a/b/../c"]),
            (
                |folder, _| replace(&folder.join(CONFIG), "feature_input_hook", "feature_hook"),
                &["\"feature_input_hook\" is missing"],
            ),
            (
                |folder, _| std::fs::remove_file(folder.join(CONFIG)).unwrap(),
                &[
                    "no transcoders; accepted: ",
                    "sae.safetensors with cfg.json (sparsify)",
                    "cfg.json with sae_weights.safetensors (SAELens)",
                    "params.npz (Gemma Scope)",
                    "params.safetensors with config.json (Gemma Scope 2)",
                    "config.json or config.yaml (circuit-tracer)",
                ],
            ),
        ],
    );
}

/// What is no transcoder is named as what it is.
#[test]
fn autoencoders() {
    const CONFIG: &str = "blocks.1/cfg.json";
    check(
        |folder, layers| write::sae_lens(folder, layers, HOOKS, true),
        &[
            (
                |folder, _| replace(&folder.join(CONFIG), "jumprelu_transcoder", "jumprelu"),
                &[
                    "cfg.json",
                    "architecture \"jumprelu\"",
                    "sparse autoencoder of \"blocks.1.ln2.hook_normalized\"",
                    "accepted: transcoder",
                ],
            ),
            (
                |folder, _| replace(&folder.join(CONFIG), "jumprelu_transcoder", "standard"),
                &["architecture \"standard\"", "sparse autoencoder"],
            ),
        ],
    );
    check(
        |folder, layers| write::circuit_tracer(folder, layers, HOOKS, "jumprelu"),
        &[(
            |folder, _| replace(&folder.join("config.yaml"), "ln2.hook_normalized", "hook_mlp_out"),
            &["config.yaml", "read and write \"hook_mlp_out\"", "sparse autoencoder"],
        )],
    );
    check(
        |folder, layers| write::sparsify(folder, layers, 7),
        &[
            (
                |folder, _| {
                    replace(&folder.join("layers.1.mlp/cfg.json"), "\"transcode\": true", "\"transcode\": false")
                },
                &["layers.1.mlp", "cfg.json", "sparse autoencoder of \"layers.1.mlp\""],
            ),
            (
                |folder, _| replace(&folder.join("layers.2.mlp/cfg.json"), "topk", "groupmax"),
                &["activation \"groupmax\"", "accepted: topk"],
            ),
            (|folder, _| replace(&folder.join("layers.2.mlp/cfg.json"), "\"k\": 7", "\"k\": 0"), &["field \"k\" is 0"]),
            (
                |folder, _| std::fs::rename(folder.join("layers.2.mlp"), folder.join("layers.2")).unwrap(),
                &["\"layers.2\" names no MLP", "accepted: layers.0.mlp"],
            ),
        ],
    );
}
