//! Weights rearranged at load for the product: sixteen rows interleaved, codes apart from parameters.
//!
//! Formats with a code for every weight ([`lowbit_format::Elements`]) are kept in *panels* of sixteen rows, the lanes
//! of a 512-bit vector. A panel has two streams, each read once and in order:
//!
//! - **codes**, in chunks of 32 weights of each row: `bits` vectors of 64 bytes. A code of 3, 5, 6 or 7 bits is split
//!   into fields of 4, 2 and 1 bits, low bits first, each field in vectors of its own (see [`fields`]);
//! - **parameters**: the bytes of every block that are not codes, unchanged, `[block][byte][row]`, so that scales of
//!   sixteen rows are made at once by the format's own [`BlockCodec::params`].
//!
//! That is as many bytes as in the file, rows apart that fill the last panel. What is computed is what
//! [`mod@crate::expand`] computes, in the same order, hence bit for bit the same.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod fields;

use crate::{
    Codes, Ctx, Int8Acts, Integers, Isa, MatMut, SharedMut,
    ctx::Scratch,
    expand::{self, BlockRows, PANEL, Panel, Raised},
    isa::multiversion,
    pages::Pages,
    streams::Ahead,
};
use fields::{CHUNK, Coded};
use lowbit_format::{
    BlockCodec, BlockFormat, BlockVisitor, Elements, NK, QuantTensor, TensorData, WeightSpec, block,
};
use std::{ops::Range, sync::Mutex};

/// A weight matrix `W[N, K]` arranged for products on this machine.
pub struct Packed {
    format: BlockFormat,
    shape: NK,
    tensor_scale: f32,
    codes: Pages,
    params: Pages,
    /// Bytes of a panel's codes and parameters.
    panel: Sizes,
}

/// Bytes of one panel in each stream.
#[derive(Clone, Copy)]
struct Sizes {
    codes: usize,
    params: usize,
}

impl Packed {
    /// Rearranges a tensor on the workers of `ctx`; `None` where its format has no code for every weight, or where there is
    /// no memory for a second copy: it can be multiplied as it is stored.
    ///
    /// The tensor's own pages are given back as they are read, where they are those of a mapped file.
    pub fn new(ctx: &Ctx, w: &QuantTensor) -> Option<Self> {
        let TensorData::Blocks { format, bytes, tensor_scale } = w.data() else { return None };
        let layout = format.layout();
        let elements = layout.elements?;
        let shape = w.shape();
        let blocks = shape.k / layout.weights;
        let panel = Sizes {
            codes: shape.k * PANEL / 8 * elements.bits as usize,
            params: blocks * elements.param_bytes() * PANEL,
        };
        let panels = shape.n.div_ceil(PANEL);
        let mut packed = Self {
            format: *format,
            shape,
            tensor_scale: *tensor_scale,
            codes: ctx.arena().pages(panels * panel.codes)?,
            params: ctx.arena().pages(panels * panel.params)?,
            panel,
        };
        // As many panels a task as make a run of pages worth giving back.
        let run = (RELEASE / panel.codes.max(1)).clamp(1, panels.div_ceil(ctx.threads()).max(1));
        let codes = packed.codes.bytes_mut().chunks_mut(run * panel.codes);
        let mut params = packed.params.bytes_mut();
        let mut targets = Vec::new();
        for (i, codes) in codes.enumerate().take(panels.div_ceil(run)) {
            let len = (run * panel.params).min(params.len());
            let (head, rest) = std::mem::take(&mut params).split_at_mut(len);
            params = rest;
            targets.push(Mutex::new(Some((i * run * PANEL, codes, head))));
        }
        let row_bytes = blocks * layout.bytes;
        ctx.run(targets.len(), |task, scratch| {
            let target = targets[task].lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
            let Some((first, codes, params)) = target else { return };
            let rows = first..(first + run * PANEL).min(shape.n);
            let bytes = bytes.slice(rows.start * row_bytes..rows.end * row_bytes).expect("the rows exist");
            let rows = BlockRows { bytes: bytes.bytes(), count: rows.len(), k: shape.k };
            pack_run(ctx.isa(), *format, rows, panel, codes, params, scratch);
            bytes.release();
        });
        drop(targets);
        Some(packed)
    }

    /// N and K.
    pub fn shape(&self) -> NK {
        self.shape
    }

    /// What the weights are stored as.
    pub fn spec(&self) -> WeightSpec {
        WeightSpec::Block(self.format)
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.codes.bytes().len() + self.params.bytes().len()
    }

    /// `out[M, N] = x[M, K] · W[N, K]ᵀ` with the roundings of [`crate::mpgemm`]. Levels that do not take codes apart in registers
    /// expand them: the result has the same bits.
    ///
    /// # Panics
    /// Where the shapes do not fit.
    pub fn multiply(&self, ctx: &Ctx, x: &crate::Act<'_>, how: Integers, mut out: MatMut<'_>) {
        let (m, k) = (x.x().rows(), x.x().cols());
        assert_eq!((k, out.rows(), out.cols()), (self.shape.k, m, self.shape.n), "shapes of a product");
        let x = x.int8(ctx, how.rounding);
        let out = out.shared();
        expand::each_run(ctx, self.shape.n.div_ceil(PANEL), |panels, scratch| {
            // SAFETY: runs are disjoint, and each panel has the columns of its own sixteen rows.
            self.format.visit(Multiply {
                w: self,
                isa: ctx.isa(),
                codes: how.codes,
                panels,
                x,
                out,
                scratch,
            });
        });
    }

    fn view(&self, panel: usize) -> PanelBytes<'_> {
        let params = &self.params.bytes()[panel * self.panel.params..][..self.panel.params];
        PanelBytes {
            codes: &self.codes.bytes()[panel * self.panel.codes..][..self.panel.codes],
            params: bytemuck::cast_slice(params),
        }
    }
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Packed({}, {}, {} bytes)", self.format.label(), self.shape, self.bytes())
    }
}

/// Source bytes after which pages are given back.
const RELEASE: usize = 1 << 20;

/// The two streams of one panel.
#[derive(Clone, Copy)]
struct PanelBytes<'a> {
    codes: &'a [u8],
    /// `[block][byte]` of sixteen rows.
    params: &'a [[u8; PANEL]],
}

impl PanelBytes<'_> {
    /// A stretch of whole blocks.
    fn part<C: BlockCodec>(self, weights: Range<usize>) -> Self {
        let of_codes = PANEL / 8 * const { InBlocks::<C>::BITS as usize };
        let of_params = const { elements::<C>().param_bytes() };
        Self {
            codes: &self.codes[weights.start * of_codes..weights.end * of_codes],
            params: &self.params
                [weights.start / C::WEIGHTS * of_params..weights.end / C::WEIGHTS * of_params],
        }
    }
}

/// Packs whole panels; what is missing to fill the last stays zero.
fn pack_run(
    isa: Isa,
    format: BlockFormat,
    rows: BlockRows<'_>,
    sizes: Sizes,
    codes: &mut [u8],
    params: &mut [u8],
    scratch: &mut Scratch,
) {
    let (expanded, q, floats) = scratch.take(PANEL * rows.k, PANEL * rows.k, 2 * PANEL * rows.k / 16);
    let row_bytes = rows.bytes.len() / rows.count.max(1);
    let panels = codes.chunks_exact_mut(sizes.codes).zip(0..rows.count.div_ceil(PANEL));
    for (codes, panel) in panels {
        let first = panel * PANEL;
        let count = (rows.count - first).min(PANEL);
        let bytes = &rows.bytes[first * row_bytes..][..count * row_bytes];
        let these = BlockRows { bytes, count, k: rows.k };
        expand::panel_codes(isa, format, these, expanded, q, floats);
        let params = &mut params[panel * sizes.params..][..sizes.params];
        format.visit(PackPanel { isa, rows: bytes, count, q, codes, params });
    }
}

struct PackPanel<'a> {
    isa: Isa,
    rows: &'a [u8],
    count: usize,
    /// Integers `[k / 4][16][4]`.
    q: &'a [i8],
    codes: &'a mut [u8],
    params: &'a mut [u8],
}

impl BlockVisitor for PackPanel<'_> {
    type Out = ();
    fn visit<C: BlockCodec>(self) {
        let Some(elements) = C::ELEMENTS else { return };
        pack_codes::<InBlocks<C>>(self.isa, self.q, self.codes);
        let row_bytes = self.rows.len() / self.count;
        for (r, row) in self.rows.chunks_exact(row_bytes).enumerate() {
            let mut at = r;
            for block in row.chunks_exact(C::BYTES) {
                for (from, to) in elements.params {
                    for byte in &block[*from..*to] {
                        self.params[at] = *byte;
                        at += PANEL;
                    }
                }
            }
        }
    }
}

multiversion! {
    pub(crate) fn pack_codes<C: Coded>(q: &[i8], codes: &mut [u8]) = fields::pack_panel::<C>;
}

multiversion! {
    pub(crate) fn unpack_codes<C: Coded>(codes: &[u8], raise: u8, q: &mut [i8]) = fields::unpack_panel::<C>;
}

multiversion! {
    fn unpack_params<C: BlockCodec>(panel: PanelBytes<'_>, tensor_scale: f32, s: &mut [f32], c: &mut [f32])
        = params_of_panel::<C>;
}

/// Scales and offsets of a panel, `[k / group][16]`.
#[inline(always)]
fn params_of_panel<C: BlockCodec>(panel: PanelBytes<'_>, tensor_scale: f32, s: &mut [f32], c: &mut [f32]) {
    let groups = C::WEIGHTS / C::GROUP;
    let (s, c) = (s.as_chunks_mut::<PANEL>().0, c.as_chunks_mut::<PANEL>().0);
    for (b, (s, c)) in s.chunks_exact_mut(groups).zip(c.chunks_exact_mut(groups)).enumerate() {
        C::params(block_params::<C>(panel, b), tensor_scale, s, c);
    }
}

/// The parameter bytes of block `b`.
#[inline(always)]
fn block_params<C: BlockCodec>(panel: PanelBytes<'_>, b: usize) -> &[[u8; PANEL]] {
    let bytes = const { elements::<C>().param_bytes() };
    &panel.params[b * bytes..][..bytes]
}

/// The codes of a block format.
struct InBlocks<C>(std::marker::PhantomData<C>);

impl<C: BlockCodec> Coded for InBlocks<C> {
    const BITS: u32 = elements::<C>().bits;
    const VALUES: block::Values = elements::<C>().values;
}

/// The elements of a format that is packed.
const fn elements<C: BlockCodec>() -> Elements {
    match C::ELEMENTS {
        Some(elements) => elements,
        // Never run: such formats are not packed. Constants are evaluated for them all the same.
        None => Elements { bits: 8, values: block::Values::From(-128), params: &[] },
    }
}

struct Multiply<'a> {
    w: &'a Packed,
    isa: Isa,
    codes: Codes,
    panels: Range<usize>,
    x: &'a Int8Acts,
    out: SharedMut<'a>,
    scratch: &'a mut Scratch,
}

impl BlockVisitor for Multiply<'_> {
    type Out = ();
    fn visit<C: BlockCodec>(self) {
        let Self { w, isa, codes, panels, x, out, scratch } = self;
        #[cfg(target_arch = "x86_64")]
        if isa.level() == crate::IsaLevel::Avx512 && codes == Codes::InRegisters {
            // SAFETY: the ISA value proves the instructions; the contract on `out` is passed on.
            return unsafe { avx512::few::<C>(w, panels, x, out) };
        }
        let _ = codes;
        let k = w.shape.k;
        let step = expand::stretch(isa, k);
        let groups = step / C::GROUP;
        let raised = Raised::of::<InBlocks<C>>(isa);
        let (_, q, floats) = scratch.take(0, PANEL * step, PANEL * (2 * groups + x.rows()));
        let (s, floats) = floats.split_at_mut(PANEL * groups);
        let (c, sums) = floats.split_at_mut(PANEL * groups);
        let stretch = |index, start: usize| w.view(index).part::<C>(start..(start + step).min(k));
        let each = panels.clone().flat_map(|index| (0..k).step_by(step).map(move |start| (index, start)));
        for (index, start) in each {
            let bytes = stretch(index, start);
            let len = (k - start).min(step);
            let (q, params) = (&mut q[..PANEL * len], PANEL * len / C::GROUP);
            let (s, c) = (&mut s[..params], &mut c[..params]);
            unpack_codes::<InBlocks<C>>(isa, bytes.codes, raised.by, q);
            unpack_params::<C>(isa, bytes, w.tensor_scale, s, c);
            let first = index * PANEL;
            let next = match (index + 1, start + len) {
                (_, start) if start < k => Some(stretch(index, start)),
                (index, _) if index < panels.end => Some(stretch(index, 0)),
                _ => None,
            };
            let ahead = next.map_or(Ahead::default(), |next| Ahead([next.codes, next.params.as_flattened()]));
            let c = if C::OFFSETS { &*c } else { &[] };
            let panel = Panel { q, raised, s, c, group: C::GROUP, start, k: len, ahead };
            let rows = (w.shape.n - first).min(PANEL);
            // SAFETY: the contract on `out` is passed on.
            unsafe { expand::multiply_panel(isa, &panel, x, sums, (out, first, rows)) };
        }
    }
}

// A chunk is whole for every format: K is a multiple of the 32 weights that share a scale of activations.
const _: () = assert!(CHUNK == crate::ACT_GROUP);
