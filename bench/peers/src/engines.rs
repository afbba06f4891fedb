//! The engines that take part: one line each.

use std::fmt::Write as _;

/// How to start an engine.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct EngineSpec {
    /// Name on the command line and in the tables.
    pub(crate) name: &'static str,
    /// Program, next to this one.
    pub(crate) program: &'static str,
    /// Its arguments.
    pub(crate) arguments: &'static [&'static str],
    /// Environment variables through which it takes the number of threads.
    pub(crate) thread_variables: &'static [&'static str],
    /// What a ratio is taken to: among several engines of one family the best.
    pub(crate) family: Family,
}

/// Whose engine it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// The one all others are compared with.
    LlamaCpp,
    /// Any other.
    Other,
}

/// The engine that tokenizes and whose logits are the reference.
pub(crate) const REFERENCE: &EngineSpec = &ENGINES[0];

/// Every engine.
pub(crate) const ENGINES: &[EngineSpec] = &[
    EngineSpec {
        name: "llama.cpp",
        program: "peer-llama-cpp",
        arguments: &[],
        thread_variables: &[],
        family: Family::LlamaCpp,
    },
    EngineSpec {
        name: "llama.cpp-no-repack",
        program: "peer-llama-cpp",
        arguments: &["--no-repack"],
        thread_variables: &[],
        family: Family::LlamaCpp,
    },
    EngineSpec {
        name: "llama.cpp-no-flash",
        program: "peer-llama-cpp",
        arguments: &["--flash-attention", "off"],
        thread_variables: &[],
        family: Family::LlamaCpp,
    },
    EngineSpec {
        name: "lowbit",
        program: "peer-lowbit",
        arguments: &[],
        thread_variables: &[],
        family: Family::Other,
    },
    EngineSpec {
        name: "lowbit-int8",
        program: "peer-lowbit",
        arguments: &["--activations", "int8"],
        thread_variables: &[],
        family: Family::Other,
    },
    EngineSpec {
        name: "lowbit-gguf",
        program: "peer-lowbit",
        arguments: &["--activations", "gguf"],
        thread_variables: &[],
        family: Family::Other,
    },
    EngineSpec {
        name: "llama.cpp-f32",
        program: "peer-llama-cpp",
        arguments: &["--flash-attention", "off-f32"],
        thread_variables: &[],
        family: Family::LlamaCpp,
    },
    EngineSpec {
        name: "lowbit-gguf-f32",
        program: "peer-lowbit",
        arguments: &["--activations", "gguf", "--cache", "f32"],
        thread_variables: &[],
        family: Family::Other,
    },
    EngineSpec {
        name: "candle",
        program: "peer-candle",
        arguments: &[],
        thread_variables: &["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"],
        family: Family::Other,
    },
];

/// Names of all engines, in order.
pub(crate) const NAMES: [&str; ENGINES.len()] = {
    let mut names = [""; ENGINES.len()];
    let mut index = 0;
    while index < ENGINES.len() {
        names[index] = ENGINES[index].name;
        index += 1;
    }
    names
};

/// The engine of this name.
pub(crate) fn parse(name: &str) -> Result<&'static EngineSpec, String> {
    ENGINES.iter().find(|engine| engine.name == name).ok_or_else(|| {
        let mut message = format!("no engine is called {name}; there are");
        for (index, known) in NAMES.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(message, "{comma} {known}").expect("a string takes all that is written to it");
        }
        message
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_is_llama_cpp_as_it_comes() {
        assert_eq!(REFERENCE.family, Family::LlamaCpp);
        assert!(REFERENCE.arguments.is_empty());
    }

    #[test]
    fn an_unknown_engine_is_answered_with_the_known_ones() {
        let error = parse("lama").unwrap_err();
        assert!(error.contains("lama;") && error.ends_with(&NAMES.join(", ")), "{error}");
        assert!(NAMES.iter().all(|name| parse(name).is_ok()));
    }
}
