//! What happens to every request before and after its route: its id, its key, the headers of its answer.

use crate::App;
use crate::bodies::Refused;
use crate::keys::{Granted, ShownKey, Tenant};
use crate::live::Live;
use crate::quota::{Shown, written};
use crate::refuse::refuse;
use crate::routes;
use crate::trace::TraceParent;
use crate::words::{now, ulid};
use anchorhold_api::ApiError;
use anchorhold_api_keys::{Scope, Scopes};
use anchorhold_body_encryption::ehbp::KEYS_PATH;
use anchorhold_channel::peer::PeerCertificate;
use anchorhold_channel::{authenticator, document};
use anchorhold_ipc::{AuditEvent, CallerAuth, CallerPart, RefusedCaller, Route};
use axum::body::{Body, HttpBody as _};
use axum::extract::{ConnectInfo, Extension, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, HeaderName, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

/// The paths, byte for byte, that need no key. Everything else does, whether it exists or not.
pub(crate) const PUBLIC: [&str; 8] =
    ["/", "/openapi.json", "/health", "/readyz", "/version", document::PATH, authenticator::PATH, KEYS_PATH];
/// The longest id of a caller that is sent back, in characters.
const MAX_REQUEST_ID: usize = 128;
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-client-request-id");
/// Limit, what remains, and when it is whole again.
const REQUESTS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
const TOKENS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];
const PROCESSING_MS: HeaderName = HeaderName::from_static("openai-processing-ms");

/// A request whose key is known. Made only by [`front`].
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) tenant: Arc<Tenant>,
    /// How it showed that.
    pub(crate) auth: CallerAuth,
    /// Who it is, for the sealed part of the audit entry alone.
    pub(crate) part: CallerPart,
    /// The settings that were in force when it came.
    pub(crate) live: Arc<Live>,
    /// Our own id of the request.
    pub(crate) rid: String,
    /// The span of the caller's that it belongs to.
    pub(crate) trace: Option<TraceParent>,
    pub(crate) begun: Instant,
    pub(crate) is_head: bool,
    /// Bytes of its body, where it says how many.
    pub(crate) declared: Option<u64>,
}

/// Wraps every route and every refusal of a route.
pub(crate) async fn front(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let is_head = request.method() == Method::HEAD;
    let shown = own_id(request.headers());
    let Some(rid) = ulid() else { return refuse(&ApiError::internal()) };
    let shown = shown.or_else(|| HeaderValue::from_str(&rid).ok());
    let live = app.current.get();
    let mut response = if let Some(Refused(error)) = request.extensions().get() {
        refuse(error)
    } else if PUBLIC.contains(&request.uri().path()) {
        next.run(request).await
    } else {
        let certificate = request.extensions().get::<PeerCertificate>();
        match live.keyring.find(request.headers(), certificate, now()) {
            Ok(Granted { tenant, scopes, auth, key }) => {
                let declared = request.body().size_hint().exact();
                let trace = TraceParent::of(request.headers());
                let part = part(&request, key);
                let caller = Caller { tenant, auth, part, live, rid, trace, begun, is_head, declared };
                let_in(&app, (caller, scopes), request, next).await
            }
            Err(reason) => {
                let refused = refuse(&ApiError::unauthorized());
                note_failure(&app, begun, || RefusedCaller {
                    rid: rid.clone(),
                    route: route_of(request.uri().path()),
                    reason: reason.told(),
                    status: refused.status().as_u16(),
                    millis: millis(begun),
                    address: address(&request),
                });
                refused
            }
        }
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

/// From where the connection came. An IPv4 caller on a socket for both is told as one.
fn address(request: &Request) -> Option<IpAddr> {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    peer.map(|ConnectInfo(peer)| peer.ip().to_canonical())
}

/// Who called: from where the connection came, and with which key.
fn part(request: &Request, key: Option<ShownKey>) -> CallerPart {
    CallerPart {
        address: address(request),
        key: key.as_ref().map(|key| key.id),
        label: key.and_then(|key| key.label).map(|label| label.to_string()),
    }
}

/// What a key must be good for, by the route that will answer. A route that is not named here is closed to callers.
fn needed(request: &Request) -> Option<Scope> {
    let route = request.extensions().get::<MatchedPath>()?;
    Some(match route.as_str() {
        "/v1/chat/completions" | "/v1/completions" | "/v1/responses" | "/v1/responses/{*id}" => {
            Scope::Generate
        }
        "/v1/embeddings" => Scope::Embed,
        "/v1/rerank" => Scope::Rerank,
        "/v1/models" | "/v1/models/{*id}" => Scope::Models,
        "/tokenize" | "/detokenize" => Scope::Tokenize,
        "/metrics" => Scope::Metrics,
        _ => Scope::Audit,
    })
}

/// Says what is left of the tenant's minute, as OpenAI does; a kind that is not limited is not told of.
fn tell_quotas(tenant: &Tenant, headers: &mut HeaderMap) {
    let (requests, tokens) = tenant.quota.shown();
    for ([limit, remaining, reset], shown) in [(REQUESTS, requests), (TOKENS, tokens)] {
        let Some(Shown { limit: most, remaining: left, reset: full }) = shown else { continue };
        headers.insert(limit, most.into());
        headers.insert(remaining, left.into());
        // Digits and units are always a header's value.
        headers.extend(HeaderValue::from_str(&written(full)).ok().map(|value| (reset, value)));
    }
}

/// Hands a request with a key to its route, if the key is good for that.
async fn let_in(
    app: &Arc<App>,
    (caller, scopes): (Caller, Scopes),
    mut request: Request,
    next: Next,
) -> Response {
    let tenant = Arc::clone(&caller.tenant);
    let mut response = match needed(&request) {
        Some(scope) if !scopes.contains(scope) => {
            let error = ApiError::permission_denied(scope.word());
            routes::refused(app, Some(Extension(caller)), request.uri().path(), error).await
        }
        _ => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
    };
    tell_quotas(&tenant, response.headers_mut());
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
        "/v1/responses" => Route::Responses,
        path if path.starts_with("/v1/responses/") => Route::Responses,
        path if path.starts_with("/v1/models/") => Route::Models,
        path if path.starts_with("/v1/audit/") => Route::Audit,
        _ => Route::Other,
    }
}

/// Counts a caller without a known key; the log is told of a bounded number.
fn note_failure(app: &App, now: Instant, told: impl FnOnce() -> RefusedCaller) {
    app.metrics.auth_failures.inc();
    if app.failures.admits(now)
        && let Some(slot) = app.keeper.reserve()
    {
        let caller = told();
        crate::log::no_entry(caller.reason);
        app.keeper.note(slot, AuditEvent::AuthFailure(caller.into()));
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
