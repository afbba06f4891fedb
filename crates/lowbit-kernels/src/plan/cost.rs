//! What a product costs where it was not measured: memory read or arithmetic, whichever takes longer.
//!
//! Coefficients are picoseconds on one core of a server of 2023, level by level, fitted to `lowbit tune` over the formats of
//! `docs/formats.md`. They need not be right, only in proportion: they choose between kernels of one machine.

use super::Query;
use crate::{
    IsaLevel, Lookup, TableBits, Tables,
    list::{KernelCard, Method, WeightLayout},
};
use lowbit_format::{ElementFormat, WeightSpec};

/// Bytes of weights that a core reads in a picosecond, and that all cores do.
const BYTES_PER_PS: (f64, f64) = (0.012, 0.024);

/// Seconds to wake the workers.
const FORK: f64 = 3e-6;

/// Picoseconds, for one weight and what else is named.
struct Costs {
    /// To expand a packed weight to a byte, and one as it is stored.
    expand: [f64; 2],
    /// To multiply a byte by a row of activations.
    multiply: f64,
    /// To take a code apart and multiply it by a row of activations, packed and as it is stored.
    dot: [f64; 2],
    /// To look up a plane of a weight for a token, in tables of 8 and of 16 bits.
    look_up: [f64; 2],
    /// To make a byte of tables.
    table: f64,
    /// To multiply floats, for a token, and to decode a weight to one.
    float: [f64; 2],
}

impl Costs {
    fn of(isa: IsaLevel) -> Self {
        match isa {
            IsaLevel::Scalar => Self {
                expand: [400.0, 600.0],
                multiply: 250.0,
                dot: [f64::INFINITY; 2],
                look_up: [250.0, 450.0],
                table: 500.0,
                float: [100.0, 2000.0],
            },
            IsaLevel::Neon | IsaLevel::Dotprod | IsaLevel::Avx2 => Self {
                expand: [45.0, 110.0],
                multiply: 22.0,
                dot: [f64::INFINITY; 2],
                look_up: [12.0, 24.0],
                table: 30.0,
                float: [45.0, 2000.0],
            },
            IsaLevel::Avx512 => Self {
                expand: [25.0, 60.0],
                multiply: 7.0,
                dot: [17.0, 70.0],
                look_up: [6.0, 14.0],
                table: 12.0,
                float: [25.0, 2000.0],
            },
        }
    }
}

/// Seconds that a kernel takes for a query that it accepts, at the bucket's typical number of tokens.
pub(super) fn seconds(card: &KernelCard, q: &Query<'_>) -> f64 {
    let costs = Costs::of(card.isa);
    let (n, k) = (q.shape.n as f64, q.shape.k as f64);
    let tokens = q.tokens.typical() as f64;
    let rows = tokens * q.rounding.map_or(1, |rounding| rounding.terms()) as f64;
    let threads = q.threads.max(1) as f64;
    let stored = usize::from(card.layout == WeightLayout::Stored);
    // For a weight, and for a column of activations.
    let (weight, column) = match card.method {
        Method::Float => {
            let decode = if matches!(q.spec, WeightSpec::Float(_)) { 0.0 } else { costs.float[1] };
            (decode + tokens * costs.float[0], 0.0)
        }
        Method::Dot => (rows * costs.dot[stored], 0.0),
        Method::Expand => (costs.expand[stored] + rows * costs.multiply, 0.0),
        Method::Lookup(Lookup { bits, tables }) => {
            let sixteen = usize::from(bits == TableBits::Sixteen);
            let entry = (1 + sixteen) as f64;
            let per_column = costs.table * entry * if card.isa == IsaLevel::Avx512 { 16.0 } else { 4.0 };
            let made = match tables {
                Tables::Once => per_column / threads,
                // Every task makes them for sixty-four panels of sixty-four rows.
                Tables::Tiled => per_column * (n / threads / 4096.0).ceil(),
            };
            // Tables of many tokens fall out of the caches.
            let far = if tables == Tables::Once && tokens > 4.0 { 1.5 } else { 1.0 };
            (tokens * far * costs.look_up[sixteen] * planes(q.spec), tokens * made)
        }
    };
    let read = n * k * q.spec.bits_per_weight() / 8.0 / (BYTES_PER_PS.0 * threads).min(BYTES_PER_PS.1);
    let work = n * k * weight / threads + k * column;
    let fork = if q.threads > 1 { FORK } else { 0.0 };
    read.max(work) * 1e-12 + fork
}

/// Look-ups of a weight, in eighths.
fn planes(spec: &WeightSpec) -> f64 {
    match spec {
        WeightSpec::Grouped(spec) => match spec.element() {
            ElementFormat::Int { bits, .. } => f64::from(bits.get()),
            ElementFormat::Ternary => 8.0 / 5.0,
        },
        WeightSpec::Block(_) | WeightSpec::Float(_) => spec.bits_per_weight(),
    }
}
