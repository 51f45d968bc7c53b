//! The local replacement model: attention patterns, norm scales and MLP coefficients held at the values of one run. It is linear
//! in the residual stream, so the direct effect of every source on a target is one backward pass of matrix products,
//! without a tape and exact.
//!
//! Notation: `C` subtracts the mean (LayerNorm) or does nothing (RMSNorm), `s = 1 / hook_scale`, `G` is the effect of
//! a target on the residual stream, `[pos, d_model]`. One attention step downwards is
//! `G[k] += s1[k] C(gamma1 . (sum_q A[q, k] (G[q] W_O)) W_V)`; MLPs block `G`, which passes them by the residual stream.
//! Targets, sources and the sum rule follow Ameisen et al. 2025 ("Circuit Tracing") with raw neurons as units, half rule
//! as in Jafari et al. 2025 (arXiv 2508.21258).
//!
//! Rows come by one of two routes: on the CPU from our kernels, on packed copies of the weights; of a model on a GPU from
//! tensor operations there, on the model's own weights. They agree but for rounding.

pub mod backward;
mod branches;
pub mod circuit;
pub mod direct;
pub mod feeds;
mod freeze;
mod lane;
mod layer;
mod loadings;
mod mixing;
mod norm;
mod pack;
mod packed;
mod patterns;
mod places;
pub mod readers;
mod rows;
mod rules;
mod sources;
mod target;
mod targets;
mod tensors;
pub mod transpose;

pub use freeze::ReplacementModel;
pub use loadings::{Loadings, Placed};
pub use rows::{EffectRow, cost};
pub use rules::{Gate, Gates, GradientRule, Rules};
pub use sources::{Columns, SourceBlocks, Write};
pub use target::{MlpInput, ResidualPoint, ResidualTarget};
pub use targets::TargetMaker;
