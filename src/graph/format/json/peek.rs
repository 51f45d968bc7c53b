//! What a file says of its making, without reading the graph: for those who open a model first.

use std::io::BufReader;
use std::path::Path;

use serde::Deserialize;

use super::guard::StringGuard;
use crate::files::open_regular;

/// What a graph was made with, as far as its file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MadeWith {
    /// The model.
    pub model: Option<String>,
    /// The dictionary whose features are nodes.
    pub dictionary: Option<String>,
    /// The prompt.
    pub prompt: Option<String>,
}

#[derive(Deserialize)]
struct Top {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    mechscope: Private,
}

#[derive(Default, Deserialize)]
struct Metadata {
    scan: Option<String>,
    prompt: Option<String>,
}

#[derive(Default, Deserialize)]
struct Private {
    model: Option<String>,
    dictionary: Option<String>,
}

/// Model, dictionary and prompt of a file. Nothing is said of one that cannot be read: opening it will.
pub fn made_with(path: &Path) -> MadeWith {
    let found = open_regular(path).ok().and_then(|file| {
        let input = BufReader::with_capacity(1 << 16, StringGuard::new(file));
        serde_json::from_reader::<_, Top>(input).ok()
    });
    let Some(Top { metadata, mechscope }) = found else { return MadeWith::default() };
    let prompt = metadata.prompt.filter(|prompt| !prompt.is_empty());
    MadeWith { model: mechscope.model.or(metadata.scan), dictionary: mechscope.dictionary, prompt }
}
