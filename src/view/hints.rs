//! The line of hints: the few actions that matter most where one is.

use super::Canvas;
use crate::action::Action;
use crate::app::overlay::Overlay;
use crate::app::{App, Tab};

/// An action and what it does, in a word.
type Hint = (Action, &'static str);

/// In the list of edits.
const EDITS: &[Hint] = &[
    (Action::ToggleEdit, "on/off"),
    (Action::RemoveEdit, "remove"),
    (Action::Undo, "undo"),
    (Action::Cancel, "close"),
];

/// On the tab Prompt.
const PROMPT: &[Hint] = &[
    (Action::EditPrompt, "prompt"),
    (Action::Help, "help"),
    (Action::Quit, "quit"),
    (Action::TargetHere, "target"),
    (Action::ContrastHere, "contrast"),
    (Action::NextPosition, "token"),
    (Action::Generate, "generate"),
    (Action::NextTab, "tab"),
    (Action::Palette, "all"),
    (Action::YankRow, "copy"),
];

/// On the tab Lens.
const LENS: &[Hint] = &[
    (Action::Open, "deeper"),
    (Action::Help, "help"),
    (Action::Quit, "quit"),
    (Action::NextPosition, "token"),
    (Action::NextLayer, "layer"),
    (Action::YankRow, "copy"),
    (Action::Back, "back"),
    (Action::Palette, "all"),
];

/// Beside the heads and the neurons.
const BESIDE_UNITS: &[Hint] = &[
    (Action::Open, "go there"),
    (Action::Cancel, "leave"),
    (Action::Help, "help"),
    (Action::Mark, "mark"),
    (Action::YankRow, "copy"),
    (Action::ScrollRight, "columns"),
    (Action::Back, "back"),
    (Action::Quit, "quit"),
];

/// On the tab Heads.
const HEADS: &[Hint] = &[
    (Action::Open, "pattern"),
    (Action::Help, "help"),
    (Action::ZeroUnit, "zero"),
    (Action::Mark, "mark"),
    (Action::YankAddress, "copy address"),
    (Action::Sort, "sort"),
    (Action::Statistic, "shade"),
    (Action::Edit, "edit"),
    (Action::NextPosition, "token"),
    (Action::Back, "back"),
    (Action::Quit, "quit"),
];

/// On the tab Neurons.
const NEURONS: &[Hint] = &[
    (Action::Open, "detail"),
    (Action::Help, "help"),
    (Action::ZeroUnit, "zero"),
    (Action::Mark, "mark"),
    (Action::Sort, "sort"),
    (Action::Filter, "filter"),
    (Action::ScrollRight, "columns"),
    (Action::NextLayer, "layer"),
    (Action::AllLayers, "all layers"),
    (Action::Edit, "edit"),
    (Action::YankAddress, "copy address"),
    (Action::Quit, "quit"),
];

/// Beside the graph.
const BESIDE_GRAPH: &[Hint] = &[
    (Action::Open, "go there"),
    (Action::Cancel, "to the tree"),
    (Action::TestNode, "test"),
    (Action::KeepOnly, "keep alone"),
    (Action::Qk, "why a head looks"),
    (Action::Sort, "sort"),
    (Action::Help, "help"),
    (Action::Quit, "quit"),
];

/// On the tab Graph.
const GRAPH: &[Hint] = &[
    (Action::Right, "unfold"),
    (Action::Open, "unit"),
    (Action::StrongestPath, "strongest"),
    (Action::NextInfluence, "next"),
    (Action::Help, "help"),
    (Action::TestNode, "test"),
    (Action::TestTop, "test 20"),
    (Action::TestHeads, "heads"),
    (Action::Downstream, "feeds"),
    (Action::MoreNodes, "more"),
    (Action::GraphList, "list"),
    (Action::Back, "back"),
    (Action::Quit, "quit"),
    (Action::ScrollRight, "columns"),
];

/// On the tab Patch.
const PATCH: &[Hint] = &[
    (Action::Corrupt, "other prompt"),
    (Action::Open, "deeper"),
    (Action::PatchSite, "site"),
    (Action::PatchDirection, "direction"),
    (Action::PatchEstimate, "exact or estimate"),
    (Action::Help, "help"),
    (Action::PatchMetric, "metric"),
    (Action::PatchCells, "heads or positions"),
    (Action::Back, "back"),
    (Action::Quit, "quit"),
];

/// On the tab Method.
const METHOD: &[Hint] = &[
    (Action::NextPosition, "token"),
    (Action::Methods, "methods"),
    (Action::Help, "help"),
    (Action::Sort, "sort"),
    (Action::Filter, "filter"),
    (Action::YankTable, "copy"),
    (Action::Quit, "quit"),
];

/// The actions that are offered, the more useful first.
fn offered(app: &App) -> &'static [Hint] {
    match (&app.overlay, app.tab) {
        (Some(_), _) => EDITS,
        (None, Tab::Prompt) => PROMPT,
        (None, Tab::Lens) => LENS,
        (None, Tab::Heads | Tab::Neurons) if app.side => BESIDE_UNITS,
        (None, Tab::Heads) => HEADS,
        (None, Tab::Neurons) => NEURONS,
        (None, Tab::Graph) if app.side => BESIDE_GRAPH,
        (None, Tab::Graph) => GRAPH,
        (None, Tab::Patch) => PATCH,
        (None, Tab::Method) => METHOD,
    }
}

impl Canvas<'_> {
    /// The keys that mean something now, by the live keymap, and what they do.
    pub(super) fn hint_list(&self) -> Vec<(String, &'static str)> {
        let app = self.app;
        let fixed = |list: &[(&str, &'static str)]| list.iter().map(|(k, a)| ((*k).to_owned(), *a)).collect();
        match &app.overlay {
            Some(Overlay::Prompt(..)) => {
                return fixed(&[
                    ("Enter", "run"),
                    ("Esc", "leave"),
                    ("Ctrl-u", "clear"),
                    ("Up", "earlier"),
                    ("Ctrl-j", "new line"),
                    ("Ctrl-z", "undo"),
                ]);
            }
            Some(Overlay::Picker(_)) => {
                return fixed(&[("type", "to search"), ("Enter", "do it"), ("Up Down", "choose"), ("Esc", "close")]);
            }
            Some(Overlay::Quit) => return fixed(&[("y", "quit"), ("Esc", "stay")]),
            Some(Overlay::Text { .. }) => return fixed(&[("Esc", "close"), ("y", "copy")]),
            Some(Overlay::Line(..)) => return Vec::new(),
            Some(Overlay::Edits { .. }) | None => {}
        }
        let actions = offered(app);
        let keys = |action: Action| app.keymap.keys(app.context(), action).into_iter().next();
        let offered = app.tour_is_offered().then_some((Action::TourStep, "new here? a tour of ten minutes"));
        offered.iter().chain(actions).filter_map(|(action, about)| keys(*action).map(|k| (k, *about))).collect()
    }
}
