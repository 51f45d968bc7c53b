//! Going deeper, and to where an address is shown.

use super::graph::Shown;
use super::overlay::Overlay;
use super::{App, Slot, Tab};
use crate::address::{Address, Component, Part};
use crate::report::Cell;
use crate::report::filter::plain;
use anyhow::Result;

impl App {
    /// Goes deeper: from a tab's main pane to the one beside it; a row without more behind it is shown with all its columns.
    pub(super) fn open(&mut self) {
        if self.tab.room().enter(self) {
            return;
        }
        let pane = self.pane(self.focus());
        if let Some((table, row)) = pane.table() {
            let cells = table.columns.iter().zip(&table.rows[row]);
            let lines = cells.map(|(c, cell)| format!("{:<18} {}", c.name, plain(cell)));
            let title = pane.address().map_or_else(|| "Row".to_owned(), |a| a.to_string());
            self.overlay = Some(Overlay::text(&title, lines.collect::<Vec<_>>().join("\n")));
        } else if let Some(address) = pane.address() {
            self.show_address(&address);
        }
    }

    pub(super) fn run_method(&mut self, name: &'static str) {
        let here = self.here();
        self.history.leave(here);
        if self.method.name != Some(name) {
            // Another method's columns are others: nothing of how the one before was looked at holds.
            self.end(Slot::Method);
            *self.pane_mut(Slot::Method) = self.pane(Slot::Method).emptied();
        }
        self.method.name = Some(name);
        // Transcoders that were named hold for every method that asks for some.
        let asks = |name: &str| crate::analysis::named(name).is_ok_and(|a| a.about().asks_for("dictionary"));
        let dictionary = self.graph.dictionary.clone().filter(|_| asks(name));
        self.method.params = dictionary.map(|folder| ("dictionary".to_owned(), folder)).into_iter().collect();
        self.tab = Tab::Method;
        self.side = false;
    }

    /// Asks what the query and key of the selected head read; a head that was tested is asked about where it was.
    pub(super) fn ask_why_it_looks(&mut self) {
        if self.tab == Tab::Graph && self.ask_why_in_the_circuit() {
            return;
        }
        let row = self.pane(self.focus()).address();
        let head = |a: &Address| matches!(a.place, Component::Unit { part: Part::Head(_), .. });
        let in_a_circuit = self.tab == Tab::Graph && self.graph.shown().is_some_and(Shown::is_of_a_circuit);
        if in_a_circuit && !row.as_ref().is_some_and(head) {
            return self.warn("no head is selected: only heads look somewhere");
        }
        let key = match (self.focus(), self.pane(self.focus()).cell("key")) {
            (Slot::Head, Some(Cell::Integer(key))) => Some(key.to_string()),
            _ => None,
        };
        // The place that is gone back to is the one before it moved.
        let in_the_graph = self.tab == Tab::Graph;
        self.run_method("qk");
        if let Some((layer, Part::Head(head), position)) = row.and_then(|a| match a.place {
            Component::Unit { layer, part } => Some((layer, part, a.position)),
            _ => None,
        }) {
            (self.selection.head, self.heads.chosen) = ((layer, head), true);
            // A head of a graph is asked about where it is; elsewhere the selected token stays.
            let position = position.filter(|_| in_the_graph);
            self.selection.position = position.unwrap_or(self.selection.position);
        }
        let (layer, head) = self.selection.head;
        let mut params = vec![("head".to_owned(), format!("L{layer}.H{head}"))];
        params.extend(key.map(|key| ("key".to_owned(), key)));
        self.method.params = params;
    }

    /// Goes to an address that was typed.
    pub(super) fn go_to(&mut self, text: &str) -> Result<()> {
        self.show_address(&text.trim().parse::<Address>()?);
        Ok(())
    }

    /// Into the graph at the selected unit.
    pub(super) fn enter_graph_here(&mut self) {
        let address = self.address();
        self.enter_graph(&address);
    }

    /// Goes to where an address is shown.
    pub(super) fn show_address(&mut self, address: &Address) {
        if let Component::Unit { layer, part: Part::Feature(feature) } = address.place {
            return self.show_feature(layer, feature, address.position);
        }
        if let Some(model) = &self.model {
            let n_pos = self.next.as_ref().map_or(0, |n| n.tokens.len());
            let extent = crate::address::Extent {
                n_layers: model.n_layers,
                n_heads: model.n_heads,
                // Whose key it is matters to edits, not to where it is shown.
                n_kv_heads: model.n_heads,
                d_mlp: model.d_mlp,
                d_vocab: usize::MAX,
                n_pos,
                n_features: None,
            };
            if let Err(e) = address.check(&extent) {
                self.fail(format!("{e:#}"));
                return;
            }
        }
        let here = self.here();
        self.history.leave(here);
        if let Some(position) = address.position {
            self.selection.position = position;
        }
        self.side = false;
        self.tab = self.select_place(&address.place);
        self.cursors_follow_selection();
    }

    /// Makes a place the selection; the tab that shows it.
    fn select_place(&mut self, place: &Component) -> Tab {
        match place {
            Component::Unit { layer, part } => {
                self.selection.layer = *layer;
                match part {
                    Part::Head(head) => {
                        (self.selection.head, self.heads.chosen) = ((*layer, *head), true);
                        Tab::Heads
                    }
                    Part::Neuron(neuron) => {
                        self.selection.neuron = Some((*layer, *neuron));
                        self.neurons.sought = self.selection.neuron;
                        Tab::Neurons
                    }
                    _ => Tab::Lens,
                }
            }
            Component::Embed => Tab::Prompt,
            Component::Logit(token) => {
                self.selection.target = Some(match token {
                    crate::address::TokenName::Text(text) => serde_json::Value::from(text.as_str()).to_string(),
                    crate::address::TokenName::Id(id) => id.to_string(),
                });
                Tab::Prompt
            }
        }
    }
}
