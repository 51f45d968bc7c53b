//! What lies over the tabs: text entry, pickers, lists, texts.

mod methods;
mod search;
mod settings;
pub(super) mod words;

pub(super) use methods::called;

use super::App;
use super::text_input::TextInput;
use crate::action::Action;
use crate::cast::{signed, unsigned};
use crate::keymap::{Context, Keymap};

/// What lies over the tabs.
#[derive(Clone, Debug)]
pub enum Overlay {
    /// The prompt is being typed; where in the list of earlier prompts, 0 for none.
    Prompt(TextInput, usize),
    /// An action's argument is being typed.
    Line(Action, TextInput),
    /// A list to choose from by typing.
    Picker(Picker),
    /// The edits.
    Edits {
        /// The selected one.
        cursor: usize,
    },
    /// A text to read.
    Text {
        /// Its heading.
        title: String,
        /// The text.
        text: String,
        /// Lines above the window.
        scroll: usize,
    },
    /// Work is running: quit all the same?
    Quit,
}

/// A list to choose from by typing.
#[derive(Clone, Debug)]
pub struct Picker {
    /// What is chosen.
    pub kind: PickerKind,
    /// What was typed.
    pub entry: TextInput,
    /// The selected entry of those that match.
    pub cursor: usize,
    all: Vec<PickerItem>,
    /// Those that match, the best first.
    pub items: Vec<PickerItem>,
}

/// What a picker is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PickerKind {
    /// Any action.
    Palette,
    /// The help: the same list in its own order.
    Help,
    /// A method of the catalogue.
    Methods,
    /// A column to sort by.
    Columns,
}

/// An entry of a picker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PickerItem {
    /// What choosing it does.
    pub choice: Choice,
    /// The group it belongs to.
    pub group: &'static str,
    /// Its name.
    pub name: String,
    /// The keys that do it.
    pub keys: String,
    /// What it does.
    pub about: String,
    /// What else is to be known: searched, and read where the entry is selected.
    pub more: String,
}

/// What choosing an entry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Performs an action.
    Action(Action),
    /// Runs a method.
    Method(&'static str),
    /// Sorts by a column.
    Column(usize),
    /// Says how something is set.
    Setting(&'static str),
    /// Says what a word means.
    Word(&'static str),
}

impl Overlay {
    /// A text to read.
    pub fn text(title: &str, text: String) -> Self {
        Overlay::Text { title: title.into(), text, scroll: 0 }
    }

    /// All actions with their keys from the live keymap, the methods and the settings; the help begins with the keys of the tab, and those of
    /// other tabs are named with it.
    pub fn actions(kind: PickerKind, keymap: &Keymap, context: Context) -> Self {
        let item = |action: &Action| PickerItem {
            choice: Choice::Action(*action),
            group: action.group(),
            name: action.name().to_owned(),
            keys: keys(keymap, context, *action),
            about: action.about().to_owned(),
            more: String::new(),
        };
        let mut all: Vec<PickerItem> = Action::ALL.iter().map(item).collect();
        if kind == PickerKind::Help {
            let own: Vec<Action> = keymap
                .iter()
                .filter(|(of, ..)| *of == context && context != Context::Normal)
                .map(|(.., a)| a)
                .collect();
            let here = |item: &PickerItem| matches!(item.choice, Choice::Action(action) if own.contains(&action));
            all.iter_mut().filter(|item| here(item)).for_each(|item| item.group = HERE);
            all.sort_by_key(|item| item.group != HERE);
        }
        all.extend(catalogue());
        all.extend(settings::all());
        if kind == PickerKind::Help {
            all.extend(words::all());
        }
        Overlay::Picker(Picker::new(kind, all))
    }

    /// The columns of a table.
    pub fn columns(columns: &[String]) -> Self {
        let item = |(at, name): (usize, &String)| PickerItem {
            choice: Choice::Column(at),
            group: "Columns",
            name: name.clone(),
            keys: String::new(),
            about: String::new(),
            more: String::new(),
        };
        Overlay::Picker(Picker::new(PickerKind::Columns, columns.iter().enumerate().map(item).collect()))
    }

    /// The catalogue.
    pub fn methods() -> Self {
        Overlay::Picker(Picker::new(PickerKind::Methods, catalogue().collect()))
    }

    /// Turns the wheel by so many rows over it.
    fn scroll(&mut self, by: i64) {
        match self {
            Overlay::Picker(picker) => picker.step(by),
            Overlay::Text { text, scroll, .. } => {
                let last = signed(text.lines().count().saturating_sub(1));
                *scroll = unsigned(signed(*scroll).saturating_add(by).clamp(0, last));
            }
            // A line or a question has nothing to scroll; the list of edits moves as by keys.
            Overlay::Prompt(..) | Overlay::Line(..) | Overlay::Edits { .. } | Overlay::Quit => {}
        }
    }
}

impl App {
    /// The wheel turns what lies on top, never what is hidden behind it.
    pub(super) fn wheel(&mut self, rows: i64) {
        match &mut self.overlay {
            None | Some(Overlay::Edits { .. }) => self.move_rows(rows),
            Some(overlay) => overlay.scroll(rows),
        }
    }
}

/// The group of the tab's own keys.
const HERE: &str = "On this tab";

/// The keys of an action where one is, or else where it has some.
fn keys(keymap: &Keymap, context: Context, action: Action) -> String {
    let here = keymap.keys(action.context().unwrap_or(context), action);
    if !here.is_empty() {
        return here.join("  ");
    }
    let elsewhere = Context::ALL.into_iter().map(|context| (context, keymap.keys(context, action)));
    let elsewhere = elsewhere.filter_map(|(context, keys)| Some(format!("{} ({})", keys.first()?, context.name())));
    elsewhere.take(1).collect()
}

/// Every method, with what its numbers are worth where actions have their keys.
fn catalogue() -> impl Iterator<Item = PickerItem> {
    crate::analysis::catalogue().map(|entry| PickerItem {
        choice: Choice::Method(entry.about.name),
        group: "Methods",
        name: entry.about.name.to_owned(),
        keys: entry.about.evidence.to_string(),
        about: format!("{}: {}", entry.about.title, entry.about.question),
        more: format!(
            "Assumes: {}. Cost: {}. Source: {}.",
            entry.about.assumes, entry.about.cost, entry.about.reference
        ),
    })
}

impl Picker {
    fn new(kind: PickerKind, all: Vec<PickerItem>) -> Self {
        Picker { kind, entry: TextInput::line(""), cursor: 0, items: all.clone(), all }
    }

    /// Searches again after typing; the best comes first.
    ///
    /// Behind the name of a method its parameters are shown, where it has some.
    pub fn search(&mut self) {
        self.cursor = 0;
        if let (PickerKind::Palette | PickerKind::Methods, Some((about, typed))) =
            (self.kind, called(self.entry.text()))
            && !about.params.is_empty()
        {
            (self.items, self.cursor) = methods::parameters(about, typed);
            return;
        }
        self.items = search::found(&self.all, self.entry.text());
    }

    /// Lines that everything takes, headings included: the box keeps its height while one types.
    pub fn rows(&self) -> usize {
        let groups = self.all.windows(2).filter(|pair| pair[0].group != pair[1].group).count();
        self.all.len() + groups + 2
    }

    /// Moves the cursor.
    pub fn step(&mut self, by: i64) {
        let last = signed(self.items.len().saturating_sub(1));
        self.cursor = unsigned(signed(self.cursor).saturating_add(by).clamp(0, last));
    }

    /// What is chosen.
    pub fn chosen(&self) -> Option<Choice> {
        self.items.get(self.cursor).map(|i| i.choice)
    }
}
