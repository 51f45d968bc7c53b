//! mechscope: a terminal explorer for mechanistic interpretability of language models.

pub mod model;
