//! The one printer of addresses and edits; [`super::parse`] reads what it writes.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};

use anyhow::Result;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::prompt_set::BUILTIN;

use super::cursor::PROMPT_END;
use super::parse::is_bare;
use super::{
    Address, Component, Direction, Edit, EditTarget, Numbered, Op, Part, Parts, Places, Positions, Span, TokenName,
};

/// A string as JSON writes it.
struct Json<'a>(&'a str);

impl Display for Json<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str(&serde_json::to_string(self.0).map_err(|_| fmt::Error)?)
    }
}

/// The shortest decimal that reads back as the same `f32`, without `.0`.
struct Number(f32);

impl Display for Number {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let digits = format!("{:?}", self.0);
        f.write_str(digits.strip_suffix(".0").unwrap_or(&digits))
    }
}

impl Display for TokenName {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            TokenName::Text(text) => Json(text).fmt(f),
            TokenName::Id(id) => id.fmt(f),
        }
    }
}

impl Display for Part {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Part::Attn => f.write_str("attn"),
            Part::Mlp => f.write_str("mlp"),
            Part::ResidPre => f.write_str("resid_pre"),
            Part::ResidMid => f.write_str("resid_mid"),
            Part::ResidPost => f.write_str("resid_post"),
            Part::Error => f.write_str("error"),
            numbered => Parts::from(*numbered).fmt(f),
        }
    }
}

impl Display for Component {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Component::Embed => f.write_str("embed"),
            Component::Unit { layer, part } => write!(f, "L{layer}.{part}"),
            Component::Logit(token) => write!(f, "logit:{token}"),
        }
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self.position {
            Some(position) => write!(f, "{}@{position}", self.place),
            None => self.place.fmt(f),
        }
    }
}

impl<N: Display + Copy + PartialEq> Display for Span<N> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match (self.first, self.last) {
            (None, None) => f.write_str("*"),
            (Some(first), Some(last)) if first == last => first.fmt(f),
            (first, last) => {
                first.map_or(Ok(()), |n| n.fmt(f))?;
                f.write_str("..")?;
                last.map_or(Ok(()), |n| n.fmt(f))
            }
        }
    }
}

impl Display for Positions {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Positions::Span(span) => span.fmt(f),
            Positions::Token(text) => Json(text).fmt(f),
            Positions::FromPromptEnd => f.write_str(PROMPT_END),
        }
    }
}

impl Display for Parts {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let (kind, n) = match self {
            Parts::Only(part) => return part.fmt(f),
            Parts::Numbered(kind, numbers) => (kind, numbers),
        };
        match kind {
            Numbered::Head => write!(f, "H{n}"),
            Numbered::Query => write!(f, "H{n}.q"),
            Numbered::Key => write!(f, "H{n}.k"),
            Numbered::Value => write!(f, "H{n}.v"),
            Numbered::SharedKey => write!(f, "KV{n}.k"),
            Numbered::SharedValue => write!(f, "KV{n}.v"),
            Numbered::Pattern => write!(f, "H{n}.pattern"),
            Numbered::Neuron => write!(f, "N{n}"),
            Numbered::Feature => write!(f, "F{n}"),
        }
    }
}

impl Display for Places {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Places::Embed => f.write_str("embed"),
            Places::Logit(token) => write!(f, "logit:{token}"),
            Places::Layers(layers, parts) => write!(f, "L{layers}.{parts}"),
        }
    }
}

impl Display for EditTarget {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        self.places.fmt(f)?;
        match (&self.positions, &self.keys) {
            (positions, Some(keys)) => write!(f, "@{positions}<-{keys}"),
            (positions, None) if *positions == Positions::ALL => Ok(()),
            (positions, None) => write!(f, "@{positions}"),
        }
    }
}

/// The name of a saved direction, in quotes where it needs them.
struct Name<'a>(&'a str);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let bare = !self.0.is_empty() && self.0.chars().all(is_bare);
        if bare { f.write_str(self.0) } else { Json(self.0).fmt(f) }
    }
}

/// The name of a set of prompts, in quotes where it needs them.
struct SetName<'a>(&'a str);

impl Display for SetName<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let name = self.0.strip_prefix(BUILTIN).unwrap_or(self.0);
        let bare = !name.is_empty() && name.chars().all(is_bare);
        if bare { f.write_str(self.0) } else { Json(self.0).fmt(f) }
    }
}

impl Display for Direction {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Direction::File(name) => write!(f, "steer:{}", Name(name)),
            Direction::Difference { plus, minus } => {
                write!(f, "diff:{}-{}", Json(plus), Json(minus))
            }
        }
    }
}

impl Display for Op {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Op::Set(value) => write!(f, "={}", Number(*value)),
            Op::Mean => f.write_str("=mean"),
            Op::MeanOf(prompt) => write!(f, "=mean:{}", Json(prompt)),
            Op::MeanOfSet { set, by_position } => {
                write!(f, "=mean:@{}{}", SetName(set), if *by_position { ":pos" } else { "" })
            }
            Op::From(prompt) => write!(f, "=from:{}", Json(prompt)),
            Op::Resample { set, seed: 0 } => write!(f, "=resample:@{}", SetName(set)),
            Op::Resample { set, seed } => write!(f, "=resample:@{}:{seed}", SetName(set)),
            Op::Scale(factor) => write!(f, "*={}", Number(*factor)),
            Op::Add(value) => write!(f, "+={}", Number(*value)),
            Op::Ablate(name) => write!(f, "=ablate:dir:{}", Name(name)),
            Op::Cap { name, min, max } => {
                let bound = |bound: &Option<f32>| bound.map_or(String::new(), |b| Number(b).to_string());
                write!(f, "=cap:dir:{}[{}..{}]", Name(name), bound(min), bound(max))
            }
            Op::Steer { direction, factor } => write!(f, "+={direction}*{}", Number(*factor)),
        }
    }
}

impl Display for Edit {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "{}{}", self.target, self.op)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Edit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Edit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
