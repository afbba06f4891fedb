//! Operations on the input of layers, done once for all layers that want the same.
//!
//! Layers of one input (query, key and value; gate and up) are mostly quantized with the same permutation or rotation. Equal
//! operations are one object after loading, so that a pointer tells whether two layers read the same activations.

use crate::{
    linear::{LinearOp, act},
    profile::Laps,
    rows::share_rows,
};
use lowbit_format::OnlineOp;
use lowbit_kernels::{Act, Ctx, MatRef};
use std::{cell::RefCell, sync::Arc};

/// Operations on a layer's input, the first one first; not empty. Shared by the layers that have the same.
pub type InputOps = Arc<[OnlineOp]>;

/// Operations met while a model is built, of the last few layers.
#[derive(Default)]
pub(crate) struct Seen(RefCell<Vec<InputOps>>);

/// Layers after which equal operations are no longer looked for: more than read one input, experts in one tensor apart.
const REMEMBERED: usize = 8;

impl Seen {
    /// The operations as one object for all layers that have them, `None` where there are none.
    pub(crate) fn shared(&self, ops: Vec<OnlineOp>) -> Option<InputOps> {
        if ops.is_empty() {
            return None;
        }
        let mut seen = self.0.borrow_mut();
        if let Some(same) = seen.iter().find(|other| other[..] == ops[..]) {
            return Some(same.clone());
        }
        if seen.len() == REMEMBERED {
            seen.remove(0);
        }
        let ops = InputOps::from(ops);
        seen.push(ops.clone());
        Some(ops)
    }
}

/// An input as each of `L` layers reads it.
pub(crate) struct Inputs<'a, const L: usize> {
    x: MatRef<'a>,
    /// What became of it by the operations of some layer, each once.
    changed: Vec<(&'a InputOps, Vec<f32>)>,
    /// For every layer which of `changed` it reads, `None` for the input itself.
    reads: [Option<usize>; L],
}

impl<'a, const L: usize> Inputs<'a, L> {
    /// Applies what the layers want.
    pub(crate) fn new(ctx: &Ctx, x: MatRef<'a>, layers: [&'a dyn LinearOp; L]) -> Self {
        let mut changed: Vec<(&InputOps, Vec<f32>)> = Vec::new();
        let reads = layers.map(|layer| {
            let ops = layer.input()?;
            let known = changed.iter().position(|(other, _)| Arc::ptr_eq(other, ops));
            Some(known.unwrap_or_else(|| {
                changed.push((ops, apply(ctx, x, ops)));
                changed.len() - 1
            }))
        });
        Self { x, changed, reads }
    }

    /// The activations to multiply, in the order of the layers; layers that read the same share them.
    pub(crate) fn acts(&self, laps: &mut Laps) -> Acts<'_, L> {
        let (rows, cols) = (self.x.rows(), self.x.cols());
        let plain = act(self.x, laps);
        let changed = self.changed.iter().map(|(_, x)| Act::new(MatRef::new(x, rows, cols)));
        Acts { plain, changed: changed.collect(), reads: self.reads }
    }
}

/// The activations of [`Inputs`].
pub(crate) struct Acts<'a, const L: usize> {
    plain: Act<'a>,
    changed: Vec<Act<'a>>,
    reads: [Option<usize>; L],
}

impl<'a, const L: usize> Acts<'a, L> {
    /// Those that layer `i` reads.
    pub(crate) fn of(&self, i: usize) -> &Act<'a> {
        self.reads[i].map_or(&self.plain, |at| &self.changed[at])
    }
}

fn apply(ctx: &Ctx, x: MatRef<'_>, ops: &[OnlineOp]) -> Vec<f32> {
    let (rows, cols) = (x.rows(), x.cols());
    let mut out = vec![0.0; rows * cols];
    share_rows(ctx, &mut out, cols, |m, row, scratch| {
        row.copy_from_slice(x.row(m));
        let spare = scratch.floats(cols);
        ops.iter().for_each(|op| op.apply(row, spare));
    });
    out
}
