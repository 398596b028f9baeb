//! Attested connections for HTTP clients that are not ours.

use anchorhold_channel::client::{Attested, AttestedStream, Client, Error};
use anchorhold_rats::Timestamp;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};

/// Until when new connections may rest on one attestation, in seconds of the Unix epoch. Ended by a later verdict.
#[derive(Debug)]
pub(crate) struct Lease(AtomicI64);

impl Lease {
    pub(crate) const fn until(end: Timestamp) -> Self {
        Self(AtomicI64::new(end.unix_seconds()))
    }

    /// The same guest was accepted again.
    pub(crate) fn renew(&self, end: Timestamp) {
        self.0.store(end.unix_seconds(), Ordering::Release);
    }

    pub(crate) fn end(&self) {
        self.0.store(i64::MIN, Ordering::Release);
    }

    fn holds(&self, now: Timestamp) -> bool {
        now.unix_seconds() < self.0.load(Ordering::Acquire)
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The request is for another host than the attested one.
    #[error("the request is for another host than the attested one")]
    OtherHost,
    /// The attestation has ended, or a later verdict was not `accepted`.
    #[error("the attestation has ended")]
    Ended,
    /// No connection to the attested guest.
    #[error(transparent)]
    Connection(#[from] Error),
}

/// What one attestation allows: connections to the guest that was attested, each of which shows its key and an authenticator
/// before HTTP sees it. For `hyper_util::client::legacy::Client` with URIs of the target; HTTP/1.1 only.
///
/// It opens nothing once the evidence has ended or a later verdict refused the server. Connections that are open, in the pool
/// of a client, stay so; [`VerifiedUpstream`](crate::VerifiedUpstream) as a service has a pool that ends with the attestation.
#[derive(Clone)]
pub struct AttestedConnector {
    client: Arc<Client<Attested>>,
    lease: Arc<Lease>,
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl fmt::Debug for AttestedConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AttestedConnector({})", self.client.target())
    }
}

impl AttestedConnector {
    pub(crate) fn new(
        client: Client<Attested>,
        lease: Arc<Lease>,
        now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    ) -> Self {
        Self { client: Arc::new(client), lease, now }
    }

    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    fn is_for(&self, uri: &Uri) -> bool {
        let target = self.client.target();
        let host = uri.host().map(|host| host.trim_start_matches('[').trim_end_matches(']'));
        uri.scheme_str() == Some("https")
            && host == Some(target.host())
            && uri.port_u16().unwrap_or(443) == target.port()
    }
}

impl tower::Service<Uri> for AttestedConnector {
    type Response = Link;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Link, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            if !connector.is_for(&uri) {
                return Err(ConnectError::OtherHost);
            }
            if !connector.lease.holds((connector.now)()) {
                return Err(ConnectError::Ended);
            }
            Ok(Link(TokioIo::new(connector.client.connect_stream().await?)))
        })
    }
}

/// One attested connection.
#[derive(Debug)]
pub struct Link(TokioIo<AttestedStream>);

impl Connection for Link {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl Write for Link {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }
}
