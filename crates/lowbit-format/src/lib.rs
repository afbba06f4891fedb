//! The vocabulary of lowbit: what a stored weight *is*, before any CPU or file format is involved.
//!
//! A [`WeightSpec`] says what the numbers mean (`q4_k`, `int2-asym-g128`, `f16`); a [`QuantTensor`] holds a matrix
//! `W[N, K]` of them, N output features by K input features; [`QuantTensor::decode_row`] is the scalar definition
//! that every kernel is tested against. Packing for an instruction set is another crate's business.
//!
//! Three kinds of formats: floats ([`FloatFormat`]), self-contained blocks of codes and scales as in GGUF ([`block`]),
//! and codes with scales beside them ([`GroupedTensor`]). [`all_specs`] lists them. For the integer kernels the last two
//! expand to the same form, 8-bit integers with a scale and an offset for every few.
//!
//! # One weight followed by hand
//!
//! A GGUF `Q4_0` block holds 32 weights: a half-precision scale, then sixteen bytes with two 4-bit codes each.
//!
//! ```
//! use lowbit_format::{BlockFormat, NK, QuantTensor, Storage};
//!
//! let mut block = vec![0x88u8; 18]; // sixteen bytes of code 8 | code 8, and
//! block[..2].copy_from_slice(&half::f16::from_f32(0.5).to_le_bytes()); // the scale
//! block[2] = 0x3f; // weight 0 has code 15, weight 16 has code 3
//! let w = QuantTensor::from_blocks(BlockFormat::Q4_0, NK { n: 1, k: 32 }, Storage::from(block))?;
//! let mut row = [0.0; 32];
//! w.decode_row(0, &mut row);
//! assert_eq!((row[0], row[16], row[1]), ((15.0 - 8.0) * 0.5, (3.0 - 8.0) * 0.5, 0.0));
//! assert_eq!(w.bits_per_weight(), 4.5);
//! # Ok::<(), lowbit_format::FormatError>(())
//! ```

mod act;
pub mod block;
mod codebook;
mod codes;
mod element;
mod error;
mod float;
mod group;
mod grouped;
mod nearest;
mod online;
mod params;
mod shape;
mod spec;
mod storage;
pub mod suggest;
mod sum;
mod tensor;

pub use act::{ActSpec, OUTLIER};
pub use block::{BlockCodec, BlockFormat, BlockVisitor, BlockWriter, Elements};
pub use codebook::Codebook;
pub use codes::{Codes, Packing};
pub use element::{ElementFormat, ZeroPoint};
pub use error::FormatError;
pub use float::{FloatFormat, f16_to_f32};
pub use group::{GroupShape, ParamFormat, ScaleLevel};
pub use grouped::GroupedTensor;
pub use nearest::GroupFit;
pub use online::{OnlineKind, OnlineOp};
pub use params::{GroupParams, Params};
pub use shape::{Bits, NK};
pub use spec::{GroupedSpec, SpecInfo, SpecSource, WeightSpec, all_specs};
pub use storage::{Owner, Storage};
pub use sum::{SumSpec, SumTensor, Term, TermKind, TermSpec, list_bytes};
pub use tensor::{QuantTensor, TensorData};
