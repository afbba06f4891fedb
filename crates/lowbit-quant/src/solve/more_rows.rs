//! More bits for the rows that the whole model needs most.
//!
//! What the codes of a row leave is rounded once more, to four bits: the two together are codes of all the bits. Which rows get
//! them is chosen before any block is rounded, by what the loss of the model would change if that row alone were rounded.

use super::{
    Layer, Quantized, SolveError,
    nearest::{decode_stored, measured},
};
use lowbit_format::{
    Bits, ElementFormat, GroupShape, GroupedSpec, ParamFormat, QuantTensor, ScaleLevel, Term, TermKind,
    WeightSpec, ZeroPoint,
};
use std::{collections::BTreeMap, sync::Arc};

/// The bits that a chosen row gets in addition.
const BITS: u8 = 4;

/// Gives more bits to some rows.
pub struct MoreRows {
    /// The share of the weights that gets more bits, from 0 to 1.
    pub share: f64,
    /// With which rows a row competes.
    pub among: Among,
    /// Samples of the calibration over which salience is averaged, at least one; fewer where there are fewer.
    pub samples: usize,
    /// How salient a row is for one sample, from the change of its loss in first order.
    pub salience: fn(f64) -> f64,
}

/// With which rows a row competes for more bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Among {
    /// With all of the model.
    Model,
    /// With those of its matrix.
    Matrix,
}

/// How salient the rows of a tensor are.
#[derive(Clone, Debug, PartialEq)]
pub struct Salient {
    /// Name of the tensor.
    pub tensor: String,
    /// Weights of a row.
    pub k: usize,
    /// Of every row.
    pub salience: Vec<f64>,
}

/// The rows of every tensor that get more bits, rising; a tensor without any is left out.
pub type Rows = BTreeMap<String, Vec<u32>>;

impl MoreRows {
    /// The most salient rows, as many as have no more than the share of the weights. Of equal ones the first counts.
    pub fn choose(&self, tensors: &[Salient]) -> Rows {
        let mut rows = Rows::new();
        let groups: Vec<&[Salient]> = match self.among {
            Among::Model => vec![tensors],
            Among::Matrix => tensors.chunks(1).collect(),
        };
        groups.into_iter().for_each(|group| best(group, self.share, &mut rows));
        rows.values_mut().for_each(|rows| rows.sort_unstable());
        rows
    }
}

fn best(tensors: &[Salient], share: f64, rows: &mut Rows) {
    let each = |tensor: &Salient| (tensor.salience.len() * tensor.k) as f64;
    let room = share * tensors.iter().map(each).sum::<f64>();
    let of = |tensor: usize| tensors[tensor].salience.iter().enumerate().map(move |(n, s)| (*s, tensor, n));
    let mut all: Vec<(f64, usize, usize)> = (0..tensors.len()).flat_map(of).collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let mut taken = 0.0;
    for (_, tensor, n) in all {
        let tensor = &tensors[tensor];
        taken += tensor.k as f64;
        if taken > room {
            return;
        }
        rows.entry(tensor.tensor.clone()).or_default().push(n as u32);
    }
}

/// Adds what the codes of some rows leave of their weights, in four bits and groups as long as those of `spec`.
pub(crate) fn add_rows(
    layer: &Layer<'_>,
    (rounded, spec): (Quantized, &WeightSpec),
    rows: &[u32],
) -> Result<Quantized, SolveError> {
    let WeightSpec::Grouped(grouped) = spec else { return Ok(rounded) };
    let shape = layer.weight.shape();
    let made = rounded.tensor(spec, shape)?;
    let weights = decode_stored(layer, rounded.order.as_deref())?;
    let mut decoded = vec![0.0; shape.k];
    let mut left = Vec::with_capacity(rows.len() * shape.k);
    for n in rows {
        let n = *n as usize;
        made.decode_row(n, &mut decoded);
        left.extend(weights[n * shape.k..][..shape.k].iter().zip(&decoded).map(|(w, d)| w - d));
    }
    let kind = TermKind::Rows(rows.len() as u32);
    let group = match grouped.levels()[0].shape {
        GroupShape::Group(size) | GroupShape::Column(size) => GroupShape::Group(size),
        GroupShape::Row | GroupShape::Tensor => GroupShape::Row,
    };
    let element = ElementFormat::Int { bits: Bits::new(BITS)?, zero: ZeroPoint::Symmetric };
    let more = GroupedSpec::new(element, vec![ScaleLevel { shape: group, format: ParamFormat::F16 }])?;
    let matrix = QuantTensor::quantize_nearest(&WeightSpec::Grouped(more), &left, kind.matrices(shape)[0])?;
    let term = Term { kind, lists: vec![Arc::from(rows)], matrices: vec![matrix] };
    Ok(Quantized { order: rounded.order, ..measured(&weights, &made.plus(term)?) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fit::Range,
        solve::{Nearest, quantize_matrix},
    };
    use lowbit_format::{FloatFormat, NK, Storage};
    use lowbit_testing::seeded_values;

    fn salient(tensor: &str, k: usize, salience: &[f64]) -> Salient {
        Salient { tensor: tensor.to_owned(), k, salience: salience.to_vec() }
    }

    #[test]
    fn rows_compete_with_the_model_or_with_their_matrix_for_a_share_of_the_weights() {
        let tensors = [salient("a", 4, &[1.0, 9.0, 2.0, 9.0]), salient("b", 8, &[8.0, 3.0, 0.0, 0.0])];
        let choose = |share, among| {
            let more = MoreRows { share, among, samples: 1, salience: |change| change };
            more.choose(&tensors).into_iter().collect::<Vec<_>>()
        };
        let of = |name: &str, rows: &[u32]| (name.to_owned(), rows.to_vec());
        // 48 weights: room for 16, and for 15.
        assert_eq!(choose(1.0 / 3.0, Among::Model), [of("a", &[1, 3]), of("b", &[0])]);
        assert_eq!(choose(15.0 / 48.0, Among::Model), [of("a", &[1, 3])]);
        assert_eq!(choose(0.5, Among::Matrix), [of("a", &[1, 3]), of("b", &[0, 1])]);
        assert_eq!(choose(0.25, Among::Matrix), [of("a", &[1]), of("b", &[0])]);
        assert_eq!(choose(0.0, Among::Model), []);
        let all = [of("a", &[0, 1, 2, 3]), of("b", &[0, 1, 2, 3])];
        assert_eq!(choose(1.0, Among::Model), all);
    }

    #[test]
    fn chosen_rows_have_the_error_of_eight_bits_and_the_others_theirs() {
        let shape = NK { n: 5, k: 64 };
        let weights = seeded_values("weights", shape.weights(), 0.1, 0.0);
        let bytes = Storage::from(FloatFormat::F32.encode(&weights));
        let tensor = QuantTensor::from_floats(FloatFormat::F32, shape, bytes).unwrap();
        let layer = Layer { weight: &tensor, stats: None, threads: 2 };
        let errors = |label: &str, rows: Option<&[u32]>| {
            let spec = WeightSpec::parse(label).unwrap();
            let mut made = quantize_matrix((&Range, &Nearest), &layer, &spec).unwrap();
            if let Some(rows) = rows {
                made = add_rows(&layer, (made, &spec), rows).unwrap();
            }
            let made = made.tensor(&spec, shape).unwrap();
            let mut row = vec![0.0; shape.k];
            let errors: Vec<f32> = weights
                .chunks_exact(shape.k)
                .enumerate()
                .map(|(n, weights)| {
                    made.decode_row(n, &mut row);
                    row.iter().zip(weights).map(|(a, b)| (a - b).powi(2)).sum()
                })
                .collect();
            (errors, made.spec().label())
        };
        let (four, _) = errors("int4-asym-g32", None);
        let (eight, _) = errors("int8-sym-g32", None);
        let (mixed, label) = errors("int4-asym-g32", Some(&[1, 4]));
        assert_eq!(label, "int4-asym-g32+rows2-int4-sym-g32");
        for n in [0, 2, 3] {
            assert_eq!(mixed[n], four[n], "{n}");
        }
        for n in [1, 4] {
            // The range of a group is not used to its end by both parts.
            assert!(mixed[n] < 4.0 * eight[n] && mixed[n] < four[n] / 60.0, "{n} {} {}", mixed[n], eight[n]);
        }
        assert_eq!(errors("int4-asym-row", Some(&[0])).1, "int4-asym-row+rows1-int4-sym-row");
    }
}
