//! Everything that is no product with weights: attention, norms, rotations, what is written to the cache.

use super::{COLD, Subject, median, noise, timed};
use crate::{Kind, Op, trace::Attended};
use lowbit_kernels::{MatRef, fork_join, ops};
use lowbit_model::{Attention, KvStore, QkNorm, Queries, kv::Float};

/// Numbers from which on rows are shared out over the workers, and rows of a task, as the decoder has them.
const SHARED: (usize, usize) = (1 << 14, 8);

/// Seconds of attention of one block over all batches of a pass. Of many batches the first and the last stand for those
/// between them.
pub(super) fn attention(subject: &Subject<'_>, attended: Attended, batches: usize) -> f64 {
    let tokens = attended.tokens.div_ceil(batches.max(1));
    let at = |batch: usize| {
        let first = batch * tokens;
        let tokens = tokens.min(attended.tokens - first);
        of_batch(subject, Attended { tokens, position: attended.position + first, ..attended })
    };
    let last = attended.tokens.div_ceil(tokens) - 1;
    match last {
        0 => at(0),
        _ => (last + 1) as f64 * (at(0) + at(last)) / 2.0,
    }
}

fn of_batch(subject: &Subject<'_>, attended: Attended) -> f64 {
    let Subject { spec, ctx, .. } = *subject;
    let wide = spec.query_width();
    let held = attended.position + attended.tokens;
    let first = filled(subject, held);
    let store_bytes = first.bytes().max(1);
    let blocks = if attended.tokens > 1 { 1 } else { spec.blocks.len() };
    let count = (COLD / store_bytes).clamp(1, blocks * attended.sequences);
    let mut stores = vec![first];
    stores.extend((1..count).map(|_| filled(subject, held)));
    let block = Attention {
        heads: spec.heads,
        kv_heads: spec.kv_heads,
        head_dim: spec.head_dim,
        cap: spec.attention_cap,
        window: attended.window,
    };
    let q = noise(attended.tokens * wide);
    let mut out = vec![0.0; attended.sequences * q.len()];
    let (mut parts, mut next) = (Vec::new(), 0);
    let calls = if attended.tokens > 1 { 3 } else { count.max(16) };
    median(calls, || {
        let queries: Vec<Queries<'_>> = (0..attended.sequences)
            .map(|i| Queries {
                store: &stores[(next + i) % stores.len()],
                q: &q,
                position: attended.position,
            })
            .collect();
        next += attended.sequences;
        timed(|| block.forward(ctx, &queries, &mut parts, &mut out))
    })
}

/// A store of one block with so many tokens.
fn filled(subject: &Subject<'_>, tokens: usize) -> Float {
    let spec = subject.spec;
    let mut store = Float::new(subject.kv, spec.kv_heads, spec.head_dim);
    let width = spec.kv_width();
    let rows = noise(width * tokens.min(256));
    let mut left = tokens;
    while left > 0 {
        let some = left.min(256);
        let rows = MatRef::new(&rows[..some * width], some, width);
        store.append(rows, rows);
        left -= some;
    }
    store
}

/// Seconds of an operator on rows of floats.
pub(super) fn rows(subject: &Subject<'_>, op: &Op) -> f64 {
    let (spec, ctx) = (subject.spec, subject.ctx);
    let (isa, width) = (ctx.isa(), op.width);
    if op.kind == Kind::Append {
        return append(subject, op);
    }
    let (x, other) = (noise(width), noise(width));
    let mut out = vec![0.0; width];
    let one = |work: &mut dyn FnMut()| median(64, || timed(&mut *work));
    let of_row = match op.kind {
        Kind::Norm => one(&mut || ops::rms_norm(isa, &x, &other, spec.norm_eps, &mut out)),
        Kind::Rotation => {
            let dim = spec.head_dim;
            let pairs = spec.ropes.first().map_or(0, |rope| rope.dims / 2);
            let (cos, sin) = (noise(pairs), noise(pairs));
            let mut spare = vec![0.0; dim];
            out.copy_from_slice(&x);
            one(&mut || {
                for head in out.chunks_exact_mut(dim) {
                    if spec.qk_norm == QkNorm::Head {
                        ops::rms_norm(isa, head, &other[..dim], spec.norm_eps, &mut spare);
                        head.copy_from_slice(&spare);
                    }
                    ops::rope(isa, spec.rope_pairs, head, &cos, &sin);
                }
                ops::scale(isa, &mut out, 1.0);
            })
        }
        Kind::Between => one(&mut || {
            // What was multiplied before would be multiplied again, up to infinity or down to subnormal numbers.
            out.copy_from_slice(&x);
            ops::gate(isa, spec.activation, &mut out, &other);
        }),
        _ => one(&mut || {
            out.copy_from_slice(&x);
            ops::add(isa, &mut out, &other);
        }),
    };
    let (numbers, of_task) = SHARED;
    let of_batch = op.rows.div_ceil(op.batches.max(1));
    let tasks = of_batch.div_ceil(of_task);
    let shared = ctx.threads() > 1 && of_batch * width >= numbers && tasks > 1;
    let workers = if shared { ctx.threads().min(tasks) } else { 1 };
    let call = if shared { fork_join(ctx, 15).best_ns / 1e9 } else { 0.0 };
    op.rows as f64 * of_row / workers as f64 + op.batches as f64 * call
}

/// Seconds of writing keys and values, growth of the store included.
fn append(subject: &Subject<'_>, op: &Op) -> f64 {
    let spec = subject.spec;
    let some = op.rows.div_ceil(op.batches.max(1)).min(512);
    let rows = noise(some * op.width);
    let rows = MatRef::new(&rows, some, op.width);
    // At least as many tokens as a store grows by at a time.
    let calls = 512usize.div_ceil(some);
    let of_row = median(3, || {
        let mut store = Float::new(subject.kv, spec.kv_heads, spec.head_dim);
        timed(|| (0..calls).for_each(|_| store.append(rows, rows))) / (calls * some) as f64
    });
    op.rows as f64 * of_row
}
