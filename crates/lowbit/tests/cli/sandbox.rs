//! What hostile programs meet: each test is a program that tries to get out, or to take more than its share.

use lowbit::sandbox::{End, File, Interpreter, Job, Language, Launcher, Limits, Outcome, Sandbox};
use std::{
    fs,
    net::TcpListener,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

/// A sandbox and Python; `None`, with the reason printed, where this machine has one of them not.
pub(crate) fn python() -> Option<Python> {
    started_by(Launcher {
        program: env!("CARGO_BIN_EXE_lowbit").into(),
        arguments: vec!["sandbox-child".to_owned()],
    })
}

pub(crate) fn started_by(launcher: Launcher) -> Option<Python> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = Sandbox::new(launcher)
        .and_then(|sandbox| Ok(Python { sandbox, interpreter: Interpreter::find(Language::Python, &path)? }));
    found.inspect_err(|error| println!("skipped: {error}")).ok()
}

pub(crate) struct Python {
    sandbox: Sandbox,
    interpreter: Interpreter,
}

impl Python {
    fn job(&self, source: &str, limits: Limits) -> Job {
        Job {
            command: vec![
                self.interpreter.program.display().to_string(),
                "-I".to_owned(),
                "program.py".to_owned(),
            ],
            readable: self.interpreter.readable.clone(),
            files: vec![File { name: "program.py".to_owned(), bytes: source.as_bytes().to_vec() }],
            limits,
            ..Job::default()
        }
    }

    fn run(&self, source: &str, limits: Limits) -> Outcome {
        self.sandbox.run(&self.job(source, limits)).unwrap()
    }

    /// What a program that must succeed prints.
    fn says(&self, source: &str) -> String {
        let outcome = self.run(source, Limits::default());
        assert_eq!(outcome.end, End::Status(0), "{outcome:?}");
        outcome.stdout.trim().to_owned()
    }
}

/// A function that says how a statement ended.
const TRY: &str = "
def attempt(what, *arguments):
    try:
        what(*arguments)
        print('done')
    except BaseException as error:
        print(type(error).__name__)
";

fn limits(processor: u64, clock: u64) -> Limits {
    Limits {
        processor: Duration::from_secs(processor),
        clock: Duration::from_secs(clock),
        ..Limits::default()
    }
}

/// Processes of this machine with a word among their arguments.
fn processes_with(word: &str) -> usize {
    let mut found = 0;
    for entry in fs::read_dir("/proc").unwrap() {
        // They come and go.
        let arguments = fs::read(entry.unwrap().path().join("cmdline")).unwrap_or_default();
        found += usize::from(arguments.split(|byte| *byte == 0).any(|one| one == word.as_bytes()));
    }
    found
}

/// A word that only one test uses.
fn word(test: &str) -> String {
    format!("lowbit-{test}-{}", std::process::id())
}

#[test]
fn a_fork_bomb_stays_small_and_nothing_is_left_of_it() {
    let Some(python) = python() else { return };
    let bomb = "
import os, time
while True:
    try:
        os.fork()
    except OSError:
        pass
";
    let (word, limits) = (word("fork"), limits(60, 2));
    let mut job = python.job(bomb, limits);
    job.command.push(word.clone());
    let outcome = std::thread::scope(|scope| {
        let running = scope.spawn(|| python.sandbox.run(&job).unwrap());
        let mut most = 0;
        while !running.is_finished() {
            most = most.max(processes_with(&word));
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!((2..=limits.processes as usize).contains(&most), "{most} processes");
        running.join().unwrap()
    });
    assert_eq!(outcome.end, End::Deadline);
    assert_eq!(processes_with(&word), 0);
}

#[test]
fn a_process_that_leaves_its_session_ends_with_the_program() {
    let Some(python) = python() else { return };
    let daemon = "
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.close(0), os.close(1), os.close(2)
        time.sleep(1000)
    os._exit(0)
time.sleep(0.3)
";
    let word = word("daemon");
    let mut job = python.job(daemon, Limits::default());
    job.command.push(word.clone());
    let start = Instant::now();
    assert_eq!(python.sandbox.run(&job).unwrap().end, End::Status(0));
    assert!(start.elapsed() < Duration::from_secs(9), "it was waited for");
    assert_eq!(processes_with(&word), 0);
}

#[test]
fn ten_gigabytes_are_not_given() {
    let Some(python) = python() else { return };
    let outcome = python.run("x = bytearray(10 * 1000 ** 3)", Limits::default());
    assert_eq!(outcome.end, End::Status(1));
    assert!(outcome.stderr.contains("MemoryError"), "{outcome:?}");
}

#[test]
fn an_endless_loop_ends_with_its_processor_time() {
    let Some(python) = python() else { return };
    assert_eq!(python.run("while True: pass", limits(1, 60)).end, End::Signal(9));
}

#[test]
fn endless_waiting_ends_with_its_time_by_the_clock() {
    let Some(python) = python() else { return };
    let ignoring = "
import signal, time
for number in range(1, 32):
    try:
        signal.signal(number, signal.SIG_IGN)
    except OSError:
        pass
while True:
    time.sleep(1000)
";
    let start = Instant::now();
    assert_eq!(python.run(ignoring, limits(10, 1)).end, End::Deadline);
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
}

#[test]
fn no_network_is_there_not_even_this_machines_own() {
    let Some(python) = python() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    // A socket with a name that is no file: of the same network, not of any folder.
    let name = word("socket");
    let _local = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let source = format!(
        "import socket{TRY}
attempt(lambda: socket.create_connection(('127.0.0.1', {port}), 1))
attempt(lambda: socket.create_connection(('1.1.1.1', 53), 1))
attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {port})))
attempt(lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM))
attempt(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
attempt(lambda: socket.socket(socket.AF_UNIX).connect('\\0{name}'))
print([line.split(':')[0].strip() for line in open('/proc/net/dev') if ':' in line])
"
    );
    let said = python.says(&source);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..5], ["PermissionError"; 5]);
    assert_eq!(lines[5..], ["ConnectionRefusedError", "['lo']"]);
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_home_folder_can_neither_be_read_nor_deleted() {
    let Some(python) = python() else { return };
    let home = tempfile::tempdir().unwrap();
    let secret = home.path().join("secret");
    fs::write(&secret, "1234").unwrap();
    let source = format!(
        "import os, shutil{TRY}
home = {:?}
attempt(lambda: open(home + '/secret').read())
attempt(lambda: open(home + '/new', 'w'))
attempt(os.remove, home + '/secret')
attempt(shutil.rmtree, home)
attempt(os.listdir, home)
print(os.path.expanduser('~'))
",
        home.path()
    );
    let said = python.says(&source);
    let (errors, work) = said.rsplit_once('\n').unwrap();
    assert_eq!(errors.lines().collect::<Vec<_>>(), ["FileNotFoundError"; 5], "{said}");
    assert_eq!(work, "/box");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "1234");
}

#[test]
fn nothing_can_be_written_but_the_work_folder() {
    let Some(python) = python() else { return };
    let source = format!(
        "import os{TRY}
for folder in ['/', '/usr', '/usr/bin', '/etc', '/dev', '/proc', os.path.dirname(os.__file__)]:
    attempt(lambda: open(folder + '/new', 'w'))
attempt(lambda: open('/proc/self/oom_score_adj', 'w').write('0'))
attempt(lambda: open('/etc/shadow').read())
attempt(os.mount if hasattr(os, 'mount') else os.chroot, '/box')
attempt(lambda: open('/box/new', 'w').write('x'))
attempt(lambda: open('/tmp/other', 'w').write('x'))
"
    );
    let said = python.says(&source);
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[..10].iter().all(|line| *line != "done"), "{said}");
    assert_eq!(lines[10..], ["done"; 2]);
    assert!(!Path::new("/tmp/other").exists() && !Path::new("/box/new").exists());
}

#[test]
fn the_work_folder_has_room_for_so_many_bytes_and_files() {
    let Some(python) = python() else { return };
    let source = format!(
        "{TRY}
def fill():
    for number in range(3):
        with open(f'large{{number}}', 'wb') as file:
            for _ in range(40):
                file.write(bytes(1 << 20))
def litter():
    for number in range(2000):
        open(f'small{{number}}', 'w').close()
attempt(litter)
attempt(fill)
"
    );
    assert_eq!(python.says(&source), "OSError\nOSError");
}

#[test]
fn endless_output_is_read_and_only_its_end_kept() {
    let Some(python) = python() else { return };
    let outcome = python.run("while True: print('x' * 1000)", limits(60, 1));
    assert_eq!(outcome.end, End::Deadline);
    assert!((1..=1 << 16).contains(&outcome.stdout.len()), "{} bytes", outcome.stdout.len());
}

#[test]
fn the_program_has_no_rights_and_no_variable_of_ours() {
    let Some(python) = python() else { return };
    let source = "
import os
print(sorted(os.environ))
print([line.split()[1] for line in open('/proc/self/status') if line.startswith(('Cap', 'NoNewPrivs', 'Seccomp:'))])
print(open(0).read() == '', os.getcwd())
";
    let said = python.says(source);
    let none = "'0000000000000000'";
    let expected = format!(
        "['HOME', 'LANG', 'PATH', 'TMPDIR']\n[{none}, {none}, {none}, {none}, {none}, '1', '2']\nTrue /box"
    );
    assert_eq!(said, expected);
}

#[test]
fn files_that_are_open_here_are_closed_there() {
    // Started by a shell that leaves two of them open.
    let shell = "exec 8</etc/passwd 9</; exec \"$0\" \"$@\"";
    let launcher = Launcher {
        program: "/bin/sh".into(),
        arguments: ["-c", shell, env!("CARGO_BIN_EXE_lowbit"), "sandbox-child"].map(str::to_owned).into(),
    };
    let Some(python) = started_by(launcher) else { return };
    let source = "
import os
def is_open(number):
    try:
        os.fstat(number)
        return True
    except OSError:
        return False
print([number for number in range(1024) if is_open(number)])
";
    assert_eq!(python.says(source), "[0, 1, 2]");
}

/// A machine on which nobody may have namespaces, made of a namespace in which that is so.
#[test]
fn without_namespaces_nothing_runs_and_the_settings_to_look_at_are_named() {
    let forbid = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" \"$@\"";
    let mut arguments = vec!["--user", "--map-root-user", "/bin/sh", "-c", forbid];
    if !Command::new("unshare").args(&arguments).arg("true").status().is_ok_and(|status| status.success()) {
        println!("skipped: no unshare, or it may not");
        return;
    }
    arguments.extend([env!("CARGO_BIN_EXE_lowbit"), "sandbox-child"]);
    let launcher =
        Launcher { program: "unshare".into(), arguments: arguments.into_iter().map(str::to_owned).collect() };
    let error = Sandbox::new(launcher).unwrap_err().to_string();
    assert!(error.starts_with("no sandbox can be made here: cannot take namespaces"), "{error}");
    assert!(error.contains("user.max_user_namespaces"), "{error}");
}

#[test]
fn only_a_plain_file_is_handed_back() {
    let Some(python) = python() else { return };
    let fetch = |source: &str| {
        let mut job = python.job(source, Limits::default());
        job.fetch = Some("made".to_owned());
        python.sandbox.run(&job)
    };
    assert_eq!(fetch("open('made', 'w').write('abc')").unwrap().fetched.unwrap(), b"abc");
    assert!(fetch("import os; os.symlink('/etc/ld.so.cache', 'made')").is_err());
    assert!(fetch("import os; os.mkfifo('made')").is_err());
    let error = fetch("pass").unwrap_err().to_string();
    assert!(error.contains("take made from the work folder"), "{error}");
}

#[test]
fn what_cannot_be_started_is_an_error_and_not_a_failed_program() {
    let Some(python) = python() else { return };
    let mut job = python.job("", Limits::default());
    job.command[0] = "/usr/bin/no-such-interpreter".to_owned();
    let error = python.sandbox.run(&job).unwrap_err().to_string();
    assert!(error.contains("cannot run /usr/bin/no-such-interpreter"), "{error}");
    job.readable.push("/no-such-folder".into());
    let error = python.sandbox.run(&job).unwrap_err().to_string();
    assert!(error.contains("cannot look at /no-such-folder"), "{error}");
}
