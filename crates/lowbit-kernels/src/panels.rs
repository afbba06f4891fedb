//! Rows side by side: grouped weights cut into panels of some rows, which all workers pack.

use crate::{Ctx, pages::Pages};
use lowbit_format::GroupedTensor;
use std::sync::Mutex;

/// Fills `target`, of which every `rows` rows of the weight have `bytes` bytes, by `pack`, and gives the weight's own pages
/// back where they are those of a mapped file.
pub(crate) fn pack_panels(
    ctx: &Ctx,
    weight: &GroupedTensor,
    target: &mut Pages,
    (rows, bytes): (usize, usize),
    pack: impl Fn(&GroupedTensor, &mut [u8]) + Sync,
) {
    let panels = target.bytes_mut().chunks_exact_mut(bytes.max(1));
    let panels: Vec<_> = panels.map(|panel| Mutex::new(Some(panel))).collect();
    ctx.run(panels.len(), |panel, _| {
        let target = panels[panel].lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        let Some(target) = target else { return };
        let first = panel * rows;
        pack(&weight.rows(first..(first + rows).min(weight.shape().n)), target);
    });
    drop(panels);
    weight.codes().bytes().release();
}
