//! Integer products by expansion: decode a panel of sixteen rows to 8-bit integers once, multiply it with every token.
//!
//! A format contributes only its [`BlockCodec::expand`]; the loops here serve all of them. For row `n`, token `m` and
//! groups `g` of G = 16 or 32 weights, in order,
//!
//! ```text
//! acc ← fma(float(Σ q[n, k] · xq[m, k]), s[n, g] · d[m, g], acc)
//! acc ← fma(c[n, g], d[m, g] · Σ xq[m, k], acc)                      where the format has offsets
//! ```
//!
//! with exact integer sums over the group. The lanes of every vector form are rows, so this order is the same on every
//! level and for any number of tokens, and results are compared bit for bit with [`crate::reference::mpgemm`].

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

use crate::{
    Codes, Ctx, Int8Acts, Isa, IsaLevel, MatMut, SharedMut,
    ctx::Scratch,
    isa::multiversion,
    packed::fields::Coded,
    streams::{Ahead, ask_for},
};
use lowbit_format::{
    BlockCodec, BlockFormat, BlockVisitor, GroupedTensor, NK, QuantTensor, TensorData,
    block::{self, Values},
};
use std::ops::Range;

/// Rows of a panel: the lanes of a 512-bit vector of 32-bit sums.
pub(crate) const PANEL: usize = 16;

/// Weights of a row that are expanded at a time. Long, because rows of a panel are neighbours in memory: read one
/// after the other they are one stream, which the hardware fetches ahead.
const CHUNK: usize = 8192;

/// Into how many tasks a product is cut for each worker: enough to even out workers of different speed.
const RUNS_PER_WORKER: usize = 8;

/// A tensor whose rows can be expanded.
#[derive(Clone, Copy)]
pub(crate) enum Rows<'a> {
    Blocks { format: BlockFormat, bytes: &'a [u8], tensor_scale: f32, shape: NK },
    Grouped(&'a GroupedTensor),
}

impl<'a> Rows<'a> {
    /// The rows of a tensor; `None` for those that are multiplied as floats: unquantized ones, groups too small for the
    /// integer kernels, and codes that stand for numbers of a table.
    pub(crate) fn of(w: &'a QuantTensor) -> Option<Self> {
        match w.data() {
            // Sums are multiplied piece by piece.
            TensorData::Float { .. } | TensorData::Sum(_) => None,
            TensorData::Blocks { format, bytes, tensor_scale } => Some(Self::Blocks {
                format: *format,
                bytes: bytes.bytes(),
                tensor_scale: *tensor_scale,
                shape: w.shape(),
            }),
            TensorData::Grouped(grouped) => grouped.spec().integer_group().map(|_| Self::Grouped(grouped)),
        }
    }

    fn shape(&self) -> NK {
        match self {
            Self::Blocks { shape, .. } => *shape,
            Self::Grouped(grouped) => grouped.shape(),
        }
    }

    /// Weights a scale after expansion, and whether there are offsets.
    fn groups(&self) -> (usize, bool) {
        match self {
            Self::Blocks { format, .. } => (format.layout().group, format.layout().offsets),
            Self::Grouped(grouped) => (grouped.spec().expansion_group(), grouped.has_offsets()),
        }
    }

    /// Weights of a row that are expanded at a time.
    fn chunk(&self, k: usize) -> usize {
        match self {
            Self::Blocks { .. } => CHUNK.min(k),
            Self::Grouped(_) => k,
        }
    }
}

/// Sixteen rows in 8 bits, rows as lanes, or a stretch of them: what a level's tile kernel multiplies.
pub(crate) struct Panel<'a> {
    /// Codes `[k / 4][16][4]`.
    pub(crate) q: &'a [i8],
    /// What was added to them.
    pub(crate) raised: Raised,
    /// Scales `[k / group][16]`, of whole groups and of one that K cuts short.
    pub(crate) s: &'a [f32],
    /// Offsets, likewise, empty for formats without.
    pub(crate) c: &'a [f32],
    /// Weights a scale: those of a scale of the activations, or half of them where these are 32.
    pub(crate) group: usize,
    /// The weight of the rows that it starts with, the first of a group: 0 but where [`stretch`] says so.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub(crate) start: usize,
    /// Weights of a row, padded to a multiple of 32.
    pub(crate) k: usize,
    /// What the one after it is unpacked from.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub(crate) ahead: Ahead<'a>,
}

/// Shares `panels` out among the workers in runs of neighbours, which are one stream in memory.
pub(crate) fn each_run(ctx: &Ctx, panels: usize, body: impl Fn(Range<usize>, &mut Scratch) + Sync) {
    let run = panels.div_ceil(ctx.threads() * RUNS_PER_WORKER).max(1);
    ctx.run(panels.div_ceil(run), |task, scratch| body(task * run..((task + 1) * run).min(panels), scratch));
}

/// `out[m, n] = Σₖ x[m, k] · w[n, k]` over all workers.
pub(crate) fn multiply(ctx: &Ctx, w: Rows<'_>, x: &Int8Acts, codes: Codes, mut out: MatMut<'_>) {
    let out = out.shared();
    each_run(ctx, w.shape().n.div_ceil(PANEL), |panels, scratch| {
        for index in panels {
            // SAFETY: each panel has the columns of its own sixteen rows.
            unsafe { panel(ctx.isa(), w, index * PANEL, (x, codes), out, scratch) }
        }
    });
}

/// The integers of up to sixteen rows of whole blocks, `[k / 4][16][4]`, zeros where there is no row. `expanded` is of
/// `q`'s length, `floats` has room for two values for every sixteen codes.
pub(crate) fn panel_codes(
    isa: Isa,
    format: BlockFormat,
    rows: BlockRows<'_>,
    expanded: &mut [i8],
    q: &mut [i8],
    floats: &mut [f32],
) {
    let BlockRows { bytes, count, k } = rows;
    let params = PANEL * k / format.layout().group;
    let (s, c) = floats.split_at_mut(params);
    let target = Chunk { q: &mut *expanded, s, c: &mut c[..params], width: k };
    let (first, start, tensor_scale) = (0, 0, 1.0);
    format.visit(ExpandBlocks { isa, bytes, tensor_scale, k, first, rows: count, start, target });
    transpose(isa, expanded, 0, q);
}

/// Rows of whole blocks, as they are stored.
#[derive(Clone, Copy)]
pub(crate) struct BlockRows<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) count: usize,
    pub(crate) k: usize,
}

/// Sixteen rows of codes before transposition, a stretch of K: what the one-token kernel multiplies.
pub(crate) struct RowChunk<'a> {
    /// Codes `[16][width]`.
    pub(crate) q: &'a [i8],
    /// Scales `[width / group][16]`.
    pub(crate) s: &'a [f32],
    /// Offsets `[width / group][16]`, empty for formats without.
    pub(crate) c: &'a [f32],
    /// Weights a scale: 16 or 32.
    pub(crate) group: usize,
    /// The weight of each row that the chunk starts at.
    pub(crate) start: usize,
    /// Weights of each row, a multiple of 32.
    pub(crate) width: usize,
}

/// Rows `first..first + 16`, as far as they exist, times every token.
///
/// # Safety
/// - Nobody else refers to those columns of `out`.
unsafe fn panel(
    isa: Isa,
    w: Rows<'_>,
    first: usize,
    (x, codes): (&Int8Acts, Codes),
    out: SharedMut<'_>,
    scratch: &mut Scratch,
) {
    let (group, offsets) = w.groups();
    let k = x.k();
    let rows = (w.shape().n - first).min(PANEL);
    let groups = k / group;
    let most = w.chunk(k);
    let chunk_params = PANEL * most / group;
    let floats = 2 * (PANEL * groups + chunk_params) + PANEL * x.rows();
    let (chunk, q, floats) = scratch.take(PANEL * most, PANEL * k, floats);
    let (s, floats) = floats.split_at_mut(PANEL * groups);
    let (c, floats) = floats.split_at_mut(PANEL * groups);
    let (chunk_s, floats) = floats.split_at_mut(chunk_params);
    let (chunk_c, sums) = floats.split_at_mut(chunk_params);
    let one_token = codes == Codes::InRegisters && x.tokens() == 1 && isa.level() == IsaLevel::Avx512;
    let raised = Raised::any(isa);
    let mut acc = [[0f32; PANEL]; 2];
    for start in (0..k).step_by(most) {
        let width = (k - start).min(most);
        let params = PANEL * width / group;
        let target = Chunk {
            q: &mut chunk[..PANEL * width],
            s: &mut chunk_s[..params],
            c: &mut chunk_c[..params],
            width,
        };
        match w {
            Rows::Blocks { format, bytes, tensor_scale, shape } => {
                format.visit(ExpandBlocks {
                    isa,
                    bytes,
                    tensor_scale,
                    k: shape.k,
                    first,
                    rows,
                    start,
                    target,
                });
            }
            Rows::Grouped(grouped) => expand_grouped(isa, grouped, first, rows, target),
        }
        let at = start / group * PANEL;
        transpose(isa, &chunk_s[..params], 0, &mut s[at..at + params]);
        if offsets {
            transpose(isa, &chunk_c[..params], 0, &mut c[at..at + params]);
        }
        let codes = &chunk[..PANEL * width];
        if one_token {
            let c = if offsets { &c[at..] } else { &[] };
            let chunk = RowChunk { q: codes, s: &s[at..], c, group, start, width };
            #[cfg(target_arch = "x86_64")]
            for (row, acc) in acc.iter_mut().enumerate().take(x.rows()) {
                avx512::one_token(isa, &chunk, x, row, acc);
            }
        } else {
            let flip = u32::from_ne_bytes([raised.by; 4]);
            transpose(isa, codes, flip, &mut q[start * PANEL..][..PANEL * width]);
        }
    }
    if one_token {
        for (row, acc) in acc.iter().enumerate().take(x.rows()) {
            // SAFETY: the contract on `out` is passed on.
            unsafe { emit(x, row, &acc[..rows], out, first) };
        }
        return;
    }
    let c = if offsets { &*c } else { &[] };
    let panel = Panel { q, raised, s, c, group, start: 0, k, ahead: Ahead::default() };
    // SAFETY: the contract on `out` is passed on.
    unsafe { multiply_panel(isa, &panel, x, sums, (out, first, rows)) }
}

/// What was added to the codes of a panel, as instructions that multiply unsigned bytes by signed ones want them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Raised {
    /// This much: nothing, or a power of two.
    pub(crate) by: u8,
    /// The largest unsigned code that comes of it, 0 where codes are still signed.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub(crate) most: u8,
}

impl Raised {
    /// Codes of any format: AVX-512 takes unsigned ones of eight bits.
    fn any(isa: Isa) -> Self {
        if isa.level() == IsaLevel::Avx512 { Self { by: 0x80, most: 0xff } } else { Self { by: 0, most: 0 } }
    }

    /// Codes of a format: AVX2 adds up pairs of products in 16 bits, for which unsigned codes of up to 5 bits leave room.
    pub(crate) fn of<C: Coded>(isa: Isa) -> Self {
        match C::VALUES {
            Values::From(first) if isa.level() == IsaLevel::Avx2 && C::BITS <= 5 => {
                let by = (first as u8).wrapping_neg();
                debug_assert!(by == 0 || by.is_power_of_two());
                Self { by, most: (1 << C::BITS) - 1 }
            }
            _ => Self::any(isa),
        }
    }
}

/// Weights of a row that are unpacked before they are multiplied, a multiple of 256 or all: where a level says less, they stay
/// in its first-level cache.
pub(crate) fn stretch(isa: Isa, k: usize) -> usize {
    if isa.level() == IsaLevel::Avx2 { k.min(STRETCH) } else { k }
}

/// Sixteen rows of them are half of a cache of 32 KiB.
const STRETCH: usize = 1024;

/// Multiplies a panel with every token into columns `first..first + rows` of `out`; one that is a stretch of its rows, after those
/// before it, into `sums`, of sixteen for every row of activations, and the last one into the columns.
///
/// # Safety
/// - Nobody else refers to those columns.
pub(crate) unsafe fn multiply_panel(
    isa: Isa,
    panel: &Panel<'_>,
    x: &Int8Acts,
    sums: &mut [f32],
    (out, first, rows): (SharedMut<'_>, usize, usize),
) {
    debug_assert!(panel.k == x.k() || isa.level() == IsaLevel::Avx2);
    // SAFETY: the contract on `out` is passed on; the ISA value proves the instructions.
    unsafe {
        match isa.level() {
            #[cfg(target_arch = "x86_64")]
            IsaLevel::Avx512 => avx512::tokens(panel, x, out, first, rows),
            #[cfg(target_arch = "x86_64")]
            IsaLevel::Avx2 => {
                let sums = sums.as_chunks_mut::<PANEL>().0;
                avx2::tokens(panel, x, sums);
                if panel.start + panel.k == x.k() {
                    for (row, sums) in sums.iter().enumerate().take(x.rows()) {
                        emit(x, row, &sums[..rows], out, first);
                    }
                }
            }
            #[cfg(target_arch = "aarch64")]
            IsaLevel::Dotprod => neon::tokens(panel, x, out, first, rows),
            _ => scalar::tokens(panel, x, out, first, rows),
        }
    }
}

/// Where a chunk of a panel is expanded to.
struct Chunk<'a> {
    /// Codes `[16][width]`.
    q: &'a mut [i8],
    /// Scales `[16][groups]`.
    s: &'a mut [f32],
    /// Offsets `[16][groups]`.
    c: &'a mut [f32],
    /// Weights of each row.
    width: usize,
}

struct ExpandBlocks<'a> {
    isa: Isa,
    bytes: &'a [u8],
    tensor_scale: f32,
    k: usize,
    first: usize,
    rows: usize,
    start: usize,
    target: Chunk<'a>,
}

impl BlockVisitor for ExpandBlocks<'_> {
    type Out = ();
    fn visit<C: BlockCodec>(self) {
        let source = Source {
            bytes: self.bytes,
            row_bytes: self.k / C::WEIGHTS * C::BYTES,
            first: self.first,
            rows: self.rows,
            start: self.start / C::WEIGHTS * C::BYTES,
            tensor_scale: self.tensor_scale,
        };
        expand_blocks::<C>(self.isa, source, self.target);
    }
}

/// Where a chunk of a panel is expanded from.
struct Source<'a> {
    bytes: &'a [u8],
    row_bytes: usize,
    first: usize,
    rows: usize,
    /// Byte of each row at which the chunk starts.
    start: usize,
    tensor_scale: f32,
}

multiversion! {
    fn expand_blocks<C: BlockCodec>(source: Source<'_>, target: Chunk<'_>) = expand_block_rows::<C>;
}

multiversion! {
    fn expand_grouped(w: &GroupedTensor, first: usize, rows: usize, target: Chunk<'_>) = expand_grouped_rows;
}

/// Expands whole rows; rows past the last, and codes past the last of a row, become zeros.
#[inline(always)]
fn expand_grouped_rows(w: &GroupedTensor, first: usize, rows: usize, target: Chunk<'_>) {
    let (k, group) = (w.expanded_k(), w.spec().expansion_group());
    let groups = target.width / group;
    target.q.fill(0);
    target.s.fill(0.0);
    target.c.fill(0.0);
    for r in 0..rows {
        let q = &mut target.q[r * target.width..][..k];
        let s = &mut target.s[r * groups..][..k / group];
        let c = &mut target.c[r * groups..][..k / group];
        w.expand_row(first + r, q, s, c);
    }
}

/// Expands the rows that exist; rows past the last become zeros.
#[inline(always)]
fn expand_block_rows<C: BlockCodec>(source: Source<'_>, target: Chunk<'_>) {
    let groups = target.width / C::GROUP;
    let bytes = target.width / C::WEIGHTS * C::BYTES;
    for r in 0..source.rows {
        let row = &source.bytes[(source.first + r) * source.row_bytes + source.start..][..bytes];
        // The same row of the next panel, wanted some microseconds later; it may lie past the end of the tensor.
        ask_for(row.as_ptr().wrapping_add(PANEL * source.row_bytes), bytes);
        let q = &mut target.q[r * target.width..][..target.width];
        let s = &mut target.s[r * groups..][..groups];
        let c = &mut target.c[r * groups..][..groups];
        block::expand_row::<C>(row, source.tensor_scale, q, s, c);
    }
    target.q[source.rows * target.width..].fill(0);
    target.s[source.rows * groups..].fill(0.0);
    target.c[source.rows * groups..].fill(0.0);
}

/// Turns sixteen rows of 32-bit words (floats, or four codes each), `[16][words]`, into `[words][16]`, each
/// exclusive-ored with `flip`.
fn transpose<T: bytemuck::Pod>(isa: Isa, rows: &[T], flip: u32, out: &mut [T]) {
    let (rows, out) = (bytemuck::cast_slice::<T, u32>(rows), bytemuck::cast_slice_mut::<T, u32>(out));
    let words = rows.len() / PANEL;
    #[cfg(target_arch = "x86_64")]
    if isa.level() == IsaLevel::Avx512 {
        return avx512::transpose(isa, rows, words, flip, out);
    }
    let _ = isa;
    for (r, row) in rows.chunks_exact(words).enumerate() {
        for (i, word) in row.iter().enumerate() {
            out[i * PANEL + r] = word ^ flip;
        }
    }
}

/// Writes the sums of a row of activations to columns `first..` of its token; a second term is added to the first, which
/// comes before it.
///
/// # Safety
/// - Nobody else refers to those columns of `out`.
#[inline(always)]
pub(crate) unsafe fn emit(x: &Int8Acts, row: usize, sums: &[f32], out: SharedMut<'_>, first: usize) {
    // SAFETY: passed on.
    let target = unsafe { out.part(row % x.tokens(), first, sums.len()) };
    if row < x.tokens() {
        target.copy_from_slice(sums);
    } else {
        for (target, sum) in target.iter_mut().zip(sums) {
            *target += sum;
        }
    }
}

/// Scale of the activations of group `g`, whose weights may share a scale at half the length.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn act_group(g: usize, group: usize) -> usize {
    g * group / crate::ACT_GROUP
}

impl Panel<'_> {
    /// Groups of a row, the last of which K may cut short.
    #[inline(always)]
    fn groups(&self) -> usize {
        self.k.div_ceil(self.group)
    }

    /// Every group with its steps of four weights.
    #[inline(always)]
    fn steps(&self) -> impl Iterator<Item = (usize, Range<usize>)> + use<> {
        let (steps, all) = (self.group / 4, self.k / 4);
        (0..all).step_by(steps).map(move |start| start..(start + steps).min(all)).enumerate()
    }

    /// How far the index of a group is to be shifted down to be that of its activations' scale: these may share one at
    /// twice the length.
    #[inline(always)]
    fn act_shift(&self, x: &Int8Acts) -> u32 {
        debug_assert!(self.group == x.span() || 2 * self.group == x.span());
        u32::from(self.group != x.span())
    }
}
