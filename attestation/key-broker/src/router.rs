//! The broker's HTTP surface: three paths, JSON only, every size, wait and count bounded.

use crate::broker::{Answer, Broker};
use anchorhold_channel::server::{BodyError, read_body};
use anchorhold_key_release::{Denied, Explain, MAX_RELEASE_JSON_BYTES, Refusal, RefusalBody, RefusalError};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderName, HeaderValue, StatusCode, header};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Release requests at one time, from the first byte of the body; one more gets `busy`. Times
/// [`MAX_RELEASE_JSON_BYTES`] they bound the memory that bodies take.
const MAX_RELEASES: usize = 32;
/// The longest body of `POST /v1/challenge`, in bytes; what is in it is not read.
const MAX_CHALLENGE_BYTES: usize = 1024;
const BODY_WAIT: Duration = Duration::from_secs(10);
/// The longest wait for a decision.
const DECISION_WAIT: Duration = Duration::from_secs(30);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[derive(Clone)]
struct Shared {
    broker: Arc<Broker>,
    releases: Arc<Semaphore>,
}

/// The router for `broker`.
pub fn router(broker: Arc<Broker>) -> Router {
    let shared = Shared { broker, releases: Arc::new(Semaphore::new(MAX_RELEASES)) };
    Router::new()
        .route("/v1/challenge", post(challenge))
        .route("/v1/release", post(release))
        .route("/health", get(health))
        .fallback(|| async { error(StatusCode::NOT_FOUND, "not_found", "no such path") })
        .method_not_allowed_fallback(|| async {
            error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "the path has no such method")
        })
        .with_state(shared)
}

async fn challenge(State(shared): State<Shared>, request: Request) -> Response {
    match read_body(request.into_body(), MAX_CHALLENGE_BYTES, BODY_WAIT).await {
        Ok(_) => response(shared.broker.challenge()),
        Err(BodyError::TooLong { .. }) => refused(&Denied::TooLarge),
        Err(BodyError::TooSlow { .. } | BodyError::Broken) => refused(&Denied::Malformed),
    }
}

async fn release(State(shared): State<Shared>, request: Request) -> Response {
    if request.headers().contains_key(header::CONTENT_ENCODING) {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return error(status, "encoding_refused", "the body must not be compressed");
    }
    let Ok(permit) = Arc::clone(&shared.releases).try_acquire_owned() else { return refused(&Denied::Busy) };
    let body = read_body(request.into_body(), MAX_RELEASE_JSON_BYTES, BODY_WAIT).await;
    let broker = shared.broker;
    let decision = spawn_blocking(move || {
        let answer = match body {
            Ok(body) => broker.release(&body),
            Err(BodyError::TooLong { .. }) => broker.refuse_unread(Denied::TooLarge),
            Err(BodyError::TooSlow { .. } | BodyError::Broken) => broker.refuse_unread(Denied::Malformed),
        };
        // Given back when the work is done, even if nobody waits for it any more.
        drop(permit);
        answer
    });
    match timeout(DECISION_WAIT, decision).await {
        Ok(Ok(answer)) => response(answer),
        Ok(Err(_)) | Err(_) => refused(&Denied::Backend),
    }
}

async fn health(State(shared): State<Shared>) -> Response {
    let sound = shared.broker.journal().is_sound();
    let (status, body) =
        if sound { (200, r#"{"status":"ok"}"#) } else { (503, r#"{"status":"audit log failed"}"#) };
    response(Answer { status, body: body.into(), request_id: None })
}

fn refused(denied: &Denied) -> Response {
    let body = Refusal::new(denied.clone()).to_json(Explain::Code);
    response(Answer { status: denied.status(), body, request_id: None })
}

fn error(status: StatusCode, code: &str, message: &str) -> Response {
    let error =
        RefusalError { code: code.to_owned(), message: message.to_owned(), device: None, checks: None };
    let body = serde_json::to_vec(&RefusalBody { error }).expect("two strings are JSON");
    response(Answer { status: status.as_u16(), body, request_id: None })
}

fn response(answer: Answer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(id) = answer.request_id.and_then(|id| HeaderValue::try_from(id).ok()) {
        headers.insert(REQUEST_ID, id);
    }
    response
}
