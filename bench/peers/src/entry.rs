//! An engine and, where it does not read the file that is compared, its own.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::engines::{self, EngineSpec};

/// One participant of a comparison, on the command line `ENGINE` or `ENGINE=FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) spec: &'static EngineSpec,
    /// What it reads instead of the file that is compared.
    pub(crate) file: Option<PathBuf>,
}

impl Entry {
    /// Reads `ENGINE` or `ENGINE=FILE`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Some((name, file)) = text.split_once('=') else {
            return Ok(Self { spec: engines::parse(text)?, file: None });
        };
        if file.is_empty() {
            return Err(format!("no file follows {name}=; write {name} alone for the file that is compared"));
        }
        Ok(Self { spec: engines::parse(name)?, file: Some(file.into()) })
    }

    /// The file it reads where `model` is compared.
    pub(crate) fn file<'a>(&'a self, model: &'a Path) -> &'a Path {
        self.file.as_deref().unwrap_or(model)
    }

    /// How tables name it: with its file, where that is its own.
    pub(crate) fn label(&self) -> String {
        let name = self.spec.name;
        match self.file.as_deref().and_then(Path::file_name) {
            Some(file) => format!("{name}={}", file.to_string_lossy()),
            None => name.to_owned(),
        }
    }
}

/// Refuses files of their own where logits are to be compared: other weights give other logits.
pub(crate) fn same_file(entries: &[Entry]) -> Result<()> {
    match entries.iter().find(|entry| entry.file.is_some()) {
        Some(entry) => bail!(
            "--text compares logits of one file, but {} reads its own; leave out --text or the file",
            entry.label()
        ),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_may_bring_its_own_file() {
        let model = Path::new("a.gguf");
        let plain = Entry::parse("llama.cpp").unwrap();
        assert_eq!((plain.file(model), plain.label().as_str()), (model, "llama.cpp"));
        let own = Entry::parse("lowbit-int8=/tmp/b.lowbit").unwrap();
        assert_eq!(own.file(model), Path::new("/tmp/b.lowbit"));
        assert_eq!(own.label(), "lowbit-int8=b.lowbit");
        assert!(Entry::parse("lowbit=").unwrap_err().contains("no file follows lowbit="));
        assert!(Entry::parse("lobit=b.lowbit").unwrap_err().contains("no engine is called lobit"));
    }

    #[test]
    fn logits_are_compared_on_one_file_only() {
        let entry = |text| Entry::parse(text).unwrap();
        assert!(same_file(&[entry("llama.cpp"), entry("lowbit")]).is_ok());
        let error = same_file(&[entry("llama.cpp"), entry("lowbit=b.lowbit")]).unwrap_err();
        assert!(error.to_string().contains("lowbit=b.lowbit reads its own"), "{error}");
    }
}
