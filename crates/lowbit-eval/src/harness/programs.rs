//! Runs the programs that a model wrote, beside the model, which goes on meanwhile.

use super::lm::Heard;
use crate::{
    EvalError,
    tasks::{Program, Verdict},
};
use std::{
    num::NonZero,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{Sender, channel},
    },
    thread::{Scope, available_parallelism},
};

/// Runs a program to its end.
pub type Execute<'a> = dyn Fn(&Program) -> Result<Verdict, EvalError> + Sync + 'a;

/// Most programs that run at once.
const MOST: usize = 8;

/// A program to run.
pub(super) struct Order {
    /// The document, and which of its requests.
    pub(super) place: (usize, usize),
    pub(super) program: Program,
}

/// Takes orders until their sender is gone, or nobody wants to hear of them any more.
pub(super) fn start<'s>(
    scope: &'s Scope<'s, '_>,
    execute: &'s Execute<'_>,
    heard: &Sender<Heard>,
    gone: &Arc<AtomicBool>,
) -> Sender<Order> {
    let (sender, receiver) = channel::<Order>();
    let receiver = Arc::new(Mutex::new(receiver));
    // The model needs the processors too.
    let count = available_parallelism().map_or(1, NonZero::get).div_ceil(2).min(MOST);
    for _ in 0..count {
        let (receiver, heard, gone) = (receiver.clone(), heard.clone(), gone.clone());
        scope.spawn(move || {
            loop {
                let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(Order { place, program }) = next else { return };
                if gone.load(Relaxed) {
                    return;
                }
                // Nobody may be there any more.
                let _ = heard.send(Heard::Verdict { place, verdict: execute(&program) });
            }
        });
    }
    sender
}
