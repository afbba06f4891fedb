//! A store in a directory of its own, a catalogue of one model, and what a pull reported.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lowbit_hub::{Catalogue, Environment, Error, Event, Settings, Store, env};

use crate::server::sha256;

/// A store in a directory of its own, with short time-outs.
pub(crate) struct Fixture {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) settings: Settings,
}

impl Fixture {
    pub(crate) fn new(endpoint: &str, variables: &[(env::Variable, &str)]) -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let mut pairs = vec![
            (env::HF_ENDPOINT, endpoint.to_owned()),
            (env::HF_HOME, path("hf")),
            (env::LOWBIT_HOME, path("lowbit")),
            (env::HOME, path("home")),
        ];
        pairs.extend(variables.iter().map(|(variable, value)| (*variable, (*value).to_owned())));
        let mut settings = Settings::from_environment(&Environment::from_pairs(pairs)).unwrap();
        settings.timeouts.stall = Duration::from_millis(300);
        Fixture { dir, settings }
    }

    pub(crate) fn store(&self, catalogue: &str) -> Store {
        Store::new(Catalogue::parse(catalogue).unwrap(), self.settings.clone())
    }

    pub(crate) fn repo_cache(&self) -> PathBuf {
        self.settings.hub_cache.join("models--user--repo")
    }
}

/// A catalogue of one model, `tiny`, with the given sources in TOML.
pub(crate) fn catalogue(content: &[u8], sources: &str) -> String {
    format!(
        "[[model]]\nname = \"tiny\"\ndescription = \"test\"\nlicence = \"none\"\nlicence_url = \"none\"\n\
         parameters = 1\nquantization = \"F32\"\nfile = \"tiny.gguf\"\nbytes = {}\nsha256 = \"{}\"\n{sources}",
        content.len(),
        sha256(content)
    )
}

pub(crate) const HUB_SOURCE: &str =
    "[[model.source]]\nhub = { repo = \"user/repo\", revision = \"main\", file = \"tiny.gguf\" }\n";

/// Reproducible content that repeats nowhere.
pub(crate) fn content(bytes: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// Names of all files below a directory whose name contains `part`.
pub(crate) fn files_containing(dir: &Path, part: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_containing(&path, part));
        } else if entry.file_name().to_string_lossy().contains(part) {
            found.push(path);
        }
    }
    found
}

/// Names of the events of a pull, without positions.
pub(crate) fn record(events: &mut Vec<String>) -> impl FnMut(Event<'_>) {
    |event| match event {
        Event::SourceStarted { source } => events.push(format!("try {source}")),
        Event::SourceFailed { source, error } => events.push(format!("failed {source}: {error}")),
        Event::FileStarted { file, bytes, resumed } => events.push(format!("start {file} {resumed}/{bytes}")),
        Event::Reconnecting { file, .. } => events.push(format!("reconnect {file}")),
        Event::FileFinished { file, .. } => events.push(format!("finish {file}")),
        Event::WaitingForLock { .. } => events.push("wait".to_owned()),
        Event::Position { done, bytes, .. } => assert!(done <= bytes),
    }
}

/// The only failure of a pull that tried one source.
pub(crate) fn only_failure(error: Error) -> Error {
    match error {
        Error::AllSourcesFailed { mut failures, .. } if failures.len() == 1 => failures.remove(0).1,
        other => panic!("not one failed source: {other}"),
    }
}
