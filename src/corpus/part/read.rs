//! Reading a part, layer by layer.

use super::header::PartHeader;
use super::layout::UnitTensor;
use crate::cast::size;
use crate::corpus::case::{Case, KeepSettings};
use crate::corpus::exact::Exact;
use crate::corpus::example::{Example, priority};
use crate::corpus::histogram::BINS;
use crate::corpus::layer::{LayerUnits, SiteSum};
use crate::corpus::state::{SITES, State};
use crate::corpus::tensors::{Kind, TensorFile, numbers};
use crate::corpus::unit::Unit;
use crate::model::site::Site;
use anyhow::{Context, Result, ensure};
use half::f16;
use std::collections::BTreeMap;
use std::path::Path;

/// Opens a part and reads its header.
///
/// # Errors
/// It is none.
pub fn open(path: &Path) -> Result<(TensorFile, PartHeader)> {
    let file = TensorFile::open(path)?;
    let header = PartHeader::of(&file, path)?;
    Ok((file, header))
}

/// Reads a whole part.
///
/// # Errors
/// A tensor is missing or has another shape than its header says.
pub fn read(path: &Path) -> Result<State> {
    let (file, header) = open(path)?;
    let kept = header.spec.kept();
    let layers = (0..header.n_layers).map(|l| read_layer(&file, &header, l, &kept)).collect::<Result<_>>()?;
    let (sites, contexts) = (read_sites(&file, &header)?, read_contexts(&file)?);
    Ok(State { header, layers, sites, contexts, vocabulary: read_vocabulary(&file)? })
}

/// Adds a part to what has been kept, one layer in memory at a time.
///
/// # Errors
/// It is of another sweep, covers what is there already, or cannot be read; what has been kept is then of no use.
pub fn absorb(state: &mut State, path: &Path) -> Result<()> {
    let (file, header) = open(path)?;
    state.header.absorb(&header).with_context(|| path.display().to_string())?;
    let kept = header.spec.kept();
    for (l, layer) in state.layers.iter_mut().enumerate() {
        let other = read_layer(&file, &header, l, &kept)?;
        layer.units.iter_mut().zip(&other.units).for_each(|(unit, other)| unit.absorb(other, &kept));
    }
    let sites = read_sites(&file, &header)?;
    ensure!(sites.keys().eq(state.sites.keys()), "{}: its sites are not those of the others", path.display());
    state.sites.values_mut().zip(sites.values()).for_each(|(sum, other)| sum.absorb(other));
    state.contexts.extend(read_contexts(&file)?);
    ensure!(read_vocabulary(&file)? == state.vocabulary, "{}: its tokens are not those of the others", path.display());
    Ok(())
}

/// The tensors of some neurons of a layer.
pub struct UnitRows<'a> {
    file: &'a TensorFile,
    header: &'a PartHeader,
    layer: usize,
    first: usize,
    n: usize,
}

impl<'a> UnitRows<'a> {
    /// `n` neurons of a layer from `first` on.
    pub fn new(file: &'a TensorFile, header: &'a PartHeader, layer: usize, first: usize, n: usize) -> Self {
        UnitRows { file, header, layer, first, n }
    }

    fn bytes(&self, name: &str) -> Result<(Kind, Vec<u8>)> {
        let field = UnitTensor::named(name).with_context(|| format!("no tensor is called {name:?}"))?;
        let (kind, shape) = (field.kind(self.header), field.shape(self.header));
        Ok((kind, self.file.rows(&field.tensor(self.layer), kind, &shape, self.first, self.n)?))
    }

    /// Numbers of 64 bits.
    pub fn u64s(&self, name: &str) -> Result<Vec<u64>> {
        let (kind, bytes) = self.bytes(name)?;
        Ok(match kind {
            Kind::U32 => numbers(&bytes, |b| u64::from(u32::from_le_bytes(b))),
            _ => numbers(&bytes, u64::from_le_bytes),
        })
    }

    /// Numbers of 32 bits.
    pub fn u32s(&self, name: &str) -> Result<Vec<u32>> {
        Ok(numbers(&self.bytes(name)?.1, u32::from_le_bytes))
    }

    /// Floating numbers.
    pub fn f32s(&self, name: &str) -> Result<Vec<f32>> {
        Ok(numbers(&self.bytes(name)?.1, f32::from_le_bytes))
    }

    fn f16s(&self, name: &str) -> Result<Vec<f16>> {
        Ok(numbers(&self.bytes(name)?.1, f16::from_le_bytes))
    }

    fn exact(&self, name: &str) -> Result<Vec<Exact>> {
        Ok(numbers(&self.bytes(name)?.1, Exact::of_bytes))
    }

    fn examples(&self, of: &str) -> Result<Vec<Example>> {
        let value = self.f32s(&format!("{of}.value"))?;
        let doc = self.u64s(&format!("{of}.doc"))?;
        let [start, pos, token] = ["start", "pos", "token"].map(|part| self.u32s(&format!("{of}.{part}")));
        let (start, pos, token) = (start?, pos?, token?);
        let example =
            |i: usize| Example { value: value[i], doc: doc[i], start: start[i], pos: pos[i], token: token[i] };
        Ok((0..value.len()).map(example).collect())
    }

    /// The neurons.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn units(&self, kept: &KeepSettings) -> Result<Vec<Unit>> {
        let (count, hist) = (self.u64s("count")?, self.u64s("hist")?);
        let (sum, squares) = (self.exact("sum_exact")?, self.exact("squares_exact")?);
        let (min, max) = (self.f32s("min")?, self.f32s("max")?);
        let (top, windows, samples) = (self.examples("top")?, self.f16s("top.window")?, self.examples("sample")?);
        let (token_id, token_max) = (self.u32s("token.id")?, self.f32s("token.max")?);
        let (sketch, first_sum) = (self.examples("sketch")?, self.exact("first.sum_exact")?);
        let first_largest = self.f32s("first.largest")?;
        let per = |all: usize, of: usize| all / of.max(1);
        let cases = self.n * self.header.n_cases;
        let case = |c: usize| {
            let mut case = Case::new(kept);
            (case.count, case.sum, case.squares) = (count[c], sum[c], squares[c]);
            if count[c] > 0 {
                (case.min, case.max) = (min[c], max[c]);
            }
            case.hist.copy_from_slice(&hist[c * BINS..(c + 1) * BINS]);
            let n = per(top.len(), cases);
            case.top = top[c * n..(c + 1) * n].iter().copied().filter(Example::is_there).collect();
            case.windows = windows[c * n * kept.window..][..case.top.len() * kept.window].to_vec();
            let n = per(samples.len(), cases);
            let hashed = |e: &Example| if e.is_there() { (e.hash(kept.seed), *e) } else { (u64::MAX, *e) };
            case.octaves = samples[c * n..(c + 1) * n].iter().map(hashed).collect();
            let n = per(token_id.len(), cases);
            let tokens = (c * n..(c + 1) * n).map(|i| (token_id[i], token_max[i]));
            case.tokens = tokens.filter(|(id, _)| *id != u32::MAX).collect();
            case
        };
        let unit = |u: usize| {
            let mut unit = Unit::new(0, kept);
            unit.cases = (u * self.header.n_cases..(u + 1) * self.header.n_cases).map(case).collect();
            let n = per(sketch.len(), self.n);
            for example in sketch[u * n..(u + 1) * n].iter().filter(|e| e.is_there()) {
                unit.sketch.take(priority(example.hash(kept.seed), example.value), *example, kept);
            }
            (unit.first_sum, unit.first_largest) = (first_sum[u], first_largest[u]);
            unit
        };
        Ok((0..self.n).map(unit).collect())
    }
}

fn read_layer(file: &TensorFile, header: &PartHeader, layer: usize, kept: &KeepSettings) -> Result<LayerUnits> {
    Ok(LayerUnits { units: UnitRows::new(file, header, layer, 0, header.d_mlp).units(kept)? })
}

/// The sites whose sums a part has.
fn read_sites(file: &TensorFile, header: &PartHeader) -> Result<BTreeMap<Site, SiteSum>> {
    let mut sites = BTreeMap::new();
    for layer in 0..header.n_layers {
        for site in SITES.map(|site| Site::Block(layer, site)) {
            let name = format!("site.{site}.sum_exact");
            if let Some((Kind::U64, shape)) = file.shape(&name) {
                let shape = shape.to_vec();
                let sums = numbers(&file.read(&name, Kind::U64, &shape)?, Exact::of_bytes);
                sites.insert(site, SiteSum { sums });
            }
        }
    }
    Ok(sites)
}

fn list(file: &TensorFile, name: &str, kind: Kind) -> Result<Vec<u8>> {
    let shape = file.shape(name).with_context(|| format!("tensor {name:?} is missing"))?.1.to_vec();
    file.read(name, kind, &shape)
}

/// The pieces of a list that offsets part.
fn pieces<'a, T>(all: &'a [T], offsets: &[u64], name: &str) -> Result<Vec<&'a [T]>> {
    let piece = |pair: &[u64]| {
        let found = all.get(size(pair[0])..size(pair[1]));
        found.with_context(|| {
            format!("tensor {name:?}: {} and {} are no bounds in a list of {}", pair[0], pair[1], all.len())
        })
    };
    offsets.windows(2).map(piece).collect()
}

fn read_contexts(file: &TensorFile) -> Result<BTreeMap<(u64, u32), Vec<u32>>> {
    let doc = numbers(&list(file, "context.doc", Kind::U64)?, u64::from_le_bytes);
    let start = numbers(&list(file, "context.start", Kind::U32)?, u32::from_le_bytes);
    let offset = numbers(&list(file, "context.offset", Kind::U64)?, u64::from_le_bytes);
    let tokens = numbers(&list(file, "context.tokens", Kind::U32)?, u32::from_le_bytes);
    let ids = pieces(&tokens, &offset, "context.offset")?;
    ensure!(doc.len() == ids.len() && start.len() == ids.len(), "tensors \"context.*\" are of different lengths");
    Ok(doc.into_iter().zip(start).zip(ids.into_iter().map(<[u32]>::to_vec)).collect())
}

/// What every token is shown as.
///
/// # Errors
/// The tensors are missing, or no UTF-8.
pub fn read_vocabulary(file: &TensorFile) -> Result<Vec<String>> {
    let offset = numbers(&list(file, "vocabulary.offset", Kind::U64)?, u64::from_le_bytes);
    let text = list(file, "vocabulary.text", Kind::U8)?;
    let texts = pieces(&text, &offset, "vocabulary.offset")?.into_iter();
    let utf8 = |bytes: &[u8]| Ok(std::str::from_utf8(bytes).context("tensor \"vocabulary.text\"")?.to_owned());
    texts.map(utf8).collect()
}
