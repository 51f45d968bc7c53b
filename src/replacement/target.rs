//! What rows are computed for: linear functionals of the residual stream, with the values they stand for.

/// Where on the residual stream a target reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResidualPoint {
    /// The embeddings.
    Embed,
    /// `hook_resid_mid` of a layer.
    Mid(usize),
    /// `hook_resid_post` of a layer.
    Post(usize),
}

impl ResidualPoint {
    /// How many layers' attention and how many layers' MLPs have written by then.
    pub fn written(self) -> (usize, usize) {
        match self {
            ResidualPoint::Embed => (0, 0),
            ResidualPoint::Mid(l) => (l + 1, l),
            ResidualPoint::Post(l) => (l + 1, l + 1),
        }
    }

    /// What attention of `layer` reads from.
    pub fn attention_input(layer: usize) -> Self {
        layer.checked_sub(1).map_or(ResidualPoint::Embed, ResidualPoint::Post)
    }

    /// What MLP of `layer` reads from.
    pub fn mlp_input(layer: usize, parallel: bool) -> Self {
        match parallel {
            false => ResidualPoint::Mid(layer),
            true => Self::attention_input(layer),
        }
    }
}

/// What a target at the input of an MLP reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MlpInput {
    /// The residual stream.
    Residual,
    /// The output of the norm, weight and bias included.
    Normalized,
    /// The output of an RMSNorm before its weight.
    Unweighted,
}

/// A linear functional of the frozen model's residual stream.
#[derive(Clone, Debug)]
pub struct ResidualTarget {
    /// Where it reads.
    pub entry: ResidualPoint,
    /// The position it reads at.
    pub position: usize,
    /// `[d_model]`: its gradient on the residual stream at `entry`.
    pub vector: Vec<f32>,
    /// The part of the value that no source carries: biases of the norm and of the unit itself.
    pub bias: f32,
    /// The value in the run: what all sources and biases sum to.
    pub value: f32,
}
