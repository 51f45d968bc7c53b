//! Groups of nodes: named from marks, listed with the summed edges between them, tested together.

use super::{Beside, Shown};
use crate::action::Action;
use crate::analysis::verify_request::Subjects;
use crate::app::App;
use crate::app::Slot;
use crate::cast::{short, single};
use crate::engine::Ask;
use crate::graph::Supernode;
use crate::graph::group::{Collapsed, Draft, Group, GroupItem, collapse, drafts, evidence, groups, kept_alone};
use crate::graph::verification::{Intervention, KeepOnly, Kept, TestedDrafts};
use crate::report::{Cell, Column, Report, Table};
use anyhow::{Result, bail};
use std::collections::HashMap;

/// Edges between groups that are listed.
const EDGES: usize = 40;

impl App {
    /// Puts the marked nodes into a group of this name; members leave the groups they were in.
    pub(in crate::app) fn group_marks(&mut self, label: &str) -> Result<()> {
        let label = label.trim();
        if label.is_empty() {
            return Ok(());
        }
        let members = self.marked_nodes();
        if members.is_empty() {
            bail!("no node of the graph is marked: {} marks the selected one", self.graph_key(Action::Mark));
        }
        let Some(shown) = self.graph.shown_mut() else { bail!("there is no graph yet") };
        shown.check_of_the_graph(&members)?;
        let ids: Vec<String> = members.iter().map(|n| shown.graph.nodes[*n as usize].id.to_string()).collect();
        let supernodes = &mut shown.graph.view.supernodes;
        supernodes.iter_mut().for_each(|s| s.members.retain(|m| !ids.contains(m)));
        supernodes.retain(|s| !s.members.is_empty() && s.label != label);
        shown.graph.view.supernodes.push(Supernode { label: label.to_owned(), members: ids.clone() });
        self.log_group(label, &ids);
        self.marks.clear();
        (self.graph.beside, self.side) = (Beside::Groups, true);
        self.say(format!("{label}: {} nodes; {}", members.len(), self.what_groups_take()));
        self.show_graph();
        Ok(())
    }

    /// What can be done with a group.
    fn what_groups_take(&self) -> String {
        let (test, keep) = (self.graph_key(Action::TestNode), self.graph_key(Action::KeepOnly));
        format!("{test} tests a group, {keep} keeps it alone")
    }

    /// How groups come about.
    pub(super) fn how_groups_are_made(&self) -> String {
        let [mark, group, draft] = [Action::Mark, Action::Group, Action::DraftGroups].map(|a| self.graph_key(a));
        format!("no groups yet: {mark} marks nodes, {group} names the marked ones as a group, {draft} drafts groups")
    }

    /// The groups beside the tree, or the selected node again.
    pub(in crate::app) fn toggle_groups(&mut self) {
        let on = self.graph.beside != Beside::Groups;
        self.graph.beside = if on { Beside::Groups } else { Beside::Node };
        self.side = on;
        self.show_about();
    }

    /// Pins the selected node, or takes the pin away; pins are kept in the file.
    pub(in crate::app) fn pin(&mut self) {
        let Some((node, shown)) = self.graph_node().zip(self.graph.shown_mut()) else { return };
        if let Err(e) = shown.check_of_the_graph(&[node]) {
            return self.warn(e.to_string());
        }
        let id = shown.graph.nodes[node as usize].id.to_string();
        let pinned = &mut shown.graph.view.pinned;
        match pinned.iter().position(|p| *p == id) {
            Some(at) => {
                pinned.remove(at);
            }
            None => pinned.push(id),
        }
        self.relay_keeping_line();
        self.log_pin(node);
    }

    /// The group on the selected row of the pane beside.
    pub(in crate::app) fn selected_group(&self) -> Option<Group> {
        let shown = self.graph.shown().filter(|_| self.graph.beside == Beside::Groups && self.side)?;
        let pane = self.pane(Slot::GraphSide);
        pane.cell("group")?;
        // Labels may be equal: a group is known by its row.
        let (_, row) = pane.table()?;
        groups(&shown.graph).0.into_iter().nth(row)
    }

    /// What a test is to change: the selected group, the marked nodes together, or none of these.
    pub(in crate::app) fn tested_together(&self) -> Option<Subjects> {
        if let Some(group) = self.selected_group() {
            return Some(Subjects::Group(group.label, group.members));
        }
        let marked = self.marked_nodes();
        (marked.len() > 1).then(|| Subjects::Group("marked".into(), marked))
    }
}

impl App {
    /// Drafts groups of the kept units by their roles, beside those that are there; each is kept alone, and those that matter stay.
    pub(in crate::app) fn draft_groups(&mut self) {
        let Some(shown) = self.graph.shown_mut() else { return };
        let kept = shown.graph.pruned(&shown.influence, &shown.pruned);
        let drafts = kept.and_then(|kept| {
            let mut drafts = drafts(&kept)?;
            let number: HashMap<&str, usize> = shown.graph.by_id();
            for member in drafts.iter_mut().flat_map(|draft| &mut draft.group.members) {
                *member = short(number[&*kept.nodes[*member as usize].id]);
            }
            // What was opened since is none of the engine's graph.
            drafts.retain(|draft| draft.group.members.iter().all(|member| !shown.was_opened(*member)));
            Ok(drafts)
        });
        match drafts {
            Ok(drafts) if drafts.is_empty() => self.warn("no two units of the kept nodes play one role"),
            Ok(drafts) => {
                let groups = drafts.iter().map(|d| (d.group.label.clone(), d.group.members.clone())).collect();
                shown.drafts = drafts;
                (self.graph.beside, self.side) = (Beside::Groups, true);
                self.ask_tests_with(Subjects::Drafts(groups), Intervention::Mean);
            }
            Err(e) => self.fail(format!("{e:#}")),
        }
    }

    /// The drafted groups were kept alone: those that matter become groups.
    pub(in crate::app) fn take_drafts(&mut self, tested: TestedDrafts) {
        let Some(Ask::Test(tests)) = self.pane(Slot::Verify).asked.clone() else { return };
        let (members, more) = (self.graph_key(Action::Open), self.what_groups_take());
        let Some(shown) = self.graph.shown_mut().filter(|shown| shown.was(tests.graph)) else {
            return self.warn("the graph has changed since groups were drafted");
        };
        let TestedDrafts { kept, together, tested } = tested;
        kept.iter().chain(&together).for_each(|kept| shown.graph.record_kept(kept.clone()));
        let stays = |draft: &Draft| kept.iter().any(|kept| kept.label == draft.group.label);
        let drafts: Vec<Draft> = std::mem::take(&mut shown.drafts).into_iter().filter(stays).collect();
        // A graph that has grown since has other numbers: groups are known by ids.
        let groups = kept.iter().map(|kept| Supernode { label: kept.label.clone(), members: kept.members.clone() });
        shown.graph.view.supernodes.extend(groups);
        shown.evidence = Some(evidence(&shown.graph, &drafts));
        let share =
            |kept: &Kept| kept.found.faithfulness().map(|alone| format!("; together they do {alone:.3} of it alone"));
        let together = together.as_ref().and_then(share).unwrap_or_default();
        self.log_drafts(&tests, &kept);
        self.say(format!(
            "{} of {tested} drafted groups matter{together}: {members} shows members, {more}",
            kept.len()
        ));
        self.show_graph();
    }

    /// Enter on a group: its members are marked and the first is gone to.
    pub(in crate::app) fn open_group(&mut self, group: &Group) {
        if let Some(shown) = self.graph.shown() {
            self.marks = group.members.iter().filter_map(|n| shown.graph.nodes[*n as usize].address()).collect();
        }
        self.side = false;
        let unmark = self.graph_key(Action::ClearMarks);
        let n = group.members.len();
        self.say(format!("{}: its {n} nodes are marked; {unmark} unmarks them", group.label));
        let Some(shown) = self.graph.shown() else { return };
        match group.members.iter().find(|n| shown.pruned.nodes()[**n as usize]) {
            Some(first) => self.go_to_node(*first),
            None => self.warn(format!("{}: the thresholds leave none of its nodes; they are marked", group.label)),
        }
    }

    /// Both graphs of the prompt beside the tree.
    pub(in crate::app) fn compare_graphs(&mut self) {
        if self.graph.beside == Beside::Both {
            (self.graph.beside, self.side) = (Beside::Node, false);
        } else if self.graph.both().is_some() {
            (self.graph.beside, self.side) = (Beside::Both, true);
        } else {
            let other = self.graph_key(Action::Basis);
            self.warn(format!("only one graph of this prompt has been made: {other} makes the other"));
            return;
        }
        self.show_about();
    }
}

impl super::GraphTab {
    /// The comparison of both graphs; none while there is only one.
    pub(super) fn both(&self) -> Option<Report> {
        let (a, b) = (self.shown()?, self.other()?);
        let names = [self.basis.name(), self.basis.other().name()];
        Some(match crate::graph::compare::report(&a.graph, &b.graph, names) {
            Ok(report) => Report { facts: Vec::new(), ..report },
            Err(e) => {
                let mut report = Report::default();
                report.note("error", format!("{e:#}"));
                report
            }
        })
    }
}

/// Groups and the graph they make: every edge the sum of its members' edges.
pub(super) fn report(shown: &Shown, before: String) -> Report {
    let mut report = Report::default();
    let (groups, unknown) = groups(&shown.graph);
    if groups.is_empty() {
        report.note("none", before);
        return report;
    }
    let collapsed = match collapse(&shown.graph, &groups, None) {
        Ok(collapsed) => collapsed,
        Err(e) => {
            report.note("error", format!("{e:#}"));
            return report;
        }
    };
    let mut table = Table::new([
        Column::text("group"),
        Column::integer("nodes"),
        Column::number("faithfulness", "", 3),
        Column::number("completeness", "", 3),
        Column::number("influence", "", 4),
        Column::number("inner", "", 3),
        Column::number("residual", "", 6),
    ]);
    let target = &*shown.graph.nodes[shown.first_target() as usize].id;
    for (at, group) in groups.iter().enumerate() {
        let kept = kept_alone(&shown.graph, &group.label, Some(target));
        let influence: f64 = group.members.iter().map(|n| shown.influence.values()[*n as usize]).sum();
        table.push([
            Cell::Text(group.label.clone()),
            group.members.len().into(),
            kept.and_then(KeepOnly::faithfulness).into(),
            kept.and_then(KeepOnly::completeness).into(),
            single(influence).into(),
            single(collapsed.inner[at]).into(),
            collapsed.certificates[at].map_or(Cell::Empty, |c| c.residual.into()),
        ]);
    }
    report.table("groups", "", table);
    if let Some(evidence) = shown.evidence.as_ref().filter(|e| !e.rows.is_empty()) {
        report.table("evidence", "Why these were drafted", evidence.clone());
    }
    report.table("edges", "Edges, the sums of their members'", edges(shown, &groups, &collapsed));
    if !unknown.is_empty() {
        report.note("unknown", format!("members that the graph does not have: {}", unknown.join(" ")));
    }
    report
}

/// The strongest edges with a group at one end.
fn edges(shown: &Shown, groups: &[Group], collapsed: &Collapsed) -> Table {
    let name = |item: usize| match collapsed.items[item] {
        GroupItem::Group(group) => groups[group].label.clone(),
        GroupItem::Node(node) => shown.graph.nodes[node as usize].name(),
    };
    let is_group = |item: usize| matches!(collapsed.items[item], GroupItem::Group(_));
    let mut edges: Vec<_> = collapsed.edges.iter().filter(|e| is_group(e.target) || is_group(e.source)).collect();
    edges.sort_by(|a, b| b.weight.abs().total_cmp(&a.weight.abs()));
    let mut table = Table::new([
        Column::text("from"),
        Column::text("to"),
        Column::number("weight", "", 4),
        Column::number("absolute", "", 4),
        Column::integer("edges"),
    ]);
    for edge in edges.into_iter().take(EDGES) {
        table.push([
            Cell::Text(name(edge.source)),
            Cell::Text(name(edge.target)),
            single(edge.weight).into(),
            single(edge.absolute).into(),
            edge.count.into(),
        ]);
    }
    table
}
