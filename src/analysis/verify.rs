//! Testing a graph by intervention: its nodes, groups and other units are changed, the model is run, and the change of the target and of
//! nodes downstream stands beside the one that the graph predicts.
//!
//! | node | zero | mean | resample | scale |
//! |---|---|---|---|---|
//! | neuron | its activation becomes 0 | mean over positions | that of another prompt at the position | times a factor |
//! | feature | what it writes is taken out | the same with its mean | with its activation there | times a factor |
//! | embedding | the vector becomes 0 | mean vector over positions | the vector there | times a factor |
//! | positional embedding, error of a dictionary | taken out | - | - | times a factor |
//! | head | what it writes becomes 0 | mean over positions | what it writes there | times a factor |
//! | MLP, its rest | its neurons, or those that are no nodes, become 0 | their means | their activations there | times a factor |
//! | remainder of neurons, bias, target | - | - | - | - |
//!
//! The output bias of an MLP is the graph's own column and stays when the MLP is set to zero: `L2.N*@8=0` is the same intervention, and
//! `L2.mlp@8=0` takes the bias along.
//!
//! A feature writes the difference between new and clean activation times its decoder on top of the MLP's output (circuit-tracer's
//! interventions), so in a group the members come on top of what upstream members do to them; a neuron is set, or multiplied as upstream
//! members left it. Everything downstream is recomputed; a second run holds the attention patterns and a third one the norm scales too, which
//! tells apart why measured and predicted effects differ ([`crate::graph::verification`]). Tests run in batches of copies, each from the first
//! block that it changes.

mod keep_only;
mod parts;
mod test_plan;

use super::graph_run::GraphRun;
use super::{About, Evidence, MethodCommand, MethodDirection};
use crate::cast::{short, single};
use crate::graph::predict::Predictor;
use crate::graph::verification::{Intervention, NodeEffect, Subject, Verification};
use crate::graph::{Graph, Influence, NodeKind};
use crate::model::Model;
use crate::model::dictionary::{Active, Dictionary};
use crate::model::edit::{EditPlan, Passes};
use crate::model::forward::{Logits, Step};
use crate::model::site::{BlockSite as S, Site, Sites};
use crate::model::trace::Trace;
use crate::replacement::backward::Gradients;
use crate::replacement::transpose::norm_back;
use anyhow::{Context, Result, ensure};
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use test_plan::TestPlan;

pub use keep_only::KEEP_ONLY;

/// The entry of `mechscope verify`.
pub static VERIFY: MethodCommand = MethodCommand {
    about: About {
        name: "verify",
        title: "test of a graph by intervention",
        question: "Does a unit do what the graph says it does?",
        direction: MethodDirection::BottomUp,
        unit: "neuron or transcoder feature, embedding, head, group",
        evidence: Evidence::Intervention,
        assumes: "zero, mean, another prompt's value or a factor stands for the unit doing something else; runs that hold attention patterns and norm \
                  scales tell apart why measured and predicted effects differ; effects are of the logit less the mean of all logits, as in the graph, and \
                  predicted by the edges that the file has: a pruned graph predicts less",
        cost: "1 forward pass, and 3 for every test from the first layer that it changes",
        reference: "Ameisen et al. 2025, Circuit Tracing (validation by perturbation)",
        params: &[],
    },
    run: "mechscope verify FILE",
};

/// A test to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// What is changed.
    pub subject: Subject,
    /// How.
    pub with: Intervention,
    /// Nodes whose change is measured besides that of the target: neurons, features, other targets.
    pub watch: Vec<u32>,
}

/// The active features of one layer.
type Encoded = Rc<Vec<Active>>;

/// A graph ready to be tested.
pub struct Verifier<'a> {
    on: GraphRun<'a>,
    predictor: Predictor<'a>,
    target: u32,
    memory: Rc<TestMemory>,
}

/// What tests of one graph have found out and later ones take up.
#[derive(Default)]
pub struct TestMemory {
    /// Runs of other prompts.
    others: RefCell<HashMap<String, Rc<Trace>>>,
    /// Active features by prompt (the graph's own is `None`) and layer.
    encoded: RefCell<HashMap<(Option<String>, usize), Encoded>>,
    /// Of every target that was tested.
    gradients: RefCell<HashMap<u32, Rc<Gradients>>>,
}

impl TestMemory {
    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        let others: usize = self.others.borrow().values().map(|run| run.bytes()).sum();
        let encoded: usize = self.encoded.borrow().values().map(|all| all.len() * size_of::<Active>()).sum();
        let of = |g: &Rc<Gradients>| {
            let all = g.neurons.iter().chain(&g.heads).chain([&g.embed]);
            all.map(|t| t.elem_count() * size_of::<f32>()).sum::<usize>()
        };
        others + encoded + self.gradients.borrow().values().map(of).sum::<usize>()
    }
}

/// The node whose change tests measure: this one, or the most probable target.
fn target_of(graph: &Graph, named: Option<u32>) -> Result<u32> {
    let probability = |t: &usize| match graph.nodes[*t].kind {
        NodeKind::Logit { probability, .. } => probability,
        _ => 0.0,
    };
    // Of equals the first.
    let likeliest = || graph.targets().reduce(|a, b| if probability(&b) > probability(&a) { b } else { a });
    let target = named.map(|t| t as usize).or_else(likeliest).context("the graph has no target")?;
    ensure!(graph.nodes.get(target).is_some_and(|n| n.kind.is_logit()), "node {target} is no target of the graph");
    Ok(short(target))
}

impl<'a> Verifier<'a> {
    /// Runs the graph's prompt. `target` is the node whose change every test measures; if `None`, the graph's most probable target.
    ///
    /// # Errors
    /// As [`GraphRun::new`]; a graph without targets, or with a cycle; a node that is no target.
    pub fn new(
        model: &'a Model,
        dictionary: Option<&'a Dictionary>,
        graph: &'a Graph,
        target: Option<u32>,
    ) -> Result<Self> {
        let target = target_of(graph, target)?;
        Self::on(GraphRun::new(model, dictionary, graph)?, Some(target), Rc::default())
    }

    /// [`Verifier::new`] of a graph whose prompt has run, with what earlier tests of it have found out.
    ///
    /// # Errors
    /// As [`Verifier::new`], but nothing is run.
    pub fn on(on: GraphRun<'a>, target: Option<u32>, memory: Rc<TestMemory>) -> Result<Self> {
        let graph = on.graph;
        let target = target_of(graph, target)?;
        on.weights(&graph.nodes[target as usize])?;
        on.gate()?;
        let predictor = Predictor::new(graph)?;
        Ok(Verifier { on, predictor, target, memory })
    }

    /// The graph with its run.
    pub fn graph_run(&self) -> &GraphRun<'a> {
        &self.on
    }

    /// The node whose change every test measures.
    pub fn target(&self) -> u32 {
        self.target
    }

    /// Tests of the `n` neurons and features with the most influence, each with the `watch` nodes that it feeds most.
    ///
    /// # Errors
    /// A graph whose influence cannot be computed.
    pub fn top(&self, n: usize, with: &Intervention, watch: usize) -> Result<Vec<Test>> {
        let graph = self.on.graph;
        if graph.is_circuit() {
            return Ok(self.top_parts(n, with));
        }
        let influence = Influence::of(graph)?;
        let fed = graph.edges.transposed();
        let unit = |u: &&u32| graph.nodes[**u as usize].is_unit();
        let test = |&node: &u32| {
            let mut targets: Vec<(u32, f32)> =
                fed.row(node as usize).iter().filter(|(t, _)| *t != self.target).collect();
            targets.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()).then(a.0.cmp(&b.0)));
            let watch = targets.into_iter().take(watch).map(|(t, _)| t).collect();
            Test { subject: self.node(node), with: with.clone(), watch }
        };
        Ok(influence.ranked().iter().filter(unit).take(n).map(test).collect())
    }

    /// Of a graph with attention inside: the units that count for most, by the total that knows of patterns, norms and gates.
    fn top_parts(&self, n: usize, with: &Intervention) -> Vec<Test> {
        let nodes = self.on.graph.nodes.iter().enumerate();
        let counts = |node: &crate::graph::Node| node.totals.map_or(0.0, |t| t.counts.unwrap_or(t.writes).abs());
        let mut units: Vec<(f32, u32)> = nodes
            .filter(|(_, node)| node.is_unit() || node.kind.is_part())
            .map(|(at, node)| (counts(node), short(at)))
            .collect();
        units.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let test = |(_, node): (f32, u32)| Test { subject: self.node(node), with: with.clone(), watch: Vec::new() };
        units.into_iter().take(n).map(test).collect()
    }

    /// Tests of every attention head at all positions: heads are no nodes, what they do by where they look is in no edge.
    pub fn heads(&self, with: &Intervention) -> Vec<Test> {
        let arch = &self.on.model.decoder.arch;
        let all = (0..arch.n_layers).flat_map(|l| (0..arch.n_heads).map(move |h| format!("L{l}.H{h}")));
        all.map(|unit| Test { subject: Subject::Unit(unit), with: with.clone(), watch: Vec::new() }).collect()
    }

    /// The test of an edge: its source is changed, its target watched.
    pub fn edge(&self, source: u32, target: u32, with: Intervention) -> Test {
        Test { subject: self.node(source), with, watch: vec![target] }
    }

    /// A node as a subject.
    pub fn node(&self, node: u32) -> Subject {
        Subject::Node(self.on.node(node).id.to_string())
    }

    /// Several nodes as a subject.
    pub fn group(&self, label: &str, members: &[u32]) -> Subject {
        let members = members.iter().map(|m| self.on.node(*m).id.to_string()).collect();
        Subject::Group { label: label.to_owned(), members }
    }

    /// Whether `subject` can be changed this way.
    ///
    /// # Errors
    /// It cannot; the error says why.
    pub fn check(&self, subject: &Subject, with: &Intervention) -> Result<()> {
        self.acts(subject, with).map(drop)
    }

    /// Makes the tests; results in their order.
    ///
    /// # Errors
    /// A subject that cannot be changed that way (the error says why), or what `step` returns: it is called with the work done and in all.
    pub fn run(&self, tests: &[Test], step: Step) -> Result<Vec<Verification>> {
        let mut found: Vec<Option<Verification>> = vec![None; tests.len()];
        self.run_each(tests, step, &mut |i, v| found[i] = Some(v))?;
        Ok(found.into_iter().flatten().collect())
    }

    /// As [`Verifier::run`], but every result is handed over as it is known, with the number of its test.
    ///
    /// # Errors
    /// As [`Verifier::run`].
    pub fn run_each(&self, tests: &[Test], step: Step, found: &mut dyn FnMut(usize, Verification)) -> Result<()> {
        let mut planned = Vec::with_capacity(tests.len());
        for (i, test) in tests.iter().enumerate() {
            planned.push((i, self.acts(&test.subject, &test.with)?));
        }
        // Those that begin in the same block share their batch: it starts with the lowest.
        planned.sort_by_key(|(i, acts)| (acts.first_layer(), *i));
        let mut done = 0;
        for batch in planned.chunks(self.batch_size()) {
            let of: Vec<&Test> = batch.iter().map(|(i, _)| &tests[*i]).collect();
            let watch: BTreeSet<u32> =
                of.iter().flat_map(|t| &t.watch).copied().filter(|w| *w != self.target).collect();
            let nodes: Vec<u32> = std::iter::once(self.target).chain(watch).collect();
            let acts: Vec<&TestPlan> = batch.iter().map(|(_, acts)| acts).collect();
            let mut tell = |run: usize, _: usize| step(3 * done + run * batch.len(), 3 * tests.len());
            let [measured, held, norms_held] = self.measure(&acts, &nodes, &mut tell)?;
            let before = self.on.values(&self.on.trace, 1, &nodes)?.remove(0);
            for (b, (i, acts)) in batch.iter().enumerate() {
                let test = &tests[*i];
                let still = &mut |_: usize, _: usize| step(3 * (done + batch.len()), 3 * tests.len());
                let predicted = self.predict(acts, &nodes, still)?;
                let wanted = |node: u32| node == self.target || test.watch.contains(&node);
                let effects = nodes.iter().enumerate().filter(|(_, node)| wanted(**node)).map(|(n, node)| NodeEffect {
                    node: self.on.node(*node).id.to_string(),
                    before: single(before[n]),
                    predicted: predicted[n].filter(|p| p.is_finite()),
                    measured: change(measured[b][n], before[n]),
                    held: change(held[b][n], before[n]),
                    norms_held: change(norms_held[b][n], before[n]),
                });
                let effects = effects.collect();
                found(*i, Verification { subject: test.subject.clone(), with: test.with.clone(), effects });
            }
            done += batch.len();
        }
        step(3 * tests.len(), 3 * tests.len())
    }

    fn batch_size(&self) -> usize {
        super::copy_logits::at_once(self.on.model, self.on.trace.n_pos())
    }

    /// The values of `nodes` under each of these changes: everything recomputed, with attention patterns held, with norm scales held as well.
    /// `step` is called with the number of the run, 0 to 2, of 3.
    fn measure(&self, acts: &[&TestPlan], nodes: &[u32], step: Step) -> Result<[Vec<Vec<f64>>; 3]> {
        let (decoder, mut plan) = (&self.on.model.decoder, self.plan(acts)?);
        let free = self.values(acts.len(), &plan, nodes, &mut |_, _| step(0, 3))?;
        plan.hold_patterns(&self.on.trace, decoder.arch.n_layers)?;
        let held = self.values(acts.len(), &plan, nodes, &mut |_, _| step(1, 3))?;
        plan.hold_norms(&self.on.trace, decoder)?;
        let norms_held = self.values(acts.len(), &plan, nodes, &mut |_, _| step(2, 3))?;
        Ok([free, held, norms_held])
    }

    /// Changes as one plan, one copy of the prompt for each.
    fn plan(&self, acts: &[&TestPlan]) -> Result<EditPlan> {
        let edits: Vec<&[crate::address::Edit]> = acts.iter().map(|a| a.edits.as_slice()).collect();
        let mut plan = self.on.model.plan(&self.on.trace, &edits, self.on.bos)?;
        for (b, acts) in acts.iter().enumerate() {
            for (site, position, row) in &acts.rows {
                plan.add_row(b, *site, *position, row.clone());
            }
        }
        Ok(plan)
    }

    fn values(&self, n: usize, plan: &EditPlan, nodes: &[u32], step: Step) -> Result<Vec<Vec<f64>>> {
        let mut sites: BTreeSet<Site> = [self.on.logits()].into();
        for node in nodes {
            sites.extend(self.on.sites_of(self.on.node(*node))?);
        }
        let run = self.on.model.run_copies(&self.on.trace, n, plan, &Sites::Only(sites), Logits::Last, step)?;
        self.on.values(&run, n, nodes)
    }

    /// What is predicted of `nodes`: by the graph's paths where the graph knows the change, else, for the target, by the frozen model.
    fn predict(&self, acts: &TestPlan, nodes: &[u32], step: Step) -> Result<Vec<Option<f32>>> {
        // Rows of heads and MLPs are towards the target: their edges say nothing of what reaches other nodes.
        let by_edges = acts.changes.as_ref().filter(|_| !self.on.graph.is_circuit());
        if let Some(changes) = by_edges {
            let values = self.predictor.changes(changes)?;
            return Ok(nodes.iter().map(|n| Some(single(values[*n as usize]))).collect());
        }
        let mut predicted = vec![None; nodes.len()];
        if let Some(at) = nodes.iter().position(|n| *n == self.target) {
            predicted[at] = self.frozen_effect(acts, step)?;
        }
        Ok(predicted)
    }

    /// The gradients of the target in the frozen model of neurons, of the clean run.
    fn gradients(&self, step: Step) -> Result<Rc<Gradients>> {
        if let Some(gradients) = self.memory.gradients.borrow().get(&self.target) {
            return Ok(gradients.clone());
        }
        let found = Rc::new(self.gradients_with(Passes::default(), step)?);
        self.memory.gradients.borrow_mut().insert(self.target, found.clone());
        Ok(found)
    }

    /// The gradients of the target where values are set or scaled: what comes before them reaches it no more, or the more or the less.
    fn gradients_with(&self, passes: Passes, step: Step) -> Result<Gradients> {
        let (decoder, trace) = (&self.on.model.decoder, &self.on.trace);
        let weights = self.on.weights(self.on.node(self.target))?;
        let total = weights.iter().map(|w| f64::from(w.1)).sum::<f64>();
        let mean = decoder.unembed.weight.to_dtype(candle_core::DType::F32)?.mean_keepdim(0)?;
        let row = (decoder.target_row(&weights)? - (mean * total)?)?;
        let last = trace.n_pos() - 1;
        let scales = trace.get(Site::LnFinalScale)?;
        let scale = scales.narrow(0, scales.dim(0)? - 1, 1)?;
        let along = norm_back(&row, &decoder.ln_final, &scale)?;
        decoder.relp_along(trace, along, last, self.on.gate()?, passes, step)
    }

    /// What the frozen model says of changes that have gradients; `None` of others. Changed together, each counts by what the others let through:
    /// a path through two that are set would count twice.
    fn frozen_effect(&self, acts: &TestPlan, step: Step) -> Result<Option<f32>> {
        let Some(deltas) = &acts.deltas else { return Ok(None) };
        let gradients = if acts.edits.len() + acts.rows.len() > 1 && !acts.at_one_place() {
            let (model, trace) = (self.on.model, &self.on.trace);
            let mut directions = |name: &str, layer, width| model.direction(name, layer, width);
            let passes = Passes::new(&model.scope(trace.tokens()), &acts.edits, &mut directions)?;
            Rc::new(self.gradients_with(passes, step)?)
        } else {
            self.gradients(step)?
        };
        let mut sum = 0.0;
        for delta in deltas {
            let gradient = match delta.site {
                Site::Embed | Site::PosEmbed => &gradients.embed,
                Site::Block(l, S::Z) => &gradients.heads[l],
                Site::Block(l, S::MlpPost) => &gradients.neurons[l],
                _ => return Ok(None),
            };
            let row: Vec<f32> = gradient.get(delta.position)?.to_vec1()?;
            let row = &row[delta.cols.clone()];
            sum += row.iter().zip(&delta.by).map(|(g, by)| f64::from(*g) * f64::from(*by)).sum::<f64>();
        }
        Ok(Some(single(sum)))
    }
}

/// `after - before`; NaN when the run left the range of its numbers.
fn change(after: f64, before: f64) -> f32 {
    let change = single(after - before);
    if change.is_finite() { change } else { f32::NAN }
}
