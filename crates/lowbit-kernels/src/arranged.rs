//! A weight in the one layout that it keeps in memory: which, is decided by its format when it is loaded.

use crate::{Act, ActRounding, Ctx, LutWeights, MatMut, Packed, TableBits};
use lowbit_format::{NK, QuantTensor};

/// A weight matrix arranged for products on this machine, which serves one token and many.
#[derive(Debug)]
pub enum Arranged {
    /// Codes and parameters of sixteen rows side by side, multiplied as 8-bit integers.
    Packed(Packed),
    /// Bit planes, looked up.
    Lut(LutWeights),
}

impl Arranged {
    /// Arranges a tensor on the workers of `ctx`; `None` where its format has no layout, or where there is no memory for a
    /// second copy: it can be multiplied as it is stored.
    ///
    /// Rounding activations to one scale a token is part of models that were trained so; tables round by groups, and are
    /// not taken for them.
    pub fn new(ctx: &Ctx, w: &QuantTensor, rounding: ActRounding) -> Option<Self> {
        if let Some(packed) = Packed::new(ctx, w) {
            return Some(Self::Packed(packed));
        }
        match rounding {
            ActRounding::Token => None,
            _ => LutWeights::new(ctx, w).map(Self::Lut),
        }
    }

    /// N and K.
    pub fn shape(&self) -> NK {
        match self {
            Self::Packed(w) => w.shape(),
            Self::Lut(w) => w.shape(),
        }
    }

    /// Bytes in memory, which a product reads.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Packed(w) => w.bytes(),
            Self::Lut(w) => w.bytes(),
        }
    }

    /// Makes of the activations what a product reads, where that is not done yet.
    pub fn prepare(&self, ctx: &Ctx, x: &Act<'_>, rounding: ActRounding) {
        match self {
            Self::Packed(_) => {
                x.int8(ctx, rounding);
            }
            Self::Lut(w) => w.prepare(ctx, x, TableBits::of(rounding)),
        }
    }

    /// `out[M, N] = x[M, K] · W[N, K]ᵀ`.
    ///
    /// # Panics
    /// Where the shapes do not fit.
    pub fn multiply(&self, ctx: &Ctx, x: &Act<'_>, rounding: ActRounding, out: MatMut<'_>) {
        match self {
            Self::Packed(w) => w.multiply(ctx, x, rounding, out),
            Self::Lut(w) => w.multiply(ctx, x, TableBits::of(rounding), out),
        }
    }
}
