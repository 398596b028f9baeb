//! HTTP/1.1 over TLS, one connection for each request.

use crate::transport::{Answer, Request, Transport, TransportError};
use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderValue, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Body as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

/// Room for the head of an answer. Intel's issuer chains take some 4 KiB in percent encoding.
const MAX_HEAD_BYTES: usize = 64 * 1024;
const MAX_HEADERS: usize = 64;

/// The transport over the network: TLS 1.2 or 1.3 to servers that a public authority names, or plain HTTP where the base URL
/// says so.
///
/// The authorities are Mozilla's, compiled in (crate `webpki-roots`, kept by the makers of rustls): a minimal image has no
/// store of its own, and endorsements are signed and judged later, so a wrong authority could see what is asked and withhold
/// answers, but forge none.
#[derive(Clone)]
pub struct HttpsTransport {
    tls: TlsConnector,
}

impl HttpsTransport {
    /// With Mozilla's authorities.
    ///
    /// # Errors
    /// [`rustls::Error`] when TLS cannot be set up.
    pub fn new() -> Result<Self, rustls::Error> {
        Self::with_roots(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })
    }

    /// With these authorities and no others, for a PCCS or mirror below a private one.
    ///
    /// # Errors
    /// [`rustls::Error`] when TLS cannot be set up.
    pub fn with_roots(roots: RootCertStore) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { tls: TlsConnector::from(Arc::new(config)) })
    }
}

impl Transport for HttpsTransport {
    async fn send(&self, request: &Request) -> Result<Answer, TransportError> {
        let connect = |error: &io::Error| TransportError::Connect(describe(error));
        let authority = request.url.authority().ok_or_else(|| TransportError::Connect("no host".into()))?;
        let host = authority.host().trim_matches(['[', ']']);
        let encrypted = request.url.scheme() != Some(&Scheme::HTTP);
        let port = authority.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await.map_err(|error| connect(&error))?;
        stream.set_nodelay(true).map_err(|error| connect(&error))?;
        if !encrypted {
            return exchange(stream, request).await;
        }
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| TransportError::Connect("host is no name for TLS".into()))?;
        let stream = self.tls.connect(name, stream).await.map_err(|error| connect(&error))?;
        exchange(stream, request).await
    }
}

/// What the system or rustls said, without the names that a certificate holds.
fn describe(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(reason)) => match reason {
            CertificateError::UnknownIssuer => "certificate by an unknown authority".to_owned(),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "certificate for another name".to_owned()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "certificate expired".to_owned()
            }
            _ => "certificate not valid".to_owned(),
        },
        Some(error) => error.to_string(),
        None => error.kind().to_string(),
    }
}

/// A task that ends with its owner.
struct Connection<T>(JoinHandle<T>);

impl<T> Drop for Connection<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn broken(error: &hyper::Error) -> TransportError {
    TransportError::Broken(error.to_string())
}

async fn exchange<S>(stream: S, request: &Request) -> Result<Answer, TransportError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .max_header_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    let _connection = Connection(tokio::spawn(connection));
    let (head, body) =
        sender.send_request(compose(request)?).await.map_err(|error| broken(&error))?.into_parts();
    let max_bytes = request.max_bytes;
    if body.size_hint().lower() > max_bytes as u64 {
        return Err(TransportError::TooLong { max_bytes });
    }
    // `Limited` fails with the inner body's error or for the limit, and in no other way.
    let collected = Limited::new(body, max_bytes).collect().await;
    let body = collected.map_err(|error| match error.downcast_ref::<hyper::Error>() {
        Some(error) => broken(error),
        None => TransportError::TooLong { max_bytes },
    })?;
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: body.to_bytes() })
}

fn compose(request: &Request) -> Result<http::Request<Full<Bytes>>, TransportError> {
    let invalid = |_| TransportError::Broken("request not valid".to_owned());
    let authority = request.url.authority().map_or("", |authority| authority.as_str());
    let host =
        HeaderValue::from_str(authority).map_err(|_| TransportError::Broken("host not valid".to_owned()))?;
    let path = request.url.path_and_query().map_or("/", |path| path.as_str());
    let mut builder =
        http::Request::builder().method(request.method.clone()).uri(path).header(header::HOST, host);
    for (name, value) in &request.headers {
        builder = builder.header(name, value);
    }
    builder.body(Full::new(request.body.clone())).map_err(invalid)
}
