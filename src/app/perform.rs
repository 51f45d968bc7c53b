//! What every action does.

use super::entry::Entry;
use super::overlay::{Overlay, PickerKind};
use super::{App, Effect, Tab, yank};
use crate::action::{Action, Argument};
use crate::address::{Part, Place};
use crate::analysis::generate::Sampling;
use crate::engine::Slot;
use crate::report::Cell;
use crate::report::filter::plain;

impl App {
    pub(super) fn perform(&mut self, action: Action, count: usize) {
        if let Argument::Asked(_) = action.argument() {
            return self.begin_line(action);
        }
        let n = i64::try_from(count).unwrap_or(i64::MAX);
        let page = i64::from(self.size.1.saturating_sub(8)).max(1);
        match action {
            Action::Up => self.move_rows(-n),
            Action::Down => self.move_rows(n),
            Action::First => self.move_to_edge(false),
            Action::Last => self.move_to_edge(true),
            Action::HalfPageUp => self.move_rows(-(page / 2).max(1) * n),
            Action::HalfPageDown => self.move_rows((page / 2).max(1) * n),
            Action::PageUp => self.move_rows(-page * n),
            Action::PageDown => self.move_rows(page * n),
            Action::Left => self.move_columns(-n),
            Action::Right => self.move_columns(n),
            Action::PreviousPosition => self.move_position(-n),
            Action::NextPosition => self.move_position(n),
            Action::PreviousLayer => self.move_layer(-n),
            Action::NextLayer => self.move_layer(n),
            Action::ScrollLeft => self.scroll_columns(-n),
            Action::ScrollRight => self.scroll_columns(n),
            Action::Open => self.open(),
            Action::Back => self.go_back(true),
            Action::Forward => self.go_back(false),
            Action::TabPrompt => self.go_to_tab(Tab::Prompt),
            Action::TabLens => self.go_to_tab(Tab::Lens),
            Action::TabHeads => self.go_to_tab(Tab::Heads),
            Action::TabNeurons => self.go_to_tab(Tab::Neurons),
            Action::TabGraph => self.go_to_tab(Tab::Graph),
            Action::InGraph => {
                let address = self.address();
                self.enter_graph(&address);
            }
            Action::Basis => self.turn_basis(),
            Action::Groups => self.toggle_groups(),
            Action::Pin => self.pin(),
            Action::DraftGroups => self.draft_groups(),
            Action::Compare => self.compare_graphs(),
            Action::ExplainEdge => self.explain_edge(),
            Action::Qk => {
                // A head that was tested is asked about where it was.
                let row = self.pane(self.focus()).address();
                let key = match (self.focus(), self.pane(self.focus()).cell("key")) {
                    (Slot::Head, Some(Cell::Integer(key))) => Some(key.to_string()),
                    _ => None,
                };
                // The place that is gone back to is the one before it moved.
                self.run_method("qk");
                if let Some((layer, Part::Head(head), position)) = row.and_then(|a| match a.place {
                    Place::Unit { layer, part } => Some((layer, part, a.position)),
                    _ => None,
                }) {
                    self.selection.head = (layer, head);
                    self.selection.position = position.unwrap_or(self.selection.position);
                }
                let (layer, head) = self.selection.head;
                let mut params = vec![("head".to_owned(), format!("L{layer}.H{head}"))];
                params.extend(key.map(|key| ("key".to_owned(), key)));
                self.method_params = params;
            }
            Action::TestNode
            | Action::TestTop
            | Action::TestHeads
            | Action::TestWith
            | Action::Tests
            | Action::KeepOnly => {
                self.test_graph(action);
            }
            Action::Beside => {
                self.side = !self.side && self.tab.slots().1.is_some();
            }
            Action::StrongestPath
            | Action::NextInfluence
            | Action::PreviousInfluence
            | Action::Downstream
            | Action::Root
            | Action::GraphList
            | Action::FewerNodes
            | Action::MoreNodes
            | Action::FewerEdges
            | Action::MoreEdges => self.walk_graph(action, count),
            Action::NextTab => self.turn_tab(1),
            Action::PreviousTab => self.turn_tab(-1),
            Action::EditPrompt => {
                let text = self.prompt.clone().unwrap_or_default();
                self.overlay = Some(Overlay::Prompt(Entry::lines(&text), 0));
            }
            Action::TargetHere => match self.token_here() {
                Some(id) => {
                    self.graph.name_target(None);
                    self.selection.target = Some(id);
                    self.selection.contrast = None;
                }
                None => self.message = Some("no token is selected: T types one".into()),
            },
            Action::ContrastHere => match self.token_here() {
                Some(id) => {
                    // A difference needs both ends: the default target becomes a named one.
                    let target = self.next.as_ref().map(|n| n.target.id.to_string());
                    self.selection.target = self.selection.target.take().or(target);
                    self.selection.contrast = Some(id);
                }
                None => self.message = Some("no token is selected: V types one".into()),
            },
            Action::ClearTarget => (self.selection.target, self.selection.contrast) = (None, None),
            Action::Generate => self.generate(count, None),
            Action::Sample => self.generate(count, Some(Sampling::seeded(self.next_seed()))),
            Action::Mark => self.toggle_mark(),
            Action::ClearMarks => {
                self.message = Some(format!("{} unmarked", self.marks.len()));
                self.marks.clear();
            }
            Action::Statistic => {
                self.statistic = self.statistic.wrapping_add(count);
                self.shade_heads();
                if self.tab != Tab::Heads {
                    self.message = Some("statistics are those of the Heads tab".into());
                }
            }
            Action::AllLayers => {
                self.all_layers = !self.all_layers;
                self.message =
                    Some(if self.all_layers { "neurons of all layers" } else { "neurons of one layer" }.into());
            }
            Action::SearchNext | Action::SearchPrevious => self.search(action == Action::SearchNext),
            Action::Sort => {
                let columns = self.pane(self.focus()).columns();
                if columns.is_empty() {
                    self.message = Some("there is no table here to sort".into());
                } else {
                    self.overlay = Some(Overlay::columns(&columns));
                }
            }
            Action::ReportOrder => {
                let focus = self.focus();
                let pane = self.pane_mut(focus);
                pane.report_order();
                self.selection_follows_cursor();
            }
            Action::SortReverse => {
                let pane = self.focus();
                self.pane_mut(pane).sort_reverse();
                self.selection_follows_cursor();
            }
            Action::ZeroUnit => {
                if let Err(e) = self.edit_chosen("=0") {
                    self.effects.push(Effect::Log(format!("{action} failed: {e:#}")));
                    self.message = Some(format!("{e:#}"));
                }
            }
            Action::ListEdits => {
                if self.edits.items().is_empty() {
                    self.message = Some("no edits yet: e changes the selected unit, 0 sets it to zero".into());
                } else {
                    self.overlay = Some(Overlay::Edits { cursor: 0 });
                }
            }
            Action::ToggleEdit | Action::RemoveEdit => self.change_listed(action),
            Action::Undo => {
                let message = if self.edits.undo() { "undone" } else { "nothing to undo" };
                self.message = Some(message.into());
                self.keep_list();
            }
            Action::Redo => {
                let message = if self.edits.redo() { "redone" } else { "nothing to redo" };
                self.message = Some(message.into());
                self.keep_list();
            }
            Action::YankRow
            | Action::YankTable
            | Action::YankAddress
            | Action::YankJson
            | Action::YankMarkdown
            | Action::YankPython
            | Action::YankCommand => match yank::text(self, action) {
                Ok(text) => self.effects.push(Effect::Copy(text)),
                Err(e) => self.message = Some(format!("{e:#}")),
            },
            Action::Palette => self.overlay = Some(Overlay::actions(PickerKind::Palette, &self.keymap, self.context())),
            Action::Help => self.overlay = Some(Overlay::actions(PickerKind::Help, &self.keymap, self.context())),
            Action::Methods => self.overlay = Some(Overlay::methods()),
            Action::Cancel => {
                if self.overlay.take().is_some() {
                    return;
                }
                if self.stop() {
                    self.message = Some("stopped".into());
                } else if self.side {
                    self.side = false;
                } else if self.tab == Tab::Neurons {
                    // The detail beside the table follows the cursor until it is closed.
                    let pane = self.pane_mut(Slot::Neuron);
                    (pane.asked, pane.report) = (None, None);
                    pane.arrange();
                }
            }
            Action::Interrupt => {
                if self.overlay.take().is_none() {
                    if self.stop() {
                        self.message = Some("stopped; once more quits".into());
                    } else {
                        self.effects.push(Effect::Quit(0));
                    }
                }
            }
            Action::Quit => {
                if self.overlay.take().is_some() {
                } else if self.busy() {
                    self.overlay = Some(Overlay::Quit);
                } else {
                    self.effects.push(Effect::Quit(0));
                }
            }
            Action::Repaint => self.effects.push(Effect::Repaint),
            Action::Suspend => self.effects.push(Effect::Suspend),
            // Those with an argument went to their line above.
            Action::GoTo
            | Action::Target
            | Action::Contrast
            | Action::OpenModel
            | Action::GenerateMany
            | Action::Search
            | Action::Filter
            | Action::Edit
            | Action::Pipe
            | Action::PipeTable
            | Action::UnfoldTo
            | Action::SetThresholds
            | Action::OpenGraph
            | Action::Dictionary
            | Action::SaveGraph
            | Action::Label
            | Action::Group
            | Action::Resample
            | Action::Scale
            | Action::Screenshot => {}
        }
    }

    /// Opens the line that asks for an action's argument.
    fn begin_line(&mut self, action: Action) {
        let pane = self.pane(self.focus());
        let text = match action {
            Action::Filter => pane.filter.clone(),
            // What begins with the operation holds for all that is marked.
            Action::Edit if !self.marks.is_empty() => "=".into(),
            Action::Edit => match self.unit() {
                Some(unit) => format!("{unit}="),
                None => String::new(),
            },
            Action::GenerateMany => "20".into(),
            Action::GoTo => self.address().to_string(),
            Action::OpenModel => self.model_name.clone(),
            Action::Screenshot => "mechscope.svg".into(),
            Action::SaveGraph => "graph.json".into(),
            Action::Label => self.graph_label(),
            _ => String::new(),
        };
        let entry = match action {
            Action::SaveGraph | Action::Screenshot | Action::GenerateMany | Action::OpenModel => {
                Entry::suggestion(&text)
            }
            _ => Entry::line(&text),
        };
        self.overlay = Some(Overlay::Line(action, entry));
    }

    pub(super) fn move_rows(&mut self, by: i64) {
        if let Some(Overlay::Edits { cursor }) = &mut self.overlay {
            let last = self.edits.items().len().saturating_sub(1) as i64;
            *cursor = (*cursor as i64).saturating_add(by).clamp(0, last) as usize;
            return;
        }
        let pane = self.focus();
        self.pane_mut(pane).step(by);
        self.selection_follows_cursor();
    }

    fn move_to_edge(&mut self, last: bool) {
        if self.overlay.is_some() {
            return self.move_rows(if last { i64::from(i32::MAX) } else { -i64::from(i32::MAX) });
        }
        let pane = self.focus();
        self.pane_mut(pane).edge(last);
        self.selection_follows_cursor();
    }

    fn move_columns(&mut self, by: i64) {
        let focus = self.focus();
        if focus == Slot::Graph {
            return self.fold_or_unfold(by > 0);
        }
        if focus == Slot::Heads || self.pane(focus).grid().is_some() {
            self.pane_mut(focus).side_step(by);
            self.selection_follows_cursor();
        } else {
            self.move_position(by);
        }
    }

    fn move_position(&mut self, by: i64) {
        let n = self.next.as_ref().map_or(0, |n| n.tokens.len()) as i64;
        if n > 0 {
            let to = (self.position() as i64).saturating_add(by).clamp(0, n - 1);
            // The last one stays the last one when the prompt grows.
            self.selection.position = if to == n - 1 { -1 } else { to };
            self.cursors_follow_selection();
        }
    }

    fn move_layer(&mut self, by: i64) {
        let Some(model) = &self.model else { return };
        let last = model.n_layers.saturating_sub(1) as i64;
        let to = (self.selection.layer as i64).saturating_add(by).clamp(0, last) as usize;
        self.selection.layer = to;
        self.selection.head.0 = to;
        self.cursors_follow_selection();
    }

    fn turn_tab(&mut self, by: i64) {
        let n = if self.method.is_some() { 6 } else { 5 };
        let at = Tab::ALL.iter().position(|t| *t == self.tab).unwrap_or(0) as i64;
        self.go_to_tab(Tab::ALL[(at + by).rem_euclid(n) as usize]);
    }

    /// Goes deeper: from a tab's main pane to the one beside it; a row without more behind it is shown with all its columns.
    fn open(&mut self) {
        let here = self.here();
        match self.tab {
            Tab::Prompt => return self.perform(Action::EditPrompt, 1),
            Tab::Heads | Tab::Lens | Tab::Neurons if !self.side => {
                self.side = true;
                self.history.leave(here);
                return;
            }
            _ => {}
        }
        let pane = self.pane(self.focus());
        // A source of a head is a token: its place is that position.
        if let (Slot::Head, Some(Cell::Integer(key))) = (pane.slot, pane.cell("key")) {
            self.selection.position = *key;
            self.history.leave(here);
            return self.cursors_follow_selection();
        }
        if self.tab == Tab::Graph && !self.side {
            return self.open_node();
        }
        if let (Tab::Graph, Some(group)) = (self.tab, self.selected_group()) {
            return self.open_group(&group);
        }
        if let (Tab::Graph, Some(address)) = (self.tab, pane.address()) {
            return self.open_beside(&address);
        }
        // A row about a unit leads to that unit: the methods' reports, and what feeds or reads a neuron.
        if let (true, Some(address)) = (self.tab == Tab::Method || pane.slot == Slot::Neuron, pane.address()) {
            return self.show_address(&address);
        }
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
        self.method = Some(name);
        // Transcoders that were named hold for every method that asks for some.
        let asks = |name: &str| crate::analysis::named(name).is_ok_and(|a| a.about().asks_for("dictionary"));
        let dictionary = self.graph.dictionary.clone().filter(|_| asks(name));
        self.method_params = dictionary.map(|folder| ("dictionary".to_owned(), folder)).into_iter().collect();
        self.tab = Tab::Method;
        self.side = false;
    }

    /// The selected row's token, as its id.
    fn token_here(&self) -> Option<String> {
        let pane = self.pane(self.focus());
        match pane.cell("id") {
            Some(Cell::Integer(id)) => Some(id.to_string()),
            _ => None,
        }
    }

    /// The selected unit, if it is one that can be edited.
    pub(super) fn unit(&self) -> Option<crate::address::Address> {
        let address = self.pane(self.focus()).address().or_else(|| self.pane(self.tab.slots().0).address())?;
        match address.place {
            Place::Logit(_) => None,
            Place::Unit { part: Part::Feature(_) | Part::Error, .. } => None,
            _ => Some(address),
        }
    }

    pub(super) fn add_edits(&mut self, edits: Vec<crate::address::Edit>) {
        let names: Vec<String> = edits.iter().map(ToString::to_string).collect();
        let keys = |action| self.keymap.keys(self.context(), action).into_iter().next().unwrap_or_default();
        let (prompt, undo) = (keys(Action::TabPrompt), keys(Action::Undo));
        let names = names.join(" ");
        self.message = Some(format!("{names}: {prompt} shows before and after, {undo} undoes"));
        self.announced = Some(names);
        self.edits.add(edits);
        // What was changed stays in the table, weak or not.
        self.sought = self.selection.neuron.or(self.sought);
    }

    /// Says what the edits just made did to the target, now that it is known.
    pub(super) fn announce(&mut self) {
        let Some((before, after)) = self.target_probability() else { return };
        let (Some(names), Some(next)) = (self.announced.take(), &self.next) else { return };
        let keys = |action| self.keymap.keys(self.context(), action).into_iter().next().unwrap_or_default();
        let (prompt, undo) = (keys(Action::TabPrompt), keys(Action::Undo));
        let target = &next.target.text;
        let answer = next.change.as_ref().map(|change| &change.answer).filter(|(before, after)| before != after);
        let answer = answer.map_or(String::new(), |(_, after)| format!(", the answer is now \"{}\"", after.text));
        self.message = Some(format!(
            "\"{target}\" from {before:.4} to {after:.4}{answer}: {names} ({prompt} shows all, {undo} undoes)"
        ));
    }

    /// The target's probability before and after the edits, where there are any.
    pub fn target_probability(&self) -> Option<(f32, f32)> {
        Some(self.next.as_ref()?.change.as_ref()?.target)
    }

    /// Moves the columns of a table sideways; the first one stays.
    fn scroll_columns(&mut self, by: i64) {
        let focus = self.focus();
        if focus == Slot::Graph {
            return self.scroll_tree(by);
        }
        if !self.pane_mut(focus).scroll_columns(by) {
            self.message = Some("there is no table here to scroll".into());
        }
    }

    fn change_listed(&mut self, action: Action) {
        let Some(Overlay::Edits { cursor }) = self.overlay else {
            self.message = Some("the list of edits is not open: E opens it".into());
            return;
        };
        if action == Action::ToggleEdit {
            self.edits.toggle(cursor)
        } else {
            self.edits.remove(cursor)
        }
        self.keep_list();
    }

    /// Keeps the list's cursor on an edit; without edits there is no list.
    fn keep_list(&mut self) {
        let n = self.edits.items().len();
        match &mut self.overlay {
            Some(Overlay::Edits { .. }) if n == 0 => self.overlay = None,
            Some(Overlay::Edits { cursor }) => *cursor = (*cursor).min(n - 1),
            _ => {}
        }
    }
}
