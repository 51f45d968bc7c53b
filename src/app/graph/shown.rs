//! A graph as it is looked at: thresholds, what is folded, and which node stands on which line.

use super::enter::Within;
use crate::analysis::attribution::{Attribution, GraphId};
use crate::cast::short;
use crate::graph::group::Draft;
use crate::graph::tree::{Branch, Branches, Limits, Tree, TreeDirection, TreeItem, TreeSource};
use crate::graph::verification::{Intervention, NodeEffect, Subject, Verification};
use crate::graph::{Edge, Edges, Graph, GraphScores, Influence, Metadata, Node, Pruned, Supernode, Thresholds, prune};
use crate::report::{Report, Table};
use anyhow::{Context, Result, bail};
use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// How a tree starts: so many levels and children, and no child under this share.
const LEVELS: usize = 1;
const CHILDREN: usize = 8;
const SHARE: f32 = 0.005;

/// Edges that a picture shows.
const DRAWN: usize = 80;

/// A line of the tab.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GraphRow {
    /// What it shows; in the flat list nodes stand alone.
    pub item: TreeItem,
    /// The node that the edge of this line leads to or comes from: the one a level up.
    pub parent: Option<u32>,
    /// Its line in the tree.
    pub line: usize,
}

impl GraphRow {
    /// The node on this line; none where a line stands for several.
    pub fn node(&self) -> Option<u32> {
        match self.item {
            TreeItem::Node { node, .. } => Some(node),
            TreeItem::More { .. } | TreeItem::AlwaysOn { .. } => None,
        }
    }
}

/// A graph as it is looked at.
#[derive(Debug)]
pub struct Shown {
    /// What the engine answered.
    pub source: Arc<Attribution>,
    /// The graph, with the labels that were given here.
    pub graph: Graph,
    /// Influences of its nodes.
    pub influence: Influence,
    pub(super) columns: Edges,
    /// What the thresholds leave.
    pub pruned: Pruned,
    /// Where the tree starts.
    pub root: u32,
    /// Which way it grows.
    pub direction: TreeDirection,
    /// How much of it is laid out.
    pub limits: Limits,
    /// Whether nodes are listed without a tree.
    pub flat: bool,
    /// The place that the list is of; none lists all nodes.
    pub within: Option<Within>,
    /// What is known below the places of the tree, where it is told place by place.
    pub(super) branches: Option<Branches>,
    /// The tree, as last laid out.
    pub tree: Tree,
    /// The groups that were drafted and are tested.
    pub(super) drafts: Vec<Draft>,
    /// What speaks for the drafted groups that were kept.
    pub(super) evidence: Option<Table>,
    /// The tests of single nodes, each with its node.
    tested: BTreeMap<usize, u32>,
    /// The kept edges that carry most, strongest first, once somebody draws them.
    strongest: OnceCell<Vec<Edge>>,
    /// What all nodes explain and what the kept ones do, once it is shown.
    scores: OnceCell<GraphScores>,
    /// The last test of each node, and which of its effects is that on the target.
    effects: HashMap<u32, (usize, usize)>,
    /// What stands on every row of the report.
    pub rows: Vec<GraphRow>,
    /// The node that the cursor was on when another graph was turned to.
    pub(super) at: Option<u32>,
    /// Nodes that were labelled here and are none of the engine's graph: those that were opened since, and those of an earlier session that may
    /// be opened again.
    labelled: BTreeMap<Box<str>, Node>,
    /// What it looked like while it grew: tests that were asked for then are tests of this graph.
    stages: Vec<GraphId>,
}

impl Shown {
    /// A graph seen from its first target. What a file has was kept by whoever wrote it, so `whole` shows all of it.
    ///
    /// # Errors
    /// It has a cycle or no target.
    pub fn new(source: Arc<Attribution>, whole: bool) -> Result<Self> {
        let graph = source.graph.clone();
        let influence = Influence::of(&graph)?;
        let thresholds = if whole { Thresholds::new(1.0, 1.0)? } else { Thresholds::default() };
        let pruned = prune(&graph, &influence, thresholds)?;
        let columns = graph.edges.transposed();
        let root = graph.targets().next().context("the graph has no target")?;
        let limits = Limits { depth: LEVELS, width: CHILDREN, share: SHARE, ..Limits::default() };
        let tree = Tree { direction: TreeDirection::Upstream, lines: Vec::new() };
        let root = u32::try_from(root)?;
        let direction = TreeDirection::Upstream;
        let (flat, rows) = (false, Vec::new());
        let (tested, effects) = (BTreeMap::new(), HashMap::new());
        let mut shown = Shown {
            source,
            graph,
            influence,
            columns,
            pruned,
            root,
            direction,
            limits,
            flat,
            within: None,
            branches: None,
            tree,
            drafts: Vec::new(),
            evidence: None,
            tested,
            strongest: OnceCell::new(),
            scores: OnceCell::new(),
            effects,
            rows,
            at: None,
            labelled: BTreeMap::new(),
            stages: Vec::new(),
        };
        shown.root = shown.first_target();
        shown.index();
        Ok(shown)
    }

    /// Opens the tree until it fills this many lines: of a graph with attention inside the first screen tells the story.
    pub(super) fn fill(&mut self, lines: usize) {
        if self.graph.is_circuit() {
            let from = TreeSource { graph: &self.graph, columns: None, pruned: Some(&self.pruned) };
            self.limits.fill(from, self.root, lines);
        }
    }

    /// Takes over how an earlier stage of the same graph was looked at, with the cursor `at` a node of that.
    pub(super) fn look_like(&mut self, before: &Shown, at: Option<u32>) {
        let thresholds = before.pruned.thresholds();
        // Thresholds that held there hold here.
        let _ = self.set_thresholds(thresholds.node(), thresholds.edge());
        let of = |nodes: &HashSet<u32>| nodes.iter().filter_map(|n| before.same_in(*n, self)).collect();
        let limits = Limits {
            folded: of(&before.limits.folded),
            opened: of(&before.limits.opened),
            widened: of(&before.limits.widened),
            narrow: of(&before.limits.narrow),
            always_on: of(&before.limits.always_on),
            ..before.limits.clone()
        };
        self.root = before.same_in(before.root, self).unwrap_or(self.root);
        (self.limits, self.direction, self.flat) = (limits, before.direction, before.flat);
        self.at = at.or(before.at).and_then(|node| before.same_in(node, self));
        self.within.clone_from(&before.within);
        self.evidence.clone_from(&before.evidence);
        self.stages.clone_from(&before.stages);
        self.stages.push(before.source.id);
        self.labelled.clone_from(&before.labelled);
        self.adopt(&before.graph);
    }

    /// Takes over the groups, pins, labels and tests of an earlier stage of the same graph, or of an earlier session.
    pub(super) fn adopt(&mut self, before: &Graph) {
        let ids: HashMap<String, usize> = self.graph.by_id().into_iter().map(|(id, at)| (id.to_owned(), at)).collect();
        for node in before.nodes.iter().filter(|n| !n.label.is_empty()) {
            if let Some(at) = ids.get(&*node.id)
                && self.graph.nodes[*at].label.is_empty()
            {
                self.graph.nodes[*at].relabel(&node.label);
            }
        }
        self.graph.view.clone_from(&before.view);
        if !self.graph.view.pinned.is_empty() {
            let now = self.pruned.thresholds();
            let _ = self.set_thresholds(now.node(), now.edge());
        }
        self.record(before.verified.clone());
        before.kept.iter().for_each(|kept| self.graph.record_kept(kept.clone()));
    }

    /// Takes over what was kept of the work on this graph. What was grouped since, while the graph grew, stays beside it.
    pub(in crate::app) fn take_up(&mut self, kept: &Graph) {
        let since = self.graph.view.clone();
        self.adopt(kept);
        let own = self.source.graph.by_id();
        // Opened in the tree at that time, they may be opened again, or are by now.
        for node in kept.nodes.iter().filter(|n| !n.label.is_empty() && !own.contains_key(&*n.id)) {
            self.labelled.entry(node.id.clone()).or_insert_with(|| node.clone());
        }
        for node in self.graph.nodes.iter_mut().skip(own.len()) {
            if let Some(before) = self.labelled.get(&node.id) {
                node.relabel(&before.label);
            }
        }
        if since != self.source.graph.view {
            let view = &mut self.graph.view;
            let known = |label: &str, all: &[Supernode]| all.iter().any(|s| s.label == label);
            let new: Vec<Supernode> =
                since.supernodes.into_iter().filter(|s| !known(&s.label, &view.supernodes)).collect();
            view.supernodes.extend(new);
            let new: Vec<String> = since.pinned.into_iter().filter(|p| !view.pinned.contains(p)).collect();
            view.pinned.extend(new);
        }
    }

    /// Whether a node was opened in the tree since: the engine's graph and files of it do not have it.
    pub(in crate::app) fn was_opened(&self, node: u32) -> bool {
        node as usize >= self.source.graph.nodes.len()
    }

    /// Refuses nodes that were opened since, for what is done with nodes of the engine's graph alone.
    ///
    /// # Errors
    /// One of them was opened in the tree.
    pub(super) fn check_of_the_graph(&self, nodes: &[u32]) -> Result<()> {
        let opened = nodes.iter().find(|node| self.was_opened(**node));
        opened.map_or(Ok(()), |at| {
            let name = self.graph.nodes[*at as usize].name();
            bail!("{name} was opened in the tree and is not among the graph's own nodes: it can be tested alone and labelled")
        })
    }

    /// Names a node; no text takes the name away.
    pub(super) fn relabel(&mut self, at: u32, label: &str) {
        let opened = self.was_opened(at);
        let node = &mut self.graph.nodes[at as usize];
        node.relabel(label);
        match (opened, label.is_empty()) {
            (true, false) => drop(self.labelled.insert(node.id.clone(), node.clone())),
            (true, true) => drop(self.labelled.remove(&node.id)),
            (false, _) => {}
        }
    }

    /// Gives a node that is opened the label that it was given before.
    pub(super) fn label_again(&self, node: &mut Node) {
        if let Some(before) = self.labelled.get(&node.id) {
            node.relabel(&before.label);
        }
    }

    /// Whether a test of this graph's nodes was asked of it, or of what it was while it grew.
    pub(in crate::app) fn was(&self, other: GraphId) -> bool {
        self.source.id == other || self.stages.contains(&other)
    }

    /// The nodes that something was done with here, without edges: what a session keeps of a graph. None for nothing.
    pub(in crate::app) fn work(&self) -> Option<Graph> {
        let view = &self.graph.view;
        let labelled = self.graph.nodes.iter().zip(&self.source.graph.nodes).filter(|(a, b)| a.label != b.label);
        let labelled: Vec<Node> = labelled.map(|(node, _)| node).chain(self.labelled.values()).cloned().collect();
        let (verified, kept) = (&self.graph.verified, &self.graph.kept);
        let nothing = labelled.is_empty() && *view == self.source.graph.view;
        if nothing && (verified, kept) == (&self.source.graph.verified, &self.source.graph.kept) {
            return None;
        }
        let n = labelled.len();
        let mut graph = Graph::new(Metadata::default(), labelled, Edges::empty(n)).ok()?;
        graph.view.clone_from(view);
        graph.verified.clone_from(verified);
        graph.kept.clone_from(kept);
        Some(graph)
    }

    /// The node of another graph that is the same as this one's.
    pub(super) fn same_in(&self, node: u32, other: &Shown) -> Option<u32> {
        let id = &self.graph.nodes.get(node as usize)?.id;
        other.graph.nodes.iter().position(|n| n.id == *id).map(short)
    }

    /// Lays the lines out; the report has one row for each.
    pub fn lay_out(&mut self) -> Report {
        let from = TreeSource { graph: &self.graph, columns: Some(&self.columns), pruned: Some(&self.pruned) };
        self.tree = match (self.branches.as_ref().filter(|_| self.by_places()), self.direction) {
            (Some(branches), _) => branches.tree(&self.graph, self.root),
            (None, TreeDirection::Upstream) => Tree::upstream(from, self.root, &self.limits),
            (None, TreeDirection::Downstream) => Tree::downstream(from, self.root, &self.limits),
        };
        self.rows = if self.flat { self.list() } else { self.branches() };
        super::lines::report(self)
    }

    fn branches(&self) -> Vec<GraphRow> {
        let row = |(at, line): (usize, &crate::graph::tree::TreeLine)| GraphRow {
            item: line.item,
            parent: self.tree.node_above(at),
            line: at,
        };
        self.tree.lines.iter().enumerate().map(row).collect()
    }

    /// The kept nodes by falling influence, targets first; those that write into a place, if the list is of one.
    fn list(&self) -> Vec<GraphRow> {
        let here = |node: &u32| self.within.as_ref().is_none_or(|w| w.has(&self.graph.nodes[*node as usize]));
        let kept = self.pruned.nodes();
        let targets = self.graph.targets().map(short).filter(|t| kept[*t as usize]);
        let ranked = self.influence.ranked().iter().copied();
        let others = ranked.filter(|n| kept[*n as usize] && !self.graph.nodes[*n as usize].kind.is_logit());
        let row = |(at, node): (usize, u32)| {
            let weight = self.graph.edges.weight(self.root as usize, node).unwrap_or(0.0);
            GraphRow { item: TreeItem::Node { node, weight, share: 0.0, branch: Branch::Leaf }, parent: None, line: at }
        };
        targets.chain(others).filter(here).enumerate().map(row).collect()
    }

    /// The columns of the graph: every edge by its source.
    pub fn columns(&self) -> &Edges {
        &self.columns
    }

    /// The kept edges that carry the largest shares of what their targets read, strongest first.
    pub fn strongest_edges(&self) -> &[Edge] {
        self.strongest.get_or_init(|| {
            let mut edges: Vec<(f32, Edge)> = Vec::new();
            for target in (0..self.graph.nodes.len()).filter(|target| self.pruned.nodes()[*target]) {
                let row = self.pruned.row(&self.graph.edges, target);
                edges.extend(row.map(|(source, weight)| {
                    (self.pruned.score(target, weight), Edge { target: short(target), source, weight })
                }));
            }
            edges.sort_by(|a, b| b.0.total_cmp(&a.0));
            edges.truncate(DRAWN);
            edges.into_iter().map(|(_, edge)| edge).collect()
        })
    }

    /// The scores of all nodes and of the kept ones in a line, as commands write them; none where they say nothing.
    pub fn scores_in_words(&self) -> Option<String> {
        let scores = self.scores.get_or_init(|| self.graph.scores(&self.influence, Some(&self.pruned)));
        let words = scores.in_words().into_iter().map(|(name, words)| format!("{name} {words}"));
        let words: Vec<String> = words.filter(|_| self.graph.is_scored()).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }

    /// The target with the largest weight.
    pub fn first_target(&self) -> u32 {
        let weights = self.influence.weights();
        let targets = self.graph.targets().map(short);
        targets.reduce(|a, b| if weights[b as usize] > weights[a as usize] { b } else { a }).unwrap_or(self.root)
    }

    /// What the last test of a node did to the target.
    pub fn effect(&self, node: u32) -> Option<&NodeEffect> {
        self.effects.get(&node).map(|at| &self.graph.verified[at.0].effects[at.1])
    }

    /// Whether any node's effect on the target was measured.
    pub fn is_tested(&self) -> bool {
        !self.effects.is_empty()
    }

    /// How the last test of a node changed it: what stands in one column was measured in one way.
    pub fn way(&self) -> Option<&Intervention> {
        self.graph.verified.get(*self.tested.keys().next_back()?).map(|test| &test.with)
    }

    /// The node that a test changed, if it was one alone. A unit that was no node when it was tested may be one now.
    pub(super) fn tested_node(&self, test: usize) -> Option<u32> {
        self.tested.get(&test).copied()
    }

    /// Keeps what was measured.
    pub(super) fn record(&mut self, found: Vec<Verification>) {
        found.into_iter().for_each(|one| self.graph.record(one));
        self.index();
    }

    /// Finds the tests of single nodes, and of those the last ones that measured the target.
    pub(super) fn index(&mut self) {
        let ids = self.graph.by_id();
        let units = self.graph.verified.iter().any(|test| matches!(test.subject, Subject::Unit(_)));
        let nodes = (0u32..).zip(&self.graph.nodes).filter(|_| units);
        let places: HashMap<String, u32> =
            nodes.filter_map(|(at, node)| Some((node.address()?.to_string(), at))).collect();
        let node = |test: &Verification| match &test.subject {
            Subject::Node(id) => ids.get(id.as_str()).map(|at| short(*at)),
            Subject::Unit(unit) => places.get(unit).copied(),
            Subject::Group { .. } => None,
        };
        let verified = self.graph.verified.iter().enumerate();
        self.tested = verified.filter_map(|(at, test)| Some((at, node(test)?))).collect();
        let target = &self.graph.nodes[self.first_target() as usize].id;
        let way = self.way();
        let of_way = self.tested.iter().filter(|(at, _)| Some(&self.graph.verified[**at].with) == way);
        let effect = |at: usize| self.graph.verified[at].effects.iter().position(|e| *e.node == **target);
        self.effects = of_way.filter_map(|(at, node)| Some((*node, (*at, effect(*at)?)))).collect();
    }

    /// Prunes again.
    ///
    /// # Errors
    /// Thresholds outside of 0 to 1.
    pub fn set_thresholds(&mut self, node: f64, edge: f64) -> Result<()> {
        self.pruned = prune(&self.graph, &self.influence, Thresholds::new(node, edge)?)?;
        (self.strongest, self.scores) = (OnceCell::new(), OnceCell::new());
        Ok(())
    }
}
