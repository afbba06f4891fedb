//! An engine process, which runs only while it is asked something.
//!
//! Between requests the process is stopped by signal: thread pools that spin while they wait for work
//! would otherwise take the cores from the engine whose turn it is.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use peers_protocol::{Description, LoadOptions, Memory, Reply, Request};
use rustix::process::{Pid, Signal, kill_process};

use crate::engines::EngineSpec;

/// A running engine with its model loaded.
pub(crate) struct EngineProcess {
    spec: &'static EngineSpec,
    child: Child,
    pipe: Pipe,
    loaded: Loaded,
}

/// Cost of loading, and who was loaded.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) load_s: f64,
    pub(crate) first_token_s: f64,
    pub(crate) description: Description,
}

impl EngineProcess {
    /// Starts the engine's program and loads a model in it.
    pub(crate) fn start(spec: &'static EngineSpec, options: &LoadOptions) -> Result<Self> {
        let own = std::env::current_exe().context("cannot find the folder of this program")?;
        let program = own.with_file_name(spec.program);
        let mut command = Command::new(&program);
        command.args(spec.arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        for variable in spec.thread_variables {
            command.env(variable, options.threads.to_string());
        }
        let mut child = command.spawn().with_context(|| {
            format!("cannot start {} for engine {}; has it been built?", program.display(), spec.name)
        })?;
        let requests = child.stdin.take().context("the engine has no standard input")?;
        let replies = child.stdout.take().context("the engine has no standard output")?;
        let mut pipe = Pipe { name: spec.name, requests, replies: BufReader::new(replies) };
        let loaded = match pipe.exchange(&Request::Load(options.clone()))? {
            Reply::Loaded { load_s, first_token_s, description } => {
                Loaded { load_s, first_token_s, description }
            }
            other => return Err(unexpected(spec, &other)),
        };
        let process = Self { spec, child, pipe, loaded };
        process.signal(Signal::STOP)?;
        Ok(process)
    }

    /// What it said of its loading.
    pub(crate) fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// The engine.
    pub(crate) fn spec(&self) -> &'static EngineSpec {
        self.spec
    }

    /// Wakes the process, asks, and puts it to sleep again.
    pub(crate) fn ask(&mut self, request: &Request) -> Result<Reply> {
        self.signal(Signal::CONT)?;
        let reply = self.pipe.exchange(request);
        self.signal(Signal::STOP)?;
        reply
    }

    /// Asks for a timed run; its seconds.
    pub(crate) fn time(&mut self, request: &Request) -> Result<f64> {
        match self.ask(request)? {
            Reply::Timed { seconds } => Ok(seconds),
            other => Err(unexpected(self.spec, &other)),
        }
    }

    /// Memory of the process.
    pub(crate) fn memory(&mut self) -> Result<Memory> {
        match self.ask(&Request::Memory)? {
            Reply::Memory(memory) => Ok(memory),
            other => Err(unexpected(self.spec, &other)),
        }
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("cannot signal {}", self.spec.name))
    }
}

impl Drop for EngineProcess {
    fn drop(&mut self) {
        // A stopped process would neither read the end of its input nor be waited for. Whatever fails
        // here, the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The error for a reply that does not fit the request.
pub(crate) fn unexpected(spec: &EngineSpec, reply: &Reply) -> anyhow::Error {
    anyhow::anyhow!("{} gave an answer that does not fit the question: {reply:?}", spec.name)
}

/// Both ends of the conversation.
struct Pipe {
    name: &'static str,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
}

impl Pipe {
    fn exchange(&mut self, request: &Request) -> Result<Reply> {
        let name = self.name;
        let mut line = serde_json::to_string(request)?;
        line.push('\n');
        self.requests.write_all(line.as_bytes()).with_context(|| format!("{name} no longer listens"))?;
        line.clear();
        let read = self.replies.read_line(&mut line).with_context(|| format!("{name} does not answer"))?;
        if read == 0 {
            bail!("{name} ended without an answer; what it last said is above");
        }
        match serde_json::from_str(&line).with_context(|| format!("{name} said: {line}"))? {
            Reply::Failed { message } => bail!("{name}: {message}"),
            reply => Ok(reply),
        }
    }
}
