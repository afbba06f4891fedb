//! Connections: how many, how slow they may be, and how they end when the server is stopped.

use crate::{app::App, routes};
use axum::Extension;
use futures_util::future::{Either, select};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use std::{future::Future, net::IpAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;

/// Who is at the other end.
#[derive(Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// How long to wait where no connection can be taken, as where the system has no more descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// A connection, whatever it goes through.
trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// The connection as it is, or under TLS; `None` where the peer does not manage that in time.
async fn open(socket: TcpStream, tls: Option<TlsAcceptor>, patience: Duration) -> Option<Box<dyn Socket>> {
    let Some(tls) = tls else { return Some(Box::new(socket)) };
    let opened = tokio::time::timeout(patience, tls.accept(socket)).await;
    Some(Box::new(opened.ok()?.ok()?))
}

/// Serves until `stop` comes, then until all connections have had their answers.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    app: Arc<App>,
    stop: impl Future<Output = ()>,
) {
    let router = routes::router(app.clone());
    let places = Arc::new(Semaphore::new(app.limits.connections));
    let graceful = GracefulShutdown::new();
    let mut stop = pin!(stop);
    loop {
        let next = pin!(async {
            let place = places.clone().acquire_owned().await;
            (place, listener.accept().await)
        });
        let Either::Left(((place, accepted), _)) = select(next, &mut stop).await else { break };
        let (Ok(place), Ok((socket, peer))) = (place, accepted) else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        // Small pieces of a stream are to arrive when they are made.
        let _ = socket.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone().layer(Extension(Peer(peer.ip()))));
        let (watcher, tls, patience) = (graceful.watcher(), tls.clone(), app.limits.header);
        tokio::spawn(async move {
            // What a connection ends with, nobody is there to be told.
            if let Some(socket) = open(socket, tls, patience).await {
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(patience)
                    .max_headers(64)
                    .serve_connection(TokioIo::new(socket), service);
                let _ = watcher.watch(connection).await;
            }
            drop(place);
        });
    }
    drop(listener);
    app.models.drain();
    let _ = tokio::time::timeout(app.limits.drain, graceful.shutdown()).await;
}
