//! T-MAC: products by table look-up, bit plane by bit plane, without turning codes into weights.
//!
//! A code of `b` bits is `(2^b − 1)/2 + ½ Σₚ 2ᵖ σₚ` with signs `σₚ = ±1`, so a product with activations is a sum over bit
//! planes of signed sums of activations. The signs of eight neighbours in one plane are one byte, and the 256 signed
//! sums of the eight activations they meet are computed once for all rows: a row costs one look-up for eight weights
//! and plane. Ternary weights go five to a byte, as their value in base three. Where instructions look up 16 entries at a
//! time, it is four weights, and three ternary ones. See `docs/tmac.md`.
//!
//! - [`layout`]: what bytes a matrix becomes, offline;
//! - [`acts`]: activations as integers, and the tables made from them, on line;
//! - [`nibble`]: tables of sixteen entries;
//! - [`scalar`], `avx2`, `avx512`, `neon`: the kernels;
//! - [`expand`]: the same product without tables, for many tokens.
//!
//! # What is computed
//! For row `n`, token `m` and groups `g` of weights, in order, with exact integer sums `I` of looked-up entries:
//!
//! ```text
//! t   ← fma(z[n, g], X[m, g], bias[m, g])
//! t   ← fma(float(I), d[m, g], t)
//! acc ← fma(t, s[n, g], acc)
//! ```
//!
//! Entries are unsigned; what that adds is what `I` starts below zero, but for a half that may be left and that `bias` is,
//! times the step `d`. `X` is the sum of the activations and `z` what the middle of the codes is above the zero point.
//! [`crate::reference::lut`] computes the same in plain loops.

mod acts;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_tables;
mod expand;
#[cfg(target_arch = "x86_64")]
mod expand_avx2;
#[cfg(target_arch = "x86_64")]
mod expand_avx512;
pub(crate) mod layout;
#[cfg(target_arch = "aarch64")]
mod neon;
pub(crate) mod nibble;
mod scalar;
mod terms;
#[cfg(test)]
mod worked_example;

pub use acts::TableBits;
pub(crate) use acts::{Form, Key, Table, TableActs};

use crate::{
    Act, Ctx, Isa, IsaLevel, MatMut, SharedMut,
    ctx::{OwnTables, Scratch},
    pages::Pages,
    panels::pack_panels,
    streams::{pieces, side_by_side},
};
use layout::{Layout, PANEL, Params};
use lowbit_format::{NK, QuantTensor, TensorData, WeightSpec};
use std::ops::Range;

/// Panels at a time for one token, with one bit plane and with more: as many streams of memory are what a core needs to
/// reach its share of bandwidth, and more lines at a time are more than the hardware follows.
const STREAMS: [usize; 2] = [8, 4];

/// Bit planes from which on panels of one token go one by one with tables of 128 entries: their sums would fill the registers
/// that two panels need for tables.
const ALONE: usize = 3;

/// Tasks for each worker when tables are made before the product: they even out workers of different speed.
const TASKS: usize = 4;

/// Most panels of a task when tokens are many: their sums stay in the second cache, and making tables is little beside
/// multiplying so many rows with them.
const LONG: usize = 64;

/// Bytes of tables that a worker goes through with all its panels before it takes the next: half a first-level cache.
const TABLES: usize = 16 << 10;

/// Most tokens that a task goes on with before it starts again with the first columns.
const PASS: usize = 64;

/// How sums of activations are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lookup {
    /// How exact entries are.
    pub bits: TableBits,
    /// When tables are made.
    pub tables: Tables,
}

/// When tables are made of activations. Products have the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tables {
    /// Of all tokens before the product, once for every weight that reads the same activations: by each worker for itself where they
    /// fit its cache, else by one for all.
    Once,
    /// Of a few tokens and columns at a time, by each task for itself: they stay in its cache.
    Tiled,
}

/// A weight matrix `W[N, K]` as bytes to be looked up.
pub struct LutWeights {
    spec: WeightSpec,
    shape: NK,
    layout: Layout,
    bytes: Pages,
}

impl LutWeights {
    /// Rearranges a tensor on the workers of `ctx`; `None` where the format is not one to four bits or ternary with one
    /// level of scales for at least 32 weights, or where there is no memory for a second copy.
    ///
    /// The bytes depend on the width of the tables of the context's instruction set: multiply with the same.
    pub fn new(ctx: &Ctx, w: &QuantTensor) -> Option<Self> {
        let TensorData::Grouped(grouped) = w.data() else { return None };
        let shape = w.shape();
        let layout = Layout::of(grouped.spec(), shape.k, Table::of(ctx.isa()))?;
        let panels = shape.n.div_ceil(PANEL);
        let mut bytes = ctx.arena().pages(panels * layout.panel_bytes())?;
        let panel = (PANEL, layout.panel_bytes());
        pack_panels(ctx, grouped, &mut bytes, panel, |rows, target| layout.pack(rows, target));
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

    /// Rounds activations, and makes their tables where that is done once, unless it is done.
    pub fn prepare(&self, ctx: &Ctx, x: &Act<'_>, how: Lookup) {
        let acts = x.tables(ctx, &self.layout, Form::Tables(how.bits));
        if how.tables == Tables::Once {
            ctx.run(ctx.threads(), |_, scratch| match acts.own(ctx.isa(), scratch) {
                Some(own) => scratch.keep(own),
                None => _ = acts.built(ctx.isa()),
            });
        }
    }

    /// `out[M, N] = x[M, K] · W[N, K]ᵀ` by look-up.
    ///
    /// # Panics
    /// Where the shapes do not fit, or the context has tables of another width than the one the weights were arranged for.
    pub fn multiply(&self, ctx: &Ctx, x: &Act<'_>, how: Lookup, mut out: MatMut<'_>) {
        let (m, k) = (x.x().rows(), x.x().cols());
        assert_eq!((k, out.rows(), out.cols()), (self.shape.k, m, self.shape.n), "shapes of a product");
        assert_eq!(self.layout.table, Table::of(ctx.isa()), "weights arranged for another instruction set");
        let acts = x.tables(ctx, &self.layout, Form::Tables(how.bits));
        let once = how.tables == Tables::Once;
        let panels = self.shape.n.div_ceil(PANEL);
        let share = panels.div_ceil(ctx.threads());
        let streams = Most::of(ctx.isa(), &self.layout, how.bits).panels(1);
        let run = match once {
            true if share < streams => 1,
            true => (share / TASKS).next_multiple_of(streams).max(streams),
            false => share.div_ceil(share.div_ceil(LONG)),
        };
        let out = out.shared();
        ctx.run(panels.div_ceil(run), |task, scratch| {
            let own = if once { acts.own(ctx.isa(), scratch) } else { None };
            let built = match &own {
                None if once => Some(acts.built(ctx.isa())),
                own => own.as_ref().map(OwnTables::bytes),
            };
            let panels = task * run..((task + 1) * run).min(panels);
            let task = Task { w: self, acts: &acts, built, panels, out };
            // SAFETY: tasks have disjoint panels, and each panel the columns of its own rows.
            unsafe { task.run(ctx.isa(), scratch) }
            own.into_iter().for_each(|own| scratch.keep(own));
        });
    }

    fn panel(&self, panel: usize) -> &[u8] {
        let bytes = self.layout.panel_bytes();
        &self.bytes.bytes()[panel * bytes..][..bytes]
    }
}

impl std::fmt::Debug for LutWeights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LutWeights({}, {}, {} bytes)", self.spec, self.shape, self.bytes())
    }
}

/// Some panels times all tokens.
struct Task<'a> {
    w: &'a LutWeights,
    acts: &'a TableActs,
    /// The tables of all tokens, where there are few.
    built: Option<&'a [u8]>,
    panels: Range<usize>,
    out: SharedMut<'a>,
}

/// A stretch of groups of some panels times some tokens: what a level's kernel computes.
struct Tile<'a> {
    layout: &'a Layout,
    params: Params,
    panels: &'a [&'a [u8]],
    acts: &'a TableActs,
    /// The tables of the tile's groups, `[token][group][look-up]`.
    tables: &'a [u8],
    /// Bytes of a token's tables.
    token_stride: usize,
    tokens: Range<usize>,
    groups: Range<usize>,
}

impl Task<'_> {
    /// # Safety
    /// - Nobody else refers to the columns of these panels in `out`.
    unsafe fn run(&self, isa: Isa, scratch: &mut Scratch) {
        let most = Most::of(isa, &self.w.layout, self.acts.bits());
        let streams = if self.acts.tokens() == 1 { most.panels(1) } else { 1 };
        let order = side_by_side(self.panels.clone(), streams);
        let panels: Vec<_> = order.iter().map(|panel| self.w.panel(*panel)).collect();
        for first in (0..self.acts.tokens()).step_by(PASS) {
            let tokens = first..(first + PASS).min(self.acts.tokens());
            // SAFETY: passed on.
            unsafe { self.pass(isa, most, (&order, &panels), tokens, scratch) }
        }
    }

    /// # Safety
    /// - As for [`Self::run`].
    unsafe fn pass(
        &self,
        isa: Isa,
        most: Most,
        (order, panels): (&[usize], &[&[u8]]),
        tokens: Range<usize>,
        scratch: &mut Scratch,
    ) {
        let layout = &self.w.layout;
        let group_bytes = layout.lookups * self.acts.lookup_bytes();
        // Made tables are read from the first column to the last, which is how memory is fastest.
        let step = match self.built {
            Some(_) => layout.groups,
            None => (TABLES / (group_bytes * most.tokens)).max(1),
        };
        let own = if self.built.is_some() { 0 } else { step * group_bytes * most.tokens };
        let (made, _, sums) = scratch.take(own, 0, panels.len() * PANEL * tokens.len());
        let made: &mut [u8] = bytemuck::cast_slice_mut(made);
        // `[tile of tokens][panel][token][row]`
        let sums = sums.as_chunks_mut::<PANEL>().0;
        sums.fill([0.0; PANEL]);
        for start in (0..layout.groups).step_by(step) {
            let groups = start..(start + step).min(layout.groups);
            for some in pieces(tokens.clone(), most.tokens) {
                let (tables, token_stride): (&[u8], usize) = match self.built {
                    Some(built) => {
                        let whole = layout.groups * group_bytes;
                        (&built[some.start * whole + start * group_bytes..], whole)
                    }
                    None => {
                        let stride = groups.len() * group_bytes;
                        for (token, table) in some.clone().zip(made.chunks_exact_mut(stride)) {
                            self.acts.build(isa, token, groups.clone(), table);
                        }
                        (made, stride)
                    }
                };
                let sums = &mut sums[(some.start - tokens.start) * panels.len()..];
                for these in pieces(0..panels.len(), most.panels(some.len())) {
                    let sums = &mut sums[these.start * some.len()..these.end * some.len()];
                    let tile = Tile {
                        layout,
                        params: layout.params,
                        panels: &panels[these],
                        acts: self.acts,
                        tables,
                        token_stride,
                        tokens: some.clone(),
                        groups: groups.clone(),
                    };
                    tile.run(isa, sums);
                }
            }
        }
        let mut sums = sums.iter();
        for some in pieces(tokens, most.tokens) {
            for first in order.iter().map(|panel| panel * PANEL) {
                let rows = (self.w.shape.n - first).min(PANEL);
                for (token, sums) in some.clone().zip(&mut sums) {
                    // SAFETY: passed on.
                    unsafe { self.out.part(token, first, rows) }.copy_from_slice(&sums[..rows]);
                }
            }
        }
    }
}

/// How much a kernel takes at a time, powers of two.
#[derive(Clone, Copy)]
struct Most {
    /// Tokens of one panel.
    tokens: usize,
    /// Panels times tokens for which registers have room, where several panels are taken at a time.
    blocks: usize,
    /// Panels of one token that are as many streams as memory is read best in.
    streams: usize,
    /// Whether panels of one token go one by one, and need no registers at the same time.
    alone: bool,
}

impl Most {
    fn of(isa: Isa, layout: &Layout, bits: TableBits) -> Self {
        // Vectors of sums for a panel and token, of which there may be sixteen.
        let vectors = layout.planes.next_multiple_of(2) * bits.bytes();
        let streams = STREAMS[usize::from(layout.planes > 1)];
        let (tokens, blocks) = match (isa.level(), layout.planes, bits) {
            (IsaLevel::Avx512, 3.., TableBits::Sixteen) | (IsaLevel::Avx512, 1, TableBits::Eight) => {
                (2, 16 / vectors)
            }
            (IsaLevel::Avx512, ..) => (4, 16 / vectors),
            (IsaLevel::Avx2, 3.., TableBits::Sixteen) => (1, 1),
            (IsaLevel::Avx2, 3.., _) | (IsaLevel::Avx2, _, TableBits::Sixteen) => (2, 1),
            (IsaLevel::Avx2, ..) => (4, 1),
            (IsaLevel::Neon | IsaLevel::Dotprod, _, TableBits::Sixteen) => (2, 1),
            (IsaLevel::Neon | IsaLevel::Dotprod, ..) => (4, 1),
            _ => (1, 1),
        };
        let alone = isa.level() == IsaLevel::Avx512 && layout.planes >= ALONE;
        Self { tokens, blocks, streams, alone }
    }

    /// Panels for so many tokens: for one as many streams of memory, for more than two one.
    fn panels(self, tokens: usize) -> usize {
        match tokens {
            1 if self.alone => self.streams,
            1 => self.blocks.min(self.streams),
            2 => (self.blocks / tokens).clamp(1, 4),
            _ => 1,
        }
    }
}

impl Tile<'_> {
    /// Adds to the sums `[panel][token]` of sixty-four rows.
    fn run(&self, isa: Isa, sums: &mut [[f32; PANEL]]) {
        match isa.level() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the ISA value proves the instructions.
            IsaLevel::Avx512 => unsafe { avx512::tile(self, sums) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the ISA value proves the instructions.
            IsaLevel::Avx2 => unsafe { avx2::tile(self, sums) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: the ISA value proves the instructions.
            IsaLevel::Neon | IsaLevel::Dotprod => unsafe { neon::tile(self, sums) },
            _ => scalar::tile(self, sums),
        }
    }
}
