//! Names of units out of the files of others: Neuronpedia's exports, OpenAI's neuron explanations, Transluce's descriptions, circuit-tracer's feature files.

use super::{Label, Labels, NamedUnit};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Tokens that stand for a feature of which only examples are known.
const TOKENS: usize = 3;

/// What is accepted, for errors.
const ACCEPTED: &str = "accepted: Neuronpedia's explanations (JSON lines), OpenAI's neuron explanations, Transluce's LAYER/NEURON.json, \
     circuit-tracer's feature files, or labels.tsv";

/// Adds the names in a file; how many there are.
///
/// # Errors
/// The file cannot be read, or a line of it is none of what is known: file, line, field, what was found and what is accepted.
pub fn file(labels: &mut Labels, path: &Path) -> Result<usize> {
    let named = || path.display().to_string();
    let bytes = crate::files::read_regular(path)?;
    let text = String::from_utf8(bytes).context("it is no text in UTF-8").with_context(named)?;
    if path.extension().is_some_and(|end| end == "tsv") {
        let found = Labels::parse(&text).with_context(named)?;
        let n = found.len();
        labels.absorb(found);
        return Ok(n);
    }
    let mut n = 0;
    // One object or list over many lines, or one a line.
    if let Ok(whole) = serde_json::from_str::<Value>(&text) {
        let all = if let Value::Array(all) = whole { all } else { vec![whole] };
        for (i, value) in all.iter().enumerate() {
            n += object(labels, value, path).with_context(|| format!("{}, object {}", named(), i + 1))?;
        }
        return Ok(n);
    }
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = || format!("{}, line {}", named(), i + 1);
        let value: Value = serde_json::from_str(line).context("it is no JSON").with_context(place)?;
        n += object(labels, &value, path).with_context(place)?;
    }
    Ok(n)
}

fn object(labels: &mut Labels, value: &Value, path: &Path) -> Result<usize> {
    let has = |key: &str| value.get(key).is_some();
    if has("description") && has("index") {
        neuronpedia(labels, value)
    } else if has("scored_explanations") {
        openai(labels, value)
    } else if has("explanations") {
        transluce(labels, value, path)
    } else if has("examples_quantiles") {
        circuit_tracer(labels, value, path)
    } else {
        let keys = value.as_object().map(|map| map.keys().take(8).cloned().collect::<Vec<_>>().join(", "));
        bail!("found {}; {ACCEPTED}", keys.map_or_else(|| "no object".to_owned(), |keys| format!("the keys {keys}")))
    }
}

/// A whole number, as a number or as text.
fn whole(value: &Value, field: &str) -> Result<usize> {
    let found = value.get(field).unwrap_or(&Value::Null);
    let number = found.as_u64().map(crate::cast::size).or_else(|| found.as_str()?.parse().ok());
    number.with_context(|| format!("{field}: found {found}; accepted: a whole number"))
}

fn text(value: &Value) -> Option<String> {
    // A tab or the end of a line would part it in labels.tsv.
    let text = value.as_str()?.split_whitespace().collect::<Vec<_>>().join(" ");
    (!text.is_empty()).then_some(text)
}

/// A line of an export of explanations: `layer` is the name of a source, as `6-res-jb` or `6`; those that end in `neurons` or `mlp` or are a number alone are neurons.
fn neuronpedia(labels: &mut Labels, value: &Value) -> Result<usize> {
    let source =
        value.get("layer").and_then(|l| l.as_str().map(str::to_owned).or_else(|| l.as_u64().map(|n| n.to_string())));
    let source = source.context("layer: found nothing; accepted: the name of a source, as \"6-res-jb\"")?;
    let (number, kind) = source.split_once('-').unwrap_or((&source, ""));
    let layer = number
        .parse()
        .ok()
        .with_context(|| format!("layer: found {source:?}; accepted: a name that begins with a layer"))?;
    let index = whole(value, "index")?;
    let unit = if matches!(kind, "" | "neurons" | "mlp") {
        NamedUnit::Neuron(layer, index)
    } else {
        NamedUnit::Feature(layer, index)
    };
    let Some(description) = text(&value["description"]) else { return Ok(0) };
    // The set is part of where a name is from: feature 17 of one dictionary is not that of another.
    let by = ["layer", "explanationModelName", "typeName"].map(|key| text(&value[key])).into_iter().flatten();
    let by = std::iter::once("neuronpedia".to_owned()).chain(by).collect::<Vec<_>>().join(" ");
    labels.add(unit, Label { polarity: String::new(), text: description, source: by, score: None });
    Ok(1)
}

/// A record of neuron-explainer: the explanation with the best score of its simulation.
fn openai(labels: &mut Labels, value: &Value) -> Result<usize> {
    let id = value.get("neuron_id").context("neuron_id: found nothing; accepted: layer_index and neuron_index")?;
    let unit = NamedUnit::Neuron(
        whole(id, "layer_index").context("neuron_id")?,
        whole(id, "neuron_index").context("neuron_id")?,
    );
    let all = value["scored_explanations"].as_array().context("scored_explanations: accepted: a list")?;
    let scored = all.iter().filter_map(|one| {
        let score = one.pointer("/scored_simulation/ev_correlation_score").and_then(Value::as_f64);
        Some((text(&one["explanation"])?, score.and_then(finite)))
    });
    let Some((text, score)) = best(scored.collect()) else { return Ok(0) };
    labels.add(unit, Label { polarity: "+".to_owned(), text, source: "openai".to_owned(), score });
    Ok(1)
}

/// A score as it is kept; none beyond its range.
fn finite(score: f64) -> Option<f32> {
    Some(crate::cast::single(score)).filter(|score| score.is_finite())
}

/// The description with the best score; of equals, and without scores, the first.
fn best(all: Vec<(String, Option<f32>)>) -> Option<(String, Option<f32>)> {
    let score = |one: &(String, Option<f32>)| one.1.unwrap_or(f32::MIN);
    all.into_iter().rev().max_by(|a, b| score(a).total_cmp(&score(b)))
}

/// Layer and neuron of a file that is called `LAYER/NEURON.json`.
fn of_path(path: &Path) -> Option<(usize, usize)> {
    let number = |name: Option<&std::ffi::OsStr>| {
        let digits: String = name?.to_str()?.chars().filter(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    Some((number(path.parent()?.file_name())?, number(path.file_stem())?))
}

/// Descriptions of either sign: texts, or objects with a text and a score. Of several of a sign the best is taken.
fn transluce(labels: &mut Labels, value: &Value, path: &Path) -> Result<usize> {
    let named = || Some((whole(value, "layer").ok()?, whole(value, "neuron").ok()?));
    let (layer, neuron) = named()
        .or_else(|| of_path(path))
        .context("layer, neuron: found nothing; accepted: these fields, or a file LAYER/NEURON.json")?;
    let mut n = 0;
    for (key, polarity) in [("positive", "+"), ("negative", "-")] {
        let said = &value["explanations"][key];
        let all = match said {
            Value::Array(all) => all.iter().collect(),
            Value::Null => Vec::new(),
            one => vec![one],
        };
        let mut described = Vec::new();
        for one in all {
            let words = ["explanation", "description", "text"].iter().find_map(|key| text(one.get(key)?));
            let Some(text) = text(one).or(words) else {
                bail!("explanations.{key}: found {one}; accepted: a text, or an object with \"explanation\"")
            };
            described.push((text, one.get("score").and_then(Value::as_f64).and_then(finite)));
        }
        if let Some((text, score)) = best(described) {
            let (polarity, source) = (polarity.to_owned(), "transluce".to_owned());
            labels.add(NamedUnit::Neuron(layer, neuron), Label { polarity, text, source, score });
            n += 1;
        }
    }
    Ok(n)
}

/// Layer and feature of Cantor's number `(l + f)(l + f + 1) / 2 + f`, by which circuit-tracer names files of features.
pub fn of_cantor(number: u64) -> (usize, usize) {
    // The largest w with w (w + 1) / 2 <= number; products of two such numbers are more than a u64 holds.
    let before = |w: u64| u128::from(w) * (u128::from(w) + 1) / 2;
    let mut w = crate::cast::whole(((8.0 * number as f64 + 1.0).sqrt() - 1.0) / 2.0) as u64;
    while before(w) > u128::from(number) {
        w -= 1;
    }
    while before(w + 1) <= u128::from(number) {
        w += 1;
    }
    let feature = u64::try_from(u128::from(number) - before(w)).unwrap_or(0);
    (crate::cast::size(w - feature), crate::cast::size(feature))
}

/// Cantor's number of a layer and a feature.
pub fn cantor(layer: usize, feature: usize) -> u64 {
    let w = layer as u64 + feature as u64;
    w * (w + 1) / 2 + feature as u64
}

/// A feature of which examples are known: it is called by the tokens that it is strongest on in most of them.
fn circuit_tracer(labels: &mut Labels, value: &Value, path: &Path) -> Result<usize> {
    let number = path.file_stem().and_then(|name| name.to_str()?.parse::<u64>().ok());
    let number = number.with_context(|| {
        format!("found a file {}; accepted: NUMBER.json, Cantor's number of layer and feature", path.display())
    })?;
    let (layer, feature) = of_cantor(number);
    let index = whole(value, "index")?;
    ensure!(index == feature, "index: found {index}, but the file's number is that of L{layer}.F{feature}");
    let mut tokens = BTreeMap::<String, usize>::new();
    let quantiles = value["examples_quantiles"].as_array().context("examples_quantiles: accepted: a list")?;
    for example in quantiles.first().and_then(|q| q["examples"].as_array()).into_iter().flatten() {
        let activations =
            example["tokens_acts_list"].as_array().into_iter().flatten().map(|x| x.as_f64().unwrap_or(0.0));
        let strongest = activations.enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(at, _)| at);
        if let Some(token) = example["tokens"].get(strongest).and_then(Value::as_str) {
            *tokens.entry(token.trim().to_owned()).or_default() += 1;
        }
    }
    let mut tokens: Vec<(String, usize)> = tokens.into_iter().collect();
    tokens.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let words = tokens.iter().take(TOKENS).map(|(token, _)| format!("{token:?}")).collect::<Vec<_>>().join(", ");
    if words.is_empty() {
        return Ok(0);
    }
    let label = Label {
        polarity: String::new(),
        text: format!("on {words}"),
        source: "circuit-tracer examples".to_owned(),
        score: None,
    };
    labels.add(NamedUnit::Feature(layer, feature), label);
    Ok(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Labels> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap())?;
        std::fs::write(&path, text)?;
        let mut labels = Labels::default();
        file(&mut labels, &path)?;
        Ok(labels)
    }

    #[test]
    fn neuronpedias_explanations_are_of_neurons_or_features() {
        let text = "{\"modelId\":\"gpt2-small\",\"layer\":\"6-res-jb\",\"index\":\"17\",\"description\":\"names of months\",\"explanationModelName\":\"gpt-4o\",\"typeName\":\"oai_token-act-pair\"}\n\
                    {\"modelId\":\"m\",\"layer\":\"5-neurons\",\"index\":300,\"description\":\"a\\tb\"}\n";
        let labels = read("batch-0.jsonl", text).unwrap();
        assert_eq!(labels.of_feature(6, 17)[0].text, "names of months");
        assert_eq!(labels.of_feature(6, 17)[0].source, "neuronpedia 6-res-jb gpt-4o oai_token-act-pair");
        assert_eq!(labels.of(5, 300)[0].text, "a b");
        let error =
            format!("{:#}", read("x.jsonl", "{\"layer\":\"res\",\"index\":1,\"description\":\"x\"}").unwrap_err());
        assert!(error.ends_with("layer: found \"res\"; accepted: a name that begins with a layer"), "{error}");
    }

    #[test]
    fn of_openais_explanations_the_best_is_taken() {
        let text = r#"{"neuron_id":{"layer_index":2,"neuron_index":9},"scored_explanations":[
            {"explanation":"worse","scored_simulation":{"ev_correlation_score":0.1}},
            {"explanation":"better","scored_simulation":{"ev_correlation_score":0.7}}]}"#;
        let labels = read("9.jsonl", text).unwrap();
        assert_eq!((labels.of(2, 9)[0].text.as_str(), labels.of(2, 9)[0].score), ("better", Some(0.7)));
    }

    #[test]
    fn transluces_descriptions_have_a_sign() {
        let labels = read(
            "12/345.json",
            r#"{"explanations":{"positive":["dogs", {"text":"hounds","score":0.4}, {"text":"x","score":1e39}],"negative":{"explanation":"cats","score":0.5}}}"#,
        )
        .unwrap();
        let found: Vec<_> =
            labels.of(12, 345).iter().map(|l| (l.polarity.as_str(), l.text.as_str(), l.score)).collect();
        assert_eq!(found, [("+", "hounds", Some(0.4)), ("-", "cats", Some(0.5))]);
    }

    #[test]
    fn circuit_tracers_features_are_called_by_their_tokens() {
        for (layer, feature) in [(0, 0), (3, 17), (25, 16_383), (41, 262_143)] {
            assert_eq!(of_cantor(cantor(layer, feature)), (layer, feature));
        }
        // Any number that a file may have ends.
        assert!(of_cantor(u64::MAX).1 > 0);
        let text = r#"{"index":17,"examples_quantiles":[{"quantile_name":"Top activations","examples":[
            {"tokens":["in"," Texas"],"tokens_acts_list":[0,3.5]},{"tokens":[" Texas","a"],"tokens_acts_list":[2,0]}]}]}"#;
        let name = format!("{}.json", cantor(3, 17));
        assert_eq!(read(&name, text).unwrap().of_feature(3, 17)[0].text, "on \"Texas\"");
        let error = format!("{:#}", read("5.json", text).unwrap_err());
        assert!(error.contains("index: found 17, but the file's number is that of"), "{error}");
        assert!(
            format!("{:#}", read("a.json", "{\"x\":1}").unwrap_err())
                .contains("found the keys x; accepted: Neuronpedia's")
        );
    }
}
