//! Reading `config.json` so that no field is passed over by accident: a field that nobody asked for and that is not
//! known to be harmless is an error.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Fields that do not change what a decoder computes at inference. Dropout, initialisation, caching, generation,
/// training and bookkeeping.
const HARMLESS: &[&str] = &[
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "add_cross_attention",
    "architectures",
    "attention_dropout",
    "attn_pdrop",
    "auto_map",
    "bos_token_id",
    "cache_implementation",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "dtype",
    "embd_pdrop",
    "embed_dropout",
    "eos_token_id",
    "finetuning_task",
    "gradient_checkpointing",
    "hidden_dropout",
    "hybrid",
    "id2label",
    "initializer_range",
    "is_encoder_decoder",
    "keys_to_ignore_at_inference",
    "label2id",
    "layer_norm_init",
    "max_window_layers",
    "model_type",
    "n_ctx",
    "n_special",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
    "predict_special_tokens",
    "pretraining_tp",
    "problem_type",
    "reorder_and_upcast_attn",
    "resid_dropout",
    "resid_pdrop",
    "return_dict",
    "sep_token_id",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "task_specific_params",
    "tokenizer_class",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
    "use_cache",
    "vocab_size",
];

/// A `config.json`, or an object inside it, that remembers which fields were read.
#[derive(Debug)]
pub struct Config {
    file: String,
    path: String,
    fields: Map<String, Value>,
    read: BTreeSet<String>,
}

impl Config {
    /// Parses the text of `file`.
    ///
    /// # Errors
    /// Not JSON, or not an object.
    pub fn parse(file: &str, text: &[u8]) -> Result<Self> {
        let fields = serde_json::from_slice::<Map<String, Value>>(text)
            .with_context(|| format!("{file} is not a JSON object of model settings"))?;
        Ok(Config { file: file.into(), path: String::new(), fields, read: BTreeSet::new() })
    }

    /// Settings that were read from another kind of file.
    pub fn from_fields(place: &str, fields: Map<String, Value>) -> Self {
        Config { file: place.into(), path: String::new(), fields, read: BTreeSet::new() }
    }

    /// File and, inside it, the object: for error messages.
    pub fn place(&self) -> String {
        if self.path.is_empty() { self.file.clone() } else { format!("{}: {}", self.file, self.path) }
    }

    fn value(&mut self, key: &str) -> Option<&Value> {
        self.read.insert(key.into());
        self.fields.get(key).filter(|v| !v.is_null())
    }

    /// Whether the field is there and not null; does not count as reading it.
    pub fn has(&self, key: &str) -> bool {
        self.fields.get(key).is_some_and(|v| !v.is_null())
    }

    /// Gives fields that are left out these values: what transformers takes for them.
    pub fn defaults<const N: usize>(&mut self, values: [(&str, Value); N]) {
        for (key, value) in values {
            self.fields.entry(key).or_insert(value);
        }
    }

    /// Whether the field is left out; null is not left out, it switches something off.
    pub fn lacks(&self, key: &str) -> bool {
        !self.fields.contains_key(key)
    }

    fn typed<T>(&mut self, key: &str, wanted: &str, get: impl Fn(&Value) -> Option<T>) -> Result<Option<T>> {
        let place = self.place();
        match self.value(key) {
            None => Ok(None),
            Some(v) => get(v).map(Some).with_context(|| format!("{place}: field {key:?} is {v}; accepted: {wanted}")),
        }
    }

    fn required<T>(&self, key: &str, value: Option<T>) -> Result<T> {
        value.with_context(|| format!("{}: field {key:?} is missing", self.place()))
    }

    /// A positive whole number.
    pub fn usize(&mut self, key: &str) -> Result<usize> {
        let v = self.opt_usize(key)?;
        self.required(key, v)
    }

    /// A positive whole number, if given; small enough that products of two never overflow.
    pub fn opt_usize(&mut self, key: &str) -> Result<Option<usize>> {
        self.opt_usize_to(key, (1 << 31) - 1)
    }

    /// A positive whole number up to `most`: for sizes that memory depends on before any tensor vouches for them.
    pub fn usize_to(&mut self, key: &str, most: usize) -> Result<usize> {
        let v = self.opt_usize_to(key, most)?;
        self.required(key, v)
    }

    /// A positive whole number up to `most`, if given.
    pub fn opt_usize_to(&mut self, key: &str, most: usize) -> Result<Option<usize>> {
        let small = |v: &Value| v.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| (1..=most).contains(n));
        self.typed(key, &format!("a whole number from 1 to {most}"), small)
    }

    /// A positive number.
    pub fn positive(&mut self, key: &str) -> Result<f32> {
        let v = self.opt_positive(key)?;
        self.required(key, v)
    }

    /// A finite number, if given.
    pub fn opt_f32(&mut self, key: &str) -> Result<Option<f32>> {
        self.typed(key, "a finite number", |v| v.as_f64().map(|x| x as f32).filter(|x| x.is_finite()))
    }

    /// A positive number, if given.
    pub fn opt_positive(&mut self, key: &str) -> Result<Option<f32>> {
        let positive = |v: &Value| v.as_f64().map(|x| x as f32).filter(|x| x.is_finite() && *x > 0.0);
        self.typed(key, "a number above 0", positive)
    }

    /// A list of positive finite numbers.
    pub fn f32_list(&mut self, key: &str) -> Result<Vec<f32>> {
        let number = |v: &Value| v.as_f64().map(|x| x as f32).filter(|x| x.is_finite() && *x > 0.0);
        let list = self.typed(key, "a list of numbers above 0", |v| v.as_array()?.iter().map(number).collect())?;
        self.required(key, list)
    }

    /// True or false, if given.
    pub fn opt_bool(&mut self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "true or false", Value::as_bool)
    }

    /// A string, if given.
    pub fn opt_str(&mut self, key: &str) -> Result<Option<String>> {
        self.typed(key, "a string", |v| v.as_str().map(str::to_owned))
    }

    /// Any value, if given.
    pub fn opt_value(&mut self, key: &str) -> Option<Value> {
        self.value(key).cloned()
    }

    /// An object, if given.
    pub fn section(&mut self, key: &str) -> Result<Option<Config>> {
        let (file, path) = (self.file.clone(), format!("{}{key}", if self.path.is_empty() { "" } else { "." }));
        let path = format!("{}{path}", self.path);
        let fields = self.typed(key, "an object", |v| v.as_object().cloned())?;
        Ok(fields.map(|fields| Config { file, path, fields, read: BTreeSet::new() }))
    }

    /// A list of strings, if given, which must have one entry for each of `n` layers.
    pub fn layer_names(&mut self, key: &str, n: usize) -> Result<Option<Vec<String>>> {
        let names = |v: &Value| v.as_array()?.iter().map(|s| s.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
        let list = self.typed(key, "a list of strings", names)?;
        if let Some(list) = &list {
            ensure!(
                list.len() == n,
                "{}: field {key:?} has {} entries; accepted: one for each of the {n} layers",
                self.place(),
                list.len()
            );
        }
        Ok(list)
    }

    /// A field that, if given, must have the one value this program computes.
    ///
    /// # Errors
    /// Any other value.
    pub fn only(&mut self, key: &str, accepted: impl Into<Value>) -> Result<()> {
        let accepted = accepted.into();
        let place = self.place();
        match self.value(key) {
            Some(v) if *v != accepted => bail!("{place}: field {key:?} is {v}; accepted: {accepted}"),
            _ => Ok(()),
        }
    }

    /// Marks fields as read that change nothing in the way this family uses them.
    pub fn passes(&mut self, keys: &[&str]) {
        self.read.extend(keys.iter().map(|k| k.to_string()));
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// A field that was not read, is not null, false or empty, and is not known to be harmless.
    pub fn finish(&self) -> Result<()> {
        let empty = |v: &Value| match v {
            Value::Null | Value::Bool(false) => true,
            Value::Array(a) => a.is_empty(),
            Value::Object(o) => o.is_empty(),
            _ => false,
        };
        for (key, value) in &self.fields {
            if !self.read.contains(key) && !HARMLESS.contains(&key.as_str()) && !empty(value) {
                bail!(
                    "{}: field {key:?} = {value} is not known to this program and may change what the model computes; \
                     remove the field if it does not",
                    self.place()
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse("config.json", text.as_bytes()).unwrap()
    }

    #[test]
    fn errors_name_file_field_found_and_accepted() {
        let mut c = config(r#"{"n_layer": 0, "eps": "x", "s": {"t": [1, -1]}}"#);
        let said = |e: anyhow::Error| format!("{e:#}");
        let e = said(c.usize("n_layer").unwrap_err());
        assert!(e.contains("config.json") && e.contains("n_layer") && e.contains('0') && e.contains("accepted"), "{e}");
        assert!(said(c.opt_f32("eps").unwrap_err()).contains("finite"));
        assert!(said(c.usize("gone").unwrap_err()).contains("missing"));
        let mut s = c.section("s").unwrap().unwrap();
        assert!(said(s.f32_list("t").unwrap_err()).contains("config.json: s"));
    }

    #[test]
    fn an_unread_field_is_an_error_unless_harmless() {
        let mut c = config(r#"{"use_cache": true, "known": 1, "none": null, "off": false, "novelty": "moe"}"#);
        c.usize("known").unwrap();
        let e = c.finish().unwrap_err().to_string();
        assert!(e.contains("novelty"), "{e}");
        c.passes(&["novelty"]);
        c.finish().unwrap();
    }
}
