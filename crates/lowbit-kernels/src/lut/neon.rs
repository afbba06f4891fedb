//! Look-up in tables of 16 entries with NEON: `tbl` takes sixteen at a time, four weights of a bit plane each.
//!
//! ```text
//! u      ← tbl(table, codes & 15)         and again for codes >> 4, with the next table
//! words  ← words + u                      u as 16-bit words, modulo 2¹⁶
//! upper  ← upper + (u >> 8)               one instruction
//! ```
//!
//! `words − 256 · upper` is the sum of the lower bytes of the words. Both sums stay below 2¹⁶, as a group has at most 86
//! look-ups of at most 255. Thirty-two bytes of codes are two vectors, four vectors of sums for a token and byte of the
//! entries, and at most sixteen for what runs at a time.

use super::{
    TableBits, Tile,
    acts::GroupActs,
    layout::{LONGEST, PANEL, Zero},
    nibble::{BLOCK, BLOCK_BYTES, ternary_bytes},
};
use crate::param::Number;
use std::arch::aarch64::*;

// Words hold the sums of a group.
const _: () = assert!(LONGEST.div_ceil(3) * 255 < 1 << 16);

/// Rows of a strip.
const STRIP: usize = 32;

/// Adds the products of a tile to the sums `[panel][token][row]`.
///
/// # Safety
/// - The CPU has NEON.
pub(super) unsafe fn tile(tile: &Tile<'_>, sums: &mut [[f32; PANEL]]) {
    for (panel, sums) in tile.panels.iter().zip(sums.chunks_exact_mut(tile.tokens.len())) {
        // SAFETY: passed on.
        unsafe { one_panel(tile, panel, sums) }
    }
}

/// # Safety
/// - As for [`tile`].
unsafe fn one_panel(tile: &Tile<'_>, bytes: &[u8], acc: &mut [[f32; PANEL]]) {
    // SAFETY: passed on.
    unsafe {
        match (acc.len(), tile.acts.bits()) {
            (1, TableBits::Eight) => panel::<1, 1>(tile, bytes, acc),
            (2, TableBits::Eight) => panel::<1, 2>(tile, bytes, acc),
            (_, TableBits::Eight) => panel::<1, 4>(tile, bytes, acc),
            (1, TableBits::Sixteen) => panel::<2, 1>(tile, bytes, acc),
            (2, TableBits::Sixteen) => panel::<2, 2>(tile, bytes, acc),
            (_, TableBits::Sixteen) => panel::<2, 4>(tile, bytes, acc),
        }
    }
}

/// One panel times `T` tokens.
///
/// # Safety
/// - As for [`tile`].
#[target_feature(enable = "neon")]
unsafe fn panel<const BYTES: usize, const T: usize>(tile: &Tile<'_>, bytes: &[u8], acc: &mut [[f32; PANEL]]) {
    let layout = tile.layout;
    let (lookups, planes, group_bytes) = (layout.lookups, layout.planes, layout.group_bytes);
    let tables_bytes = lookups * tile.acts.lookup_bytes();
    let acc: &mut [[f32; PANEL]; T] = acc.first_chunk_mut().expect("sums of the tile's tokens");
    assert!(layout.codes_at(tile.groups.end - 1) + group_bytes <= bytes.len());
    assert!(tile.tables.len() >= (T - 1) * tile.token_stride + tile.groups.len() * tables_bytes);
    assert!(group_bytes == PANEL * if layout.ternary { ternary_bytes(lookups) } else { planes * lookups });
    assert!(tile.acts.lookup_bytes() == BYTES * if layout.ternary { 16 } else { 32 });
    let start = vdupq_n_s32(tile.acts.start_of_sum());
    for (i, group) in tile.groups.clone().enumerate() {
        let codes = bytes[layout.codes_at(group)..].as_ptr();
        // SAFETY: the tables reach this far by the assertion.
        let tables: [*const u8; T] = std::array::from_fn(|t| unsafe {
            tile.tables.as_ptr().add(t * tile.token_stride + i * tables_bytes)
        });
        let params = &bytes[layout.params_at(group)..];
        let x = std::array::from_fn(|t| tile.acts.group(tile.tokens.start + t, group));
        for strip in 0..PANEL / STRIP {
            let mut sums = [[start; 8]; T];
            // SAFETY: the codes and tables of the group's tuples exist by the assertions; a tuple has `planes` runs of
            // thirty-two bytes in each strip.
            unsafe {
                if layout.ternary {
                    let found = ternary::<BYTES, T>(codes.add(STRIP * strip), tables, lookups);
                    add(&mut sums, found, 0, Rows::Apart);
                } else {
                    for v in 0..planes {
                        let codes = codes.add(STRIP * (planes * strip + v));
                        let found = one_run::<BYTES, T>(codes, PANEL * planes, tables, lookups);
                        if v < planes / 2 * 2 {
                            add(&mut sums, found, v / 2 * 2, Rows::Paired { sixteen: v % 2 });
                        } else {
                            add(&mut sums, found, v, Rows::Apart);
                        }
                    }
                }
            }
            add_group(tile, acc, (strip, params), &x, &sums);
        }
    }
}

/// Sums of 16 bits: the lower and the upper bytes of the words of two neighbouring vectors.
type Found<const BYTES: usize, const T: usize> = [[[[uint16x8_t; 2]; 2]; BYTES]; T];

/// Bytes of codes on their way to [`Found`].
struct Words<const BYTES: usize, const T: usize>(Found<BYTES, T>);

impl<const BYTES: usize, const T: usize> Words<BYTES, T> {
    #[inline]
    #[target_feature(enable = "neon")]
    fn new() -> Self {
        Self([[[[vdupq_n_u16(0); 2]; 2]; BYTES]; T])
    }

    /// Looks up two vectors of indices; entries are exclusive-ored with `negative`.
    ///
    /// # Safety
    /// - The tables, a vector for each byte of the entries, can be read.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn look_up(&mut self, tables: [*const u8; T], index: [uint8x16_t; 2], negative: [uint8x16_t; 2]) {
        for t in 0..T {
            for b in 0..BYTES {
                // SAFETY: by the contract.
                let table = unsafe { vld1q_u8(tables[t].add(16 * b)) };
                for h in 0..2 {
                    let u = vreinterpretq_u16_u8(veorq_u8(vqtbl1q_u8(table, index[h]), negative[h]));
                    let [words, upper] = &mut self.0[t][b][h];
                    *words = vaddq_u16(*words, u);
                    *upper = vsraq_n_u16::<8>(*upper, u);
                }
            }
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn apart(mut self) -> Found<BYTES, T> {
        for [words, upper] in self.0.as_flattened_mut().as_flattened_mut() {
            *words = vsubq_u16(*words, vshlq_n_u16::<8>(*upper));
        }
        self.0
    }
}

/// Thirty-two bytes of every tuple.
///
/// # Safety
/// - They can be read, `stride` bytes apart, as can the tables of `lookups` tuples.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn one_run<const BYTES: usize, const T: usize>(
    codes: *const u8,
    stride: usize,
    tables: [*const u8; T],
    lookups: usize,
) -> Found<BYTES, T> {
    let (low, positive) = (vdupq_n_u8(15), [vdupq_n_u8(0); 2]);
    let mut words = Words::new();
    for l in 0..lookups {
        // SAFETY: by the contract; a tuple has two tables of `BYTES` vectors.
        unsafe {
            let c = load(codes.add(stride * l));
            words.look_up(tables.map(|t| t.add(32 * BYTES * l)), c.map(|c| vandq_u8(c, low)), positive);
            let second = tables.map(|t| t.add(16 * BYTES * (2 * l + 1)));
            words.look_up(second, c.map(|c| vshrq_n_u8::<4>(c)), positive);
        }
    }
    words.apart()
}

/// A strip of ternary codes.
///
/// # Safety
/// - The strip's codes and the tables of `lookups` tuples can be read.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn ternary<const BYTES: usize, const T: usize>(
    codes: *const u8,
    tables: [*const u8; T],
    lookups: usize,
) -> Found<BYTES, T> {
    let low = vdupq_n_u8(15);
    let mut words = Words::new();
    for first in (0..lookups).step_by(BLOCK) {
        let tuples = (lookups - first).min(BLOCK);
        let codes = codes.wrapping_add(PANEL * BLOCK_BYTES * (first / BLOCK));
        // SAFETY: by the contract; the block has these bytes, and a tuple one table of `BYTES` vectors.
        unsafe {
            let mut signs = load(codes.add(PANEL * (ternary_bytes(tuples) - 1)));
            for i in 0..tuples {
                let c = load(codes.add(PANEL * (i / 2)));
                let index = c.map(|c| if i % 2 == 0 { vandq_u8(c, low) } else { vshrq_n_u8::<4>(c) });
                // All bits where the top one is set: 255 − u is the complement.
                let negative = signs.map(|s| vcltzq_s8(vreinterpretq_s8_u8(s)));
                signs = signs.map(|s| vaddq_u8(s, s));
                words.look_up(tables.map(|t| t.add(16 * BYTES * (first + i))), index, negative);
            }
        }
    }
    words.apart()
}

/// # Safety
/// - Thirty-two bytes can be read.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load(at: *const u8) -> [uint8x16_t; 2] {
    // SAFETY: by the contract.
    unsafe { [vld1q_u8(at), vld1q_u8(at.add(16))] }
}

/// What the bytes of a word are.
#[derive(Clone, Copy)]
enum Rows {
    /// Two planes of one row, of the first sixteen rows of the strip or the others.
    Paired { sixteen: usize },
    /// One plane of two rows, of either sixteen.
    Apart,
}

/// Adds the sums of a plane, or of two from `plane` on, to those of four neighbouring rows a vector; the upper of two bytes
/// of an entry is worth 255.
#[inline]
#[target_feature(enable = "neon")]
fn add<const BYTES: usize, const T: usize>(
    sums: &mut [[int32x4_t; 8]; T],
    found: Found<BYTES, T>,
    plane: usize,
    rows: Rows,
) {
    for (sums, found) in sums.iter_mut().zip(found) {
        for (b, found) in found.into_iter().enumerate() {
            for (h, bytes) in found.into_iter().enumerate() {
                for (byte, words) in bytes.into_iter().enumerate() {
                    let (sixteen, plane) = match rows {
                        Rows::Paired { sixteen } => (sixteen, plane + byte),
                        Rows::Apart => (byte, plane),
                    };
                    let words = vreinterpretq_u32_u16(words);
                    let halves = [vandq_u32(words, vdupq_n_u32(0xffff)), vshrq_n_u32::<16>(words)];
                    for (half, rows) in halves.into_iter().enumerate() {
                        let worth = if BYTES == 2 && b == 0 { 255 } else { 1 } << plane;
                        let sum = &mut sums[4 * sixteen + 2 * half + h];
                        *sum = vmlaq_n_s32(*sum, vreinterpretq_s32_u32(rows), worth);
                    }
                }
            }
        }
    }
}

/// Adds a group's part to the sums of the rows of a strip.
#[inline]
#[target_feature(enable = "neon")]
fn add_group<const T: usize>(
    tile: &Tile<'_>,
    acc: &mut [[f32; PANEL]; T],
    (strip, params): (usize, &[u8]),
    x: &[GroupActs; T],
    sums: &[[int32x4_t; 8]; T],
) {
    let zeros = &params[tile.params.scale_bytes()..];
    for q in 0..8 {
        let four = 8 * strip + q;
        let scale = numbers(params, tile.params.scale, four);
        let middle = middle(zeros, tile.params.zero, tile.layout.planes, four);
        for t in 0..T {
            let part = vfmaq_f32(vdupq_n_f32(x[t].bias), middle, vdupq_n_f32(x[t].sum));
            let part = vfmaq_f32(part, vcvtq_f32_s32(sums[t][q]), vdupq_n_f32(x[t].d));
            let acc = &mut acc[t].as_chunks_mut::<4>().0[four];
            // SAFETY: four floats.
            unsafe { vst1q_f32(acc.as_mut_ptr(), vfmaq_f32(vld1q_f32(acc.as_ptr()), part, scale)) };
        }
    }
}

/// Numbers of rows `4 f..4 f + 4`.
#[inline]
#[target_feature(enable = "neon")]
fn numbers(bytes: &[u8], number: Number, f: usize) -> float32x4_t {
    match number {
        Number::Bits(width) => {
            // The fields of sixteen rows, of which these are four. Of the widest, rows alternate between two words.
            let mut fields = [0; 8];
            fields[..2 * width].copy_from_slice(&bytes[f / 4 * 2 * width..][..2 * width]);
            let fields = u64::from_le_bytes(fields);
            let (fields, shifts) = match width {
                4 => (fields, [0, 0, 4, 4]),
                _ => {
                    (fields << 32 | fields & u64::from(u32::MAX), [0, 1, 2, 3].map(|row| row * width as i32))
                }
            };
            // Four rows are 4 · width bits on in a word, or half as many in two.
            let before = (f % 4 * if width == 4 { 8 } else { 4 * width }) as i32;
            // SAFETY: four integers.
            let shifts = vaddq_s32(unsafe { vld1q_s32(shifts.as_ptr()) }, vdupq_n_s32(before));
            let fields = vreinterpretq_u32_u64(vdupq_n_u64(fields));
            let mask = vdupq_n_u32((1 << width) - 1);
            vcvtq_f32_u32(vandq_u32(vshlq_u32(fields, vnegq_s32(shifts)), mask))
        }
        // Bytes are made halves: see `Layout`.
        Number::Byte | Number::F16 => {
            let bytes: &[u8; 8] = bytes[8 * f..].first_chunk().expect("four numbers");
            let floats: float32x4_t;
            // SAFETY: `fcvtl`, spelt out, because the intrinsic's type is not stable; it is part of NEON.
            unsafe {
                std::arch::asm!(
                    "fcvtl {floats:v}.4s, {halves:v}.4h",
                    floats = lateout(vreg) floats,
                    halves = in(vreg) vld1_u8(bytes.as_ptr()),
                    options(pure, nomem, nostack, preserves_flags),
                );
            }
            floats
        }
        Number::F32 => {
            let bytes: &[u8; 16] = bytes[16 * f..].first_chunk().expect("four numbers");
            // SAFETY: sixteen bytes.
            vreinterpretq_f32_u8(unsafe { vld1q_u8(bytes.as_ptr()) })
        }
    }
}

/// How far the middle of the codes is above the zero point, for rows `4 f..4 f + 4`.
#[inline]
#[target_feature(enable = "neon")]
fn middle(zeros: &[u8], zero: Zero, planes: usize, f: usize) -> float32x4_t {
    let highest = (1 << planes) - 1;
    match zero {
        Zero::Half(half) => vdupq_n_f32(f32::from(half) * 0.5),
        Zero::Stored(number) => vsubq_f32(vdupq_n_f32(highest as f32 * 0.5), numbers(zeros, number, f)),
    }
}
