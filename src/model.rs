//! The model side: checkpoints, families, the forward pass with its sites, and edits.

pub mod text;
