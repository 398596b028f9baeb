//! A software guest behind TLS, for the tests of other languages: it attests itself, authenticates connections, takes encrypted bodies, and
//! answers like a model that repeats what it was told. It prints one line of JSON, with what a relying party has to know, and serves
//! until its standard input ends. `attested_server relay` serves under a TLS key that its evidence does not name.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program of the tests, which stops at a surprise"
)]

use anchorhold_attester::software::{LaunchConfig, SoftwareGuest, simulated_roots_pem};
use anchorhold_body_encryption::{BodyKey, HEADER, Request as Bound, RequestHeader, Response as Answered};
use anchorhold_channel::authenticator::{self, AuthenticatorKey, Exporters, Unsigned};
use anchorhold_channel::document::{
    self, AuditHead, ChannelKeys, Document, DocumentKeys, DocumentState, ServedModel, nonce_of_query,
};
use anchorhold_channel::server::{self, Limits};
use anchorhold_channel::tls::SelfSigned;
use anchorhold_rats::{Ed25519PublicKey, Kem, Measurement, Nonce, Sha256Digest, Timestamp};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, RawQuery, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use std::io::Read as _;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;

const MEASUREMENT: Measurement = Measurement::new([0x5a; 48]);
const MAX_BODY_BYTES: usize = 1024 * 1024;

struct Guest {
    guest: SoftwareGuest,
    keys: DocumentKeys,
    authenticator_key: AuthenticatorKey,
    body_key: BodyKey,
}

impl Guest {
    fn document(&self, nonce: Nonce) -> Vec<u8> {
        let model =
            ServedModel { id: "echo".into(), version: 1, manifest_digest: Sha256Digest::new([8; 32]) };
        let channel = ChannelKeys {
            authenticator_key: self.authenticator_key.public_key(),
            body_keys: vec![self.body_key.public_key().clone()],
        };
        let audit =
            AuditHead { origin: "test/1".into(), tree_size: 1, root_hash: Sha256Digest::new([10; 32]) };
        let state = DocumentState { models: vec![model], policy_digest: None, audit, channel, runtime: None };
        let state = state.to_json().unwrap();
        let binding = document::binding(nonce, &self.keys, &state, Sha256Digest::of(b""));
        let evidence = self.guest.attest(&binding.report_data()).unwrap();
        Document::new(nonce, self.keys, state, evidence).unwrap().to_json().unwrap()
    }
}

async fn attest(State(guest): State<Arc<Guest>>, RawQuery(query): RawQuery) -> Result<Vec<u8>, StatusCode> {
    nonce_of_query(query.as_deref()).map(|nonce| guest.document(nonce)).ok_or(StatusCode::BAD_REQUEST)
}

async fn authenticate(
    State(guest): State<Arc<Guest>>,
    Extension(exporters): Extension<Arc<Exporters>>,
    body: Bytes,
) -> Result<Vec<u8>, StatusCode> {
    let request = authenticator::Request::parse(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    let unsigned = Unsigned::new(&exporters, &request, guest.authenticator_key.certificate());
    let signature = guest.authenticator_key.sign(&unsigned.transcript_hash()).unwrap();
    Ok(unsigned.finish(&signature))
}

async fn models() -> Response {
    let models = json!({ "object": "list", "data": [{ "id": "echo", "object": "model", "created": 0, "owned_by": "test" }] });
    axum::response::Response::builder()
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(models.to_string()))
        .unwrap()
}

/// Repeats the last message, word by word when it is asked to stream. The API key is `test`.
async fn chat(headers: HeaderMap, body: Bytes) -> Response {
    if headers.get(header::AUTHORIZATION).is_none_or(|value| value != "Bearer test") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let Ok(request) = serde_json::from_slice::<Value>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let last = request.get("messages").and_then(Value::as_array).and_then(|messages| messages.last());
    let text = last.and_then(|message| message.get("content")).and_then(Value::as_str).unwrap_or_default();
    let of = |object: &str, choice: Value| {
        json!({ "id": "chatcmpl-1", "object": object, "created": 0, "model": "echo", "choices": [choice] })
            .to_string()
    };
    if request.get("stream").and_then(Value::as_bool) != Some(true) {
        let message = json!({ "role": "assistant", "content": text });
        let choice = json!({ "index": 0, "message": message, "finish_reason": "stop" });
        return ([(header::CONTENT_TYPE, "application/json")], of("chat.completion", choice)).into_response();
    }
    let mut events: Vec<String> = text
        .split_inclusive(' ')
        .map(|word| json!({ "index": 0, "delta": { "content": word }, "finish_reason": null }))
        .map(|choice| format!("data: {}\n\n", of("chat.completion.chunk", choice)))
        .collect();
    events.push("data: [DONE]\n\n".to_owned());
    let pieces = events.into_iter().map(|event| Ok::<_, std::convert::Infallible>(Bytes::from(event)));
    let body = Body::from_stream(futures_util::stream::iter(pieces));
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

/// Takes encrypted bodies, whole, and encrypts their answers.
async fn decrypt(
    State(guest): State<Arc<Guest>>,
    request: Request,
    next: Next,
) -> Result<Response, StatusCode> {
    let Some(value) = request.headers().get(HEADER).cloned() else { return Ok(next.run(request).await) };
    let refused = |_| StatusCode::BAD_REQUEST;
    let parsed = RequestHeader::parse(value.to_str().unwrap_or_default()).map_err(refused)?;
    let (mut parts, body) = request.into_parts();
    let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str()).to_owned();
    let bound = Bound {
        method: parts.method.as_str(),
        target: &target,
        content_type: content_type.unwrap_or_default(),
    };
    let (opened, reply) = parsed.open(&guest.body_key, &bound, 1 << 20).map_err(refused)?;
    let sealed =
        axum::body::to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
    let plain = match opened.body {
        Some(opener) => opener.open_whole(&sealed).map_err(refused)?,
        None => Vec::new(),
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    if !opened.head.is_empty() {
        parts.headers.insert(header::AUTHORIZATION, opened.head.as_slice().try_into().unwrap());
    }
    let answer = next.run(Request::from_parts(parts, Body::from(plain))).await;
    let (mut parts, body) = answer.into_parts();
    let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let answered = Answered { status: parts.status.as_u16(), content_type: content_type.unwrap_or_default() };
    let (value, sealer) = reply.seal(&answered, b"", &Nonce::random().unwrap()).unwrap();
    let mut sealed = Vec::new();
    sealer.finish(&axum::body::to_bytes(body, MAX_BODY_BYTES).await.unwrap(), &mut sealed).unwrap();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(HEADER, value.try_into().unwrap());
    Ok(Response::from_parts(parts, Body::from(sealed)))
}

fn now() -> Timestamp {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    Timestamp::from_unix_seconds(i64::try_from(seconds).unwrap())
}

#[tokio::main]
async fn main() {
    let relays = std::env::args().nth(1).is_some_and(|word| word == "relay");
    let own = SelfSigned::generate(&["localhost".into()]).unwrap();
    let keys = DocumentKeys {
        tls_key: if relays { Sha256Digest::new([1; 32]) } else { own.tls_key },
        release_key: Sha256Digest::new([2; 32]),
        audit_key: Ed25519PublicKey::new([3; 32]),
    };
    let guest = Arc::new(Guest {
        guest: SoftwareGuest::launch(LaunchConfig::new(MEASUREMENT), now()).unwrap(),
        keys,
        authenticator_key: AuthenticatorKey::generate().unwrap(),
        body_key: BodyKey::generate(Kem::XWing).unwrap(),
    });
    let router = Router::new()
        .route("/v1/models", get(models))
        .route("/v1/chat/completions", post(chat))
        .layer(middleware::from_fn_with_state(Arc::clone(&guest), decrypt))
        .route(document::PATH, get(attest))
        .route(authenticator::PATH, post(authenticate))
        .with_state(guest);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    println!("{}", json!({ "url": url, "measurement": MEASUREMENT, "roots": simulated_roots_pem() }));
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    let shutdown = async move { drop(ended.await) };
    server::serve(listener, own.into_server_config().unwrap(), router, Limits::default(), shutdown).await;
}
