//! `mechscope trace`: a forward pass as a safetensors file.

use super::{EditArgs, ModelArgs, PromptArgs, output};
use crate::model::Model;
use crate::model::forward::Logits;
use crate::model::site::{Site, Sites};
use crate::model::trace;
use anyhow::{Context, Result};
use candle_core::DType;
use clap::Args;
use safetensors::tensor::{Dtype, View};
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::PathBuf;

/// Options of `mechscope trace`.
#[derive(Args, Debug)]
pub struct TraceArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    prompt: PromptArgs,
    #[command(flatten)]
    edits: EditArgs,
    /// Which sites: names and patterns, 'blocks.*.attn.hook_pattern,hook_embed'; all but attn.hook_result when not given
    #[arg(long, value_name = "LIST")]
    sites: Option<String>,
    /// The safetensors file to write
    #[arg(short, long, value_name = "FILE", value_parser = output::place)]
    out: PathBuf,
}

impl TraceArgs {
    /// Runs the model and writes what was asked for.
    pub fn run(self) -> Result<()> {
        let model = self.model.open()?;
        let input = self.prompt.read(&model)?;
        let decoder = &model.decoder;
        let sites = match &self.sites {
            Some(list) => Sites::parse(list, decoder.arch.n_layers, |s| decoder.has_site(s)).context("--sites")?,
            None => Sites::Standard,
        };
        let run = model.run(&input.ids(), &sites, Logits::All)?;
        let run = if self.edits.edits.is_empty() {
            run
        } else {
            model.run_edited(&run, &self.edits.edits, self.prompt.bos, &sites, Logits::All, &mut |_, _| Ok(()))?
        };
        let tensors = tensors(&run, &sites)?;
        let count = tensors.len();
        let size: usize = tensors.iter().map(|(_, t)| t.bytes.len()).sum();
        let about = about(&model, input.prompt.as_deref(), &self.edits);
        output::write_to(Some(&self.out), |to| {
            let bytes = safetensors::serialize(tensors.iter().map(|(n, t)| (n.as_str(), t)), Some(about))?;
            Ok(to.write_all(&bytes)?)
        })?;
        output::remark(&format!("wrote {count} tensors, {:.1} MB, to {}", size as f64 / 1e6, self.out.display()));
        Ok(())
    }
}

/// A tensor as safetensors writes it.
struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl View for &Stored {
    fn dtype(&self) -> Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }
    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// Every recorded site in f32 without a batch dimension, and `tokens`.
fn tensors(run: &trace::Trace, sites: &Sites) -> Result<Vec<(String, Stored)>> {
    let ids = run.tokens();
    let bytes = ids.iter().flat_map(|id| (*id as i64).to_le_bytes()).collect();
    let mut out = vec![("tokens".to_owned(), Stored { dtype: Dtype::I64, shape: vec![ids.len()], bytes })];
    let wanted: Vec<Site> = run.sites().map(|(s, _)| s).filter(|s| sites.has(*s)).collect();
    for site in wanted {
        let value = run.get(site)?.to_dtype(DType::F32)?;
        let numbers: Vec<f32> = value.flatten_all()?.to_vec1()?;
        let bytes = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        out.push((site.to_string(), Stored { dtype: Dtype::F32, shape: value.dims().to_vec(), bytes }));
    }
    Ok(out)
}

fn about(model: &Model, prompt: Option<&str>, edits: &EditArgs) -> HashMap<String, String> {
    let edits: Vec<String> = edits.edits.iter().map(ToString::to_string).collect();
    let facts = [
        ("model", model.source.to_string()),
        ("prompt", prompt.unwrap_or_default().to_owned()),
        ("edits", edits.join(" ")),
        ("generator", format!("mechscope {}", env!("CARGO_PKG_VERSION"))),
    ];
    facts.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
}
