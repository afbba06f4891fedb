//! Groups along rows or along columns, whichever loses less.

use super::{Layer, Quantized, Solve, SolveError, nearest::decode_stored, share};
use crate::{
    fit::Fit,
    stats::{Inputs, Needs},
};
use lowbit_format::{GroupShape, GroupedSpec, ScaleLevel, WeightSpec};

/// Tokens whose outputs are compared.
const TOKENS: usize = 512;
/// Rows that are one task.
const ROWS: usize = 64;

/// Rounds by another part with groups either way, and keeps what loses less of the outputs on some tokens.
pub struct EitherAxis {
    /// What rounds.
    pub inner: Box<dyn Solve>,
}

impl Solve for EitherAxis {
    fn name(&self) -> &'static str {
        "groups along rows or columns"
    }

    fn needs(&self) -> Needs {
        self.inner.needs().and(Needs { inputs: Inputs::Magnitudes, samples: TOKENS, ..Needs::NONE })
    }

    fn accepts(&self, spec: &GroupedSpec) -> Result<(), &'static str> {
        let columns = in_columns(spec)
            .ok_or("it turns groups around; take a format with one level of groups such as g64")?;
        self.inner.accepts(spec)?;
        self.inner.accepts(&columns)
    }

    fn solve(&self, layer: &Layer<'_>, spec: &GroupedSpec, fit: &dyn Fit) -> Result<Quantized, SolveError> {
        let rows = self.inner.solve(layer, spec, fit)?;
        let (Some(columns), Some(_)) = (in_columns(spec), layer.stats) else { return Ok(rows) };
        let turned = self.inner.solve(layer, &columns, fit)?;
        let columns = WeightSpec::Grouped(columns);
        let lost = lost(layer, &rows, &WeightSpec::Grouped(spec.clone()))?;
        if lost <= self::lost(layer, &turned, &columns)? {
            return Ok(rows);
        }
        Ok(Quantized { spec: Some(turned.spec.clone().unwrap_or(columns)), ..turned })
    }
}

/// The format with its groups in columns; `None` where it has no groups, or two levels.
fn in_columns(spec: &GroupedSpec) -> Option<GroupedSpec> {
    let &[ScaleLevel { shape: GroupShape::Group(size), format }] = spec.levels() else { return None };
    GroupedSpec::new(spec.element(), vec![ScaleLevel { shape: GroupShape::Column(size), format }]).ok()
}

/// The squared error of the outputs on the sampled tokens.
fn lost(layer: &Layer<'_>, made: &Quantized, asked: &WeightSpec) -> Result<f64, SolveError> {
    let (shape, stats) =
        (layer.weight.shape(), layer.stats.expect("both ways are compared where there are inputs"));
    let (weights, made_of) = (decode_stored(layer, made.order.as_deref())?, made.tensor(asked, shape)?);
    let lost = share(layer.threads, weights.chunks(ROWS * shape.k).enumerate(), |(i, weights)| {
        let mut error = vec![0.0; weights.len()];
        let mut row = vec![0.0; shape.k];
        for (r, (error, w)) in error.chunks_exact_mut(shape.k).zip(weights.chunks_exact(shape.k)).enumerate()
        {
            made_of.decode_row(i * ROWS + r, &mut row);
            for k in 0..shape.k {
                let column = made.order.as_ref().map_or(k, |order| order[k] as usize);
                error[column] = w[k] - row[k];
            }
        }
        stats.output_error(&error)
    });
    Ok(lost.into_iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::solve::{ColumnSweep, Nearest, Order, testing};
    use lowbit_format::NK;
    use lowbit_testing::seeded_values;

    const SHAPE: NK = NK { n: 96, k: 64 };

    fn both(inner: impl Fn() -> Box<dyn Solve>, w: &[f32], x: &[f32]) -> [f64; 3] {
        let either = EitherAxis { inner: inner() };
        let lost = |solve: &dyn Solve, format| testing::lost(solve, (w, x, SHAPE), format)[1];
        [lost(&*inner(), "int6-asym-g16"), lost(&*inner(), "int6-asym-c16"), lost(&either, "int6-asym-g16")]
    }

    #[test]
    fn the_axis_is_the_one_that_loses_less() {
        let mut x = seeded_values("inputs", 200 * SHAPE.k, 1.0, 0.0);
        let plain = seeded_values("weights", SHAPE.weights(), 0.1, 0.0);
        let wide = |every: &dyn Fn(usize) -> bool| -> Vec<f32> {
            plain.iter().enumerate().map(|(i, w)| if every(i) { 20.0 * w } else { *w }).collect()
        };
        // Some rows far larger than others, and some columns, whose inputs are so much smaller.
        let rows = wide(&|i| (i / SHAPE.k).is_multiple_of(9));
        let columns = wide(&|i| (i % SHAPE.k).is_multiple_of(9));
        let even = x.clone();
        x.iter_mut()
            .enumerate()
            .filter(|(i, _)| (i % SHAPE.k).is_multiple_of(9))
            .for_each(|(_, x)| *x /= 20.0);
        let nearest = || Box::new(Nearest) as Box<dyn Solve>;
        for [by_row, by_column, either] in [both(nearest, &columns, &x), both(sweep, &columns, &x)] {
            assert!(by_column < 0.5 * by_row, "{by_row} {by_column}");
            assert_eq!(either, by_column);
        }
        for [by_row, by_column, either] in [both(nearest, &rows, &even), both(sweep, &rows, &even)] {
            assert!(by_row < 0.5 * by_column, "{by_row} {by_column}");
            assert_eq!(either, by_row);
        }
    }

    fn sweep() -> Box<dyn Solve> {
        Box::new(ColumnSweep { damp: 0.01, order: Order::LargestFirst, equal_tokens: false, shrink: false })
    }

    fn spec(label: &str) -> GroupedSpec {
        let WeightSpec::Grouped(spec) = WeightSpec::parse(label).unwrap() else { panic!("{label}") };
        spec
    }

    #[test]
    fn a_layer_loses_no_more_than_by_the_papers_own_way() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/golden/adadim.json")).unwrap();
        let numbers = |value: &serde_json::Value| -> Vec<f32> {
            value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
        };
        let shape =
            NK { n: golden["n"].as_u64().unwrap() as usize, k: golden["k"].as_u64().unwrap() as usize };
        for layer in golden["layers"].as_array().unwrap() {
            let (w, x) = (numbers(&layer["w"]), numbers(&layer["x"]));
            let lost = |solve: &dyn Solve, format| testing::lost(solve, (&w, &x, shape), format)[1];
            let expected = |axis: &str| layer[axis].as_f64().unwrap();
            let near = |found: f64, expected: f64| (found / expected - 1.0).abs() < 0.01;
            let [rows, columns] = ["int3-asym-g16", "int3-asym-c16"].map(|format| lost(&*sweep(), format));
            assert!(near(rows, expected("rows")), "{layer:.40}: {rows}");
            assert!(near(columns, expected("columns")), "{layer:.40}: {columns}");
            let either = lost(&EitherAxis { inner: sweep() }, "int3-asym-g16");
            assert!(near(either, expected("rows").min(expected("columns"))), "{layer:.40}: {either}");
        }
    }

    #[test]
    fn only_one_level_of_groups_can_be_turned() {
        let either = EitherAxis { inner: Box::new(Nearest) };
        assert!(either.accepts(&spec("int3-asym-g16")).is_ok());
        for label in ["int4-sym-row", "int4-asym-c16", "int4-asym-g16-int6-g256"] {
            assert!(either.accepts(&spec(label)).is_err(), "{label}");
        }
        assert_eq!(in_columns(&spec("int4-asym-g64-f32")), Some(spec("int4-asym-c64-f32")));
    }
}
