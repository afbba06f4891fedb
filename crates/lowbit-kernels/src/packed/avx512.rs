//! A few rows of activations times packed codes, taken apart in registers.
//!
//! `vpdpbusd` multiplies unsigned by signed bytes: codes go in as they are (those of a table as values + 128), and
//! each integer sum starts at minus the bias times `Σ x`.

use super::{
    InBlocks, Packed, block_params,
    fields::{CHUNK, Coded, Field, each_field},
};
use crate::{
    Int8Acts, SharedMut,
    expand::{PANEL, act_group, emit},
};
use lowbit_format::{BlockCodec, block::Values};
use std::{arch::x86_64::*, cmp::Ordering, ops::Range};

/// Chunks that codes are asked for before they are needed: some hundred nanoseconds.
const AHEAD: usize = 16;

/// Multiplies `panels` with every row of activations.
///
/// # Safety
/// - The CPU has the instructions of [`crate::IsaLevel::Avx512`].
/// - Nobody else refers to the columns of those panels in `out`.
pub(super) unsafe fn few<C: BlockCodec>(w: &Packed, panels: Range<usize>, x: &Int8Acts, out: SharedMut<'_>) {
    for panel in panels {
        let mut m = 0;
        while m < x.rows() {
            // SAFETY: passed on.
            m += unsafe {
                match x.rows() - m {
                    1 => dot::<C, 1>(w, panel, x, m, out),
                    2 | 3 => dot::<C, 2>(w, panel, x, m, out),
                    _ => dot::<C, 4>(w, panel, x, m, out),
                }
            };
        }
    }
}

/// Rows `m..m + T` of activations times a panel; returns T.
///
/// # Safety
/// - As for [`few`]; the rows exist.
#[target_feature(enable = "avx2,fma,f16c,bmi2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn dot<C: BlockCodec, const T: usize>(
    w: &Packed,
    panel: usize,
    x: &Int8Acts,
    m: usize,
    out: SharedMut<'_>,
) -> usize {
    let k = w.shape.k;
    assert_eq!(x.k(), k, "K of packed formats is a multiple of 32");
    let bits = const { InBlocks::<C>::BITS as usize };
    let bias = const {
        match InBlocks::<C>::VALUES {
            Values::From(first) => -(first as i32),
            Values::Table(_) => 128,
        }
    };
    let bytes = w.view(panel);
    let groups = C::WEIGHTS / C::GROUP;
    let codes: [*const i8; T] = std::array::from_fn(|t| x.q(m + t).as_ptr());
    let d: [&[f32]; T] = std::array::from_fn(|t| x.d(m + t));
    let sums: [&[f32]; T] = std::array::from_fn(|t| x.sums(m + t, C::GROUP));
    let biases: [&[i32]; T] = std::array::from_fn(|t| x.bias(m + t, C::GROUP));
    let (mut s, mut c) = ([[0f32; PANEL]; 16], [[0f32; PANEL]; 16]);
    let mut acc = [_mm512_setzero_ps(); T];
    for b in 0..k / C::WEIGHTS {
        C::params(block_params::<C>(bytes, b), w.tensor_scale, &mut s[..groups], &mut c[..groups]);
        for chunk in 0..C::WEIGHTS / CHUNK {
            let at = b * (C::WEIGHTS / CHUNK) + chunk;
            let source: &[u8] = &bytes.codes[at * 64 * bits..][..64 * bits];
            for line in 0..bits {
                let ahead = source.as_ptr().wrapping_add(64 * (AHEAD * bits + line));
                _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
            }
            // SAFETY: the slice has the bytes of a chunk.
            let u = unsafe { unpack::<InBlocks<C>>(source.as_ptr()) };
            for part in 0..CHUNK / C::GROUP {
                let in_block = chunk * (CHUNK / C::GROUP) + part;
                let g = b * groups + in_block;
                // SAFETY: an array of sixteen floats.
                let s = unsafe { _mm512_loadu_ps(s[in_block].as_ptr()) };
                for t in 0..T {
                    // What is stored is −128 · Σx.
                    let mut isum = _mm512_set1_epi32((biases[t][g] >> 7) * bias);
                    for i in 0..C::GROUP / 4 {
                        let step = part * (C::GROUP / 4) + i;
                        // SAFETY: chunk `at` has 32 activations, as K is a multiple of 32.
                        let x4 = unsafe {
                            let x4 = codes[t].add(at * CHUNK + 4 * step).cast::<i32>();
                            _mm512_set1_epi32(x4.read_unaligned())
                        };
                        isum = _mm512_dpbusd_epi32(isum, u[step], x4);
                    }
                    let scale = _mm512_mul_ps(s, _mm512_set1_ps(d[t][act_group(g, C::GROUP)]));
                    acc[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(isum), scale, acc[t]);
                    if C::OFFSETS {
                        // SAFETY: an array of sixteen floats.
                        let c = unsafe { _mm512_loadu_ps(c[in_block].as_ptr()) };
                        acc[t] = _mm512_fmadd_ps(c, _mm512_set1_ps(sums[t][g]), acc[t]);
                    }
                }
            }
        }
    }
    let first = panel * PANEL;
    for (t, acc) in acc.into_iter().enumerate() {
        let mut lanes = [0f32; PANEL];
        // SAFETY: the array has sixteen elements; the contract on `out` is passed on.
        unsafe {
            _mm512_storeu_ps(lanes.as_mut_ptr(), acc);
            emit(x, m + t, &lanes[..(w.shape.n - first).min(PANEL)], out, first);
        }
    }
    T
}

/// The unsigned codes of a chunk, four weights of sixteen rows a vector; see [`super::fields`].
///
/// # Safety
/// - `64 * bits` bytes can be read from `source`; the CPU has AVX-512 BW.
// Always inlined, here and below, for a call that returns eight vectors goes through memory; the caller has the
// target features, which a function that must be inlined cannot name.
#[inline(always)]
pub(crate) unsafe fn unpack<C: Coded>(source: *const u8) -> [__m512i; 8] {
    // SAFETY: the instructions by the contract, and sixteen bytes of a table.
    unsafe {
        let mut codes = Codes { source, u: [_mm512_setzero_si512(); 8] };
        each_field(const { C::BITS }, &mut codes);
        let mut u = codes.u;
        if let Values::Table(table) = const { &C::VALUES } {
            let table = _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast()));
            // Values plus 128.
            let table = _mm512_xor_si512(table, _mm512_set1_epi8(i8::MIN));
            for code in &mut u {
                *code = _mm512_shuffle_epi8(table, *code);
            }
        }
        u
    }
}

/// A chunk's codes as they are put together.
struct Codes {
    /// The chunk, readable; made only where the CPU has AVX-512 BW.
    source: *const u8,
    u: [__m512i; 8],
}

impl Field for Codes {
    #[inline(always)]
    fn visit<const WIDTH: usize, const LOW: usize>(&mut self, at: usize) {
        for v in 0..WIDTH {
            for j in 0..8 / WIDTH {
                let target = &mut self.u[v + WIDTH * j];
                // SAFETY: `unpack`, which makes this value, has the instructions; the fields of a chunk lie inside it.
                *target = unsafe { add_field::<WIDTH, LOW>(self.source.add(at + 64 * v), j, *target) };
            }
        }
    }
}

/// `target` with bits `WIDTH * j..` of every byte at `source` put in from bit `LOW` on.
///
/// # Safety
/// - 64 bytes can be read; the CPU has AVX-512 BW.
#[inline(always)]
unsafe fn add_field<const WIDTH: usize, const LOW: usize>(
    source: *const u8,
    j: usize,
    target: __m512i,
) -> __m512i {
    let here = WIDTH * j;
    // SAFETY: the instructions and the bytes by the contract.
    unsafe {
        let field = _mm512_loadu_si512(source.cast());
        // Bits that come from the neighbouring byte are masked away.
        let shifted = match here.cmp(&LOW) {
            Ordering::Less => _mm512_sll_epi16(field, _mm_cvtsi32_si128((LOW - here) as i32)),
            Ordering::Equal => field,
            Ordering::Greater => _mm512_srl_epi16(field, _mm_cvtsi32_si128((here - LOW) as i32)),
        };
        let mask = _mm512_set1_epi8((((0xff_u16 >> (8 - WIDTH)) << LOW) as u8).cast_signed());
        match (WIDTH, LOW) {
            (8, _) => shifted,
            (_, 0) => _mm512_and_si512(shifted, mask),
            // target | (shifted & mask)
            _ => _mm512_ternarylogic_epi32::<0xf8>(target, shifted, mask),
        }
    }
}
