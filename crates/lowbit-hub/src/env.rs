//! Every environment variable that this crate looks at, with what it does.
//!
//! Nothing else in the crate reads the process environment: an [`Environment`] is taken once and passed on, so a
//! caller can supply its own, and a listing of [`VARIABLES`] is complete by construction.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use crate::error::Error;

/// An environment variable with what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// The variable's name.
    pub name: &'static str,
    /// What it does and what holds when it is unset.
    pub description: &'static str,
}

macro_rules! variables {
    ($($name:ident: $description:literal,)*) => {
        $(#[doc = $description] pub const $name: Variable =
            Variable { name: stringify!($name), description: $description };)*
        /// All variables of this crate, in the order of documentation.
        pub const VARIABLES: &[Variable] = &[$($name),*];
    };
}

variables! {
    LOWBIT_HOME: "Directory for models that do not come from a hub; unset: `lowbit` in the user's cache directory.",
    LOWBIT_PYTHON: "Python interpreter used to run pip; unset: `python3`, then `python`, on the search path.",
    HF_ENDPOINT: "Address of the model hub; unset: the public one.",
    HF_TOKEN: "Access token for the hub, for private and gated repositories; unset: the file of HF_TOKEN_PATH.",
    HF_TOKEN_PATH: "File that holds the access token; unset: `token` in HF_HOME.",
    HF_HUB_DISABLE_IMPLICIT_TOKEN: "`1`: send no token to the hub; unset: send one if there is one.",
    HF_HOME: "Directory of the hub's tools; unset: `huggingface` in the user's cache directory.",
    HF_HUB_CACHE: "Cache of files downloaded from the hub, shared with other tools; unset: `hub` in HF_HOME.",
    HUGGINGFACE_HUB_CACHE: "Older name of HF_HUB_CACHE, which goes first.",
    HF_HUB_OFFLINE: "`1`: never contact the hub, use only what is cached; other sources are not affected.",
    HF_HUB_DOWNLOAD_TIMEOUT: "Seconds without a byte from the hub before a download counts as stalled; unset: 20.",
    HTTPS_PROXY: "Proxy for the hub, for example `http://proxy.example:3128`; unset: none.",
    ALL_PROXY: "Proxy for the hub when HTTPS_PROXY is unset.",
    NO_PROXY: "Comma-separated hosts that are reached without the proxy.",
    SSL_CERT_FILE: "PEM file of certificate authorities to trust instead of the built-in list.",
    XDG_CACHE_HOME: "The user's cache directory; unset: the platform's (`~/.cache` on Linux).",
    HOME: "The user's home directory.",
    LOCALAPPDATA: "The user's cache directory on Windows.",
    USERPROFILE: "The user's home directory on Windows.",
}

/// Values of [`VARIABLES`], taken at one moment.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    values: BTreeMap<&'static str, OsString>,
}

impl Environment {
    /// The environment of this process. Proxy variables are also accepted in lower case, as is usual.
    pub fn of_process() -> Self {
        let mut values = BTreeMap::new();
        for variable in VARIABLES {
            let lower_case = || {
                let is_proxy = variable.name.ends_with("_PROXY");
                is_proxy.then(|| std::env::var_os(variable.name.to_ascii_lowercase())).flatten()
            };
            if let Some(value) = std::env::var_os(variable.name).or_else(lower_case) {
                values.insert(variable.name, value);
            }
        }
        Environment { values }
    }

    /// An environment that holds exactly these values.
    pub fn from_pairs<V: Into<OsString>>(pairs: impl IntoIterator<Item = (Variable, V)>) -> Self {
        let values = pairs.into_iter().map(|(variable, value)| (variable.name, value.into())).collect();
        Environment { values }
    }

    /// The value, if it is set and not empty.
    pub(crate) fn get(&self, variable: Variable) -> Option<&OsStr> {
        self.values.get(variable.name).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// The value as text without surrounding white space; an error if it is not UTF-8.
    pub(crate) fn text(&self, variable: Variable) -> Result<Option<String>, Error> {
        let Some(value) = self.get(variable) else { return Ok(None) };
        let text = value.to_str().ok_or_else(|| bad(variable, value, "valid UTF-8"))?.trim();
        Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
    }

    /// The value as a path, with a leading `~/` replaced by the home directory.
    pub(crate) fn path(&self, variable: Variable) -> Option<PathBuf> {
        let path = PathBuf::from(self.get(variable)?);
        match (path.strip_prefix("~"), self.home()) {
            (Ok(rest), Some(home)) => Some(home.join(rest)),
            _ => Some(path),
        }
    }

    /// Whether a switch is on: `1`, `true`, `yes` or `on` in any case; off for `0`, `false`, `no`, `off` or unset.
    pub(crate) fn switch(&self, variable: Variable) -> Result<bool, Error> {
        let Some(value) = self.text(variable)? else { return Ok(false) };
        match value.to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Ok(true),
            "0" | "false" | "no" | "off" => Ok(false),
            _ => Err(bad(variable, OsStr::new(&value), "1 or 0")),
        }
    }

    /// The value as a number of seconds, at least one.
    pub(crate) fn seconds(&self, variable: Variable) -> Result<Option<u64>, Error> {
        let Some(value) = self.text(variable)? else { return Ok(None) };
        match value.parse() {
            Ok(seconds) if seconds >= 1 => Ok(Some(seconds)),
            _ => Err(bad(variable, OsStr::new(&value), "a whole number of seconds, at least 1")),
        }
    }

    fn home(&self) -> Option<PathBuf> {
        self.get(HOME).or_else(|| self.get(USERPROFILE)).map(PathBuf::from)
    }

    /// `$XDG_CACHE_HOME`, else `~/.cache`: where the hub's tools keep their cache on every platform.
    pub(crate) fn hub_cache_base(&self) -> Result<PathBuf, Error> {
        if let Some(path) = self.path(XDG_CACHE_HOME) {
            return Ok(path);
        }
        Ok(self.home().ok_or(Error::NoHome)?.join(".cache"))
    }

    /// The user's cache directory by the platform's custom.
    pub(crate) fn cache_base(&self) -> Result<PathBuf, Error> {
        if let Some(path) = self.path(XDG_CACHE_HOME) {
            return Ok(path);
        }
        if cfg!(windows)
            && let Some(path) = self.path(LOCALAPPDATA)
        {
            return Ok(path);
        }
        let home = self.home().ok_or(Error::NoHome)?;
        Ok(if cfg!(target_os = "macos") { home.join("Library/Caches") } else { home.join(".cache") })
    }
}

fn bad(variable: Variable, value: &OsStr, expected: &'static str) -> Error {
    Error::Variable { variable: variable.name, value: value.to_string_lossy().into_owned(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_with_an_unknown_value_is_refused() {
        let environment = Environment::from_pairs([(HF_HUB_OFFLINE, "perhaps")]);
        let error = environment.switch(HF_HUB_OFFLINE).unwrap_err().to_string();
        assert_eq!(error, "environment variable HF_HUB_OFFLINE is \"perhaps\", expected 1 or 0");
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let environment = Environment::from_pairs([(HF_TOKEN, ""), (HF_HUB_OFFLINE, "")]);
        assert_eq!(environment.text(HF_TOKEN).unwrap(), None);
        assert!(!environment.switch(HF_HUB_OFFLINE).unwrap());
    }

    #[test]
    fn a_tilde_is_the_home_directory() {
        let environment = Environment::from_pairs([(HOME, "/home/a"), (HF_HOME, "~/models")]);
        assert_eq!(environment.path(HF_HOME), Some(PathBuf::from("/home/a/models")));
    }

    #[test]
    fn variable_names_are_unique_and_described() {
        for (index, variable) in VARIABLES.iter().enumerate() {
            assert!(VARIABLES[..index].iter().all(|other| other.name != variable.name), "{}", variable.name);
            assert!(variable.description.ends_with('.'), "{}", variable.name);
        }
    }
}
