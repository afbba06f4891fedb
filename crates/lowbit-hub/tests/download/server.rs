//! A model hub on a local port, as far as a client can see one: a listing, headers that announce a file, a redirect
//! to another host for large files, ranges, and the ways in which it goes wrong.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest, Sha256};

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub(crate) const REPO: &str = "user/repo";

/// What the server does with the content of a file.
#[derive(Clone, Copy)]
pub(crate) enum Delivery {
    /// All of it, or the range asked for.
    Whole,
    /// The first connection is cut after this many bytes; later ones deliver what is asked for.
    CutOnce(usize),
    /// Every connection is cut after this many bytes.
    CutAlways(usize),
    /// Cut once, and later ranges are ignored: the answer is the whole file.
    CutOnceNoRange(usize),
    /// Nothing more is sent after this many bytes, and the connection stays open.
    Stall(usize),
}

/// How a file is announced.
#[derive(Clone, Copy)]
pub(crate) enum Announce {
    /// As large files are: a redirect to another host, with the SHA-256 in X-Linked-Etag.
    Large,
    /// As small files are: an answer of the hub itself, with git's blob id as ETag.
    Small,
}

#[derive(Clone)]
pub(crate) struct HubFile {
    pub(crate) content: Vec<u8>,
    pub(crate) announce: Announce,
    pub(crate) delivery: Delivery,
    /// The ETag, if it is to differ from the content's.
    pub(crate) etag: Option<String>,
}

impl HubFile {
    pub(crate) fn large(content: &[u8]) -> HubFile {
        HubFile {
            content: content.to_vec(),
            announce: Announce::Large,
            delivery: Delivery::Whole,
            etag: None,
        }
    }

    pub(crate) fn small(content: &[u8]) -> HubFile {
        HubFile { announce: Announce::Small, ..HubFile::large(content) }
    }

    pub(crate) fn delivered(mut self, delivery: Delivery) -> HubFile {
        self.delivery = delivery;
        self
    }

    pub(crate) fn etag(&self) -> String {
        match (&self.etag, self.announce) {
            (Some(etag), _) => etag.clone(),
            (None, Announce::Large) => sha256(&self.content),
            (None, Announce::Small) => git_blob(&self.content),
        }
    }
}

/// A refusal for every request.
#[derive(Clone, Copy)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
}

/// A request as the server saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
}

pub(crate) struct Hub {
    pub(crate) endpoint: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Hub {
    pub(crate) fn start(files: &[(&str, HubFile)]) -> Hub {
        Hub::serve(files, None)
    }

    pub(crate) fn refusing(status: u16, code: &'static str) -> Hub {
        Hub::serve(&[], Some(Refusal { status, code }))
    }

    fn serve(files: &[(&str, HubFile)], refusal: Option<Refusal>) -> Hub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let files = files.iter().map(|(name, file)| ((*name).to_owned(), file.clone())).collect();
        // The second name of the same machine stands for the host that large files are redirected to.
        let state = State { files, refusal, seen: seen.clone(), cdn: format!("http://localhost:{port}") };
        let state = Arc::new(state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = state.clone();
                std::thread::spawn(move || state.answer(stream));
            }
        });
        Hub { endpoint: format!("http://127.0.0.1:{port}"), seen }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Ranges asked for, in order; `None` for the whole file.
    pub(crate) fn ranges(&self) -> Vec<Option<String>> {
        let content = |seen: &Seen| seen.method == "GET" && seen.path.starts_with("/cdn/");
        self.seen()
            .iter()
            .filter(|seen| content(seen))
            .map(|seen| seen.headers.get("range").cloned())
            .collect()
    }
}

struct State {
    files: HashMap<String, HubFile>,
    refusal: Option<Refusal>,
    seen: Arc<Mutex<Vec<Seen>>>,
    cdn: String,
}

impl State {
    fn answer(&self, mut stream: TcpStream) {
        let Some(request) = read_request(&stream) else { return };
        let earlier = {
            let mut seen = self.seen.lock().unwrap();
            let same = |other: &&Seen| other.method == request.method && other.path == request.path;
            let earlier = seen.iter().filter(same).count();
            seen.push(request.clone());
            earlier
        };
        // A client that hangs up in the middle is part of the tests.
        let _ = self.reply(&mut stream, &request, earlier);
    }

    fn reply(&self, stream: &mut TcpStream, request: &Seen, earlier: usize) -> std::io::Result<()> {
        if let Some(Refusal { status, code }) = self.refusal {
            let body = "{\"error\":\"refused by test\"}";
            let length = body.len();
            return write!(
                stream,
                "HTTP/1.1 {status} No\r\nX-Error-Code: {code}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
        }
        let listing = format!("/api/models/{REPO}/revision/");
        if request.path.starts_with(&listing) {
            let mut names: Vec<&String> = self.files.keys().collect();
            names.sort();
            let siblings: Vec<String> =
                names.iter().map(|name| format!("{{\"rfilename\":\"{name}\"}}")).collect();
            let body = format!("{{\"sha\":\"{COMMIT}\",\"siblings\":[{}]}}", siblings.join(","));
            let length = body.len();
            return write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
        }
        let resolve = format!("/{REPO}/resolve/");
        let path = request.path.strip_prefix("/datasets").unwrap_or(&request.path);
        let on_hub = path.strip_prefix(&resolve).and_then(|rest| rest.split_once('/')).map(|(_, name)| name);
        let name = on_hub.or(request.path.strip_prefix("/cdn/")).unwrap_or("");
        let Some(file) = self.files.get(name) else {
            return write!(
                stream,
                "HTTP/1.1 404 No\r\nX-Error-Code: EntryNotFound\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
        };
        let etag = file.etag();
        let length = file.content.len();
        match (on_hub, file.announce) {
            (Some(_), Announce::Large) => write!(
                stream,
                "HTTP/1.1 302 Found\r\nLocation: {}/cdn/{name}?signature=1\r\nX-Repo-Commit: {COMMIT}\r\n\
                 X-Linked-Etag: \"{etag}\"\r\nX-Linked-Size: {length}\r\nETag: \"page\"\r\nContent-Length: 0\r\n\
                 Connection: close\r\n\r\n",
                self.cdn
            ),
            (Some(_), Announce::Small) if request.method == "HEAD" => write!(
                stream,
                "HTTP/1.1 200 OK\r\nX-Repo-Commit: {COMMIT}\r\nETag: W/\"{etag}\"\r\nContent-Length: {length}\r\n\
                 Connection: close\r\n\r\n"
            ),
            _ => deliver(stream, file, request, earlier),
        }
    }
}

fn deliver(stream: &mut TcpStream, file: &HubFile, request: &Seen, earlier: usize) -> std::io::Result<()> {
    let content = &file.content;
    let range =
        request.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
    let mut from = range.map_or(0, |from| from.parse::<usize>().unwrap());
    if matches!(file.delivery, Delivery::CutOnceNoRange(_)) {
        from = 0;
    }
    if from >= content.len() && from > 0 {
        return write!(stream, "HTTP/1.1 416 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let rest = &content[from..];
    let head = match from {
        0 => "200 OK\r\n".to_owned(),
        _ => {
            format!("206 Partial\r\nContent-Range: bytes {from}-{}/{}\r\n", content.len() - 1, content.len())
        }
    };
    write!(stream, "HTTP/1.1 {head}Content-Length: {}\r\nConnection: close\r\n\r\n", rest.len())?;
    let sent = match file.delivery {
        Delivery::CutOnce(bytes) | Delivery::CutOnceNoRange(bytes) if earlier == 0 => bytes,
        Delivery::CutAlways(bytes) | Delivery::Stall(bytes) => bytes,
        _ => rest.len(),
    };
    stream.write_all(&rest[..sent.min(rest.len())])?;
    stream.flush()?;
    if matches!(file.delivery, Delivery::Stall(_)) {
        std::thread::sleep(Duration::from_secs(30));
    }
    Ok(())
}

fn read_request(stream: &TcpStream) -> Option<Seen> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?);
    let mut headers = HashMap::new();
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    Some(Seen { method, path: target.split('?').next()?.to_owned(), headers })
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn git_blob(bytes: &[u8]) -> String {
    let mut hasher = sha1::Sha1::new();
    hasher.update(format!("blob {}\0", bytes.len()));
    hasher.update(bytes);
    hex(&hasher.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
