//! `mechscope trace`: a forward pass as a safetensors file.

use super::edits::{EditArgs, EditDictionary};
use super::{ModelArgs, PromptArgs, output};
use crate::model::Model;
use crate::model::arch::Decoder;
use crate::model::forward::Logits;
use crate::model::kernel::rows;
use crate::model::ops::{host, numbers};
use crate::model::site::{BlockSite, Site, Sites};
use crate::model::trace;
use anyhow::{Context, Result};
use clap::Args;
use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
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
    #[command(flatten)]
    dictionary: EditDictionary,
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
        self.dictionary.open(&model, &self.edits, self.model.on.hub)?;
        let input = self.prompt.read(&model)?;
        let decoder = &model.decoder;
        let sites = match &self.sites {
            Some(list) => Sites::parse(list, decoder.arch.n_layers, |s| decoder.has_site(s)).context("--sites")?,
            None => Sites::Standard,
        };
        let run = self.traced(&model, &input.ids(), &sites)?;
        let tensors = tensors(&run, &sites, decoder)?;
        let about = about(&model, input.prompt.as_deref(), &self.edits);
        output::write_to(Some(&self.out), |to| write(to, &tensors, &about, &run, decoder))?;
        let (count, size) = (tensors.len(), tensors.iter().map(Listed::bytes).sum::<usize>());
        output::remark(&format!("wrote {count} tensors, {:.1} MB, to {}", size as f64 / 1e6, self.out.display()));
        Ok(())
    }

    /// The run, with the last stream beside what is asked for: logits are made from it as they are written.
    fn traced(&self, model: &Model, ids: &[u32], sites: &Sites) -> Result<trace::Trace> {
        model.refuse_idle(ids, &self.edits.edits, self.prompt.bos)?;
        let stream = last_stream(&model.decoder);
        let sites = match sites {
            Sites::Only(set) => Sites::only(set.iter().copied().chain([stream])),
            _ => sites.clone(),
        };
        // Where logits are soft-capped, both are asked for at once.
        let logits = if sites.has(Site::LogitsPreSoftcap) && model.decoder.has_site(Site::LogitsPreSoftcap) {
            Logits::All
        } else {
            Logits::None
        };
        let run = |logits| -> Result<trace::Trace> {
            let run = model.run(ids, &sites, logits)?;
            if self.edits.edits.is_empty() {
                return Ok(run);
            }
            model.run_edited(&run, &self.edits.edits, self.prompt.bos, &sites, logits, &mut |_, _| Ok(()))
        };
        let made = run(logits)?;
        match rows::all_finite(numbers(&host(&made.get(stream)?)?)?.get()) {
            true => Ok(made),
            // With logits it is refused with the place where it left the range.
            false => run(Logits::All),
        }
    }
}

fn last_stream(model: &Decoder) -> Site {
    Site::Block(model.blocks.len() - 1, BlockSite::ResidPost)
}

/// A tensor of the file.
struct Listed {
    name: String,
    /// `None`: the token ids.
    site: Option<Site>,
    shape: Vec<usize>,
}

impl Listed {
    fn bytes(&self) -> usize {
        let width = if self.site.is_none() { size_of::<i64>() } else { size_of::<f32>() };
        self.shape.iter().product::<usize>() * width
    }
}

/// Every recorded site in f32 without a batch dimension, the logits where they are asked for, and `tokens`; in the order of the file: the widest
/// numbers first, then by name.
fn tensors(run: &trace::Trace, sites: &Sites, model: &Decoder) -> Result<Vec<Listed>> {
    let mut all = Vec::new();
    let recorded = run.sites().map(|(site, _)| site).filter(|s| *s != Site::Logits);
    for site in recorded.chain([Site::Logits]).filter(|s| sites.has(*s)) {
        let shape = match site {
            Site::Logits => vec![run.n_pos(), model.arch.d_vocab],
            _ => run.get(site)?.dims().to_vec(),
        };
        all.push(Listed { name: site.to_string(), site: Some(site), shape });
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all.insert(0, Listed { name: "tokens".to_owned(), site: None, shape: vec![run.n_pos()] });
    Ok(all)
}

/// Writes a safetensors file, tensor by tensor: no other copy of them is made.
fn write(
    to: &mut dyn Write,
    tensors: &[Listed],
    about: &BTreeMap<String, String>,
    run: &trace::Trace,
    model: &Decoder,
) -> Result<()> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_owned(), serde_json::to_value(about)?);
    let mut at = 0;
    for tensor in tensors {
        let (dtype, end) = (if tensor.site.is_none() { "I64" } else { "F32" }, at + tensor.bytes());
        let told = serde_json::json!({ "dtype": dtype, "shape": tensor.shape, "data_offsets": [at, end] });
        header.insert(tensor.name.clone(), told);
        at = end;
    }
    let mut header = serde_json::to_vec(&header)?;
    // Numbers begin where eight bytes do.
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut to = BufWriter::with_capacity(1 << 20, to);
    to.write_all(&(header.len() as u64).to_le_bytes())?;
    to.write_all(&header)?;
    for tensor in tensors {
        match tensor.site {
            None => run.tokens().iter().try_for_each(|id| to.write_all(&i64::from(*id).to_le_bytes()))?,
            Some(Site::Logits) if run.batched(Site::Logits).is_none() => {
                let stream = run.get(last_stream(model))?;
                model.each_logits(&stream, &mut |_, rows| Ok(write_numbers(&mut to, rows)?))?;
            }
            Some(site) => write_numbers(&mut to, numbers(&host(&run.get(site)?)?)?.get())?,
        }
    }
    Ok(to.flush()?)
}

fn write_numbers(to: &mut impl Write, numbers: &[f32]) -> std::io::Result<()> {
    numbers.iter().try_for_each(|x| to.write_all(&x.to_le_bytes()))
}

fn about(model: &Model, prompt: Option<&str>, edits: &EditArgs) -> BTreeMap<String, String> {
    let edits: Vec<String> = edits.edits.iter().map(ToString::to_string).collect();
    let facts = [
        ("model", model.source.to_string()),
        ("prompt", prompt.unwrap_or_default().to_owned()),
        ("edits", edits.join(" ")),
        ("generator", format!("mechscope {}", env!("CARGO_PKG_VERSION"))),
    ];
    facts.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
}
