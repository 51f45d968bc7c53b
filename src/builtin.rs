//! Models that travel inside the program.

/// A model folder in Hugging Face layout, embedded in the program.
#[derive(Debug)]
pub struct Builtin {
    /// What `--model` calls it.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    /// The files by their path in the folder.
    pub files: &'static [(&'static str, &'static [u8])],
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
        files: folder!("builtin": "README.md" "config.json" "generation_config.json" "model.safetensors" "reference.json"
            "tokenizer.json" "tokenizer_config.json" "transcoders/config.yaml" "transcoders/layer_0.safetensors"
            "transcoders/layer_1.safetensors" "transcoders/layer_2.safetensors" "transcoders/layer_3.safetensors"),
    },
    Builtin {
        name: "induction",
        about: "62K parameters, two layers, trained to continue repeated random letters: a known induction circuit",
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
