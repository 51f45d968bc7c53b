//! The positions that attention rests on, as one node each run of neighbours: they carry large activations that only serve attention, come first by
//! influence and explain nothing.

use crate::cast::single;
use crate::model::arch::Decoder;
use crate::model::site::{BlockSite as S, Site};
use crate::model::trace::Trace;
use crate::replacement::circuit::CircuitNode;
use anyhow::{Context, Result, ensure};
use candle_core::DType;
use std::collections::BTreeMap;
use std::str::FromStr;

/// A position is a sink whose residual stream in the middle layers is longer than that of the others by this factor.
const LONGER: f64 = 10.0;

/// Positions below which nothing can be said of where attention rests.
const FEWEST: usize = 4;

/// Which positions are drawn as one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sink {
    /// Those whose residual stream in the middle layers is over ten times as long as the others', or that take over half of all attention.
    #[default]
    Auto,
    /// None.
    None,
    /// These.
    At(Vec<usize>),
}

impl FromStr for Sink {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Sink::Auto),
            "none" => Ok(Sink::None),
            list => {
                let one = |text: &str| text.trim().parse().with_context(|| format!("found {text:?}"));
                let found = list.split(',').map(one).collect::<Result<_>>();
                found.map(Sink::At).context("accepted: auto, none, or positions such as 0,1")
            }
        }
    }
}

impl Sink {
    /// The positions in a run, in order.
    ///
    /// # Errors
    /// A position that the prompt does not have, or its last, which the question is about; what `go_on` returns.
    pub fn of(&self, model: &Decoder, trace: &Trace, go_on: &mut dyn FnMut() -> Result<()>) -> Result<Vec<usize>> {
        match self {
            Sink::Auto => positions(model, trace, go_on),
            Sink::None => Ok(Vec::new()),
            Sink::At(wanted) => {
                let last = trace.n_pos() - 1;
                for position in wanted {
                    ensure!(
                        *position < last,
                        "--sink {position}: this prompt has positions 0..={last}, and the last is the question's"
                    );
                }
                let mut wanted = wanted.clone();
                wanted.sort_unstable();
                wanted.dedup();
                Ok(wanted)
            }
        }
    }
}

/// The positions that attention rests on, found by the length of their residual streams and by attention's mass.
///
/// # Errors
/// The run did not record patterns and residual streams; what `go_on` returns, which is asked before every layer.
pub fn positions(model: &Decoder, trace: &Trace, go_on: &mut dyn FnMut() -> Result<()>) -> Result<Vec<usize>> {
    let n = trace.n_pos();
    if n <= FEWEST {
        return Ok(Vec::new());
    }
    let (lengths, mass) = (lengths(model, trace, go_on)?, mass(model, trace, go_on)?);
    let mut sorted = lengths.clone();
    sorted.sort_by(f64::total_cmp);
    // The middle of the others: without the position itself those above it move down by one.
    let middle = |own: f64| sorted[(n - 1) / 2 + usize::from(own <= sorted[(n - 1) / 2])];
    let found = (0..n - 1).filter(|&p| lengths[p] > LONGER * middle(lengths[p]) || mass[p] > 0.5);
    Ok(found.collect())
}

impl Sink {
    /// The positions in a run, those of each node.
    ///
    /// # Errors
    /// As [`Sink::of`].
    pub fn nodes(
        &self,
        model: &Decoder,
        trace: &Trace,
        go_on: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Vec<Vec<usize>>> {
        Ok(runs(&self.of(model, trace, go_on)?).into_iter().map(<[usize]>::to_vec).collect())
    }
}

/// Ascending positions by runs of neighbours: one node each. With a gap between them what stands in the gap would read from the node and write
/// into it.
pub(super) fn runs(positions: &[usize]) -> Vec<&[usize]> {
    positions.chunk_by(|a, b| a + 1 == *b).collect()
}

/// A line of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowPart {
    /// A unit.
    Unit(CircuitNode),
    /// The heads and MLPs of the sink of this number.
    Sink(usize),
}

/// The effects of a row with one line for the heads and MLPs of each sink: `sinks` are the positions of each. Embeddings stay by themselves.
pub fn as_one(effects: Vec<(CircuitNode, f32)>, sinks: &[Vec<usize>]) -> Vec<(RowPart, f32)> {
    let mut parts = Vec::with_capacity(effects.len());
    let mut sunk: BTreeMap<usize, f64> = BTreeMap::new();
    for (unit, effect) in effects {
        match sinks.iter().position(|sink| unit.layer().is_some() && sink.contains(&unit.position())) {
            Some(sink) => *sunk.entry(sink).or_default() += f64::from(effect),
            None => parts.push((RowPart::Unit(unit), effect)),
        }
    }
    parts.extend(sunk.into_iter().map(|(sink, sum)| (RowPart::Sink(sink), single(sum))));
    parts
}

/// The mean length of the residual stream over the middle third of the layers, by position.
fn lengths(model: &Decoder, trace: &Trace, go_on: &mut dyn FnMut() -> Result<()>) -> Result<Vec<f64>> {
    let layers = model.arch.n_layers;
    let mut lengths = vec![0.0; trace.n_pos()];
    for layer in layers / 3..(2 * layers / 3).max(layers / 3 + 1) {
        go_on()?;
        let rows = trace.get(Site::Block(layer, S::ResidPre))?.to_dtype(DType::F32)?;
        let squares: Vec<f32> = rows.sqr()?.sum(1)?.to_vec1()?;
        lengths.iter_mut().zip(squares).for_each(|(sum, x)| *sum += f64::from(x).sqrt());
    }
    Ok(lengths)
}

/// The share of all attention that later positions give to each.
fn mass(model: &Decoder, trace: &Trace, go_on: &mut dyn FnMut() -> Result<()>) -> Result<Vec<f64>> {
    let mut mass = model.attention_received(trace, go_on)?;
    // Every query but the first gives one of each head.
    let all = (model.arch.n_layers * model.arch.n_heads * (trace.n_pos() - 1)) as f64;
    mass.iter_mut().for_each(|m| *m /= f64::max(all, f64::MIN_POSITIVE));
    Ok(mass)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_and_mlps_of_a_sink_are_one_line_and_embeddings_stay() {
        let head = |position| CircuitNode::Head { layer: 1, head: 0, position };
        let mlp = |position| CircuitNode::Mlp { layer: 0, position };
        let embed = CircuitNode::Embed { position: 0 };
        let row = vec![(embed, 4.0), (mlp(0), 1.0), (head(2), 3.0), (head(1), -0.5), (mlp(5), 2.0)];
        let unit = RowPart::Unit;
        assert_eq!(
            as_one(row.clone(), &[vec![0, 1], vec![5]]),
            [(unit(embed), 4.0), (unit(head(2)), 3.0), (RowPart::Sink(0), 0.5), (RowPart::Sink(1), 2.0)]
        );
        let apart: Vec<_> = row.iter().map(|(node, effect)| (unit(*node), *effect)).collect();
        assert_eq!(as_one(row, &[]), apart);
    }

    #[test]
    fn sinks_are_named_by_words_or_positions() {
        assert_eq!("auto".parse::<Sink>().unwrap(), Sink::Auto);
        assert_eq!("none".parse::<Sink>().unwrap(), Sink::None);
        assert_eq!("0,3".parse::<Sink>().unwrap(), Sink::At(vec![0, 3]));
        let error = format!("{:#}", "first".parse::<Sink>().unwrap_err());
        assert!(error.contains("accepted: auto, none, or positions") && error.contains("first"), "{error}");
    }
}
