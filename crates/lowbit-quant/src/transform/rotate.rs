//! Rotations of what layers read: they spread large inputs and large weights evenly, so that a group has no outliers.

use super::Place;
use crate::{QuantError, driver::Work};
use lowbit_format::{OnlineOp, WeightSpec};
use rand_pcg::{Pcg64, rand_core::Rng as _};

/// Stream of the random numbers, so that other users of a seed draw others.
const STREAM: u128 = 0x726f_7461_7465;

/// Randomized Hadamard transforms of the inputs of layers that are rounded to groups, done at run time, their weights turned
/// along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotate {
    /// Of the random signs.
    pub seed: u64,
    /// Where.
    pub places: &'static [Place],
}

impl Rotate {
    /// The transform of inputs of `k` elements at a place of a block: in runs of the largest power of two that divides
    /// `k`, signs at random.
    fn op(self, k: usize, block: usize, place: Place) -> OnlineOp {
        let run = 1u32 << k.trailing_zeros().min(30);
        let number = Place::ALL.iter().position(|other| *other == place).unwrap_or(0);
        let stream = STREAM << 64 | (block as u128) << 8 | number as u128;
        let mut rng = Pcg64::new(u128::from(self.seed), stream);
        let signs = (0..k).map(|_| if rng.next_u64() >> 63 == 0 { 1 } else { -1 }).collect();
        OnlineOp::Hadamard { block: run, signs }
    }

    /// Turns the layers of a block.
    pub(crate) fn turn(self, work: &mut Work<'_>) -> Result<(), QuantError> {
        for place in self.places.iter().copied() {
            let layers = place.readers().iter().flat_map(|role| work.layers_of(*role));
            let mut names: Vec<&str> = layers.map(|layer| layer.tensor.as_str()).collect();
            names.retain(|name| matches!(work.spec_of(name), Some(WeightSpec::Grouped(_))));
            names.dedup();
            for name in names {
                let op = self.op(work.weight(name)?.shape().k, work.index, place);
                let mut scratch = Vec::new();
                work.edit(name, |row| {
                    scratch.resize(row.len(), 0.0);
                    op.apply(row, &mut scratch);
                })?;
                work.set_input(name, vec![op]);
            }
        }
        Ok(())
    }
}
