//! The commands, one file each.

mod bench;
mod compare;
mod completions;
mod convert;
mod doctor;
mod eval;
mod inspect;
mod kernels;
mod list;
mod methods;
mod perplexity;
mod pull;
pub(crate) mod quantize;
mod results;
mod roofline;
pub(crate) mod run;
mod sandbox_child;
mod serve;
mod study;
mod synth;
mod tune;

use crate::Outcome;
use anyhow::Result;
use clap::Subcommand;
use std::io::Write;

/// What can be asked for.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Ask a model, or chat with it
    Run(Box<run::Run>),
    /// Serve models over HTTP, as OpenAI's, Anthropic's and Ollama's APIs do
    Serve(Box<serve::Serve>),
    /// Fetch a model
    Pull(pull::Pull),
    /// List models, texts, formats, architectures, samplers, machines or environment variables
    List(list::List),
    /// Show what a model file holds: hyper-parameters, every tensor, memory
    Inspect(inspect::Inspect),
    /// Measure speed, as llama-bench does
    Bench(bench::Bench),
    /// List the kernels, or explain which one multiplies a weight
    Kernels(kernels::Kernels),
    /// Measure which kernels are fastest for a model on this machine
    Tune(tune::Tune),
    /// Predict what a model takes on a machine, operator by operator
    Roofline(Box<roofline::RooflineCommand>),
    /// Measure perplexity on a text
    Perplexity(perplexity::PerplexityCommand),
    /// Compare two models on a text: perplexity, divergence, error by block
    Compare(compare::CompareCommand),
    /// Measure a model on tasks, as lm-evaluation-harness does
    Eval(Box<eval::Eval>),
    /// List, compare and export what `lowbit eval` measured
    Results(results::ResultsCommand),
    /// Compare methods at several bit widths on models and tasks, and write a report
    Study(Box<study::Study>),
    /// List the quantization methods, or show one
    Methods(methods::Methods),
    /// Quantize a model into a .lowbit file that runs as it is stored
    Quantize(quantize::QuantizeCommand),
    /// Write a model as another kind of file, with the weights as they are
    Convert(convert::ConvertCommand),
    /// Write a model with random weights, to measure speed
    Synth(synth::SynthCommand),
    /// Show what this machine offers and what would be used of it
    Doctor(doctor::Doctor),
    /// Print the completion script of a shell
    Completions(completions::Completions),
    /// Run a program that a model wrote; started by lowbit itself
    #[command(hide = true, name = crate::programs::CHILD)]
    SandboxChild(sandbox_child::SandboxChild),
}

impl Command {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<Outcome> {
        match self {
            Self::Run(command) => return command.run(out),
            Self::Serve(command) => command.run(out)?,
            Self::Pull(command) => command.run(out)?,
            Self::List(command) => command.run(out)?,
            Self::Inspect(command) => command.run(out)?,
            Self::Bench(command) => command.run(out)?,
            Self::Kernels(command) => command.run(out)?,
            Self::Tune(command) => return command.run(out),
            Self::Roofline(command) => command.run(out)?,
            Self::Perplexity(command) => command.run(out)?,
            Self::Eval(command) => return command.run(out),
            Self::Results(command) => command.run(out)?,
            Self::Study(command) => return command.run(out),
            Self::Methods(command) => command.run(out)?,
            Self::Quantize(command) => return command.run(out),
            Self::Compare(command) => command.run(out)?,
            Self::Convert(command) => command.run(out)?,
            Self::Synth(command) => command.run(out)?,
            Self::Doctor(command) => command.run(out)?,
            Self::Completions(command) => command.run(out)?,
            // `main` runs it, before there is anything else.
            Self::SandboxChild(_) => {}
        }
        Ok(Outcome::Done)
    }
}
