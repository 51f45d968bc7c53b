//! From a node to its unit, its label, and graphs as files.

use super::Origin;
use crate::action::Action;
use crate::address::{Address, Component, Part};
use crate::analysis::attribution::Basis;
use crate::app::Slot;
use crate::app::program::path;
use crate::app::{App, Effect, Tab};
use crate::cast::signed;
use crate::graph::NodeKind;
use crate::graph::format::{self, WriteOptions};
use anyhow::{Result, bail};

impl App {
    /// Enter on a node: to the unit it is.
    pub(in crate::app) fn open_node(&mut self) {
        if let Some(row) = self.graph_row()
            && row.node().is_none()
        {
            return self.fold_or_unfold(true);
        }
        let Some((node, shown)) = self.graph_node().zip(self.graph.shown()) else {
            self.warn("no node is selected");
            return;
        };
        let node = &shown.graph.nodes[node as usize];
        let (kind, name) = (node.kind.clone(), node.name());
        let address = node.address();
        let target = shown.graph.nodes[shown.first_target() as usize].kind.clone();
        match (kind, address) {
            (NodeKind::Neuron, Some(address)) => {
                self.explain_as_graph(&target);
                self.show_address(&address);
                // Not the table that it stands in: the neuron itself.
                self.side = self.tab == Tab::Neurons;
            }
            (NodeKind::Feature, Some(address)) => {
                self.explain_as_graph(&target);
                self.show_address(&address);
            }
            (NodeKind::Embedding { .. }, Some(address)) => self.show_address(&address),
            (NodeKind::Head, Some(address)) => {
                self.explain_as_graph(&target);
                self.show_address(&address);
            }
            (NodeKind::Logit { token: Some(_), .. }, Some(Address { place, .. })) => {
                self.explain_as_graph(&target);
                self.show_address(&Address { place, position: None });
            }
            (NodeKind::Error, Some(Address { place: Component::Unit { layer, .. }, position })) => {
                let mlp = Address { place: Component::Unit { layer, part: Part::ResidPost }, position };
                self.explain_as_graph(&target);
                self.show_address(&mlp);
            }
            // All that is known of it stands beside the tree.
            _ => {
                self.side = true;
                self.graph.beside = super::Beside::Node;
                self.show_about();
                let back = self.graph_key(Action::Cancel);
                self.say(format!("{name}: what feeds it and what it feeds; {back} goes back to the tree"));
            }
        }
    }

    /// A feature in detail, at a position.
    pub(in crate::app) fn show_feature(&mut self, layer: usize, feature: usize, position: Option<i64>) {
        self.run_method("features");
        self.selection.position = position.unwrap_or(self.selection.position);
        let feature = format!("L{layer}.F{feature}");
        self.method.params.extend([("feature".to_owned(), feature), ("tokens".into(), "10".into())]);
    }

    /// The row of a feature's report where it is looked at.
    pub(in crate::app) fn row_of_feature(&self) -> Option<Address> {
        let (_, feature) = self.method.params.iter().find(|(name, _)| name == "feature")?;
        let address: Address = feature.parse().ok()?;
        Some(address.at(signed(self.position())))
    }

    /// Enter in the pane beside the tree: a node of the graph is gone to in the tree, a head on its own tab.
    pub(in crate::app) fn open_beside(&mut self, address: &Address) {
        let head = matches!(address.place, Component::Unit { part: Part::Head(_), .. });
        if head {
            return self.show_address(address);
        }
        let here = self.here();
        self.history.leave(here);
        self.side = false;
        self.graph.beside = super::Beside::Node;
        self.enter_graph(address);
    }

    /// Elsewhere the target would be that of the position: the graph's own stays, and the graph is not asked for again because of it.
    fn explain_as_graph(&mut self, target: &NodeKind) {
        if let (None, NodeKind::Logit { token: Some(token), .. }) = (&self.selection.target, target) {
            self.selection.target = Some(token.to_string());
            self.graph.name_target(self.selection.target.clone());
        }
    }

    /// A target that was only named on the way out of the graph does not outlive its prompt.
    pub(in crate::app) fn forget_named_target(&mut self) {
        if self.graph.named.is_some() && self.selection.target == self.graph.named {
            self.selection.target = None;
        }
        (self.graph.named, self.graph.entering) = (None, None);
    }

    /// Neurons, features, and the file if there is one.
    pub(in crate::app) fn turn_basis(&mut self) {
        let file = self.graph.file.clone();
        self.graph.entering = None;
        match (self.graph.origin(), file) {
            (Origin::File, _) => {
                (self.graph.of_file, self.graph.basis) = (false, Basis::Circuit);
                let on = self.graph_key(Action::Basis);
                self.say(format!("the graph of the prompt; {on} goes on to its features, then to the file"));
            }
            (Origin::Prompt(Basis::Features), Some(file)) => {
                self.graph.of_file = true;
                self.say(format!("the graph of {file} again"));
            }
            (Origin::Prompt(basis), _) => self.graph.basis = basis.next(),
        }
        if self.graph.origin() == Origin::Prompt(Basis::Neurons) {
            self.say("effects through held attention: heads are on no node of this graph");
        }
    }

    /// The token less what else was likely, or the token alone.
    pub(in crate::app) fn turn_contrast(&mut self) {
        if self.selection.contrast.take().is_some() {
            self.graph.plain = true;
        } else {
            self.graph.plain = !self.graph.plain;
        }
        let what = if self.graph.plain { "its own logit" } else { "what sets it apart from what else was likely" };
        self.say(format!("the graph explains a token by {what}"));
    }

    /// Features out of this folder of transcoders; an empty line changes nothing.
    pub(in crate::app) fn take_features_from(&mut self, folder: &str) -> Result<()> {
        if !folder.trim().is_empty() {
            self.graph.dictionary = Some(path(folder));
            (self.graph.basis, self.graph.of_file) = (Basis::Features, false);
            self.go_to_tab(Tab::Graph);
        }
        Ok(())
    }

    /// Opens a graph file; an empty line changes nothing.
    pub(in crate::app) fn open_graph(&mut self, file: &str) -> Result<()> {
        if file.trim().is_empty() {
            return Ok(());
        }
        let file = &path(file);
        (self.graph.file, self.graph.of_file) = (Some(file.to_owned()), true);
        self.graph.entering = None;
        // Asked for by name it is read again.
        self.put_aside(Origin::File);
        self.graph.shown.remove(&Origin::File);
        if self.graph.face == Some(Origin::File) {
            self.graph.face = None;
            let pane = self.pane_mut(Slot::Graph);
            (pane.report, pane.asked) = (None, None);
            pane.arrange();
        }
        self.go_to_tab(Tab::Graph);
        Ok(())
    }

    /// Saves what is kept of the graph; the name's ending chooses the format. An empty line changes nothing.
    pub(in crate::app) fn save_graph(&mut self, file: &str) -> Result<()> {
        if file.trim().is_empty() {
            return Ok(());
        }
        let file = &path(file);
        let Some(shown) = self.graph.shown() else { bail!("there is no graph yet") };
        let format = format::of_file(file)?;
        let kept = shown.graph.pruned(&shown.influence, &shown.pruned)?;
        let mut bytes = Vec::new();
        (format.write)(&kept, &WriteOptions { limits: shown.limits.clone(), ascii: false }, &mut bytes)?;
        let over = self.graph.kept_file.take().is_some_and(|kept| kept == *file);
        self.effects.push(Effect::Write { file: file.to_owned(), bytes, over });
        Ok(())
    }

    pub(in crate::app) fn graph_label(&self) -> String {
        let node = self.graph_node().zip(self.graph.shown());
        node.map_or_else(String::new, |(node, shown)| shown.graph.nodes[node as usize].label.clone())
    }

    /// Names the selected node; no text takes the name away.
    pub(in crate::app) fn relabel(&mut self, label: &str) -> Result<()> {
        let label = label.trim();
        let Some((node, shown)) = self.graph_node().zip(self.graph.shown_mut()) else { bail!("no node is selected") };
        let at = node;
        let node = &mut shown.graph.nodes[node as usize];
        if node.kind.is_logit() || matches!(node.kind, NodeKind::Embedding { .. }) {
            bail!("{} is named by its token", node.name());
        }
        node.relabel(label);
        self.log_node_mark("--label", at, label);
        let cursor = self.pane(Slot::Graph).cursor;
        self.show_graph();
        self.pane_mut(Slot::Graph).cursor = cursor;
        Ok(())
    }
}
