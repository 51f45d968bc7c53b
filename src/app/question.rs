//! What the shown panes have to ask, and asking what they have not asked yet.

use super::Slot;
use super::pane::RequestState;
use super::{App, Effect, Tab};
use crate::address::{Component, Edit, Part};
use crate::analysis::attribution::GraphId;
use crate::engine::{Ask, JobId, PromptQuestion, Request};

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

/// The prompt with its edits that a request is about.
fn about(ask: &Ask) -> Option<&PromptQuestion> {
    match ask {
        Ask::Next(question) | Ask::Generate { question, .. } | Ask::Method { question, .. } => Some(question),
        Ask::Open(_) | Ask::Chat { .. } | Ask::Graph(_) | Ask::Edge(_) | Ask::EdgesOf(_) | Ask::Test(_) => None,
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
            return Some(Ask::Next(self.question()?));
        }
        let (main, side) = self.tab.slots();
        if slot != main && Some(slot) != side {
            return None;
        }
        let method = |name, params: &[(&str, String)]| {
            let params = params.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect();
            Some(Ask::Method { name: String::from(name), question: self.question()?, params })
        };
        let (layer, head) = self.selection.head;
        match slot {
            Slot::Lens => method("lens", &[]),
            Slot::Heads => method("heads", &[]),
            Slot::Head => method("heads", &[("head", format!("L{layer}.H{head}"))]),
            Slot::LensCell => {
                let address = self.pane(Slot::Lens).address().filter(|_| self.side)?;
                let after = matches!(address.place, Component::Unit { part: Part::ResidPost, .. });
                let layer = address.layer().filter(|_| after)?;
                method("lens", &[("layer", layer.to_string()), ("top", "20".into())])
            }
            Slot::Neurons => {
                let layer = if self.all_layers { "all".to_owned() } else { self.selection.layer.to_string() };
                let mut params = vec![
                    ("layer", layer),
                    ("top", "100".into()),
                    ("activations", "true".into()),
                    ("target-position", self.target_position()),
                ];
                let pane = self.pane(Slot::Neurons);
                if let Some((by, down)) = pane.sort.as_ref().and_then(|(column, down)| Some((strength(column)?, down)))
                {
                    params.extend([("sort", by), ("order", if *down { "high" } else { "low" }.into())]);
                }
                params.extend(pane.units_filter().map(|filter| ("filter", filter)));
                let sought = self.sought.filter(|(layer, _)| self.all_layers || *layer == self.selection.layer);
                params.extend(sought.map(|(layer, neuron)| ("include", format!("L{layer}.N{neuron}"))));
                method("neurons", &params)
            }
            Slot::Neuron => {
                // Open until it is closed, so that it follows the cursor.
                let open = self.side || self.pane(Slot::Neuron).asked.is_some();
                let (layer, neuron) = self.selected_neuron().filter(|_| open)?;
                let neuron = ("neuron", format!("L{layer}.N{neuron}"));
                method("neurons", &[neuron, ("tokens", "10".into()), ("target-position", self.target_position())])
            }
            Slot::Graph => self.wanted_graph(),
            Slot::Method => {
                let params: Vec<(&str, String)> =
                    self.method_params.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
                method(self.method.filter(|_| self.tab == Tab::Method)?, &params)
            }
            _ => None,
        }
    }

    /// Where the target of attributions is read: the default one at the selected position, a named one at the end of the prompt.
    pub(super) fn target_position(&self) -> String {
        let here = self.selection.target.is_none() || self.position() + 1 == self.tokens();
        if here { self.selection.position.to_string() } else { "-1".into() }
    }

    /// The selected neuron of the layer shown.
    pub(super) fn selected_neuron(&self) -> Option<(usize, usize)> {
        let known = self.selection.neuron.filter(|(layer, _)| self.all_layers || *layer == self.selection.layer);
        known.or_else(|| match self.pane(Slot::Neurons).address()?.place {
            Component::Unit { layer, part: Part::Neuron(neuron) } => Some((layer, neuron)),
            _ => None,
        })
    }

    /// Asks for every shown pane whose last request is another one than it should be.
    pub(super) fn ask_what_is_missing(&mut self) {
        for slot in Slot::ALL {
            if slot == Slot::Generate {
                continue;
            }
            let Some(ask) = self.wanted(slot) else { continue };
            if self.pane(slot).asked.as_ref() != Some(&ask) && !self.graph_is_at_hand(&ask) {
                self.ask(slot, ask);
            }
        }
    }

    pub(super) fn ask(&mut self, slot: Slot, ask: Ask) {
        self.end(slot);
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

    fn is_obsolete(&self, ask: &Ask) -> bool {
        let prompt = self.prompt.as_deref();
        let gone = |graph: &GraphId| !self.graph.has(*graph);
        match ask {
            Ask::Next(question) | Ask::Generate { question, .. } | Ask::Method { question, .. } => {
                prompt != Some(&question.prompt) || question.ids != self.ids || question.edits != self.edits.on()
            }
            // A file's graph is the same whatever the prompt.
            Ask::Graph(wanted) => wanted.file.is_none() && (prompt != Some(&wanted.prompt) || wanted.ids != self.ids),
            Ask::Edge(edge) => gone(&edge.graph),
            Ask::EdgesOf(head) => gone(&head.graph),
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
            }
        }
        any
    }
}
