//! `mechscope trace`: a forward pass as a safetensors file.

use super::{EditArgs, ModelArgs, PromptArgs, output};
use crate::model::Model;
use crate::model::forward::Logits;
use crate::model::site::{Site, Sites};
use crate::model::trace;
use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Map, Value, json};
use std::io::Write;
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
        let about = about(&model, input.prompt.as_deref(), &self.edits);
        let (mut count, mut size) = (0, 0);
        output::write_to(Some(&self.out), |to| {
            (count, size) = write(&run, &sites, about, to)?;
            Ok(())
        })?;
        output::remark(&format!("wrote {count} tensors, {:.1} MB, to {}", size as f64 / 1e6, self.out.display()));
        Ok(())
    }
}

/// Writes every recorded site in f32 without a batch dimension, and `tokens`, as a safetensors file, one tensor at a time; returns how many
/// there are and their bytes.
fn write(run: &trace::Trace, sites: &Sites, about: Map<String, Value>, to: &mut dyn Write) -> Result<(usize, usize)> {
    let ids = run.tokens();
    let mut wanted: Vec<(String, Site)> =
        run.sites().map(|(s, _)| s).filter(|s| sites.has(*s)).map(|s| (s.to_string(), s)).collect();
    wanted.sort();
    let mut header = Map::new();
    header.insert("__metadata__".into(), about.into());
    let mut at = 0;
    let mut list = |name: &str, dtype: &str, shape: &[usize], width: usize| {
        let from = at;
        at += shape.iter().product::<usize>() * width;
        header.insert(name.to_owned(), json!({"dtype": dtype, "shape": shape, "data_offsets": [from, at]}));
    };
    // Wider numbers come first: every tensor is aligned.
    list("tokens", "I64", &[ids.len()], 8);
    for (name, site) in &wanted {
        list(name, "F32", run.get(*site)?.dims(), 4);
    }
    let mut header = Value::from(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    to.write_all(&(header.len() as u64).to_le_bytes())?;
    to.write_all(&header)?;
    to.write_all(&ids.iter().flat_map(|id| i64::from(*id).to_le_bytes()).collect::<Vec<u8>>())?;
    for (_, site) in &wanted {
        let numbers = run.numbers(*site)?;
        for some in numbers.chunks(1 << 16) {
            to.write_all(&some.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())?;
        }
    }
    Ok((wanted.len() + 1, at))
}

fn about(model: &Model, prompt: Option<&str>, edits: &EditArgs) -> Map<String, Value> {
    let edits: Vec<String> = edits.edits.iter().map(ToString::to_string).collect();
    let facts = [
        ("model", model.source.to_string()),
        ("prompt", prompt.unwrap_or_default().to_owned()),
        ("edits", edits.join(" ")),
        ("generator", format!("mechscope {}", env!("CARGO_PKG_VERSION"))),
    ];
    facts.into_iter().map(|(k, v)| (k.to_owned(), v.into())).collect()
}
