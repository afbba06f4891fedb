//! Writing blocks whose weights have codes of their own: `w = code's integer · s + c`.
//!
//! A format says only how scales and offsets are stored ([`BlockCodec::store`]). Where the bits of codes go is found from its
//! decoder, by decoding one bit at a time: what is written cannot be read otherwise.

use super::{BlockCodec, BlockFormat, BlockLayout, BlockVisitor, Values};
use crate::{Bits, ElementFormat, GroupFit, ParamFormat, ZeroPoint};

/// Writes blocks of one format.
pub struct BlockWriter {
    format: BlockFormat,
    layout: BlockLayout,
    bits: Bits,
    first: i8,
    /// For every weight, from the lowest bit of its code, the bit of the block that it is.
    places: Vec<Vec<usize>>,
    /// The integers of a block of which all bits of codes are zero.
    zeros: Vec<i8>,
}

impl BlockWriter {
    /// `None` for formats that are only read.
    pub fn new(format: BlockFormat) -> Option<Self> {
        let layout = format.layout();
        let elements = layout.elements.filter(|_| layout.stores)?;
        let Values::From(first) = elements.values else { return None };
        let bits = Bits::new(elements.bits as u8).ok()?;
        let integers = |block: &[u8]| {
            let mut expanded = Expanded::new(&layout);
            expanded.read(format, block);
            expanded.q
        };
        let mut block = vec![0u8; layout.bytes];
        let zeros = integers(&block);
        let mut places = vec![vec![usize::MAX; elements.bits as usize]; layout.weights];
        let of_params = |byte: usize| elements.params.iter().any(|(from, to)| (*from..*to).contains(&byte));
        for bit in (0..8 * layout.bytes).filter(|bit| !of_params(bit / 8)) {
            block[bit / 8] = 1 << (bit % 8);
            for (i, (q, zero)) in integers(&block).iter().zip(&zeros).enumerate() {
                let moved = (i16::from(*q) - i16::from(*zero)).unsigned_abs();
                if moved > 0 {
                    places[i][moved.trailing_zeros() as usize] = bit;
                }
            }
            block[bit / 8] = 0;
        }
        assert!(places.iter().flatten().all(|bit| *bit != usize::MAX), "a place for every bit of a code");
        Some(Self { format, layout, bits, first, places, zeros })
    }

    /// Weights of a block.
    pub fn weights(&self) -> usize {
        self.layout.weights
    }

    /// Weights that share a scale and an offset.
    pub fn group(&self) -> usize {
        self.layout.group
    }

    /// What codes are: integers around the middle, or from a zero point that is any number from 0 to the largest code.
    pub fn element(&self) -> ElementFormat {
        let zero = if self.layout.offsets { ZeroPoint::Float } else { ZeroPoint::Symmetric };
        ElementFormat::Int { bits: self.bits, zero }
    }

    /// Appends a block without codes with scales and offsets near those of `fits`, one for each group, and makes these what is
    /// stored. Scales are finite; those of formats without offsets may be negative.
    pub fn open(&self, fits: &mut [GroupFit], out: &mut Vec<u8>) {
        let groups = self.layout.weights / self.layout.group;
        let s: Vec<f32> = fits.iter().map(|fit| fit.scale).collect();
        let c: Vec<f32> = fits.iter().map(|fit| -fit.zero * fit.scale).collect();
        assert_eq!(s.len(), groups, "a fit for every group");
        let start = out.len();
        out.resize(start + self.layout.bytes, 0);
        self.format.visit(Store { s: &s, c: &c, block: &mut out[start..] });
        let mut stored = Expanded::new(&self.layout);
        stored.read(self.format, &out[start..]);
        for (fit, (s, c)) in fits.iter_mut().zip(stored.s.iter().zip(&stored.c)) {
            let zero = match (self.layout.offsets, *s) {
                (false, _) => -f32::from(self.first),
                (true, 0.0) => 0.0,
                (true, s) => -c / s,
            };
            *fit = GroupFit { scale: *s, zero };
        }
    }

    /// Writes the codes nearest to weights into a block that was opened, given what is stored of its fits.
    pub fn codes(&self, fits: &[GroupFit], weights: &[f32], block: &mut [u8]) {
        let highest = (self.bits.levels() - 1) as f32;
        let groups = weights.chunks(self.layout.group).zip(fits);
        let codes = groups.flat_map(|(group, fit)| {
            group.iter().map(|w| {
                let steps = if fit.scale == 0.0 { 0.0 } else { w / fit.scale };
                (steps + fit.zero).round().clamp(0.0, highest) as i16
            })
        });
        for ((code, places), zero) in codes.zip(&self.places).zip(&self.zeros) {
            // Two's complement, where the highest bit counts negative.
            let value = code + i16::from(self.first) - i16::from(*zero);
            for (i, bit) in places.iter().enumerate() {
                block[bit / 8] |= ((value >> i & 1) as u8) << (bit % 8);
            }
        }
    }
}

/// A block as integers, scales and offsets.
struct Expanded {
    q: Vec<i8>,
    s: Vec<f32>,
    c: Vec<f32>,
}

impl Expanded {
    fn new(layout: &BlockLayout) -> Self {
        let groups = layout.weights / layout.group;
        Self { q: vec![0; layout.weights], s: vec![0.0; groups], c: vec![0.0; groups] }
    }

    fn read(&mut self, format: BlockFormat, block: &[u8]) {
        struct Read<'a>(&'a [u8], &'a mut Expanded);
        impl BlockVisitor for Read<'_> {
            type Out = ();
            fn visit<C: BlockCodec>(self) {
                C::expand(self.0, 1.0, &mut self.1.q, &mut self.1.s, &mut self.1.c);
            }
        }
        format.visit(Read(block, self));
    }
}

struct Store<'a> {
    s: &'a [f32],
    c: &'a [f32],
    block: &'a mut [u8],
}

impl BlockVisitor for Store<'_> {
    type Out = ();
    fn visit<C: BlockCodec>(self) {
        C::store(self.s, self.c, self.block);
    }
}

/// Half precision, and the number that it stands for.
pub(super) fn half(x: f32) -> ([u8; 2], f32) {
    // What is too large becomes the largest there is, no infinity.
    let bits = ParamFormat::F16.encode(x.clamp(-65504.0, 65504.0));
    ((bits as u16).to_le_bytes(), ParamFormat::F16.decode(bits))
}

/// Numbers from 0 up as whole multiples of one in half precision, at most `most`; what is not zero has at least one.
pub(super) fn multiples(values: impl Iterator<Item = f32> + Clone, most: u8) -> ([u8; 2], Vec<u8>) {
    let largest = values.clone().fold(0f32, f32::max);
    let (bytes, unit) = half(largest / f32::from(most));
    let of = |x: f32| {
        if x > 0.0 && unit > 0.0 { (x / unit).round().clamp(1.0, f32::from(most)) as u8 } else { 0 }
    };
    (bytes, values.map(of).collect())
}

/// Numbers of both signs as whole multiples, from −`lowest` to `lowest` − 1: the one with the largest magnitude is −`lowest`.
pub(super) fn signed_multiples(values: &[f32], lowest: u8) -> ([u8; 2], Vec<i8>) {
    let largest = values.iter().fold(0f32, |most, x| if x.abs() > most.abs() { *x } else { most });
    let lowest = f32::from(lowest);
    let (bytes, unit) = half(-largest / lowest);
    let of = |x: &f32| if unit == 0.0 { 0 } else { (x / unit).round().clamp(-lowest, lowest - 1.0) as i8 };
    (bytes, values.iter().map(of).collect())
}

/// The parameters of `Q4_K` and `Q5_K`: `d`, `dmin`, then eight 6-bit scales and minimums, which `k_scales` reads.
pub(super) fn store_k(s: &[f32], c: &[f32], out: &mut [u8]) {
    let (d, scales) = multiples(s.iter().copied(), 63);
    let (dmin, mins) = multiples(c.iter().map(|c| -c), 63);
    out[..2].copy_from_slice(&d);
    out[2..4].copy_from_slice(&dmin);
    for i in 0..4 {
        out[4 + i] = scales[i] | scales[4 + i] >> 4 << 6;
        out[8 + i] = mins[i] | mins[4 + i] >> 4 << 6;
        out[12 + i] = scales[4 + i] & 15 | (mins[4 + i] & 15) << 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NK, QuantTensor};

    /// Numbers around `lift` that look random.
    fn values(count: usize, lift: f32) -> Vec<f32> {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..count).map(|_| 0.1 * (next() + next() + next()) + lift).collect()
    }

    fn writers() -> impl Iterator<Item = (BlockFormat, BlockWriter)> {
        BlockFormat::ALL.iter().filter_map(|format| Some((*format, BlockWriter::new(*format)?)))
    }

    #[test]
    fn the_formats_that_are_written() {
        let labels: Vec<_> = writers().map(|(format, _)| format.label()).collect();
        assert_eq!(labels, ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k"]);
    }

    /// Fits of the range of every group, one block after the other.
    fn written(writer: &BlockWriter, weights: &[f32]) -> (Vec<u8>, Vec<GroupFit>) {
        let (mut bytes, mut all) = (Vec::new(), Vec::new());
        for block in weights.chunks(writer.weights()) {
            let range = |group: &[f32]| GroupFit::of_range(writer.element(), group);
            let mut fits: Vec<GroupFit> = block.chunks(writer.group()).map(range).collect();
            let start = bytes.len();
            writer.open(&mut fits, &mut bytes);
            writer.codes(&fits, block, &mut bytes[start..]);
            all.extend(fits);
        }
        (bytes, all)
    }

    #[test]
    fn what_is_written_reads_as_the_nearest_number_that_the_stored_fits_allow() {
        for (format, writer) in writers() {
            let shape = NK { n: 3, k: 512 };
            let mut weights = values(shape.weights(), 0.02);
            weights[300..340].fill(0.0);
            let (bytes, fits) = written(&writer, &weights);
            let tensor = QuantTensor::from_blocks(format, shape, bytes.into()).unwrap();
            let highest = (writer.bits.levels() - 1) as f32;
            let mut decoded = vec![0.0; shape.k];
            for (n, row) in weights.chunks(shape.k).enumerate() {
                tensor.decode_row(n, &mut decoded);
                for (i, (w, found)) in row.iter().zip(&decoded).enumerate() {
                    let fit = fits[(n * shape.k + i) / writer.group()];
                    let ends = [0.0, highest].map(|code| (code - fit.zero) * fit.scale);
                    let inside = w.clamp(ends[0].min(ends[1]), ends[0].max(ends[1]));
                    let most = 0.5001 * fit.scale.abs() + 1e-6;
                    assert!((inside - found).abs() <= most, "{} {n} {i}: {w} {found}", format.label());
                }
            }
        }
    }

    #[test]
    fn a_block_that_is_read_is_written_again_with_the_same_weights() {
        for (format, writer) in writers() {
            let shape = NK { n: 2, k: 512 };
            let (bytes, _) = written(&writer, &values(shape.weights(), 0.0));
            let mut again = Vec::new();
            let layout = format.layout();
            for block in bytes.chunks(layout.bytes) {
                let mut expanded = Expanded::new(&layout);
                expanded.read(format, block);
                let zero = |s: f32, c: f32| if layout.offsets { -c / s } else { -f32::from(writer.first) };
                let fits = expanded.s.iter().zip(&expanded.c);
                let mut fits: Vec<_> =
                    fits.map(|(s, c)| GroupFit { scale: *s, zero: zero(*s, *c) }).collect();
                let weights: Vec<f32> = expanded
                    .q
                    .iter()
                    .enumerate()
                    .map(|(i, q)| f32::from(*q) * expanded.s[i / layout.group] + expanded.c[i / layout.group])
                    .collect();
                let start = again.len();
                writer.open(&mut fits, &mut again);
                writer.codes(&fits, &weights, &mut again[start..]);
            }
            let decoded = |bytes: Vec<u8>| {
                let tensor = QuantTensor::from_blocks(format, shape, bytes.into()).unwrap();
                let mut rows = vec![0.0; shape.weights()];
                rows.chunks_mut(shape.k).enumerate().for_each(|(n, row)| tensor.decode_row(n, row));
                rows
            };
            assert_eq!(decoded(bytes), decoded(again), "{}", format.label());
        }
    }
}
