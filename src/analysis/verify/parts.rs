//! Tests of heads, MLPs, what is left of an MLP, and sinks: all heads and neurons that a node stands for are changed together.

use super::Verifier;
use super::test_plan::{Delta, TestPlan};
use crate::address::{Edit, EditTarget, Numbered, Parts, Places, Positions, Span};
use crate::cast::signed;
use crate::graph::verification::Intervention;
use crate::graph::{Node, NodeKind};
use crate::model::site::{BlockSite as S, Site};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;
use std::ops::Range;

/// Heads or neurons of one layer at one position.
struct Piece {
    kind: Numbered,
    layer: usize,
    position: usize,
    numbers: Range<usize>,
}

impl Piece {
    fn edit(&self, with: &Intervention) -> Edit {
        let numbers = Span { first: Some(self.numbers.start), last: Some(self.numbers.end - 1) };
        let places = Places::Layers(Span::one(self.layer), Parts::Numbered(self.kind, numbers));
        let target = EditTarget { places, positions: Positions::one(signed(self.position)), keys: None };
        Edit { target, op: with.op() }
    }
}

impl Verifier<'_> {
    /// What changing a head, an MLP, the rest of one or a sink does.
    pub(super) fn part_acts(&self, node: &Node, with: &Intervention) -> Result<TestPlan> {
        let pieces = self.pieces(node)?;
        let (decoder, mut deltas) = (&self.on.model.decoder, Vec::with_capacity(pieces.len()));
        for piece in &pieces {
            let (site, width) = match piece.kind {
                Numbered::Head => (S::Z, decoder.blocks[piece.layer].attention.d_head),
                _ => (S::MlpPost, 1),
            };
            let (site, position) = (Site::Block(piece.layer, site), piece.position);
            let cols = piece.numbers.start * width..piece.numbers.end * width;
            let old = &self.on.trace.row(site, position)?[cols.clone()];
            let new: Vec<f32> = match with.factor() {
                Some(factor) => old.iter().map(|x| factor * x).collect(),
                None => self.elsewhere(with, site, position, cols.clone())?,
            };
            let by = new.iter().zip(old).map(|(new, old)| new - old).collect();
            deltas.push(Delta { site, position, cols, by });
        }
        let first = pieces.iter().map(|p| p.layer).min();
        Ok(TestPlan::of_units(pieces.iter().map(|p| p.edit(with)).collect(), deltas, first))
    }

    /// The heads and neurons that a node stands for.
    fn pieces(&self, node: &Node) -> Result<Vec<Piece>> {
        let arch = &self.on.model.decoder.arch;
        let layer = node.layer.unwrap_or(0) as usize;
        let position = node.position.unwrap_or(0) as usize;
        ensure!(
            layer < arch.n_layers && position < self.on.trace.n_pos(),
            "it is outside this model or prompt: layers 0..={}, positions 0..={}",
            arch.n_layers - 1,
            self.on.trace.n_pos() - 1
        );
        let one = |kind, numbers| Piece { kind, layer, position, numbers };
        Ok(match node.kind {
            NodeKind::Head => {
                let head = usize::try_from(node.index.context("the graph does not say which head it is")?)?;
                ensure!(head < arch.n_heads, "head {head}: this model has heads 0..={}", arch.n_heads - 1);
                vec![one(Numbered::Head, head..head + 1)]
            }
            NodeKind::Mlp => vec![one(Numbered::Neuron, 0..arch.d_mlp)],
            NodeKind::Rest => {
                let mut pieces = Vec::new();
                let mut from = 0;
                for neuron in self.apart(node)?.into_iter().chain([arch.d_mlp]) {
                    if from < neuron {
                        pieces.push(one(Numbered::Neuron, from..neuron));
                    }
                    from = neuron + 1;
                }
                pieces
            }
            NodeKind::Sink => self.sunk(node)?,
            _ => bail!("it is no part of the model; accepted: heads, MLPs, what is left of one, sinks"),
        })
    }

    /// The neurons that are nodes of their own beside the rest of an MLP. A pruned graph may have dropped some: they are in the rest's
    /// own list where its file has one.
    fn apart(&self, rest: &Node) -> Result<BTreeSet<usize>> {
        let d_mlp = self.on.model.decoder.arch.d_mlp;
        let known = |neuron: u64| {
            let known = usize::try_from(neuron).ok().filter(|n| *n < d_mlp);
            known.with_context(|| {
                format!("{} is without neuron {neuron}: this model has 0..={}", rest.name(), d_mlp - 1)
            })
        };
        rest.apart().into_iter().map(known).collect()
    }

    /// All heads and neurons at the positions of a sink.
    fn sunk(&self, node: &Node) -> Result<Vec<Piece>> {
        let arch = &self.on.model.decoder.arch;
        let positions = node.sink_positions().context("its id does not say which positions")?;
        ensure!(positions.iter().all(|p| *p < self.on.trace.n_pos()), "it is outside this prompt");
        let mut pieces = Vec::new();
        for position in positions {
            for layer in 0..arch.n_layers {
                pieces.push(Piece { kind: Numbered::Head, layer, position, numbers: 0..arch.n_heads });
                pieces.push(Piece { kind: Numbered::Neuron, layer, position, numbers: 0..arch.d_mlp });
            }
        }
        Ok(pieces)
    }
}
