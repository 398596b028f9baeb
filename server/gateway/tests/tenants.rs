//! Who may call what and how much, and settings that change while the gateway serves.

#![expect(clippy::unwrap_used, reason = "a test helper that fails is a failed test")]

mod common;

use anchorhold_evaluation::ear::{Jwks, Signer, VerifyingKey};
use anchorhold_gateway::Config;
use anchorhold_ipc::{
    AuditEvent, CallerAuth, Event, FinishReason, FromGateway, ModelKind, RequestOutcome, Route, ToGateway,
};
use axum::body::Body;
use common::{Answer, KEY, OTHER_KEY, Rig, aside, chat, eventually, get, post, request, settings, with};
use http::{Request, StatusCode};
use serde_json::json;
use tower::ServiceExt as _;

async fn serving(rig: Rig) -> Rig {
    rig.worker("chat", ModelKind::Chat).await.serve();
    rig.worker("embed", ModelKind::Embedding).await.serve();
    rig
}

/// The request with another key.
fn with_key(mut request: Request<Body>, key: &str) -> Request<Body> {
    request.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    request
}

fn check_refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status.as_u16(), answer.code()), (status, json!(code)), "{}", answer.text());
}

/// A body that never comes.
fn endless() -> Body {
    Body::from_stream(futures_util::stream::pending::<Result<String, std::io::Error>>())
}

/// The settings with `more` as the last lines of the key of `acme`.
fn with_key_lines(more: &str) -> String {
    let text = settings("models = []", "", "");
    let at = text.find("[[key]]\ntenant = \"bolt\"").unwrap();
    format!("{}{more}\n{}", &text[..at], &text[at..])
}

#[tokio::test]
async fn a_key_opens_what_its_scopes_name_and_is_told_what_it_lacks() {
    let rig = serving(Rig::of(&with_key_lines("scopes = [\"embed\"]"))).await;
    let embedded = rig.send(post("/v1/embeddings", &json!({"model": "embed", "input": "x"}))).await;
    assert_eq!(embedded.status, StatusCode::OK);
    for (method, path, scope) in [
        ("POST", "/v1/chat/completions", "generate"),
        ("POST", "/v1/completions", "generate"),
        ("POST", "/v1/rerank", "rerank"),
        ("GET", "/v1/models", "models"),
        ("GET", "/v1/models/chat", "models"),
        ("GET", "/metrics", "metrics"),
        // The scope is looked at before the method is.
        ("DELETE", "/v1/models", "models"),
    ] {
        // And before the body.
        let answer = rig.send(request(method, path, endless())).await;
        check_refused(&answer, 403, "permission_denied");
        assert!(answer.text().contains(&format!("'{scope}'")), "{}", answer.text());
        let record =
            std::iter::repeat_with(|| rig.next_record()).find(|record| record.status == 403).unwrap();
        assert_eq!((record.tenant.as_str(), record.outcome), ("acme", RequestOutcome::Rejected));
    }
    assert_eq!(rig.send(get("/nowhere")).await.status, StatusCode::NOT_FOUND);
    // The other tenant's key has all that callers have, and no numbers.
    assert_eq!(rig.send(with_key(get("/v1/models"), OTHER_KEY)).await.status, StatusCode::OK);
    check_refused(&rig.send(with_key(get("/metrics"), OTHER_KEY)).await, 403, "permission_denied");
}

#[tokio::test]
async fn an_auditors_key_reads_the_log_and_every_reading_is_an_entry() {
    let text = with_key_lines("scopes = [\"audit\"]").replace("\"metrics\"]", "\"metrics\", \"audit\"]");
    let rig = serving(Rig::of(&text)).await;
    let checkpoint = rig.send(get("/v1/audit/checkpoint")).await;
    assert_eq!((checkpoint.status, checkpoint.text().as_str()), (StatusCode::OK, "a note"));
    assert_eq!(checkpoint.header("content-type"), "text/plain; charset=utf-8");
    let record = rig.next_record();
    assert_eq!((record.route, record.status, record.tenant.as_str()), (Route::Audit, 200, "acme"));
    assert_eq!(record.outcome, RequestOutcome::Complete);
    let bundle = rig.send(get("/v1/audit/tile/entries/000.p/3")).await;
    assert_eq!((bundle.status, bundle.body.as_ref()), (StatusCode::OK, [0, 1, b'e'].as_slice()));
    assert_eq!(bundle.header("content-type"), "application/octet-stream");
    assert_eq!(rig.next_record().route, Route::Audit);
    for path in [
        "tile/0/000",
        "tile/0/0",
        "tile/entries/x000/000",
        "../audit/checkpoint",
        "key.vkey",
        "entries/00000000.seg",
    ] {
        let answer = rig.send(get(&format!("/v1/audit/{path}"))).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(rig.next_record().outcome, RequestOutcome::Rejected);
    }
    check_refused(&rig.send(get("/v1/audit/tile/entries/001")).await, 503, "audit_log_busy");
    // Whoever may ask models may not read the log.
    check_refused(
        &rig.send(with_key(get("/v1/audit/checkpoint"), OTHER_KEY)).await,
        403,
        "permission_denied",
    );
}

#[tokio::test]
async fn a_key_outside_its_time_is_refused_like_an_unknown_one() {
    let unknown = serving(Rig::new()).await.send(with_key(get("/v1/models"), "nobody")).await;
    for lines in ["expires = \"2020-01-01T00:00:00Z\"", "not_before = \"2200-01-01T00:00:00Z\""] {
        let rig = serving(Rig::of(&with_key_lines(lines))).await;
        let answer = rig.send(get("/v1/models")).await;
        check_refused(&answer, 401, "invalid_api_key");
        assert_eq!(answer.body, unknown.body);
        assert_eq!(rig.send(with_key(get("/v1/models"), OTHER_KEY)).await.status, StatusCode::OK);
    }
    let rig = serving(Rig::of(&with_key_lines("expires = \"2200-01-01T00:00:00Z\""))).await;
    assert_eq!(rig.send(get("/v1/models")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_model_of_others_is_no_model() {
    let rig = serving(Rig::with_terms("models = [\"embed\"]")).await;
    let missing = rig.send(post("/v1/chat/completions", &with(chat("x"), json!({"model": "none"})))).await;
    let hidden = rig.send(post("/v1/chat/completions", &chat("x"))).await;
    check_refused(&hidden, 404, "model_not_found");
    assert_eq!(hidden.body, missing.body);
    assert_eq!(rig.send(get("/v1/models/chat")).await.body, rig.send(get("/v1/models/none")).await.body);
    let ids = async |request| {
        let models = rig.send(request).await.json();
        models.pointer("/data").unwrap().as_array().unwrap().len()
    };
    assert_eq!(ids(get("/v1/models")).await, 1);
    assert_eq!(ids(with_key(get("/v1/models"), OTHER_KEY)).await, 2);
}

#[tokio::test]
async fn requests_beyond_the_minute_are_told_when_to_come_again() {
    let rig = serving(Rig::with_terms("requests_per_minute = 2")).await;
    let ask = || post("/v1/chat/completions", &chat("x"));
    let first = rig.send(ask()).await;
    assert_eq!(first.status, StatusCode::OK);
    let shown = |answer: &Answer| {
        ["limit", "remaining"].map(|part| answer.header(&format!("x-ratelimit-{part}-requests")).to_owned())
    };
    assert_eq!(shown(&first), ["2", "1"]);
    assert!(first.header("x-ratelimit-reset-requests").ends_with('s'));
    assert!(!first.headers.contains_key("x-ratelimit-limit-tokens"), "no such quota");
    assert_eq!(rig.send(ask()).await.status, StatusCode::OK);
    // Refused before the body is read.
    let refused = rig.send(request("POST", "/v1/chat/completions", endless())).await;
    check_refused(&refused, 429, "rate_limit_exceeded");
    assert_eq!(shown(&refused), ["2", "0"]);
    let wait: u32 = refused.header("retry-after").parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    assert_eq!(refused.json().pointer("/error/type"), Some(&json!("requests")));
    // What asks no model is not counted, and another tenant is served.
    assert_eq!(shown(&rig.send(get("/v1/models")).await), ["2", "0"]);
    assert_eq!(rig.send(with_key(ask(), OTHER_KEY)).await.status, StatusCode::OK);
}

fn remaining_tokens(answer: &Answer) -> u64 {
    answer.header("x-ratelimit-remaining-tokens").parse().unwrap()
}

#[tokio::test]
async fn tokens_are_taken_at_admission_and_settled_at_the_end_streamed_or_not() {
    for stream in [false, true] {
        let rig = serving(Rig::with_terms("tokens_per_minute = 600")).await;
        // 500 by its length; the fake worker counts 5 tokens of prompt and 4 of answer.
        let body = with(chat(&"x".repeat(2000)), json!({"stream": stream, "max_tokens": 4}));
        let answer = rig.send(post("/v1/chat/completions", &body)).await;
        assert_eq!((answer.status, answer.header("x-ratelimit-limit-tokens")), (StatusCode::OK, "600"));
        // The headers of a stream leave before its end.
        let left = remaining_tokens(&answer);
        assert!(if stream { left < 300 } else { left > 580 }, "{stream}: {left}");
        eventually("it is settled", async || remaining_tokens(&rig.send(get("/v1/models")).await) > 580)
            .await;
    }
}

#[tokio::test]
async fn a_prompt_beyond_the_quota_waits_and_one_without_a_length_is_counted_when_it_is_there() {
    let rig = serving(Rig::with_terms("tokens_per_minute = 100")).await;
    let long = chat(&"x".repeat(300)).to_string();
    let pieces: Vec<_> =
        long.as_bytes().chunks(50).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
    let streamed = Body::from_stream(futures_util::stream::iter(pieces));
    assert_eq!(rig.send(request("POST", "/v1/chat/completions", streamed)).await.status, StatusCode::OK);
    // Its answer had 300 tokens: a debt, which everything waits for.
    let refused = rig.send(post("/v1/chat/completions", &chat("x"))).await;
    check_refused(&refused, 429, "rate_limit_exceeded");
    assert_eq!(refused.json().pointer("/error/type"), Some(&json!("tokens")));
    let wait: u32 = refused.header("retry-after").parse().unwrap();
    assert!((100..=180).contains(&wait), "{wait}");
    assert_eq!(refused.header("x-ratelimit-remaining-tokens"), "0");
}

#[tokio::test]
async fn a_caller_who_leaves_is_charged_for_what_was_made_read_or_not() {
    let rig = Rig::with_terms("tokens_per_minute = 6000");
    let mut worker = rig.worker("chat", ModelKind::Chat).await;
    let request = post("/v1/chat/completions", &with(chat("x"), json!({"stream": true, "max_tokens": 512})));
    let begun = tokio::spawn(rig.router.clone().oneshot(request));
    let worker = aside(move || {
        let id = worker.submitted().0;
        for _ in 0..500 {
            worker.say(&Event::Delta { id, choice: 0, text: "y".to_owned(), told: Vec::new() });
        }
        worker
    })
    .await;
    let left = async || remaining_tokens(&rig.send(get("/v1/models")).await);
    let response = begun.await.unwrap().unwrap();
    assert!(left().await > 5800);
    // A message that comes after the pieces shows that they have come.
    let mut worker = worker;
    let other = rig.begin(post("/v1/chat/completions", &chat("z")));
    aside(move || {
        let id = worker.submitted().0;
        let reason = FinishReason::Stop;
        worker.say(&Event::Finished { id, choice: 0, reason, tokens_in: 1, tokens_found: 0, tokens_out: 1 });
        worker
    })
    .await;
    assert_eq!(other.await.unwrap().status, StatusCode::OK);
    drop(response);
    assert!(left().await < 5700, "{}", left().await);
    assert_eq!(rig.next_record().status, 200);
}

#[tokio::test]
async fn settings_that_are_sent_again_are_in_force_and_bad_ones_are_not() {
    let rig = serving(Rig::with_terms("requests_per_minute = 2")).await;
    let reload = async |settings: String, keys: Option<&str>| {
        let files = keys.map(|keys| ("keys.toml".to_owned(), keys.to_owned())).into_iter().collect();
        rig.tell(&ToGateway::Reload { settings, files });
        rig.settle().await;
    };
    let ask = || post("/v1/chat/completions", &chat("x"));
    for _ in 0..2 {
        assert_eq!(rig.send(ask()).await.status, StatusCode::OK);
    }
    check_refused(&rig.send(ask()).await, 429, "rate_limit_exceeded");
    // More of a quota, of which two are used.
    reload(settings("models = []", "requests_per_minute = 4", ""), None).await;
    let answer = rig.send(ask()).await;
    assert_eq!((answer.status, answer.header("x-ratelimit-remaining-requests")), (StatusCode::OK, "1"));
    // A limit.
    reload(settings("models = []", "", "body_bytes = 10"), None).await;
    check_refused(&rig.send(ask()).await, 413, "request_too_large");
    // A fault, or what cannot change: the old ones stay.
    for bad in [
        "no settings".to_owned(),
        settings("models = []", "share = 0", ""),
        settings("models = [\"chat\"]", "", ""),
        settings("models = []", "", "").replace("127.0.0.1:0", "127.0.0.1:1"),
    ] {
        reload(bad, None).await;
        check_refused(&rig.send(ask()).await, 413, "request_too_large");
    }
    // Another file of keys, which the keeper could not read.
    reload(format!("keys_file = \"keys.toml\"\n{}", settings("models = []", "", "")), Some("")).await;
    check_refused(&rig.send(ask()).await, 413, "request_too_large");
}

#[tokio::test]
async fn a_key_that_leaves_the_file_of_keys_opens_nothing_more() {
    let own = settings("models = []", "", "");
    let (head, keys) = own.split_at(own.find("[[key]]").unwrap());
    let (keys, limits) = keys.split_at(keys.find("[limits]").unwrap());
    let text = format!("keys_file = \"keys.toml\"\n{head}{limits}");
    let rig = serving(Rig::of_both(&text, Some(keys))).await;
    let ask = || post("/v1/chat/completions", &chat("x"));
    assert_eq!(rig.send(ask()).await.status, StatusCode::OK);
    let bolts = &keys[keys.find("[[key]]\ntenant = \"bolt\"").unwrap()..];
    rig.tell(&ToGateway::Reload { settings: text, files: vec![("keys.toml".to_owned(), bolts.to_owned())] });
    rig.settle().await;
    check_refused(&rig.send(ask()).await, 401, "invalid_api_key");
    assert_eq!(rig.send(with_key(ask(), OTHER_KEY)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_stream_that_runs_goes_on_when_its_key_is_revoked() {
    let rig = Rig::new();
    let mut worker = rig.worker("chat", ModelKind::Chat).await;
    let task = rig.begin(post("/v1/chat/completions", &with(chat("x"), json!({"stream": true}))));
    let (mut worker, id) = aside(move || {
        let id = worker.submitted().0;
        worker.say(&Event::Delta { id, choice: 0, text: "1".to_owned(), told: Vec::new() });
        (worker, id)
    })
    .await;
    let revoked = settings("models = []", "", "")
        .replace(&anchorhold_rats::Sha256Digest::of(KEY.as_bytes()).to_string(), &"0".repeat(64));
    rig.tell(&ToGateway::Reload { settings: revoked, files: Vec::new() });
    rig.settle().await;
    assert_eq!(rig.send(get("/v1/models")).await.status, StatusCode::UNAUTHORIZED);
    let reason = FinishReason::Stop;
    worker.say(&Event::Finished { id, choice: 0, reason, tokens_in: 1, tokens_found: 0, tokens_out: 1 });
    assert!(task.await.unwrap().text().ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn a_token_of_a_known_issuer_is_a_way_in() {
    let key = ring::signature::Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).unwrap();
    let signer = Signer::from_pkcs8(key.as_ref()).unwrap();
    let set = Jwks::of(VerifyingKey::new(signer.algorithm(), signer.public_key().to_vec())).to_json();
    let issuer = format!(
        "[[oidc]]\nissuer = \"https://id.example\"\naudience = \"us\"\njwks = '{set}'\nclaim = \"tid\"\n\
         tenants = {{ seven = \"bolt\" }}\nscopes = [\"models\"]\n"
    );
    let rig = serving(Rig::of(&format!("{}{issuer}", settings("models = []", "", "")))).await;
    let token = |exp: u64, tid: &str| {
        let claims =
            json!({"iss": "https://id.example", "aud": "us", "iat": 1_700_000_000, "exp": exp, "tid": tid});
        signer.sign_json(None, claims.to_string().as_bytes()).unwrap()
    };
    let far = 4_000_000_000;
    assert_eq!(rig.send(with_key(get("/v1/models"), &token(far, "seven"))).await.status, StatusCode::OK);
    let record = rig.next_record();
    assert_eq!((record.tenant.as_str(), record.auth), ("bolt", CallerAuth::Token));
    let narrow = rig.send(with_key(post("/v1/chat/completions", &chat("x")), &token(far, "seven"))).await;
    check_refused(&narrow, 403, "permission_denied");
    for refused in [token(1_700_000_001, "seven"), token(far, "eight"), "a.b.c".to_owned()] {
        check_refused(&rig.send(with_key(get("/v1/models"), &refused)).await, 401, "invalid_api_key");
    }
    assert_eq!(rig.send(get("/v1/models")).await.status, StatusCode::OK, "keys go on");
}

#[test]
fn refuses_other_ways_in_that_cannot_be() {
    let own = settings("models = []", "", "");
    let set = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let good = format!(
        "{own}[[oidc]]\nissuer = \"i\"\naudience = \"a\"\njwks = '{set}'\nclaim = \"c\"\ntenants = {{ v = \"acme\" }}\n"
    );
    assert!(Config::parse(&good).is_ok());
    for (from, to, wanted) in [
        ("v = \"acme\"", "v = \"nobody\"", "oidc.tenants: there is no [[tenant]] nobody"),
        ("{ v = \"acme\" }", "{}", "oidc.tenants: expected 1 to"),
        ("issuer = \"i\"", "issuer = \"\"", "must not be empty"),
        ("Ed25519", "X25519", "oidc.jwks: the key set has no key"),
        ("jwks = ", "jwks_file = \"x\"\njwks = ", "oidc: expected the keys"),
        ("jwks = ", "jwks_file = ", "oidc: expected the keys"),
        ("claim = \"c\"", "claim = \"c\"\nscopes = [\"audit\"]", "acme may not use all of these scopes"),
        ("claim = \"c\"", "claim = \"c\"\nsecret = \"s\"", "unknown field `secret`"),
        ("[[oidc]]", "[[client]]\nname = \"n\"\ntenant = \"acme\"\n[[oidc]]", "client: without [clients]"),
        ("[[oidc]]", "[clients]\nca_file = \"ca.pem\"\n[[oidc]]", "clients.ca_file: the file is not there"),
    ] {
        let error = Config::parse(&good.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(wanted), "{to}: {error}");
    }
}

#[tokio::test]
async fn the_keeper_is_told_who_called_by_address_and_by_the_keys_public_names() {
    let rig = serving(Rig::of(&with_key_lines("label = \"front desk\""))).await;
    let from = |address: &str| axum::extract::ConnectInfo(address.parse::<std::net::SocketAddr>().unwrap());
    let mut request = get("/v1/models");
    request.extensions_mut().insert(from("[::ffff:192.0.2.7]:40000"));
    assert_eq!(rig.send(request).await.status, StatusCode::OK);
    let caller = rig.next_record().caller;
    assert_eq!(caller.address, Some("192.0.2.7".parse().unwrap()), "no port, and IPv4 as IPv4");
    assert_eq!(caller.label.as_deref(), Some("front desk"));
    let digest = anchorhold_rats::Sha256Digest::of(KEY.as_bytes());
    assert_eq!(caller.key.as_ref().map(<[u8; 6]>::as_slice), digest.as_bytes().get(..6));
    assert_eq!(rig.send(with_key(get("/v1/models"), OTHER_KEY)).await.status, StatusCode::OK);
    let other = rig.next_record().caller;
    assert!(
        other.key.is_some_and(|key| Some(key) != caller.key)
            && other.label.is_none()
            && other.address.is_none()
    );
    let mut stranger = with_key(get("/v1/models"), "ak-of-nobody");
    stranger.extensions_mut().insert(from("[::ffff:192.0.2.9]:40000"));
    let refused = rig.send(stranger).await;
    let told = loop {
        if let FromGateway::Record { event: AuditEvent::AuthFailure(told), .. } = rig.next() {
            break told;
        }
    };
    assert_eq!(told.address, Some("192.0.2.9".parse().unwrap()));
    assert_eq!((refused.status.as_u16(), told.status), (401, 401));
    assert_eq!(refused.header("x-request-id"), told.rid, "the caller can name the entry");
}
