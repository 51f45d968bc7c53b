//! Reports as plain data: numbers that JSON has no words for, and units that are among the known ones.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

/// What numbers are measured in.
const UNITS: [&str; 5] = ["", "activation", "cosine", "logit", "nats"];

/// Reads a unit.
pub(super) fn unit<'de, D: Deserializer<'de>>(from: D) -> Result<&'static str, D::Error> {
    let found = String::deserialize(from)?;
    let known = UNITS.iter().find(|unit| **unit == found);
    known.copied().ok_or_else(|| D::Error::custom(format!("unit {found:?}; accepted: {}", UNITS.join(", "))))
}

/// A number, or the word for one that is not finite.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Number {
    Finite(f32),
    Word(String),
}

impl Number {
    fn new(value: f32) -> Self {
        if value.is_finite() { Number::Finite(value) } else { Number::Word(value.to_string()) }
    }

    fn value<E: Error>(self) -> Result<f32, E> {
        match self {
            Number::Finite(value) => Ok(value),
            Number::Word(word) => word.parse().map_err(|_| E::custom(format!("{word:?} is no number"))),
        }
    }
}

/// One number: `#[serde(with = "plain::number")]`.
pub mod number {
    use super::Number;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(value: &f32, to: S) -> Result<S::Ok, S::Error> {
        Number::new(*value).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f32, D::Error> {
        Number::deserialize(from)?.value()
    }
}

/// Many numbers: `#[serde(with = "plain::numbers")]`.
pub mod numbers {
    use super::Number;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(values: &[f32], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(values.iter().map(|value| Number::new(*value)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f32>, D::Error> {
        Vec::<Number>::deserialize(from)?.into_iter().map(Number::value).collect()
    }
}

/// Tokens with a value on each: `#[serde(with = "plain::weighted")]`.
pub mod weighted {
    use super::Number;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(tokens: &[(String, f32)], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(tokens.iter().map(|(token, value)| (token, Number::new(*value))))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(String, f32)>, D::Error> {
        let tokens = Vec::<(String, Number)>::deserialize(from)?.into_iter();
        tokens.map(|(token, value)| Ok((token, value.value()?))).collect()
    }
}
