//! Look-up in tables of 128 entries: `vpermi2b` takes sixty-four bytes at a time, eight weights of a bit plane each.

use super::{
    TableBits, Tile,
    acts::ternary_digits,
    layout::{Float, PANEL, Zero},
};
use std::arch::x86_64::*;

/// Adds the products of a tile to the sums `[token][row]`.
///
/// # Safety
/// - The CPU has the instructions of [`crate::IsaLevel::Avx512`].
pub(super) unsafe fn tile(tile: &Tile<'_>, acc: &mut [[f32; PANEL]]) {
    // SAFETY: passed on.
    unsafe {
        match (tile.layout.planes, tile.acts.bits()) {
            (1, TableBits::Eight) => tokens::<1, 1>(tile, acc),
            (2, TableBits::Eight) => tokens::<2, 1>(tile, acc),
            (3, TableBits::Eight) => tokens::<3, 1>(tile, acc),
            (_, TableBits::Eight) => tokens::<4, 1>(tile, acc),
            (1, TableBits::Sixteen) => tokens::<1, 2>(tile, acc),
            (2, TableBits::Sixteen) => tokens::<2, 2>(tile, acc),
            (3, TableBits::Sixteen) => tokens::<3, 2>(tile, acc),
            (_, TableBits::Sixteen) => tokens::<4, 2>(tile, acc),
        }
    }
}

/// # Safety
/// - As for [`tile`].
unsafe fn tokens<const PLANES: usize, const BYTES: usize>(tile: &Tile<'_>, acc: &mut [[f32; PANEL]]) {
    // SAFETY: passed on.
    unsafe {
        match acc.len() {
            1 => panel::<PLANES, BYTES, 1>(tile, acc),
            2 => panel::<PLANES, BYTES, 2>(tile, acc),
            _ => panel::<PLANES, BYTES, 4>(tile, acc),
        }
    }
}

/// One panel times `T` tokens.
///
/// # Safety
/// - As for [`tile`].
#[target_feature(enable = "avx2,fma,f16c,bmi2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn panel<const PLANES: usize, const BYTES: usize, const T: usize>(
    tile: &Tile<'_>,
    acc: &mut [[f32; PANEL]],
) {
    let layout = tile.layout;
    let lookups = layout.lookups;
    let lookup_bytes = 128 * BYTES;
    let acc: &mut [[f32; PANEL]; T] = acc.first_chunk_mut().expect("sums of the tile's tokens");
    assert!(tile.groups.end * layout.group_bytes() + 64 <= tile.bytes.codes.len());
    assert!(tile.tables.len() >= (T - 1) * tile.token_stride + tile.groups.len() * lookups * lookup_bytes);
    let mut sums = [[_mm512_setzero_ps(); 4]; T];
    for t in 0..T {
        for q in 0..4 {
            // SAFETY: sixteen floats.
            sums[t][q] = unsafe { _mm512_loadu_ps(acc[t][16 * q..].as_ptr()) };
        }
    }
    let start = _mm512_set1_epi32(tile.acts.start());
    for (i, group) in tile.groups.clone().enumerate() {
        let codes = tile.bytes.codes[group * layout.group_bytes()..].as_ptr();
        // SAFETY: the tables reach this far by the assertion.
        let tables: [*const u8; T] = std::array::from_fn(|t| unsafe {
            tile.tables.as_ptr().add(t * tile.token_stride + i * lookups * lookup_bytes)
        });
        // SAFETY: the codes of the group and the bytes past them exist by the assertion.
        let integers = unsafe {
            match PLANES {
                1 => one_plane::<BYTES, T>(start, codes, tables, lookups),
                2 => two_planes::<BYTES, T>(start, codes, tables, lookups),
                _ => planes::<PLANES, BYTES, T>(start, codes, tables, lookups),
            }
        };
        let params = &tile.bytes.params[layout.params_at(group)..];
        let zeros = &params[tile.params.scale.bytes()..];
        for q in 0..4 {
            let scale = floats(params, tile.params.scale, q);
            let middle = middle::<PLANES>(zeros, tile.params.zero, q);
            for t in 0..T {
                let x = tile.acts.group(tile.tokens.start + t, group);
                let part = _mm512_fmadd_ps(middle, _mm512_set1_ps(x.sum), _mm512_set1_ps(x.bias));
                let part = _mm512_fmadd_ps(_mm512_cvtepi32_ps(integers[t][q]), _mm512_set1_ps(x.d), part);
                sums[t][q] = _mm512_fmadd_ps(part, scale, sums[t][q]);
            }
        }
    }
    for t in 0..T {
        for q in 0..4 {
            // SAFETY: sixteen floats.
            unsafe { _mm512_storeu_ps(acc[t][16 * q..].as_mut_ptr(), sums[t][q]) };
        }
    }
}

/// `Σ u` of a group, with two bytes an entry `255 Σ h + Σ l`, for sixteen rows a vector.
type Sums<const T: usize> = [[__m512i; 4]; T];

/// One table: 128 entries.
#[derive(Clone, Copy)]
struct Entries {
    low: __m512i,
    high: __m512i,
}

impl Entries {
    /// # Safety
    /// - 128 bytes can be read.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c,bmi2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
    unsafe fn load(table: *const u8) -> Self {
        // SAFETY: by the contract.
        unsafe {
            Self { low: _mm512_loadu_si512(table.cast()), high: _mm512_loadu_si512(table.add(64).cast()) }
        }
    }

    /// The bytes that `codes` stand for; `negative` has their top bits.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c,bmi2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
    fn look_up(self, codes: __m512i, negative: __mmask64) -> __m512i {
        let mut found = codes;
        // SAFETY: `_mm512_permutex2var_epi8`, spelt out: the compiler would take the form that overwrites the table, and
        // load that again for every use, which is what this loop waits for.
        unsafe {
            std::arch::asm!(
                "vpermi2b {found}, {low}, {high}",
                found = inout(zmm_reg) found,
                low = in(zmm_reg) self.low,
                high = in(zmm_reg) self.high,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        // 255 − u, the complement.
        _mm512_mask_sub_epi8(found, negative, _mm512_set1_epi8(-1), found)
    }
}

/// The tables of a look-up.
///
/// # Safety
/// - They can be read.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,bmi2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn entries<const BYTES: usize, const T: usize>(
    tables: [*const u8; T],
    l: usize,
) -> [[Entries; BYTES]; T] {
    let none = Entries { low: _mm512_setzero_si512(), high: _mm512_setzero_si512() };
    let mut entries = [[none; BYTES]; T];
    for t in 0..T {
        for b in 0..BYTES {
            // SAFETY: by the contract.
            entries[t][b] = unsafe { Entries::load(tables[t].add(128 * (BYTES * l + b))) };
        }
    }
    entries
}

/// # Safety
/// - The codes and tables of `lookups` tuples can be read; the CPU has the instructions.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,bmi2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn one_plane<const BYTES: usize, const T: usize>(
    start: __m512i,
    codes: *const u8,
    tables: [*const u8; T],
    lookups: usize,
) -> Sums<T> {
    // SAFETY: by the contract.
    unsafe {
        // Bytes are added as words, and their upper halves once more by themselves: the difference is the lower halves'.
        let mut words = [[_mm512_setzero_si512(); BYTES]; T];
        let mut upper = words;
        for l in 0..lookups {
            let c = _mm512_loadu_si512(codes.add(64 * l).cast());
            _mm_prefetch::<_MM_HINT_T0>(codes.wrapping_add(64 * l + AHEAD).cast());
            let negative = _mm512_movepi8_mask(c);
            for t in 0..T {
                for b in 0..BYTES {
                    let u = Entries::load(tables[t].add(128 * (BYTES * l + b))).look_up(c, negative);
                    words[t][b] = _mm512_add_epi16(words[t][b], u);
                    upper[t][b] = _mm512_add_epi16(upper[t][b], _mm512_srli_epi16::<8>(u));
                }
            }
        }
        let mut sums = [[start; 4]; T];
        for t in 0..T {
            for b in 0..BYTES {
                let lower = _mm512_sub_epi16(words[t][b], _mm512_slli_epi16::<8>(upper[t][b]));
                for (half, words) in [lower, upper[t][b]].into_iter().enumerate() {
                    for (part, rows) in widen(words).into_iter().enumerate() {
                        let sum = &mut sums[t][2 * half + part];
                        *sum = add_byte::<BYTES>(*sum, b, rows);
                    }
                }
            }
        }
        sums
    }
}

/// # Safety
/// - As for [`one_plane`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c,bmi2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn two_planes<const BYTES: usize, const T: usize>(
    start: __m512i,
    codes: *const u8,
    tables: [*const u8; T],
    lookups: usize,
) -> Sums<T> {
    // SAFETY: by the contract.
    unsafe {
        let weights = _mm512_set1_epi16(0x0201);
        let mut words = [[[_mm512_setzero_si512(); BYTES]; 2]; T];
        for l in 0..lookups {
            let tables = entries::<BYTES, T>(tables, l);
            for v in 0..2 {
                let c = _mm512_loadu_si512(codes.add(128 * l + 64 * v).cast());
                _mm_prefetch::<_MM_HINT_T0>(codes.wrapping_add(128 * l + 64 * v + AHEAD).cast());
                let negative = _mm512_movepi8_mask(c);
                for t in 0..T {
                    for b in 0..BYTES {
                        let u = tables[t][b].look_up(c, negative);
                        let pairs = _mm512_maddubs_epi16(u, weights);
                        words[t][v][b] = _mm512_add_epi16(words[t][v][b], pairs);
                    }
                }
            }
        }
        let mut sums = [[start; 4]; T];
        for t in 0..T {
            for v in 0..2 {
                for b in 0..BYTES {
                    for (part, rows) in widen(words[t][v][b]).into_iter().enumerate() {
                        let sum = &mut sums[t][2 * v + part];
                        *sum = add_byte::<BYTES>(*sum, b, rows);
                    }
                }
            }
        }
        sums
    }
}

/// Three or four planes.
///
/// # Safety
/// - As for [`one_plane`], and sixteen bytes past the codes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,bmi2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn planes<const PLANES: usize, const BYTES: usize, const T: usize>(
    start: __m512i,
    codes: *const u8,
    tables: [*const u8; T],
    lookups: usize,
) -> Sums<T> {
    // SAFETY: by the contract.
    unsafe {
        let weights = _mm512_set1_epi32(if PLANES == 3 { 0x0004_0201 } else { 0x0804_0201 });
        // Three bytes a row become four; the last is multiplied by nothing.
        let spread: [u8; 64] = const {
            let mut spread = [0; 64];
            let mut i = 0;
            while i < 64 {
                spread[i] = (i / 4 * 3 + i % 4) as u8;
                i += 1;
            }
            spread
        };
        let spread = _mm512_loadu_si512(spread.as_ptr().cast());
        let mut sums = [[[_mm512_setzero_si512(); BYTES]; 4]; T];
        for l in 0..lookups {
            for line in 0..PLANES {
                let ahead = codes.wrapping_add(64 * (PLANES * l + line) + AHEAD);
                _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
            }
            let tables = entries::<BYTES, T>(tables, l);
            for v in 0..4 {
                let c = _mm512_loadu_si512(codes.add(16 * PLANES * (4 * l + v)).cast());
                let c = if PLANES == 3 { _mm512_permutexvar_epi8(spread, c) } else { c };
                let negative = _mm512_movepi8_mask(c);
                for t in 0..T {
                    for b in 0..BYTES {
                        let u = tables[t][b].look_up(c, negative);
                        sums[t][v][b] = _mm512_dpbusd_epi32(sums[t][v][b], u, weights);
                    }
                }
            }
        }
        let mut all = [[start; 4]; T];
        for t in 0..T {
            for v in 0..4 {
                for b in 0..BYTES {
                    all[t][v] = add_byte::<BYTES>(all[t][v], b, sums[t][v][b]);
                }
            }
        }
        all
    }
}

/// Bytes that codes are asked for before they are needed.
const AHEAD: usize = 2048;

/// Words as 32 bits.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,bmi2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
fn widen(words: __m512i) -> [__m512i; 2] {
    let (low, high) = (_mm512_castsi512_si256(words), _mm512_extracti64x4_epi64::<1>(words));
    [_mm512_cvtepu16_epi32(low), _mm512_cvtepu16_epi32(high)]
}

/// Adds the sums of byte `b` of the entries: the upper of two is worth 255.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,bmi2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
fn add_byte<const BYTES: usize>(sum: __m512i, b: usize, byte: __m512i) -> __m512i {
    let worth = if BYTES == 2 && b == 0 { _mm512_sub_epi32(_mm512_slli_epi32::<8>(byte), byte) } else { byte };
    _mm512_add_epi32(sum, worth)
}

/// Numbers of rows `16 q..16 q + 16`.
#[inline]
#[target_feature(enable = "avx512f")]
fn floats(bytes: &[u8], float: Float, q: usize) -> __m512 {
    match float {
        Float::F16 => {
            let bytes: &[u8; 32] = bytes[32 * q..].first_chunk().expect("sixteen numbers");
            // SAFETY: thirty-two bytes.
            _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) })
        }
        Float::F32 => {
            let bytes: &[u8; 64] = bytes[64 * q..].first_chunk().expect("sixteen numbers");
            // SAFETY: sixty-four bytes.
            unsafe { _mm512_loadu_ps(bytes.as_ptr().cast()) }
        }
    }
}

/// How far the middle of the codes is above the zero point, for rows `16 q..16 q + 16`.
#[inline]
#[target_feature(enable = "avx512f")]
fn middle<const PLANES: usize>(zeros: &[u8], zero: Zero, q: usize) -> __m512 {
    let highest = (1 << PLANES) - 1;
    match zero {
        Zero::Half(half) => _mm512_set1_ps(f32::from(half) * 0.5),
        Zero::Float(float) => _mm512_sub_ps(_mm512_set1_ps(highest as f32 * 0.5), floats(zeros, float, q)),
        Zero::Code { width } => {
            let lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
            let bytes = &zeros[2 * width * q..][..2 * width];
            let (fields, shift) = match width {
                1 => (_mm512_set1_epi32(i32::from(u16::from_le_bytes([bytes[0], bytes[1]]))), lanes),
                2 => {
                    let word = i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                    (_mm512_set1_epi32(word), _mm512_slli_epi32::<1>(lanes))
                }
                _ => {
                    let words = bytes.first_chunk().map_or(0, |b| i64::from_le_bytes(*b));
                    (_mm512_set1_epi64(words), _mm512_slli_epi32::<2>(_mm512_srli_epi32::<1>(lanes)))
                }
            };
            let mask = _mm512_set1_epi32((1 << width) - 1);
            let codes = _mm512_and_si512(_mm512_srlv_epi32(fields, shift), mask);
            let twice = _mm512_sub_epi32(_mm512_set1_epi32(highest), _mm512_slli_epi32::<1>(codes));
            _mm512_mul_ps(_mm512_cvtepi32_ps(twice), _mm512_set1_ps(0.5))
        }
    }
}

/// Makes the tables of tuples of activations, one after the other.
///
/// # Safety
/// - The CPU has the instructions of [`crate::IsaLevel::Avx512`].
#[target_feature(enable = "avx2,fma,f16c,bmi2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
pub(super) unsafe fn build(x: &[i16], tuple: usize, bits: TableBits, out: &mut [u8]) {
    let odd: [u8; 64] = std::array::from_fn(|i| 2 * i as u8 + 1);
    let even: [u8; 64] = std::array::from_fn(|i| 2 * i as u8);
    // SAFETY: sixty-four bytes each.
    let (odd, even) =
        unsafe { (_mm512_loadu_si512(odd.as_ptr().cast()), _mm512_loadu_si512(even.as_ptr().cast())) };
    let lookup_bytes = 128 * bits.bytes();
    let offset = if bits == TableBits::Eight { 0x8000u16.cast_signed() } else { 32640 };
    for (x, out) in x.chunks_exact(tuple).zip(out.chunks_exact_mut(lookup_bytes)) {
        let u = match x.first_chunk::<8>() {
            Some(x) if tuple == 8 => eight(x, offset),
            _ => five(x.first_chunk().expect("five activations"), offset),
        };
        let store = |out: &mut [u8], v| {
            let out: &mut [u8; 64] = out.first_chunk_mut().expect("half a table");
            // SAFETY: sixty-four bytes.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), v) }
        };
        match bits {
            TableBits::Eight => {
                store(out, _mm512_permutex2var_epi8(u[0], odd, u[1]));
                store(&mut out[64..], _mm512_permutex2var_epi8(u[2], odd, u[3]));
            }
            TableBits::Sixteen => {
                // u / 255 and u mod 255.
                let by_255 = _mm512_set1_epi16(0x8081u16.cast_signed());
                let high: [_; 4] =
                    std::array::from_fn(|i| _mm512_srli_epi16::<7>(_mm512_mulhi_epu16(u[i], by_255)));
                let low: [_; 4] = std::array::from_fn(|i| _mm512_add_epi16(u[i], high[i]));
                store(out, _mm512_permutex2var_epi8(high[0], even, high[1]));
                store(&mut out[64..], _mm512_permutex2var_epi8(high[2], even, high[3]));
                store(&mut out[128..], _mm512_permutex2var_epi8(low[0], even, low[1]));
                store(&mut out[192..], _mm512_permutex2var_epi8(low[2], even, low[3]));
            }
        }
    }
}

/// The 128 sums of eight activations, the last always added, plus `offset`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn eight(x: &[i16; 8], offset: i16) -> [__m512i; 4] {
    let twice: [_; 7] = std::array::from_fn(|i| _mm512_set1_epi16(x[i].wrapping_mul(2)));
    let lowest = x[..7].iter().fold(x[7].wrapping_add(offset), |sum, x| sum.wrapping_sub(*x));
    let mut base = _mm512_set1_epi16(lowest);
    for (i, mask) in [0xaaaa_aaaa, 0xcccc_cccc, 0xf0f0_f0f0, 0xff00_ff00, 0xffff_0000].into_iter().enumerate()
    {
        base = _mm512_mask_add_epi16(base, mask, base, twice[i]);
    }
    let next = _mm512_add_epi16(base, twice[5]);
    [base, next, _mm512_add_epi16(base, twice[6]), _mm512_add_epi16(next, twice[6])]
}

/// For every digit of balanced ternary numbers, of which of 0..128 it is 1 and of which −1.
const DIGITS: [[[u32; 4]; 2]; 5] = {
    let mut masks = [[[0; 4]; 2]; 5];
    let mut e = 0;
    while e < 128 {
        let digits = ternary_digits(e);
        let mut i = 0;
        while i < 5 {
            if digits[i] != 0 {
                masks[i][(digits[i] < 0) as usize][e / 32] |= 1 << (e % 32);
            }
            i += 1;
        }
        e += 1;
    }
    masks
};

/// The 122 sums of five activations with ternary weights, plus `offset`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn five(x: &[i16; 5], offset: i16) -> [__m512i; 4] {
    let mut sums = [_mm512_set1_epi16(offset); 4];
    for (x, [plus, minus]) in x.iter().zip(&DIGITS) {
        let x = _mm512_set1_epi16(*x);
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = _mm512_mask_add_epi16(*sum, plus[i], *sum, x);
            *sum = _mm512_mask_sub_epi16(*sum, minus[i], *sum, x);
        }
    }
    sums
}
