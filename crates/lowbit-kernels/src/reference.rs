//! What a product means, in scalar code: exactly in f64, and with the roundings that the kernels make.

use crate::{
    ActPrecision, ActRounding, Ctx, Int8Acts, Isa, MatRef, TableBits, groups,
    lut::{Form, Table, TableActs, layout::Layout, nibble::negated},
    ops,
};
use lowbit_format::{
    BlockCodec, BlockVisitor, ElementFormat, GroupedTensor, QuantTensor, TensorData, Term, TermKind, block,
};

/// `x[M, K] · W[N, K]ᵀ` in f64, row-major `[M, N]`: the meaning of the stored weights, no rounding of activations.
pub fn mpgemm_f64(w: &QuantTensor, x: MatRef<'_>) -> Vec<f64> {
    let shape = w.shape();
    let mut out = vec![0.0; x.rows() * shape.n];
    let mut row = vec![0.0; shape.k];
    for n in 0..shape.n {
        w.decode_row(n, &mut row);
        for m in 0..x.rows() {
            out[m * shape.n + n] =
                x.row(m).iter().zip(&row).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
        }
    }
    out
}

/// `x[M, K] · W[N, K]ᵀ` with the roundings of [`crate::mpgemm`], row-major `[M, N]`.
pub fn mpgemm(w: &QuantTensor, x: MatRef<'_>, precision: ActPrecision) -> Vec<f32> {
    let shape = w.shape();
    if let TensorData::Sum(sum) = w.data() {
        let mut out = mpgemm(sum.base(), x, precision);
        sum.terms().iter().for_each(|term| add_term(term, x, precision, &mut out));
        return out;
    }
    let mut out = vec![0.0; x.rows() * shape.n];
    let ctx = Ctx::new(Isa::SCALAR, 1);
    let expand = |n: usize| match w.data() {
        TensorData::Blocks { format, bytes, tensor_scale } => {
            let row_bytes = bytes.len() / shape.n;
            Some(
                format
                    .visit(Row { bytes: &bytes.bytes()[n * row_bytes..][..row_bytes], scale: *tensor_scale }),
            )
        }
        TensorData::Grouped(grouped) => Expanded::of(grouped, n),
        TensorData::Float { .. } | TensorData::Sum(_) => None,
    };
    match (precision.rounding(&w.spec()), expand(0)) {
        (Some(rounding), Some(_)) => {
            let x = Int8Acts::new(&ctx, x, rounding);
            for n in 0..shape.n {
                let row = expand(n).expect("all rows have one format");
                for m in 0..x.rows() {
                    // Starts from zero: a first term is what it is, a second is added.
                    out[m % x.tokens() * shape.n + n] += row.times(&x, m);
                }
            }
        }
        _ => {
            let mut row = vec![0.0; shape.k];
            for n in 0..shape.n {
                w.decode_row(n, &mut row);
                for m in 0..x.rows() {
                    let mut lanes = [0f32; 16];
                    for (k, (w, x)) in row.iter().zip(x.row(m)).enumerate() {
                        lanes[k % 16] = w.mul_add(*x, lanes[k % 16]);
                    }
                    out[m * shape.n + n] = crate::ops::pairwise(lanes);
                }
            }
        }
    }
    out
}

/// Adds the product of a term to `out`, row-major `[M, N]`.
pub(crate) fn add_term(term: &Term<QuantTensor>, x: MatRef<'_>, precision: ActPrecision, out: &mut [f32]) {
    let (tokens, n) = (x.rows(), out.len() / x.rows().max(1));
    let product = |i: usize, x: &[f32]| {
        let k = term.matrices[i].shape().k;
        mpgemm(&term.matrices[i], MatRef::new(x, tokens, k), precision)
    };
    let all: Vec<f32> = (0..tokens).flat_map(|m| x.row(m).to_vec()).collect();
    match term.kind {
        TermKind::Rank(_) => {
            out.iter_mut().zip(product(1, &product(0, &all))).for_each(|(out, more)| *out += more);
        }
        TermKind::Rows(c) => {
            for (i, more) in product(0, &all).into_iter().enumerate() {
                out[i / c as usize * n + term.lists[0][i % c as usize] as usize] += more;
            }
        }
        TermKind::Columns(_) => {
            let taken = |m: usize| term.lists[0].iter().map(move |k| x.row(m)[*k as usize]);
            let taken: Vec<f32> = (0..tokens).flat_map(taken).collect();
            out.iter_mut().zip(product(0, &taken)).for_each(|(out, more)| *out += more);
        }
        TermKind::Sparse { width, .. } => {
            let (starts, at, width) = (&term.lists[0], &term.lists[1], width as usize);
            let mut run = vec![0.0; width];
            for (i, out) in out.iter_mut().enumerate() {
                // Weight i of the runs goes to sum i mod 16.
                let (mut lanes, mut lane) = ([0f32; 16], (0..16).cycle());
                for r in starts[i % n] as usize..starts[i % n + 1] as usize {
                    term.matrices[0].decode_row(r, &mut run);
                    for (v, x) in run.iter().zip(&x.row(i / n)[at[r] as usize * width..]) {
                        let lane = &mut lanes[lane.next().unwrap_or(0)];
                        *lane = v.mul_add(*x, *lane);
                    }
                }
                *out += ops::pairwise(lanes);
            }
        }
    }
}

/// The largest distance of a product from the exact one, and the largest magnitude of that.
#[cfg(test)]
pub(crate) fn distance(found: &[f32], exact: &[f64]) -> (f64, f64) {
    let off = found.iter().zip(exact).map(|(a, b)| (f64::from(*a) - b).abs());
    (off.fold(0.0, f64::max), exact.iter().map(|y| y.abs()).fold(0.0, f64::max))
}

/// `x[M, K] · W[N, K]ᵀ` with the roundings of [`crate::PackedGroups::multiply`], row-major `[M, N]`; `None` for formats that
/// are not packed so.
pub fn groups(w: &QuantTensor, x: MatRef<'_>, rounding: ActRounding) -> Option<Vec<f32>> {
    let TensorData::Grouped(grouped) = w.data() else { return None };
    let ElementFormat::Int { bits, .. } = grouped.spec().element() else { return None };
    let shape = w.shape();
    let group = groups::layout::Layout::of(grouped.spec(), shape.k)?.group;
    let x = Int8Acts::by_weights(&Ctx::new(Isa::SCALAR, 1), x, rounding, group);
    let middle = 1i32 << (bits.get() - 1);
    let params = grouped.params();
    let per_scale = params.levels[0].shape().len_in_row(shape.k);
    let starts = (0..shape.k).step_by(group);
    let mut out = vec![0.0; x.tokens() * shape.n];
    for n in 0..shape.n {
        let mut q: Vec<i8> = grouped.codes().row(n).map(|code| (i32::from(code) - middle) as i8).collect();
        q.resize(x.k(), 0);
        let s: Vec<f32> = starts.clone().map(|k| params.levels[0].get(n, k / per_scale)).collect();
        let zeros = params.zeros.as_ref();
        let c = zeros.map(|zeros| {
            let zeros = starts.clone().map(|k| zeros.get(n, k / per_scale));
            zeros.zip(&s).map(|(zero, s)| (middle as f32 - zero) * s).collect()
        });
        let row = Expanded { q, s, c, group };
        for m in 0..x.rows() {
            out[m % x.tokens() * shape.n + n] += row.times(&x, m);
        }
    }
    Some(out)
}

/// `x[M, K] · W[N, K]ᵀ` with the roundings of [`crate::LutWeights::multiply`] at a level, row-major `[M, N]`; `None` for
/// formats without tables there. Entries of 16 bits are exact, so what is computed from them is a plain integer product.
pub fn lut(isa: Isa, w: &QuantTensor, x: MatRef<'_>, bits: TableBits) -> Option<Vec<f32>> {
    planes(isa, w, x, Form::Tables(bits))
}

/// The same where codes of bit planes are expanded: with activations of 16 bits what tables of as many give, else with
/// activations rounded to 8 bits by the groups of the weights.
pub fn expanded_planes(isa: Isa, w: &QuantTensor, x: MatRef<'_>, rounding: ActRounding) -> Option<Vec<f32>> {
    planes(isa, w, x, Form::expanded(rounding))
}

fn planes(isa: Isa, w: &QuantTensor, x: MatRef<'_>, form: Form) -> Option<Vec<f32>> {
    let TensorData::Grouped(grouped) = w.data() else { return None };
    let shape = w.shape();
    let table = Table::of(isa);
    let layout = Layout::of(grouped.spec(), shape.k, table)?;
    let acts = TableActs::new(&Ctx::new(Isa::SCALAR, 1), x, &layout, form);
    let planes = match grouped.spec().element() {
        ElementFormat::Int { bits, .. } => bits.get(),
        ElementFormat::Ternary => 0,
        ElementFormat::Codebook(_) => return None,
    };
    // Codes are in steps around their middle, (2^b − 1)/2 of them below it.
    let highest = if planes == 0 { 2 } else { (1i32 << planes) - 1 };
    let mut out = vec![0.0; x.rows() * shape.n];
    for n in 0..shape.n {
        let codes: Vec<i32> = grouped.codes().row(n).map(i32::from).collect();
        for m in 0..x.rows() {
            let mut acc = 0f32;
            for (g, codes) in codes.chunks(layout.group).enumerate() {
                let (q, x) = (acts.integers(m, g), acts.group(m, g));
                // Twice the sum of the entries as they are meant.
                let twice: i32 = match form {
                    Form::Bytes | Form::Tables(TableBits::Sixteen) if planes == 0 => {
                        2 * codes.iter().zip(q).map(|(c, x)| (c - 1) * i32::from(*x)).sum::<i32>()
                    }
                    Form::Bytes | Form::Tables(TableBits::Sixteen) => {
                        2 * codes.iter().zip(q).map(|(c, x)| (2 * c - highest) * i32::from(*x)).sum::<i32>()
                    }
                    Form::Tables(TableBits::Eight) => {
                        let tuples = codes.chunks(layout.tuple()).chain(std::iter::repeat(&[][..]));
                        tuples
                            .zip(q.chunks(layout.tuple()))
                            .enumerate()
                            .map(|(i, (c, x))| entries_of_8_bits(table, planes, i, c, x))
                            .sum()
                    }
                };
                // What is looked up is unsigned, which may leave a half.
                let integer = (twice + acts.half()) / 2;
                let params = grouped.params();
                let scale = params.levels[0].get(n, g / layout.per_scale);
                let middle = match (&params.zeros, grouped.spec().element().center()) {
                    (Some(zeros), _) => highest as f32 * 0.5 - zeros.get(n, g / layout.per_scale),
                    (None, Some(center)) => highest as f32 * 0.5 - center,
                    (None, None) => 0.0,
                };
                let part = (integer as f32).mul_add(x.d, middle.mul_add(x.sum, x.bias));
                acc = part.mul_add(scale, acc);
            }
            out[m * shape.n + n] = acc;
        }
    }
    Some(out)
}

/// Twice the entries that the codes of tuple `i` find, all planes: signed sums over 256, rounded down, and a half.
fn entries_of_8_bits(table: Table, planes: u32, i: usize, codes: &[i32], x: &[i16]) -> i32 {
    let entry = |sum: i32| 2 * (sum >> 8) + 1;
    // Missing codes are zeros.
    let signed = |plane: u32, range: std::ops::Range<usize>| -> i32 {
        range.map(|i| (codes.get(i).map_or(0, |c| c >> plane & 1) * 2 - 1) * i32::from(x[i])).sum()
    };
    if planes == 0 {
        let value = codes.iter().rev().fold(0, |value, c| 3 * value + c - 1);
        let sum: i32 = codes.iter().zip(x).map(|(c, x)| (c - 1) * i32::from(*x)).sum();
        return if negated(i, value) && !codes.is_empty() { -entry(-sum) } else { entry(sum) };
    }
    let plane = |p: u32| match table {
        Table::Nibble => entry(signed(p, 0..4)) + entry(signed(p, 4..8)),
        // The entry that adds the last activation, negated where it is to be subtracted.
        Table::Byte if codes.get(7).is_some_and(|c| c >> p & 1 == 1) => entry(signed(p, 0..8)),
        Table::Byte => -entry(-signed(p, 0..8)),
    };
    (0..planes).map(|p| plane(p) << p).sum()
}

struct Row<'a> {
    bytes: &'a [u8],
    scale: f32,
}

struct Expanded {
    q: Vec<i8>,
    s: Vec<f32>,
    c: Option<Vec<f32>>,
    group: usize,
}

impl BlockVisitor for Row<'_> {
    type Out = Expanded;
    fn visit<C: BlockCodec>(self) -> Expanded {
        let k = self.bytes.len() / C::BYTES * C::WEIGHTS;
        let (mut q, mut s, mut c) = (vec![0; k], vec![0.0; k / C::GROUP], vec![0.0; k / C::GROUP]);
        block::expand_row::<C>(self.bytes, self.scale, &mut q, &mut s, &mut c);
        Expanded { q, s, c: C::OFFSETS.then_some(c), group: C::GROUP }
    }
}

impl Expanded {
    /// Row `n`, `None` where it is not for integer products.
    fn of(w: &GroupedTensor, n: usize) -> Option<Self> {
        let (k, group) = (w.expanded_k(), w.spec().integer_group()?);
        let (mut q, mut s, mut c) = (vec![0; k], vec![0.0; k / group], vec![0.0; k / group]);
        w.expand_row(n, &mut q, &mut s, &mut c);
        Some(Self { q, s, c: w.has_offsets().then_some(c), group })
    }

    fn times(&self, x: &Int8Acts, m: usize) -> f32 {
        let mut acc = 0f32;
        for (g, s) in self.s.iter().enumerate() {
            let ks = g * self.group..((g + 1) * self.group).min(self.q.len());
            let d = x.d(m)[ks.start / x.span()];
            let codes = &x.q(m)[ks.clone()];
            let isum: i32 = self.q[ks].iter().zip(codes).map(|(w, x)| i32::from(*w) * i32::from(*x)).sum();
            acc = (isum as f32).mul_add(s * d, acc);
            if let Some(c) = &self.c {
                acc = c[g].mul_add(x.sums(m, self.group)[g], acc);
            }
        }
        acc
    }
}
