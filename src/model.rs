//! The model side: checkpoints, families, the forward pass with its sites, and edits.

pub mod arch;
pub mod cache;
pub mod caught;
pub mod checkpoint;
pub mod config;
mod corpus_mean;
pub mod device;
pub mod dictionary;
pub mod edit;
pub mod families;
pub mod forward;
pub mod gguf;
pub mod hub;
pub mod kernel;
pub mod memory;
pub mod open;
pub mod ops;
pub mod qk;
mod range;
pub mod readout;
mod references;
pub mod rope;
pub mod site;
pub mod source;
pub mod steer;
pub mod text;
pub mod trace;

use crate::address::{Edit, Op};
use crate::prompt_set::Vocabulary;
use anyhow::{Context, Result};
use arch::Decoder;
use dictionary::Dictionary;
use edit::{EditPlan, References, Scope};
use forward::{Logits, Start, Step};
use ops::Route;
use site::{Site, Sites};
use source::Source;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use text::Bos;
use text::{Encoding, Piece, Text};
use trace::Trace;

/// An open model: weights, tokenizer, and where they came from.
pub struct Model {
    /// Where it came from.
    pub source: Source,
    /// The weights.
    pub decoder: Decoder,
    /// The tokenizer; absent when the folder has none, then only token ids can be run.
    pub text: Option<Text>,
    /// Folders in which saved steering directions are looked for, after the current one.
    pub directions: Vec<PathBuf>,
    /// What was decided about fields of its settings that nobody reads, if there are any.
    pub unread: Option<String>,
    /// Tokens that end a text, as the model's settings name them; `generation_config.json` may name others.
    pub ends: Vec<u32>,
    /// The dictionary whose features edits can name.
    dictionary: RwLock<Option<Arc<Dictionary>>>,
    /// Forward passes that began at tokens.
    passes: AtomicU64,
}

impl Vocabulary for Model {
    fn is_token(&self, text: &str) -> bool {
        self.text().is_ok_and(|known| known.token_id(text).is_ok())
    }

    fn length(&self, prompt: &str) -> Option<usize> {
        Some(self.encode(prompt, Bos::Auto).ok()?.ids().len())
    }
}

/// A step callback that does nothing.
fn silent(_: usize, _: usize) -> Result<()> {
    Ok(())
}

impl Model {
    /// A model of these parts.
    pub fn new(source: Source, decoder: Decoder, text: Option<Text>) -> Self {
        let passes = AtomicU64::new(0);
        Model {
            source,
            decoder,
            text,
            directions: Vec::new(),
            unread: None,
            ends: Vec::new(),
            dictionary: RwLock::default(),
            passes,
        }
    }

    /// The dictionary whose features edits can name, if there is one.
    pub fn dictionary(&self) -> Option<Arc<Dictionary>> {
        self.dictionary.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on edits can name this dictionary's features.
    pub fn use_dictionary(&self, dictionary: Arc<Dictionary>) {
        *self.dictionary.write().unwrap_or_else(PoisonError::into_inner) = Some(dictionary);
    }

    /// How many forward passes began at tokens so far; those that go on from a recorded residual stream do not count.
    pub fn passes(&self) -> u64 {
        self.passes.load(Ordering::Relaxed)
    }

    /// [`Decoder::run`], counted.
    ///
    /// # Errors
    /// As [`Decoder::run`].
    pub fn forward(&self, start: Start, sites: &Sites, plan: &EditPlan, logits: Logits, step: Step) -> Result<Trace> {
        self.count(&start);
        self.decoder.run(start, sites, plan, logits, step)
    }

    fn count(&self, start: &Start) {
        if matches!(start, Start::Tokens(_)) {
            self.passes.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// [`Decoder::run_by`], counted.
    fn forward_by(
        &self,
        route: Route,
        start: Start,
        sites: &Sites,
        plan: &EditPlan,
        logits: Logits,
        step: Step,
    ) -> Result<Trace> {
        self.count(&start);
        self.decoder.run_by(route, start, sites, plan, logits, step)
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// The folder has none.
    pub fn text(&self) -> Result<&Text> {
        self.text.as_ref().with_context(|| {
            format!(
                "{} is missing: without a tokenizer only token ids (--ids) can be run",
                self.source.file_name("tokenizer.json")
            )
        })
    }

    /// Tokenizes a prompt.
    ///
    /// # Errors
    /// No tokenizer, or nothing to run: an empty prompt without BOS.
    pub fn encode(&self, prompt: &str, bos: Bos) -> Result<Encoding> {
        self.text()?.encode(prompt, bos)
    }

    /// What a token is shown as; `<123>` without a tokenizer.
    pub fn piece(&self, id: u32) -> String {
        self.text.as_ref().map_or_else(|| format!("<{id}>"), |t| t.piece(id))
    }

    /// Tokens as they are shown.
    pub fn pieces(&self, ids: &[u32]) -> Vec<Piece> {
        ids.iter().map(|&id| Piece { id, text: self.piece(id), span: None }).collect()
    }

    /// Runs one prompt.
    ///
    /// # Errors
    /// As [`Decoder::run`].
    pub fn run(&self, ids: &[u32], sites: &Sites, logits: Logits) -> Result<Trace> {
        self.forward(Start::Tokens(&[ids.to_vec()]), sites, EditPlan::NONE, logits, &mut silent)
    }

    /// Runs one prompt with edits, from the first edited block on when `clean` has recorded what that takes
    /// ([`edit::needs`]). `bos` says how prompts named in edits are encoded.
    ///
    /// # Errors
    /// An edit that touches nothing (see [`EditPlan::new`]), or what `step` returns.
    pub fn run_edited(
        &self,
        clean: &Trace,
        edits: &[Edit],
        bos: Bos,
        sites: &Sites,
        logits: Logits,
        step: Step,
    ) -> Result<Trace> {
        let plan = self.plan(clean, &[edits], bos)?;
        let start = match plan.first_layer() {
            Some(layer) if clean.batched(Site::Block(layer, site::BlockSite::ResidPre)).is_some() => {
                Start::Block { layer, clean }
            }
            _ => Start::Tokens(clean.prompts()),
        };
        self.forward(start, sites, &plan, logits, step)
    }

    /// What edits of a prompt are resolved against.
    pub fn scope(&self, tokens: &[u32]) -> Scope<'_> {
        Scope::of(self, tokens)
    }

    /// A saved direction of `width` numbers, for an edit in `layer`.
    ///
    /// # Errors
    /// As [`steer::direction`].
    pub fn direction(&self, name: &str, layer: Option<usize>, width: usize) -> Result<Vec<f32>> {
        steer::direction(name, &self.directions, layer, self.decoder.arch.n_layers, width)
    }

    /// Refuses edits that change nothing at all: a factor of 1, nothing added, values from the prompt itself.
    ///
    /// # Errors
    /// There is one; the error says why.
    pub fn refuse_idle(&self, tokens: &[u32], edits: &[Edit], bos: Bos) -> Result<()> {
        for edit in edits {
            let same = match &edit.op {
                // A prompt that cannot be encoded is an error where its values are read.
                Op::From(prompt) => self.encode(prompt, bos).is_ok_and(|other| other.ids() == tokens),
                _ => false,
            };
            let why = if same { Some("its values come from the prompt itself") } else { edit.op.idle() };
            if let Some(why) = why {
                anyhow::bail!("{edit} changes nothing: {why}");
            }
        }
        Ok(())
    }

    /// Edits for a batch of copies of the prompt of `clean`: one list for each copy. `bos` says how prompts named in edits are encoded.
    ///
    /// # Errors
    /// As [`EditPlan::new`].
    pub fn plan(&self, clean: &Trace, edits: &[&[Edit]], bos: Bos) -> Result<EditPlan> {
        EditPlan::batch(&self.scope(clean.tokens()), edits, &mut self.references(clean, bos))
    }

    /// Where edits of the prompt of `clean` take values from; what was computed or read once is kept. `bos` says how prompts named in edits
    /// are encoded.
    pub fn references<'a>(&'a self, clean: &'a Trace, bos: Bos) -> impl References + 'a {
        references::ModelReferences::new(self, clean, bos)
    }

    /// Runs `n` copies of the prompt of `clean` under a plan for a batch, from the first edited block on when `clean` has recorded the
    /// stream before it. A copy whose numbers left the range of its dtype is no error: the caller looks.
    ///
    /// # Errors
    /// As [`Decoder::run_by`].
    pub fn run_copies(
        &self,
        clean: &Trace,
        n: usize,
        plan: &EditPlan,
        sites: &Sites,
        logits: Logits,
        step: Step,
    ) -> Result<Trace> {
        let route = self.decoder.route();
        let stream = |layer| Site::Block(layer, site::BlockSite::ResidPre);
        match plan.first_layer().filter(|layer| clean.batched(stream(*layer)).is_some()) {
            Some(layer) => {
                let copies = clean.copies(stream(layer), n)?;
                self.forward_by(route, Start::Block { layer, clean: &copies }, sites, plan, logits, step)
            }
            None => {
                let copies = vec![clean.tokens().to_vec(); n];
                self.forward_by(route, Start::Tokens(&copies), sites, plan, logits, step)
            }
        }
    }

    /// Runs one prompt clean and with edits; returns both runs.
    ///
    /// # Errors
    /// As [`Model::run_edited`].
    pub fn intervene(&self, ids: &[u32], edits: &[Edit], bos: Bos, logits: Logits) -> Result<(Trace, Trace)> {
        let sites = Sites::Only(edit::needs(&self.scope(ids), edits)?);
        let clean = self.run(ids, &sites, logits)?;
        let edited = self.run_edited(&clean, edits, bos, &Sites::None, logits, &mut silent)?;
        Ok((clean, edited))
    }
}
