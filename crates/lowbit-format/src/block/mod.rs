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

mod q4_0;
mod q4_1;
mod q8_0;

use half::f16;

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

    /// Expands one block: `block` has [`Self::BYTES`] bytes, `q` [`Self::WEIGHTS`] codes, `s` and `c` one value for
    /// every [`Self::GROUP`] codes. `tensor_scale` is the scale that the format stores once a tensor, else 1.
    ///
    /// Inlined into one wrapper for every instruction set, so it is written for the auto-vectorizer: fixed-size
    /// arrays, no branches on data.
    fn expand(block: &[u8], tensor_scale: f32, q: &mut [i8], s: &mut [f32], c: &mut [f32]);
}

/// Runs code generic over the codec of a [`BlockFormat`] known only at run time.
pub trait BlockVisitor {
    /// What the visit returns.
    type Out;
    /// Called with the codec as the type argument.
    fn visit<C: BlockCodec>(self) -> Self::Out;
}

macro_rules! block_formats {
    ($($(#[$doc:meta])* $name:ident = $module:ident,)*) => {
        /// Every block format: the tensor types of GGUF and its dialects.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "lowercase")]
        #[allow(non_camel_case_types)]
        pub enum BlockFormat { $($(#[$doc])* $name,)* }

        impl BlockFormat {
            /// Every block format, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

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
    /// 8-bit symmetric, groups of 32.
    Q8_0 = q8_0,
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

/// The first N bytes as an array: lets the compiler see a block's length.
#[inline(always)]
pub(crate) fn head<const N: usize>(bytes: &[u8]) -> &[u8; N] {
    bytes.first_chunk().expect("the caller passes a whole block")
}

/// Little-endian half-precision number at byte `at`.
#[inline(always)]
pub(crate) fn f16_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}
