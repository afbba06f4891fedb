//! The worker threads under every kernel.
//!
//! Decoding one token makes a few hundred parallel calls of some tens of microseconds, so workers spin for a short
//! while after a call before they park: waking a parked thread costs more than most calls take. Tasks are claimed
//! one by one from a counter; who computes a task never changes its result.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

/// How often an idle worker looks for work before it parks: some tens of microseconds.
const SPINS: u32 = 4000;

/// A call in flight: a borrowed closure with its lifetime erased, valid until every worker has reported back.
#[derive(Clone, Copy)]
struct Job {
    body: *const (dyn Fn(usize, usize) + Sync),
    tasks: usize,
}

struct Shared {
    /// Number of the current call, raised by one for each; workers wait for it to change.
    generation: AtomicU64,
    job: Mutex<Option<Job>>,
    wake: Condvar,
    /// Workers that wait for `wake`; changed and read under the lock of `job`.
    parked: AtomicUsize,
    next: AtomicUsize,
    busy: AtomicUsize,
    panicked: AtomicBool,
    stop: AtomicBool,
}

// SAFETY: the raw pointer inside `Job` is only followed while `Pool::run` keeps the closure alive, and the closure
// is `Sync`.
unsafe impl Send for Shared {}
// SAFETY: as above.
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
        let shared = Arc::new(Shared {
            generation: AtomicU64::new(0),
            job: Mutex::new(None),
            wake: Condvar::new(),
            parked: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
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
        // SAFETY: only the lifetime changes. `wait` below does not return before every worker has finished with the
        // pointer, also where this thread's own share panics (`Waiting` waits in its destructor).
        let body = unsafe {
            std::mem::transmute::<
                *const (dyn Fn(usize, usize) + Sync + '_),
                *const (dyn Fn(usize, usize) + Sync),
            >(body)
        };
        let job = Job { body, tasks };
        shared.next.store(0, Relaxed);
        shared.busy.store(self.workers.len(), Relaxed);
        let parked = {
            let mut slot = shared.job.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            *slot = Some(job);
            shared.generation.fetch_add(1, Release);
            shared.parked.load(Relaxed)
        };
        // To notify is a call of the system even where nobody waits.
        if parked > 0 {
            shared.wake.notify_all();
        }
        let waiting = Waiting(shared);
        drain(shared, job, 0);
        drop(waiting);
        let panicked = shared.panicked.swap(false, Relaxed);
        drop(turn);
        assert!(!panicked, "a worker panicked");
    }
}

/// Waits for the workers when dropped.
struct Waiting<'a>(&'a Shared);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut spins = 0;
        while self.0.busy.load(Acquire) != 0 {
            spins += 1;
            if spins < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
    }
}

/// Claims and runs tasks until none is left.
fn drain(shared: &Shared, job: Job, worker: usize) {
    loop {
        let task = shared.next.fetch_add(1, Relaxed);
        if task >= job.tasks {
            return;
        }
        // SAFETY: the closure lives until `busy` reaches zero, which this worker has not yet allowed.
        unsafe { (*job.body)(worker, task) };
    }
}

fn work(shared: &Shared, worker: usize) {
    let mut seen = 0;
    loop {
        let mut spins = 0;
        while shared.generation.load(Acquire) == seen && spins < SPINS {
            std::hint::spin_loop();
            spins += 1;
        }
        let job = {
            let mut slot = shared.job.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            loop {
                if shared.stop.load(Relaxed) {
                    return;
                }
                let generation = shared.generation.load(Acquire);
                if generation != seen {
                    seen = generation;
                    break *slot;
                }
                shared.parked.fetch_add(1, Relaxed);
                slot = shared.wake.wait(slot).unwrap_or_else(|poisoned| poisoned.into_inner());
                shared.parked.fetch_sub(1, Relaxed);
            }
        };
        if let Some(job) = job {
            let caught =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drain(shared, job, worker)));
            if caught.is_err() {
                shared.panicked.store(true, Relaxed);
            }
        }
        shared.busy.fetch_sub(1, Release);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        {
            let _slot = self.shared.job.lock();
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
}
