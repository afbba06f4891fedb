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
const BYTES_PER_PS: (f64, f64) = (0.03, 0.045);

/// Seconds to wake the workers.
const FORK: f64 = 3e-6;

/// Picoseconds, for one weight and what else is named.
struct Costs {
    /// To expand a packed weight to a byte, and one as it is stored.
    expand: [f64; 2],
    /// To expand a weight of a group to a byte, one of eight bits and another, and to multiply it by a row of activations.
    groups: ([f64; 2], f64),
    /// To multiply a byte by a row of activations.
    multiply: f64,
    /// To expand bit planes to a byte, and to multiply that by a row of activations.
    planes: [f64; 2],
    /// To take a code apart in registers, packed and as it is stored, and to multiply it by a row of activations.
    dot: ([f64; 2], f64),
    /// The same of groups.
    groups_dot: (f64, f64),
    /// To look up a plane for a token, in tables of 8 and of 16 bits.
    plane: [f64; 2],
    /// To add up what was looked up for a token, likewise.
    sum: [f64; 2],
    /// To go through weights in tiles.
    tiles: f64,
    /// For a column of a token and not for a weight: to round it and make tables of 8 bits.
    table: f64,
    /// To multiply floats, for a token, and to decode a weight to one.
    float: [f64; 2],
}

impl Costs {
    fn of(isa: IsaLevel) -> Self {
        match isa {
            IsaLevel::Scalar => Self {
                expand: [350.0, 400.0],
                groups: ([350.0; 2], 250.0),
                multiply: 250.0,
                planes: [f64::INFINITY; 2],
                dot: ([f64::INFINITY; 2], 0.0),
                groups_dot: (f64::INFINITY, 0.0),
                plane: [280.0, 450.0],
                sum: [50.0, 80.0],
                tiles: 2.0,
                table: 20_000.0,
                float: [100.0, 3000.0],
            },
            IsaLevel::Avx2 => Self {
                groups: ([40.0; 2], 5.0),
                multiply: 7.5,
                planes: [110.0, 6.5],
                ..Self::of(IsaLevel::Neon)
            },
            IsaLevel::Neon | IsaLevel::Dotprod => Self {
                expand: [40.0, 270.0],
                groups: ([40.0; 2], 19.0),
                multiply: 19.0,
                planes: [f64::INFINITY; 2],
                dot: ([f64::INFINITY; 2], 0.0),
                groups_dot: (f64::INFINITY, 0.0),
                plane: [3.0, 4.6],
                sum: [2.0, 4.0],
                tiles: 10.0,
                table: 1500.0,
                float: [45.0, 2000.0],
            },
            IsaLevel::Avx512 => Self {
                expand: [35.0, 115.0],
                groups: ([0.0, 35.0], 4.8),
                multiply: 8.5,
                planes: [25.0, 4.8],
                dot: ([12.0, 95.0], 12.0),
                groups_dot: (8.0, 7.0),
                plane: [1.4, 2.6],
                sum: [1.1, 1.8],
                tiles: 6.0,
                table: 2000.0,
                float: [25.0, 2000.0],
            },
        }
    }
}

/// Tokens from which on tables made before a product have left the cache when they are looked up in, and how much slower
/// that is.
const FAR: (f64, f64) = (16.0, 1.2);

/// Seconds that a kernel takes for a query that it accepts, at the bucket's typical number of tokens.
pub(super) fn seconds(card: &KernelCard, q: &Query<'_>) -> f64 {
    let costs = Costs::of(card.isa);
    let (n, k) = (q.shape.n as f64, q.shape.k as f64);
    let tokens = q.tokens.typical() as f64;
    let rows = tokens * q.rounding.map_or(1, |rounding| rounding.terms()) as f64;
    let threads = q.threads.max(1) as f64;
    let stored = usize::from(card.layout == WeightLayout::Stored);
    // Of all workers, for a weight and for a column of activations.
    let (weight, column) = match card.method {
        Method::Float => {
            let decode = if matches!(q.spec, WeightSpec::Float(_)) { 0.0 } else { costs.float[1] };
            (decode + tokens * costs.float[0], 0.0)
        }
        Method::Dot if card.layout == WeightLayout::Groups => {
            let (take_apart, multiply) = costs.groups_dot;
            (take_apart + rows * multiply, 0.0)
        }
        Method::Dot => (costs.dot.0[stored] + rows * costs.dot.1, 0.0),
        Method::Expand if card.layout == WeightLayout::Planes => {
            let [expand, multiply] = costs.planes;
            (expand + rows * multiply, 0.0)
        }
        Method::Expand if card.layout == WeightLayout::Groups => {
            let (expand, multiply) = costs.groups;
            (expand[usize::from(planes(q.spec) < 8.0)] + rows * multiply, 0.0)
        }
        Method::Expand => (costs.expand[stored] + rows * costs.multiply, 0.0),
        Method::Lookup(Lookup { bits, tables }) => {
            let sixteen = usize::from(bits == TableBits::Sixteen);
            let look_up = tokens * (planes(q.spec) * costs.plane[sixteen] + costs.sum[sixteen]);
            let made = tokens * costs.table * (1 + sixteen) as f64;
            match tables {
                Tables::Once if tokens > FAR.0 => (look_up * FAR.1, made),
                Tables::Once => (look_up, made),
                // Every worker makes them for itself.
                Tables::Tiled => (look_up + costs.tiles, made * threads),
            }
        }
    };
    let read = n * k * q.spec.bits_per_weight() / 8.0 / (BYTES_PER_PS.0 * threads).min(BYTES_PER_PS.1);
    let work = (n * k * weight + k * column) / threads;
    let fork = if q.threads > 1 { FORK } else { 0.0 };
    read.max(work) * 1e-12 + fork
}

/// Look-ups of eight weights for a token.
fn planes(spec: &WeightSpec) -> f64 {
    match spec.base() {
        WeightSpec::Grouped(spec) => match spec.element() {
            ElementFormat::Int { bits, .. } => f64::from(bits.get()),
            ElementFormat::Ternary => 8.0 / 5.0,
            ElementFormat::Codebook(book) => f64::from(book.bits().get()),
        },
        WeightSpec::Block(_) | WeightSpec::Float(_) | WeightSpec::Sum(_) => spec.bits_per_weight(),
    }
}
