//! Nodes: what they stand for, where they are, and the certificate of their row.

mod target;

pub use target::HeadEffect;

use serde_json::{Map, Value};

use crate::address::{Address, Part, TokenName};

/// What a node stands for.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum NodeKind {
    /// The token embedding at a position; `token` is the id in the vocabulary, if known.
    Embedding {
        /// Token id.
        token: Option<u32>,
    },
    /// The positional embedding at a position.
    PositionalEmbedding,
    /// An attention head at a position.
    Head,
    /// All neurons of an MLP at a position.
    Mlp,
    /// The neurons of an MLP at a position that are not nodes of their own; unlike an error it has a row.
    Rest,
    /// Heads and MLPs at the positions that attention rests on, as one node.
    Sink,
    /// An MLP neuron.
    Neuron,
    /// A feature of a transcoder or other dictionary.
    Feature,
    /// What the shown units leave of an MLP output (or attention output): reconstruction error or remainder.
    Error,
    /// A constant of the model.
    Bias,
    /// A target: a logit, or a contrast of logits when `token` is `None`.
    Logit {
        /// Token id.
        token: Option<u32>,
        /// The target's probability (or weight): its share in every influence.
        probability: f32,
    },
    /// A kind this program has no word for, by its `feature_type`.
    Other(Box<str>),
}

impl NodeKind {
    /// Whether the node is an input of the model: a token or positional embedding.
    pub fn is_input(&self) -> bool {
        matches!(self, NodeKind::Embedding { .. } | NodeKind::PositionalEmbedding)
    }

    /// Whether the node is a target.
    pub fn is_logit(&self) -> bool {
        matches!(self, NodeKind::Logit { .. })
    }

    /// Whether pruning keeps the node whatever its influence: token embeddings and targets.
    pub fn always_kept(&self) -> bool {
        matches!(self, NodeKind::Embedding { .. } | NodeKind::Logit { .. })
    }

    /// Whether the node computes something from inputs, so that without them it explains nothing.
    pub fn needs_inputs(&self) -> bool {
        matches!(self, NodeKind::Neuron | NodeKind::Feature | NodeKind::Other(_)) || self.is_part()
    }

    /// Whether the node is a part of the model that only graphs with attention inside have: a head, an MLP, what is left of one, a sink.
    pub fn is_part(&self) -> bool {
        matches!(self, NodeKind::Head | NodeKind::Mlp | NodeKind::Rest | NodeKind::Sink)
    }

    /// The kind in one or two words.
    pub fn name(&self) -> &str {
        match self {
            NodeKind::Embedding { .. } => "embedding",
            NodeKind::PositionalEmbedding => "positional embedding",
            NodeKind::Head => "head",
            NodeKind::Mlp => "mlp",
            NodeKind::Rest => "rest",
            NodeKind::Sink => "sink",
            NodeKind::Neuron => "neuron",
            NodeKind::Feature => "feature",
            NodeKind::Error => "error",
            NodeKind::Bias => "bias",
            NodeKind::Logit { .. } => "logit",
            NodeKind::Other(name) => name,
        }
    }
}

/// How well a target's row adds up: sum of the row + `bias` = `value` up to `residual`.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Certificate {
    /// The target's value in the frozen model.
    pub value: f32,
    /// The constant part of the row.
    pub bias: f32,
    /// Sum of the row + bias - value.
    pub residual: f32,
    /// Sum of absolute weights of the whole row, before columns were dropped.
    pub abs_sum: f32,
    /// Share of `abs_sum` that comes from nodes that are not shown units or inputs.
    pub unexplained: f32,
}

impl Certificate {
    /// Whether the sum rule holds to f32 rounding: `|residual| <= 1e-5 abs_sum`.
    ///
    /// The row's absolute sum is the yardstick, not the value: cancellation makes errors relative to the value meaningless.
    pub fn holds(&self) -> bool {
        self.residual.abs() <= 1e-5 * self.abs_sum
    }
}

/// What a node does to the target by every path, in units of the target.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct NodeTotals {
    /// By values alone, with patterns, norm scales and gates held: those of embeddings and biases add up to the target.
    pub writes: f32,
    /// Activation times gradient with nothing held: what the target would lose without it, to first order. `None` of several nodes in one.
    pub counts: Option<f32>,
}

/// Keys of a file that have no field here, kept as they were; most nodes have none.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Extras(Option<Box<Map<String, Value>>>);

impl Extras {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.as_ref()?.get(key)
    }

    /// Sets a key.
    pub fn insert(&mut self, key: &str, value: Value) {
        self.0.get_or_insert_default().insert(key.to_owned(), value);
    }

    /// Removes a key and returns its value.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let map = self.0.as_mut()?;
        let value = map.shift_remove(key);
        if map.is_empty() {
            self.0 = None;
        }
        value
    }

    /// All keys and values.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.0.iter().flat_map(|map| map.iter())
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// One node of an attribution graph.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Node {
    /// Name of the node in files; unique in a graph.
    pub id: Box<str>,
    /// What it stands for.
    pub kind: NodeKind,
    /// Layer, for nodes that are in one.
    pub layer: Option<u32>,
    /// Position in the prompt, from 0.
    pub position: Option<u32>,
    /// Number of the neuron or feature in its layer.
    pub index: Option<u64>,
    /// Activation (neurons, features) on this prompt.
    pub activation: Option<f32>,
    /// Cumulative influence in (0, 1] as circuit-tracer writes it: smaller is more important.
    pub influence: Option<f32>,
    /// Label; for a target the token's text.
    pub label: String,
    /// The sum rule of the node's row.
    pub certificate: Option<Certificate>,
    /// What it does to the target, in graphs with attention inside.
    #[serde(default)]
    pub totals: Option<NodeTotals>,
    /// Whether the unit is on at nearly all positions of the prompt.
    pub always_on: bool,
    /// Other keys of the node.
    pub extras: Extras,
}

impl Node {
    fn new(id: String, kind: NodeKind) -> Self {
        Node {
            id: id.into_boxed_str(),
            kind,
            layer: None,
            position: None,
            index: None,
            activation: None,
            influence: None,
            label: String::new(),
            certificate: None,
            totals: None,
            always_on: false,
            extras: Extras::default(),
        }
    }

    /// Whether the node is a unit: a neuron or a feature.
    pub fn is_unit(&self) -> bool {
        matches!(self.kind, NodeKind::Neuron | NodeKind::Feature)
    }

    /// Whether the node can be kept while others are ablated: a unit; with attention inside heads, MLPs and what is left of one too. Sinks stay in
    /// all runs.
    pub fn can_be_kept(&self) -> bool {
        self.is_unit() || matches!(self.kind, NodeKind::Head | NodeKind::Mlp | NodeKind::Rest)
    }

    /// A node of any kind under an id of your own.
    pub fn other(id: &str, kind: NodeKind) -> Self {
        Node::new(id.to_owned(), kind)
    }

    fn unit(kind: NodeKind, layer: u32, index: u64, position: u32, activation: f32) -> Self {
        Node {
            layer: Some(layer),
            position: Some(position),
            index: Some(index),
            activation: Some(activation),
            ..Node::new(format!("{layer}_{index}_{position}"), kind)
        }
    }

    /// An MLP neuron with its activation.
    pub fn neuron(layer: u32, index: u64, position: u32, activation: f32) -> Self {
        Node::unit(NodeKind::Neuron, layer, index, position, activation)
    }

    /// A dictionary feature with its activation.
    pub fn feature(layer: u32, index: u64, position: u32, activation: f32) -> Self {
        Node::unit(NodeKind::Feature, layer, index, position, activation)
    }

    fn part(kind: NodeKind, layer: u32, position: u32, name: &str) -> Self {
        let id = format!("{layer}_{name}_{position}");
        Node { layer: Some(layer), position: Some(position), ..Node::new(id, kind) }
    }

    /// An attention head.
    pub fn head(layer: u32, head: u64, position: u32) -> Self {
        Node { index: Some(head), ..Node::part(NodeKind::Head, layer, position, &format!("head_{head}")) }
    }

    /// All neurons of an MLP.
    pub fn mlp(layer: u32, position: u32) -> Self {
        Node::part(NodeKind::Mlp, layer, position, "mlp")
    }

    /// The neurons of an MLP that are not nodes of their own.
    pub fn rest(layer: u32, position: u32) -> Self {
        Node::part(NodeKind::Rest, layer, position, "rest")
    }

    /// Heads and MLPs of these positions as one node, which stands at the first of them.
    pub fn sink(positions: &[usize]) -> Self {
        let names: Vec<String> = positions.iter().map(usize::to_string).collect();
        let first = positions.first().and_then(|p| u32::try_from(*p).ok());
        Node { layer: Some(0), position: first, ..Node::new(format!("sink_{}", names.join("_")), NodeKind::Sink) }
    }

    /// What the shown units leave of the MLP output of a layer at a position.
    ///
    /// The id is Neuronpedia's form: the older `0_{layer}_{position}` is also that of a feature of layer 0.
    pub fn error(layer: u32, position: u32) -> Self {
        Node {
            layer: Some(layer),
            position: Some(position),
            ..Node::new(format!("{layer}_error_mlp_{position}"), NodeKind::Error)
        }
    }

    /// The embedding of token id `token` at a position.
    pub fn embedding(token: u32, position: u32) -> Self {
        let kind = NodeKind::Embedding { token: Some(token) };
        Node { position: Some(position), ..Node::new(format!("E_{token}_{position}"), kind) }
    }

    /// The positional embedding at a position.
    pub fn positional_embedding(position: u32) -> Self {
        Node { position: Some(position), ..Node::new(format!("E_pos_{position}"), NodeKind::PositionalEmbedding) }
    }

    /// The constants of the model, as one node.
    pub fn bias() -> Self {
        Node::new("bias".to_owned(), NodeKind::Bias)
    }

    /// The logit of token id `token`, whose text is `text`, in a model of `n_layers` layers.
    pub fn logit(token: u32, text: &str, probability: f32, n_layers: u32, position: u32) -> Self {
        let kind = NodeKind::Logit { token: Some(token), probability };
        let layer = n_layers + 1;
        Node {
            layer: Some(layer),
            position: Some(position),
            label: text.to_owned(),
            ..Node::new(format!("{layer}_{token}_{position}"), kind)
        }
    }

    /// A target that is no single logit, such as the difference of two, named by `text`; it carries the whole weight 1.
    pub fn contrast(text: &str, n_layers: u32, position: u32) -> Self {
        let kind = NodeKind::Logit { token: None, probability: 1.0 };
        let layer = n_layers + 1;
        Node {
            layer: Some(layer),
            position: Some(position),
            label: text.to_owned(),
            ..Node::new(format!("{layer}_target_{position}"), kind)
        }
    }

    /// The unit's address; `None` for what has none (biases, positional embeddings, contrasts, unknown kinds).
    pub fn address(&self) -> Option<Address> {
        let in_layer = |part| Some(Address::unit(self.layer?.try_into().ok()?, part));
        let index = || usize::try_from(self.index?).ok();
        let place = match self.kind {
            NodeKind::Embedding { .. } => Some(Address::embed()),
            NodeKind::Head => in_layer(Part::Head(index()?)),
            NodeKind::Mlp => in_layer(Part::Mlp),
            NodeKind::Neuron => in_layer(Part::Neuron(index()?)),
            NodeKind::Feature => in_layer(Part::Feature(index()?)),
            NodeKind::Error => in_layer(Part::Error),
            NodeKind::Logit { token, .. } => Some(Address::logit(TokenName::Id(token?))),
            NodeKind::PositionalEmbedding | NodeKind::Rest | NodeKind::Sink | NodeKind::Bias | NodeKind::Other(_) => {
                None
            }
        }?;
        Some(match self.position {
            Some(position) => place.at(position.into()),
            None => place,
        })
    }

    /// Changes the label; a file's other wording of the old one is dropped.
    pub fn relabel(&mut self, label: &str) {
        self.label = label.to_owned();
        self.extras.remove("clerp");
    }

    /// The address if there is one, else the id: what commands and files know a node by.
    pub fn unit_name(&self) -> String {
        self.address().map_or_else(|| self.id.to_string(), |address| address.to_string())
    }

    /// The address if there is one, else what readers call it: a name for messages and tables.
    pub fn name(&self) -> String {
        match (&self.kind, self.layer, self.position) {
            (NodeKind::Rest, Some(layer), Some(position)) => format!("L{layer}.mlp@{position} rest"),
            (NodeKind::Logit { token: None, .. }, ..) => "target".to_owned(),
            (NodeKind::Sink, ..) => self.id.replacen('_', " @", 1).replace('_', ","),
            _ => self.unit_name(),
        }
    }

    /// The positions that a sink stands for; `None` of other nodes.
    pub fn sink_positions(&self) -> Option<Vec<usize>> {
        let numbers = || self.id.split('_').skip(1).map(|part| part.parse().ok()).collect();
        if self.kind == NodeKind::Sink { numbers() } else { None }
    }

    /// What the row of a unit or part adds up to: the activation, or the total of a head or MLP.
    pub fn value(&self) -> Option<f32> {
        let row = || self.certificate.filter(|_| self.kind.is_part()).map(|row| row.value);
        self.activation.or_else(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_addresses_where_there_is_one() {
        assert_eq!(Node::neuron(7, 1042, 5, 0.5).name(), "L7.N1042@5");
        assert_eq!(Node::feature(0, 3, 1, 0.5).name(), "L0.F3@1");
        assert_eq!(Node::error(2, 6).name(), "L2.error@6");
        assert_eq!(Node::embedding(464, 0).name(), "embed@0");
        assert_eq!(Node::logit(9, " x", 0.5, 12, 6).name(), "logit:9@6");
        assert_eq!(Node::positional_embedding(4).name(), "E_pos_4");
        let contrast = Node::contrast("a - b", 12, 6);
        assert_eq!((contrast.address(), contrast.name()), (None, "target".to_owned()));
        assert_eq!(Node::head(3, 5, 2).name(), "L3.H5@2");
        assert_eq!(Node::mlp(3, 2).name(), "L3.mlp@2");
        assert_eq!((Node::rest(3, 2).name(), Node::rest(3, 2).address()), ("L3.mlp@2 rest".to_owned(), None));
        assert_eq!(Node::sink(&[0, 4]).name(), "sink @0,4");
    }

    #[test]
    fn a_certificate_is_measured_against_the_absolute_sum() {
        let row = Certificate { value: 1e-3, bias: 0.0, residual: 9e-6, abs_sum: 1.0, unexplained: 0.0 };
        assert!(row.holds());
        assert!(!Certificate { residual: 2e-5, ..row }.holds());
    }

    #[test]
    fn extras_without_keys_take_no_memory() {
        let mut extras = Extras::default();
        extras.insert("note", Value::from(1));
        assert_eq!(extras.get("note"), Some(&Value::from(1)));
        assert_eq!(extras.remove("note"), Some(Value::from(1)));
        assert_eq!(extras, Extras::default());
        assert!(extras.is_empty());
    }
}
