//! Typed parameters of methods: what can be chosen, with defaults, read from text.

use crate::address::{Address, Component, Part};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;

/// A parameter of a method.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// Its name: `--name` on the command line.
    pub name: &'static str,
    /// What values it takes.
    pub kind: ParamKind,
    /// The value it has when nobody says otherwise, as text.
    pub default: &'static str,
    /// What it is for, in a line.
    pub help: &'static str,
}

/// What values a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    /// `true` or `false`.
    Flag,
    /// A whole number from 0.
    Count,
    /// A position; negative counts from the end.
    Position,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A layer, or `all`.
    Layer,
    /// A head as `L5.H1`, or `none`.
    Head,
    /// A position that is looked at, negative to count from the end, or `most`.
    Key,
    /// A neuron as `L5.N17`, or `none`.
    Neuron,
    /// Any text.
    Text,
    /// A feature as `L5.F17`, or `none`.
    Feature,
    /// A folder of transcoders, or `own`.
    Folder,
}

/// A parameter's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParamValue {
    /// Of a [`ParamKind::Flag`].
    Flag(bool),
    /// Of a [`ParamKind::Count`].
    Count(usize),
    /// Of a [`ParamKind::Position`].
    Position(i64),
    /// Of a [`ParamKind::Choice`].
    Choice(&'static str),
    /// Of a [`ParamKind::Layer`]; `None` is all.
    Layer(Option<usize>),
    /// Of a [`ParamKind::Head`]: layer and head.
    Head(Option<(usize, usize)>),
    /// Of a [`ParamKind::Key`]; `None` is the one with the most attention.
    Key(Option<i64>),
    /// Of a [`ParamKind::Neuron`]: layer and neuron.
    Neuron(Option<(usize, usize)>),
    /// Of a [`ParamKind::Text`].
    Text(String),
    /// Of a [`ParamKind::Feature`]: layer and feature.
    Feature(Option<(usize, usize)>),
    /// Of a [`ParamKind::Folder`]; `None` is the model's own.
    Folder(Option<String>),
}

impl ParamKind {
    /// What is accepted, for help and errors.
    pub fn accepted(self) -> String {
        match self {
            ParamKind::Flag => "true, false".into(),
            ParamKind::Count => "a whole number".into(),
            ParamKind::Position => "a whole number, negative to count from the end".into(),
            ParamKind::Choice(words) => words.join(", "),
            ParamKind::Layer => "a layer, all".into(),
            ParamKind::Head => "a head such as L5.H1, none".into(),
            ParamKind::Key => "a position, most".into(),
            ParamKind::Neuron => "a neuron such as L5.N17, none".into(),
            ParamKind::Text => "any text".into(),
            ParamKind::Feature => "a feature such as L5.F17, none".into(),
            ParamKind::Folder => "a folder of transcoders or its name in the Hugging Face cache, own".into(),
        }
    }

    /// Reads a value.
    ///
    /// # Errors
    /// What was found and what is accepted.
    pub fn parse(self, text: &str) -> Result<ParamValue> {
        let value = match self {
            ParamKind::Flag => text.parse().ok().map(ParamValue::Flag),
            ParamKind::Count => text.parse().ok().map(ParamValue::Count),
            ParamKind::Position => text.parse().ok().map(ParamValue::Position),
            ParamKind::Choice(words) => words.iter().find(|w| **w == text).map(|w| ParamValue::Choice(w)),
            ParamKind::Layer if text == "all" => Some(ParamValue::Layer(None)),
            ParamKind::Layer => text.strip_prefix('L').unwrap_or(text).parse().ok().map(|l| ParamValue::Layer(Some(l))),
            ParamKind::Key if text == "most" => Some(ParamValue::Key(None)),
            ParamKind::Key => text.parse().ok().map(|p| ParamValue::Key(Some(p))),
            ParamKind::Head if text == "none" => Some(ParamValue::Head(None)),
            ParamKind::Head => match text.parse::<Address>().map(|a| a.place) {
                Ok(Component::Unit { layer, part: Part::Head(head) }) => Some(ParamValue::Head(Some((layer, head)))),
                _ => None,
            },
            ParamKind::Neuron if text == "none" => Some(ParamValue::Neuron(None)),
            ParamKind::Neuron => match text.parse::<Address>().map(|a| a.place) {
                Ok(Component::Unit { layer, part: Part::Neuron(neuron) }) => {
                    Some(ParamValue::Neuron(Some((layer, neuron))))
                }
                _ => None,
            },
            ParamKind::Text => Some(ParamValue::Text(text.to_owned())),
            ParamKind::Feature if text == "none" => Some(ParamValue::Feature(None)),
            ParamKind::Feature => match text.parse::<Address>().map(|a| a.place) {
                Ok(Component::Unit { layer, part: Part::Feature(feature) }) => {
                    Some(ParamValue::Feature(Some((layer, feature))))
                }
                _ => None,
            },
            ParamKind::Folder if text == "own" => Some(ParamValue::Folder(None)),
            ParamKind::Folder => (!text.trim().is_empty()).then(|| ParamValue::Folder(Some(text.to_owned()))),
        };
        value.with_context(|| format!("found {text:?}, expected {}", self.accepted()))
    }
}

/// The values of a method's parameters: every one has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values(BTreeMap<&'static str, ParamValue>);

impl Values {
    /// Reads `given` names and texts; the rest are defaults.
    ///
    /// # Errors
    /// A name the method does not have, a value it does not accept.
    pub fn parse(params: &'static [Param], given: &[(String, String)]) -> Result<Self> {
        let mut values = BTreeMap::new();
        for param in params {
            let default = param.kind.parse(param.default).with_context(|| format!("default of {}", param.name))?;
            values.insert(param.name, default);
        }
        for (name, text) in given {
            let Some(param) = params.iter().find(|p| p.name == name) else {
                let names: Vec<&str> = params.iter().map(|p| p.name).collect();
                bail!("no parameter is called {name:?}; accepted: {}", names.join(", "));
            };
            values.insert(param.name, param.kind.parse(text).with_context(|| name.clone())?);
        }
        Ok(Values(values))
    }

    /// Takes what `given` has for a parameter, else its default.
    ///
    /// # Errors
    /// As [`Values::defaults`].
    pub fn given(params: &'static [Param], given: impl Fn(&Param) -> Option<ParamValue>) -> Result<Self> {
        let mut values = Values::defaults(params)?;
        values.0.extend(params.iter().filter_map(|p| Some((p.name, given(p)?))));
        Ok(values)
    }

    /// The defaults.
    ///
    /// # Errors
    /// A default that its own kind does not accept: a mistake in the method.
    pub fn defaults(params: &'static [Param]) -> Result<Self> {
        Values::parse(params, &[])
    }

    /// The same values but for one.
    ///
    /// # Errors
    /// As [`Values::parse`].
    pub fn with(mut self, params: &'static [Param], name: &str, text: &str) -> Result<Self> {
        let one = Values::parse(params, &[(name.to_owned(), text.to_owned())])?;
        self.0.extend(one.0.into_iter().filter(|(n, _)| *n == name));
        Ok(self)
    }

    /// The value of a parameter.
    ///
    /// # Errors
    /// The method has none of this name.
    pub fn get(&self, name: &str) -> Result<ParamValue> {
        self.0.get(name).cloned().with_context(|| format!("the method has no parameter {name:?}"))
    }
}

macro_rules! getters {
    ($($(#[$doc:meta])* $name:ident $kind:ident $type:ty;)*) => {
        impl Values {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// The method has no such parameter of this kind.
                pub fn $name(&self, name: &str) -> Result<$type> {
                    match self.get(name)? {
                        ParamValue::$kind(value) => Ok(value),
                        other => bail!("parameter {name} is {other:?}"),
                    }
                }
            )*
        }
    };
}

getters! {
    /// A flag.
    flag Flag bool;
    /// A number.
    count Count usize;
    /// A position as it was given.
    position Position i64;
    /// A word.
    choice Choice &'static str;
    /// A layer; `None` is all of them.
    layer Layer Option<usize>;
    /// Layer and head.
    head Head Option<(usize, usize)>;
    /// A position as it was given; `None` is the one with the most attention.
    key Key Option<i64>;
    /// Layer and neuron.
    neuron Neuron Option<(usize, usize)>;
    /// A text.
    text Text String;
    /// Layer and feature.
    feature Feature Option<(usize, usize)>;
    /// A folder; `None` is the model's own.
    folder Folder Option<String>;
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMS: &[Param] = &[
        Param { name: "top", kind: ParamKind::Count, default: "20", help: "" },
        Param { name: "gate", kind: ParamKind::Choice(&["half", "freeze"]), default: "half", help: "" },
        Param { name: "layer", kind: ParamKind::Layer, default: "all", help: "" },
        Param { name: "head", kind: ParamKind::Head, default: "none", help: "" },
        Param { name: "probe", kind: ParamKind::Flag, default: "false", help: "" },
    ];

    fn given(pairs: &[(&str, &str)]) -> Result<Values> {
        let pairs: Vec<_> = pairs.iter().map(|(n, t)| (n.to_string(), t.to_string())).collect();
        Values::parse(PARAMS, &pairs)
    }

    #[test]
    fn values_are_read_and_the_rest_are_defaults() {
        let values = given(&[("top", "3"), ("layer", "L2"), ("head", "L5.H1@7"), ("probe", "true")]).unwrap();
        assert_eq!(values.count("top").unwrap(), 3);
        assert_eq!(values.choice("gate").unwrap(), "half");
        assert_eq!(values.layer("layer").unwrap(), Some(2));
        assert_eq!(values.head("head").unwrap(), Some((5, 1)));
        assert!(values.flag("probe").unwrap());
        let values = values.with(PARAMS, "layer", "all").unwrap();
        assert_eq!((values.layer("layer").unwrap(), values.count("top").unwrap()), (None, 3));
        assert!(values.flag("top").is_err() && values.flag("nothing").is_err());
    }

    #[test]
    fn errors_name_the_parameter_and_what_is_accepted() {
        for (name, text, says) in [
            ("top", "-1", "top: found \"-1\", expected a whole number"),
            ("gate", "full", "gate: found \"full\", expected half, freeze"),
            ("layer", "L", "layer: found \"L\", expected a layer, all"),
            ("head", "L5.N1", "head: found \"L5.N1\", expected a head such as L5.H1, none"),
            ("tip", "1", "no parameter is called \"tip\"; accepted: top, gate, layer, head, probe"),
        ] {
            assert_eq!(format!("{:#}", given(&[(name, text)]).unwrap_err()), says);
        }
    }
}
