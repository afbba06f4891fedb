//! The child that makes namespaces and a root, starts the first process in them and watches it. It stays outside of the process
//! namespace, so that nothing in there can see it, let alone stop it.

use super::{
    INNER, Step, calls,
    line::{Said, receive, receive_json, send, send_json},
    root,
};
use crate::{End, File, Job, Problem};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags, fstat, openat},
    process::{Gid, Pid, PidfdFlags, Uid, geteuid, pidfd_open, umask},
    system::uname,
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};
use std::{
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{net::UnixStream, process::ExitStatusExt},
    },
    process::{Child, Command, ExitCode},
    time::Instant,
};

/// The first Linux that counts processes by user namespace.
const LINUX: (u32, u32) = (5, 14);

pub(super) fn main() -> ExitCode {
    let Ok(line) = io::stdin().as_fd().try_clone_to_owned() else { return ExitCode::FAILURE };
    let mut line = UnixStream::from(line);
    let told = match serve(&mut line) {
        Ok((end, fetched)) => {
            let ended = Said::Ended { end, fetched: fetched.is_some() };
            send_json(&mut line, &ended)
                .and_then(|()| fetched.map_or(Ok(()), |bytes| send(&mut line, &bytes)))
        }
        Err(problem) => send_json(&mut line, &Said::Failed(problem)),
    };
    if told.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn serve(line: &mut UnixStream) -> Result<(End, Option<Vec<u8>>), Problem> {
    check_kernel()?;
    // Before anything else is killed for want of memory.
    std::fs::write("/proc/self/oom_score_adj", "1000").step("be the first that lack of memory ends")?;
    let is_root = geteuid().is_root();
    calls::take_namespaces().map_err(no_namespaces)?;
    send_json(line, &Said::HasNamespaces).step("speak")?;
    let (job, files) = job(line).step("understand the job")?;
    // With the rights of whoever asks, before they are given up.
    let parts = root::take(&job.readable)?;
    become_the_user(is_root)?;
    umask(Mode::from_raw_mode(0o022));
    parts.assemble(&files, &job.limits)?;
    std::fs::write("/proc/sys/user/max_user_namespaces", "0").step("forbid further namespaces")?;
    let work = root::work_folder()?;
    let mut child = start_inner(&job)?;
    let end = watch(&mut child, line, &job)?;
    let fetched = match &job.fetch {
        Some(name) if end == End::Status(0) => Some(
            fetch(&work, name, job.limits.disk_bytes).step(format!("take {name} from the work folder"))?,
        ),
        _ => None,
    };
    Ok((end, fetched))
}

fn check_kernel() -> Result<(), Problem> {
    let release = uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found < LINUX {
        let why = format!("Linux {}.{} or later is needed, this is {release}", LINUX.0, LINUX.1);
        return Err(Problem { step: "limit the number of processes".to_owned(), why });
    }
    Ok(())
}

fn no_namespaces(error: rustix::io::Errno) -> Problem {
    let mut problem = Problem::new("take namespaces of its own", error);
    problem.why += "; the machine forbids them to this user: see sysctl user.max_user_namespaces, \
                    kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns, \
                    or the security profile of the container";
    problem
}

fn job(line: &mut UnixStream) -> io::Result<(Job, Vec<File>)> {
    let job: Job = receive_json(line)?;
    let names: Vec<String> = receive_json(line)?;
    let mut files = Vec::with_capacity(names.len());
    for name in names {
        if name.is_empty() || name.contains('/') || name == ".." {
            return Err(io::Error::other(format!("{name:?} is no name of a file")));
        }
        files.push(File { name, bytes: receive(line)? });
    }
    Ok((job, files))
}

/// From whoever asks to the only user of the namespace, who owns what is made from here on.
fn become_the_user(is_root: bool) -> Result<(), Problem> {
    let step = "become the sandbox's user";
    if is_root {
        set_thread_groups(&[]).step(step)?;
    }
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).step(step)?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).step(step)
}

/// Starts the first process; it has become the command when this returns.
fn start_inner(job: &Job) -> Result<Child, Problem> {
    let (mut line, theirs) = UnixStream::pair().step("make a line to the first process")?;
    let child = Command::new("/proc/self/exe")
        .args(std::env::args_os().skip(1))
        .arg(INNER)
        .stdin(OwnedFd::from(theirs))
        .spawn()
        .step("start the first process")?;
    send_json(&mut line, job).step("speak to the first process")?;
    let mut problem = Vec::new();
    line.read_to_end(&mut problem).step("hear from the first process")?;
    if problem.is_empty() {
        return Ok(child);
    }
    Err(receive_json(&mut problem.as_slice())
        .unwrap_or_else(|error| Problem::new("hear of the problem", error)))
}

/// Waits for the end of the command, of its time, or of whoever asked.
fn watch(child: &mut Child, line: &UnixStream, job: &Job) -> Result<End, Problem> {
    let deadline = Instant::now() + job.limits.clock;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Problem::new("watch the command", rustix::io::Errno::SRCH))?;
    let ended = pidfd_open(pid, PidfdFlags::empty()).step("watch the command")?;
    let end = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut watched = [PollFd::new(&ended, PollFlags::IN), PollFd::new(line, PollFlags::IN)];
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut watched, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => continue,
            polled => polled.step("watch the command")?,
        };
        // Nothing more is said on the line, so that there is news only of its end.
        break match watched.map(|fd| !fd.revents().is_empty()) {
            [true, _] => None,
            _ => Some(End::Deadline),
        };
    };
    if end.is_some() {
        child.kill().step("kill the command")?;
    }
    // The kernel reports the end of the first process once all others of the namespace are gone.
    let status = child.wait().step("wait for the command")?;
    let by_itself = status.code().map(End::Status).or(status.signal().map(End::Signal));
    Ok(end.or(by_itself).unwrap_or(End::Deadline))
}

/// A plain file of the work folder.
fn fetch(work: &OwnedFd, name: &str, most: u64) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(work, name, flags, Mode::empty())?;
    let about = fstat(&file)?;
    if !rustix::fs::FileType::from_raw_mode(about.st_mode).is_file() || about.st_size as u64 > most {
        return Err(io::Error::other("no plain file, or too long"));
    }
    let mut bytes = Vec::new();
    std::fs::File::from(file).take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}
