//! The sandbox of Linux: `parent.rs` is on this side, `outer.rs` the child that makes namespaces and a root, `inner.rs` the
//! first process in them, which becomes the command.

#[allow(unsafe_code)]
mod calls;
mod filter;
mod inner;
mod line;
mod outer;
mod parent;
mod root;

pub(crate) use parent::run;

use crate::Problem;
use rustix::io::Errno;
use std::process::ExitCode;

/// The argument that tells the second start from the first.
const INNER: &str = "inner";
/// Where the command works, as it sees it.
const WORK: &str = "/box";

pub(crate) fn child(stage: Option<&str>) -> ExitCode {
    match stage {
        None => outer::main(),
        Some(INNER) => inner::main(),
        Some(_) => ExitCode::FAILURE,
    }
}

/// Names the step that failed.
trait Step<T> {
    fn step(self, step: impl Into<String>) -> Result<T, Problem>;
}

impl<T> Step<T> for Result<T, std::io::Error> {
    fn step(self, step: impl Into<String>) -> Result<T, Problem> {
        self.map_err(|why| Problem::new(step, why))
    }
}

impl<T> Step<T> for Result<T, Errno> {
    fn step(self, step: impl Into<String>) -> Result<T, Problem> {
        self.map_err(|why| Problem::new(step, why))
    }
}
