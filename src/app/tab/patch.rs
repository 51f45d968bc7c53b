//! The tab Patch: where the difference between two prompts is kept.

use super::TabRoom;
use crate::action::Action;
use crate::address::{Address, Component, Part};
use crate::analysis::patch::explore::picture;
use crate::analysis::patch::{AnswerMetric, EffectEstimate, PatchCells, PatchDirection, PatchQuestion, PatchSite};
use crate::app::overlay::Overlay;
use crate::app::pane::RequestState;
use crate::app::text_input::TextInput;
use crate::app::{App, Slot, Tab};
use crate::cast::signed;
use crate::engine::{Ask, PromptQuestion};
use crate::keymap::Context;
use crate::report::statistics::pearson;
use crate::report::{Cell, Report};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A layer of more neurons than this is estimated first: a run for each takes its time.
const FEW_NEURONS: usize = 512;

/// Grids that are kept.
const KEPT: usize = 16;

/// What the tab keeps; all but how deep one went comes back with the session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PatchTab {
    /// The corrupt prompt; none before one was typed.
    pub corrupt: Option<String>,
    /// What is patched.
    pub site: PatchSite,
    /// In what cells, where heads can be had in both ways.
    pub by: Option<PatchCells>,
    /// Which run is written into.
    pub way: PatchDirection,
    /// What is measured.
    pub metric: AnswerMetric,
    /// How effects are found.
    pub approx: EffectEstimate,
    /// How deep one went.
    #[serde(skip)]
    pub depth: PatchDepth,
    /// The newest grids of this model with what they answer: none of them is computed a second time, and estimates are compared with runs.
    #[serde(skip)]
    kept: Vec<(Ask, Arc<Report>)>,
}

/// How deep one went into a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PatchDepth {
    /// All cells of the site.
    #[default]
    Site,
    /// Every head at this position.
    Heads(usize),
    /// The neurons of a layer, at a position or at all of them.
    Neurons(usize, Option<usize>),
}

impl PatchTab {
    /// What comes back with the session.
    pub(in crate::app) fn to_keep(&self) -> Self {
        PatchTab { depth: PatchDepth::Site, kept: Vec::new(), ..self.clone() }
    }

    /// What is patched now.
    fn patch(&self) -> PatchQuestion {
        let PatchTab { site, by, way, metric, approx, .. } = *self;
        let all = PatchQuestion { site, by: None, way, metric, layer: None, at: None, approx: vec![approx] };
        match self.depth {
            PatchDepth::Site if site == PatchSite::Neuron => PatchQuestion { by: Some(PatchCells::Position), ..all },
            PatchDepth::Site => PatchQuestion { by: by.filter(|_| has_heads(site)), ..all },
            PatchDepth::Heads(position) => PatchQuestion { site: PatchSite::Z, at: Some(signed(position)), ..all },
            PatchDepth::Neurons(layer, position) => {
                let at = position.map(signed);
                PatchQuestion { site: PatchSite::Neuron, layer: Some(layer), at, ..all }
            }
        }
    }
}

fn has_heads(site: PatchSite) -> bool {
    matches!(site, PatchSite::Z | PatchSite::Q | PatchSite::K | PatchSite::V | PatchSite::Pattern)
}

pub(super) struct Room;

impl TabRoom for Room {
    fn panes(&self) -> (Slot, Option<Slot>) {
        (Slot::Patch, Some(Slot::Pair))
    }

    fn context(&self) -> Context {
        Context::Patch
    }

    fn asks(&self, app: &App, pane: Slot) -> Option<Ask> {
        if pane == Slot::Pair {
            let nothing = PromptQuestion { target: None, contrast: None, ..app.pair_question()? };
            return Some(Ask::Pair { question: nothing, corrupt: app.corrupt_so_far()?.to_owned() });
        }
        app.wanted_patch()
    }

    fn enter(&self, app: &mut App) -> bool {
        app.go_into_cell();
        true
    }

    fn cursor_moved(&self, app: &mut App) {
        let pane = app.pane(Slot::Patch);
        let Some((grid, row)) = pane.grid() else { return };
        let (layer, column) = (layer_of(&grid.rows.labels[row]), pane.column);
        if grid.columns.name == "position" {
            app.selection.position = if column + 1 >= grid.columns.labels.len() { -1 } else { signed(column) };
        }
        app.selection.layer = layer.unwrap_or(app.selection.layer);
    }

    fn selection_moved(&self, app: &mut App) {
        let (position, layer, (of, head)) = (app.position(), app.selection.layer, app.selection.head);
        let pane = app.pane_mut(Slot::Patch);
        let Some((grid, _)) = pane.grid() else { return };
        let row = grid.rows.labels.iter().position(|label| layer_of(label) == Some(layer));
        let column = match grid.columns.name.as_str() {
            "position" => Some(position),
            _ => Some(head).filter(|_| of == layer),
        };
        pane.column = column.unwrap_or(pane.column);
        row.into_iter().for_each(|row| _ = pane.cursor_to_row(row));
    }
}

fn layer_of(label: &str) -> Option<usize> {
    label.strip_prefix('L')?.parse().ok()
}

impl App {
    /// The clean prompt as it is paired: in a run without edits, the answer at its end.
    fn pair_question(&self) -> Option<PromptQuestion> {
        Some(PromptQuestion { edits: Vec::new(), dictionary: None, position: -1, ..self.question()? })
    }

    /// The corrupt prompt, as far as it is typed.
    fn corrupt_so_far(&self) -> Option<&str> {
        let typed = match &self.overlay {
            Some(Overlay::Line(Action::Corrupt, entry)) => Some(entry.text()),
            _ => self.patch.corrupt.as_deref(),
        };
        typed.filter(|text| !text.is_empty())
    }

    fn wanted_patch(&self) -> Option<Ask> {
        let corrupt = self.patch.corrupt.clone()?;
        Some(Ask::Patch { question: self.pair_question()?, corrupt, patch: self.patch.patch() })
    }

    /// How the line for the corrupt prompt opens: with the one before, or the clean prompt to change a word of.
    pub(in crate::app) fn corrupt_line(&self) -> TextInput {
        let text = self.patch.corrupt.as_deref().or(self.prompt.as_deref());
        TextInput::line(text.unwrap_or_default())
    }

    /// Pairs the prompt with another one; an empty line ends the pair.
    pub(in crate::app) fn pair_with(&mut self, text: &str) -> Result<()> {
        self.patch.depth = PatchDepth::Site;
        self.patch.corrupt = Some(text.to_owned()).filter(|text| !text.trim().is_empty());
        if self.patch.corrupt.is_none() {
            self.end(Slot::Patch);
            for slot in [Slot::Patch, Slot::Pair] {
                *self.pane_mut(slot) = self.pane(slot).emptied();
            }
        } else if self.patch.corrupt == self.prompt {
            self.warn(format!("both prompts are the same: {} changes a word", self.key_of(Action::Corrupt)));
        }
        Ok(())
    }

    /// The next site, from the residual stream to neurons.
    pub(in crate::app) fn next_patch_site(&mut self, n: usize) {
        self.patch.site = further(&PatchSite::ALL, self.patch.site, n);
        self.patch_anew();
    }

    /// Heads over all positions, or positions over all heads.
    pub(in crate::app) fn turn_patch_cells(&mut self) {
        if !has_heads(self.patch.site) || self.patch.depth != PatchDepth::Site {
            let site = self.key_of(Action::PatchSite);
            return self
                .warn(format!("only grids of heads are cut in two ways: {site} goes to z, q, k, v and pattern"));
        }
        let positions = self.patch.by == Some(PatchCells::Position);
        self.patch.by = (!positions).then_some(PatchCells::Position);
        self.patch_anew();
    }

    /// What is enough, or what is needed.
    pub(in crate::app) fn turn_patch_direction(&mut self) {
        self.patch.way = further(&PatchDirection::ALL, self.patch.way, 1);
        self.say(format!("{}: {}", self.patch.way.name(), self.patch.way.help()));
    }

    /// The next metric.
    pub(in crate::app) fn next_patch_metric(&mut self, n: usize) {
        self.patch.metric = further(&AnswerMetric::ALL, self.patch.metric, n);
        self.say(format!("{}: {}", self.patch.metric.name(), self.patch.metric.help()));
    }

    /// The next way to find effects.
    pub(in crate::app) fn next_patch_estimate(&mut self, n: usize) {
        self.patch.approx = further(&EffectEstimate::ALL, self.patch.approx, n);
        self.say(format!("{}: {}", self.patch.approx.name(), self.patch.approx.help()));
    }

    /// Another grid is looked at: that of the site.
    fn patch_anew(&mut self) {
        self.patch.depth = PatchDepth::Site;
        self.say(format!("{}: {}", self.patch.site.name(), self.patch.site.help()));
    }

    /// Into the selected cell: from a position to the heads there, from those to the neurons of their layer, from a unit to its own tab.
    fn go_into_cell(&mut self) {
        if self.patch.corrupt.is_none() {
            return self.perform(Action::Corrupt, 1);
        }
        let (pane, here) = (self.pane(Slot::Patch), self.here());
        let place = pane.address().map(|address| address.place);
        let (layer, position) = (self.selection.layer, self.position());
        let to = match (self.patch.depth, place) {
            (PatchDepth::Site, Some(Component::Unit { part: Part::Neuron(_), .. })) => return self.go_to_unit(),
            (PatchDepth::Site, Some(Component::Unit { layer, part: Part::Head(head) })) => {
                return self.show_address(&Address::unit(layer, Part::Head(head)).at(signed(position)));
            }
            (PatchDepth::Site, _) if matches!(self.patch.site, PatchSite::MlpOut | PatchSite::Neuron) => {
                PatchDepth::Neurons(layer, Some(position))
            }
            (PatchDepth::Site, Some(_)) if has_heads(self.patch.site) => PatchDepth::Neurons(layer, None),
            (PatchDepth::Site, _) => PatchDepth::Heads(position),
            (PatchDepth::Heads(at), _) => PatchDepth::Neurons(layer, Some(at)),
            (PatchDepth::Neurons(..), _) => return self.go_to_unit(),
        };
        self.history.leave(here);
        self.patch.depth = to;
        // What is strongest there is read first.
        self.pane_mut(Slot::Patch).begin_anew();
        let many = self.model.as_ref().is_some_and(|model| model.d_mlp > FEW_NEURONS);
        if matches!(to, PatchDepth::Neurons(..)) && many && self.patch.approx == EffectEstimate::Exact {
            self.patch.approx = EffectEstimate::Atp;
            let key = self.key_of(Action::PatchEstimate);
            self.say(format!("estimated by one backward pass: {key} turns to RelP, then to a run for each neuron"));
        }
    }

    fn go_to_unit(&mut self) {
        if let Some(address) = self.pane(Slot::Patch).address() {
            self.show_address(&address);
        }
    }

    /// Out of a cell again; whether one was in one.
    pub(in crate::app) fn leave_cell(&mut self) -> bool {
        let out = match self.patch.depth {
            _ if self.tab != Tab::Patch => return false,
            PatchDepth::Site => return false,
            PatchDepth::Neurons(_, Some(position))
                if !matches!(self.patch.site, PatchSite::MlpOut | PatchSite::Neuron) =>
            {
                PatchDepth::Heads(position)
            }
            PatchDepth::Neurons(..) | PatchDepth::Heads(_) => PatchDepth::Site,
        };
        self.patch.depth = out;
        true
    }

    /// A grid is kept: it is shown again when the same is asked.
    pub(in crate::app) fn keep_effects(&mut self, report: &Arc<Report>) {
        let Some(asked) = self.pane(Slot::Patch).asked.clone() else { return };
        let kept = &mut self.patch.kept;
        kept.retain(|(of, _)| *of != asked);
        kept.push((asked, report.clone()));
        let over = kept.len().saturating_sub(KEPT);
        kept.drain(..over);
    }

    /// Forgets grids and depth: another model answers otherwise.
    pub(in crate::app) fn forget_effects(&mut self) {
        self.patch.depth = PatchDepth::Site;
        self.patch.kept.clear();
    }

    /// Shows the grid that was asked for, if it is kept; whether it was.
    pub(in crate::app) fn effects_are_at_hand(&mut self, slot: Slot, ask: &Ask) -> bool {
        let found = self.patch.kept.iter().find(|(of, _)| slot == Slot::Patch && of == ask);
        let Some(report) = found.map(|(_, report)| report.clone()) else { return false };
        self.end(Slot::Patch);
        let pane = self.pane_mut(Slot::Patch);
        (pane.asked, pane.answered) = (Some(ask.clone()), Some(ask.clone()));
        (pane.fresh, pane.state) = (true, RequestState::Idle);
        pane.show(report);
        true
    }

    /// The effect of the cell that is selected, where the picture may be too narrow for numbers: 0 is nothing, 1 the whole difference.
    pub fn patched_effect(&self) -> Option<f32> {
        let pane = self.pane(Slot::Patch);
        let grid = picture(pane.report.as_deref().filter(|_| self.tab == Tab::Patch && pane.fresh)?)?;
        let address = pane.address()?;
        let at = grid.addresses.iter().position(|of| *of == address)?;
        grid.values.get(at).copied().filter(|value| value.is_finite())
    }

    /// How the estimates that are shown agree with runs, where both are known.
    fn correlation(&self) -> Option<f64> {
        let pane = self.pane(Slot::Patch);
        let by_runs = match pane.answered.clone()? {
            Ask::Patch { question, corrupt, patch } if patch.approx != [EffectEstimate::Exact] => {
                let patch = PatchQuestion { approx: vec![EffectEstimate::Exact], ..patch };
                Ask::Patch { question, corrupt, patch }
            }
            _ => return None,
        };
        let (_, exact) = self.patch.kept.iter().find(|(of, _)| *of == by_runs)?;
        pearson(&picture(exact)?.values, &picture(pane.report.as_deref()?)?.values)
    }

    /// What the tab shows: the cells, how they were found, and between which two values of the metric they lie.
    pub fn patch_title(&self) -> String {
        let PatchTab { site, way, metric, approx, depth, .. } = &self.patch;
        let at = |position: &usize| {
            let token = self.next.as_ref().and_then(|next| next.tokens.get(*position)).map_or("", |t| t.text.as_str());
            format!("at {position} \"{token}\"")
        };
        let what = match depth {
            PatchDepth::Site => site.name().to_owned(),
            PatchDepth::Heads(position) => format!("z {}", at(position)),
            PatchDepth::Neurons(layer, Some(position)) => format!("neurons of layer {layer} {}", at(position)),
            PatchDepth::Neurons(layer, None) => format!("neurons of layer {layer}"),
        };
        let found = match approx {
            EffectEstimate::Exact => "exact".to_owned(),
            approx => {
                let r = self.correlation().map_or(String::new(), |r| format!(" (r {r:.2} with exact)"));
                format!("{}{r}", approx.name())
            }
        };
        let edits = if self.edits.on().is_empty() { "" } else { "  (run without edits)" };
        let facts = self.pane(Slot::Patch).report.iter().flat_map(|report| &report.facts);
        let number = |wanted: &str| {
            facts.clone().find_map(|(name, cell)| match cell {
                Cell::Number(value) if name == wanted => Some(*value),
                _ => None,
            })
        };
        let gap = number("metric_corrupt").zip(number("metric_clean"));
        let gap = gap.map_or(String::new(), |(corrupt, clean)| format!(" {corrupt:.2} to {clean:.2}"));
        format!("{what}  {} {found}  {}{gap}{edits}", way.name(), metric.name())
    }

    /// What two prompts are compared by, as the report names it.
    pub fn patch_target(&self) -> Option<&str> {
        let facts = &self.pane(Slot::Patch).report.as_ref()?.facts;
        facts.iter().find_map(|(name, cell)| match cell {
            Cell::Text(text) if name == "of" => Some(text.as_str()),
            _ => None,
        })
    }
}

/// The one so many further on, round and round.
fn further<T: Copy + PartialEq>(all: &[T], from: T, n: usize) -> T {
    let at = all.iter().position(|one| *one == from).unwrap_or(0);
    all[(at + n % all.len()) % all.len()]
}
