//! The one canonical decoder that every family is mapped onto.

use super::kernel::activation::Activation;
use super::rope::Rope;
use candle_core::Tensor;

/// The sizes and switches of a model.
#[derive(Clone, Debug)]
pub struct Arch {
    /// The family that read the checkpoint.
    pub family: &'static str,
    /// Number of blocks.
    pub n_layers: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Query heads of a block.
    pub n_heads: usize,
    /// Key-value heads of a block; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub d_head: usize,
    /// Neurons of a block.
    pub d_mlp: usize,
    /// Rows of the embedding.
    pub d_vocab: usize,
    /// The longest prompt the model was made for, in tokens.
    pub n_ctx: usize,
    /// Attention and MLP read the same residual stream (GPT-NeoX, GPT-J, Phi).
    pub parallel: bool,
    /// `cap * tanh(logit / cap)` on the logits.
    pub final_softcap: Option<f32>,
}

/// A decoder: embeddings, blocks, final norm, unembedding.
#[derive(Clone, Debug)]
pub struct Decoder {
    /// Sizes and switches.
    pub arch: Arch,
    /// `[d_vocab, d_model]`
    pub embed: Tensor,
    /// Multiplies token embeddings (Gemma).
    pub embed_scale: Option<f32>,
    /// Learned positions, `[n_ctx, d_model]`.
    pub pos_embed: Option<Tensor>,
    /// The distinct rotary embeddings of the model.
    pub ropes: Vec<Rope>,
    /// The blocks, bottom to top.
    pub blocks: Vec<Block>,
    /// The norm before the unembedding.
    pub ln_final: Norm,
    /// `[d_vocab, d_model]`; shares the embedding's memory when they are tied.
    pub unembed: Linear,
}

/// One block: attention and MLP, with norms before them (most families), after them (OLMo-2) or both (Gemma-2).
#[derive(Clone, Debug)]
pub struct Block {
    /// The norm attention reads through; without one it reads the residual stream itself.
    pub ln1: Option<Norm>,
    /// Attention.
    pub attention: Attention,
    /// A norm on attention's output (Gemma-2, OLMo-2).
    pub ln1_post: Option<Norm>,
    /// The norm the MLP reads through; without one it reads the residual stream itself. Where attention and MLP share
    /// one norm (Phi, GPT-J), it is that of attention once more.
    pub ln2: Option<Norm>,
    /// The MLP.
    pub mlp: Mlp,
    /// A norm on the MLP's output (Gemma-2, OLMo-2).
    pub ln2_post: Option<Norm>,
}

/// `y = x Wᵀ + b`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[out, in]`
    pub weight: Tensor,
    /// `[out]`
    pub bias: Option<Tensor>,
}

/// LayerNorm or RMSNorm.
#[derive(Clone, Debug)]
pub struct Norm {
    /// Subtract the mean first (LayerNorm).
    pub centre: bool,
    /// Added to the mean square.
    pub eps: f32,
    /// `[width]`, f32 in every dtype; Gemma's stored weight plus one.
    pub weight: Tensor,
    /// `[width]`, f32 in every dtype.
    pub bias: Option<Tensor>,
}

/// A norm on the queries or keys of a block, before rotation.
#[derive(Clone, Debug)]
pub struct HeadNorm {
    /// Its weights: as many as `over` says.
    pub norm: Norm,
    /// Which numbers are normalised together.
    pub over: Over,
}

/// Which numbers of queries or keys `[heads, d_head]` are normalised together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Each head, all by the same weights `[d_head]` (Qwen3, Gemma-3, Phi).
    Head,
    /// Each head, each by its own weights `[heads * d_head]` (StableLM).
    HeadByOwn,
    /// All heads together, weights `[heads * d_head]`; an RMSNorm, so that each head's share of it stays linear in that head
    /// (OLMo-2).
    All,
}

/// Grouped-query causal attention.
#[derive(Clone, Debug)]
pub struct Attention {
    /// `[n_heads * d_head, d_model]`
    pub q: Linear,
    /// `[n_kv_heads * d_head, d_model]`
    pub k: Linear,
    /// `[n_kv_heads * d_head, d_model]`
    pub v: Linear,
    /// `[d_model, n_heads * d_head]`
    pub o: Linear,
    /// Norms queries (Qwen3, Gemma-3, OLMo-2).
    pub q_norm: Option<HeadNorm>,
    /// Norms keys (Qwen3, Gemma-3, OLMo-2).
    pub k_norm: Option<HeadNorm>,
    /// Width of a head.
    pub d_head: usize,
    /// Index into [`Decoder::ropes`]; `None` where positions are learned, or where this layer has none (SmolLM3).
    pub rope: Option<usize>,
    /// Multiplies `q . k`.
    pub scale: f32,
    /// `cap * tanh(score / cap)`.
    pub softcap: Option<f32>,
    /// Positions a query sees, its own included.
    pub window: Option<usize>,
}

/// A plain or gated MLP.
#[derive(Clone, Debug)]
pub struct Mlp {
    /// The gate `[d_mlp, d_model]` of a gated MLP: `act(gate) * input`.
    pub gate: Option<Linear>,
    /// `[d_mlp, d_model]`; the linear branch of a gated MLP.
    pub input: Linear,
    /// `[d_model, d_mlp]`
    pub output: Linear,
    /// The nonlinearity.
    pub activation: Activation,
}
