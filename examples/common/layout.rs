//! Where each tensor of a GPT-2 model lies in one flat buffer.

use std::ops::Range;

/// The sizes of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub n_layers: usize,
    pub d_model: usize,
    pub n_heads: usize,
    pub d_mlp: usize,
    pub n_ctx: usize,
    pub d_vocab: usize,
}

/// The tensors of one block.
#[derive(Clone, Debug)]
pub struct Block {
    pub ln_1: Norm,
    pub qkv: Linear,
    pub attn_out: Linear,
    pub ln_2: Norm,
    pub mlp_in: Linear,
    pub mlp_out: Linear,
}

/// Weight and bias of a layer norm, `[d_model]` each.
#[derive(Clone, Debug)]
pub struct Norm {
    pub weight: Range<usize>,
    pub bias: Range<usize>,
}

/// Weight `[inputs, outputs]` and bias `[outputs]`.
#[derive(Clone, Debug)]
pub struct Linear {
    pub weight: Range<usize>,
    pub bias: Range<usize>,
    pub inputs: usize,
    pub outputs: usize,
}

/// A tensor by the name the checkpoint gives it.
#[derive(Clone, Debug)]
pub struct Named {
    pub name: String,
    pub shape: Vec<usize>,
    pub range: Range<usize>,
}

/// The whole buffer.
#[derive(Clone, Debug)]
pub struct Layout {
    pub shape: Shape,
    pub wte: Range<usize>,
    pub wpe: Range<usize>,
    pub blocks: Vec<Block>,
    pub ln_f: Norm,
    /// Every tensor, in the order of the buffer.
    pub tensors: Vec<Named>,
}

impl Layout {
    /// Lays the tensors out one after another.
    pub fn new(shape: Shape) -> Self {
        let mut build = Builder::default();
        let d = shape.d_model;
        let wte = build.tensor("transformer.wte.weight", &[shape.d_vocab, d]);
        let wpe = build.tensor("transformer.wpe.weight", &[shape.n_ctx, d]);
        let blocks = (0..shape.n_layers)
            .map(|layer| {
                let name = |part: &str| format!("transformer.h.{layer}.{part}");
                Block {
                    ln_1: build.norm(&name("ln_1"), d),
                    qkv: build.linear(&name("attn.c_attn"), d, 3 * d),
                    attn_out: build.linear(&name("attn.c_proj"), d, d),
                    ln_2: build.norm(&name("ln_2"), d),
                    mlp_in: build.linear(&name("mlp.c_fc"), d, shape.d_mlp),
                    mlp_out: build.linear(&name("mlp.c_proj"), shape.d_mlp, d),
                }
            })
            .collect();
        let ln_f = build.norm("transformer.ln_f", d);
        Self { shape, wte, wpe, blocks, ln_f, tensors: build.tensors }
    }

    /// What weight decay acts on: matrices, not norms, biases and position embeddings.
    pub fn decays(&self) -> Vec<bool> {
        let mut decays = vec![false; self.len()];
        for tensor in &self.tensors {
            if tensor.shape.len() == 2 && !tensor.name.contains("wpe") {
                decays[tensor.range.clone()].fill(true);
            }
        }
        decays
    }

    /// Numbers in the buffer.
    pub fn len(&self) -> usize {
        self.tensors.last().map_or(0, |tensor| tensor.range.end)
    }
}

#[derive(Default)]
struct Builder {
    tensors: Vec<Named>,
    end: usize,
}

impl Builder {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Range<usize> {
        let range = self.end..self.end + shape.iter().product::<usize>();
        self.end = range.end;
        self.tensors.push(Named { name: name.to_owned(), shape: shape.to_vec(), range: range.clone() });
        range
    }

    fn norm(&mut self, name: &str, width: usize) -> Norm {
        Norm {
            weight: self.tensor(&format!("{name}.weight"), &[width]),
            bias: self.tensor(&format!("{name}.bias"), &[width]),
        }
    }

    fn linear(&mut self, name: &str, inputs: usize, outputs: usize) -> Linear {
        Linear {
            weight: self.tensor(&format!("{name}.weight"), &[inputs, outputs]),
            bias: self.tensor(&format!("{name}.bias"), &[outputs]),
            inputs,
            outputs,
        }
    }
}
