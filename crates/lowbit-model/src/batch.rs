//! Tokens of several sequences in one pass: which row of the batch is which token of whom.
//!
//! Rows whose logits nobody wants come first, then the others, each kind in the order of the sequences. So the last
//! block and the head work on the rows from one place on, and a sequence has at most two runs of rows, its *segments*:
//! tokens at positions one after the other, with the unwanted ones first as they are in the sequence.

use crate::{
    Logits, ModelError,
    kv::{KvCache, KvGeometry},
};
use std::ops::Range;

/// What one sequence brings to a batch.
pub struct Sequence<'a> {
    /// Tokens at the positions after those in the cache.
    pub tokens: &'a [u32],
    /// Keys and values of the tokens before.
    pub cache: &'a mut KvCache,
    /// For which of the tokens logits are computed.
    pub want: Logits,
}

/// A run of rows of a batch that are tokens of one sequence, at positions one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Place of the sequence in the batch.
    pub(crate) sequence: usize,
    pub(crate) rows: Range<usize>,
    /// Position of the first row in its sequence.
    pub(crate) position: usize,
}

impl Segment {
    /// The segment that has a row, of segments in the order of their rows.
    pub(crate) fn of_row(segments: &[Self], row: usize) -> Self {
        segments[segments.partition_point(|segment| segment.rows.end <= row)].clone()
    }

    /// What is left of it from row `first` of the batch on, rows counted from there; `None` where nothing is.
    pub(crate) fn from(&self, first: usize) -> Option<Self> {
        let Self { sequence, rows: Range { start, end }, position } = *self;
        let from = start.max(first);
        let left =
            Self { sequence, rows: from - first..end.max(first) - first, position: position + from - start };
        (!left.rows.is_empty()).then_some(left)
    }
}

/// A batch, laid out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// The token of each row.
    pub(crate) tokens: Vec<u32>,
    /// In the order of their rows; none is empty.
    pub(crate) segments: Vec<Segment>,
    /// The first row whose logits are wanted.
    pub(crate) wanted: usize,
}

impl Batch {
    /// # Errors
    /// Where a token is not in the vocabulary, a cache is another model's or has no room, or rows of logits are wanted
    /// that there are not.
    pub(crate) fn new(
        sequences: &[Sequence<'_>],
        vocab: usize,
        geometry: KvGeometry,
    ) -> Result<Self, ModelError> {
        let mut split = Vec::with_capacity(sequences.len());
        for Sequence { tokens, cache, want } in sequences {
            let count = tokens.len();
            split.push(match *want {
                Logits::None => count,
                Logits::Last => count.saturating_sub(1),
                Logits::All => 0,
                Logits::From(from) if from <= count => from,
                Logits::From(from) => return Err(ModelError::LogitRows { from, tokens: count }),
            });
            if let Some(index) = tokens.iter().position(|id| *id as usize >= vocab) {
                return Err(ModelError::Token { index, id: tokens[index], vocab });
            }
            cache.check(geometry, count)?;
        }
        let wanted = split.iter().sum();
        let mut batch = Self { tokens: Vec::new(), segments: Vec::new(), wanted };
        for (sequence, (one, from)) in sequences.iter().zip(&split).enumerate() {
            batch.push(sequence, one.cache.len(), &one.tokens[..*from]);
        }
        for (sequence, (one, from)) in sequences.iter().zip(&split).enumerate() {
            batch.push(sequence, one.cache.len() + from, &one.tokens[*from..]);
        }
        Ok(batch)
    }

    fn push(&mut self, sequence: usize, position: usize, tokens: &[u32]) {
        let start = self.tokens.len();
        self.tokens.extend_from_slice(tokens);
        let end = self.tokens.len();
        match self.segments.last_mut() {
            _ if tokens.is_empty() => {}
            // The only sequence, or the last of those with unwanted rows where it is the first with wanted ones.
            Some(last) if last.sequence == sequence => last.rows.end = end,
            _ => self.segments.push(Segment { sequence, rows: start..end, position }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::{Float, KvElement, KvStore};

    const GEOMETRY: KvGeometry = KvGeometry { layers: 1, kv_heads: 1, head_dim: 4 };

    fn cache(held: usize) -> KvCache {
        let mut store = Float::new(KvElement::F32, 1, 4);
        let zeros = vec![0.0; held * 4];
        let rows = || lowbit_kernels::MatRef::new(&zeros, held, 4);
        store.append(rows(), rows());
        KvCache::new(vec![Box::new(store)], GEOMETRY, 100, Vec::new()).unwrap()
    }

    fn layout(asked: &[(usize, &[u32], Logits)]) -> Batch {
        let mut caches: Vec<KvCache> = asked.iter().map(|(held, ..)| cache(*held)).collect();
        let sequences = asked.iter().zip(&mut caches);
        let sequences = sequences.map(|((_, tokens, want), cache)| Sequence { tokens, cache, want: *want });
        Batch::new(&sequences.collect::<Vec<_>>(), 50, GEOMETRY).unwrap()
    }

    fn segment(sequence: usize, rows: Range<usize>, position: usize) -> Segment {
        Segment { sequence, rows, position }
    }

    #[test]
    fn one_sequence_is_one_segment_whatever_is_wanted_of_it() {
        for (want, wanted) in [
            (Logits::None, 3),
            (Logits::Last, 2),
            (Logits::All, 0),
            (Logits::From(1), 1),
            (Logits::From(3), 3),
        ] {
            let batch = layout(&[(7, &[1, 2, 3], want)]);
            let expected = Batch { tokens: vec![1, 2, 3], segments: vec![segment(0, 0..3, 7)], wanted };
            assert_eq!(batch, expected, "{want:?}");
        }
    }

    #[test]
    fn unwanted_rows_come_first_and_keep_their_positions() {
        let batch = layout(&[
            (5, &[1, 2, 3], Logits::Last),
            (9, &[4], Logits::Last),
            (0, &[6, 7], Logits::None),
            (2, &[8, 9], Logits::All),
        ]);
        assert_eq!(batch.tokens, [1, 2, 6, 7, 3, 4, 8, 9]);
        assert_eq!(batch.wanted, 4);
        let expected = [
            segment(0, 0..2, 5),
            segment(2, 2..4, 0),
            segment(0, 4..5, 7),
            segment(1, 5..6, 9),
            segment(3, 6..8, 2),
        ];
        assert_eq!(batch.segments, expected);
        assert_eq!(Segment::of_row(&batch.segments, 4), expected[2]);
        assert_eq!(Segment::of_row(&batch.segments, 7), expected[4]);
        let wanted: Vec<Segment> = batch.segments.iter().filter_map(|segment| segment.from(4)).collect();
        assert_eq!(wanted, [segment(0, 0..1, 7), segment(1, 1..2, 9), segment(3, 2..4, 2)]);
        assert_eq!(segment(0, 2..9, 30).from(5), Some(segment(0, 0..4, 33)));
    }
}
