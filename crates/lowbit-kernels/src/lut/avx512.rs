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
    // Twice an entry is 2 u − 255 for every byte.
    let bias = 255 * lookups as i32 * ((1 << PLANES) - 1);
    let bias = _mm512_set1_epi32(if BYTES == 2 { 256 * bias } else { bias });
    for (i, group) in tile.groups.clone().enumerate() {
        let codes = tile.bytes.codes[group * layout.group_bytes()..].as_ptr();
        // SAFETY: the tables reach this far by the assertion.
        let tables: [*const u8; T] = std::array::from_fn(|t| unsafe {
            tile.tables.as_ptr().add(t * tile.token_stride + i * lookups * lookup_bytes)
        });
        // SAFETY: the codes of the group and the bytes past them exist by the assertion.
        let sums = unsafe {
            match PLANES {
                1 => one_plane::<BYTES, T>(codes, tables, lookups),
                2 => two_planes::<BYTES, T>(codes, tables, lookups),
                _ => planes::<PLANES, BYTES, T>(codes, tables, lookups),
            }
        };
        let params = &tile.bytes.params[layout.params_at(group)..];
        let zeros = &params[tile.params.scale.bytes()..];
        let x: [_; T] = std::array::from_fn(|t| tile.acts.group(tile.tokens.start + t, group));
        for q in 0..4 {
            let scale = floats(params, tile.params.scale, q);
            let middle = middle::<PLANES>(zeros, tile.params.zero, q);
            for t in 0..T {
                let integer = _mm512_sub_epi32(_mm512_add_epi32(sums[t][q], sums[t][q]), bias);
                let part = _mm512_mul_ps(middle, _mm512_set1_ps(x[t].sum));
                let d = _mm512_set1_ps(layout.unit() * x[t].d);
                let part = _mm512_fmadd_ps(_mm512_cvtepi32_ps(integer), d, part);
                let lanes = &mut acc[t].as_chunks_mut::<16>().0[q];
                // SAFETY: sixteen floats.
                unsafe {
                    let sum = _mm512_loadu_ps(lanes.as_ptr());
                    _mm512_storeu_ps(lanes.as_mut_ptr(), _mm512_fmadd_ps(part, scale, sum));
                }
            }
        }
    }
}

/// `Σ u` of a group, with two bytes an entry `255 Σ h + Σ l`, for sixteen rows a vector.
type Sums<const T: usize> = [[__m512i; 4]; T];

/// All bits of the bytes whose top bit is set.
#[inline(always)]
unsafe fn signs(codes: __m512i) -> __m512i {
    // SAFETY: the caller has the instructions.
    unsafe { _mm512_movm_epi8(_mm512_movepi8_mask(codes)) }
}

/// The bytes of one table that `codes` stand for.
///
/// # Safety
/// - 128 bytes can be read from `table`; the CPU has AVX-512 VBMI.
#[inline(always)]
unsafe fn look_up(codes: __m512i, signs: __m512i, table: *const u8) -> __m512i {
    // SAFETY: by the contract.
    unsafe {
        let low = _mm512_loadu_si512(table.cast());
        let high = _mm512_loadu_si512(table.add(64).cast());
        _mm512_xor_si512(_mm512_permutex2var_epi8(low, codes, high), signs)
    }
}

/// # Safety
/// - The codes and tables of `lookups` tuples can be read; the CPU has the instructions.
#[inline(always)]
unsafe fn one_plane<const BYTES: usize, const T: usize>(
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
            let s = signs(c);
            for t in 0..T {
                for b in 0..BYTES {
                    let u = look_up(c, s, tables[t].add(128 * (BYTES * l + b)));
                    words[t][b] = _mm512_add_epi16(words[t][b], u);
                    upper[t][b] = _mm512_add_epi16(upper[t][b], _mm512_srli_epi16::<8>(u));
                }
            }
        }
        std::array::from_fn(|t| {
            let halves: [[__m512i; 2]; BYTES] = std::array::from_fn(|b| {
                [_mm512_sub_epi16(words[t][b], _mm512_slli_epi16::<8>(upper[t][b])), upper[t][b]]
            });
            let rows = |half: usize, part: i32| {
                combine::<BYTES>(std::array::from_fn(|b| widen(halves[b][half], part)))
            };
            [rows(0, 0), rows(0, 1), rows(1, 0), rows(1, 1)]
        })
    }
}

/// # Safety
/// - As for [`one_plane`].
#[inline(always)]
unsafe fn two_planes<const BYTES: usize, const T: usize>(
    codes: *const u8,
    tables: [*const u8; T],
    lookups: usize,
) -> Sums<T> {
    // SAFETY: by the contract.
    unsafe {
        let weights = _mm512_set1_epi16(0x0201);
        let mut words = [[[_mm512_setzero_si512(); BYTES]; 2]; T];
        for l in 0..lookups {
            for v in 0..2 {
                let c = _mm512_loadu_si512(codes.add(128 * l + 64 * v).cast());
                _mm_prefetch::<_MM_HINT_T0>(codes.wrapping_add(128 * l + 64 * v + AHEAD).cast());
                let s = signs(c);
                for t in 0..T {
                    for b in 0..BYTES {
                        let u = look_up(c, s, tables[t].add(128 * (BYTES * l + b)));
                        let pairs = _mm512_maddubs_epi16(u, weights);
                        words[t][v][b] = _mm512_add_epi16(words[t][v][b], pairs);
                    }
                }
            }
        }
        std::array::from_fn(|t| {
            let rows = |v: usize, part: i32| {
                combine::<BYTES>(std::array::from_fn(|b| widen(words[t][v][b], part)))
            };
            [rows(0, 0), rows(0, 1), rows(1, 0), rows(1, 1)]
        })
    }
}

/// Three or four planes.
///
/// # Safety
/// - As for [`one_plane`], and sixteen bytes past the codes.
#[inline(always)]
unsafe fn planes<const PLANES: usize, const BYTES: usize, const T: usize>(
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
            for v in 0..4 {
                let c = _mm512_loadu_si512(codes.add(16 * PLANES * (4 * l + v)).cast());
                let c = if PLANES == 3 { _mm512_permutexvar_epi8(spread, c) } else { c };
                let s = signs(c);
                for t in 0..T {
                    for b in 0..BYTES {
                        let u = look_up(c, s, tables[t].add(128 * (BYTES * l + b)));
                        sums[t][v][b] = _mm512_dpbusd_epi32(sums[t][v][b], u, weights);
                    }
                }
            }
        }
        std::array::from_fn(|t| std::array::from_fn(|v| combine::<BYTES>(sums[t][v])))
    }
}

/// Bytes that codes are asked for before they are needed.
const AHEAD: usize = 2048;

/// Sixteen of the words as 32 bits.
#[inline(always)]
unsafe fn widen(words: __m512i, part: i32) -> __m512i {
    // SAFETY: the caller has the instructions.
    unsafe {
        _mm512_cvtepu16_epi32(if part == 0 {
            _mm512_castsi512_si256(words)
        } else {
            _mm512_extracti64x4_epi64::<1>(words)
        })
    }
}

/// `255 h + l` of two bytes, or the one.
#[inline(always)]
unsafe fn combine<const BYTES: usize>(sums: [__m512i; BYTES]) -> __m512i {
    // SAFETY: the caller has the instructions.
    unsafe {
        let [high, .., low] = sums[..] else { return sums[0] };
        _mm512_add_epi32(_mm512_sub_epi32(_mm512_slli_epi32::<8>(high), high), low)
    }
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
    let (odd, even) = unsafe { (_mm512_loadu_si512(odd.as_ptr().cast()), _mm512_loadu_si512(even.as_ptr().cast())) };
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
    for (i, mask) in [0xaaaa_aaaa, 0xcccc_cccc, 0xf0f0_f0f0, 0xff00_ff00, 0xffff_0000].into_iter().enumerate() {
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
