//! The paths of the KBS protocol, under `/kbs/v0`. Every error is a body of that protocol.

use super::{BODY_WAIT, DECISION_WAIT, Shared, TURN_WAIT, response};
use crate::broker::{Answer, ResourceAsked};
use anchorhold_channel::server::{BodyError, read_body};
use anchorhold_kbs::server::PREFIX;
use anchorhold_kbs::{MAX_ATTEST_BYTES, MAX_AUTH_BYTES, Problem};
use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderMap, HeaderName, header};
use std::sync::Arc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

const RESOURCE: &str = "/resource/";
/// Headers of one name that are put together; browsers and HTTP/2 clients may cut cookies up.
const MAX_HEADERS: usize = 8;

/// The paths.
pub(super) fn routes() -> Router<Shared> {
    let paths = Router::new()
        .route("/auth", post(auth))
        .route("/attest", post(attest))
        .route("/resource/{*name}", get(resource))
        .fallback(|| async { refused(Problem::Plugin) })
        .method_not_allowed_fallback(|| async { refused(Problem::Plugin) });
    Router::new().nest(PREFIX, paths).route("/.well-known/jwks.json", get(token_keys))
}

async fn auth(State(shared): State<Shared>, request: Request) -> Response {
    match read_body(request.into_body(), MAX_AUTH_BYTES, BODY_WAIT).await {
        Ok(body) => response(shared.broker.kbs_introduce(&body)),
        Err(_) => refused(Problem::Malformed),
    }
}

async fn attest(State(shared): State<Shared>, request: Request) -> Response {
    if request.headers().contains_key(header::CONTENT_ENCODING) {
        return refused(Problem::Malformed);
    }
    let Ok(permit) = Arc::clone(&shared.releases).try_acquire_owned() else {
        return refused(Problem::Unavailable);
    };
    let cookie = cookies(request.headers());
    let body = read_body(request.into_body(), MAX_ATTEST_BYTES, BODY_WAIT).await;
    let Ok(Ok(turn)) = timeout(TURN_WAIT, shared.decisions.acquire_owned()).await else {
        return refused(Problem::Unavailable);
    };
    let broker = shared.broker;
    let decision = spawn_blocking(move || {
        let answer = match body {
            Ok(body) => broker.kbs_attest(&body, cookie.as_deref()),
            Err(BodyError::TooLong { .. } | BodyError::TooSlow { .. } | BodyError::Broken) => {
                broker.kbs_refuse_unread(Problem::Malformed)
            }
        };
        // Given back when the work is done, even if nobody waits for it any more.
        drop((permit, turn));
        answer
    });
    answered(timeout(DECISION_WAIT, decision).await)
}

/// The name is taken from the path as it came, without the prefix that is nested under: an escape in it is another name, and no
/// name has one.
async fn resource(State(shared): State<Shared>, request: Request) -> Response {
    let name = request.uri().path().strip_prefix(RESOURCE).map(ToOwned::to_owned);
    let (Some(name), None) = (name, request.uri().query()) else {
        return refused(Problem::Path);
    };
    let Ok(permit) = Arc::clone(&shared.small).try_acquire_owned() else {
        return refused(Problem::Unavailable);
    };
    let (authorization, cookie) =
        (only(request.headers(), &header::AUTHORIZATION), cookies(request.headers()));
    let broker = shared.broker;
    let decision = spawn_blocking(move || {
        let asked =
            ResourceAsked { name: &name, authorization: authorization.as_deref(), cookie: cookie.as_deref() };
        let answer = broker.kbs_resource(&asked);
        drop(permit);
        answer
    });
    answered(timeout(DECISION_WAIT, decision).await)
}

async fn token_keys(State(shared): State<Shared>) -> Response {
    response(Answer::json(200, shared.broker.token_keys().into_bytes()))
}

/// A header that must not stand twice; one that does is as good as none.
fn only(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then(|| value.to_owned())
}

/// All cookies in one header's value (RFC 9113, section 8.2.3).
fn cookies(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(header::COOKIE).iter().take(MAX_HEADERS);
    let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    (!values.is_empty()).then(|| values.join("; "))
}

fn refused(problem: Problem) -> Response {
    response(Answer::json(problem.status(), problem.to_json()))
}

type Waited = Result<Result<Answer, tokio::task::JoinError>, tokio::time::error::Elapsed>;

fn answered(waited: Waited) -> Response {
    match waited {
        Ok(Ok(answer)) => response(answer),
        Ok(Err(_)) | Err(_) => refused(Problem::Unavailable),
    }
}
