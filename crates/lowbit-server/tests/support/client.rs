//! As much of an HTTP client as the tests and the load generator need: a request on a connection of its own.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Sends bytes as they are and reads until the server closes.
pub(crate) fn raw(address: SocketAddr, request: &[u8]) -> io::Result<Reply> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    // A server that has heard enough answers and closes before everything was sent.
    let _ = socket.write_all(request);
    read(&mut socket)
}

/// What a server sends until it closes.
pub(crate) fn read(socket: &mut TcpStream) -> io::Result<Reply> {
    let mut bytes = Vec::new();
    if let Err(error) = socket.read_to_end(&mut bytes)
        && bytes.is_empty()
    {
        return Err(error);
    }
    parse(&bytes)
}

/// The head and body of a request by `method`, with a body of JSON where there is one.
pub(crate) fn request(method: &str, path: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let host = if headers.contains("Host:") { "" } else { "Host: localhost\r\n" };
    format!(
        "{method} {path} HTTP/1.1\r\n{host}{headers}{kind}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

fn parse(bytes: &[u8]) -> io::Result<Reply> {
    let text = String::from_utf8_lossy(bytes);
    let bad = || io::Error::other(format!("no HTTP answer: {text:?}"));
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(bad)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(bad)?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunk(bytes, head.len() + 4) } else { body.to_owned() };
    Ok(Reply { status, head: head.to_owned(), body })
}

fn unchunk(bytes: &[u8], start: usize) -> String {
    let (mut rest, mut body) = (&bytes[start.min(bytes.len())..], Vec::new());
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        let size =
            std::str::from_utf8(&rest[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let Some(size) = size.filter(|size| *size > 0) else { break };
        let data = &rest[end + 2..];
        body.extend_from_slice(&data[..size.min(data.len())]);
        rest = data.get(size + 2..).unwrap_or_default();
    }
    String::from_utf8_lossy(&body).into_owned()
}
