//! The positions that attention rests on, as one node each run of neighbours: they carry large activations that only serve attention, come first by
//! influence and explain nothing.

use crate::model::arch::Decoder;
use crate::model::site::{BlockSite as S, Site};
use crate::model::trace::Trace;
use anyhow::{Context, Result, ensure};
use candle_core::DType;
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

/// Ascending positions by runs of neighbours: one node each. With a gap between them what stands in the gap would read from the node and write
/// into it.
pub(super) fn runs(positions: &[usize]) -> Vec<&[usize]> {
    positions.chunk_by(|a, b| a + 1 == *b).collect()
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
    fn sinks_are_named_by_words_or_positions() {
        assert_eq!("auto".parse::<Sink>().unwrap(), Sink::Auto);
        assert_eq!("none".parse::<Sink>().unwrap(), Sink::None);
        assert_eq!("0,3".parse::<Sink>().unwrap(), Sink::At(vec![0, 3]));
        let error = format!("{:#}", "first".parse::<Sink>().unwrap_err());
        assert!(error.contains("accepted: auto, none, or positions") && error.contains("first"), "{error}");
    }
}
