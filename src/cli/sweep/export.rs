//! `mechscope sweep export`: an index in the formats of others.

use crate::cli::output;
use crate::corpus::export::{self, ExportFormat};
use crate::corpus::index::Index;
use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Options of `mechscope sweep export`.
#[derive(Args, Debug)]
pub struct Export {
    /// The index: the folder of a sweep, or the file
    index: PathBuf,
    /// What to write
    #[arg(long, value_enum)]
    format: FormatArg,
    /// The folder for the files
    #[arg(short, long, value_name = "FOLDER")]
    out: PathBuf,
    /// Only the neurons of this layer
    #[arg(long)]
    layer: Option<usize>,
}

/// The formats.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatArg {
    /// A JSON file for each neuron, as features have them in circuit-tracer
    CircuitTracer,
    /// A JSON line for each context, with the fields of Neuronpedia's activations
    Neuronpedia,
}

impl Export {
    pub(super) fn run(self) -> Result<()> {
        let index = Index::open(&self.index)?;
        let n = index.header.n_layers;
        let layers = match self.layer {
            Some(layer) => {
                ensure!(layer < n, "--layer: found {layer}; accepted: 0..={}", n - 1);
                layer..layer + 1
            }
            None => 0..n,
        };
        let format = match self.format {
            FormatArg::CircuitTracer => ExportFormat::CircuitTracer,
            FormatArg::Neuronpedia => ExportFormat::Neuronpedia,
        };
        let mut progress = output::work_progress("exporting");
        let written = export::write(&index, format, layers, &self.out, &mut progress)?;
        output::remark(&format!("wrote {written} neurons into {}", self.out.display()));
        Ok(())
    }
}
