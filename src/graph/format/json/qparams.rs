//! The `qParams` object: pins, groups and the viewers' other parameters. circuit-tracer's own save writes lists as strings (trap 5).

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use crate::graph::{Supernode, View};

/// Reads what viewers saved, and names the keys that were strings where lists are expected.
pub(super) fn read(value: Value) -> Result<(View, Vec<&'static str>)> {
    let mut map = match value {
        Value::Object(map) => map,
        Value::Null => Map::new(),
        other => bail!("found {other}, expected an object"),
    };
    let mut strings = Vec::new();
    let mut take = |key: &'static str| -> Result<Option<Value>> {
        let Some(value) = map.shift_remove(key) else {
            return Ok(None);
        };
        let Value::String(text) = value else {
            return Ok(Some(value));
        };
        strings.push(key);
        let list = match key {
            "pinnedIds" => json!(text.split(',').filter(|id| !id.is_empty()).collect::<Vec<_>>()),
            _ if text.is_empty() => json!([]),
            _ => serde_json::from_str(&text)
                .with_context(|| format!("{key}: found {text:?}, expected a list or one as text"))?,
        };
        Ok(Some(list))
    };
    let pinned = match take("pinnedIds")? {
        None | Some(Value::Null) => Vec::new(),
        Some(list) => texts(list).context("pinnedIds")?,
    };
    let mut supernodes = Vec::new();
    if let Some(list) = take("supernodes")? {
        for group in items(list).context("supernodes")? {
            let mut names = texts(group).context("supernodes")?.into_iter();
            supernodes.push(Supernode { label: names.next().unwrap_or_default(), members: names.collect() });
        }
    }
    let clerps = take("clerps")?;
    if let Some(clerps) = clerps {
        map.insert("clerps".to_owned(), clerps);
    }
    let view = View { pinned, supernodes, extras: map };
    Ok((view, strings))
}

/// The object, with lists as lists, and always there: circuit-tracer's viewer does not look before it reads it (trap 7).
pub(super) fn write(view: &View) -> Map<String, Value> {
    let groups = view.supernodes.iter();
    let groups: Vec<Vec<&str>> = groups
        .map(|group| {
            let members = group.members.iter().map(String::as_str);
            std::iter::once(group.label.as_str()).chain(members).collect()
        })
        .collect();
    let mut map = Map::new();
    map.insert("pinnedIds".to_owned(), json!(view.pinned));
    map.insert("supernodes".to_owned(), json!(groups));
    for (key, default) in [("linkType", "both"), ("clickedId", ""), ("sg_pos", "")] {
        map.insert(key.to_owned(), json!(default));
    }
    for (key, value) in &view.extras {
        map.insert(key.clone(), value.clone());
    }
    map
}

fn items(value: Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(list) => Ok(list),
        Value::Null => Ok(Vec::new()),
        other => bail!("found {other}, expected a list"),
    }
}

fn texts(value: Value) -> Result<Vec<String>> {
    let texts = items(value)?.into_iter().map(|item| match item {
        Value::String(text) => Ok(text),
        other => bail!("found {other}, expected a string"),
    });
    texts.collect()
}
