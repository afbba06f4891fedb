//! Integer scales in units of one scale a row: the integers are the scales of a matrix with one level, which every kernel takes as they are,
//! and its products are multiplied by the rows' scales.

use crate::MatMut;
use lowbit_format::{GroupParams, GroupedTensor, QuantTensor, TensorData, WeightSpec};

/// The format of the matrix with one level; `None` for other formats.
pub(crate) fn spec_of_rows(spec: &WeightSpec) -> Option<WeightSpec> {
    let WeightSpec::Grouped(spec) = spec else { return None };
    spec.in_units_of_rows().map(WeightSpec::Grouped)
}

/// The matrix with one level, and the scale of every row.
pub(crate) fn split(w: &QuantTensor) -> Option<(QuantTensor, Vec<f32>)> {
    let TensorData::Grouped(grouped) = w.data() else { return None };
    let WeightSpec::Grouped(spec) = spec_of_rows(&w.spec())? else { return None };
    let (shape, params) = (w.shape(), grouped.params());
    let fine = params.levels[0].bytes().clone();
    let zeros = params.zeros.as_ref().map(|zeros| zeros.bytes().clone());
    let params = GroupParams::new(&spec, shape, vec![fine], zeros).ok()?;
    let plain = GroupedTensor::new(spec, grouped.codes().clone(), params).ok()?;
    let rows = (0..shape.n).map(|n| grouped.params().levels[1].get(n, 0)).collect();
    Some((QuantTensor::from_grouped(plain), rows))
}

/// Multiplies the products of every row by its scale.
pub(crate) fn scale(rows: &[f32], mut out: MatMut<'_>) {
    for m in 0..out.rows() {
        out.row_mut(m).iter_mut().zip(rows).for_each(|(y, s)| *y *= s);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Act, ActRounding, Arranged, Ctx, Isa, MatRef, Planner, reference};
    use lowbit_format::NK;

    #[test]
    fn two_levels_are_one_and_a_scale_for_every_row() {
        let shape = NK { n: 35, k: 192 };
        let weights: Vec<f32> =
            (0..shape.weights()).map(|i| ((i * 7919) % 1021) as f32 / 510.0 - 1.0).collect();
        let x: Vec<f32> = (0..5 * shape.k).map(|i| ((i * 613) % 401) as f32 / 200.0 - 1.0).collect();
        for label in [
            "int4-asym-g64-int8-row",
            "int3-sym-g32-int6-row-f32",
            "int4-fzero-g64-int8-row",
            "int2-asym-g16-int4-row",
            "int1-asym-g16-int3-row",
        ] {
            let w =
                QuantTensor::quantize_nearest(&WeightSpec::parse(label).unwrap(), &weights, shape).unwrap();
            let (plain, rows) = split(&w).unwrap_or_else(|| panic!("{label}"));
            let (mut row, mut other) = (vec![0.0; shape.k], vec![0.0; shape.k]);
            for n in 0..shape.n {
                w.decode_row(n, &mut row);
                plain.decode_row(n, &mut other);
                let near = |(a, b): (&f32, &f32)| (a - b * rows[n]).abs() <= 1e-6 * a.abs();
                assert!(row.iter().zip(&other).all(near), "{label} {n}");
            }
            for isa in Isa::available() {
                let ctx = Ctx::new(isa, 2);
                let arranged = Arranged::new(&ctx, &w, &Planner::new(), Some(ActRounding::Token));
                for tokens in [1, 5] {
                    let x = MatRef::new(&x[..tokens * shape.k], tokens, shape.k);
                    let mut out = vec![0.0; tokens * shape.n];
                    arranged.multiply(&ctx, &Act::new(x), MatMut::new(&mut out, tokens, shape.n));
                    let (off, size) = reference::distance(&out, &reference::mpgemm_f64(&w, x));
                    // Half of 1/127 of an activation below 1, for each of K weights below 1, added at random.
                    assert!(off < 0.02 * size, "{label} {isa:?}: {off} of {size}");
                }
            }
        }
        let other = WeightSpec::parse("int4-asym-g32-int6-g256").unwrap();
        assert!(spec_of_rows(&other).is_none());
    }
}
