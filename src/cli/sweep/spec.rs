//! The options that say what a sweep is of.

use super::WorkerArgs;
use crate::corpus::plan::Plan;
use crate::corpus::spec::{Documents, Spec, TextFormat};
use crate::model::device::DTypeChoice;
use crate::model::text::Bos;
use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// What is swept, and where what comes of it goes.
#[derive(Args, Debug)]
pub struct SpecArgs {
    /// Files and folders of text: plain text, or JSON lines
    #[arg(value_name = "CORPUS", required_unless_present = "spec")]
    pub corpus: Vec<PathBuf>,
    /// A file with all of it: the fields are in docs/corpora.md; the other options rule over it
    #[arg(long, value_name = "FILE")]
    pub spec: Option<PathBuf>,
    /// A built-in model (hello, induction), a folder in Hugging Face layout, a GGUF file, or org/name or org/name@revision: from the
    /// Hugging Face cache, or downloaded into it
    #[arg(short, long)]
    pub model: Option<String>,
    /// The folder of the sweep
    #[arg(short, long, value_name = "FOLDER")]
    pub out: PathBuf,
    /// How many shards; as many as take some minutes each when not given
    #[arg(long)]
    pub shards: Option<usize>,
    /// What a document of a plain text is
    #[arg(long, value_enum)]
    pub documents: Option<DocumentsArg>,
    /// All files are JSON lines, whatever their names
    #[arg(long)]
    pub jsonl: bool,
    /// The field of a JSON line with the text, or the token ids [default: text]
    #[arg(long, value_name = "NAME")]
    pub field: Option<String>,
    /// Tokens of a context [default: 512, or what the model has room for]
    #[arg(long)]
    pub ctx: Option<usize>,
    /// Fill contexts with one document after the other
    #[arg(long)]
    pub packed: bool,
    /// Begin documents with the BOS token: auto (what the model's tokenizer files do), always or never
    #[arg(long)]
    pub bos: Option<Bos>,
    /// auto, f32, bf16 or f16
    #[arg(long)]
    pub dtype: Option<DTypeChoice>,
    /// Strongest examples kept of each unit [default: 20]
    #[arg(long)]
    pub top: Option<usize>,
    /// Activations kept around each of these, in tokens [default: 32]
    #[arg(long)]
    pub window: Option<usize>,
    /// Tokens that run together [default: 2048]
    #[arg(long)]
    pub batch: Option<usize>,
    /// Fixes what is drawn [default: 0]
    #[arg(long)]
    pub seed: Option<u64>,
    #[command(flatten)]
    pub worker: WorkerArgs,
}

/// What a document of a plain text is.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum DocumentsArg {
    /// Every line that is not empty
    Line,
    /// Every file; contexts count as documents
    File,
}

impl SpecArgs {
    /// Plans the sweep, or reads the plan that is there.
    pub fn plan(&self) -> Result<Plan> {
        Plan::new(self.read()?, self.shards)?.keep(&self.out)
    }

    fn read(&self) -> Result<Spec> {
        let mut spec = match &self.spec {
            Some(path) => Spec::read(path)?,
            None => Spec::default(),
        };
        if !self.corpus.is_empty() {
            spec.corpus.clone_from(&self.corpus);
        }
        fn set<T: Clone>(to: &mut T, said: &Option<T>) {
            if let Some(said) = said {
                to.clone_from(said);
            }
        }
        set(&mut spec.model, &self.model);
        set(&mut spec.field, &self.field);
        set(&mut spec.ctx, &self.ctx);
        set(&mut spec.bos, &self.bos.map(|bos| bos.to_string()));
        set(&mut spec.dtype, &self.dtype.map(|dtype| dtype.to_string()));
        set(&mut spec.top, &self.top);
        set(&mut spec.window, &self.window);
        set(&mut spec.batch, &self.batch);
        set(&mut spec.seed, &self.seed);
        spec.packed |= self.packed;
        if let Some(documents) = self.documents {
            spec.documents = match documents {
                DocumentsArg::Line => Documents::Line,
                DocumentsArg::File => Documents::File,
            };
        }
        if self.jsonl {
            spec.format = TextFormat::Jsonl;
        }
        ensure!(self.shards != Some(0), "--shards: found 0; accepted: 1 and more");
        Ok(spec)
    }
}
