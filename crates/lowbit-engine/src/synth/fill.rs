//! The bytes of stored tensors with random weights: codes are drawn, scales are what makes weights of random codes have
//! the root mean square 1 / √K, so that activations stay in the size that norms give them.

use lowbit_format::{
    BlockFormat, Codebook, ElementFormat, FloatFormat, GroupedSpec, NK, Packing, ParamFormat, QuantTensor,
    Storage, TermKind, WeightSpec, ZeroPoint, block::ScaleBits,
};
use lowbit_io::container::{Part, PartKind};
use rand_pcg::{
    Pcg64,
    rand_core::{Rng as _, SeedableRng as _},
};
use std::io::{self, Write};

/// Bytes that are made at a time.
const CHUNK: usize = 1 << 20;

/// What to fill a part with.
#[derive(Clone, Debug)]
pub(super) struct Fill {
    /// Seed of the whole model.
    pub(super) seed: u64,
    /// Name of the stored tensor; each has random numbers of its own.
    pub(super) name: String,
    /// Format of the tensor.
    pub(super) spec: WeightSpec,
    /// Features that an output sums over.
    pub(super) k: usize,
    /// The part.
    pub(super) part: Part,
    /// What it is of, where it is a part of a term.
    term: Option<(TermKind, NK)>,
}

impl Fill {
    /// For a part of a tensor.
    pub(super) fn new(seed: u64, tensor: &str, (spec, shape): (&WeightSpec, NK), part: &Part) -> Self {
        let name = format!("{tensor}{}", part.ending());
        match (spec, part.term) {
            (WeightSpec::Sum(spec), Some((term, matrix))) => {
                let term = &spec.terms()[usize::from(term)];
                // Of a product of two both share the size; all else is added to weights of this one.
                let up = matches!(term.kind, TermKind::Rank(_)) && matrix == 1;
                let k = if up { term.kind.matrices(shape)[1].k } else { shape.k };
                let kind = Some((term.kind, shape));
                Self { seed, name, spec: (*term.weight).clone(), k, part: *part, term: kind }
            }
            _ => Self { seed, name, spec: spec.base().clone(), k: shape.k, part: *part, term: None },
        }
    }

    /// Writes the bytes, and tells how many as it goes.
    pub(super) fn write(&self, out: &mut dyn Write, progress: &dyn Fn(u64)) -> io::Result<()> {
        let mut put = |bytes: &[u8]| {
            progress(bytes.len() as u64);
            out.write_all(bytes)
        };
        let size = 1.0 / (self.k as f32).sqrt();
        match (self.part.kind, &self.spec) {
            (PartKind::List(width), _) => {
                let list = self.list().into_iter();
                put(&list.flat_map(|i| (i as u32).to_le_bytes().into_iter().take(width)).collect::<Vec<u8>>())
            }
            (PartKind::Floats(format), _) => self.floats(format, size, &mut put),
            (PartKind::Blocks, WeightSpec::Block(format)) => self.blocks(*format, size, &mut put),
            (PartKind::Codes(packing), _) => self.codes(packing, &mut put),
            (PartKind::Scales(format), WeightSpec::Block(_)) => self.parameters(format, 1.0, &mut put),
            (PartKind::Scales(format), WeightSpec::Grouped(spec)) => {
                self.parameters(format, scales(spec, size).0, &mut put)
            }
            (PartKind::CoarseScales(format), WeightSpec::Grouped(spec)) => {
                self.parameters(format, scales(spec, size).1, &mut put)
            }
            (PartKind::Zeros(format), WeightSpec::Grouped(spec)) => {
                self.parameters(format, zero(spec.element()), &mut put)
            }
            (kind, spec) => unreachable!("a tensor of {spec} has no part {kind:?}"),
        }
    }

    /// The places of a term, as far from each other as can be.
    fn list(&self) -> Vec<usize> {
        let (Some((kind, shape)), Some((_, list))) = (self.term, self.part.term) else { return Vec::new() };
        let (len, bound) = kind.lists(shape)[usize::from(list)];
        let even = |len: usize, bound: usize| (0..len).map(move |i| i * bound / len);
        match (kind, list) {
            (TermKind::Sparse { count, .. }, 0) => (0..len).map(|n| n * count as usize / shape.n).collect(),
            (TermKind::Sparse { count, .. }, _) => {
                let start = |n: usize| n * count as usize / shape.n;
                (0..shape.n).flat_map(|n| even(start(n + 1) - start(n), bound)).collect()
            }
            _ => even(len, bound).collect(),
        }
    }

    fn rng(&self) -> Pcg64 {
        Pcg64::new(u128::from(self.seed), u128::from(fnv1a(&self.name)))
    }

    /// Uniform between −√3 and √3 times `size`, in 65536 steps.
    fn floats(&self, format: FloatFormat, size: f32, put: Put<'_>) -> io::Result<()> {
        let step = 2.0 * 3f32.sqrt() * size / 65535.0;
        let values: Vec<f32> = (0..=65535).map(|i| (i as f32 - 32767.5) * step).collect();
        let stored = format.encode(&values);
        let width = format.bytes();
        let mut rng = self.rng();
        let (mut draws, mut bytes) = (vec![0; CHUNK / 2], Vec::with_capacity(CHUNK * 2));
        let mut left = self.part.rows * self.part.columns;
        while left > 0 {
            let count = left.min(draws.len() / 2);
            rng.fill_bytes(&mut draws[..2 * count]);
            bytes.clear();
            for draw in draws[..2 * count].chunks_exact(2) {
                let at = width * usize::from(u16::from_le_bytes([draw[0], draw[1]]));
                bytes.extend_from_slice(&stored[at..at + width]);
            }
            put(&bytes)?;
            left -= count;
        }
        Ok(())
    }

    fn blocks(&self, format: BlockFormat, size: f32, put: Put<'_>) -> io::Result<()> {
        let scale = size / size_of_random_blocks(format);
        let bits = format.scale_bits(scale);
        let mut rng = self.rng();
        let block = format.layout().bytes;
        let mut buffer = vec![0; CHUNK / block * block];
        let mut left = self.part.rows * self.part.columns;
        while left > 0 {
            let bytes = &mut buffer[..left.min(CHUNK / block * block)];
            random_blocks(&mut rng, block, &bits, bytes);
            put(bytes)?;
            left -= bytes.len();
        }
        Ok(())
    }

    fn codes(&self, packing: Packing, put: Put<'_>) -> io::Result<()> {
        let Part { rows, columns, values, .. } = self.part;
        let mut rng = self.rng();
        let chunk = (CHUNK / columns).clamp(1, rows);
        let mut buffer = vec![0; chunk * columns];
        let mut left = rows;
        while left > 0 {
            let bytes = &mut buffer[..left.min(chunk) * columns];
            rng.fill_bytes(bytes);
            bytes.chunks_exact_mut(columns).for_each(|row| make_valid(packing, values, row));
            if self.has_codes_of_no_number() {
                bytes.iter_mut().filter(|code| **code & 127 == 127).for_each(|code| *code ^= 1);
            }
            put(bytes)?;
            left -= bytes.len() / columns;
        }
        Ok(())
    }

    /// Whether codes 127 and 255 are not numbers.
    fn has_codes_of_no_number(&self) -> bool {
        let WeightSpec::Grouped(spec) = &self.spec else { return false };
        spec.element() == ElementFormat::Codebook(Codebook::E4M3)
    }

    /// The same parameter for all groups.
    fn parameters(&self, format: ParamFormat, value: f32, put: Put<'_>) -> io::Result<()> {
        let Part { rows, columns, values, .. } = self.part;
        let stored = format.encode(value);
        let row = if let ParamFormat::Int(bits) = format {
            let mut row = vec![0; columns];
            Packing::Bits(bits).pack_row(&vec![stored as u8; values], &mut row);
            row
        } else {
            stored.to_le_bytes()[..format.bits() as usize / 8].repeat(values)
        };
        (0..rows).try_for_each(|_| put(&row))
    }
}

type Put<'a> = &'a mut dyn FnMut(&[u8]) -> io::Result<()>;

/// Makes random bytes a row of codes: ternary bytes are those of five digits, and what is beyond the last code is 0.
fn make_valid(packing: Packing, values: usize, row: &mut [u8]) {
    let Some((last, bytes)) = row.split_last_mut() else { return };
    match packing {
        Packing::Bits(bits) => {
            let used = (values % 8 * bits.get() as usize) % 8;
            if used > 0 {
                *last &= (1 << used) - 1;
            }
        }
        Packing::Trits => {
            let digits = |byte: u8, levels: u16| ((u16::from(byte) * levels) >> 8) as u8;
            bytes.iter_mut().for_each(|byte| *byte = digits(*byte, 243));
            let used = (values - 1) % 5 + 1;
            *last = digits(*last, 3u16.pow(used as u32));
        }
    }
}

/// Scales of the finer and of the coarser level that give random codes the root mean square `size`.
fn scales(spec: &GroupedSpec, size: f32) -> (f32, f32) {
    let scale = size / mean_square(spec.element()).sqrt();
    match spec.levels() {
        [_] => (representable(spec.levels()[0].format, scale), 0.0),
        [fine, coarse, ..] => {
            let units = match fine.format {
                ParamFormat::Int(bits) => (0.75 * bits.levels() as f32).floor().max(1.0),
                _ => 1.0,
            };
            (units, representable(coarse.format, scale / units))
        }
        [] => unreachable!("a grouped format has a scale level"),
    }
}

/// Of what uniform codes stand for.
fn mean_square(element: ElementFormat) -> f32 {
    if let ElementFormat::Codebook(book) = element {
        let numbers: Vec<f32> = book.values().iter().copied().filter(|value| value.is_finite()).collect();
        return numbers.iter().map(|value| value * value).sum::<f32>() / numbers.len() as f32;
    }
    // Their variance, and how far their mean is from zero.
    let levels = element.packing().levels() as f32;
    let mean = (levels - 1.0) / 2.0 - zero(element);
    (levels * levels - 1.0) / 12.0 + mean * mean
}

/// The 8-bit float has nothing between 2^-9 and zero, which would make all weights zero.
fn representable(format: ParamFormat, scale: f32) -> f32 {
    if format == ParamFormat::E4M3 { scale.max(1.0 / 512.0) } else { scale }
}

/// The zero point: the middle of the codes, or the one above it.
fn zero(element: ElementFormat) -> f32 {
    let levels = element.packing().levels() as f32;
    match element {
        ElementFormat::Int { zero: ZeroPoint::Integer, .. } => levels / 2.0,
        ElementFormat::Int { zero: ZeroPoint::Float, .. } => (levels - 1.0) / 2.0,
        _ => element.center().unwrap_or(levels / 2.0),
    }
}

fn random_blocks(rng: &mut Pcg64, block: usize, scale: &[ScaleBits], bytes: &mut [u8]) {
    rng.fill_bytes(bytes);
    for block in bytes.chunks_exact_mut(block) {
        scale.iter().for_each(|bits| bits.put(block));
    }
}

/// The root mean square of the weights of random blocks whose outermost scale is 1.
fn size_of_random_blocks(format: BlockFormat) -> f32 {
    const BLOCKS: usize = 256;
    let layout = format.layout();
    let mut bytes = vec![0; BLOCKS * layout.bytes];
    random_blocks(&mut Pcg64::seed_from_u64(0), layout.bytes, &format.scale_bits(1.0), &mut bytes);
    let shape = NK { n: 1, k: BLOCKS * layout.weights };
    let mut weights = vec![0.0; shape.k];
    let tensor = QuantTensor::from_blocks(format, shape, Storage::from(bytes)).expect("whole blocks");
    tensor.decode_row(0, &mut weights);
    let sum: f64 = weights.iter().map(|w| f64::from(*w).powi(2)).sum();
    (sum / weights.len() as f64).sqrt() as f32
}

/// The hash of Fowler, Noll and Vo in 64 bits: the same on every machine and in every version.
fn fnv1a(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
