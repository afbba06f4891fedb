//! What it costs to hand work to the workers and to wait for them: the part of a parallel call that is no work.

use crate::Ctx;
use std::{
    hint::spin_loop,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Instant,
};

/// Calls that are timed together: the clock's own reading is then no part of the figure.
const CALLS: usize = 64;

/// Measured cost of one parallel call with nothing to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ForkJoin {
    /// Workers.
    pub threads: usize,
    /// Median over the rounds, in nanoseconds.
    pub median_ns: f64,
    /// Best round, in nanoseconds.
    pub best_ns: f64,
}

/// Calls the workers `rounds` times 64 times in a row. The task of each does nothing but wait for the others to have
/// begun theirs, so that no call is over before every worker has come. They are awake but for the first calls.
pub fn fork_join(ctx: &Ctx, rounds: usize) -> ForkJoin {
    let threads = ctx.threads();
    let begun = AtomicUsize::new(0);
    let mut times: Vec<f64> = (0..rounds.max(1) + 1)
        .map(|_| {
            begun.store(0, Relaxed);
            let start = Instant::now();
            for call in 1..=CALLS {
                ctx.run(threads, |_, _| {
                    begun.fetch_add(1, Relaxed);
                    let mut looks = 0u32;
                    while begun.load(Relaxed) < call * threads {
                        looks += 1;
                        // Somebody else may have the processor that a worker needs.
                        if looks.is_multiple_of(4096) { std::thread::yield_now() } else { spin_loop() }
                    }
                });
            }
            start.elapsed().as_secs_f64() * 1e9 / CALLS as f64
        })
        .skip(1) // the first round wakes them
        .collect();
    times.sort_by(f64::total_cmp);
    ForkJoin { threads, median_ns: times[times.len() / 2], best_ns: times[0] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    #[test]
    fn a_call_costs_something_and_only_those_to_several_workers_count_as_forks() {
        let ctx = Ctx::new(Isa::SCALAR, 2);
        let measured = fork_join(&ctx, 3);
        assert!(measured.threads == 2 && 0.0 < measured.best_ns && measured.best_ns <= measured.median_ns);
        assert_eq!(ctx.forks(), 4 * CALLS as u64);
        let alone = Ctx::new(Isa::SCALAR, 1);
        assert!(fork_join(&alone, 1).best_ns > 0.0);
        assert_eq!(alone.forks(), 0);
    }
}
