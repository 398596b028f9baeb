//! A double of OpenBao's transit engine, over real TLS on loopback.
//!
//! No registry carries a real server (`rusty_vault` on crates.io is one without transit), so this is written after the API
//! documentation and the engine's own answers: paths, fields, statuses and error texts of OpenBao 2.5 for derived
//! `aes256-gcm96` keys, versions with `min_decryption_version`, `trim` and deletion, tokens with leases, namespaces. It
//! encrypts in earnest, with a key derived from version and context.
#![allow(dead_code, reason = "each test file uses its part")]

use anchorhold_channel::server;
use anchorhold_channel::tls::SelfSigned;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt as _;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::Notify;

pub(crate) const TOKEN: &str = "s.kek-test-token";
pub(crate) const NAMESPACE: &str = "team";
pub(crate) const KEY: &str = "kek";

/// How the double misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// 503, as a sealed server.
    Sealed,
    /// Answers when it is let go, which it may never be.
    Hang,
    /// An answer that is not JSON.
    Html,
    /// JSON with half of what it should hold.
    Partial,
    /// JSON that breaks off.
    Truncated,
    /// More than anybody should read.
    Endless,
    /// A redirect to another server.
    Redirect,
    /// 500 with a text that quotes the request.
    Internal,
    /// 429, over a quota.
    Quota,
    /// Another secret than the one that was wrapped, well-formed.
    OtherSecret,
    /// A ciphertext that nothing opens.
    Lost,
}

/// A key and its versions; version 1 is at index 0.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) versions: Vec<[u8; 32]>,
    pub(crate) state: Value,
}

impl Key {
    fn new() -> Self {
        let state = json!({
            "type": "aes256-gcm96", "derived": true, "exportable": false, "allow_plaintext_backup": false,
            "convergent_encryption": false, "deletion_allowed": false, "min_available_version": 0,
            "min_decryption_version": 1, "min_encryption_version": 0, "kdf": "hkdf_sha256", "name": KEY,
            "supports_encryption": true, "supports_decryption": true, "supports_derivation": true,
            "supports_signing": false, "imported_key": false, "auto_rotate_period": 0
        });
        Self { versions: vec![random()], state }
    }

    fn number(&self, field: &str) -> usize {
        usize::try_from(self.state[field].as_u64().unwrap()).unwrap()
    }
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) key: Option<Key>,
    pub(crate) token: String,
    pub(crate) token_ttl_s: u64,
    pub(crate) fault: Option<Fault>,
    /// Method and path of each request that carried the token.
    pub(crate) asked: Vec<String>,
    /// Whether the token may administer the key.
    pub(crate) may_administer: bool,
}

/// A running double. It ends with this value.
pub(crate) struct Double {
    pub(crate) url: String,
    pub(crate) authority_pem: String,
    inner: Arc<Mutex<Inner>>,
    stop: Arc<Notify>,
    release: Arc<Notify>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Clone)]
struct Shared {
    inner: Arc<Mutex<Inner>>,
    release: Arc<Notify>,
}

fn random<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    SystemRandom::new().fill(&mut out).unwrap();
    out
}

impl Double {
    pub(crate) fn start() -> Self {
        let identity = SelfSigned::generate(&["localhost".into(), "127.0.0.1".into()]).unwrap();
        Self::start_at("127.0.0.1:0", identity)
    }

    pub(crate) fn start_at(address: &str, identity: SelfSigned) -> Self {
        let inner = Arc::new(Mutex::new(Inner {
            key: Some(Key::new()),
            token: TOKEN.to_owned(),
            token_ttl_s: 3600,
            fault: None,
            asked: Vec::new(),
            may_administer: true,
        }));
        let (stop, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let authority_pem = identity.certificate_pem().to_owned();
        let config = identity.into_server_config().unwrap();
        let shared = Shared { inner: Arc::clone(&inner), release: Arc::clone(&release) };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let router = Router::new().fallback(answer).with_state(shared);
                let serving = server::serve(
                    listener,
                    config,
                    router,
                    server::Limits::default(),
                    std::future::pending(),
                );
                tokio::select! { _ = serving => {}, () = stopped.notified() => {} }
            });
            // Whoever still waits for an answer sees the connection end.
            runtime.shutdown_background();
        });
        Self { url, authority_pem, inner, stop, release, thread: Some(thread) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub(crate) fn misbehave(&self, fault: Option<Fault>) {
        self.lock().fault = fault;
        self.release.notify_waiters();
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().asked)
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.stop.notify_one();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn response(status: u16, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

fn good(data: &Value) -> Response {
    let answer = json!({
        "request_id": "0b2d3c1a", "lease_id": "", "renewable": false, "lease_duration": 0, "data": data,
        "wrap_info": null, "warnings": null, "auth": null
    });
    response(200, answer.to_string())
}

fn refused(status: u16, text: &str) -> Response {
    response(status, json!({ "errors": [text] }).to_string())
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let fault = shared.inner.lock().unwrap().fault;
    if let Some(fault) = fault {
        match fault {
            Fault::Sealed => return refused(503, "Vault is sealed"),
            Fault::Hang => {
                shared.release.notified().await;
            }
            Fault::Html => return response(200, "<html>it works</html>"),
            Fault::Partial => return response(200, r#"{"data":{}}"#),
            Fault::Truncated => return response(200, r#"{"data":{"plaintext":"AAAA"#),
            Fault::Endless => return response(200, "x".repeat(1024 * 1024)),
            Fault::Redirect => {
                let mut response = response(307, "");
                let away = http::HeaderValue::from_static("https://127.0.0.1:1/v1/transit/decrypt/kek");
                response.headers_mut().insert(http::header::LOCATION, away);
                return response;
            }
            Fault::Internal => return refused(500, &String::from_utf8_lossy(&body)),
            Fault::Quota => return refused(429, "request path \"transit\": rate limit quota exceeded"),
            Fault::OtherSecret | Fault::Lost => {}
        }
    }
    let mut inner = shared.inner.lock().unwrap();
    let path = head.uri.path().to_owned();
    if !is_admitted(&inner, &head.headers) {
        return refused(403, "permission denied");
    }
    inner.asked.push(format!("{} {path}", head.method));
    let fields: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let renew = path == "/v1/auth/token/renew-self" && head.method == Method::POST;
    if renew {
        let auth = json!({
            "client_token": inner.token, "lease_duration": inner.token_ttl_s, "renewable": true, "policies": ["kek"]
        });
        return response(200, json!({ "auth": auth, "data": null }).to_string());
    }
    if path == "/v1/auth/token/lookup-self" && head.method == Method::GET {
        return good(
            &json!({ "id": inner.token, "ttl": inner.token_ttl_s, "renewable": inner.token_ttl_s > 0 }),
        );
    }
    let Some(rest) = path.strip_prefix("/v1/transit/") else { return refused(404, "no handler for route") };
    match (head.method, rest) {
        (Method::POST, "encrypt/kek") => encrypt(&inner, &fields),
        (Method::POST, "decrypt/kek") => decrypt(&inner, &fields),
        (Method::POST, "rewrap/kek") => rewrap(&inner, &fields),
        (Method::GET, "keys/kek") => match &inner.key {
            Some(key) => good(&described(key)),
            None => response(404, r#"{"errors":[]}"#),
        },
        (method, rest) if rest.starts_with("keys/kek") => administer(&mut inner, &method, rest, &fields),
        _ => refused(404, "no handler for route"),
    }
}

fn is_admitted(inner: &Inner, headers: &HeaderMap) -> bool {
    let is = |name: &str, wanted: &str| headers.get(name).is_some_and(|value| value == wanted);
    is("x-vault-token", &inner.token) && is("x-vault-request", "true") && is("x-vault-namespace", NAMESPACE)
}

fn described(key: &Key) -> Value {
    let mut state = key.state.clone();
    state["latest_version"] = key.versions.len().into();
    let from = key.number("min_available_version").max(1);
    state["keys"] = (from..=key.versions.len()).map(|v| (v.to_string(), json!(1_442_851_412))).collect();
    state
}

fn administer(inner: &mut Inner, method: &Method, rest: &str, fields: &Value) -> Response {
    if !inner.may_administer {
        return refused(403, "1 error occurred:\n\t* permission denied\n\n");
    }
    let Some(key) = inner.key.as_mut() else {
        return refused(400, "no existing key named kek could be found");
    };
    match (method, rest) {
        (&Method::POST, "keys/kek/rotate") => {
            key.versions.push(random());
            good(&described(key))
        }
        (&Method::POST, "keys/kek/config") => {
            for (name, value) in fields.as_object().unwrap() {
                let known = ["min_decryption_version", "min_encryption_version", "deletion_allowed"];
                assert!(known.contains(&name.as_str()), "{name}");
                key.state[name] = value.clone();
            }
            good(&described(key))
        }
        (&Method::POST, "keys/kek/trim") => {
            let wanted = usize::try_from(fields["min_available_version"].as_u64().unwrap()).unwrap();
            if key.number("min_encryption_version") < wanted {
                return refused(
                    400,
                    "minimum available version cannot be greater than minmum encryption version",
                );
            }
            if key.number("min_decryption_version") < wanted {
                return refused(
                    400,
                    "minimum available version cannot be greater than minimum decryption version",
                );
            }
            key.state["min_available_version"] = wanted.into();
            good(&described(key))
        }
        (&Method::DELETE, "keys/kek") => {
            if key.state["deletion_allowed"] != true {
                return refused(400, "error deleting policy kek: deletion is not allowed for this key");
            }
            inner.key = None;
            response(204, "")
        }
        _ => refused(405, "unsupported operation"),
    }
}

fn sealing_key(version: &[u8; 32], context: &[u8]) -> LessSafeKey {
    let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, version), context);
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, derived.as_ref()).unwrap())
}

/// The context of a call, or why the engine refuses it.
fn context_of(fields: &Value) -> Result<Vec<u8>, &'static str> {
    match fields["context"].as_str() {
        Some(text) if !text.is_empty() => {
            STANDARD.decode(text).map_err(|_| "failed to base64-decode context")
        }
        _ => Err("missing 'context' for key derivation"),
    }
}

fn seal(key: &Key, context: &[u8], mut plain: Vec<u8>) -> Value {
    let version = key.versions.len();
    let nonce: [u8; 12] = random();
    sealing_key(&key.versions[version - 1], context)
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut plain)
        .unwrap();
    let raw = STANDARD.encode([nonce.as_slice(), &plain].concat());
    json!({ "ciphertext": format!("vault:v{version}:{raw}"), "key_version": version })
}

fn open(key: &Key, context: &[u8], text: &str) -> Result<Vec<u8>, &'static str> {
    let rest = text.strip_prefix("vault:v").ok_or("invalid ciphertext: no prefix")?;
    let (version, raw) = rest.split_once(':').ok_or("invalid ciphertext: wrong number of fields")?;
    let version: usize =
        version.parse().map_err(|_| "invalid ciphertext: version number could not be decoded")?;
    if version > key.versions.len() {
        return Err("invalid ciphertext: version is too new");
    }
    if version < key.number("min_decryption_version") {
        return Err("ciphertext or signature version is disallowed by policy (too old)");
    }
    let raw = STANDARD.decode(raw).map_err(|_| "invalid ciphertext: could not decode base64")?;
    let (nonce, body) = raw.split_first_chunk::<12>().ok_or("invalid ciphertext length")?;
    let mut body = body.to_vec();
    let opened = sealing_key(&key.versions[version - 1], context)
        .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::empty(), &mut body)
        .map_err(|_| "cipher: message authentication failed")?;
    Ok(opened.to_vec())
}

fn encrypt(inner: &Inner, fields: &Value) -> Response {
    let Some(key) = &inner.key else { return refused(400, "encryption key not found") };
    let plain = STANDARD.decode(fields["plaintext"].as_str().unwrap()).unwrap();
    match context_of(fields) {
        Ok(_) if inner.fault == Some(Fault::Lost) => {
            let raw = STANDARD.encode(random::<60>());
            good(&json!({ "ciphertext": format!("vault:v1:{raw}"), "key_version": 1 }))
        }
        Ok(context) => good(&seal(key, &context, plain)),
        Err(why) => refused(400, why),
    }
}

fn decrypt(inner: &Inner, fields: &Value) -> Response {
    let Some(key) = &inner.key else { return refused(400, "encryption key not found") };
    let opened =
        context_of(fields).and_then(|context| open(key, &context, fields["ciphertext"].as_str().unwrap()));
    match opened {
        Ok(plain) if inner.fault == Some(Fault::OtherSecret) => {
            let other: Vec<u8> = plain.iter().map(|byte| byte ^ 0x55).collect();
            good(&json!({ "plaintext": STANDARD.encode(other) }))
        }
        Ok(plain) => good(&json!({ "plaintext": STANDARD.encode(plain) })),
        Err(why) => refused(400, why),
    }
}

fn rewrap(inner: &Inner, fields: &Value) -> Response {
    let Some(key) = &inner.key else { return refused(400, "encryption key not found") };
    // The engine's rewrap takes no associated data.
    assert!(fields.get("associated_data").is_none());
    let opened = context_of(fields)
        .and_then(|context| Ok((open(key, &context, fields["ciphertext"].as_str().unwrap())?, context)));
    match opened {
        Ok(_) if inner.fault == Some(Fault::Lost) => {
            let raw = STANDARD.encode(random::<60>());
            good(&json!({ "ciphertext": format!("vault:v2:{raw}"), "key_version": 2 }))
        }
        Ok((plain, context)) => good(&seal(key, &context, plain)),
        Err(why) => refused(400, why),
    }
}
