//! Codes as bytes to be looked up: bit planes, sixty-four rows interleaved.
//!
//! A row is cut into groups of weights that share a scale, a group into tuples of eight weights (ternary ones: five, or
//! three where tables have 16 entries), the last of a group filled up. Tuples have a byte for each bit plane: bit `i` is
//! set where weight `i` of the tuple has that bit set. A panel of sixty-four rows has, tuple after tuple, 64 bytes for
//! each plane. Planes go in pairs, those of a row neighbours, which a product with 1 and 2 adds up to a word.
//!
//! Where tables have 128 entries, a byte and its complement share one: the top bit says that the entry is to be negated.
//! With two planes a vector of 64 bytes has thirty-two rows, with four sixteen. An odd plane has rows 0 to 31 in even bytes
//! and rows 32 to 63 in odd ones.
//!
//! With tables of 16 entries the two halves of a byte are looked up apart, and no bit is special. A tuple's bytes are two
//! strips of 32 rows, which a kernel has all sums of in registers. In a strip come planes 0 and 1 of sixteen rows, then of
//! the others, then planes 2 and 3; an odd plane has rows 0 to 15 in even bytes and 16 to 31 in odd ones. Sixteen rows are
//! in the order 0, 8, 1, 9, …: the lower halves of 32-bit lanes are eight neighbouring rows, and so are the upper ones.
//! Ternary codes are those of [`super::nibble`], placed in 64 bytes as an odd plane is.

use super::{
    Table,
    nibble::{Place, negated, ternary_bytes, ternary_index},
};
use crate::param::Number;
use lowbit_format::{
    ElementFormat, GroupShape, GroupedSpec, GroupedTensor, ParamFormat, ScaleLevel, ZeroPoint,
};

/// Rows of a panel.
pub(crate) const PANEL: usize = 64;

/// Most weights whose sum is kept in 16 bits.
pub(super) const LONGEST: usize = 256;

/// Shortest piece that a longer group is cut into.
const SHORTEST: usize = 32;

/// How far neighbouring panels are from a multiple of [`SETS`] bytes. Also twice to sixteen times as far is far enough.
const STAGGER: usize = 5 * 64;

/// A divisor of the distance at which lines compete for the same set of a cache; at most so many bytes a panel are spent.
const SETS: usize = 1024;

/// How a matrix with K columns is cut up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Width of the tables that the bytes are for.
    pub(super) table: Table,
    /// Bit planes; 1 for ternary.
    pub(super) planes: usize,
    /// Whether a byte is five ternary weights and not eight bits.
    pub(super) ternary: bool,
    /// Weights of a group.
    pub(crate) group: usize,
    /// Groups of a row.
    pub(crate) groups: usize,
    /// Bytes of a group and plane.
    pub(super) lookups: usize,
    /// Groups that share a stored scale.
    pub(crate) per_scale: usize,
    pub(super) params: Params,
    /// Code bytes of a group of a panel.
    pub(super) group_bytes: usize,
    /// Bytes of the parameters of one scale of a panel.
    pub(super) scale_bytes: usize,
    k: usize,
}

/// How scales and zero points are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Params {
    pub(super) scale: Number,
    pub(super) zero: Zero,
}

impl Params {
    /// Bytes of a scale for every row of a panel.
    pub(super) fn scale_bytes(self) -> usize {
        self.scale.bytes(PANEL)
    }
}

/// How far the middle of the codes, `(2^b − 1)/2`, is above the zero point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zero {
    /// By half a step (symmetric integers), times this: 0 or −1.
    Half(i8),
    /// A zero point for every scale, a code or a float.
    Stored(Number),
}

impl Zero {
    fn bytes(self) -> usize {
        match self {
            Self::Half(_) => 0,
            Self::Stored(number) => number.bytes(PANEL),
        }
    }
}

impl Layout {
    /// The layout of a format, `None` where it has none.
    pub(crate) fn of(spec: &GroupedSpec, k: usize, table: Table) -> Option<Self> {
        let &[ScaleLevel { shape, format }] = spec.levels() else { return None };
        // With tables of 16 entries one format of scales more in the loop costs more than the bytes that it saves; half precision has
        // all integers of eight bits.
        let scale = match (Number::of(format)?, table, format) {
            (Number::Byte, Table::Nibble, _) => Number::F16,
            (Number::Byte, Table::Byte, ParamFormat::Int(bits)) if bits.get() <= 4 => Number::Bits(4),
            (other, ..) => other,
        };
        let (bits, ternary) = match spec.element() {
            ElementFormat::Int { bits, .. } if bits.get() <= 4 => (bits.get() as usize, false),
            ElementFormat::Int { .. } | ElementFormat::Codebook(_) => return None,
            ElementFormat::Ternary => (1, true),
        };
        let zero = match spec.element() {
            ElementFormat::Ternary | ElementFormat::Codebook(_) => Zero::Half(0),
            ElementFormat::Int { zero: ZeroPoint::Symmetric, bits } => {
                // One bit has its zero point in the middle, others half a step above.
                Zero::Half(if bits.get() == 1 { 0 } else { -1 })
            }
            ElementFormat::Int { zero: ZeroPoint::Integer, .. } => {
                Zero::Stored(Number::Bits(bits.next_power_of_two()))
            }
            ElementFormat::Int { zero: ZeroPoint::Float, .. } => {
                Zero::Stored(Number::of(spec.zero_format()?)?)
            }
        };
        let tuple = table.tuple(ternary);
        let (group, per_scale) = match shape {
            // Sixteen or thirty-two whole tuples, or a number that divides most K.
            GroupShape::Row | GroupShape::Tensor => (if tuple == 5 { 160 } else { 128 }, usize::MAX),
            GroupShape::Column(_) => return None,
            GroupShape::Group(size) => match size as usize {
                size @ ..=LONGEST => (size, 1),
                size => {
                    let pieces = (size.div_ceil(LONGEST)..=size / SHORTEST).find(|n| size % n == 0)?;
                    (size / pieces, pieces)
                }
            },
        };
        let lookups = group.div_ceil(tuple);
        let group_bytes = match table {
            Table::Nibble if ternary => PANEL * ternary_bytes(lookups),
            _ => lookups * bits * PANEL,
        };
        Some(Self {
            table,
            planes: bits,
            ternary,
            group,
            groups: k.div_ceil(group),
            lookups,
            per_scale,
            params: Params { scale, zero },
            group_bytes,
            scale_bytes: scale.bytes(PANEL) + zero.bytes(),
            k,
        })
    }

    /// Whether scales in a format are read as they are.
    pub(crate) fn reads(format: ParamFormat) -> bool {
        Number::of(format).is_some()
    }

    /// Whether a byte is several ternary weights and not bits.
    pub(crate) fn is_ternary(&self) -> bool {
        self.ternary
    }

    /// Weights of a tuple.
    pub(crate) fn tuple(&self) -> usize {
        self.table.tuple(self.ternary)
    }

    /// Columns.
    pub(super) fn k(&self) -> usize {
        self.k
    }

    /// Bytes of a panel, one stream: for every scale its parameters, then the codes of the groups that share it. Panels
    /// that are read side by side would compete for the same sets of a cache if they were a power of two apart, as they
    /// often were: some bytes at the end keep them from it.
    pub(super) fn panel_bytes(&self) -> usize {
        let bytes = self.scales() * self.scale_bytes + self.groups * self.group_bytes;
        bytes.saturating_sub(STAGGER).next_multiple_of(SETS) + STAGGER
    }

    /// Where in a panel the codes of a group start.
    pub(super) fn codes_at(&self, group: usize) -> usize {
        (self.scale_of(group) + 1) * self.scale_bytes + group * self.group_bytes
    }

    /// Where in a panel the parameters of a group start: scales of all rows, then zero points.
    pub(super) fn params_at(&self, group: usize) -> usize {
        let scale = self.scale_of(group);
        scale * self.scale_bytes + scale * self.per_scale * self.group_bytes
    }

    /// The scale of a group. There are so many that a division would count.
    #[inline(always)]
    fn scale_of(&self, group: usize) -> usize {
        if self.per_scale == 1 { group } else { group / self.per_scale }
    }

    /// Scales of a row.
    fn scales(&self) -> usize {
        self.groups.div_ceil(self.per_scale)
    }

    /// Where in the `64 · planes` bytes of a tuple the byte of a row and plane is.
    pub(super) fn at(&self, row: usize, plane: usize) -> usize {
        if self.table == Table::Nibble {
            let (strip, sixteen) = (row / 32 * 32 * self.planes, row / 16 % 2);
            let word = row % 8 * 2 + row / 8 % 2;
            let odd = plane + 1 == self.planes && self.planes % 2 == 1;
            let byte = if odd { 2 * word + sixteen } else { 32 * sixteen + 2 * word + plane % 2 };
            return strip + plane / 2 * 64 + byte;
        }
        match (self.planes, plane) {
            (4, plane) => 4 * row + plane,
            (2.., 0 | 1) => 2 * row + plane,
            // The odd plane comes after the pairs.
            _ => PANEL * plane + row % 32 * 2 + row / 32,
        }
    }

    /// Arranges up to sixty-four rows.
    pub(super) fn pack(&self, rows: &GroupedTensor, panel: &mut [u8]) {
        let mut row = vec![0i8; self.k];
        for r in 0..rows.shape().n {
            rows.codes().unpack_row(r, &mut row);
            self.pack_codes(r, bytemuck::cast_slice(&row), panel);
            self.pack_params(r, rows, panel);
        }
    }

    fn pack_codes(&self, r: usize, row: &[u8], panel: &mut [u8]) {
        let places: Vec<usize> = (0..self.planes).map(|p| self.at(r, p)).collect();
        let step = PANEL * self.planes;
        for (group, weights) in row.chunks(self.group).enumerate() {
            let out = &mut panel[self.codes_at(group)..][..self.group_bytes];
            if self.ternary && self.table == Table::Nibble {
                for (i, tuple) in weights.chunks(self.tuple()).enumerate() {
                    let place = Place::of(i, self.lookups);
                    let (index, negative) = ternary_index(i, tuple);
                    out[PANEL * place.index + places[0]] |= index << place.index_shift;
                    out[PANEL * place.sign + places[0]] |= negative << place.sign_shift;
                }
                continue;
            }
            // Missing weights meet activations of zero; their codes are zeros.
            let tuples = weights.chunks(self.tuple()).chain(std::iter::repeat(&[][..]));
            for (i, (tuple, out)) in tuples.zip(out.chunks_exact_mut(step)).enumerate() {
                if self.ternary {
                    out[places[0]] = ternary_byte(i, tuple);
                    continue;
                }
                let mut eight = [0; 8];
                eight[..tuple.len()].copy_from_slice(tuple);
                let eight = u64::from_le_bytes(eight);
                for (plane, place) in places.iter().enumerate() {
                    // The multiplication moves the lowest bit of every byte to the top one, in order.
                    let bits =
                        (eight >> plane & 0x0101_0101_0101_0101).wrapping_mul(0x0102_0408_1020_4080) >> 56;
                    out[*place] = self.table.byte(bits as u8);
                }
            }
        }
    }

    fn pack_params(&self, r: usize, rows: &GroupedTensor, panel: &mut [u8]) {
        let Params { scale, zero } = self.params;
        for i in 0..self.scales() {
            let out = &mut panel[self.params_at(i.saturating_mul(self.per_scale))..][..self.scale_bytes];
            let (scales, zeros) = out.split_at_mut(self.params.scale_bytes());
            scale.put(scales, r, rows.params().levels[0].get(r, i));
            if let (Zero::Stored(number), Some(stored)) = (zero, &rows.params().zeros) {
                number.put(zeros, r, stored.get(r, i));
            }
        }
    }

    /// `z` of a row: how far the middle of its codes is above the zero point.
    pub(super) fn middle(&self, zeros: &[u8], row: usize) -> f32 {
        let levels = 1 << self.planes;
        match self.params.zero {
            Zero::Half(half) => f32::from(half) * 0.5,
            Zero::Stored(number) => (levels - 1) as f32 * 0.5 - number.get(zeros, row),
        }
    }
}

/// Up to five ternary codes 0, 1, 2 of tuple `i` as a number in base three, `Σ (code − 1) · 3ⁱ`: its magnitude, and the top
/// bit where it is to be negated.
fn ternary_byte(i: usize, codes: &[u8]) -> u8 {
    let value = codes.iter().rev().fold(0, |v, c| 3 * v + i32::from(*c) - 1);
    // Tuples that are not there all find the same, which is taken back.
    let negated = negated(i, value) && !codes.is_empty();
    value.unsigned_abs() as u8 | if negated { 0x80 } else { 0 }
}
