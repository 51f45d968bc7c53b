//! Which heads carried the edge under the cursor.

use super::Beside;
use crate::app::App;
use crate::engine::edge::Edge;
use crate::engine::{Ask, Slot};

impl App {
    /// Asks for the heads of the edge between the selected node and the one it hangs from, and shows them beside the tree.
    pub(in crate::app) fn explain_edge(&mut self) {
        if self.graph.beside == Beside::Edge {
            self.graph.beside = Beside::Node;
            self.side = false;
            return self.show_about();
        }
        let ends = self.graph_row().and_then(|row| Some((row.node()?, row.parent?)));
        let Some(((node, parent), shown)) = ends.zip(self.graph.shown()) else {
            self.message = Some("no edge is selected: the root has none above it".into());
            return;
        };
        let (source, target) = match shown.direction {
            crate::graph::tree::Direction::Upstream => (node, parent),
            crate::graph::tree::Direction::Downstream => (parent, node),
        };
        let (of, dictionary) = (shown.source.clone(), self.graph.dictionary.clone());
        self.graph.beside = Beside::Edge;
        self.side = true;
        self.graph.told = None;
        let pane = self.pane_mut(Slot::GraphSide);
        (pane.report, pane.cursor) = (None, 0);
        self.ask(Slot::GraphSide, Ask::Edge(Edge { of, dictionary, source, target }));
    }
}
