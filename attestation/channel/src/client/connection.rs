//! One TLS connection and what may be asked on it.

use super::pin::{self, Pin, Seen};
use super::stream::AttestedStream;
use super::{Error, Limits, Target};
use crate::authenticator::{self, Exporters};
use crate::{AttestedServer, document, tls};
use anchorhold_rats::{Ed25519PublicKey, Nonce, Sha256Digest};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A connection on which only the attestation document can be asked for.
#[derive(Debug)]
pub enum Unattested {}
/// A connection to a guest that evidence has vouched for, by its TLS key and by an authenticator.
#[derive(Debug)]
pub enum Attested {}
/// A connection to a key that was known beforehand.
#[derive(Debug)]
pub enum Pinned {}
/// A connection to a server that an authority of the client's own choice vouches for by name.
#[derive(Debug)]
pub enum Named {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Attested {}
    impl Sealed for super::Pinned {}
    impl Sealed for super::Named {}
}

/// The connections whose peer is known: [`Attested`], [`Pinned`] and [`Named`], and no others.
pub trait MayCarryRequests: sealed::Sealed {}
impl MayCarryRequests for Attested {}
impl MayCarryRequests for Pinned {}
impl MayCarryRequests for Named {}

/// An open connection; `S` says what is known of the peer. Requests run one after the other.
pub struct Connection<S> {
    sender: SendRequest<Full<Bytes>>,
    tls_key: Sha256Digest,
    certificate: CertificateDer<'static>,
    exporters: Exporters,
    authority: String,
    limits: Limits,
    state: PhantomData<S>,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status; redirects are not followed.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// An answer whose body comes in pieces, such as server-sent events.
pub struct Streaming {
    /// The status; redirects are not followed.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    body: Limited<Incoming>,
    max_bytes: usize,
    idle: Duration,
}

impl Streaming {
    /// The next piece as it arrived, or `None` at the end.
    ///
    /// # Errors
    /// [`Error::Timeout`] after [`Limits::idle_timeout`], [`Error::TooLong`] over [`Limits::max_body_bytes`],
    /// [`Error::Http`] when the stream breaks off.
    pub async fn next_piece(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let waited = timeout(self.idle, self.body.frame()).await;
            let frame =
                waited.map_err(|_| Error::Timeout { what: "piece of the answer", within: self.idle })?;
            let Some(frame) = frame else { return Ok(None) };
            // Trailers carry nothing that anyone here asks for.
            if let Ok(data) = frame.map_err(|e| body_error(e, self.max_bytes))?.into_data() {
                return Ok(Some(data));
            }
        }
    }
}

/// [`Limited`] fails with the inner body's error or for the limit, and in no other way.
fn body_error(error: Box<dyn std::error::Error + Send + Sync>, max_bytes: usize) -> Error {
    match error.downcast::<hyper::Error>() {
        Ok(error) => Error::Http(*error),
        Err(_) => Error::TooLong { max_bytes },
    }
}

/// Opens a connection and checks the peer's key against `pin`. Private to the crate: only callers that have a right to
/// the state `S` may name it.
pub(super) async fn open<S>(target: &Target, pin: Pin, limits: &Limits) -> Result<Connection<S>, Error> {
    let seen = Seen::default();
    let config = pin::config(pin, seen.clone())?;
    open_with(target, config, limits).await.map_err(|error| match (pin, seen.get()) {
        (Pin::Exactly(wanted), Some(observed)) if wanted != *observed => {
            Error::OtherKey { wanted, observed: *observed }
        }
        _ => error,
    })
}

/// Opens a connection to whom `config` accepts. Private to the crate as [`open`] is.
pub(super) async fn open_with<S>(
    target: &Target,
    config: Arc<ClientConfig>,
    limits: &Limits,
) -> Result<Connection<S>, Error> {
    let within = limits.connect_timeout;
    let opening = open_unbounded(target, config, limits);
    timeout(within, opening).await.map_err(|_| Error::Timeout { what: "connection", within })?
}

async fn open_unbounded<S>(
    target: &Target,
    config: Arc<ClientConfig>,
    limits: &Limits,
) -> Result<Connection<S>, Error> {
    let (connection, driver) = begin(target, config, limits).await?;
    // The task ends when the sender and the last body are gone; its error shows at the sender.
    tokio::spawn(driver);
    Ok(connection)
}

/// What moves the bytes of one connection.
type Driver = http1::Connection<TokioIo<TlsStream<TcpStream>>, Full<Bytes>>;

/// TCP, TLS and the state of HTTP; nothing moves before the driver is polled.
async fn begin<S>(
    target: &Target,
    config: Arc<ClientConfig>,
    limits: &Limits,
) -> Result<(Connection<S>, Driver), Error> {
    let authority = target.authority();
    let connect_error = |source| Error::Connect { authority: authority.clone(), source };
    let stream = TcpStream::connect((target.host(), target.port())).await.map_err(connect_error)?;
    stream.set_nodelay(true).map_err(connect_error)?;
    let connector = TlsConnector::from(config);
    let stream = connector.connect(target.server_name()?, stream).await.map_err(connect_error)?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let certificate = certificate.ok_or_else(|| connect_error(io::ErrorKind::InvalidData.into()))?;
    let tls_key = tls::tls_key_of(certificate)?;
    let certificate = certificate.clone().into_owned();
    let tls = stream.get_ref().1;
    let exporters = Exporters::new(tls, |out, label| tls.export_keying_material(out, label, None))?;
    let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
    let limits = limits.clone();
    Ok((
        Connection { sender, tls_key, certificate, exporters, authority, limits, state: PhantomData },
        driver,
    ))
}

/// Opens a connection to the key `wanted`, has the peer show that it ends in the guest with the authenticator key `key`, and
/// gives the connection back as a stream of bytes on which no other request has been made. Private to the crate as [`open`] is.
pub(super) async fn open_stream(
    target: &Target,
    wanted: Sha256Digest,
    key: &Ed25519PublicKey,
    limits: &Limits,
) -> Result<AttestedStream, Error> {
    let seen = Seen::default();
    let config = pin::config(Pin::Exactly(wanted), seen.clone())?;
    let within = limits.connect_timeout;
    let opening = async {
        let (mut connection, driver) = begin::<Attested>(target, config, limits).await?;
        let exchange = async move {
            let outcome = connection.want_authenticator(key).await;
            // Without a sender the driver ends, and the stream below it is free.
            drop(connection);
            outcome
        };
        let moving = async { driver.without_shutdown().await.map_err(Error::from) };
        let (parts, ()) = tokio::try_join!(moving, exchange)?;
        // Bytes that nobody asked for would be read as the beginning of the next answer.
        if parts.read_buf.is_empty() {
            Ok(AttestedStream::new(parts.io.into_inner()))
        } else {
            Err(Error::Unasked)
        }
    };
    let opened = timeout(within, opening).await.map_err(|_| Error::Timeout { what: "connection", within })?;
    opened.map_err(|error| match seen.get() {
        Some(observed) if *observed != wanted => Error::OtherKey { wanted, observed: *observed },
        _ => error,
    })
}

impl<S> Connection<S> {
    /// SHA-256 of the SubjectPublicKeyInfo of the key that the peer has shown it holds.
    #[must_use]
    pub const fn tls_key(&self) -> Sha256Digest {
        self.tls_key
    }

    /// The certificate that it has shown, DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    async fn send(
        &mut self,
        (method, path): (Method, &str),
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Result<Response<Incoming>, Error> {
        let mut builder = Request::builder().method(method).uri(path).header(header::HOST, &self.authority);
        for (name, value) in headers {
            builder = builder.header(name, value);
        }
        let request = builder.body(Full::new(body)).map_err(|_| Error::Request)?;
        // An absolute-form target would name another host than the one that was checked.
        if request.uri().authority().is_some() || !path.starts_with('/') {
            return Err(Error::Request);
        }
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?)
    }

    async fn answer(
        &mut self,
        request: (Method, &str),
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
        max_bytes: usize,
    ) -> Result<Answer, Error> {
        let within = self.limits.request_timeout;
        let exchange = async {
            let (head, body) = self.send(request, headers, body).await?.into_parts();
            let body = Limited::new(body, max_bytes).collect().await;
            let body = body.map_err(|e| body_error(e, max_bytes))?.to_bytes();
            Ok(Answer { status: head.status, headers: head.headers, body })
        };
        timeout(within, exchange).await.map_err(|_| Error::Timeout { what: "answer", within })?
    }
}

impl Connection<Unattested> {
    /// The attestation document for `nonce`, unread and untrusted.
    ///
    /// # Errors
    /// [`Error::Status`] for anything but 200, and the errors of an exchange.
    pub async fn fetch_document(&mut self, nonce: &Nonce) -> Result<Bytes, Error> {
        let path = document::path_for(nonce);
        let answer =
            self.answer((Method::GET, &path), &[], Bytes::new(), document::MAX_DOCUMENT_BYTES).await?;
        if answer.status == StatusCode::OK {
            Ok(answer.body)
        } else {
            Err(Error::Status { what: "attestation document", observed: answer.status.as_u16() })
        }
    }

    /// Opens this connection for requests: `server` was attested to hold this very connection's TLS key, and its
    /// authenticator key signs for this very connection.
    ///
    /// # Errors
    /// [`Error::OtherKey`] when it was attested to hold another TLS key, [`Error::Authenticator`] when the peer is not the guest
    /// itself, and the errors of an exchange.
    pub async fn authenticate(mut self, server: &AttestedServer) -> Result<Connection<Attested>, Error> {
        let wanted = server.keys().tls_key;
        if wanted != self.tls_key {
            return Err(Error::OtherKey { wanted, observed: self.tls_key });
        }
        self.want_authenticator(&server.state().channel.authenticator_key).await?;
        let Self { sender, tls_key, certificate, exporters, authority, limits, state: _ } = self;
        Ok(Connection { sender, tls_key, certificate, exporters, authority, limits, state: PhantomData })
    }
}

impl<S> Connection<S> {
    /// Asks the peer for an authenticator of this connection and judges it.
    pub(super) async fn want_authenticator(&mut self, key: &Ed25519PublicKey) -> Result<(), Error> {
        let nonce = Nonce::random().map_err(|_| Error::Random)?;
        let request = authenticator::Request::new(&nonce);
        let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static(authenticator::CONTENT_TYPE))];
        let body = Bytes::copy_from_slice(request.to_bytes());
        let most = authenticator::MAX_AUTHENTICATOR_BYTES;
        let answer = self.answer((Method::POST, authenticator::PATH), &content_type, body, most).await?;
        if answer.status != StatusCode::OK {
            return Err(Error::Status { what: "authenticator", observed: answer.status.as_u16() });
        }
        Ok(authenticator::verify(&self.exporters, &request, &answer.body, key)?)
    }
}

impl<S: MayCarryRequests> Connection<S> {
    /// A GET; the answer's status is the caller's to judge.
    ///
    /// # Errors
    /// [`Error`]: timeouts, limits, a broken exchange.
    pub async fn get(&mut self, path: &str, headers: &[(HeaderName, HeaderValue)]) -> Result<Answer, Error> {
        let max_bytes = self.limits.max_body_bytes;
        self.answer((Method::GET, path), headers, Bytes::new(), max_bytes).await
    }

    /// A DELETE; the answer's status is the caller's to judge.
    ///
    /// # Errors
    /// [`Error`]: timeouts, limits, a broken exchange.
    pub async fn delete(
        &mut self,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Answer, Error> {
        let max_bytes = self.limits.max_body_bytes;
        self.answer((Method::DELETE, path), headers, Bytes::new(), max_bytes).await
    }

    /// A POST of JSON bytes; the answer's status is the caller's to judge.
    ///
    /// # Errors
    /// [`Error`]: timeouts, limits, a broken exchange.
    pub async fn post_json(
        &mut self,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        json: Bytes,
    ) -> Result<Answer, Error> {
        let max_bytes = self.limits.max_body_bytes;
        self.answer((Method::POST, path), &with_json(headers), json, max_bytes).await
    }

    /// A POST of JSON bytes whose answer is read piece by piece, such as server-sent events.
    ///
    /// # Errors
    /// [`Error`]: timeouts, a broken exchange.
    pub async fn post_json_streaming(
        &mut self,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        json: Bytes,
    ) -> Result<Streaming, Error> {
        let (within, idle) = (self.limits.request_timeout, self.limits.idle_timeout);
        let max_bytes = self.limits.max_body_bytes;
        let headers = with_json(headers);
        let head = timeout(within, self.send((Method::POST, path), &headers, json)).await;
        let (head, body) = head.map_err(|_| Error::Timeout { what: "answer", within })??.into_parts();
        let body = Limited::new(body, max_bytes);
        Ok(Streaming { status: head.status, headers: head.headers, body, max_bytes, idle })
    }
}

fn with_json(headers: &[(HeaderName, HeaderValue)]) -> Vec<(HeaderName, HeaderValue)> {
    let mut all = headers.to_vec();
    all.push((header::CONTENT_TYPE, HeaderValue::from_static("application/json")));
    all
}
