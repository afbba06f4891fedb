//! Keys and values as floats, `[head][token][element]`.

use super::KvStore;
use half::f16;
use lowbit_format::FloatFormat;
use lowbit_kernels::{FloatRows, Isa, MatMut, MatRef, dot_rows, mix_rows};
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

/// Rows of one head, a token each.
#[derive(Clone, Default)]
struct Head {
    keys: Vec<u8>,
    values: Vec<u8>,
}

impl Float {
    /// An empty store for `heads` heads of `head_dim` elements.
    pub fn new(element: KvElement, heads: usize, head_dim: usize) -> Self {
        Self { element, head_dim, len: 0, heads: vec![Head::default(); heads] }
    }

    /// Bytes of one token of one head.
    fn row_bytes(&self) -> usize {
        self.head_dim * self.element.format().bytes()
    }

    /// Tokens `tokens` of stored rows.
    fn rows<'a>(&self, stored: &'a [u8], tokens: Range<usize>) -> FloatRows<'a> {
        assert!(tokens.start <= tokens.end && tokens.end <= self.len, "tokens {tokens:?} of {}", self.len);
        let bytes = &stored[tokens.start * self.row_bytes()..tokens.end * self.row_bytes()];
        FloatRows::new(self.element.format(), bytes, tokens.len(), self.head_dim)
    }

    /// Bytes of stored rows from `token` on.
    fn from<'a>(&self, stored: &'a [u8], token: usize) -> &'a [u8] {
        &stored[token * self.row_bytes()..]
    }
}

impl KvStore for Float {
    fn append(&mut self, keys: MatRef<'_>, values: MatRef<'_>) {
        let width = self.heads.len() * self.head_dim;
        let shapes = (keys.cols(), values.cols(), values.rows());
        assert_eq!(shapes, (width, width, keys.rows()), "keys and values of every head");
        let (dim, element) = (self.head_dim, self.element);
        let room = (self.len + keys.rows()).next_multiple_of(STEP) * self.row_bytes();
        for (h, head) in self.heads.iter_mut().enumerate() {
            for (stored, new) in [(&mut head.keys, keys), (&mut head.values, values)] {
                stored.reserve_exact(room - stored.len());
                (0..new.rows()).for_each(|row| encode(element, &new.row(row)[h * dim..][..dim], stored));
            }
        }
        self.len += keys.rows();
    }

    fn scores(&self, isa: Isa, head: usize, q: MatRef<'_>, tokens: Range<usize>, out: MatMut<'_>) {
        // Who scores keys mixes their values next.
        let Head { keys, values } = &self.heads[head];
        let next = self.from(values, tokens.start);
        dot_rows(isa, self.rows(keys, tokens).then(next), q, out);
    }

    fn mix(&self, isa: Isa, head: usize, p: MatRef<'_>, tokens: Range<usize>, out: MatMut<'_>) {
        // After a tile's values come the next tile's keys.
        let Head { keys, values } = &self.heads[head];
        let next = self.from(keys, tokens.end);
        mix_rows(isa, self.rows(values, tokens).then(next), p, out);
    }

    fn decode(&self, head: usize, tokens: Range<usize>, mut keys: MatMut<'_>, mut values: MatMut<'_>) {
        let row_bytes = self.row_bytes();
        for (row, token) in tokens.enumerate() {
            let at = token * row_bytes..(token + 1) * row_bytes;
            self.element.format().decode(&self.heads[head].keys[at.clone()], keys.row_mut(row));
            self.element.format().decode(&self.heads[head].values[at], values.row_mut(row));
        }
    }

    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        let bytes = self.len * self.row_bytes();
        for head in &mut self.heads {
            head.keys.truncate(bytes);
            head.values.truncate(bytes);
        }
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
