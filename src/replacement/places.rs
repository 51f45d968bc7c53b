//! What is written at the places of a model, layers and positions.

use crate::model::kernel::lanes::PackedTiles;
use std::borrow::Cow;

/// The rows that the effect on the residual stream of one layer and position is contracted with.
pub(super) struct Rows {
    pub vectors: PackedTiles,
    /// The column of each row; the column after the last is the bias.
    pub columns: Vec<usize>,
}

/// Sources by what writes them: `S` are those of one layer.
pub(super) struct Sides<S> {
    /// By layer: where the MLP writes.
    pub mlp: Vec<S>,
    /// By layer: where attention writes, biases only.
    pub attn: Vec<S>,
    /// Embeddings.
    pub embed: S,
}

/// What is written at one position of a layer, before it is laid out for a route.
pub(super) struct PositionWrites<'a> {
    pub vectors: Vec<Cow<'a, [f32]>>,
    /// The column of each vector.
    pub columns: Vec<usize>,
}

impl Rows {
    /// Packs what is written at a place, vectors of `d` numbers.
    pub fn new(place: &PositionWrites, d: usize) -> Self {
        let vectors = PackedTiles::new(place.vectors.len(), d, |r, i| place.vectors[r][i]);
        Rows { vectors, columns: place.columns.clone() }
    }
}
