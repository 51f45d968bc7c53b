//! Testing nodes: what is asked of the engine, and what was measured beside what was predicted.

use super::{Beside, Shown};
use crate::action::Action;
use crate::address::{Address, Component, Part};
use crate::analysis::verify_request::{STRONGEST, Subjects, TestRequest};
use crate::app::App;
use crate::app::Slot;
use crate::app::message::Message;
use crate::app::pane::RequestState;
use crate::cast::whole;
use crate::engine::Ask;
use crate::graph::NodeKind;
use crate::graph::tree::TreeDirection;
use crate::graph::verification::{Cause, Intervention, Kept, NodeEffect, Subject, Summary, Verification};
use crate::report::{Cell, Column, Report, Table};

/// What the words of the table mean.
const READING: &str = "patterns_held: what was measured with attention patterns held, as in files. why: what the measured effect has beside \
    the predicted one. patterns: heads look elsewhere; norms: norm scales answer; nonlinear: neurons do. The graph holds all three.";

/// Characters of another prompt that are shown.
const PROMPT: usize = 20;

impl App {
    /// What was measured beside the tree, or the selected node again.
    pub(in crate::app) fn toggle_tests(&mut self) {
        self.graph.sought = None;
        self.graph.beside = match self.graph.beside {
            Beside::Tests => Beside::Node,
            _ => Beside::Tests,
        };
        self.side = self.graph.beside == Beside::Tests && self.size.0 < crate::app::WIDE;
        self.show_about();
    }

    /// Tests what is selected: a head at each position, a unit that is no node, a group or the marked nodes together, or one node.
    pub(in crate::app) fn test_selected(&mut self) {
        let head = self.tested_head().map(|(layer, head)| Subjects::HeadPlaces(layer, head));
        let chosen = head.or_else(|| self.tested_unit().map(Subjects::Unit)).or_else(|| self.tested_together());
        match chosen.or_else(|| self.tested_node()) {
            Some(what) => self.ask_tests(what),
            None => self.warn("no node is selected"),
        }
    }

    /// The node under the cursor; with the unit that it hangs from, where it hangs from one.
    fn tested_node(&self) -> Option<Subjects> {
        let node = self.graph_node()?;
        if let Some(shown) = self.graph.shown()
            && shown.was_opened(node)
        {
            // Opened since: the engine's graph does not have it.
            return shown.graph.nodes[node as usize].address().map(Subjects::Unit);
        }
        let shown = self.graph.shown().filter(|s| s.direction == TreeDirection::Upstream);
        // What was opened since has no number in the engine's graph: nothing can be watched there.
        let unit = |n: u32| {
            let known = shown.filter(|s| !s.was_opened(n)).map(|s| &s.graph.nodes[n as usize].kind);
            matches!(known, Some(NodeKind::Neuron | NodeKind::Feature))
        };
        let reader = self.graph_row().and_then(|row| row.parent).filter(|reader| unit(*reader));
        Some(reader.map_or_else(|| Subjects::Nodes(vec![node]), |reader| Subjects::Edge(node, reader)))
    }

    /// Tests the units with the most influence.
    pub(in crate::app) fn test_top(&mut self) {
        self.ask_tests(Subjects::Top(STRONGEST));
    }

    /// Tests every head. Heads are not in the tree: keys go to where they are listed.
    pub(in crate::app) fn test_heads(&mut self) {
        (self.graph.beside, self.side, self.graph.sought) = (Beside::Tests, true, None);
        self.show_about();
        self.ask_tests(Subjects::Heads);
    }

    /// Keeps the selected group alone, or what is marked.
    pub(in crate::app) fn keep_only(&mut self) {
        let what = match (self.tested_together(), &self.marked_nodes()[..]) {
            (Some(Subjects::Group(label, members)), _) => Subjects::KeepOnly(label, members),
            (_, [node]) => Subjects::KeepOnly("the marked node".into(), vec![*node]),
            _ => {
                let (mark, groups) = (self.graph_key(Action::Mark), self.graph_key(Action::Groups));
                return self.warn(format!(
                    "no group is selected and no node is marked: {mark} marks nodes, {groups} lists groups"
                ));
            }
        };
        self.ask_tests(what);
    }

    /// The head on the selected row of the tests.
    pub(super) fn tested_head(&self) -> Option<(usize, usize)> {
        match self.pane(self.focus()).address().filter(|_| self.side)?.place {
            Component::Unit { layer, part: Part::Head(head) } => Some((layer, head)),
            _ => None,
        }
    }

    /// The unit that is no node on the selected row of the tests.
    fn tested_unit(&self) -> Option<Address> {
        let pane = self.pane(self.focus());
        let unit = self.side && matches!(pane.cell("tested"), Some(Cell::Text(kind)) if kind == "unit");
        pane.address().filter(|_| unit)
    }

    fn ask_tests(&mut self, what: Subjects) {
        self.ask_tests_with(what, self.tests_change_by());
    }

    pub(super) fn ask_tests_with(&mut self, what: Subjects, with: Intervention) {
        let Some(shown) = self.graph.shown() else {
            self.warn("there is no graph yet");
            return;
        };
        if let Subjects::Group(_, members) | Subjects::KeepOnly(_, members) = &what
            && let Err(e) = shown.check_of_the_graph(members)
        {
            return self.warn(e.to_string());
        }
        let (graph, target) = (shown.source.id, shown.first_target());
        let dictionary = self.graph.dictionary.clone();
        self.graph.measured.clear();
        self.ask(Slot::Verify, Ask::Test(TestRequest { graph, dictionary, target, what, with }));
        self.show_about();
    }

    /// Measurements arrived.
    pub(in crate::app) fn take_tests(&mut self, found: Vec<Verification>) {
        let Some(Ask::Test(tests)) = self.pane(Slot::Verify).asked.clone() else { return };
        if !self.graph.shown().is_some_and(|s| s.was(tests.graph)) {
            self.warn("the graph has changed since the test was asked for");
            return;
        }
        let mut place = None;
        let why = self.graph_key(Action::Qk);
        let Some(shown) = self.graph.shown_mut() else { return };
        let said = match &found[..] {
            [one] => Some(said(shown, one)),
            all if matches!(tests.what, Subjects::HeadPlaces(..)) => strongest(shown, all, &why).map(|(unit, said)| {
                place = Some(unit);
                said
            }),
            all => Some(format!(
                "{} tests ({}): {}",
                all.len(),
                in_short(&tests.with),
                agreement(shown, &all.iter().collect::<Vec<_>>(), &tests.with)
            )),
        };
        self.message = said.map(Message::info);
        shown.record(found.clone());
        self.graph.measured.clear();
        self.log_tests(&tests, &found);
        self.relay_keeping_line();
        if let Some(unit) = place {
            self.pane_mut(Slot::GraphSide).select(&unit);
        }
        if matches!(tests.what, Subjects::Heads | Subjects::Unit(_)) {
            self.say_why();
        }
    }

    /// Some of the measurements that were asked for arrived: they are kept, whatever becomes of the others.
    pub(in crate::app) fn take_some_tests(&mut self, found: Vec<Verification>) {
        let Some(Ask::Test(tests)) = self.pane(Slot::Verify).asked.clone() else { return };
        let Some(shown) = self.graph.shown_mut().filter(|shown| shown.was(tests.graph)) else { return };
        shown.record(found.clone());
        self.graph.measured.extend(found);
        self.relay_keeping_line();
    }

    /// The tests ended before they were all made: those that were are remembered, and the pane does not say any more that they run.
    pub(in crate::app) fn end_tests(&mut self) {
        let found = std::mem::take(&mut self.graph.measured);
        if let Some(Ask::Test(tests)) = self.pane(Slot::Verify).asked.clone()
            && self.graph.shown().is_some_and(|shown| shown.was(tests.graph))
            && !found.is_empty()
        {
            self.log_some_tests(&tests, &found);
        }
        if self.graph.beside == Beside::Tests {
            self.show_about();
        }
    }

    /// What is said of tests that are stopped: what they had measured by then is kept.
    pub(in crate::app) fn tests_kept(&self) -> Option<String> {
        let RequestState::Running(_, of) = self.pane(Slot::Verify).state else { return None };
        let kept = self.graph.measured.len();
        // Every test has three runs.
        (kept > 0).then(|| format!("{kept} of {} tests were made and are kept", of / 3))
    }

    /// What a group does alone was measured.
    pub(in crate::app) fn take_kept(&mut self, kept: Kept) {
        let Some(Ask::Test(tests)) = self.pane(Slot::Verify).asked.clone() else { return };
        match self.graph.shown_mut().filter(|shown| shown.was(tests.graph)) {
            Some(shown) => shown.graph.record_kept(kept.clone()),
            None => return self.warn("the graph has changed since the test was asked for"),
        }
        self.log_kept(&tests, &kept);
        self.say(kept_alone(&kept));
        self.show_about();
    }

    /// What was measured, under why the unit that was asked about is no node.
    pub(super) fn tests_report(&self, shown: &Shown) -> Report {
        let [node, top, heads] = [Action::TestNode, Action::TestTop, Action::TestHeads].map(|a| self.graph_key(a));
        let before = match self.pane(Slot::Verify).state {
            RequestState::Running(..) => "the tests run; what they measure comes here as it is known".to_owned(),
            _ => format!(
                "nothing was tested yet: {node} tests a node, {top} the {STRONGEST} strongest, {heads} the heads"
            ),
        };
        report(shown, self.why_no_node(), before)
    }
}

/// Where a head that was tested at each position does most.
fn strongest(shown: &Shown, tests: &[Verification], why: &str) -> Option<(Address, String)> {
    let size = |test: &&Verification| test.target().map_or(0.0, |e| e.measured.abs());
    let most = tests.iter().max_by(|a, b| size(a).total_cmp(&size(b)))?;
    let Subject::Unit(unit) = &most.subject else { return None };
    let place: Address = unit.parse().ok()?;
    let position = place.position.and_then(|p| u32::try_from(p).ok());
    let token = shown.graph.metadata.token(position).unwrap_or_default();
    let said = format!("{unit} \"{token}\": {}; {why}: why it looks there", most.target()?.verdict());
    Some((place, said))
}

/// A way in few words: the beginning of a prompt tells it from others.
pub(super) fn in_short(with: &Intervention) -> String {
    match with {
        Intervention::Resample(prompt) if prompt.chars().count() > PROMPT => {
            format!("resample \"{}...\"", prompt.chars().take(PROMPT).collect::<String>())
        }
        other => other.to_string(),
    }
}

/// One test in words.
fn said(shown: &Shown, test: &Verification) -> String {
    let others = test.effects.iter().skip(1).map(|e| format!("; {} {}", node_name(shown, &e.node), e.verdict()));
    let others: String = others.take(1).collect();
    let target = test.target().map_or(String::new(), NodeEffect::verdict);
    format!("{} {}: {target}{others}", in_short(&test.with), name(shown, &test.subject))
}

/// What a group does alone, in words.
fn kept_alone(kept: &Kept) -> String {
    let share = |s: Option<f32>| s.map_or("-".to_owned(), |s| format!("{s:.3}"));
    let found = &kept.found;
    format!(
        "{} kept, {} other units at their means: target {:+.3} (all {:+.3}, none {:+.3}, without it {:+.3}); faithfulness {}, completeness {}",
        kept.label,
        found.ablated,
        found.group,
        found.whole,
        found.empty,
        found.rest,
        share(found.faithfulness()),
        share(found.completeness())
    )
}

/// Groups that were kept alone, with all other units at their means.
fn kept_table(shown: &Shown) -> Table {
    let target = &shown.graph.nodes[shown.first_target() as usize].id;
    let number = |name| Column::number(name, "", 3);
    let mut table = Table::new([
        Column::text("group"),
        number("alone"),
        number("all"),
        number("none"),
        number("without_it"),
        number("faithfulness"),
        number("completeness"),
    ]);
    for kept in shown.graph.kept.iter().filter(|kept| kept.target == **target) {
        let found = &kept.found;
        let values = [found.group, found.whole, found.empty, found.rest].map(Cell::from);
        let shares = [found.faithfulness(), found.completeness()].map(Cell::from);
        table.push([Cell::from(kept.label.clone())].into_iter().chain(values).chain(shares));
    }
    table
}

/// A node by its id, as readers name it.
fn node_name(shown: &Shown, id: &str) -> String {
    let node = shown.graph.nodes.iter().find(|n| *n.id == *id);
    node.map_or_else(|| id.to_owned(), crate::graph::Node::name)
}

/// What was tested, as readers name it.
fn name(shown: &Shown, subject: &Subject) -> String {
    match subject {
        Subject::Node(id) => node_name(shown, id),
        Subject::Group { label, members } => format!("{label} ({} nodes)", members.len()),
        Subject::Unit(unit) => unit.clone(),
    }
}

/// How well predictions held, in a line.
fn summary<'a>(effects: impl IntoIterator<Item = &'a NodeEffect>) -> String {
    let Summary { n, rank_correlation, sign_agreement, left_range } = Summary::of(effects);
    let rank = rank_correlation.map_or("-".to_owned(), |r| format!("{r:.2}"));
    let signs = sign_agreement.map_or("-".to_owned(), |s| format!("{:.0} %", 100.0 * s));
    let left = if left_range == 0 { String::new() } else { format!(", {left_range} left the range") };
    format!("rank correlation {rank}, signs agree {signs}, n {n}{left}")
}

/// How well predictions held; of units that were zeroed in a graph with attention inside, how well either total said it, since the one that adds up
/// does not see where heads look.
fn agreement(shown: &Shown, tests: &[&Verification], with: &Intervention) -> String {
    let target = &*shown.graph.nodes[shown.first_target() as usize].id;
    let ids = shown.graph.by_id();
    let counted = tests.iter().filter_map(|test| {
        let node = match &test.subject {
            Subject::Node(id) => *ids.get(id.as_str())?,
            Subject::Unit(unit) => shown.graph.node_called(unit)?,
            Subject::Group { .. } => return None,
        };
        let counts = shown.graph.nodes[node].totals?.counts?;
        Some(NodeEffect { predicted: Some(-counts), ..test.on(target)?.clone() })
    });
    let counted: Vec<NodeEffect> = counted.collect();
    let effects: Vec<&NodeEffect> = tests.iter().filter_map(|test| test.on(target)).collect();
    if *with != Intervention::Zero || !shown.graph.is_circuit() || counted.len() < 2 {
        return summary(effects);
    }
    let said = |Summary { rank_correlation, sign_agreement, .. }: Summary| {
        let rank = rank_correlation.map_or("-".to_owned(), |r| format!("{r:.2}"));
        let signs = sign_agreement.map_or("-".to_owned(), |s| format!("{:.0} %", 100.0 * s));
        (rank, signs)
    };
    let written = Summary::of(effects);
    let left = if written.left_range == 0 { String::new() } else { format!(", {} left the range", written.left_range) };
    let ((writes, by_writes), (counts, by_counts)) = (said(written), said(Summary::of(&counted)));
    format!("rank correlation writes {writes} (signs {by_writes}), counts {counts} ({by_counts}){left}")
}

impl Shown {
    /// How well the predictions of all tests of single nodes held; none before the first.
    pub fn verified(&self) -> Option<String> {
        let way = self.way()?;
        let target = &self.graph.nodes[self.first_target() as usize].id;
        let of_way = |(at, v): &(usize, &Verification)| self.tested_node(*at).is_some() && v.with == *way;
        let tests = self.graph.verified.iter().enumerate().filter(of_way);
        let tests: Vec<&Verification> = tests.map(|(_, v)| v).filter(|v| v.on(target).is_some()).collect();
        let n = tests.len();
        Some(match n {
            0 | 1 => format!("{n} tested ({})", in_short(way)),
            _ => format!("{n} tested ({}): {}", in_short(way), agreement(self, &tests, way)),
        })
    }
}

/// What is said of the tests of one node.
pub(super) fn lines(shown: &Shown, node: u32) -> Vec<String> {
    let tests = shown.graph.verified.iter().enumerate().rev();
    let of_node = tests.filter(|(at, _)| shown.tested_node(*at) == Some(node)).take(3);
    of_node.filter_map(|(_, test)| Some(format!("{}: {}", in_short(&test.with), test.target()?.verdict()))).collect()
}

/// Everything measured, the largest effects first, over a scatter plot of measured against predicted.
fn report(shown: &Shown, why_none: Option<String>, before: String) -> Report {
    let mut report = Report::default();
    let (tests, kept) = (&shown.graph.verified, kept_table(shown));
    if !kept.rows.is_empty() {
        report.table("kept", "Groups kept alone", kept);
    } else if tests.is_empty() {
        report.note("none", before);
        return report;
    }
    if let Some(text) = why_none {
        report.note("why", text);
    }
    if tests.is_empty() {
        return report;
    }
    let ids = shown.graph.by_id();
    let mut table = Table::new([
        Column::text("tested"),
        Column::address("unit"),
        Column::text("how"),
        Column::number("predicted", "", 3),
        Column::number("measured", "", 3),
        Column::number("patterns_held", "", 3),
        Column::text("why"),
    ]);
    // A file may hold tests of another target.
    let target = &shown.graph.nodes[shown.first_target() as usize].id;
    let mut rows: Vec<(&Verification, &NodeEffect)> = tests.iter().filter_map(|t| Some((t, t.on(target)?))).collect();
    rows.sort_by(|a, b| b.1.measured.abs().total_cmp(&a.1.measured.abs()));
    for (test, effect) in &rows {
        let address = match &test.subject {
            Subject::Node(id) => ids.get(id.as_str()).and_then(|n| shown.graph.nodes[*n].address()),
            Subject::Unit(unit) => unit.parse().ok(),
            Subject::Group { .. } => None,
        };
        let label = match (&test.subject, &address) {
            (Subject::Group { .. }, _) | (_, None) => name(shown, &test.subject),
            (Subject::Unit(_), Some(Address { place: Component::Unit { part: Part::Head(_), .. }, .. })) => {
                "head".into()
            }
            (Subject::Unit(_), Some(_)) => "unit".into(),
            (Subject::Node(_), Some(_)) => "node".into(),
        };
        table.push([
            Cell::Text(label),
            address.map_or(Cell::Empty, Cell::Address),
            in_short(&test.with).into(),
            effect.predicted.map_or(Cell::Empty, Cell::Number),
            Cell::finite(effect.measured),
            Cell::finite(effect.held),
            effect.cause().map(why).or(effect.left_range()).map_or(Cell::Empty, |c| c.into()),
        ]);
    }
    let all = rows.iter().map(|(_, effect)| *effect);
    let all: Vec<&NodeEffect> = all.collect();
    let each = all.iter().copied();
    if all.len() > 1 {
        report.note("summary", format!("{} tests: {}", all.len(), summary(each.clone())));
    }
    report.table("tests", "Effects on the target", table);
    report.note("reading", READING);
    report.note("scatter", scatter(each, 40, 16));
    report
}

fn why(cause: Cause) -> &'static str {
    match cause {
        Cause::Patterns => "patterns",
        Cause::Norms => "norms",
        Cause::Nonlinear => "nonlinear",
    }
}

/// Points of measured (upwards) against predicted (to the right) effects, with the line on which they would be equal. Both axes go by square
/// roots: one large effect leaves the others apart.
fn scatter<'a>(effects: impl Iterator<Item = &'a NodeEffect>, columns: usize, rows: usize) -> String {
    let points: Vec<(f32, f32)> = effects.filter_map(|e| Some((e.predicted?, e.measured))).collect();
    let most = points.iter().map(|p| p.0.abs().max(p.1.abs())).filter(|m| m.is_finite()).fold(1e-9, f32::max);
    let cell = |share: f32, cells: usize| whole((share * (cells - 1) as f32).round().max(0.0)).min(cells - 1);
    let place = |value: f32, cells: usize| cell(((value / most).abs().sqrt().copysign(value) + 1.0) / 2.0, cells);
    let mut grid = vec![vec![' '; columns]; rows];
    // In the same scale on both axes the line of equals is straight.
    (0..columns).for_each(|column| grid[rows - 1 - cell(column as f32 / (columns - 1) as f32, rows)][column] = '.');
    for (predicted, measured) in points.iter().filter(|p| p.0.is_finite() && p.1.is_finite()) {
        grid[rows - 1 - place(*measured, rows)][place(*predicted, columns)] = 'o';
    }
    let lines = grid.into_iter().map(|row| format!("|{}", row.into_iter().collect::<String>().trim_end()));
    let head = format!(
        "measured (up) against predicted (right), both from {:.2} to {:.2} on square-root axes; the dots: where the two are equal",
        -most, most
    );
    std::iter::once(head).chain(lines).collect::<Vec<_>>().join("\n")
}
