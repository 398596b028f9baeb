//! What needs no key and is for people and for generators of clients.

#![expect(clippy::unwrap_used, reason = "a test helper that fails is a failed test")]

mod common;

use anchorhold_ipc::{ModelKind, ToGateway};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use common::{Answer, Rig, eventually, get, post};
use http::StatusCode;
use ring::digest;
use serde_json::{Value, json};

async fn open(rig: &Rig, path: &str) -> Answer {
    let request = http::Request::builder().uri(path).body(axum::body::Body::empty()).unwrap();
    rig.send(request).await
}

#[tokio::test]
async fn the_status_page_tells_what_is_served_and_how_to_verify_it() {
    let rig = Rig::new();
    let _chat = rig.worker("chat", ModelKind::Chat).await;
    let _embed = rig.worker("embed", ModelKind::Embedding).await;
    rig.tell(&ToGateway::WorkerGone { model: "embed".to_owned() });
    rig.settle().await;
    let answer = open(&rig, "/").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    let text = answer.text();
    let measurement = "c0ffee".repeat(16);
    for wanted in [
        "<code>chat</code><br><small>version 1</small></td><td>generates text</td><td class=\"ready\">answers",
        "<code>embed</code><br><small>version 1</small></td><td>makes embeddings</td><td class=\"away\">does not answer now",
        &"07".repeat(32),
        &format!("<code>{measurement}</code>"),
        "<strong>Simulated.</strong>",
        "anchorhold verify https://localhost:8443",
        "at least 3 entries",
    ] {
        assert!(text.contains(wanted), "{wanted} in {text}");
    }
    rig.send(get("/v1/models")).await;
    // The third entry that the fake keeper answers has index 3.
    rig.send(get("/v1/models")).await;
    rig.send(get("/v1/models")).await;
    eventually("the head grows with the log", async || {
        open(&rig, "/").await.text().contains("at least 4 entries")
    })
    .await;
}

#[tokio::test]
async fn a_browser_loads_nothing_for_the_status_page_and_applies_its_one_style() {
    let rig = Rig::new();
    let answer = open(&rig, "/").await;
    let policy = answer.header("content-security-policy");
    let text = answer.text();
    let style = text.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    let digest = STANDARD.encode(digest::digest(&digest::SHA256, style.as_bytes()));
    assert_eq!(
        policy,
        format!(
            "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
    );
    for word in ["<script", "style=", "src=", "javascript:", " on", "http://"] {
        let found = text
            .replace("stands", "")
            .split('<')
            .skip(1)
            .any(|tag| tag.split('>').next().unwrap().contains(word));
        assert!(!found, "{word}");
    }
    assert_eq!(answer.header("referrer-policy"), "no-referrer");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
}

#[tokio::test]
async fn the_status_page_escapes_every_name() {
    let rig = Rig::new();
    let _worker = rig.worker("<script>alert('x')</script>&\"", ModelKind::Chat).await;
    let text = open(&rig, "/").await.text();
    assert!(text.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;"));
    assert!(text.contains("test.example/&lt;boot&gt;"));
    assert!(!text.contains("<script") && !text.contains("<boot"));
}

#[tokio::test]
async fn the_document_is_served_and_tells_every_route_that_there_is_and_no_other() {
    let rig = Rig::new();
    let answer = open(&rig, "/openapi.json").await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, "application/json"));
    let document = answer.json();
    let mut told = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in ["get", "post", "delete"] {
            let Some(operation) = item.get(method) else { continue };
            told.push(path.split('{').next().unwrap().trim_end_matches('/').to_owned());
            let path = path.split('{').next().unwrap().to_owned() + if path.contains('{') { "x" } else { "" };
            let body = axum::body::Body::from("{}");
            let keyed = rig.send(common::request(&method.to_uppercase(), &path, body)).await;
            assert_ne!(keyed.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            if keyed.status == StatusCode::NOT_FOUND {
                assert_ne!(keyed.json()["error"]["message"], "there is no such route", "{method} {path}");
            }
            let bare = http::Request::builder().method(method.to_uppercase().as_str()).uri(&path);
            let bare = rig.send(bare.body(axum::body::Body::empty()).unwrap()).await;
            let is_open = operation["security"] == json!([]);
            assert_eq!(bare.status == StatusCode::UNAUTHORIZED, !is_open, "{method} {path}");
        }
    }
    let source = include_str!("../src/routes.rs");
    let routed = source.split(".route(").skip(1).map(|rest| rest.split(',').next().unwrap());
    let routed = routed.map(|path| match path.trim() {
        "KEYS_PATH" => anchorhold_body_encryption::ehbp::KEYS_PATH.to_owned(),
        "document::PATH" => anchorhold_channel::document::PATH.to_owned(),
        "authenticator::PATH" => anchorhold_channel::authenticator::PATH.to_owned(),
        path => path.trim_matches('"').split('{').next().unwrap().trim_end_matches('/').to_owned(),
    });
    let mut routed: Vec<_> = routed.collect();
    for paths in [&mut told, &mut routed] {
        paths.sort();
        paths.dedup();
    }
    assert_eq!(told, routed);
}

#[tokio::test]
async fn the_limits_of_the_document_are_those_in_force() {
    let rig = Rig::new();
    rig.worker("chat", ModelKind::Chat).await.serve();
    let document = open(&rig, "/openapi.json").await.json();
    let most = document["components"]["schemas"]["ChatRequest"]["properties"]["n"]["maximum"].clone();
    let most = most.as_u64().unwrap();
    let ask = async |n: u64| {
        let body = common::with(common::chat("x"), json!({"n": n, "max_tokens": 1}));
        rig.send(post("/v1/chat/completions", &body)).await
    };
    let answer = ask(most + 1).await;
    assert_eq!((answer.status, answer.param()), (StatusCode::BAD_REQUEST, Value::from("n")));
}
