//! Activations as kernels read them: one matrix, and its 8-bit form made once however many weights read it.

use crate::{
    Ctx, Int8Acts,
    lut::{Form, Key, TableActs, layout::Layout},
    mat::MatRef,
};
use std::sync::{Arc, Mutex, OnceLock};

/// Activations that share a scale in the 8-bit form; also the most weights that share one in the integer kernels.
pub const ACT_GROUP: usize = 32;

/// How activations are rounded to 8 bits before an integer product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActRounding {
    /// A scale for every 32 activations of a token.
    Group32,
    /// As `Group32`, then what that leaves is rounded once more, with scales of its own: 15 bits in two terms of 8, for
    /// twice the arithmetic and no more bytes of weights.
    Group32Twice,
    /// A scale and a sum in half precision for every 32 activations, as llama.cpp has them for formats with blocks shorter
    /// than 256.
    Gguf32,
    /// A scale for every 256 activations, as llama.cpp has it for formats with blocks of 256.
    Gguf256,
    /// One scale a token: what BitNet models are trained with.
    Token,
    /// One scale a token, and codes of 4 bits, from -7 to 7, in terms of 8.
    Token4,
    /// As `Token` for activations below [`lowbit_format::OUTLIER`], the others apart as `Group32Twice`: three terms of 8 bits.
    TokenOutliers,
}

impl ActRounding {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Group32,
        Self::Group32Twice,
        Self::Gguf32,
        Self::Gguf256,
        Self::Token,
        Self::Token4,
        Self::TokenOutliers,
    ];

    /// The name as [`Self::label`] gives it, `None` where it gives no such.
    pub fn known_label(name: &str) -> Option<&'static str> {
        [Self::label(None)]
            .into_iter()
            .chain(Self::ALL.map(|rounding| Self::label(Some(rounding))))
            .find(|label| *label == name)
    }

    /// Name of a rounding, or of none, in records.
    pub const fn label(rounding: Option<Self>) -> &'static str {
        match rounding {
            None => "float",
            Some(Self::Group32) => "int8-g32",
            Some(Self::Group32Twice) => "int8-g32-twice",
            Some(Self::Gguf32) => "gguf-g32",
            Some(Self::Gguf256) => "gguf-g256",
            Some(Self::Token) => "int8-token",
            Some(Self::Token4) => "int4-token",
            Some(Self::TokenOutliers) => "int8-token-outliers",
        }
    }

    /// How many 8-bit terms add up to an activation.
    pub fn terms(self) -> usize {
        match self {
            Self::Group32 | Self::Gguf32 | Self::Gguf256 | Self::Token | Self::Token4 => 1,
            Self::Group32Twice => 2,
            Self::TokenOutliers => 3,
        }
    }

    /// Whether all activations of a token share a scale.
    pub fn by_token(self) -> bool {
        matches!(self, Self::Token | Self::Token4 | Self::TokenOutliers)
    }

    /// The largest code.
    pub fn highest(self) -> i8 {
        if self == Self::Token4 { 7 } else { 127 }
    }
}

/// One activation matrix `x[M, K]` and what was made from it. q, k and v (and gate and up) share one.
pub struct Act<'a> {
    x: MatRef<'a>,
    group32: OnceLock<Int8Acts>,
    group32_twice: OnceLock<Int8Acts>,
    gguf32: OnceLock<Int8Acts>,
    gguf256: OnceLock<Int8Acts>,
    token: OnceLock<Int8Acts>,
    token4: OnceLock<Int8Acts>,
    token_outliers: OnceLock<Int8Acts>,
    by_weights: Mutex<Vec<(ActRounding, Arc<Int8Acts>)>>,
    tables: Mutex<Vec<Arc<TableActs>>>,
}

impl<'a> Act<'a> {
    /// Wraps a matrix of M tokens by K features.
    pub fn new(x: MatRef<'a>) -> Self {
        Self {
            x,
            group32: OnceLock::new(),
            group32_twice: OnceLock::new(),
            gguf32: OnceLock::new(),
            gguf256: OnceLock::new(),
            token: OnceLock::new(),
            token4: OnceLock::new(),
            token_outliers: OnceLock::new(),
            by_weights: Mutex::new(Vec::new()),
            tables: Mutex::new(Vec::new()),
        }
    }

    /// The form for look-up, or for expanded codes, with a layout; made on first use.
    pub(crate) fn tables(&self, ctx: &Ctx, layout: &Layout, form: Form) -> Arc<TableActs> {
        let key = Key::new(layout, form);
        let mut made = self.tables.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(found) = made.iter().find(|acts| acts.key() == key) {
            return found.clone();
        }
        let acts = Arc::new(TableActs::new(ctx, self.x, layout, form));
        made.push(acts.clone());
        acts
    }

    /// The activations themselves.
    pub fn x(&self) -> MatRef<'a> {
        self.x
    }

    /// The 8-bit form, made on first use.
    pub fn int8(&self, ctx: &Ctx, rounding: ActRounding) -> &Int8Acts {
        let slot = match rounding {
            ActRounding::Group32 => &self.group32,
            ActRounding::Group32Twice => &self.group32_twice,
            ActRounding::Gguf32 => &self.gguf32,
            ActRounding::Gguf256 => &self.gguf256,
            ActRounding::Token => &self.token,
            ActRounding::Token4 => &self.token4,
            ActRounding::TokenOutliers => &self.token_outliers,
        };
        slot.get_or_init(|| Int8Acts::new(ctx, self.x, rounding))
    }

    /// The 8-bit form with scales and sums for the groups of weights of so many features, made on first use.
    pub(crate) fn int8_by_weights(&self, ctx: &Ctx, rounding: ActRounding, group: usize) -> Arc<Int8Acts> {
        let mut made = self.by_weights.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((_, found)) = made.iter().find(|(how, acts)| (*how, acts.span()) == (rounding, group)) {
            return found.clone();
        }
        let acts = Arc::new(Int8Acts::by_weights(ctx, self.x, rounding, group));
        made.push((rounding, acts.clone()));
        acts
    }
}
