//! Block formats: the tensor types of GGUF files, one file each.
//!
//! A block is a self-contained run of weights of one row: codes and whatever scales they need. Each format is one
//! function, [`BlockCodec::expand`], which turns a block into 8-bit integers and, for every run of [`BlockCodec::GROUP`]
//! of them, a scale `s` and an offset `c`:
//!
//! ```text
//! w[i] = q[i] · s[i / GROUP] + c[i / GROUP]
//! ```
//!
//! That is the format's meaning (decoding multiplies out, bit for bit as the reference does) and at the same time
//! what the integer kernels multiply with, so a format needs no kernel of its own.

mod bits;
mod grid;
mod i2_s;
mod iq1_m;
mod iq1_s;
mod iq2_s;
mod iq2_xs;
mod iq2_xxs;
mod iq3_s;
mod iq3_xxs;
mod iq4_nl;
mod iq4_xs;
mod mxfp4;
mod nvfp4;
mod q1_0;
mod q1_0_g32;
mod q2_0;
mod q2_0_g128;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
mod q8_1;
mod q8_k;
mod scales;
mod tq1_0;
mod tq2_0;
mod write;

pub use bits::lookup4;
pub(crate) use bits::put8;
use bits::{
    BIT_MASKS, SIGNS, f16_at, halves, head, head_mut, k_scales, part, quads_minus_one, rows, splat, u16_at,
    u32_at,
};
pub use scales::{Scale, ScaleBits};
pub use write::BlockWriter;
use write::{half, multiples, signed_multiples, store_k};

/// How a format codes weights one by one: what packed layouts are made of.
///
/// All of a block that is not a code is a parameter, from which [`BlockCodec::params`] makes scales and offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elements {
    /// Bits of a code, 1 to 8.
    pub bits: u32,
    /// What codes stand for.
    pub values: Values,
    /// First and last-but-one byte of each run of parameters in a block.
    pub params: &'static [(usize, usize)],
}

/// The integer `q` that a code stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// This plus the code.
    From(i8),
    /// The entry at the code, which has at most four bits.
    Table([i8; 16]),
}

impl Elements {
    /// Bytes of parameters in a block.
    pub const fn param_bytes(&self) -> usize {
        let (mut bytes, mut i) = (0, 0);
        while i < self.params.len() {
            bytes += self.params[i].1 - self.params[i].0;
            i += 1;
        }
        bytes
    }
}

/// The scalar definition of one block format.
pub trait BlockCodec {
    /// Label: the name GGUF tools use, in lower case.
    const LABEL: &'static str;
    /// Weights in a block.
    const WEIGHTS: usize;
    /// Bytes of a block.
    const BYTES: usize;
    /// Weights that share a scale after expansion: 16 or 32. Formats with longer groups repeat the scale.
    const GROUP: usize;
    /// Whether offsets can differ from zero. Where not, `expand` leaves `c` alone.
    const OFFSETS: bool;
    /// Whether all blocks of a tensor share one more scale, which stands outside of them.
    const TENSOR_SCALE: bool = false;
    /// The numbers in a block that all its weights are proportional to. None where the scale stands once a tensor.
    const SCALES: &'static [Scale];
    /// Codes and parameters, where every weight has a code of its own.
    const ELEMENTS: Option<Elements> = None;

    /// Whether the format is written, by [`Self::store`].
    const STORES: bool = false;

    /// Expands one block: `block` has [`Self::BYTES`] bytes, `q` [`Self::WEIGHTS`] codes, `s` and `c` one value for
    /// every [`Self::GROUP`] codes. `tensor_scale` is the scale that the format stores once a tensor, else 1.
    ///
    /// Inlined into one wrapper for every instruction set, so it is written for the auto-vectorizer: fixed-size
    /// arrays, no branches on data.
    fn expand(block: &[u8], tensor_scale: f32, q: &mut [i8], s: &mut [f32], c: &mut [f32]);

    /// The scales and offsets of one block of each of L rows from its parameter bytes ([`Elements::params`]): `bytes`,
    /// `s` and `c` are `[byte][row]` and `[group][row]`. Only for formats with [`Self::ELEMENTS`].
    #[inline(always)]
    fn params<const L: usize>(bytes: &[[u8; L]], tensor_scale: f32, s: &mut [[f32; L]], c: &mut [[f32; L]]) {
        let _ = (bytes, tensor_scale, s, c);
        unreachable!("{} has no codes of single weights", Self::LABEL)
    }

    /// Writes the parameters of a block for scales and offsets as near as may be to `s` and `c`, one for each group; the opposite of
    /// what [`Self::expand`] gives of them. Only for formats that are written ([`Self::STORES`]), whose offsets are at most zero.
    fn store(s: &[f32], c: &[f32], block: &mut [u8]) {
        let _ = (s, c, block);
        unreachable!("{} is only read", Self::LABEL)
    }
}

/// Most bytes of parameters in a block.
pub const MAX_PARAM_BYTES: usize = 20;

/// [`BlockCodec::params`] of a single block.
#[inline(always)]
fn expand_params<C: BlockCodec>(block: &[u8], tensor_scale: f32, s: &mut [f32], c: &mut [f32]) {
    let elements = const { C::ELEMENTS.expect("the format has codes of single weights") };
    let mut bytes = [[0; 1]; MAX_PARAM_BYTES];
    let mut at = 0;
    for (from, to) in elements.params {
        for byte in &block[*from..*to] {
            bytes[at] = [*byte];
            at += 1;
        }
    }
    C::params(&bytes[..at], tensor_scale, s.as_chunks_mut().0, c.as_chunks_mut().0);
}

/// Runs code generic over the codec of a [`BlockFormat`] known only at run time.
pub trait BlockVisitor {
    /// What the visit returns.
    type Out;
    /// Called with the codec as the type argument.
    fn visit<C: BlockCodec>(self) -> Self::Out;
}

macro_rules! block_formats {
    ($($(#[doc = $doc:literal])* $name:ident = $module:ident,)*) => {
        /// Every block format: the tensor types of GGUF and its dialects.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "lowercase")]
        #[allow(non_camel_case_types)]
        pub enum BlockFormat { $($(#[doc = $doc])* $name,)* }

        impl BlockFormat {
            /// Every block format, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What the format is, in a few words.
            pub fn summary(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),*).trim_ascii(),)* }
            }

            /// Calls the visitor with this format's codec.
            #[inline]
            pub fn visit<V: BlockVisitor>(self, visitor: V) -> V::Out {
                match self { $(Self::$name => visitor.visit::<$module::Codec>(),)* }
            }
        }
    };
}

block_formats! {
    /// 4-bit symmetric, groups of 32.
    Q4_0 = q4_0,
    /// 4-bit with a minimum, groups of 32.
    Q4_1 = q4_1,
    /// 5-bit symmetric, groups of 32.
    Q5_0 = q5_0,
    /// 5-bit with a minimum, groups of 32.
    Q5_1 = q5_1,
    /// 8-bit symmetric, groups of 32.
    Q8_0 = q8_0,
    /// 8-bit symmetric, groups of 32, with the sum of each group.
    Q8_1 = q8_1,
    /// 2-bit with a minimum, groups of 16, two scale levels.
    Q2_K = q2_k,
    /// 3-bit symmetric, groups of 16, two scale levels.
    Q3_K = q3_k,
    /// 4-bit with a minimum, groups of 32, two scale levels.
    Q4_K = q4_k,
    /// 5-bit with a minimum, groups of 32, two scale levels.
    Q5_K = q5_k,
    /// 6-bit symmetric, groups of 16, two scale levels.
    Q6_K = q6_k,
    /// 8-bit symmetric, groups of 256, with sums.
    Q8_K = q8_k,
    /// Ternary grid of 8 weights shifted by an eighth, groups of 32.
    IQ1_S = iq1_s,
    /// Ternary grid of 8 weights shifted by an eighth, groups of 16.
    IQ1_M = iq1_m,
    /// Grid of 8 weights and signs, 256 entries, groups of 32.
    IQ2_XXS = iq2_xxs,
    /// Grid of 8 weights and signs, 512 entries, groups of 16.
    IQ2_XS = iq2_xs,
    /// Grid of 8 weights and signs, 1024 entries, groups of 16.
    IQ2_S = iq2_s,
    /// Grid of 4 weights and signs, 256 entries, groups of 32.
    IQ3_XXS = iq3_xxs,
    /// Grid of 4 weights and signs, 512 entries, groups of 32.
    IQ3_S = iq3_s,
    /// 4-bit codes of 16 uneven values, groups of 32.
    IQ4_NL = iq4_nl,
    /// 4-bit codes of 16 uneven values, groups of 32, two scale levels.
    IQ4_XS = iq4_xs,
    /// Ternary, five digits a byte, groups of 256.
    TQ1_0 = tq1_0,
    /// Ternary, two bits a weight, groups of 256.
    TQ2_0 = tq2_0,
    /// 4-bit float with power-of-two scales, groups of 32.
    MXFP4 = mxfp4,
    /// 4-bit float with 8-bit float scales, groups of 16.
    NVFP4 = nvfp4,
    /// Binary, groups of 128.
    Q1_0 = q1_0,
    /// Binary, groups of 32: the first Bonsai dialect.
    Q1_0_G32 = q1_0_g32,
    /// 2-bit, groups of 64.
    Q2_0 = q2_0,
    /// 2-bit, groups of 128: the Bonsai dialect.
    Q2_0_G128 = q2_0_g128,
    /// Ternary with one scale a tensor: the dialect of bitnet.cpp.
    I2_S = i2_s,
}

/// The constants of a [`BlockCodec`] as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockLayout {
    /// See [`BlockCodec::LABEL`].
    pub label: &'static str,
    /// See [`BlockCodec::WEIGHTS`].
    pub weights: usize,
    /// See [`BlockCodec::BYTES`].
    pub bytes: usize,
    /// See [`BlockCodec::GROUP`].
    pub group: usize,
    /// See [`BlockCodec::OFFSETS`].
    pub offsets: bool,
    /// See [`BlockCodec::TENSOR_SCALE`].
    pub tensor_scale: bool,
    /// See [`BlockCodec::SCALES`].
    pub scales: &'static [Scale],
    /// See [`BlockCodec::ELEMENTS`].
    pub elements: Option<Elements>,
    /// See [`BlockCodec::STORES`].
    pub stores: bool,
}

impl BlockFormat {
    /// Sizes and label.
    pub fn layout(self) -> BlockLayout {
        struct Layout;
        impl BlockVisitor for Layout {
            type Out = BlockLayout;
            fn visit<C: BlockCodec>(self) -> BlockLayout {
                BlockLayout {
                    label: C::LABEL,
                    weights: C::WEIGHTS,
                    bytes: C::BYTES,
                    group: C::GROUP,
                    offsets: C::OFFSETS,
                    tensor_scale: C::TENSOR_SCALE,
                    scales: C::SCALES,
                    elements: C::ELEMENTS,
                    stores: C::STORES,
                }
            }
        }
        self.visit(Layout)
    }

    /// Label in files, reports and commands.
    pub fn label(self) -> &'static str {
        self.layout().label
    }
}

/// Expands a row of whole blocks; the slices as in [`BlockCodec::expand`], for the whole row.
#[inline(always)]
pub fn expand_row<C: BlockCodec>(row: &[u8], tensor_scale: f32, q: &mut [i8], s: &mut [f32], c: &mut [f32]) {
    let groups = C::WEIGHTS / C::GROUP;
    let blocks = row.chunks_exact(C::BYTES).zip(q.chunks_exact_mut(C::WEIGHTS));
    for ((block, q), (s, c)) in blocks.zip(s.chunks_exact_mut(groups).zip(c.chunks_exact_mut(groups))) {
        C::expand(block, tensor_scale, q, s, c);
    }
}

/// Decodes a row of whole blocks, multiplying out what [`BlockCodec::expand`] gives, without fused operations.
pub fn decode_row<C: BlockCodec>(row: &[u8], tensor_scale: f32, out: &mut [f32]) {
    let mut q = [0i8; 256];
    let (mut s, mut c) = ([0f32; 16], [0f32; 16]);
    let groups = C::WEIGHTS / C::GROUP;
    for (block, out) in row.chunks_exact(C::BYTES).zip(out.chunks_exact_mut(C::WEIGHTS)) {
        C::expand(block, tensor_scale, &mut q[..C::WEIGHTS], &mut s[..groups], &mut c[..groups]);
        for (i, x) in out.iter_mut().enumerate() {
            let product = f32::from(q[i]) * s[i / C::GROUP];
            *x = if C::OFFSETS { product + c[i / C::GROUP] } else { product };
        }
    }
}
