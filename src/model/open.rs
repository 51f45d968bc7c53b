//! Opening a model: settings, weights and tokenizer, checked against each other.

use super::Model;
use super::checkpoint::{Checkpoint, Progress, shards};
use super::config::Config;
use super::device::{DTypeChoice, DeviceChoice};
use super::families;
use super::gguf::{self, Gguf};
use super::source::Source;
use super::text::Text;
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device};
use std::borrow::Cow;

/// How to open a model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Where to compute.
    pub device: DeviceChoice,
    /// What to compute in.
    pub dtype: DTypeChoice,
}

impl Model {
    /// Opens the model that `name` stands for (see [`Source::find`]). `progress` hears of bytes read and bytes in all.
    ///
    /// # Errors
    /// Everything that can be wrong with a model folder, each naming file and field.
    pub fn open(name: &str, options: Options, progress: Progress) -> Result<Model> {
        let device = options.device.open()?;
        Self::open_source(Source::find(name)?, &device, options.dtype, progress)
    }

    /// Opens a model whose files have been found.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn open_source(source: Source, device: &Device, dtype: DTypeChoice, progress: Progress) -> Result<Model> {
        let file = match &source {
            Source::Gguf { path, .. } => Some(Gguf::open(path)?),
            _ => None,
        };
        let mut config = settings(&source, file.as_ref())?;
        let older = config.opt_str("torch_dtype")?;
        let stored = config.opt_str("dtype")?.or(older);
        let bos = config.opt_value("bos_token_id").and_then(|v| v.as_u64()).and_then(|n| u32::try_from(n).ok());
        let dtype = dtype.resolve(device, stored.as_deref());
        // Loading a large tokenizer takes as long as reading a small model: do both at once.
        let (decoder, text) = std::thread::scope(|scope| {
            let reader = scope.spawn(|| tokenizer(&source, file.as_ref()));
            let weights = match &file {
                Some(file) => Checkpoint::gguf(file, device, dtype, progress),
                None => weights(&source, device, dtype, progress),
            };
            let decoder = weights.and_then(|w| families::build(&mut config, &w));
            let text = reader.join().unwrap_or_else(|_| anyhow::bail!("the tokenizer library failed on {source}"));
            (decoder, text)
        });
        let (decoder, text) = (decoder?, text?.map(|t| t.with_default_bos(bos)));
        if let Some(text) = &text {
            ensure!(
                text.vocab_size() <= decoder.arch.d_vocab,
                "{} has {} tokens, but the embedding of {} has {} rows: they do not belong together",
                source.file_name("tokenizer.json"),
                text.vocab_size(),
                source.file_name("model.safetensors"),
                decoder.arch.d_vocab
            );
        }
        Ok(Model { source, decoder, text, directions: Vec::new(), dictionary: None })
    }
}

/// The fields of `config.json`, or of a GGUF file as if it had one.
fn settings(source: &Source, file: Option<&Gguf>) -> Result<Config> {
    if let Some(file) = file {
        return Ok(Config::from_fields(&file.place(), file.config()?));
    }
    let place = source.file_name("config.json");
    let settings = source.read("config.json")?.with_context(|| format!("{place} is missing"))?;
    Config::parse(&place, &settings)
}

/// The tokenizer of the folder, or of the GGUF file: a `tokenizer.json` beside it is read only where its own vocabulary is of a kind that is
/// not known.
fn tokenizer(source: &Source, file: Option<&Gguf>) -> Result<Option<Text>> {
    if let Some(file) = file {
        match gguf::tokenizer::check(file) {
            Ok(()) => return gguf::tokenizer::rebuild(file).and_then(Text::rebuilt).map(Some),
            Err(error) if source.read("tokenizer.json")?.is_none() => return Err(error),
            Err(_) => {}
        }
    }
    let Some(json) = source.read("tokenizer.json")? else { return Ok(None) };
    let config = source.read("tokenizer_config.json")?;
    Text::from_bytes(&json, config.as_deref(), &source.to_string()).map(Some)
}

fn weights<'p>(source: &Source, device: &Device, dtype: DType, progress: Progress<'p>) -> Result<Checkpoint<'p>> {
    let path = match source {
        Source::BuiltIn(b) => {
            let place = source.file_name("model.safetensors");
            let bytes = b.file("model.safetensors").with_context(|| format!("{place} is missing"))?;
            return Checkpoint::built_in(&place, bytes, device, dtype);
        }
        Source::Folder { path, .. } | Source::Gguf { path, .. } => path,
    };
    let whole = path.join("model.safetensors");
    if whole.is_file() {
        return Checkpoint::open(&[whole], device, dtype, progress);
    }
    let index: Option<Cow<[u8]>> = source.read("model.safetensors.index.json")?;
    let index = index.with_context(|| {
        let older = ["pytorch_model.bin", "pytorch_model.bin.index.json"].iter().any(|f| path.join(f).exists());
        let hint =
            if older { "; pytorch_model.bin is a pickle and is not read: convert it to safetensors" } else { "" };
        format!("{} is missing, and so is model.safetensors.index.json{hint}", whole.display())
    })?;
    let listed = || format!("a file that {} lists", source.file_name("model.safetensors.index.json"));
    Checkpoint::open(&shards(path, &index)?, device, dtype, progress).with_context(listed)
}
