//! Products of bytes with AVX-512 VNNI, sixteen rows a vector.
//!
//! ```text
//! sum ← sum + Σ code · x, four weights of sixteen rows by as many of a token      vpdpbusd
//! ```
//!
//! Codes are unsigned, so each integer sum starts at `−2ᵇ⁻¹ · Σ x`. A few rows of activations meet codes that are taken
//! apart in registers, `P · T` integer and as many float sums beside eight vectors of codes. For many, four panels times six
//! rows are twenty-four integer sums, four vectors of codes and one of activations, and float sums wait in memory.

use super::{
    STREAMS, Task,
    layout::{Layout, Params, Place, Zero},
    unpack, with_bits,
};
use crate::{
    Int8Acts, Isa,
    ctx::Scratch,
    expand::{PANEL, emit},
    packed::{
        avx512::unpack as unpack_chunk,
        fields::{CHUNK, Middle},
    },
    streams::{pieces, side_by_side},
};
use std::{arch::x86_64::*, ops::Range};

/// Chunks that codes are asked for before they are needed: some hundred nanoseconds.
const AHEAD: usize = 16;

/// Bytes of codes that are multiplied with all rows before the next: with the sums, less than a second cache.
const CODES: usize = 128 << 10;

/// Most rows whose sums are kept meanwhile.
const PASS: usize = 512;

/// Multiplies the panels of a task with a few rows of activations.
///
/// # Safety
/// - The CPU has the instructions of [`crate::IsaLevel::Avx512`].
/// - Nobody else refers to the columns of those panels in `out`.
pub(super) unsafe fn few(task: &Task<'_>) {
    let order = side_by_side(task.panels.clone(), STREAMS);
    // SAFETY: passed on.
    unsafe { with_bits!(task.w.layout.bits, BITS => few_of::<BITS>(task, &order)) }
}

/// # Safety
/// - As for [`few`].
unsafe fn few_of<const BITS: u32>(task: &Task<'_>, order: &[usize]) {
    let rows = task.x.rows();
    for these in pieces(0..order.len(), STREAMS) {
        let mut m = 0;
        while m < rows {
            // SAFETY: passed on.
            m += unsafe {
                match (rows - m, these.len()) {
                    (1, 4) => dot::<BITS, 4, 1>(task, &order[these.clone()], m),
                    (1, _) => singly::<BITS, 1>(task, &order[these.clone()], m),
                    (2 | 3, 4) => dot::<BITS, 4, 2>(task, &order[these.clone()], m),
                    (2 | 3, _) => singly::<BITS, 2>(task, &order[these.clone()], m),
                    (_, 4) => {
                        dot::<BITS, 2, 4>(task, &order[these.start..][..2], m);
                        dot::<BITS, 2, 4>(task, &order[these.start + 2..][..2], m)
                    }
                    _ => singly::<BITS, 4>(task, &order[these.clone()], m),
                }
            };
        }
    }
}

/// Panels one after the other.
///
/// # Safety
/// - As for [`few`]; rows `m..m + T` exist.
unsafe fn singly<const BITS: u32, const T: usize>(task: &Task<'_>, panels: &[usize], m: usize) -> usize {
    for panel in panels {
        // SAFETY: passed on.
        unsafe { dot::<BITS, 1, T>(task, &[*panel], m) };
    }
    T
}

/// Rows `m..m + T` of activations times P panels; returns T.
///
/// # Safety
/// - As for [`few`]; the rows exist, and the layout has `BITS`.
#[target_feature(enable = "avx2,fma,f16c,bmi2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn dot<const BITS: u32, const P: usize, const T: usize>(
    task: &Task<'_>,
    panels: &[usize],
    m: usize,
) -> usize {
    let (layout, x) = (&task.w.layout, task.x);
    assert!(x.k() == layout.k && x.span() == layout.group && panels.len() == P);
    let lines = BITS as usize;
    let bytes: [&[u8]; P] = std::array::from_fn(|p| task.w.panel(panels[p]));
    let q: [&[i8]; T] = std::array::from_fn(|t| x.q(m + t));
    let mut acc = [[_mm512_setzero_ps(); T]; P];
    for (g, place) in layout.groups.iter().enumerate() {
        let mut isum = [[_mm512_setzero_si512(); T]; P];
        for t in 0..T {
            // What is stored is −128 · Σx.
            let start = _mm512_set1_epi32(x.bias(m + t, layout.group)[g] >> (8 - BITS));
            for sums in &mut isum {
                sums[t] = start;
            }
        }
        for chunk in 0..place.len / CHUNK {
            for p in 0..P {
                let source: &[u8] = &bytes[p][place.codes + chunk * 64 * lines..][..64 * lines];
                for line in 0..lines {
                    let ahead = source.as_ptr().wrapping_add(64 * (AHEAD * lines + line));
                    _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                }
                // SAFETY: the slice has the bytes of a chunk.
                let u = unsafe { unpack_chunk::<Middle<BITS>>(source.as_ptr()) };
                for t in 0..T {
                    let x: &[i8; CHUNK] = q[t][place.start + chunk * CHUNK..].first_chunk().expect("a chunk");
                    for (step, x) in x.as_chunks::<4>().0.iter().enumerate() {
                        isum[p][t] =
                            _mm512_dpbusd_epi32(isum[p][t], u[step], _mm512_set1_epi32(bytemuck::cast(*x)));
                    }
                }
            }
        }
        for p in 0..P {
            let (s, c) = params(layout.params, *place, bytes[p]);
            for t in 0..T {
                acc[p][t] = scaled(acc[p][t], isum[p][t], s, c, (x, m + t, g));
            }
        }
    }
    for (panel, acc) in panels.iter().zip(&acc) {
        for (t, acc) in acc.iter().enumerate() {
            let mut lanes = [0f32; PANEL];
            // SAFETY: the array has sixteen elements; the contract on `out` is passed on.
            unsafe {
                _mm512_storeu_ps(lanes.as_mut_ptr(), *acc);
                emit(x, m + t, &lanes[..task.w.rows(*panel)], task.out, panel * PANEL);
            }
        }
    }
    T
}

/// Scales of sixteen rows, and offsets where there are zero points.
#[inline]
#[target_feature(enable = "avx512f")]
fn params(params: Params, place: Place, panel: &[u8]) -> (__m512, Option<__m512>) {
    let s = params.scale.sixteen(&panel[place.scales..], 0);
    let zeros = &panel[place.zeros..];
    let zero = match params.zero {
        Zero::Middle => return (s, None),
        Zero::Code => {
            let codes: &[u8; 16] = zeros.first_chunk().expect("sixteen zero points");
            // SAFETY: sixteen bytes.
            _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(codes.as_ptr().cast()) }))
        }
        Zero::Float(float) => float.sixteen(zeros, 0),
    };
    (s, Some(_mm512_mul_ps(_mm512_sub_ps(_mm512_set1_ps(f32::from(params.middle)), zero), s)))
}

/// `acc` and what group `g` of row `m` of the activations adds.
#[inline]
#[target_feature(enable = "avx512f")]
fn scaled(
    acc: __m512,
    isum: __m512i,
    s: __m512,
    c: Option<__m512>,
    (x, m, g): (&Int8Acts, usize, usize),
) -> __m512 {
    let scale = _mm512_mul_ps(s, _mm512_set1_ps(x.d(m)[g]));
    let acc = _mm512_fmadd_ps(_mm512_cvtepi32_ps(isum), scale, acc);
    match c {
        Some(c) => _mm512_fmadd_ps(c, _mm512_set1_ps(x.sums(m, x.span())[g]), acc),
        None => acc,
    }
}

/// Multiplies the panels of a task with many rows of activations.
///
/// # Safety
/// - As for [`few`].
pub(super) unsafe fn many(isa: Isa, task: &Task<'_>, scratch: &mut Scratch) {
    let mut panels = task.panels.clone();
    while panels.len() >= STREAMS {
        // SAFETY: passed on.
        unsafe { side::<STREAMS>(isa, task, panels.start, scratch) };
        panels.start += STREAMS;
    }
    for panel in panels {
        // SAFETY: passed on.
        unsafe { side::<1>(isa, task, panel, scratch) };
    }
}

/// P neighbouring panels from `first` on.
///
/// # Safety
/// - As for [`few`].
unsafe fn side<const P: usize>(isa: Isa, task: &Task<'_>, first: usize, scratch: &mut Scratch) {
    let (w, x) = (task.w, task.x);
    let layout = &w.layout;
    let step = (CODES / (P * PANEL * layout.group)).clamp(1, layout.groups.len().max(1));
    let bytes: [&[u8]; P] = std::array::from_fn(|p| w.panel(first + p));
    // Codes of eight bits are multiplied where they lie.
    let width = if layout.bits == 8 { 0 } else { step * layout.group * PANEL };
    let (_, codes, sums) = scratch.take(0, P * width, P * PANEL * x.rows().min(PASS));
    let sums = sums.as_chunks_mut::<PANEL>().0.as_chunks_mut::<P>().0;
    for start in (0..x.rows()).step_by(PASS) {
        let rows = start..(start + PASS).min(x.rows());
        let sums = &mut sums[..rows.len()];
        sums.fill([[0.0; PANEL]; P]);
        for group in (0..layout.groups.len()).step_by(step) {
            let groups = group..(group + step).min(layout.groups.len());
            let unpacked: Option<[&[i8]; P]> = (width > 0).then(|| {
                for (bytes, codes) in bytes.iter().zip(codes.chunks_exact_mut(width)) {
                    unpack(isa, layout, bytes, groups.clone(), 0x80, codes);
                }
                std::array::from_fn(|p| &codes[p * width..][..width])
            });
            let part = Part { layout, bytes, unpacked, groups, x };
            // SAFETY: passed on.
            unsafe { part.multiply(rows.start, sums) };
        }
        for (m, sums) in rows.zip(sums) {
            for (p, sums) in sums.iter().enumerate() {
                let panel = first + p;
                // SAFETY: passed on.
                unsafe { emit(x, m, &sums[..w.rows(panel)], task.out, panel * PANEL) };
            }
        }
    }
}

/// Some groups of P panels.
struct Part<'a, const P: usize> {
    layout: &'a Layout,
    bytes: [&'a [u8]; P],
    /// Their codes plus 128 − 2ᵇ⁻¹, where they are not bytes as they lie.
    unpacked: Option<[&'a [i8]; P]>,
    groups: Range<usize>,
    x: &'a Int8Acts,
}

impl<const P: usize> Part<'_, P> {
    /// Adds to the sums of all rows from `m` on.
    ///
    /// # Safety
    /// - As for [`few`].
    unsafe fn multiply(&self, m: usize, sums: &mut [[[f32; PANEL]; P]]) {
        let mut at = 0;
        while at < sums.len() {
            // SAFETY: passed on.
            at += unsafe {
                match sums.len() - at {
                    6.. => self.rows::<6>(m + at, &mut sums[at..]),
                    4.. => self.rows::<4>(m + at, &mut sums[at..]),
                    2.. => self.rows::<2>(m + at, &mut sums[at..]),
                    _ => self.rows::<1>(m + at, &mut sums[at..]),
                }
            };
        }
    }

    /// Adds to the sums of rows `m..m + T`; returns T.
    ///
    /// # Safety
    /// - As for [`few`].
    #[target_feature(enable = "avx2,fma,f16c,bmi2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
    unsafe fn rows<const T: usize>(&self, m: usize, sums: &mut [[[f32; PANEL]; P]]) -> usize {
        let (layout, x) = (self.layout, self.x);
        assert!(x.k() == layout.k && x.span() == layout.group);
        let sums: &mut [[[f32; PANEL]; P]; T] = sums.first_chunk_mut().expect("sums of the rows");
        let q: [&[i8]; T] = std::array::from_fn(|t| x.q(m + t));
        let first = self.groups.start * layout.group;
        for g in self.groups.clone() {
            let place = layout.groups[g];
            let codes: [&[u8]; P] = std::array::from_fn(|p| match &self.unpacked {
                Some(codes) => {
                    bytemuck::cast_slice(&codes[p][(place.start - first) * PANEL..][..place.len * PANEL])
                }
                None => &self.bytes[p][place.codes..][..place.len * PANEL],
            });
            let x4: [&[i8]; T] = std::array::from_fn(|t| &q[t][place.start..][..place.len]);
            let mut isum = [[_mm512_setzero_si512(); P]; T];
            for t in 0..T {
                isum[t] = [_mm512_set1_epi32(x.bias(m + t, layout.group)[g]); P];
            }
            for step in 0..place.len / 4 {
                // SAFETY: a group has 64 bytes of codes for each four of a row's activations, and these lie in its slice.
                let u: [__m512i; P] = std::array::from_fn(|p| unsafe {
                    _mm512_loadu_si512(codes[p].as_ptr().add(64 * step).cast())
                });
                for t in 0..T {
                    // SAFETY: as above; the read is unaligned.
                    let four = unsafe { x4[t].as_ptr().add(4 * step).cast::<i32>().read_unaligned() };
                    let four = _mm512_set1_epi32(four);
                    for p in 0..P {
                        isum[t][p] = _mm512_dpbusd_epi32(isum[t][p], u[p], four);
                    }
                }
            }
            for p in 0..P {
                let (s, c) = params(layout.params, place, self.bytes[p]);
                for t in 0..T {
                    let sum = sums[t][p].as_mut_ptr();
                    // SAFETY: sixteen floats.
                    unsafe {
                        let acc = scaled(_mm512_loadu_ps(sum), isum[t][p], s, c, (x, m + t, g));
                        _mm512_storeu_ps(sum, acc);
                    }
                }
            }
        }
        T
    }
}
