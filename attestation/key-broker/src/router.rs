//! The broker's HTTP surface: every size, wait and count bounded. JSON, but for the witness's protocol, which is text.

mod kbs;

use crate::broker::{Answer, Broker, BrokerError};
use anchorhold_audit_log::witness::MAX_REQUEST_BYTES;
use anchorhold_channel::server::{BodyError, read_body};
use anchorhold_key_release::{
    Denied, Explain, InstanceId, LeaseEnd, MAX_LEASE_END_BYTES, MAX_RELEASE_JSON_BYTES, Refusal, RefusalBody,
    RefusalError,
};
use anchorhold_witnesses::ADD_CHECKPOINT;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Release requests at one time, from the first byte of the body; one more gets `busy`. Times
/// [`MAX_RELEASE_JSON_BYTES`] they bound the memory that bodies take.
const MAX_RELEASES: usize = 256;
/// How many of them are judged at a time; the others wait for their turn.
const MAX_DECISIONS: usize = 32;
/// The longest wait for a turn.
const TURN_WAIT: Duration = Duration::from_secs(10);
/// The longest body of `POST /v1/challenge`, in bytes.
const MAX_CHALLENGE_BYTES: usize = 1024;
/// The longest body of `POST /v1/lease`, in bytes.
const MAX_LEASE_BYTES: usize = 1024;
/// Checkpoints and questions about leases at one time.
const MAX_SMALL: usize = 256;
const BODY_WAIT: Duration = Duration::from_secs(10);
/// The longest wait for a decision.
const DECISION_WAIT: Duration = Duration::from_secs(30);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[derive(Clone)]
struct Shared {
    broker: Arc<Broker>,
    releases: Arc<Semaphore>,
    decisions: Arc<Semaphore>,
    small: Arc<Semaphore>,
}

/// The body of `POST /v1/lease`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LeaseQuestion {
    instance_id: InstanceId,
    kid: String,
}

/// The router for `broker`.
pub fn router(broker: Arc<Broker>) -> Router {
    let releases = Arc::new(Semaphore::new(MAX_RELEASES));
    let (decisions, small) = (Arc::new(Semaphore::new(MAX_DECISIONS)), Arc::new(Semaphore::new(MAX_SMALL)));
    let shared = Shared { broker, releases, decisions, small };
    Router::new()
        .route("/v1/challenge", post(challenge))
        .route("/v1/release", post(release))
        .route("/v1/lease", post(lease))
        .route("/v1/lease/end", post(lease_end))
        .route(ADD_CHECKPOINT, post(add_checkpoint))
        .route("/health", get(health))
        .merge(kbs::routes())
        .fallback(|| async { error(StatusCode::NOT_FOUND, "not_found", "no such path") })
        .method_not_allowed_fallback(|| async {
            error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "the path has no such method")
        })
        .with_state(shared)
}

async fn challenge(State(shared): State<Shared>, request: Request) -> Response {
    match read_body(request.into_body(), MAX_CHALLENGE_BYTES, BODY_WAIT).await {
        Ok(body) => response(shared.broker.challenge(&body)),
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
    let Ok(Ok(turn)) = timeout(TURN_WAIT, shared.decisions.acquire_owned()).await else {
        return refused(&Denied::Busy);
    };
    let broker = shared.broker;
    let decision = spawn_blocking(move || {
        let answer = match body {
            Ok(body) => broker.release(&body),
            Err(BodyError::TooLong { .. }) => broker.refuse_unread(Denied::TooLarge),
            Err(BodyError::TooSlow { .. } | BodyError::Broken) => broker.refuse_unread(Denied::Malformed),
        };
        // Given back when the work is done, even if nobody waits for it any more.
        drop((permit, turn));
        answer
    });
    match timeout(DECISION_WAIT, decision).await {
        Ok(Ok(answer)) => response(answer),
        Ok(Err(_)) | Err(_) => refused(&Denied::Backend),
    }
}

async fn lease(State(shared): State<Shared>, request: Request) -> Response {
    small(&shared, request, MAX_LEASE_BYTES, |broker, body| {
        let Ok(asked) = serde_json::from_slice::<LeaseQuestion>(&body) else {
            return refusal(&Denied::Malformed);
        };
        match broker.lease_state(asked.instance_id, &asked.kid) {
            Ok(state) => Answer::json(200, serde_json::json!({ "lease": state }).to_string().into_bytes()),
            Err(error) => out_of_reach(broker, &error),
        }
    })
    .await
}

async fn lease_end(State(shared): State<Shared>, request: Request) -> Response {
    small(&shared, request, MAX_LEASE_END_BYTES, |broker, body| {
        let Ok(end) = LeaseEnd::from_json(&body) else { return refusal(&Denied::Malformed) };
        match broker.end_lease(&end) {
            Ok(Ok(returned)) => {
                Answer::json(200, serde_json::json!({ "lease": returned }).to_string().into_bytes())
            }
            Ok(Err(_)) => refusal(&Denied::LeaseSignature),
            Err(error) => out_of_reach(broker, &error),
        }
    })
    .await
}

async fn add_checkpoint(State(shared): State<Shared>, request: Request) -> Response {
    small(&shared, request, MAX_REQUEST_BYTES, |broker, body| broker.add_checkpoint(&body)).await
}

/// A request with a short body that needs the state.
async fn small(
    shared: &Shared,
    request: Request,
    max_bytes: usize,
    work: impl FnOnce(&Broker, Bytes) -> Answer + Send + 'static,
) -> Response {
    let Ok(permit) = Arc::clone(&shared.small).try_acquire_owned() else { return refused(&Denied::Busy) };
    let body = match read_body(request.into_body(), max_bytes, BODY_WAIT).await {
        Ok(body) => body,
        Err(BodyError::TooLong { .. }) => return refused(&Denied::TooLarge),
        Err(BodyError::TooSlow { .. } | BodyError::Broken) => return refused(&Denied::Malformed),
    };
    let broker = Arc::clone(&shared.broker);
    let answer = spawn_blocking(move || {
        let answer = work(&broker, body);
        drop(permit);
        answer
    });
    match timeout(DECISION_WAIT, answer).await {
        Ok(Ok(answer)) => response(answer),
        Ok(Err(_)) | Err(_) => refused(&Denied::Backend),
    }
}

fn out_of_reach(broker: &Broker, error: &BrokerError) -> Answer {
    broker.report(&error.to_string());
    refusal(&Denied::Backend)
}

async fn health(State(shared): State<Shared>) -> Response {
    let broker = shared.broker;
    let sound = spawn_blocking(move || broker.ledger().refresh().is_ok()).await.unwrap_or(false);
    let (status, body) =
        if sound { (200, r#"{"status":"ok"}"#) } else { (503, r#"{"status":"state out of reach"}"#) };
    response(Answer::json(status, body.into()))
}

fn refusal(denied: &Denied) -> Answer {
    Answer::json(denied.status(), Refusal::new(denied.clone()).to_json(Explain::Code))
}

fn refused(denied: &Denied) -> Response {
    response(refusal(denied))
}

fn error(status: StatusCode, code: &str, message: &str) -> Response {
    let error =
        RefusalError { code: code.to_owned(), message: message.to_owned(), device: None, checks: None };
    let body = serde_json::to_vec(&RefusalBody { error }).expect("two strings are JSON");
    response(Answer::json(status.as_u16(), body))
}

fn response(answer: Answer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(cookie) = answer.set_cookie.and_then(|cookie| HeaderValue::try_from(cookie).ok()) {
        headers.insert(header::SET_COOKIE, cookie);
    }
    if let Some(id) = answer.request_id.and_then(|id| HeaderValue::try_from(id).ok()) {
        headers.insert(REQUEST_ID, id);
    }
    response
}
