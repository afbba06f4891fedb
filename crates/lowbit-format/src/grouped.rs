//! Matrices of codes with scales beside them: decoding, and expansion for the integer kernels.

use std::ops::Range;

use crate::{
    Codes, ElementFormat, FormatError, GroupFit, GroupParams, GroupShape, GroupedSpec, NK, Params, ZeroPoint,
    nearest,
};

/// Codes that are unpacked at a time: whole bytes of every packing.
const UNPACKED: usize = 320;

/// Codes and their parameters. A weight is `(code − zero) · scale`, or `number · scale` where codes stand for numbers of a
/// table, in single precision; with two scale levels the scale is their product, rounded once.
#[derive(Clone, Debug)]
pub struct GroupedTensor {
    spec: GroupedSpec,
    codes: Codes,
    params: GroupParams,
}

impl GroupedTensor {
    /// Puts codes and parameters together.
    ///
    /// # Errors
    /// Where the codes are not packed as the format says, or the parameters are not those of its groups.
    pub fn new(spec: GroupedSpec, codes: Codes, params: GroupParams) -> Result<Self, FormatError> {
        if codes.packing() != spec.element().packing() {
            return Err(FormatError::Levels { reason: "codes are not packed as the element format says" });
        }
        // Checks the parameters against the shape of these codes, whatever they were made for.
        let scales = params.levels.iter().map(|p| p.bytes().clone()).collect();
        let params = GroupParams::new(&spec, codes.shape(), scales, params.zeros.map(|z| z.bytes().clone()))?;
        Ok(Self { spec, codes, params })
    }

    /// The format.
    pub fn spec(&self) -> &GroupedSpec {
        &self.spec
    }

    /// The codes.
    pub fn codes(&self) -> &Codes {
        &self.codes
    }

    /// Scales and zero points.
    pub fn params(&self) -> &GroupParams {
        &self.params
    }

    /// N and K.
    pub fn shape(&self) -> NK {
        self.codes.shape()
    }

    /// Bytes stored.
    pub fn bytes(&self) -> usize {
        self.codes.bytes().len() + self.params.bytes()
    }

    /// Bits stored for each weight, scales and zero points included.
    pub fn bits_per_weight(&self) -> f64 {
        8.0 * self.bytes() as f64 / self.shape().weights() as f64
    }

    /// Rounds `n · k` weights, row after row, to the nearest codes, with scales from the range of each group. An
    /// all-zero group decodes to zeros.
    ///
    /// # Errors
    /// Where the count of weights is not the shape's or zero, or a weight is not finite.
    pub fn quantize_nearest(spec: &GroupedSpec, weights: &[f32], shape: NK) -> Result<Self, FormatError> {
        check_weights(weights, shape)?;
        nearest::quantize(spec, weights, shape)
    }

    /// Rounds `n · k` weights, row after row, to the nearest codes under given scales and zero points: one for every
    /// group of the first level, in the order of rows. They are stored first, in the format's precision.
    ///
    /// # Errors
    /// As [`Self::quantize_nearest`], and where there are more or fewer fits than groups.
    pub fn quantize_with(
        spec: &GroupedSpec,
        weights: &[f32],
        shape: NK,
        fits: &[GroupFit],
    ) -> Result<Self, FormatError> {
        check_weights(weights, shape)?;
        let level = spec.levels()[0].shape;
        if fits.len() != level.rows(shape.n) * level.per_row(shape.k) {
            return Err(FormatError::Levels { reason: "the fits are not one for every group" });
        }
        nearest::quantize_with(spec, weights, shape, fits)
    }

    /// Puts codes together with scales and zero points that something else chose: one value for every group of a level, row
    /// after row, the finer level first. Each is stored as the nearest that its format has.
    ///
    /// # Errors
    /// Where there is not one code for every weight, one value for every group, or zero points are there for a format without
    /// them and the other way round; and codes above the format's largest.
    pub fn from_codes(
        spec: &GroupedSpec,
        shape: NK,
        codes: &[u8],
        (scales, zeros): (&[&[f32]], Option<&[f32]>),
    ) -> Result<Self, FormatError> {
        let packing = spec.element().packing();
        let count = |level: GroupShape| level.rows(shape.n) * level.per_row(shape.k);
        let levels = || spec.levels().iter().zip(scales);
        let zero = zeros.zip(spec.zero_format());
        if codes.len() != shape.weights() || codes.iter().any(|code| u32::from(*code) >= packing.levels()) {
            return Err(FormatError::Levels {
                reason: "the codes are not one of the format for every weight",
            });
        }
        if scales.len() != spec.levels().len()
            || levels().any(|(level, values)| values.len() != count(level.shape))
            || zeros.is_some() != spec.zero_format().is_some()
            || zero.is_some_and(|(values, _)| values.len() != count(spec.levels()[0].shape))
        {
            return Err(FormatError::Levels { reason: "scales and zero points are not one for every group" });
        }
        let encode = |level: GroupShape, format, values: &[f32]| {
            Params::encode(level, format, shape, values).bytes().clone()
        };
        let scales = levels().map(|(level, values)| encode(level.shape, level.format, values)).collect();
        let zeros = zero.map(|(values, format)| encode(spec.levels()[0].shape, format, values));
        let params = GroupParams::new(spec, shape, scales, zeros)?;
        Self::new(spec.clone(), Codes::pack(packing, shape, codes), params)
    }

    /// Rows `rows` of this matrix, sharing its bytes.
    ///
    /// # Panics
    /// Where the rows are not inside the matrix.
    pub fn rows(&self, rows: Range<usize>) -> Self {
        assert!(rows.start <= rows.end && rows.end <= self.shape().n, "rows {rows:?} of {}", self.shape());
        Self { spec: self.spec.clone(), codes: self.codes.rows(&rows), params: self.params.rows(&rows) }
    }

    /// Decodes row `n` into `out`, which has K elements: the meaning of the stored bytes.
    ///
    /// Inlined into wrappers for every instruction set.
    ///
    /// # Panics
    /// Where `n` or the length of `out` does not fit the shape.
    #[inline(always)]
    pub fn decode_row(&self, n: usize, out: &mut [f32]) {
        let (shape, k) = (self.shape(), self.shape().k);
        assert!(n < shape.n && out.len() == k, "row {n} of {shape} into {}", out.len());
        if let GroupShape::Column(_) = self.params.levels[0].shape() {
            return self.decode_columns(n, out);
        }
        let (packing, row) = (self.codes.packing(), self.codes.row_bytes(n));
        let group = self.params.levels[0].shape().len_in_row(k).max(1);
        let mut codes = [0i8; UNPACKED];
        let (mut scale, mut zero) = (0.0, 0.0);
        for (i, out) in out.chunks_mut(UNPACKED).enumerate() {
            let start = i * UNPACKED;
            packing.unpack_row(&row[packing.row_bytes(start)..], out.len(), &mut codes);
            let mut at = 0;
            while at < out.len() {
                let within = (start + at) % group;
                // Parameters change where a group of the finer level begins.
                if within == 0 {
                    GroupFit { scale, zero } = self.fit(n, (start + at) / group);
                }
                let end = (at + group - within).min(out.len());
                let run = out[at..end].iter_mut().zip(&codes[at..end]);
                match self.spec.element() {
                    ElementFormat::Codebook(book) => {
                        let numbers = book.table();
                        run.for_each(|(x, code)| *x = numbers[usize::from(*code as u8)] * scale);
                    }
                    _ => run.for_each(|(x, code)| *x = (f32::from(*code as u8) - zero) * scale),
                }
                at = end;
            }
        }
    }

    /// Row `n` where every weight of it has parameters of its own.
    #[inline(always)]
    fn decode_columns(&self, n: usize, out: &mut [f32]) {
        let center = self.spec.element().center().unwrap_or(0.0);
        let mut codes = vec![0i8; out.len()];
        let (mut scales, mut zeros) = (vec![0.0; out.len()], vec![center; out.len()]);
        self.codes.packing().unpack_row(self.codes.row_bytes(n), out.len(), &mut codes);
        self.params.levels[0].decode_row(n, &mut scales);
        if let Some(params) = &self.params.zeros {
            params.decode_row(n, &mut zeros);
        }
        let weights = out.iter_mut().zip(&codes).zip(&scales).zip(&zeros);
        match self.spec.element() {
            ElementFormat::Codebook(book) => {
                let numbers = book.table();
                weights.for_each(|(((x, code), s), _)| *x = numbers[usize::from(*code as u8)] * s);
            }
            _ => weights.for_each(|(((x, code), s), zero)| *x = (f32::from(*code as u8) - zero) * s),
        }
    }

    /// Scale and zero point of a group of the first level.
    fn fit(&self, n: usize, group: usize) -> GroupFit {
        let k = self.shape().k;
        let start = group * self.params.levels[0].shape().len_in_row(k);
        let levels = self.params.levels.iter();
        let scale = levels.map(|level| level.get(n, start / level.shape().len_in_row(k))).product();
        let zero = match &self.params.zeros {
            Some(zeros) => zeros.get(n, group),
            None => self.spec.element().center().unwrap_or(0.0),
        };
        GroupFit { scale, zero }
    }

    /// Scale and zero point of every group of the first level of row `n`, as they are stored.
    ///
    /// # Panics
    /// Outside the shape.
    pub fn stored_fits(&self, n: usize) -> Vec<GroupFit> {
        let (shape, k) = (self.shape(), self.shape().k);
        assert!(n < shape.n, "row {n} of {shape}");
        (0..self.params.levels[0].shape().per_row(k)).map(|group| self.fit(n, group)).collect()
    }

    /// Whether [`Self::expand_row`] can give offsets other than zero.
    pub fn has_offsets(&self) -> bool {
        match self.spec.element() {
            ElementFormat::Int { zero: ZeroPoint::Float, .. } => true,
            ElementFormat::Int { bits, zero: ZeroPoint::Integer } => bits.get() == 8,
            _ => false,
        }
    }

    /// Weights in a row after [`Self::expand_row`]: K rounded up to whole expansion groups.
    pub fn expanded_k(&self) -> usize {
        self.shape().k.next_multiple_of(self.spec.expansion_group())
    }

    /// Expands row `n` into 8-bit integers with `w[i] ≈ q[i] · s[i / G] + c[i / G]`, where G is
    /// [`GroupedSpec::expansion_group`]: the form that block formats have, see [`crate::block`].
    ///
    /// `q` has [`Self::expanded_k`] places, `s` and `c` one for every G of them. Codes beyond K are 0 (their weight is
    /// the offset, so activations there must be 0 too). Without offsets `q · s` is the decoded weight exactly. With an
    /// offset `c = m · s` the roundings of the offset, the product, the sum and the decoder add up, underflow apart, to
    /// at most `2⁻²⁴ · s · (|q| + 2 · |m| + 4 · |code − zero|)`.
    ///
    /// Inlined into wrappers for every instruction set, as block codecs are.
    ///
    /// # Panics
    /// Where the row or the lengths do not fit, codes stand for numbers of a table, or groups lie in columns.
    #[inline(always)]
    pub fn expand_row(&self, n: usize, q: &mut [i8], s: &mut [f32], c: &mut [f32]) {
        let group = self.spec.expansion_group();
        let (k, expanded) = (self.shape().k, self.expanded_k());
        assert!(group > 1, "groups in columns are not expanded");
        assert!(
            q.len() == expanded && s.len() == expanded / group && c.len() == s.len(),
            "row {n} of {} takes {expanded} codes in groups of {group}, not {} in {} and {}",
            self.shape(),
            q.len(),
            s.len(),
            c.len()
        );
        self.codes.packing().unpack_row(self.codes.row_bytes(n), k, q);
        let fine = self.params.levels[0].shape();
        let groups = fine.per_row(k).min(s.len());
        self.scales(n, &mut s[..groups]);
        self.center(n, fine.len_in_row(expanded), q, &mut s[..groups], &mut c[..groups]);
        q[k..].fill(0);
        if let GroupShape::Group(size) = fine {
            repeat(s, size as usize / group);
            repeat(c, size as usize / group);
        } else if groups > 0 {
            let (scale, offset) = (s[0], c[0]);
            s.fill(scale);
            c.fill(offset);
        }
    }

    /// The scales of the finer level's groups, products where there are two levels.
    #[inline(always)]
    fn scales(&self, n: usize, s: &mut [f32]) {
        self.params.levels[0].decode_row(n, s);
        if let [fine, coarse] = &self.params.levels[..] {
            let run = match (fine.shape(), coarse.shape()) {
                (GroupShape::Group(fine), GroupShape::Group(coarse)) => (coarse / fine) as usize,
                _ => s.len().max(1),
            };
            for (i, run) in s.chunks_mut(run).enumerate() {
                let unit = coarse.get(n, i);
                for s in run {
                    *s *= unit;
                }
            }
        }
    }

    /// Turns codes into signed numbers and gives the offsets of the groups of `len` codes.
    #[inline(always)]
    fn center(&self, n: usize, len: usize, q: &mut [i8], s: &mut [f32], c: &mut [f32]) {
        c.fill(0.0);
        match self.spec.element() {
            ElementFormat::Codebook(book) => panic!("codes of {} are no integers", book.label()),
            ElementFormat::Ternary => add(q, -1),
            ElementFormat::Int { bits, zero: ZeroPoint::Symmetric } => match bits.get() {
                1 => {
                    // Codes 0 and 1 are minus and plus half a scale.
                    for q in q.iter_mut() {
                        *q = q.wrapping_mul(2).wrapping_sub(1);
                    }
                    for s in s {
                        *s *= 0.5;
                    }
                }
                bits => add(q, (1u8 << (bits - 1)).wrapping_neg() as i8),
            },
            ElementFormat::Int { bits, zero } => {
                if let Some(zeros) = &self.params.zeros {
                    zeros.decode_row(n, c);
                }
                if bits.get() == 8 {
                    add(q, -128);
                    for (c, s) in c.iter_mut().zip(s) {
                        *c = (128.0 - *c) * *s;
                    }
                } else if zero == ZeroPoint::Integer {
                    for (q, c) in q.chunks_mut(len).zip(c.iter_mut()) {
                        add(q, -(*c as i8));
                        *c = 0.0;
                    }
                } else {
                    for (c, s) in c.iter_mut().zip(s) {
                        *c = -*c * *s;
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn add(q: &mut [i8], x: i8) {
    for q in q {
        *q = q.wrapping_add(x);
    }
}

/// Repeats each of the first `⌈len / times⌉` values `times` times, from the last so that none is overwritten before it
/// is read.
#[inline(always)]
fn repeat(values: &mut [f32], times: usize) {
    if times > 1 {
        for i in (0..values.len().div_ceil(times)).rev() {
            let value = values[i];
            let end = (times * (i + 1)).min(values.len());
            values[times * i..end].fill(value);
        }
    }
}

/// Refuses weights that are not `n · k` finite numbers.
fn check_weights(weights: &[f32], shape: NK) -> Result<(), FormatError> {
    let expected = shape.n.checked_mul(shape.k).ok_or(FormatError::Overflow { n: shape.n, k: shape.k })?;
    if expected != weights.len() || weights.is_empty() {
        return Err(FormatError::WeightCount { shape, found: weights.len() });
    }
    match weights.iter().position(|w| !w.is_finite()) {
        Some(i) => Err(FormatError::NotFinite { n: i / shape.k, k: i % shape.k, value: weights[i] }),
        None => Ok(()),
    }
}
