//! Layouts of folders of transcoders. Each is one file with one [`Layout`] and a line in [`ALL`].

mod circuit_tracer;
mod gemma_scope;
mod gemma_scope_2;
mod sae_lens;
mod sparsify;

use super::location::Location;
use super::opened::Opened;
use super::settings::{CircuitTracerConfig, Config};
use crate::model::arch::Decoder;
use anyhow::{Result, bail};

/// A way in which transcoders lie in a folder.
pub(super) struct Layout {
    /// Whose layout it is, for errors.
    pub name: &'static str,
    /// The files that it is known by, for errors.
    pub known_by: &'static str,
    /// What its config files are called.
    pub configs: &'static [&'static str],
    /// How the names of its files of tensors end.
    pub endings: &'static [&'static str],
    /// Whether a folder has this layout.
    pub recognises: fn(&Folder) -> Result<bool>,
    /// Opens a folder of this layout.
    pub open: fn(&Folder, &Decoder) -> Result<Opened>,
}

/// Every layout. The first that recognises a folder opens it; the last takes any config for its own.
#[rustfmt::skip]
const ALL: &[Layout] = &[
    sparsify::LAYOUT,
    sae_lens::LAYOUT,
    gemma_scope::LAYOUT,
    gemma_scope_2::LAYOUT,
    circuit_tracer::LAYOUT,
];

/// A config at the top of a folder, for a dictionary as a whole.
const TOP_CONFIGS: &[&str] = &["config.json", "config.yaml", "config.yml"];

/// A folder whose layout is looked for.
pub(super) struct Folder<'a> {
    pub place: &'a Location,
    /// The config at its top.
    pub config: Option<Config>,
}

impl<'a> Folder<'a> {
    /// Reads the config of a folder, if it has one.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn new(place: &'a Location) -> Result<Self> {
        for name in TOP_CONFIGS {
            if let Some(config) = Config::read(place, name)? {
                return Ok(Folder { place, config: Some(config) });
            }
        }
        Ok(Folder { place, config: None })
    }

    /// The config at its top, where that is circuit-tracer's: it also lies beside Gemma Scope's files, to say where their features read and write.
    ///
    /// # Errors
    /// As [`CircuitTracerConfig::new`].
    pub fn circuit_tracer(&self) -> Result<Option<CircuitTracerConfig>> {
        let config = self.config.as_ref().filter(|config| !gemma_scope_2::is_config(config));
        config.map(CircuitTracerConfig::new).transpose()
    }

    /// Whether transcoders write to the layers above as well, by the config or else by the files.
    pub fn cross_layer(&self, settings: &CircuitTracerConfig) -> bool {
        settings.cross_layer.unwrap_or_else(|| self.place.has(circuit_tracer::CROSS_LAYER))
    }
}

/// Opens whatever layout is there.
///
/// # Errors
/// None is, or what is there does not fit the model.
pub(super) fn open(place: &Location, model: &Decoder) -> Result<Opened> {
    let folder = Folder::new(place)?;
    for layout in ALL {
        if (layout.recognises)(&folder)? {
            return (layout.open)(&folder, model);
        }
    }
    bail!("{}: no transcoders; accepted: {}", place.whole(), accepted())
}

/// The layouts and the files they are known by.
pub(super) fn accepted() -> String {
    let each: Vec<String> = ALL.iter().map(|layout| format!("{} ({})", layout.known_by, layout.name)).collect();
    each.join(", ")
}

/// Whether the file of this name, without folders, is a config of some layout.
pub(super) fn is_config(name: &str) -> bool {
    ALL.iter().any(|layout| layout.configs.contains(&name))
}

/// Whether the file of this name holds tensors in some layout.
pub(super) fn is_tensors(name: &str) -> bool {
    ALL.iter().flat_map(|layout| layout.endings).any(|ending| name.ends_with(ending))
}
