//! What goes into the log file: what was asked and how it ended, signals, what failed.

use crate::app::Event;
use crate::engine::{Answer, Ask, JobId, PromptQuestion, Reply, Request, Said, Setup};
use std::collections::BTreeMap;
use std::time::Instant;

/// Characters of a prompt that are logged.
const PROMPT: usize = 200;

/// Writes the log.
pub(super) struct Journal {
    log: fn(&str),
    /// Jobs without an answer, and when they were asked for.
    open: BTreeMap<JobId, Instant>,
}

impl Journal {
    pub(super) fn new(log: fn(&str)) -> Self {
        Journal { log, open: BTreeMap::new() }
    }

    pub(super) fn say(&self, text: &str) {
        (self.log)(text);
    }

    pub(super) fn starts(&self, model: &str, setup: &Setup) {
        let (version, options) = (env!("CARGO_PKG_VERSION"), setup.options);
        self.say(&format!(
            "mechscope {version} starts: model {model}, device {:?}, dtype {:?}, bos {}",
            options.device, options.dtype, setup.bos
        ));
    }

    pub(super) fn asked(&mut self, request: &Request) {
        self.open.insert(request.job, Instant::now());
        self.say(&format!("#{} asks: {}", request.job.0, what(&request.ask)));
    }

    pub(super) fn cancelled(&mut self, job: JobId) {
        self.closed(job, "cancelled");
    }

    pub(super) fn replied(&mut self, reply: &Reply) {
        let end = match &reply.said {
            Said::Progress(_) | Said::Partial(_) => return,
            Said::Done(Answer::Opened(model), _) => {
                let (layers, heads, neurons) = (model.n_layers, model.n_heads, model.d_mlp);
                let shape = format!("{layers} layers of {heads} heads and {neurons} neurons");
                format!("opened {} on {} in {}, {shape},", model.name, model.device, model.dtype)
            }
            Said::Done(_, passes) => format!("done with {passes} forward passes"),
            Said::Failed(error) => format!("failed: {error};"),
        };
        // An answer to what was cancelled is not read any more.
        self.closed(reply.job, &end);
    }

    /// What came back from beside the loop.
    pub(super) fn happened(&self, event: &Event) {
        match event {
            Event::Piped { output: Ok(text), .. } => self.say(&format!("a shell command printed {} bytes", text.len())),
            Event::Piped { output: Err(error), .. } => self.say(&format!("a shell command failed: {error}")),
            Event::Said(said) => self.say(said),
            _ => {}
        }
    }

    /// Closes what is open at the end.
    pub(super) fn ends(&mut self, how: &str) {
        for job in self.open.keys().copied().collect::<Vec<_>>() {
            self.closed(job, "not done at the end");
        }
        self.say(&format!("mechscope ends: {how}"));
    }

    fn closed(&mut self, job: JobId, how: &str) {
        if let Some(begun) = self.open.remove(&job) {
            self.say(&format!("#{} {how} after {} ms", job.0, begun.elapsed().as_millis()));
        }
    }
}

/// A request in a line.
fn what(ask: &Ask) -> String {
    match ask {
        Ask::Open(name) => format!("open {name}"),
        Ask::Next(question) => format!("next token {}, prompt {:?}", of(question), begin(&question.prompt)),
        Ask::Generate { question, count, sampling } => format!("{count} tokens more, {sampling:?}, {}", of(question)),
        Ask::Chat { prompt, .. } => format!("chat template, prompt {:?}", begin(prompt)),
        Ask::Method { name, question, params } => {
            let params: String = params.iter().map(|(name, value)| format!(" {name}={value}")).collect();
            format!("{name}{params} {}", of(question))
        }
        Ask::Pair { question, corrupt } => {
            format!("tokens of prompt {:?} and of {:?}", begin(&question.prompt), begin(corrupt))
        }
        Ask::Patch { question, corrupt, patch } => {
            format!("patch {} by {:?} from {:?} {}", patch.site.name(), patch.approx, begin(corrupt), of(question))
        }
        Ask::Graph(wanted) => match &wanted.file {
            Some(file) => format!("graph of the file {file}"),
            None => {
                let most = wanted.max_nodes.map_or("all".to_owned(), |n| n.to_string());
                let explained = (&wanted.target, &wanted.contrast);
                format!("graph of {most} {}, target and contrast {explained:?}", wanted.basis.name())
            }
        },
        Ask::Edge(_) => "which heads carried an edge".into(),
        Ask::EdgesOf(of) => format!("which edges L{}.H{} carried", of.head.0, of.head.1),
        Ask::Looks { head, .. } => format!("why L{}.H{}@{} looks there", head.layer, head.head, head.position),
        Ask::Branch { path, .. } => format!("what stands below a place {} nodes down", path.len()),
        Ask::Test(tests) => format!("tests of {:?} with {}", tests.what, tests.with),
    }
}

fn of(question: &PromptQuestion) -> String {
    let mut text = format!("at {}", question.position);
    if let Some(target) = &question.target {
        text += &format!(", target {target:?}");
    }
    if let Some(contrast) = &question.contrast {
        text += &format!(", contrast {contrast:?}");
    }
    for edit in &question.edits {
        text += &format!(", edit {edit}");
    }
    text
}

fn begin(prompt: &str) -> &str {
    prompt.char_indices().nth(PROMPT).map_or(prompt, |(at, _)| &prompt[..at])
}
