//! For the build scripts here: the version of a package in the lock file, for the head of a report.

use std::path::Path;

/// Sets the environment variable `variable` of the program being built to the locked version of `package`.
pub(crate) fn hand_over(package: &str, variable: &str) {
    let lock =
        Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this")).join("../../Cargo.lock");
    println!("cargo:rerun-if-changed={}", lock.display());
    let lock = std::fs::read_to_string(&lock).expect("the workspace has a lock file");
    let version = lock
        .split("[[package]]")
        .find(|entry| entry.contains(&format!("name = \"{package}\"\n")))
        .and_then(|entry| entry.split("version = \"").nth(1)?.split('"').next())
        .unwrap_or_else(|| panic!("the lock file does not name {package}"));
    println!("cargo:rustc-env={variable}={version}");
}
