//! What is patched: one cell of a grid at a time.

use super::{PatchCells, PatchQuestion, PatchSite};
use crate::address::{Address, Part, Parts, Places, Span, resolve_position};
use crate::cast::signed;
use crate::model::arch::Decoder;
use crate::model::site::{BlockSite as S, Site};
use anyhow::{Result, bail, ensure};
use std::ops::Range;

/// One cell: columns of a site at some positions.
#[derive(Clone, Debug, PartialEq)]
pub struct PatchCell {
    /// The layer.
    pub layer: usize,
    /// The head, key/value head or neuron; all of the site if none.
    pub unit: Option<usize>,
    /// The position; all if none.
    pub position: Option<usize>,
    /// The unit's address, where one address names it.
    pub address: Option<Address>,
    /// What it is called, also where no one address does: `L3.H*@5`.
    pub name: String,
    /// Columns of the site at one position; heads of a pattern.
    pub(super) cols: Range<usize>,
    /// The positions; queries of a pattern.
    pub(super) positions: Range<usize>,
}

impl PatchCell {
    /// The same cell at a position that is called `at`, because it is another one in every prompt.
    pub(super) fn without_position(&self, at: &str) -> Self {
        let place = self.name.split_once('@').map_or(&*self.name, |(place, _)| place);
        PatchCell { position: None, address: None, name: format!("{place}@{at}"), ..self.clone() }
    }
}

impl PatchSite {
    /// The site of a layer.
    pub(super) fn site(self, layer: usize) -> Site {
        let site = match self {
            PatchSite::ResidPre => S::ResidPre,
            PatchSite::ResidMid => S::ResidMid,
            PatchSite::ResidPost => S::ResidPost,
            PatchSite::AttnOut => S::AttnOut,
            PatchSite::MlpOut => S::MlpOut,
            PatchSite::Z => S::Z,
            PatchSite::Q => S::Q,
            PatchSite::K => S::K,
            PatchSite::V => S::V,
            PatchSite::Pattern => S::Pattern,
            PatchSite::Neuron => S::MlpPost,
        };
        Site::Block(layer, site)
    }

    /// How many units it has, and how many columns each; a pattern has heads without columns. None: it is one.
    pub(super) fn units(self, model: &Decoder) -> Option<(usize, usize)> {
        let arch = &model.arch;
        match self {
            PatchSite::Z | PatchSite::Q => Some((arch.n_heads, arch.d_head)),
            PatchSite::K | PatchSite::V => Some((arch.n_kv_heads, arch.d_head)),
            PatchSite::Pattern => Some((arch.n_heads, 1)),
            PatchSite::Neuron => Some((arch.d_mlp, 1)),
            _ => None,
        }
    }

    /// The part of a layer that a unit is; `shared`: query heads share keys and values.
    fn part(self, unit: usize, shared: bool) -> Part {
        match self {
            PatchSite::ResidPre => Part::ResidPre,
            PatchSite::ResidMid => Part::ResidMid,
            PatchSite::ResidPost => Part::ResidPost,
            PatchSite::AttnOut => Part::Attn,
            PatchSite::MlpOut => Part::Mlp,
            PatchSite::Z => Part::Head(unit),
            PatchSite::Q => Part::Query(unit),
            PatchSite::K if shared => Part::SharedKey(unit),
            PatchSite::K => Part::Key(unit),
            PatchSite::V if shared => Part::SharedValue(unit),
            PatchSite::V => Part::Value(unit),
            PatchSite::Pattern => Part::Pattern(unit),
            PatchSite::Neuron => Part::Neuron(unit),
        }
    }
}

/// How a question cuts its site.
fn cut(model: &Decoder, patch: &PatchQuestion) -> PatchCells {
    let has_units = patch.site.units(model).is_some();
    patch.by.unwrap_or(if has_units { PatchCells::Head } else { PatchCells::Position })
}

/// Whether the cells of a question are of single positions.
pub(super) fn have_positions(model: &Decoder, patch: &PatchQuestion) -> bool {
    patch.at.is_some() || cut(model, patch) != PatchCells::Head
}

/// All cells of a question, in the model's order.
///
/// # Errors
/// Heads of a site that has none, neurons of all layers at once, a site that this model does not have, a layer or position that does not exist.
pub(super) fn cells(model: &Decoder, patch: &PatchQuestion, n_pos: usize) -> Result<Vec<PatchCell>> {
    let (site, units) = (patch.site, patch.site.units(model));
    let by = cut(model, patch);
    let word = site.name();
    ensure!(
        units.is_some() || by == PatchCells::Position,
        "{word} has no heads; accepted: --by position, or --site z, q, k, v, pattern, neuron"
    );
    let n_layers = model.arch.n_layers;
    if let Some(layer) = patch.layer {
        ensure!(layer < n_layers, "layer {layer}: this model has layers 0..={}", n_layers - 1);
    }
    ensure!(
        site != PatchSite::Neuron || by == PatchCells::Position || patch.layer.is_some(),
        "one run for each neuron of every layer is too much; accepted: --layer L, or --by position"
    );
    if !model.has_site(site.site(0)) {
        bail!("this model has no {word}: its attention and MLP run side by side (accepted: resid_pre, resid_post)");
    }
    let at = patch.at.map(|p| resolve_position(p, n_pos)).transpose()?;
    let places: Vec<Option<usize>> = match (by, at) {
        (_, Some(p)) => vec![Some(p)],
        (PatchCells::Head, None) => vec![None],
        (PatchCells::Position | PatchCells::Both, None) => (0..n_pos).map(Some).collect(),
    };
    let shared = model.arch.n_kv_heads < model.arch.n_heads;
    let mut cells = Vec::new();
    for layer in patch.layer.map_or(0..n_layers, |l| l..l + 1) {
        let chosen: Vec<Option<usize>> = match (by, units) {
            (PatchCells::Head | PatchCells::Both, Some((n, _))) => (0..n).map(Some).collect(),
            _ => vec![None],
        };
        for unit in chosen {
            for position in &places {
                let part = site.part(unit.unwrap_or(0), shared);
                let here = Address { position: position.map(signed), ..Address::unit(layer, part) };
                let address = (unit.is_some() || units.is_none()).then_some(here);
                let cols = match (units, unit) {
                    (None, _) => 0..model.arch.d_model,
                    (Some((n, width)), None) => 0..n * width,
                    (Some((_, width)), Some(unit)) => unit * width..(unit + 1) * width,
                };
                let name = address.as_ref().map_or_else(|| all_of(layer, part, *position), Address::to_string);
                let positions = position.map_or(0..n_pos, |p| p..p + 1);
                cells.push(PatchCell { layer, unit, position: *position, address, name, cols, positions });
            }
        }
    }
    Ok(cells)
}

/// What all units of a kind in one layer are called: `L3.H*@5`.
fn all_of(layer: usize, part: Part, position: Option<usize>) -> String {
    let parts = match Parts::from(part) {
        Parts::Numbered(kind, _) => Parts::Numbered(kind, Span::ALL),
        only => only,
    };
    let places = Places::Layers(Span::one(layer), parts);
    position.map_or_else(|| places.to_string(), |p| format!("{places}@{p}"))
}
