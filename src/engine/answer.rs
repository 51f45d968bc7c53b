//! What every request is answered with.

use super::hub;
use super::jobs::RunningJob;
use super::kept::Open;
use super::protocol::{Answer, Ask, ModelInfo, Progress, PromptQuestion, Reply, Said, WorkUnit};
use super::worker::Worker;
use crate::address::Edit;
use crate::analysis::attribution::{self, Attribution, Basis, GraphId, GraphRequest};
use crate::analysis::circuit::{self, HeadPlace};
use crate::analysis::circuit_graph::{self, BranchPlace};
use crate::analysis::generate::{self, Longer, Sampling};
use crate::analysis::input::Input;
use crate::analysis::loadings::{self, EdgeQuestion, OfHead};
use crate::analysis::param::Values;
use crate::analysis::patch::{PatchQuestion, explore};
use crate::analysis::runs::Runs;
use crate::analysis::target::Target;
use crate::analysis::verify::Verifier;
use crate::analysis::verify_request::{Subjects, TestRequest};
use crate::analysis::{self, prediction};
use crate::cast::size;
use crate::model::Model;
use crate::model::device::{device_name, dtype_name};
use crate::model::forward::Step;
use crate::model::source::Source;
use crate::replacement::circuit::Circuit;
use anyhow::{Context, Result};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The least time between two tellings of what tests have measured so far.
const TOLD: Duration = Duration::from_millis(200);

impl Worker {
    pub(super) fn answer(&self, job: &RunningJob, ask: Ask) -> Result<Answer> {
        let open = self.open.borrow().clone();
        if let Some(open) = open {
            hub::dictionary(&ask, &open.model, &open.dictionaries, self.setup.hub, &mut self.fetching(job))?;
        }
        match ask {
            Ask::Open(name) => self.load(job, &name),
            Ask::Next(question) => self.predict(job, &question),
            Ask::Generate { question, count, sampling } => self.generate(job, &question, (count, sampling)),
            Ask::Chat { prompt, system } => {
                let chat = Input::of_chat(&self.opened()?.model, prompt, system, self.setup.bos)?;
                let ids = chat.ids();
                Ok(Answer::Chat(chat.prompt.unwrap_or_default(), ids))
            }
            Ask::Graph(wanted) => self.graph(job, &wanted),
            Ask::Edge(edge) => self.edge(job, &edge),
            Ask::EdgesOf(wanted) => self.edges_of(job, &wanted),
            Ask::Branch { graph, path } => self.branch(job, graph, &path),
            Ask::Looks { graph, head } => self.looks(job, graph, head),
            Ask::Test(tests) => self.test(job, &tests),
            Ask::Pair { question, corrupt } => {
                let open = self.opened()?;
                let (clean, corrupt) = self.pair(&open, &question, &corrupt)?;
                Ok(Answer::Report(Arc::new(explore::side_by_side(&clean, &corrupt))))
            }
            Ask::Patch { question, corrupt, patch } => self.patch(job, &question, &corrupt, &patch),
            Ask::Method { name, question, params } => self.method(job, &name, &question, &params),
        }
    }

    fn load(&self, job: &RunningJob, name: &str) -> Result<Answer> {
        let (mut shown, reply, id) = (0, self.reply.clone(), job.id);
        let progress = move |done: u64, total: u64| {
            let percent = size(done.saturating_mul(100).checked_div(total).unwrap_or(0));
            if percent > shown {
                shown = percent;
                let far = Progress { what: WorkUnit::Loading, done: percent, of: 100, seconds_left: None };
                reply(Reply { job: id, said: Said::Progress(far) });
            }
        };
        hub::model(name, self.setup.hub, &mut self.fetching(job))?;
        let mut model = Model::open(name, self.setup.options, Box::new(progress))?;
        model.directions.extend(self.setup.directions.iter().cloned());
        let arch = &model.decoder.arch;
        let info = ModelInfo {
            name: model.source.to_string(),
            device: device_name(model.decoder.device()),
            dtype: dtype_name(model.decoder.dtype()).to_owned(),
            n_layers: arch.n_layers,
            n_heads: arch.n_heads,
            d_mlp: arch.d_mlp,
            example: example(&model),
        };
        if self.live.has(job.id) {
            // What was asked of another model is answered by none.
            self.live.end_before(job.id);
            *self.open.borrow_mut() = Some(Rc::new(Open::new(model)));
        }
        Ok(Answer::Opened(info))
    }

    /// Has the transcoders at hand that features in edits are of.
    fn features(&self, open: &Open, question: &PromptQuestion) -> Result<()> {
        if !question.edits.iter().any(Edit::names_a_feature) {
            return Ok(());
        }
        let wanted = open.dictionaries.find(&open.model, question.dictionary.as_deref())?;
        if open.model.dictionary().is_none_or(|known| !Arc::ptr_eq(&known, &wanted)) {
            open.model.use_dictionary(wanted);
            open.runs.forget_edited();
        }
        Ok(())
    }

    /// The runs of a prompt, as far as they are kept.
    fn runs(&self, open: &Open, question: &PromptQuestion) -> Result<Runs> {
        self.features(open, question)?;
        let input = self.input(open, &question.prompt, question.ids.as_deref())?;
        Ok(Runs::kept_in(open.runs.clone(), input, question.edits.clone()))
    }

    fn input(&self, open: &Open, prompt: &str, ids: Option<&[u32]>) -> Result<Input> {
        match ids {
            Some(ids) => Input::of_tokens(&open.model, prompt.to_owned(), ids, self.setup.bos),
            None => Input::of_prompt(&open.model, prompt.to_owned(), self.setup.bos),
        }
    }

    fn predict(&self, job: &RunningJob, question: &PromptQuestion) -> Result<Answer> {
        let open = self.opened()?;
        let mut runs = self.runs(&open, question)?;
        let target = target(&open.model, question)?;
        let step = &mut self.step(job);
        prediction::next(&open.model, &mut runs, question.position, target, step).map(Answer::Next)
    }

    fn generate(&self, job: &RunningJob, question: &PromptQuestion, how: (usize, Option<Sampling>)) -> Result<Answer> {
        let open = self.opened()?;
        self.features(&open, question)?;
        let input = self.input(&open, &question.prompt, question.ids.as_deref())?;
        let mut last = Instant::now();
        // What was written is told as it is known: whoever stops the rest keeps it.
        let so_far = &mut |longer: &dyn Fn() -> Longer| {
            if last.elapsed() >= TOLD && self.live.has(job.id) {
                self.say(job.id, Said::Partial(Answer::Prompt(longer())));
                last = Instant::now();
            }
        };
        let step = &mut self.step(job);
        generate::longer(&open.model, &input, &question.edits, how, step, so_far).map(Answer::Prompt)
    }

    fn method(
        &self,
        job: &RunningJob,
        name: &str,
        question: &PromptQuestion,
        params: &[(String, String)],
    ) -> Result<Answer> {
        let open = self.opened()?;
        let method = analysis::named(name)?;
        let target = target(&open.model, question)?;
        let values = Values::parse(method.about().params, &self.with_index(&open, name, params))?;
        let mut runs = self.runs(&open, question)?;
        let asked = analysis::Question { position: question.position, target, values };
        let report = analysis::ask(method, &open.model, &mut runs, &asked, &mut self.step(job))?;
        Ok(Answer::Report(Arc::new(report)))
    }

    fn pair(&self, open: &Open, question: &PromptQuestion, corrupt: &str) -> Result<(Input, Input)> {
        let clean = self.input(open, &question.prompt, question.ids.as_deref())?;
        Ok((clean, self.input(open, corrupt, None).context("the corrupt prompt")?))
    }

    fn patch(
        &self,
        job: &RunningJob,
        question: &PromptQuestion,
        corrupt: &str,
        patch: &PatchQuestion,
    ) -> Result<Answer> {
        let open = self.opened()?;
        let (clean, corrupt) = self.pair(&open, question, corrupt)?;
        let asked = (target(&open.model, question)?, question.position);
        let report = explore::patched(&open.model, (&clean, &corrupt), asked, patch, &mut self.step(job))?;
        Ok(Answer::Report(Arc::new(report)))
    }

    fn graph(&self, job: &RunningJob, wanted: &GraphRequest) -> Result<Answer> {
        let open = self.opened()?;
        let numbered = |mut graph: Attribution| -> Result<Answer> {
            self.name_nodes(&open, &mut graph);
            Ok(Answer::Graph(open.number(graph, &self.graphs)))
        };
        if let Some(file) = &wanted.file {
            let go_on = &mut || self.pulse(job);
            return attribution::of_file(&open.model, &open.dictionaries, file, go_on).and_then(numbered);
        }
        // A graph is of the run without edits.
        let input = self.input(&open, &wanted.prompt, wanted.ids.as_deref())?;
        let mut runs = Runs::kept_in(open.runs.clone(), input, Vec::new());
        if wanted.basis == Basis::Circuit {
            let number = |mut graph: Attribution, kept| -> Result<Answer> {
                self.name_nodes(&open, &mut graph);
                let graph = open.number(graph, &self.graphs);
                open.keep_circuit(graph.id, kept);
                Ok(Answer::Graph(graph))
            };
            let preview = &mut |graph, kept| {
                if let Some(preview) = self.live.has(job.id).then(|| number(graph, kept)).and_then(Result::ok) {
                    self.say(job.id, Said::Partial(preview));
                }
            };
            let step = &mut self.stages(job);
            let (made, kept) = attribution::circuit_of_prompt(&open.model, &mut runs, wanted, preview, step)?;
            return number(made, kept);
        }
        let preview = &mut |graph| {
            if let Some(preview) = self.live.has(job.id).then(|| numbered(graph)).and_then(Result::ok) {
                self.say(job.id, Said::Partial(preview));
            }
        };
        let step = &mut self.stages(job);
        attribution::of_prompt(&open.model, &open.dictionaries, &mut runs, wanted, preview, step).and_then(numbered)
    }

    fn branch(&self, job: &RunningJob, graph: GraphId, path: &[BranchPlace]) -> Result<Answer> {
        let open = self.opened()?;
        let of = open.graph(graph)?;
        let (trace, kept) = open.circuit(&of, &mut self.step(job))?;
        let circuit = Circuit::again(&open.model.decoder, &trace, kept);
        let pieces = open.model.pieces(trace.tokens());
        let sinks: Vec<_> = of.graph.nodes.iter().filter_map(|node| node.sink_positions()).collect();
        circuit_graph::branch(&open.model, &circuit, &pieces, path, &sinks).map(Answer::Branch)
    }

    fn looks(&self, job: &RunningJob, graph: GraphId, head: HeadPlace) -> Result<Answer> {
        let open = self.opened()?;
        let of = open.graph(graph)?;
        let (trace, kept) = open.circuit(&of, &mut self.step(job))?;
        let circuit = Circuit::again(&open.model.decoder, &trace, kept);
        let sinks: Vec<_> = of.graph.nodes.iter().filter_map(|node| node.sink_positions()).collect();
        let report = circuit::why_it_looks(&circuit, &open.model.pieces(trace.tokens()), head, &sinks)?;
        Ok(Answer::Report(Arc::new(report)))
    }

    fn edge(&self, job: &RunningJob, edge: &EdgeQuestion) -> Result<Answer> {
        let open = self.opened()?;
        let graph = open.graph(edge.graph)?;
        let name = edge.dictionary.as_deref();
        let dictionary = open.dictionaries.of_graph(&open.model, &graph.graph, name)?;
        let (graph_run, _) = open.graph_run(&graph, (name, dictionary.as_deref()), &mut self.step(job))?;
        graph_run.freeze(&mut || self.pulse(job))?;
        let report = loadings::heads_of_edge(&graph_run, edge.source, edge.target)?;
        Ok(Answer::Report(Arc::new(report)))
    }

    fn edges_of(&self, job: &RunningJob, wanted: &OfHead) -> Result<Answer> {
        let open = self.opened()?;
        let graph = open.graph(wanted.graph)?;
        let name = wanted.dictionary.as_deref();
        let dictionary = open.dictionaries.of_graph(&open.model, &graph.graph, name)?;
        let (graph_run, _) = open.graph_run(&graph, (name, dictionary.as_deref()), &mut self.step(job))?;
        graph_run.freeze(&mut || self.pulse(job))?;
        let report = loadings::edges_of_head(&graph_run, wanted.head, &wanted.edges, &mut self.step(job))?;
        Ok(Answer::Report(Arc::new(report)))
    }

    fn test(&self, job: &RunningJob, wanted: &TestRequest) -> Result<Answer> {
        let open = self.opened()?;
        let graph = open.graph(wanted.graph)?;
        wanted.check(&graph.graph)?;
        let name = wanted.dictionary.as_deref();
        let dictionary = open.dictionaries.of_graph(&open.model, &graph.graph, name)?;
        let step: Step = &mut self.step(job);
        let (graph_run, memory) = open.graph_run(&graph, (name, dictionary.as_deref()), step)?;
        let verifier = Verifier::on(graph_run, Some(wanted.target), memory)?;
        if let Subjects::KeepOnly(label, members) = &wanted.what {
            return verifier.kept(label, members, step).map(Answer::Kept);
        }
        if let Subjects::Drafts(groups) = &wanted.what {
            return verifier.drafts(groups, step).map(Answer::Drafted);
        }
        let tests = wanted.tests(&verifier)?;
        let (mut found, told, mut last) = (vec![None; tests.len()], RefCell::new(Vec::new()), Instant::now());
        // What was measured is told as it is known: whoever stops the rest keeps it.
        let mut go_on = |done: usize, of: usize| {
            if last.elapsed() >= TOLD && !told.borrow().is_empty() && self.live.has(job.id) {
                self.say(job.id, Said::Partial(Answer::Tested(told.take())));
                last = Instant::now();
            }
            step(done, of)
        };
        let ran = verifier.run_each(&tests, &mut go_on, &mut |at, one| {
            told.borrow_mut().push(one.clone());
            found[at] = Some(one);
        });
        if ran.is_err() && !told.borrow().is_empty() && self.live.has(job.id) {
            // One that fails does not take those before it along.
            self.say(job.id, Said::Partial(Answer::Tested(told.take())));
        }
        ran?;
        Ok(Answer::Tested(found.into_iter().flatten().collect()))
    }
}

fn target(model: &Model, question: &PromptQuestion) -> Result<Option<Target>> {
    Target::parse(model, question.target.as_deref(), question.contrast.as_deref())
}

/// The prompt that a built-in model's reference numbers are for.
fn example(model: &Model) -> Option<String> {
    let Source::BuiltIn(builtin) = &model.source else { return None };
    let known: serde_json::Value = serde_json::from_slice(builtin.file("reference.json")?).ok()?;
    known["prompts"][0]["prompt"].as_str().map(str::to_owned)
}
