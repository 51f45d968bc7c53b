//! What a backward pass holds at the values of the run and what it differentiates.

/// What is held of a gated product `act(gate) * up`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gate {
    /// Half of the gradient goes through either branch, the other being held (RelP's half rule).
    #[default]
    Half,
    /// The gate is held, all goes through the linear branch.
    Freeze,
}

impl Gate {
    /// Every rule.
    pub const ALL: [Gate; 2] = [Gate::Half, Gate::Freeze];

    /// Its name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Gate::Half => "half",
            Gate::Freeze => "freeze",
        }
    }

    /// The rule of this name.
    pub fn named(name: &str) -> Option<Self> {
        Gate::ALL.into_iter().find(|gate| gate.name() == name)
    }
}

/// Whether a part of the model is differentiated or held at its value in the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GradientRule {
    /// Differentiated.
    Exact,
    /// A constant of the run.
    Frozen,
}

/// What becomes of MLP nonlinearities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gates {
    /// Differentiated: the derivative of the activation, and the product rule of a gated MLP.
    Exact,
    /// `c` of `activation(x) = x c(x)` is a constant of the run; of a gated product the rule says what is held.
    Held(Gate),
}

/// One rule for each part of the model that is not linear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The scales of all norms, those of queries and keys included.
    pub norms: GradientRule,
    /// Attention patterns: softmax, soft-caps of scores, rotation, queries and keys.
    pub patterns: GradientRule,
    /// MLP nonlinearities.
    pub gates: Gates,
}

impl Rules {
    /// Nothing is held: the gradient.
    pub const EXACT: Rules = Rules { norms: GradientRule::Exact, patterns: GradientRule::Exact, gates: Gates::Exact };

    /// Relevance patching: everything is held, gated products by `gate`. Jafari et al. (arXiv 2508.21258).
    pub const fn relp(gate: Gate) -> Self {
        Rules { norms: GradientRule::Frozen, patterns: GradientRule::Frozen, gates: Gates::Held(gate) }
    }

    /// Whether everything is held, so that what units and biases write adds up.
    pub fn is_linear(self) -> bool {
        self.norms == GradientRule::Frozen && self.patterns == GradientRule::Frozen && self.gates != Gates::Exact
    }
}
