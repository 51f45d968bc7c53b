//! Which heads carried the edge under the cursor, and which edges the head under the cursor carried.

use super::Beside;
use crate::address::{Component, Part, resolve_position};
use crate::analysis::circuit::HeadPlace;
use crate::analysis::loadings::{self, EdgeQuestion, OfHead};
use crate::app::App;
use crate::app::Slot;
use crate::engine::Ask;

impl App {
    /// Asks for the heads of the edge between the selected node and the one it hangs from, and shows them beside the tree.
    pub(in crate::app) fn explain_edge(&mut self) {
        if self.graph.beside == Beside::Edge {
            self.graph.beside = Beside::Node;
            self.side = false;
            return self.show_about();
        }
        if let Some(head) = self.tested_head() {
            return self.edges_of_head(head);
        }
        let ends = self.graph_row().and_then(|row| Some((row.node()?, row.parent?)));
        let Some(((node, parent), shown)) = ends.zip(self.graph.shown()) else {
            self.warn("no edge is selected: the root has none above it");
            return;
        };
        if let Err(e) = shown.check_of_the_graph(&[node, parent]) {
            return self.warn(e.to_string());
        }
        let (source, target) = match shown.direction {
            crate::graph::tree::TreeDirection::Upstream => (node, parent),
            crate::graph::tree::TreeDirection::Downstream => (parent, node),
        };
        let (graph, dictionary) = (shown.source.id, self.graph.dictionary.clone());
        self.ask_beside(Ask::Edge(EdgeQuestion { graph, dictionary, source, target }));
    }

    /// Asks what a head carries of the edges that pass its layer, the strongest for the target of them.
    fn edges_of_head(&mut self, head: (usize, usize)) {
        let Some(shown) = self.graph.shown() else { return };
        let edges = loadings::edges_over(&shown.graph, &shown.influence, Some(&shown.pruned), head.0, loadings::EDGES);
        if edges.is_empty() {
            self.warn(format!("no edge that is kept passes layer {}", head.0));
            return;
        }
        let (graph, dictionary) = (shown.source.id, self.graph.dictionary.clone());
        self.ask_beside(Ask::EdgesOf(OfHead { graph, dictionary, head, edges }));
    }

    /// Asks why the head on the selected row looks where it looks, of the circuit that its graph is of; whether there is such a head and circuit.
    pub(in crate::app) fn ask_why_in_the_circuit(&mut self) -> bool {
        let Some(shown) = self.graph.shown().filter(|shown| shown.is_of_a_circuit()) else { return false };
        let Some(unit) = self.pane(self.focus()).address() else { return false };
        let (Component::Unit { layer, part: Part::Head(head) }, Some(position)) = (&unit.place, unit.position) else {
            return false;
        };
        let Ok(position) = resolve_position(position, shown.graph.metadata.prompt_tokens.len()) else { return false };
        let (graph, head) = (shown.source.id, HeadPlace { layer: *layer, head: *head, position });
        self.ask_beside(Ask::Looks { graph, head });
        true
    }

    /// Whether what stands beside the tree is why a head looks where it looks.
    pub fn is_told_why_a_head_looks(&self) -> bool {
        matches!(self.pane(Slot::GraphSide).asked, Some(Ask::Looks { .. }))
    }

    fn ask_beside(&mut self, ask: Ask) {
        (self.graph.beside, self.side, self.graph.told) = (Beside::Edge, true, None);
        let pane = self.pane_mut(Slot::GraphSide);
        (pane.report, pane.cursor) = (None, 0);
        self.ask(Slot::GraphSide, ask);
    }
}
