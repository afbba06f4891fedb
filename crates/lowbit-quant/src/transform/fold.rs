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
    work.edit_rows(role, |n, row| row.iter_mut().for_each(|w| *w /= scales[n]))?;
    let layers: Vec<_> = work.layers_of(role).cloned().collect();
    for layer in layers {
        let bias = format!("{}.bias", layer.tensor.trim_end_matches(".weight"));
        if work.has(&bias) {
            let rows = layer.rows.clone();
            work.edit_vector(&bias, |bias| {
                bias[rows].iter_mut().zip(scales).for_each(|(b, s)| *b /= s);
            })?;
        }
    }
    Ok(())
}
