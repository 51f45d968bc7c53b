//! What accepted lines do, and keeping cursors and the shared selection together.

use super::{App, Effect, Selection, Tab};
use crate::action::Action;
use crate::address::{Address, Edit, Part, Place};
use crate::engine::Slot;
use crate::report::filter::Filter;

/// Prompts remembered.
const PROMPTS: usize = 100;

/// Commands remembered.
const LOGGED: usize = 1000;

impl App {
    pub(super) fn submit_prompt(&mut self, text: &str) {
        if text.is_empty() {
            self.message = Some("the prompt is empty: the one before stays".into());
            return;
        }
        self.prompts.retain(|p| p != text);
        self.prompts.push(text.to_owned());
        let surplus = self.prompts.len().saturating_sub(PROMPTS);
        self.prompts.drain(..surplus);
        if self.prompt.as_deref() != Some(text) {
            (self.prompt, self.ids) = (Some(text.to_owned()), None);
            self.selection.position = -1;
            self.forget_named_target();
        }
    }

    pub(super) fn submit(&mut self, action: Action, text: &str) {
        let done: anyhow::Result<()> = match action {
            Action::Target | Action::Contrast if text.trim().is_empty() => Ok(()),
            Action::Target => {
                self.graph.name_target(None);
                self.selection.target = Some(text.to_owned());
                self.selection.contrast = None;
                Ok(())
            }
            Action::Contrast => {
                let target = self.next.as_ref().map(|n| n.target.id.to_string());
                self.selection.target = self.selection.target.take().or(target);
                self.selection.contrast = Some(text.to_owned());
                Ok(())
            }
            Action::OpenModel if text.trim().is_empty() => Ok(()),
            Action::OpenModel => {
                (self.model_name, self.ids) = (text.trim().to_owned(), None);
                Ok(())
            }
            Action::Search => {
                let focus = self.focus();
                self.pane_mut(focus).search = text.to_owned();
                if !text.is_empty() {
                    self.perform(Action::SearchNext, 1);
                }
                Ok(())
            }
            Action::Filter => self.filter(text),
            Action::GenerateMany => {
                super::generate::parse(text, self.next_seed()).map(|(count, sampling)| self.generate(count, sampling))
            }
            Action::Edit if text.trim_start().starts_with(['=', '*', '+']) => self.edit_chosen(text.trim()),
            Action::Edit => text.trim().parse::<Edit>().map(|edit| self.add_edits(vec![edit])),
            Action::GoTo => text.trim().parse::<Address>().map(|address| self.show_address(&address)),
            Action::Pipe | Action::PipeTable if text.trim().is_empty() => Ok(()),
            Action::Pipe | Action::PipeTable => self.pipe(action, text),
            Action::UnfoldTo => self.unfold_to(text),
            Action::SetThresholds => self.submit_thresholds(text),
            Action::OpenGraph | Action::SaveGraph | Action::Dictionary if text.trim().is_empty() => Ok(()),
            Action::Dictionary => {
                self.graph.dictionary = Some(text.trim().to_owned());
                self.graph.basis = crate::analysis::attribution::Basis::Features;
                self.graph.of_file = false;
                self.go_to_tab(Tab::Graph);
                Ok(())
            }
            Action::OpenGraph => {
                self.open_graph(text.trim());
                Ok(())
            }
            Action::SaveGraph => self.save_graph(text.trim()),
            Action::Resample if text.trim().is_empty() => Ok(()),
            Action::Resample => {
                self.test_by_prompt(text);
                Ok(())
            }
            Action::Scale if text.trim().is_empty() => Ok(()),
            Action::Scale => self.test_by_factor(text),
            Action::Group if text.trim().is_empty() => Ok(()),
            Action::Group => self.group_marks(text.trim()),
            Action::Label => self.relabel(text.trim()),
            Action::Screenshot if text.trim().is_empty() => Ok(()),
            Action::Screenshot => {
                self.effects.push(Effect::Screenshot(text.trim().to_owned()));
                Ok(())
            }
            other => {
                self.perform(other, 1);
                Ok(())
            }
        };
        if let Err(e) = done {
            self.effects.push(Effect::Log(format!("{action} {text} failed: {e:#}")));
            // What was typed is not lost: the line stays open under the complaint.
            self.message = Some(format!("{e:#}"));
            self.overlay = Some(super::overlay::Overlay::Line(action, super::entry::Entry::line(text)));
        }
    }

    fn filter(&mut self, text: &str) -> anyhow::Result<()> {
        let focus = self.focus();
        let pane = self.pane_mut(focus);
        let tables = pane.report.iter().flat_map(|r| &r.parts).filter_map(|p| match &p.body {
            crate::report::Body::Table(table) => Some(table),
            _ => None,
        });
        // The filter has to fit one of the tables; on the others it does nothing.
        let mut results: Vec<anyhow::Result<Filter>> = tables.map(|t| Filter::parse(text, t)).collect();
        anyhow::ensure!(!results.is_empty(), "there is no table here to filter");
        if results.iter().all(Result::is_err)
            && let Some(of_the_units) = results.pop()
        {
            of_the_units?;
        }
        pane.filter = text.to_owned();
        let before = pane.lines.get(pane.cursor).copied();
        pane.arrange();
        // The row that the cursor was on, if the filter lets it through.
        match pane.lines.iter().position(|line| Some(*line) == before) {
            Some(line) => pane.go_to_line(line),
            None => pane.to_first_unit(),
        }
        self.selection_follows_cursor();
        Ok(())
    }

    /// Goes to where an address is shown.
    pub(super) fn show_address(&mut self, address: &Address) {
        if let Place::Unit { layer, part: Part::Feature(feature) } = address.place {
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
                self.message = Some(format!("{e:#}"));
                return;
            }
        }
        let here = self.here();
        self.history.leave(here);
        if let Some(position) = address.position {
            self.selection.position = position;
        }
        self.side = false;
        self.tab = match &address.place {
            Place::Unit { layer, part } => {
                self.selection.layer = *layer;
                match part {
                    Part::Head(head) => {
                        self.selection.head = (*layer, *head);
                        Tab::Heads
                    }
                    Part::Neuron(neuron) => {
                        self.selection.neuron = Some((*layer, *neuron));
                        self.sought = self.selection.neuron;
                        Tab::Neurons
                    }
                    _ => Tab::Lens,
                }
            }
            Place::Embed => Tab::Prompt,
            Place::Logit(token) => {
                self.selection.target = Some(match token {
                    crate::address::Token::Text(text) => serde_json::Value::from(text.as_str()).to_string(),
                    crate::address::Token::Id(id) => id.to_string(),
                });
                Tab::Prompt
            }
        };
        self.cursors_follow_selection();
    }

    /// After the cursor moved: what it is on becomes the selection.
    pub(super) fn selection_follows_cursor(&mut self) {
        let (main, _) = self.tab.slots();
        if self.focus() != main {
            return;
        }
        if main == Slot::Graph {
            self.graph_cursor_moved();
        }
        let pane = self.pane(main);
        if let (Tab::Lens, Some(_)) = (self.tab, pane.grid()) {
            let n = self.next.as_ref().map_or(0, |n| n.tokens.len());
            self.selection.position = if pane.column + 1 >= n { -1 } else { pane.column as i64 };
        }
        if let Some(Address { place: Place::Unit { layer, part }, .. }) = self.pane(main).address() {
            if self.tab != Tab::Neurons || !self.all_layers {
                self.selection.layer = layer;
            }
            match part {
                Part::Head(head) => self.selection.head = (layer, head),
                Part::Neuron(neuron) => self.selection.neuron = Some((layer, neuron)),
                _ => {}
            }
        }
    }

    /// After the selection moved, or a report arrived: the main pane's cursor goes where the selection is.
    pub(super) fn cursors_follow_selection(&mut self) {
        let position = self.position();
        let Selection { layer, head, neuron, .. } = self.selection.clone();
        let part = match self.tab {
            Tab::Heads => Some((head.0, Part::Head(head.1))),
            Tab::Neurons => neuron.map(|(layer, neuron)| (layer, Part::Neuron(neuron))),
            Tab::Lens => Some((layer, Part::ResidPost)),
            _ => None,
        };
        if self.tab == Tab::Graph {
            return;
        }
        if let (Tab::Method, Some(row)) = (self.tab, self.row_of_feature()) {
            self.pane_mut(Slot::Method).select(&row);
        }
        let (main, _) = self.tab.slots();
        let tab = self.tab;
        let pane = self.pane_mut(main);
        if let Some((layer, part)) = part {
            pane.select(&Address::unit(layer, part));
        }
        if tab == Tab::Lens {
            pane.column = position;
        }
        if main == Slot::Heads {
            pane.column = head.1;
        }
    }

    /// To the next place that holds what is searched for: rows and cells, and on the Prompt tab the prompt's tokens after them.
    pub(super) fn search(&mut self, down: bool) {
        let focus = self.focus();
        let text = self.pane(focus).search.to_lowercase();
        if text.is_empty() {
            self.message = Some("nothing was searched for yet: /".into());
        } else if self.tab == Tab::Prompt && self.search_prompt(&text, down) || self.pane_mut(focus).find(down) {
            self.selection_follows_cursor();
        } else {
            self.message = Some(format!("{:?} is not here", self.pane(focus).search));
        }
    }

    /// Moves the position to the next token of the prompt that holds `text`; whether there is one.
    fn search_prompt(&mut self, text: &str, down: bool) -> bool {
        let (Some(next), here) = (&self.next, self.position()) else { return false };
        let holds = |at: &usize| next.tokens[*at].text.to_lowercase().contains(text);
        let hits: Vec<usize> = (0..next.tokens.len()).filter(holds).collect();
        let hit = match down {
            true => hits.iter().find(|at| **at > here).or(hits.first()),
            false => hits.iter().rev().find(|at| **at < here).or(hits.last()),
        };
        let Some(&at) = hit else { return false };
        self.selection.position = if at + 1 == next.tokens.len() { -1 } else { at as i64 };
        true
    }

    /// After a report arrived: the cursor and the selection find each other again.
    pub(super) fn report_arrived(&mut self, slot: Slot) {
        if slot == self.focus() {
            self.log_command();
        }
        if slot == self.tab.slots().0 && self.pane_mut(slot).go_to_top() {
            return self.selection_follows_cursor();
        }
        self.cursors_follow_selection();
    }

    /// Remembers what is looked at as a command.
    pub(super) fn log_command(&mut self) {
        if let Ok(command) = self.command()
            && self.log.last() != Some(&command)
        {
            self.log.push(command);
            let surplus = self.log.len().saturating_sub(LOGGED);
            self.log.drain(..surplus);
        }
    }
}
