//! `lowbit sandbox-child`: what the program starts of itself to run a program that a model wrote.

use clap::Args;
use std::process::ExitCode;

/// Run a program apart from everything else; started by lowbit itself
#[derive(Args)]
pub(crate) struct SandboxChild {
    stage: Option<String>,
}

impl SandboxChild {
    pub(crate) fn run(&self) -> ExitCode {
        lowbit::sandbox::child(self.stage.as_deref())
    }
}
