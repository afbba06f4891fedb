//! Activations for look-up: integers with one step for a group, and the tables of their signed sums.
//!
//! A group of activations is rounded to 16-bit integers so that the largest signed sum of a tuple just fits. Entries are
//! kept in bytes whose value is `u − 127½`: the complement of a byte is the negated entry, exactly, which is what halves
//! the tables. An entry `v` of 16 bits is two such bytes `h`, `l` with `v = 255 · (h − 127½) + (l − 127½)`, which holds for
//! every integer up to 32640; a table of 8 bits keeps `h = ⌊v / 256⌋ + 128`, the nearest.

use super::{layout::Layout, nibble, terms::Terms};
use crate::{ActRounding, Ctx, Isa, IsaLevel, Scratch, ctx::OwnTables, int8_acts::whole_bits, mat::MatRef};
use std::{
    ops::Range,
    sync::{Arc, Mutex, OnceLock},
};

/// How many activations a table is indexed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Table {
    /// A byte of eight signs (of five ternary digits): 128 entries, the other half by negation.
    Byte,
    /// Two halves of four signs, 16 entries each; three ternary digits, the other half by negation.
    Nibble,
}

impl Table {
    /// What the instructions of a level look up best.
    pub(crate) fn of(isa: Isa) -> Self {
        Self::at(isa.level())
    }

    /// The same, whether or not this CPU has them.
    pub(crate) fn at(level: IsaLevel) -> Self {
        match level {
            IsaLevel::Avx512 => Self::Byte,
            _ => Self::Nibble,
        }
    }

    /// The byte that is stored for eight bits.
    pub(super) fn byte(self, bits: u8) -> u8 {
        match self {
            Self::Nibble => bits,
            // The eighth weight is added in every entry; where it is to be subtracted, all are negated.
            Self::Byte if bits & 0x80 != 0 => bits & 0x7f,
            Self::Byte => !bits,
        }
    }

    /// Weights of a tuple.
    pub(super) fn tuple(self, ternary: bool) -> usize {
        match self {
            _ if !ternary => 8,
            Self::Byte => 5,
            Self::Nibble => 3,
        }
    }
}

/// Bits of a table's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TableBits {
    /// One byte: half the look-ups, and sums of activations rounded to 8 bits.
    Eight,
    /// Two bytes, exact for the 16-bit integers that activations are rounded to.
    Sixteen,
}

impl TableBits {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Eight, Self::Sixteen];

    /// What activations rounded to one 8-bit term, or to two, are looked up in.
    pub fn of(rounding: ActRounding) -> Self {
        if rounding.terms() == 2 { Self::Sixteen } else { Self::Eight }
    }

    /// Bytes of an entry.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Eight => 1,
            Self::Sixteen => 2,
        }
    }
}

/// What activations become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// 16-bit integers, looked up in tables.
    Tables(TableBits),
    /// 8-bit integers, multiplied.
    Bytes,
}

impl Form {
    /// What they are multiplied as where codes are expanded: 16-bit integers are two terms of 8 bits, exactly.
    pub(crate) fn expanded(rounding: ActRounding) -> Self {
        match TableBits::of(rounding) {
            TableBits::Eight => Self::Bytes,
            TableBits::Sixteen => Self::Tables(TableBits::Sixteen),
        }
    }
}

/// Bytes of tables of which every worker makes its own: half of a second-level cache of today.
const OWN: usize = 512 << 10;

/// Largest magnitude of a signed sum before its activations are rounded: rounding eight of them adds at most 4.
const LARGEST: f32 = 32500.0;

/// What activations for one layout depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    table: Table,
    form: Form,
    tuple: usize,
    group: usize,
    groups: usize,
    planes: usize,
}

impl Key {
    pub(crate) fn new(layout: &Layout, form: Form) -> Self {
        Self {
            table: layout.table,
            form,
            tuple: layout.tuple(),
            group: layout.group,
            groups: layout.groups,
            planes: layout.planes,
        }
    }

    /// How many bytes a sum adds up for each look-up of a group, counted with the worth of their planes.
    fn bytes(self) -> i32 {
        let lookups = self.group.div_ceil(self.tuple) * self.halves();
        lookups as i32 * ((1 << self.planes) - 1)
    }

    /// Look-ups of a tuple and plane: the halves of a byte are looked up apart.
    fn halves(self) -> usize {
        if self.table == Table::Nibble && self.tuple == 8 { 2 } else { 1 }
    }

    /// Entries that a tuple needs.
    fn entries(self) -> usize {
        match self.table {
            Table::Byte => 128,
            Table::Nibble => 16 * self.halves(),
        }
    }

    /// Bytes of the tables of a token.
    pub(crate) fn table_bytes(self) -> usize {
        self.groups * self.group.div_ceil(self.tuple) * self.entries() * self.bits().bytes()
    }

    /// Bits of an entry.
    fn bits(self) -> TableBits {
        match self.form {
            Form::Tables(bits) => bits,
            Form::Bytes => unreachable!("there are no tables of bytes that are multiplied"),
        }
    }

    /// What the tuples that a group of so many weights lacks add to its sum, in halves: bytes of 8-bit entries stand for odd
    /// numbers of them, also where all activations are zero, and codes that are zeros find the negated entry of a byte.
    fn halves_of_missing(self, weights: usize) -> i32 {
        let tuples = self.group.div_ceil(self.tuple) - weights.div_ceil(self.tuple);
        let bytes = (tuples * self.halves()) as i32 * ((1 << self.planes) - 1);
        match (self.form, self.table) {
            (Form::Tables(TableBits::Eight), Table::Byte) if self.tuple == 8 => -bytes,
            (Form::Tables(TableBits::Eight), _) => bytes,
            _ => 0,
        }
    }

    /// 1 where half of what unsigned bytes add is no integer, else 0.
    fn half(self) -> i32 {
        if self.form == Form::Tables(TableBits::Eight) { self.bytes() % 2 } else { 0 }
    }
}

/// Activations in 16-bit integers, and their tables where they are few.
pub(crate) struct TableActs {
    key: Key,
    tokens: usize,
    lookups: usize,
    /// `[token][group][lookups · tuple]`.
    x: Vec<i16>,
    /// `[token][group]`.
    params: Vec<GroupActs>,
    built: OnceLock<Vec<u8>>,
    /// What tells these activations from others.
    id: Arc<()>,
    terms: OnceLock<Terms>,
}

/// What a group's activations are multiplied with.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct GroupActs {
    /// What one in the sum of looked-up entries is worth.
    pub(crate) d: f32,
    /// `−d / 2` for every half that the sum is still too large by: see [`TableActs::start`], and tuples that are not there.
    pub(crate) bias: f32,
    /// Sum of the activations, as rounded.
    pub(crate) sum: f32,
}

impl TableActs {
    /// Rounds every token's activations: `d = max / 32500` over the group's tuples of `Σ |x|`, `q = round(x / d)`, halves to
    /// even; to bytes, `d = max |x| / 127`.
    pub(crate) fn new(ctx: &Ctx, x: MatRef<'_>, layout: &Layout, form: Form) -> Self {
        assert_eq!(x.cols(), layout.k(), "K of activations and weights");
        let key = Key::new(layout, form);
        let tokens = x.rows();
        let width = layout.lookups * key.tuple;
        let mut acts = Self {
            key,
            tokens,
            lookups: layout.lookups,
            x: vec![0; tokens * layout.groups * width],
            params: vec![GroupActs::default(); tokens * layout.groups],
            built: OnceLock::new(),
            id: Arc::default(),
            terms: OnceLock::new(),
        };
        let row = layout.groups * width;
        let rows =
            acts.x.chunks_exact_mut(row.max(1)).zip(acts.params.chunks_exact_mut(layout.groups.max(1)));
        let targets: Vec<_> = rows.map(|pair| Mutex::new(Some(pair))).collect();
        let one = |token: usize| {
            let target = targets[token].lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
            if let Some((q, params)) = target {
                round(ctx.isa(), x.row(token), key, q, params);
            }
        };
        if tokens < 8 {
            (0..tokens).for_each(one)
        } else {
            ctx.run(tokens, |token, _| one(token))
        }
        drop(targets);
        acts
    }

    pub(crate) fn key(&self) -> Key {
        self.key
    }

    /// What the sums of a group's looked-up bytes start from, upper bytes first where there are two: the mean of unsigned
    /// bytes is 127½, and `255 h + l` of two sums starts as far below zero as that adds.
    pub(super) fn start(&self) -> [i32; 2] {
        let bytes = self.key.bytes();
        match self.key.bits() {
            TableBits::Eight => [-(255 * bytes / 2), 0],
            TableBits::Sixteen => [bytes / 2 - 128 * bytes, -255 * (bytes / 2)],
        }
    }

    /// The same for the sum of both.
    pub(super) fn start_of_sum(&self) -> i32 {
        match (self.key.bits(), self.start()) {
            (TableBits::Eight, [start, _]) => start,
            (TableBits::Sixteen, [high, low]) => 255 * high + low,
        }
    }

    /// 1 where that leaves the sum half too large, else 0.
    pub(crate) fn half(&self) -> i32 {
        self.key.half()
    }

    /// Number of tokens.
    pub(super) fn tokens(&self) -> usize {
        self.tokens
    }

    /// Bits of an entry.
    pub(super) fn bits(&self) -> TableBits {
        self.key.bits()
    }

    /// The integers as 8-bit terms, made on first use.
    pub(super) fn terms(&self) -> &Terms {
        self.terms.get_or_init(|| {
            let width = self.lookups * self.key.tuple;
            Terms::new(&self.x, width, self.key.groups * width, self.key.planes, self.key.form == Form::Bytes)
        })
    }

    /// Bytes of the tables of one look-up.
    pub(super) fn lookup_bytes(&self) -> usize {
        self.key.entries() * self.key.bits().bytes()
    }

    /// The integers of a group, filled up to whole tuples.
    pub(crate) fn integers(&self, token: usize, group: usize) -> &[i16] {
        let width = self.lookups * self.key.tuple;
        &self.x[(token * self.key.groups + group) * width..][..width]
    }

    /// Step and sum of a group.
    #[inline(always)]
    pub(crate) fn group(&self, token: usize, group: usize) -> GroupActs {
        self.params[token * self.key.groups + group]
    }

    /// The tables of all tokens, made on first use, `[token][group][look-up]`.
    pub(super) fn built(&self, isa: Isa) -> &[u8] {
        self.built.get_or_init(|| {
            let mut tables = vec![0; self.all_bytes()];
            self.build_all(isa, &mut tables);
            tables
        })
    }

    /// The same in the memory of a worker; `None` where they are too many for its cache. What one worker writes, another reads
    /// from afar, and then has to give up before it is written again: both took longer than making them twice.
    pub(super) fn own(&self, isa: Isa, scratch: &mut Scratch) -> Option<OwnTables> {
        let bytes = self.all_bytes();
        (bytes <= OWN).then(|| scratch.tables(&self.id, bytes, |out| self.build_all(isa, out)))
    }

    /// Bytes of the tables of all tokens.
    fn all_bytes(&self) -> usize {
        self.tokens * self.key.groups * self.lookups * self.lookup_bytes()
    }

    fn build_all(&self, isa: Isa, out: &mut [u8]) {
        for (token, out) in out.chunks_exact_mut((out.len() / self.tokens.max(1)).max(1)).enumerate() {
            self.build(isa, token, 0..self.key.groups, out);
        }
    }

    /// Makes the tables of some groups of a token.
    pub(super) fn build(&self, isa: Isa, token: usize, groups: Range<usize>, out: &mut [u8]) {
        let width = self.lookups * self.key.tuple;
        let start = (token * self.key.groups + groups.start) * width;
        let x = &self.x[start..start + groups.len() * width];
        if self.key.table == Table::Nibble {
            return nibble::build(isa, x, self.key.tuple, self.key.bits(), out);
        }
        let outs = out.chunks_exact_mut(self.lookup_bytes());
        #[cfg(target_arch = "x86_64")]
        if isa.level() == IsaLevel::Avx512 {
            // SAFETY: the ISA value proves the instructions.
            return unsafe { super::avx512_tables::build(x, self.key.tuple, self.key.bits(), out) };
        }
        for (x, out) in x.chunks_exact(self.key.tuple).zip(outs) {
            match self.key.tuple {
                8 => fill(out, self.key.bits(), |e| signed_sum(&x[..7], e) + i32::from(x[7])),
                _ => fill(out, self.key.bits(), |e| ternary_sum(x, e)),
            }
        }
    }
}

/// Writes the entries, the upper bytes first where there are two.
fn fill(out: &mut [u8], bits: TableBits, entry: impl Fn(usize) -> i32) {
    match bits {
        TableBits::Eight => {
            for (e, out) in out.iter_mut().enumerate() {
                *out = ((entry(e) >> 8) + 128) as u8;
            }
        }
        TableBits::Sixteen => {
            let (high, low) = out.split_at_mut(out.len() / 2);
            for (e, (high, low)) in high.iter_mut().zip(low).enumerate() {
                let u = entry(e) + 32640;
                (*high, *low) = ((u / 255) as u8, (u % 255) as u8);
            }
        }
    }
}

/// `Σ ± x[i]`, plus where bit `i` of `e` is set.
fn signed_sum(x: &[i16], e: usize) -> i32 {
    x.iter().enumerate().map(|(i, x)| if e >> i & 1 == 1 { i32::from(*x) } else { -i32::from(*x) }).sum()
}

/// `Σ tᵢ · x[i]` for the balanced ternary digits of `e`, 0 past the largest number of five digits.
fn ternary_sum(x: &[i16], e: usize) -> i32 {
    x.iter().zip(ternary_digits(e)).map(|(x, t)| i32::from(*x) * i32::from(t)).sum()
}

/// Five digits −1, 0, 1, the first worth 1.
pub(super) const fn ternary_digits(e: usize) -> [i8; 5] {
    let mut digits = [0; 5];
    if e <= 121 {
        let (mut rest, mut i) = (e as i32, 0);
        while i < 5 {
            let digit = (rest + 1).rem_euclid(3) - 1;
            digits[i] = digit as i8;
            rest = (rest - digit) / 3;
            i += 1;
        }
    }
    digits
}

crate::isa::multiversion! {
    fn round(x: &[f32], key: Key, q: &mut [i16], params: &mut [GroupActs]) = round_row;
}

#[inline(always)]
fn round_row(x: &[f32], key: Key, q: &mut [i16], params: &mut [GroupActs]) {
    let (span, largest, worth) = match (key.form, key.table) {
        (Form::Bytes, _) => (1, 127.0, 1.0),
        // An entry of 8 bits is the upper byte of a sum.
        (Form::Tables(TableBits::Eight), Table::Nibble) => (key.tuple.min(4), LARGEST, 256.0),
        (Form::Tables(TableBits::Eight), Table::Byte) => (key.tuple, LARGEST, 256.0),
        (Form::Tables(TableBits::Sixteen), _) => (key.tuple, LARGEST, 1.0),
    };
    let width = q.len() / params.len().max(1);
    for ((x, q), params) in x.chunks(key.group).zip(q.chunks_exact_mut(width)).zip(params) {
        let max = match span {
            1 => largest_sum::<1>(x),
            3 => largest_sum::<3>(x),
            4 => largest_sum::<4>(x),
            5 => largest_sum::<5>(x),
            _ => largest_sum::<8>(x),
        };
        let inverse = if max > 0.0 { largest / max } else { 0.0 };
        // So small that its reciprocal is none.
        let inverse = if inverse.is_finite() { inverse } else { 0.0 };
        let mut sum = 0i32;
        for (q, x) in q.iter_mut().zip(x) {
            *q = whole_bits(x * inverse) as i16;
            sum += i32::from(*q);
        }
        let step = if inverse > 0.0 { max / largest } else { 0.0 };
        // Bits of a plane are signs, whose steps are half a code.
        let d = step * worth * if key.tuple == 8 { 0.5 } else { 1.0 };
        let halves = key.half() + key.halves_of_missing(x.len());
        *params = GroupActs { d, bias: -0.5 * d * halves as f32, sum: step * sum as f32 };
    }
}

/// Largest sum of the magnitudes of `SPAN` neighbours, which are added by halves.
#[inline(always)]
fn largest_sum<const SPAN: usize>(x: &[f32]) -> f32 {
    let sum = |x: &[f32; SPAN]| {
        let mut sums = x.map(f32::abs);
        let mut len = SPAN;
        while len > 1 {
            let half = len.div_ceil(2);
            for i in 0..len / 2 {
                sums[i] += sums[half + i];
            }
            len = half;
        }
        sums[0]
    };
    let (whole, rest) = x.as_chunks();
    let mut last = [0.0; SPAN];
    last[..rest.len()].copy_from_slice(rest);
    // As whole numbers, magnitudes have the order they have as floats, and their maximum needs none of its steps in order.
    f32::from_bits(whole.iter().chain([&last]).map(|x| sum(x).to_bits()).fold(0, u32::max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_sum_is_that_of_some_neighbours() {
        let x = [1.0, -2.0, 3.0, 0.5, -4.0, 1.5, 2.0, -1.0, 0.0, 9.0, -8.0];
        assert_eq!((largest_sum::<1>(&x), largest_sum::<3>(&x), largest_sum::<4>(&x)), (9.0, 17.0, 17.0));
        assert_eq!((largest_sum::<5>(&x), largest_sum::<8>(&x), largest_sum::<8>(&[])), (13.5, 17.0, 0.0));
    }

    #[test]
    fn the_complement_of_an_entry_is_its_negative_and_sixteen_bits_are_exact() {
        let x = [3, -7, 4064, 11, 0, -4064, 1, 250i16];
        for e in 0..128usize {
            let v = signed_sum(&x[..7], e) + i32::from(x[7]);
            let mut out = [0; 256];
            fill(&mut out, TableBits::Sixteen, |e| signed_sum(&x[..7], e) + i32::from(x[7]));
            let twice = |h: u8, l: u8| 255 * (2 * i32::from(h) - 255) + 2 * i32::from(l) - 255;
            assert_eq!(twice(out[e], out[128 + e]), 2 * v);
            assert_eq!(twice(!out[e], !out[128 + e]), -2 * v);
        }
    }

    #[test]
    fn stored_bytes_are_the_signed_sums_of_their_bits() {
        let x = [1, 2, 4, 8, 16, 32, 64, 128i16];
        for bits in 0..=255u8 {
            let want: i32 = signed_sum(&x, usize::from(bits));
            let stored = Table::Byte.byte(bits);
            let entry = signed_sum(&x[..7], usize::from(stored & 127)) + i32::from(x[7]);
            assert_eq!(if stored & 0x80 == 0 { entry } else { -entry }, want);
        }
        for e in 0..=121 {
            let value: i32 =
                ternary_digits(e).iter().enumerate().map(|(i, t)| i32::from(*t) * 3i32.pow(i as u32)).sum();
            assert_eq!(value, e as i32);
        }
    }
}
