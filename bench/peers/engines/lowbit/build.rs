//! Hands the version of lowbit-engine to the program.

#[path = "../locked.rs"]
mod locked;

fn main() {
    println!("cargo:rerun-if-changed=../locked.rs");
    locked::hand_over("lowbit-engine", "LOWBIT_VERSION");
}
