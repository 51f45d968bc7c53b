//! All that a sweep has kept so far: of some shards, or of all of them.

use super::case::KeepSettings;
use super::layer::{LayerUnits, SiteSum};
use super::part::header::PartHeader;
use crate::model::site::{BlockSite, Site};
use std::collections::{BTreeMap, BTreeSet};

/// Sites whose mean is kept: the streams, and what heads mix. Where a block ends is kept of the last one alone; elsewhere the next begins there.
pub const SITES: [BlockSite; 4] = [BlockSite::ResidPre, BlockSite::Z, BlockSite::ResidMid, BlockSite::ResidPost];

/// A context that an example is in: the document of its first token, and which token of it that is.
pub type ContextKey = (u64, u32);

/// All that has been kept.
#[derive(Clone, Debug)]
pub struct State {
    /// What it is of.
    pub header: PartHeader,
    /// LayerUnits by layer.
    pub layers: Vec<LayerUnits>,
    /// Sums at sites of the residual stream and of heads.
    pub sites: BTreeMap<Site, SiteSum>,
    /// Token ids of contexts: of all that were run, or of those that examples are in.
    pub contexts: BTreeMap<ContextKey, Vec<u32>>,
    /// What every token id is shown as; empty without a tokenizer.
    pub vocabulary: Vec<String>,
}

impl State {
    /// Nothing seen yet.
    pub fn new(header: PartHeader, sites: &[(Site, usize)], vocabulary: Vec<String>) -> Self {
        let kept = header.spec.kept();
        let layers = (0..header.n_layers).map(|_| LayerUnits::new(header.d_mlp, header.n_cases, &kept)).collect();
        let sites = sites.iter().map(|(site, width)| (*site, SiteSum::new(*width))).collect();
        State { header, layers, sites, contexts: BTreeMap::new(), vocabulary }
    }

    /// How much is kept of each unit.
    pub fn kept(&self) -> KeepSettings {
        self.header.spec.kept()
    }

    /// Forgets contexts that no example is in.
    pub fn prune(&mut self) {
        let mut used = BTreeSet::new();
        for case in self.layers.iter().flat_map(|layer| &layer.units).flat_map(|unit| &unit.cases) {
            used.extend(case.top.iter().map(|example| example.context()));
            used.extend(case.octaves.iter().filter(|(_, e)| e.is_there()).map(|(_, e)| e.context()));
        }
        self.contexts.retain(|key, _| used.contains(key));
    }
}
