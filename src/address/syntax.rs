//! The one parser and the one printer of addresses and edits; what one writes the other reads.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use anyhow::{Error, Result, anyhow};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Address, Direction, Edit, Op, Part, Place, Target, Token};

const PLACES: &str = "embed, L<layer>.<part> or logit:<token>";
const PARTS: &str = "H<head>, N<neuron>, F<feature>, attn, mlp, resid_pre, resid_mid, resid_post or error";
const POSITION: &str = "a whole number, negative to count from the end";
const OPS: &str = "=<value>, *=<number> or +=<value>";
const SET_VALUES: &str = "a finite number, mean, mean:\"prompt\" or from:\"prompt\"";
const ADD_VALUES: &str = "a finite number, steer:<name> or diff:\"prompt\"-\"prompt\"";
const NUMBER: &str = "a finite number";
const JSON_STRING: &str = "a JSON string";

/// Parts without a number, by their names.
const NAMED_PARTS: [(&str, Part); 6] = [
    ("attn", Part::Attn),
    ("mlp", Part::Mlp),
    ("resid_pre", Part::ResidPre),
    ("resid_mid", Part::ResidMid),
    ("resid_post", Part::ResidPost),
    ("error", Part::Error),
];

/// Characters of a direction's name that need no quotes.
fn is_bare(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-')
}

/// A place in the text: everything before `rest` has been understood.
struct Cursor<'a> {
    whole: &'a str,
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn new(whole: &'a str) -> Self {
        Cursor { whole, rest: whole }
    }

    fn take(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !accept(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// The error for `part` when what stands here is not what is accepted.
    fn wrong(&self, part: &str, accepted: &str) -> Error {
        let shown = |text: &str| match text.char_indices().nth(40) {
            Some((cut, _)) => format!("{:?}…", &text[..cut]),
            None => format!("{text:?}"),
        };
        let found = if self.rest.is_empty() { "nothing".to_owned() } else { shown(self.rest) };
        anyhow!("{}: {part}: found {found}, expected {accepted}", shown(self.whole))
    }

    fn end(&self, what: &str) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.wrong(&format!("after the {what}"), "nothing")) }
    }

    /// A number written in digits alone, as indices are.
    fn index<N: FromStr>(&mut self, part: &str) -> Result<N> {
        let before = Cursor { ..*self };
        let digits = self.take_while(|c| c.is_ascii_digit());
        if digits.is_empty() {
            return Err(before.wrong(part, "a whole number"));
        }
        digits.parse().map_err(|_| before.wrong(part, "a smaller number"))
    }

    fn position(&mut self, part: &str) -> Result<i64> {
        let before = Cursor { ..*self };
        let negative = self.take("-");
        let digits = self.take_while(|c| c.is_ascii_digit());
        if digits.is_empty() {
            return Err(before.wrong(part, POSITION));
        }
        let length = digits.len() + usize::from(negative);
        before.rest[..length].parse().map_err(|_| before.wrong(part, "a smaller number"))
    }

    fn json_string(&mut self, part: &str) -> Result<String> {
        if !self.rest.starts_with('"') {
            return Err(self.wrong(part, JSON_STRING));
        }
        let mut stream = serde_json::Deserializer::from_str(self.rest).into_iter::<String>();
        match stream.next() {
            Some(Ok(text)) => {
                self.rest = &self.rest[stream.byte_offset()..];
                Ok(text)
            }
            Some(Err(error)) => Err(self.wrong(part, &format!("{JSON_STRING} ({error})"))),
            None => Err(self.wrong(part, JSON_STRING)),
        }
    }

    /// A finite `f32`, which is all that is left of the text.
    fn number(&mut self, part: &str, accepted: &str) -> Result<f32> {
        let is_decimal = self.rest.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E'));
        match self.rest.parse::<f32>() {
            Ok(value) if is_decimal && value.is_finite() => {
                self.rest = "";
                Ok(value)
            }
            _ => Err(self.wrong(part, accepted)),
        }
    }

    fn place(&mut self) -> Result<Place> {
        if self.take("embed") {
            Ok(Place::Embed)
        } else if self.take("logit:") {
            Ok(Place::Logit(self.token()?))
        } else if self.take("L") {
            let layer = self.index("layer")?;
            if !self.take(".") {
                return Err(self.wrong("after the layer", "a dot and a part"));
            }
            Ok(Place::Unit { layer, part: self.part()? })
        } else {
            Err(self.wrong("place", PLACES))
        }
    }

    fn token(&mut self) -> Result<Token> {
        if self.rest.starts_with('"') {
            Ok(Token::Text(self.json_string("token")?))
        } else if self.rest.starts_with(|c: char| c.is_ascii_digit()) {
            Ok(Token::Id(self.index("token id")?))
        } else {
            Err(self.wrong("token", "a JSON string or a token id"))
        }
    }

    fn part(&mut self) -> Result<Part> {
        for (name, part) in NAMED_PARTS {
            if self.take(name) {
                return Ok(part);
            }
        }
        if self.take("H") {
            Ok(Part::Head(self.index("head")?))
        } else if self.take("N") {
            Ok(Part::Neuron(self.index("neuron")?))
        } else if self.take("F") {
            Ok(Part::Feature(self.index("feature")?))
        } else {
            Err(self.wrong("part", PARTS))
        }
    }

    fn address(&mut self) -> Result<Address> {
        let place = self.place()?;
        let position = if self.take("@") { Some(self.position("position")?) } else { None };
        Ok(Address { place, position })
    }

    fn target(&mut self) -> Result<Target> {
        let address = self.address()?;
        if !self.rest.starts_with("<-") {
            return Ok(Target::Unit(address));
        }
        match address {
            Address { place: Place::Unit { layer, part: Part::Head(head) }, position: Some(query) } => {
                self.take("<-");
                Ok(Target::AttentionEdge { layer, head, query, key: self.position("key position")? })
            }
            _ => Err(self.wrong("attention edge", "\"<-\" only after a head and its query position, as in L5.H1@7<-3")),
        }
    }

    fn op(&mut self) -> Result<Op> {
        if self.take("*=") {
            self.number("factor", NUMBER).map(Op::Scale)
        } else if self.take("+=steer:") {
            let name = if self.rest.starts_with('"') {
                self.json_string("direction")?
            } else {
                match self.take_while(is_bare) {
                    "" => return Err(self.wrong("direction", "a name or a JSON string")),
                    name => name.to_owned(),
                }
            };
            self.steer(Direction::File(name))
        } else if self.take("+=diff:") {
            let plus = self.json_string("prompt to steer towards")?;
            if !self.take("-") {
                return Err(self.wrong("direction", "\"-\" and the prompt to steer away from"));
            }
            let minus = self.json_string("prompt to steer away from")?;
            self.steer(Direction::Difference { plus, minus })
        } else if self.take("+=") {
            self.number("value", ADD_VALUES).map(Op::Add)
        } else if self.take("=mean:") {
            self.json_string("reference prompt").map(Op::MeanOf)
        } else if self.take("=from:") {
            self.json_string("source prompt").map(Op::From)
        } else if self.rest == "=mean" {
            self.rest = "";
            Ok(Op::Mean)
        } else if self.take("=") {
            self.number("value", SET_VALUES).map(Op::Set)
        } else {
            Err(self.wrong("operation", OPS))
        }
    }

    fn steer(&mut self, direction: Direction) -> Result<Op> {
        let factor = if self.take("*") { self.number("factor", NUMBER)? } else { 1.0 };
        Ok(Op::Steer { direction, factor })
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut cursor = Cursor::new(text);
        let address = cursor.address()?;
        cursor.end("address")?;
        Ok(address)
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

impl FromStr for Token {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut cursor = Cursor::new(text);
        let token = cursor.token()?;
        cursor.end("token")?;
        Ok(token)
    }
}

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

impl Display for Token {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Token::Text(text) => Json(text).fmt(f),
            Token::Id(id) => id.fmt(f),
        }
    }
}

impl Display for Part {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Part::Head(n) => write!(f, "H{n}"),
            Part::Neuron(n) => write!(f, "N{n}"),
            Part::Feature(n) => write!(f, "F{n}"),
            Part::Attn => f.write_str("attn"),
            Part::Mlp => f.write_str("mlp"),
            Part::ResidPre => f.write_str("resid_pre"),
            Part::ResidMid => f.write_str("resid_mid"),
            Part::ResidPost => f.write_str("resid_post"),
            Part::Error => f.write_str("error"),
        }
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Place::Embed => f.write_str("embed"),
            Place::Unit { layer, part } => write!(f, "L{layer}.{part}"),
            Place::Logit(token) => write!(f, "logit:{token}"),
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

impl Display for Target {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Target::Unit(address) => address.fmt(f),
            Target::AttentionEdge { layer, head, query, key } => write!(f, "L{layer}.H{head}@{query}<-{key}"),
        }
    }
}

impl Display for Direction {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Direction::File(name) if !name.is_empty() && name.chars().all(is_bare) => {
                write!(f, "steer:{name}")
            }
            Direction::File(name) => write!(f, "steer:{}", Json(name)),
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
            Op::From(prompt) => write!(f, "=from:{}", Json(prompt)),
            Op::Scale(factor) => write!(f, "*={}", Number(*factor)),
            Op::Add(value) => write!(f, "+={}", Number(*value)),
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
