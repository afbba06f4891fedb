//! Where jobs are run.

use crate::{Job, Limits, Outcome, SandboxError};
use std::{path::PathBuf, process::ExitCode};

/// How this program starts itself so that [`child`] is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launcher {
    /// The program.
    pub program: PathBuf,
    /// Arguments, to which the child may add one.
    pub arguments: Vec<String>,
}

/// Where jobs are run, each in a sandbox of its own. Several may run at once.
#[derive(Clone, Debug)]
pub struct Sandbox {
    launcher: Launcher,
}

impl Sandbox {
    /// Makes a sandbox once, to see that it can be made.
    ///
    /// # Errors
    /// Where the machine does not allow one, with what it lacks.
    pub fn new(launcher: Launcher) -> Result<Self, SandboxError> {
        let sandbox = Self { launcher };
        sandbox.run(&Job { limits: Limits::default(), ..Job::default() })?;
        Ok(sandbox)
    }

    /// Runs a job to its end.
    ///
    /// # Errors
    /// Where it could not be started. A command that fails is an [`Outcome`].
    pub fn run(&self, job: &Job) -> Result<Outcome, SandboxError> {
        #[cfg(target_os = "linux")]
        return crate::linux::run(&self.launcher, job);
        #[cfg(not(target_os = "linux"))]
        {
            let _ = (&self.launcher, job);
            Err(SandboxError::System { system: std::env::consts::OS })
        }
    }
}

/// What the child does; `stage` is the argument that was added to the launcher's, if one was. To be called before anything else
/// was done, while the process has one thread.
pub fn child(stage: Option<&str>) -> ExitCode {
    #[cfg(target_os = "linux")]
    return crate::linux::child(stage);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = stage;
        ExitCode::FAILURE
    }
}
