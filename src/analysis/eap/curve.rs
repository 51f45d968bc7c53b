//! How faithful circuits of growing size are, by both rankings.

use super::edges::{EdgeGraph, EdgeRanking, EdgeSelection, EdgeSet};
use super::{EdgeStudy, Measured};
use crate::cast::whole;
use crate::model::forward::Step;
use anyhow::Result;

/// The shares of all edges that circuits of the curve keep (MIB).
pub const SHARES: [f64; 10] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0];

/// How far from 1 the faithfulness of the circuit that is listed may be, where nobody says how large it is to be.
const CLOSE: f64 = 0.1;

/// A circuit of the curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeptEdges {
    /// Its edges, without those that lead nowhere.
    pub edges: usize,
    /// Its nodes, the input among them.
    pub nodes: usize,
    /// Its faithfulness.
    pub faithfulness: f64,
}

/// One size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CurvePoint {
    /// The share of all edges.
    pub share: f64,
    /// How many edges that is.
    pub edges: usize,
    /// Ranked by size.
    pub absolute: KeptEdges,
    /// Ranked with their sign.
    pub signed: KeptEdges,
}

/// The curve over all sizes.
#[derive(Clone, Debug)]
pub struct FaithfulnessCurve {
    /// The sizes, the smallest first.
    pub points: Vec<CurvePoint>,
    /// What was measured.
    pub measured: Measured,
}

impl EdgeStudy<'_> {
    /// Circuits by these scores at every size, run.
    ///
    /// # Errors
    /// As [`EdgeStudy::measure`].
    pub fn curve(&self, scores: &[f64], by: EdgeSelection, step: Step) -> Result<FaithfulnessCurve> {
        let graph = &self.graph;
        let sizes = SHARES.map(|share| whole(share * graph.edges() as f64));
        let of = |ranking| sizes.map(|n| graph.choose(scores, n, ranking, by));
        let circuits: Vec<EdgeSet> = [of(EdgeRanking::Absolute), of(EdgeRanking::Signed)].concat();
        let measured = self.measure(&circuits, step)?;
        let kept: Vec<KeptEdges> = circuits
            .iter()
            .zip(measured.faithfulness())
            .map(|(circuit, faithfulness)| KeptEdges::new(circuit, faithfulness))
            .collect();
        let (absolute, signed) = kept.split_at(SHARES.len());
        let point =
            |i: usize| CurvePoint { share: SHARES[i], edges: sizes[i], absolute: absolute[i], signed: signed[i] };
        Ok(FaithfulnessCurve { points: (0..SHARES.len()).map(point).collect(), measured })
    }
}

impl KeptEdges {
    /// Of a circuit.
    pub fn new(circuit: &EdgeSet, faithfulness: f64) -> Self {
        let nodes = circuit.nodes().into_iter().filter(|kept| *kept).count();
        KeptEdges { edges: circuit.len(), nodes, faithfulness }
    }
}

impl FaithfulnessCurve {
    /// The area below faithfulness over the share of edges, ranked with their sign.
    pub fn cpr(&self) -> f64 {
        self.area(|point| point.signed.faithfulness)
    }

    /// The area between faithfulness and 1, ranked by size.
    pub fn cmd(&self) -> f64 {
        self.area(|point| (1.0 - point.absolute.faithfulness).abs())
    }

    /// By trapezoids, from the smallest share on.
    fn area(&self, of: impl Fn(&CurvePoint) -> f64) -> f64 {
        self.points.windows(2).map(|p| (p[1].share - p[0].share) * f64::midpoint(of(&p[0]), of(&p[1]))).sum()
    }

    /// The smallest size, ranked by size of scores, that is faithful within a tenth; all edges where none is.
    pub fn enough(&self, graph: &EdgeGraph) -> usize {
        let close = |point: &&CurvePoint| (1.0 - point.absolute.faithfulness).abs() <= CLOSE;
        self.points.iter().find(close).map_or(graph.edges(), |point| point.edges)
    }
}
