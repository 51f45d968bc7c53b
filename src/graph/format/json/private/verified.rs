//! What was measured, under the key `verified`: `{"node": "1_30_10", "with": "zero", "effects": [...]}`. An effect whose run left the range of its
//! numbers is null.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use super::super::number::short;
use crate::cast::single;
use crate::graph::verification::{Intervention, NodeEffect, Subject, Verification};

/// Reads the list.
pub(super) fn read(list: Vec<Value>) -> Result<Vec<Verification>> {
    let one = |(i, value): (usize, Value)| read_one(&value).with_context(|| format!("verified {i}"));
    list.into_iter().enumerate().map(one).collect()
}

fn read_one(value: &Value) -> Result<Verification> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let subject = if let Some(node) = text("node") {
        Subject::Node(node)
    } else if let Some(unit) = text("unit") {
        Subject::Unit(unit)
    } else if let (Some(label), Some(members)) = (text("group"), value.get("members")) {
        Subject::Group { label, members: serde_json::from_value(members.clone()).context("members")? }
    } else {
        bail!("found {value}, expected a node, a unit, or a group with its members");
    };
    let with = match value.get("with") {
        Some(Value::String(word)) if word == "zero" => Intervention::Zero,
        Some(Value::String(word)) if word == "mean" => Intervention::Mean,
        Some(Value::Object(map)) => match (map.get("resample").and_then(Value::as_str), map.get("scale")) {
            (Some(prompt), None) => Intervention::Resample(prompt.to_owned()),
            (None, Some(factor)) => Intervention::Scale(number(factor).context("scale")?),
            _ => bail!("with: found {map:?}, expected resample or scale"),
        },
        other => bail!("with: found {other:?}, expected zero, mean, resample or scale"),
    };
    let effects = value.get("effects").and_then(Value::as_array).context("effects: missing, expected a list")?;
    let effects = effects.iter().map(read_effect).collect::<Result<_>>()?;
    Ok(Verification { subject, with, effects })
}

fn read_effect(value: &Value) -> Result<NodeEffect> {
    let field = |key: &'static str| -> Result<f32> { number(value.get(key).unwrap_or(&Value::Null)).context(key) };
    // A key that is missing is a mistake; null is what a run that left the range is written as.
    let run = |key: &'static str| match value.get(key) {
        Some(Value::Null) => Ok(f32::NAN),
        _ => field(key),
    };
    Ok(NodeEffect {
        node: value.get("node").and_then(Value::as_str).context("node: missing, expected an id")?.to_owned(),
        before: run("before")?,
        predicted: match value.get("predicted") {
            None | Some(Value::Null) => None,
            Some(_) => Some(field("predicted")?),
        },
        measured: run("measured")?,
        held: run("held")?,
        norms_held: run("norms_held")?,
    })
}

fn number(value: &Value) -> Result<f32> {
    let number = value.as_f64().map(single).filter(|x| x.is_finite());
    number.with_context(|| format!("found {value}, expected a number"))
}

/// The list as it is written.
pub(super) fn write(verified: &[Verification]) -> Value {
    verified.iter().map(write_one).collect::<Vec<_>>().into()
}

fn write_one(verification: &Verification) -> Value {
    let mut map = Map::new();
    let mut set = |key: &str, value: Value| map.insert(key.to_owned(), value);
    match &verification.subject {
        Subject::Node(id) => drop(set("node", json!(id))),
        Subject::Unit(address) => drop(set("unit", json!(address))),
        Subject::Group { label, members } => {
            set("group", json!(label));
            set("members", json!(members));
        }
    }
    set(
        "with",
        match &verification.with {
            Intervention::Zero => json!("zero"),
            Intervention::Mean => json!("mean"),
            Intervention::Resample(prompt) => json!({ "resample": prompt }),
            Intervention::Scale(factor) => json!({ "scale": short(*factor) }),
        },
    );
    let effect = |e: &NodeEffect| {
        json!({
            "node": e.node,
            "before": short(e.before),
            "predicted": e.predicted.map_or(Value::Null, short),
            "measured": short(e.measured),
            "held": short(e.held),
            "norms_held": short(e.norms_held),
        })
    };
    set("effects", verification.effects.iter().map(effect).collect::<Vec<_>>().into());
    map.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Any bits, NaN and infinity among them.
    fn any_bits() -> impl Strategy<Value = f32> {
        prop_oneof![any::<u32>().prop_map(f32::from_bits), Just(f32::NAN), Just(f32::INFINITY), Just(f32::NEG_INFINITY)]
    }

    fn any_effect() -> impl Strategy<Value = NodeEffect> {
        let numbers = (any_bits(), proptest::option::of(any_bits()), any_bits(), any_bits(), any_bits());
        (any::<String>(), numbers).prop_map(|(node, (before, predicted, measured, held, norms_held))| NodeEffect {
            node,
            before,
            predicted,
            measured,
            held,
            norms_held,
        })
    }

    fn any_verification() -> impl Strategy<Value = Verification> {
        let subject = prop_oneof![
            any::<String>().prop_map(Subject::Node),
            any::<String>().prop_map(Subject::Unit),
            (any::<String>(), prop::collection::vec(any::<String>(), 0..3))
                .prop_map(|(label, members)| Subject::Group { label, members }),
        ];
        let with = prop_oneof![
            Just(Intervention::Zero),
            Just(Intervention::Mean),
            any::<String>().prop_map(Intervention::Resample),
            any::<f32>().prop_filter("finite", |x| x.is_finite()).prop_map(Intervention::Scale),
        ];
        (subject, with, prop::collection::vec(any_effect(), 0..3)).prop_map(|(subject, with, effects)| Verification {
            subject,
            with,
            effects,
        })
    }

    /// The numbers of an effect as a file tells them apart: bits, and one value for all that is not finite.
    fn bits(e: &NodeEffect) -> [Option<u32>; 5] {
        let finite = |x: f32| x.is_finite().then(|| x.to_bits());
        [finite(e.before), e.predicted.and_then(finite), finite(e.measured), finite(e.held), finite(e.norms_held)]
    }

    proptest! {
        #[test]
        fn whatever_was_measured_reads_back(list in prop::collection::vec(any_verification(), 0..4)) {
            let text = serde_json::to_string(&write(&list)).unwrap();
            let Value::Array(values) = serde_json::from_str(&text).unwrap() else { panic!("a list was written") };
            let back = read(values).unwrap();
            prop_assert_eq!(back.len(), list.len());
            for (a, b) in list.iter().zip(&back) {
                prop_assert_eq!((&a.subject, &a.with), (&b.subject, &b.with));
                prop_assert_eq!(a.effects.len(), b.effects.len());
                for (a, b) in a.effects.iter().zip(&b.effects) {
                    prop_assert_eq!((&a.node, bits(a)), (&b.node, bits(b)));
                    prop_assert!(!b.measured.is_infinite() && !b.held.is_infinite() && !b.norms_held.is_infinite());
                }
            }
        }
    }

    #[test]
    fn a_missing_number_is_a_mistake_and_null_is_none() {
        let effect = |extra: &str| {
            let text = format!(
                r#"{{"node": "n", "with": "zero", "effects": [{{"node": "t", "before": 1, "measured": 2, "held": 3{extra}}}]}}"#
            );
            read(vec![serde_json::from_str(&text).unwrap()])
        };
        assert!(format!("{:#}", effect("").unwrap_err()).contains("norms_held"));
        assert!(effect(r#", "norms_held": null"#).unwrap()[0].effects[0].norms_held.is_nan());
        assert!(format!("{:#}", effect(r#", "norms_held": "NaN""#).unwrap_err()).contains("norms_held"));
    }
}
