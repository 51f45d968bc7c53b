//! Head loadings of a graph's edges: which heads carried what one node writes to where another reads.

mod over;
mod request;
mod table;

use super::graph_run::GraphRun;
use super::{About, Evidence, MethodCommand, MethodDirection};
use crate::graph::NodeKind;
use crate::model::dictionary::Active;
use crate::model::site::Site;
use crate::replacement::Gate;
use crate::replacement::{Loadings, MlpInput, Placed, ResidualTarget, SourceBlocks, Write};
use anyhow::{Context, Result, bail, ensure};

pub use over::edges_over;
pub use request::{EdgeQuestion, OfHead};
pub use table::{edges_of_head, heads_of_edge};

/// Edges that a head is asked about unless told otherwise.
pub const EDGES: usize = 40;

/// The part of an edge's weight by which its loadings may differ, besides what rounding leaves in its row's absolute sum.
const SAME: f32 = 1e-4;
const ROUNDING: f64 = 1e-5;

/// The entry of `mechscope loadings`.
pub static LOADINGS: MethodCommand = MethodCommand {
    about: About {
        name: "loadings",
        title: "head loadings of an edge",
        question: "Which heads carried what one node of a graph writes to where another reads?",
        direction: MethodDirection::TopDown,
        unit: "attention head",
        evidence: Evidence::Approximation,
        assumes: "as for the graph: attention patterns, norm scales and gates are held, so where heads look is taken as given",
        cost: "1 forward pass, and one linear pass between the two nodes",
        reference: "Kamath et al. 2025, Tracing Attention Computation Through Feature Interactions",
        params: &[],
    },
    run: "mechscope loadings FILE --from NODE --to NODE",
};

impl GraphRun<'_> {
    /// Which heads carried an edge of the graph, with gated neurons linearised as the graph says.
    ///
    /// # Errors
    /// As [`GraphRun::loadings`]; loadings that add up to another weight than the graph's, which they would not explain.
    pub fn edge(&self, source: u32, target: u32) -> Result<Loadings> {
        let gate = self.gate()?;
        let found = self.loadings(source, target, gate)?;
        let Some(weight) = self.graph.edges.weight(target as usize, source) else { return Ok(found) };
        let row = self.graph.edges.row(target as usize).abs_sum();
        let certified = self.node(target).certificate.map_or(0.0, |c| f64::from(c.abs_sum));
        let allowed = f64::from(SAME * weight.abs()) + ROUNDING * row.max(certified);
        let off = f64::from(found.edge) - f64::from(weight);
        ensure!(
            off.abs() <= allowed,
            "{} to {}: the graph says {weight:+.4}; in {} with the gate rule {} it is {:+.4}: the graph was made in another way, so \
             its heads cannot be told",
            self.node(source).name(),
            self.node(target).name(),
            self.model.source,
            gate.name(),
            found.edge
        );
        Ok(found)
    }

    /// Which heads carried the edge from `source` to `target`; [`Loadings::edge`] is the edge's weight. `gate` is how the graph linearised gated
    /// neurons. An edge that the graph does not show has its loadings too.
    ///
    /// # Errors
    /// A node that writes no vector or reads none; the error says why.
    pub fn loadings(&self, source: u32, target: u32, gate: Gate) -> Result<Loadings> {
        let (writes, target) = (self.writes(source)?, self.reads_at(target, gate)?);
        self.replacement()?.loadings(&self.model.decoder, &self.trace, &writes, &target)
    }

    /// What a node writes to the residual stream.
    fn writes(&self, at: u32) -> Result<Vec<Placed>> {
        let node = self.node(at);
        let position = node.position.unwrap_or(0) as usize;
        let embedded = |site| -> Result<Vec<Placed>> {
            Ok(vec![Placed { layer: None, position, vector: self.trace.row(site, position)? }])
        };
        match node.kind {
            NodeKind::Embedding { .. } => embedded(Site::Embed),
            NodeKind::PositionalEmbedding => embedded(Site::PosEmbed),
            NodeKind::Neuron => {
                let (frozen, place) = (self.replacement()?, self.place(node)?);
                let writes = SourceBlocks::neuron_writes(frozen, &self.model.decoder, &self.trace, &[place])?;
                let placed = |w: Write| Placed { layer: Some(w.layer), position: w.position, vector: w.vector };
                Ok(writes.into_iter().map(placed).collect())
            }
            NodeKind::Feature => {
                let (layer, position, feature) = self.place(node)?;
                let dictionary = self.dictionary.context("a dictionary is needed")?;
                let activation = node.activation.context("the graph does not say its activation")?;
                let active = Active { layer, position, feature, activation, pre: activation };
                let written = self.written(dictionary, &active)?.into_iter();
                Ok(written.map(|(layer, vector)| Placed { layer: Some(layer), position, vector }).collect())
            }
            NodeKind::Error => match self.dictionary {
                Some(dictionary) => {
                    let (layer, position, _) = self.place(node)?;
                    Ok(vec![Placed { layer: Some(layer), position, vector: self.error(dictionary, layer, position)? }])
                }
                None => {
                    bail!("{}: it is what the neurons shown leave of an MLP output, no vector of its own", node.name())
                }
            },
            NodeKind::Bias | NodeKind::Logit { .. } | NodeKind::Other(_) => {
                bail!("{} writes no vector; accepted as a source: units and inputs", node.name())
            }
        }
    }

    /// What a node reads from the residual stream.
    fn reads_at(&self, at: u32, gate: Gate) -> Result<ResidualTarget> {
        let (node, frozen) = (self.node(at), self.replacement()?);
        let maker = frozen.targets(&self.model.decoder, &self.trace, gate);
        match node.kind {
            NodeKind::Neuron => {
                let (layer, position, neuron) = self.place(node)?;
                maker.neurons(layer, &[(position, neuron)])?.pop().context("no target for the neuron")
            }
            NodeKind::Feature => {
                let (layer, position, feature) = self.place(node)?;
                let dictionary = self.dictionary.context("a dictionary is needed")?;
                let (row, bias) = dictionary.encoder_rows(layer, &[feature])?.pop().context("no such feature")?;
                let reads: MlpInput = GraphRun::reads(dictionary);
                let value = node.activation.unwrap_or_default();
                Ok(frozen.input_target(layer, position, row, reads, bias, value))
            }
            NodeKind::Logit { .. } => maker.logits(frozen.n_pos - 1, &self.weights(node)?, true),
            _ => bail!("{} reads nothing; accepted as a target: units and logits", node.name()),
        }
    }
}
