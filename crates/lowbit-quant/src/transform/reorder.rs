//! Inputs in the order of their size, so that a group has weights that meet inputs of about the same.

use super::{Place, movable};
use crate::{
    QuantError,
    driver::Work,
    stats::{InputStats, Inputs, Needs},
};
use lowbit_format::OnlineOp;

/// Columns of the layers at some places sorted by the largest magnitude of what they read, the smallest first; inputs are
/// permuted at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reorder {
    /// Where.
    pub places: &'static [Place],
}

impl Reorder {
    pub(crate) fn needs(&self) -> Needs {
        Needs { inputs: Inputs::Magnitudes, ..Needs::NONE }
    }

    /// Sorts the columns of the layers that read at a place, and the statistics of what they read, where they can be moved about.
    pub(crate) fn sort(work: &mut Work<'_>, place: Place, stats: &mut InputStats) -> Result<(), QuantError> {
        let names = movable(work, place);
        if names.is_empty() {
            return Ok(());
        }
        let mut order: Vec<u32> = (0..stats.columns() as u32).collect();
        order.sort_by(|a, b| stats.abs_max[*a as usize].total_cmp(&stats.abs_max[*b as usize]));
        for name in names {
            let mut sorted = vec![0.0; order.len()];
            work.edit(&name, |row| {
                sorted.iter_mut().zip(&order).for_each(|(to, from)| *to = row[*from as usize]);
                row.copy_from_slice(&sorted);
            })?;
            let mut ops = work.input(&name).to_vec();
            ops.push(OnlineOp::Permute(order.clone()));
            work.set_input(&name, ops);
        }
        stats.permute(&order);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        stats::Collector,
        transform::fold::tests::{in_work, output},
    };
    use lowbit_kernels::MatRef;
    use lowbit_testing::{max_relative_error, seeded_values};

    #[test]
    fn a_block_computes_the_same_with_sorted_inputs_and_the_smallest_come_first() {
        for case in ["llama-gqa", "phi3-window", "gemma3", "mixtral"] {
            in_work(case, |work| {
                let stream = seeded_values("stream", 9 * work.model.hidden, 1.0, 0.0);
                let before = output(work, &stream);
                for place in [Place::ValueOut, Place::DownIn] {
                    let layer = work.layers_of(place.inputs()).next().unwrap();
                    let k = work.weight(&layer.tensor).unwrap().shape().k;
                    let needs =
                        Needs { inputs: Inputs::Hessian, samples: 3, equal_tokens: false, ..Needs::NONE };
                    let x = seeded_values("inputs", 3 * k, 1.0, 0.0);
                    let mut collector = Collector::new(k, needs, 3, 1);
                    collector.add(MatRef::new(&x, 3, k));
                    let mut stats = collector.finish();
                    Reorder::sort(work, place, &mut stats).unwrap();
                    if layer.id.expert.is_some() {
                        assert!(work.input(&layer.tensor).is_empty() && stats.samples == x, "{case}");
                        continue;
                    }
                    assert!(stats.abs_max.is_sorted(), "{case} {place:?}");
                    let [OnlineOp::Permute(order)] = work.input(&layer.tensor) else { panic!("{case}") };
                    assert!((0..k).all(|i| stats.samples[i] == x[order[i] as usize]), "{case} {place:?}");
                    // The factor's last diagonal element is the root of H's, which was raised by its mean.
                    let last = stats.factor(1.0, &[]).unwrap().column(k - 1)[k - 1];
                    let from = order[k - 1] as usize;
                    let mean = x.iter().map(|x| x * x).sum::<f32>() / k as f32;
                    let expected = mean + (0..3).map(|t| x[t * k + from] * x[t * k + from]).sum::<f32>();
                    assert!((last * last - expected).abs() < 1e-3 * expected, "{case} {place:?}");
                }
                // Sums in another order.
                let error = max_relative_error(&before, &output(work, &stream));
                assert!(error < 2e-5, "{case} {error}");
            });
        }
    }
}
