//! This side: starts the child, maps its users, gives it the job and hears how it ended.

use super::{
    Step,
    line::{Said, receive, receive_json, send, send_json},
};
use crate::{End, Job, Launcher, Outcome, Problem, SandboxError};
use rustix::process::{getegid, geteuid};
use std::{
    io::{self, Read},
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::CommandExt},
    },
    process::{Child, Command},
    thread,
    time::Duration,
};

/// What is kept of an output: its end.
const KEPT: usize = 16 << 10;
/// What the child may take beside the job's time.
const GRACE: Duration = Duration::from_secs(60);
/// Who the command is where root asks: nobody. Root's files are not its own then, and limits of processes hold.
const NOBODY: u32 = 65534;

pub(crate) fn run(launcher: &Launcher, job: &Job) -> Result<Outcome, SandboxError> {
    let start = || -> io::Result<_> {
        let (line, theirs) = UnixStream::pair()?;
        line.set_read_timeout(Some(job.limits.clock + GRACE))?;
        let (stdout, their_stdout) = io::pipe()?;
        let (stderr, their_stderr) = io::pipe()?;
        let child = Command::new(&launcher.program)
            .args(&launcher.arguments)
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(their_stdout)
            .stderr(their_stderr)
            // Ctrl-C is for this program; the child ends with the line.
            .process_group(0)
            .spawn()?;
        Ok((line, stdout, stderr, child))
    };
    let (mut line, stdout, stderr, mut child) =
        start().step(format!("start {}", launcher.program.display())).map_err(SandboxError::Child)?;
    thread::scope(|scope| {
        let stdout = scope.spawn(|| end_of(stdout));
        let stderr = scope.spawn(|| end_of(stderr));
        let heard = converse(&mut line, &child, job);
        if heard.is_err() {
            // It may be gone already.
            let _ = child.kill();
        }
        drop(line);
        let waited = child.wait().step("wait for the sandbox").map_err(SandboxError::Child);
        let (stdout, stderr) = (stdout.join(), stderr.join());
        let (end, fetched) = heard?;
        waited?;
        let text =
            |bytes: thread::Result<Vec<u8>>| String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned();
        Ok(Outcome { end, stdout: text(stdout), stderr: text(stderr), fetched })
    })
}

fn converse(line: &mut UnixStream, child: &Child, job: &Job) -> Result<(End, Option<Vec<u8>>), SandboxError> {
    let hear = |line: &mut UnixStream| -> Result<Said, SandboxError> {
        receive_json(line).step("hear from the sandbox").map_err(SandboxError::Child)
    };
    match hear(line)? {
        Said::HasNamespaces => {}
        Said::Failed(problem) => return Err(SandboxError::Refused(problem)),
        Said::Ended { end, .. } => return Ok((end, None)),
    }
    map_users(child).map_err(SandboxError::Refused)?;
    give(line, job).step("give the sandbox its job").map_err(SandboxError::Child)?;
    match hear(line)? {
        Said::Ended { end, fetched } => {
            let fetched = fetched.then(|| receive(line)).transpose();
            Ok((end, fetched.step("take the file that was asked for").map_err(SandboxError::Child)?))
        }
        Said::Failed(problem) => Err(SandboxError::Refused(problem)),
        Said::HasNamespaces => {
            let why = io::Error::other("it repeats itself");
            Err(SandboxError::Child(Problem::new("understand the sandbox", why)))
        }
    }
}

/// Inside there is one user, 0 without rights: nobody where root asks, else whoever asks.
fn map_users(child: &Child) -> Result<(), Problem> {
    let write = |file: &str, text: String| {
        let path = format!("/proc/{}/{file}", child.id());
        std::fs::write(&path, text).step(format!("map the sandbox's users ({file})"))
    };
    let (user, group) = (geteuid(), getegid());
    if user.is_root() {
        write("uid_map", format!("0 {NOBODY} 1"))?;
        return write("gid_map", format!("0 {NOBODY} 1"));
    }
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("0 {} 1", user.as_raw()))?;
    write("gid_map", format!("0 {} 1", group.as_raw()))
}

fn give(line: &mut UnixStream, job: &Job) -> io::Result<()> {
    send_json(line, job)?;
    send_json(line, &job.files.iter().map(|file| &file.name).collect::<Vec<_>>())?;
    job.files.iter().try_for_each(|file| send(line, &file.bytes))
}

/// Reads to the end and keeps what came last.
fn end_of(mut reader: impl Read) -> Vec<u8> {
    let (mut kept, mut buffer) = (Vec::new(), [0; KEPT]);
    // What cannot be read any more has ended.
    while let Ok(count @ 1..) = reader.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..count]);
        let surplus = kept.len().saturating_sub(KEPT);
        kept.drain(..surplus);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_an_output_is_kept() {
        let mut bytes = vec![b'a'; 3 * KEPT];
        bytes.extend_from_slice(b"the end");
        let kept = end_of(bytes.as_slice());
        assert_eq!(kept.len(), KEPT);
        assert!(kept.ends_with(b"aathe end"));
        assert_eq!(end_of(b"short".as_slice()), b"short");
    }
}
