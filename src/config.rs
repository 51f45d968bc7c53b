//! Settings: `config.toml` in the config directory, checked line by line; options of the command line come before it.

use crate::files::read_text_if_there;
use crate::view::theme::ThemeName;
use anyhow::{Result, anyhow};
use std::collections::BTreeMap;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// What can be set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Colours.
    pub theme: ThemeName,
    /// Whether only ASCII is drawn.
    pub ascii: bool,
    /// Whether the mouse is captured.
    pub mouse: bool,
    /// The model opened when none is named.
    pub model: Option<String>,
    /// Keymaps laid over the default one.
    pub keymap: Vec<String>,
    /// Where each setting that is not at its default comes from, by its name.
    pub from: BTreeMap<&'static str, String>,
}

/// Settings of the command line, before those of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// `--theme`.
    pub theme: Option<ThemeName>,
    /// `--ascii`.
    pub ascii: bool,
    /// `--mouse`.
    pub mouse: bool,
    /// `--keymap`.
    pub keymap: Vec<String>,
}

const FIELDS: &str = "theme, ascii, mouse, model, keymap";

impl Config {
    /// Reads the file; where there is none, everything is at its default.
    ///
    /// # Errors
    /// A file that cannot be read, or a line that is wrong: file and line are named, and what is accepted.
    pub fn load(file: &Path) -> Result<Self> {
        match read_text_if_there(file)? {
            Some(text) => Config::parse(&file.display().to_string(), &text),
            None => Ok(Config::default()),
        }
    }

    /// Reads a file's text; `name` is for errors.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let line = |at: usize| format!("{name}:{}", text[..at.min(text.len())].matches('\n').count() + 1);
        let table =
            DeTable::parse(text).map_err(|e| anyhow!("{}: {}", line(e.span().map_or(0, |s| s.start)), e.message()))?;
        let mut config = Config::default();
        for (key, value) in table.into_inner() {
            let place = format!("{}: {}", line(key.span().start), key.get_ref());
            let value = value.into_inner();
            let wrong = |accepted: &str| anyhow!("{place}: found {}, accepted: {accepted}", value.type_str());
            match key.get_ref().as_ref() {
                "theme" => {
                    let text = value.as_str().ok_or_else(|| wrong("\"auto\", \"mono\", \"terminal\""))?;
                    config.theme = text.parse().map_err(|e| anyhow!("{place}: {e}"))?;
                }
                "ascii" => config.ascii = value.as_bool().ok_or_else(|| wrong("true, false"))?,
                "mouse" => config.mouse = value.as_bool().ok_or_else(|| wrong("true, false"))?,
                "model" => config.model = Some(value.as_str().ok_or_else(|| wrong("a model's name"))?.to_owned()),
                "keymap" => {
                    let accepted = "\"vim\", \"emacs\", \"arrows\", or a list of them";
                    let names: Option<Vec<String>> = match &value {
                        DeValue::String(name) => Some(vec![name.to_string()]),
                        DeValue::Array(list) => list.iter().map(|v| v.get_ref().as_str().map(str::to_owned)).collect(),
                        _ => None,
                    };
                    config.keymap = names.ok_or_else(|| wrong(accepted))?;
                    if let Some(bad) =
                        config.keymap.iter().find(|n| !["default", "vim", "emacs", "arrows"].contains(&n.as_str()))
                    {
                        return Err(anyhow!("{place}: found {bad:?}, accepted: {accepted}"));
                    }
                }
                _ => return Err(anyhow!("{place}: there is no such setting; accepted: {FIELDS}")),
            }
            if let Some(field) = FIELDS.split(", ").find(|f| *f == key.get_ref().as_ref()) {
                config.from.insert(field, line(key.span().start));
            }
        }
        Ok(config)
    }

    /// Lays what the command line says over it.
    pub fn with(mut self, given: Given) -> Self {
        if let Some(theme) = given.theme {
            self.theme = theme;
            self.from.insert("theme", "--theme".into());
        }
        for (name, option, given, value) in
            [("ascii", "--ascii", given.ascii, &mut self.ascii), ("mouse", "--mouse", given.mouse, &mut self.mouse)]
        {
            if given {
                *value = true;
                self.from.insert(name, option.into());
            }
        }
        if !given.keymap.is_empty() {
            self.keymap = given.keymap;
            self.from.insert("keymap", "--keymap".into());
        }
        self
    }

    /// The settings as a file that would make them, with where each comes from behind it.
    pub fn print(&self) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let keymap: Vec<String> = self.keymap.iter().map(|k| quoted(k)).collect();
        let values = [
            ("theme", Some(quoted(self.theme.name()))),
            ("ascii", Some(self.ascii.to_string())),
            ("mouse", Some(self.mouse.to_string())),
            ("model", self.model.as_deref().map(quoted)),
            ("keymap", Some(format!("[{}]", keymap.join(", ")))),
        ];
        let line = |(name, value): (&str, Option<String>)| {
            let from = self.from.get(name).map_or("default", String::as_str);
            Some(format!("{:<24}  # {from}\n", format!("{name} = {}", value?)))
        };
        values.into_iter().filter_map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_reads_back() {
        let text = "theme = \"mono\"\nascii = true\nmouse = false\nmodel = \"a \\\"b\\\"\"\nkeymap = [\"vim\"]\n";
        let config = Config::parse("c", text).unwrap();
        let printed = config.print();
        assert_eq!(Config::parse("c", &printed).unwrap(), config);
        let values: Vec<&str> = printed.lines().map(|l| l.split("  #").next().unwrap().trim_end()).collect();
        assert_eq!(values, text.lines().collect::<Vec<_>>());
        assert_eq!(Config::parse("c", "keymap = \"vim\"").unwrap().keymap, ["vim"]);
    }

    #[test]
    fn the_command_line_comes_before_the_file() {
        let file = "mouse = true\ntheme = \"terminal\"\nkeymap = \"vim\"\n";
        let given = Given { theme: Some(ThemeName::Mono), ascii: true, ..Given::default() };
        let config = Config::parse("config.toml", file).unwrap().with(given);
        let words = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let printed = words(config.print());
        for line in [
            "theme = \"mono\" # --theme",
            "ascii = true # --ascii",
            "mouse = true # config.toml:1",
            "keymap = [\"vim\"] # config.toml:3",
        ] {
            assert!(printed.contains(line), "{line:?} in {printed}");
        }
        assert!(words(Config::default().print()).ends_with("keymap = [] # default"));
    }

    #[test]
    fn mistakes_name_file_and_line() {
        let error = |text| Config::parse("config.toml", text).unwrap_err().to_string();
        assert_eq!(error("\nmouse = 3"), "config.toml:2: mouse: found integer, accepted: true, false");
        assert!(error("thme = 1").contains("config.toml:1: thme: there is no such setting; accepted: theme, ascii"));
        assert!(error("theme = \"pink\"").contains("accepted: auto, mono, terminal"));
        assert!(error("keymap = \"vi\"").contains("config.toml:1: keymap: found \"vi\""));
        assert!(error("x = [").starts_with("config.toml:1"));
    }
}
