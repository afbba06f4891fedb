//! The clients that people have, from their registries, against the server. They are fetched once with pip and npm;
//! skipped, with the reason, where there is no Python, no Node or no registry.

use crate::place::Place;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Packages for Python, in one folder.
const PYTHON: &[&str] = &["openai", "anthropic", "ollama", "litellm", "langchain-openai"];
/// Sessions of theirs, and the end of the address that they take.
const SESSIONS: &[(&str, &str)] = &[
    ("openai_session.py", "/v1"),
    ("anthropic_session.py", ""),
    ("ollama_session.py", ""),
    ("litellm_session.py", ""),
    ("langchain_session.py", ""),
];

/// A folder into which `install` has put packages; `None`, with the reason printed, where they cannot be had.
fn packages(name: &str, install: impl FnOnce(&Path) -> Command) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let complete = folder.join("complete");
    if complete.exists() {
        return Some(folder);
    }
    std::fs::create_dir_all(&folder).unwrap();
    match install(&folder).output() {
        Ok(output) if output.status.success() => {
            std::fs::write(complete, "").unwrap();
            Some(folder)
        }
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr);
            eprintln!("skipped: {name} cannot be installed: {}", why.lines().last().unwrap_or_default());
            None
        }
        Err(error) => {
            eprintln!("skipped: {name} cannot be installed: {error}");
            None
        }
    }
}

/// A folder with packages for Python; `None`, with the reason printed, where they cannot be had.
pub(crate) fn pip(name: &str, wanted: &[&str]) -> Option<PathBuf> {
    packages(name, |folder| {
        let mut pip = Command::new("python3");
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--retries",
            "0",
            "--target",
        ]);
        pip.arg(folder).args(wanted);
        pip
    })
}

fn holds(mut session: Command, place: &Place, end: &str, what: &str) {
    session.arg(format!("http://{}{end}", place.address));
    for key in ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "HTTP_PROXY", "HTTPS_PROXY"] {
        session.env_remove(key).env_remove(key.to_lowercase());
    }
    let output = session.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{what}: {said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.ends_with("all well\n"), "{what}: {said}");
}

#[test]
fn the_python_clients_hold_their_sessions() {
    let Some(folder) = pip("python-clients", PYTHON) else { return };
    let place = Place::with(|options| options.api_key = Some("secret".into()));
    std::thread::scope(|scope| {
        for (script, end) in SESSIONS {
            let (place, folder) = (&place, &folder);
            scope.spawn(move || {
                let mut python = Command::new("python3");
                let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http").join(script);
                python.arg(&script).env("PYTHONPATH", folder);
                holds(python, place, end, &script.display().to_string());
            });
        }
    });
}

#[test]
fn the_node_client_holds_its_session() {
    let install = |folder: &Path| {
        let mut npm = Command::new("npm");
        npm.args([
            "install",
            "--silent",
            "--no-audit",
            "--no-fund",
            "--fetch-retries",
            "0",
            "openai",
            "--prefix",
        ]);
        npm.arg(folder);
        npm
    };
    let Some(folder) = packages("node-openai", install) else { return };
    // A module finds packages beside itself.
    let script = folder.join("session.mjs");
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http/openai_session.mjs"), &script)
        .unwrap();
    let place = Place::with(|options| options.api_key = Some("secret".into()));
    let mut node = Command::new("node");
    node.arg(script);
    holds(node, &place, "", "openai for Node");
}
