//! Which path and method leads where.

use crate::App;
use crate::attestation;
use crate::bodies::bodies;
use crate::embed;
use crate::exchange::{Answer, Exchange};
use crate::front::{Caller, front, route_of};
use crate::generate;
use crate::keys::expiring;
use crate::log_part;
use crate::refuse::{audit_unavailable, json, refuse};
use crate::rerank;
use crate::status;
use crate::tokenize;
use crate::words::{hex, now};
use anchorhold_api::{ApiError, ModelCard, model, models};
use anchorhold_body_encryption::{KEYS_MEDIA_TYPE, ehbp::KEYS_PATH};
use anchorhold_channel::{authenticator, document};
use anchorhold_ipc::{HeldProcess, LogFile, LogPart, LogStanding, ModelInfo, ModelKind, Route};
use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request, State};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use std::sync::{Arc, LazyLock};

/// What other servers of this API have and this one does not, so that the refusal can say so.
const UNSUPPORTED: [&str; 15] = [
    "/rerank",
    "/v1/assistants",
    "/v1/audio",
    "/v1/batches",
    "/v1/conversations",
    "/v1/evals",
    "/v1/files",
    "/v1/fine_tuning",
    "/v1/images",
    "/v1/messages",
    "/v1/moderations",
    "/v1/realtime",
    "/v1/threads",
    "/v1/uploads",
    "/v1/vector_stores",
];
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

type Shared = State<Arc<App>>;

/// All of it. The layers are put on last, so that they are around the fallbacks too; the last is the outermost.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(completion))
        .route("/v1/embeddings", post(embedding))
        .route("/v1/rerank", post(reranking))
        .route("/v1/responses", post(responses))
        .route("/v1/responses/{*id}", get(no_response).delete(no_response))
        .route("/tokenize", post(tokenizing))
        .route("/detokenize", post(detokenizing))
        .route("/v1/models", get(all_models))
        .route("/v1/models/{*id}", get(one_model))
        .route("/v1/audit/checkpoint", get(log_file))
        .route("/v1/audit/tile/{*tile}", get(log_file))
        .route("/", get(status::page))
        .route("/openapi.json", get(openapi))
        .route("/health", get(health))
        .route("/readyz", get(ready))
        .route("/version", get(version))
        .route("/metrics", get(metrics))
        .route(document::PATH, get(attestation::document))
        .route(authenticator::PATH, post(attestation::authenticator))
        .route(KEYS_PATH, get(body_keys))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(&app), front))
        .layer(from_fn_with_state(Arc::clone(&app), bodies))
        .with_state(app)
}

async fn chat(State(app): Shared, Extension(caller): Extension<Caller>, request: Request) -> Response {
    match Exchange::begin(&app, caller, Route::ChatCompletions) {
        Ok(mut exchange) => {
            let answer = generate::chat(&mut exchange, request).await;
            exchange.answer(answer).await
        }
        Err(error) => refuse(&error),
    }
}

async fn completion(State(app): Shared, Extension(caller): Extension<Caller>, request: Request) -> Response {
    match Exchange::begin(&app, caller, Route::Completions) {
        Ok(mut exchange) => {
            let answer = generate::completion(&mut exchange, request).await;
            exchange.answer(answer).await
        }
        Err(error) => refuse(&error),
    }
}

async fn embedding(State(app): Shared, Extension(caller): Extension<Caller>, request: Request) -> Response {
    match Exchange::begin(&app, caller, Route::Embeddings) {
        Ok(mut exchange) => {
            let answer = embed::embedding(&mut exchange, request).await;
            exchange.answer(answer).await
        }
        Err(error) => refuse(&error),
    }
}

async fn responses(State(app): Shared, Extension(caller): Extension<Caller>, request: Request) -> Response {
    match Exchange::begin(&app, caller, Route::Responses) {
        Ok(mut exchange) => {
            let answer = generate::response(&mut exchange, request).await;
            exchange.answer(answer).await
        }
        Err(error) => refuse(&error),
    }
}

/// No response is stored, so none is found.
async fn no_response(State(app): Shared, Extension(caller): Extension<Caller>) -> Response {
    at_once(&app, caller, Route::Responses, Err(ApiError::response_not_found())).await
}

async fn reranking(State(app): Shared, Extension(caller): Extension<Caller>, request: Request) -> Response {
    match Exchange::begin(&app, caller, Route::Rerank) {
        Ok(mut exchange) => {
            let answer = rerank::rerank(&mut exchange, request).await;
            exchange.answer(answer).await
        }
        Err(error) => refuse(&error),
    }
}

async fn tokenizing(State(app): Shared, Extension(caller): Extension<Caller>, request: Request) -> Response {
    match Exchange::begin(&app, caller, Route::Tokenize) {
        Ok(mut exchange) => {
            let answer = tokenize::tokenize(&mut exchange, request).await;
            exchange.answer(answer).await
        }
        Err(error) => refuse(&error),
    }
}

async fn detokenizing(
    State(app): Shared,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    match Exchange::begin(&app, caller, Route::Tokenize) {
        Ok(mut exchange) => {
            let answer = tokenize::detokenize(&mut exchange, request).await;
            exchange.answer(answer).await
        }
        Err(error) => refuse(&error),
    }
}

/// Ends a request that no worker is asked about.
async fn at_once(
    app: &Arc<App>,
    caller: Caller,
    route: Route,
    result: Result<Vec<u8>, ApiError>,
) -> Response {
    match Exchange::begin(app, caller, route) {
        Ok(mut exchange) => {
            if result.is_ok() {
                exchange.no_body();
            }
            exchange.answer(result.map(Answer::Whole)).await
        }
        Err(error) => refuse(&error),
    }
}

async fn all_models(State(app): Shared, Extension(caller): Extension<Caller>) -> Response {
    let may_ask = |(info, _): &&(ModelInfo, u64)| caller.tenant.may_ask(&info.id);
    let cards: Vec<ModelCard> = app.pool.list().iter().filter(may_ask).map(card).collect();
    at_once(&app, caller, Route::Models, Ok(models(&cards))).await
}

async fn one_model(
    State(app): Shared,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
) -> Response {
    let wanted = id.ok().map(|Path(id)| id);
    let known = app.pool.list();
    let found =
        known.iter().find(|(info, _)| Some(&info.id) == wanted.as_ref() && caller.tenant.may_ask(&info.id));
    let result = found.map(|found| model(&card(found))).ok_or_else(ApiError::model_not_found);
    at_once(&app, caller, Route::Models, result).await
}

/// A file of the audit log, for a key that may read it. That it was read is itself in the log before the answer leaves.
async fn log_file(State(app): Shared, Extension(caller): Extension<Caller>, uri: Uri) -> Response {
    let part = uri.path().strip_prefix("/v1/audit/").and_then(log_part::parse);
    let file = match part {
        Some(part) => app.keeper.read_log(part).await,
        None => LogFile::Missing,
    };
    let result = match file {
        LogFile::Found(content) => Ok(content),
        LogFile::Missing => Err(ApiError::unknown_route()),
        LogFile::Unavailable => {
            Err(ApiError::unavailable("audit_log_busy", "the audit log cannot be read now"))
        }
    };
    let is_found = result.is_ok();
    let mut response = at_once(&app, caller, Route::Audit, result).await;
    if is_found && response.status() == StatusCode::OK {
        let is_text = part == Some(LogPart::Checkpoint);
        let kind = if is_text { "text/plain; charset=utf-8" } else { "application/octet-stream" };
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    response
}

fn card((info, created): &(ModelInfo, u64)) -> ModelCard {
    let kind = match info.kind {
        ModelKind::Chat => "chat",
        ModelKind::Embedding => "embedding",
        ModelKind::Rerank => "rerank",
    };
    ModelCard {
        id: info.id.clone(),
        created: *created,
        kind,
        max_model_len: info.max_tokens,
        dimensions: (info.kind == ModelKind::Embedding).then_some(info.dimensions),
        version: info.version,
        manifest_sha256: hex(&info.manifest_digest),
    }
}

/// Alive: it answers, whatever the rest of the server does.
async fn health() -> Response {
    json(StatusCode::OK, r#"{"status":"ok"}"#)
}

async fn ready(State(app): Shared) -> Response {
    if app.pool.ready(&app.current.get().config.models) && !*app.draining.borrow() {
        let log = app.keeper.log_standing();
        return match log.state.allows_new() {
            true => json(StatusCode::OK, readiness(&app.guest.held, log)),
            false => refuse(&audit_unavailable()),
        };
    }
    refuse(&ApiError::unavailable("not_ready", "not every model can answer now"))
}

/// That every model can answer, how the audit log stands, and which layers held each process when the port was opened.
fn readiness(held: &[HeldProcess], log: LogStanding) -> String {
    let process = |held: &HeldProcess| serde_json::json!({ "process": held.process, "layers": held.active, "missing": held.missing });
    let held: Vec<_> = held.iter().map(process).collect();
    let log = serde_json::json!({ "cosigned": log.cosigned, "state": log.state.name() });
    serde_json::json!({ "audit": log, "confinement": held, "status": "ready" }).to_string()
}

async fn version() -> Response {
    json(StatusCode::OK, concat!(r#"{"name":"anchorhold","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#))
}

/// What generators of clients read. It is made once.
async fn openapi() -> Response {
    static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| anchorhold_api::openapi().into());
    json(StatusCode::OK, DOCUMENT.clone())
}

/// Numbers for operators. They hold nothing of any request, so the answer does not wait for its audit entry: a log
/// that takes none is just when they are needed.
async fn metrics(State(app): Shared, Extension(caller): Extension<Caller>, headers: HeaderMap) -> Response {
    let expiring = expiring(&caller.live.config.keys, now());
    app.metrics.refresh((app.keeper.entries(), app.keeper.log_standing()), expiring, &app.pool.loads());
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (text, kind) = if accept.contains("application/openmetrics-text") {
        (app.metrics.open_metrics(), OPEN_METRICS)
    } else {
        (app.metrics.prometheus(), PROMETHEUS)
    };
    if let Ok(exchange) = Exchange::begin(&app, caller, Route::Other) {
        exchange.close_later(StatusCode::OK);
    }
    let mut response = Response::new(text.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// The key for clients of EHBP. Whether it is the guest's, the attestation document says.
async fn body_keys(State(app): Shared) -> Response {
    let mut response = Response::new(app.body_keys.ohttp_keys().into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(KEYS_MEDIA_TYPE));
    response
}

/// A path that leads nowhere.
async fn unknown(State(app): Shared, caller: Option<Extension<Caller>>, uri: Uri) -> Response {
    let path = uri.path();
    let below =
        |route: &&str| path.strip_prefix(*route).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let error =
        if UNSUPPORTED.iter().any(below) { ApiError::unsupported_route() } else { ApiError::unknown_route() };
    refused(&app, caller, path, error).await
}

/// A path that does not know the method; axum adds `allow`.
async fn wrong_method(State(app): Shared, caller: Option<Extension<Caller>>, uri: Uri) -> Response {
    refused(&app, caller, uri.path(), ApiError::method_not_allowed()).await
}

pub(crate) async fn refused(
    app: &Arc<App>,
    caller: Option<Extension<Caller>>,
    path: &str,
    error: ApiError,
) -> Response {
    match caller {
        Some(Extension(caller)) => at_once(app, caller, route_of(path), Err(error)).await,
        None => refuse(&error),
    }
}
