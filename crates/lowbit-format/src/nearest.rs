//! Rounding to the nearest code: the plainest way into a grouped format.
//!
//! Scales come from the range of each group: the largest magnitude for symmetric codes (the mean for one bit and for
//! ternary, as the models trained with them have it), smallest and largest weight, zero included, for the others. They
//! are stored first and codes chosen for what is stored. The largest magnitude of a group becomes the largest number of a table.

use crate::{
    Codes, ElementFormat, FormatError, GroupParams, GroupShape, GroupedSpec, GroupedTensor, NK, Storage,
    ZeroPoint, params::Params,
};

/// Scale and zero point of one group before they are stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupFit {
    /// What a code less the zero point is multiplied with.
    pub scale: f32,
    /// What is subtracted from codes; ignored where the format has no zero points.
    pub zero: f32,
}

impl GroupFit {
    /// From the range of the weights: largest magnitude for symmetric formats and tables, mean magnitude for one bit and ternary,
    /// smallest and largest weight, zero included, for the others.
    pub fn of_range(element: ElementFormat, group: &[f32]) -> Self {
        fit(element, group)
    }
}

pub(crate) fn quantize(spec: &GroupedSpec, weights: &[f32], shape: NK) -> Result<GroupedTensor, FormatError> {
    let fine = spec.levels()[0].shape;
    let fits: Vec<GroupFit> = fine.groups(weights, shape).map(|group| fit(spec.element(), &group)).collect();
    quantize_with(spec, weights, shape, &fits)
}

/// Stores the parameters, one for every group in the order of rows, then rounds to the nearest codes of what is stored.
pub(crate) fn quantize_with(
    spec: &GroupedSpec,
    weights: &[f32],
    shape: NK,
    fits: &[GroupFit],
) -> Result<GroupedTensor, FormatError> {
    let fine = spec.levels()[0].shape;
    let scales: Vec<f32> = fits.iter().map(|f| f.scale).collect();
    let levels = store_scales(spec, &scales, shape);
    let zeros = spec.zero_format().map(|format| {
        let zeros: Vec<f32> = fits.iter().map(|f| f.zero).collect();
        Params::encode(fine, format, shape, &zeros)
    });
    let levels_bytes: Vec<Storage> = levels.iter().map(|l| l.bytes().clone()).collect();
    let params = GroupParams::new(spec, shape, levels_bytes, zeros.map(|z| z.bytes().clone()))?;

    let highest = (spec.element().packing().levels() - 1) as f32;
    let mut codes = Vec::with_capacity(weights.len());
    for (n, row) in weights.chunks(shape.k.max(1)).enumerate() {
        for (i, group) in row.chunks(fine.len_in_row(shape.k).max(1)).enumerate() {
            let start = i * fine.len_in_row(shape.k);
            let scale: f32 =
                params.levels.iter().map(|l| l.get(n, start / l.shape().len_in_row(shape.k))).product();
            let zero = match &params.zeros {
                Some(zeros) => zeros.get(n, i),
                None => spec.element().center().unwrap_or(0.0),
            };
            // A scale of zero decodes to zero whatever the code.
            let steps = |w: f32| if scale == 0.0 { 0.0 } else { w / scale };
            codes.extend(group.iter().map(|w| match spec.element() {
                ElementFormat::Codebook(book) => book.nearest(steps(*w)),
                _ => (steps(*w) + zero).round().clamp(0.0, highest) as u8,
            }));
        }
    }
    GroupedTensor::new(spec.clone(), Codes::pack(spec.element().packing(), shape, &codes), params)
}

fn fit(element: ElementFormat, group: &[f32]) -> GroupFit {
    let absmax = group.iter().fold(0f32, |m, w| m.max(w.abs()));
    let absmean = (group.iter().map(|w| f64::from(w.abs())).sum::<f64>() / group.len().max(1) as f64) as f32;
    match element {
        ElementFormat::Ternary => GroupFit { scale: absmean, zero: 1.0 },
        ElementFormat::Codebook(book) => GroupFit { scale: absmax / book.largest(), zero: 0.0 },
        ElementFormat::Int { bits, zero: ZeroPoint::Symmetric } => match bits.levels() {
            2 => GroupFit { scale: 2.0 * absmean, zero: 0.5 },
            levels => GroupFit { scale: absmax / (levels / 2 - 1) as f32, zero: levels as f32 / 2.0 },
        },
        ElementFormat::Int { bits, zero } => {
            let (low, high) = group.iter().fold((0f32, 0f32), |(l, h), w| (l.min(*w), h.max(*w)));
            let highest = (bits.levels() - 1) as f32;
            // Halves first: the range of finite weights may be infinite.
            let scale = (high / highest) - (low / highest);
            let exact = if scale > 0.0 { -low / scale } else { 0.0 };
            GroupFit {
                scale,
                zero: if zero == ZeroPoint::Integer { exact.round().min(highest) } else { exact },
            }
        }
    }
}

/// Stores the scales of the first level; with two, those of the second so that the largest of their group just fits.
fn store_scales(spec: &GroupedSpec, scales: &[f32], shape: NK) -> Vec<Params> {
    match *spec.levels() {
        [fine, coarse] => {
            let per_row =
                NK { n: scales.len() / fine.shape.per_row(shape.k).max(1), k: fine.shape.per_row(shape.k) };
            let within = match (fine.shape, coarse.shape) {
                (GroupShape::Group(a), GroupShape::Group(b)) => GroupShape::Group(b / a),
                (_, other) => other,
            };
            let units: Vec<f32> = within
                .groups(scales, per_row)
                .map(|s| s.iter().fold(0f32, |m, s| m.max(*s)) / fine.format.unit())
                .collect();
            let units = Params::encode(coarse.shape, coarse.format, shape, &units);
            let mut relative = scales.to_vec();
            for (n, row) in relative.chunks_mut(per_row.k.max(1)).enumerate() {
                for (i, run) in row.chunks_mut(within.len_in_row(per_row.k).max(1)).enumerate() {
                    let unit = units.get(n, i);
                    for s in run {
                        *s = if unit > 0.0 { *s / unit } else { 0.0 };
                    }
                }
            }
            vec![Params::encode(fine.shape, fine.format, shape, &relative), units]
        }
        _ => {
            let level = spec.levels()[0];
            vec![Params::encode(level.shape, level.format, shape, scales)]
        }
    }
}
