//! Methods of the catalogue: chosen from a list, their parameters typed behind their name.

use super::App;
use crate::action::Action;
use crate::analysis;
use crate::analysis::param::{Param, ParamKind, Values};
use anyhow::{Context, Result, bail, ensure};

/// What begins a method here that is no report of the Method tab. One that nothing begins is asked on the command line: it takes a run for every unit of
/// the model, or no prompt.
const BEGUN_BY: [(&str, Action); 8] = [
    ("predict", Action::TabPrompt),
    ("intervene", Action::Edit),
    ("generate", Action::Generate),
    ("graph", Action::TabGraph),
    ("patch", Action::TabPatch),
    ("verify", Action::TestNode),
    ("keep-only", Action::KeepOnly),
    ("loadings", Action::ExplainEdge),
];

impl App {
    /// Runs a method with what was typed behind its name: `layer=2 top=50`, a flag by its name alone.
    ///
    /// # Errors
    /// What the method does not accept; the error names what it does.
    pub(super) fn ask_method(&mut self, name: &'static str, typed: &str) -> Result<()> {
        let Ok(method) = analysis::named(name) else {
            ensure!(
                typed.trim().is_empty(),
                "{name} takes no parameters here: mechscope methods lists those of its command"
            );
            let Some((_, action)) = BEGUN_BY.iter().find(|(begun, _)| *begun == name) else {
                let run = analysis::catalogue().find(|entry| entry.about.name == name).map(|entry| entry.run);
                bail!("{name} is asked on the command line: {}", run.unwrap_or_default());
            };
            self.perform(*action, 1);
            return Ok(());
        };
        let params = method.about().params;
        let given = given(params, typed).with_context(|| name.to_owned())?;
        self.run_method(name);
        self.method.params = given;
        Ok(())
    }

    /// The method of the Method tab with its parameters, as they are typed.
    pub fn method_title(&self) -> String {
        let params = self.method.params.iter().map(|(name, value)| match name.as_str() {
            // The unit that it is about.
            "feature" | "neuron" | "head" => format!(" {value}"),
            _ => format!(" {name}={value}"),
        });
        self.method.name.unwrap_or("Method").to_owned() + &params.collect::<String>()
    }
}

/// Reads parameters, each checked against the method's own list.
fn given(params: &'static [Param], typed: &str) -> Result<Vec<(String, String)>> {
    let mut given: Vec<(String, String)> = Vec::new();
    for word in typed.split_whitespace() {
        let flag = params.iter().any(|p| p.name == word && p.kind == ParamKind::Flag);
        // A text goes on until the next parameter: `probe-words=red apple tall` needs no quotes.
        let named = word.split_once('=').is_some_and(|(name, _)| params.iter().any(|p| p.name == name));
        let text = |name: &str| params.iter().any(|p| p.name == name && p.kind == ParamKind::Text);
        if let Some((_, before)) = given.last_mut().filter(|(name, _)| text(name) && !named && !flag) {
            *before += " ";
            *before += word;
            continue;
        }
        let Some((name, value)) = word.split_once('=').or_else(|| flag.then_some((word, "true"))) else {
            let names: Vec<String> = params.iter().map(|p| format!("{}={}", p.name, p.default)).collect();
            bail!("found {word:?}; accepted: {}", names.join(" "));
        };
        given.retain(|(other, _)| other != name);
        given.push((name.to_owned(), value.to_owned()));
    }
    Values::parse(params, &given)?;
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMS: &[Param] = &[
        Param { name: "top", kind: ParamKind::Count, default: "20", help: "" },
        Param { name: "probe", kind: ParamKind::Flag, default: "false", help: "" },
    ];

    #[test]
    fn parameters_are_read_and_checked() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(given(PARAMS, "").unwrap(), []);
        assert_eq!(given(PARAMS, " probe  top=3 ").unwrap(), [pair("probe", "true"), pair("top", "3")]);
        assert_eq!(given(PARAMS, "top=3 probe=false top=4").unwrap(), [pair("probe", "false"), pair("top", "4")]);
        let error = |text| format!("{:#}", given(PARAMS, text).unwrap_err());
        assert_eq!(error("top"), "found \"top\"; accepted: top=20 probe=false");
        assert_eq!(error("tip=3"), "no parameter is called \"tip\"; accepted: top, probe");
        assert_eq!(error("top=x"), "top: found \"x\", expected a whole number");
        assert_eq!(error("probe=yes"), "probe: found \"yes\", expected true, false");
        let words = [PARAMS, &[Param { name: "words", kind: ParamKind::Text, default: "", help: "" }]].concat().leak();
        assert_eq!(given(words, "words=a b=c d top=3").unwrap(), [pair("words", "a b=c d"), pair("top", "3")]);
        assert_eq!(given(words, "words=a b probe").unwrap(), [pair("words", "a b"), pair("probe", "true")]);
    }

    #[test]
    fn what_keys_begin_is_in_the_catalogue_and_no_report() {
        for (name, _) in BEGUN_BY {
            assert!(analysis::catalogue().any(|entry| entry.about.name == name), "{name}");
            assert!(analysis::named(name).is_err(), "{name}");
        }
    }
}
