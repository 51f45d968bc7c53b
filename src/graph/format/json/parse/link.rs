//! One link, without taking its ids or usual keys into memory.

use std::fmt::{self, Formatter};

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, Visitor};

use super::super::budget::{AnyValue, Budget};
use super::{Ids, Link, ParsePosition, Reader};
use crate::cast::single;

/// The link of this number.
pub(super) struct OneLink<'a, 'b>(pub &'a mut Reader<'b>, pub usize);

impl<'de> DeserializeSeed<'de> for OneLink<'_, '_> {
    type Value = Link;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Link, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OneLink<'_, '_> {
    type Value = Link;

    fn expecting(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str("a link: an object with source, target and weight")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Link, A::Error> {
        let OneLink(reader, i) = self;
        let (mut source, mut target, mut weight) = (None, None, None);
        while let Some(key) = access.next_key_seed(Key)? {
            let place = |field| reader.place.set(ParsePosition::Link(i, field));
            let repeated = match key {
                LinkKey::Source => {
                    place("source");
                    let id = Id(&mut reader.parsed.ids, reader.budget);
                    source.replace(access.next_value_seed(id)?).is_some()
                }
                LinkKey::Target => {
                    place("target");
                    let id = Id(&mut reader.parsed.ids, reader.budget);
                    target.replace(access.next_value_seed(id)?).is_some()
                }
                LinkKey::Weight => {
                    place("weight");
                    weight.replace(access.next_value_seed(Weight)?).is_some()
                }
                LinkKey::Other(key) => {
                    let size = 512 + key.len() as u64;
                    reader.budget.charge(size).map_err(de::Error::custom)?;
                    let value = access.next_value_seed(AnyValue(reader.budget))?;
                    let extras = &mut reader.parsed.link_extras;
                    let number = u32::try_from(i).map_err(de::Error::custom)?;
                    extras.entry(number).or_default().insert(key, value).is_some()
                }
            };
            if repeated {
                return Err(de::Error::custom("a key is there twice"));
            }
        }
        let field = |name| {
            reader.place.set(ParsePosition::Link(i, name));
            move || de::Error::custom("missing")
        };
        Ok(Link {
            source: source.ok_or_else(field("source"))?,
            target: target.ok_or_else(field("target"))?,
            weight: weight.ok_or_else(field("weight"))?,
        })
    }
}

enum LinkKey {
    Source,
    Target,
    Weight,
    Other(String),
}

/// A key of a link, without taking the usual ones into memory.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = LinkKey;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<LinkKey, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Key {
    type Value = LinkKey;

    fn expecting(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<LinkKey, E> {
        Ok(match key {
            "source" => LinkKey::Source,
            "target" => LinkKey::Target,
            "weight" => LinkKey::Weight,
            other => LinkKey::Other(other.to_owned()),
        })
    }
}

/// An end of a link.
struct Id<'a>(&'a mut Ids, &'a Budget);

impl<'de> DeserializeSeed<'de> for Id<'_> {
    type Value = u32;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u32, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Id<'_> {
    type Value = u32;

    fn expecting(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str("the id of a node")
    }

    fn visit_str<E: de::Error>(self, id: &str) -> Result<u32, E> {
        self.0.intern(id, self.1).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, id: u64) -> Result<u32, E> {
        self.0.not_text += 1;
        self.visit_str(&id.to_string())
    }
}

/// A finite 32-bit number.
struct Weight;

impl<'de> DeserializeSeed<'de> for Weight {
    type Value = f32;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<f32, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Weight {
    type Value = f32;

    fn expecting(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str("a finite number")
    }

    fn visit_f64<E: de::Error>(self, weight: f64) -> Result<f32, E> {
        let narrow = single(weight);
        if !narrow.is_finite() {
            return Err(E::custom(format_args!("found {weight}, expected a 32-bit number")));
        }
        Ok(narrow)
    }

    fn visit_i64<E: de::Error>(self, weight: i64) -> Result<f32, E> {
        Ok(weight as f32)
    }

    fn visit_u64<E: de::Error>(self, weight: u64) -> Result<f32, E> {
        Ok(weight as f32)
    }
}
