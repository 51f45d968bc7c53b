//! Opening a model: settings, weights and tokenizer, checked against each other.

mod folder;

use super::Model;
use super::arch::Arch;
use super::checkpoint::{Checkpoint, ReadProgress, shards};
use super::config::ModelConfig;
use super::device::{DTypeChoice, DeviceChoice};
use super::families;
use super::gguf::{self, Gguf};
use super::memory::{Need, allocator};
use super::source::{Source, is_unfinished};
use super::text::Text;
use super::text::chat::Chat;
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device};
use std::borrow::Cow;
use std::path::Path;

/// How to open a model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Where to compute.
    pub device: DeviceChoice,
    /// What to compute in.
    pub dtype: DTypeChoice,
    /// Fields of `config.json` that are let pass although this program does not know them ([`ModelConfig::accept`]).
    pub accept: &'static [String],
}

impl Model {
    /// Opens the model that `name` stands for (see [`Source::find`]). `progress` hears of bytes read and bytes in all.
    ///
    /// # Errors
    /// Everything that can be wrong with a model folder, each naming file and field.
    pub fn open(name: &str, options: Options, progress: ReadProgress) -> Result<Model> {
        let device = options.device.open()?;
        Self::open_accepting(Source::find(name)?, &device, options.dtype, options.accept, progress)
    }

    /// Opens a model whose files have been found.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn open_source(source: Source, device: &Device, dtype: DTypeChoice, progress: ReadProgress) -> Result<Model> {
        Self::open_accepting(source, device, dtype, &[], progress)
    }

    fn open_accepting(
        source: Source,
        device: &Device,
        dtype: DTypeChoice,
        accept: &[String],
        progress: ReadProgress,
    ) -> Result<Model> {
        let file = match &source {
            Source::Gguf { path, .. } => Some(Gguf::open(path)?),
            _ => None,
        };
        let mut config = settings(&source, file.as_ref())?;
        config.accept(accept);
        let older = config.opt_str("torch_dtype")?;
        let stored = config.opt_str("dtype")?.or(older);
        let bos = config.opt_value("bos_token_id").and_then(|v| v.as_u64()).and_then(|n| u32::try_from(n).ok());
        let ends = config.opt_value("eos_token_id").map(|v| token_ids(&v)).unwrap_or_default();
        let dtype = dtype.resolve(device, stored.as_deref());
        let weights = match &file {
            Some(file) => file.checkpoint(device, dtype, progress)?,
            None => weights(&source, device, dtype, progress)?,
        };
        // What is wrong with the settings is said before anything large is read.
        families::check(&mut config, &weights)?;
        // Loading a large tokenizer takes as long as reading a small model: do both at once.
        let (decoder, text) = std::thread::scope(|scope| {
            let reader = scope.spawn(|| tokenizer(&source, file.as_ref()));
            let beside = Need::beside_weights(tokenizer_bytes(&source, file.as_ref()));
            let decoder = families::build_beside(&mut config, &weights, beside);
            let text = reader.join().unwrap_or_else(|_| anyhow::bail!("the tokenizer library failed on {source}"));
            (decoder, text)
        });
        // Reading a tokenizer leaves its size several times over.
        allocator::give_back();
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
        let strange =
            text.as_ref().and_then(|text| strange_tokenizer(&source, text.vocab_size(), decoder.arch.d_vocab));
        let unread = config.decided().into_iter().chain(strange).collect::<Vec<_>>().join("; ");
        Ok(Model { unread: Some(unread).filter(|said| !said.is_empty()), ends, ..Model::new(source, decoder, text) })
    }
}

/// Said of a tokenizer with far fewer tokens than the embedding has rows: rows are added to make a round number, not to double it.
fn strange_tokenizer(source: &Source, tokens: usize, rows: usize) -> Option<String> {
    (10 * tokens < 9 * rows).then(|| {
        format!(
            "{} has {tokens} tokens for the {rows} rows of the embedding: is it this model's?",
            source.file_name("tokenizer.json")
        )
    })
}

/// The token ids of a field that holds one or a list of them; what is no id is left out.
pub fn token_ids(value: &serde_json::Value) -> Vec<u32> {
    let id = |v: &serde_json::Value| v.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        serde_json::Value::Array(list) => list.iter().filter_map(id).collect(),
        one => id(one).into_iter().collect(),
    }
}

/// What a model is, without its numbers.
pub struct ModelSummary {
    /// Where it is.
    pub source: Source,
    /// Its sizes.
    pub arch: Arch,
    /// What was decided about fields of its settings that nobody reads.
    pub unread: Option<String>,
}

/// Reads a model's settings, and checks that its tensors fit them.
///
/// # Errors
/// As [`Model::open`], but for numbers and the tokenizer.
pub fn about(name: &str, accept: &[String]) -> Result<ModelSummary> {
    let source = Source::find(name)?;
    let file = match &source {
        Source::Gguf { path, .. } => Some(Gguf::open(path)?),
        _ => None,
    };
    let mut config = settings(&source, file.as_ref())?;
    config.accept(accept);
    for key in ["torch_dtype", "dtype"] {
        config.opt_str(key)?;
    }
    let nothing = Box::new(|_, _| {});
    let weights = match &file {
        Some(file) => file.checkpoint(&Device::Cpu, DType::F32, nothing)?,
        None => weights(&source, &Device::Cpu, DType::F32, nothing)?,
    };
    let arch = families::check(&mut config, &weights)?;
    Ok(ModelSummary { source, arch, unread: config.decided() })
}

/// The fields of `config.json`, or of a GGUF file as if it had one.
fn settings(source: &Source, file: Option<&Gguf>) -> Result<ModelConfig> {
    if let Some(file) = file {
        return Ok(ModelConfig::from_fields(&file.place(), file.config()?));
    }
    let place = source.file_name("config.json");
    let Some(settings) = source.read("config.json")? else { return Err(folder::without_config(source)?) };
    let mut config = ModelConfig::parse(&place, &settings)?;
    folder::check_quantised(&mut config)?;
    Ok(config)
}

/// The tokenizer of the folder, or of the GGUF file: a `tokenizer.json` beside it is read only where its own vocabulary is of a kind that is
/// not known.
fn tokenizer(source: &Source, file: Option<&Gguf>) -> Result<Option<Text>> {
    if let Some(file) = file.filter(|file| !gguf::tokenizer::is_absent(file)) {
        match gguf::tokenizer::check(file) {
            Ok(()) => {
                let text = gguf::tokenizer::rebuild(file).and_then(Text::rebuilt)?;
                return Ok(Some(text.with_chat(gguf::tokenizer::chat(file))));
            }
            Err(error) if source.read("tokenizer.json")?.is_none() => return Err(error),
            Err(_) => {}
        }
    }
    let Some(json) = source.read("tokenizer.json")? else { return Ok(None) };
    let config = source.read("tokenizer_config.json")?;
    let special = source.read("special_tokens_map.json")?;
    let template = source.read("chat_template.jinja")?;
    let place = source.to_string();
    let text = Text::from_files(&json, config.as_deref(), special.as_deref(), &place)?;
    let chat = Chat::from_files(&place, template.as_deref(), config.as_deref(), special.as_deref())?;
    Ok(Some(text.with_chat(chat)))
}

/// What the tokenizer takes in memory ([`Need::beside_weights`]).
fn tokenizer_bytes(source: &Source, file: Option<&Gguf>) -> u64 {
    match (source, file) {
        (_, Some(file)) => {
            let tokens = file.shape("token_embd.weight").and_then(<[usize]>::first).map_or(0, |n| *n as u64);
            tokens.saturating_mul(650)
        }
        (Source::Folder { path, .. }, None) => {
            std::fs::metadata(path.join("tokenizer.json")).map_or(0, |file| file.len().saturating_mul(10))
        }
        _ => 0,
    }
}

/// Whether a folder's weights are all there: one file, or every file that the index lists.
pub fn is_whole(folder: &Path) -> bool {
    let index = std::fs::read(folder.join("model.safetensors.index.json"));
    match index {
        Ok(index) => shards(folder, &index).is_ok_and(|files| folder::missing(&files).is_empty()),
        // Models in other formats are not half of anything.
        Err(_) => folder.join("model.safetensors").is_file() || !is_unfinished(folder),
    }
}

fn weights<'p>(source: &Source, device: &Device, dtype: DType, progress: ReadProgress<'p>) -> Result<Checkpoint<'p>> {
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
    let Some(index) = index else { return Err(folder::without_weights(source, path)) };
    let files = shards(path, &index)?;
    folder::check_whole(source, &files)?;
    let listed = || format!("a file that {} lists", source.file_name("model.safetensors.index.json"));
    Checkpoint::open(&files, device, dtype, progress).with_context(listed)
}
