//! The `lowbit` command: fetch a model, talk to it, look into it, measure it.
//!
//! Everything that is computed lives in the libraries; here options become their arguments and results become text or
//! JSON. Results go to standard output, everything else to standard error, and the exit status is 0 only on success.
#![forbid(unsafe_code)]

mod chat;
mod client_settings;
mod commands;
mod energy;
mod env;
mod evaluation;
mod interrupt;
mod memory;
mod open;
mod options;
mod programs;
mod progress;
mod record;
mod report;
mod sampling;
mod stdin;
mod table;
mod task_data;
mod text_file;
mod verification;

use clap::Parser;
use commands::Command;
use std::{io, process::ExitCode};

/// What a shell reports for a program that SIGINT ended.
const INTERRUPTED: u8 = 128 + 2;
/// What a shell reports for a program that SIGPIPE ended.
const BROKEN_PIPE: u8 = 128 + 13;

/// Run large language models of 1 to 8 bits a weight on ordinary CPUs.
#[derive(Parser)]
#[command(name = "lowbit", version, arg_required_else_help = true, infer_subcommands = false)]
#[command(after_help = "\
Examples:
  lowbit run \"What is the capital of France?\"     fetch the default model and ask it
  lowbit run smollm2                              chat
  git diff | lowbit run qwen2.5-coder-0.5b \"Describe this change:\"
  lowbit bench smollm2 -t 1,2                     speed as llama-bench measures it
  lowbit tune smollm2                             measure which kernels are fastest here

A MODEL is a name of `lowbit list`, user/repo[:quant] of a model hub, or a path to a GGUF file, a Hugging Face folder,
a .lowbit container or a llama2.c file. Environment variables: `lowbit list knobs`.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// How a command that did not fail ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    /// Ctrl-C ended it; what there was has been printed.
    Interrupted,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::SandboxChild(command) = &cli.command {
        return command.run();
    }
    match env::end_with_input().and_then(|()| cli.command.run(&mut io::stdout().lock())) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(error) if is_broken_pipe(&error) => ExitCode::from(BROKEN_PIPE),
        Err(error) => {
            eprintln!("error: {}", report::chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Whether whoever read our output has left: nobody is there to be told.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kind =
        |cause: &(dyn std::error::Error + 'static)| cause.downcast_ref::<io::Error>().map(io::Error::kind);
    error.chain().any(|cause| kind(cause) == Some(io::ErrorKind::BrokenPipe))
}
