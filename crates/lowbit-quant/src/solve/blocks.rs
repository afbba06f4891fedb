//! Rounding to blocks of GGUF: codes of a grouped format whose scales and offsets a block stores together.

use super::nearest::{GroupInputs, fits};
use crate::fit::{Fit, highest, round};
use lowbit_format::{
    BlockFormat, BlockWriter, FormatError, GroupFit, GroupShape, GroupedSpec, NK, ParamFormat, QuantTensor,
    ScaleLevel,
};

/// A block format as a target.
pub struct Blocks {
    format: BlockFormat,
    writer: BlockWriter,
    /// The format with its codes and groups, scales and zero points in single precision.
    pub(crate) spec: GroupedSpec,
}

/// Blocks without codes, and the fits of their groups as they are stored.
pub(super) struct Opened {
    bytes: Vec<u8>,
    pub(super) fits: Vec<GroupFit>,
}

impl Blocks {
    /// # Errors
    /// [`FormatError::NoEncoder`] where blocks of the format are only read.
    pub(crate) fn of(format: BlockFormat) -> Result<Self, FormatError> {
        let unwritten = || FormatError::NoEncoder { label: format.label().to_owned() };
        let writer = BlockWriter::new(format).ok_or_else(unwritten)?;
        let shape = GroupShape::Group(writer.group() as u32);
        let spec = GroupedSpec::new(writer.element(), vec![ScaleLevel { shape, format: ParamFormat::F32 }])?;
        Ok(Self { format, writer, spec })
    }

    /// Chooses the fits of rows and stores them. Of symmetric formats, whose codes reach one further down than up, scales may be
    /// negative: the fit of the weights with their signs changed is taken where it loses less.
    pub(super) fn open(
        &self,
        weights: &[f32],
        shape: NK,
        fit: &dyn Fit,
        inputs: Option<&GroupInputs>,
    ) -> Opened {
        let mut chosen = fits(weights, shape, &self.spec, fit, inputs);
        if self.spec.element().center().is_some() {
            let turned: Vec<f32> = weights.iter().map(|w| -w).collect();
            let others = fits(&turned, shape, &self.spec, fit, inputs);
            let group = self.writer.group();
            for (i, (here, other)) in chosen.iter_mut().zip(others).enumerate() {
                let weights = &weights[i * group..][..group];
                let at = i % (shape.k / group);
                let importance = inputs.and_then(|inputs| inputs.of(at, weights).importance);
                let other = GroupFit { scale: -other.scale, ..other };
                if self.lost(other, weights, importance) < self.lost(*here, weights, importance) {
                    *here = other;
                }
            }
        }
        let mut bytes =
            Vec::with_capacity(weights.len() / self.writer.weights() * self.format.layout().bytes);
        for block in chosen.chunks_mut(self.writer.weights() / self.writer.group()) {
            self.writer.open(block, &mut bytes);
        }
        Opened { bytes, fits: chosen }
    }

    /// Σ m (w − ŵ)² of a group, m the mean square of a weight's inputs where that is known.
    fn lost(&self, fit: GroupFit, weights: &[f32], importance: Option<&[f32]>) -> f32 {
        if fit.scale == 0.0 {
            return f32::INFINITY;
        }
        let highest = highest(&self.spec);
        let each = weights.iter().enumerate();
        each.map(|(i, w)| importance.map_or(1.0, |m| m[i]) * (w - round(*w, fit, highest)).powi(2)).sum()
    }

    /// The blocks with the codes nearest to weights.
    pub(super) fn close(
        &self,
        opened: Opened,
        weights: &[f32],
        shape: NK,
    ) -> Result<QuantTensor, FormatError> {
        let Opened { mut bytes, fits } = opened;
        let blocks = bytes.chunks_mut(self.format.layout().bytes).zip(weights.chunks(self.writer.weights()));
        for ((block, weights), fits) in blocks.zip(fits.chunks(self.writer.weights() / self.writer.group())) {
            self.writer.codes(fits, weights, block);
        }
        QuantTensor::from_blocks(self.format, shape, bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fit::{Counts, MseGrid, Range},
        solve::{ColumnSweep, Layer, Nearest, Order, Solve, quantize_matrix, testing::lost},
    };
    use lowbit_format::WeightSpec;
    use lowbit_testing::seeded_values;

    const SHAPE: NK = NK { n: 9, k: 512 };

    fn written() -> impl Iterator<Item = (BlockFormat, Blocks)> {
        BlockFormat::ALL.iter().filter_map(|format| Some((*format, Blocks::of(*format).ok()?)))
    }

    fn matrix(weights: &[f32], shape: NK) -> QuantTensor {
        QuantTensor::quantize_nearest(&WeightSpec::parse("f32").unwrap(), weights, shape).unwrap()
    }

    #[test]
    fn blocks_lose_hardly_more_than_floats_for_scales_and_a_sweep_loses_less_of_outputs() {
        let weights = seeded_values("weights", SHAPE.weights(), 0.1, 0.01);
        let tokens = seeded_values("free", 300 * SHAPE.k, 1.0, 0.0);
        // Neighbouring inputs go together, so that one can make up for another.
        let inputs: Vec<f32> = (0..tokens.len()).map(|i| tokens[i] + tokens[i / 4 * 4]).collect();
        let sweep =
            ColumnSweep { damp: 0.01, order: Order::LargestFirst, equal_tokens: false, shrink: false };
        let mut formats = 0;
        for (format, blocks) in written() {
            let of = |solve: &dyn Solve, label: &str| lost(solve, (&weights, &inputs, SHAPE), label);
            let nearest = of(&Nearest, format.label());
            let floats = of(&Nearest, &WeightSpec::Grouped(blocks.spec.clone()).label());
            assert!(nearest[0] < 1.1 * floats[0], "{}: {nearest:?} {floats:?}", format.label());
            let swept = of(&sweep, format.label());
            assert!(swept[1] < 0.8 * nearest[1], "{}: {swept:?} {nearest:?}", format.label());
            formats += 1;
        }
        assert_eq!(formats, 10);
    }

    #[test]
    fn threads_change_nothing() {
        let weights = matrix(&seeded_values("threads", 300 * SHAPE.k, 0.1, 0.0), NK { n: 300, k: SHAPE.k });
        for (format, _) in written() {
            let made = |threads| {
                let layer = Layer { weight: &weights, stats: None, threads };
                quantize_matrix((&Range, &Nearest), &layer, &WeightSpec::Block(format)).unwrap().parts
            };
            assert_eq!(made(1), made(3), "{}", format.label());
        }
    }

    #[test]
    fn a_group_that_reaches_further_up_than_down_has_a_negative_scale() {
        let weights: Vec<f32> = (0..32).map(|i| (i % 16) as f32 - 7.0).collect();
        let shape = NK { n: 1, k: 32 };
        let weight = matrix(&weights, shape);
        let layer = Layer { weight: &weight, stats: None, threads: 1 };
        let fit = MseGrid { grid: 50, max_shrink: 0.6, counts: Counts::ByInputs };
        let spec = WeightSpec::parse("q4_0").unwrap();
        let made = quantize_matrix((&fit, &Nearest), &layer, &spec).unwrap();
        assert_eq!(made.squared_error, 0.0);
        let mut decoded = vec![0.0; 32];
        made.tensor(&spec, shape).unwrap().decode_row(0, &mut decoded);
        assert_eq!(decoded, weights);
    }

    #[test]
    fn what_is_only_read_is_refused() {
        assert!(matches!(Blocks::of(BlockFormat::IQ2_S), Err(FormatError::NoEncoder { .. })));
    }
}
