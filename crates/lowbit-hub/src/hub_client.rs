//! A blocking client for the parts of a model hub that a download needs: the list of a repository's files, and a
//! file's identity before its content is asked for.
//!
//! # Why not the hf-hub crate
//! Version 1.0 (read at the time of writing) begins a lost download from the start, compares no hash, has no
//! time-outs and no offline switch, and brings an asynchronous runtime and about 230 crates; the older 0.5 compares
//! no hash either. A download that another source stands in for has to fail within seconds, and one that is kept
//! has to be what was announced. So this client speaks to the same addresses and writes the same cache
//! ([`crate::hub_cache`]) with `ureq`, which brings about 30 crates.

use std::io::Read as _;
use std::sync::Arc;

use serde::Deserialize;
use ureq::http::{HeaderMap, Response};
use ureq::tls::{PemItem, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use crate::digest::Digest;
use crate::error::{Error, TokenState};
use crate::names;
use crate::settings::{Network, Settings, Token};

/// Relative redirects followed, and redirects in all for content.
const MAX_REDIRECTS: usize = 8;
/// A listing of a repository with thousands of files stays below this.
const MAX_LISTING_BYTES: u64 = 32 << 20;
/// Enough of an error page for a message.
const MAX_MESSAGE_BYTES: u64 = 4 << 10;

/// A connection to one hub.
pub(crate) struct HubClient {
    agent: Agent,
    endpoint: String,
    token: Option<Token>,
    network: Network,
    stall_seconds: u64,
}

/// A file's identity, as announced by the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Announced {
    /// Commit of the revision asked for.
    pub(crate) commit: String,
    /// Name of the content in the cache.
    pub(crate) etag: String,
    /// The hash that the etag is, if it is one.
    pub(crate) digest: Option<Digest>,
    /// Length of the content.
    pub(crate) bytes: u64,
}

/// A repository's commit and files.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) commit: String,
    pub(crate) files: Vec<String>,
}

/// What a repository holds, by which a hub tells where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Model,
    DataSet,
}

/// One file of a repository at a revision.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Address<'a> {
    pub(crate) kind: Kind,
    pub(crate) repo: &'a str,
    pub(crate) revision: &'a str,
    pub(crate) file: &'a str,
}

impl Address<'_> {
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.repo, self.file)
    }
}

impl HubClient {
    pub(crate) fn new(settings: &Settings) -> Result<HubClient, Error> {
        let timeouts = settings.timeouts;
        let config = Agent::config_builder()
            // Redirects are followed here, because the token must not leave the hub's own host.
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_resolve(Some(timeouts.resolve))
            .timeout_connect(Some(timeouts.connect))
            .timeout_recv_response(Some(timeouts.response))
            .timeout_per_read(Some(timeouts.stall))
            .proxy(proxy(settings)?)
            .tls_config(TlsConfig::builder().root_certs(roots(settings)?).build())
            .user_agent(concat!("lowbit/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(HubClient {
            agent: Agent::new_with_config(config),
            endpoint: settings.endpoint.clone(),
            token: settings.token.clone(),
            network: settings.network,
            stall_seconds: timeouts.stall.as_secs(),
        })
    }

    /// All files of `repo` at `revision`. Names that could leave a directory make the listing unusable.
    pub(crate) fn list(&self, repo: &str, revision: &str) -> Result<Listing, Error> {
        #[derive(Deserialize)]
        struct Info {
            sha: String,
            #[serde(default)]
            siblings: Vec<Sibling>,
        }
        #[derive(Deserialize)]
        struct Sibling {
            rfilename: String,
        }
        let address = Address { kind: Kind::Model, repo, revision, file: "" };
        let url = format!("{}/api/models/{repo}/revision/{}", self.endpoint, escape(revision, '-'));
        let mut response = self.follow(&url, Follow::SameHost, |url| self.get(url, None))?.response;
        let malformed = |problem: String| Error::Malformed { what: repo.to_owned(), problem };
        if !response.status().is_success() {
            return Err(self.refusal(&mut response, address));
        }
        let text = response.body_mut().with_config().limit(MAX_LISTING_BYTES).read_to_string();
        let text = text.map_err(|error| self.lost(&url, &error))?;
        let info: Info = serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        if !names::is_commit(&info.sha) {
            return Err(malformed(format!("{:?} is not a commit id", info.sha)));
        }
        let files: Vec<String> = info.siblings.into_iter().map(|sibling| sibling.rfilename).collect();
        if let Some(bad) = files.iter().find(|file| !names::is_relative_path(file)) {
            return Err(malformed(format!("file name {bad:?} cannot be used")));
        }
        Ok(Listing { commit: info.sha, files })
    }

    /// What the hub says a file is, without its content.
    pub(crate) fn announce(&self, address: Address<'_>) -> Result<Announced, Error> {
        let url = self.url(address);
        let mut answer = self.follow(&url, Follow::SameHost, |url| {
            let mut request = self.agent.head(url).header("Accept-Encoding", "identity");
            if let Some(bearer) = self.bearer(url) {
                request = request.header("Authorization", bearer);
            }
            request.call()
        })?;
        let status = answer.response.status();
        if !status.is_success() && !status.is_redirection() {
            return Err(self.refusal(&mut answer.response, address));
        }
        announced(&answer.headers, address)
    }

    /// Opens the content of a file from byte `from` on.
    pub(crate) fn open(&self, address: Address<'_>, from: u64) -> Result<Response<Body>, Error> {
        let url = self.url(address);
        let mut response = self.follow(&url, Follow::Anywhere, |url| self.get(url, Some(from)))?.response;
        let status = response.status().as_u16();
        // 416: the part on disk is longer than the file, so it belongs to something else; the caller starts afresh.
        if response.status().is_success() || (status == 416 && from > 0) {
            return Ok(response);
        }
        Err(self.refusal(&mut response, address))
    }

    fn get(&self, url: &str, from: Option<u64>) -> Result<Response<Body>, ureq::Error> {
        let mut request = self.agent.get(url).header("Accept-Encoding", "identity");
        if let Some(bearer) = self.bearer(url) {
            request = request.header("Authorization", bearer);
        }
        match from {
            Some(from) if from > 0 => request.header("Range", format!("bytes={from}-")).call(),
            _ => request.call(),
        }
    }

    fn bearer(&self, url: &str) -> Option<String> {
        let token = self.token.as_ref().filter(|_| origin(url) == origin(&self.endpoint))?;
        Some(format!("Bearer {}", token.0))
    }

    fn url(&self, address: Address<'_>) -> String {
        let Address { kind, repo, revision, file } = address;
        let folder = match kind {
            Kind::Model => "",
            Kind::DataSet => "datasets/",
        };
        format!("{}/{folder}{repo}/resolve/{}/{}", self.endpoint, escape(revision, '-'), escape(file, '/'))
    }

    /// Sends a request and follows redirects as far as `follow` says. Headers of earlier answers are kept where a
    /// later one lacks them, because a hub announces a file's hash on the redirect and not at its destination.
    fn follow(
        &self,
        url: &str,
        follow: Follow,
        send: impl Fn(&str) -> Result<Response<Body>, ureq::Error>,
    ) -> Result<Answer, Error> {
        if self.network == Network::Offline {
            let what = url.strip_prefix(&self.endpoint).unwrap_or(url).trim_start_matches('/');
            return Err(Error::Offline { what: what.to_owned() });
        }
        let mut url = url.to_owned();
        let mut headers = HeaderMap::new();
        for _ in 0..MAX_REDIRECTS {
            let response = send(&url).map_err(|error| self.lost(&url, &error))?;
            for (name, value) in response.headers() {
                if !headers.contains_key(name) {
                    headers.insert(name, value.clone());
                }
            }
            let location = response.headers().get("location").and_then(|value| value.to_str().ok());
            let next =
                location.filter(|_| response.status().is_redirection()).map(|location| join(&url, location));
            let Some(next) = next else { return Ok(Answer { response, headers }) };
            let malformed = |problem| Error::Malformed { what: without_query(&url).to_owned(), problem };
            let next = next.ok_or_else(|| malformed("a redirect leads nowhere".to_owned()))?;
            if url.starts_with("https://") && !next.starts_with("https://") {
                return Err(malformed("a redirect leaves https".to_owned()));
            }
            if follow == Follow::SameHost && origin(&next) != origin(&url) {
                return Ok(Answer { response, headers });
            }
            // The length of a redirect's own page is not that of the file.
            for own in ["content-length", "etag", "location"] {
                headers.remove(own);
            }
            url = next;
        }
        let problem = format!("more than {MAX_REDIRECTS} redirects");
        Err(Error::Malformed { what: without_query(&url).to_owned(), problem })
    }

    fn lost(&self, url: &str, error: &ureq::Error) -> Error {
        let reason = match error {
            ureq::Error::HostNotFound => "the host name is not known here".to_owned(),
            ureq::Error::Timeout(ureq::Timeout::PerRead) => {
                format!("no answer within {} s", self.stall_seconds)
            }
            ureq::Error::Io(error) => error.to_string(),
            ureq::Error::Timeout(step) => format!("time-out ({step:?})"),
            other => other.to_string(),
        };
        Error::Unreachable { address: origin(url).to_owned(), reason }
    }

    /// Turns a status that is not success into an error with its next step.
    fn refusal(&self, response: &mut Response<Body>, address: Address<'_>) -> Error {
        let header =
            |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        let (code, mut message) = (header("x-error-code").to_owned(), header("x-error-message").to_owned());
        let status = response.status().as_u16();
        if message.is_empty() {
            let mut page = Vec::new();
            // A page that breaks off is still a message; the status has been received.
            let _ = response.body_mut().as_reader().take(MAX_MESSAGE_BYTES).read_to_end(&mut page);
            message = error_field(&page).unwrap_or_default();
        }
        message = message.chars().filter(|c| !c.is_control()).take(300).collect();
        let what = if address.file.is_empty() { address.repo.to_owned() } else { address.name() };
        let token = if self.token.is_some() { TokenState::Sent } else { TokenState::Absent };
        let repo = address.repo.to_owned();
        match (status, code.as_str()) {
            (401, _) => Error::Unauthorized { what, token },
            (403, _) => Error::Forbidden { what, message },
            (404, "RevisionNotFound") => {
                Error::RevisionNotFound { repo, revision: address.revision.to_owned() }
            }
            (404, "RepoNotFound") => Error::RepoNotFound { repo, token },
            (404, _) if address.file.is_empty() => Error::RepoNotFound { repo, token },
            (404, _) => Error::FileNotFound {
                repo,
                file: address.file.to_owned(),
                revision: address.revision.to_owned(),
            },
            _ => Error::Status { status, what, message },
        }
    }
}

/// How far redirects are followed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Follow {
    /// As long as they stay on the host.
    SameHost,
    /// To any host.
    Anywhere,
}

struct Answer {
    response: Response<Body>,
    headers: HeaderMap,
}

fn announced(headers: &HeaderMap, address: Address<'_>) -> Result<Announced, Error> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let malformed = |problem: &str| Error::Malformed { what: address.name(), problem: problem.to_owned() };
    let commit = text("x-repo-commit").filter(|commit| names::is_commit(commit));
    let commit = commit.ok_or_else(|| malformed("no X-Repo-Commit header with a commit id"))?;
    let etag = text("x-linked-etag").or_else(|| text("etag")).unwrap_or("");
    let etag = etag.trim_start_matches("W/").trim_matches('"');
    // It becomes a file name that other tools look for.
    if etag.len() < 8 || !etag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(malformed("no ETag header that can name a file"));
    }
    let bytes = text("x-linked-size").or_else(|| text("content-length")).and_then(|text| text.parse().ok());
    Ok(Announced {
        commit: commit.to_owned(),
        etag: etag.to_owned(),
        digest: Digest::from_hex(etag),
        bytes: bytes.ok_or_else(|| malformed("no X-Linked-Size or Content-Length header"))?,
    })
}

fn error_field(page: &[u8]) -> Option<String> {
    let page: serde_json::Value = serde_json::from_slice(page).ok()?;
    page.get("error")?.as_str().map(str::to_owned)
}

fn proxy(settings: &Settings) -> Result<Option<ureq::Proxy>, Error> {
    let Some(proxy) = &settings.proxy else { return Ok(None) };
    let unusable = |_| Error::Variable {
        variable: crate::env::HTTPS_PROXY.name,
        // It may hold a password.
        value: "(hidden)".to_owned(),
        expected: "the address of a proxy, as http://host:port",
    };
    let parsed = ureq::Proxy::new(&proxy.url).map_err(unusable)?;
    let mut builder = ureq::Proxy::builder(parsed.protocol()).host(parsed.host()).port(parsed.port());
    if let Some(user) = parsed.username() {
        builder = builder.username(user);
    }
    if let Some(password) = parsed.password() {
        builder = builder.password(password);
    }
    for host in proxy.exceptions.split(',').map(str::trim).filter(|host| !host.is_empty()) {
        builder = builder.no_proxy(host);
    }
    builder.build().map(Some).map_err(unusable)
}

fn roots(settings: &Settings) -> Result<RootCerts, Error> {
    let Some(pem) = &settings.certificates else { return Ok(RootCerts::WebPki) };
    let certificates: Vec<_> = ureq::tls::parse_pem(pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        let (variable, value) = (crate::env::SSL_CERT_FILE.name, "(its file)".to_owned());
        return Err(Error::Variable {
            variable,
            value,
            expected: "a PEM file with at least one certificate",
        });
    }
    Ok(RootCerts::Specific(Arc::new(certificates)))
}

/// Scheme, host and port of an address.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |scheme| scheme + 3);
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |length| host + length);
    &url[..end]
}

/// An address without its query, which may hold a signature.
fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or(url)
}

fn join(base: &str, location: &str) -> Option<String> {
    if location.starts_with("https://") || location.starts_with("http://") {
        return Some(location.to_owned());
    }
    if let Some(rest) = location.strip_prefix("//") {
        let scheme = base.split("//").next()?;
        return Some(format!("{scheme}//{rest}"));
    }
    location.starts_with('/').then(|| format!("{}{location}", origin(base)))
}

/// Percent-encodes everything but unreserved characters and `keep`.
fn escape(text: &str, keep: char) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || char::from(byte) == keep {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_resolved_against_the_address() {
        let base = "https://hub.example:8080/a/b?c";
        assert_eq!(join(base, "/x/y"), Some("https://hub.example:8080/x/y".to_owned()));
        assert_eq!(join(base, "//cdn.example/x"), Some("https://cdn.example/x".to_owned()));
        assert_eq!(join(base, "http://cdn.example/x"), Some("http://cdn.example/x".to_owned()));
        assert_eq!(join(base, "ftp:x"), None);
        assert_eq!(origin("https://hub.example?x"), "https://hub.example");
    }

    #[test]
    fn paths_are_escaped_but_for_their_slashes() {
        assert_eq!(escape("a b/ü?.gguf", '/'), "a%20b/%C3%BC%3F.gguf");
        assert_eq!(escape("refs/pr/1", '-'), "refs%2Fpr%2F1");
    }
}
