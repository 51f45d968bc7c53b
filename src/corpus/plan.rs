//! The plan of a sweep: its files, cut into blocks, dealt to shards; written once beside the parts.

use super::identity;
use super::part::header::{CorpusFile, Segment, joined};
use super::spec::Spec;
use crate::cast::size;
use crate::files;
use crate::model::arch::Arch;
use crate::model::open;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The name of the plan in the folder of a sweep.
pub const PLAN: &str = "sweep.json";

/// The name of an index in its folder.
pub const INDEX: &str = "index.safetensors";

/// Files of a corpus at most: so many have numbers in the names of documents.
const MOST_FILES: usize = 1 << 24;

/// What a shard takes when nobody says how many there are to be, and the rate that is reckoned with: what is lost when a worker is killed is a part of one.
const SHARD_SECONDS: f64 = 300.0;
const FLOPS_A_SECOND: f64 = 2e11;

/// Bytes of text that a token takes, where it is not known yet.
const BYTES_A_TOKEN: f64 = 4.0;

/// A planned sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// [`identity::FORMAT`].
    pub format: String,
    /// What is to be done.
    pub spec: Spec,
    /// [`identity::spec_hash`].
    pub spec_hash: String,
    /// The identity of the model.
    pub model_id: String,
    /// The files of the corpus.
    pub files: Vec<CorpusFile>,
    /// The shards: pieces of files, whole blocks each.
    pub shards: Vec<Vec<Segment>>,
    /// Multiplications and additions that the model takes for a token, reckoned.
    pub flops_a_token: f64,
    /// Layers, neurons of a layer.
    pub neurons: (usize, usize),
}

impl Plan {
    /// Plans a sweep. The context is as long as the model allows. Without a number of shards there are as many as take some minutes each.
    ///
    /// # Errors
    /// The spec, the model or a file of the corpus is not what it must be.
    pub fn new(mut spec: Spec, shards: Option<usize>) -> Result<Self> {
        spec.check()?;
        let model = open::about(&spec.model, &[])?;
        spec.ctx = spec.ctx.min(model.arch.n_ctx);
        spec.corpus = spec.corpus.iter().map(|p| std::path::absolute(p).unwrap_or(p.clone())).collect();
        let files = corpus_files(&spec)?;
        let model_id = identity::of_model(&model.source)?;
        let blocks = blocks(&files, spec.block);
        ensure!(!blocks.is_empty(), "the corpus is empty: {} files without a byte", files.len());
        let (flops, bytes) = (flops_a_token(&model.arch), files.iter().map(|f| f.size).sum::<u64>() as f64);
        let seconds = bytes / BYTES_A_TOKEN * flops / FLOPS_A_SECOND;
        let usual = crate::cast::whole((seconds / SHARD_SECONDS).ceil()).clamp(1, 512);
        let n = shards.unwrap_or(usual).clamp(1, blocks.len());
        let shard = |i: usize| joined(blocks[i * blocks.len() / n..(i + 1) * blocks.len() / n].to_vec());
        Ok(Plan {
            format: identity::FORMAT.to_owned(),
            spec_hash: identity::spec_hash(&spec, &model_id, files.iter().map(|f| f.id.as_str())),
            model_id,
            shards: (0..n).map(shard).collect(),
            flops_a_token: flops,
            neurons: (model.arch.n_layers, model.arch.d_mlp),
            files,
            spec,
        })
    }

    /// Reads the plan of a folder.
    ///
    /// # Errors
    /// There is none, or a field of it is not what it must be.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(PLAN);
        let Some(bytes) = files::read_if_there(&path)? else {
            bail!("{} has no {PLAN}: it is no folder of a sweep (mechscope sweep plan makes one)", folder.display())
        };
        Self::parse(&bytes).with_context(|| path.display().to_string())
    }

    /// Reads a plan.
    ///
    /// # Errors
    /// As [`Plan::read`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let plan: Plan = serde_json::from_slice(bytes)?;
        ensure!(plan.format == identity::FORMAT, "format: found {:?}; accepted: {:?}", plan.format, identity::FORMAT);
        plan.spec.check().context("spec")?;
        ensure!(plan.spec_hash.len() >= 8 && plan.spec_hash.is_ascii(), "spec_hash: found {:?}", plan.spec_hash);
        let known = |s: &Segment| s.from < s.to && plan.files.get(s.file).is_some_and(|f| s.to <= f.size);
        ensure!(plan.shards.iter().flatten().all(known), "shards: accepted: pieces of its files");
        Ok(plan)
    }

    /// Writes the plan into a folder, which is made. A plan that is there already is kept when it is the same sweep: with its shards, of which some may be done.
    ///
    /// # Errors
    /// Another sweep is planned there, or it cannot be written.
    pub fn keep(self, folder: &Path) -> Result<Plan> {
        if folder.join(PLAN).exists() {
            let there = Plan::read(folder)?;
            ensure!(
                there.spec_hash == self.spec_hash,
                "{} holds another sweep (spec {}, this one is {}): its model, corpus or settings differ; accepted: a new folder",
                folder.display(),
                there.spec_hash,
                self.spec_hash
            );
            return Ok(there);
        }
        std::fs::create_dir_all(folder.join("parts")).with_context(|| format!("cannot make {}", folder.display()))?;
        let text = serde_json::to_vec_pretty(&self)?;
        files::replace(&folder.join(PLAN), |to| Ok(to.write_all(&text)?))?;
        Ok(self)
    }

    /// Where the part of a shard lies, or will.
    pub fn part(&self, folder: &Path, shard: usize) -> PathBuf {
        folder.join("parts").join(format!("{shard:06}-{}.safetensors", &self.spec_hash[..8]))
    }

    /// Bytes of a shard.
    pub fn bytes(&self, shard: usize) -> u64 {
        self.shards[shard].iter().map(|s| s.to - s.from).sum()
    }
}

/// Multiplications and additions of a token, but for attention and logits: twice the weights that it meets.
fn flops_a_token(arch: &Arch) -> f64 {
    let (d, heads) = (arch.d_model as f64, (arch.n_heads + arch.n_kv_heads) as f64);
    let block = 2.0 * d * heads * arch.d_head as f64 + 3.0 * d * arch.d_mlp as f64;
    2.0 * block * arch.n_layers as f64
}

/// The files of a corpus, those of folders in the order of their names; hidden ones are left out.
fn corpus_files(spec: &Spec) -> Result<Vec<CorpusFile>> {
    let mut paths = Vec::new();
    for place in &spec.corpus {
        let there = std::fs::metadata(place).with_context(|| format!("corpus: cannot read {}", place.display()))?;
        if there.is_dir() {
            let before = paths.len();
            of_folder(place, &mut paths)?;
            ensure!(paths.len() > before, "corpus: {} holds no file", place.display());
        } else {
            paths.push(place.clone());
        }
    }
    ensure!(paths.len() <= MOST_FILES, "corpus: found {} files; accepted: at most {MOST_FILES}", paths.len());
    let file = |path: &PathBuf| {
        let size = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
        ensure!(size < 1 << 40, "corpus: {} has {size} bytes; accepted: less than 2^40", path.display());
        Ok(CorpusFile { path: path.display().to_string(), size, id: identity::of_file(path)? })
    };
    paths.iter().map(file).collect()
}

fn of_folder(folder: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    let named = || format!("corpus: cannot read {}", folder.display());
    let entries = std::fs::read_dir(folder).with_context(named)?;
    let mut paths = entries.map(|e| Ok(e?.path())).collect::<std::io::Result<Vec<_>>>().with_context(named)?;
    paths.sort();
    let hidden = |p: &Path| p.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    for path in paths.into_iter().filter(|p| !hidden(p)) {
        if path.is_dir() {
            of_folder(&path, into)?;
        } else if path.is_file() {
            into.push(path);
        }
    }
    Ok(())
}

/// The pieces of work of a corpus.
fn blocks(files: &[CorpusFile], block: u64) -> Vec<Segment> {
    let of = |(file, about): (usize, &CorpusFile)| {
        let about = about.size;
        (0..about).step_by(size(block)).map(move |from| Segment { file, from, to: about.min(from + block) })
    };
    files.iter().enumerate().flat_map(of).collect()
}

/// A piece of a shard, block by block.
pub fn blocks_of(segment: Segment, block: u64) -> impl Iterator<Item = Segment> {
    let Segment { file, from, to } = segment;
    (from..to).step_by(size(block.max(1))).map(move |from| Segment { file, from, to: to.min(from + block) })
}
