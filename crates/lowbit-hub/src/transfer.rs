//! Brings one file of a hub into the cache: announced hash first, content into a partial file that a later attempt
//! continues, check, then its final name.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::Body;
use ureq::http::Response;

use crate::digest::{Digest, Hasher};
use crate::error::{Error, at};
use crate::files::{self, Lock};
use crate::hub_cache::RepoCache;
use crate::hub_client::{Address, Announced, HubClient};
use crate::progress::{Event, Progress};
use crate::settings::Settings;

/// What a file has to be, known before the hub is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    pub(crate) sha256: Digest,
    pub(crate) bytes: u64,
}

/// Fetches one file, or finds that it is already here, and returns its path in the cache. What the hub announces is
/// compared with `expected` before anything is downloaded.
pub(crate) fn fetch(
    client: &HubClient,
    settings: &Settings,
    address: Address<'_>,
    expected: Option<Expected>,
    progress: &mut dyn Progress,
) -> Result<PathBuf, Error> {
    let announced = client.announce(address)?;
    if let Some(expected) = expected {
        compare(address, &announced, expected)?;
    }
    let cache = RepoCache::new(&settings.hub_cache, address.kind, address.repo);
    let blob = cache.blob(&announced.etag);
    let commit = &announced.commit;
    let present = |path: &Path| files::length(path) == Some(announced.bytes);
    let snapshot = cache.snapshot(commit).join(address.file);
    let path = if present(&snapshot) && !blob.exists() {
        // The layout without links; there is no blob to look for.
        snapshot
    } else {
        let _lock = Lock::acquire(&cache.lock_file(&announced.etag), progress)?;
        if present(&blob) {
            check_present(address, &announced, expected, &blob)?;
        } else {
            // What the catalogue says is stronger than a git id; a different SHA-256 has been refused above.
            let digest = expected.map(|expected| expected.sha256).or(announced.digest);
            let wanted = Wanted { address, bytes: announced.bytes, digest };
            Download::start(client, settings, wanted, &blob, progress)?.run(&blob, progress)?;
        }
        cache.link(commit, address.file, &announced.etag)?
    };
    cache.set_commit(address.revision, commit)?;
    progress.event(Event::FileFinished { file: address.file, path: &path });
    Ok(path)
}

fn compare(address: Address<'_>, announced: &Announced, expected: Expected) -> Result<(), Error> {
    let mismatch = |expected: String, announced: String| Error::AnnouncedMismatch {
        repo: address.repo.to_owned(),
        file: address.file.to_owned(),
        expected,
        announced,
    };
    if announced.bytes != expected.bytes {
        return Err(mismatch(format!("{} bytes", expected.bytes), format!("{} bytes", announced.bytes)));
    }
    match announced.digest {
        Some(digest @ Digest::Sha256(_)) if digest != expected.sha256 => {
            Err(mismatch(format!("sha256 {}", expected.sha256), digest.to_string()))
        }
        // A git id says nothing about the SHA-256; the content decides.
        _ => Ok(()),
    }
}

/// A blob that another tool has put into the cache is what its name says; only where the name is not the SHA-256 that
/// is expected, its content is looked at.
fn check_present(
    address: Address<'_>,
    announced: &Announced,
    expected: Option<Expected>,
    blob: &Path,
) -> Result<(), Error> {
    let Some(expected) = expected.filter(|expected| announced.digest != Some(expected.sha256)) else {
        return Ok(());
    };
    let found = expected.sha256.of_file(blob).map_err(at("read", blob))?;
    if found == expected.sha256 {
        return Ok(());
    }
    Err(Error::AnnouncedMismatch {
        repo: address.repo.to_owned(),
        file: address.file.to_owned(),
        expected: format!("sha256 {}", expected.sha256),
        announced: found.to_string(),
    })
}

/// What is being downloaded.
struct Wanted<'a> {
    address: Address<'a>,
    bytes: u64,
    /// The hash to check; `None` where the hub announces none and none is known, so that only the length is.
    digest: Option<Digest>,
}

struct Download<'a> {
    client: &'a HubClient,
    wanted: Wanted<'a>,
    name: String,
    reconnects: u32,
    stall: Duration,
    partial: PathBuf,
    file: File,
    hasher: Option<Hasher>,
    done: u64,
}

/// How a connection ended.
enum Ended {
    Complete,
    Lost { reason: String, stalled: bool },
}

impl<'a> Download<'a> {
    /// Opens the partial file of an earlier attempt, if there is one, and hashes what it holds.
    fn start(
        client: &'a HubClient,
        settings: &Settings,
        wanted: Wanted<'a>,
        blob: &Path,
        progress: &mut dyn Progress,
    ) -> Result<Download<'a>, Error> {
        // The hub's own tools use `.incomplete` in ways that differ between their versions; this name is ours.
        let partial = files::with_suffix(blob, ".lowbit.incomplete");
        files::create_parent(&partial)?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&partial);
        let mut file = file.map_err(at("open", &partial))?;
        let mut done = file.metadata().map_err(at("read", &partial))?.len();
        if done > wanted.bytes {
            file.set_len(0).map_err(at("write", &partial))?;
            done = 0;
        }
        let mut hasher = wanted.digest.map(|digest| digest.hasher(wanted.bytes));
        if let Some(hasher) = &mut hasher {
            hasher.update_from(&mut file, done).map_err(at("read", &partial))?;
        }
        progress.event(Event::FileStarted { file: wanted.address.file, bytes: wanted.bytes, resumed: done });
        Ok(Download {
            client,
            name: wanted.address.name(),
            wanted,
            reconnects: settings.timeouts.reconnects,
            stall: settings.timeouts.stall,
            partial,
            file,
            hasher,
            done,
        })
    }

    /// Downloads the rest, connecting again when the connection is lost, then checks and names the file.
    fn run(mut self, blob: &Path, progress: &mut dyn Progress) -> Result<(), Error> {
        let mut attempts = 0;
        let mut stalls = 0;
        while self.done < self.wanted.bytes {
            attempts += 1;
            let Ended::Lost { reason, stalled } = self.connection(attempts, progress)? else { continue };
            stalls += u32::from(stalled);
            // A stall has already cost its time; one more chance is enough.
            if stalls > 1 {
                let seconds = self.stall.as_secs();
                return Err(Error::Stalled { file: self.name, seconds, got: self.done });
            }
            if attempts > self.reconnects {
                let (got, expected) = (self.done, self.wanted.bytes);
                return Err(Error::Interrupted { file: self.name, got, expected, attempts, reason });
            }
            progress.event(Event::Reconnecting { file: self.wanted.address.file, reason: &reason });
            std::thread::sleep(Duration::from_millis(200) * attempts);
        }
        if let (Some(hasher), Some(expected)) = (self.hasher, self.wanted.digest) {
            let found = hasher.finish();
            if found != expected {
                files::remove_if_present(&self.partial)?;
                let (expected_hex, found) = (expected.to_string(), found.to_string());
                let algorithm = expected.algorithm();
                return Err(Error::HashMismatch {
                    file: self.name,
                    algorithm,
                    expected: expected_hex,
                    found,
                });
            }
        } else {
            tracing::warn!(
                file = self.name,
                "the hub announces no hash for this file; only its length was checked"
            );
        }
        files::publish(self.file, &self.partial, blob)
    }

    /// One connection, from where the file ends now.
    fn connection(&mut self, attempt: u32, progress: &mut dyn Progress) -> Result<Ended, Error> {
        let mut response = match self.client.open(self.wanted.address, self.done) {
            Ok(response) => response,
            // After the first connection the hub is known to be there.
            Err(Error::Unreachable { reason, .. }) if attempt > 1 => {
                return Ok(Ended::Lost { reason, stalled: false });
            }
            Err(error) => return Err(error),
        };
        if self.done > 0 && !continues_at(&response, self.done) {
            self.restart()?;
            if response.status().as_u16() != 200 {
                let reason = "the hub does not continue the file; starting again".to_owned();
                return Ok(Ended::Lost { reason, stalled: false });
            }
        }
        let mut body = response.body_mut().as_reader();
        let mut buffer = vec![0; 1 << 17];
        loop {
            let got = match body.read(&mut buffer) {
                Ok(got) => got,
                Err(error) => {
                    let stalled = is_timeout(&error);
                    return Ok(Ended::Lost { reason: error.to_string(), stalled });
                }
            };
            if got == 0 && self.done == self.wanted.bytes {
                return Ok(Ended::Complete);
            }
            if got == 0 {
                return Ok(Ended::Lost { reason: "the answer ended early".to_owned(), stalled: false });
            }
            if got as u64 > self.wanted.bytes - self.done {
                files::remove_if_present(&self.partial)?;
                let found = self.done + got as u64;
                return Err(Error::SizeMismatch {
                    file: self.name.clone(),
                    expected: self.wanted.bytes,
                    found,
                });
            }
            self.file.write_all(&buffer[..got]).map_err(at("write", &self.partial))?;
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&buffer[..got]);
            }
            self.done += got as u64;
            let (file, bytes) = (self.wanted.address.file, self.wanted.bytes);
            progress.event(Event::Position { file, done: self.done, bytes });
        }
    }

    fn restart(&mut self) -> Result<(), Error> {
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .map_err(at("write", &self.partial))?;
        self.hasher = self.wanted.digest.map(|digest| digest.hasher(self.wanted.bytes));
        self.done = 0;
        Ok(())
    }
}

/// Whether the answer is the rest of the file from byte `from` on.
fn continues_at(response: &Response<Body>, from: u64) -> bool {
    let range = response.headers().get("content-range").and_then(|value| value.to_str().ok());
    let start = range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
    response.status().as_u16() == 206 && start == Some(from)
}

fn is_timeout(error: &std::io::Error) -> bool {
    let wrapped = error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>());
    matches!(wrapped, Some(ureq::Error::Timeout(_))) || error.kind() == ErrorKind::TimedOut
}
