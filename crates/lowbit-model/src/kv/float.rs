//! Keys and values as floats.
//!
//! Memory grows by [`STEP`] tokens. In a step keys lie `[head][token][element]` and values `[head][element][token]`, so
//! that scores and mixes are both products of stored rows with activations and go through [`mpgemm`].

use super::KvStore;
use half::f16;
use lowbit_format::{FloatFormat, NK, QuantTensor, Storage};
use lowbit_kernels::{Act, ActPrecision, Ctx, MatMut, MatRef, mpgemm, ops};
use std::{ops::Range, sync::Arc};

/// Tokens by which memory grows.
const STEP: usize = 128;

/// In which floats keys and values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvElement {
    /// Two bytes each.
    F16,
    /// Four bytes each.
    F32,
}

impl KvElement {
    fn format(self) -> FloatFormat {
        match self {
            Self::F16 => FloatFormat::F16,
            Self::F32 => FloatFormat::F32,
        }
    }
}

/// A store of floats.
pub struct Float {
    element: KvElement,
    heads: usize,
    head_dim: usize,
    len: usize,
    keys: Vec<Arc<Vec<u8>>>,
    values: Vec<Arc<Vec<u8>>>,
}

impl Float {
    /// An empty store for `heads` heads of `head_dim` elements.
    pub fn new(element: KvElement, heads: usize, head_dim: usize) -> Self {
        Self { element, heads, head_dim, len: 0, keys: Vec::new(), values: Vec::new() }
    }

    fn size(&self) -> usize {
        self.element.format().bytes()
    }

    /// Bytes of one head in a step.
    fn head_bytes(&self) -> usize {
        STEP * self.head_dim * self.size()
    }

    /// Tokens `tokens` cut at steps: the step's number and the tokens within.
    fn steps(tokens: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
        let steps = tokens.start / STEP..if tokens.is_empty() { 0 } else { tokens.end.div_ceil(STEP) };
        steps.map(move |step| {
            let first = step * STEP;
            (step, tokens.start.max(first) - first..tokens.end.min(first + STEP) - first)
        })
    }

    fn rows(&self, steps: &[Arc<Vec<u8>>], step: usize, start: usize, shape: NK) -> QuantTensor {
        let bytes = shape.n * shape.k * self.size();
        let owner: Arc<dyn AsRef<[u8]> + Send + Sync> = steps[step].clone();
        let storage = Storage::new(owner, start..start + bytes).expect("a head's rows lie inside its step");
        QuantTensor::from_floats(self.element.format(), shape, storage).expect("bytes of the shape")
    }

    fn check(&self, head: usize, tokens: &Range<usize>) {
        assert!(
            head < self.heads && tokens.start <= tokens.end && tokens.end <= self.len,
            "head {head} of {}, tokens {tokens:?} of {}",
            self.heads,
            self.len
        );
    }
}

impl KvStore for Float {
    fn append(&mut self, keys: MatRef<'_>, values: MatRef<'_>) {
        let width = self.heads * self.head_dim;
        let shapes = (keys.cols(), values.cols(), values.rows());
        assert_eq!(shapes, (width, width, keys.rows()), "keys and values of every head");
        let (size, head_bytes, dim, element) = (self.size(), self.head_bytes(), self.head_dim, self.element);
        let mut encoded = Vec::with_capacity(width * size);
        for row in 0..keys.rows() {
            let (step, at) = (self.len / STEP, self.len % STEP);
            if step == self.keys.len() {
                self.keys.push(Arc::new(vec![0; self.heads * head_bytes]));
                self.values.push(Arc::new(vec![0; self.heads * head_bytes]));
            }
            // Nobody else holds a step between calls; if somebody did, it would be copied, not changed.
            let into_keys = Arc::make_mut(&mut self.keys[step]);
            encode(element, keys.row(row), &mut encoded);
            for (head, key) in encoded.chunks_exact(dim * size).enumerate() {
                into_keys[head * head_bytes + at * dim * size..][..dim * size].copy_from_slice(key);
            }
            let into_values = Arc::make_mut(&mut self.values[step]);
            encode(element, values.row(row), &mut encoded);
            let lines = into_values.chunks_exact_mut(STEP * size);
            for (line, value) in lines.zip(encoded.chunks_exact(size)) {
                line[at * size..][..size].copy_from_slice(value);
            }
            self.len += 1;
        }
    }

    fn scores(&self, ctx: &Ctx, head: usize, q: MatRef<'_>, tokens: Range<usize>, out: &mut [f32]) {
        self.check(head, &tokens);
        let width = tokens.len();
        assert_eq!(out.len(), q.rows() * width, "a score for every query and token");
        let act = Act::new(q);
        let mut column = 0;
        for (step, within) in Self::steps(tokens) {
            let start = head * self.head_bytes() + within.start * self.head_dim * self.size();
            let shape = NK { n: within.len(), k: self.head_dim };
            let keys = self.rows(&self.keys, step, start, shape);
            let out = MatMut::strided(&mut out[column..], q.rows(), within.len(), width);
            mpgemm(ctx, &keys, &act, ActPrecision::Float, out);
            column += within.len();
        }
    }

    fn mix(&self, ctx: &Ctx, head: usize, p: &[f32], tokens: Range<usize>, mut out: MatMut<'_>) {
        self.check(head, &tokens);
        let (rows, width) = (out.rows(), tokens.len());
        let shapes = (p.len(), out.cols());
        assert_eq!(shapes, (rows * width, self.head_dim), "a probability for every query and token");
        let shape = NK { n: self.head_dim, k: STEP };
        let (mut padded, mut part) = (Vec::new(), Vec::new());
        let mut column = 0;
        for (step, within) in Self::steps(tokens) {
            let values = self.rows(&self.values, step, head * self.head_bytes(), shape);
            // Whole steps are multiplied: what lies outside the range gets probability 0, and is zero or the value
            // of another token.
            let p = if within.len() == STEP {
                MatRef::strided(&p[column..], rows, STEP, width)
            } else {
                padded.clear();
                padded.resize(rows * STEP, 0.0);
                for (row, p) in padded.chunks_exact_mut(STEP).zip(p.chunks_exact(width)) {
                    row[within.clone()].copy_from_slice(&p[column..column + within.len()]);
                }
                MatRef::new(&padded, rows, STEP)
            };
            let act = Act::new(p);
            if column == 0 {
                mpgemm(ctx, &values, &act, ActPrecision::Float, out.reborrow());
            } else {
                part.resize(rows * self.head_dim, 0.0);
                let target = MatMut::new(&mut part, rows, self.head_dim);
                mpgemm(ctx, &values, &act, ActPrecision::Float, target);
                for (m, part) in part.chunks_exact(self.head_dim).enumerate() {
                    ops::add(ctx.isa(), out.row_mut(m), part);
                }
            }
            column += within.len();
        }
        if column == 0 {
            (0..rows).for_each(|m| out.row_mut(m).fill(0.0));
        }
    }

    fn decode(&self, head: usize, tokens: Range<usize>, mut keys: MatMut<'_>, mut values: MatMut<'_>) {
        self.check(head, &tokens);
        let mut line = [0f32; STEP];
        let mut row = 0;
        for (step, within) in Self::steps(tokens) {
            let start = head * self.head_bytes();
            let all_keys = self.rows(&self.keys, step, start, NK { n: STEP, k: self.head_dim });
            let all_values = self.rows(&self.values, step, start, NK { n: self.head_dim, k: STEP });
            for (i, token) in within.clone().enumerate() {
                all_keys.decode_row(token, keys.row_mut(row + i));
            }
            for element in 0..self.head_dim {
                all_values.decode_row(element, &mut line);
                for (i, token) in within.clone().enumerate() {
                    values.row_mut(row + i)[element] = line[token];
                }
            }
            row += within.len();
        }
    }

    fn truncate(&mut self, len: usize) {
        if len >= self.len {
            return;
        }
        self.len = len;
        let steps = len.div_ceil(STEP);
        self.keys.truncate(steps);
        self.values.truncate(steps);
        // What a mix multiplies by 0 must be finite.
        let (size, at) = (self.size(), len % STEP);
        if at > 0
            && let Some(last) = self.values.last_mut()
        {
            for line in Arc::make_mut(last).chunks_exact_mut(STEP * size) {
                line[at * size..].fill(0);
            }
        }
    }

    fn len(&self) -> usize {
        self.len
    }

    fn bytes(&self) -> usize {
        (self.keys.len() + self.values.len()) * self.heads * self.head_bytes()
    }
}

fn encode(element: KvElement, x: &[f32], out: &mut Vec<u8>) {
    out.clear();
    match element {
        KvElement::F16 => out.extend(x.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes())),
        KvElement::F32 => out.extend(x.iter().flat_map(|x| x.to_le_bytes())),
    }
}
