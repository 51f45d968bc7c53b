//! The tab Neurons: which are active, and what for.

use super::TabRoom;
use crate::address::{Address, Component, Part};
use crate::app::{App, Slot};
use crate::engine::Ask;
use crate::keymap::Context;

/// What the tab keeps.
#[derive(Clone, Debug, Default)]
pub struct NeuronsTab {
    /// Whether the neurons of all layers are shown.
    pub all_layers: bool,
    /// The neuron that was gone to: the table has it whether it is strong or not.
    pub(in crate::app) sought: Option<(usize, usize)>,
}

/// What makes a neuron strong, so that the strongest are the first rows when sorted by this column; none where the method has no such order.
fn strength(column: &str) -> Option<String> {
    let column = match column.strip_suffix("_clean").unwrap_or(column) {
        "neuron" => "address",
        column => column,
    };
    let params = crate::analysis::named("neurons").ok()?.about().params;
    let accepted = params.iter().find(|p| p.name == "sort").is_some_and(|p| p.kind.parse(column).is_ok());
    accepted.then(|| column.to_owned())
}

pub(super) struct Room;

impl TabRoom for Room {
    fn panes(&self) -> (Slot, Option<Slot>) {
        (Slot::Neurons, Some(Slot::Neuron))
    }

    fn context(&self) -> Context {
        Context::Neurons
    }

    fn asks(&self, app: &App, pane: Slot) -> Option<Ask> {
        match pane {
            Slot::Neurons => app.of_method("neurons", &app.of_neurons()),
            _ => {
                // Open until it is closed, so that it follows the cursor.
                let open = app.side || app.pane(Slot::Neuron).asked.is_some();
                let (layer, neuron) = app.selected_neuron().filter(|_| open)?;
                let neuron = ("neuron", format!("L{layer}.N{neuron}"));
                app.of_method("neurons", &[neuron, ("tokens", "10".into()), ("target-position", app.target_position())])
            }
        }
    }

    /// To the neuron; what feeds or reads it leads to that unit, a context of the corpus becomes the prompt.
    fn enter(&self, app: &mut App) -> bool {
        if app.enter_beside() {
            return true;
        }
        if let Some(address) = app.pane(Slot::Neuron).address() {
            app.show_address(&address);
            return true;
        }
        let Some(context) = app.pane(Slot::Neuron).context() else { return false };
        app.submit_prompt(&context);
        true
    }

    fn chooses_layer(&self, app: &App) -> bool {
        !app.neurons.all_layers
    }

    fn selection_moved(&self, app: &mut App) {
        if let Some((layer, neuron)) = app.selection.neuron {
            app.pane_mut(Slot::Neurons).select(&Address::unit(layer, Part::Neuron(neuron)));
        }
    }
}

impl App {
    /// What the table of neurons asks for: its layers, its order, its filter, and the neuron that was gone to.
    fn of_neurons(&self) -> Vec<(&'static str, String)> {
        let all = self.neurons.all_layers;
        let layer = if all { "all".to_owned() } else { self.selection.layer.to_string() };
        let mut params = vec![
            ("layer", layer),
            ("top", "100".into()),
            ("activations", "true".into()),
            ("target-position", self.target_position()),
        ];
        let pane = self.pane(Slot::Neurons);
        if let Some((by, down)) = pane.sort.as_ref().and_then(|(column, down)| Some((strength(column)?, down))) {
            params.extend([("sort", by), ("order", if *down { "high" } else { "low" }.into())]);
        }
        params.extend(pane.units_filter().map(|filter| ("filter", filter)));
        let sought = self.neurons.sought.filter(|(layer, _)| all || *layer == self.selection.layer);
        params.extend(sought.map(|(layer, neuron)| ("include", format!("L{layer}.N{neuron}"))));
        params
    }

    /// Where the target of attributions is read: the default one at the selected position, a named one at the end of the prompt.
    fn target_position(&self) -> String {
        let here = self.selection.target.is_none() || self.position() + 1 == self.tokens();
        if here { self.selection.position.to_string() } else { "-1".into() }
    }

    /// The selected neuron of the layer shown.
    fn selected_neuron(&self) -> Option<(usize, usize)> {
        let shown = |(layer, _): &(usize, usize)| self.neurons.all_layers || *layer == self.selection.layer;
        self.selection.neuron.filter(shown).or_else(|| match self.pane(Slot::Neurons).address()?.place {
            Component::Unit { layer, part: Part::Neuron(neuron) } => Some((layer, neuron)),
            _ => None,
        })
    }

    /// Neurons of all layers, or of one.
    pub(in crate::app) fn toggle_all_layers(&mut self) {
        self.neurons.all_layers = !self.neurons.all_layers;
        self.say(if self.neurons.all_layers { "neurons of all layers" } else { "neurons of one layer" });
    }
}
