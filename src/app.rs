//! The state of the explorer and what events do to it: no input or output, no clock, no terminal.

mod asked;
pub mod chat;
mod command;
mod editing;
pub mod edits;
mod follow;
mod generate;
mod goes;
pub mod graph;
pub mod history;
mod keys;
mod marks;
pub mod message;
mod method;
mod moves;
pub mod overlay;
pub mod pane;
mod perform;
mod pipe;
mod places;
mod program;
mod question;
mod record;
mod rows;
pub mod session;
mod shade;
mod slot;
mod tab;
pub mod text_input;
pub mod tour;
pub mod work;
pub mod yank;

use crate::address::Address;
use crate::analysis::generate::Longer;
pub use crate::analysis::prediction::Next;
use crate::cast::{signed, unsigned};
pub use crate::engine::ModelInfo;
use crate::engine::{Answer, Ask, JobId, Reply, Request, Said};
use crate::keymap::{Context, Key, Keymap};
use edits::Edits;
use history::History;
use message::Message;
use overlay::Overlay;
use pane::{Pane, RequestState};
use session::Session;
pub use slot::Slot;
pub use tab::Tab;
use tab::{HeadsTab, MethodTab, NeuronsTab, PatchDepth, PatchTab};

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A key was pressed.
    Key(Key),
    /// Text was pasted.
    Paste(String),
    /// The terminal has this many columns and rows.
    Resize(u16, u16),
    /// The wheel was turned by so many rows.
    Wheel(i64),
    /// A tab's name was clicked.
    Click(Tab),
    /// A row was clicked, or a cell of a grid.
    Pick {
        /// Its pane.
        slot: Slot,
        /// Its line in the pane.
        line: usize,
        /// The column of a grid.
        column: Option<usize>,
    },
    /// The engine answered.
    Reply(Box<Reply>),
    /// A file was not written because there is one already.
    Exists(String),
    /// Something done in the background came to an end, with what is to be said about it.
    Said(Message),
    /// A shell command ended.
    Piped {
        /// Which one.
        ticket: u64,
        /// What it printed, or why nothing.
        output: Result<String, String>,
    },
    /// The process was asked to end by this signal.
    End(i32),
}

/// Something to be done outside.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Ask the engine.
    Ask(Request),
    /// End a job.
    Cancel(JobId),
    /// Put a text on the clipboard.
    Copy(String),
    /// Give a text to a shell command.
    Pipe {
        /// Which one; [`Event::Piped`] carries it back.
        ticket: u64,
        /// The command.
        command: String,
        /// Its input.
        input: String,
    },
    /// End the shell command that runs, with all it started.
    StopPipe,
    /// Write a file.
    Write {
        /// Where to.
        file: String,
        /// What.
        bytes: Vec<u8>,
        /// Whether a file that is there may be written over.
        over: bool,
    },
    /// Save the screen to a file.
    Screenshot(String),
    /// Write this into the log file, if there is one.
    Log(String),
    /// Stop the process as Ctrl-Z does.
    Suspend,
    /// Write the whole screen again.
    Repaint,
    /// Remember at which stop the tour is.
    KeepTour(usize),
    /// End with this exit code, after the session is saved.
    Quit(u8),
}

/// What is selected, in every tab.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// The token, negative from the end.
    pub position: i64,
    /// The token to explain as it was named; none is the most probable one.
    pub target: Option<String>,
    /// The token to subtract.
    pub contrast: Option<String>,
    /// The layer.
    pub layer: usize,
    /// The head: layer and number.
    pub head: (usize, usize),
    /// The neuron: layer and number, when one was selected.
    pub neuron: Option<(usize, usize)>,
}

/// From so many columns on, panes stand side by side.
pub const WIDE: u16 = 110;

/// A place to come back to.
#[derive(Clone, Debug, PartialEq)]
struct Jump {
    tab: Tab,
    side: bool,
    selection: Selection,
    depth: PatchDepth,
}

/// The state of the explorer.
pub struct App {
    /// The tab shown.
    pub tab: Tab,
    /// Whether keys move in the pane beside the main one.
    pub side: bool,
    /// What is selected.
    pub selection: Selection,
    /// The open model.
    pub model: Option<ModelInfo>,
    /// What `--model` was given for it.
    pub model_name: String,
    /// The prompt that is asked about.
    pub prompt: Option<String>,
    /// Its tokens where they are not those of its text: some were generated.
    pub ids: Option<Vec<u32>>,
    /// A prompt in the chat template, and what it was before.
    chat: Option<chat::ChatPrompt>,
    /// Prompts typed before, the latest last.
    pub prompts: Vec<String>,
    /// The prompt's tokens and target, of the newest answer.
    pub next: Option<Next>,
    /// A pane for every slot.
    pub panes: Vec<Pane>,
    /// The edits.
    pub edits: Edits,
    /// What is marked, in every tab: units in the order they were marked.
    pub marks: Vec<Address>,
    /// What the tab Heads keeps.
    pub heads: HeadsTab,
    /// What the tab Neurons keeps.
    pub neurons: NeuronsTab,
    /// The attribution graphs.
    pub graph: graph::GraphTab,
    /// What the tab Patch keeps.
    pub patch: PatchTab,
    /// What the tab of a method keeps.
    pub method: MethodTab,
    /// Options that every command takes, as they were given: `bos`, `device`, `dtype`.
    pub options: Vec<(String, String)>,
    /// The shell command that runs.
    pub piping: Option<pipe::Running>,
    /// What one printed, until nothing is typed any more.
    output: Option<String>,
    /// What lies over the tabs.
    pub overlay: Option<Overlay>,
    /// Keys of a sequence that is not finished.
    pub pending: Vec<Key>,
    /// The count typed before a key.
    pub count: Option<usize>,
    /// What is to be said, until the next key.
    pub message: Option<Message>,
    /// The prompt that is being written on, as far as it is known.
    written: Option<Longer>,
    /// Edits whose effect is to be said as soon as it is known.
    announced: Option<String>,
    /// The keys.
    pub keymap: Keymap,
    /// Columns and rows of the terminal.
    pub size: (u16, u16),
    /// What was looked at, as commands.
    pub log: Vec<String>,
    history: History<Jump>,
    /// What it began with, and whether anything was done since that is worth keeping.
    begun: Session,
    touched: bool,
    tour: tour::Tour,
    tickets: u64,
    effects: Vec<Effect>,
}

impl App {
    /// The explorer at its start. The first [`App::update`] asks for the model.
    pub fn new(session: Session, keymap: Keymap, size: (u16, u16)) -> Self {
        let mut app = App {
            begun: session.clone(),
            touched: false,
            tab: session.tab,
            side: false,
            selection: Selection {
                position: session.position,
                target: session.target,
                contrast: session.contrast,
                layer: session.layer,
                head: session.head,
                neuron: session.neuron,
            },
            model: None,
            model_name: session.model,
            prompt: session.prompt,
            ids: session.ids,
            chat: session.chat,
            prompts: session.prompts,
            next: None,
            panes: Slot::ALL.map(Pane::new).to_vec(),
            edits: Edits::new(session.edits),
            marks: Vec::new(),
            heads: HeadsTab { chosen: session.head != (0, 0) || session.tab == Tab::Heads, ..HeadsTab::default() },
            // It opens on the strongest of all layers, unless one was being looked at.
            neurons: NeuronsTab { sought: session.neuron, all_layers: session.neuron.is_none() },
            graph: graph::GraphTab::new(session.basis, session.dictionary, session.graph).with_kept(session.works),
            patch: session.patch,
            method: MethodTab::default(),
            options: session.options,
            piping: None,
            output: None,
            overlay: None,
            pending: Vec::new(),
            count: None,
            message: None,
            written: None,
            announced: None,
            keymap,
            size,
            log: session.log,
            history: History::default(),
            tour: tour::Tour::default(),
            tickets: 0,
            effects: Vec::new(),
        };
        app.panes.sort_by_key(|p| p.slot as usize);
        app
    }

    /// Takes an event; what it makes necessary outside is returned.
    pub fn update(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::Key(key) => self.key(key),
            Event::Paste(text) => self.paste(&text),
            Event::Resize(columns, rows) => {
                self.size = (columns, rows);
                self.break_notes();
            }
            Event::Wheel(rows) => self.wheel(rows),
            Event::Click(tab) => {
                self.tour_wanders();
                self.go_to_tab(tab);
            }
            Event::Pick { slot, line, column } => {
                self.tour_wanders();
                self.pick(slot, line, column);
            }
            Event::Reply(reply) => self.reply(*reply),
            Event::Said(message) => self.message = Some(message),
            Event::Exists(file) => {
                self.warn(format!("{file} exists: saving to it once more writes over it"));
                self.graph.kept_file = Some(file);
            }
            Event::Piped { ticket, output } => self.piped(ticket, output),
            Event::End(signal) => {
                let code = u8::try_from(128 + signal).unwrap_or(1);
                self.effects.push(Effect::Quit(code));
            }
        }
        self.show_output();
        self.ask_what_is_missing();
        self.tour_goes_on();
        self.end_what_is_obsolete();
        self.close_needless_question();
        std::mem::take(&mut self.effects)
    }

    /// Breaks notes at the width that each pane has on a terminal of this size.
    fn break_notes(&mut self) {
        let columns = usize::from(self.size.0);
        for pane in &mut self.panes {
            let width = match pane.slot {
                _ if self.size.0 < WIDE => columns,
                Slot::GraphSide => (columns * 2 / 5).saturating_sub(1),
                _ => (columns * 9 / 20).saturating_sub(2),
            };
            if pane.width != width {
                pane.width = width;
                pane.arrange();
            }
        }
    }

    /// The pane of a slot.
    pub fn pane(&self, slot: Slot) -> &Pane {
        &self.panes[slot as usize]
    }

    fn pane_mut(&mut self, slot: Slot) -> &mut Pane {
        &mut self.panes[slot as usize]
    }

    /// The pane that keys move in.
    pub fn focus(&self) -> Slot {
        match self.tab.slots() {
            (_, Some(side)) if self.side => side,
            (main, _) => main,
        }
    }

    /// Where keys are read now.
    pub fn context(&self) -> Context {
        match &self.overlay {
            Some(Overlay::Edits { .. }) => Context::Edits,
            _ => self.tab.context(),
        }
    }

    /// Tokens of the prompt, as far as they are known.
    pub fn tokens(&self) -> usize {
        self.next.as_ref().map_or(0, |n| n.tokens.len())
    }

    /// The position, counted from 0, as far as the prompt's tokens are known.
    pub fn position(&self) -> usize {
        let n = self.next.as_ref().map_or(0, |n| n.tokens.len());
        let position = self.selection.position;
        let from_start = if position < 0 { signed(n) + position } else { position };
        unsigned(from_start.clamp(0, (signed(n) - 1).max(0)))
    }

    /// The address of what is selected, with its position.
    pub fn address(&self) -> Address {
        let position = signed(self.position());
        let address = self.pane(self.focus()).address().or_else(|| self.pane(self.tab.slots().0).address());
        let address = address.unwrap_or_else(Address::embed);
        match address.position {
            None if !matches!(address.place, crate::address::Component::Logit(_)) => address.at(position),
            _ => address,
        }
    }

    /// Whether anything runs.
    pub fn busy(&self) -> bool {
        self.piping.is_some() || self.panes.iter().any(|p| matches!(p.state, RequestState::Running(..)))
    }

    fn reply(&mut self, reply: Reply) {
        // What was asked for anew since has another number.
        let Some(pane) = self.panes.iter_mut().find(|pane| pane.job == Some(reply.job)) else { return };
        let slot = pane.slot;
        match reply.said {
            Said::Progress(far) => {
                (pane.state, pane.seconds_left) = (RequestState::Running(far.done, far.of), far.seconds_left);
                pane.work = Some(far.what);
            }
            Said::Partial(Answer::Tested(found)) => self.take_some_tests(found),
            Said::Partial(Answer::Prompt(longer)) => self.written = Some(longer),
            Said::Partial(answer) => self.answer(slot, answer),
            Said::Failed(error) => {
                pane.state = RequestState::Failed(error.clone());
                if slot == Slot::Graph {
                    self.graph_failed();
                }
                if slot == Slot::Generate {
                    self.keep_written();
                }
                if slot == Slot::Verify {
                    self.end_tests();
                }
                if slot == Slot::Branch {
                    self.stop_opening();
                }
                if let (Slot::Model, Some(model)) = (slot, &self.model) {
                    // The model that is open stays open, and nothing is wrong with it.
                    self.model_name = model.name.clone();
                    let name = self.model_name.clone();
                    let pane = self.pane_mut(slot);
                    (pane.asked, pane.fresh) = (Some(Ask::Open(name)), true);
                    pane.state = RequestState::Idle;
                }
                self.fail(error);
            }
            Said::Done(answer, _) => {
                pane.state = RequestState::Idle;
                pane.fresh = true;
                pane.answered.clone_from(&pane.asked);
                self.answer(slot, answer);
            }
        }
    }

    fn answer(&mut self, slot: Slot, answer: Answer) {
        match answer {
            Answer::Opened(model) => {
                if self.prompt.is_none() {
                    self.prompt = Some(model.example.clone().unwrap_or_else(|| session::PROMPT.into()));
                }
                self.selection.layer = self.selection.layer.min(model.n_layers.saturating_sub(1));
                if self.model.is_some() {
                    // Nothing that another model answered holds for this one.
                    self.panes.iter_mut().filter(|p| p.slot != slot).for_each(|p| *p = Pane::new(p.slot));
                    (self.selection.target, self.selection.contrast, self.next) = (None, None, None);
                    let kept = self.works();
                    self.graph = self.graph.of_another_model(kept);
                    (self.marks, self.neurons.sought, self.heads.chosen) = (Vec::new(), None, false);
                    self.forget_effects();
                    self.break_notes();
                }
                self.model = Some(model);
            }
            Answer::Next(next) => {
                self.pane_mut(slot).show(next.report.clone());
                let news = self.next.as_ref().is_none_or(|before| before.warnings != next.warnings);
                self.next = Some(next);
                self.announce();
                self.warn_of_prompt(news);
                if self.tab == Tab::Prompt {
                    self.log_command();
                }
            }
            Answer::Graph(graph) => {
                self.take_graph(graph);
                if self.tab == Tab::Graph {
                    self.log_command();
                }
            }
            Answer::Branch(found) => self.take_branch(found),
            Answer::Kept(kept) => self.take_kept(kept),
            Answer::Drafted(tested) => self.take_drafts(tested),
            Answer::Tested(found) => self.take_tests(found),
            Answer::Prompt(longer) => self.generated(longer),
            Answer::Chat(prompt, ids) => self.put_into_chat(prompt, ids),
            Answer::Report(report) => {
                if slot == Slot::LensCell {
                    // The grid is in the pane beside it already.
                    self.pane_mut(slot).parts = vec!["cell".into(), "method".into()];
                }
                if slot == Slot::Patch {
                    self.keep_effects(&report);
                }
                let report = if slot == Slot::Heads { self.shaded(report) } else { report };
                self.pane_mut(slot).show(report);
                self.report_arrived(slot);
            }
        }
    }
}
