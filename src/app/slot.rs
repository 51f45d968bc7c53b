//! The panes, one for each kind of question.

/// Which pane: each has asked one thing at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slot {
    /// Opening a model.
    Model,
    /// Tokens and the next-token table.
    Next,
    /// Adding to the prompt.
    Generate,
    /// The logit lens.
    Lens,
    /// One cell of the lens.
    LensCell,
    /// Every head.
    Heads,
    /// One head.
    Head,
    /// Every neuron of a layer.
    Neurons,
    /// One neuron.
    Neuron,
    /// Any method of the catalogue.
    Method,
    /// The attribution graph.
    Graph,
    /// What stands beside it.
    GraphSide,
    /// What stands below a place of its tree.
    Branch,
    /// Interventions on its nodes.
    Verify,
    /// Cells patched between two prompts.
    Patch,
    /// The two prompts, token under token.
    Pair,
}

impl Slot {
    /// Every slot, the one that is asked first in front.
    pub const ALL: [Slot; 16] = [
        Slot::Model,
        Slot::Next,
        Slot::Generate,
        Slot::LensCell,
        Slot::Head,
        Slot::Neuron,
        Slot::Lens,
        Slot::Heads,
        Slot::Neurons,
        Slot::Method,
        Slot::Pair,
        Slot::Patch,
        Slot::GraphSide,
        Slot::Graph,
        Slot::Branch,
        Slot::Verify,
    ];
}
