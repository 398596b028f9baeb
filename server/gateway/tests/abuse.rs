//! What is refused, and that nothing of it is repeated.

#![expect(clippy::unwrap_used, reason = "a test helper that fails is a failed test")]

mod common;

use anchorhold_ipc::{
    AuditEvent, Event, FromGateway, ModelKind, Reason, RejectReason, RequestError, RequestOutcome, Route,
    TokenField,
};
use axum::body::Body;
use common::{Answer, OTHER_KEY, Rig, aside, chat, get, post, request, with};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

async fn serving(limits: &str) -> Rig {
    let rig = Rig::with("models = []", limits);
    rig.worker("chat", ModelKind::Chat).await.serve();
    rig.worker("embed", ModelKind::Embedding).await.serve();
    rig
}

/// The one check of refusals: status, code, four keys.
fn check_refused(answer: &Answer, status: u16, code: &Value) {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text());
    assert_eq!(answer.code(), *code);
    let value = answer.json();
    let mut keys: Vec<_> = value.get("error").and_then(Value::as_object).unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, ["code", "message", "param", "type"]);
    assert_eq!(answer.header("content-type"), "application/json");
}

#[tokio::test]
async fn case_42_no_path_or_method_goes_around_the_key() {
    let rig = serving("").await;
    for path in [
        "/v1/models",
        "//v1/models",
        "/v1//models",
        "/V1/models",
        "/v1/models/",
        "/v1%2fmodels",
        "/%76%31/models",
        "/./v1/models",
        "/health/../v1/models",
        "/health/",
        "/Health",
        "//health",
        "/health%00",
        "/health;x",
        "/readyz/x",
        "/.well-known/anchorhold-attestation/",
        "/.well-known/anchorhold-attestation/../../v1/models",
        "/metrics",
        "http://other.example/v1/models",
        "https://localhost/v1/chat/completions",
        "http://localhost//health",
        "/nowhere",
        "/index.html",
        "//",
    ] {
        for method in ["GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "BREW"] {
            let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
            let answer = rig.send(request).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
    }
    let authority = Request::builder().method("CONNECT").uri("localhost:443").body(Body::empty()).unwrap();
    assert_eq!(rig.send(authority).await.status, StatusCode::UNAUTHORIZED);
    // The absolute form of a public path is that path, whatever the host says.
    let absolute = Request::builder().uri("http://other.example/health").body(Body::empty()).unwrap();
    assert_eq!(rig.send(absolute).await.status, StatusCode::OK);
}

#[tokio::test]
async fn refuses_keys_that_are_unknown_before_the_body_is_read() {
    let rig = serving("").await;
    for value in ["Bearer wrong", "Basic a2V5", "Bearer", "key-of-acme-5c1f", "Bearer key-of-acme-5c1f "] {
        let mut request = post("/v1/chat/completions", &chat("x"));
        // A body that never ends: an answer shows that nobody waits for it.
        *request.body_mut() =
            Body::from_stream(futures_util::stream::pending::<Result<String, std::io::Error>>());
        request.headers_mut().insert("authorization", value.parse().unwrap());
        check_refused(&rig.send(request).await, 401, &json!("invalid_api_key"));
    }
    let entry = rig.next();
    let told = matches!(entry, FromGateway::Attest { .. })
        || matches!(
            entry,
            FromGateway::Record { event: AuditEvent::AuthFailure(ref caller), .. }
                if (caller.route, caller.reason, caller.status) == (Route::ChatCompletions, Reason::KeyUnknown, 401)
        );
    assert!(told, "{entry:?}");
}

#[tokio::test]
async fn guesses_are_told_to_the_log_at_a_bounded_rate() {
    let rig = Rig::new();
    for _ in 0..200 {
        rig.send(Request::builder().uri("/v1/models").body(Body::empty()).unwrap()).await;
    }
    rig.send(get("/v1/models")).await;
    let mut told = 0;
    while let FromGateway::Record { event, .. } = rig.next() {
        match event {
            AuditEvent::AuthFailure(_) => told += 1,
            AuditEvent::Request(_) => break,
        }
    }
    // Ten a second; a slow machine may need several seconds for the loop.
    assert!((10..200).contains(&told), "{told}");
    assert!(rig.send(get("/metrics")).await.text().contains("anchorhold_auth_failures_total 200\n"));
}

#[tokio::test]
async fn refuses_bodies_by_their_headers() {
    let rig = serving("body_bytes = 200").await;
    let body = chat("x").to_string();
    let send = async |name: &'static str, value: &'static str| {
        let mut request = request("POST", "/v1/chat/completions", Body::from(body.clone()));
        request.headers_mut().insert(name, value.parse().unwrap());
        rig.send(request).await
    };
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""] {
        check_refused(&send("content-type", kind).await, 415, &json!("unsupported_media_type"));
    }
    for coding in ["gzip", "br", "identity, gzip"] {
        check_refused(&send("content-encoding", coding).await, 415, &json!("unsupported_media_type"));
    }
    assert_eq!(send("content-type", "Application/JSON; charset=utf-8").await.status, StatusCode::OK);
    assert_eq!(send("content-encoding", "identity").await.status, StatusCode::OK);
    let padded = |bytes: usize| Body::from(format!("{body}{}", " ".repeat(bytes - body.len())));
    assert_eq!(rig.send(request("POST", "/v1/chat/completions", padded(200))).await.status, StatusCode::OK);
    let over = rig.send(request("POST", "/v1/chat/completions", padded(201))).await;
    check_refused(&over, 413, &json!("request_too_large"));
}

#[tokio::test]
async fn case_38_extreme_parameters_are_refused_before_the_worker_hears_of_them() {
    let rig = Rig::new();
    let worker = rig.worker("chat", ModelKind::Chat).await;
    let flood = vec![json!({"role": "user", "content": "x"}); 100_000];
    for (change, param) in [
        (json!({"max_tokens": 513}), "max_tokens"),
        (json!({"max_tokens": 4_000_000_000_u64}), "max_tokens"),
        (json!({"n": 1_000_000}), "n"),
        (json!({"temperature": 1e300}), "temperature"),
        (json!({"stop": vec!["x"; 100_000]}), "stop"),
        (json!({"logprobs": true, "top_logprobs": 1000}), "top_logprobs"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": flood}), "messages"),
        (json!({"messages": [{"role": "user", "content": "a\u{0}"}]}), "messages[0].content"),
        (json!({"chat_template": "{% for x in range(10**9) %}{% endfor %}"}), "chat_template"),
    ] {
        let request = post("/v1/chat/completions", &with(chat("x"), change));
        let begun = Instant::now();
        let answer = rig.send(request).await;
        assert!(begun.elapsed() < Duration::from_secs(1), "{param}: {:?}", begun.elapsed());
        assert_eq!((answer.status.as_u16(), answer.param()), (400, json!(param)));
        assert_eq!(rig.next_record().outcome, RequestOutcome::Rejected);
    }
    assert!(worker.work.try_recv().is_err());
}

#[tokio::test]
async fn refuses_models_that_are_unknown_or_of_the_other_kind() {
    let rig = serving("").await;
    let unknown = rig.send(post("/v1/chat/completions", &with(chat("x"), json!({"model": "no"})))).await;
    check_refused(&unknown, 404, &json!("model_not_found"));
    let embeds = rig.send(post("/v1/chat/completions", &with(chat("x"), json!({"model": "embed"})))).await;
    check_refused(&embeds, 400, &json!("model_wrong_kind"));
    let chats = rig.send(post("/v1/embeddings", &json!({"model": "chat", "input": "x"}))).await;
    check_refused(&chats, 400, &json!("model_wrong_kind"));
    let shorter =
        rig.send(post("/v1/embeddings", &json!({"model": "embed", "input": "x", "dimensions": 2}))).await;
    check_refused(&shorter, 400, &Value::Null);
    assert_eq!(shorter.param(), "dimensions");
    let reasons: Vec<_> = (0..4).map(|_| rig.next_record().reason.unwrap()).collect();
    let wrong_kind = Reason::ModelWrongKind;
    assert_eq!(reasons, [Reason::ModelNotFound, wrong_kind, wrong_kind, Reason::InvalidRequest]);
}

#[tokio::test]
async fn refusals_of_the_worker_become_client_errors_with_the_field() {
    let rig = Rig::new();
    let mut worker = rig.worker("chat", ModelKind::Chat).await;
    let unknown = |field| RequestError::Rejected(RejectReason::UnknownToken(field));
    for (error, status, code) in [
        (
            RequestError::Rejected(RejectReason::ContextLength { tokens: 600, limit: 512 }),
            400,
            json!("context_length_exceeded"),
        ),
        (unknown(TokenField::Prompt), 400, Value::Null),
        (unknown(TokenField::StopTokens), 400, Value::Null),
        (unknown(TokenField::LogitBias), 400, Value::Null),
        (RequestError::Rejected(RejectReason::EmptyPrompt), 400, Value::Null),
        (RequestError::Rejected(RejectReason::TooManyInputs { limit: 9 }), 400, Value::Null),
        (RequestError::Rejected(RejectReason::Template), 400, Value::Null),
        (RequestError::Overloaded, 503, json!("overloaded")),
        (RequestError::Internal, 500, json!("internal_error")),
    ] {
        for stream in [false, true] {
            let task = rig.begin(post("/v1/chat/completions", &with(chat("x"), json!({"stream": stream}))));
            let event = error.clone();
            worker = aside(move || {
                let (id, _) = worker.submitted();
                worker.say(&Event::Failed { id, error: event });
                worker
            })
            .await;
            let answer = task.await.unwrap();
            check_refused(&answer, status, &code);
            if let RequestError::Rejected(reason) = &error {
                let field = match reason {
                    RejectReason::UnknownToken(TokenField::StopTokens) => "stop_token_ids",
                    RejectReason::UnknownToken(TokenField::LogitBias) => "logit_bias",
                    _ => "messages",
                };
                assert_eq!(answer.param(), field);
            }
        }
    }
}

#[tokio::test]
async fn one_tenant_at_its_limit_is_told_so_and_another_is_served() {
    let rig = Rig::with("models = []", "max_in_flight_per_tenant = 1\nmax_in_flight = 2");
    let mut worker = rig.worker("chat", ModelKind::Chat).await;
    let begin = |key: &str| {
        let mut request = post("/v1/chat/completions", &chat("x"));
        request.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        rig.begin(request)
    };
    let first = begin(common::KEY);
    let (mut worker, one) = aside(move || {
        let id = worker.submitted().0;
        worker.say(&Event::Delta { id, choice: 0, text: "1".to_owned(), told: Vec::new() });
        (worker, id)
    })
    .await;
    let refused = rig.send(post("/v1/chat/completions", &chat("x"))).await;
    check_refused(&refused, 429, &json!("rate_limit_exceeded"));
    assert_eq!(refused.header("retry-after"), "1");
    let other = begin(OTHER_KEY);
    aside(move || {
        let two = worker.submitted().0;
        for id in [one, two] {
            let reason = anchorhold_ipc::FinishReason::Stop;
            worker.say(&Event::Finished {
                id,
                choice: 0,
                reason,
                tokens_in: 1,
                tokens_found: 0,
                tokens_out: 1,
            });
        }
        worker
    })
    .await;
    assert_eq!((first.await.unwrap().status, other.await.unwrap().status), (StatusCode::OK, StatusCode::OK));
}
