//! How groups of integers lie in memory: sixteen rows side by side, scales in front of the codes that they belong to.
//!
//! A panel of sixteen rows is one stream. Codes come in chunks of 32 weights of each row, in fields of 8, 4, 2 and 1
//! bits as [`crate::packed::fields`] has them: those of eight bits are bytes, four weights of a row side by side. Before
//! the codes of some groups are the scales of sixteen rows for each of these, then their zero points. As many groups
//! share such a header as make it a multiple of 64 bytes, so that no vector of codes crosses a cache line.

use crate::{
    Isa,
    expand::PANEL,
    int8_acts::LONGEST_SPAN,
    isa::multiversion,
    packed::{
        fields::{CHUNK, Middle},
        pack_codes,
    },
    param::Number,
};
use lowbit_format::{ElementFormat, GroupShape, GroupedSpec, GroupedTensor, ScaleLevel, ZeroPoint};

/// Bytes of a cache line.
const LINE: usize = 64;

/// How a matrix with K columns is cut up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Bits of a code.
    pub(super) bits: usize,
    /// Weights whose sum is one integer: all that share a scale, or equal parts of them.
    pub(crate) group: usize,
    /// Columns, filled up to whole chunks.
    pub(super) k: usize,
    pub(super) params: Params,
    /// The groups of a row.
    pub(super) groups: Vec<Place>,
    panel_bytes: usize,
}

/// Where a group of a panel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// First byte of the scales of sixteen rows.
    pub(super) scales: usize,
    /// First byte of their zero points.
    pub(super) zeros: usize,
    /// First byte of the codes.
    pub(super) codes: usize,
    /// First weight.
    pub(super) start: usize,
    /// Weights, a multiple of 32.
    pub(super) len: usize,
}

/// How scales and zero points are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Params {
    pub(super) scale: Number,
    pub(super) zero: Zero,
    /// The code that kernels have 0 at, `2ᵇ⁻¹`.
    pub(super) middle: u8,
}

/// Where the zero point is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zero {
    /// In the middle.
    Middle,
    /// A code, a byte for every scale.
    Code,
    /// A number for every scale.
    Float(Number),
}

impl Params {
    fn of(spec: &GroupedSpec) -> Option<Self> {
        let ElementFormat::Int { bits, zero } = spec.element() else { return None };
        if bits.get() == 1 {
            return None;
        }
        let &[ScaleLevel { format, .. }] = spec.levels() else { return None };
        let zero = match zero {
            ZeroPoint::Symmetric => Zero::Middle,
            ZeroPoint::Integer => Zero::Code,
            ZeroPoint::Float => Zero::Float(Number::of(spec.zero_format()?)?),
        };
        Some(Self { scale: Number::of(format)?, zero, middle: 1 << (bits.get() - 1) })
    }

    /// Bytes of sixteen scales.
    fn scale_bytes(self) -> usize {
        self.scale.bytes(PANEL)
    }

    /// Bytes of as many zero points.
    fn zero_bytes(self) -> usize {
        match self.zero {
            Zero::Middle => 0,
            Zero::Code => PANEL,
            Zero::Float(float) => float.bytes(PANEL),
        }
    }

    /// The zero points of sixteen rows.
    #[inline(always)]
    fn zeros(self, bytes: &[u8], out: &mut [f32; PANEL]) {
        match self.zero {
            Zero::Middle => out.fill(f32::from(self.middle)),
            Zero::Code => out.iter_mut().zip(&bytes[..PANEL]).for_each(|(out, code)| *out = f32::from(*code)),
            Zero::Float(float) => float.get_sixteen(bytes, out),
        }
    }
}

impl Layout {
    /// The layout of a format, `None` where it has none.
    pub(crate) fn of(spec: &GroupedSpec, k: usize) -> Option<Self> {
        let params = Params::of(spec)?;
        let ElementFormat::Int { bits, .. } = spec.element() else { return None };
        let bits = bits.get() as usize;
        let k = k.next_multiple_of(CHUNK);
        let per_scale = match spec.levels()[0].shape {
            GroupShape::Row | GroupShape::Tensor => k.max(1),
            GroupShape::Group(size) if (size as usize).is_multiple_of(CHUNK) => size as usize,
            GroupShape::Group(_) | GroupShape::Column(_) => return None,
        };
        let group = match spec.levels()[0].shape {
            GroupShape::Group(_) => longest_part(per_scale),
            _ => LONGEST_SPAN,
        };
        let scale_bytes = params.scale_bytes() + params.zero_bytes();
        // Codes of a scale that is alone need no other beside it.
        let alone = k <= per_scale;
        let batch = (1..=LINE).find(|batch| alone || (batch * scale_bytes).is_multiple_of(LINE))?;
        let header = (batch * scale_bytes).next_multiple_of(LINE);
        let code_bytes = |weights: usize| weights * PANEL / 8 * bits;
        let groups = (0..k.div_ceil(group)).map(|g| {
            let start = g * group;
            let scale = start / per_scale;
            let first = scale / batch * batch;
            let at = scale / batch * header + code_bytes(first * per_scale);
            Place {
                scales: at + (scale - first) * params.scale_bytes(),
                zeros: at + batch * params.scale_bytes() + (scale - first) * params.zero_bytes(),
                codes: (scale / batch + 1) * header + code_bytes(start),
                start,
                len: group.min(k - start),
            }
        });
        let panel_bytes = k.div_ceil(per_scale).div_ceil(batch) * header + code_bytes(k);
        Some(Self { bits, group, k, params, groups: groups.collect(), panel_bytes })
    }

    /// Whether weights have offsets, as their zero point is not where kernels have it.
    pub(super) fn offsets(&self) -> bool {
        self.params.zero != Zero::Middle
    }

    /// Bytes of a panel, a multiple of 64.
    pub(super) fn panel_bytes(&self) -> usize {
        self.panel_bytes
    }

    /// The codes of a group.
    pub(super) fn codes<'a>(&self, panel: &'a [u8], place: Place) -> &'a [u8] {
        &panel[place.codes..][..place.len * PANEL / 8 * self.bits]
    }

    /// Arranges up to sixteen rows; what is missing to fill them is zero.
    pub(super) fn pack(&self, isa: Isa, rows: &GroupedTensor, panel: &mut [u8]) {
        let k = rows.shape().k;
        let (mut row, mut q) = (vec![0i8; k], vec![0i8; PANEL * self.k]);
        for r in 0..rows.shape().n {
            rows.codes().unpack_row(r, &mut row);
            for (from, to) in row.chunks(4).zip(q.chunks_exact_mut(4 * PANEL)) {
                for (to, code) in to[4 * r..].iter_mut().zip(from) {
                    *to = code.wrapping_sub(self.params.middle as i8);
                }
            }
            self.pack_params(r, rows, panel);
        }
        for place in &self.groups {
            let codes = &mut panel[place.codes..][..place.len * PANEL / 8 * self.bits];
            let q = &q[place.start * PANEL..][..place.len * PANEL];
            super::with_bits!(self.bits, BITS => pack_codes::<Middle<BITS>>(isa, q, codes));
        }
    }

    fn pack_params(&self, r: usize, rows: &GroupedTensor, panel: &mut [u8]) {
        let level = &rows.params().levels[0];
        let len = level.shape().len_in_row(self.k);
        for place in &self.groups {
            let i = place.start / len.max(1);
            self.params.scale.put(&mut panel[place.scales..], r, level.get(r, i));
            let Some(zeros) = &rows.params().zeros else { continue };
            match self.params.zero {
                Zero::Middle => {}
                Zero::Code => panel[place.zeros + r] = zeros.get(r, i) as u8,
                Zero::Float(float) => float.put(&mut panel[place.zeros..], r, zeros.get(r, i)),
            }
        }
    }
}

multiversion! {
    /// Scales and offsets of a panel, `[group][16]`: a weight is `(code − middle) · s + c`. Where all offsets are 0,
    /// they are left alone.
    pub(super) fn unpack_params(layout: &Layout, panel: &[u8], s: &mut [f32], c: &mut [f32]) = params_of_panel;
}

#[inline(always)]
fn params_of_panel(layout: &Layout, panel: &[u8], s: &mut [f32], c: &mut [f32]) {
    let params = layout.params;
    let (s, c) = (s.as_chunks_mut::<PANEL>().0, c.as_chunks_mut::<PANEL>().0);
    for (place, s) in layout.groups.iter().zip(&mut *s) {
        params.scale.get_sixteen(&panel[place.scales..], s);
    }
    if !layout.offsets() {
        return;
    }
    for ((place, s), c) in layout.groups.iter().zip(s).zip(c) {
        params.zeros(&panel[place.zeros..], c);
        for (c, s) in c.iter_mut().zip(s) {
            *c = (f32::from(params.middle) - *c) * *s;
        }
    }
}

/// The longest equal parts of a group of so many weights that are multiples of 32 and have one scale of activations.
fn longest_part(size: usize) -> usize {
    let parts = (1..=size / CHUNK).find(|n| size.is_multiple_of(n * CHUNK) && size / n <= LONGEST_SPAN);
    parts.map_or(CHUNK, |n| size / n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lowbit_format::WeightSpec;

    fn layout(label: &str, k: usize) -> Option<Layout> {
        match WeightSpec::parse(label).unwrap() {
            WeightSpec::Grouped(spec) => Layout::of(&spec, k),
            _ => None,
        }
    }

    #[test]
    fn codes_start_at_cache_lines_and_nothing_overlaps() {
        for label in
            ["sym-g32", "asym-g128", "fzero-g64", "asym-g64-f32", "fzero-g512-f32", "sym-row", "asym-tensor"]
        {
            for (bits, k) in [(5, 4096), (8, 1000), (7, 32)] {
                let l = layout(&format!("int{bits}-{label}"), k).unwrap();
                let mut used = vec![0u8; l.panel_bytes()];
                let mut mark = |at: usize, len: usize| used[at..at + len].iter_mut().for_each(|n| *n += 1);
                let mut last = None;
                for place in &l.groups {
                    assert!(place.codes.is_multiple_of(LINE), "{label} {place:?}");
                    mark(place.codes, place.len * 2 * bits);
                    if last.replace(place.scales) != Some(place.scales) {
                        mark(place.scales, l.params.scale_bytes());
                        mark(place.zeros, l.params.zero_bytes());
                    }
                }
                assert!(used.iter().all(|n| *n <= 1), "int{bits}-{label} {k}");
                // What is left fills headers, of which the last may be for fewer groups.
                let left = used.iter().filter(|n| **n == 0).count();
                assert!(
                    left < 4 * (l.params.scale_bytes() + l.params.zero_bytes()),
                    "int{bits}-{label} {k}: {left}"
                );
            }
        }
    }

    #[test]
    fn long_groups_are_cut_into_equal_parts() {
        assert_eq!([32, 96, 256, 288, 512, 1056, 4096].map(longest_part), [32, 96, 256, 96, 256, 96, 256]);
        assert_eq!(layout("int8-sym-row", 1100).unwrap().groups.iter().map(|p| p.len).sum::<usize>(), 1120);
    }

    #[test]
    fn formats_without_the_layout() {
        for label in [
            "int8-sym-g16",
            "int8-asym-g32-int6-g256",
            "int1-sym-g32",
            "int1-asym-g32",
            "ternary-row",
            "int8-sym-g32-bf16",
            "q8_0",
        ] {
            assert!(layout(label, 512).is_none(), "{label}");
        }
    }
}
