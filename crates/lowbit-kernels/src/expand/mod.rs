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
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;

use crate::{ACT_GROUP, Ctx, Int8Acts, Isa, IsaLevel, MatMut, SharedMut, ctx::Scratch, isa::multiversion};
use lowbit_format::{BlockCodec, BlockFormat, BlockVisitor, block};

/// Rows of a panel: the lanes of a 512-bit vector of 32-bit sums.
pub(crate) const PANEL: usize = 16;

/// Weights of a row that are expanded at a time: sixteen rows of them stay in the first-level cache.
const CHUNK: usize = 1024;

/// Blocks of one tensor.
#[derive(Clone, Copy)]
pub(crate) struct BlockRows<'a> {
    pub(crate) format: BlockFormat,
    pub(crate) bytes: &'a [u8],
    pub(crate) tensor_scale: f32,
    pub(crate) n: usize,
    pub(crate) k: usize,
}

/// Sixteen rows in 8 bits, rows as lanes: what a level's tile kernel multiplies.
pub(crate) struct Panel<'a> {
    /// Codes `[k / 4][16][4]`, with the sign bit flipped where the level multiplies unsigned by signed.
    pub(crate) q: &'a [i8],
    /// Scales `[k / group][16]`.
    pub(crate) s: &'a [f32],
    /// Offsets `[k / group][16]`, empty for formats without.
    pub(crate) c: &'a [f32],
    /// Weights a scale: 16 or 32.
    pub(crate) group: usize,
    /// Padded K, a multiple of 32.
    pub(crate) k: usize,
}

/// `out[m, n] = Σₖ x[m, k] · w[n, k]` over all workers.
pub(crate) fn multiply(ctx: &Ctx, w: BlockRows<'_>, x: &Int8Acts, mut out: MatMut<'_>) {
    let out = out.shared();
    ctx.run(w.n.div_ceil(PANEL), |task, scratch| {
        // SAFETY: each task writes the columns of its own sixteen rows.
        unsafe { panel(ctx.isa(), w, task * PANEL, x, out, scratch) }
    });
}

/// Rows `first..first + 16`, as far as they exist, times every token.
///
/// # Safety
/// - Nobody else refers to those columns of `out`.
unsafe fn panel(
    isa: Isa,
    w: BlockRows<'_>,
    first: usize,
    x: &Int8Acts,
    out: SharedMut<'_>,
    scratch: &mut Scratch,
) {
    let layout = w.format.layout();
    let rows = (w.n - first).min(PANEL);
    let (k, groups) = (x.k(), x.k() / layout.group);
    let (chunk, q, floats) = scratch.take(PANEL * CHUNK, PANEL * k, PANEL * groups * 2);
    let (s, c) = floats.split_at_mut(PANEL * groups);
    let flip = isa.level() == IsaLevel::Avx512;
    for start in (0..k).step_by(CHUNK) {
        let width = (k - start).min(CHUNK);
        let target = Chunk {
            q: &mut chunk[..PANEL * width],
            s: &mut s[start / layout.group * PANEL..],
            c: &mut c[start / layout.group * PANEL..],
            width,
        };
        w.format.visit(Expand { isa, w, first, rows, start, target });
        interleave(isa, &chunk[..PANEL * width], width, flip, &mut q[start * PANEL..][..width * PANEL]);
    }
    let c = if layout.offsets { &*c } else { &[] };
    let panel = Panel { q, s, c, group: layout.group, k };
    // SAFETY: the contract on `out` is passed on; the ISA value proves the instructions.
    unsafe {
        match isa.level() {
            #[cfg(target_arch = "x86_64")]
            IsaLevel::Avx512 => avx512::tokens(&panel, x, out, first, rows),
            #[cfg(target_arch = "x86_64")]
            IsaLevel::Avx2 => avx2::tokens(&panel, x, out, first, rows),
            _ => scalar::tokens(&panel, x, out, first, rows),
        }
    }
}

/// Where a chunk of a panel is expanded to.
struct Chunk<'a> {
    /// Codes `[16][width]`.
    q: &'a mut [i8],
    /// Scales `[groups][16]` from the chunk's first group on.
    s: &'a mut [f32],
    /// Offsets, likewise.
    c: &'a mut [f32],
    /// Weights of each row.
    width: usize,
}

struct Expand<'a> {
    isa: Isa,
    w: BlockRows<'a>,
    first: usize,
    rows: usize,
    start: usize,
    target: Chunk<'a>,
}

impl BlockVisitor for Expand<'_> {
    type Out = ();
    fn visit<C: BlockCodec>(self) {
        let source = Source {
            bytes: self.w.bytes,
            row_bytes: self.w.k / C::WEIGHTS * C::BYTES,
            first: self.first,
            rows: self.rows,
            start: self.start / C::WEIGHTS * C::BYTES,
            tensor_scale: self.w.tensor_scale,
        };
        expand::<C>(self.isa, source, self.target);
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
    fn expand<C: BlockCodec>(source: Source<'_>, target: Chunk<'_>) = expand_chunk::<C>;
}

#[inline(always)]
fn expand_chunk<C: BlockCodec>(source: Source<'_>, target: Chunk<'_>) {
    let groups = target.width / C::GROUP;
    let bytes = target.width / C::WEIGHTS * C::BYTES;
    let (mut s, mut c) = ([0f32; CHUNK / 16], [0f32; CHUNK / 16]);
    for r in 0..PANEL {
        let q = &mut target.q[r * target.width..][..target.width];
        if r < source.rows {
            let row = &source.bytes[(source.first + r) * source.row_bytes + source.start..][..bytes];
            block::expand_row::<C>(row, source.tensor_scale, q, &mut s[..groups], &mut c[..groups]);
        } else {
            q.fill(0);
            s[..groups].fill(0.0);
            c[..groups].fill(0.0);
        }
        for g in 0..groups {
            target.s[g * PANEL + r] = s[g];
            if C::OFFSETS {
                target.c[g * PANEL + r] = c[g];
            }
        }
    }
}

/// Turns `[16][width]` into `[width / 4][16][4]`, flipping sign bits where asked.
fn interleave(isa: Isa, rows: &[i8], width: usize, flip: bool, out: &mut [i8]) {
    match isa.level() {
        #[cfg(target_arch = "x86_64")]
        IsaLevel::Avx512 => avx512::interleave(isa, rows, width, out),
        _ => {
            debug_assert!(!flip);
            let out = bytemuck::cast_slice_mut::<i8, [i8; 4]>(out);
            for (r, row) in rows.chunks_exact(width).enumerate() {
                for (i, four) in row.as_chunks::<4>().0.iter().enumerate() {
                    out[i * PANEL + r] = *four;
                }
            }
        }
    }
}

/// Scale of the activations of group `g`, whose weights may share a scale at half the length.
#[inline(always)]
fn act_group(g: usize, group: usize) -> usize {
    g * group / ACT_GROUP
}
