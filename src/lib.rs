//! mechscope: a terminal explorer for mechanistic interpretability of language models.

pub mod address;
pub mod builtin;
pub mod graph;
pub mod model;
pub mod report;
