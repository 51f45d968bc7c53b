//! Reading `config.json` so that no field is passed over in silence: one that nobody asked for, and that is not known to be harmless, is
//! named, and refused when its name smells of computation.

mod known;

use crate::cast::single;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

/// A `config.json`, or an object inside it, that remembers which fields were read.
#[derive(Debug)]
pub struct ModelConfig {
    file: String,
    path: String,
    fields: Map<String, Value>,
    read: BTreeSet<String>,
    decided: Rc<RefCell<Decided>>,
}

/// What was decided about fields that nobody reads; one for a file and the objects inside it.
#[derive(Debug, Default)]
struct Decided {
    /// Fields that the user takes the responsibility for.
    accepted: Vec<String>,
    unread: BTreeSet<String>,
    overruled: BTreeSet<String>,
}

impl ModelConfig {
    /// Parses the text of `file`.
    ///
    /// # Errors
    /// Not JSON, or not an object.
    pub fn parse(file: &str, text: &[u8]) -> Result<Self> {
        let fields = serde_json::from_slice::<Map<String, Value>>(text)
            .with_context(|| format!("{file} is not a JSON object of model settings"))?;
        Ok(Self::from_fields(file, fields))
    }

    /// Settings that were read from another kind of file.
    pub fn from_fields(place: &str, fields: Map<String, Value>) -> Self {
        ModelConfig { file: place.into(), path: String::new(), fields, read: BTreeSet::new(), decided: Rc::default() }
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
        self.typed(key, "a finite number", |v| v.as_f64().map(single).filter(|x| x.is_finite()))
    }

    /// A positive number, if given.
    pub fn opt_positive(&mut self, key: &str) -> Result<Option<f32>> {
        let positive = |v: &Value| v.as_f64().map(single).filter(|x| x.is_finite() && *x > 0.0);
        self.typed(key, "a number above 0", positive)
    }

    /// A list of positive finite numbers.
    pub fn f32_list(&mut self, key: &str) -> Result<Vec<f32>> {
        let number = |v: &Value| v.as_f64().map(single).filter(|x| x.is_finite() && *x > 0.0);
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
    pub fn section(&mut self, key: &str) -> Result<Option<ModelConfig>> {
        let (file, path) = (self.file.clone(), format!("{}{key}", if self.path.is_empty() { "" } else { "." }));
        let path = format!("{}{path}", self.path);
        let fields = self.typed(key, "an object", |v| v.as_object().cloned())?;
        let decided = self.decided.clone();
        Ok(fields.map(|fields| ModelConfig { file, path, fields, read: BTreeSet::new(), decided }))
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

    /// Lets fields pass that would be refused: by their names, those inside objects as `object.field`.
    pub fn accept(&mut self, fields: &[String]) {
        self.decided.borrow_mut().accepted.extend_from_slice(fields);
    }

    /// What was decided about fields that nobody read, in words; nothing when there were none.
    pub fn decided(&self) -> Option<String> {
        let decided = self.decided.borrow();
        let list = |what: &str, fields: &BTreeSet<String>| {
            let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
            (!fields.is_empty()).then(|| format!("{what}: {}", fields.join(", ")))
        };
        let parts = [list("not read", &decided.unread), list("accepted unread", &decided.overruled)];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    /// Ends the reading: fields that were not read and are not known to be harmless are kept for [`Self::decided`].
    ///
    /// # Errors
    /// One whose name smells of computation, and whose value is not null, false, empty, 0 or 1.
    pub fn finish(&self) -> Result<()> {
        let mut decided = self.decided.borrow_mut();
        for (key, value) in &self.fields {
            let same = known::repeats(key).is_some_and(|first| self.fields.get(first) == Some(value));
            let empty = known::is_neutral(value) && !value.is_number();
            if self.read.contains(key) || known::is_harmless(key) || empty || same {
                continue;
            }
            let name = if self.path.is_empty() { key.clone() } else { format!("{}.{key}", self.path) };
            // Inside an object that is read, 0 and 1 mean something as well.
            let neutral = known::is_neutral(value) && self.path.is_empty();
            if neutral || !known::may_compute(&name) {
                decided.unread.insert(name);
                continue;
            }
            ensure!(
                decided.accepted.contains(&name),
                "{}: field {key:?} = {value} is not known to this program, and its name says that it may change what the model computes; \
                 --accept-config {name} opens the model all the same",
                self.place()
            );
            decided.overruled.insert(name);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> ModelConfig {
        ModelConfig::parse("config.json", text.as_bytes()).unwrap()
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
    fn an_unread_field_is_named_and_refused_when_it_smells_of_computation() {
        let text = r#"{"use_cache": true, "known": 1, "none": null, "attn_off": false, "full_attn_mod": 1, "author": "x",
            "logit_scale": 0.5, "in": {"qk_norm": true}}"#;
        let mut c = config(text);
        c.usize("known").unwrap();
        let e = c.finish().unwrap_err().to_string();
        assert!(e.contains("logit_scale") && e.contains("0.5") && e.contains("--accept-config logit_scale"), "{e}");
        c.accept(&["logit_scale".into()]);
        let inside = c.section("in").unwrap().unwrap();
        assert!(inside.finish().unwrap_err().to_string().contains("--accept-config in.qk_norm"));
        c.accept(&["in.qk_norm".into()]);
        inside.finish().unwrap();
        c.finish().unwrap();
        let said = c.decided().unwrap();
        assert_eq!(said, "not read: author, full_attn_mod; accepted unread: in.qk_norm, logit_scale");
    }

    #[test]
    fn heads_that_were_pruned_are_no_bookkeeping() {
        let finish = |pruned: &str| config(&format!(r#"{{"pruned_heads": {pruned}}}"#)).finish();
        finish("{}").unwrap();
        assert!(finish(r#"{"0": [1]}"#).unwrap_err().to_string().contains("pruned_heads"));
    }

    #[test]
    fn another_spelling_of_a_field_must_say_the_same() {
        let window = |other: usize| {
            let mut c = config(&format!(r#"{{"sliding_window": 8, "sliding_window_size": {other}}}"#));
            c.usize("sliding_window").unwrap();
            c.finish().map(|()| c.decided())
        };
        assert_eq!(window(8).unwrap(), None);
        assert!(window(9).is_err());
    }
}
