//! More bits for the groups that need them most.
//!
//! What the codes of a group leave is rounded once more, to as many bits as are to be added: the two together are codes of all the
//! bits. Which groups get them is said by the range of their weights; they are stored as sparse runs of whole groups.

use super::{
    Layer, Quantized, Solve, SolveError,
    nearest::{decode_stored, measured},
};
use crate::{fit::Fit, stats::Needs};
use lowbit_format::{
    Bits, ElementFormat, GroupShape, GroupedSpec, ParamFormat, QuantTensor, ScaleLevel, Term, TermKind,
    WeightSpec, ZeroPoint,
};

/// Rounds by another part, and adds bits to some groups.
pub struct MoreBits {
    /// What rounds.
    pub inner: Box<dyn Solve>,
    /// The share of the groups that gets more bits, from 0 to 1.
    pub share: f64,
    /// How many more.
    pub bits: Bits,
}

impl Solve for MoreBits {
    fn name(&self) -> &'static str {
        "more bits for wide groups"
    }

    fn needs(&self) -> Needs {
        self.inner.needs()
    }

    fn accepts(&self, spec: &GroupedSpec) -> Result<(), &'static str> {
        self.inner.accepts(spec)?;
        groups(spec).map(|_| ()).ok_or("it gives more bits to some groups; take an int format with groups")
    }

    fn solve(&self, layer: &Layer<'_>, spec: &GroupedSpec, fit: &dyn Fit) -> Result<Quantized, SolveError> {
        let shape = layer.weight.shape();
        let rounded = self.inner.solve(layer, spec, fit)?;
        let Some((zero, size)) = groups(spec) else { return Ok(rounded) };
        let made = rounded.tensor(&WeightSpec::Grouped(spec.clone()), shape)?;
        let weights = decode_stored(layer, rounded.order.as_deref())?;
        let len = size as usize;
        let wide = widest(&weights, len, (self.share * (weights.len() / len) as f64) as usize);
        if wide.is_empty() {
            return Ok(rounded);
        }
        let mut row = vec![0.0; shape.k];
        let mut left = Vec::with_capacity(wide.len() * len);
        for group in &wide {
            let (n, start) = (group * len / shape.k, group * len % shape.k);
            made.decode_row(n, &mut row);
            left.extend((start..start + len).map(|k| weights[n * shape.k + k] - row[k]));
        }
        let kind = TermKind::Sparse { count: wide.len() as u32, width: size };
        let per_row = shape.k / len;
        let starts =
            (0..=shape.n).map(|n| wide.partition_point(|group| *group < n * per_row) as u32).collect();
        let at = wide.iter().map(|group| (group % per_row) as u32).collect();
        let level = ScaleLevel { shape: GroupShape::Group(size), format: ParamFormat::F16 };
        let more = GroupedSpec::new(ElementFormat::Int { bits: self.bits, zero }, vec![level])?;
        let matrix =
            QuantTensor::quantize_nearest(&WeightSpec::Grouped(more), &left, kind.matrices(shape)[0])?;
        let term = Term { kind, lists: vec![starts, at], matrices: vec![matrix] };
        Ok(Quantized { order: rounded.order, ..measured(&weights, &made.plus(term)?) })
    }
}

/// Where zero points are, and the weights of a group; `None` for other formats than groups of integers.
fn groups(spec: &GroupedSpec) -> Option<(ZeroPoint, u32)> {
    match (spec.element(), spec.levels()[0].shape) {
        (ElementFormat::Int { zero, .. }, GroupShape::Group(size)) => Some((zero, size)),
        _ => None,
    }
}

/// The `count` groups of `len` weights with the widest range, in their order; of equal ones the first.
fn widest(weights: &[f32], len: usize, count: usize) -> Vec<usize> {
    let range = |group: &[f32]| {
        let (low, high) = group.iter().fold((f32::MAX, f32::MIN), |(l, h), w| (l.min(*w), h.max(*w)));
        high - low
    };
    let ranges: Vec<f32> = weights.chunks_exact(len).map(range).collect();
    let mut groups: Vec<usize> = (0..ranges.len()).collect();
    groups.sort_by(|a, b| ranges[*b].total_cmp(&ranges[*a]).then(a.cmp(b)));
    groups.truncate(count);
    groups.sort_unstable();
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fit::Range, solve::Nearest};
    use lowbit_format::{FloatFormat, NK, Storage};
    use lowbit_testing::seeded_values;

    #[test]
    fn the_widest_groups_have_the_error_of_all_the_bits_and_the_others_theirs() {
        let shape = NK { n: 5, k: 64 };
        let mut weights = seeded_values("weights", shape.weights(), 0.1, 0.0);
        let wide = [3, 7, 18];
        for group in wide {
            weights[group * 16..][..16].iter_mut().for_each(|w| *w *= 20.0);
        }
        let bytes = Storage::from(FloatFormat::F32.encode(&weights));
        let tensor = QuantTensor::from_floats(FloatFormat::F32, shape, bytes).unwrap();
        let layer = Layer { weight: &tensor, stats: None, threads: 2 };
        let WeightSpec::Grouped(spec) = WeightSpec::parse("int2-asym-g16").unwrap() else { panic!("groups") };
        let errors = |share: f64| {
            let solve = MoreBits { inner: Box::new(Nearest), share, bits: Bits::new(2).unwrap() };
            let made = solve.solve(&layer, &spec, &Range).unwrap();
            let tensor = made.tensor(&WeightSpec::Grouped(spec.clone()), shape).unwrap();
            let mut row = vec![0.0; shape.k];
            let mut errors = Vec::new();
            for (n, weights) in weights.chunks_exact(shape.k).enumerate() {
                tensor.decode_row(n, &mut row);
                let squares: Vec<f32> = row.iter().zip(weights).map(|(a, b)| (a - b).powi(2)).collect();
                errors.extend(squares.chunks(16).map(|group| group.iter().sum::<f32>()));
            }
            (errors, tensor.spec().label())
        };
        let (plain, label) = errors(0.0);
        assert_eq!(label, "int2-asym-g16");
        let (more, label) = errors(3.0 / 20.0);
        assert_eq!(label, "int2-asym-g16+sparse3x16-int2-asym-g16");
        for (group, (plain, more)) in plain.iter().zip(&more).enumerate() {
            if wide.contains(&group) {
                // Steps of a third, in the worst case of a group whose ends are hardly reached.
                assert!(more < &(plain / 4.0), "{group}: {plain} {more}");
            } else {
                assert_eq!(plain, more, "{group}");
            }
        }
    }
}
