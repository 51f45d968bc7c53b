//! The tensors of a layer: their names, kinds and shapes, which whoever writes and whoever reads take from here.

use crate::corpus::histogram::{BINS, OCTAVES};
use crate::corpus::part::PartHeader;
use crate::corpus::tensors::Kind;

/// A tensor of a layer, `[neurons, cases, …]` or `[neurons, …]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitTensor {
    /// Its name behind `mlp.N.`.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether it has a dimension of cases.
    pub by_case: bool,
    /// What is behind that.
    pub extent: TensorExtent,
}

/// The last dimensions of a tensor of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorExtent {
    /// A number.
    One,
    /// An exact sum: two halves of a whole number in steps of 2^-48.
    Exact,
    /// Bins of the histogram.
    Bins,
    /// Strongest examples.
    Top,
    /// Windows of these.
    Windows,
    /// Drawn examples, octave by octave.
    Samples,
    /// Tokens.
    Tokens,
    /// Positions drawn by strength.
    Sketch,
}

const fn of_case(name: &'static str, kind: Kind, extent: TensorExtent) -> UnitTensor {
    UnitTensor { name, kind, by_case: true, extent }
}

const fn of_unit(name: &'static str, kind: Kind, extent: TensorExtent) -> UnitTensor {
    UnitTensor { name, kind, by_case: false, extent }
}

/// Every tensor of a layer.
pub const FIELDS: [UnitTensor; 29] = [
    of_case("count", Kind::U64, TensorExtent::One),
    of_case("sum", Kind::F64, TensorExtent::One),
    of_case("sum_exact", Kind::U64, TensorExtent::Exact),
    of_case("squares", Kind::F64, TensorExtent::One),
    of_case("squares_exact", Kind::U64, TensorExtent::Exact),
    of_case("min", Kind::F32, TensorExtent::One),
    of_case("max", Kind::F32, TensorExtent::One),
    of_case("hist", Kind::U32, TensorExtent::Bins),
    of_case("top.value", Kind::F32, TensorExtent::Top),
    of_case("top.doc", Kind::U64, TensorExtent::Top),
    of_case("top.start", Kind::U32, TensorExtent::Top),
    of_case("top.pos", Kind::U32, TensorExtent::Top),
    of_case("top.token", Kind::U32, TensorExtent::Top),
    of_case("top.window", Kind::F16, TensorExtent::Windows),
    of_case("sample.value", Kind::F32, TensorExtent::Samples),
    of_case("sample.doc", Kind::U64, TensorExtent::Samples),
    of_case("sample.start", Kind::U32, TensorExtent::Samples),
    of_case("sample.pos", Kind::U32, TensorExtent::Samples),
    of_case("sample.token", Kind::U32, TensorExtent::Samples),
    of_case("token.id", Kind::U32, TensorExtent::Tokens),
    of_case("token.max", Kind::F32, TensorExtent::Tokens),
    of_unit("sketch.value", Kind::F32, TensorExtent::Sketch),
    of_unit("sketch.doc", Kind::U64, TensorExtent::Sketch),
    of_unit("sketch.start", Kind::U32, TensorExtent::Sketch),
    of_unit("sketch.pos", Kind::U32, TensorExtent::Sketch),
    of_unit("sketch.token", Kind::U32, TensorExtent::Sketch),
    of_unit("first.sum", Kind::F64, TensorExtent::One),
    of_unit("first.sum_exact", Kind::U64, TensorExtent::Exact),
    of_unit("first.largest", Kind::F32, TensorExtent::One),
];

impl UnitTensor {
    /// The tensor of a layer that this is in files.
    pub fn tensor(&self, layer: usize) -> String {
        format!("mlp.{layer}.{}", self.name)
    }

    /// What it holds; counts of a bin that may be beyond 32 bits take 64.
    pub fn kind(&self, header: &PartHeader) -> Kind {
        match self.extent {
            TensorExtent::Bins if header.n_tokens > u64::from(u32::MAX) => Kind::U64,
            _ => self.kind,
        }
    }

    /// Numbers behind units and cases.
    pub fn inner(&self, header: &PartHeader) -> Vec<usize> {
        let spec = &header.spec;
        match self.extent {
            TensorExtent::One => vec![],
            TensorExtent::Exact => vec![2],
            TensorExtent::Bins => vec![BINS],
            TensorExtent::Top => vec![spec.top],
            TensorExtent::Windows => vec![spec.top, spec.window],
            TensorExtent::Samples => vec![OCTAVES * spec.samples],
            TensorExtent::Tokens => vec![spec.tokens],
            TensorExtent::Sketch => vec![spec.sketch],
        }
    }

    /// The whole shape.
    pub fn shape(&self, header: &PartHeader) -> Vec<usize> {
        let cases = self.by_case.then_some(header.n_cases);
        [header.d_mlp].into_iter().chain(cases).chain(self.inner(header)).collect()
    }

    /// The field of this name.
    pub fn named(name: &str) -> Option<&'static UnitTensor> {
        FIELDS.iter().find(|field| field.name == name)
    }

    /// Bytes that it takes of one neuron.
    pub fn bytes(&self, header: &PartHeader) -> usize {
        self.shape(header)[1..].iter().product::<usize>() * self.kind(header).width()
    }
}

/// Bytes that an index takes for its neurons; the texts of its examples, the tokens and the names of tensors come to that.
pub fn bytes_of_units(header: &PartHeader) -> u64 {
    let one: usize = FIELDS.iter().map(|field| field.bytes(header)).sum();
    (one * header.d_mlp * header.n_layers) as u64
}
