//! Tasks of whoever works on lowbit: `cargo run -p xtask -- TASK`.
//!
//! | Task | What it does |
//! |---|---|
//! | `docs` | writes the generated pages of `docs/` |
//! | `docs --check` | fails where a page differs from what would be written |
//! | `tidy` | checks the rules of the tree that the compiler does not |
//! | `figures` | draws the figures of `docs/` from `bench/record` |
//! | `figures --check` | fails where one differs from what would be drawn |
//! | `instructions` | counts instructions a weight of the product kernels |
//! | `instructions --check` | fails where a count has grown against `bench/record/instructions.csv` |
//! | `instructions --write` | makes the counts the record |
//! | `levels` | prints the instruction-set levels of this machine, weakest first |

#![forbid(unsafe_code)]

mod docs;
mod figures;
mod instructions;
mod tidy;
mod tree;

use anyhow::{Result, bail};
use instructions::Mode;
use lowbit_kernels::Isa;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["docs"] => docs::write(),
        ["docs", "--check"] => docs::check(),
        ["figures"] => figures::write(),
        ["figures", "--check"] => figures::check(),
        ["instructions"] => instructions::run(Mode::Print),
        ["instructions", "--check"] => instructions::run(Mode::Check),
        ["instructions", "--write"] => instructions::run(Mode::Write),
        ["tidy"] => tidy::run(),
        ["levels"] => {
            for isa in Isa::available() {
                println!("{}", isa.level());
            }
            Ok(())
        }
        _ => bail!(
            "usage: cargo run -p xtask -- docs [--check] | figures [--check] | instructions [--check | --write] | tidy | levels"
        ),
    }
}
