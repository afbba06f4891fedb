//! Bits by tensor: which of them deserve more, under a mean for all.
//!
//! Every tensor that has the default format is rounded to the nearest codes with each number of bits. What that loses is the
//! error of its products with inputs that are independent, Σ mᵢ (w − ŵ)² over Σ mᵢ w², mᵢ the mean square of input i (1
//! without calibration). From the fewest bits upwards the tensor gets one more whose loss falls most for what it costs.

use super::{
    block::inputs_of,
    plan::Plan,
    streams::Streams,
    survey::{Survey, of_default},
    work::Work,
};
use crate::{
    QuantError,
    fit::{Fit, Group, Range, highest, round},
    solve::{SolveError, decode, share},
};
use lowbit_format::{Bits, ElementFormat, FormatError, GroupedSpec, QuantTensor, WeightSpec};

/// Bits that a tensor may get.
const FEWEST: u8 = 2;
const MOST: u8 = 8;
/// Rows that are one task.
const ROWS: usize = 256;

/// What a tensor loses and costs with each number of bits, from the fewest.
struct Choice {
    tensor: String,
    specs: Vec<WeightSpec>,
    /// Relative error of products.
    losses: Vec<f64>,
    /// Bits of all its weights, scales and zero points included.
    bits: Vec<f64>,
}

/// What [`allocate`] works with.
pub(super) struct Search<'a> {
    pub(super) survey: &'a Survey<'a>,
    pub(super) plan: &'a Plan<'a>,
    /// The format whose bits are chosen.
    pub(super) default: &'a WeightSpec,
    /// Bits of a weight, in the mean over all tensors of blocks that are rounded.
    pub(super) target: f64,
}

/// The format of every tensor of a block that would have the default one. `work` makes a block to look at.
///
/// # Errors
/// Where the default format has no bits to choose, or the target is less than the fewest take.
pub(super) fn allocate<'a>(
    search: &Search<'_>,
    work: impl Fn(usize) -> Work<'a>,
    streams: Option<Streams>,
) -> Result<Vec<(String, WeightSpec)>, QuantError> {
    let family = family(search.default)?;
    let threads = search.survey.threads;
    let mut choices = Vec::new();
    search.survey.walk(work, streams, |work, collected| {
        for layer in of_default(work, search.default) {
            let name = layer.tensor.as_str();
            // Of experts in one tensor the first stands for all.
            let key = inputs_of(layer.id.role).map(|role| (role, layer.id.expert));
            let stats = key.and_then(|key| collected?.get(&key)).filter(|stats| stats.tokens > 0);
            let importance = stats.map(|stats| stats.mean_square.as_slice());
            let found = choice(name, &work.weight(name)?, (&family, importance), threads);
            let wrong =
                |error| QuantError::Solve { tensor: name.to_owned(), error: SolveError::Format(error) };
            choices.push(found.map_err(wrong)?);
        }
        Ok(())
    })?;
    let planned = search.plan.tensors.iter().filter(|planned| planned.block.is_some());
    let weights: usize = planned.clone().map(|planned| planned.info.elements()).sum();
    let fixed = planned.filter_map(|planned| {
        let (_, spec) = planned.to.as_ref()?;
        let bits = match spec {
            WeightSpec::Grouped(spec) => 8.0 * spec.stored_bytes(planned.info.matrix()) as f64,
            other => other.bits_per_weight() * planned.info.elements() as f64,
        };
        (spec != search.default).then_some(bits)
    });
    choose(&choices, search.target * weights as f64 - fixed.sum::<f64>())
}

/// A format with every number of bits that a tensor may get.
fn family(spec: &WeightSpec) -> Result<Vec<GroupedSpec>, QuantError> {
    let refused = || QuantError::Target {
        why: format!("{spec} has no bits to choose from; give an integer format such as int4-asym-g64"),
    };
    let WeightSpec::Grouped(grouped) = spec else { return Err(refused()) };
    let ElementFormat::Int { zero, .. } = grouped.element() else { return Err(refused()) };
    let with = |bits: u8| {
        let element = ElementFormat::Int { bits: Bits::new(bits)?, zero };
        GroupedSpec::new(element, grouped.levels().to_vec())
    };
    let family: Result<_, FormatError> = (FEWEST..=MOST).map(with).collect();
    Ok(family?)
}

/// What a tensor loses and costs; `importance` is the mean square of its inputs.
fn choice(
    tensor: &str,
    weight: &QuantTensor,
    (specs, importance): (&[GroupedSpec], Option<&[f32]>),
    threads: usize,
) -> Result<Choice, FormatError> {
    let n = weight.shape().n;
    let starts = (0..n).step_by(ROWS);
    let sums = share(threads, starts, |start| {
        let (weights, shape) = decode(weight, start..(start + ROWS).min(n))?;
        let count = |k: usize| importance.map_or(1.0, |m| f64::from(m[k]));
        let mut lost = vec![0.0f64; specs.len() + 1];
        for row in weights.chunks_exact(shape.k) {
            lost[0] += row.iter().enumerate().map(|(k, w)| count(k) * f64::from(*w).powi(2)).sum::<f64>();
            for (lost, spec) in lost[1..].iter_mut().zip(specs) {
                let (highest, len) = (highest(spec), spec.levels()[0].shape.len_in_row(shape.k));
                for (i, group) in row.chunks(len).enumerate() {
                    let fit = spec.stored(Range.fit(spec, &Group::new(group)));
                    for (j, w) in group.iter().enumerate() {
                        let nearest = if fit.scale == 0.0 { 0.0 } else { round(*w, fit, highest) };
                        *lost += count(i * len + j) * f64::from(w - nearest).powi(2);
                    }
                }
            }
        }
        Ok(lost)
    });
    let mut total = vec![0.0; specs.len() + 1];
    for rows in sums {
        total.iter_mut().zip(rows?).for_each(|(total, lost)| *total += lost);
    }
    let whole = if total[0] > 0.0 { total[0] } else { 1.0 };
    let bits = specs.iter().map(|spec| 8.0 * spec.stored_bytes(weight.shape()) as f64).collect();
    let specs = specs.iter().cloned().map(WeightSpec::Grouped).collect();
    let losses = total[1..].iter().map(|lost| lost / whole).collect();
    Ok(Choice { tensor: tensor.to_owned(), specs, losses, bits })
}

/// Chooses, so that all choices together take at most `budget` bits.
fn choose(choices: &[Choice], budget: f64) -> Result<Vec<(String, WeightSpec)>, QuantError> {
    let mut chosen = vec![0; choices.len()];
    let mut left = budget - choices.iter().map(|choice| choice.bits[0]).sum::<f64>();
    if left < 0.0 {
        let why = format!("even {FEWEST} bits everywhere take {:.0} kB too many", -left / 8000.0);
        return Err(QuantError::Target { why });
    }
    loop {
        let step = |i: usize| {
            let (choice, now) = (&choices[i], chosen[i]);
            let cost = choice.bits.get(now + 1)? - choice.bits[now];
            (cost <= left).then(|| (i, cost, (choice.losses[now] - choice.losses[now + 1]) / cost))
        };
        // Of equal gains the first counts.
        let steps = (0..choices.len()).filter_map(step);
        let Some((i, cost, _)) = steps.max_by(|a, b| a.2.total_cmp(&b.2).then(b.0.cmp(&a.0))) else { break };
        chosen[i] += 1;
        left -= cost;
    }
    let chosen = choices.iter().zip(chosen);
    Ok(chosen.map(|(choice, bits)| (choice.tensor.clone(), choice.specs[bits].clone())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(tensor: &str, losses: [f64; 3], size: f64) -> Choice {
        let specs = ["int2-sym-g32", "int3-sym-g32", "int4-sym-g32"];
        let specs = specs.map(|label| WeightSpec::parse(label).unwrap()).to_vec();
        let bits = [2.0, 3.0, 4.0].map(|bits| bits * size).to_vec();
        Choice { tensor: tensor.into(), specs, losses: losses.to_vec(), bits }
    }

    #[test]
    fn bits_go_where_they_help_most_for_their_cost_and_the_budget_is_kept() {
        let choices = [
            choice("dull", [0.1, 0.09, 0.08], 100.0),
            choice("sharp", [0.9, 0.2, 0.1], 100.0),
            choice("large", [0.9, 0.2, 0.1], 1000.0),
        ];
        let bits = |budget: f64| -> Vec<u32> {
            let made = choose(&choices, budget).unwrap();
            let bits = made.iter().map(|(_, spec)| match spec {
                WeightSpec::Grouped(spec) => spec.element().packing().levels().ilog2(),
                other => panic!("{other}"),
            });
            bits.collect()
        };
        assert_eq!(bits(2400.0), [2, 2, 2]);
        assert_eq!(bits(2500.0), [2, 3, 2]);
        assert_eq!(bits(2600.0), [2, 4, 2]);
        assert_eq!(bits(3600.0), [2, 4, 3]);
        assert_eq!(bits(10_000.0), [4, 4, 4]);
        let error = choose(&choices, 2399.0).unwrap_err().to_string();
        assert!(error.contains("2 bits"), "{error}");
    }

    #[test]
    fn only_integer_formats_have_bits_to_choose_from() {
        assert_eq!(family(&WeightSpec::parse("int4-asym-g64").unwrap()).unwrap().len(), 7);
        for label in ["ternary-row", "f16"] {
            let error = family(&WeightSpec::parse(label).unwrap()).unwrap_err().to_string();
            assert!(error.contains(label), "{error}");
        }
    }
}
