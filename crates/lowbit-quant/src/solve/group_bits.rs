//! A column sweep in which groups of columns have bits of their own.
//!
//! Codes of b bits are stored as those of the fewest bits that any group has, and the bits below as one more term for the columns
//! that have them: c = 2ᵈ h + l, with scale and zero point alike, (c − z) s = (h − z ≫ d) 2ᵈ s + (l − z mod 2ᵈ) s. Nothing is rounded
//! by that, and every column costs its own bits.

use super::{
    Layer, Quantized, Solve, SolveError,
    column_sweep::{Fits, Sweep, Swept, sweep_needs},
    matrix::{Matrix, Sorted},
    nearest::measured,
    share,
};
use crate::{
    fit::{Fit, Group},
    stats::Needs,
};
use lowbit_format::{
    Bits, ElementFormat, FormatError, GroupFit, GroupedSpec, GroupedTensor, NK, QuantTensor, Term, TermKind,
    ZeroPoint,
};

/// Rows that one worker fits at a time.
const ROWS: usize = 64;

/// Chooses the bits of every group of columns.
pub trait ChooseBits: Send + Sync {
    /// What it is called where the parts of a method are listed.
    fn name(&self) -> &'static str;
    /// The format of every group of columns, in their order: that of the matrix with other bits.
    ///
    /// # Errors
    /// Where there is no such format.
    fn choose(&self, matrix: &Matrix<'_>) -> Result<Vec<GroupedSpec>, FormatError>;
}

/// The sweep. Columns with the largest inputs come first and groups are fitted before it.
pub struct GroupBits {
    /// What is added to the diagonal of H, in parts of its mean.
    pub damp: f64,
    /// Whether all tokens count the same in H, see [`Needs::equal_tokens`].
    pub equal_tokens: bool,
    /// Whether products of different inputs are shrunk, see [`Needs::shrink`].
    pub shrink: bool,
    /// Who chooses.
    pub choose: Box<dyn ChooseBits>,
}

impl Solve for GroupBits {
    fn name(&self) -> &'static str {
        self.choose.name()
    }

    fn needs(&self) -> Needs {
        sweep_needs(self.equal_tokens, self.shrink)
    }

    /// # Panics
    /// Where the layer has no statistics with a Hessian.
    fn solve(&self, layer: &Layer<'_>, spec: &GroupedSpec, fit: &dyn Fit) -> Result<Quantized, SolveError> {
        let sorted = Sorted::of(layer, self.damp)?;
        let matrix = sorted.matrix(layer, spec, fit);
        let specs = self.choose.choose(&matrix)?;
        let highest: Vec<f32> = specs.iter().map(crate::fit::highest).collect();
        let fits = Fits::Given(fits(&matrix, &specs));
        let sweep = Sweep { highest: Some(&highest), ..sorted.sweep(spec, &fits) };
        let Swept { rounded, .. } = sweep.all(matrix.weights, layer.threads);
        let Fits::Given(fits) = fits else { unreachable!("they were given above") };
        let made = split(&rounded, matrix.shape, &specs, &fits)?;
        // Said even where all groups have the same bits: whether experts can have it must not depend on the block.
        Ok(Quantized { spec: Some(made.spec()), ..measured(matrix.weights, &made) })
    }
}

/// The fits of all groups, row after row, as they are stored.
fn fits(matrix: &Matrix<'_>, specs: &[GroupedSpec]) -> Vec<GroupFit> {
    let (k, len) = (matrix.shape.k, matrix.spec.levels()[0].shape.len_in_row(matrix.shape.k));
    let rows = share(matrix.threads, matrix.weights.chunks(ROWS * k), |rows| {
        let groups = rows.chunks_exact(k).flat_map(|row| row.chunks(len).zip(matrix.importance.chunks(len)));
        let with_spec = groups.zip(specs.iter().cycle());
        with_spec
            .map(|((weights, importance), spec)| {
                spec.stored(
                    matrix.fit.fit(spec, &Group { importance: Some(importance), ..Group::new(weights) }),
                )
            })
            .collect::<Vec<_>>()
    });
    rows.concat()
}

fn bits(spec: &GroupedSpec) -> u8 {
    spec.element().packing().levels().ilog2() as u8
}

/// The matrix whose groups of columns have these formats, from the values that its codes stand for.
fn split(
    rounded: &[f32],
    shape: NK,
    specs: &[GroupedSpec],
    fits: &[GroupFit],
) -> Result<QuantTensor, FormatError> {
    let least = specs.iter().min_by_key(|spec| bits(spec)).expect("a matrix has groups");
    let len = least.levels()[0].shape.len_in_row(shape.k);
    let mut more: Vec<u8> = specs.iter().map(|spec| bits(spec) - bits(least)).collect();
    let more_of = more.clone();
    more.sort_unstable();
    more.dedup();
    let high = |value: f32, fit: GroupFit, d: u8| -> (f32, GroupFit) {
        let times = f32::from(1u16 << d);
        let zero = (fit.zero / times).floor();
        let scale = fit.scale * times;
        let code =
            if fit.scale == 0.0 { 0.0 } else { ((value / fit.scale + fit.zero).round() / times).floor() };
        ((code - zero) * scale, GroupFit { scale, zero })
    };
    let places = |columns: &[usize]| -> Vec<(usize, usize)> {
        (0..shape.n)
            .flat_map(|n| columns.iter().map(move |k| (n * shape.k + k, n * specs.len() + k / len)))
            .collect()
    };
    let all: Vec<usize> = (0..shape.k).collect();
    let d_of = |group: usize| more_of[group % specs.len()];
    let values: Vec<f32> =
        places(&all).iter().map(|(i, g)| high(rounded[*i], fits[*g], d_of(*g)).0).collect();
    let base_fits: Vec<GroupFit> =
        fits.iter().enumerate().map(|(g, fit)| high(0.0, *fit, d_of(g)).1).collect();
    let mut made =
        QuantTensor::from_grouped(GroupedTensor::quantize_with(least, &values, shape, &base_fits)?);
    for d in more.into_iter().filter(|d| *d > 0) {
        let columns: Vec<usize> = all.iter().copied().filter(|k| more_of[k / len] == d).collect();
        let low: Vec<f32> = places(&columns).iter().map(|(i, _)| rounded[*i] - values[*i]).collect();
        let groups = fits.iter().enumerate().filter(|(g, _)| d_of(*g) == d);
        let low_fits: Vec<GroupFit> = groups
            .map(|(_, fit)| GroupFit { scale: fit.scale, zero: fit.zero % f32::from(1u16 << d) })
            .collect();
        let element = ElementFormat::Int { bits: Bits::new(d)?, zero: ZeroPoint::Integer };
        let spec = GroupedSpec::new(element, least.levels().to_vec())?;
        let kind = TermKind::Columns(columns.len() as u32);
        let matrix = GroupedTensor::quantize_with(&spec, &low, kind.matrices(shape)[0], &low_fits)?;
        let list = columns.iter().map(|k| *k as u32).collect();
        made =
            made.plus(Term { kind, lists: vec![list], matrices: vec![QuantTensor::from_grouped(matrix)] })?;
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lowbit_format::WeightSpec;
    use lowbit_testing::seeded_values;

    #[test]
    fn groups_of_other_bits_come_back_exactly_from_codes_and_the_bits_below() {
        let shape = NK { n: 3, k: 32 };
        let grouped = |label: &str| match WeightSpec::parse(label).unwrap() {
            WeightSpec::Grouped(spec) => spec,
            other => panic!("{other}"),
        };
        let weights = seeded_values("weights", shape.weights(), 1.0, 0.0);
        let ones = vec![1.0; shape.k];
        for label in ["int2-asym-g8", "int3-asym-g8"] {
            let spec = grouped(label);
            let matrix = Matrix {
                weights: &weights,
                shape,
                spec: &spec,
                fit: &crate::fit::Range,
                importance: &ones,
                curvature: &ones,
                threads: 2,
            };
            let specs = ["int3-asym-g8", "int2-asym-g8", "int4-asym-g8", "int3-asym-g8"].map(grouped);
            let fits = fits(&matrix, &specs);
            let mut rounded = weights.clone();
            for (i, w) in rounded.iter_mut().enumerate() {
                let group = i / 8;
                *w = crate::fit::round(*w, fits[group], crate::fit::highest(&specs[group % 4]));
            }
            let made = split(&rounded, shape, &specs, &fits).unwrap();
            let label = "int2-asym-g8+columns16-int1-asym-g8+columns8-int2-asym-g8";
            assert_eq!(made.spec().label(), label);
            let mut row = vec![0.0; shape.k];
            for (n, expected) in rounded.chunks_exact(shape.k).enumerate() {
                made.decode_row(n, &mut row);
                let near = row.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
                assert!(near, "{row:?} {expected:?}");
            }
        }
    }
}
