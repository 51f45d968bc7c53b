//! Contexts of an index taken at random.

use super::Index;
use crate::corpus::example::position_hash;
use crate::corpus::state::ContextKey;
use crate::corpus::tensors::{Kind, numbers};
use anyhow::{Context, Result};
use std::collections::BTreeSet;

impl Index {
    /// `n` contexts, drawn by hash, of those that are kept and not among `except`; the same every time for a seed. Their token ids.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn contexts_by_hash(&self, seed: u64, n: usize, except: &BTreeSet<ContextKey>) -> Result<Vec<Vec<u32>>> {
        let list = |name: &str, kind| {
            let shape = self.file.shape(name).with_context(|| format!("tensor {name:?} is missing"))?.1.to_vec();
            self.file.read(name, kind, &shape)
        };
        let doc = numbers(&list("context.doc", Kind::U64)?, u64::from_le_bytes);
        let start = numbers(&list("context.start", Kind::U32)?, u32::from_le_bytes);
        let mut keys: Vec<ContextKey> = doc.into_iter().zip(start).filter(|key| !except.contains(key)).collect();
        keys.sort_by_key(|(doc, start)| (position_hash(seed, *doc, *start, 0), *doc, *start));
        keys.truncate(n);
        Ok(keys.into_iter().map(|key| self.context(key)).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }
}
