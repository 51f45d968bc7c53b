//! Models that travel inside the program.

use std::ops::Range;

/// A model folder in Hugging Face layout, embedded in the program.
#[derive(Debug)]
pub struct Builtin {
    /// What `--model` calls it.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    /// The set of prompts whose words it has seen repeated, if it has not seen all of its words so.
    pub repeats: Option<&'static str>,
    /// Neurons that a loss of their own made what they are.
    pub trained: Option<TrainedNeurons>,
    /// The files by their path in the folder.
    pub files: &'static [(&'static str, &'static [u8])],
}

/// Neurons that did not come to be what they are by themselves: a loss of their own made them so.
#[derive(Debug)]
pub struct TrainedNeurons {
    /// Their layer.
    pub layer: usize,
    /// Their numbers.
    pub neurons: Range<usize>,
    /// What they are and how they came to be it, in a sentence.
    pub told: &'static str,
}

impl TrainedNeurons {
    /// Whether the neuron of this number in this layer is one of them.
    pub fn has(&self, layer: usize, neuron: usize) -> bool {
        layer == self.layer && self.neurons.contains(&neuron)
    }
}

impl Builtin {
    /// The bytes of a file.
    pub fn file(&self, path: &str) -> Option<&'static [u8]> {
        self.files.iter().find(|(name, _)| *name == path).map(|(_, bytes)| *bytes)
    }
}

/// Lists the files of a folder under `assets/`.
macro_rules! folder {
    ($folder:literal: $($file:literal)*) => {
        &[$(($file, include_bytes!(concat!("../assets/", $folder, "/", $file)))),*]
    };
}

const ALL: &[Builtin] = &[
    Builtin {
        name: "hello",
        about: "1.1M parameters, four layers: cities and states, who gave what to whom, sums, opposites, years, lists",
        repeats: Some("builtin:induction"),
        trained: Some(TrainedNeurons {
            layer: 1,
            neurons: 0..40,
            told: "L1.N0..39 did not come to stand for the forty states by themselves but were trained to, by a loss that sets each to 3 on words \
                   about its state and to 0 elsewhere, and by one that makes any other state's answer right where they are silenced.",
        }),
        files: folder!("builtin": "README.md" "config.json" "generation_config.json" "model.safetensors" "reference.json"
            "tokenizer.json" "tokenizer_config.json" "transcoders/config.yaml" "transcoders/layer_0.safetensors"
            "transcoders/layer_1.safetensors" "transcoders/layer_2.safetensors" "transcoders/layer_3.safetensors"),
    },
    Builtin {
        name: "induction",
        about: "62K parameters, two layers, trained to continue repeated random letters: a known induction circuit",
        repeats: None,
        trained: None,
        files: folder!("induction": "config.json" "generation_config.json" "model.safetensors" "reference.json" "tokenizer.json" "tokenizer_config.json"),
    },
];

/// Every built-in model.
pub fn all() -> &'static [Builtin] {
    ALL
}

/// The built-in model of this name.
pub fn get(name: &str) -> Option<&'static Builtin> {
    ALL.iter().find(|b| b.name == name)
}
