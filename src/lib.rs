//! mechscope: a terminal explorer for mechanistic interpretability of language models.

pub mod address;
pub mod analysis;
pub mod builtin;
pub mod cli;
pub mod graph;
pub mod model;
pub mod paths;
pub mod report;
