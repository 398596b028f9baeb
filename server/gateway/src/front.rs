//! What happens to every request before and after its route: its id, its key, the headers of its answer.

use crate::App;
use crate::keys::Tenant;
use crate::refuse::refuse;
use crate::words::ulid;
use anchorhold_api::ApiError;
use anchorhold_channel::{authenticator, document};
use anchorhold_ipc::{AuditEvent, Route};
use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, HeaderName, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method};
use std::sync::Arc;
use std::time::Instant;

/// The paths, byte for byte, that need no key. Everything else does, whether it exists or not.
pub(crate) const PUBLIC: [&str; 7] =
    ["/", "/openapi.json", "/health", "/readyz", "/version", document::PATH, authenticator::PATH];
/// The longest id of a caller that is sent back, in characters.
const MAX_REQUEST_ID: usize = 128;
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-client-request-id");
const PROCESSING_MS: HeaderName = HeaderName::from_static("openai-processing-ms");

/// A request whose key is known. Made only by [`front`].
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) tenant: Arc<Tenant>,
    /// Our own id of the request.
    pub(crate) rid: String,
    pub(crate) begun: Instant,
    pub(crate) is_head: bool,
}

/// Wraps every route and every refusal of a route.
pub(crate) async fn front(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let is_head = request.method() == Method::HEAD;
    let shown = own_id(request.headers());
    let Some(rid) = ulid() else { return refuse(&ApiError::internal()) };
    let shown = shown.or_else(|| HeaderValue::from_str(&rid).ok());
    let mut response = if PUBLIC.contains(&request.uri().path()) {
        next.run(request).await
    } else if let Some(tenant) = app.keyring.find(request.headers()) {
        let caller = Caller { tenant: Arc::clone(tenant), rid, begun, is_head };
        request.extensions_mut().insert(caller);
        next.run(request).await
    } else {
        note_failure(&app, begun, route_of(request.uri().path()));
        refuse(&ApiError::unauthorized())
    };
    if is_head {
        without_body(&mut response);
    }
    let headers = response.headers_mut();
    if let Some(shown) = shown {
        headers.insert(X_REQUEST_ID, shown);
    }
    headers.insert(PROCESSING_MS, millis(begun).into());
    headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=63072000"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(crate) fn millis(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// What the audit log calls this path.
pub(crate) fn route_of(path: &str) -> Route {
    match path {
        "/v1/chat/completions" => Route::ChatCompletions,
        "/v1/completions" => Route::Completions,
        "/v1/embeddings" => Route::Embeddings,
        "/v1/rerank" => Route::Rerank,
        "/tokenize" | "/detokenize" => Route::Tokenize,
        "/v1/models" => Route::Models,
        path if path.starts_with("/v1/models/") => Route::Models,
        _ => Route::Other,
    }
}

/// Counts a caller without a known key; the log is told of a bounded number.
fn note_failure(app: &App, now: Instant, route: Route) {
    app.metrics.auth_failures.inc();
    if app.failures.admits(now)
        && let Some(slot) = app.keeper.reserve()
    {
        app.keeper.note(slot, AuditEvent::AuthFailure { route });
    }
}

/// The caller's own id, when it is short plain text.
fn own_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let value = headers.get(X_CLIENT_REQUEST_ID).or_else(|| headers.get(X_REQUEST_ID))?;
    let bytes = value.as_bytes();
    let plain =
        (1..=MAX_REQUEST_ID).contains(&bytes.len()) && bytes.iter().all(|b| (b' '..=b'~').contains(b));
    plain.then(|| value.clone())
}

/// The answer to HEAD: the length of what GET would send, and none of it.
fn without_body(response: &mut Response) {
    if let Some(length) = response.body().size_hint().exact()
        && !response.headers().contains_key(CONTENT_LENGTH)
    {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    *response.body_mut() = Body::empty();
}
