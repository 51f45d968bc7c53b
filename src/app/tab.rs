//! The tabs.

use super::Slot;
use crate::keymap::Context;

/// The tabs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tab {
    /// The prompt, its tokens, the next-token table.
    #[default]
    Prompt,
    /// What every layer would predict.
    Lens,
    /// The attention heads.
    Heads,
    /// The neurons.
    Neurons,
    /// The attribution graph.
    Graph,
    /// Any method of the catalogue.
    Method,
}

impl Tab {
    /// Every tab, left to right.
    pub const ALL: [Tab; 6] = [Tab::Prompt, Tab::Lens, Tab::Heads, Tab::Neurons, Tab::Graph, Tab::Method];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Tab::Prompt => "Prompt",
            Tab::Lens => "Lens",
            Tab::Heads => "Heads",
            Tab::Neurons => "Neurons",
            Tab::Graph => "Graph",
            Tab::Method => "Method",
        }
    }

    /// Its main pane and the one beside it.
    pub fn slots(self) -> (Slot, Option<Slot>) {
        match self {
            Tab::Prompt => (Slot::Next, None),
            Tab::Lens => (Slot::Lens, Some(Slot::LensCell)),
            Tab::Heads => (Slot::Heads, Some(Slot::Head)),
            Tab::Neurons => (Slot::Neurons, Some(Slot::Neuron)),
            Tab::Graph => (Slot::Graph, Some(Slot::GraphSide)),
            Tab::Method => (Slot::Method, None),
        }
    }

    pub(super) fn context(self) -> Context {
        match self {
            Tab::Prompt => Context::Prompt,
            Tab::Lens => Context::Lens,
            Tab::Heads => Context::Heads,
            Tab::Neurons => Context::Neurons,
            Tab::Graph => Context::Graph,
            Tab::Method => Context::Normal,
        }
    }
}
