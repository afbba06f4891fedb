//! Tasks of whoever works on lowbit: `cargo run -p xtask -- TASK`.
//!
//! | Task | What it does |
//! |---|---|
//! | `docs` | writes the generated pages of `docs/` |
//! | `docs --check` | fails where a page differs from what would be written |
//! | `tidy` | checks the rules of the tree that the compiler does not |
//! | `levels` | prints the instruction-set levels of this machine, weakest first |

#![forbid(unsafe_code)]

mod docs;
mod tidy;
mod tree;

use anyhow::{Result, bail};
use lowbit_kernels::Isa;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["docs"] => docs::write(),
        ["docs", "--check"] => docs::check(),
        ["tidy"] => tidy::run(),
        ["levels"] => {
            for isa in Isa::available() {
                println!("{}", isa.level());
            }
            Ok(())
        }
        _ => bail!("usage: cargo run -p xtask -- docs [--check] | tidy | levels"),
    }
}
