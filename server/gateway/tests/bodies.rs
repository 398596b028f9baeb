//! Encrypted bodies, as a client behind somebody who ends TLS has them, and streams that are padded.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test helper that fails is a failed test"
)]

mod common;

use anchorhold_body_encryption::{
    self as body, Awaiting, Error, HEADER, ehbp, read_key_config, seal_bodyless_request, seal_request,
};
use anchorhold_hpke::Entropy;
use anchorhold_ipc::ModelKind;
use anchorhold_rats::{Kem, WrappingKey};
use axum::body::Body;
use common::{Answer, KEY, Rig, chat, with};
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";
const LIMIT: u64 = 1 << 20;

async fn serving(top: &str) -> Rig {
    let rig = Rig::with(top, "");
    rig.worker("chat", ModelKind::Chat).await.serve();
    rig
}

/// What is sent, and how it says that it is bound.
struct Sent<'a> {
    method: &'a str,
    target: &'a str,
    head: &'a str,
    body: Option<&'a Value>,
}

fn asked(body: &Value) -> Sent<'_> {
    Sent { method: "POST", target: CHAT, head: "", body: Some(body) }
}

/// The encrypted request with these bytes of body, in the clear but for that.
fn request(sent: &Sent<'_>, header: &str, body: Vec<u8>) -> Request<Body> {
    let builder = Request::builder().method(sent.method).uri(sent.target).header(HEADER, header);
    let builder = builder.header("content-type", "application/json");
    let builder = match sent.head {
        "" => builder.header("authorization", format!("Bearer {KEY}")),
        _ => builder,
    };
    builder.body(Body::from(body)).unwrap()
}

fn seal(key: &WrappingKey, sent: &Sent<'_>) -> (String, Vec<u8>, Awaiting) {
    let bound = body::Request { method: sent.method, target: sent.target, content_type: "application/json" };
    let entropy = Entropy::random().unwrap();
    let Some(plain) = sent.body else {
        let (header, awaiting) = seal_bodyless_request(key, &bound, sent.head.as_bytes(), entropy).unwrap();
        return (header, Vec::new(), awaiting);
    };
    let sealed = seal_request(key, &bound, sent.head.as_bytes(), entropy).unwrap();
    let mut frames = Vec::new();
    sealed.body.finish(plain.to_string().as_bytes(), &mut frames).unwrap();
    (sealed.header, frames, sealed.awaiting)
}

/// The head and the body of an encrypted answer.
fn open(awaiting: Awaiting, answer: &Answer) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let content_type = answer.headers.get("content-type").map_or("", |value| value.to_str().unwrap());
    let response = body::Response { status: answer.status.as_u16(), content_type };
    let opened = awaiting.open(&response, answer.header(HEADER), LIMIT)?;
    let plain = match opened.body {
        Some(opener) => opener.open_whole(&answer.body)?,
        None => Vec::new(),
    };
    Ok((opened.head, plain))
}

#[tokio::test]
async fn an_encrypted_request_is_answered_so_that_only_its_caller_can_read_it() {
    let rig = serving("").await;
    for key in &rig.body_keys {
        let asked = chat("sealed question");
        let sent = self::asked(&asked);
        let (header, frames, awaiting) = seal(key, &sent);
        assert!(!frames.windows(6).any(|window| window == b"sealed"));
        let answer = rig.send(request(&sent, &header, frames)).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(!answer.body.windows(6).any(|window| window == b"sealed"));
        assert!(answer.headers.get("x-anchorhold-receipt-key").is_none(), "it would open the commitments");
        assert_eq!(answer.header("x-anchorhold-receipt"), common::RECEIPT);
        let (head, plain) = open(awaiting, &answer).unwrap();
        assert_eq!(head.len(), 64, "the key of the receipt's commitments");
        let value: Value = serde_json::from_slice(&plain).unwrap();
        assert_eq!(value["choices"][0]["message"]["content"], "sealed question");
    }
}

#[tokio::test]
async fn the_credential_may_come_encrypted_and_not_twice() {
    let rig = serving("").await;
    let asked = chat("hello");
    for (head, status) in
        [("Bearer key-of-acme-5c1f", StatusCode::OK), ("Bearer no", StatusCode::UNAUTHORIZED)]
    {
        let sent = Sent { head, ..self::asked(&asked) };
        let (header, frames, awaiting) = seal(&rig.body_keys[0], &sent);
        let answer = rig.send(request(&sent, &header, frames)).await;
        assert_eq!(answer.status, status);
        // Refusals are encrypted too.
        let (_, plain) = open(awaiting, &answer).unwrap();
        assert!(plain.starts_with(b"{"));
    }
    let sent = Sent { head: "Bearer key-of-acme-5c1f", ..self::asked(&asked) };
    let (header, frames, _) = seal(&rig.body_keys[0], &sent);
    let mut twice = request(&sent, &header, frames);
    twice.headers_mut().insert("authorization", format!("Bearer {KEY}").parse().unwrap());
    assert_eq!(rig.send(twice).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn requests_without_a_body_are_answered_encrypted_and_head_by_its_header_alone() {
    let rig = serving("").await;
    for method in ["GET", "HEAD"] {
        let sent = Sent { method, target: "/v1/models", head: "", body: None };
        let (header, _, awaiting) = seal(&rig.body_keys[0], &sent);
        let answer = rig.send(request(&sent, &header, Vec::new())).await;
        assert_eq!(answer.status, StatusCode::OK);
        let (_, plain) = open(awaiting, &answer).unwrap();
        assert_eq!(plain.is_empty(), method == Method::HEAD);
        // A body that was slipped in does not come through.
        let (header, _, _) = seal(&rig.body_keys[0], &Sent { method, target: CHAT, head: "", body: None });
        let slipped = Sent { method: "POST", target: CHAT, head: "", body: None };
        let answer = rig.send(request(&slipped, &header, b"{}".to_vec())).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    }
}

/// The pieces of text in a stream.
fn deltas(answer: &Answer) -> Vec<String> {
    let events = answer.events();
    let texts = events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str());
    texts.map(str::to_owned).collect()
}

#[tokio::test]
async fn a_stream_is_encrypted_frame_by_frame() {
    let rig = serving("").await;
    let asked = with(chat("a longer answer"), json!({"stream": true}));
    let sent = self::asked(&asked);
    let (header, frames, awaiting) = seal(&rig.body_keys[0], &sent);
    let answer = rig.send(request(&sent, &header, frames)).await;
    assert_eq!(answer.header("content-type"), "text/event-stream");
    let (_, plain) = open(awaiting, &answer).unwrap();
    let plain = Answer { body: plain.into(), ..answer };
    assert_eq!(plain.events().last(), Some(&json!("[DONE]")));
    assert_eq!(deltas(&plain).concat(), "a longer answer");
    // The end is a frame of its own, which a body that was cut lacks.
    let (header, frames, awaiting) = seal(&rig.body_keys[0], &sent);
    let answer = rig.send(request(&sent, &header, frames)).await;
    let cut = Answer { body: answer.body.slice(..answer.body.len() - 21), ..answer };
    assert_eq!(open(awaiting, &cut), Err(Error::Truncated));
}

#[tokio::test]
async fn refuses_what_was_sealed_for_something_else_and_says_only_when_a_new_key_helps() {
    let rig = serving("").await;
    let asked = chat("x");
    let sent = self::asked(&asked);
    let (header, frames, _) = seal(&rig.body_keys[0], &sent);
    let bad_request = (StatusCode::BAD_REQUEST, json!(null));
    let outcome = async |request| {
        let answer = rig.send(request).await;
        assert!(answer.headers.contains_key("x-request-id"));
        (answer.status, answer.code())
    };
    // Another path, another method, another content type.
    let other = Sent { target: "/v1/completions", ..self::asked(&asked) };
    assert_eq!(outcome(request(&other, &header, frames.clone())).await, bad_request);
    let other = Sent { target: "/v1/chat/completions?a=b", ..self::asked(&asked) };
    assert_eq!(outcome(request(&other, &header, frames.clone())).await, bad_request);
    let mut other = request(&sent, &header, frames.clone());
    other.headers_mut().insert("content-type", "application/json; charset=utf-8".parse().unwrap());
    assert_eq!(outcome(other).await, bad_request);
    // A header that is none, is there twice, or comes with that of the other profile.
    assert_eq!(outcome(request(&sent, "AAAA", frames.clone())).await, bad_request);
    let mut twice = request(&sent, &header, frames.clone());
    twice.headers_mut().append(HEADER, header.parse().unwrap());
    assert_eq!(outcome(twice).await, bad_request);
    let mut both = request(&sent, &header, frames.clone());
    both.headers_mut().insert(ehbp::REQUEST_HEADER, "00".parse().unwrap());
    assert_eq!(outcome(both).await, bad_request);
    // A key of another boot.
    let stranger = Rig::new();
    let (stale, _, _) = seal(&stranger.body_keys[0], &sent);
    let (status, code) = outcome(request(&sent, &stale, frames)).await;
    assert_eq!((status, code), (StatusCode::UNPROCESSABLE_ENTITY, json!("stale_body_key")));
}

#[tokio::test]
async fn a_body_that_was_changed_cut_or_prolonged_is_refused_and_the_refusal_is_encrypted() {
    let rig = serving("").await;
    let asked = chat("x");
    let sent = self::asked(&asked);
    let changes: [fn(&mut Vec<u8>); 4] = [
        |frames| frames[30] ^= 1,
        |frames| frames.truncate(10),
        |frames| frames.clear(),
        |frames| frames.push(0),
    ];
    for change in changes {
        let (header, mut frames, awaiting) = seal(&rig.body_keys[0], &sent);
        change(&mut frames);
        let answer = rig.send(request(&sent, &header, frames)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        let (_, plain) = open(awaiting, &answer).unwrap();
        let value: Value = serde_json::from_slice(&plain).unwrap();
        assert_eq!(value["error"]["type"], "invalid_request_error");
    }
}

fn ehbp_request(header: &str, body: Vec<u8>) -> Request<Body> {
    Request::builder()
        .method("POST")
        .uri(CHAT)
        .header("authorization", format!("Bearer {KEY}"))
        .header("content-type", "application/json")
        .header(ehbp::REQUEST_HEADER, header)
        .body(Body::from(body))
        .unwrap()
}

fn ehbp_seal(key: &WrappingKey, body: &Value) -> (String, Vec<u8>, ehbp::Awaiting) {
    let (header, mut sealer, awaiting) = ehbp::seal_request(key, Entropy::random().unwrap()).unwrap();
    let mut frames = Vec::new();
    sealer.push(body.to_string().as_bytes(), &mut frames).unwrap();
    (header, frames, awaiting)
}

#[tokio::test]
async fn clients_of_ehbp_find_their_key_and_are_answered() {
    let rig = serving("").await;
    let config = rig.send(Request::builder().uri(ehbp::KEYS_PATH).body(Body::empty()).unwrap()).await;
    assert_eq!(config.header("content-type"), "application/ohttp-keys");
    let key = read_key_config(&config.body).unwrap();
    assert!(key.kem() == Kem::X25519 && rig.body_keys.contains(&key));
    let (header, frames, awaiting) = ehbp_seal(&key, &chat("sealed"));
    let answer = rig.send(ehbp_request(&header, frames)).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.headers.get("x-anchorhold-receipt-key").is_none());
    let mut opener = awaiting.open(answer.header(ehbp::RESPONSE_HEADER), LIMIT).unwrap();
    let mut plain = Vec::new();
    opener.push(&answer.body, &mut plain).unwrap();
    opener.finish().unwrap();
    let value: Value = serde_json::from_slice(&plain).unwrap();
    assert_eq!(value["choices"][0]["message"]["content"], "sealed");
}

#[tokio::test]
async fn a_client_of_ehbp_with_an_old_key_is_told_and_nothing_succeeds_in_the_clear() {
    let rig = serving("").await;
    let stranger = Rig::new();
    let old = stranger.body_keys.iter().find(|key| key.kem() == Kem::X25519).unwrap();
    let (header, frames, _) = ehbp_seal(old, &chat("x"));
    let answer = rig.send(ehbp_request(&header, frames)).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(answer.json()["type"], "urn:ietf:params:ehbp:error:key-config");
    // A route that reads no body must not succeed without an answer that is encrypted.
    let (header, _, _) = ehbp_seal(old, &chat("x"));
    let mut unread = ehbp_request(&header, Vec::new());
    (*unread.method_mut(), *unread.uri_mut()) = (Method::GET, "/v1/models".parse().unwrap());
    let answer = rig.send(unread).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, json!(null)));
    assert_eq!(rig.send(ehbp_request("zz", Vec::new())).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn padded_streams_have_the_same_events_in_pieces_of_the_settings_sizes() {
    let asked =
        with(chat("words of many lengths, some short, some extraordinarily long"), json!({"stream": true}));
    let plain = serving("").await.send(common::post(CHAT, &asked)).await;
    let padded = serving("[padding]\nsizes = [512, 1024]\n").await.send(common::post(CHAT, &asked)).await;
    assert_eq!(deltas(&padded), deltas(&plain));
    // Each event with the comment before it is of one size.
    let sizes: Vec<_> = padded.text().split_inclusive("\n\n").map(str::len).collect();
    assert!(sizes.iter().all(|size| [512, 1024].contains(size)), "{sizes:?}");
}

#[tokio::test]
async fn paced_streams_are_slots_of_one_size_whose_number_is_rounded() {
    let asked = with(chat("one two three"), json!({"stream": true}));
    let settings = "[padding]\nevery_ms = 1\nslot_bytes = 256\nlengths = [64]\n";
    let rig = serving(settings).await;
    let answer = rig.send(common::post(CHAT, &asked)).await;
    assert_eq!(answer.body.len(), 256 * 64);
    let text = answer.text();
    let mut lines = text.lines().filter(|line| !line.starts_with(':') && !line.is_empty());
    assert_eq!(lines.next_back(), Some("data: [DONE]"));
}
