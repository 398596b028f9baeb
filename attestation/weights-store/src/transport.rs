//! HTTP/1.1 over TLS for `object_store`, which signs requests and finds credentials but brings no client of its own here.
//!
//! A client of our own instead of its default one, because a store is hostile input: no redirect is followed, nothing is
//! decompressed, heads and bodies have limits, an answer to a range request must be that very range, and every fault has a
//! type. No environment variable (proxies, certificate files) changes what is spoken to.

mod answer;
mod body;
mod pool;
mod tls;

pub use answer::parse_content_range;
pub use tls::Trust;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::uri::Scheme;
use http::{HeaderValue, Request, Uri, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use object_store::ClientConfigKey;
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use tokio::time::timeout;

use crate::error::Fault;
use crate::limits::Limits;
use answer::Expected;
use body::Bounded;
use pool::{Open, Origin, Pool};

/// The longest answer to a request that says nothing else: credentials from a metadata service.
const MAX_OTHER_BODY: u64 = 64 * 1024;
/// How much of the body of a refusal is read for its code.
const MAX_REFUSAL_BODY: usize = 4 * 1024;
const AGENT: HeaderValue = HeaderValue::from_static(concat!("anchorhold/", env!("CARGO_PKG_VERSION")));

/// The most bytes that the body of an answer may have; travels with a request as one of its extensions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MaxBody(pub(crate) u64);

/// Makes the clients of one store, which share their connections.
#[derive(Clone)]
pub(crate) struct Transport {
    shared: Arc<Shared>,
}

struct Shared {
    pool: Pool,
    head_timeout: Duration,
}

impl Transport {
    /// # Errors
    /// [`rustls::Error`] when TLS cannot be set up with these authorities.
    pub(crate) fn new(trust: &Trust, limits: &Limits) -> Result<Self, rustls::Error> {
        let pool = Pool::new(tls::connector(trust)?, limits.connect_timeout);
        Ok(Self { shared: Arc::new(Shared { pool, head_timeout: limits.head_timeout }) })
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport")
    }
}

impl HttpConnector for Transport {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let may_be_plain =
            options.get_config_value(&ClientConfigKey::AllowHttp).is_some_and(|value| value == "true");
        Ok(HttpClient::new(Service { shared: Arc::clone(&self.shared), may_be_plain }))
    }
}

struct Service {
    shared: Arc<Shared>,
    may_be_plain: bool,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Service")
    }
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.exchange(request).await.map_err(into_http_error)
    }
}

/// The kind only matters to the attempts of `object_store`, which are turned off: ours see the fault itself.
fn into_http_error(fault: Fault) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, fault)
}

/// Our fault inside whatever `object_store` made of it.
pub(crate) fn fault_of(error: &object_store::Error) -> Fault {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(fault) = error.downcast_ref::<Fault>() {
            return fault.clone();
        }
        cause = error.source();
    }
    // What is left is about headers that have no meaning to us, such as a date that is none.
    Fault::Broken("answer not understood".to_owned())
}

impl Service {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, Fault> {
        let origin = Origin::of(request.uri(), self.may_be_plain)?;
        let expected = Expected::of(&request);
        let request = compose(request, &origin)?;
        let Open { mut sender, key } = self.shared.pool.take(origin).await?;
        let within = self.shared.head_timeout;
        let answered = timeout(within, sender.send_request(request)).await;
        let answer = answered
            .map_err(|_| Fault::Timeout { what: "head of an answer", within })?
            .map_err(|error| Fault::Broken(error.to_string()))?;
        let (head, body) = answer.into_parts();
        if let Err(fault) = expected.check(&head) {
            return Err(self.with_code(fault, body).await);
        }
        let wanted = expected.body_len();
        let pool = self.shared.pool.clone();
        let body = Bounded::new(body, wanted, move || pool.give_back(Open { sender, key }));
        Ok(HttpResponse::from_parts(head, HttpResponseBody::new(body)))
    }

    /// The fault with the code out of the body, where the store gave one. The connection is not used again.
    async fn with_code(&self, mut fault: Fault, body: Incoming) -> Fault {
        let (Fault::Denied { code, .. } | Fault::Unavailable { code, .. } | Fault::Status { code, .. }) =
            &mut fault
        else {
            return fault;
        };
        let mut body = body;
        let mut text = Vec::new();
        let reading = async {
            while text.len() < MAX_REFUSAL_BODY
                && let Some(Ok(frame)) = body.frame().await
            {
                text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            }
        };
        // A code that does not come is a fault without one.
        let _ = timeout(self.shared.head_timeout, reading).await;
        text.truncate(MAX_REFUSAL_BODY);
        *code = answer::s3_code(&text);
        fault
    }
}

/// The request as it goes over the line: the path alone, and the host in its header.
fn compose(
    request: HttpRequest,
    origin: &Origin,
) -> Result<Request<object_store::client::HttpRequestBody>, Fault> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let invalid = |_| Fault::Broken("request not valid".to_owned());
    parts.uri = path.parse::<Uri>().map_err(|_| Fault::Broken("request not valid".to_owned()))?;
    let host = HeaderValue::from_str(origin.authority()).map_err(invalid)?;
    parts.headers.insert(header::HOST, host);
    parts.headers.insert(header::USER_AGENT, AGENT);
    parts.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if body.content_length() > 0 || !parts.method.is_safe() {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.content_length()));
    }
    Ok(Request::from_parts(parts, body))
}

/// Whether this is a scheme that TLS secures.
fn is_secured(uri: &Uri) -> bool {
    uri.scheme() == Some(&Scheme::HTTPS)
}
