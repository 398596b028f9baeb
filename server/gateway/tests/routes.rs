//! Every route as its users know it.

#![expect(clippy::unwrap_used, reason = "a test helper that fails is a failed test")]

mod common;

use anchorhold_channel::authenticator;
use anchorhold_ipc::{ModelInfo, ModelKind, Prompt, RequestOutcome, Route, Shorter, WorkKind};
use anchorhold_rats::Nonce;
use common::{RECEIPT, Rig, chat, get, info, post, request, with};
use http::StatusCode;
use ring::hmac;
use serde_json::json;

async fn serving() -> Rig {
    let rig = Rig::new();
    rig.worker("chat", ModelKind::Chat).await.serve();
    rig.worker("embed", ModelKind::Embedding).await.serve();
    rig
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[tokio::test]
async fn chat_answers_and_logs_commitments_to_both_bodies() {
    let rig = serving().await;
    let body = chat("grüß dich");
    let answer = rig.send(post("/v1/chat/completions", &body)).await;
    assert_eq!(answer.status, StatusCode::OK);
    let value = answer.json();
    assert_eq!(value["choices"][0]["message"]["content"], "grüß dich");
    assert_eq!(value["choices"][0]["finish_reason"], "stop");
    assert_eq!(
        value["usage"],
        json!({"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14, "prompt_tokens_details": {"cached_tokens": 0}})
    );
    let record = rig.next_record();
    assert_eq!(value["id"], format!("chatcmpl-{}", record.rid));
    assert_eq!(
        (record.tenant.as_str(), record.route, record.model.as_str()),
        ("acme", Route::ChatCompletions, "chat")
    );
    assert_eq!((record.outcome, record.status, record.stream), (RequestOutcome::Complete, 200, false));
    assert_eq!((record.tokens_in, record.tokens_out), (5, 9));
    let key = hmac::Key::new(hmac::HMAC_SHA256, &unhex(answer.header("x-anchorhold-receipt-key")));
    let (asked, answered) = record.commitments.unwrap();
    hmac::verify(&key, body.to_string().as_bytes(), &asked).unwrap();
    hmac::verify(&key, &answer.body, &answered).unwrap();
    assert_eq!(answer.header("x-anchorhold-receipt"), RECEIPT);
}

#[tokio::test]
async fn the_streamed_text_equals_the_whole_one_and_its_entry_covers_every_byte() {
    let rig = serving().await;
    let text = "line one\nline \"two\" — ünïcode 🦀 \\ end";
    let whole = rig.send(post("/v1/chat/completions", &chat(text))).await.json();
    rig.next_record();
    let streaming = with(chat(text), json!({"stream": true, "stream_options": {"include_usage": true}}));
    let answer = rig.send(post("/v1/chat/completions", &streaming)).await;
    assert_eq!(answer.header("content-type"), "text/event-stream");
    assert_eq!((answer.header("cache-control"), answer.header("x-accel-buffering")), ("no-store", "no"));
    let events = answer.events();
    let (done, events) = events.split_last().unwrap();
    let (usage, events) = events.split_last().unwrap();
    assert_eq!(done, "[DONE]");
    assert_eq!((&usage["choices"], &usage["usage"]), (&json!([]), &whole["usage"]));
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    assert!(events.iter().all(|event| event["usage"].is_null() && event["id"] == usage["id"]));
    let deltas = events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str());
    assert_eq!(deltas.collect::<String>(), whole["choices"][0]["message"]["content"].as_str().unwrap());
    let reasons: Vec<_> =
        events.iter().filter_map(|event| event["choices"][0]["finish_reason"].as_str()).collect();
    assert_eq!(reasons, ["stop"]);
    let record = rig.next_record();
    assert!(record.stream && record.outcome == RequestOutcome::Complete);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &unhex(answer.header("x-anchorhold-receipt-key")));
    let comment = format!(": x-anchorhold-receipt {RECEIPT}\n");
    let committed = answer.text().replacen(&comment, "", 1);
    assert_eq!(answer.body.len(), committed.len() + comment.len());
    hmac::verify(&key, committed.as_bytes(), &record.commitments.unwrap().1).unwrap();
}

#[tokio::test]
async fn completions_keep_the_order_of_prompts_streamed_or_not() {
    let rig = serving().await;
    let body = json!({"model": "chat", "prompt": ["first", "second one"], "max_tokens": 7});
    let whole = rig.send(post("/v1/completions", &body)).await.json();
    let texts: Vec<_> =
        whole["choices"].as_array().unwrap().iter().map(|c| c["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["first", "second "]);
    assert_eq!(whole["choices"][1]["finish_reason"], "length");
    assert_eq!(
        whole["usage"],
        json!({"prompt_tokens": 10, "completion_tokens": 12, "total_tokens": 22, "prompt_tokens_details": {"cached_tokens": 0}})
    );
    let events = rig.send(post("/v1/completions", &with(body, json!({"stream": true})))).await.events();
    let text = |index: usize| -> String {
        let choices = events.iter().filter_map(|event| event["choices"].get(0));
        choices
            .filter(|choice| choice["index"] == index)
            .filter_map(|choice| choice["text"].as_str())
            .collect()
    };
    assert_eq!((text(0), text(1)), ("first".to_owned(), "second ".to_owned()));
    let tokens = rig.send(post("/v1/completions", &json!({"model": "chat", "prompt": [3, 4]}))).await.json();
    assert_eq!(tokens["choices"][0]["text"], "[3, 4]");
}

#[tokio::test]
async fn what_was_asked_reaches_the_worker() {
    let rig = Rig::new();
    let worker = rig.worker("chat", ModelKind::Chat).await;
    let body =
        with(chat("x"), json!({"temperature": 0.5, "seed": 7, "stop": ["y"], "max_tokens": 3, "top_k": 2}));
    let task = rig.begin(post("/v1/chat/completions", &body));
    let kind = common::aside(move || worker.submitted().1).await;
    let WorkKind::Generate { prompt: Prompt::Chat(conversation), sampling, stop, .. } = kind else {
        panic!("{kind:?}")
    };
    let message = &conversation.messages[0];
    assert_eq!((message.role.as_str(), message.content.as_str()), ("user", "x"));
    assert_eq!((sampling.temperature, sampling.seed, sampling.top_k), (0.5, 7, 2));
    assert_eq!((stop.max_tokens, stop.stop), (3, vec!["y".to_owned()]));
    // The worker went away with the closure, so the request ends.
    assert_eq!(task.await.unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn embeddings_keep_order_and_both_encodings_agree() {
    let rig = serving().await;
    let body = json!({"model": "embed", "input": ["a", "b", "c"], "dimensions": 4});
    let floats = rig.send(post("/v1/embeddings", &body)).await.json();
    assert_eq!(
        floats["data"][2],
        json!({"object": "embedding", "index": 2, "embedding": [2.0, 0.5, -1.0, 0.1]})
    );
    assert_eq!(floats["usage"], json!({"prompt_tokens": 9, "total_tokens": 9}));
    let packed =
        rig.send(post("/v1/embeddings", &with(body, json!({"encoding_format": "base64"})))).await.json();
    assert_eq!(packed["data"][2]["embedding"], "AAAAQAAAAD8AAIC/zczMPQ==");
    assert_eq!(rig.next_record().route, Route::Embeddings);
}

#[tokio::test]
async fn embeddings_are_cut_only_as_their_model_allows() {
    let rig = Rig::new();
    for (id, shorter) in [("no", Shorter::No), ("any", Shorter::Any), ("some", Shorter::To(vec![2]))] {
        let info = ModelInfo { shorter, ..info(id, ModelKind::Embedding) };
        rig.worker_of(info).await.serve();
    }
    let ask = async |model: &str, dimensions: u32, encoding: &str| {
        let body =
            json!({"model": model, "input": "x", "dimensions": dimensions, "encoding_format": encoding});
        rig.send(post("/v1/embeddings", &body)).await
    };
    for (model, dimensions) in [("no", 2), ("no", 5), ("any", 5), ("some", 3), ("some", 1), ("some", 5)] {
        let answer = ask(model, dimensions, "float").await;
        assert_eq!(
            (answer.status, answer.param()),
            (StatusCode::BAD_REQUEST, json!("dimensions")),
            "{model}"
        );
    }
    // The fake worker's vector is 0, 0.5, -1, 0.1.
    assert_eq!(ask("some", 2, "float").await.json()["data"][0]["embedding"], json!([0.0, 1.0]));
    assert_eq!(ask("any", 1, "float").await.json()["data"][0]["embedding"], json!([0.0]));
    assert_eq!(ask("some", 2, "base64").await.json()["data"][0]["embedding"], "AAAAAAAAgD8=");
    let whole = ask("any", 4, "float").await.json();
    assert_eq!(whole["data"][0]["embedding"], json!([0.0, 0.5, -1.0, 0.1]));
}

#[tokio::test]
async fn models_are_listed_and_found_by_id() {
    let rig = serving().await;
    let list = rig.send(get("/v1/models")).await.json();
    let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["chat", "embed"]);
    assert_eq!(rig.next_record().route, Route::Models);
    let one = rig.send(get("/v1/models/embed")).await.json();
    assert_eq!(
        (&one["object"], &one["max_model_len"], &one["dimensions"]),
        (&json!("model"), &json!(512), &json!(4))
    );
    assert_eq!(one["manifest_sha256"], "07".repeat(32));
    for unknown in ["/v1/models/none", "/v1/models/%ff", "/v1/models/chat/x"] {
        let answer = rig.send(get(unknown)).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::NOT_FOUND, json!("model_not_found")),
            "{unknown}"
        );
    }
}

#[tokio::test]
async fn public_routes_need_no_key_and_say_little() {
    let rig = Rig::new();
    let open = |path: &str| http::Request::builder().uri(path).body(axum::body::Body::empty()).unwrap();
    assert_eq!(rig.send(open("/health")).await.text(), r#"{"status":"ok"}"#);
    assert_eq!(rig.send(open("/version")).await.json()["name"], "anchorhold");
    let answer = rig.send(open("/readyz")).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::SERVICE_UNAVAILABLE, json!("not_ready")));
    let nonce = "0123456789abcdef".repeat(4);
    let answer = rig.send(open(&format!("/.well-known/anchorhold-attestation?nonce={nonce}"))).await;
    assert_eq!(answer.text(), format!("{{\"document for\":\"{:?}\"}}", unhex(&nonce)));
    assert_eq!(
        (answer.header("content-type"), answer.header("cache-control")),
        ("application/json", "no-store")
    );
}

#[tokio::test]
async fn an_authenticator_is_for_connections_that_export_and_for_requests_of_rfc_9261() {
    let rig = Rig::new();
    let request = authenticator::Request::new(&Nonce::new([7; 32])).to_bytes().to_vec();
    for body in [request, Vec::new(), vec![0; authenticator::MAX_REQUEST_BYTES], vec![0; 1 << 20]] {
        let request = http::Request::builder().method("POST").uri(authenticator::PATH);
        let answer = rig.send(request.body(axum::body::Body::from(body)).unwrap()).await;
        assert_eq!((answer.status, answer.param()), (StatusCode::BAD_REQUEST, json!(null)));
    }
}

#[tokio::test]
async fn ready_means_that_every_expected_model_answers() {
    let rig = Rig::with("models = [\"chat\", \"embed\"]", "");
    rig.worker("chat", ModelKind::Chat).await.serve();
    assert_eq!(rig.send(get("/readyz")).await.status, StatusCode::SERVICE_UNAVAILABLE);
    let early = rig.send(post("/v1/embeddings", &json!({"model": "embed", "input": "x"}))).await;
    assert_eq!((early.status, early.code()), (StatusCode::SERVICE_UNAVAILABLE, json!("model_not_ready")));
    rig.worker("embed", ModelKind::Embedding).await.serve();
    let ready = rig.send(get("/readyz")).await;
    assert_eq!(ready.status, StatusCode::OK);
    let held = json!({"process": "gateway", "layers": ["seccomp"], "missing": ["landlock"]});
    let log = json!({"state": "well", "cosigned": null});
    assert_eq!(ready.json(), json!({"status": "ready", "confinement": [held], "audit": log}));
    rig.gateway.drain();
    assert_eq!(rig.send(get("/readyz")).await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn refuses_nonces_that_are_not_64_lower_case_hex_digits() {
    let rig = Rig::new();
    let good = "a".repeat(64);
    for query in [
        "",
        "?",
        "?nonce=",
        &format!("?nonce={}", "A".repeat(64)),
        &format!("?nonce={}", "a".repeat(63)),
        &format!("?nonce={good}a"),
        &format!("?nonce={good}&x=1"),
        &format!("?x=1&nonce={good}"),
        &format!("?nonce=%61{}", "a".repeat(63)),
        &format!("?NONCE={good}"),
    ] {
        let answer = rig.send(get(&format!("/.well-known/anchorhold-attestation{query}"))).await;
        assert_eq!((answer.status, answer.param()), (StatusCode::BAD_REQUEST, json!("nonce")), "{query}");
    }
    rig.manners.no_evidence.store(true, std::sync::atomic::Ordering::SeqCst);
    let answer = rig.send(get(&format!("/.well-known/anchorhold-attestation?nonce={good}"))).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::SERVICE_UNAVAILABLE, json!("attestation_unavailable"))
    );
    assert_eq!(answer.header("retry-after"), "1");
}

#[tokio::test]
async fn metrics_count_exactly_what_usage_says() {
    let rig = serving().await;
    for text in ["abc", "de"] {
        rig.send(post("/v1/chat/completions", &with(chat(text), json!({"stream": text == "de"})))).await;
    }
    rig.send(post("/v1/chat/completions", &json!({"model": "no-such-label"}))).await;
    let answer = rig.send(get("/metrics")).await;
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let text = answer.text();
    for line in [
        "anchorhold_prompt_tokens_total 10",
        "anchorhold_generation_tokens_total 5",
        "anchorhold_requests_total{route=\"chat_completions\",outcome=\"complete\"} 2",
        "anchorhold_requests_total{route=\"chat_completions\",outcome=\"rejected\"} 1",
        "anchorhold_time_to_first_token_seconds_count{route=\"chat_completions\"} 2",
        "anchorhold_requests_in_flight 0",
        "anchorhold_models_ready 2",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line} in {text}");
    }
    assert!(!text.contains("no-such-label") && !text.contains("acme"));
    let mut open = get("/metrics");
    open.headers_mut().insert("accept", "application/openmetrics-text".parse().unwrap());
    assert!(rig.send(open).await.text().ends_with("# EOF\n"));
    let anonymous = http::Request::builder().uri("/metrics").body(axum::body::Body::empty()).unwrap();
    assert_eq!(rig.send(anonymous).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn every_answer_has_an_id_and_hardening_headers() {
    let rig = serving().await;
    let id_of = async |id: &[u8]| {
        let mut request = get("/v1/models");
        request.headers_mut().insert("x-request-id", http::HeaderValue::from_bytes(id).unwrap());
        rig.send(request).await.header("x-request-id").to_owned()
    };
    assert_eq!(id_of(b"trace 7-a").await, "trace 7-a");
    assert_eq!(id_of(&[b'x'; 128]).await.len(), 128);
    for odd in [&[b'x'; 129][..], b"", b"tab\there", b"caf\xe9"] {
        assert_eq!(id_of(odd).await.len(), 26);
    }
    for path in ["/health", "/v1/models", "/nowhere", "/v1/chat/completions"] {
        let answer = rig.send(get(path)).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert!(answer.header("strict-transport-security").starts_with("max-age="));
        assert!(answer.header("openai-processing-ms").parse::<u64>().is_ok());
        assert_eq!(answer.header("x-request-id").len(), 26);
        assert!(!answer.headers.keys().any(|name| name.as_str().starts_with("access-control")));
    }
}

#[tokio::test]
async fn head_works_where_get_does_and_other_methods_are_told_which_do() {
    let rig = serving().await;
    for path in ["/v1/models", "/", "/openapi.json", "/health", "/version"] {
        let whole = rig.send(get(path)).await;
        let head = rig.send(request("HEAD", path, axum::body::Body::empty())).await;
        assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
        assert_eq!(head.header("content-length"), whole.body.len().to_string(), "{path}");
        assert_eq!(head.header("content-type"), whole.header("content-type"));
    }
    for (method, path, allow) in [
        ("GET", "/v1/chat/completions", "POST"),
        ("HEAD", "/v1/embeddings", "POST"),
        ("DELETE", "/v1/models/chat", "GET,HEAD"),
        ("OPTIONS", "/v1/completions", "POST"),
        ("POST", "/health", "GET,HEAD"),
        ("POST", "/", "GET,HEAD"),
        ("OPTIONS", "/openapi.json", "GET,HEAD"),
        ("GET", "/tokenize", "POST"),
        ("DELETE", "/detokenize", "POST"),
    ] {
        let answer = rig.send(request(method, path, axum::body::Body::empty())).await;
        assert_eq!(
            (answer.status, answer.header("allow")),
            (StatusCode::METHOD_NOT_ALLOWED, allow),
            "{method} {path}"
        );
        if method != "HEAD" {
            assert_eq!(answer.code(), "method_not_allowed");
        }
    }
}

#[tokio::test]
async fn routes_of_other_servers_are_refused_by_name() {
    let rig = serving().await;
    for (path, code) in [
        ("/v1/audio/speech", "unsupported_route"),
        ("/rerank", "unsupported_route"),
        ("/v1/audiophile", "not_found"),
    ] {
        let answer = rig.send(post(path, &json!({}))).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::NOT_FOUND, json!(code)), "{path}");
    }
    assert_eq!(rig.next_record().outcome, RequestOutcome::Rejected);
}
