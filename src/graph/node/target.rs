//! What a target is made of: the tokens whose logits it weighs up.

use serde_json::{Map, Value, json};

use super::{Node, NodeKind};

/// The key of this program in a node's extras, and in it that of a target's tokens.
const KEYS: (&str, &str) = ("mechscope", "weights");

impl Node {
    /// Says which logits a contrast weighs up: token ids with their weights.
    pub fn with_weights(mut self, weights: &[(u32, f32)]) -> Self {
        let list: Vec<Value> = weights.iter().map(|(id, weight)| json!([id, weight])).collect();
        let mut map = match self.extras.remove(KEYS.0) {
            Some(Value::Object(map)) => map,
            _ => Map::new(),
        };
        map.insert(KEYS.1.to_owned(), list.into());
        self.extras.insert(KEYS.0, map.into());
        self
    }

    /// The logits that a target weighs up; `None` of a node that is no target, or whose file does not say.
    pub fn weights(&self) -> Option<Vec<(u32, f32)>> {
        match self.kind {
            NodeKind::Logit { token: Some(token), .. } => Some(vec![(token, 1.0)]),
            NodeKind::Logit { token: None, .. } => {
                let list = self.extras.get(KEYS.0)?.get(KEYS.1)?.as_array()?;
                let one = |pair: &Value| Some((pair.get(0)?.as_u64()?.try_into().ok()?, pair.get(1)?.as_f64()? as f32));
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
}
