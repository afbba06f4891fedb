//! Hands the version of candle to the program, for the head of a report.

use std::path::Path;

fn main() {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    println!("cargo:rerun-if-changed={}", lock.display());
    let lock = std::fs::read_to_string(&lock).expect("the workspace has a lock file");
    let version = lock
        .split("[[package]]")
        .find(|package| package.contains("name = \"candle-core\""))
        .and_then(|package| package.split("version = \"").nth(1)?.split('"').next())
        .expect("the lock file names candle-core");
    println!("cargo:rustc-env=CANDLE_CORE_VERSION={version}");
}
