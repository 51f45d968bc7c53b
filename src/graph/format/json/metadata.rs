//! The `metadata` object.

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};

use crate::graph::{Generator, Metadata};

/// Keys that Neuronpedia's schema requires.
const REQUIRED: [&str; 4] = ["slug", "scan", "prompt", "prompt_tokens"];

/// The required keys that are not there.
pub(super) fn missing(map: &Map<String, Value>) -> Vec<&'static str> {
    let keys = REQUIRED.into_iter();
    keys.filter(|key| !map.contains_key(*key)).collect()
}

/// Metadata from its object.
pub(super) fn read(mut map: Map<String, Value>) -> Result<Metadata> {
    let mut metadata = Metadata {
        slug: text(&mut map, "slug")?,
        scan: text(&mut map, "scan")?,
        prompt: text(&mut map, "prompt")?,
        prompt_tokens: tokens(&mut map)?,
        node_threshold: number(&mut map, "node_threshold")?,
        schema_version: match map.shift_remove("schema_version") {
            None | Some(Value::Null) => None,
            Some(value) => match value.as_u64() {
                Some(version) => Some(version),
                None => bail!("schema_version: found {value}, expected a whole number"),
            },
        },
        ..Metadata::default()
    };
    let pruning = map.get("pruning_settings");
    metadata.edge_threshold = pruning.and_then(|p| p.get("edge_threshold")?.as_f64());
    let generator = map.get("info").and_then(|info| info.get("generator"));
    metadata.generator = generator.and_then(|generator| {
        let text = |key| Some(generator.get(key)?.as_str()?.to_owned());
        Some(Generator { name: text("name")?, version: text("version").unwrap_or_default() })
    });
    metadata.extras = map;
    Ok(metadata)
}

/// The object; what the schema and circuit-tracer require is always there.
pub(super) fn write(metadata: &Metadata) -> Map<String, Value> {
    let mut map = Map::new();
    let mut set = |key: &str, value: Value| {
        map.insert(key.to_owned(), value);
    };
    let slug = match metadata.slug.as_str() {
        "" => "graph",
        slug => slug,
    };
    set("slug", json!(slug));
    set("scan", json!(metadata.scan));
    set("transcoder_list", json!([]));
    set("prompt_tokens", json!(metadata.prompt_tokens));
    set("prompt", json!(metadata.prompt));
    for (key, value) in &metadata.extras {
        set(key, value.clone());
    }
    if let Some(threshold) = metadata.node_threshold {
        set("node_threshold", json!(threshold));
    }
    if let Some(version) = metadata.schema_version {
        set("schema_version", json!(version));
    }
    if let Some(threshold) = metadata.edge_threshold {
        let mut settings = object(&metadata.extras, "pruning_settings");
        if let Some(threshold) = metadata.node_threshold {
            // A file may set the viewer's slider and the pruning it was made with to different values.
            let settings = settings.entry("node_threshold");
            settings.or_insert(json!(threshold));
        }
        settings.insert("edge_threshold".to_owned(), json!(threshold));
        set("pruning_settings", settings.into());
    }
    if let Some(Generator { name, version }) = &metadata.generator {
        let mut info = object(&metadata.extras, "info");
        let mut generator = object(&info, "generator");
        generator.insert("name".to_owned(), json!(name));
        if !version.is_empty() {
            generator.insert("version".to_owned(), json!(version));
        }
        info.insert("generator".to_owned(), generator.into());
        set("info", info.into());
    }
    map
}

fn object(map: &Map<String, Value>, key: &str) -> Map<String, Value> {
    match map.get(key) {
        Some(Value::Object(map)) => map.clone(),
        _ => Map::new(),
    }
}

fn text(map: &mut Map<String, Value>, key: &str) -> Result<String> {
    match map.shift_remove(key) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text),
        Some(other) => bail!("{key}: found {other}, expected a string"),
    }
}

fn number(map: &mut Map<String, Value>, key: &str) -> Result<Option<f64>> {
    match map.shift_remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64() {
            Some(number) => Ok(Some(number)),
            None => bail!("{key}: found {value}, expected a number"),
        },
    }
}

fn tokens(map: &mut Map<String, Value>) -> Result<Vec<String>> {
    let list = match map.shift_remove("prompt_tokens") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(list)) => list,
        Some(other) => bail!("prompt_tokens: found {other}, expected a list of strings"),
    };
    let tokens = list.into_iter().map(|token| match token {
        Value::String(token) => Ok(token),
        other => bail!("prompt_tokens: found {other}, expected strings"),
    });
    tokens.collect()
}
