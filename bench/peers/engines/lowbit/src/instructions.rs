//! `LOWBIT_ISA`: a lower level of instructions than the CPU has, as lowbit's own command takes it.

use anyhow::{Context, Result, ensure};
use lowbit_kernels::{Isa, IsaLevel};

const VARIABLE: &str = "LOWBIT_ISA";

/// The best level of this CPU, or the one that the environment asks for.
pub(crate) fn chosen() -> Result<Isa> {
    match std::env::var_os(VARIABLE) {
        None => Ok(Isa::detect()),
        Some(name) => at(Isa::detect(), &name.to_string_lossy()),
    }
}

fn at(best: Isa, name: &str) -> Result<Isa> {
    let name = name.trim();
    if name.is_empty() {
        return Ok(best);
    }
    let level = IsaLevel::parse(&name.to_ascii_lowercase()).with_context(|| {
        let known = IsaLevel::ALL.iter().map(|level| level.name()).collect::<Vec<_>>().join(", ");
        format!("{VARIABLE} is {name:?}, expected one of {known}")
    })?;
    ensure!(level <= best.level(), "{VARIABLE} is {name:?}, this CPU has at most {}", best.level());
    Ok(best.at_most(level))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_lowered_never_raised_and_never_guessed() {
        assert_eq!(at(Isa::detect(), " Scalar").unwrap(), Isa::SCALAR);
        assert_eq!(at(Isa::detect(), "").unwrap(), Isa::detect());
        let unknown = at(Isa::detect(), "sse9").unwrap_err().to_string();
        assert!(IsaLevel::ALL.iter().all(|level| unknown.contains(level.name())), "{unknown}");
        assert!(unknown.contains("sse9"), "{unknown}");
        let raised = at(Isa::SCALAR, IsaLevel::ALL.last().unwrap().name()).unwrap_err().to_string();
        assert!(raised.contains("at most scalar"), "{raised}");
    }
}
