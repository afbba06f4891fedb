//! Integer activations as 8-bit terms, to be multiplied with codes.

/// Rows of bytes: those of a token's integers, or two, of which the first is worth 256.
pub(crate) struct Terms {
    /// Rows of a token: 1 or 2.
    rows: usize,
    /// Activations of a row and of a group, both whole tuples.
    width: usize,
    group: usize,
    /// Groups of a row.
    groups: usize,
    /// `[token][term][group][activation]`.
    q: Vec<i8>,
    /// `(1 − 2ᵇ) Σ q` of every group of a token: what the sum of twice the codes starts from, as they are in steps around their
    /// middle.
    starts: Vec<i32>,
}

impl Terms {
    /// The terms of rows of `width` integers in groups of `group`, for codes of so many bits. Those of 16 bits are
    /// `256 · h + l`, which holds for all up to 32639.
    pub(super) fn new(x: &[i16], group: usize, width: usize, bits: usize, bytes: bool) -> Self {
        let rows = if bytes { 1 } else { 2 };
        let mut q = Vec::with_capacity(rows * x.len());
        for token in x.chunks_exact(width.max(1)) {
            if !bytes {
                q.extend(token.iter().map(|x| ((x + 128) >> 8) as i8));
            }
            q.extend(token.iter().map(|x| *x as i8));
        }
        let highest = (1 << bits) - 1;
        let start = |x: &[i16]| -highest * x.iter().map(|x| i32::from(*x)).sum::<i32>();
        let starts = x.chunks_exact(group.max(1)).map(start).collect();
        Self { rows, width, group, groups: width / group.max(1), q, starts }
    }

    /// Rows of a token.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes from one row to the next.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// The rows from some token on, from some group on.
    pub(super) fn from(&self, token: usize, group: usize) -> &[i8] {
        &self.q[token * self.rows * self.width + group * self.group..]
    }

    /// What the sum of a group starts from.
    pub(super) fn start(&self, token: usize, group: usize) -> i32 {
        self.starts[token * self.groups + group]
    }
}

#[cfg(test)]
mod tests {
    use super::Terms;

    #[test]
    fn two_terms_are_the_integer_and_one_is_the_byte() {
        let x: Vec<i16> = (-32500..=32500)
            .step_by(13)
            .take(4992)
            .chain([32500, -32500, 127, -128, 128, -129, 0, 1])
            .collect();
        let two = Terms::new(&x, 8, x.len(), 3, false);
        for (i, x) in x.iter().enumerate() {
            assert_eq!(256 * i32::from(two.from(0, 0)[i]) + i32::from(two.q[5000 + i]), i32::from(*x));
        }
        let bytes = [127, -127, 3, 0, 0, 0, 0, 1];
        let one = Terms::new(&bytes, 8, 8, 4, true);
        assert!(one.q.iter().zip(bytes).all(|(q, x)| i16::from(*q) == x));
        assert_eq!((one.start(0, 0), one.rows(), one.width()), (-60, 1, 8));
    }
}
