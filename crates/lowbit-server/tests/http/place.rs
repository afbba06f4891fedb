//! A server on a free port with a tiny model.

use crate::client::{Reply, raw, request};
use lowbit_engine::{LoadOptions, Model};
use lowbit_kernels::{Ctx, Isa};
use lowbit_server::{
    Exposure, Limits, Loader, ModelEntry, Residency, SchedulerOptions, ServeError, Server, ServerOptions,
    Stop,
};
use lowbit_testing::{Template, tiny_gguf};
use serde_json::Value;
use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tempfile::TempDir;

pub(crate) struct Place {
    pub(crate) address: SocketAddr,
    pub(crate) stop: Stop,
    thread: Option<JoinHandle<()>>,
    /// Has the models' file.
    _folder: TempDir,
}

/// With two models of one file.
pub(crate) fn options(path: &Path) -> ServerOptions {
    let entry = |id: &str| ModelEntry { id: id.into(), path: path.to_owned() };
    ServerOptions {
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        exposure: Exposure::Protected,
        tls: None,
        api_key: None,
        hosts: Vec::new(),
        models: vec![entry("tiny"), entry("other")],
        residency: Residency { bytes: 0, idle: Duration::ZERO },
        scheduler: SchedulerOptions::default(),
        speculation: None,
        limits: Limits::default(),
    }
}

pub(crate) fn model() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    tiny_gguf(Template::Chat).write(&path).unwrap();
    (folder, path)
}

pub(crate) fn bind(options: ServerOptions) -> Result<Server, ServeError> {
    let loader: Loader = Box::new(|ctx, path| {
        Model::load(ctx, path, LoadOptions::default()).map_err(|error| error.to_string())
    });
    Server::bind(loader, Arc::new(Ctx::new(Isa::detect(), 1)), options)
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut ServerOptions)) -> Self {
        let (folder, path) = model();
        let mut options = options(&path);
        change(&mut options);
        let server = bind(options).unwrap();
        let (address, stop) = (server.address(), server.stopper());
        let thread = Some(std::thread::spawn(move || server.run().unwrap()));
        Self { address, stop, thread, _folder: folder }
    }

    pub(crate) fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Reply {
        raw(self.address, &request(method, path, headers, body)).unwrap()
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, "", &body.to_string())
    }

    /// An answer that must succeed.
    pub(crate) fn json(&self, path: &str, body: &Value) -> Value {
        let reply = self.post(path, body);
        assert_eq!(reply.status, 200, "{body}: {reply:?}");
        serde_json::from_str(&reply.body).unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        let reply = self.send("GET", path, "", "");
        (reply.status, serde_json::from_str(&reply.body).unwrap())
    }

    /// A connection with a request on it, for who does not wait for the answer.
    pub(crate) fn open(&self, request: &[u8]) -> TcpStream {
        let mut socket = TcpStream::connect(self.address).unwrap();
        socket.write_all(request).unwrap();
        socket
    }

    /// Waits until the page of metrics has a figure of the first model.
    pub(crate) fn wait_for(&self, figure: &str) {
        let start = Instant::now();
        let line = figure.replacen(' ', "{model=\"tiny\"} ", 1);
        while !self.send("GET", "/metrics", "", "").body.lines().any(|known| known == line) {
            assert!(start.elapsed() < Duration::from_secs(20), "{line} does not come");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stop.stop();
        if !std::thread::panicking() {
            self.join();
        }
    }
}
