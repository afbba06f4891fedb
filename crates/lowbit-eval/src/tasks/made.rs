//! What rows that are made have in common.

use crate::harness::PythonRandom;
use lowbit_io::texts::Row;
use serde_json::Value;

/// Numbers the rows of objects.
pub(super) fn rows(objects: impl IntoIterator<Item = Value>) -> Vec<Row> {
    let fields = objects.into_iter().filter_map(|object| match object {
        Value::Object(fields) => Some(fields),
        _ => None,
    });
    fields.enumerate().map(|(i, fields)| Row { fields, number: i + 1 }).collect()
}

/// One of several.
pub(super) fn one<'a, T: ?Sized>(random: &mut PythonRandom, of: &[&'a T]) -> &'a T {
    of[random.below(of.len() as u32)]
}

/// The place of `percent` % of the way from 0 to `last`, to the nearest.
pub(super) fn place(percent: usize, last: usize) -> usize {
    (percent * last + 50) / 100
}
