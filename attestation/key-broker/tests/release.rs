//! Releases and refusals through the router, each with its entry in the log.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests stop at a surprise"
)]

mod common;

use anchorhold_attester::software::{Debug, LaunchConfig, MigrationAgent};
use anchorhold_audit_log::Signer;
use anchorhold_key_release::{GuestKeys, Session, SessionError, SignerSet, sign_lease_end};
use anchorhold_rats::{Kem, Measurement, Sha256Digest, WrappingKey};
use anchorhold_verifier::TrustAnchors;
use axum::body::Body;
use common::signers::{set, signed};
use common::{Guest, Site, call, challenge, entries, import_file, post, refusal, story, weights_key};
use http::Request;
use std::sync::Arc;
use tower::ServiceExt as _;

fn told(kind: &str, code: &str) -> (String, String) {
    (kind.to_owned(), code.to_owned())
}

#[tokio::test]
async fn a_guest_in_a_grant_gets_the_key_and_the_log_says_so() {
    let (site, broker) = Site::with_model();
    let guest = Guest::new(&site.clock);
    let (body, awaiting) = guest.answer(&broker, &challenge(&broker).await);
    let (status, response) = post(&broker, "/v1/release", body).await;
    assert_eq!(status, 200);
    let released = awaiting.open(&response, &guest.key).unwrap();
    assert_eq!(released.weights_key(), &weights_key(7));
    let entries = entries(&broker);
    let entry = entries.iter().find(|entry| entry["type"] == "key.release").unwrap();
    assert_eq!(entry["model"]["id"], "acme/chat-70b");
    assert_eq!(entry["key"]["kid"], "k7");
    assert_eq!(entry["decision"]["grant"], "chat-prod");
    assert_eq!(entry["decision"]["lease_s"], 3600);
    assert_eq!(entry["platform"]["tee"], "snp-simulated");
    assert_eq!(entry["platform"]["meas"], "a1".repeat(48));
    assert!(entry["decision"]["checks"].as_array().unwrap().len() > 20);
}

#[tokio::test]
async fn case_01_refuses_a_replayed_request() {
    let (site, broker) = Site::with_model();
    let (body, _) = Guest::new(&site.clock).answer(&broker, &challenge(&broker).await);
    assert_eq!(post(&broker, "/v1/release", body.clone()).await.0, 200);
    assert_eq!(refusal(post(&broker, "/v1/release", body).await), (409, "challenge_used".to_owned()));
    assert_eq!(
        story(&broker),
        [told("policy.load", "ok"), told("key.release", "ok"), told("key.refuse", "challenge_used")]
    );
}

#[tokio::test]
async fn case_01_of_many_replays_at_once_one_gets_the_key() {
    let (site, broker) = Site::with_model();
    let (body, _) = Guest::new(&site.clock).answer(&broker, &challenge(&broker).await);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (broker, body) = (Arc::clone(&broker), body.clone());
        tasks.spawn(async move { post(&broker, "/v1/release", body).await.0 });
    }
    let mut statuses = tasks.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409, 409, 409, 409, 409]);
}

#[tokio::test]
async fn case_02_refuses_expired_foreign_and_swapped_challenges() {
    let (site, broker) = Site::with_model();
    let guest = Guest::new(&site.clock);
    let (late, _) = guest.answer(&broker, &challenge(&broker).await);
    site.clock.pass(60);
    assert_eq!(refusal(post(&broker, "/v1/release", late).await), (401, "challenge_expired".to_owned()));

    let ours = challenge(&broker).await;
    let mut foreign: serde_json::Value = serde_json::from_slice(&ours).unwrap();
    foreign["nonce"] = "11".repeat(32).into();
    let (body, _) = guest.answer(&broker, &serde_json::to_vec(&foreign).unwrap());
    assert_eq!(refusal(post(&broker, "/v1/release", body).await), (401, "challenge_foreign".to_owned()));

    let (body, _) = guest.answer(&broker, &ours);
    let mut swapped: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let other: serde_json::Value = serde_json::from_slice(&challenge(&broker).await).unwrap();
    swapped["nonce"] = other["nonce"].clone();
    let swapped = serde_json::to_vec(&swapped).unwrap();
    assert_eq!(refusal(post(&broker, "/v1/release", swapped).await), (403, "binding_mismatch".to_owned()));
    // None of it used the honest challenge up.
    assert_eq!(post(&broker, "/v1/release", body).await.0, 200);
    assert_eq!(
        story(&broker)[1..],
        [
            told("key.refuse", "challenge_expired"),
            told("key.refuse", "challenge_foreign"),
            told("key.refuse", "binding_mismatch"),
            told("key.release", "ok")
        ]
    );
}

#[tokio::test]
async fn case_03_refuses_other_keys_than_the_evidence_names() {
    let (site, broker) = Site::with_model();
    let guest = Guest::new(&site.clock);
    for key in ["tls_key", "release_key", "audit_key"] {
        let (body, _) = guest.answer(&broker, &challenge(&broker).await);
        let mut body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let prefix = if key == "release_key" { "x25519:" } else { "" };
        body["keys"][key] = format!("{prefix}{}", "66".repeat(32)).into();
        let body = serde_json::to_vec(&body).unwrap();
        assert_eq!(
            refusal(post(&broker, "/v1/release", body).await),
            (403, "binding_mismatch".to_owned()),
            "{key}"
        );
    }
}

#[tokio::test]
async fn case_05_each_unacceptable_guest_gets_its_own_code() {
    let (site, broker) = Site::with_model();
    let good = || LaunchConfig::new(Measurement::new([0xa1; 48]));
    let low = [10, 0, 0, 0, 0, 0, 22, 84];
    for (config, code) in [
        (LaunchConfig { debug: Debug::Allowed, ..good() }, "snp_debug_allowed"),
        (LaunchConfig { migration_agent: MigrationAgent::Allowed, ..good() }, "snp_migration_allowed"),
        (LaunchConfig { vmpl: 1, ..good() }, "snp_vmpl"),
        (LaunchConfig::new(Measurement::new([0xff; 48])), "snp_measurement"),
        (
            LaunchConfig {
                current_tcb: low,
                reported_tcb: low,
                committed_tcb: low,
                launch_tcb: low,
                ..good()
            },
            "snp_tcb_minimum",
        ),
    ] {
        let (body, _) = Guest::launch(config, &site.clock).answer(&broker, &challenge(&broker).await);
        assert_eq!(refusal(post(&broker, "/v1/release", body).await), (403, code.to_owned()));
    }
}

#[tokio::test]
async fn case_05_a_broker_with_production_anchors_refuses_the_simulated_root() {
    let site = Site::signed_by(Some(&SignerSet::from_toml(&set(1, 1, &[1])).unwrap()));
    let broker = site.open_with(TrustAnchors::production());
    common::set_policy(&broker, signed(common::POLICY, &[1])).unwrap();
    broker.import(&import_file("acme/chat-70b", 7)).unwrap();
    let (body, _) = Guest::new(&site.clock).answer(&broker, &challenge(&broker).await);
    assert_eq!(refusal(post(&broker, "/v1/release", body).await), (403, "snp_no_trust_anchor".to_owned()));
}

#[tokio::test]
async fn case_09_refuses_bodies_over_the_limits() {
    let (site, broker) = Site::with_model();
    let big = vec![b' '; 1024 * 1024 + 1];
    assert_eq!(refusal(post(&broker, "/v1/release", big).await), (413, "too_large".to_owned()));
    for bad in ["", "{}", "[1,2", "\u{0}", &"[".repeat(10_000), "{\"nonce\":1}"] {
        let answer = post(&broker, "/v1/release", bad.into()).await;
        assert_eq!(refusal(answer), (400, "malformed".to_owned()), "{bad:.20}");
    }
    let compressed =
        Request::post("/v1/release").header("content-encoding", "gzip").body(Body::from("x")).unwrap();
    assert_eq!(refusal(call(&broker, compressed).await), (415, "encoding_refused".to_owned()));
    assert_eq!(
        refusal(post(&broker, "/v1/challenge", vec![b' '; 2048]).await),
        (413, "too_large".to_owned())
    );
    let (body, _) = Guest::new(&site.clock).answer(&broker, &challenge(&broker).await);
    assert_eq!(post(&broker, "/v1/release", body).await.0, 200);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_json_errors() {
    let (_site, broker) = Site::with_model();
    for path in ["/", "/v1", "/v1/release/", "/v1//release", "/v1/%72elease/x"] {
        assert_eq!(refusal(post(&broker, path, Vec::new()).await), (404, "not_found".to_owned()), "{path}");
    }
    let wrong = Request::get("/v1/release").body(Body::empty()).unwrap();
    assert_eq!(refusal(call(&broker, wrong).await), (405, "method_not_allowed".to_owned()));
    let health = Request::get("/health").body(Body::empty()).unwrap();
    assert_eq!(call(&broker, health).await, (200, br#"{"status":"ok"}"#.to_vec()));
}

#[tokio::test]
async fn case_10_unknown_and_forbidden_models_get_the_same_answer() {
    let (site, broker) = Site::with_model();
    broker.import(&import_file("acme/secret", 1)).unwrap();
    let guest = Guest::new(&site.clock);
    let mut answers = Vec::new();
    for id in ["acme/none", "acme/secret", "acme/../acme/chat-70b", "ACME/chat-70b"] {
        let (body, _) = guest.ask(&broker, &challenge(&broker).await, (id, 1));
        answers.push(post(&broker, "/v1/release", body).await);
    }
    assert_eq!(refusal(answers[0].clone()), (403, "model_refused".to_owned()));
    assert!(answers.iter().all(|answer| answer == &answers[0]));
}

#[tokio::test]
async fn refuses_a_version_that_is_not_there_and_uses_the_nonce_up() {
    let (site, broker) = Site::with_model();
    let (body, _) = Guest::new(&site.clock).ask(&broker, &challenge(&broker).await, ("acme/chat-70b", 8));
    assert_eq!(
        refusal(post(&broker, "/v1/release", body.clone()).await),
        (403, "version_refused".to_owned())
    );
    broker.import(&import_file("acme/chat-70b", 8)).unwrap();
    assert_eq!(refusal(post(&broker, "/v1/release", body).await), (409, "challenge_used".to_owned()));
}

#[tokio::test]
async fn refuses_more_instances_than_granted_until_a_lease_ends() {
    let site = Site::bare();
    let broker = site.open();
    common::set_policy(&broker, common::POLICY.replace("max_instances = 16", "max_instances = 1")).unwrap();
    broker.import(&import_file("acme/chat-70b", 7)).unwrap();
    let (one, mut two) = (Guest::new(&site.clock), Guest::new(&site.clock));
    two.instance = 2;
    let (body, _) = one.answer(&broker, &challenge(&broker).await);
    assert_eq!(post(&broker, "/v1/release", body).await.0, 200);
    let (body, _) = two.answer(&broker, &challenge(&broker).await);
    assert_eq!(refusal(post(&broker, "/v1/release", body).await), (403, "instances_exceeded".to_owned()));
    // The first one renews: it is no second instance.
    let (body, _) = one.answer(&broker, &challenge(&broker).await);
    assert_eq!(post(&broker, "/v1/release", body).await.0, 200);
    site.clock.pass(3600);
    let (body, _) = two.answer(&broker, &challenge(&broker).await);
    assert_eq!(post(&broker, "/v1/release", body).await.0, 200);
    assert_eq!(broker.status().unwrap().leases.len(), 1);
}

#[tokio::test]
async fn a_guest_that_stops_gives_its_place_back() {
    let site = Site::bare();
    let broker = site.open();
    common::set_policy(&broker, common::POLICY.replace("max_instances = 16", "max_instances = 1")).unwrap();
    broker.import(&import_file("acme/chat-70b", 7)).unwrap();
    let (one, mut two) = (Guest::new(&site.clock), Guest::new(&site.clock));
    two.instance = 2;
    let (body, _) = one.answer(&broker, &challenge(&broker).await);
    assert_eq!(post(&broker, "/v1/release", body).await.0, 200);
    let end =
        |signer: &Signer, kid: &str| post(&broker, "/v1/lease/end", sign_lease_end(signer, kid).unwrap());
    let unknown = (200, br#"{"lease":"unknown"}"#.to_vec());
    let size = broker.ledger().latest().head.size;

    // What ends nothing: a log that nobody knows, another key's lease, another's signature, and what is no note.
    assert_eq!(end(&two.log(), "k7").await, unknown);
    assert_eq!(end(&one.log(), "k8").await, unknown);
    let thief = Signer::from_seed(one.log().origin().clone(), &[9; 32]).unwrap();
    assert_eq!(refusal(end(&thief, "k7").await), (403, "lease_signature".to_owned()));
    for (body, refused) in [
        (b"{}".to_vec(), (400, "malformed")),
        (vec![b'x'; 1024], (400, "malformed")),
        (vec![b'x'; 1025], (413, "too_large")),
    ] {
        let (status, code) = refusal(post(&broker, "/v1/lease/end", body).await);
        assert_eq!((status, code.as_str()), refused);
    }
    let (body, _) = two.answer(&broker, &challenge(&broker).await);
    assert_eq!(refusal(post(&broker, "/v1/release", body).await), (403, "instances_exceeded".to_owned()));
    assert_eq!((broker.status().unwrap().leases.len(), broker.ledger().latest().head.size), (1, size + 1));

    assert_eq!(end(&one.log(), "k7").await, (200, br#"{"lease":"ended"}"#.to_vec()));
    assert_eq!(broker.status().unwrap().leases, []);
    assert_eq!(end(&one.log(), "k7").await, unknown);
    let (body, _) = two.answer(&broker, &challenge(&broker).await);
    assert_eq!(post(&broker, "/v1/release", body).await.0, 200);
    // What the first one said does not end what the second one holds.
    assert_eq!(end(&one.log(), "k7").await, unknown);
    assert_eq!(broker.status().unwrap().leases.len(), 1);
    let entries = entries(&broker);
    let ends: Vec<_> = entries.iter().filter(|entry| entry["type"] == "key.expire").collect();
    let [end] = ends.as_slice() else { panic!("{ends:?}") };
    assert_eq!((&end["code"], &end["actor"]["kind"]), (&"returned".into(), &"client".into()));
    assert_eq!((&end["key"]["kid"], &end["model"]["id"]), (&"k7".into(), &"acme/chat-70b".into()));
}

#[tokio::test]
async fn refuses_without_a_policy_and_after_it_expired() {
    let site = Site::bare();
    let broker = site.open();
    let (body, _) = Guest::new(&site.clock).answer(&broker, &challenge(&broker).await);
    assert_eq!(refusal(post(&broker, "/v1/release", body).await), (503, "no_policy".to_owned()));
    common::set_policy(&broker, common::POLICY).unwrap();
    site.clock.pass(250 * 86_400);
    let (body, _) = Guest::new(&site.clock).answer(&broker, &challenge(&broker).await);
    assert_eq!(refusal(post(&broker, "/v1/release", body).await), (503, "policy_expired".to_owned()));
}

#[tokio::test]
async fn wanted_and_observed_are_told_only_where_the_policy_says_so() {
    let (site, broker) = Site::with_model();
    let debug = LaunchConfig { debug: Debug::Allowed, ..LaunchConfig::new(Measurement::new([0xa1; 48])) };
    let guest = Guest::launch(debug, &site.clock);
    let (body, _) = guest.answer(&broker, &challenge(&broker).await);
    let (_, quiet) = post(&broker, "/v1/release", body).await;
    assert!(!String::from_utf8(quiet).unwrap().contains("checks"));
    let explaining = common::POLICY.replace("explain_to_guest = false", "explain_to_guest = true");
    common::set_policy(&broker, explaining.replace("= 42", "= 43")).unwrap();
    let (body, _) = guest.answer(&broker, &challenge(&broker).await);
    let (_, told) = post(&broker, "/v1/release", body).await;
    let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
    let checks = told["error"]["checks"].as_array().unwrap();
    assert_eq!(checks.len(), 1);
    assert_eq!(checks[0]["code"], "snp_debug_allowed");
}

#[tokio::test]
async fn case_04_the_answer_opens_only_for_its_own_exchange() {
    let (site, broker) = Site::with_model();
    let guest = Guest::new(&site.clock);
    let (body, _) = guest.answer(&broker, &challenge(&broker).await);
    let (_, response) = post(&broker, "/v1/release", body).await;
    let (_, later) = guest.answer(&broker, &challenge(&broker).await);
    assert!(matches!(later.open(&response, &guest.key), Err(SessionError::Signature)));
}

#[tokio::test]
async fn case_13_a_renewal_is_refused_after_revocation() {
    let (site, broker) = Site::with_model();
    let guest = Guest::new(&site.clock);
    let (body, _) = guest.answer(&broker, &challenge(&broker).await);
    assert_eq!(post(&broker, "/v1/release", body).await.0, 200);
    let image = format!("[\"sha384:{}\"]", "a1".repeat(48));
    for (version, list, value, code) in [
        (43, "kids         = \"none\"", "kids = [\"k7\"]".to_owned(), "revoked"),
        (44, "measurements = \"none\"", format!("measurements = {image}"), "release_measurement_revoked"),
    ] {
        assert!(common::POLICY.contains(list), "{list}");
        let policy = common::POLICY.replace(list, &value).replace("= 42", &format!("= {version}"));
        common::set_policy(&broker, &policy).unwrap();
        let (body, _) = guest.answer(&broker, &challenge(&broker).await);
        assert_eq!(refusal(post(&broker, "/v1/release", body).await), (403, code.to_owned()));
    }
}

#[tokio::test]
async fn refuses_a_release_key_to_which_nothing_can_be_wrapped() {
    let (site, broker) = Site::with_model();
    let guest = Guest::new(&site.clock);
    let release_key = WrappingKey::new(Kem::X25519, vec![0; 32]).unwrap();
    let keys = GuestKeys { release_key, ..guest.keys() };
    let challenge = challenge(&broker).await;
    let request = common::key_request(("acme/chat-70b", 1), 1);
    let session = Session::begin(&challenge, common::pinned(&broker), request, keys).unwrap();
    let evidence = guest.machine.attest(&session.report_data(Sha256Digest::of(b""))).unwrap();
    let (body, _) = session.send(evidence);
    assert_eq!(refusal(post(&broker, "/v1/release", body).await), (400, "malformed".to_owned()));
    assert_eq!(story(&broker)[1..], [told("key.refuse", "malformed")]);
}

#[tokio::test]
async fn case_09_releases_at_one_time_are_bounded_and_challenges_go_on() {
    let (_site, broker) = Site::with_model();
    let router = anchorhold_key_broker::router::router(Arc::clone(&broker));
    let (mut stuck, never) = (tokio::task::JoinSet::new(), common::Never::default());
    for _ in 0..256 {
        let request = Request::post("/v1/release").body(Body::new(never.clone())).unwrap();
        stuck.spawn(router.clone().oneshot(request));
    }
    never.until_waited_for(256).await;
    let one_more = Request::post("/v1/release").body(Body::from("{}")).unwrap();
    assert_eq!(router.clone().oneshot(one_more).await.unwrap().status(), 503);
    let challenge = Request::post("/v1/challenge").body(Body::empty()).unwrap();
    assert_eq!(router.clone().oneshot(challenge).await.unwrap().status(), 200);
    stuck.shutdown().await;
    let one_more = Request::post("/v1/release").body(Body::from("{}")).unwrap();
    assert_eq!(router.oneshot(one_more).await.unwrap().status(), 400);
}
