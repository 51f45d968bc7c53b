//! What the replacement model holds at the values of a run, and what it lets vary.

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
