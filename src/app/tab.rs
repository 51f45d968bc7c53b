//! The tabs.

mod graph;
mod heads;
mod lens;
mod method;
mod neurons;
mod patch;
mod prompt;

pub use heads::HeadsTab;
pub use method::MethodTab;
pub use neurons::NeuronsTab;
pub use patch::{PatchDepth, PatchTab};

use super::{App, Slot};
use crate::engine::Ask;
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
    /// Where two prompts part.
    Patch,
    /// Any method of the catalogue.
    Method,
}

impl Tab {
    /// Every tab, left to right.
    pub const ALL: [Tab; 7] = [Tab::Prompt, Tab::Lens, Tab::Heads, Tab::Neurons, Tab::Graph, Tab::Patch, Tab::Method];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Tab::Prompt => "Prompt",
            Tab::Lens => "Lens",
            Tab::Heads => "Heads",
            Tab::Neurons => "Neurons",
            Tab::Graph => "Graph",
            Tab::Patch => "Patch",
            Tab::Method => "Method",
        }
    }

    /// What it does.
    pub(super) fn room(self) -> &'static dyn TabRoom {
        match self {
            Tab::Prompt => &prompt::Room,
            Tab::Lens => &lens::Room,
            Tab::Heads => &heads::Room,
            Tab::Neurons => &neurons::Room,
            Tab::Graph => &graph::Room,
            Tab::Patch => &patch::Room,
            Tab::Method => &method::Room,
        }
    }

    /// Its main pane and the one beside it.
    pub fn slots(self) -> (Slot, Option<Slot>) {
        self.room().panes()
    }

    pub(super) fn context(self) -> Context {
        self.room().context()
    }
}

/// What tells one tab from another: its panes, where its keys are read, what it asks, what Enter does in it, and how its cursor and the one
/// selection of all tabs find each other. A tab is a file that says this, its line in [`Tab::room`], and what it keeps in [`App`].
pub(super) trait TabRoom {
    /// Its main pane and the one beside it.
    fn panes(&self) -> (Slot, Option<Slot>);

    /// Where its keys are read.
    fn context(&self) -> Context;

    /// What one of its panes would have to ask now; none while it cannot be asked.
    fn asks(&self, app: &App, pane: Slot) -> Option<Ask>;

    /// Enter, where it is more than reading a row; whether it was.
    fn enter(&self, _: &mut App) -> bool {
        false
    }

    /// After the cursor of its main pane moved, before what it is on is selected.
    fn cursor_moved(&self, _: &mut App) {}

    /// Whether the layer under the cursor becomes the selected one.
    fn chooses_layer(&self, _: &App) -> bool {
        true
    }

    /// After the selection moved, or a report arrived: its cursor goes where the selection is.
    fn selection_moved(&self, _: &mut App) {}
}

impl App {
    /// The question of a method as it stands, with these parameters.
    fn of_method(&self, name: &str, params: &[(&str, String)]) -> Option<Ask> {
        let params = params.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect();
        Some(Ask::Method { name: name.to_owned(), question: self.question()?, params })
    }

    /// Enter in a main pane with another one beside it: keys go there.
    fn enter_beside(&mut self) -> bool {
        let enters = !self.side;
        if enters {
            let here = self.here();
            self.side = true;
            self.history.leave(here);
        }
        enters
    }
}
