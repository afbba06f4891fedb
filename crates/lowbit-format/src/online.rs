//! What has to be done to a layer's input before it meets the stored weight.
//!
//! Quantizers move columns about (act-order of GPTQ), scale them (AWQ, SmoothQuant) or rotate them (QuaRot). Where the
//! change cannot be folded into the layer before, it is done to the activations at run time: the layer computes
//! `y = W · A(x)`, A being the operations one after the other, the first in the list first.

use crate::FormatError;

/// One operation on a row `x` of K activations. Each computes exactly what it says here, in single precision and in this
/// order, on every machine.
#[derive(Clone, Debug, PartialEq)]
pub enum OnlineOp {
    /// `x'[k] = x[p[k]]`, p a permutation of 0 to K − 1.
    Permute(Vec<u32>),
    /// `x'[k] = x[k] · s[k]`, every s finite.
    Scale(Vec<f32>),
    /// A randomized Hadamard transform of each run of B activations: `x' = H · (x ∘ s) · (1 / √B)`, orthonormal. H is
    /// Sylvester's matrix, `H[i, j] = (−1)^popcount(i & j)`, applied by butterflies of distance 1, 2, 4, …, B / 2.
    Hadamard {
        /// B, a power of two that divides K.
        block: u32,
        /// s: +1 or −1 for every activation.
        signs: Vec<i8>,
    },
    /// `x'[k] = x[a] + x[b]` with `[a, b]` the pair of k, each below K. A pair may have one activation twice.
    Pairs(Vec<[u32; 2]>),
}

/// An operation without its numbers: what a file says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnlineKind {
    /// [`OnlineOp::Permute`].
    Permute,
    /// [`OnlineOp::Scale`].
    Scale,
    /// [`OnlineOp::Hadamard`] of blocks of so many.
    Hadamard(u32),
    /// [`OnlineOp::Pairs`].
    Pairs,
}

/// The largest Hadamard block: none is longer than a row.
const MAX_BLOCK: u32 = 1 << 30;

impl OnlineKind {
    /// Label in files: `permute`, `scale`, `hadamard-B`, `pairs`.
    pub fn label(self) -> String {
        match self {
            Self::Permute => "permute".into(),
            Self::Scale => "scale".into(),
            Self::Hadamard(block) => format!("hadamard-{block}"),
            Self::Pairs => "pairs".into(),
        }
    }

    /// Reads a label.
    ///
    /// # Errors
    /// Where it names no operation, or one of blocks that are no power of two.
    pub fn parse(label: &str) -> Result<Self, FormatError> {
        let block = label.strip_prefix("hadamard-").and_then(|block| {
            let number = block.parse::<u32>().ok().filter(|b| b.to_string() == block)?;
            (number.is_power_of_two() && number <= MAX_BLOCK).then_some(number)
        });
        match (label, block) {
            ("permute", _) => Ok(Self::Permute),
            ("scale", _) => Ok(Self::Scale),
            ("pairs", _) => Ok(Self::Pairs),
            (_, Some(block)) => Ok(Self::Hadamard(block)),
            _ => Err(wrong(
                "an operation",
                format!("{label:?}"),
                "permute, scale, pairs, or hadamard-B with B a power of two",
            )),
        }
    }
}

impl OnlineOp {
    /// The operation without its numbers.
    pub fn kind(&self) -> OnlineKind {
        match self {
            Self::Permute(_) => OnlineKind::Permute,
            Self::Scale(_) => OnlineKind::Scale,
            Self::Hadamard { block, .. } => OnlineKind::Hadamard(*block),
            Self::Pairs(_) => OnlineKind::Pairs,
        }
    }

    /// K: how many activations it takes.
    pub fn len(&self) -> usize {
        match self {
            Self::Permute(order) => order.len(),
            Self::Scale(scales) => scales.len(),
            Self::Hadamard { signs, .. } => signs.len(),
            Self::Pairs(pairs) => pairs.len(),
        }
    }

    /// Whether it takes none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Checks that it is an operation on `k` activations. [`Self::apply`] may be called only then.
    ///
    /// # Errors
    /// Where the length is another, a permutation names a place twice, a pair a place that there is not, a scale is not finite, a sign is not ±1, or `k` is
    /// no whole number of blocks.
    pub fn check(&self, k: usize) -> Result<(), FormatError> {
        let op = match self {
            Self::Permute(_) => "permutation",
            Self::Scale(_) => "scaling",
            Self::Hadamard { .. } => "Hadamard transform",
            Self::Pairs(_) => "sum of pairs",
        };
        if self.len() != k {
            return Err(wrong(op, format!("{} elements", self.len()), &format!("{k}, one a column")));
        }
        match self {
            Self::Permute(order) => {
                let mut taken = vec![false; k];
                for (at, from) in order.iter().enumerate() {
                    match taken.get_mut(*from as usize) {
                        Some(taken) if !*taken => *taken = true,
                        _ => {
                            let expected = format!("every number from 0 to {} once", k - 1);
                            return Err(wrong(op, format!("{from} at place {at}"), &expected));
                        }
                    }
                }
                Ok(())
            }
            Self::Scale(scales) => match scales.iter().position(|s| !s.is_finite()) {
                Some(at) => Err(wrong(op, format!("{} at place {at}", scales[at]), "finite numbers")),
                None => Ok(()),
            },
            Self::Pairs(pairs) => match pairs.iter().flatten().position(|from| *from as usize >= k) {
                Some(at) => {
                    let found = format!("{} at place {}", pairs[at / 2][at % 2], at / 2);
                    Err(wrong(op, found, &format!("numbers below {k}")))
                }
                None => Ok(()),
            },
            Self::Hadamard { block, signs } => {
                if !block.is_power_of_two() || !k.is_multiple_of(*block as usize) {
                    return Err(wrong(
                        op,
                        format!("blocks of {block}"),
                        &format!("a power of two that divides {k}"),
                    ));
                }
                match signs.iter().position(|s| *s != 1 && *s != -1) {
                    Some(at) => Err(wrong(op, format!("{} at place {at}", signs[at]), "1 or -1")),
                    None => Ok(()),
                }
            }
        }
    }

    /// Applies it to a row of activations in place; `scratch` has as many elements.
    ///
    /// # Panics
    /// Where a length is another than [`Self::len`].
    pub fn apply(&self, x: &mut [f32], scratch: &mut [f32]) {
        assert!(x.len() == self.len() && scratch.len() == x.len(), "an operation on {} columns", self.len());
        match self {
            Self::Permute(order) => {
                scratch.copy_from_slice(x);
                for (x, from) in x.iter_mut().zip(order) {
                    *x = scratch[*from as usize];
                }
            }
            Self::Scale(scales) => multiply(x, scales.iter().copied()),
            Self::Hadamard { block, signs } => {
                multiply(x, signs.iter().map(|s| f32::from(*s)));
                hadamard(x, *block as usize);
            }
            Self::Pairs(pairs) => {
                scratch.copy_from_slice(x);
                for (x, [a, b]) in x.iter_mut().zip(pairs) {
                    *x = scratch[*a as usize] + scratch[*b as usize];
                }
            }
        }
    }

    /// Turns a row of the stored weight into the row that means the same for untouched activations: its product with
    /// the transpose of what [`Self::apply`] multiplies with. Of several operations the last comes first.
    ///
    /// # Panics
    /// As [`Self::apply`].
    pub fn apply_to_weight(&self, row: &mut [f32], scratch: &mut [f32]) {
        assert!(row.len() == self.len() && scratch.len() == row.len(), "a row of {} weights", self.len());
        match self {
            Self::Permute(order) => {
                scratch.copy_from_slice(row);
                for (w, to) in scratch.iter().zip(order) {
                    row[*to as usize] = *w;
                }
            }
            Self::Scale(scales) => multiply(row, scales.iter().copied()),
            Self::Hadamard { block, signs } => {
                hadamard(row, *block as usize);
                multiply(row, signs.iter().map(|s| f32::from(*s)));
            }
            Self::Pairs(pairs) => {
                scratch.copy_from_slice(row);
                row.fill(0.0);
                for (w, to) in scratch.iter().zip(pairs) {
                    to.iter().for_each(|to| row[*to as usize] += w);
                }
            }
        }
    }
}

fn multiply(x: &mut [f32], by: impl Iterator<Item = f32>) {
    x.iter_mut().zip(by).for_each(|(x, s)| *x *= s);
}

/// The orthonormal Walsh-Hadamard transform of every run of `block`.
fn hadamard(x: &mut [f32], block: usize) {
    let unit = 1.0 / (block as f32).sqrt();
    for run in x.chunks_exact_mut(block) {
        let mut distance = 1;
        while distance < block {
            for pair in run.chunks_exact_mut(2 * distance) {
                let (low, high) = pair.split_at_mut(distance);
                for (a, b) in low.iter_mut().zip(high) {
                    (*a, *b) = (*a + *b, *a - *b);
                }
            }
            distance *= 2;
        }
        run.iter_mut().for_each(|x| *x *= unit);
    }
}

fn wrong(op: &'static str, found: String, expected: &str) -> FormatError {
    FormatError::Online { op, found, expected: expected.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ops() -> Vec<OnlineOp> {
        vec![
            OnlineOp::Permute(vec![3, 0, 7, 1, 2, 6, 5, 4]),
            OnlineOp::Scale(vec![0.5, 2.0, -1.0, 0.0, 3.0, 1.0, 0.25, 8.0]),
            OnlineOp::Hadamard { block: 4, signs: vec![1, -1, 1, 1, -1, -1, 1, 1] },
            OnlineOp::Hadamard { block: 1, signs: vec![1, -1, 1, 1, -1, -1, 1, 1] },
            OnlineOp::Pairs(vec![[0, 0], [1, 4], [2, 2], [0, 0], [5, 3], [7, 7], [6, 6], [7, 7]]),
        ]
    }

    #[test]
    fn every_operation_is_what_its_line_says() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        let applied = |op: &OnlineOp| {
            let (mut x, mut scratch) = (x, [0.0; 8]);
            op.check(8).unwrap();
            op.apply(&mut x, &mut scratch);
            x
        };
        let all = ops();
        assert_eq!(applied(&all[0]), [4.0, 1.0, 8.0, 2.0, 3.0, 7.0, 6.0, 5.0]);
        assert_eq!(applied(&all[1]), [0.5, 4.0, -3.0, 0.0, 15.0, 6.0, 1.75, 64.0]);
        // By the definition, with x ∘ s = 1 −2 3 4 | −5 −6 7 8.
        assert_eq!(applied(&all[2]), [3.0, 1.0, -4.0, 2.0, 2.0, 0.0, -13.0, 1.0]);
        assert_eq!(applied(&all[3]), [1.0, -2.0, 3.0, 4.0, -5.0, -6.0, 7.0, 8.0]);
        assert_eq!(applied(&all[4]), [2.0, 7.0, 6.0, 2.0, 10.0, 16.0, 14.0, 16.0]);
    }

    #[test]
    fn a_weight_turned_back_gives_the_same_product() {
        let w = [1.0f32, -3.0, 2.0, 5.0, -1.0, 4.0, 0.5, 2.0];
        for op in ops() {
            for column in 0..8 {
                let (mut x, mut back, mut scratch) = ([0.0; 8], w, [0.0; 8]);
                x[column] = 1.0;
                op.apply(&mut x, &mut scratch);
                let with: f32 = w.iter().zip(x).map(|(w, x)| w * x).sum();
                op.apply_to_weight(&mut back, &mut scratch);
                assert_eq!(with, back[column], "{op:?} column {column}");
            }
        }
    }

    #[test]
    fn what_is_no_operation_is_refused() {
        let signs = vec![1; 8];
        for (op, expected) in [
            (OnlineOp::Permute(vec![0; 7]), "7 elements, expected 8"),
            (OnlineOp::Permute(vec![0, 1, 2, 3, 4, 5, 6, 8]), "8 at place 7"),
            (OnlineOp::Permute(vec![0, 1, 2, 3, 4, 5, 6, 0]), "0 at place 7"),
            (OnlineOp::Scale(vec![f32::NAN; 8]), "NaN at place 0"),
            (OnlineOp::Pairs(vec![[0, 8]; 8]), "8 at place 0"),
            (OnlineOp::Pairs(vec![[0, 1]; 4]), "4 elements, expected 8"),
            (OnlineOp::Hadamard { block: 3, signs: signs.clone() }, "blocks of 3"),
            (OnlineOp::Hadamard { block: 16, signs: signs.clone() }, "blocks of 16"),
            (OnlineOp::Hadamard { block: 0, signs: signs.clone() }, "blocks of 0"),
            (OnlineOp::Hadamard { block: 2, signs: vec![-128; 8] }, "-128 at place 0"),
        ] {
            let error = op.check(8).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        for label in ["", "rotate", "hadamard", "hadamard-", "hadamard-3", "hadamard-0", "hadamard-+4"] {
            assert!(OnlineKind::parse(label).is_err(), "{label}");
        }
        for op in ops() {
            assert_eq!(OnlineKind::parse(&op.kind().label()).unwrap(), op.kind());
        }
    }
}
