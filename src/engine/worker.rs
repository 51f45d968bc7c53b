//! The thread that computes.

use super::{Answer, Ask, ModelInfo, Question, Reply, Request, Setup, Slot, Tickets, hub};
use crate::analysis::attribution::{self, Dictionaries, GraphRequest};
use crate::analysis::grounded::Grounded;
use crate::analysis::input::Input;
use crate::analysis::param::Values;
use crate::analysis::runs::Runs;
use crate::analysis::target::Target;
use crate::analysis::verify::Verifier;
use crate::analysis::verify_request::{Subjects, TestRequest};
use crate::analysis::{self, generate, loadings, prediction};
use crate::model::Model;
use crate::model::device::{device_name, dtype_name};
use crate::model::dictionary::Dictionary;
use crate::model::forward::Step;
use crate::model::source::Source;
use anyhow::{Context, Result, anyhow, bail};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

/// Runs of this many prompts are kept.
const KEPT: usize = 4;

/// A prompt and, where they were generated, its tokens.
type Prompt = (String, Option<Vec<u32>>);

pub(super) struct Worker {
    setup: Setup,
    tickets: Arc<Tickets>,
    reply: Arc<dyn Fn(Reply) -> bool + Send + Sync>,
    model: Option<Model>,
    /// By prompt, the latest last.
    runs: Vec<(Prompt, Runs)>,
}

impl Worker {
    pub(super) fn new(setup: Setup, tickets: Arc<Tickets>, reply: Arc<dyn Fn(Reply) -> bool + Send + Sync>) -> Self {
        Worker { setup, tickets, reply, model: None, runs: Vec::new() }
    }

    /// Answers until nobody asks or listens any more.
    pub(super) fn run(mut self, requests: &Receiver<Request>) {
        let mut waiting: Vec<Request> = Vec::new();
        // Made here: they stay in this thread.
        let mut dictionaries = Dictionaries::default();
        loop {
            if waiting.is_empty() {
                match requests.recv() {
                    Ok(request) => waiting.push(request),
                    Err(_) => return,
                }
            }
            waiting.extend(requests.try_iter());
            waiting.retain(|r| self.tickets.current(r.slot) == r.ticket);
            let urgency = |r: &Request| Slot::ALL.iter().position(|s| *s == r.slot);
            let Some(first) = (0..waiting.len()).min_by_key(|i| urgency(&waiting[*i])) else { continue };
            let request = waiting.remove(first);
            let (slot, ticket) = (request.slot, request.ticket);
            let answer = catch_unwind(AssertUnwindSafe(|| self.answer(&mut dictionaries, request)));
            let answer = answer.unwrap_or_else(|panic| {
                // What the panic left half done is not to be read again.
                self.runs.clear();
                Err(anyhow!("this is a bug in mechscope: {}", panic_text(panic.as_ref())))
            });
            if self.tickets.current(slot) != ticket {
                continue;
            }
            let reply = match answer {
                Ok(answer) => Reply::Done { slot, ticket, answer },
                Err(e) => Reply::Failed { slot, ticket, error: format!("{e:#}") },
            };
            if !(self.reply)(reply) {
                return;
            }
        }
    }

    fn answer(&mut self, dictionaries: &mut Dictionaries, request: Request) -> Result<Answer> {
        let (slot, ticket) = (request.slot, request.ticket);
        let (model, policy) = (self.model.as_ref(), self.setup.hub);
        hub::dictionary(&request.ask, model, dictionaries, policy, &mut self.step(slot, ticket))?;
        match request.ask {
            Ask::Open(name) => {
                // Another model's do not fit.
                *dictionaries = Dictionaries::default();
                self.open(&name, slot, ticket)
            }
            Ask::Next(question) => self.with(&question, slot, ticket, |model, runs, step| {
                let target = Target::parse(model, question.target.as_deref(), question.contrast.as_deref())?;
                prediction::next(model, runs, question.position, target, step).map(Answer::Next)
            }),
            Ask::Generate { question, count, sampling } => self.with(&question, slot, ticket, |model, runs, step| {
                let how = (count, sampling);
                generate::longer(model, runs.input(), &question.edits, how, step).map(Answer::Prompt)
            }),
            Ask::Graph(GraphRequest { file: Some(file), .. }) => {
                let model = self.model.as_ref().context("no model is open")?;
                Ok(Answer::Graph(Arc::new(attribution::of_file(model, dictionaries, &file)?)))
            }
            Ask::Graph(wanted) => {
                let question = of_graph(&wanted);
                let (tickets, reply) = (self.tickets.clone(), self.reply.clone());
                let mut preview = |graph| {
                    if tickets.current(slot) == ticket {
                        reply(Reply::Partial { slot, ticket, answer: Answer::Graph(Arc::new(graph)) });
                    }
                };
                self.with(&question, slot, ticket, |model, runs, step| {
                    let graph = attribution::of_prompt(model, dictionaries, runs, &wanted, &mut preview, step)?;
                    Ok(Answer::Graph(Arc::new(graph)))
                })
            }
            Ask::Edge(wanted) => {
                let model = self.model.as_ref().context("no model is open")?;
                let dictionary = dictionaries.of_graph(model, &wanted.of.graph, wanted.dictionary.as_deref())?;
                let grounded = Grounded::new(model, dictionary, &wanted.of.graph)?;
                let report = loadings::heads_of_edge(&grounded, wanted.source, wanted.target)?;
                Ok(Answer::Report(Arc::new(report)))
            }
            Ask::EdgesOf(wanted) => {
                let model = self.model.as_ref().context("no model is open")?;
                let dictionary = dictionaries.of_graph(model, &wanted.of.graph, wanted.dictionary.as_deref())?;
                let grounded = Grounded::new(model, dictionary, &wanted.of.graph)?;
                let step = &mut self.step(slot, ticket);
                let report = loadings::edges_of_head(&grounded, wanted.head, &wanted.edges, step)?;
                Ok(Answer::Report(Arc::new(report)))
            }
            Ask::Test(wanted) => {
                let model = self.model.as_ref().context("no model is open")?;
                let dictionary = dictionaries.of_graph(model, &wanted.of.graph, wanted.dictionary.as_deref())?;
                test(model, dictionary, &wanted, &mut self.step(slot, ticket))
            }
            Ask::Method { name, question, params } => self.with(&question, slot, ticket, |model, runs, step| {
                let method = analysis::named(name)?;
                let target = Target::parse(model, question.target.as_deref(), question.contrast.as_deref())?;
                let values = Values::parse(method.about().params, &params)?;
                let question = analysis::Question { position: question.position, target, values };
                Ok(Answer::Report(Arc::new(analysis::ask(method, model, runs, &question, step)?)))
            }),
        }
    }

    fn open(&mut self, name: &str, slot: Slot, ticket: u64) -> Result<Answer> {
        let mut shown = 0;
        let progress = |done: u64, total: u64| {
            let percent = done.saturating_mul(100).checked_div(total).unwrap_or(0) as usize;
            if percent > shown {
                shown = percent;
                (self.reply)(Reply::Progress { slot, ticket, done: percent, total: 100 });
            }
        };
        hub::model(name, self.setup.hub, &mut self.step(slot, ticket))?;
        let mut model = Model::open(name, self.setup.options, Box::new(progress))?;
        model.directions.extend(self.setup.directions.iter().cloned());
        let arch = &model.decoder.arch;
        let info = ModelInfo {
            name: model.source.to_string(),
            device: device_name(model.decoder.device()),
            dtype: dtype_name(model.decoder.dtype()),
            n_layers: arch.n_layers,
            n_heads: arch.n_heads,
            d_mlp: arch.d_mlp,
            example: example(&model),
        };
        self.runs.clear();
        self.model = Some(model);
        Ok(Answer::Opened(info))
    }

    /// Tells how far a request is, and ends work that nobody waits for any more.
    fn step(&self, slot: Slot, ticket: u64) -> impl FnMut(usize, usize) -> Result<()> {
        move |done, total| {
            if self.tickets.current(slot) != ticket {
                bail!("cancelled");
            }
            (self.reply)(Reply::Progress { slot, ticket, done, total });
            Ok(())
        }
    }

    /// Calls `work` with the model and the runs of the question's prompt; those of a job that fails are kept too, as far as they got.
    fn with<T>(
        &mut self,
        question: &Question,
        slot: Slot,
        ticket: u64,
        work: impl FnOnce(&Model, &mut Runs, &mut dyn FnMut(usize, usize) -> Result<()>) -> Result<T>,
    ) -> Result<T> {
        let model = self.model.as_ref().context("no model is open")?;
        let key = (question.prompt.clone(), question.ids.clone());
        let mut runs = match self.runs.iter().position(|(of, _)| *of == key) {
            Some(at) => self.runs.remove(at).1,
            None => {
                let (prompt, bos) = (question.prompt.clone(), self.setup.bos);
                let input = match &question.ids {
                    Some(ids) => Input::of_tokens(model, prompt, ids, bos)?,
                    None => Input::of_prompt(model, prompt, bos)?,
                };
                Runs::new(input, Vec::new())
            }
        };
        runs.set_edits(question.edits.clone());
        let answer = work(model, &mut runs, &mut self.step(slot, ticket));
        self.runs.push((key, runs));
        let surplus = self.runs.len().saturating_sub(KEPT);
        self.runs.drain(..surplus);
        answer
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_else(|| "a panic".into())
}

/// The prompt that a built-in model's reference numbers are for.
fn example(model: &Model) -> Option<String> {
    let Source::BuiltIn(builtin) = &model.source else { return None };
    let known: serde_json::Value = serde_json::from_slice(builtin.file("reference.json")?).ok()?;
    known["prompts"][0]["prompt"].as_str().map(str::to_owned)
}

/// The question about a graph's prompt: a graph is of the run without edits.
fn of_graph(wanted: &GraphRequest) -> Question {
    Question {
        prompt: wanted.prompt.clone(),
        ids: wanted.ids.clone(),
        edits: Vec::new(),
        position: -1,
        target: wanted.target.clone(),
        contrast: wanted.contrast.clone(),
    }
}

/// Makes the tests of a graph.
fn test(model: &Model, dictionary: Option<&Dictionary>, wanted: &TestRequest, step: Step) -> Result<Answer> {
    let verifier = Verifier::new(model, dictionary, &wanted.of.graph, Some(wanted.target))?;
    if let Subjects::KeepOnly(label, members) = &wanted.what {
        let found = verifier.keep_only(members, step)?;
        let share = |s: Option<f32>| s.map_or("-".to_owned(), |s| format!("{s:.3}"));
        return Ok(Answer::Said(format!(
            "{label} kept, {} other units at their means: target {:+.3} (all {:+.3}, none {:+.3}, without it {:+.3}); faithfulness {}, completeness {}",
            found.ablated,
            found.group,
            found.whole,
            found.empty,
            found.rest,
            share(found.faithfulness()),
            share(found.completeness())
        )));
    }
    Ok(Answer::Tested(verifier.run(&wanted.tests(&verifier)?, step)?))
}
