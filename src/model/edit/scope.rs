//! What edits are resolved against, and what they touch there in numbers.

use super::super::Model;
use super::super::arch::Decoder;
use super::super::dictionary::Dictionary;
use super::super::site::{BlockSite as S, Site};
use crate::address::{Address, Component, Edit, EditTarget, Extent, Numbered, Op, Part, Parts, Places};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// A model and a prompt: what edits are resolved against.
pub struct Scope<'a> {
    pub(super) decoder: &'a Decoder,
    /// The dictionary whose features can be edited.
    pub(super) dictionary: Option<Arc<Dictionary>>,
    n_pos: usize,
    /// The texts of the prompt's tokens, where they are known.
    tokens: Option<Vec<String>>,
}

/// What an edit touches, in numbers of this model and prompt.
pub(super) enum Touched {
    /// Edges, `(head, query, key)`, that are taken out of a layer's attention.
    Cut { layer: usize, edges: Vec<(usize, usize, usize)> },
    /// Entries, `(query, key)`, of the patterns of some heads.
    Pattern { layer: usize, heads: Range<usize>, entries: Vec<(usize, usize)> },
    /// Features of a layer.
    Features { layer: usize, features: Range<usize>, rows: Vec<usize> },
    /// Columns of a site; each unit has `width` of them.
    Columns { site: Site, rows: Vec<usize>, cols: Range<usize>, width: usize },
}

impl<'a> Scope<'a> {
    /// A prompt of `n_pos` tokens whose texts are not known; no dictionary.
    pub fn new(decoder: &'a Decoder, n_pos: usize) -> Self {
        Scope { decoder, dictionary: None, n_pos, tokens: None }
    }

    /// A prompt of a model, with the model's dictionary.
    pub fn of(model: &'a Model, tokens: &[u32]) -> Self {
        let texts = tokens.iter().map(|id| model.piece(*id)).collect();
        let dictionary = model.dictionary();
        Scope { decoder: &model.decoder, dictionary, n_pos: tokens.len(), tokens: Some(texts) }
    }

    /// Tokens of the prompt.
    pub fn n_pos(&self) -> usize {
        self.n_pos
    }

    /// How far addresses go.
    pub fn extent(&self) -> Extent {
        let a = &self.decoder.arch;
        Extent {
            n_layers: a.n_layers,
            n_heads: a.n_heads,
            n_kv_heads: a.n_kv_heads,
            d_mlp: a.d_mlp,
            d_vocab: a.d_vocab,
            n_pos: self.n_pos,
            n_features: self.dictionary.as_ref().map(|d| d.n_features.iter().copied().max().unwrap_or(0)),
        }
    }

    /// What an edit touches, layer by layer.
    ///
    /// # Errors
    /// Nothing: no such unit, a site that this model does not have, an edge outside the window.
    pub(super) fn touched(&self, edit: &Edit) -> Result<Vec<Touched>> {
        self.touched_by(&edit.target, &edit.op).with_context(|| edit.to_string())
    }

    fn touched_by(&self, target: &EditTarget, op: &Op) -> Result<Vec<Touched>> {
        let reach = target.resolve(&self.extent(), self.tokens.as_deref())?;
        let rows = reach.positions;
        let parts = match &target.places {
            Places::Embed => {
                let d = self.decoder.arch.d_model;
                return Ok(vec![Touched::Columns { site: Site::Embed, rows, cols: 0..d, width: d }]);
            }
            Places::Logit(_) => bail!(
                "{target} is an answer of the model and cannot be changed; accepted: embed, heads and their q, k, v and pattern, neurons, attn, mlp, resid_pre, resid_mid, resid_post"
            ),
            Places::Layers(_, parts) => *parts,
        };
        let mut all = Vec::with_capacity(reach.layers.len());
        for layer in reach.layers {
            let numbers = reach.numbers.clone();
            all.push(match (parts, &reach.edges) {
                (Parts::Numbered(Numbered::Pattern, _), edges) => {
                    let entries = match edges {
                        Some(edges) => edges.clone(),
                        None => rows.iter().flat_map(|q| (0..=*q).map(|k| (*q, k))).collect(),
                    };
                    let entries = self.seen(layer, entries)?;
                    Touched::Pattern { layer, heads: numbers, entries }
                }
                (_, Some(edges)) => {
                    ensure!(
                        *op == Op::Set(0.0),
                        "an edge can only be taken out (=0), the rest of the row is renormalised; accepted: {}, which changes the entry alone",
                        entry(target)
                    );
                    let edges = self.seen(layer, edges.clone())?;
                    let edges = numbers.flat_map(|h| edges.iter().map(move |(q, k)| (h, *q, *k))).collect();
                    Touched::Cut { layer, edges }
                }
                (Parts::Numbered(Numbered::Feature, _), None) => {
                    let there = self.dictionary.as_ref().and_then(|d| d.n_features.get(layer)).copied().unwrap_or(0);
                    ensure!(numbers.end <= there, "feature {}: layer {layer} has {there} features", numbers.end - 1);
                    Touched::Features { layer, features: numbers, rows: rows.clone() }
                }
                (Parts::Numbered(kind, _), None) => {
                    let (site, width) = self.numbered(layer, kind.part(0));
                    let cols = numbers.start * width..numbers.end * width;
                    Touched::Columns { site, rows: rows.clone(), cols, width }
                }
                (Parts::Only(part), None) => {
                    let site = self.stream(layer, part)?;
                    let d = self.decoder.arch.d_model;
                    Touched::Columns { site, rows: rows.clone(), cols: 0..d, width: d }
                }
            });
        }
        Ok(all)
    }

    /// The entries that lie in the window of a layer.
    fn seen(&self, layer: usize, entries: Vec<(usize, usize)>) -> Result<Vec<(usize, usize)>> {
        let Some(window) = self.decoder.blocks[layer].attention.window else { return Ok(entries) };
        if let [(query, key)] = entries[..] {
            ensure!(
                query - key < window,
                "query {query} does not see key {key}: the window of layer {layer} is {window} positions"
            );
        }
        let seen: Vec<(usize, usize)> = entries.into_iter().filter(|(q, k)| q - k < window).collect();
        ensure!(!seen.is_empty(), "none of these keys is seen: the window of layer {layer} is {window} positions");
        Ok(seen)
    }

    /// The site of parts with numbers that have columns of their own, and how many columns each has.
    fn numbered(&self, layer: usize, part: Part) -> (Site, usize) {
        let width = self.decoder.arch.d_head;
        let (site, width) = match part {
            Part::Query(_) => (S::Q, width),
            Part::Key(_) | Part::SharedKey(_) => (S::K, width),
            Part::Value(_) | Part::SharedValue(_) => (S::V, width),
            Part::Neuron(_) => (S::MlpPost, 1),
            _ => (S::Z, width),
        };
        (Site::Block(layer, site), width)
    }

    /// The site of a part that a layer has one of.
    fn stream(&self, layer: usize, part: Part) -> Result<Site> {
        let site = match part {
            Part::Attn => S::AttnOut,
            Part::Mlp => S::MlpOut,
            Part::ResidPre => S::ResidPre,
            Part::ResidMid => S::ResidMid,
            Part::Error => bail!("what a dictionary fails to reconstruct cannot be edited; accepted: features, mlp"),
            _ => S::ResidPost,
        };
        let site = Site::Block(layer, site);
        ensure!(
            self.decoder.has_site(site),
            "this model has no {site}: its attention and MLP run side by side (accepted: resid_pre, resid_post)"
        );
        Ok(site)
    }
}

/// The entry of a pattern that an edge goes through, as an example of an edit.
fn entry(edge: &EditTarget) -> String {
    let mut entry = edge.clone();
    if let Places::Layers(_, Parts::Numbered(kind, _)) = &mut entry.places {
        *kind = Numbered::Pattern;
    }
    format!("{entry}=0.5")
}

/// The site that holds a unit's value, and which of its columns.
///
/// # Errors
/// The unit has no columns of its own in the forward pass: a logit, a pattern, or a part of a dictionary.
pub fn place(model: &Decoder, address: &Address) -> Result<(Site, Range<usize>)> {
    let scope = Scope::new(model, 0);
    let d = model.arch.d_model;
    match &address.place {
        Component::Embed => Ok((Site::Embed, 0..d)),
        Component::Logit(_) => {
            bail!(
                "{address} is an answer of the model and cannot be changed; accepted: embed, heads, neurons, attn, mlp, resid_pre, resid_mid, resid_post"
            )
        }
        Component::Unit { part: Part::Feature(_) | Part::Error, .. } => bail!("{address}: no dictionary is loaded"),
        Component::Unit { part: Part::Pattern(_), .. } => {
            bail!("{address}: a pattern has no value at one position; accepted: the head, its q, k or v")
        }
        Component::Unit { layer, part } => match Parts::from(*part) {
            Parts::Only(part) => Ok((scope.stream(*layer, part)?, 0..d)),
            Parts::Numbered(_, number) => {
                let (site, width) = scope.numbered(*layer, *part);
                let number = number.single().unwrap_or(0);
                Ok((site, number * width..(number + 1) * width))
            }
        },
    }
}

/// The sites of the clean run that `edits` read or start from: record these and an edited run can reuse it.
///
/// # Errors
/// An edit of a unit that does not exist.
pub fn needs(scope: &Scope, edits: &[Edit]) -> Result<BTreeSet<Site>> {
    let mut sites = BTreeSet::new();
    let mut first = None::<usize>;
    for edit in edits {
        for touched in scope.touched(edit)? {
            let layer = match touched {
                Touched::Cut { layer, .. } | Touched::Pattern { layer, .. } => Some(layer),
                Touched::Features { layer, .. } => {
                    if let (Op::Mean, Some(dictionary)) = (&edit.op, &scope.dictionary) {
                        sites.extend(dictionary.read_sites(layer, scope.decoder.arch.parallel));
                    }
                    Some(layer)
                }
                Touched::Columns { site, .. } => {
                    if edit.op == Op::Mean {
                        sites.insert(site);
                    }
                    site.layer()
                }
            };
            // The embedding is edited: there is nothing to start from.
            let Some(layer) = layer else { return Ok(sites) };
            first = Some(first.map_or(layer, |f| f.min(layer)));
        }
    }
    sites.extend(first.map(|l| Site::Block(l, S::ResidPre)));
    Ok(sites)
}
