//! The open model with all that is kept of the questions about it.

use crate::analysis::attribution::{Attribution, Dictionaries, GraphId, KeptCircuit};
use crate::analysis::circuit_graph;
use crate::analysis::graph_run::{self, GraphRun, RunState};
use crate::analysis::runs::{RunCache, RunKey};
use crate::analysis::verify::TestMemory;
use crate::model::Model;
use crate::model::dictionary::Dictionary;
use crate::model::edit::EditPlan;
use crate::model::forward::{Logits, Start, Step};
use crate::model::site::Sites;
use crate::model::text::Bos;
use crate::replacement::Gate;
use crate::replacement::circuit::Circuit;
use anyhow::{Context, Result};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Weak};

/// Bytes that the runs of one model may take, and again what graphs kept on.
const RUNS: usize = 1 << 30;
const RUN_STATES: usize = 1 << 30;

/// Graphs that are kept whoever has them.
const LATEST: usize = 2;

/// An open model. A job holds it as long as it runs, whatever is opened meanwhile.
pub(super) struct Open {
    pub model: Arc<Model>,
    pub runs: Rc<RunCache>,
    pub dictionaries: Dictionaries,
    /// Graphs by their numbers, as long as whoever got them has them.
    graphs: RefCell<Vec<Weak<Attribution>>>,
    /// The latest of them: who got one may ask about it when it has the next already.
    latest: RefCell<VecDeque<Arc<Attribution>>>,
    run_states: RefCell<Vec<KeptGraphRun>>,
    /// What graphs with attention inside are made of.
    circuits: RefCell<VecDeque<(GraphId, KeptCircuit)>>,
    /// The index that was found for it, once that was looked for.
    pub index: OnceCell<Option<PathBuf>>,
}

/// What a graph stands on, and what its tests found out.
struct KeptGraphRun {
    graph: GraphId,
    dictionary: Option<String>,
    run_state: RunState,
    memory: Rc<TestMemory>,
}

impl Open {
    pub fn new(model: Model) -> Self {
        Open {
            model: Arc::new(model),
            runs: Rc::new(RunCache::new(RUNS)),
            dictionaries: Dictionaries::default(),
            graphs: RefCell::default(),
            latest: RefCell::default(),
            run_states: RefCell::default(),
            circuits: RefCell::default(),
            index: OnceCell::new(),
        }
    }

    /// Gives a graph its number, by which it can be asked about as long as somebody has it.
    pub fn number(&self, mut graph: Attribution, last: &Cell<u64>) -> Arc<Attribution> {
        last.set(last.get() + 1);
        graph.id = GraphId(last.get());
        let graph = Arc::new(graph);
        let mut graphs = self.graphs.borrow_mut();
        graphs.retain(|g| g.strong_count() > 0);
        graphs.push(Arc::downgrade(&graph));
        let mut latest = self.latest.borrow_mut();
        latest.push_back(graph.clone());
        if latest.len() > LATEST {
            latest.pop_front();
        }
        graph
    }

    /// Keeps what a graph with attention inside is made of, so that its branches are known at once.
    pub fn keep_circuit(&self, graph: GraphId, kept: KeptCircuit) {
        let mut circuits = self.circuits.borrow_mut();
        circuits.push_back((graph, kept));
        if circuits.len() > LATEST {
            circuits.pop_front();
        }
    }

    /// What a graph with attention inside is made of: as it was kept, or computed again.
    pub fn circuit(&self, graph: &Attribution, step: Step) -> Result<KeptCircuit> {
        let kept = self.circuits.borrow().iter().find(|(id, _)| *id == graph.id).map(|(_, kept)| kept.clone());
        if let Some(kept) = kept {
            return Ok(kept);
        }
        let target = graph.graph.targets().next().context("the graph has no target")?;
        let target = &graph.graph.nodes[target];
        let weights = target.weights().with_context(|| format!("{}: its tokens are not known", target.name()))?;
        let ids = graph_run::prompt_ids(&self.model, &graph.graph)?;
        let key = RunKey { ids: ids.clone(), edits: Vec::new(), bos: Bos::Auto };
        let trace = self.runs.run(key, Circuit::sites(&self.model.decoder), &mut |sites| {
            let prompt = [ids.clone()];
            self.model.forward(Start::Tokens(&prompt), &Sites::Only(sites), EditPlan::NONE, Logits::Last, step)
        })?;
        let circuit = circuit_graph::circuit_of(&self.model, &trace, &weights, Gate::default(), step)?;
        circuit.count(step)?;
        let kept = (trace.clone(), circuit.kept());
        self.keep_circuit(graph.id, kept.clone());
        Ok(kept)
    }

    /// The graph of this number.
    pub fn graph(&self, id: GraphId) -> Result<Arc<Attribution>> {
        let found = self.graphs.borrow().iter().filter_map(Weak::upgrade).find(|g| g.id == id);
        found.with_context(|| format!("graph {} is gone: it has to be asked for again", id.0))
    }

    /// A graph on its run: the one that is kept, or else a new one.
    pub fn graph_run<'a>(
        &'a self,
        graph: &'a Attribution,
        (name, dictionary): (Option<&str>, Option<&'a Dictionary>),
        step: Step,
    ) -> Result<(GraphRun<'a>, Rc<TestMemory>)> {
        let mut run_states = self.run_states.borrow_mut();
        if let Some(at) = run_states.iter().position(|s| s.graph == graph.id && s.dictionary.as_deref() == name) {
            let kept = run_states.remove(at);
            let found = GraphRun::on(&self.model, dictionary, &graph.graph, &kept.run_state);
            let memory = kept.memory.clone();
            run_states.push(kept);
            return Ok((found, memory));
        }
        drop(run_states);
        let model = &self.model;
        let graph_run = GraphRun::by(model, dictionary, &graph.graph, &mut |ids, sites| {
            let key = RunKey { ids: ids.to_vec(), edits: Vec::new(), bos: Bos::Auto };
            self.runs.run(key, sites, &mut |sites| {
                let prompt = [ids.to_vec()];
                model.forward(Start::Tokens(&prompt), &Sites::Only(sites), EditPlan::NONE, Logits::Last, step)
            })
        })?;
        let memory = Rc::<TestMemory>::default();
        let run_state = graph_run.run_state();
        let mut run_states = self.run_states.borrow_mut();
        run_states.push(KeptGraphRun {
            graph: graph.id,
            dictionary: name.map(str::to_owned),
            run_state,
            memory: memory.clone(),
        });
        let bytes = |s: &KeptGraphRun| s.run_state.bytes(model) + s.memory.bytes();
        let mut total: usize = run_states.iter().map(bytes).sum();
        while total > RUN_STATES && run_states.len() > 1 {
            total -= bytes(&run_states.remove(0));
        }
        Ok((graph_run, memory))
    }
}
