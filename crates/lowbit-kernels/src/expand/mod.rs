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

/// Weights of a row that are expanded at a time. Long, because rows of a panel are neighbours in memory: read one
/// after the other they are one stream, which the hardware fetches ahead.
const CHUNK: usize = 8192;

/// Into how many tasks a product is cut for each worker: enough to even out workers of different speed.
const RUNS_PER_WORKER: usize = 8;

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
    let panels = w.n.div_ceil(PANEL);
    // Neighbouring panels go to one worker, which fetches the next while it works on one.
    let run = panels.div_ceil(ctx.threads() * RUNS_PER_WORKER).max(1);
    ctx.run(panels.div_ceil(run), |task, scratch| {
        for index in task * run..((task + 1) * run).min(panels) {
            // SAFETY: each panel has the columns of its own sixteen rows.
            unsafe { panel(ctx.isa(), w, index * PANEL, x, out, scratch) }
        }
    });
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
    w: BlockRows<'_>,
    first: usize,
    x: &Int8Acts,
    out: SharedMut<'_>,
    scratch: &mut Scratch,
) {
    let layout = w.format.layout();
    let (group, k) = (layout.group, x.k());
    let rows = (w.n - first).min(PANEL);
    let groups = k / group;
    let chunk_params = PANEL * CHUNK / group;
    let (chunk, q, floats) = scratch.take(PANEL * CHUNK, PANEL * k, 2 * (PANEL * groups + chunk_params));
    let (s, floats) = floats.split_at_mut(PANEL * groups);
    let (c, floats) = floats.split_at_mut(PANEL * groups);
    let (chunk_s, chunk_c) = floats.split_at_mut(chunk_params);
    let one_token = x.rows() == 1 && isa.level() == IsaLevel::Avx512;
    let mut acc = [0f32; PANEL];
    for start in (0..k).step_by(CHUNK) {
        let width = (k - start).min(CHUNK);
        let params = PANEL * width / group;
        let target = Chunk {
            q: &mut chunk[..PANEL * width],
            s: &mut chunk_s[..params],
            c: &mut chunk_c[..params],
            width,
        };
        w.format.visit(Expand { isa, w, first, rows, start, target });
        let at = start / group * PANEL;
        transpose(isa, &chunk_s[..params], 0, &mut s[at..at + params]);
        if layout.offsets {
            transpose(isa, &chunk_c[..params], 0, &mut c[at..at + params]);
        }
        let codes = &chunk[..PANEL * width];
        if one_token {
            let c = if layout.offsets { &c[at..] } else { &[] };
            let chunk = RowChunk { q: codes, s: &s[at..], c, group, start, width };
            #[cfg(target_arch = "x86_64")]
            avx512::one_token(isa, &chunk, x, &mut acc);
        } else {
            // AVX-512 multiplies unsigned codes.
            let flip = if isa.level() == IsaLevel::Avx512 { 0x8080_8080 } else { 0 };
            transpose(isa, codes, flip, &mut q[start * PANEL..][..PANEL * width]);
        }
    }
    if one_token {
        // SAFETY: the contract on `out` is passed on.
        unsafe { out.part(0, first, rows) }.copy_from_slice(&acc[..rows]);
        return;
    }
    let c = if layout.offsets { &*c } else { &[] };
    let panel = Panel { q, s, c, group, k };
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
    /// Scales `[16][groups]`.
    s: &'a mut [f32],
    /// Offsets `[16][groups]`.
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

/// Expands the rows that exist; rows past the last become zeros.
#[inline(always)]
fn expand_chunk<C: BlockCodec>(source: Source<'_>, target: Chunk<'_>) {
    let groups = target.width / C::GROUP;
    let bytes = target.width / C::WEIGHTS * C::BYTES;
    for r in 0..source.rows {
        let row = &source.bytes[(source.first + r) * source.row_bytes + source.start..][..bytes];
        prefetch(row.as_ptr().wrapping_add(PANEL * source.row_bytes), bytes);
        let q = &mut target.q[r * target.width..][..target.width];
        let s = &mut target.s[r * groups..][..groups];
        let c = &mut target.c[r * groups..][..groups];
        block::expand_row::<C>(row, source.tensor_scale, q, s, c);
    }
    target.q[source.rows * target.width..].fill(0);
    target.s[source.rows * groups..].fill(0.0);
    target.c[source.rows * groups..].fill(0.0);
}

/// Asks for the cache lines of `bytes` bytes from `at` on, which may lie past the end of the tensor: the same rows of
/// the next panel, wanted some microseconds later.
#[inline(always)]
fn prefetch(at: *const u8, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..bytes).step_by(64) {
        // SAFETY: a prefetch may name any address.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(
                at.wrapping_add(line).cast(),
            );
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, bytes);
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

/// Scale of the activations of group `g`, whose weights may share a scale at half the length.
#[inline(always)]
fn act_group(g: usize, group: usize) -> usize {
    g * group / ACT_GROUP
}
