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
    streams::{Ahead, pieces, side_by_side},
};
use std::{arch::x86_64::*, ops::Range};

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
    let rows: [Row<'_>; T] = std::array::from_fn(|t| Row::of(x, m + t));
    let mut acc = [[_mm512_setzero_ps(); T]; P];
    for (g, place) in layout.groups.iter().enumerate() {
        let mut these = [Group::default(); T];
        let mut isum = [[_mm512_setzero_si512(); T]; P];
        for t in 0..T {
            these[t] = rows[t].group(g);
            let start = _mm512_set1_epi32(these[t].start >> (8 - BITS));
            for sums in &mut isum {
                sums[t] = start;
            }
        }
        for chunk in 0..place.len / CHUNK {
            for p in 0..P {
                let source: &[u8] = &bytes[p][place.codes + chunk * 64 * lines..][..64 * lines];
                // SAFETY: the slice has the bytes of a chunk.
                let u = unsafe { unpack_chunk::<Middle<BITS>>(source.as_ptr()) };
                for t in 0..T {
                    let x: &[i8; CHUNK] =
                        rows[t].q[place.start + chunk * CHUNK..].first_chunk().expect("a chunk");
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
                acc[p][t] = scaled(acc[p][t], isum[p][t], s, c, these[t]);
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
    // SAFETY: this function has the instructions.
    let [s] = unsafe { params.scale.vectors(&panel[place.scales..]) };
    let zeros = &panel[place.zeros..];
    let zero = match params.zero {
        Zero::Middle => return (s, None),
        Zero::Code => {
            let codes: &[u8; 16] = zeros.first_chunk().expect("sixteen zero points");
            // SAFETY: sixteen bytes.
            _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(codes.as_ptr().cast()) }))
        }
        // SAFETY: as above.
        Zero::Float(float) => unsafe { float.vectors::<1>(zeros)[0] },
    };
    (s, Some(_mm512_mul_ps(_mm512_sub_ps(_mm512_set1_ps(f32::from(params.middle)), zero), s)))
}

/// What a row of activations has for every group.
#[derive(Clone, Copy)]
struct Row<'a> {
    q: &'a [i8],
    d: &'a [f32],
    sums: &'a [f32],
    bias: &'a [i32],
}

impl<'a> Row<'a> {
    #[inline(always)]
    fn of(x: &'a Int8Acts, m: usize) -> Self {
        let span = x.span();
        Self { q: x.q(m), d: x.d(m), sums: x.sums(m, span), bias: x.bias(m, span) }
    }

    #[inline(always)]
    fn group(&self, g: usize) -> Group {
        Group { d: self.d[g], sum: self.sums[g], start: self.bias[g] }
    }
}

/// What a group of a row of activations has.
#[derive(Clone, Copy, Default)]
struct Group {
    d: f32,
    sum: f32,
    /// −128 · Σx, where sums of codes from −128 on start.
    start: i32,
}

/// `acc` and what a group of a row of activations adds.
#[inline]
#[target_feature(enable = "avx512f")]
fn scaled(acc: __m512, isum: __m512i, s: __m512, c: Option<__m512>, x: Group) -> __m512 {
    let scale = _mm512_mul_ps(s, _mm512_set1_ps(x.d));
    let acc = _mm512_fmadd_ps(_mm512_cvtepi32_ps(isum), scale, acc);
    match c {
        Some(c) => _mm512_fmadd_ps(c, _mm512_set1_ps(x.sum), acc),
        None => acc,
    }
}

/// Panels that are multiplied with many rows at once.
const PAIR: usize = 2;

/// Multiplies the panels of a task with many rows of activations.
///
/// # Safety
/// - As for [`few`].
pub(super) unsafe fn many(isa: Isa, task: &Task<'_>, scratch: &mut Scratch) {
    let mut panels = task.panels.clone();
    while panels.len() >= PAIR {
        // SAFETY: passed on.
        unsafe { side_of::<PAIR>(isa, task, panels.start, scratch) };
        panels.start += PAIR;
    }
    for panel in panels {
        // SAFETY: passed on.
        unsafe { side_of::<1>(isa, task, panel, scratch) };
    }
}

/// Sixteen numbers of P panels.
type Lanes<const P: usize> = [[f32; PANEL]; P];

/// P neighbouring panels from `first` on times all rows.
///
/// # Safety
/// - As for [`few`].
unsafe fn side_of<const P: usize>(isa: Isa, task: &Task<'_>, first: usize, scratch: &mut Scratch) {
    let (w, x) = (task.w, task.x);
    let layout = &w.layout;
    let count = layout.groups.len();
    let step = (CODES / (P * PANEL * layout.group)).clamp(1, count.max(1));
    let bytes: [&[u8]; P] = std::array::from_fn(|p| w.panel(first + p));
    let after = task.after(first + P..first + 2 * P);
    // Codes of eight bits are multiplied where they lie.
    let width = if layout.bits == 8 { 0 } else { step * layout.group * PANEL };
    let most = x.rows().min(PASS);
    let (_, codes, floats) = scratch.take(0, P * width, P * PANEL * (2 * count + most));
    let (factors, sums) = floats.as_chunks_mut::<PANEL>().0.as_chunks_mut::<P>().0.split_at_mut(2 * count);
    let (s, c) = factors.split_at_mut(count);
    for (p, bytes) in bytes.iter().enumerate() {
        // SAFETY: the instructions by the contract.
        unsafe { unpack_params(layout, bytes, (s, c), p) };
    }
    for start in (0..x.rows()).step_by(PASS) {
        let rows = start..(start + PASS).min(x.rows());
        let sums = &mut sums[..rows.len()];
        sums.fill([[0.0; PANEL]; P]);
        for group in (0..count).step_by(step) {
            let groups = group..(group + step).min(count);
            for (bytes, codes) in bytes.iter().zip(codes.chunks_exact_mut(width.max(1))) {
                unpack(isa, layout, bytes, groups.clone(), 0x80, codes);
            }
            let share = |group| after.len() * group / count;
            let ahead = Ahead([&after[share(groups.start)..share(groups.end)], &[]]);
            let mut part = Part { layout, bytes, unpacked_from: None, groups, s, c, x, ahead };
            if width > 0 {
                part.bytes = std::array::from_fn(|p| bytemuck::cast_slice(&codes[p * width..][..width]));
                part.unpacked_from = Some(part.groups.start * layout.group);
            }
            // SAFETY: passed on.
            unsafe {
                if layout.offsets() {
                    part.multiply::<true>(rows.start, sums)
                } else {
                    part.multiply::<false>(rows.start, sums)
                }
            }
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

/// Scales and offsets of the `p`th of P panels.
///
/// # Safety
/// - As for [`few`].
#[target_feature(enable = "avx2,fma,f16c,bmi2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
unsafe fn unpack_params<const P: usize>(
    layout: &Layout,
    panel: &[u8],
    (s, c): (&mut [Lanes<P>], &mut [Lanes<P>]),
    p: usize,
) {
    for ((place, s), c) in layout.groups.iter().zip(s).zip(c) {
        let (scale, offset) = params(layout.params, *place, panel);
        // SAFETY: arrays of sixteen floats.
        unsafe {
            _mm512_storeu_ps(s[p].as_mut_ptr(), scale);
            _mm512_storeu_ps(c[p].as_mut_ptr(), offset.unwrap_or(_mm512_setzero_ps()));
        }
    }
}

/// Some groups of P panels.
struct Part<'a, const P: usize> {
    layout: &'a Layout,
    /// The panels, or codes that were unpacked.
    bytes: [&'a [u8]; P],
    /// The weight of a row from which on they were, plus 128 − 2ᵇ⁻¹.
    unpacked_from: Option<usize>,
    groups: Range<usize>,
    /// Scales and offsets of all groups.
    s: &'a [Lanes<P>],
    c: &'a [Lanes<P>],
    x: &'a Int8Acts,
    /// As large a part of the panels after these.
    ahead: Ahead<'a>,
}

impl<const P: usize> Part<'_, P> {
    /// Adds to the sums of all rows from `m` on.
    ///
    /// # Safety
    /// - As for [`few`]; the layout has offsets where `OFFSETS` says so.
    unsafe fn multiply<const OFFSETS: bool>(&self, m: usize, sums: &mut [Lanes<P>]) {
        let mut at = 0;
        while at < sums.len() {
            // SAFETY: passed on.
            at += unsafe {
                match sums.len() - at {
                    6.. => self.rows::<6, OFFSETS>(m + at, &mut sums[at..]),
                    4.. => self.rows::<4, OFFSETS>(m + at, &mut sums[at..]),
                    2.. => self.rows::<2, OFFSETS>(m + at, &mut sums[at..]),
                    _ => self.rows::<1, OFFSETS>(m + at, &mut sums[at..]),
                }
            };
        }
    }

    /// Adds to the sums of rows `m..m + T`; returns T.
    ///
    /// # Safety
    /// - As for [`Self::multiply`].
    #[target_feature(enable = "avx2,fma,f16c,bmi2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")]
    unsafe fn rows<const T: usize, const OFFSETS: bool>(&self, m: usize, sums: &mut [Lanes<P>]) -> usize {
        let (layout, x) = (self.layout, self.x);
        assert!(x.k() == layout.k && x.span() == layout.group && self.groups.end <= layout.groups.len());
        let sums: &mut [Lanes<P>; T] = sums.first_chunk_mut().expect("sums of the rows");
        let rows: [Row<'_>; T] = std::array::from_fn(|t| Row::of(x, m + t));
        let mut acc = [[_mm512_setzero_ps(); P]; T];
        // SAFETY: arrays of sixteen floats, here and below.
        let load = |lanes: &[f32; PANEL]| unsafe { _mm512_loadu_ps(lanes.as_ptr()) };
        for t in 0..T {
            for p in 0..P {
                acc[t][p] = load(&sums[t][p]);
            }
        }
        let mut asking = self.ahead.during(m..m + T, x.rows(), self.groups.len());
        for g in self.groups.clone() {
            asking.step();
            let place = layout.groups[g];
            let mut codes = [std::ptr::null::<u8>(); P];
            let at = self.unpacked_from.map_or(place.codes, |first| (place.start - first) * PANEL);
            for p in 0..P {
                codes[p] = self.bytes[p][at..][..place.len * PANEL].as_ptr();
            }
            let mut isum = [[_mm512_setzero_si512(); P]; T];
            for t in 0..T {
                isum[t] = [_mm512_set1_epi32(rows[t].bias[g]); P];
            }
            for step in 0..place.len / 4 {
                let mut u = [_mm512_setzero_si512(); P];
                for p in 0..P {
                    // SAFETY: the slice has 64 bytes for every step.
                    u[p] = unsafe { _mm512_loadu_si512(codes[p].add(64 * step).cast()) };
                }
                for t in 0..T {
                    // SAFETY: K activations of every row, of which the group's are some; the read is unaligned.
                    let four = unsafe {
                        rows[t].q.as_ptr().add(place.start + 4 * step).cast::<i32>().read_unaligned()
                    };
                    let four = _mm512_set1_epi32(four);
                    for p in 0..P {
                        isum[t][p] = _mm512_dpbusd_epi32(isum[t][p], u[p], four);
                    }
                }
            }
            for p in 0..P {
                let (s, c) = (load(&self.s[g][p]), load(&self.c[g][p]));
                for t in 0..T {
                    let group = rows[t].group(g);
                    acc[t][p] = scaled(acc[t][p], isum[t][p], s, OFFSETS.then_some(c), group);
                }
            }
        }
        for t in 0..T {
            for p in 0..P {
                // SAFETY: arrays of sixteen floats.
                unsafe { _mm512_storeu_ps(sums[t][p].as_mut_ptr(), acc[t][p]) };
            }
        }
        T
    }
}
