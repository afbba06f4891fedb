//! What every kernel call is given: instruction set, workers, scratch memory. There is no global.

use crate::{isa::Isa, pages::Arena, pool::Pool};
use std::sync::{Arc, Mutex, MutexGuard};

/// Instruction set, workers and their scratch memory, and where weights are kept.
pub struct Ctx {
    isa: Isa,
    pool: Pool,
    scratch: Vec<Mutex<Scratch>>,
    arena: Arena,
}

impl Ctx {
    /// A context of `threads` workers, 0 counting as 1, with the instructions of `isa`.
    pub fn new(isa: Isa, threads: usize) -> Self {
        let pool = Pool::new(threads);
        let scratch = (0..pool.threads()).map(|_| Mutex::new(Scratch::default())).collect();
        Self { isa, pool, scratch, arena: Arena::default() }
    }

    /// The instructions in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Number of workers.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Where weights are kept.
    pub(crate) fn arena(&self) -> &Arena {
        &self.arena
    }

    /// Calls so far that went to several workers: what costs a [`crate::fork_join`] each.
    pub fn forks(&self) -> u64 {
        self.pool.forks()
    }

    /// Calls `body(task, scratch)` for every task in `0..tasks` on the workers. The scratch is the worker's own; what
    /// an earlier task left there is still there.
    pub fn run(&self, tasks: usize, body: impl Fn(usize, &mut Scratch) + Sync) {
        self.pool.run(tasks, |worker, task| {
            let mut scratch: MutexGuard<'_, Scratch> =
                self.scratch[worker].lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            body(task, &mut scratch);
        });
    }
}

/// A worker's reusable memory.
#[derive(Default)]
pub struct Scratch {
    bytes: Vec<Line>,
    floats: Vec<Line>,
    panel: Vec<Line>,
    /// Tables that this worker has made, the last made last.
    tables: Vec<OwnTables>,
    /// Memory of what runs whole inside a task.
    inner: Option<Box<(Ctx, Vec<Line>)>>,
}

/// Tables of activations in the memory of the worker that reads them: written by another, they would come from its cache.
pub(crate) struct OwnTables {
    /// Whose they are. As long as this is kept, nothing else is the same.
    of: Arc<()>,
    lines: Vec<Line>,
}

/// Tables that a worker keeps: those that the matrices of one layer read in turns.
const TABLES: usize = 2;

impl OwnTables {
    /// All bytes, and what else was kept.
    pub(crate) fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.lines)
    }
}

/// A cache line, so that what is cut from a `Vec` of them is aligned to 64 bytes.
#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(64))]
struct Line([u8; 64]);

impl Scratch {
    /// Two runs of bytes and one of floats, 64-byte aligned, with arbitrary contents.
    pub(crate) fn take(
        &mut self,
        bytes: usize,
        panel: usize,
        floats: usize,
    ) -> (&mut [i8], &mut [i8], &mut [f32]) {
        (cut(&mut self.bytes, bytes), cut(&mut self.panel, panel), cut(&mut self.floats, floats))
    }

    /// The tables `of` something, in `bytes` bytes and what is left there of others, which are made here unless this worker has them.
    /// They are to be given back: see [`Self::keep`].
    pub(crate) fn tables(&mut self, of: &Arc<()>, bytes: usize, make: impl FnOnce(&mut [u8])) -> OwnTables {
        if let Some(found) = self.tables.iter().position(|tables| Arc::ptr_eq(&tables.of, of)) {
            return self.tables.remove(found);
        }
        let mut lines = if self.tables.len() < TABLES { Vec::new() } else { self.tables.remove(0).lines };
        make(cut(&mut lines, bytes));
        OwnTables { of: of.clone(), lines }
    }

    /// Keeps tables for whoever asks for them next.
    pub(crate) fn keep(&mut self, tables: OwnTables) {
        self.tables.push(tables);
    }

    /// A context of this worker alone, for a product that is part of a task, and floats beside those that it uses itself, 64-byte
    /// aligned, with arbitrary contents.
    pub(crate) fn serial(&mut self, isa: Isa, floats: usize) -> (&Ctx, &mut [f32]) {
        let fits = self.inner.as_ref().is_some_and(|inner| inner.0.isa() == isa);
        if !fits {
            self.inner = None;
        }
        let inner = self.inner.get_or_insert_with(|| Box::new((Ctx::new(isa, 1), Vec::new())));
        (&inner.0, cut(&mut inner.1, floats))
    }

    /// A run of floats, 64-byte aligned, with arbitrary contents.
    pub fn floats(&mut self, len: usize) -> &mut [f32] {
        cut(&mut self.floats, len)
    }
}

fn cut<T: bytemuck::Pod>(lines: &mut Vec<Line>, len: usize) -> &mut [T] {
    let needed = (len * size_of::<T>()).div_ceil(64);
    if lines.len() < needed {
        lines.resize(needed, Line([0; 64]));
    }
    &mut bytemuck::cast_slice_mut(lines.as_mut_slice())[..len]
}
