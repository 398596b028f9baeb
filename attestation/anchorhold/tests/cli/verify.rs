//! `verify` against a running software guest, and against saved documents.

use crate::support::{
    Folder, MEASUREMENT, Ran, authenticator_key, document, guest, now, release_policy, run,
};
use anchorhold_attester::software::SoftwareGuest;
use anchorhold_channel::authenticator::{self, Exporters, Request, Unsigned};
use anchorhold_channel::document::{PATH, nonce_of_query};
use anchorhold_channel::server::{Limits, serve};
use anchorhold_channel::tls::SelfSigned;
use anchorhold_channel::wrapper::certificate_nonce;
use anchorhold_rats::{Nonce, Sha256Digest};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Extension, RawQuery};
use axum::routing::{MethodRouter, get, post};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// A server on a free port, as long as the runtime lives.
fn server() -> (Runtime, String) {
    server_that(post(authenticate))
}

async fn authenticate(Extension(exporters): Extension<Arc<Exporters>>, body: Bytes) -> Vec<u8> {
    let (request, key) = (Request::parse(&body).unwrap(), authenticator_key());
    let unsigned = Unsigned::new(&exporters, &request, key.certificate());
    let signature = key.sign(&unsigned.transcript_hash()).unwrap();
    unsigned.finish(&signature)
}

/// The same, which answers so when it is asked for an authenticator.
fn server_that(authenticates: MethodRouter) -> (Runtime, String) {
    serving(authenticates, |own, _| own)
}

/// The same, with another certificate of its key.
fn serving(
    authenticates: MethodRouter,
    certificate: impl FnOnce(SelfSigned, &SoftwareGuest) -> SelfSigned,
) -> (Runtime, String) {
    let runtime = Runtime::new().unwrap();
    let own = SelfSigned::generate(&["localhost".into()]).unwrap();
    let (tls_key, guest) = (own.tls_key, Arc::new(guest()));
    let own = certificate(own, &guest);
    let handler = get(move |RawQuery(query): RawQuery| async move {
        document(&guest, nonce_of_query(query.as_deref()).unwrap(), tls_key)
    });
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let router = Router::new().route(PATH, handler).route(authenticator::PATH, authenticates);
    let tls = own.into_server_config().unwrap();
    runtime.spawn(serve(listener, tls, router, Limits::default(), std::future::pending()));
    (runtime, url)
}

#[test]
fn a_simulated_server_is_accepted_only_with_its_root_and_never_quietly() {
    let (_runtime, url) = server();
    let folder = Folder::new();
    let (root, measurement) = (folder.simulated_root(), MEASUREMENT.to_string());
    let ran = run(["verify", &url, "--measurement", &measurement, "--dangerous-simulated-root", &root]);
    ran.expect(0, "anchorhold: warning: SIMULATED ROOT");
    assert!(ran.out.ends_with("verdict      accepted (simulated)\n"), "{}", ran.out);
    assert!(ran.out.contains("\nsimulated    true"), "{}", ran.out);
    for text in ["tls_key_bound", "document_nonce", "snp_measurement", "acme/chat version 3", &measurement] {
        assert!(ran.out.contains(text), "{text} in {}", ran.out);
    }
    let args = ["verify", &url, "--measurement", &measurement, "--dangerous-simulated-root", &root, "--json"];
    let json = run(args).json();
    assert_eq!((&json["verdict"], &json["simulated"]), (&"accepted".into(), &true.into()));
    assert_eq!(json["target"], url);
    let ran = run(["verify", &url, "--measurement", &measurement]);
    ran.expect(3, "hint: the evidence does not lead to AMD's root");
    assert!(ran.out.ends_with("verdict      NOT AUTHENTIC\n"), "{}", ran.out);
    assert!(ran.out.contains("FAILED   snp_no_trust_anchor"), "{}", ran.out);
}

#[test]
fn case_04_a_server_that_holds_the_tls_key_alone_is_not_authentic() {
    let folder = Folder::new();
    let (root, measurement) = (folder.simulated_root(), MEASUREMENT.to_string());
    let garbage = post(|| async { vec![11, 0, 0, 0] });
    let absent = post(|| async { axum::http::StatusCode::NOT_FOUND });
    for authenticates in [garbage, absent] {
        let (_runtime, url) = server_that(authenticates);
        let ran = run(["verify", &url, "--measurement", &measurement, "--dangerous-simulated-root", &root]);
        ran.expect(3, "");
        assert!(ran.out.contains("FAILED   authenticator"), "{}", ran.out);
        assert!(ran.out.ends_with("verdict      NOT AUTHENTIC\n"), "{}", ran.out);
    }
}

#[test]
fn evidence_in_the_certificate_is_one_more_rule_and_does_not_stand_for_the_others() {
    let folder = Folder::new();
    let (root, measurement) = (folder.simulated_root(), MEASUREMENT.to_string());
    let verify = |authenticates, nonce| {
        let (_runtime, url) = serving(authenticates, |own, guest| {
            let document = document(guest, nonce, own.tls_key);
            own.with_document(&document).unwrap()
        });
        run(["verify", &url, "--measurement", &measurement, "--dangerous-simulated-root", &root])
    };
    let ran = verify(post(authenticate), certificate_nonce());
    ran.expect(0, "");
    assert!(ran.out.contains("certificate_evidence"), "{}", ran.out);
    let ran = verify(post(authenticate), Nonce::new([5; 32]));
    ran.expect(3, "");
    assert!(ran.out.contains("FAILED   certificate_evidence"), "{}", ran.out);
    // A relay that has the key shows the same certificate, and is still found out.
    let ran = verify(post(|| async { axum::http::StatusCode::NOT_FOUND }), certificate_nonce());
    ran.expect(3, "");
    assert!(!ran.out.contains("FAILED   certificate_evidence"), "{}", ran.out);
    assert!(ran.out.contains("FAILED   authenticator"), "{}", ran.out);
}

#[test]
fn another_measurement_is_not_acceptable() {
    let (_runtime, url) = server();
    let root = Folder::new();
    let (root, other) = (root.simulated_root(), "5b".repeat(48));
    let ran = run(["verify", &url, "--measurement", &other, "--dangerous-simulated-root", &root]);
    ran.expect(4, "");
    assert!(ran.out.contains("FAILED   snp_measurement"), "{}", ran.out);
    assert!(ran.out.contains(&format!("wanted: {other}")), "{}", ran.out);
    assert!(ran.out.ends_with("verdict      NOT ACCEPTABLE\n"), "{}", ran.out);
    // Of several measurements one is enough.
    let args = ["verify", &url, "--measurement", &other, "--measurement", &MEASUREMENT.to_string()];
    run(args.into_iter().chain(["--dangerous-simulated-root", &root])).expect(0, "");
}

#[test]
fn case_06_a_tcb_below_the_floor_and_a_product_without_one_are_not_acceptable() {
    let (_runtime, url) = server();
    let folder = Folder::new();
    let (root, measurement) = (folder.simulated_root(), MEASUREMENT.to_string());
    let with = |floor: &str| {
        let args = ["verify", &url, "--measurement", &measurement, "--dangerous-simulated-root", &root];
        run(args.into_iter().chain(["--min-tcb", floor]))
    };
    with("genoa=10,0,25,84").expect(0, "");
    with("genoa=10,0,26,84").expect(4, "");
    with("turin=0,0,0,0,0").expect(4, "");
}

#[test]
fn a_release_policy_says_what_is_accepted_and_what_is_revoked() {
    let (_runtime, url) = server();
    let folder = Folder::new();
    let root = folder.simulated_root();
    let with = |name: &str, text: &str| {
        run(["verify", &url, "--policy", &folder.write(name, text), "--dangerous-simulated-root", &root])
    };
    let good = release_policy(MEASUREMENT, "\"none\"");
    with("good.toml", &good).expect(0, "");
    let revoked = release_policy(MEASUREMENT, &format!("[\"sha384:{MEASUREMENT}\"]"));
    with("revoked.toml", &revoked).expect(4, "");
    with("expired.toml", &good.replace("9000-01-31", "2001-01-31")).expect(1, "expired at 2001-01-31");
    with("broken.toml", "policy = 1").expect(1, "anchorhold: error: ");
}

#[test]
fn there_is_no_verification_without_a_word_on_what_is_accepted() {
    run(["verify", "https://127.0.0.1:1"]).expect(2, "what is accepted is not said");
    let both = ["verify", "https://127.0.0.1:1", "--measurement", &"5a".repeat(48), "--policy", "x"];
    run(both).expect(2, "cannot be used with");
}

#[test]
fn an_unreachable_server_is_no_verdict() {
    // Bound and never accepting TLS: dropped at once, so the port is closed.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("https://{closed}");
    let ran = run(["verify", &url, "--measurement", &"5a".repeat(48), "--json"]);
    ran.expect(1, "anchorhold: error: cannot connect to 127.0.0.1:");
    assert!(ran.out.is_empty());
}

#[test]
fn what_is_no_root_is_not_trusted() {
    let folder = Folder::new();
    let file = folder.write("root.der", "no certificate");
    let args = ["verify", "https://127.0.0.1:1", "--measurement", &"5a".repeat(48)];
    let ran = run(args.into_iter().chain(["--dangerous-simulated-root", &file]));
    ran.expect(1, "trust anchor is not a certificate");
}

#[test]
fn a_saved_document_is_judged_again_without_the_server() {
    let (runtime, url) = server();
    let folder = Folder::new();
    let (root, saved) = (folder.simulated_root(), folder.path("document.json"));
    let trust = ["--measurement", &MEASUREMENT.to_string(), "--dangerous-simulated-root", &root];
    let args = ["verify", &url, "--save", &saved];
    let ran = run(args.into_iter().chain(trust));
    ran.expect(0, "saved; judge it again with:\n  anchorhold verify --document ");
    drop(runtime);
    let command = ran.err.lines().find(|line| line.starts_with("  anchorhold ")).unwrap();
    let again = run(command.split_whitespace().skip(1).chain(trust));
    again.expect(0, "");
    assert!(again.out.contains("accepted (simulated)"), "{}", again.out);
    run(["verify", &url, "--save", &saved].into_iter().chain(trust)).expect(1, "cannot connect");
}

fn offline(folder: &Folder, nonce: Nonce, tls_key: Sha256Digest, more: &[&str]) -> Ran {
    let (file, root) = (folder.path("document.json"), folder.simulated_root());
    let (nonce, tls_key) = (nonce.to_string(), tls_key.to_string());
    let measurement = MEASUREMENT.to_string();
    let mut args = vec!["verify", "--document", &file, "--nonce", &nonce, "--tls-key", &tls_key];
    args.extend(["--measurement", &measurement, "--dangerous-simulated-root", &root]);
    run(args.iter().chain(more))
}

#[test]
fn case_04_a_document_of_another_connection_or_nonce_is_not_authentic() {
    let folder = Folder::new();
    let (nonce, tls_key) = (Nonce::new([1; 32]), Sha256Digest::new([2; 32]));
    folder.write("document.json", document(&guest(), nonce, tls_key));
    offline(&folder, nonce, tls_key, &[]).expect(0, "");
    let relayed = offline(&folder, nonce, Sha256Digest::new([3; 32]), &[]);
    relayed.expect(3, "");
    assert!(relayed.out.contains("FAILED   tls_key_bound"), "{}", relayed.out);
    let replayed = offline(&folder, Nonce::new([3; 32]), tls_key, &[]);
    replayed.expect(3, "");
    assert!(replayed.out.contains("FAILED   document_nonce"), "{}", replayed.out);
}

#[test]
fn a_saved_document_is_judged_for_the_given_time() {
    let folder = Folder::new();
    let (nonce, tls_key) = (Nonce::new([1; 32]), Sha256Digest::new([2; 32]));
    folder.write("document.json", document(&guest(), nonce, tls_key));
    offline(&folder, nonce, tls_key, &["--at", &now().to_string()]).expect(0, "");
    let late = offline(&folder, nonce, tls_key, &["--at", "2200-01-01T00:00:00Z", "--json"]);
    late.expect(3, "");
    let json = late.json();
    let failed =
        json["checks"].as_array().unwrap().iter().find(|check| check["outcome"] == "failed").unwrap();
    assert_eq!(failed["code"], "snp_certificate_validity");
}

#[test]
fn case_47_what_is_no_document_is_not_authentic() {
    let folder = Folder::new();
    let (nonce, tls_key) = (Nonce::new([1; 32]), Sha256Digest::new([2; 32]));
    for bytes in [&b""[..], b"{}", b"\xff\xff", &[b'['; 10_000]] {
        folder.write("document.json", bytes);
        let ran = offline(&folder, nonce, tls_key, &[]);
        ran.expect(3, "");
        assert!(ran.out.contains("FAILED   document_format"), "{}", ran.out);
    }
}
