//! How a program of each language is run, and when it has passed.

use crate::{
    End, File, Interpreter, Job, Language, Launcher, Limits, Outcome, Program, Sandbox, SandboxError, Verdict,
};
use std::{ffi::OsStr, time::Duration};

/// Time by the clock for each second of processor time: others use the processors too.
const CLOCK: u32 = 3;
/// Processor time of a compiler.
const COMPILING: Duration = Duration::from_secs(30);
/// Characters of what a program said that are kept.
const SAID: usize = 600;

/// Runs a program as `exec` does, as lm-evaluation-harness has it: what only happens in a main program does not happen, and an end
/// before the end is none.
const PYTHON: &str = "\
import os, sys, traceback
with open('program.py', encoding='utf-8', newline='') as file:
    source = file.read()
status = 1
try:
    exec(compile(source, 'program.py', 'exec', dont_inherit=True), {})
    status = 0
except BaseException:
    traceback.print_exc()
try:
    sys.stdout.flush()
    sys.stderr.flush()
finally:
    os._exit(status)
";

/// Runs programs of some languages.
#[derive(Clone, Debug)]
pub struct Runner {
    sandbox: Sandbox,
    interpreters: Vec<Interpreter>,
}

impl Runner {
    /// Looks for what the languages need on `path`, and whether a sandbox can be made.
    ///
    /// # Errors
    /// What is missing.
    pub fn new(launcher: Launcher, languages: &[Language], path: &OsStr) -> Result<Self, SandboxError> {
        let sandbox = Sandbox::new(launcher)?;
        let interpreters = languages.iter().map(|language| Interpreter::find(*language, path));
        Ok(Self { sandbox, interpreters: interpreters.collect::<Result<_, _>>()? })
    }

    /// Runs a program to its end.
    ///
    /// # Errors
    /// Where it could not be started, which says nothing about the program.
    ///
    /// # Panics
    /// Where its language is not among those that were looked for.
    pub fn run(&self, program: &Program) -> Result<Verdict, SandboxError> {
        let Program { language, source, deadline } = program;
        let known = self.interpreters.iter().find(|known| known.language == *language);
        let interpreter = known.unwrap_or_else(|| panic!("no interpreter of {language} was looked for"));
        let limits = Limits { processor: *deadline, clock: *deadline * CLOCK, ..Limits::default() };
        let name = interpreter.program.to_string_lossy().into_owned();
        let (command, files) = match language {
            Language::Python => (
                vec![name, "-I".to_owned(), "-B".to_owned(), "run.py".to_owned()],
                vec![file("run.py", PYTHON), file("program.py", source)],
            ),
            Language::R => {
                (vec![name, "--vanilla".to_owned(), "program.R".to_owned()], vec![file("program.R", source)])
            }
            Language::Racket => (vec![name, "program.rkt".to_owned()], vec![file("program.rkt", source)]),
            Language::Rust => match self.compile(interpreter, source)? {
                Ok(bytes) => {
                    (vec!["/box/program".to_owned()], vec![File { name: "program".to_owned(), bytes }])
                }
                Err(verdict) => return Ok(verdict),
            },
        };
        let job = Job {
            command,
            files,
            environment: one_thread(),
            readable: interpreter.readable.clone(),
            fetch: None,
            limits,
        };
        let outcome = self.sandbox.run(&job)?;
        let complained = *language == Language::Racket && !outcome.stderr.is_empty();
        Ok(match outcome.end {
            End::Status(0) if !complained => Verdict::Passed,
            _ => Verdict::Failed(format!("{}{}", ending(&outcome, &limits), last(&outcome))),
        })
    }

    /// The program of a source, or what the compiler said against it.
    fn compile(
        &self,
        interpreter: &Interpreter,
        source: &str,
    ) -> Result<Result<Vec<u8>, Verdict>, SandboxError> {
        let limits = Limits {
            processor: COMPILING,
            clock: COMPILING * CLOCK,
            memory_bytes: 4 << 30,
            processes: 64,
            disk_bytes: 256 << 20,
            ..Limits::default()
        };
        let options = ["--edition", "2021", "-C", "codegen-units=1", "-C", "strip=symbols", "-A", "warnings"];
        let command = [interpreter.program.to_string_lossy().into_owned()].into_iter();
        let outcome = self.sandbox.run(&Job {
            command: command
                .chain(options.map(str::to_owned))
                .chain(["-o", "program", "program.rs"].map(str::to_owned))
                .collect(),
            files: vec![file("program.rs", source)],
            environment: one_thread(),
            readable: interpreter.readable.clone(),
            fetch: Some("program".to_owned()),
            limits,
        })?;
        Ok(match outcome.fetched {
            Some(bytes) => Ok(bytes),
            None => {
                let said: String = outcome.stderr.trim().chars().take(SAID).collect();
                Err(Verdict::Failed(format!("rustc: {}: {said}", ending(&outcome, &limits))))
            }
        })
    }
}

fn file(name: &str, text: &str) -> File {
    File { name: name.to_owned(), bytes: text.as_bytes().to_vec() }
}

/// Libraries that would start a thread for every processor.
fn one_thread() -> Vec<(String, String)> {
    ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"]
        .map(|name| (name.to_owned(), "1".to_owned()))
        .into()
}

fn ending(outcome: &Outcome, limits: &Limits) -> String {
    match outcome.end {
        End::Status(status) => format!("status {status}"),
        // The kernel sends it for both; whoever lacks memory usually says so itself.
        End::Signal(9) => format!(
            "killed for more than {} s of processor time, or for want of memory",
            limits.processor.as_secs()
        ),
        End::Signal(signal) => format!("signal {signal}"),
        End::Deadline => format!("killed after {} s", limits.clock.as_secs()),
    }
}

/// The last of what a program said.
fn last(outcome: &Outcome) -> String {
    let said = if outcome.stderr.trim().is_empty() { &outcome.stdout } else { &outcome.stderr };
    let said = said.trim();
    if said.is_empty() {
        return String::new();
    }
    let surplus = said.chars().count().saturating_sub(SAID);
    format!(": {}", said.chars().skip(surplus).collect::<String>())
}
