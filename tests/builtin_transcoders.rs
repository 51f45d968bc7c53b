//! The shipped transcoders stand in for the MLPs.

// The numbers are worth reading when a test fails.
#![allow(clippy::print_stdout)]

#[allow(dead_code, missing_docs)]
#[path = "../examples/common/training.rs"]
mod training;

use std::path::Path;

use mechscope::model::Model;
use mechscope::model::dictionary::Dictionary;
use mechscope::model::forward::Logits;
use mechscope::model::open::Options;
use mechscope::model::site::Sites;
use mechscope::model::text::Bos;
use tokenizers::Tokenizer;
use training::corpus::CorpusSplit;
use training::folder;
use training::layout::Layout;
use training::score::{exams, probabilities, top};
use training::text::Encoder;
use training::transcoder::Transcoder;

#[test]
fn answers_stay_the_same_without_any_mlp() {
    let hello = mechscope::builtin::get("hello").unwrap();
    let file = |name: &str| hello.file(name).unwrap_or_else(|| panic!("{name} is missing"));
    let layout = Layout::new(folder::shape(file("config.json")).unwrap());
    let params = folder::read(file("model.safetensors"), &layout, "").unwrap();
    let transcoders: Vec<Transcoder> = (0..layout.shape.n_layers)
        .map(|layer| Transcoder::read(file(&format!("transcoders/layer_{layer}.safetensors"))).unwrap())
        .collect();
    let mut encoder = Encoder::new(Tokenizer::from_bytes(file("tokenizer.json")).unwrap()).unwrap();
    for exam in exams(500, 37, &mut encoder).unwrap() {
        if exam.split == CorpusSplit::Seen {
            continue;
        }
        let replace = |layer: usize, input: &[f32], out: &mut [f32]| {
            transcoders[layer].decode(&transcoders[layer].encode(input), out);
        };
        let nothing = |_: usize, _: &[f32], out: &mut [f32]| out.fill(0.0);
        let (mut same, mut without, mut all) = (0, 0, 0);
        for batch in &exam.batches {
            let model = probabilities(&layout, &params, batch, None);
            let replaced = probabilities(&layout, &params, batch, Some(&replace));
            let removed = probabilities(&layout, &params, batch, Some(&nothing));
            all += model.len();
            for (row, model) in model.iter().enumerate() {
                same += usize::from(top(model) == top(&replaced[row]));
                without += usize::from(top(model) == top(&removed[row]));
            }
        }
        println!("{:<13} same answer {same} of {all}; with MLPs removed {without}", exam.family.name());
        assert!(same * 10 >= all * 9, "{}: {same} of {all}", exam.family.name());
        // Otherwise standing in for the MLPs would be no achievement.
        assert!(without * 2 < all, "{}: {without} of {all} without MLPs", exam.family.name());
    }
}

#[test]
fn the_dictionary_reader_finds_the_same_features() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/builtin/transcoders");
    let model = Model::open("hello", Options::default(), Box::new(|_, _| {})).unwrap();
    let dictionary = Dictionary::open(&folder, &model.decoder).unwrap();
    let ids = model.encode("The capital of the state containing Dallas is", Bos::Auto).unwrap().ids();
    for layer in 0..model.decoder.arch.n_layers {
        let bytes = std::fs::read(folder.join(format!("layer_{layer}.safetensors"))).unwrap();
        let transcoder = Transcoder::read(&bytes).unwrap();
        let sites = dictionary.read_sites(layer, false);
        let run = model.run(&ids, &Sites::only(sites), Logits::Last).unwrap();
        let input = dictionary.input(layer, false, &run).unwrap();
        let expected = transcoder.encode(&input);
        let found = dictionary.encode(layer, &input).unwrap();
        // At zero, rounding decides whether a feature is on.
        let on = |value: &&f32| **value > 1e-4;
        assert_eq!(found.iter().filter(|unit| unit.activation > 1e-4).count(), expected.iter().filter(on).count());
        for unit in found {
            let other = expected[unit.position * transcoder.n_features + unit.feature];
            assert!((unit.activation - other).abs() < 1e-4, "{} and {other}", unit.activation);
        }
    }
}
