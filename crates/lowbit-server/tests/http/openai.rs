//! The `openai` package for Python against the server. It is fetched once with pip; skipped, with the reason, where
//! there is no Python or no package index.

use crate::place::Place;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A folder with the package; `None`, with the reason printed, where it cannot be had.
fn package() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-openai");
    let imports = || {
        let mut python = Command::new("python3");
        let output = python.args(["-c", "import openai"]).env("PYTHONPATH", &folder).output();
        output.is_ok_and(|output| output.status.success())
    };
    if imports() {
        return Some(folder);
    }
    let install =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "0", "--target"];
    let installed = Command::new("python3").args(install).arg(&folder).arg("openai").output();
    match installed {
        Ok(output) if output.status.success() && imports() => Some(folder),
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr);
            eprintln!("skipped: pip cannot install openai: {}", why.lines().last().unwrap_or_default());
            None
        }
        Err(error) => {
            eprintln!("skipped: python3 does not run: {error}");
            None
        }
    }
}

#[test]
fn the_python_client_holds_its_session() {
    let Some(package) = package() else { return };
    let place = Place::with(|options| options.api_key = Some("secret".into()));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http/openai_session.py");
    let output = Command::new("python3")
        .arg(script)
        .arg(format!("http://{}/v1", place.address))
        .env("PYTHONPATH", package)
        .env_remove("OPENAI_API_KEY")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.ends_with("all well\n"), "{said}");
}
