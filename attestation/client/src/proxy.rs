//! A plain HTTP endpoint on this machine, in front of a verified server.
//!
//! Programs speak OpenAI's API to it as they would to any server; it speaks to the guest on attested connections, with the
//! program's own `authorization`. While the server is not accepted every request is answered 502 with code `upstream_not_attested`.
//! Requests that are under way finish. Nothing of a request is logged or kept, receipts apart, which hold none of its text.
//!
//! Whoever can open a connection to it can use it, so it listens on the loopback interface; [`Hosts`] keeps web pages out that reach
//! loopback by a name of their own (DNS rebinding). *Presumed*: other users of this machine may connect to it too, and still
//! need a key that the server takes.

mod answer;
mod head;

pub use head::Hosts;

use crate::receipts::{Exchange, ReceiptCounts, Receipts};
use crate::{RelyingParty, RequestError, Snapshot, VerifiedUpstream};
use answer::{Answer, Watched};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use serde::Serialize;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Where the proxy says how the server stands.
pub const STATUS_PATH: &str = "/anchorhold/status";
/// The `format` of what it says. Keys are only ever added under one format.
pub const STATUS_FORMAT: &str = "urn:anchorhold:proxy-status:v1";
/// How long to wait after `accept` failed, for lack of descriptors for instance, before it is tried again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the endpoint takes. Sizes are in bytes.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at one time, each with one request at a time; one more is closed at once.
    pub max_connections: usize,
    /// For a request's head, idle time before it included.
    pub header_timeout: Duration,
    /// Of a request's head.
    pub max_header_bytes: usize,
    /// Header fields of a request.
    pub max_headers: usize,
    /// Of a request's body. It is read whole: its receipt is checked against it.
    pub max_body_bytes: usize,
    /// For a request's body.
    pub body_timeout: Duration,
    /// From the request to the head of its answer.
    pub answer_timeout: Duration,
    /// Between two pieces of an answer.
    pub idle_timeout: Duration,
    /// For running requests once shutdown has begun; what is left then is cut off.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 128,
            header_timeout: Duration::from_secs(60),
            max_header_bytes: 32 * 1024,
            max_headers: 100,
            max_body_bytes: 16 * 1024 * 1024,
            body_timeout: Duration::from_secs(60),
            answer_timeout: Duration::from_secs(660),
            idle_timeout: Duration::from_secs(660),
            drain: Duration::from_secs(30),
        }
    }
}

/// What [`STATUS_PATH`] says.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// [`STATUS_FORMAT`].
    pub format: &'static str,
    /// How the server stands.
    #[serde(flatten)]
    pub upstream: Snapshot,
    /// Requests that were passed on.
    pub requests: u64,
    /// Requests that were refused because the server is not accepted.
    pub refused: u64,
    /// How their receipts were.
    pub receipts: ReceiptCounts,
}

/// An endpoint in front of one server.
#[derive(Debug)]
pub struct Proxy<R> {
    upstream: VerifiedUpstream<R>,
    receipts: Arc<Receipts>,
    limits: Limits,
    hosts: Hosts,
    requests: AtomicU64,
    refused: AtomicU64,
}

/// Why a request was not passed on: status, code and text of OpenAI's error object.
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) text: String,
}

impl Refused {
    pub(crate) fn new(status: StatusCode, code: &'static str, text: impl Into<String>) -> Self {
        Self { status, code, text: text.into() }
    }
}

impl<R: RelyingParty> Proxy<R> {
    /// An endpoint in front of `upstream`, for requests with these names in `host`.
    #[must_use]
    pub fn new(upstream: VerifiedUpstream<R>, receipts: Receipts, hosts: Hosts, limits: Limits) -> Arc<Self> {
        let (requests, refused) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { upstream, receipts: Arc::new(receipts), limits, hosts, requests, refused })
    }

    /// How the server stands, and what was passed on.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            format: STATUS_FORMAT,
            upstream: self.upstream.snapshot(),
            requests: self.requests.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            receipts: self.receipts.counts(),
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Answer> {
        self.passed_on(request).await.unwrap_or_else(|refused| error(&refused))
    }

    async fn passed_on(&self, request: Request<Incoming>) -> Result<Response<Answer>, Refused> {
        let path = head::check(&request, &self.hosts)?;
        if request.uri().path() == STATUS_PATH {
            return self.local(request.method());
        }
        let (parts, body) = request.into_parts();
        let body = self.read(body).await?;
        let mut onward = Request::new(Full::new(body.clone()));
        *onward.method_mut() = parts.method.clone();
        *onward.uri_mut() = path.into();
        *onward.headers_mut() = head::end_to_end(parts.headers, head::FROM_CLIENT);
        let within = self.limits.answer_timeout;
        let answered = timeout(within, self.upstream.request(onward)).await;
        let answered = answered.map_err(|_| {
            let text = format!("the upstream gave no answer within {} s", within.as_secs());
            Refused::new(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", text)
        })?;
        let (response, guest) = answered.map_err(|error| self.refusal(error))?;
        self.requests.fetch_add(1, Ordering::Relaxed);
        let (mut head, incoming) = response.into_parts();
        let exchange = Exchange::new(guest, &parts.method, body, (head.status, &head.headers));
        head.headers = head::end_to_end(head.headers, head::FROM_UPSTREAM);
        head.version = http::Version::HTTP_11;
        head.extensions.clear();
        let watched = Watched::new(incoming, exchange, Arc::clone(&self.receipts), self.limits.idle_timeout);
        Ok(Response::from_parts(head, Answer::Upstream(Box::new(watched))))
    }

    fn refusal(&self, error: RequestError) -> Refused {
        match error {
            RequestError::NotAttested(reason) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                let text = format!("the upstream is not attested, and nothing was sent to it: {reason}");
                Refused::new(StatusCode::BAD_GATEWAY, "upstream_not_attested", text)
            }
            RequestError::Broken(_) => {
                let text = "the exchange with the upstream broke off";
                Refused::new(StatusCode::BAD_GATEWAY, "upstream_unavailable", text)
            }
            RequestError::Request => {
                Refused::new(StatusCode::BAD_REQUEST, "path_refused", "wanted a path of the upstream")
            }
        }
    }

    async fn read(&self, body: Incoming) -> Result<Bytes, Refused> {
        let most = self.limits.max_body_bytes;
        let too_long = || {
            let text = format!("body over the limit of {most} bytes");
            Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", text)
        };
        if body.size_hint().lower() > most as u64 {
            return Err(too_long());
        }
        match timeout(self.limits.body_timeout, Limited::new(body, most).collect()).await {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long()),
            Ok(Err(_)) => {
                let text = "the body could not be read to its end";
                Err(Refused::new(StatusCode::BAD_REQUEST, "invalid_body", text))
            }
            Err(_) => {
                let text = format!("body not complete within {} s", self.limits.body_timeout.as_secs());
                Err(Refused::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", text))
            }
        }
    }

    fn local(&self, method: &Method) -> Result<Response<Answer>, Refused> {
        if *method != Method::GET {
            let text = "the status is read with GET";
            return Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", text));
        }
        let json = serde_json::to_vec(&self.status()).unwrap_or_default();
        Ok(own(StatusCode::OK, json))
    }
}

fn own(status: StatusCode, json: Vec<u8>) -> Response<Answer> {
    let mut response = Response::new(Answer::Own(Full::new(json.into())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    response
}

/// OpenAI's error object. Nothing in it is of a request.
fn error(refused: &Refused) -> Response<Answer> {
    let kind = if refused.status.is_server_error() { "server_error" } else { "invalid_request_error" };
    let object = serde_json::json!({
        "error": {"message": refused.text, "type": kind, "param": null, "code": refused.code},
    });
    own(refused.status, object.to_string().into_bytes())
}

/// Serves on `listener` until `shutdown` completes, then finishes what runs and returns. HTTP/1.1 only.
pub async fn serve<R: RelyingParty>(
    listener: TcpListener,
    proxy: Arc<Proxy<R>>,
    shutdown: impl Future<Output = ()>,
) {
    let slots = Arc::new(Semaphore::new(proxy.limits.max_connections));
    let graceful = GracefulShutdown::new();
    let mut tasks = JoinSet::new();
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(proxy.limits.header_timeout)
        .max_headers(proxy.limits.max_headers)
        .max_buf_size(proxy.limits.max_header_bytes);
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = tasks.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
        // Tokens leave one by one; without this they are late, not wrong.
        let _ = stream.set_nodelay(true);
        let proxy = Arc::clone(&proxy);
        let service = service_fn(move |request| {
            let proxy = Arc::clone(&proxy);
            async move { Ok::<_, Infallible>(proxy.answer(request).await) }
        });
        let serving = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
        tasks.spawn(async move {
            // How a connection ends is the peer's business: there is nobody left to tell.
            let _ = serving.await;
            drop(slot);
        });
    }
    drop(listener);
    let _ = timeout(proxy.limits.drain, graceful.shutdown()).await;
    tasks.shutdown().await;
}
