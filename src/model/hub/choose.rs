//! Which files of a repository are needed.

use super::listing::{File, Listing};
use super::name::Name;
use crate::model::dictionary;
use anyhow::{Result, bail, ensure};

/// The index of weights in several files.
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// What is read beside the weights, where it is there.
const BESIDE: [&str; 7] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
];

/// Where a model's weights are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Weights {
    /// In this file.
    One(String),
    /// In the parts of a split GGUF file.
    Parts(Vec<String>),
    /// In the files that the index lists.
    Index,
}

/// Chooses a model's weights.
///
/// # Errors
/// There are none, none that are read, or several to choose from.
pub(super) fn weights(listing: &Listing, name: &Name) -> Result<Weights> {
    let ending = |end: &str| -> Vec<&str> {
        let paths = listing.files.iter().map(|f| f.path.as_str());
        paths.filter(|p| p.to_ascii_lowercase().ends_with(end)).collect()
    };
    if let Some(path) = &name.path {
        ensure!(
            listing.get(path).is_some(),
            "{name}: {} has no file {path:?}; its GGUF files: {}",
            listing.repository,
            or_none(&ending(".gguf"))
        );
        return Ok(one_or_parts(path, &ending(".gguf")));
    }
    if listing.get("config.json").is_some() {
        for (file, weights) in [("model.safetensors", None), (INDEX, Some(Weights::Index))] {
            if listing.get(file).is_some() {
                return Ok(weights.unwrap_or_else(|| Weights::One(file.to_owned())));
            }
        }
    }
    let ggufs = ending(".gguf");
    if let Some(first) = ggufs.first() {
        let all = one_or_parts(first, &ggufs);
        let parts = if let Weights::Parts(parts) = &all { parts.len() } else { 1 };
        if parts == ggufs.len() {
            return Ok(all);
        }
        bail!(
            "{name} holds several models: {}; accepted: one of them, {}/{first}",
            ggufs.join(", "),
            listing.repository
        );
    }
    let pickles: Vec<&str> = [ending(".bin"), ending(".pt"), ending(".pth")].concat();
    if listing.get("adapter_config.json").is_some() {
        bail!("{name} is an adapter, not a model: merge it into its base model first, and open the result");
    }
    if let Some(pickle) = pickles.first() {
        bail!(
            "{name} has its weights as {pickle} alone, a pickle, which is not read; accepted: safetensors or GGUF. A converted \
             copy may be among the repository's pull requests: name it as {}@refs/pr/N",
            listing.repository
        );
    }
    bail!(
        "{name} holds no model: found {}; accepted: config.json with model.safetensors or {INDEX}, or a .gguf file",
        or_none(&listing.files.iter().take(8).map(|f| f.path.as_str()).collect::<Vec<_>>())
    )
}

/// A GGUF file, with its other parts where it is split: `name-00001-of-00003.gguf`.
fn one_or_parts(path: &str, all: &[&str]) -> Weights {
    let whole = |path: &str| {
        let (stem, count) = path.rsplit_once("-of-")?;
        let (stem, number) = stem.rsplit_once('-')?;
        number.bytes().all(|b| b.is_ascii_digit()).then(|| (stem.to_owned(), count.to_owned()))
    };
    match whole(path) {
        None => Weights::One(path.to_owned()),
        split => Weights::Parts(all.iter().filter(|p| whole(p) == split).map(|p| (*p).to_owned()).collect()),
    }
}

fn or_none(names: &[&str]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// What is needed beside a model's weights; a GGUF file holds all of it.
pub(super) fn beside<'a>(listing: &'a Listing, weights: &Weights) -> Vec<&'a File> {
    match weights {
        Weights::One(file) if file.ends_with(".safetensors") => {}
        Weights::Index => {}
        Weights::One(_) | Weights::Parts(_) => return Vec::new(),
    }
    BESIDE.iter().filter_map(|name| listing.get(name)).collect()
}

/// The files of a folder of transcoders: configs, then tensors.
pub(super) struct Dictionary<'a> {
    pub configs: Vec<&'a File>,
    pub tensors: Vec<&'a File>,
}

/// Chooses what a dictionary's folder may need.
///
/// # Errors
/// There is no such folder, or nothing in it.
pub(super) fn dictionary<'a>(listing: &'a Listing, name: &Name) -> Result<Dictionary<'a>> {
    let inside = |f: &&File| match &name.path {
        Some(folder) => f.path.strip_prefix(folder.as_str()).is_some_and(|rest| rest.starts_with('/')),
        None => true,
    };
    let last = |f: &File| f.path.rsplit('/').next().unwrap_or_default().to_owned();
    let (mut configs, mut tensors) = (Vec::new(), Vec::new());
    for file in listing.files.iter().filter(inside) {
        if dictionary::is_config(&last(file)) {
            configs.push(file);
        } else if dictionary::is_tensors(&file.path) {
            tensors.push(file);
        }
    }
    ensure!(
        !configs.is_empty() || !tensors.is_empty(),
        "{name} holds no transcoders: found {}; accepted: {}",
        or_none(&listing.files.iter().filter(inside).take(8).map(|f| f.path.as_str()).collect::<Vec<_>>()),
        dictionary::accepted_layouts()
    );
    Ok(Dictionary { configs, tensors })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(paths: &[&str]) -> Listing {
        let files = paths.iter().map(|p| File { path: (*p).into(), facts: None }).collect();
        Listing { repository: "o/n".into(), commit: "c".into(), files }
    }

    fn chosen(paths: &[&str], name: &str) -> Result<Weights, String> {
        weights(&listing(paths), &Name::parse(name).unwrap()).map_err(|e| e.to_string())
    }

    #[test]
    fn weights_are_chosen_as_they_are_opened() {
        let one = |file: &str| Ok(Weights::One(file.into()));
        let both = ["config.json", INDEX, "model.safetensors", "pytorch_model.bin", "x.gguf"];
        assert_eq!(chosen(&both, "o/n"), one("model.safetensors"));
        assert_eq!(chosen(&["config.json", INDEX, "model-1.safetensors"], "o/n"), Ok(Weights::Index));
        assert_eq!(chosen(&["README.md", "m-Q8_0.gguf"], "o/n"), one("m-Q8_0.gguf"));
        assert_eq!(chosen(&["a.gguf", "b.gguf"], "o/n/b.gguf"), one("b.gguf"));
        let split = ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"];
        let parts = || Ok(Weights::Parts(split.map(str::to_owned).into()));
        assert_eq!(chosen(&split, "o/n"), parts());
        assert_eq!(chosen(&[split[0], "q.gguf", split[1]], "o/n/m-00001-of-00002.gguf"), parts());
    }

    #[test]
    fn what_cannot_be_opened_is_said_before_it_is_fetched() {
        for (paths, says) in [
            (&["config.json", "pytorch_model.bin"][..], "as pytorch_model.bin alone, a pickle"),
            (&["a.gguf", "b.gguf"], "several models: a.gguf, b.gguf; accepted: one of them, o/n/a.gguf"),
            (&["adapter_config.json", "adapter_model.bin"], "is an adapter"),
            (&["README.md"], "holds no model: found README.md"),
        ] {
            let error = chosen(paths, "o/n").unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        assert!(chosen(&["a.gguf"], "o/n/c.gguf").unwrap_err().contains("no file \"c.gguf\"; its GGUF files: a.gguf"));
    }

    #[test]
    fn dictionaries_are_cut_to_their_folder() {
        let all =
            listing(&["README.md", "w16k/cfg.json", "w16k/a.safetensors", "w16k2/b.safetensors", "x.npz", "plot.png"]);
        let paths = |files: Vec<&File>| files.iter().map(|f| f.path.clone()).collect::<Vec<_>>();
        let found = dictionary(&all, &Name::parse("o/n/w16k").unwrap()).unwrap();
        assert_eq!(
            (paths(found.configs), paths(found.tensors)),
            (vec!["w16k/cfg.json".into()], vec!["w16k/a.safetensors".into()])
        );
        let whole = dictionary(&all, &Name::parse("o/n").unwrap()).unwrap();
        assert_eq!(paths(whole.tensors), ["w16k/a.safetensors", "w16k2/b.safetensors", "x.npz"]);
        assert!(dictionary(&all, &Name::parse("o/n/none").unwrap()).is_err());
    }
}
