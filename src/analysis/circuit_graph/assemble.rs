//! From rows to a graph.

use super::choose::Chosen;
use super::{CircuitSettings, Sink};
use crate::analysis::attribution_graph::{LogitTarget, always_on_neurons};
use crate::cast::single;
use crate::graph::{Certificate, Generator, Graph, Metadata, Node, NodeTotals, RowStore, Traced};
use crate::model::Model;
use crate::model::arch::Decoder;
use crate::model::site::BlockSite as S;
use crate::model::text::Piece;
use crate::model::trace::Trace;
use crate::replacement::circuit::{Circuit, CircuitNode, NodeRow, Total};
use anyhow::Result;
use candle_core::DType;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Nodes or rows between two questions whether to go on.
const ASKED: usize = 64;

/// What a graph is put together from.
pub(super) struct Parts<'a> {
    pub model: &'a Model,
    pub trace: &'a Trace,
    pub tokens: &'a [Piece],
    pub target: &'a LogitTarget,
    pub settings: &'a CircuitSettings,
    pub circuit: &'a Circuit<'a>,
    pub chosen: &'a Chosen,
}

/// A row while the nodes of a sink become one.
#[derive(Default)]
struct Gathered {
    edges: BTreeMap<u32, f64>,
    bias: f64,
    value: f64,
    residual: f64,
    abs_sum: f64,
    dropped: f64,
}

impl Gathered {
    fn add(&mut self, row: &NodeRow, places: &HashMap<CircuitNode, u32>, own: Option<u32>) {
        self.bias += f64::from(row.bias);
        self.value += f64::from(row.value);
        self.residual += f64::from(row.residual);
        self.abs_sum += f64::from(row.abs_sum);
        self.dropped += f64::from(row.dropped);
        for (unit, effect) in &row.effects {
            let effect = f64::from(*effect);
            match places.get(unit) {
                // What members of one node give each other does not leave it.
                Some(at) if Some(*at) == own => {
                    self.value -= effect;
                    self.abs_sum -= effect.abs();
                }
                Some(at) => *self.edges.entry(*at).or_default() += effect,
                None => {}
            }
        }
    }

    fn certificate(&self) -> Certificate {
        let unexplained = if self.abs_sum > 0.0 { (self.dropped / self.abs_sum).clamp(0.0, 1.0) } else { 0.0 };
        Certificate {
            value: single(self.value),
            bias: single(self.bias),
            residual: single(self.residual),
            abs_sum: single(self.abs_sum),
            unexplained: single(unexplained),
        }
    }
}

impl Parts<'_> {
    /// The units of `nodes` ([`Parts::nodes`]), then the sinks, the target and biases. `rows` are the target's, then those of [`Chosen::readers`]
    /// as far as known.
    pub fn graph(
        &self,
        mut nodes: Vec<Node>,
        rows: &[NodeRow],
        go_on: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Graph> {
        let chosen = self.chosen;
        let (first, sinks) = (small(nodes.len()), chosen.sinks());
        let is_sink = |at: &u32| (first..first + small(sinks.len())).contains(at);
        let places = chosen.places(first);
        let mut gathered: BTreeMap<u32, Gathered> = BTreeMap::new();
        for (nth, (unit, row)) in chosen.readers().iter().zip(&rows[1..]).enumerate() {
            if nth.is_multiple_of(ASKED) {
                go_on()?;
            }
            let at = places[unit];
            gathered.entry(at).or_default().add(row, &places, Some(at).filter(is_sink));
        }
        for (run, at) in sinks.into_iter().zip(first..) {
            let totals = gathered.get(&at).map(|row| NodeTotals { writes: single(row.value), counts: None });
            nodes.push(Node { totals, ..Node::sink(run) });
        }
        let target = small(nodes.len());
        gathered.entry(target).or_default().add(&rows[0], &places, None);
        nodes.push(self.target_node());
        let bias = small(nodes.len());
        if gathered.values().any(|row| row.bias != 0.0) {
            let totals = NodeTotals { writes: self.circuit.biases(go_on)?, counts: None };
            nodes.push(Node { totals: Some(totals), ..Node::bias() });
        }
        let mut store = RowStore::new(nodes.len());
        for (at, row) in gathered {
            nodes[at as usize].certificate = Some(row.certificate());
            let edges = row.edges.iter().map(|(source, weight)| (*source, single(*weight)));
            let edges = edges.chain([(bias, single(row.bias))]).filter(|(_, weight)| *weight != 0.0);
            store.set(at as usize, edges.collect())?;
        }
        let mut graph = Graph::new(self.metadata(go_on)?, nodes, store.edges())?;
        graph.view.extras.insert("linkType".into(), "both".into());
        Ok(graph)
    }

    /// Every unit as a node, in the model's order.
    pub fn nodes(&self, go_on: &mut dyn FnMut() -> Result<()>) -> Result<Vec<Node>> {
        let on: HashSet<(usize, usize)> = always_on_neurons(&self.chosen.numbers(), self.trace, go_on)?;
        let mut nodes = Vec::with_capacity(self.chosen.totals.len() + 3);
        for (nth, total) in self.chosen.totals.values().enumerate() {
            if nth.is_multiple_of(ASKED) {
                go_on()?;
            }
            let (always_on, apart) = match total.unit {
                CircuitNode::Neuron { layer, neuron, .. } => (on.contains(&(layer, neuron)), [].as_slice()),
                CircuitNode::Mlp { layer, position } => (false, self.chosen.neurons_of(layer, position)),
                _ => (false, [].as_slice()),
            };
            nodes.push(Node { always_on, ..node_with(&self.model.decoder, self.trace, self.tokens, total, apart)? });
        }
        Ok(nodes)
    }

    fn target_node(&self) -> Node {
        let (layers, last) = (small(self.model.decoder.arch.n_layers), small(self.tokens.len() - 1));
        match self.target.weights[..] {
            [(id, _)] => Node::logit(id, &self.target.name, self.target.probability, layers, last),
            _ => Node::contrast(&self.target.name, layers, last).with_weights(&self.target.weights),
        }
    }

    fn metadata(&self, go_on: &mut dyn FnMut() -> Result<()>) -> Result<Metadata> {
        let embeddings = self.chosen.totals.values().filter(|t| t.unit.layer().is_none());
        let traced = Traced {
            value: self.circuit.value(),
            tokens: single(embeddings.map(|t| f64::from(t.writes)).sum::<f64>()),
            biases: self.circuit.biases(go_on)?,
        };
        let mut settings = Map::new();
        settings.insert("attention".into(), "nodes".into());
        settings.insert("max_feature_nodes".into(), self.settings.max_nodes.into());
        let chosen_by = if self.settings.sink == Sink::Auto { "sink_found" } else { "sink" };
        settings.insert(chosen_by.into(), json!(self.chosen.sink));
        if self.model.decoder.blocks.iter().any(|block| block.mlp.gate.is_some()) {
            settings.insert("gate".into(), self.settings.gate.name().into());
        }
        if let Some(cap) = self.model.decoder.arch.final_softcap {
            settings.insert("target_logits".into(), format!("before the final soft-cap of {cap}").into());
        }
        let mut extras = Map::new();
        extras.insert("node_type".into(), "neuron".into());
        extras.insert("generation_settings".into(), Value::Object(settings));
        Ok(Metadata {
            slug: "graph".into(),
            scan: self.model.source.to_string(),
            prompt: self.tokens.iter().map(|t| t.text.as_str()).collect(),
            prompt_tokens: self.tokens.iter().map(|t| t.text.clone()).collect(),
            prompt_ids: self.tokens.iter().map(|t| t.id).collect(),
            model: Some(self.model.source.to_string()),
            target: Some(self.target.name.clone()),
            traced: Some(traced),
            schema_version: Some(1),
            generator: Some(Generator { name: "mechscope".into(), version: env!("CARGO_PKG_VERSION").into() }),
            extras,
            ..Metadata::default()
        })
    }
}

/// A unit as a node with its totals; an MLP without these neurons is the rest of it.
pub(super) fn node_of(circuit: &Circuit, tokens: &[Piece], unit: CircuitNode, without: &[usize]) -> Result<Node> {
    let mut total = circuit.total(unit)?;
    if let CircuitNode::Mlp { layer, position } = unit {
        for &neuron in without {
            let apart = circuit.total(CircuitNode::Neuron { layer, neuron, position })?;
            total.writes -= apart.writes;
            total.counts -= apart.counts;
        }
    }
    node_with(circuit.model(), circuit.trace(), tokens, &total, without)
}

fn node_with(model: &Decoder, trace: &Trace, tokens: &[Piece], total: &Total, without: &[usize]) -> Result<Node> {
    let p = small(total.unit.position());
    let node = match total.unit {
        CircuitNode::Embed { position } => {
            let token = &tokens[position];
            Node { label: token.text.clone(), ..Node::embedding(token.id, p) }
        }
        CircuitNode::PosEmbed { .. } => Node::positional_embedding(p),
        CircuitNode::Head { layer, head, position } => {
            let keys = looks(model.pattern_row(trace, layer, head, position)?);
            let label = keys.first().map(|&(key, weight)| looks_at(&tokens[key].text, key, weight));
            let node = Node { label: label.unwrap_or_default(), ..Node::head(small(layer), head as u64, p) };
            node.with_looks(&keys)
        }
        CircuitNode::Mlp { layer, .. } if without.is_empty() => Node::mlp(small(layer), p),
        CircuitNode::Mlp { layer, .. } => Node::rest(small(layer), p).with_apart(without),
        CircuitNode::Neuron { layer, neuron, position } => {
            let activation = trace.block(layer, S::MlpPost)?.get(position)?.get(neuron)?.to_dtype(DType::F32)?;
            Node::neuron(small(layer), neuron as u64, p, activation.to_scalar()?)
        }
    };
    let totals = NodeTotals { writes: total.writes, counts: Some(total.counts).filter(|c| c.is_finite()) };
    Ok(Node { totals: Some(totals), ..node })
}

/// Keys of a head that are told.
const KEYS: usize = 3;

/// The keys that a head looks at most, with their weights.
fn looks(pattern: Vec<f32>) -> Vec<(usize, f32)> {
    let mut keys: Vec<(usize, f32)> = pattern.into_iter().enumerate().collect();
    keys.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    keys.truncate(KEYS);
    keys
}

/// `looks at 9 " John" 0.74`
fn looks_at(token: &str, key: usize, weight: f32) -> String {
    format!("looks at {key} \"{token}\" {weight:.2}")
}

fn small(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
