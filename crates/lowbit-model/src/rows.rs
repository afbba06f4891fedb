//! Rows of a matrix shared out over the workers without unsafe code.

use lowbit_kernels::{Ctx, Scratch};
use std::sync::Mutex;

/// Numbers under which a loop over rows is not worth waking the workers for.
const WORTH_SHARING: usize = 1 << 14;

/// Calls `body(item, scratch)` for every item on the workers, handed out in order. `size` is roughly how many numbers
/// all items touch; small loops stay on this thread. What `body` computes must depend on its item only.
pub(crate) fn share<I>(ctx: &Ctx, size: usize, items: I, body: impl Fn(I::Item, &mut Scratch) + Sync)
where
    I: ExactSizeIterator + Send,
{
    let tasks = items.len();
    let items = Mutex::new(items);
    let next = || items.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next();
    let step = |scratch: &mut Scratch| {
        if let Some(item) = next() {
            body(item, scratch);
        }
    };
    if size < WORTH_SHARING || tasks < 2 {
        // One task: the pool runs it on this thread.
        ctx.run(1, |_, scratch| (0..tasks).for_each(|_| step(scratch)));
    } else {
        ctx.run(tasks, |_, scratch| step(scratch));
    }
}

/// Rows of `out` and the first row's index, in groups of [`GROUP`]: `body(first, rows)`.
pub(crate) fn share_rows(
    ctx: &Ctx,
    out: &mut [f32],
    width: usize,
    body: impl Fn(usize, &mut [f32], &mut Scratch) + Sync,
) {
    const GROUP: usize = 8;
    let size = out.len();
    let groups = out.chunks_mut(GROUP * width).enumerate();
    share(ctx, size, groups, |(group, rows), scratch| {
        for (i, row) in rows.chunks_exact_mut(width).enumerate() {
            body(group * GROUP + i, row, scratch);
        }
    });
}
