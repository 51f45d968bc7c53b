//! The units that may become nodes.

/// Layer and number of a unit, whatever the position.
pub(super) type LayerUnit = (usize, usize);

/// A neuron or feature at a position.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit {
    pub layer: usize,
    pub position: usize,
    pub index: usize,
    pub activation: f32,
    /// Pre-activation of a feature, activation of a neuron: the value of its row.
    pub value: f32,
    /// Place in the ranking by relevance.
    pub rank: usize,
}
