//! From what is tested to what is changed in the model, and to what that is for the graph.

use super::{Encoded, Verifier};
use crate::address::{Address, Edit, Op};
use crate::cast::{short, single};
use crate::graph::predict::{NodeChange, ValueChange};
use crate::graph::verification::{Intervention, Subject};
use crate::graph::{Node, NodeKind};
use crate::model::dictionary::Dictionary;
use crate::model::edit;
use crate::model::forward::Logits;
use crate::model::site::{BlockSite as S, Site, Sites};
use crate::model::trace::Trace;
use anyhow::{Context, Result, bail, ensure};
use std::collections::HashSet;
use std::ops::Range;
use std::rc::Rc;

/// What a test does.
#[derive(Clone, Debug, Default)]
pub struct TestPlan {
    /// Edits of the model's own units.
    pub edits: Vec<Edit>,
    /// What is added at a site and position besides.
    pub rows: Vec<(Site, usize, Vec<f32>)>,
    /// The changes of nodes, where the graph can follow all of them.
    pub changes: Option<Vec<NodeChange>>,
    /// The changes of values, where all of them have a gradient in the frozen model of neurons.
    pub deltas: Option<Vec<Delta>>,
    /// The first block changed; `None` is the embedding.
    first: Option<usize>,
}

/// A change of a site's value at one position.
#[derive(Clone, Debug)]
pub struct Delta {
    pub site: Site,
    pub position: usize,
    pub cols: Range<usize>,
    pub by: Vec<f32>,
}

impl TestPlan {
    /// The first block that is changed; the embedding comes before block 0.
    pub fn first_layer(&self) -> Option<usize> {
        self.first
    }

    /// Edits of heads and neurons whose changes are known.
    pub(super) fn of_units(edits: Vec<Edit>, deltas: Vec<Delta>, first: Option<usize>) -> TestPlan {
        TestPlan { edits, deltas: Some(deltas), first, ..TestPlan::default() }
    }

    /// Whether all that changes is of one site at one position, so that no part of it comes before another.
    pub fn at_one_place(&self) -> bool {
        let places = self.deltas.iter().flatten().map(|d| (d.site, d.position));
        places.collect::<HashSet<_>>().len() < 2
    }

    fn join(mut self, other: TestPlan) -> TestPlan {
        self.edits.extend(other.edits);
        self.rows.extend(other.rows);
        self.deltas = both(self.deltas, other.deltas);
        self.changes = both(self.changes, other.changes);
        // `None` is below every block.
        self.first = self.first.min(other.first);
        self
    }
}

/// All of two lists, where both are known.
fn both<T>(a: Option<Vec<T>>, b: Option<Vec<T>>) -> Option<Vec<T>> {
    let (mut a, b) = a.zip(b)?;
    a.extend(b);
    Some(a)
}

impl Intervention {
    /// The operation that does this to a unit of the model.
    pub(super) fn op(&self) -> Op {
        match self {
            Intervention::Zero => Op::Set(0.0),
            Intervention::Mean => Op::Mean,
            Intervention::Resample(prompt) => Op::From(prompt.clone()),
            Intervention::Scale(factor) => Op::Scale(*factor),
        }
    }

    /// The factor on what is there; `None` when the new value comes from elsewhere.
    pub(super) fn factor(&self) -> Option<f32> {
        match self {
            Intervention::Zero => Some(0.0),
            Intervention::Scale(factor) => Some(*factor),
            Intervention::Mean | Intervention::Resample(_) => None,
        }
    }
}

impl Verifier<'_> {
    /// What a test of `subject` does.
    ///
    /// # Errors
    /// A subject that does not exist, or that cannot be changed this way; the error says why.
    pub(super) fn acts(&self, subject: &Subject, with: &Intervention) -> Result<TestPlan> {
        ensure!(with.factor().is_none_or(f32::is_finite), "{with}: accepted: a finite factor");
        match subject {
            Subject::Node(id) => self.node_acts(self.find(id)?, with),
            Subject::Unit(address) => self.unit_acts(address, with).with_context(|| address.clone()),
            Subject::Group { label, members } => {
                // A member that is named twice is changed once.
                let mut seen = HashSet::new();
                let mut all =
                    members.iter().filter(|id| seen.insert(*id)).map(|id| self.node_acts(self.find(id)?, with));
                let first = all.next().with_context(|| format!("group {label:?} has no members"))??;
                all.try_fold(first, |joined, one| Ok(joined.join(one?)))
            }
        }
    }

    fn find(&self, id: &str) -> Result<u32> {
        let place = self.on.graph.nodes.iter().position(|n| &*n.id == id);
        Ok(short(place.with_context(|| format!("the graph has no node {id:?}"))?))
    }

    pub(super) fn node_acts(&self, at: u32, with: &Intervention) -> Result<TestPlan> {
        let node = self.on.node(at);
        let acts = match &node.kind {
            NodeKind::Neuron => self.neuron_acts(at, node, with),
            NodeKind::Head | NodeKind::Mlp | NodeKind::Rest | NodeKind::Sink => self.part_acts(node, with),
            NodeKind::Feature => self.feature_acts(at, node, with),
            NodeKind::Embedding { .. } => {
                let address = node.address().context("the embedding has no position")?;
                let mut acts = self.unit_acts(&address.to_string(), with)?;
                acts.changes = with.factor().map(|f| vec![NodeChange { node: at, how: ValueChange::Set(f.into()) }]);
                // The frozen model of neurons is not that of a graph of features.
                if self.on.dictionary.is_some() {
                    acts.deltas = None;
                }
                Ok(acts)
            }
            NodeKind::PositionalEmbedding => self.added(at, with, || {
                let position = node.position.unwrap_or(0) as usize;
                Ok((Site::PosEmbed, position, self.on.trace.row(Site::PosEmbed, position)?))
            }),
            NodeKind::Error => self.added(at, with, || match self.on.dictionary {
                Some(dictionary) => {
                    let (layer, position, _) = self.on.place(node)?;
                    Ok((Site::Block(layer, S::MlpOut), position, self.on.error(dictionary, layer, position)?))
                }
                None => bail!("it is what the neurons shown leave of an MLP output, no unit that could be changed"),
            }),
            NodeKind::Logit { .. } => bail!(
                "{}: the target is the answer itself and cannot be changed; accepted: units and inputs",
                node.name()
            ),
            NodeKind::Bias | NodeKind::Other(_) => {
                bail!("{}: {} nodes cannot be changed; accepted: units and inputs", node.name(), node.kind.name())
            }
        };
        acts.with_context(|| node.name())
    }

    fn neuron_acts(&self, at: u32, node: &Node, with: &Intervention) -> Result<TestPlan> {
        let (layer, position, neuron) = self.on.place(node)?;
        let site = Site::Block(layer, S::MlpPost);
        let old = self.on.trace.row(site, position)?[neuron];
        let new = match with.factor() {
            Some(factor) => factor * old,
            None => self.elsewhere(with, site, position, neuron..neuron + 1)?[0],
        };
        let (op, how) = match with {
            Intervention::Scale(factor) => (Op::Scale(*factor), Some(ValueChange::Scale((*factor).into()))),
            _ => (Op::Set(new), relative(old, new).map(|r| ValueChange::Set(1.0 + r))),
        };
        let address = node.address().context("the neuron has no address")?;
        Ok(TestPlan {
            edits: vec![Edit { target: address.into(), op }],
            changes: how.map(|how| vec![NodeChange { node: at, how }]),
            deltas: Some(vec![Delta { site, position, cols: neuron..neuron + 1, by: vec![new - old] }]),
            first: Some(layer),
            ..TestPlan::default()
        })
    }

    /// The change of its activation times its decoder, in every layer that it writes to.
    fn feature_acts(&self, at: u32, node: &Node, with: &Intervention) -> Result<TestPlan> {
        let (layer, position, feature) = self.on.place(node)?;
        let dictionary = self.on.dictionary.context("a dictionary is needed")?;
        let old = node.activation.context("the graph does not say its activation")?;
        let new = match with {
            Intervention::Zero => 0.0,
            Intervention::Scale(factor) => factor * old,
            Intervention::Mean => {
                let all = self.encoded(dictionary, None, layer)?;
                let sum: f64 = all.iter().filter(|a| a.feature == feature).map(|a| f64::from(a.activation)).sum();
                single(sum / self.on.trace.n_pos() as f64)
            }
            Intervention::Resample(prompt) => {
                let n = self.other(prompt)?.n_pos();
                ensure!(position < n, shorter(prompt, n, position));
                let all = self.encoded(dictionary, Some(prompt), layer)?;
                let there = all.iter().find(|a| a.feature == feature && a.position == position);
                there.map_or(0.0, |a| a.activation)
            }
        };
        let by = new - old;
        let rows = dictionary.decoder_rows(layer, feature)?.into_iter().enumerate();
        let row = |(above, row): (usize, Vec<f32>)| {
            let site = self.on.write_site(dictionary, layer + above);
            (site, position, row.into_iter().map(|x| by * x).collect())
        };
        Ok(TestPlan {
            rows: rows.map(row).collect(),
            changes: relative(old, new).map(|r| vec![NodeChange { node: at, how: ValueChange::Add(r) }]),
            deltas: None,
            first: Some(layer),
            ..TestPlan::default()
        })
    }

    /// The active features of a layer in another prompt, or in the graph's own.
    fn encoded(&self, dictionary: &Dictionary, prompt: Option<&str>, layer: usize) -> Result<Encoded> {
        let key = (prompt.map(str::to_owned), layer);
        if let Some(found) = self.memory.encoded.borrow().get(&key) {
            return Ok(found.clone());
        }
        let parallel = self.on.model.decoder.arch.parallel;
        let x = match prompt {
            Some(prompt) => dictionary.input(layer, parallel, &*self.other(prompt)?)?,
            None => dictionary.input(layer, parallel, &self.on.trace)?,
        };
        let found = Rc::new(dictionary.encode(layer, &x)?);
        self.memory.encoded.borrow_mut().insert(key, found.clone());
        Ok(found)
    }

    /// A vector that is taken out or scaled where it is written.
    fn added(
        &self,
        at: u32,
        with: &Intervention,
        vector: impl Fn() -> Result<(Site, usize, Vec<f32>)>,
    ) -> Result<TestPlan> {
        let Some(factor) = with.factor() else {
            bail!("{with} means nothing for it; accepted: zero, scale");
        };
        let (site, position, row) = vector()?;
        let row: Vec<f32> = row.into_iter().map(|x| (factor - 1.0) * x).collect();
        let delta = || Delta { site, position, cols: 0..row.len(), by: row.clone() };
        // Of these only positions have a gradient in the frozen model of neurons: they share that of the embeddings.
        let known = site == Site::PosEmbed && self.on.dictionary.is_none();
        Ok(TestPlan {
            deltas: known.then(|| vec![delta()]),
            rows: vec![(site, position, row)],
            changes: Some(vec![NodeChange { node: at, how: ValueChange::Add(f64::from(factor) - 1.0) }]),
            first: site.layer(),
            ..TestPlan::default()
        })
    }

    /// A unit of the model by its address, whether the graph has it or not.
    fn unit_acts(&self, text: &str, with: &Intervention) -> Result<TestPlan> {
        let address: Address = text.parse()?;
        let n_pos = self.on.trace.n_pos();
        address.check(&edit::Scope::new(&self.on.model.decoder, n_pos).extent())?;
        let (site, cols) = edit::place(&self.on.model.decoder, &address)?;
        let positions = match address.position {
            Some(p) => {
                let p = crate::address::resolve_position(p, n_pos)?;
                p..p + 1
            }
            None => 0..n_pos,
        };
        // The other sites have no gradient, and their values are not needed.
        let known = matches!(site, Site::Embed | Site::Block(_, S::Z | S::MlpPost));
        let mut deltas = known.then(Vec::new);
        if let Some(deltas) = &mut deltas {
            for position in positions {
                let old = &self.on.trace.row(site, position)?[cols.clone()];
                let new = match with.factor() {
                    Some(factor) => old.iter().map(|x| factor * x).collect(),
                    None => self.elsewhere(with, site, position, cols.clone())?,
                };
                let by = new.iter().zip(old).map(|(new, old)| new - old).collect();
                deltas.push(Delta { site, position, cols: cols.clone(), by });
            }
        }
        let edits = vec![Edit { target: address.into(), op: with.op() }];
        Ok(TestPlan { edits, deltas, first: site.layer(), ..TestPlan::default() })
    }

    /// The value that a mean or another prompt gives.
    pub(super) fn elsewhere(
        &self,
        with: &Intervention,
        site: Site,
        position: usize,
        cols: Range<usize>,
    ) -> Result<Vec<f32>> {
        let Intervention::Resample(prompt) = with else {
            let n_pos = self.on.trace.n_pos();
            let mut sums = vec![0f64; cols.len()];
            for p in 0..n_pos {
                let row = self.on.trace.row(site, p)?;
                sums.iter_mut().zip(&row[cols.clone()]).for_each(|(s, x)| *s += f64::from(*x));
            }
            return Ok(sums.into_iter().map(|s| single(s / n_pos as f64)).collect());
        };
        let other = self.other(prompt)?;
        ensure!(position < other.n_pos(), shorter(prompt, other.n_pos(), position));
        Ok(other.row(site, position)?[cols].to_vec())
    }

    /// The run of another prompt.
    fn other(&self, prompt: &str) -> Result<Rc<Trace>> {
        if let Some(run) = self.memory.others.borrow().get(prompt) {
            return Ok(run.clone());
        }
        let decoder = &self.on.model.decoder;
        let ids = self.on.model.encode(prompt, self.on.bos).with_context(|| format!("the prompt {prompt:?}"))?.ids();
        let layers = 0..decoder.arch.n_layers;
        let own = layers.clone().flat_map(|l| [S::Z, S::MlpPost].map(|s| Site::Block(l, s)));
        let read =
            layers.flat_map(|l| self.on.dictionary.map_or_else(Vec::new, |d| d.read_sites(l, decoder.arch.parallel)));
        let sites = Sites::only(own.chain(read).chain([Site::Embed]));
        let run = Rc::new(self.on.model.run(&ids, &sites, Logits::Last)?);
        self.memory.others.borrow_mut().insert(prompt.to_owned(), run.clone());
        Ok(run)
    }
}

fn shorter(prompt: &str, n: usize, position: usize) -> String {
    format!("the prompt {prompt:?} has {n} tokens, none at position {position}")
}

/// `new / old - 1`; `None` when something comes from nothing: a unit that is off has no edges to follow.
fn relative(old: f32, new: f32) -> Option<f64> {
    if old == new {
        return Some(0.0);
    }
    (old != 0.0).then(|| f64::from(new) / f64::from(old) - 1.0)
}
