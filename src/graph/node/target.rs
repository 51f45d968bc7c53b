//! What a target is made of, the tokens whose logits it weighs up, and what every attention head carries to it.

use serde_json::{Map, Value, json};

use super::{Node, NodeKind};
use crate::cast::single;
use crate::graph::format::json::short;

/// The key of this program in a node's extras, and in it those of a target's tokens and of its heads.
const PRIVATE: &str = "mechscope";
const WEIGHTS: &str = "weights";
const HEADS: &str = "heads";
const APART: &str = "without";
const LOOKS: &str = "looks_at";

/// What an attention head carries to a target.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct HeadEffect {
    /// Its layer.
    pub layer: usize,
    /// Its number in the layer.
    pub head: usize,
    /// The effect of all that it writes, at every position, directly and through later heads but not through MLPs; in units of the
    /// target. What passes two heads counts for both, so heads do not add up to the target.
    pub effect: f32,
}

impl Node {
    /// Says which logits a contrast weighs up: token ids with their weights.
    pub fn with_weights(mut self, weights: &[(u32, f32)]) -> Self {
        let list: Vec<Value> = weights.iter().map(|(id, weight)| json!([id, weight])).collect();
        self.set_private(WEIGHTS, list.into());
        self
    }

    /// Says what every head carries to this target: `[n_layers, n_heads]`, row-major.
    pub fn with_heads(mut self, n_heads: usize, effects: &[f32]) -> Self {
        let layer = |heads: &[f32]| heads.iter().map(|effect| short(*effect)).collect::<Value>();
        self.set_private(HEADS, effects.chunks(n_heads.max(1)).map(layer).collect());
        self
    }

    /// What every head carries to this target, strongest first; empty for a node that is no target, or whose file does not say.
    pub fn heads(&self) -> Vec<HeadEffect> {
        let list = || -> Option<Vec<HeadEffect>> {
            let layers = self.extras.get(PRIVATE)?.get(HEADS)?.as_array()?.iter().enumerate();
            let one = |(layer, head, value): (usize, usize, &Value)| {
                let effect = single(value.as_f64()?);
                effect.is_finite().then_some(HeadEffect { layer, head, effect })
            };
            let of = |(layer, heads): (usize, &Value)| {
                let heads = heads.as_array()?.iter().enumerate();
                heads.map(|(head, value)| one((layer, head, value))).collect::<Option<Vec<_>>>()
            };
            Some(layers.map(of).collect::<Option<Vec<_>>>()?.concat())
        };
        let mut heads = if self.kind.is_logit() { list().unwrap_or_default() } else { Vec::new() };
        // Of equals the lower.
        heads.sort_by(|a, b| b.effect.abs().total_cmp(&a.effect.abs()));
        heads
    }

    /// Says where a head looks: keys with their weights, strongest first.
    pub fn with_looks(mut self, keys: &[(usize, f32)]) -> Self {
        let list: Vec<Value> = keys.iter().map(|(key, weight)| json!([key, short(*weight)])).collect();
        self.set_private(LOOKS, list.into());
        self
    }

    /// Where a head looks: keys with their weights, strongest first; empty of what is no head, or whose file does not say.
    pub fn looks(&self) -> Vec<(u32, f32)> {
        let list = || self.extras.get(PRIVATE)?.get(LOOKS)?.as_array();
        let one = |pair: &Value| Some((pair.get(0)?.as_u64()?.try_into().ok()?, single(pair.get(1)?.as_f64()?)));
        list().into_iter().flatten().filter_map(one).collect()
    }

    /// Says which neurons of its MLP are nodes of their own.
    pub fn with_apart(mut self, neurons: &[usize]) -> Self {
        self.set_private(APART, neurons.iter().copied().map(Value::from).collect());
        self
    }

    /// The neurons that the rest of an MLP is without, ascending; empty of other nodes.
    pub fn apart(&self) -> Vec<u64> {
        let list = || self.extras.get(PRIVATE)?.get(APART)?.as_array();
        let mut found: Vec<u64> = list().into_iter().flatten().filter_map(Value::as_u64).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    fn set_private(&mut self, key: &str, value: Value) {
        let mut map = match self.extras.remove(PRIVATE) {
            Some(Value::Object(map)) => map,
            _ => Map::new(),
        };
        map.insert(key.to_owned(), value);
        self.extras.insert(PRIVATE, map.into());
    }

    /// The logits that a target weighs up; `None` of a node that is no target, or whose file does not say.
    pub fn weights(&self) -> Option<Vec<(u32, f32)>> {
        match self.kind {
            NodeKind::Logit { token: Some(token), .. } => Some(vec![(token, 1.0)]),
            NodeKind::Logit { token: None, .. } => {
                let list = self.extras.get(PRIVATE)?.get(WEIGHTS)?.as_array()?;
                let one =
                    |pair: &Value| Some((pair.get(0)?.as_u64()?.try_into().ok()?, single(pair.get(1)?.as_f64()?)));
                list.iter().map(one).collect()
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_know_their_logits() {
        assert_eq!(Node::logit(9, "x", 0.5, 2, 3).weights(), Some(vec![(9, 1.0)]));
        let contrast = Node::contrast("a - b", 2, 3);
        assert_eq!(contrast.weights(), None);
        assert_eq!(contrast.with_weights(&[(4, 1.0), (5, -1.0)]).weights(), Some(vec![(4, 1.0), (5, -1.0)]));
        assert_eq!(Node::neuron(0, 1, 2, 0.5).weights(), None);
    }

    #[test]
    fn heads_come_strongest_first_and_only_of_targets() {
        let target = Node::contrast("a - b", 2, 3).with_weights(&[(4, 1.0)]).with_heads(2, &[0.1, -0.5, 0.25, -0.5]);
        let found: Vec<_> = target.heads().into_iter().map(|h| (h.layer, h.head, h.effect)).collect();
        assert_eq!(found, [(0, 1, -0.5), (1, 1, -0.5), (1, 0, 0.25), (0, 0, 0.1)]);
        assert_eq!(target.weights(), Some(vec![(4, 1.0)]));
        assert_eq!(Node::logit(9, "x", 0.5, 2, 3).heads(), []);
        assert_eq!(Node::neuron(0, 1, 2, 0.5).with_heads(1, &[1.0]).heads(), []);
        let mut odd = Node::logit(9, "x", 0.5, 2, 3);
        for heads in [json!([[1.0], 2.0]), json!([[1e39]]), json!({}), json!([["x"]])] {
            odd.extras.insert(PRIVATE, json!({ "heads": heads }));
            assert_eq!(odd.heads(), []);
        }
    }
}
