//! The accept loop: TLS, HTTP/1.1 and HTTP/2 for one router, with every wait and size bounded.

mod patient;
mod unread;

use crate::authenticator::Exporters;
use crate::peer::PeerCertificate;
use crate::tls::ALPN_H2;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use patient::Patient;
use rustls::ServerConfig;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt as _;
use unread::Unread;

/// hyper accepts no smaller HTTP/1 buffer.
const MIN_HEADER_BYTES: usize = 8 * 1024;
/// How long to wait after `accept` failed, for lack of descriptors for instance, before it is tried again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What one listener takes. All sizes are in bytes.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at one time; one more is closed before its handshake.
    pub max_connections: usize,
    /// From `accept` to the end of the TLS handshake.
    pub handshake_timeout: Duration,
    /// For the first request head to be complete, and on HTTP/1.1 for each further one, idle time included.
    pub header_timeout: Duration,
    /// Most bytes of an HTTP/1.1 request head or an HTTP/2 header list; at least 8 KiB.
    pub max_header_bytes: u32,
    /// Most header fields of an HTTP/1.1 request.
    pub max_headers: usize,
    /// Requests running at once on one HTTP/2 connection.
    pub max_h2_streams: u32,
    /// Streams that an HTTP/2 peer may reset before they are taken up, and errors it may cause, before it is cut off
    /// (CVE-2023-44487, rapid reset).
    pub max_h2_resets: usize,
    /// Between pings to an HTTP/2 peer, and how long each may stay unanswered.
    pub h2_ping: Duration,
    /// For a peer to take something of what waits to be sent to it, before it is cut off.
    pub write_timeout: Duration,
    /// For running requests to finish once shutdown has begun; what is left then is cut off.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(30),
            max_header_bytes: 32 * 1024,
            max_headers: 100,
            max_h2_streams: 128,
            max_h2_resets: 32,
            h2_ping: Duration::from_secs(20),
            write_timeout: Duration::from_secs(60),
            drain: Duration::from_secs(30),
        }
    }
}

/// What a listener saw from start to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Served {
    /// Connections that were taken on.
    pub connections: u64,
    /// Connections closed because [`Limits::max_connections`] were open.
    pub over_limit: u64,
    /// Connections still busy when [`Limits::drain`] was over, and cut off.
    pub cut_off: usize,
}

struct Shared {
    acceptor: TlsAcceptor,
    router: Router,
    limits: Limits,
    http1: auto::Builder<TokioExecutor>,
    http2: auto::Builder<TokioExecutor>,
}

/// Serves `router` on `listener` until `shutdown` completes, then finishes what runs and returns.
///
/// Handlers find the peer with axum's `ConnectInfo<SocketAddr>`, its certificate, if it has shown one, with
/// `Extension<PeerCertificate>`, and what the connection exports for authenticators as
/// an extension of type `Arc<Exporters>`. A peer that speaks no TLS 1.3 gets an alert and is
/// closed. The version of HTTP follows ALPN; without ALPN it is HTTP/1.1.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    router: Router,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) -> Served {
    let slots = Arc::new(Semaphore::new(limits.max_connections));
    let (http1, http2) = (http1(&limits), http2(&limits));
    let shared = Arc::new(Shared { acceptor: tls.into(), router, limits, http1, http2 });
    let graceful = GracefulShutdown::new();
    let mut tasks = JoinSet::new();
    let mut served = Served::default();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = tasks.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            served.over_limit += 1;
            continue;
        };
        served.connections += 1;
        tasks.spawn(connection(Arc::clone(&shared), stream, peer, slot, graceful.watcher()));
    }
    drop(listener);
    if timeout(shared.limits.drain, graceful.shutdown()).await.is_err() {
        while tasks.try_join_next().is_some() {}
        served.cut_off = tasks.len();
    }
    tasks.shutdown().await;
    served
}

fn http1(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(limits.max_headers)
        .max_buf_size(usize::try_from(limits.max_header_bytes).unwrap_or(usize::MAX).max(MIN_HEADER_BYTES));
    builder
}

fn http2(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new()).http2_only();
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_h2_streams)
        .max_header_list_size(limits.max_header_bytes)
        .max_pending_accept_reset_streams(limits.max_h2_resets)
        .max_local_error_reset_streams(limits.max_h2_resets)
        .keep_alive_interval(limits.h2_ping)
        .keep_alive_timeout(limits.h2_ping);
    builder
}

/// One connection from handshake to close; holds its slot all the while.
async fn connection(
    shared: Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
    slot: OwnedSemaphorePermit,
    watcher: Watcher,
) {
    // Tokens leave one by one; Nagle's algorithm would hold them back. Without it they are late, not wrong.
    let _ = stream.set_nodelay(true);
    let stream = Patient::new(stream, shared.limits.write_timeout);
    let handshake = timeout(shared.limits.handshake_timeout, shared.acceptor.accept(stream)).await;
    if let Ok(Ok(stream)) = handshake {
        requests(&shared, stream, peer, watcher).await;
    }
    drop(slot);
}

async fn requests(
    shared: &Shared,
    stream: TlsStream<Patient<TcpStream>>,
    peer: SocketAddr,
    watcher: Watcher,
) {
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(ALPN_H2);
    let builder = if is_h2 { &shared.http2 } else { &shared.http1 };
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let shown = shown.map(|certificate| PeerCertificate::new(certificate.clone().into_owned()));
    let first = Arc::new(Notify::new());
    let (router, seen) = (shared.router.clone(), Arc::clone(&first));
    // Every handshake that ends is TLS 1.3, and exports.
    let exporters = {
        let tls = stream.get_ref().1;
        Exporters::new(tls, |out, label| tls.export_keying_material(out, label, None)).ok().map(Arc::new)
    };
    let service = service_fn(move |request: http::Request<Incoming>| {
        seen.notify_one();
        let (mut request, unread) =
            if is_h2 { (request.map(Body::new), Unread::Finished) } else { Unread::of(request) };
        request.extensions_mut().insert(ConnectInfo(peer));
        if let Some(shown) = &shown {
            request.extensions_mut().insert(shown.clone());
        }
        if let Some(exporters) = &exporters {
            request.extensions_mut().insert(Arc::clone(exporters));
        }
        let answer = router.clone().oneshot(request);
        async move {
            answer.await.map(|mut response| {
                unread.tell(&mut response);
                response
            })
        }
    });
    let mut serving = pin!(watcher.watch(builder.serve_connection(TokioIo::new(stream), service)));
    // hyper bounds the wait for a head on HTTP/1.1 only; this bounds the wait for the first one on both.
    let first_came = tokio::select! {
        _ = &mut serving => return,
        came = timeout(shared.limits.header_timeout, first.notified()) => came.is_ok(),
    };
    if first_came {
        // How a connection ends is the peer's business: there is nobody left to tell.
        let _ = serving.await;
    }
}

/// Why a request body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Longer than the limit.
    #[error("body over the limit of {max_bytes} bytes")]
    TooLong {
        /// The most that is read.
        max_bytes: usize,
    },
    /// Not complete in time.
    #[error("body not complete within {} s", within.as_secs())]
    TooSlow {
        /// The time it had.
        within: Duration,
    },
    /// The connection or the framing broke.
    #[error("body broken off")]
    Broken,
}

/// Reads a whole body of at most `max_bytes` bytes within `within`. A declared length over the limit is refused before a
/// byte is read.
///
/// # Errors
/// [`BodyError`].
pub async fn read_body(body: Body, max_bytes: usize, within: Duration) -> Result<Bytes, BodyError> {
    if body.size_hint().lower() > max_bytes as u64 {
        return Err(BodyError::TooLong { max_bytes });
    }
    match timeout(within, Limited::new(body, max_bytes).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLong { max_bytes }),
        Ok(Err(_)) => Err(BodyError::Broken),
        Err(_) => Err(BodyError::TooSlow { within }),
    }
}
