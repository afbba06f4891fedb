//! Many tokens: codes of a panel are expanded from bit planes to bytes once and multiplied with all of them.
//!
//! A look-up costs the same for every token, so that with four planes, and sixty-four weights a multiplication, multiplying
//! is faster where expanding is done for enough tokens. Sums of a group are exact integers of the same meaning as looked-up
//! ones ([`crate::lut`]), and scaled likewise: with activations of 16 bits, which are two terms of 8, products have the
//! same bits as by look-up.

use super::{
    LutWeights,
    acts::{Form, TableActs},
    layout::PANEL,
};
#[cfg(target_arch = "x86_64")]
use super::{expand_avx2, expand_avx512};
use crate::{Act, ActRounding, Ctx, IsaLevel, MatMut, SharedMut, ctx::Scratch};
use std::ops::Range;

/// Tasks for each worker: they even out workers of different speed.
const TASKS: usize = 4;

/// Bytes of expanded codes that are multiplied with all tokens before the next: with the sums, less than a second cache.
const CODES: usize = 128 << 10;

/// Most tokens whose sums are kept meanwhile.
const PASS: usize = 512;

impl LutWeights {
    /// Whether codes of this layout are expanded at a level: bits are, and with the instructions for it.
    pub(crate) fn expands(ternary: bool, isa: IsaLevel) -> bool {
        !ternary && matches!(isa, IsaLevel::Avx2 | IsaLevel::Avx512)
    }

    /// Whether [`Self::multiply_expanded`] can be called at a level.
    pub fn can_expand(&self, isa: IsaLevel) -> bool {
        Self::expands(self.layout.ternary, isa)
    }

    /// Rounds activations to what expanded codes are multiplied with, unless it is done.
    pub(crate) fn prepare_expanded(&self, ctx: &Ctx, x: &Act<'_>, rounding: ActRounding) {
        x.tables(ctx, &self.layout, Form::expanded(rounding)).terms();
    }

    /// `out[M, N] = x[M, K] · W[N, K]ᵀ` by expansion, with activations in one or two terms of 8 bits as `rounding` has them, and
    /// scales for the groups of the weights.
    ///
    /// # Panics
    /// Where the shapes do not fit, or the format or the level has no such kernel: see [`Self::can_expand`].
    pub fn multiply_expanded(&self, ctx: &Ctx, x: &Act<'_>, rounding: ActRounding, mut out: MatMut<'_>) {
        let (m, k) = (x.x().rows(), x.x().cols());
        assert_eq!((k, out.rows(), out.cols()), (self.shape.k, m, self.shape.n), "shapes of a product");
        assert!(Self::expands(self.layout.ternary, ctx.isa().level()), "a level and format that expand");
        let acts = x.tables(ctx, &self.layout, Form::expanded(rounding));
        // Made before workers would wait for it.
        acts.terms();
        let panels = self.shape.n.div_ceil(PANEL);
        let run = panels.div_ceil(ctx.threads() * TASKS).max(1);
        let out = out.shared();
        ctx.run(panels.div_ceil(run), |task, scratch| {
            for panel in task * run..((task + 1) * run).min(panels) {
                // SAFETY: tasks have disjoint panels, and each panel the columns of its own rows.
                unsafe { self.multiply_panel(ctx, panel, &acts, out, scratch) }
            }
        });
    }

    /// # Safety
    /// - Nobody else refers to the columns of this panel in `out`.
    unsafe fn multiply_panel(
        &self,
        ctx: &Ctx,
        panel: usize,
        acts: &TableActs,
        out: SharedMut<'_>,
        scratch: &mut Scratch,
    ) {
        let layout = &self.layout;
        let group_codes = PANEL * 8 * layout.lookups;
        let step = (CODES / group_codes).clamp(1, layout.groups);
        let most = acts.tokens().min(PASS);
        let (codes, _, sums) = scratch.take(step * group_codes, 0, most * PANEL);
        let codes: &mut [u8] = bytemuck::cast_slice_mut(codes);
        let sums = sums.as_chunks_mut::<PANEL>().0;
        for first in (0..acts.tokens()).step_by(PASS) {
            let tokens = first..(first + PASS).min(acts.tokens());
            let sums = &mut sums[..tokens.len()];
            sums.fill([0.0; PANEL]);
            for start in (0..layout.groups).step_by(step) {
                let groups = start..(start + step).min(layout.groups);
                let part = Part { w: self.panel(panel), acts, tokens: tokens.clone(), groups };
                part.run(ctx, self, codes, sums);
            }
            let rows = (self.shape.n - panel * PANEL).min(PANEL);
            for (token, sums) in tokens.zip(sums) {
                // SAFETY: passed on.
                unsafe { out.part(token, panel * PANEL, rows) }.copy_from_slice(&sums[..rows]);
            }
        }
    }
}

/// A stretch of groups of a panel times some tokens.
pub(super) struct Part<'a> {
    /// The panel's bytes.
    pub(super) w: &'a [u8],
    pub(super) acts: &'a TableActs,
    pub(super) tokens: Range<usize>,
    pub(super) groups: Range<usize>,
}

impl Part<'_> {
    /// Adds to the sums of sixty-four rows of every token. `codes` has room for the groups' bytes.
    fn run(&self, ctx: &Ctx, w: &LutWeights, codes: &mut [u8], sums: &mut [[f32; PANEL]]) {
        /// A level's function for the planes of the layout.
        #[cfg(target_arch = "x86_64")]
        macro_rules! multiply {
            ($level:ident) => {
                match w.layout.planes {
                    1 => $level::multiply::<1>(self, &w.layout, codes, sums),
                    2 => $level::multiply::<2>(self, &w.layout, codes, sums),
                    3 => $level::multiply::<3>(self, &w.layout, codes, sums),
                    _ => $level::multiply::<4>(self, &w.layout, codes, sums),
                }
            };
        }
        match ctx.isa().level() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the ISA value proves the instructions.
            IsaLevel::Avx512 => unsafe { multiply!(expand_avx512) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the ISA value proves the instructions.
            IsaLevel::Avx2 => unsafe { multiply!(expand_avx2) },
            level => unreachable!("{level} has no kernel that expands bit planes"),
        }
    }
}
