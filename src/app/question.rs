//! What the shown panes have to ask, and asking what they have not asked yet.

use super::Slot;
use super::pane::RequestState;
use super::{App, Effect, Tab};
use crate::address::Edit;
use crate::analysis::attribution::GraphId;
use crate::engine::{Ask, JobId, PromptQuestion, Request};

/// The prompt with its edits that a request is about.
fn about(ask: &Ask) -> Option<&PromptQuestion> {
    match ask {
        Ask::Next(question)
        | Ask::Generate { question, .. }
        | Ask::Pair { question, .. }
        | Ask::Patch { question, .. }
        | Ask::Method { question, .. } => Some(question),
        Ask::Open(_)
        | Ask::Chat { .. }
        | Ask::Graph(_)
        | Ask::Edge(_)
        | Ask::EdgesOf(_)
        | Ask::Branch { .. }
        | Ask::Looks { .. }
        | Ask::Test(_) => None,
    }
}

impl App {
    /// The question as it stands.
    pub(super) fn question(&self) -> Option<PromptQuestion> {
        let edits = self.edits.on();
        Some(PromptQuestion {
            prompt: self.prompt.clone()?,
            ids: self.ids.clone(),
            dictionary: self.graph.dictionary.clone().filter(|_| edits.iter().any(Edit::names_a_feature)),
            edits,
            position: self.selection.position,
            target: self.selection.target.clone(),
            contrast: self.selection.contrast.clone(),
        })
    }

    /// What a pane would have to ask now; none while it is not shown or cannot be asked.
    pub(super) fn wanted(&self, slot: Slot) -> Option<Ask> {
        if slot == Slot::Model {
            return Some(Ask::Open(self.model_name.clone()));
        }
        self.model.as_ref().filter(|_| self.pane(Slot::Model).fresh)?;
        if slot == Slot::Next {
            return Tab::Prompt.room().asks(self, slot);
        }
        let (main, side) = self.tab.slots();
        if slot != main && Some(slot) != side {
            return None;
        }
        self.tab.room().asks(self, slot)
    }

    /// Asks for every shown pane whose last request is another one than it should be.
    pub(super) fn ask_what_is_missing(&mut self) {
        for slot in Slot::ALL {
            if slot == Slot::Generate {
                continue;
            }
            let Some(ask) = self.wanted(slot) else { continue };
            let asked = self.pane(slot).asked.as_ref() == Some(&ask);
            if !asked && !self.graph_is_at_hand(&ask) && !self.effects_are_at_hand(slot, &ask) {
                self.ask(slot, ask);
            }
        }
    }

    pub(super) fn ask(&mut self, slot: Slot, ask: Ask) {
        self.end(slot);
        if slot == Slot::Generate {
            self.written = None;
        }
        self.tickets += 1;
        let job = JobId(self.tickets);
        let pane = self.pane_mut(slot);
        (pane.job, pane.state, pane.seconds_left) = (Some(job), RequestState::Running(0, 0), None);
        pane.work = None;
        pane.fresh = false;
        pane.asked = Some(ask.clone());
        self.effects.push(Effect::Ask(Request { job, ask }));
    }

    /// Ends the job of a pane; whether one ran.
    pub(super) fn end(&mut self, slot: Slot) -> bool {
        let pane = self.pane_mut(slot);
        let job = pane.job.take().filter(|_| matches!(pane.state, RequestState::Running(..)));
        self.effects.extend(job.map(Effect::Cancel));
        job.is_some()
    }

    /// What the shown answer of a pane is of, where it is not of what was asked last.
    pub fn outdated(&self, slot: Slot) -> Option<&'static str> {
        let pane = self.pane(slot);
        if let Some(Ask::Graph(wanted)) = &pane.asked {
            let shown = self.graph.answered().filter(|shown| *shown != wanted)?;
            let same = (&shown.prompt, &shown.ids, &shown.file) == (&wanted.prompt, &wanted.ids, &wanted.file);
            return Some(if same { "of the question before" } else { "of the prompt before" });
        }
        let asked = pane.asked.as_ref().filter(|_| !pane.fresh && pane.report.is_some())?;
        let (Some(before), Some(now)) = (pane.answered.as_ref().and_then(about), about(asked)) else {
            return Some("of the question before");
        };
        Some(match (before, now) {
            _ if (&before.prompt, &before.ids) != (&now.prompt, &now.ids) => "of the prompt before",
            _ if before.edits != now.edits => "of the edits before",
            _ if before.position != now.position => "of the token before",
            _ => "of the question before",
        })
    }

    /// Ends the jobs whose prompt, edits or graph are gone: nobody would look at their answers.
    pub(super) fn end_what_is_obsolete(&mut self) {
        for slot in Slot::ALL {
            if self.pane(slot).asked.as_ref().is_some_and(|ask| self.is_obsolete(ask)) && self.end(slot) {
                // It is asked for again when its prompt comes back.
                let pane = self.pane_mut(slot);
                (pane.state, pane.asked) = (RequestState::Idle, None);
            }
        }
    }

    /// Whether a request that no pane makes by itself is about the prompt and the graph that are looked at: nodes go by numbers of their own graph.
    pub(super) fn is_about_what_is_shown(&self, ask: &Ask) -> bool {
        let graph = match ask {
            Ask::Edge(edge) => edge.graph,
            Ask::EdgesOf(head) => head.graph,
            Ask::Branch { graph, .. } | Ask::Looks { graph, .. } => *graph,
            Ask::Test(tests) => tests.graph,
            _ => return !self.is_obsolete(ask),
        };
        self.graph.shown().is_some_and(|shown| shown.was(graph))
    }

    fn is_obsolete(&self, ask: &Ask) -> bool {
        let prompt = self.prompt.as_deref();
        let gone = |graph: &GraphId| !self.graph.has(*graph);
        match ask {
            Ask::Next(question) | Ask::Generate { question, .. } | Ask::Method { question, .. } => {
                prompt != Some(&question.prompt) || question.ids != self.ids || question.edits != self.edits.on()
            }
            // A pair is run without edits.
            Ask::Pair { question, .. } | Ask::Patch { question, .. } => {
                prompt != Some(&question.prompt) || question.ids != self.ids
            }
            // A file's graph is the same whatever the prompt.
            Ask::Graph(wanted) => wanted.file.is_none() && (prompt != Some(&wanted.prompt) || wanted.ids != self.ids),
            Ask::Edge(edge) => gone(&edge.graph),
            Ask::EdgesOf(head) => gone(&head.graph),
            Ask::Branch { graph, .. } | Ask::Looks { graph, .. } => gone(graph),
            Ask::Test(tests) => gone(&tests.graph),
            Ask::Chat { prompt: said, .. } => prompt != Some(said),
            Ask::Open(_) => false,
        }
    }

    /// Stops everything that runs; whether anything did.
    pub(super) fn cancel_all(&mut self) -> bool {
        let mut any = false;
        self.graph.stop_entering();
        for slot in Slot::ALL {
            if self.end(slot) {
                self.pane_mut(slot).state = RequestState::Cancelled;
                any = true;
                match slot {
                    Slot::Generate => self.keep_written(),
                    Slot::Verify => self.end_tests(),
                    Slot::Branch => self.stop_opening(),
                    _ => {}
                }
            }
        }
        any
    }
}
