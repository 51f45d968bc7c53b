//! From rows to a graph.

use super::EXPLAINED;
use super::candidates::Candidates;
use super::choose::LogitTarget;
use crate::cast::single;
use crate::graph::{Certificate, Generator, Graph, Metadata, Node, RowStore};
use crate::model::text::Piece;
use crate::replacement::EffectRow;
use anyhow::Result;
use std::collections::{BTreeSet, HashMap};

/// Rows that are taken in between two questions whether to go on.
const ROWS_AT_ONCE: usize = 32;

impl Candidates<'_> {
    /// Nodes in circuit-tracer's order: units, remainders, embeddings, logits.
    pub fn graph(
        &self,
        tokens: &[Piece],
        targets: &[LogitTarget],
        chosen: &[usize],
        rows: &HashMap<usize, EffectRow>,
        complete: bool,
        go_on: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Graph> {
        let (n_layers, n_pos) = (self.frozen.n_layers(), self.frozen.n_pos);
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let chosen: BTreeSet<usize> = chosen.iter().copied().collect();
        let shown: Vec<usize> =
            self.shown_columns().into_iter().filter(|c| *c >= self.units.len() || chosen.contains(c)).collect();
        let mut nodes = Vec::with_capacity(shown.len() + targets.len());
        for &u in &chosen {
            let unit = self.units[u];
            let (l, i, p) = (small(unit.layer), unit.index as u64, small(unit.position));
            let make = if self.is_features() { Node::feature } else { Node::neuron };
            let always_on = self.always_on.contains(&(unit.layer, unit.index));
            nodes.push(Node { always_on, ..make(l, i, p, unit.activation) });
        }
        for l in 0..n_layers {
            nodes.extend((self.zero_positions..n_pos).map(|p| Node::error(small(l), small(p))));
        }
        for (p, token) in tokens.iter().enumerate() {
            nodes.push(Node { label: token.text.clone(), ..Node::embedding(token.id, small(p)) });
        }
        let n_positional = shown.len() - nodes.len();
        nodes.extend((0..n_positional).map(|p| Node::positional_embedding(small(p))));
        let first_logit = nodes.len();
        let last = small(n_pos - 1);
        for (key, t) in targets.iter().enumerate() {
            let node = match t.weights[..] {
                [(id, _)] => Node::logit(id, &t.name, t.probability, small(n_layers), last),
                _ => Node::contrast(&t.name, small(n_layers), last).with_weights(&t.weights),
            };
            nodes.push(match rows.get(&key) {
                Some(row) => node.with_heads(self.frozen.n_heads(), &row.heads),
                None => node,
            });
        }
        let mut store = RowStore::new(nodes.len());
        let at: Vec<u32> = (0..shown.len()).map(small).collect();
        let logit_rows = (0..targets.len()).map(|t| (first_logit + t, t));
        let unit_rows = chosen.iter().enumerate().map(|(node, u)| (node, targets.len() + u));
        let (logits, spare) = (self.logits(targets)?, self.spare(&chosen));
        for (i, (node, key)) in logit_rows.chain(unit_rows).enumerate() {
            if i % ROWS_AT_ONCE == 0 {
                go_on()?;
            }
            let Some(row) = rows.get(&key) else { continue };
            let value = match key.checked_sub(targets.len()) {
                Some(unit) => self.units[unit].value,
                None => logits[key].value,
            };
            let (effects, abs_sum) = self.without_spare(row, &spare);
            let weights: Vec<f32> = shown.iter().map(|c| effects[*c]).collect();
            let known = |c: &usize| *c < self.units.len() || *c >= self.sources.columns.token(0);
            let explained: f32 = shown.iter().filter(|c| known(c)).map(|c| effects[*c].abs()).sum();
            let unexplained = if abs_sum > 0.0 { 1.0 - (explained + row.bias.abs()) / abs_sum } else { 0.0 };
            let (bias, residual, unexplained) = (row.bias, row.residual, unexplained.clamp(0.0, 1.0));
            nodes[node].certificate = Some(Certificate { value, bias, residual, abs_sum, unexplained });
            store.set_dense(node, &at, &weights)?;
        }
        let mut graph = Graph::new(self.metadata(tokens, targets, complete), nodes, store.edges())?;
        graph.view.extras.insert("linkType".into(), "both".into());
        Ok(graph)
    }

    /// Units that were candidates only, each with the column of the remainder that they are part of. (circuit-tracer leaves features out that it
    /// did not select; so do we.)
    fn spare(&self, chosen: &BTreeSet<usize>) -> Vec<(usize, usize)> {
        if self.is_features() {
            return Vec::new();
        }
        let spare = self.units.iter().enumerate().filter(|(u, _)| !chosen.contains(u));
        spare.map(|(u, unit)| (u, self.sources.columns.remainder(unit.layer, unit.position))).collect()
    }

    /// A row's effects and their absolute sum, with what [`Candidates::spare`] names back in the remainders.
    fn without_spare(&self, row: &EffectRow, spare: &[(usize, usize)]) -> (Vec<f32>, f32) {
        let mut effects = row.effects.clone();
        if spare.is_empty() {
            return (effects, row.abs_sum);
        }
        for &(unit, remainder) in spare {
            effects[remainder] += std::mem::take(&mut effects[unit]);
        }
        let sum: f64 = effects.iter().map(|x| x.abs() as f64).sum();
        (effects, single(sum + row.bias.abs() as f64))
    }

    fn metadata(&self, tokens: &[Piece], targets: &[LogitTarget], complete: bool) -> Metadata {
        let names: Vec<&str> = targets.iter().map(|t| t.name.as_str()).collect();
        let mut extras = serde_json::Map::new();
        let unit = if self.is_features() { "feature" } else { "neuron" };
        extras.insert("node_type".into(), unit.into());
        let mut settings = serde_json::Map::new();
        settings.insert("max_feature_nodes".into(), self.limit.into());
        settings.insert("zero_positions".into(), self.zero_positions.into());
        if let Some(explained) = &self.explained {
            let rounded = |x: f32| (f64::from(x) * 1e4).round() / 1e4;
            let shares: Vec<f64> = explained.layers().iter().map(|x| rounded(*x)).collect();
            settings.insert(EXPLAINED.into(), shares.into());
        }
        if self.model.decoder.blocks.iter().any(|block| block.mlp.gate.is_some()) {
            settings.insert("gate".into(), self.gate.name().into());
        }
        if let Some(cap) = self.model.decoder.arch.final_softcap {
            settings.insert("target_logits".into(), format!("before the final soft-cap of {cap}").into());
        }
        extras.insert("generation_settings".into(), settings.into());
        Metadata {
            slug: "graph".into(),
            scan: self.dictionary.map_or_else(|| self.model.source.to_string(), |d| d.name.clone()),
            prompt: tokens.iter().map(|t| t.text.as_str()).collect(),
            prompt_tokens: tokens.iter().map(|t| t.text.clone()).collect(),
            prompt_ids: tokens.iter().map(|t| t.id).collect(),
            model: Some(self.model.source.to_string()),
            dictionary: self.dictionary.filter(|d| !d.travels).map(|d| d.name.clone()),
            target: Some(names.join(", ")),
            partial: !complete,
            schema_version: Some(1),
            generator: Some(Generator { name: "mechscope".into(), version: env!("CARGO_PKG_VERSION").into() }),
            extras,
            ..Metadata::default()
        }
    }
}
