//! A model's chat template: messages in, the prompt they make out.
//!
//! Templates are Jinja as transformers runs them (`apply_chat_template`, 4.57): blocks are trimmed, `raise_exception`, `strftime_now` and a `tojson`
//! that writes as Python does are there, and Python's methods of strings.

use anyhow::{Context, Result, anyhow, bail};
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind, context};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde::Serialize;
use serde_json::Value as Json;
use serde_json::ser::Formatter;
use std::borrow::Cow;
use std::io::{self, Write};

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChatMessage {
    /// `system`, `user` or `assistant`.
    pub role: &'static str,
    /// Its text.
    pub content: String,
}

/// A chat template with the special tokens that it may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chat {
    template: String,
    /// Names and contents: `bos_token`, `eos_token`, ...
    special: Vec<(String, String)>,
    /// The file it stands in, for messages.
    place: String,
}

impl Chat {
    /// Takes a template from `place`.
    pub fn new(place: &str, template: String, special: Vec<(String, String)>) -> Self {
        Chat { template, special, place: place.to_owned() }
    }

    /// Reads `chat_template.jinja` or, without it, the field of `tokenizer_config.json` (a string, or a list of which the one called `default`
    /// is taken). `map` is `special_tokens_map.json`.
    ///
    /// # Errors
    /// A file that is no JSON or no text, or a field of another kind.
    pub fn from_files(
        where_from: &str,
        jinja: Option<&[u8]>,
        config: Option<&[u8]>,
        map: Option<&[u8]>,
    ) -> Result<Option<Self>> {
        let json = |bytes: Option<&[u8]>, name: &str| match bytes {
            Some(bytes) => serde_json::from_slice::<Json>(bytes).with_context(|| format!("{where_from}: {name}")),
            None => Ok(Json::Null),
        };
        let config = json(config, "tokenizer_config.json")?;
        let map = json(map, "special_tokens_map.json")?;
        let (place, template) = match jinja {
            Some(bytes) => {
                let place = format!("{where_from}: chat_template.jinja");
                let text = std::str::from_utf8(bytes).with_context(|| place.clone())?;
                (place, text.to_owned())
            }
            None => {
                let place = format!("{where_from}: tokenizer_config.json: chat_template");
                match named(&config["chat_template"]) {
                    Some(template) => (place, template),
                    None if config["chat_template"].is_null() => return Ok(None),
                    None => bail!("{place} is neither a string nor a list with one called \"default\""),
                }
            }
        };
        let overruled = config["added_tokens_decoder"].is_null();
        let (first, then) = if overruled { (&map, &config) } else { (&config, &map) };
        let names = ["bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"];
        let special = names.iter().filter_map(|name| {
            let content = content(&first[*name]).or_else(|| content(&then[*name]))?;
            Some(((*name).to_owned(), content.to_owned()))
        });
        Ok(Some(Self::new(&place, template, special.collect())))
    }

    /// The prompt that the messages make; `open` ends it where the assistant's answer begins.
    ///
    /// # Errors
    /// The template is not Jinja, or refuses the messages.
    pub fn prompt(&self, messages: &[ChatMessage], open: bool) -> Result<String> {
        let mut env = Environment::new();
        env.set_trim_blocks(true);
        env.set_lstrip_blocks(true);
        env.set_unknown_method_callback(unknown_method_callback);
        env.add_function("raise_exception", |said: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, said))
        });
        env.add_function("strftime_now", |format: String| now(&format));
        env.add_filter("tojson", to_json);
        let template = without_generation(&self.template);
        env.add_template("chat", &template).map_err(|e| self.wrong(&e))?;
        let special: Vec<(&str, &str)> = self.special.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let special = Value::from_iter(special);
        let given = context! { messages, tools => (), documents => (), add_generation_prompt => open, ..special };
        env.get_template("chat").and_then(|t| t.render(given)).map_err(|e| self.wrong(&e))
    }

    fn wrong(&self, error: &Error) -> anyhow::Error {
        let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
        let line = error.line().map_or_else(String::new, |line| format!(", line {line}"));
        anyhow!("{}{line}: {what}", self.place)
    }
}

/// A template by itself, or the default one of a list.
fn named(value: &Json) -> Option<String> {
    let of_list = || value.as_array()?.iter().find(|t| t["name"] == "default").map(|t| &t["template"]);
    value.as_str().or_else(|| of_list()?.as_str()).map(str::to_owned)
}

/// A special token, written as its text or as an object.
fn content(value: &Json) -> Option<&str> {
    value.as_str().or_else(|| value["content"].as_str())
}

/// `{% generation %}` marks what an assistant said, for training; it writes nothing.
fn without_generation(template: &str) -> Cow<'_, str> {
    if !template.contains("generation") {
        return Cow::Borrowed(template);
    }
    let mut text = template.to_owned();
    for (mark, plain) in [("endgeneration", "endif"), ("generation", "if true")] {
        for (open, close) in [("{%", "%}"), ("{%-", "%}"), ("{%", "-%}"), ("{%-", "-%}")] {
            for space in [" ", ""] {
                text = text.replace(&format!("{open}{space}{mark}{space}{close}"), &format!("{open} {plain} {close}"));
            }
        }
    }
    Cow::Owned(text)
}

/// The local time, as `strftime` writes it.
#[allow(unsafe_code)]
fn now(format: &str) -> Result<String, Error> {
    let failed = || Error::new(ErrorKind::InvalidOperation, format!("strftime_now cannot write {format:?}"));
    let pattern = std::ffi::CString::new(format).map_err(|_| failed())?;
    let mut text = vec![0u8; 256];
    // SAFETY: `time` is zeroed before it is filled, which is a valid `tm`; the pattern ends in a null byte; `strftime` writes at most as many
    // bytes as the buffer has.
    let written = unsafe {
        let seconds = libc::time(std::ptr::null_mut());
        let mut time: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&seconds, &mut time).is_null() {
            return Err(failed());
        }
        libc::strftime(text.as_mut_ptr().cast(), text.len(), pattern.as_ptr(), &time)
    };
    text.truncate(written);
    String::from_utf8(text).map_err(|_| failed())
}

/// Python's `json.dumps(value, ensure_ascii=False)`, with its `indent`.
fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent").ok().flatten();
    // Those that only Python knows change nothing here, or are its defaults.
    for name in ["ensure_ascii", "sort_keys", "separators"] {
        let _: Option<Value> = options.get(name).ok();
    }
    options.assert_all_used()?;
    let failed = |e: serde_json::Error| Error::new(ErrorKind::BadSerialization, e.to_string());
    let mut text = Vec::new();
    match indent {
        Some(n) => {
            let spaces = " ".repeat(n);
            let formatter = serde_json::ser::PrettyFormatter::with_indent(spaces.as_bytes());
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, formatter)).map_err(failed)?;
        }
        None => value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, Spaced)).map_err(failed)?,
    }
    Ok(Value::from_safe_string(String::from_utf8_lossy(&text).into_owned()))
}

/// JSON with a space behind every comma and colon.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { to.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { to.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        to.write_all(b": ")
    }
}
