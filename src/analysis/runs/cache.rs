//! Runs of one model by tokens and edits, the latest used last, bounded in bytes.

use crate::address::Edit;
use crate::model::site::Site;
use crate::model::text::Bos;
use crate::model::trace::Trace;
use anyhow::Result;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a run is a run of.
#[derive(Clone, Debug, PartialEq)]
pub struct RunKey {
    /// The tokens.
    pub ids: Vec<u32>,
    /// The edits; none of a clean run.
    pub edits: Vec<Edit>,
    /// How prompts named in edits are encoded.
    pub bos: Bos,
}

impl RunKey {
    /// Whether both are of the same run: how other prompts are encoded is nothing to a clean one.
    fn is(&self, other: &RunKey) -> bool {
        self.ids == other.ids && self.edits == other.edits && (self.edits.is_empty() || self.bos == other.bos)
    }
}

/// Runs of one model. A job may ask for one while another job's run is being made.
pub struct RunCache {
    limit: usize,
    /// The latest used last.
    runs: RefCell<Vec<(RunKey, Arc<Trace>)>>,
}

impl RunCache {
    /// Keeps runs as long as they take at most `limit` bytes together; the latest one in any case.
    pub fn new(limit: usize) -> Self {
        RunCache { limit, runs: RefCell::default() }
    }

    /// The run of `key` with at least these sites: as it is kept, or else as `run` makes it with these sites and all it had before.
    ///
    /// # Errors
    /// What `run` returns; what was kept stays.
    pub fn run(
        &self,
        key: RunKey,
        mut sites: BTreeSet<Site>,
        run: &mut dyn FnMut(BTreeSet<Site>) -> Result<Trace>,
    ) -> Result<Arc<Trace>> {
        if let Some(kept) = self.find(&key) {
            if sites.iter().all(|site| kept.batched(*site).is_some()) {
                return Ok(kept);
            }
            sites.extend(kept.sites().map(|(site, _)| site));
        }
        let made = Arc::new(run(sites)?);
        self.keep(key, made.clone());
        Ok(made)
    }

    /// Forgets the runs of edits: what they name is another thing from now on.
    pub fn forget_edited(&self) {
        self.runs.borrow_mut().retain(|(key, _)| key.edits.is_empty());
    }

    /// Bytes that all runs take.
    pub fn bytes(&self) -> usize {
        self.runs.borrow().iter().map(|(_, run)| run.bytes()).sum()
    }

    fn find(&self, key: &RunKey) -> Option<Arc<Trace>> {
        let mut runs = self.runs.borrow_mut();
        let at = runs.iter().position(|(k, _)| k.is(key))?;
        let found = runs.remove(at);
        let run = found.1.clone();
        runs.push(found);
        Some(run)
    }

    fn keep(&self, key: RunKey, run: Arc<Trace>) {
        let mut runs = self.runs.borrow_mut();
        runs.retain(|(k, _)| !k.is(&key));
        runs.push((key, run));
        let mut total: usize = runs.iter().map(|(_, run)| run.bytes()).sum();
        while total > self.limit && runs.len() > 1 {
            total -= runs.remove(0).1.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u32) -> RunKey {
        RunKey { ids: vec![id], edits: Vec::new(), bos: Bos::Auto }
    }

    fn site(at: Site, wide: usize) -> Trace {
        let of = candle_core::Tensor::zeros((1, wide), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
        let mut trace = Trace::new(vec![vec![0]]);
        trace.record(at, of);
        trace
    }

    #[test]
    fn what_is_kept_is_not_run_again_and_the_oldest_goes_first() {
        let cache = RunCache::new(3 * 40);
        let ran = std::cell::Cell::new(0);
        let ask = |id: u32, wanted: Site| {
            let mut make = |sites: BTreeSet<Site>| {
                ran.set(ran.get() + 1);
                let mut trace = Trace::new(vec![vec![id]]);
                for s in sites {
                    trace.record(s, site(s, 10).get(s).unwrap().unsqueeze(0).unwrap());
                }
                Ok(trace)
            };
            cache.run(key(id), [wanted].into(), &mut make).unwrap()
        };
        ask(1, Site::Embed);
        ask(1, Site::Embed);
        assert_eq!(ran.get(), 1, "kept");
        assert!(ask(1, Site::Logits).batched(Site::Embed).is_some(), "what it had before is there still");
        assert_eq!((ran.get(), cache.bytes()), (2, 80));
        ask(2, Site::Embed);
        ask(1, Site::Logits);
        ask(3, Site::Embed);
        assert_eq!((ran.get(), cache.bytes()), (4, 120), "2 was the longest unused");
        ask(1, Site::Embed);
        assert_eq!(ran.get(), 4);
        ask(2, Site::Embed);
        assert_eq!(ran.get(), 5);
    }

    #[test]
    fn a_run_that_fails_takes_nothing_away() {
        let cache = RunCache::new(1000);
        cache.run(key(1), [Site::Embed].into(), &mut |_| Ok(site(Site::Embed, 4))).unwrap();
        let more = cache.run(key(1), [Site::Logits].into(), &mut |_| anyhow::bail!("cancelled"));
        assert!(more.is_err());
        cache.run(key(1), [Site::Embed].into(), &mut |_| panic!("it is kept")).unwrap();
    }

    #[test]
    fn edits_part_runs_and_a_clean_run_has_no_other_prompts() {
        let edit: Edit = "L0.H0=0".parse().unwrap();
        let clean = RunKey { ids: vec![1], edits: Vec::new(), bos: Bos::Never };
        assert!(key(1).is(&clean));
        let edited = |bos| RunKey { ids: vec![1], edits: vec![edit.clone()], bos };
        assert!(!key(1).is(&edited(Bos::Auto)) && !edited(Bos::Auto).is(&edited(Bos::Never)));
    }
}
