//! Text tree.
