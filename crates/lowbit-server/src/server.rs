//! A server from its options to its end.

use crate::{
    app::App,
    connection,
    models::{Loader, ModelEntry, Models, Residency},
    tls::TlsFiles,
};
use futures_util::future::select;
use lowbit_engine::{Speculation, scheduler::SchedulerOptions};
use lowbit_kernels::Ctx;
use std::{
    net::{SocketAddr, TcpListener},
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

/// What a server is to be.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// Whether it may listen to other machines without a key.
    pub exposure: Exposure,
    /// With which certificate it speaks TLS; without one it speaks plain HTTP.
    pub tls: Option<TlsFiles>,
    /// What clients have to send as `Authorization: Bearer KEY`, but for `/health`.
    pub api_key: Option<String>,
    /// Names by which clients may call this machine, beside addresses and `localhost`.
    pub hosts: Vec<String>,
    /// The models; the first is loaded at once, the others when they are asked for.
    pub models: Vec<ModelEntry>,
    /// How many of them may be loaded.
    pub residency: Residency,
    /// How answers are computed.
    pub scheduler: SchedulerOptions,
    /// What guesses answers ahead, where anything does. A draft model must be of the vocabulary of every model.
    pub speculation: Option<Speculation>,
    /// What clients may take.
    pub limits: Limits,
}

/// Whether a server may be reached by everyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// Only from this machine, or with a key.
    Protected,
    /// From other machines without a key.
    Open,
}

/// What clients may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a body.
    pub body_bytes: usize,
    /// Choices (`n`) of a request.
    pub choices: usize,
    /// Connections at once; others wait to be taken.
    pub connections: usize,
    /// Time for the head of a request.
    pub header: Duration,
    /// Time for its body.
    pub body: Duration,
    /// Time for an answer, waiting included.
    pub answer: Duration,
    /// Time for answers after the server was asked to stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 4 << 20,
            choices: 16,
            connections: 256,
            header: Duration::from_secs(15),
            body: Duration::from_secs(30),
            answer: Duration::from_secs(600),
            drain: Duration::from_secs(60),
        }
    }
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// It would be reached by everyone.
    #[error(
        "{address} can be reached by other machines, and there is no key; give one with --api-key, or say --insecure-no-key"
    )]
    Unprotected {
        /// The address.
        address: SocketAddr,
    },
    /// A key that no client could send.
    #[error("the key has characters that no HTTP header can have, or is empty; use letters and digits")]
    Key,
    /// The address cannot be listened at.
    #[error("cannot listen at {address}: {source}; another --port may be free")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// Threads or signals cannot be had.
    #[error("cannot start the server: {0}")]
    Runtime(#[from] std::io::Error),
    /// The certificate or its key cannot be used.
    #[error("TLS: {0}")]
    Tls(String),
    /// The first model cannot be served.
    #[error("{0}")]
    Model(String),
}

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    context: usize,
    app: Arc<App>,
    stop: Stop,
}

/// How often models that nobody uses are looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// Asks a server to stop, from any thread.
#[derive(Clone, Default)]
pub struct Stop(Arc<Notify>);

impl Stop {
    /// No more requests are taken; those that are there are answered.
    pub fn stop(&self) {
        self.0.notify_one();
    }
}

impl Server {
    /// Listens; nothing is answered before [`run`](Self::run).
    ///
    /// # Errors
    /// Where the address is taken or would be open to everyone, or the first model cannot be loaded or has no tokenizer.
    pub fn bind(loader: Loader, ctx: Arc<Ctx>, options: ServerOptions) -> Result<Self, ServeError> {
        let ServerOptions { address, exposure, tls, api_key, hosts, models, limits, .. } = options;
        if !address.ip().is_loopback() && api_key.is_none() && exposure == Exposure::Protected {
            return Err(ServeError::Unprotected { address });
        }
        let sendable = |key: &String| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
        if api_key.as_ref().is_some_and(|key| !sendable(key)) {
            return Err(ServeError::Key);
        }
        let tls = tls.map(|files| files.acceptor()).transpose().map_err(ServeError::Tls)?;
        let bind = |source| ServeError::Bind { address, source };
        let listener = TcpListener::bind(address).map_err(bind)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        if models.is_empty() {
            return Err(ServeError::Model("there is no model to serve".into()));
        }
        let models = Arc::new(Models::new(
            models,
            loader,
            ctx,
            (options.scheduler, options.speculation),
            options.residency,
        ));
        let first = models.load(0).map_err(|error| ServeError::Model(error.to_string()))?;
        let context = first.context();
        let app = App { models, api_key, hosts, limits, embedding: Mutex::default() };
        Ok(Self { listener, address, tls, context, app: Arc::new(app), stop: Stop::default() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Most tokens of prompt and answer together, of the first model.
    pub fn context(&self) -> usize {
        self.context
    }

    /// What stops it.
    pub fn stopper(&self) -> Stop {
        self.stop.clone()
    }

    /// Answers until [`Stop::stop`], SIGTERM or Ctrl-C, then until all that was asked is answered, as long as
    /// [`Limits::drain`] allows.
    ///
    /// # Errors
    /// Where threads or signals cannot be had.
    pub fn run(self) -> Result<(), ServeError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .thread_name("lowbit-http")
            .build()?;
        let Self { listener, tls, app, stop, .. } = self;
        let served: Result<(), ServeError> = runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let mut signals = Signals::new()?;
            let sweeping = app.models.clone();
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(SWEEP).await;
                    let models = sweeping.clone();
                    let _ = tokio::task::spawn_blocking(move || models.sweep()).await;
                }
            });
            let asked = async {
                select(pin!(stop.0.notified()), pin!(signals.next())).await;
            };
            connection::serve(listener, tls, app, asked).await;
            Ok(())
        });
        // Answers that are still being computed then are given up.
        runtime.shutdown_timeout(Duration::from_secs(1));
        served
    }
}

/// SIGTERM and Ctrl-C.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        #[cfg(unix)]
        let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        Ok(Self {
            #[cfg(unix)]
            terminate,
        })
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        select(pin!(tokio::signal::ctrl_c()), pin!(self.terminate.recv())).await;
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    }
}
