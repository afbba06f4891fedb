//! Runs programs that a model wrote, apart from everything else on the machine.
//!
//! A [`Program`] in one of the known [`Language`]s either passes or fails; a [`Runner`] has found the interpreters and knows how a
//! program of each language is run. Below it a [`Sandbox`] runs a [`Job`], which is any command with files and limits. What a
//! program meets there, and what it does not, is in `docs/sandbox.md`.
//!
//! # How it is made
//!
//! Linux only; elsewhere everything is refused. The sandbox is a child of this process: the program that uses this crate,
//! started once more with arguments that lead to [`child`]. That child takes namespaces of its own (users, mounts, processes,
//! network, messages, names), builds a root of read-only system folders and a small work folder in memory, and starts itself a
//! second time as the first process of the new process namespace; this one gives up every right that is left, sets limits
//! on itself and becomes the command. Whatever the command started ends with it, because the kernel ends a process namespace
//! with its first process.
//!
//! A step that the machine does not allow is an error and never left out: nothing runs with less than all of it.
#![deny(unsafe_code)]

mod error;
mod interpreter;
mod job;
mod program;
mod runner;
mod sandbox;

#[cfg(target_os = "linux")]
mod linux;

pub use error::{Problem, SandboxError};
pub use interpreter::Interpreter;
pub use job::{End, File, Job, Limits, Outcome};
pub use program::{Language, Program, Verdict};
pub use runner::Runner;
pub use sandbox::{Launcher, Sandbox, child};
