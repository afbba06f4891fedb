//! Where things are kept and how the hub and pip are spoken to, as the environment has it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::env::{self, Environment};
use crate::error::{Error, at};

/// The public model hub.
const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// Settings of a [`Store`](crate::Store).
#[derive(Debug, Clone)]
pub struct Settings {
    /// Directory of models that do not come from a hub; they lie under `models/NAME/FILE`.
    pub home: PathBuf,
    /// The hub's cache, shared with other tools.
    pub hub_cache: PathBuf,
    /// Address of the hub, without a slash at the end.
    pub endpoint: String,
    /// Token for the hub.
    pub token: Option<Token>,
    /// Whether the hub may be contacted.
    pub network: Network,
    /// How long to wait for the hub.
    pub timeouts: Timeouts,
    /// Proxy for the hub, and hosts reached without it.
    pub proxy: Option<Proxy>,
    /// PEM certificates of the authorities to trust instead of the built-in ones.
    pub certificates: Option<Vec<u8>>,
    /// How pip is run.
    pub pip: PipSettings,
}

/// Whether the hub may be contacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// It may.
    Online,
    /// Only its cache is used.
    Offline,
}

/// Limits after which the hub counts as unreachable or stalled. They are short because another source follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To look up the name.
    pub resolve: Duration,
    /// To connect, TLS included.
    pub connect: Duration,
    /// Until the headers of an answer are here.
    pub response: Duration,
    /// Between two pieces of a body.
    pub stall: Duration,
    /// Connections that may be lost in the middle of a file before giving up.
    pub reconnects: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            resolve: Duration::from_secs(4),
            connect: Duration::from_secs(5),
            response: Duration::from_secs(15),
            stall: Duration::from_secs(20),
            reconnects: 4,
        }
    }
}

/// A proxy for the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Its address.
    pub url: String,
    /// Hosts that are reached without it, separated by commas.
    pub exceptions: String,
}

/// How pip is run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PipSettings {
    /// The interpreter; `None` searches for `python3` and `python`.
    pub python: Option<PathBuf>,
    /// Variables added to the environment that pip inherits.
    pub variables: Vec<(OsString, OsString)>,
}

/// A secret that is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Settings {
    /// Settings as the environment has them; fails on values that cannot be used.
    pub fn from_environment(environment: &Environment) -> Result<Settings, Error> {
        let hub_home = || match environment.path(env::HF_HOME) {
            Some(home) => Ok(home),
            None => Ok::<_, Error>(environment.hub_cache_base()?.join("huggingface")),
        };
        let home = match environment.path(env::LOWBIT_HOME) {
            Some(home) => home,
            None => environment.cache_base()?.join("lowbit"),
        };
        let hub_cache =
            environment.path(env::HF_HUB_CACHE).or_else(|| environment.path(env::HUGGINGFACE_HUB_CACHE));
        let hub_cache = match hub_cache {
            Some(cache) => cache,
            None => hub_home()?.join("hub"),
        };
        let mut timeouts = Timeouts::default();
        if let Some(seconds) = environment.seconds(env::HF_HUB_DOWNLOAD_TIMEOUT)? {
            timeouts.stall = Duration::from_secs(seconds);
        }
        let certificates = environment.path(env::SSL_CERT_FILE);
        let certificates =
            certificates.map(|path| std::fs::read(&path).map_err(at("read SSL_CERT_FILE", &path)));
        Ok(Settings {
            endpoint: endpoint(environment)?,
            token: token(environment, hub_home)?,
            network: match environment.switch(env::HF_HUB_OFFLINE)? {
                true => Network::Offline,
                false => Network::Online,
            },
            proxy: proxy(environment)?,
            certificates: certificates.transpose()?,
            pip: PipSettings { python: environment.path(env::LOWBIT_PYTHON), variables: Vec::new() },
            home,
            hub_cache,
            timeouts,
        })
    }
}

fn endpoint(environment: &Environment) -> Result<String, Error> {
    let Some(endpoint) = environment.text(env::HF_ENDPOINT)? else { return Ok(DEFAULT_ENDPOINT.to_owned()) };
    let rest = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
    if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with('/') || rest.contains(char::is_whitespace))
    {
        let expected = "an address that begins with https:// or http://";
        return Err(Error::Variable { variable: env::HF_ENDPOINT.name, value: endpoint, expected });
    }
    Ok(endpoint.trim_end_matches('/').to_owned())
}

fn token(
    environment: &Environment,
    hub_home: impl Fn() -> Result<PathBuf, Error>,
) -> Result<Option<Token>, Error> {
    if environment.switch(env::HF_HUB_DISABLE_IMPLICIT_TOKEN)? {
        return Ok(None);
    }
    if let Some(token) = environment.text(env::HF_TOKEN)? {
        return checked(token, env::HF_TOKEN.name);
    }
    let named = environment.path(env::HF_TOKEN_PATH);
    let path = match &named {
        Some(path) => path.clone(),
        None => hub_home()?.join("token"),
    };
    match std::fs::read_to_string(&path) {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => checked(text.trim().to_owned(), env::HF_TOKEN_PATH.name),
        // The default place is usually empty; a place that was named must be readable.
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at("read the hub's token from", &path)(error)),
    }
}

/// A token goes into a header, where anything but visible ASCII would change the request.
fn checked(token: String, variable: &'static str) -> Result<Option<Token>, Error> {
    if token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(Some(Token(token)));
    }
    Err(Error::Variable {
        variable,
        value: "(hidden)".to_owned(),
        expected: "a token of visible ASCII characters",
    })
}

fn proxy(environment: &Environment) -> Result<Option<Proxy>, Error> {
    let url = environment.text(env::HTTPS_PROXY)?;
    let Some(url) = url.map_or_else(|| environment.text(env::ALL_PROXY), |url| Ok(Some(url)))? else {
        return Ok(None);
    };
    Ok(Some(Proxy { url, exceptions: environment.text(env::NO_PROXY)?.unwrap_or_default() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(env::Variable, &str)]) -> Result<Settings, Error> {
        Settings::from_environment(&Environment::from_pairs(pairs.iter().copied()))
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn directories_follow_the_environment() {
        let home = (env::HOME, "/nowhere/a");
        let plain = settings(&[home]).unwrap();
        assert_eq!(plain.home, PathBuf::from("/nowhere/a/.cache/lowbit"));
        assert_eq!(plain.hub_cache, PathBuf::from("/nowhere/a/.cache/huggingface/hub"));
        assert_eq!(plain.endpoint, DEFAULT_ENDPOINT);
        let moved = settings(&[home, (env::XDG_CACHE_HOME, "/c"), (env::HF_HOME, "/h")]).unwrap();
        assert_eq!((moved.home, moved.hub_cache), (PathBuf::from("/c/lowbit"), PathBuf::from("/h/hub")));
        let named = settings(&[home, (env::LOWBIT_HOME, "/l"), (env::HF_HUB_CACHE, "/hc")]).unwrap();
        assert_eq!((named.home, named.hub_cache), (PathBuf::from("/l"), PathBuf::from("/hc")));
    }

    #[test]
    fn an_endpoint_without_scheme_is_refused() {
        let home = (env::HOME, "/nowhere/a");
        assert!(settings(&[home, (env::HF_ENDPOINT, "hub.example")]).is_err());
        let settings = settings(&[home, (env::HF_ENDPOINT, "http://hub.example:8080/")]).unwrap();
        assert_eq!(settings.endpoint, "http://hub.example:8080");
    }

    #[test]
    fn a_token_is_read_from_its_file_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "hf_secret\n").unwrap();
        let home = (env::HF_HOME, dir.path().to_str().unwrap());
        let with_home = [home, (env::HOME, "/nowhere/a")];
        let settings_of_file = settings(&with_home).unwrap();
        assert_eq!(settings_of_file.token, Some(Token("hf_secret".to_owned())));
        assert!(!format!("{settings_of_file:?}").contains("hf_secret"));
        let without = [home, (env::HOME, "/nowhere/a"), (env::HF_HUB_DISABLE_IMPLICIT_TOKEN, "1")];
        assert_eq!(settings(&without).unwrap().token, None);
        let broken = settings(&[home, (env::HOME, "/nowhere/a"), (env::HF_TOKEN, "a b")]).unwrap_err();
        assert!(!broken.to_string().contains("a b"), "{broken}");
    }
}
