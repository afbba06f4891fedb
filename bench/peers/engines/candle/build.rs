//! Hands the version of candle-core to the program.

#[path = "../locked.rs"]
mod locked;

fn main() {
    println!("cargo:rerun-if-changed=../locked.rs");
    locked::hand_over("candle-core", "CANDLE_CORE_VERSION");
}
