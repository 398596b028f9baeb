//! `top` against a server that shows some numbers.

use crate::support::{Folder, run};
use anchorhold_channel::server::{Limits, serve};
use anchorhold_channel::tls::SelfSigned;
use anchorhold_rats::Sha256Digest;
use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

const KEY: &str = "key-of-operator";
const METRICS: &str = "anchorhold_requests_in_flight 2\nanchorhold_requests_total{route=\"chat_completions\",outcome=\"complete\"} 14\n\
    vllm:num_requests_running{model_name=\"chat\"} 3\nvllm:num_requests_waiting{model_name=\"chat\"} 1\n";

struct Server {
    _runtime: Runtime,
    url: String,
    certificate: String,
    tls_key: Sha256Digest,
}

fn server(metrics: &'static str) -> Server {
    let runtime = Runtime::new().unwrap();
    let own = SelfSigned::generate(&["localhost".into()]).unwrap();
    let (certificate, tls_key) = (own.certificate_pem().to_owned(), own.tls_key);
    let answer = move |headers: HeaderMap| async move {
        let known =
            headers.get("authorization").is_some_and(|value| value == format!("Bearer {KEY}").as_str());
        if known { (StatusCode::OK, metrics) } else { (StatusCode::UNAUTHORIZED, "") }
    };
    let router = Router::new().route("/metrics", get(answer)).route("/readyz", get(|| async { "{}" }));
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let tls = own.into_server_config().unwrap();
    runtime.spawn(serve(listener, tls, router, Limits::default(), std::future::pending()));
    Server { _runtime: runtime, url, certificate, tls_key }
}

fn key_file(folder: &Folder, key: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.write("operator.key", key);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

#[test]
fn shows_a_server_once_for_people_and_for_scripts() {
    let (server, folder) = (server(METRICS), Folder::new());
    let key = key_file(&folder, &format!("{KEY}\n"));
    let certificate = folder.path("gateway.pem");
    std::fs::write(&certificate, &server.certificate).unwrap();
    let ran = run(["top", "--url", &server.url, "--key-file", &key, "--certificate", &certificate, "--once"]);
    ran.expect(0, "");
    assert!(ran.out.starts_with("ready, 2 running, - requests/s, ended: 14 complete\n"), "{}", ran.out);
    assert!(ran.out.contains("\nchat "), "{}", ran.out);
    let tls_key = server.tls_key.to_string();
    let json =
        run(["top", "--url", &server.url, "--key-file", &key, "--tls-key", &tls_key, "--once", "--json"])
            .json();
    assert_eq!((&json["format"], &json["ready"]), (&"urn:anchorhold:top:v1".into(), &true.into()));
    assert_eq!((&json["models"][0]["model"], &json["models"][0]["waiting"]), (&"chat".into(), &1.0.into()));
}

#[test]
fn refuses_another_server_another_key_and_what_are_no_numbers() {
    let (server, folder) = (server(METRICS), Folder::new());
    let ask = |url: &str, key: &str, tls_key: Sha256Digest| {
        let key = key_file(&folder, key);
        run(["top", "--url", url, "--key-file", &key, "--tls-key", &tls_key.to_string(), "--once"])
    };
    ask(&server.url, KEY, Sha256Digest::of(b"other")).expect(1, "server has TLS key");
    ask(&server.url, "other", server.tls_key).expect(1, "the server does not know the key");
    ask(&server.url, "two\nlines", server.tls_key).expect(1, "not an API key");
    let other = self::server("<html>secret</html>\n");
    let ran = ask(&other.url, KEY, other.tls_key);
    ran.expect(1, "/metrics: line 1 is no sample");
    assert!(!ran.err.contains("secret"));
    run(["top", "--url", &server.url, "--key-file", "x", "--once"]).expect(2, "--certificate");
    run(["top", "--url", &server.url, "--key-file", "x", "--tls-key", &"5a".repeat(32), "--json"])
        .expect(2, "--once");
}
