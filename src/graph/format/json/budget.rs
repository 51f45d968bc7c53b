//! Bounded memory: everything that is kept while reading is charged before it grows.

use std::cell::Cell;
use std::fmt::{self, Formatter};

use anyhow::{Result, bail};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Memory taken by a place in a JSON object: the value, its key, and the map's own tables.
const ENTRY: u64 = (size_of::<Value>() + size_of::<String>() + 32) as u64;

/// Memory that may still be taken.
pub(super) struct Budget {
    limit: u64,
    used: Cell<u64>,
}

impl Budget {
    /// At most `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Budget { limit, used: Cell::new(0) }
    }

    /// Takes `bytes` more; errors when that is too much.
    pub fn charge(&self, bytes: u64) -> Result<()> {
        let used = self.used.get().saturating_add(bytes);
        self.used.set(used);
        if used > self.limit {
            bail!("the graph needs more than {} MiB of memory: refused", self.limit >> 20);
        }
        Ok(())
    }

    /// Bytes taken so far.
    pub fn used(&self) -> u64 {
        self.used.get()
    }

    /// Gives back what was taken since `used` was asked.
    pub fn restore(&self, used: u64) {
        self.used.set(used);
    }

    fn take<E: de::Error>(&self, bytes: u64) -> Result<(), E> {
        self.charge(bytes).map_err(E::custom)
    }
}

/// A JSON value of any shape, charged to a budget.
#[derive(Clone, Copy)]
pub(super) struct AnyValue<'a>(pub &'a Budget);

impl<'de> DeserializeSeed<'de> for AnyValue<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AnyValue<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value);
        let number = number.ok_or_else(|| E::custom("found a number that is not finite"))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        self.0.take(value.len() as u64)?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = seq.next_element_seed(self)? {
            // Twice: a growing list is copied.
            self.0.take(2 * size_of::<Value>() as u64)?;
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Value, A::Error> {
        AnyObject(self.0).visit_map(access).map(Value::Object)
    }
}

/// A JSON object, charged to a budget. A key given twice is an error.
#[derive(Clone, Copy)]
pub(super) struct AnyObject<'a>(pub &'a Budget);

impl<'de> DeserializeSeed<'de> for AnyObject<'_> {
    type Value = Map<String, Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for AnyObject<'_> {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            self.0.take(2 * ENTRY + key.len() as u64)?;
            let value = access.next_value_seed(AnyValue(self.0))?;
            if map.contains_key(&key) {
                return Err(de::Error::custom(format_args!("key {key:?} is there twice")));
            }
            map.insert(key, value);
        }
        Ok(map)
    }
}
