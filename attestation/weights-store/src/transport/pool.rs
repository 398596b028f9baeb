//! Connections, and those that wait for their next request.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Uri;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use object_store::client::HttpRequestBody;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{is_secured, tls};
use crate::error::Fault;
use crate::limits::Limits;

/// Room for the head of an answer; S3's are below 2 KiB.
const MAX_HEAD_LEN: usize = 32 * 1024;
const MAX_HEADERS: usize = 64;
/// How much is read from a connection at once.
const READ_LEN: usize = 512 * 1024;
/// Most servers close a connection that is quiet for longer.
const IDLE: Duration = Duration::from_secs(4);

/// A server as a connection sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    secured: bool,
    authority: String,
    host: String,
    port: u16,
}

impl Origin {
    pub(super) fn of(uri: &Uri, may_be_plain: bool) -> Result<Self, Fault> {
        let secured = is_secured(uri);
        if !secured && !may_be_plain {
            return Err(Fault::Connect("not an https address".to_owned()));
        }
        let authority = uri.authority().ok_or_else(|| Fault::Connect("no host".to_owned()))?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = authority.port_u16().unwrap_or(if secured { 443 } else { 80 });
        Ok(Self { secured, authority: authority.as_str().to_owned(), host, port })
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }
}

/// What a connection is used again by.
pub(super) struct Key {
    origin: Origin,
    _connection: Connection,
}

/// The task that drives a connection; it ends with its owner.
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An open connection with no request on it.
pub(super) struct Open {
    pub(super) sender: SendRequest<HttpRequestBody>,
    pub(super) key: Key,
}

struct Idle {
    open: Open,
    since: Instant,
}

/// Connections of one store. Cheap to clone; the clones share.
#[derive(Clone)]
pub(super) struct Pool {
    tls: TlsConnector,
    connect_timeout: Duration,
    /// Guards the list alone, for the time of one push or removal.
    idle: Arc<Mutex<Vec<Idle>>>,
}

impl Pool {
    pub(super) fn new(tls: TlsConnector, connect_timeout: Duration) -> Self {
        Self { tls, connect_timeout, idle: Arc::default() }
    }

    /// A connection to `origin`: one that waits, or a new one.
    pub(super) async fn take(&self, origin: Origin) -> Result<Open, Fault> {
        while let Some(mut open) = self.waiting(&origin) {
            if open.sender.ready().await.is_ok() {
                return Ok(open);
            }
        }
        let within = self.connect_timeout;
        let opening = self.connect(origin);
        timeout(within, opening).await.map_err(|_| Fault::Timeout { what: "connection", within })?
    }

    pub(super) fn give_back(&self, open: Open) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < Limits::MAX_IN_FLIGHT {
            idle.push(Idle { open, since: Instant::now() });
        }
    }

    fn waiting(&self, origin: &Origin) -> Option<Open> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|idle| idle.since.elapsed() < IDLE && !idle.open.sender.is_closed());
        let at = idle.iter().position(|idle| idle.open.key.origin == *origin)?;
        Some(idle.swap_remove(at).open)
    }

    async fn connect(&self, origin: Origin) -> Result<Open, Fault> {
        let refused = |error: io::Error| tls::fault(&error);
        let stream = TcpStream::connect((origin.host.as_str(), origin.port)).await.map_err(refused)?;
        stream.set_nodelay(true).map_err(refused)?;
        if !origin.secured {
            return handshake(stream, origin).await;
        }
        let name = ServerName::try_from(origin.host.clone())
            .map_err(|_| Fault::Tls("host is no name for TLS".to_owned()))?;
        handshake(self.tls.connect(name, stream).await.map_err(refused)?, origin).await
    }
}

async fn handshake<S>(stream: S, origin: Origin) -> Result<Open, Fault>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let made = http1::Builder::new()
        .max_buf_size(READ_LEN)
        .max_header_size(MAX_HEAD_LEN)
        .max_headers(MAX_HEADERS)
        .handshake(TokioIo::new(stream))
        .await;
    let (sender, connection) = made.map_err(|error| Fault::Broken(error.to_string()))?;
    // How it ends shows at the sender and at the body.
    let task = tokio::spawn(async move { drop(connection.await) });
    Ok(Open { sender, key: Key { origin, _connection: Connection(task) } })
}
