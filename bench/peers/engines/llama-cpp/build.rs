//! Hands the version of llama-cpp-sys-2 to the program.

#[path = "../locked.rs"]
mod locked;

fn main() {
    println!("cargo:rerun-if-changed=../locked.rs");
    locked::hand_over("llama-cpp-sys-2", "LLAMA_CPP_SYS_VERSION");
}
