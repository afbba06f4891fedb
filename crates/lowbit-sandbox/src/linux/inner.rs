//! The first process of the namespaces: enters the new root, gives up its rights, limits itself and becomes the command.

use super::{
    Step, WORK, calls, filter,
    line::{receive_json, send_json},
    root,
};
use crate::{Job, Limits, Problem};
use rustix::{
    fs::Mode,
    io::Errno,
    mount::{MountFlags, UnmountFlags, mount, unmount},
    process::{
        Resource, Rlimit, Signal, pivot_root, set_parent_process_death_signal, setrlimit, setsid, umask,
    },
    stdio::dup2_stdin,
    thread::{
        CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
        remove_capability_from_bounding_set, set_capabilities, set_capabilities_secure_bits,
        set_no_new_privs,
    },
};
use std::{
    fs::File,
    io,
    os::{
        fd::AsFd,
        unix::{net::UnixStream, process::CommandExt},
    },
    path::Path,
    process::{Command, ExitCode},
};

/// Where programs are looked for inside.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Open files of a process; R refuses to start with far fewer.
const OPEN_FILES: u64 = 1024;
/// The process that watches is of the same user.
const WATCHING: u64 = 1;

pub(super) fn main() -> ExitCode {
    let Ok(line) = io::stdin().as_fd().try_clone_to_owned() else { return ExitCode::FAILURE };
    let mut line = UnixStream::from(line);
    match prepare(&mut line) {
        Ok(job) if job.command.is_empty() => ExitCode::SUCCESS,
        Ok(job) => fail(&mut line, become_command(&job)),
        Err(problem) => fail(&mut line, problem),
    }
}

fn fail(line: &mut UnixStream, problem: Problem) -> ExitCode {
    // If nobody hears it, nobody is there any more.
    let _ = send_json(line, &problem);
    ExitCode::FAILURE
}

fn prepare(line: &mut UnixStream) -> Result<Job, Problem> {
    set_parent_process_death_signal(Some(Signal::KILL)).step("end with whoever started it")?;
    let job: Job = receive_json(line).step("understand the job")?;
    let nothing = File::open("/dev/null").step("open /dev/null")?;
    dup2_stdin(&nothing).step("close standard input")?;
    setsid().step("leave the session")?;
    enter_root()?;
    umask(Mode::from_raw_mode(0o077));
    limit(&job.limits)?;
    give_up_rights().step("give up rights")?;
    filter::install()?;
    calls::close_the_rest_on_exec().step("close open files")?;
    Ok(job)
}

fn enter_root() -> Result<(), Problem> {
    let proc = root::inside(Path::new("/proc"));
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
    // Containers that hide parts of theirs do not allow another one; few programs miss it.
    let _ = mount("proc", &proc, "proc", flags, None);
    std::env::set_current_dir(root::BASE).step("enter the new root")?;
    pivot_root(".", ".").step("change the root")?;
    unmount(".", UnmountFlags::DETACH).step("leave the old root")?;
    std::env::set_current_dir(WORK).step("enter the work folder")
}

fn limit(limits: &Limits) -> Result<(), Problem> {
    let seconds = limits.processor.as_secs() + u64::from(limits.processor.subsec_nanos() > 0);
    for (resource, most) in [
        (Resource::Cpu, seconds),
        (Resource::As, limits.memory_bytes),
        (Resource::Fsize, limits.disk_bytes),
        (Resource::Nproc, limits.processes + WATCHING),
        (Resource::Nofile, OPEN_FILES),
        (Resource::Core, 0),
        (Resource::Memlock, 0),
        (Resource::Msgqueue, 0),
        (Resource::Sigpending, 256),
    ] {
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        setrlimit(resource, limit).step(format!("limit {resource:?}"))?;
    }
    Ok(())
}

/// Whoever runs here is root of its namespace in name only: no capability, and no way to one.
fn give_up_rights() -> Result<(), Errno> {
    clear_ambient_capability_set()?;
    for number in 0..u64::BITS {
        // Those that the kernel does not know are refused.
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Err(Errno::INVAL) => break,
            dropped => dropped?,
        }
    }
    set_capabilities_secure_bits(
        CapabilitiesSecureBits::NO_ROOT
            | CapabilitiesSecureBits::NO_ROOT_LOCKED
            | CapabilitiesSecureBits::NO_SETUID_FIXUP
            | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED,
    )?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none)?;
    if capabilities(None)? != none {
        return Err(Errno::PERM);
    }
    set_no_new_privs(true)
}

/// Does not return where it succeeds.
fn become_command(job: &Job) -> Problem {
    let error = Command::new(&job.command[0])
        .args(&job.command[1..])
        .env_clear()
        .envs([("PATH", PATH), ("LANG", "C.UTF-8"), ("HOME", WORK), ("TMPDIR", WORK)])
        .envs(job.environment.iter().map(|(name, value)| (name, value)))
        .exec();
    Problem::new(format!("run {}", job.command[0]), error)
}
