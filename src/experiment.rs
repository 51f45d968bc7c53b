//! One prompt on one model: what the library is used by.

use crate::address::{Edit, resolve_position};
use crate::analysis::attribution_graph::{GraphSettings, build, logit_targets};
use crate::analysis::input::Input;
use crate::analysis::next_token::{NextToken, changes};
use crate::analysis::param::Values;
use crate::analysis::runs::{RunCache, Runs};
use crate::analysis::target::{Target, last_stream, next_token};
use crate::analysis::{Question, ask, named};
use crate::graph::{Graph, Influence, Thresholds, prune};
use crate::model::Model;
use crate::model::open::Options;
use crate::model::site::Sites;
use crate::model::text::{Bos, Piece};
use crate::model::trace::Trace;
use crate::report::{Report, Table};
use anyhow::{Context, Result, bail, ensure};
use std::rc::Rc;

/// Opens a model: a built-in one (`hello`, `induction`), a folder in Hugging Face layout, a GGUF file, or a name in the Hugging Face cache.
/// Nothing is fetched.
///
/// # Errors
/// There is no such model, or its files are not what they should be; the error names file and field.
pub fn open(name: &str) -> Result<Model> {
    Model::open(name, Options::default(), Box::new(|_, _| {}))
}

/// A prompt on a model, as it is or with edits. Forward passes are kept: a second question about the same prompt repeats none.
pub struct Experiment<'m> {
    model: &'m Model,
    kept: Rc<RunCache>,
    runs: Runs,
    target: Option<Target>,
}

impl<'m> Experiment<'m> {
    /// A prompt without edits, tokenized as the model's own files say.
    ///
    /// # Errors
    /// The model has no tokenizer, or the prompt has no token.
    pub fn new(model: &'m Model, prompt: &str) -> Result<Self> {
        let kept = Rc::new(RunCache::new(usize::MAX));
        let input = Input::of_prompt(model, prompt.to_owned(), Bos::Auto)?;
        Ok(Experiment { model, kept: kept.clone(), runs: Runs::kept_in(kept, input, Vec::new()), target: None })
    }

    /// The same prompt with these edits besides those it has: `L1.H0=0`, `L0.mlp@-1*=0.5`, see [`Edit`].
    ///
    /// # Errors
    /// A text that is no edit.
    pub fn with_edits<'e>(&self, edits: impl IntoIterator<Item = &'e str>) -> Result<Self> {
        let mut all = self.runs.edits().to_vec();
        for text in edits {
            all.push(text.parse::<Edit>().with_context(|| format!("the edit {text:?}"))?);
        }
        let runs = Runs::kept_in(self.kept.clone(), self.runs.input().clone(), all);
        Ok(Experiment { model: self.model, kept: self.kept.clone(), runs, target: self.target })
    }

    /// The same prompt with the logit of `target` as what is explained, less that of `contrast`: tokens by text or id. Else it is the
    /// most probable token.
    ///
    /// # Errors
    /// No such token.
    pub fn explaining(mut self, target: &str, contrast: Option<&str>) -> Result<Self> {
        self.target = Target::parse(self.model, Some(target), contrast)?;
        Ok(self)
    }

    /// The tokens of the prompt.
    pub fn tokens(&self) -> &[Piece] {
        &self.runs.input().tokens
    }

    /// The edits.
    pub fn edits(&self) -> &[Edit] {
        self.runs.edits()
    }

    /// The run with the sites of a list, as TransformerLens names them: `blocks.0.attn.hook_pattern,blocks.*.hook_resid_post`. With edits
    /// it is the edited run. Other sites may be there as well.
    ///
    /// # Errors
    /// A name that no site of the model matches; an edit that changes nothing.
    pub fn run(&mut self, sites: &str) -> Result<&Trace> {
        let decoder = &self.model.decoder;
        let Sites::Only(wanted) = Sites::parse(sites, decoder.arch.n_layers, |site| decoder.has_site(site))? else {
            bail!("the list of sites is empty");
        };
        self.runs.ensure(self.model, wanted, &mut |_, _| Ok(()))?;
        match self.runs.edited() {
            Some(edited) => Ok(edited),
            None => self.runs.clean(),
        }
    }

    /// What comes after the prompt, with the edits.
    ///
    /// # Errors
    /// An edit that changes nothing; a run whose numbers left the range of its dtype.
    pub fn next_token(&mut self) -> Result<NextToken> {
        let last = resolve_position(-1, self.tokens().len())?;
        let model = self.model;
        let next = next_token(model, self.run(&last_stream(model).to_string())?, last)?;
        ensure!(next.is_finite(), "the logits hold NaN or infinity: the run left the range of its dtype");
        Ok(next)
    }

    /// The most probable next tokens without and with the edits, side by side.
    ///
    /// # Errors
    /// There are no edits; as [`Experiment::next_token`].
    pub fn compare(&mut self, top: usize) -> Result<Table> {
        ensure!(!self.edits().is_empty(), "there is nothing to compare with: the prompt has no edits");
        let after = self.next_token()?;
        let last = self.tokens().len() - 1;
        let before = next_token(self.model, self.runs.clean()?, last)?;
        let mut shown = before.top(top);
        shown.extend(after.top(top).into_iter().filter(|id| before.rank(*id) >= top));
        Ok(changes(&before, &after, &shown, |id| self.model.piece(id)))
    }

    /// Asks a method of [`methods`](crate::methods) about the last position, with the edits. Parameters that are not given have their defaults.
    ///
    /// # Errors
    /// No such method or parameter; an edit that changes nothing; what the method itself refuses.
    pub fn report(&mut self, method: &str, params: &[(&str, &str)]) -> Result<Report> {
        let analysis = named(method)?;
        let given: Vec<(String, String)> = params.iter().map(|(n, t)| ((*n).to_owned(), (*t).to_owned())).collect();
        let values = Values::parse(analysis.about().params, &given)?;
        let question = Question { position: -1, target: self.target, values };
        ask(analysis, self.model, &mut self.runs, &question, &mut |_, _| Ok(()))
    }

    /// The attribution graph of the prompt, its nodes neurons, pruned.
    ///
    /// # Errors
    /// There are edits: a graph is of a run without; the graph does not fit into memory.
    pub fn graph(&mut self, settings: GraphSettings, thresholds: Thresholds) -> Result<Graph> {
        ensure!(self.edits().is_empty(), "a graph is made of a run without edits");
        let next = self.next_token()?;
        let targets = logit_targets(self.model, self.target.as_ref(), &next);
        let mut graph = build(self.model, self.tokens(), None, &targets, settings, &mut |_, _| Ok(()))?;
        graph.metadata.prompt = self.runs.input().prompt.clone().unwrap_or_default();
        let influence = Influence::of(&graph)?;
        graph.pruned(&influence, &prune(&graph, &influence, thresholds)?)
    }
}
