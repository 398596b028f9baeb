//! The client's end: HTTP/1.1 over TLS 1.3 to a server known by its key, or by a name below authorities of the client's
//! own choice, never by a public authority.
//!
//! A server is known in one of three ways. [`Client::pinned`] is told the key. [`NamedClient`] is told who vouches for
//! the name; it is for services of the operator's own that prove nothing about what they run. An attested server shows
//! evidence first:
//! [`connect_unverified_for_attestation`] gives a [`Connection<Unattested>`] on which nothing but the attestation
//! document can be asked for, and only [`AttestedServer`](crate::AttestedServer), made by
//! [`verify_document`](crate::verify_document), turns it into a connection that carries requests.
//!
//! ```compile_fail
//! # async fn f(mut connection: anchorhold_channel::client::Connection<anchorhold_channel::client::Unattested>) {
//! // A prompt cannot be sent before the server is attested.
//! let _ = connection.post_json("/v1/chat/completions", &[], bytes::Bytes::new()).await;
//! # }
//! ```

mod connection;
mod named;
mod pin;
mod stream;
mod target;

pub use connection::{Answer, Attested, Connection, MayCarryRequests, Named, Pinned, Streaming, Unattested};
pub use named::NamedClient;
pub use stream::AttestedStream;
pub use target::Target;

use crate::AttestedServer;
use anchorhold_rats::{Ed25519PublicKey, Sha256Digest, Timestamp};
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use pin::Pin;
use rustls::pki_types::CertificateDer;
use std::marker::PhantomData;
use std::time::Duration;

/// What a client waits for and takes in.
#[derive(Debug, Clone)]
pub struct Limits {
    /// For the TCP connection and the TLS handshake together.
    pub connect_timeout: Duration,
    /// From the first byte of a request to the last byte of its answer, or to the head of a streamed answer.
    pub request_timeout: Duration,
    /// Between two pieces of a streamed answer.
    pub idle_timeout: Duration,
    /// The longest body of an answer, in bytes; of a streamed answer, all pieces together.
    pub max_body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            max_body_bytes: 8 * 1024 * 1024,
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The target is not of the form that is understood.
    #[error("target is not https://host[:port]")]
    Target,
    /// No TCP connection, or the TLS handshake ended early.
    #[error("cannot connect to {authority}: {source}")]
    Connect {
        /// Host and port.
        authority: String,
        /// What the system or rustls said.
        source: std::io::Error,
    },
    /// The server holds another key than the one wanted.
    #[error("server has TLS key {observed}, wanted {wanted}")]
    OtherKey {
        /// The key that was pinned or attested.
        wanted: Sha256Digest,
        /// The key that the server has shown it holds.
        observed: Sha256Digest,
    },
    /// The attestation that the client rests on is over.
    #[error("attestation expired at {expired}")]
    Expired {
        /// The end of the evidence's certificates.
        expired: Timestamp,
    },
    /// Something took too long.
    #[error("no {what} within {} s", within.as_secs())]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// The time it had.
        within: Duration,
    },
    /// The answer's body is over the limit.
    #[error("answer over the limit of {max_bytes} bytes")]
    TooLong {
        /// The most that is read.
        max_bytes: usize,
    },
    /// A document or authenticator was asked for and the server answered with another status than 200.
    #[error("{what} refused with status {observed}")]
    Status {
        /// What was asked for.
        what: &'static str,
        /// The status that came.
        observed: u16,
    },
    /// The peer holds the TLS key and is not the guest that was attested.
    #[error(transparent)]
    Authenticator(#[from] crate::authenticator::Error),
    /// The peer sent bytes that no request asked for.
    #[error("the server sent bytes that nobody asked for")]
    Unasked,
    /// The system gives no randomness.
    #[error("the system's random generator gave nothing")]
    Random,
    /// Path or header is not valid in a request.
    #[error("path or header not valid in a request")]
    Request,
    /// The HTTP exchange broke.
    #[error("HTTP exchange broken: {0}")]
    Http(#[from] hyper::Error),
    /// The certificate is no X.509 v3 certificate, or TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] crate::tls::Error),
}

/// A server with a known key. Every request takes a connection of its own, so none outlives what it rests on.
pub struct Client<S> {
    target: Target,
    tls_key: Sha256Digest,
    /// Of an attested guest: each connection has to show that it ends there.
    authenticator_key: Option<Ed25519PublicKey>,
    limits: Limits,
    state: PhantomData<S>,
}

impl Client<Pinned> {
    /// A client of the server whose SubjectPublicKeyInfo has this SHA-256 digest.
    ///
    /// *Establishes*, for each connection, that the peer holds that key. *Presumes* that the digest came from where
    /// it can be trusted. Names and dates in the certificate do not matter.
    #[must_use]
    pub const fn pinned(target: Target, tls_key: Sha256Digest, limits: Limits) -> Self {
        Self { target, tls_key, authenticator_key: None, limits, state: PhantomData }
    }

    /// The same, with the key taken from the server's certificate, DER.
    ///
    /// # Errors
    /// [`Error::Tls`] when it is no certificate.
    pub fn pinned_certificate(target: Target, certificate: &[u8], limits: Limits) -> Result<Self, Error> {
        let tls_key = crate::tls::tls_key_of(&CertificateDer::from(certificate))?;
        Ok(Self::pinned(target, tls_key, limits))
    }
}

impl Client<Attested> {
    /// A client of the guest that `server` has been attested to be, as long as the evidence is good.
    ///
    /// # Errors
    /// [`Error::Expired`] when `at` is not before the end of the evidence's certificates.
    pub fn attested(
        target: Target,
        server: &AttestedServer,
        at: Timestamp,
        limits: Limits,
    ) -> Result<Self, Error> {
        if at >= server.expires() {
            return Err(Error::Expired { expired: server.expires() });
        }
        let authenticator_key = Some(server.state().channel.authenticator_key);
        Ok(Self { target, tls_key: server.keys().tls_key, authenticator_key, limits, state: PhantomData })
    }

    /// A new connection as a stream of bytes, for an HTTP/1.1 client of the caller's own: the key was compared and the
    /// authenticator judged before this returns.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), and [`Error::Unasked`].
    pub async fn connect_stream(&self) -> Result<AttestedStream, Error> {
        let key = self.authenticator_key.as_ref();
        let key = key.expect("a client of an attested guest has its authenticator key");
        connection::open_stream(&self.target, self.tls_key, key, &self.limits).await
    }

    /// Where the guest is.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }
}

impl<S: MayCarryRequests> Client<S> {
    /// A new connection, with the key already checked, and the authenticator where the guest was attested.
    ///
    /// # Errors
    /// [`Error::OtherKey`] for another key, [`Error::Authenticator`] for a peer with a stolen one, [`Error::Connect`] and
    /// [`Error::Timeout`] for no connection.
    pub async fn connect(&self) -> Result<Connection<S>, Error> {
        let mut connection = connection::open(&self.target, Pin::Exactly(self.tls_key), &self.limits).await?;
        if let Some(key) = &self.authenticator_key {
            connection.want_authenticator(key).await?;
        }
        Ok(connection)
    }

    /// One GET on a connection of its own.
    ///
    /// # Errors
    /// As [`connect`](Self::connect) and [`Connection::get`].
    pub async fn get(&self, path: &str, headers: &[(HeaderName, HeaderValue)]) -> Result<Answer, Error> {
        self.connect().await?.get(path, headers).await
    }

    /// One POST of JSON bytes on a connection of its own.
    ///
    /// # Errors
    /// As [`connect`](Self::connect) and [`Connection::post_json`].
    pub async fn post_json(
        &self,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        json: Bytes,
    ) -> Result<Answer, Error> {
        self.connect().await?.post_json(path, headers, json).await
    }
}

/// Connects to a server whose key is not known yet. The handshake shows only that the peer holds the key of the
/// certificate it sent; whose key that is, the attestation document has to say.
///
/// # Errors
/// [`Error::Connect`] and [`Error::Timeout`].
pub async fn connect_unverified_for_attestation(
    target: &Target,
    limits: &Limits,
) -> Result<Connection<Unattested>, Error> {
    connection::open(target, Pin::Any, limits).await
}
