//! Taking the scales of a seam into what is before and after it.

use super::Place;
use crate::{QuantError, driver::Work};
use lowbit_model::Role;

/// Multiplies the columns of the readers by `scales`, and divides by them what their inputs come from: the gain of a norm,
/// or the rows of the layer before.
pub(crate) fn fold(work: &mut Work<'_>, place: Place, scales: &[f32]) -> Result<(), QuantError> {
    for role in place.readers() {
        work.edit_rows(*role, |_, row| row.iter_mut().zip(scales).for_each(|(w, s)| *w *= s))?;
    }
    let names = work.names;
    match place {
        Place::AttentionIn => divide_gain(work, names.attention_in, scales),
        Place::FfnIn => divide_gain(work, names.ffn_in, scales),
        Place::ValueOut => divide_layer(work, Role::Value, scales),
        Place::DownIn => divide_layer(work, Role::Up, scales),
    }
}

/// Gains may be stored less an offset.
fn divide_gain(work: &mut Work<'_>, pattern: &str, scales: &[f32]) -> Result<(), QuantError> {
    let offset = work.model.gain_offset;
    work.edit_vector(&work.vector_name(pattern, "weight"), |gain| {
        gain.iter_mut().zip(scales).for_each(|(g, s)| *g = (*g + offset) / s - offset);
    })
}

fn divide_layer(work: &mut Work<'_>, role: Role, scales: &[f32]) -> Result<(), QuantError> {
    work.edit_outputs(role, |n, w| *w /= scales[n])
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        Formats,
        driver::{Work, model, plan},
        transform::seams,
    };
    use lowbit_engine::pack;
    use lowbit_format::WeightSpec;
    use lowbit_io::{Access, Checkpoint};
    use lowbit_kernels::{ActPrecision, Ctx, Isa, Planner};
    use lowbit_model::OneBlock;
    use lowbit_testing::{golden_case, max_relative_error, seeded_values};
    use serde_json::json;

    /// A golden case's first block, to be rounded to four bits.
    pub(in crate::transform) fn in_work(case: &str, test: impl FnOnce(&mut Work<'_>)) {
        let folder = tempfile::tempdir().unwrap();
        golden_case(case).write_folder(folder.path(), 1).unwrap();
        let checkpoint = Checkpoint::open(folder.path(), Access::Map).unwrap();
        let (spec, names) = model(&checkpoint, folder.path()).unwrap();
        let recipe = (crate::method("rtn").unwrap().recipe)(&json!({})).unwrap();
        let default = WeightSpec::parse("int4-sym-row").unwrap();
        let formats = Formats { default, roles: vec![], tensors: vec![] };
        let plan = plan(&checkpoint, names, &spec, &recipe, &formats).unwrap();
        test(&mut Work::new(&checkpoint, (&spec, names), &plan, 1));
    }

    /// What a block makes of a stream.
    pub(in crate::transform) fn output(work: &Work<'_>, stream: &[f32]) -> Vec<f32> {
        let (ctx, planner) = (Ctx::new(Isa::detect(), 1), Planner::new());
        let wrap = |_, stored| pack(&ctx, &planner, stored);
        let block = OneBlock::build_with(work.model, work.index, work, ActPrecision::Float, &wrap).unwrap();
        let mut stream = stream.to_vec();
        let mut cache = block.cache(stream.len() / work.model.hidden).unwrap();
        block.forward(&ctx, &mut stream, &mut cache).unwrap();
        stream
    }

    #[test]
    fn a_block_computes_the_same_after_any_scales_at_any_place() {
        let expected = [
            ("llama-mha", Place::ALL.to_vec()),
            ("llama-biases", vec![Place::AttentionIn, Place::FfnIn, Place::DownIn]),
            ("qwen2", vec![Place::AttentionIn, Place::FfnIn, Place::DownIn]),
            ("gemma3", vec![Place::AttentionIn, Place::FfnIn, Place::DownIn]),
            ("phi3-window", Place::ALL.to_vec()),
            ("mixtral", vec![Place::AttentionIn]),
            // Norms stand behind both parts of a block.
            ("olmo2", vec![Place::DownIn]),
        ];
        for (case, places) in expected {
            in_work(case, |work| {
                let stream = seeded_values("stream", 9 * work.model.hidden, 1.0, 0.0);
                let before = output(work, &stream);
                let found = seams(work, &Place::ALL);
                assert_eq!(found, places, "{case}");
                for place in found {
                    let layer = work.layers_of(place.inputs()).next().unwrap();
                    let k = work.weight(&layer.tensor).unwrap().shape().k;
                    let scales: Vec<f32> =
                        seeded_values(case, k, 1.0, 0.0).iter().map(|x| (1.5 * x).exp2()).collect();
                    fold(work, place, &scales).unwrap();
                    let after = output(work, &stream);
                    // A few roundings of single precision on the way.
                    let error = max_relative_error(&before, &after);
                    assert!(error < 2e-5, "{case} {place:?} {error}");
                    assert!(work.weight(&layer.tensor).unwrap().spec() == WeightSpec::parse("f32").unwrap());
                }
            });
        }
    }
}
