//! The worker threads under every kernel.
//!
//! Decoding one token makes a few hundred parallel calls of some tens of microseconds, so a call must cost next to
//! nothing. A call opens a *gate* that idle workers spin on; who comes through claims tasks one by one from a counter,
//! and the caller, when none is left, shuts the gate and waits for those inside. A worker that was asleep, or that the
//! system ran something else on, finds the gate shut and is not waited for. Workers spin for a short while before they
//! park: waking a parked thread costs more than most calls take. Who computes a task never changes its result.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

/// How often an idle worker looks for work before it parks: some tens of microseconds.
const SPINS: u32 = 4000;

/// The gate's low bits count who is inside.
const OPEN: u64 = 1 << 16;
/// Above the flag, the gate has the number of the call.
const CALL: u64 = OPEN << 1;

/// A call in flight: a borrowed closure with its lifetime erased, valid until nobody is inside the gate.
#[derive(Clone, Copy)]
struct Job {
    body: *const (dyn Fn(usize, usize) + Sync),
    tasks: usize,
}

/// Alone on its cache lines (two, as neighbours are fetched in pairs), so that a write disturbs no reader of another.
#[repr(align(128))]
struct Apart<T>(T);

struct Shared {
    /// Number of calls so far, whether the last is open, and how many workers are inside.
    gate: Apart<AtomicU64>,
    /// Next task to claim.
    next: Apart<AtomicUsize>,
    /// Read by who is inside, written while nobody can be.
    job: Apart<UnsafeCell<Option<Job>>>,
    /// Workers that wait for `wake`, or are about to.
    parked: AtomicUsize,
    bed: Mutex<()>,
    wake: Condvar,
    panicked: AtomicBool,
    stop: AtomicBool,
}

// SAFETY: the raw pointer inside `Job` is only followed while `Pool::run` keeps the closure alive, and the closure
// is `Sync`.
unsafe impl Send for Shared {}
// SAFETY: as above; `job` is written only by `Pool::run`, with the gate shut and nobody inside, and read only inside.
unsafe impl Sync for Shared {}

/// A fixed set of threads; the caller is worker 0.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// One call at a time: the workers have one job slot.
    turn: Mutex<()>,
}

impl Pool {
    /// A pool of `threads` workers, the caller included; 0 counts as 1.
    pub(crate) fn new(threads: usize) -> Self {
        assert!((threads as u64) < OPEN, "{threads} threads");
        let shared = Arc::new(Shared {
            gate: Apart(AtomicU64::new(0)),
            next: Apart(AtomicUsize::new(0)),
            job: Apart(UnsafeCell::new(None)),
            parked: AtomicUsize::new(0),
            bed: Mutex::new(()),
            wake: Condvar::new(),
            panicked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let workers = (1..threads.max(1))
            .map(|index| {
                let shared = shared.clone();
                std::thread::Builder::new()
                    .name(format!("lowbit-{index}"))
                    .spawn(move || work(&shared, index))
                    .expect("the system can start a thread")
            })
            .collect();
        Self { shared, workers, turn: Mutex::new(()) }
    }

    /// Number of workers, the caller included.
    pub(crate) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls so far that woke workers.
    pub(crate) fn forks(&self) -> u64 {
        self.shared.gate.0.load(Relaxed) / CALL
    }

    /// Calls `body(worker, task)` once for every task in `0..tasks`, in no particular order, and returns when all
    /// are done.
    ///
    /// # Panics
    /// Where `body` panics on any worker.
    pub(crate) fn run(&self, tasks: usize, body: impl Fn(usize, usize) + Sync) {
        if self.workers.is_empty() || tasks <= 1 {
            (0..tasks).for_each(|task| body(0, task));
            return;
        }
        let turn = self.turn.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let shared = &*self.shared;
        let body: &(dyn Fn(usize, usize) + Sync) = &body;
        // SAFETY: only the lifetime changes. `Waiting` below does not let this function end, also where this thread's
        // own share panics, before every worker that saw the pointer has finished with it.
        let body = unsafe {
            std::mem::transmute::<
                *const (dyn Fn(usize, usize) + Sync + '_),
                *const (dyn Fn(usize, usize) + Sync),
            >(body)
        };
        let job = Job { body, tasks };
        // SAFETY: this thread has the turn, and the last call returned with the gate shut and nobody inside. Who
        // comes to a shut gate does not look at the job.
        unsafe { *shared.job.0.get() = Some(job) };
        shared.next.0.store(0, Relaxed);
        // Sequentially consistent, as is `parked`: either this thread sees the sleeper, or that sees the call.
        shared.gate.0.fetch_add(CALL + OPEN, SeqCst);
        let waiting = Waiting(shared);
        if shared.parked.load(SeqCst) > 0 {
            drop(shared.bed.lock());
            shared.wake.notify_all();
        }
        drain(shared, job, 0);
        drop(waiting);
        let panicked = shared.panicked.swap(false, Relaxed);
        drop(turn);
        assert!(!panicked, "a worker panicked");
    }
}

/// Shuts the gate when dropped, and waits for who is inside.
struct Waiting<'a>(&'a Shared);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let gate = &self.0.gate.0;
        let mut inside = gate.fetch_and(!OPEN, AcqRel) % OPEN;
        let mut spins = 0;
        while inside != 0 {
            spins += 1;
            if spins < SPINS {
                std::hint::spin_loop()
            } else {
                std::thread::yield_now()
            }
            inside = gate.load(Acquire) % OPEN;
        }
    }
}

/// Claims and runs tasks until none is left.
fn drain(shared: &Shared, job: Job, worker: usize) {
    loop {
        let task = shared.next.0.fetch_add(1, Relaxed);
        if task >= job.tasks {
            return;
        }
        // SAFETY: the closure lives until nobody is inside the gate; this worker is, or it is the caller.
        unsafe { (*job.body)(worker, task) };
    }
}

/// Number of the call in progress, where it is open and not the one already `seen`.
fn open_call(gate: u64, seen: u64) -> Option<u64> {
    (gate & OPEN != 0 && gate / CALL != seen).then_some(gate / CALL)
}

fn work(shared: &Shared, worker: usize) {
    let gate = &shared.gate.0;
    let mut seen = 0;
    while wait(shared, seen) {
        if let Some(call) = open_call(gate.fetch_add(1, AcqRel), seen) {
            seen = call;
            // SAFETY: this worker counts as inside and came while the gate was open, so the caller has written the
            // job before and does not return, nor is the next written, before this worker leaves.
            let job = unsafe { *shared.job.0.get() };
            if let Some(job) = job {
                let caught =
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drain(shared, job, worker)));
                if caught.is_err() {
                    shared.panicked.store(true, Relaxed);
                }
            }
        }
        gate.fetch_sub(1, Release);
    }
}

/// Returns true at an open call other than `seen`, false at the pool's end.
fn wait(shared: &Shared, seen: u64) -> bool {
    for _ in 0..SPINS {
        if open_call(shared.gate.0.load(Relaxed), seen).is_some() {
            return true;
        }
        std::hint::spin_loop();
    }
    let mut bed = shared.bed.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    shared.parked.fetch_add(1, SeqCst);
    let called = loop {
        if shared.stop.load(Relaxed) {
            break false;
        }
        if open_call(shared.gate.0.load(SeqCst), seen).is_some() {
            break true;
        }
        bed = shared.wake.wait(bed).unwrap_or_else(|poisoned| poisoned.into_inner());
    };
    shared.parked.fetch_sub(1, SeqCst);
    called
}

impl Drop for Pool {
    fn drop(&mut self) {
        {
            let _bed = self.shared.bed.lock();
            self.shared.stop.store(true, Relaxed);
        }
        self.shared.wake.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches the panics of its tasks; there is nothing to learn from its end.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_exactly_once() {
        for threads in [1, 2, 3, 8] {
            let pool = Pool::new(threads);
            for tasks in [0, 1, 2, 7, 1000] {
                let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(tasks, |worker, task| {
                    assert!(worker < threads);
                    counts[task].fetch_add(1, Relaxed);
                });
                assert!(
                    counts.iter().all(|count| count.load(Relaxed) == 1),
                    "{threads} threads, {tasks} tasks"
                );
            }
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        let pool = Pool::new(3);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pool.run(100, |_, task| assert_ne!(task, 50, "on purpose"));
        }));
        assert!(caught.is_err());
        let sum = AtomicUsize::new(0);
        pool.run(10, |_, task| {
            sum.fetch_add(task, Relaxed);
        });
        assert_eq!(sum.into_inner(), 45);
    }

    #[test]
    fn workers_that_parked_wake_up_again() {
        let pool = Pool::new(2);
        for _ in 0..3 {
            std::thread::sleep(std::time::Duration::from_millis(5));
            let seen = AtomicUsize::new(0);
            pool.run(64, |_, _| {
                seen.fetch_add(1, Relaxed);
            });
            assert_eq!(seen.into_inner(), 64);
        }
    }

    #[test]
    fn many_short_calls_from_several_threads_lose_no_task() {
        let pool = Pool::new(4);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for tasks in (2..9).cycle().take(3000) {
                        let seen = AtomicUsize::new(0);
                        pool.run(tasks, |_, task| {
                            seen.fetch_add(1 << (4 * task), Relaxed);
                        });
                        assert_eq!(seen.into_inner(), (0..tasks).map(|task| 1 << (4 * task)).sum::<usize>());
                    }
                });
            }
        });
        assert_eq!(pool.forks(), 9000);
    }
}
