//! Environment variables that the command looks at itself. Those of the model store are declared by its crate;
//! `lowbit list knobs` shows both.

use anyhow::{Context, Result, bail};
use lowbit::{Isa, IsaLevel, hub};

pub(crate) const LOWBIT_ISA: hub::Variable = hub::Variable {
    name: "LOWBIT_ISA",
    description: "Instruction set to use instead of the best one of this CPU: `scalar`, `avx2` or `avx512`; on Arm `scalar`, `neon` or `dotprod`.",
};
pub(crate) const LOWBIT_THREADS: hub::Variable = hub::Variable {
    name: "LOWBIT_THREADS",
    description: "Worker threads where --threads is not given; unset: one for each physical core that may be used.",
};
pub(crate) const LOWBIT_END_WITH_INPUT: hub::Variable = hub::Variable {
    name: "LOWBIT_END_WITH_INPUT",
    description: "Set to `1`: end, as by Ctrl-C, when standard input is closed, which is read for nothing else; so a program that starts lowbit with a pipe leaves none behind, however it ends.",
};

/// All of them, in the order of documentation.
pub(crate) fn knobs() -> impl Iterator<Item = &'static hub::Variable> {
    const OWN: &[hub::Variable] = &[LOWBIT_END_WITH_INPUT, LOWBIT_ISA, LOWBIT_THREADS];
    OWN.iter().chain(hub::VARIABLES)
}

/// The instructions to use.
pub(crate) fn isa() -> Result<Isa> {
    match value(LOWBIT_ISA)? {
        Some(name) => limited(Isa::detect(), &name),
        None => Ok(Isa::detect()),
    }
}

/// The number of worker threads, if one is set.
pub(crate) fn threads() -> Result<Option<usize>> {
    let Some(text) = value(LOWBIT_THREADS)? else { return Ok(None) };
    match text.parse() {
        Ok(threads) if (1..=crate::options::MOST_THREADS).contains(&threads) => Ok(Some(threads)),
        _ => bail!(
            "environment variable LOWBIT_THREADS is {text:?}, expected a number from 1 to {}",
            crate::options::MOST_THREADS
        ),
    }
}

/// Ends the process when standard input is closed, where that is asked for.
pub(crate) fn end_with_input() -> Result<()> {
    match value(LOWBIT_END_WITH_INPUT)?.as_deref() {
        None => Ok(()),
        Some("1") => {
            std::thread::spawn(|| {
                let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
                std::process::exit(i32::from(crate::INTERRUPTED));
            });
            Ok(())
        }
        Some(other) => bail!("environment variable LOWBIT_END_WITH_INPUT is {other:?}, expected 1"),
    }
}

fn limited(best: Isa, name: &str) -> Result<Isa> {
    let known = || IsaLevel::ALL.iter().map(|level| level.name()).collect::<Vec<_>>().join(", ");
    let level = IsaLevel::parse(&name.to_ascii_lowercase()).with_context(|| {
        format!("environment variable LOWBIT_ISA is {name:?}, expected one of {}", known())
    })?;
    if level > best.level() {
        bail!("environment variable LOWBIT_ISA is {name:?}, this CPU has at most {}", best.level());
    }
    Ok(best.at_most(level))
}

fn value(variable: hub::Variable) -> Result<Option<String>> {
    let Some(value) = std::env::var_os(variable.name) else { return Ok(None) };
    match value.into_string() {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        Err(raw) => bail!("environment variable {} is {raw:?}, expected plain text", variable.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_lowered_never_raised_and_never_guessed() {
        let best = Isa::detect();
        assert_eq!(limited(best, "Scalar").unwrap(), Isa::SCALAR);
        let error = limited(best, "sse9").unwrap_err().to_string();
        assert!(IsaLevel::ALL.iter().all(|level| error.contains(level.name())), "{error}");
        assert!(error.contains("sse9"), "{error}");
        let highest = IsaLevel::ALL.last().unwrap().name();
        let error = limited(Isa::SCALAR, highest).unwrap_err().to_string();
        assert!(error.contains("at most scalar"), "{error}");
    }

    #[test]
    fn no_variable_is_declared_twice() {
        let mut names: Vec<&str> = knobs().map(|knob| knob.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }
}
