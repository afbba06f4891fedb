//! A decoder-only transformer as plain data: everything [`Decoder`](crate::Decoder) needs to know of a model.

use crate::rope::{RopeScaling, RopeSpec};
use lowbit_kernels::ops::{Activation, RopePairs};

/// What a linear layer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Role {
    Query,
    Key,
    Value,
    Output,
    Gate,
    Up,
    Down,
    Router,
    Embed,
    Head,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 10] = [
        Self::Query,
        Self::Key,
        Self::Value,
        Self::Output,
        Self::Gate,
        Self::Up,
        Self::Down,
        Self::Router,
        Self::Embed,
        Self::Head,
    ];

    /// Name in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Key => "key",
            Self::Value => "value",
            Self::Output => "output",
            Self::Gate => "gate",
            Self::Up => "up",
            Self::Down => "down",
            Self::Router => "router",
            Self::Embed => "embedding",
            Self::Head => "head",
        }
    }
}

/// One linear layer of a model. Embedding and head count to block 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinearId {
    /// Transformer block, from 0.
    pub block: u16,
    /// What it is for.
    pub role: Role,
    /// Which expert's, in a mixture of experts.
    pub expert: Option<u16>,
}

/// Hyper-parameters of a model, all checked by whoever made it.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    /// Name of the architecture.
    pub architecture: &'static str,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Number of tokens in the vocabulary.
    pub vocab: usize,
    /// Tokens that the model was made for.
    pub context: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Added to the mean square in every norm.
    pub norm_eps: f32,
    /// Added to every stored norm gain: 1 where checkpoints store the gain less one (Gemma's Hugging Face folders).
    pub gain_offset: f32,
    /// Which norms a block has.
    pub norms: Norms,
    /// Norm of queries and keys before rotation.
    pub qk_norm: QkNorm,
    /// What scores are multiplied with.
    pub attention_scale: f32,
    /// Soft cap on scaled scores.
    pub attention_cap: Option<f32>,
    /// Soft cap on logits.
    pub logit_cap: Option<f32>,
    /// What token embeddings are multiplied with.
    pub embedding_scale: f32,
    /// What the gate projection goes through.
    pub activation: Activation,
    /// Where the logits' weight comes from.
    pub head: Head,
    /// Which layers have a bias.
    pub biases: Biases,
    /// Rotary embeddings that blocks refer to by index.
    pub ropes: Vec<RopeSpec>,
    /// Which elements of a head are rotated together.
    pub rope_pairs: RopePairs,
    /// How the linear layers of blocks are stored and multiplied.
    pub coding: WeightCoding,
    /// The blocks, first to last.
    pub blocks: Vec<BlockSpec>,
}

impl ModelSpec {
    /// Elements of all query heads.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Elements of all key heads, and of all value heads.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// The element of a head that the rotary embedding of a block turns together with element `i`; `i` itself where it is not
    /// turned.
    pub fn turned_with(&self, block: usize, i: usize) -> usize {
        let dims = self.blocks[block].rope.map_or(0, |rope| self.ropes[rope].dims);
        match self.rope_pairs {
            _ if i >= dims => i,
            RopePairs::Halves => (i + dims / 2) % dims,
            RopePairs::Adjacent => i ^ 1,
        }
    }

    /// Most tokens that a cache may hold. More than [`Self::context`] only where positions are extrapolated on purpose.
    pub fn longest(&self) -> usize {
        let dynamic = self.ropes.iter().filter_map(|rope| match rope.scaling {
            RopeScaling::Dynamic { factor, trained } => Some((factor * trained as f64) as usize),
            _ => None,
        });
        dynamic.chain([self.context]).max().unwrap_or(self.context)
    }
}

/// What differs from block to block.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockSpec {
    /// A token sees itself and this many less one before it; all where `None`.
    pub window: Option<usize>,
    /// Index into [`ModelSpec::ropes`]; queries and keys stay unrotated where `None`.
    pub rope: Option<usize>,
    /// The feed-forward part.
    pub ffn: Ffn,
}

/// The feed-forward part of a block: `down(f(gate(x)) · up(x))`, once or for some of many experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ffn {
    /// One for all tokens.
    Dense {
        /// Width between.
        inner: usize,
    },
    /// The best few of many for each token, by a router.
    Experts {
        /// How many there are.
        count: usize,
        /// How many a token uses.
        used: usize,
        /// Width between, of each.
        inner: usize,
        /// What the chosen ones are weighted with.
        weights: ExpertWeights,
    },
}

/// Weights of the chosen experts: the router's softmax over all of them,
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpertWeights {
    /// divided by the sum over the chosen ones.
    Normalized,
    /// as it is.
    AsRouted,
}

/// Which norms a block has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Norms {
    /// Before attention.
    pub attention_in: bool,
    /// On what attention adds to the stream.
    pub attention_out: bool,
    /// Before the feed-forward part.
    pub ffn_in: bool,
    /// On what the feed-forward part adds to the stream.
    pub ffn_out: bool,
    /// Before the output projection of attention (BitNet).
    pub attention_sub: bool,
    /// Before the down projection (BitNet).
    pub ffn_sub: bool,
}

impl Norms {
    /// Before each part: Llama and most others.
    pub const BEFORE: Self = Self {
        attention_in: true,
        attention_out: false,
        ffn_in: true,
        ffn_out: false,
        attention_sub: false,
        ffn_sub: false,
    };
    /// After each part only: OLMo 2.
    pub const AFTER: Self =
        Self { attention_in: false, attention_out: true, ffn_in: false, ffn_out: true, ..Self::BEFORE };
    /// Before and after each part: Gemma 2 and 3.
    pub const AROUND: Self = Self { attention_out: true, ffn_out: true, ..Self::BEFORE };
    /// Before each part and before its last projection: BitNet.
    pub const BEFORE_AND_SUB: Self = Self { attention_sub: true, ffn_sub: true, ..Self::BEFORE };
}

/// Norm of queries and keys before rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QkNorm {
    /// None.
    None,
    /// Each head by itself, one gain for all.
    Head,
    /// All heads of a token together.
    Row,
}

/// Where the logits' weight comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// The token embeddings.
    Tied,
    /// A matrix of its own.
    Own,
    /// A matrix of its own where the checkpoint has one, else the token embeddings: GGUF files do not say.
    OwnIfStored,
}

/// Whether layers have a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// No; one in the checkpoint is an error.
    Never,
    /// Yes; none in the checkpoint is an error.
    Always,
    /// Where the checkpoint has one: GGUF files do not say.
    IfStored,
}

/// Which layers have a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Biases {
    /// Query, key and value projections.
    pub qkv: Presence,
    /// Output projection of attention.
    pub output: Presence,
    /// Gate, up and down projections.
    pub ffn: Presence,
}

impl Biases {
    /// None anywhere.
    pub const NONE: Self = Self { qkv: Presence::Never, output: Presence::Never, ffn: Presence::Never };
    /// On queries, keys and values: Qwen 2.
    pub const QKV: Self = Self { qkv: Presence::Always, ..Self::NONE };
}

/// How the linear layers of blocks are stored and multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightCoding {
    /// As the tensor's own type says, activations as the caller asks.
    Plain,
    /// As the tensor's own type says, activations rounded to 8 bits a token (BitNet in GGUF files, SmoothQuant).
    TokenInt8,
    /// As the tensor's own type says, activations rounded to 4 bits a token (QuaRot).
    TokenInt4,
    /// As `TokenInt8`, large activations apart in 16 bits (LLM.int8()).
    TokenInt8Outliers,
    /// Float master weights, to be rounded to ternary with one scale a tensor, the mean magnitude; activations
    /// rounded to 8 bits a token.
    TernaryMaster,
    /// Four ternary codes a byte with a scale beside them; activations rounded to 8 bits a token.
    TernaryPacked(PackedScale),
}

/// What the scale stored beside packed ternary codes does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackedScale {
    /// Weights are codes times it (`autobitlinear`).
    Multiplies,
    /// Weights are codes divided by it (`bitlinear`).
    Divides,
}
