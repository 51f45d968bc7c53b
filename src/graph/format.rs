//! File formats of graphs: one format, one file.

pub mod dot;
pub mod json;
pub mod svg;
pub mod text;
pub mod tsv;
pub mod url;
