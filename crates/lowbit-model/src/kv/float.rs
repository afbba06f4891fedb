//! Keys and values as floats: values `[head][token][element]`, of keys sixteen tokens side by side,
//! `[head][token / 16][element][16]`, as scores multiply them.

use super::KvStore;
use half::f16;
use lowbit_format::FloatFormat;
use lowbit_kernels::{FloatColumns, FloatRows, Isa, MatMut, MatRef, dot_columns, mix_rows};
use std::ops::Range;

/// Tokens by which memory grows.
const STEP: usize = 256;

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
    head_dim: usize,
    len: usize,
    heads: Vec<Head>,
}

/// What is kept of one head.
#[derive(Clone, Default)]
struct Head {
    /// Columns, a token each; whole groups of them.
    keys: Vec<u8>,
    /// Rows, a token each.
    values: Vec<u8>,
}

impl Float {
    /// An empty store for `heads` heads of `head_dim` elements.
    pub fn new(element: KvElement, heads: usize, head_dim: usize) -> Self {
        Self { element, head_dim, len: 0, heads: vec![Head::default(); heads] }
    }

    /// Bytes that a store takes when it holds so many tokens.
    pub(crate) fn bytes_for(element: KvElement, heads: usize, head_dim: usize, tokens: usize) -> usize {
        2 * tokens.next_multiple_of(STEP) * heads * head_dim * element.format().bytes()
    }

    /// Bytes of one token of one head.
    fn row_bytes(&self) -> usize {
        self.head_dim * self.element.format().bytes()
    }

    /// Bytes of keys of so many tokens of one head.
    fn key_bytes(&self, tokens: usize) -> usize {
        tokens.next_multiple_of(FloatColumns::GROUP) * self.row_bytes()
    }

    fn check(&self, tokens: &Range<usize>) {
        assert!(tokens.start <= tokens.end && tokens.end <= self.len, "tokens {tokens:?} of {}", self.len);
    }
}

impl KvStore for Float {
    fn append(&mut self, keys: MatRef<'_>, values: MatRef<'_>) {
        let width = self.heads.len() * self.head_dim;
        let shapes = (keys.cols(), values.cols(), values.rows());
        assert_eq!(shapes, (width, width, keys.rows()), "keys and values of every head");
        let (dim, element) = (self.head_dim, self.element);
        let room = (self.len + keys.rows()).next_multiple_of(STEP) * self.row_bytes();
        let key_bytes = self.key_bytes(self.len + keys.rows());
        for (h, head) in self.heads.iter_mut().enumerate() {
            head.keys.reserve_exact(room - head.keys.len());
            head.keys.resize(key_bytes, 0);
            head.values.reserve_exact(room - head.values.len());
            for row in 0..keys.rows() {
                put_key(element, &keys.row(row)[h * dim..][..dim], self.len + row, &mut head.keys);
                encode(element, &values.row(row)[h * dim..][..dim], &mut head.values);
            }
        }
        self.len += keys.rows();
    }

    fn scores(&self, isa: Isa, head: usize, q: MatRef<'_>, tokens: Range<usize>, out: MatMut<'_>) {
        self.check(&tokens);
        let Head { keys, values } = &self.heads[head];
        let first = tokens.start / FloatColumns::GROUP * FloatColumns::GROUP;
        let bytes = &keys[self.key_bytes(first)..self.key_bytes(tokens.end)];
        let keys = FloatColumns::new(self.element.format(), bytes, tokens.end - first, self.head_dim);
        // Who scores keys mixes their values next.
        let next = &values[first * self.row_bytes()..];
        dot_columns(isa, keys.then(next), tokens.start - first..tokens.end - first, q, out);
    }

    fn mix(&self, isa: Isa, head: usize, p: MatRef<'_>, tokens: Range<usize>, out: MatMut<'_>) {
        self.check(&tokens);
        let Head { keys, values } = &self.heads[head];
        let bytes = &values[tokens.start * self.row_bytes()..tokens.end * self.row_bytes()];
        let values = FloatRows::new(self.element.format(), bytes, tokens.len(), self.head_dim);
        // After the values of some tokens come the keys of those after them.
        let next = keys.get(self.key_bytes(tokens.end)..).unwrap_or(&[]);
        mix_rows(isa, values.then(next), p, out);
    }

    fn decode(&self, head: usize, tokens: Range<usize>, mut keys: MatMut<'_>, mut values: MatMut<'_>) {
        let (format, dim, size) = (self.element.format(), self.head_dim, self.element.format().bytes());
        let head = &self.heads[head];
        for (row, token) in tokens.enumerate() {
            for (k, key) in keys.row_mut(row).iter_mut().enumerate() {
                let at = FloatColumns::place(format, dim, token, k);
                format.decode(&head.keys[at..at + size], std::slice::from_mut(key));
            }
            let at = token * self.row_bytes()..(token + 1) * self.row_bytes();
            format.decode(&head.values[at], values.row_mut(row));
        }
    }

    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        let (keys, values) = (self.key_bytes(self.len), self.len * self.row_bytes());
        for head in &mut self.heads {
            head.keys.truncate(keys);
            head.values.truncate(values);
        }
    }

    fn prefix(&self, len: usize) -> Box<dyn KvStore> {
        let len = len.min(self.len);
        let (keys, values) = (self.key_bytes(len), len * self.row_bytes());
        let room = Self::bytes_for(self.element, 1, self.head_dim, len) / 2;
        let copied = |bytes: &[u8]| {
            let mut copy = Vec::with_capacity(room);
            copy.extend_from_slice(bytes);
            copy
        };
        let head =
            |head: &Head| Head { keys: copied(&head.keys[..keys]), values: copied(&head.values[..values]) };
        Box::new(Self { len, heads: self.heads.iter().map(head).collect(), ..*self })
    }

    fn len(&self) -> usize {
        self.len
    }

    fn bytes(&self) -> usize {
        self.heads.iter().map(|head| head.keys.capacity() + head.values.capacity()).sum()
    }
}

/// Appends the elements of `x` to `out`.
fn encode(element: KvElement, x: &[f32], out: &mut Vec<u8>) {
    match element {
        KvElement::F16 => out.extend(x.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes())),
        KvElement::F32 => out.extend(x.iter().flat_map(|x| x.to_le_bytes())),
    }
}

/// Writes the elements of `x` to the column of `token`.
fn put_key(element: KvElement, x: &[f32], token: usize, keys: &mut [u8]) {
    let (format, dim) = (element.format(), x.len());
    let (first, step) = (FloatColumns::place(format, dim, token, 0), FloatColumns::GROUP * format.bytes());
    for (x, at) in x.iter().zip((first..).step_by(step)) {
        match element {
            KvElement::F16 => keys[at..at + 2].copy_from_slice(&f16::from_f32(*x).to_le_bytes()),
            KvElement::F32 => keys[at..at + 4].copy_from_slice(&x.to_le_bytes()),
        }
    }
}
