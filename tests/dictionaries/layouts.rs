//! The same transcoder in every layout gives the same graph, to the bit.

use super::common::{open, test_data};
use super::write::{self, Tensors};
use candle_core::{Device, Tensor};
use mechscope::analysis::attribution_graph::{GraphSettings, LogitTarget, build};
use mechscope::graph::{Graph, NodeKind};
use mechscope::model::Model;
use mechscope::model::dictionary::Dictionary;
use mechscope::model::forward::Logits;
use mechscope::model::site::Sites;
use mechscope::model::source::Source;
use std::path::Path;

const IDS: [u32; 7] = [3, 60, 9, 120, 33, 60, 9];

fn graph(model: &Model, dictionary: &Dictionary) -> Graph {
    let targets = vec![LogitTarget { name: "x".into(), weights: vec![(7, 1.0)], probability: 1.0 }];
    let settings = GraphSettings { zero_positions: 1, ..GraphSettings::default() };
    build(model, &model.pieces(&IDS), Some(dictionary), &targets, settings, &mut |_, _| Ok(())).unwrap()
}

fn assert_same(model: &Model, folders: &[&Path]) {
    let graphs: Vec<Graph> =
        folders.iter().map(|f| graph(model, &Dictionary::open(f, &model.decoder).unwrap())).collect();
    let first = &graphs[0];
    let features = first.nodes.iter().filter(|n| n.kind == NodeKind::Feature).count();
    assert!(features > 20 && first.edges.len() > 200, "{features} features, {} edges", first.edges.len());
    assert!(first.failed_certificates().count() == 0);
    for (graph, folder) in graphs.iter().zip(folders).skip(1) {
        assert_eq!(graph.nodes, first.nodes, "{}", folder.display());
        assert_eq!(graph.edges, first.edges, "{}", folder.display());
    }
}

fn gemma() -> (Model, Vec<Tensors>) {
    let model = open(&test_data().join("models/tiny-gemma2"));
    let layers = write::read(&test_data().join("transcoders/tiny-gemma2-gscope"), model.decoder.arch.n_layers);
    (model, layers)
}

/// A matrix of small numbers that differ.
fn skip(d: usize) -> Tensor {
    let numbers: Vec<f32> = (0..d * d).map(|i| ((i * 37 + i / d * 11) % 101) as f32 / 1010.0 - 0.05).collect();
    Tensor::from_vec(numbers, (d, d), &Device::Cpu).unwrap()
}

#[test]
fn jumping_transcoders_in_five_layouts() {
    let (model, layers) = gemma();
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    let hooks = ("ln2.hook_normalized", "hook_mlp_out");
    write::circuit_tracer(&at("listed"), &layers, hooks, "jumprelu");
    write::gemma_scope(&at("stored"), &layers, false);
    write::gemma_scope(&at("deflated"), &layers, true);
    write::sae_lens(&at("six"), &layers, hooks, true);
    write::sae_lens(&at("five"), &layers, hooks, false);
    let own = test_data().join("transcoders/tiny-gemma2-gscope");
    assert_same(&model, &[&own, &at("listed"), &at("stored"), &at("deflated"), &at("six"), &at("five")]);
}

#[test]
fn a_config_beside_gemma_scopes_archives_says_where_they_read() {
    let (model, layers) = gemma();
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    write::circuit_tracer(&at("listed"), &layers, ("mlp.hook_in", "mlp.hook_out"), "jumprelu");
    write::gemma_scope(&at("stored"), &layers, false);
    write::text(&at("stored/config.yaml"), "feature_input_hook: mlp.hook_in\nfeature_output_hook: mlp.hook_out\n");
    assert_same(&model, &[&at("listed"), &at("stored")]);
}

#[test]
fn a_list_leads_to_archives_in_the_folder() {
    let (model, layers) = gemma();
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    write::circuit_tracer(&at("own"), &layers, ("ln2.hook_normalized", "hook_mlp_out"), "jumprelu");
    write::gemma_scope(&at("scope"), &layers, true);
    // A second choice for layer 0, which only a list can tell from the first.
    write::npz(&at("scope/layer_0/width_64/average_l0_99/params.npz"), &write::arrays(&layers[1]), false);
    let files: Vec<String> =
        (0..layers.len()).map(|l| format!("- layer_{l}/width_64/average_l0_{}/params.npz\n", 9 + l)).collect();
    let config = "feature_input_hook: ln2.hook_normalized\nfeature_output_hook: hook_mlp_out\ntranscoders:\n";
    write::text(&at("scope/config.yaml"), &format!("{config}{}", files.concat()));
    assert_same(&model, &[&at("own"), &at("scope")]);
}

// Checks T7 of ARCHITECTURE.md.
#[test]
fn skips_in_three_layouts() {
    let (model, mut layers) = gemma();
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    for tensors in &mut layers {
        tensors.insert("W_skip".into(), skip(64));
    }
    write::circuit_tracer(&at("own"), &layers, ("mlp.hook_in", "hook_mlp_out"), "jumprelu");
    write::gemma_scope_2(&at("two"), &layers);
    write::sae_lens(&at("lens"), &layers, ("mlp.hook_in", "hook_mlp_out"), true);
    assert_same(&model, &[&at("own"), &at("two"), &at("lens")]);

    let model = open(&test_data().join("models/tiny-gpt2"));
    let mut layers = write::read(&test_data().join("transcoders/tiny-gpt2"), model.decoder.arch.n_layers);
    for tensors in &mut layers {
        tensors.insert("W_skip".into(), skip(48));
    }
    write::circuit_tracer(&at("gpt2"), &layers, ("ln2.hook_normalized", "hook_mlp_out"), "relu");
    write::sae_lens(&at("gpt2-lens"), &layers, ("ln2.hook_normalized", "hook_mlp_out"), true);
    assert_same(&model, &[&at("gpt2"), &at("gpt2-lens")]);
}

// Checks T7 of ARCHITECTURE.md.
#[test]
fn cross_layer_transcoders_in_both_layouts() {
    let model = open(&test_data().join("models/tiny-llama"));
    let own = test_data().join("transcoders/tiny-llama-clt");
    let n_layers = model.decoder.arch.n_layers;
    let layers = write::read(&own, n_layers);
    let temp = tempfile::tempdir().unwrap();
    for (name, every) in [("above", false), ("every", true)] {
        let folder = temp.path().join(name);
        // The points are circuit-tracer's to say: its repositories hold a config.yaml for these files.
        let config = "model_kind: cross_layer_transcoder\nfeature_input_hook: hook_resid_mid\n\
                      feature_output_hook: hook_mlp_out\n";
        write::text(&folder.join("config.yaml"), config);
        for (l, tensors) in layers.iter().enumerate() {
            let w_dec = &tensors["W_dec"];
            let features = w_dec.dim(0).unwrap();
            // What stands below a feature's own layer is not used.
            let below = Tensor::full(9f32, (features, l, 64), &Device::Cpu).unwrap();
            let w_dec = if every { Tensor::cat(&[&below, w_dec], 1).unwrap() } else { w_dec.clone() };
            let zero = Tensor::zeros(features, candle_core::DType::F32, &Device::Cpu).unwrap();
            let parts = [
                ("w_enc", write::turned(&tensors["W_enc"])),
                ("w_dec", w_dec),
                ("b_enc", tensors["b_enc"].clone()),
                ("b_dec", tensors["b_dec"].clone()),
                ("threshold", zero),
            ];
            write::safetensors(&folder.join(format!("params_layer_{l}.safetensors")), parts);
        }
    }
    assert_same(&model, &[&own, &temp.path().join("above"), &temp.path().join("every")]);
}

/// Transcoders of another model may have the right shapes; only their config tells.
#[test]
fn a_config_that_names_another_model_is_a_warning() {
    let (model, layers) = gemma();
    let temp = tempfile::tempdir().unwrap();
    write::circuit_tracer(temp.path(), &layers, ("mlp.hook_in", "mlp.hook_out"), "jumprelu");
    let config = temp.path().join("config.yaml");
    let text = std::fs::read_to_string(&config).unwrap();
    let open = || Dictionary::open(temp.path(), &model.decoder).unwrap();
    assert_eq!((open().trained_on.as_ref(), open().of_another_model(&model.source)), (None, None));
    let named = |trained_on: &str, source: &Source| {
        write::text(&config, &format!("model_name: {trained_on}\n{text}"));
        open().of_another_model(source)
    };
    let folder = |name: &str, path: &str| Source::Folder { name: name.into(), path: path.into() };
    for same in ["tiny-gemma2", "google/tiny-gemma2", "Google/Tiny-Gemma2"] {
        assert_eq!(named(same, &model.source), None, "{same}");
        assert_eq!(named(same, &folder("google/tiny-gemma2@main", "/x/snapshots/1f")), None, "{same}");
        assert_eq!(named(same, &folder("1f", "/hub/models--google--tiny-gemma2/snapshots/1f")), None, "{same}");
    }
    let warning = named("google/gemma-2-2b", &model.source).unwrap();
    assert!(warning.contains("trained on google/gemma-2-2b, the model is ") && warning.contains("tiny-gemma2"));
    assert!(named("tiny-gemma2", &folder("gemma2", "/models/gemma2")).is_some());
}

#[test]
fn a_built_in_model_brings_its_own() {
    let model = Model::open("hello", Default::default(), Box::new(|_, _| {})).unwrap();
    let builtin = mechscope::builtin::get("hello").unwrap();
    let own = Dictionary::built_in(builtin, &model.decoder).unwrap().unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/builtin/transcoders");
    let same = Dictionary::open(&folder, &model.decoder).unwrap();
    let (a, b) = (graph(&model, &own), graph(&model, &same));
    assert_eq!((&a.nodes, &a.edges), (&b.nodes, &b.edges));
    let other = mechscope::builtin::get("induction").unwrap();
    let model = Model::open("induction", Default::default(), Box::new(|_, _| {})).unwrap();
    assert!(Dictionary::built_in(other, &model.decoder).unwrap().is_none());
}

#[test]
fn in_sparsify_the_greatest_above_zero_are_on() {
    const K: usize = 7;
    let (model, layers) = gemma();
    let temp = tempfile::tempdir().unwrap();
    write::sparsify(temp.path(), &layers, K);
    let dictionary = Dictionary::open(temp.path(), &model.decoder).unwrap();
    let arch = &model.decoder.arch;
    let sites = (0..arch.n_layers).flat_map(|l| dictionary.read_sites(l, false));
    let run = model.run(&IDS, &Sites::only(sites), Logits::Last).unwrap();
    for (l, tensors) in layers.iter().enumerate() {
        let x = dictionary.input(l, false, &run).unwrap();
        let found = dictionary.encode(l, &x).unwrap();
        let x = Tensor::from_vec(x, (IDS.len(), arch.d_model), &Device::Cpu).unwrap();
        let pre = x.matmul(&tensors["W_enc"].t().unwrap()).unwrap().broadcast_add(&tensors["b_enc"]).unwrap();
        for (position, pre) in pre.to_vec2::<f32>().unwrap().into_iter().enumerate() {
            let mut order: Vec<usize> = (0..pre.len()).filter(|f| pre[*f] > 0.0).collect();
            order.sort_by(|a, b| pre[*b].total_cmp(&pre[*a]));
            order.truncate(K);
            order.sort_unstable();
            let on: Vec<usize> = found.iter().filter(|a| a.position == position).map(|a| a.feature).collect();
            assert_eq!(on, order, "layer {l}, position {position}");
        }
    }
}

/// The share of what the MLPs write, from the tensors themselves.
#[test]
fn the_share_explained_is_that_of_the_weights() {
    let (model, layers) = gemma();
    let own = test_data().join("transcoders/tiny-gemma2-gscope");
    let dictionary = Dictionary::open(&own, &model.decoder).unwrap();
    let arch = &model.decoder.arch;
    let run = model.run(&IDS, &Sites::only(dictionary.explained_sites(&model.decoder)), Logits::Last).unwrap();
    let found = dictionary.explained(&model.decoder, &run, &mut |_, _| Ok(())).unwrap().unwrap();
    let graph = graph(&model, &dictionary);
    let listed = mechscope::analysis::attribution_graph::explained(&graph).unwrap();
    for (l, tensors) in layers.iter().enumerate() {
        let x = dictionary.input(l, false, &run).unwrap();
        let y = run.numbers(dictionary.written_site(l, &model.decoder)).unwrap();
        let (w, b) = (tensors["W_dec"].to_vec2::<f32>().unwrap(), tensors["b_dec"].to_vec1::<f32>().unwrap());
        let mut made = vec![b; IDS.len()];
        for a in dictionary.encode(l, &x).unwrap() {
            made[a.position].iter_mut().zip(&w[a.feature]).for_each(|(m, w)| *m += a.activation * w);
        }
        let (d, n) = (arch.d_model, IDS.len());
        let mean = |i: usize| (1..n).map(|p| y[p * d + i]).sum::<f32>() / (n - 1) as f32;
        let means: Vec<f32> = (0..d).map(mean).collect();
        let sum = |of: &dyn Fn(usize, usize) -> f32| -> f32 {
            (1..n).flat_map(|p| (0..d).map(move |i| (p, i))).map(|(p, i)| (y[p * d + i] - of(p, i)).powi(2)).sum()
        };
        let want = 1.0 - sum(&|p, i| made[p][i]) / sum(&|_, i| means[i]);
        assert!(
            (found.layers()[l] - want).abs() < 1e-3 * want.abs().max(1.0),
            "layer {l}: {} for {want}",
            found.layers()[l]
        );
        assert!((listed.layers()[l] - want).abs() < 1e-3 * want.abs().max(1.0), "layer {l} of the graph");
    }
}
