//! A matrix with something added to it: what quantizers keep beside the codes because the codes cannot hold it.
//!
//! A low-rank correction of the rounding error (LoRC, EoRA), rows or columns that get more bits (MixLLM, SliM-LLM), single
//! weights or short runs of them (SpQR, PB-LLM). Each is made of matrices in formats of their own, so that every format can
//! be used for it, and of lists that say where they belong. `docs/formats.md` has the labels.

use crate::{FormatError, NK, QuantTensor, Storage, WeightSpec};
use std::{fmt, sync::Arc};

/// Most terms of one matrix.
const MAX_TERMS: usize = 4;

/// A format with terms that are added.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SumSpec {
    base: Box<WeightSpec>,
    terms: Vec<TermSpec>,
}

/// What one term is: where it is added, and the format of its matrices.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TermSpec {
    /// Where it is added.
    pub kind: TermKind,
    /// Format of its matrices.
    pub weight: Box<WeightSpec>,
}

/// Where a term is added to W[N, K].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TermKind {
    /// U[N, r] · D[r, K]: matrices D, U.
    Rank(u32),
    /// V[c, K], row i of it to row `rows[i]` of W. The list rises.
    Rows(u32),
    /// V[N, c], column i of it to column `columns[i]` of W. The list rises.
    Columns(u32),
    /// V[c, width]: row i of it to weights `width · at[i]` and following of the row n with `starts[n] ≤ i < starts[n + 1]`.
    /// Lists `starts`, `at`; `at` rises within a row of W.
    Sparse {
        /// c.
        count: u32,
        /// Weights of a run, a divisor of K.
        width: u32,
    },
}

/// One term: its lists and matrices, in the order of [`TermKind`]. `W` is what a matrix has become.
#[derive(Clone, Debug)]
pub struct Term<W> {
    /// Where it is added.
    pub kind: TermKind,
    /// Where its matrices belong.
    pub lists: Vec<Arc<[u32]>>,
    /// Its matrices.
    pub matrices: Vec<W>,
}

/// A matrix and what is added to it.
#[derive(Clone, Debug)]
pub struct SumTensor {
    base: Box<QuantTensor>,
    terms: Vec<Term<QuantTensor>>,
}

impl TermKind {
    /// Shapes of the matrices for a W of a shape.
    pub fn matrices(self, NK { n, k }: NK) -> Vec<NK> {
        match self {
            Self::Rank(r) => vec![NK { n: r as usize, k }, NK { n, k: r as usize }],
            Self::Rows(c) => vec![NK { n: c as usize, k }],
            Self::Columns(c) => vec![NK { n, k: c as usize }],
            Self::Sparse { count, width } => vec![NK { n: count as usize, k: width as usize }],
        }
    }

    /// Lengths of the lists for a W of a shape, and a bound that every number in them is below.
    pub fn lists(self, NK { n, k }: NK) -> Vec<(usize, usize)> {
        match self {
            Self::Rank(_) => Vec::new(),
            Self::Rows(c) => vec![(c as usize, n)],
            Self::Columns(c) => vec![(c as usize, k)],
            Self::Sparse { count, width } => {
                vec![(n + 1, count as usize + 1), (count as usize, k / width.max(1) as usize)]
            }
        }
    }

    fn label(self) -> String {
        match self {
            Self::Rank(r) => format!("rank{r}"),
            Self::Rows(c) => format!("rows{c}"),
            Self::Columns(c) => format!("columns{c}"),
            Self::Sparse { count, width } => format!("sparse{count}x{width}"),
        }
    }

    fn parse(word: &str) -> Option<Self> {
        let number = |text: &str| text.parse::<u32>().ok().filter(|n| *n > 0);
        if let Some(r) = word.strip_prefix("rank") {
            return number(r).map(Self::Rank);
        }
        if let Some(c) = word.strip_prefix("rows") {
            return number(c).map(Self::Rows);
        }
        if let Some(c) = word.strip_prefix("columns") {
            return number(c).map(Self::Columns);
        }
        let (count, width) = word.strip_prefix("sparse")?.split_once('x')?;
        Some(Self::Sparse { count: number(count)?, width: number(width)? })
    }

    /// Checks that it fits a matrix.
    pub(crate) fn check(self, shape: NK) -> Result<(), FormatError> {
        let wrong = |expected: String| FormatError::Term { term: self.label(), shape, expected };
        let NK { n, k } = shape;
        match self {
            Self::Rank(r) if r as usize > n.min(k) => Err(wrong(format!("a rank of at most {}", n.min(k)))),
            Self::Rows(c) if c as usize > n => Err(wrong(format!("at most {n} rows"))),
            Self::Columns(c) if c as usize > k => Err(wrong(format!("at most {k} columns"))),
            Self::Sparse { width, .. } if !k.is_multiple_of(width as usize) => {
                Err(wrong("runs whose width divides K".to_owned()))
            }
            Self::Sparse { count, width } if count as usize > n.saturating_mul(k / width as usize) => {
                Err(wrong("no more runs than there are".to_owned()))
            }
            _ => Ok(()),
        }
    }
}

impl SumSpec {
    /// # Errors
    /// Where the base or a term's matrix is a sum itself, the base is floats, or there is no term or more than four.
    pub fn new(base: WeightSpec, terms: Vec<TermSpec>) -> Result<Self, FormatError> {
        let sum = |spec: &WeightSpec| matches!(spec, WeightSpec::Sum(_));
        if sum(&base) || terms.iter().any(|term| sum(&term.weight)) {
            return Err(FormatError::Levels { reason: "what is added cannot be a sum itself" });
        }
        if let WeightSpec::Float(_) = base {
            return Err(FormatError::Levels { reason: "floats need nothing added to them" });
        }
        if terms.is_empty() || terms.len() > MAX_TERMS {
            return Err(FormatError::Levels { reason: "expected one to four terms after the first `+`" });
        }
        Ok(Self { base: Box::new(base), terms })
    }

    /// What the terms are added to.
    pub fn base(&self) -> &WeightSpec {
        &self.base
    }

    /// What is added.
    pub fn terms(&self) -> &[TermSpec] {
        &self.terms
    }

    /// `int3-asym-g128+rank32-int8-sym-row`.
    pub(crate) fn label(&self) -> String {
        let terms = self.terms.iter().map(|term| format!("+{}-{}", term.kind.label(), term.weight));
        std::iter::once(self.base.label()).chain(terms).collect()
    }

    /// `Ok(None)` where the label is none of a sum.
    pub(crate) fn parse(label: &str) -> Result<Option<Self>, FormatError> {
        let Some((base, rest)) = label.split_once('+') else { return Ok(None) };
        let unknown = || FormatError::UnknownSpec { label: label.to_string(), nearest: None };
        let term = |text: &str| {
            let (kind, weight) = text.split_once('-').ok_or_else(unknown)?;
            let kind = TermKind::parse(kind).ok_or_else(unknown)?;
            Ok(TermSpec { kind, weight: Box::new(WeightSpec::parse(weight)?) })
        };
        let terms: Result<Vec<_>, FormatError> = rest.split('+').map(term).collect();
        Self::new(WeightSpec::parse(base)?, terms?).map(Some)
    }
}

impl fmt::Display for TermKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label())
    }
}

impl Term<QuantTensor> {
    /// The term without its numbers.
    pub fn spec(&self) -> TermSpec {
        TermSpec { kind: self.kind, weight: Box::new(self.matrices[0].spec()) }
    }

    /// Bytes stored: matrices and lists.
    pub fn bytes(&self, shape: NK) -> usize {
        let matrices: usize = self.matrices.iter().map(QuantTensor::bytes).sum();
        let lists = self.kind.lists(shape);
        matrices + lists.iter().map(|(len, bound)| len * list_bytes(*bound)).sum::<usize>()
    }

    /// Checks that it is one of W's shape.
    fn check(&self, shape: NK) -> Result<(), FormatError> {
        self.kind.check(shape)?;
        let wrong = |expected: String| FormatError::Term { term: self.kind.label(), shape, expected };
        let shapes: Vec<NK> = self.matrices.iter().map(QuantTensor::shape).collect();
        if shapes != self.kind.matrices(shape) {
            return Err(wrong(format!("matrices of {:?}, found {shapes:?}", self.kind.matrices(shape))));
        }
        let lists = self.kind.lists(shape);
        if lists.len() != self.lists.len() {
            return Err(wrong(format!("{} lists, found {}", lists.len(), self.lists.len())));
        }
        for (list, (len, bound)) in self.lists.iter().zip(lists) {
            if list.len() != len || list.iter().any(|i| *i as usize >= bound) {
                return Err(wrong(format!("a list of {len} numbers below {bound}")));
            }
        }
        let rises = |list: &[u32]| list.windows(2).all(|pair| pair[0] < pair[1]);
        let good = match self.kind {
            TermKind::Rank(_) => true,
            TermKind::Rows(_) | TermKind::Columns(_) => rises(&self.lists[0]),
            TermKind::Sparse { count, .. } => {
                let starts = &self.lists[0];
                let whole = starts[0] == 0 && starts[shape.n] == count;
                let ordered = starts.windows(2).all(|pair| pair[0] <= pair[1]);
                whole && ordered && (0..shape.n).all(|n| rises(&self.lists[1][self.runs(n)]))
            }
        };
        if good { Ok(()) } else { Err(wrong("lists that rise".to_owned())) }
    }

    /// The runs that belong to row `n`.
    fn runs(&self, n: usize) -> std::ops::Range<usize> {
        self.lists[0][n] as usize..self.lists[0][n + 1] as usize
    }

    /// Adds its share of row `n`.
    fn add_row(&self, n: usize, out: &mut [f32]) {
        let decoded = |matrix: &QuantTensor, n: usize| {
            let mut row = vec![0.0; matrix.shape().k];
            matrix.decode_row(n, &mut row);
            row
        };
        match self.kind {
            TermKind::Rank(_) => {
                for (r, up) in decoded(&self.matrices[1], n).into_iter().enumerate() {
                    let down = decoded(&self.matrices[0], r);
                    out.iter_mut().zip(down).for_each(|(out, down)| *out += up * down);
                }
            }
            TermKind::Rows(_) => {
                if let Ok(i) = self.lists[0].binary_search(&(n as u32)) {
                    let more = decoded(&self.matrices[0], i);
                    out.iter_mut().zip(more).for_each(|(out, more)| *out += more);
                }
            }
            TermKind::Columns(_) => {
                let more = decoded(&self.matrices[0], n);
                self.lists[0].iter().zip(more).for_each(|(k, more)| out[*k as usize] += more);
            }
            TermKind::Sparse { width, .. } => {
                for i in self.runs(n) {
                    let run = out[self.lists[1][i] as usize * width as usize..].iter_mut();
                    run.zip(decoded(&self.matrices[0], i)).for_each(|(out, more)| *out += more);
                }
            }
        }
    }

    /// What it adds to rows `rows`.
    fn rows(&self, rows: std::ops::Range<usize>) -> Self {
        let mut lists = self.lists.clone();
        let (kind, matrices) = match self.kind {
            TermKind::Rank(r) => {
                (TermKind::Rank(r), vec![self.matrices[0].clone(), self.matrices[1].rows(rows)])
            }
            TermKind::Columns(c) => (TermKind::Columns(c), vec![self.matrices[0].rows(rows)]),
            TermKind::Rows(_) => {
                let at = |n: usize| self.lists[0].partition_point(|row| (*row as usize) < n);
                let these = at(rows.start)..at(rows.end);
                lists[0] = self.lists[0][these.clone()].iter().map(|row| row - rows.start as u32).collect();
                (TermKind::Rows(these.len() as u32), vec![self.matrices[0].rows(these)])
            }
            TermKind::Sparse { width, .. } => {
                let starts = &self.lists[0][rows.start..=rows.end];
                let these = starts[0] as usize..starts[rows.len()] as usize;
                lists =
                    vec![starts.iter().map(|s| s - starts[0]).collect(), self.lists[1][these.clone()].into()];
                let count = these.len() as u32;
                (TermKind::Sparse { count, width }, vec![self.matrices[0].rows(these)])
            }
        };
        Self { kind, lists, matrices }
    }
}

impl SumTensor {
    /// # Errors
    /// As [`SumSpec::new`], and where a term is none of the base's shape.
    pub fn new(base: QuantTensor, terms: Vec<Term<QuantTensor>>) -> Result<Self, FormatError> {
        terms.iter().try_for_each(|term| term.check(base.shape()))?;
        let sum = Self { base: Box::new(base), terms };
        sum.checked_spec().map(|_| sum)
    }

    fn checked_spec(&self) -> Result<SumSpec, FormatError> {
        SumSpec::new(self.base.spec(), self.terms.iter().map(Term::spec).collect())
    }

    /// The format.
    pub fn spec(&self) -> SumSpec {
        self.checked_spec().expect("checked when it was made")
    }

    /// What the terms are added to.
    pub fn base(&self) -> &QuantTensor {
        &self.base
    }

    /// What is added.
    pub fn terms(&self) -> &[Term<QuantTensor>] {
        &self.terms
    }

    pub(crate) fn into_parts(self) -> (QuantTensor, Vec<Term<QuantTensor>>) {
        (*self.base, self.terms)
    }

    pub(crate) fn bytes(&self) -> usize {
        let shape = self.base.shape();
        self.base.bytes() + self.terms.iter().map(|term| term.bytes(shape)).sum::<usize>()
    }

    pub(crate) fn decode_row(&self, n: usize, out: &mut [f32]) {
        self.base.decode_row(n, out);
        self.terms.iter().for_each(|term| term.add_row(n, out));
    }

    /// Rows of it; terms that have nothing there are left out, and with none left so is the sum.
    pub(crate) fn rows(&self, rows: std::ops::Range<usize>) -> QuantTensor {
        let base = self.base.rows(rows.clone());
        let there = |term: &Term<QuantTensor>| {
            !matches!(term.kind, TermKind::Rows(0) | TermKind::Sparse { count: 0, .. })
        };
        let terms: Vec<_> = self.terms.iter().map(|term| term.rows(rows.clone())).filter(there).collect();
        if terms.is_empty() {
            return base;
        }
        QuantTensor::from_sum(Self { base: Box::new(base), terms })
    }

    pub(crate) fn parts(&self) -> Vec<Storage> {
        let shape = self.base.shape();
        let mut parts = self.base.parts();
        for term in &self.terms {
            let lists = term.lists.iter().zip(term.kind.lists(shape));
            parts.extend(lists.map(|(list, (_, bound))| Storage::from(list_to_bytes(list, bound))));
            parts.extend(term.matrices.iter().flat_map(QuantTensor::parts));
        }
        parts
    }

    pub(crate) fn from_parts(
        spec: &SumSpec,
        shape: NK,
        parts: &mut dyn Iterator<Item = Storage>,
    ) -> Result<Self, FormatError> {
        let base = QuantTensor::from_parts_of(&spec.base, shape, parts)?;
        let mut terms = Vec::with_capacity(spec.terms.len());
        for TermSpec { kind, weight } in &spec.terms {
            kind.check(shape)?;
            let mut lists: Vec<Arc<[u32]>> = Vec::new();
            for (len, bound) in kind.lists(shape) {
                let bytes = parts.next().expect("a run of bytes for every part");
                if bytes.len() != len.saturating_mul(list_bytes(bound)) {
                    let (term, expected) = (kind.label(), format!("a list of {len} numbers"));
                    return Err(FormatError::Term { term, shape, expected });
                }
                lists.push(list_from_bytes(bytes.bytes(), bound));
            }
            let matrices = kind.matrices(shape).into_iter();
            let matrices = matrices.map(|shape| QuantTensor::from_parts_of(weight, shape, parts));
            terms.push(Term { kind: *kind, lists, matrices: matrices.collect::<Result<_, _>>()? });
        }
        Self::new(base, terms)
    }
}

/// Bytes of a stored number of a list whose numbers are below `bound`: 2 or 4.
pub fn list_bytes(bound: usize) -> usize {
    if bound <= 1 << 16 { 2 } else { 4 }
}

fn list_to_bytes(list: &[u32], bound: usize) -> Vec<u8> {
    match list_bytes(bound) {
        2 => list.iter().flat_map(|i| (*i as u16).to_le_bytes()).collect(),
        _ => list.iter().flat_map(|i| i.to_le_bytes()).collect(),
    }
}

fn list_from_bytes(bytes: &[u8], bound: usize) -> Arc<[u32]> {
    match list_bytes(bound) {
        2 => bytes.as_chunks::<2>().0.iter().map(|b| u32::from(u16::from_le_bytes(*b))).collect(),
        _ => bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(label: &str, shape: NK, first: f32) -> QuantTensor {
        let weights: Vec<f32> = (0..shape.weights()).map(|i| first + i as f32 / 8.0).collect();
        QuantTensor::quantize_nearest(&WeightSpec::parse(label).unwrap(), &weights, shape).unwrap()
    }

    fn term(kind: TermKind, lists: &[&[u32]], matrices: Vec<QuantTensor>) -> Term<QuantTensor> {
        Term { kind, lists: lists.iter().map(|list| Arc::from(*list)).collect(), matrices }
    }

    /// Every kind of term on a matrix of 3 by 8.
    fn all() -> QuantTensor {
        let shape = NK { n: 3, k: 8 };
        let of = |kind: TermKind, lists: &[&[u32]], label: &str| {
            let matrices = kind.matrices(shape).into_iter().map(|shape| matrix(label, shape, -1.0));
            term(kind, lists, matrices.collect())
        };
        let terms = vec![
            of(TermKind::Rank(2), &[], "f32"),
            of(TermKind::Rows(1), &[&[1]], "int8-sym-row"),
            of(TermKind::Columns(2), &[&[0, 5]], "f16"),
            of(TermKind::Sparse { count: 3, width: 2 }, &[&[0, 1, 1, 3], &[3, 0, 2]], "f32"),
        ];
        QuantTensor::from_sum(SumTensor::new(matrix("int4-asym-g8", shape, 0.0), terms).unwrap())
    }

    fn decoded(w: &QuantTensor) -> Vec<f32> {
        let mut all = vec![0.0; w.shape().weights()];
        all.chunks_exact_mut(w.shape().k).enumerate().for_each(|(n, row)| w.decode_row(n, row));
        all
    }

    #[test]
    fn a_sum_is_its_base_and_every_term_where_it_belongs() {
        let sum = all();
        let crate::TensorData::Sum(inner) = sum.data() else { panic!("a sum") };
        let mut expected = decoded(inner.base());
        let [rank, rows, columns, sparse] = inner.terms() else { panic!("four terms") };
        let (down, up) = (decoded(&rank.matrices[0]), decoded(&rank.matrices[1]));
        for n in 0..3 {
            for k in 0..8 {
                expected[n * 8 + k] += up[n * 2] * down[k] + up[n * 2 + 1] * down[8 + k];
            }
        }
        decoded(&rows.matrices[0]).iter().enumerate().for_each(|(k, w)| expected[8 + k] += w);
        for (n, pair) in decoded(&columns.matrices[0]).chunks(2).enumerate() {
            expected[n * 8] += pair[0];
            expected[n * 8 + 5] += pair[1];
        }
        let runs = decoded(&sparse.matrices[0]);
        for (at, w) in [6, 7, 16, 17, 20, 21].into_iter().zip(runs) {
            expected[at] += w;
        }
        let found = decoded(&sum);
        let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
        assert!(found.iter().zip(&expected).all(near), "{found:?} {expected:?}");
    }

    #[test]
    fn labels_and_parts_come_back_and_rows_are_those_of_the_whole() {
        let sum = all();
        let spec = sum.spec();
        let label = "int4-asym-g8+rank2-f32+rows1-int8-sym-row+columns2-f16+sparse3x2-f32";
        assert_eq!(spec.label(), label);
        assert_eq!(WeightSpec::parse(label).unwrap(), spec);
        let again = QuantTensor::from_parts(&spec, sum.shape(), sum.parts()).unwrap();
        assert_eq!(decoded(&again), decoded(&sum));
        assert_eq!(sum.bytes(), sum.parts().iter().map(Storage::len).sum::<usize>());
        assert_eq!(sum.bytes(), spec.stored_bytes(sum.shape()).unwrap());
        for (start, end) in [(0, 1), (1, 2), (1, 3), (0, 3), (2, 2)] {
            assert_eq!(decoded(&sum.rows(start..end)), decoded(&sum)[start * 8..end * 8], "{start}..{end}");
        }
    }

    #[test]
    fn what_is_no_term_of_the_matrix_is_refused() {
        let shape = NK { n: 3, k: 8 };
        let refused = |kind: TermKind, lists: &[&[u32]]| {
            let matrices = kind.matrices(shape).into_iter().map(|shape| matrix("f32", shape, 0.0)).collect();
            let made = SumTensor::new(matrix("int4-asym-g8", shape, 0.0), vec![term(kind, lists, matrices)]);
            made.err().map(|error| error.to_string())
        };
        let sparse = TermKind::Sparse { count: 2, width: 4 };
        assert_eq!(refused(sparse, &[&[0, 1, 2, 2], &[1, 0]]), None);
        for (kind, lists) in [
            (TermKind::Rank(4), &[][..]),
            (TermKind::Rows(1), &[&[3][..]][..]),
            (TermKind::Rows(2), &[&[1, 1]]),
            (TermKind::Columns(2), &[&[5, 0]]),
            (TermKind::Columns(2), &[&[5]]),
            (TermKind::Sparse { count: 2, width: 3 }, &[&[0, 1, 2, 2], &[1, 0]]),
            (sparse, &[&[0, 1, 1, 1], &[1, 0]]),
            (sparse, &[&[0, 2, 2, 2], &[1, 0]]),
            (sparse, &[&[0, 1, 2, 2], &[1, 2]]),
        ] {
            let why = refused(kind, lists).unwrap_or_else(|| panic!("{kind} {lists:?}"));
            assert!(why.contains(&kind.to_string()), "{why}");
        }
        for label in [
            "+",
            "+rank0-f16",
            "+rank2",
            "+rank2-f16+",
            "+rank1-f16+rank1-f16+x",
            "+sparse2-f16",
            "+sparse2x0-f16",
        ] {
            assert!(WeightSpec::parse(&format!("q4_0{label}")).is_err(), "{label}");
            assert!(WeightSpec::parse("f16+rank1-f16").is_err());
        }
    }
}
