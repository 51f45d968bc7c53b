//! A worker: runs the model over the blocks of a shard and writes what is kept of it as a part.

use super::blocks;
use super::context::{CorpusContext, batches, cut};
use super::identity;
use super::layer::Batch;
use super::part::{self, PartHeader};
use super::plan::{Plan, blocks_of};
use super::state::{SITES, State};
use crate::files;
use crate::model::Model;
use crate::model::ops::{host, numbers};
use crate::model::site::{BlockSite as S, Site, Sites};
use crate::model::trace::Trace;
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeSet;
use std::path::Path;

/// Told after every batch: bytes of the shard that are done, and tokens of it.
pub type ShardProgress<'a> = &'a mut dyn FnMut(u64, u64) -> Result<()>;

/// A model that is ready to work on a plan.
pub struct Worker<'a> {
    plan: &'a Plan,
    model: &'a Model,
    sites: Vec<(Site, usize)>,
    recorded: Sites,
    gated: bool,
}

impl<'a> Worker<'a> {
    /// # Errors
    /// The model is not the one that was planned for.
    pub fn new(plan: &'a Plan, model: &'a Model) -> Result<Self> {
        let found = identity::of_model(&model.source)?;
        ensure!(
            found == plan.model_id,
            "{} is not the model that the sweep was planned for: its files have changed since",
            model.source
        );
        let (decoder, arch) = (&model.decoder, &model.decoder.arch);
        let gated = decoder.blocks.iter().any(|block| block.mlp.gate.is_some());
        let width = |site| if site == S::Z { arch.n_heads * arch.d_head } else { arch.d_model };
        let last = |l: usize, site| site != S::ResidPost || l + 1 == arch.n_layers;
        let each = (0..arch.n_layers).flat_map(|l| SITES.map(|site| (l, site)));
        let sites = each.filter(|(l, site)| last(*l, *site) && decoder.has_site(Site::Block(*l, *site)));
        let sites: Vec<(Site, usize)> = sites.map(|(l, site)| (Site::Block(l, site), width(site))).collect();
        let of_neurons = if gated { &[S::MlpPre, S::MlpPreLinear, S::MlpPost][..] } else { &[S::MlpPost] };
        let neurons = (0..arch.n_layers).flat_map(|l| of_neurons.iter().map(move |site| Site::Block(l, *site)));
        let recorded: BTreeSet<Site> = neurons.chain(sites.iter().map(|(site, _)| *site)).collect();
        Ok(Worker { plan, model, sites, recorded: Sites::Only(recorded), gated })
    }

    fn empty(&self, shard: usize) -> State {
        let (arch, plan) = (&self.model.decoder.arch, self.plan);
        let header = PartHeader {
            format: plan.format.clone(),
            spec_hash: plan.spec_hash.clone(),
            spec: plan.spec.clone(),
            model_id: plan.model_id.clone(),
            files: plan.files.clone(),
            covered: plan.shards[shard].clone(),
            n_docs: 0,
            n_contexts: 0,
            n_tokens: 0,
            n_layers: arch.n_layers,
            d_mlp: arch.d_mlp,
            n_cases: if self.gated { 4 } else { 2 },
            created_by: part::header::created_by(),
        };
        let text = self.model.text.as_ref();
        let vocabulary = text.map_or_else(Vec::new, |text| (0..).take(text.n_ids()).map(|id| text.piece(id)).collect());
        State::new(header, &self.sites, vocabulary)
    }

    /// Runs the model over a shard; all that is kept of it.
    ///
    /// # Errors
    /// The corpus has changed or is not what the spec says, the run fails, or what `progress` returns.
    pub fn compute(&self, shard: usize, progress: ShardProgress) -> Result<State> {
        let mut state = self.empty(shard);
        let (spec, arch) = (&self.plan.spec, &self.model.decoder.arch);
        let (mut bytes, mut tokens) = (0, 0);
        for segment in &self.plan.shards[shard] {
            let about = &self.plan.files[segment.file];
            let path = Path::new(&about.path);
            let found = identity::of_file(path)?;
            ensure!(found == about.id, "{} is not as it was when the sweep was planned", path.display());
            for block in blocks_of(*segment, spec.block) {
                let raw = blocks::read(path, (block.from, block.to), spec)?;
                let document = |raw: &blocks::Raw| {
                    let place = || format!("{}, the document at byte {}", path.display(), raw.offset);
                    raw.tokenize(segment.file, self.model.text.as_ref(), arch.d_vocab, spec).with_context(place)
                };
                let documents = raw.iter().map(document).collect::<Result<Vec<_>>>()?;
                state.header.n_docs += documents.iter().filter(|d| !d.body.is_empty()).count() as u64;
                for batch in batches(cut(&documents, spec), spec.batch) {
                    self.observe(&batch, &mut state)?;
                    tokens += batch.iter().map(|context| context.ids.len() as u64).sum::<u64>();
                    progress(bytes, tokens)?;
                }
                bytes += block.to - block.from;
                progress(bytes, tokens)?;
            }
        }
        state.prune();
        Ok(state)
    }

    fn observe(&self, contexts: &[CorpusContext], state: &mut State) -> Result<()> {
        let kept = state.kept();
        let batch = Batch::new(contexts, kept.seed);
        self.model.decoder.stream(&batch.prompts(), &self.recorded, &mut |l, trace| {
            with(trace, Site::Block(l, S::MlpPost), |post| {
                let layer = &mut state.layers[l];
                if !self.gated {
                    layer.observe(post, None, &batch, &kept);
                    return Ok(());
                }
                with(trace, Site::Block(l, S::MlpPre), |gate| {
                    with(trace, Site::Block(l, S::MlpPreLinear), |branch| {
                        layer.observe(post, Some((gate, branch)), &batch, &kept);
                        Ok(())
                    })
                })
            })?;
            for (site, _) in self.sites.iter().filter(|(site, _)| site.layer() == Some(l)) {
                if let Some(sums) = state.sites.get_mut(site) {
                    with(trace, *site, |values| {
                        sums.observe(values, &batch);
                        Ok(())
                    })?;
                }
            }
            Ok(())
        })?;
        for context in contexts {
            state.header.n_contexts += 1;
            state.header.n_tokens += context.counted() as u64;
            state.contexts.insert((context.doc, context.start), context.ids.clone());
        }
        Ok(())
    }

    /// Runs a shard and writes its part, unless a part of it is there.
    ///
    /// # Errors
    /// As [`Worker::compute`], or the part cannot be written.
    pub fn run(&self, folder: &Path, shard: usize, progress: ShardProgress) -> Result<()> {
        if is_done(self.plan, folder, shard) {
            return Ok(());
        }
        let state = self.compute(shard, progress)?;
        files::replace(&self.plan.part(folder, shard), |to| part::write(&state, to))
    }
}

/// The numbers of a recorded site, row-major.
fn with(trace: &Trace, site: Site, f: impl FnOnce(&[f32]) -> Result<()>) -> Result<()> {
    let value = host(trace.batched(site).with_context(|| format!("{site} was not recorded"))?)?;
    f(numbers(&value)?.get())
}

/// Whether the part of a shard is there and whole. What is there under its name and is something else is written over.
pub fn is_done(plan: &Plan, folder: &Path, shard: usize) -> bool {
    part::open(&plan.part(folder, shard)).is_ok_and(|(_, header)| {
        header.spec_hash == plan.spec_hash && header.covered == part::header::joined(plan.shards[shard].clone())
    })
}
