//! What targets gather on their way down.

/// What one target has gathered on its way.
pub(super) struct Lane {
    /// Index of the target.
    pub target: usize,
    /// `[columns + 1]`, the last one for biases.
    pub sums: Vec<f32>,
    /// `[layer, head]`
    pub heads: Vec<f32>,
}

impl Lane {
    pub fn new(target: usize, n_columns: usize, n_heads: usize) -> Self {
        Lane { target, sums: vec![0.0; n_columns + 1], heads: vec![0.0; n_heads] }
    }
}
