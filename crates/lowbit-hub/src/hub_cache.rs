//! The directory layout in which the hub's own tools keep what they downloaded, so that a file fetched by one is
//! found by all:
//!
//! ```text
//! models--USER--REPO/refs/REVISION            commit id of a branch or tag
//! models--USER--REPO/blobs/ETAG               content, named by its hash
//! models--USER--REPO/snapshots/COMMIT/PATH    link to ../../blobs/ETAG
//! .locks/models--USER--REPO/ETAG.lock
//! ```
//!
//! Of data sets, `datasets` stands in the place of `models`.
//!
//! Where links cannot be made (Windows without developer mode), the content lies in the snapshot and there is no
//! blob, as the hub's tools do it too.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::error::{Error, at};
use crate::files;
use crate::hub_client::Kind;
use crate::names;

/// One repository's part of the cache.
#[derive(Debug, Clone)]
pub(crate) struct RepoCache {
    root: PathBuf,
    locks: PathBuf,
}

impl RepoCache {
    /// The folder of `repo` (`user/repo`, already checked) in the cache at `root`; nothing is created.
    pub(crate) fn new(root: &Path, kind: Kind, repo: &str) -> RepoCache {
        debug_assert!(names::is_repo_id(repo));
        let kind = match kind {
            Kind::Model => "models",
            Kind::DataSet => "datasets",
        };
        let folder = format!("{kind}--{}", repo.replace('/', "--"));
        RepoCache { locks: root.join(".locks").join(&folder), root: root.join(folder) }
    }

    /// The commit that `revision` was last seen at; a commit id stands for itself.
    pub(crate) fn commit(&self, revision: &str) -> Option<String> {
        if names::is_commit(revision) {
            return Some(revision.to_owned());
        }
        if !names::is_relative_path(revision) {
            return None;
        }
        let commit = fs::read_to_string(self.root.join("refs").join(revision)).ok()?;
        Some(commit.trim().to_owned()).filter(|commit| names::is_commit(commit))
    }

    /// Notes which commit `revision` is at.
    pub(crate) fn set_commit(&self, revision: &str, commit: &str) -> Result<(), Error> {
        if names::is_commit(revision) || self.commit(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        if !names::is_relative_path(revision) {
            let problem = format!("revision {revision:?} cannot be a file name");
            return Err(Error::Malformed { what: self.root.display().to_string(), problem });
        }
        let path = self.root.join("refs").join(revision);
        files::create_parent(&path)?;
        fs::write(&path, commit).map_err(at("write", &path))
    }

    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    pub(crate) fn blob(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(etag)
    }

    pub(crate) fn lock_file(&self, etag: &str) -> PathBuf {
        self.locks.join(format!("{etag}.lock"))
    }

    /// A complete file of the snapshot, if it is here.
    pub(crate) fn file(&self, commit: &str, file: &str) -> Option<PathBuf> {
        let path = self.snapshot(commit).join(file);
        files::length(&path).map(|_| path)
    }

    /// A file of this name in any snapshot, the preferred revision's first, that is the content wanted. Its blob's
    /// name says so; where there are no links and so no blobs, its hash.
    pub(crate) fn file_with_content(
        &self,
        revision: &str,
        file: &str,
        sha256: Digest,
        bytes: u64,
    ) -> Option<PathBuf> {
        let preferred = self.commit(revision).map(|commit| self.snapshot(&commit));
        let others = fs::read_dir(self.root.join("snapshots")).into_iter().flatten();
        let others = others.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        let mut paths = preferred.into_iter().chain(others).map(|snapshot| snapshot.join(file));
        paths.find(|path| {
            files::length(path) == Some(bytes)
                && match fs::read_link(path) {
                    Ok(target) => target.file_name().is_some_and(|name| name == sha256.to_string().as_str()),
                    Err(_) => sha256.of_file(path).is_ok_and(|found| found == sha256),
                }
        })
    }

    /// Paths of all complete files of a snapshot, relative to it, with `/` between parts.
    pub(crate) fn files(&self, commit: &str) -> Vec<String> {
        let mut found = Vec::new();
        collect(&self.snapshot(commit), "", &mut found);
        found.sort();
        found
    }

    /// Makes the blob `etag` visible as `file` in the snapshot of `commit`, and returns its path there.
    pub(crate) fn link(&self, commit: &str, file: &str, etag: &str) -> Result<PathBuf, Error> {
        let pointer = self.snapshot(commit).join(file);
        files::create_parent(&pointer)?;
        let depth = 2 + file.split('/').count() - 1;
        let target = PathBuf::from("../".repeat(depth)).join("blobs").join(etag);
        if fs::read_link(&pointer).is_ok_and(|present| present == target) {
            return Ok(pointer);
        }
        files::remove_if_present(&pointer)?;
        match symlink(&target, &pointer) {
            Ok(()) => Ok(pointer),
            // Another process was as quick, with the same content.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(pointer),
            Err(_) => {
                let blob = self.blob(etag);
                fs::rename(&blob, &pointer).map_err(at("move a download to", &pointer))?;
                Ok(pointer)
            }
        }
    }
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn collect(dir: &Path, prefix: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = format!("{prefix}{name}");
        // The type of the entry itself, not of what it links to: a link to a directory could lead in a circle.
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect(&entry.path(), &format!("{path}/"), found),
            Ok(_) if files::length(&entry.path()).is_some() => found.push(path),
            _ => {}
        }
    }
}
