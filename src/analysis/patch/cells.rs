//! What is patched: one cell of a grid at a time.

use super::{By, Patch, Where};
use crate::address::{Address, Part, resolve_position};
use crate::model::arch::Decoder;
use crate::model::site::{BlockSite as S, Site};
use anyhow::{Result, bail, ensure};
use std::ops::Range;

/// One cell: columns of a site at some positions.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// The layer.
    pub layer: usize,
    /// The head, key/value head or neuron; all of the site if none.
    pub unit: Option<usize>,
    /// The position; all if none.
    pub position: Option<usize>,
    /// The unit's address, where one address names it.
    pub address: Option<Address>,
    /// What it is called where no one address does: `L3.H*@5`.
    pub name: String,
    /// Columns of the site at one position; heads of a pattern.
    pub(super) cols: Range<usize>,
    /// The positions; queries of a pattern.
    pub(super) positions: Range<usize>,
}

impl Where {
    /// The site of a layer.
    pub(super) fn site(self, layer: usize) -> Site {
        let site = match self {
            Where::ResidPre => S::ResidPre,
            Where::ResidMid => S::ResidMid,
            Where::ResidPost => S::ResidPost,
            Where::AttnOut => S::AttnOut,
            Where::MlpOut => S::MlpOut,
            Where::Z => S::Z,
            Where::Q => S::Q,
            Where::K => S::K,
            Where::V => S::V,
            Where::Pattern => S::Pattern,
            Where::Neuron => S::MlpPost,
        };
        Site::Block(layer, site)
    }

    /// How many units it has, and how many columns each; a pattern has heads without columns. None: it is one.
    pub(super) fn units(self, model: &Decoder) -> Option<(usize, usize)> {
        let arch = &model.arch;
        match self {
            Where::Z | Where::Q => Some((arch.n_heads, arch.d_head)),
            Where::K | Where::V => Some((arch.n_kv_heads, arch.d_head)),
            Where::Pattern => Some((arch.n_heads, 1)),
            Where::Neuron => Some((arch.d_mlp, 1)),
            _ => None,
        }
    }

    /// The part of a layer that a unit is; `shared`: query heads share keys and values.
    fn part(self, unit: usize, shared: bool) -> Part {
        match self {
            Where::ResidPre => Part::ResidPre,
            Where::ResidMid => Part::ResidMid,
            Where::ResidPost => Part::ResidPost,
            Where::AttnOut => Part::Attn,
            Where::MlpOut => Part::Mlp,
            Where::Z => Part::Head(unit),
            Where::Q => Part::Query(unit),
            Where::K if shared => Part::SharedKey(unit),
            Where::K => Part::Key(unit),
            Where::V if shared => Part::SharedValue(unit),
            Where::V => Part::Value(unit),
            Where::Pattern => Part::Pattern(unit),
            Where::Neuron => Part::Neuron(unit),
        }
    }
}

/// All cells of a question, in the model's order.
///
/// # Errors
/// Heads of a site that has none, neurons of all layers at once, a site that this model does not have, a layer or position that does not exist.
pub(super) fn cells(model: &Decoder, patch: &Patch, n_pos: usize) -> Result<Vec<Cell>> {
    let (site, units) = (patch.site, patch.site.units(model));
    let by = patch.by.unwrap_or(if units.is_some() { By::Head } else { By::Position });
    let word = site.name();
    ensure!(
        units.is_some() || by == By::Position,
        "{word} has no heads; accepted: --by position, or --site z, q, k, v, pattern, neuron"
    );
    let n_layers = model.arch.n_layers;
    if let Some(layer) = patch.layer {
        ensure!(layer < n_layers, "layer {layer}: this model has layers 0..={}", n_layers - 1);
    }
    ensure!(
        site != Where::Neuron || by == By::Position || patch.layer.is_some(),
        "one run for each neuron of every layer is too much; accepted: --layer L, or --by position"
    );
    if !model.has_site(site.site(0)) {
        bail!("this model has no {word}: its attention and MLP run side by side (accepted: resid_pre, resid_post)");
    }
    let at = patch.at.map(|p| resolve_position(p, n_pos)).transpose()?;
    let places: Vec<Option<usize>> = match (by, at) {
        (_, Some(p)) => vec![Some(p)],
        (By::Head, None) => vec![None],
        (By::Position | By::Both, None) => (0..n_pos).map(Some).collect(),
    };
    let shared = model.arch.n_kv_heads < model.arch.n_heads;
    let mut cells = Vec::new();
    for layer in patch.layer.map_or(0..n_layers, |l| l..l + 1) {
        let chosen: Vec<Option<usize>> = match (by, units) {
            (By::Head | By::Both, Some((n, _))) => (0..n).map(Some).collect(),
            _ => vec![None],
        };
        for unit in chosen {
            for position in &places {
                let one = Address::unit(layer, site.part(unit.unwrap_or(0), shared));
                let here = position.map_or(one.clone(), |p| one.clone().at(p as i64));
                let address = (unit.is_some() || units.is_none()).then(|| here.clone());
                let cols = match (units, unit) {
                    (None, _) => 0..model.arch.d_model,
                    (Some((n, width)), None) => 0..n * width,
                    (Some((_, width)), Some(unit)) => unit * width..(unit + 1) * width,
                };
                // All heads at once: the first one's address with a star for its number.
                let name = here.to_string().replacen("H0", "H*", 1).replacen("N0", "N*", 1).replacen("KV0", "KV*", 1);
                let positions = position.map_or(0..n_pos, |p| p..p + 1);
                cells.push(Cell { layer, unit, position: *position, address, name, cols, positions });
            }
        }
    }
    Ok(cells)
}
