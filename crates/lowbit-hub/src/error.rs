//! What can go wrong while a model is looked up or fetched. Messages name the file or repository, what was found,
//! what was expected, and the next step where there is one.

use std::io;
use std::path::{Path, PathBuf};

/// Why a model could not be found or fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Neither a catalogue name, nor a repository, nor an existing path.
    #[error("no model is called {name:?}{}; a model is a catalogue name, user/repo[:quant], or a path", did_you_mean(.suggestions))]
    UnknownModel {
        /// The name as given.
        name: String,
        /// Catalogue names that are close, nearest first.
        suggestions: Vec<String>,
    },
    /// No data set has the name.
    #[error("no data set is called {name:?}; known are {}, and a file may be given instead", .known.join(", "))]
    UnknownDataSet {
        /// The name as given.
        name: String,
        /// All names.
        known: Vec<String>,
    },
    /// The target is written as a path, and nothing is there.
    #[error("{} does not exist{}", .path.display(), did_you_mean(.suggestions))]
    PathMissing {
        /// The path as given.
        path: PathBuf,
        /// Catalogue names that are close, nearest first.
        suggestions: Vec<String>,
    },
    /// The catalogue file does not say what it must.
    #[error("model catalogue: {0}")]
    Catalogue(String),
    /// An environment variable has a value that cannot be used.
    #[error("environment variable {variable} is {value:?}, expected {expected}")]
    Variable {
        /// Its name.
        variable: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// No directory for downloads can be derived from the environment.
    #[error("no home directory is known; set HOME, or LOWBIT_HOME and HF_HOME")]
    NoHome,

    /// The hub's address could not be reached at all.
    #[error("cannot reach {address}: {reason}; check the network, HTTPS_PROXY and HF_ENDPOINT")]
    Unreachable {
        /// Scheme and host.
        address: String,
        /// The network's reason.
        reason: String,
    },
    /// The connection stays open, and nothing arrives.
    #[error(
        "{file}: nothing received for {seconds} s after {got} bytes; run the same command again to resume"
    )]
    Stalled {
        /// What was being fetched.
        file: String,
        /// The limit that passed.
        seconds: u64,
        /// Bytes that had arrived, kept for the next attempt.
        got: u64,
    },
    /// The connection was lost more often than is retried.
    #[error(
        "{file}: connection lost {attempts} times, {got} of {expected} bytes are kept ({reason}); run the same command again to resume"
    )]
    Interrupted {
        /// What was being fetched.
        file: String,
        /// Bytes that had arrived, kept for the next attempt.
        got: u64,
        /// The file's length.
        expected: u64,
        /// Connections made.
        attempts: u32,
        /// Why the last one ended.
        reason: String,
    },
    /// 401: the hub wants to know who is asking.
    #[error("the hub answers 401 (not authorized) for {what}; {}", token_advice(*.token))]
    Unauthorized {
        /// Repository or file.
        what: String,
        /// Whether a token was sent.
        token: TokenState,
    },
    /// 403: the hub knows who is asking and refuses.
    #[error("the hub answers 403 (forbidden) for {what}{}; accept the licence on the repository's page, and see that HF_TOKEN may read it", remark(.message))]
    Forbidden {
        /// Repository or file.
        what: String,
        /// The hub's own words, possibly empty.
        message: String,
    },
    /// 404 for the repository as a whole.
    #[error("the hub has no repository {repo:?}; check the name{}", private_advice(*.token))]
    RepoNotFound {
        /// The repository.
        repo: String,
        /// Whether a token was sent.
        token: TokenState,
    },
    /// 404 for the revision.
    #[error("repository {repo} has no revision {revision:?}")]
    RevisionNotFound {
        /// The repository.
        repo: String,
        /// The revision asked for.
        revision: String,
    },
    /// 404 for one file of a repository.
    #[error("repository {repo} has no file {file:?} at revision {revision}")]
    FileNotFound {
        /// The repository.
        repo: String,
        /// The file asked for.
        file: String,
        /// The revision asked for.
        revision: String,
    },
    /// Any other status that is not success.
    #[error("the hub answers {status} for {what}{}", remark(.message))]
    Status {
        /// The HTTP status.
        status: u16,
        /// Repository or file.
        what: String,
        /// The hub's own words, possibly empty.
        message: String,
    },
    /// The hub's answer cannot be used.
    #[error("unusable answer from the hub for {what}: {problem}")]
    Malformed {
        /// Repository or file.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The hub is needed and HF_HUB_OFFLINE forbids it.
    #[error("{what} is not in the cache, and HF_HUB_OFFLINE forbids to ask the hub; unset it to download")]
    Offline {
        /// Repository or file.
        what: String,
    },
    /// The hub offers something else under this name than the catalogue means.
    #[error(
        "{repo} now offers another {file}: catalogue {expected}, hub {announced}; nothing was downloaded"
    )]
    AnnouncedMismatch {
        /// The repository.
        repo: String,
        /// The file.
        file: String,
        /// Hash or size in the catalogue.
        expected: String,
        /// Hash or size announced by the hub.
        announced: String,
    },

    /// The content is not what was announced.
    #[error(
        "{file}: {algorithm} is {found}, expected {expected}; the download was discarded, run the command again"
    )]
    HashMismatch {
        /// The file.
        file: String,
        /// The kind of hash.
        algorithm: &'static str,
        /// Expected, in hexadecimal.
        expected: String,
        /// Found, in hexadecimal.
        found: String,
    },
    /// The length is not what was announced.
    #[error("{file}: {found} bytes, expected {expected}; the download was discarded")]
    SizeMismatch {
        /// The file.
        file: String,
        /// Expected length.
        expected: u64,
        /// Length found, or the length at which reading was given up.
        found: u64,
    },

    /// A repository holds nothing that can be loaded.
    #[error("{repo} has neither a GGUF file nor a config.json with safetensors ({files} files)")]
    NoModelFile {
        /// The repository.
        repo: String,
        /// Number of its files.
        files: usize,
    },
    /// None of a repository's GGUF files has the wanted quantization.
    #[error("{repo} has no GGUF file for {quant:?}; it has {}", list(.available))]
    QuantNotFound {
        /// The repository.
        repo: String,
        /// What was asked for.
        quant: String,
        /// Its GGUF files.
        available: Vec<String>,
    },
    /// Several GGUF files fit equally.
    #[error("{repo} has several GGUF files that fit: {}; name one as {repo}:PART-OF-ITS-NAME", list(.candidates))]
    Ambiguous {
        /// The repository.
        repo: String,
        /// The files that fit.
        candidates: Vec<String>,
    },
    /// A set of shards or a safetensors folder has a gap.
    #[error("{repo} is incomplete: {missing} is missing")]
    Incomplete {
        /// The repository.
        repo: String,
        /// The first file that is missing.
        missing: String,
    },

    /// No Python interpreter runs.
    #[error(
        "no Python interpreter was found (tried {tried}); install Python 3 with pip, or set LOWBIT_PYTHON"
    )]
    PythonMissing {
        /// The commands tried.
        tried: String,
    },
    /// The interpreter has no pip.
    #[error("{python} has no pip; install it (python3 -m ensurepip, or the system's package python3-pip)")]
    PipMissing {
        /// The interpreter.
        python: String,
    },
    /// pip ran and failed.
    #[error("pip could not download {requirement}: {reason}")]
    Pip {
        /// Package and version.
        requirement: String,
        /// The end of what pip wrote to stderr.
        reason: String,
    },
    /// The wheel is not the one the catalogue describes.
    #[error("wheel of {requirement}: {problem}")]
    Wheel {
        /// Package and version.
        requirement: String,
        /// What is wrong with it.
        problem: String,
    },

    /// All sources of a catalogue entry failed.
    #[error("{name} could not be fetched from any of its {} sources{}", .failures.len(), failure_lines(.failures))]
    AllSourcesFailed {
        /// The catalogue name.
        name: String,
        /// Source and reason, in the order tried.
        failures: Vec<(String, Error)>,
    },
    /// The file system refused.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// Whether a request to the hub carried a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenState {
    /// A token was sent.
    Sent,
    /// No token is configured.
    Absent,
}

/// Turns an [`io::Error`] into an [`Error`] that says what was attempted on which path.
pub(crate) fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { action, path, source }
}

fn did_you_mean(suggestions: &[String]) -> String {
    match suggestions {
        [] => String::new(),
        _ => format!(" (did you mean {}?)", suggestions.join(" or ")),
    }
}

fn token_advice(token: TokenState) -> &'static str {
    match token {
        TokenState::Absent => "check the name, or set HF_TOKEN to a token that may read it",
        TokenState::Sent => "check the name; the token in use may be expired or may not read it (HF_TOKEN)",
    }
}

fn private_advice(token: TokenState) -> &'static str {
    match token {
        TokenState::Absent => ", or set HF_TOKEN if it is private",
        TokenState::Sent => "; if it is private, the token in use may not read it (HF_TOKEN)",
    }
}

fn remark(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(" ({message})") }
}

fn list(names: &[String]) -> String {
    const SHOWN: usize = 12;
    match names.len() {
        0 => "none".to_owned(),
        n if n <= SHOWN => names.join(", "),
        n => format!("{} and {} more", names[..SHOWN].join(", "), n - SHOWN),
    }
}

fn failure_lines(failures: &[(String, Error)]) -> String {
    failures.iter().map(|(source, error)| format!("\n  {source}: {error}")).collect()
}
