//! The file as it streams by: nodes are built at once, links become numbers, ids are interned.

mod link;

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Formatter};
use std::io::Read;

use anyhow::{Error, Result};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use self::link::OneLink;
use super::budget::{AnyObject, AnyValue, Budget};
use super::{JsonForm, PRIVATE, node};
use crate::graph::Node;

/// What stood in the file.
#[derive(Default)]
pub(super) struct Parsed {
    pub metadata: Option<Map<String, Value>>,
    pub qparams: Option<Value>,
    pub private: Option<Value>,
    pub nodes: Vec<Node>,
    pub links: Vec<Link>,
    pub link_extras: BTreeMap<u32, Map<String, Value>>,
    pub ids: Ids,
    pub extras: Map<String, Value>,
    pub form: JsonForm,
}

/// A link by the numbers of its ids.
#[derive(Clone, Copy)]
pub(super) struct Link {
    pub source: u32,
    pub target: u32,
    pub weight: f32,
}

/// Every id that a link names, once. Links may come before the nodes they name.
#[derive(Default)]
pub(super) struct Ids {
    numbers: HashMap<Box<str>, u32>,
    /// Times that an id was a number.
    pub not_text: usize,
}

impl Ids {
    /// The number of an id, a new one if it is new.
    pub fn intern(&mut self, id: &str, budget: &Budget) -> Result<u32> {
        if let Some(&number) = self.numbers.get(id) {
            return Ok(number);
        }
        budget.charge(64 + id.len() as u64)?;
        let number = u32::try_from(self.numbers.len())?;
        self.numbers.insert(id.into(), number);
        Ok(number)
    }

    /// The ids by their numbers.
    pub fn by_number(&self) -> Vec<&str> {
        let mut ids = vec![""; self.numbers.len()];
        for (id, &number) in &self.numbers {
            ids[number as usize] = id;
        }
        ids
    }
}

/// Where the parser is, for errors.
#[derive(Clone, Copy)]
enum ParsePosition {
    Top,
    Key(&'static str),
    Node(usize),
    Link(usize, &'static str),
}

struct Reader<'a> {
    budget: &'a Budget,
    place: &'a Cell<ParsePosition>,
    parsed: Parsed,
}

/// Parses a whole file.
pub(super) fn parse(input: impl Read, budget: &Budget) -> Result<Parsed> {
    let place = Cell::new(ParsePosition::Top);
    let reader = Reader { budget, place: &place, parsed: Parsed::default() };
    let mut deserializer = serde_json::Deserializer::from_reader(input);
    let parsed = deserializer.deserialize_any(reader);
    let parsed = parsed.map_err(|error| locate(error, place.get()))?;
    place.set(ParsePosition::Top);
    deserializer.end().map_err(|error| locate(error, ParsePosition::Top))?;
    Ok(parsed)
}

fn locate(error: serde_json::Error, place: ParsePosition) -> Error {
    let cut_short = error.is_eof();
    let error = Error::new(error);
    let error = match place {
        ParsePosition::Top => error,
        ParsePosition::Key(key) => error.context(key),
        ParsePosition::Node(i) => error.context(format!("nodes[{i}]")),
        ParsePosition::Link(i, "") => error.context(format!("links[{i}]")),
        ParsePosition::Link(i, field) => error.context(format!("links[{i}].{field}")),
    };
    if cut_short { error.context("the file is cut short") } else { error }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Parsed;

    fn expecting(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str("an object with metadata, qParams, nodes and links")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut access: A) -> Result<Parsed, A::Error> {
        let (mut nodes, mut links) = (false, false);
        let twice = |key| Err(de::Error::custom(format_args!("key {key:?} is there twice")));
        while let Some(key) = access.next_key::<String>()? {
            match key.as_str() {
                "metadata" => {
                    self.place.set(ParsePosition::Key("metadata"));
                    let value = access.next_value_seed(AnyObject(self.budget))?;
                    if self.parsed.metadata.replace(value).is_some() {
                        return twice("metadata");
                    }
                }
                "qParams" => {
                    self.place.set(ParsePosition::Key("qParams"));
                    let value = access.next_value_seed(AnyValue(self.budget))?;
                    if self.parsed.qparams.replace(value).is_some() {
                        return twice("qParams");
                    }
                }
                PRIVATE => {
                    self.place.set(ParsePosition::Key(PRIVATE));
                    let value = access.next_value_seed(AnyValue(self.budget))?;
                    if self.parsed.private.replace(value).is_some() {
                        return twice(PRIVATE);
                    }
                }
                "nodes" => {
                    if std::mem::replace(&mut nodes, true) {
                        return twice("nodes");
                    }
                    self.place.set(ParsePosition::Key("nodes"));
                    access.next_value_seed(Nodes(&mut self))?;
                }
                "links" => {
                    if std::mem::replace(&mut links, true) {
                        return twice("links");
                    }
                    self.place.set(ParsePosition::Key("links"));
                    access.next_value_seed(Links(&mut self))?;
                }
                _ => {
                    let value = access.next_value_seed(AnyValue(self.budget))?;
                    if self.parsed.extras.insert(key.clone(), value).is_some() {
                        return Err(de::Error::custom(format_args!("key {key:?} is there twice")));
                    }
                }
            }
            self.place.set(ParsePosition::Top);
        }
        for (key, found) in [("nodes", nodes), ("links", links)] {
            if !found {
                return Err(de::Error::custom(format_args!(
                    "no {key:?}: an attribution graph has metadata, qParams, nodes and links"
                )));
            }
        }
        Ok(self.parsed)
    }
}

struct Nodes<'a, 'b>(&'a mut Reader<'b>);

impl<'de> DeserializeSeed<'de> for Nodes<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Nodes<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str("a list of nodes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let reader = self.0;
        let (budget, parsed) = (reader.budget, &mut reader.parsed);
        let mut missing = [0usize; node::REQUIRED.len()];
        let mut targets = 0;
        loop {
            reader.place.set(ParsePosition::Node(parsed.nodes.len()));
            let before = budget.used();
            let Some(map) = seq.next_element_seed(AnyObject(budget))? else {
                break;
            };
            for (count, key) in missing.iter_mut().zip(node::REQUIRED) {
                *count += usize::from(!map.contains_key(key));
            }
            let id_is_text = !map.get("node_id").is_some_and(Value::is_number);
            let node = node::read(map, targets == 0);
            let (node, without_p) = node.map_err(|e| de::Error::custom(format_args!("{e:#}")))?;
            targets += usize::from(node.kind.is_logit());
            if !id_is_text {
                parsed.form.ids_not_text.push(node.id.to_string());
            }
            if without_p {
                parsed.form.logits_without_p.push(node.id.to_string());
            }
            if node.extras.is_empty() {
                budget.restore(before);
            }
            let text = (node.id.len() + node.label.len()) as u64;
            // Twice: the list of nodes is copied when it grows.
            let size = 2 * size_of::<Node>() as u64 + text;
            budget.charge(size).map_err(de::Error::custom)?;
            parsed.nodes.push(node);
        }
        reader.place.set(ParsePosition::Key("nodes"));
        let lacking = node::REQUIRED.into_iter().zip(missing);
        parsed.form.missing_in_nodes = lacking.filter(|&(_, count)| count > 0).collect();
        Ok(())
    }
}

struct Links<'a, 'b>(&'a mut Reader<'b>);

impl<'de> DeserializeSeed<'de> for Links<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Links<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str("a list of links")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        // As a link, while the list grows, and in the graph's rows.
        const SIZE: u64 = 2 * size_of::<Link>() as u64 + 8;
        loop {
            let i = self.0.parsed.links.len();
            self.0.place.set(ParsePosition::Link(i, ""));
            let Some(link) = seq.next_element_seed(OneLink(&mut *self.0, i))? else {
                break;
            };
            self.0.budget.charge(SIZE).map_err(de::Error::custom)?;
            self.0.parsed.links.push(link);
        }
        self.0.place.set(ParsePosition::Key("links"));
        Ok(())
    }
}
