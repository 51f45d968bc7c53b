//! Weights by name: safetensors (and NumPy's npz) files read tensor by tensor into the compute dtype, so that never more
//! than one tensor exists twice.

mod form;
mod header;
mod npz;
mod read;

use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use form::{Rows, TensorForm};
pub use header::{SafetensorsHeader, Stored, TensorInfo};

/// Where the bytes of a safetensors file are.
enum Bytes {
    File(File),
    Static(&'static [u8]),
    /// A deflated member of an archive.
    Packed(npz::DeflatedMember),
}

struct ShardFile {
    name: String,
    bytes: Bytes,
    data: u64,
    /// The number types it may hold, for messages.
    accepted: &'static str,
}

/// The number types of safetensors and NumPy files that are read.
const FLOATS: &str = "F32, F16, BF16, F64";

enum Store {
    Parts { parts: Vec<ShardFile>, entries: BTreeMap<String, (usize, TensorInfo)> },
    Tensors(HashMap<String, Tensor>),
}

/// Called with bytes read so far and bytes in all.
pub type ReadProgress<'a> = Box<dyn FnMut(u64, u64) + Send + 'a>;

/// The tensors of a model.
pub struct Checkpoint<'a> {
    store: Store,
    device: Device,
    dtype: DType,
    used: Mutex<BTreeSet<String>>,
    total: u64,
    done: AtomicU64,
    progress: Mutex<ReadProgress<'a>>,
    rehearsing: AtomicBool,
    /// Bytes of the tensors that were rehearsed.
    rehearsed: AtomicU64,
    /// Bytes of the largest copy of a tensor that lies beside it.
    copied: AtomicU64,
}

/// What the lock holds; a reader that panicked leaves it whole.
fn open<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Checkpoint<'a> {
    /// Opens safetensors files.
    ///
    /// # Errors
    /// A file that is missing, truncated, or whose header lies; a tensor that stands in two files.
    pub fn open(files: &[PathBuf], device: &Device, dtype: DType, progress: ReadProgress<'a>) -> Result<Self> {
        let mut parts = Vec::new();
        for path in files {
            let name = path.display().to_string();
            // Opening a folder works, reading it does not; a pipe would be waited for.
            ensure!(path.is_file() || !path.exists(), "{name} is not a file; accepted: a safetensors file");
            let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
            let size = file.metadata().with_context(|| format!("cannot read {name}"))?.len();
            parts.push((name, Bytes::File(file), size));
        }
        Self::from_parts(parts, device, dtype, progress)
    }

    /// Reads a safetensors file that is part of the program.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn built_in(name: &str, bytes: &'static [u8], device: &Device, dtype: DType) -> Result<Self> {
        let parts = vec![(name.to_owned(), Bytes::Static(bytes), bytes.len() as u64)];
        Self::from_parts(parts, device, dtype, Box::new(|_, _| {}))
    }

    /// Opens a NumPy `.npz` archive, its arrays under their names without `.npy`.
    ///
    /// # Errors
    /// A file that is missing, truncated or no such archive; an array in Fortran order, that is not made of floats, or that unpacks to more than
    /// weights can.
    pub fn npz(path: &Path, device: &Device, dtype: DType) -> Result<Self> {
        let (mut parts, mut entries) = (Vec::new(), BTreeMap::new());
        for (part, tensor, entry) in npz::read(path)? {
            let other = entries.insert(tensor.clone(), (parts.len(), entry));
            ensure!(other.is_none(), "{} holds the array {tensor:?} twice", path.display());
            parts.push(part);
        }
        let total = entries.values().map(|(_, e)| e.end - e.start).sum();
        Ok(Self::new(Store::Parts { parts, entries }, total, device, dtype, Box::new(|_, _| {})))
    }

    /// Opens files of another format, given with where the data of each starts: tensors by name with the number of their file. `accepted` names
    /// the number types that are read, for messages.
    ///
    /// # Errors
    /// A file that is missing; a name that stands there twice.
    pub fn listed(
        files: &[(PathBuf, u64)],
        tensors: Vec<(String, usize, TensorInfo)>,
        accepted: &'static str,
        (device, dtype): (&Device, DType),
        progress: ReadProgress<'a>,
    ) -> Result<Self> {
        let mut parts = Vec::new();
        for (path, data) in files {
            let name = path.display().to_string();
            let bytes = Bytes::File(File::open(path).with_context(|| format!("cannot open {name}"))?);
            parts.push(ShardFile { name, bytes, data: *data, accepted });
        }
        let (mut entries, mut total) = (BTreeMap::new(), 0);
        for (tensor, file, entry) in tensors {
            total += entry.end - entry.start;
            let other = entries.insert(tensor.clone(), (file, entry));
            ensure!(other.is_none(), "tensor {tensor:?} stands twice in {}", parts[file].name);
        }
        Ok(Self::new(Store::Parts { parts, entries }, total, device, dtype, progress))
    }

    /// Takes tensors made by the caller.
    pub fn from_tensors(tensors: HashMap<String, Tensor>, device: &Device, dtype: DType) -> Self {
        Self::new(Store::Tensors(tensors), 0, device, dtype, Box::new(|_, _| {}))
    }

    fn new(store: Store, total: u64, device: &Device, dtype: DType, progress: ReadProgress<'a>) -> Self {
        let (used, done) = (Mutex::default(), AtomicU64::new(0));
        let (progress, rehearsing) = (Mutex::new(progress), AtomicBool::new(false));
        Checkpoint {
            store,
            device: device.clone(),
            dtype,
            used,
            total,
            done,
            progress,
            rehearsing,
            rehearsed: AtomicU64::new(0),
            copied: AtomicU64::new(0),
        }
    }

    fn from_parts(
        files: Vec<(String, Bytes, u64)>,
        device: &Device,
        dtype: DType,
        progress: ReadProgress<'a>,
    ) -> Result<Self> {
        let (mut parts, mut entries, mut total) = (Vec::new(), BTreeMap::new(), 0);
        for (name, bytes, size) in files {
            let SafetensorsHeader { data, tensors, .. } =
                header::read(&name, &|to, at| header::bytes_at(&bytes, to, at), size)?;
            for (tensor, entry) in tensors {
                total += entry.end - entry.start;
                if let Some((other, _)) = entries.insert(tensor.clone(), (parts.len(), entry)) {
                    let other: &ShardFile = parts.get(other).context("a file lists a tensor twice")?;
                    bail!("tensor {tensor:?} stands both in {} and in {name}", other.name);
                }
            }
            parts.push(ShardFile { name, bytes, data, accepted: FLOATS });
        }
        Ok(Self::new(Store::Parts { parts, entries }, total, device, dtype, progress))
    }

    /// The device tensors are put on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Whether a tensor is there.
    pub fn has(&self, name: &str) -> bool {
        match &self.store {
            Store::Parts { entries, .. } => entries.contains_key(name),
            Store::Tensors(t) => t.contains_key(name),
        }
    }

    /// The first of `prefixes` under which `name` exists.
    ///
    /// # Errors
    /// None fits: the checkpoint is of another kind than its `config.json` says.
    pub fn prefix<'p>(&self, prefixes: &[&'p str], name: &str) -> Result<&'p str> {
        let found = prefixes.iter().find(|p| self.has(&format!("{p}{name}")));
        let wanted: Vec<String> = prefixes.iter().map(|p| format!("{p}{name}")).collect();
        found.copied().with_context(|| format!("{}: no tensor is called {}", self.name(), wanted.join(" or ")))
    }

    /// The shape of a tensor.
    ///
    /// # Errors
    /// It is missing.
    pub fn shape(&self, name: &str) -> Result<Vec<usize>> {
        let shape = match &self.store {
            Store::Parts { entries, .. } => entries.get(name).map(|(_, e)| e.wanted_shape()),
            Store::Tensors(map) => map.get(name).map(|t| t.dims().to_vec()),
        };
        shape.with_context(|| format!("{}: tensor {name:?} is missing", self.name()))
    }

    /// Checks the shape of a tensor without reading it.
    ///
    /// # Errors
    /// It is missing or has another shape.
    pub fn expect(&self, name: &str, shape: &[usize]) -> Result<()> {
        let found = self.shape(name)?;
        ensure!(found == shape, "{}: tensor {name:?} has shape {found:?}; accepted: {shape:?}", self.name());
        Ok(())
    }

    /// Reads `n` rows of a tensor from `first` on, in f32: a row is all that belongs to one index of the first dimension.
    ///
    /// # Errors
    /// The tensor is missing, has fewer rows or is not made of finite floats.
    pub fn rows(&self, name: &str, first: usize, n: usize) -> Result<Vec<f32>> {
        let shape = self.shape(name)?;
        let (rows, width) = (shape.first().copied().unwrap_or(0), shape.iter().skip(1).product::<usize>());
        ensure!(
            first.checked_add(n).is_some_and(|end| end <= rows),
            "{}: tensor {name:?} has {rows} rows, wanted {n} from row {first}",
            self.name()
        );
        match &self.store {
            Store::Tensors(map) => {
                let t = map.get(name).with_context(|| format!("tensor {name:?} is missing"))?;
                Ok(t.narrow(0, first, n)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
            }
            Store::Parts { parts, entries } => {
                let (part, entry) = entries.get(name).with_context(|| format!("tensor {name:?} is missing"))?;
                read::Reader { part: &parts[*part], name, entry }.rows(first * width, n * width)
            }
        }
    }

    /// Reads chosen columns of a matrix, in f32: `[columns, rows]`, so that each column comes out in one piece.
    ///
    /// # Errors
    /// The tensor is missing, no matrix, has fewer columns or is not made of finite floats.
    pub fn columns(&self, name: &str, columns: &[usize]) -> Result<Vec<f32>> {
        let shape = self.shape(name)?;
        let &[rows, width] = shape.as_slice() else {
            bail!("{}: tensor {name:?} has shape {shape:?}; accepted: two dimensions", self.name())
        };
        let last = columns.iter().max().copied().unwrap_or(0);
        ensure!(last < width, "{}: tensor {name:?} has {width} columns, wanted column {last}", self.name());
        match &self.store {
            Store::Tensors(map) => {
                let t = map.get(name).with_context(|| format!("tensor {name:?} is missing"))?;
                let t = t.to_dtype(DType::F32)?.t()?.contiguous()?.to_vec2::<f32>()?;
                Ok(columns.iter().flat_map(|c| t[*c].iter().copied()).collect())
            }
            Store::Parts { parts, entries } => {
                let (part, entry) = entries.get(name).with_context(|| format!("tensor {name:?} is missing"))?;
                read::Reader { part: &parts[*part], name, entry }.columns(rows, width, columns)
            }
        }
    }

    /// The names of all tensors.
    pub fn names(&self) -> Vec<String> {
        match &self.store {
            Store::Parts { entries, .. } => entries.keys().cloned().collect(),
            Store::Tensors(t) => t.keys().cloned().collect(),
        }
    }

    /// The file, or the first of them, for messages.
    pub fn name(&self) -> &str {
        match &self.store {
            Store::Parts { parts, .. } => parts.first().map_or("checkpoint", |p| &p.name),
            Store::Tensors(_) => "tensors in memory",
        }
    }

    /// Runs `build` without reading numbers: tensors are checked against the headers, their values are zeros that take no
    /// memory.
    ///
    /// # Errors
    /// What `build` returns.
    pub fn rehearse<T>(&self, build: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        self.rehearsed.store(0, Relaxed);
        self.copied.store(0, Relaxed);
        self.rehearsing.store(true, Relaxed);
        let built = build(self);
        self.rehearsing.store(false, Relaxed);
        built
    }

    /// Whether tensors are only checked: a copy of one would take memory for nothing.
    pub fn rehearsing(&self) -> bool {
        self.rehearsing.load(Relaxed)
    }

    /// A matrix in the compute dtype, as stored.
    pub fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<Tensor> {
        self.tensor(name, &[rows, cols], self.dtype, false)
    }

    /// The transpose of a matrix that is stored `[cols, rows]`, in the compute dtype.
    pub fn transposed(&self, name: &str, rows: usize, cols: usize) -> Result<Tensor> {
        self.tensor(name, &[cols, rows], self.dtype, true)
    }

    /// A matrix in f32, whatever the compute dtype (norms of heads).
    pub fn matrix_f32(&self, name: &str, rows: usize, cols: usize) -> Result<Tensor> {
        self.tensor(name, &[rows, cols], DType::F32, false)
    }

    /// A vector in the compute dtype.
    pub fn vector(&self, name: &str, len: usize) -> Result<Tensor> {
        self.tensor(name, &[len], self.dtype, false)
    }

    /// A vector in f32, whatever the compute dtype (norms).
    pub fn vector_f32(&self, name: &str, len: usize) -> Result<Tensor> {
        self.tensor(name, &[len], DType::F32, false)
    }

    /// Reads a tensor that is stored with this shape; `turned` returns its transpose.
    ///
    /// # Errors
    /// It is missing, has another shape or a dtype that is not a float, is cut off, or holds NaN or infinity.
    fn tensor(&self, name: &str, shape: &[usize], dtype: DType, turned: bool) -> Result<Tensor> {
        open(&self.used).insert(name.to_owned());
        let mismatch =
            |file: &str, found: &[usize]| format!("{file}: tensor {name:?} has shape {found:?}; accepted: {shape:?}");
        match &self.store {
            Store::Tensors(map) => {
                let t = map.get(name).with_context(|| format!("tensor {name:?} is missing"))?;
                ensure!(t.dims() == shape, mismatch("memory", t.dims()));
                let t = if turned { t.t()?.contiguous()? } else { t.clone() };
                Ok(t.to_device(&self.device)?.to_dtype(dtype)?)
            }
            Store::Parts { parts, entries } => {
                let (part, entry) =
                    entries.get(name).with_context(|| format!("{}: tensor {name:?} is missing", self.name()))?;
                let part = &parts[*part];
                let found = entry.wanted_shape();
                ensure!(found == shape, mismatch(&part.name, &found));
                let turned = turned != entry.form.turned;
                let reader = read::Reader { part, name, entry };
                reader.check()?;
                if self.rehearsing() {
                    let bytes = shape.iter().product::<usize>() * dtype.size_in_bytes();
                    self.rehearsed.fetch_add(bytes as u64, Relaxed);
                    let zero = Tensor::zeros((), DType::F32, &Device::Cpu)?;
                    return Ok(zero.broadcast_as(reader.shape(turned))?);
                }
                let tensor = reader.tensor(dtype, &self.device, turned)?;
                let size = entry.end - entry.start;
                let done = self.done.fetch_add(size, Relaxed) + size;
                (open(&self.progress))(done, self.total);
                Ok(tensor)
            }
        }
    }

    /// Notes, in a rehearsal, that a copy of this tensor in the compute dtype will lie beside it, for a while or for good. Copies are made one
    /// after another: the largest counts.
    pub fn copies(&self, tensor: &Tensor) {
        self.copied.fetch_max((tensor.elem_count() * self.dtype.size_in_bytes()) as u64, Relaxed);
    }

    /// Bytes that the tensors of the last rehearsal take in memory, with the largest copy of one.
    pub fn bytes_rehearsed(&self) -> u64 {
        self.rehearsed.load(Relaxed).saturating_add(self.copied.load(Relaxed))
    }

    /// Marks tensors as read whose names begin with one of `prefixes`: parts of the checkpoint that are not opened.
    pub fn pass_over(&self, prefixes: &[&str]) {
        let names = self.names().into_iter().filter(|name| prefixes.iter().any(|p| name.starts_with(p)));
        open(&self.used).extend(names);
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// A tensor that nobody read and that is not a known buffer: the checkpoint computes something this program does not.
    pub fn finish(&self, ignorable: impl Fn(&str) -> bool) -> Result<()> {
        let used = open(&self.used);
        let buffers =
            [".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias", "rotary_emb.inv_freq"];
        for name in self.names().iter().filter(|n| !used.contains(*n) && !ignorable(n)) {
            if !buffers.iter().any(|b| name.ends_with(b)) {
                bail!(
                    "{}: tensor {name:?} has no place in this family; the checkpoint computes something this program does not",
                    self.name()
                );
            }
        }
        Ok(())
    }
}

/// The files of a sharded checkpoint, from its index.
///
/// # Errors
/// An index that is not JSON, has no `weight_map`, or names files outside its folder.
pub fn shards(folder: &Path, index: &[u8]) -> Result<Vec<PathBuf>> {
    let place = folder.join("model.safetensors.index.json");
    let place = place.display();
    let json: serde_json::Value = serde_json::from_slice(index).with_context(|| format!("{place} is not JSON"))?;
    let map = json.get("weight_map").and_then(|m| m.as_object());
    let map = map.with_context(|| format!("{place}: field \"weight_map\" is missing or not an object"))?;
    let mut files = BTreeSet::new();
    for (tensor, file) in map {
        let file = file.as_str().with_context(|| format!("{place}: tensor {tensor:?} has no file name"))?;
        ensure!(
            !file.contains(['/', '\\']) && file != "..",
            "{place}: tensor {tensor:?} lies in {file:?}; accepted: a file beside the index"
        );
        files.insert(folder.join(file));
    }
    ensure!(!files.is_empty(), "{place}: \"weight_map\" is empty");
    Ok(files.into_iter().collect())
}
