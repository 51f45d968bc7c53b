//! Edges as TSV.
