//! The one parser of addresses and edits; what [`super::print`] writes it reads.

use anyhow::{Error, Result};
use std::str::FromStr;

use super::cursor::Cursor;
use crate::prompt_set::BUILTIN;

use super::{Address, Direction, Edit, EditTarget, Numbered, Op, Part, Parts, Places, Positions, TokenName, hook};

const PLACES: &str = "embed, L<layer>.<part> or logit:<token>";
const PARTS: &str = "H<head>, N<neuron>, F<feature>, KV<key/value head>.k, KV<key/value head>.v, attn, mlp, resid_pre, resid_mid, \
                     resid_post or error";
const OF_HEAD: &str = "q, k, v, z or pattern";
const OPS: &str = "=<value>, *=<number> or +=<value>";
const SET_VALUES: &str = "a finite number, mean, mean:\"prompt\", mean:@<set>, from:\"prompt\", resample:@<set>, ablate:dir:<name> or cap:dir:<name>[min..max]";
const ADD_VALUES: &str = "a finite number, steer:<name> or diff:\"prompt\"-\"prompt\"";
const NUMBER: &str = "a finite number";

/// Parts that a layer has one of, by their names.
const NAMED_PARTS: [(&str, Part); 6] = [
    ("attn", Part::Attn),
    ("mlp", Part::Mlp),
    ("resid_pre", Part::ResidPre),
    ("resid_mid", Part::ResidMid),
    ("resid_post", Part::ResidPost),
    ("error", Part::Error),
];

/// What stands behind a head and a dot; longer names first.
const OF_HEADS: [(&str, Numbered); 5] = [
    ("pattern", Numbered::Pattern),
    ("q", Numbered::Query),
    ("k", Numbered::Key),
    ("v", Numbered::Value),
    // What a head mixes is the head.
    ("z", Numbered::Head),
];

/// Characters of a direction's name that need no quotes.
pub(super) fn is_bare(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-')
}

impl Cursor<'_> {
    fn places(&mut self) -> Result<Places> {
        if self.take("embed") {
            Ok(Places::Embed)
        } else if self.take("logit:") {
            Ok(Places::Logit(self.token()?))
        } else if self.take("L") {
            let layers = self.span("layer")?;
            if !self.take(".") {
                return Err(self.wrong("after the layer", "a dot and a part"));
            }
            Ok(Places::Layers(layers, self.parts()?))
        } else {
            Err(self.wrong("place", PLACES))
        }
    }

    fn token(&mut self) -> Result<TokenName> {
        if self.rest.starts_with('"') {
            Ok(TokenName::Text(self.json_string("token")?))
        } else if self.rest.starts_with(|c: char| c.is_ascii_digit()) {
            Ok(TokenName::Id(self.index("token id", NUMBER)?))
        } else {
            Err(self.wrong("token", "a JSON string or a token id"))
        }
    }

    fn parts(&mut self) -> Result<Parts> {
        for (name, part) in NAMED_PARTS {
            if self.take(name) {
                return Ok(Parts::Only(part));
            }
        }
        if self.take("H") {
            let heads = self.span("head")?;
            Ok(Parts::Numbered(self.of_head()?, heads))
        } else if self.take("KV") {
            let heads = self.span("key/value head")?;
            let kind = match (self.take(".k"), self.take(".v")) {
                (true, _) => Numbered::SharedKey,
                (_, true) => Numbered::SharedValue,
                _ => return Err(self.wrong("after the key/value head", ".k or .v")),
            };
            Ok(Parts::Numbered(kind, heads))
        } else if self.take("N") {
            Ok(Parts::Numbered(Numbered::Neuron, self.span("neuron")?))
        } else if self.take("F") {
            Ok(Parts::Numbered(Numbered::Feature, self.span("feature")?))
        } else {
            Err(self.wrong("part", PARTS))
        }
    }

    /// The part of a head: behind a dot, or the head itself.
    fn of_head(&mut self) -> Result<Numbered> {
        if !self.take(".") {
            return Ok(Numbered::Head);
        }
        let found = OF_HEADS.iter().find(|(name, _)| self.rest.starts_with(name));
        let (name, kind) = found.ok_or_else(|| self.wrong("part of a head", OF_HEAD))?;
        self.take(name);
        Ok(*kind)
    }

    fn target(&mut self) -> Result<EditTarget> {
        if hook::begins(self) {
            return self.hook();
        }
        let places = self.places()?;
        let at = self.take("@");
        let positions = if at { self.positions("position")? } else { Positions::ALL };
        if !self.rest.starts_with("<-") {
            return Ok(EditTarget { places, positions, keys: None });
        }
        match places {
            Places::Layers(_, Parts::Numbered(Numbered::Head | Numbered::Pattern, _)) if at => {
                self.take("<-");
                Ok(EditTarget { places, positions, keys: Some(self.positions("key position")?) })
            }
            _ => Err(self.wrong("attention edge", "\"<-\" only after a head and its query position, as in L5.H1@7<-3")),
        }
    }

    fn op(&mut self) -> Result<Op> {
        if self.take("*=") {
            self.number("factor", NUMBER, "").map(Op::Scale)
        } else if self.take("+=steer:") {
            let direction = Direction::File(self.name()?);
            self.steer(direction)
        } else if self.take("+=diff:") {
            let plus = self.json_string("prompt to steer towards")?;
            if !self.take("-") {
                return Err(self.wrong("direction", "\"-\" and the prompt to steer away from"));
            }
            let minus = self.json_string("prompt to steer away from")?;
            self.steer(Direction::Difference { plus, minus })
        } else if self.take("+=") {
            self.number("value", ADD_VALUES, "").map(Op::Add)
        } else if self.take("=mean:@") {
            let set = self.set_name()?;
            Ok(Op::MeanOfSet { set, by_position: self.take(":pos") })
        } else if self.take("=resample:@") {
            let set = self.set_name()?;
            let seed = if self.take(":") { self.index("seed", "a whole number")? } else { 0 };
            Ok(Op::Resample { set, seed })
        } else if self.take("=mean:") {
            self.json_string("reference prompt").map(Op::MeanOf)
        } else if self.take("=from:") {
            self.json_string("source prompt").map(Op::From)
        } else if self.take("=ablate:dir:") {
            self.name().map(Op::Ablate)
        } else if self.take("=cap:dir:") {
            self.cap()
        } else if self.rest == "=mean" {
            self.rest = "";
            Ok(Op::Mean)
        } else if self.take("=") {
            self.number("value", SET_VALUES, "").map(Op::Set)
        } else {
            Err(self.wrong("operation", OPS))
        }
    }

    /// The name of a saved direction.
    fn name(&mut self) -> Result<String> {
        if self.rest.starts_with('"') {
            return self.json_string("direction");
        }
        match self.take_while(is_bare) {
            "" => Err(self.wrong("direction", "a name or a JSON string")),
            name => Ok(name.to_owned()),
        }
    }

    /// The name of a set of prompts.
    fn set_name(&mut self) -> Result<String> {
        if self.rest.starts_with('"') {
            return self.json_string("set");
        }
        let builtin = if self.take(BUILTIN) { BUILTIN } else { "" };
        match self.take_while(is_bare) {
            "" => Err(self.wrong("set", "a name, a file or a JSON string")),
            name => Ok(format!("{builtin}{name}")),
        }
    }

    fn steer(&mut self, direction: Direction) -> Result<Op> {
        let factor = if self.take("*") { self.number("factor", NUMBER, "")? } else { 1.0 };
        Ok(Op::Steer { direction, factor })
    }

    /// A name and bounds: `happy[-1..2]`, `happy[..2]`, `happy[-1..]`.
    fn cap(&mut self) -> Result<Op> {
        let name = self.name()?;
        if !self.take("[") {
            return Err(self.wrong("bounds", "[min..max], [..max] or [min..]"));
        }
        let before = *self;
        let min = if self.rest.starts_with("..") { None } else { Some(self.number("lower bound", NUMBER, "..")?) };
        if !self.take("..") {
            return Err(self.wrong("bounds", "\"..\" and the upper bound"));
        }
        let max = if self.rest.starts_with(']') { None } else { Some(self.number("upper bound", NUMBER, "]")?) };
        if !self.take("]") {
            return Err(self.wrong("bounds", "]"));
        }
        match (min, max) {
            (None, None) => Err(before.wrong("bounds", "at least one bound")),
            (Some(min), Some(max)) if min > max => {
                Err(before.wrong("bounds", "a lower bound that is not above the upper"))
            }
            _ => Ok(Op::Cap { name, min, max }),
        }
    }
}

impl FromStr for EditTarget {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut cursor = Cursor::new(text);
        let target = cursor.target()?;
        cursor.end("target")?;
        Ok(target)
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut cursor = Cursor::new(text);
        let target = cursor.target()?;
        cursor.end("address")?;
        target.unit().ok_or_else(|| Cursor::new(text).wrong("address", "one unit, at one position or at every one"))
    }
}

impl FromStr for Edit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut cursor = Cursor::new(text);
        let edit = Edit { target: cursor.target()?, op: cursor.op()? };
        cursor.end("edit")?;
        Ok(edit)
    }
}

impl FromStr for TokenName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut cursor = Cursor::new(text);
        let token = cursor.token()?;
        cursor.end("token")?;
        Ok(token)
    }
}
