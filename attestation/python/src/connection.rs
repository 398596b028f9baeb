//! Connections to attested guests.

use crate::judgements::{json, value_error};
use anchorhold_channel::client::{self, Limits, Streaming, Target, connect_unverified_for_attestation};
use anchorhold_channel::{AttestedServer, VerificationDocument};
use anchorhold_rats::{Endorsements, Nonce, Timestamp};
use anchorhold_relying_party::{Accepted, Judged, Trust, endorsements, judge_document};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use pyo3::exceptions::PyException;
use pyo3::types::PyBytes;
use pyo3::{Bound, IntoPyObject, PyErr, PyResult, Python, create_exception, pyclass, pymethods};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Runtime;

create_exception!(
    anchorhold,
    Refused,
    PyException,
    "The server's document was refused; the argument is the outcome, JSON."
);
create_exception!(anchorhold, ConnectionFailed, PyException, "There is no answer from an attested server.");

/// The longest time that a caller may set, in milliseconds.
const MAX_TIMEOUT_MS: u64 = 24 * 60 * 60 * 1000;
/// The most header fields of a request.
const MAX_HEADERS: usize = 256;

fn failed(error: client::Error) -> PyErr {
    ConnectionFailed::new_err(error.to_string())
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error("the document was refused")]
    Refused(Box<VerificationDocument>),
    #[error("only GET, DELETE and POST of JSON are sent")]
    Method,
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Client(error) => failed(error),
            Failure::Refused(document) => json(&*document).map_or_else(|error| error, Refused::new_err),
            Failure::Method => value_error(failure),
        }
    }
}

/// A client of one server. Nothing but the question for its document leaves before that was accepted, and each connection has to show by an
/// authenticator that it ends in the attested guest. May be shared by threads.
#[pyclass(frozen, module = "anchorhold")]
pub(crate) struct Client {
    target: Target,
    accepted: Accepted,
    endorsements: Endorsements,
    limits: Limits,
    runtime: Arc<Runtime>,
    /// The last server that was accepted, until its evidence ends. Owned by this client; the lock is never held across a wait.
    attested: Mutex<Option<Arc<AttestedServer>>>,
}

#[pymethods]
impl Client {
    /// `accepted` is JSON; `bundle` holds endorsements. Times are milliseconds: of a connection, of a request up to the head of its
    /// answer, and between two pieces of the answer.
    #[new]
    fn new(
        url: &str,
        accepted: &str,
        bundle: Option<&[u8]>,
        timeouts_ms: (u64, u64, u64),
        max_body_bytes: usize,
    ) -> PyResult<Self> {
        let target: Target = url.parse().map_err(value_error)?;
        let accepted = Accepted::from_json(accepted).map_err(value_error)?;
        let endorsements = endorsements(bundle).map_err(value_error)?;
        let (connect_ms, request_ms, idle_ms) = timeouts_ms;
        let time = |ms: u64| Duration::from_millis(ms.clamp(1, MAX_TIMEOUT_MS));
        let limits = Limits {
            connect_timeout: time(connect_ms),
            request_timeout: time(request_ms),
            idle_timeout: time(idle_ms),
            max_body_bytes,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = Arc::new(runtime.map_err(value_error)?);
        Ok(Self { target, accepted, endorsements, limits, runtime, attested: Mutex::new(None) })
    }

    /// Asks for a document and judges it for the time `at`; the outcome is JSON. Raises `Refused` and `ConnectionFailed`.
    fn attest(&self, py: Python<'_>, at: &str) -> PyResult<String> {
        let trust = self.trust(at)?;
        json(&py.detach(|| self.runtime.block_on(self.attest_now(&trust)))?.0)
    }

    /// Sends a request; the answer's body is read piece by piece. Attests the server first where it has to.
    fn request(
        &self,
        py: Python<'_>,
        target: (String, String),
        headers: Vec<(Vec<u8>, Vec<u8>)>,
        body: Vec<u8>,
        at: &str,
    ) -> PyResult<Answer> {
        let trust = self.trust(at)?;
        if headers.len() > MAX_HEADERS {
            return Err(value_error("too many header fields"));
        }
        let headers = headers.iter().map(field).collect::<PyResult<Vec<_>>>()?;
        let (method, path) = target;
        let method: Method = method.parse().map_err(value_error)?;
        let exchange = self.exchange((&method, &path), &headers, body.into(), &trust);
        Ok(py.detach(|| self.runtime.block_on(exchange))?)
    }
}

impl Client {
    /// Read at every use, since a profile may no longer hold.
    fn trust(&self, at: &str) -> PyResult<Trust> {
        let at: Timestamp = at.parse().map_err(value_error)?;
        self.accepted.trust(at).map_err(value_error)
    }

    /// Judges the server by a new document and, on the same connection, by an authenticator.
    async fn attest_now(
        &self,
        trust: &Trust,
    ) -> Result<(VerificationDocument, Arc<AttestedServer>), Failure> {
        let nonce = Nonce::random().map_err(|_| client::Error::Random)?;
        let mut connection = connect_unverified_for_attestation(&self.target, &self.limits).await?;
        let bytes = connection.fetch_document(&nonce).await?;
        let tls_key = Some(connection.tls_key());
        let target = self.target.to_string();
        let Judged { document, server } =
            judge_document((&target, &bytes), nonce, tls_key, &self.endorsements, trust);
        let Some(server) = server else { return Err(Failure::Refused(Box::new(document))) };
        connection.authenticate(&server).await?;
        let server = Arc::new(server);
        *self.attested.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&server));
        Ok((document, server))
    }

    async fn exchange(
        &self,
        (method, path): (&Method, &str),
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
        trust: &Trust,
    ) -> Result<Answer, Failure> {
        let known = self.attested.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let server = match known.filter(|server| trust.at < server.expires()) {
            Some(server) => server,
            None => self.attest_now(trust).await?.1,
        };
        let client = client::Client::attested(self.target.clone(), &server, trust.at, self.limits.clone())?;
        let mut connection = match client.connect().await {
            // A guest that was started anew has new keys, which a new document has to name.
            Err(client::Error::OtherKey { .. }) => {
                let (_, server) = self.attest_now(trust).await?;
                client::Client::attested(self.target.clone(), &server, trust.at, self.limits.clone())?
                    .connect()
                    .await?
            }
            connected => connected?,
        };
        let runtime = Arc::clone(&self.runtime);
        match *method {
            Method::POST => {
                let streaming = connection.post_json_streaming(path, headers, body).await?;
                Ok(Answer::streaming(runtime, streaming))
            }
            Method::GET if body.is_empty() => {
                Ok(Answer::whole(runtime, connection.get(path, headers).await?))
            }
            Method::DELETE if body.is_empty() => {
                Ok(Answer::whole(runtime, connection.delete(path, headers).await?))
            }
            _ => Err(Failure::Method),
        }
    }
}

fn field((name, value): &(Vec<u8>, Vec<u8>)) -> PyResult<(HeaderName, HeaderValue)> {
    // The value may be a credential, so no error quotes it.
    let name = HeaderName::from_bytes(name).map_err(|_| value_error("not the name of a header field"))?;
    let value = HeaderValue::from_bytes(value).map_err(|_| value_error("not the value of a header field"))?;
    Ok((name, value))
}

/// What is left of an answer.
enum Rest {
    Whole(Option<Bytes>),
    Streaming(Box<Streaming>),
    Over,
}

/// An answer of an attested server.
#[pyclass(frozen, module = "anchorhold")]
pub(crate) struct Answer {
    status: u16,
    headers: HeaderMap,
    runtime: Arc<Runtime>,
    /// Taken out for the time of a wait, so that nobody waits on the lock; a second reader finds nothing.
    rest: Mutex<Rest>,
}

impl Answer {
    fn streaming(runtime: Arc<Runtime>, mut streaming: Streaming) -> Self {
        let headers = std::mem::take(&mut streaming.headers);
        let status = streaming.status.as_u16();
        Self { status, headers, runtime, rest: Mutex::new(Rest::Streaming(Box::new(streaming))) }
    }

    fn whole(runtime: Arc<Runtime>, answer: client::Answer) -> Self {
        let client::Answer { status, headers, body } = answer;
        Self { status: status.as_u16(), headers, runtime, rest: Mutex::new(Rest::Whole(Some(body))) }
    }

    fn replace(&self, rest: Rest) -> Rest {
        std::mem::replace(&mut *self.rest.lock().unwrap_or_else(PoisonError::into_inner), rest)
    }
}

#[pymethods]
impl Answer {
    /// The status.
    #[getter]
    fn status(&self) -> u16 {
        self.status
    }

    /// The header fields, in order.
    #[getter]
    fn headers(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let field = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec())
        };
        self.headers.iter().map(field).collect()
    }

    /// The next piece of the body as it arrived; `None` at the end. Raises `ConnectionFailed` when it breaks off.
    fn next_piece(&self, py: Python<'_>) -> PyResult<Option<Piece>> {
        match self.replace(Rest::Over) {
            Rest::Whole(body) => Ok(body.map(Piece)),
            Rest::Over => Ok(None),
            Rest::Streaming(mut streaming) => {
                let piece = py.detach(|| self.runtime.block_on(streaming.next_piece())).map_err(failed)?;
                if piece.is_some() {
                    self.replace(Rest::Streaming(streaming));
                }
                Ok(piece.map(Piece))
            }
        }
    }

    /// Ends the connection. The server sees that nobody reads any more.
    fn close(&self) {
        let _guard = self.runtime.enter();
        drop(self.replace(Rest::Over));
    }
}

/// Bytes that become Python's `bytes`.
struct Piece(Bytes);

impl<'py> IntoPyObject<'py> for Piece {
    type Target = PyBytes;
    type Output = Bound<'py, PyBytes>;
    type Error = Infallible;

    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Self::Error> {
        Ok(PyBytes::new(py, &self.0))
    }
}
