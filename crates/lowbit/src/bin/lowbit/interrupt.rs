//! Ctrl-C: while an answer is made it ends the answer, at any other time the program.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use anyhow::{Context, Result};

/// The handler's state, shared with it.
#[derive(Clone, Default)]
pub(crate) struct Interrupt(Arc<State>);

#[derive(Default)]
struct State {
    answering: AtomicBool,
    requested: AtomicBool,
}

/// While it lives, Ctrl-C asks for an end instead of ending the program; the second one ends it all the same.
pub(crate) struct Answering<'a>(&'a State);

impl Interrupt {
    /// Installs the handler. At most once in a process.
    pub(crate) fn install() -> Result<Self> {
        let interrupt = Self::default();
        let state = interrupt.0.clone();
        ctrlc::set_handler(move || {
            if !state.answering.load(Relaxed) || state.requested.swap(true, Relaxed) {
                std::process::exit(i32::from(crate::INTERRUPTED));
            }
        })
        .context("cannot install a handler for Ctrl-C")?;
        Ok(interrupt)
    }

    pub(crate) fn answering(&self) -> Answering<'_> {
        self.0.requested.store(false, Relaxed);
        self.0.answering.store(true, Relaxed);
        Answering(&self.0)
    }
}

impl Answering<'_> {
    /// Whether Ctrl-C came.
    pub(crate) fn is_over(&self) -> bool {
        self.0.requested.load(Relaxed)
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.answering.store(false, Relaxed);
    }
}
