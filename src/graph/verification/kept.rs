//! What a group of units does alone, and what is left without it.

/// A group matters when it is enough for this part of what the graph's units do, or needed for it.
const MATTERS: f32 = 0.05;

/// The target with parts of the graph's units mean-ablated.
///
/// `m(C)` keeps the group and ablates every other unit of the graph, `m(M - C)` the reverse; inputs, remainders, sinks and what the graph
/// does not show stay. Faithfulness is that of Wang et al. 2022; completeness is their incompleteness with the whole group taken out, turned so that 1
/// is good in both, as in a graph's scores.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct KeepOnly {
    /// Units in the group.
    pub kept: usize,
    /// Units outside of it.
    pub ablated: usize,
    /// `m(M)`: the target in the clean run.
    #[serde(with = "crate::report::plain::number")]
    pub whole: f32,
    /// `m(C)`: with all units but the group's ablated.
    #[serde(with = "crate::report::plain::number")]
    pub group: f32,
    /// `m(M - C)`: with the group's units ablated.
    #[serde(with = "crate::report::plain::number")]
    pub rest: f32,
    /// `m(0)`: with every unit of the graph ablated.
    #[serde(with = "crate::report::plain::number")]
    pub empty: f32,
}

impl KeepOnly {
    /// `(m(C) - m(0)) / (m(M) - m(0))`: how much of what the graph's units do the group does alone; `None` when they do nothing.
    pub fn faithfulness(&self) -> Option<f32> {
        self.share(self.group)
    }

    /// `(m(M) - m(M - C)) / (m(M) - m(0))`: how much of what the graph's units do goes with the group: 1 when nothing of it is left outside; `None`
    /// when they do nothing.
    pub fn completeness(&self) -> Option<f32> {
        self.share(self.rest).map(|left| 1.0 - left)
    }

    /// Whether a part worth naming of what the graph's units do stays with the group, or goes with it.
    pub fn matters(&self) -> bool {
        let large = |share: Option<f32>| share.is_some_and(|share| share.abs() >= MATTERS);
        large(self.faithfulness()) || large(self.completeness())
    }

    fn share(&self, value: f32) -> Option<f32> {
        let all = self.whole - self.empty;
        // A run that left the range of its numbers says nothing.
        (all.abs() > 1e-6).then(|| (value - self.empty) / all).filter(|share| share.is_finite())
    }
}

/// Drafted groups after each was kept alone.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct TestedDrafts {
    /// Those that matter ([`KeepOnly::matters`]), in the order they were drafted.
    pub kept: Vec<Kept>,
    /// All of those together; `None` of fewer than two.
    pub together: Option<Kept>,
    /// How many were tested.
    pub tested: usize,
}

/// A group of a graph that was kept alone.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Kept {
    /// What the group is called.
    pub label: String,
    /// Its members, by their ids.
    pub members: Vec<String>,
    /// The id of the target that was measured.
    pub target: String,
    /// What was measured.
    pub found: KeepOnly,
}
