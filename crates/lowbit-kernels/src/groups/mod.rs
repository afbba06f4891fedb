//! Integers in groups, of two to eight bits: sixteen rows side by side, multiplied as bytes by whole groups.
//!
//! Formats of lowbit's own have scales for 32 weights or more. A sum of products over all weights of a scale is one
//! integer where activations have their scales for the same weights, or one for a token, so that little but
//! multiplying bytes is left: for row `n`, token `m` and groups `g`, in order,
//!
//! ```text
//! acc ← fma(float(Σ (code[n, k] − 2ᵇ⁻¹) · xq[m, k]), s[n, g] · d[m, g], acc)
//! acc ← fma((2ᵇ⁻¹ − zero[n, g]) · s[n, g], d[m, g] · Σ xq[m, k], acc)             where the format has zero points
//! ```
//!
//! with exact integer sums. Groups of more than 256 weights are cut into equal parts, rows with one scale into runs of
//! 256. [`crate::reference::groups`] computes the same in plain loops.
//!
//! - [`layout`]: how a matrix lies in memory;
//! - `avx512`: four panels at once, for one token four streams of memory; codes of eight bits are multiplied from where
//!   they lie. Other levels unpack a panel to bytes and go on as [`mod@crate::expand`] does.

#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod layout;

use crate::{
    Act, Codes, Ctx, Int8Acts, Integers, Isa, MatMut, SharedMut,
    ctx::Scratch,
    expand::{self, PANEL, Panel, Raised},
    packed::{fields::Middle, unpack_codes},
    pages::Pages,
    panels::pack_panels,
    streams::Ahead,
};
use layout::Layout;
use lowbit_format::{NK, QuantTensor, TensorData, WeightSpec};
use std::ops::Range;

/// Panels that are multiplied at once where a level can, and as many streams of memory.
const STREAMS: usize = 4;

/// Tasks for each worker: they even out workers of different speed.
const TASKS: usize = 4;

/// Evaluates an expression with a constant in place of a number of bits, 2 to 8.
macro_rules! with_bits {
    ($bits:expr, $constant:ident => $body:expr) => {
        match $bits {
            2 => {
                const $constant: u32 = 2;
                $body
            }
            3 => {
                const $constant: u32 = 3;
                $body
            }
            4 => {
                const $constant: u32 = 4;
                $body
            }
            5 => {
                const $constant: u32 = 5;
                $body
            }
            6 => {
                const $constant: u32 = 6;
                $body
            }
            7 => {
                const $constant: u32 = 7;
                $body
            }
            _ => {
                const $constant: u32 = 8;
                $body
            }
        }
    };
}
use with_bits;

/// A weight matrix `W[N, K]` of grouped integers, arranged for products on this machine.
pub struct PackedGroups {
    spec: WeightSpec,
    shape: NK,
    layout: Layout,
    bytes: Pages,
}

impl PackedGroups {
    /// Rearranges a tensor on the workers of `ctx`; `None` where its format is not integers of two to eight bits with one
    /// level of scales in f16 or f32 for a multiple of 32 weights, a row or the tensor, or where there is no memory for a
    /// second copy.
    ///
    /// The tensor's own pages are given back, where they are those of a mapped file.
    pub fn new(ctx: &Ctx, w: &QuantTensor) -> Option<Self> {
        let TensorData::Grouped(grouped) = w.data() else { return None };
        let shape = w.shape();
        let layout = Layout::of(grouped.spec(), shape.k)?;
        let panels = shape.n.div_ceil(PANEL);
        let mut bytes = ctx.arena().pages(panels * layout.panel_bytes())?;
        let panel = (PANEL, layout.panel_bytes());
        pack_panels(ctx, grouped, &mut bytes, panel, |rows, target| layout.pack(ctx.isa(), rows, target));
        Some(Self { spec: w.spec(), shape, layout, bytes })
    }

    /// N and K.
    pub fn shape(&self) -> NK {
        self.shape
    }

    /// What the weights are stored as.
    pub fn spec(&self) -> &WeightSpec {
        &self.spec
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.bytes.bytes().len()
    }

    /// Rounds activations to what the weights are multiplied with, unless it is done.
    pub(crate) fn prepare(&self, ctx: &Ctx, x: &Act<'_>, rounding: crate::ActRounding) {
        x.int8_by_weights(ctx, rounding, self.layout.group);
    }

    /// `out[M, N] = x[M, K] · W[N, K]ᵀ`, with activations rounded by the groups of the weights, or by token where `how` says
    /// so. Levels that do not take codes apart in registers expand them: the result has the same bits.
    ///
    /// # Panics
    /// Where the shapes do not fit.
    pub fn multiply(&self, ctx: &Ctx, x: &Act<'_>, how: Integers, mut out: MatMut<'_>) {
        let (m, k) = (x.x().rows(), x.x().cols());
        assert_eq!((k, out.rows(), out.cols()), (self.shape.k, m, self.shape.n), "shapes of a product");
        let acts = x.int8_by_weights(ctx, how.rounding, self.layout.group);
        let panels = self.shape.n.div_ceil(PANEL);
        let share = panels.div_ceil(ctx.threads());
        let run = if share < STREAMS { 1 } else { (share / TASKS).next_multiple_of(STREAMS).max(STREAMS) };
        let out = out.shared();
        ctx.run(panels.div_ceil(run), |task, scratch| {
            let panels = task * run..((task + 1) * run).min(panels);
            let task = Task { w: self, x: &acts, codes: how.codes, panels, out };
            // SAFETY: tasks have disjoint panels, and each panel the columns of its own rows.
            unsafe { task.run(ctx.isa(), scratch) }
        });
    }

    fn panel(&self, panel: usize) -> &[u8] {
        self.neighbours(panel..panel + 1)
    }

    /// The bytes of some panels.
    fn neighbours(&self, panels: Range<usize>) -> &[u8] {
        let bytes = self.layout.panel_bytes();
        &self.bytes.bytes()[panels.start * bytes..][..panels.len() * bytes]
    }

    /// Rows of a panel that exist.
    fn rows(&self, panel: usize) -> usize {
        (self.shape.n - panel * PANEL).min(PANEL)
    }
}

impl std::fmt::Debug for PackedGroups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedGroups({}, {}, {} bytes)", self.spec, self.shape, self.bytes())
    }
}

/// Some panels times all rows of activations.
struct Task<'a> {
    w: &'a PackedGroups,
    x: &'a Int8Acts,
    codes: Codes,
    panels: Range<usize>,
    out: SharedMut<'a>,
}

impl Task<'_> {
    /// The bytes of those of some panels that are this task's too.
    #[cfg(target_arch = "x86_64")]
    fn after(&self, panels: Range<usize>) -> &[u8] {
        self.w.neighbours(panels.start.min(self.panels.end)..panels.end.min(self.panels.end))
    }

    /// # Safety
    /// - Nobody else refers to the columns of these panels in `out`.
    unsafe fn run(&self, isa: Isa, scratch: &mut Scratch) {
        #[cfg(target_arch = "x86_64")]
        if isa.level() == crate::IsaLevel::Avx512 {
            // SAFETY: the ISA value proves the instructions; the contract on `out` is passed on.
            return unsafe {
                match self.codes {
                    Codes::InRegisters => avx512::few(self),
                    Codes::Expanded => avx512::many(isa, self, scratch),
                }
            };
        }
        let _ = self.codes;
        let layout = &self.w.layout;
        let step = expand::stretch(isa, layout.k).div_ceil(layout.group).max(1);
        let params = PANEL * layout.groups.len();
        let most = (step * layout.group).min(layout.k);
        let (_, q, floats) = scratch.take(0, PANEL * most, 2 * params + PANEL * self.x.rows());
        let (s, floats) = floats.split_at_mut(params);
        let (c, sums) = floats.split_at_mut(params);
        let raised = with_bits!(layout.bits, BITS => Raised::of::<Middle<BITS>>(isa));
        for index in self.panels.clone() {
            let bytes = self.w.panel(index);
            layout::unpack_params(isa, layout, bytes, s, c);
            for (i, places) in layout.groups.chunks(step).enumerate() {
                let groups = i * step..i * step + places.len();
                let (start, k) = (places[0].start, places.iter().map(|place| place.len).sum());
                let q = &mut q[..PANEL * k];
                unpack(isa, layout, bytes, groups.clone(), raised.by, q);
                let params = PANEL * groups.start..PANEL * groups.end;
                let c = if layout.offsets() { &c[params.clone()] } else { &[] };
                // Nothing is asked for: it costs a tenth to a fifth more instructions for one row, and its gain was not measured.
                let ahead = Ahead::default();
                let panel = Panel { q, raised, s: &s[params], c, group: layout.group, start, k, ahead };
                // SAFETY: the contract on `out` is passed on.
                unsafe {
                    let target = (self.out, index * PANEL, self.w.rows(index));
                    expand::multiply_panel(isa, &panel, self.x, sums, target);
                }
            }
        }
    }
}

/// The integers of some groups of a panel, `[k / 4][16][4]`, each plus `raise`.
fn unpack(isa: Isa, layout: &Layout, panel: &[u8], groups: Range<usize>, raise: u8, q: &mut [i8]) {
    let mut q = q;
    for place in &layout.groups[groups] {
        let (these, rest) = q.split_at_mut(place.len * PANEL);
        q = rest;
        let codes = layout.codes(panel, *place);
        with_bits!(layout.bits, BITS => unpack_codes::<Middle<BITS>>(isa, codes, raise, these));
    }
}
