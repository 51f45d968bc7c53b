//! Whether a group is enough, and whether it is needed.

use super::{TestPlan, Verifier};
use crate::analysis::{About, Evidence, MethodCommand, MethodDirection};
use crate::cast::{short, single};
use crate::graph::verification::{Intervention, KeepOnly, Kept, TestedDrafts};
use crate::model::forward::Step;
use anyhow::{Result, ensure};
use std::collections::BTreeSet;

/// The entry of `mechscope verify --groups`.
pub static KEEP_ONLY: MethodCommand = MethodCommand {
    about: About {
        name: "keep-only",
        title: "faithfulness and completeness of a group",
        question: "Is a group of units enough for the answer, and is it needed?",
        direction: MethodDirection::TopDown,
        unit: "group of units",
        evidence: Evidence::Intervention,
        assumes: "the mean over the prompt's positions stands for a unit doing nothing in particular; inputs, remainders, sinks and what the graph does not \
                  show stay as they are",
        cost: "4 forward passes",
        reference: "Wang et al. 2022, Interpretability in the Wild",
        params: &[],
    },
    run: "mechscope verify FILE --groups",
};

/// What the groups that matter are called when they are kept together.
const TOGETHER: &str = "the groups together";

impl Verifier<'_> {
    /// [`Verifier::keep_only`] as a graph keeps it.
    ///
    /// # Errors
    /// As [`Verifier::keep_only`].
    pub fn kept(&self, label: &str, group: &[u32], step: Step) -> Result<Kept> {
        let found = self.keep_only(group, step)?;
        let id = |node: &u32| self.on.node(*node).id.to_string();
        Ok(Kept { label: label.to_owned(), members: group.iter().map(id).collect(), target: id(&self.target), found })
    }

    /// Keeps each of these groups alone, and then those that matter together.
    ///
    /// # Errors
    /// As [`Verifier::keep_only`]; `step` is called with the groups that are done, and all.
    pub fn drafts(&self, groups: &[(String, Vec<u32>)], step: Step) -> Result<TestedDrafts> {
        let all = groups.len() + 1;
        let (mut kept, mut members) = (Vec::new(), Vec::new());
        for (done, (label, group)) in groups.iter().enumerate() {
            let found = self.kept(label, group, &mut |_, _| step(done, all))?;
            if found.found.matters() {
                members.extend(group);
                kept.push(found);
            }
        }
        let together = match kept.len() {
            0 | 1 => None,
            _ => Some(self.kept(TOGETHER, &members, &mut |_, _| step(groups.len(), all))?),
        };
        Ok(TestedDrafts { kept, together, tested: groups.len() })
    }

    /// Runs with all other units of the graph mean-ablated, with these mean-ablated, and with all.
    ///
    /// # Errors
    /// A group without units; a member that is neither unit nor input; what `step` returns.
    pub fn keep_only(&self, group: &[u32], step: Step) -> Result<KeepOnly> {
        let is_unit = |n: &u32| self.on.node(*n).can_be_kept();
        for node in group.iter().map(|m| self.on.node(*m)) {
            ensure!(
                node.can_be_kept() || node.kind.is_input(),
                "{} cannot be kept; accepted: units and inputs",
                node.name()
            );
        }
        // Inputs stay in all runs; a member that is named twice is ablated once.
        let group: BTreeSet<u32> = group.iter().copied().filter(is_unit).collect();
        let group: Vec<u32> = group.into_iter().collect();
        ensure!(
            !group.is_empty(),
            "the group has no units that could be kept; accepted: neurons, features, heads and MLPs"
        );
        let all: Vec<u32> = (0..short(self.on.graph.nodes.len())).filter(is_unit).collect();
        let others: Vec<u32> = all.iter().copied().filter(|n| !group.contains(n)).collect();
        let ablated = |nodes: &[u32]| -> Result<TestPlan> {
            let mut acts = TestPlan::default();
            for node in nodes {
                let one = self.node_acts(*node, &Intervention::Mean)?;
                acts.edits.extend(one.edits);
                acts.rows.extend(one.rows);
            }
            Ok(acts)
        };
        let acts = [ablated(&others)?, ablated(&group)?, ablated(&all)?];
        let acts: Vec<&TestPlan> = acts.iter().collect();
        let values = self.values(3, &self.plan(&acts)?, &[self.target], step)?;
        let whole = single(self.on.values(&self.on.trace, 1, &[self.target])?[0][0]);
        let [group_alone, rest, empty] = [0, 1, 2].map(|run: usize| single(values[run][0]));
        Ok(KeepOnly { kept: all.len() - others.len(), ablated: others.len(), whole, group: group_alone, rest, empty })
    }
}
