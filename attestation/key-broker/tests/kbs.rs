//! The broker as a KBS: guests of Confidential Containers through the router, each decision with its entry in the log.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests stop at a surprise")]

mod common;

use anchorhold_attester::software::{Debug, LaunchConfig};
use anchorhold_kbs::ear::Jwks;
use anchorhold_kbs::{MAX_ATTEST_BYTES, MAX_AUTH_BYTES, MAX_RESOURCE_BYTES, TokenError, TokenRules};
use anchorhold_key_broker::broker::{Broker, BrokerError};
use anchorhold_key_broker::kek::settings::{Origin, Role, WrittenKek};
use anchorhold_key_broker::kek_admin::{Fate, KekReply, KekRequest};
use anchorhold_key_broker::secrets::Secrets;
use anchorhold_key_broker::store::{Table, look_up};
use anchorhold_key_release::{Revoked, SignerSet};
use anchorhold_rats::Measurement;
use anchorhold_verifier::TrustAnchors;
use axum::body::Body;
use common::pod::{
    GRANTED, OTHERS, Pod, Prepared, RESOURCES, attest, get, post_problem, problem_of, resource, rules, send,
    with_resources,
};
use common::signers::{set, signed};
use common::simulated::{Fault, Simulated};
use common::{Site, call, entries};
use http::Request;
use std::sync::Arc;
use tower::ServiceExt as _;

fn fresh_token_key() -> zeroize::Zeroizing<Vec<u8>> {
    Secrets::generate(common::secrets().tls).unwrap().token
}

fn refused(status: u16, kind: &str) -> (u16, String) {
    (status, kind.to_owned())
}

/// Type and code of each entry about guests and resources, after the broker was furnished.
fn story(broker: &Broker) -> Vec<(String, String)> {
    let text = |entry: &serde_json::Value, key: &str| entry[key].as_str().unwrap().to_owned();
    let told = entries(broker).into_iter().map(|entry| (text(&entry, "type"), text(&entry, "code")));
    told.filter(|(kind, _)| ["attest.", "key.re"].iter().any(|start| kind.starts_with(start))).collect()
}

fn told(kind: &str, code: &str) -> (String, String) {
    (kind.to_owned(), code.to_owned())
}

#[tokio::test]
async fn a_guest_in_a_grant_gets_its_resource_and_the_log_says_so() {
    let (site, broker) = with_resources();
    let guest = Pod::new(&site.clock).attested(&broker).await;
    let came = resource(&broker, &guest, GRANTED).await;
    assert_eq!(came.status, 200);
    assert_eq!(guest.open(&came.body).unwrap().expose(), b"the secret");
    assert_eq!(story(&broker), [told("attest.verified", "ok"), told("key.release", "ok")]);
    let entries = entries(&broker);
    let entry = |kind| entries.iter().find(|entry| entry["type"] == kind).unwrap();
    let attested = entry("attest.verified");
    assert_eq!(attested["platform"]["meas"], "a1".repeat(48));
    assert_eq!(attested["platform"]["tee"], "snp-simulated");
    assert_eq!(attested["decision"]["policy_id"], "acme-pods");
    assert!(attested["decision"]["checks"].as_array().unwrap().len() > 20);
    let released = entry("key.release");
    assert_eq!(released["key"]["kid"], GRANTED);
    assert_eq!(released["decision"]["grant"], "pods-prod");
    assert_eq!(released["req"]["route"], "kbs");
}

#[tokio::test]
async fn a_token_is_good_as_a_bearer_and_for_other_relying_parties() {
    let (site, broker) = with_resources();
    let guest = Pod::new(&site.clock).attested(&broker).await;
    let bearer = format!("Bearer {}", guest.token().as_str());
    let path = format!("/kbs/v0/resource/{GRANTED}");
    let came = get(&broker, &path, &[("authorization", &bearer)]).await;
    assert_eq!(guest.open(&came.body).unwrap().expose(), b"the secret");
    // A bearer token goes before a cookie, and one of two is none.
    let cookie = guest.cookie_header();
    let came = get(&broker, &path, &[("authorization", "Bearer x"), ("cookie", &cookie)]).await;
    assert_eq!(came.problem(), refused(401, "TokenVerifierError"));
    let came = get(&broker, &path, &[("authorization", &bearer), ("authorization", &bearer)]).await;
    assert_eq!(came.problem(), refused(401, "TokenNotFound"));
    // Relying parties find the key where Trustee's do; a simulated guest is not affirmed to them.
    let (status, keys) =
        call(&broker, Request::get("/.well-known/jwks.json").body(Body::empty()).unwrap()).await;
    assert_eq!(status, 200);
    let strict = TokenRules::new(Jwks::from_json(&keys).unwrap());
    let refusal = strict.accept(guest.token().as_str(), site.clock.now());
    assert_eq!(refusal.err(), Some(TokenError::NotAffirming));
    assert!(rules(&broker).accept(guest.token().as_str(), site.clock.now()).is_ok());
}

#[tokio::test]
async fn case_01_refuses_a_replayed_attestation() {
    let (site, broker) = with_resources();
    let Prepared { body, cookie, .. } = Pod::new(&site.clock).prepared(&broker).await;
    assert_eq!(attest(&broker, body.clone(), &cookie).await.status, 200);
    assert_eq!(attest(&broker, body, &cookie).await.problem(), refused(401, "AttestationError"));
    assert_eq!(story(&broker), [told("attest.verified", "ok"), told("attest.rejected", "challenge_used")]);
}

#[tokio::test]
async fn case_01_of_many_replays_at_once_one_is_admitted() {
    let (site, broker) = with_resources();
    let Prepared { body, cookie, .. } = Pod::new(&site.clock).prepared(&broker).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (broker, body, cookie) = (Arc::clone(&broker), body.clone(), cookie.clone());
        tasks.spawn(async move { attest(&broker, body, &cookie).await.status });
    }
    let mut statuses = tasks.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401, 401, 401, 401, 401, 401, 401]);
}

#[tokio::test]
async fn case_02_refuses_expired_foreign_and_swapped_challenges() {
    let (site, broker) = with_resources();
    let pod = Pod::new(&site.clock);
    let late = pod.prepared(&broker).await;
    site.clock.pass(120);
    assert_eq!(attest(&broker, late.body, &late.cookie).await.problem(), refused(401, "AttestationError"));
    let (one, two) = (pod.prepared(&broker).await, pod.prepared(&broker).await);
    // Another challenge's cookie, none, and one of nobody.
    for cookie in [two.cookie.as_str(), "kbs-session-id=", "kbs-session-id=AAAA", "other=1"] {
        let came = attest(&broker, one.body.clone(), cookie).await;
        assert_eq!(came.problem(), refused(401, "AttestationError"), "{cookie}");
    }
    assert_eq!(
        post_problem(&broker, "/kbs/v0/attest", one.body.clone()).await,
        refused(401, "AttestationError")
    );
    // None of it used the honest challenge up.
    assert_eq!(attest(&broker, one.body, &one.cookie).await.status, 200);
    let mut wanted = vec![told("attest.rejected", "challenge_expired")];
    wanted.extend(std::iter::repeat_n(told("attest.rejected", "challenge_foreign"), 5));
    wanted.push(told("attest.verified", "ok"));
    assert_eq!(story(&broker), wanted);
}

#[tokio::test]
async fn case_03_refuses_another_key_than_the_evidence_names() {
    let (site, broker) = with_resources();
    let pod = Pod::new(&site.clock);
    let (one, two) = (pod.prepared(&broker).await, pod.prepared(&broker).await);
    let read = |body: &[u8]| serde_json::from_slice::<serde_json::Value>(body).unwrap();
    let (mut swapped, other) = (read(&one.body), read(&two.body));
    swapped["runtime-data"]["tee-pubkey"] = other["runtime-data"]["tee-pubkey"].clone();
    let came = attest(&broker, serde_json::to_vec(&swapped).unwrap(), &one.cookie).await;
    assert_eq!(came.problem(), refused(401, "AttestationError"));
    assert_eq!(story(&broker), [told("attest.rejected", "binding_mismatch")]);
}

#[tokio::test]
async fn case_05_each_unacceptable_guest_is_refused_with_its_own_code_in_the_log_alone() {
    let (site, broker) = with_resources();
    let good = || LaunchConfig::new(Measurement::new([0xa1; 48]));
    for (config, code) in [
        (LaunchConfig { debug: Debug::Allowed, ..good() }, "snp_debug_allowed"),
        (LaunchConfig { vmpl: 1, ..good() }, "snp_vmpl"),
        (LaunchConfig::new(Measurement::new([0xff; 48])), "snp_measurement"),
    ] {
        let refusal = Pod::launch(config, &site.clock).refused(&broker).await;
        assert_eq!(refusal, refused(401, "AttestationError"));
        assert_eq!(story(&broker).last().unwrap(), &told("attest.rejected", code));
    }
}

#[tokio::test]
async fn case_05_a_broker_with_production_anchors_refuses_the_simulated_root() {
    let signers = SignerSet::from_toml(&set(1, 1, &[1])).unwrap();
    let site = Site::signed_by(Some(&signers));
    let broker = site.open_with(TrustAnchors::production());
    common::set_policy(&broker, signed(RESOURCES, &[1])).unwrap();
    assert_eq!(Pod::new(&site.clock).refused(&broker).await, refused(401, "AttestationError"));
    assert_eq!(story(&broker), [told("attest.rejected", "snp_no_trust_anchor")]);
}

#[tokio::test]
async fn refuses_initialisation_data_that_the_evidence_does_not_hold() {
    let (site, broker) = with_resources();
    let toml = "algorithm = \"sha256\"\nversion = \"0.1.0\"\n[data]\n\"aa.toml\" = \"\"\n";
    let Prepared { body, cookie, .. } = Pod::new(&site.clock).prepared_with(&broker, Some(toml)).await;
    assert_eq!(attest(&broker, body.clone(), &cookie).await.problem(), refused(401, "AttestationError"));
    assert_eq!(story(&broker), [told("attest.rejected", "kbs_init_data")]);
    // The evidence was good, so its nonce is used up.
    assert_eq!(attest(&broker, body, &cookie).await.problem(), refused(401, "AttestationError"));
    assert_eq!(story(&broker).last().unwrap(), &told("attest.rejected", "challenge_used"));
}

#[tokio::test]
async fn refuses_other_versions_of_the_protocol() {
    let (_site, broker) = with_resources();
    for version in ["0.1.0", "0.3.0", "0.4.1", "1.0.0", ""] {
        let body = format!(r#"{{"version":"{version}","tee":"snp","extra-params":""}}"#);
        let (status, body) = common::post(&broker, "/kbs/v0/auth", body.into_bytes()).await;
        let text = String::from_utf8(body).unwrap();
        assert!(status == 401 && text.contains("Protocol Version Mismatch"), "{version}: {text}");
    }
    assert_eq!(story(&broker), [], "nothing was decided");
}

#[tokio::test]
async fn case_10_unknown_and_forbidden_resources_get_the_same_answer() {
    let (site, broker) = with_resources();
    let guest = Pod::new(&site.clock).attested(&broker).await;
    let granted_but_missing = "acme/registry/credential";
    let mut answers = Vec::new();
    for name in [OTHERS, "acme/none/1", granted_but_missing, "acme/image-key/10", "ACME/image-key/1"] {
        answers.push(resource(&broker, &guest, name).await);
        let entry = entries(&broker).pop().unwrap();
        assert_eq!(
            (entry["code"].as_str(), entry["key"]["kid"].as_str()),
            (Some("resource_refused"), Some(name))
        );
    }
    assert_eq!(answers[0].problem(), refused(401, "PolicyDeny"));
    assert!(answers.iter().all(|answer| answer == &answers[0]));
}

#[tokio::test]
async fn case_10_a_resource_has_one_name_only() {
    let (site, broker) = with_resources();
    let guest = Pod::new(&site.clock).attested(&broker).await;
    for name in [
        "acme/image-key",
        "acme/image-key/",
        "acme/image-key/1/",
        "acme//image-key/1",
        "acme/image-key/1/2",
        "acme/image-key/1?x=1",
        "acme/image-key/1?",
        "acme/x/../image-key/1",
        "acme/image-key/..",
        "./acme/image-key/1",
        "acme/image%2Dkey/1",
        "acme%2Fimage-key/1",
        "acme/image-key/%31",
        "acme/image-key/1%00",
        "acme/image-key/1;x",
    ] {
        let came = resource(&broker, &guest, name).await;
        assert_eq!(came.problem(), refused(404, "InvalidRequestPath"), "{name}");
    }
    assert_eq!(story(&broker), [told("attest.verified", "ok")], "nothing was decided");
}

#[tokio::test]
async fn other_paths_and_methods_are_errors_of_the_protocol() {
    let (_site, broker) = with_resources();
    for (method, path) in [
        ("GET", "/kbs/v0/auth"),
        ("GET", "/kbs/v0/attest"),
        ("POST", "/kbs/v0/resource/acme/image-key/1"),
        ("PUT", "/kbs/v0/resource/acme/image-key/1"),
        ("DELETE", "/kbs/v0/resource/acme/image-key/1"),
        ("GET", "/kbs/v0/resource"),
        ("GET", "/kbs/v0/token-certificate-chain"),
        ("POST", "/kbs/v0/attestation-policy"),
        ("POST", "/kbs/v0/auth/"),
        ("GET", "/kbs/v0"),
    ] {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        assert_eq!(problem_of(&broker, request).await, refused(404, "PluginNotFound"), "{method} {path}");
    }
}

#[tokio::test]
async fn a_resource_needs_a_token_of_this_broker() {
    let (site, broker) = with_resources();
    let path = format!("/kbs/v0/resource/{GRANTED}");
    assert_eq!(get(&broker, &path, &[]).await.problem(), refused(401, "TokenNotFound"));
    let pod = Pod::new(&site.clock);
    let unattested = pod.introduced(&broker).await.cookie_header();
    let other = {
        let token = fresh_token_key();
        let other = Site::bare_with(&Secrets { token, ..common::secrets() });
        let broker = other.open();
        common::pod::furnish(&broker);
        pod.attested(&broker).await
    };
    let guest = pod.attested(&broker).await;
    let mut cut = guest.cookie_header();
    cut.truncate(cut.len() - 2);
    for cookie in [&unattested, &other.cookie_header(), &cut] {
        let came = get(&broker, &path, &[("cookie", cookie)]).await;
        assert_eq!(came.problem(), refused(401, "TokenVerifierError"), "{cookie}");
    }
    let basic = [("authorization", "Basic eA=="), ("cookie", &guest.cookie_header())];
    assert_eq!(get(&broker, &path, &basic).await.problem(), refused(401, "TokenNotFound"));
    assert_eq!(story(&broker), [told("attest.verified", "ok")], "nothing else was decided");
    site.clock.pass(300);
    let came = resource(&broker, &guest, GRANTED).await;
    assert_eq!(came.problem(), refused(401, "TokenVerifierError"), "expired");
}

#[tokio::test]
async fn case_13_a_revocation_or_another_policy_ends_every_token() {
    let (site, broker) = with_resources();
    let pod = Pod::new(&site.clock);
    for (kind, name) in [
        ("kid", "unrelated".to_owned()),
        ("manifest", format!("sha256:{}", "0c".repeat(32))),
        ("measurement", format!("sha384:{}", "0c".repeat(48))),
        ("chip", "0c".repeat(64)),
        ("platform", "0c".repeat(16)),
        ("device", "0c".repeat(8)),
    ] {
        let guest = pod.attested(&broker).await;
        broker.revoke(&Revoked::parse(kind, &name).unwrap()).unwrap();
        let came = resource(&broker, &guest, GRANTED).await;
        assert_eq!(came.problem(), refused(401, "TokenVerifierError"), "{kind}");
    }
    // It may attest again, and is judged by what holds now.
    let guest = pod.attested(&broker).await;
    assert_eq!(resource(&broker, &guest, GRANTED).await.status, 200);
    let next = RESOURCES.replace("version          = 1", "version = 2").replace("image-key/1", "image-key/2");
    common::set_policy(&broker, next).unwrap();
    let came = resource(&broker, &guest, GRANTED).await;
    assert_eq!(came.problem(), refused(401, "TokenVerifierError"));
    let guest = pod.attested(&broker).await;
    assert_eq!(resource(&broker, &guest, GRANTED).await.problem(), refused(401, "PolicyDeny"));
    let image = format!("sha384:{}", "a1".repeat(48));
    broker.revoke(&Revoked::parse("measurement", &image).unwrap()).unwrap();
    assert_eq!(pod.refused(&broker).await, refused(401, "AttestationError"));
    assert_eq!(story(&broker).last().unwrap(), &told("attest.rejected", "release_measurement_revoked"));
}

#[tokio::test]
async fn without_a_policy_in_force_nobody_is_admitted_and_the_guest_may_try_again() {
    let site = Site::bare();
    let broker = site.open();
    let pod = Pod::new(&site.clock);
    assert_eq!(pod.refused(&broker).await, refused(503, "PluginInternalError"));
    common::pod::furnish(&broker);
    let guest = pod.attested(&broker).await;
    assert_eq!(resource(&broker, &guest, GRANTED).await.status, 200);
    site.clock.pass(250 * 86_400);
    assert_eq!(Pod::new(&site.clock).refused(&broker).await, refused(503, "PluginInternalError"));
}

#[tokio::test]
async fn case_14_nothing_leaves_when_the_store_is_at_fault() {
    let site = Site::bare();
    let store = Arc::new(Simulated::default());
    let broker = site.open_on(Arc::clone(&store) as _);
    common::pod::furnish_with(&broker, &RESOURCES.replace("version          = 1", "version = 43"));
    let pod = Pod::new(&site.clock);
    let guest = pod.attested(&broker).await;
    for fault in [Fault::Unreachable, Fault::ChangeLost, Fault::AnswerLost] {
        let Prepared { body, cookie, .. } = pod.prepared(&broker).await;
        store.fail_next(fault);
        let came = attest(&broker, body, &cookie).await;
        assert_eq!(came.problem(), refused(503, "PluginInternalError"), "{fault:?}");
        let before = entries(&broker).len();
        store.fail_next(fault);
        let came = resource(&broker, &guest, GRANTED).await;
        assert_eq!(came.problem(), refused(503, "PluginInternalError"), "{fault:?}");
        // What may have been written is in the log; what was not, is not.
        let written = usize::from(fault == Fault::AnswerLost);
        assert_eq!(entries(&broker).len(), before + written, "{fault:?}");
    }
    store.set_unreadable(true);
    let came = resource(&broker, &guest, GRANTED).await;
    assert_eq!(came.problem(), refused(503, "PluginInternalError"));
    store.set_unreadable(false);
    assert_eq!(resource(&broker, &guest, GRANTED).await.status, 200);
}

#[tokio::test]
async fn case_09_refuses_bodies_over_the_limits() {
    let (_site, broker) = with_resources();
    for (path, limit) in [("/kbs/v0/auth", MAX_AUTH_BYTES), ("/kbs/v0/attest", MAX_ATTEST_BYTES)] {
        let refusal = post_problem(&broker, path, vec![b' '; limit + 1]).await;
        assert_eq!(refusal, refused(401, "AttestationError"), "{path}");
        for bad in ["", "{}", "[1,2", "\u{0}", &"[".repeat(10_000), "{\"nonce\":1}"] {
            let refusal = post_problem(&broker, path, bad.into()).await;
            assert_eq!(refusal, refused(401, "AttestationError"), "{path} {bad:.20}");
        }
    }
    let compressed =
        Request::post("/kbs/v0/attest").header("content-encoding", "gzip").body(Body::from("x")).unwrap();
    assert_eq!(problem_of(&broker, compressed).await, refused(401, "AttestationError"));
}

#[tokio::test]
async fn case_09_attestations_at_one_time_are_bounded_and_introductions_go_on() {
    let (_site, broker) = with_resources();
    let router = anchorhold_key_broker::router::router(Arc::clone(&broker));
    let (mut stuck, never) = (tokio::task::JoinSet::new(), common::Never::default());
    for _ in 0..256 {
        let request = Request::post("/kbs/v0/attest").body(Body::new(never.clone())).unwrap();
        stuck.spawn(router.clone().oneshot(request));
    }
    never.until_waited_for(256).await;
    let one_more = Request::post("/kbs/v0/attest").body(Body::from("{}")).unwrap();
    assert_eq!(router.clone().oneshot(one_more).await.unwrap().status(), 503);
    let auth = r#"{"version":"0.4.0","tee":"snp","extra-params":""}"#;
    let auth = Request::post("/kbs/v0/auth").body(Body::from(auth)).unwrap();
    assert_eq!(router.clone().oneshot(auth).await.unwrap().status(), 200);
    stuck.shutdown().await;
    let one_more = Request::post("/kbs/v0/attest").body(Body::from("{}")).unwrap();
    assert_eq!(router.oneshot(one_more).await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_resource_is_replaced_removed_and_logged_by_name() {
    let (site, broker) = with_resources();
    let guest = Pod::new(&site.clock).attested(&broker).await;
    let path = GRANTED.parse().unwrap();
    broker.add_resource(&path, b"newer").unwrap();
    let came = resource(&broker, &guest, GRANTED).await;
    assert_eq!(guest.open(&came.body).unwrap().expose(), b"newer");
    assert!(broker.remove_resource(&path).unwrap());
    assert!(!broker.remove_resource(&path).unwrap());
    assert_eq!(resource(&broker, &guest, GRANTED).await.problem(), refused(401, "PolicyDeny"));
    let names: Vec<String> = broker.resource_names().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(names, [OTHERS]);
    let named: Vec<_> = entries(&broker).into_iter().filter(|entry| entry["key"]["kid"] == GRANTED).collect();
    let kinds: Vec<&str> = named.iter().map(|entry| entry["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["key.import", "key.import", "key.release", "key.revoke", "key.refuse"]);
}

#[tokio::test]
async fn refuses_resources_over_the_limits_and_names_that_cannot_be_logged() {
    let (_site, broker) = with_resources();
    let name: anchorhold_rats::ResourcePath = "acme/big/1".parse().unwrap();
    broker.add_resource(&name, &vec![1; MAX_RESOURCE_BYTES]).unwrap();
    let big = broker.add_resource(&name, &vec![1; MAX_RESOURCE_BYTES + 1]);
    assert!(matches!(big, Err(BrokerError::Resource)));
    let long = format!("acme/{}/1", "x".repeat(123)).parse().unwrap();
    assert!(matches!(broker.add_resource(&long, b"x"), Err(BrokerError::Resource)));
}

#[test]
fn resources_are_stored_encrypted_each_under_its_own_name() {
    let (_site, broker) = with_resources();
    let store = broker.ledger().store();
    let row = |name: &str| {
        let row = look_up(store, |view| view.get(Table::Resources, name.as_bytes())).unwrap();
        row.unwrap()
    };
    let secret = b"the secret";
    assert!(!row(GRANTED).windows(secret.len()).any(|part| part == secret));
    assert_ne!(row(GRANTED), row(OTHERS));
}

#[tokio::test]
async fn case_07_a_row_moved_to_another_name_or_changed_does_not_open() {
    let (site, broker) = with_resources();
    let guest = Pod::new(&site.clock).attested(&broker).await;
    let store = broker.ledger().store();
    let read =
        |name: &str| look_up(store, |view| view.get(Table::Resources, name.as_bytes())).unwrap().unwrap();
    let write = |row: &[u8]| {
        store.write(&mut |change| change.put(Table::Resources, GRANTED.as_bytes(), row)).unwrap();
    };
    let (own, other) = (read(GRANTED), read(OTHERS));
    let changed = |field: &str| {
        let mut row: serde_json::Value = serde_json::from_slice(&own).unwrap();
        let donor: serde_json::Value = serde_json::from_slice(&other).unwrap();
        row[field] = donor[field].clone();
        serde_json::to_vec(&row).unwrap()
    };
    for row in [other.clone(), changed("wrapped_key"), changed("content"), b"{}".to_vec()] {
        write(&row);
        let came = resource(&broker, &guest, GRANTED).await;
        assert_eq!(came.problem(), refused(503, "PluginInternalError"));
    }
    write(&own);
    assert_eq!(resource(&broker, &guest, GRANTED).await.status, 200);
}

#[tokio::test]
async fn a_guest_may_talk_to_any_broker_on_one_store() {
    let site = Site::bare();
    let store = Arc::new(Simulated::default());
    let one = site.open_on(Arc::clone(&store) as _);
    common::pod::furnish_with(&one, &RESOURCES.replace("version          = 1", "version = 43"));
    let two = site.reopen_on(store);
    let pod = Pod::new(&site.clock);
    let Prepared { body, cookie, waiting } = pod.prepared(&one).await;
    let came = attest(&two, body.clone(), &cookie).await;
    let guest = waiting.take(&came.body, came.cookie.as_deref(), site.clock.now()).unwrap();
    assert_eq!(attest(&one, body, &cookie).await.problem(), refused(401, "AttestationError"));
    for broker in [&one, &two] {
        let came = resource(broker, &guest, GRANTED).await;
        assert_eq!(guest.open(&came.body).unwrap().expose(), b"the secret");
    }
    two.revoke(&Revoked::parse("kid", "unrelated").unwrap()).unwrap();
    let came = resource(&one, &guest, GRANTED).await;
    assert_eq!(came.problem(), refused(401, "TokenVerifierError"));
}

#[tokio::test]
async fn cookies_may_come_in_parts_and_among_others() {
    let (site, broker) = with_resources();
    let guest = Pod::new(&site.clock).attested(&broker).await;
    let path = format!("/kbs/v0/resource/{GRANTED}");
    let request = Request::get(&path).header("cookie", "a=b").header("cookie", guest.cookie_header());
    let came = send(&broker, request.body(Body::empty()).unwrap()).await;
    assert_eq!(came.status, 200);
}

#[tokio::test]
async fn case_26_keys_of_resources_go_under_a_new_key_too() {
    let (site, broker) = with_resources();
    let kek = Box::new(WrittenKek::file_beside_state("file-2".parse().unwrap()));
    broker.kek(&KekRequest::Add { kek, origin: Origin::Fresh, role: Role::Primary, shares: None }).unwrap();
    let mut after = Vec::new();
    loop {
        let KekReply::Rewrap { failed, next, .. } = broker.kek(&KekRequest::Rewrap { after }).unwrap() else {
            panic!("another reply")
        };
        assert!(failed.is_empty(), "{failed:?}");
        if next.is_empty() {
            break;
        }
        after = next;
    }
    let old = "file-1".parse().unwrap();
    broker.kek(&KekRequest::Retire { id: old, below: None, fate: Fate::Destroyed }).unwrap();
    let guest = Pod::new(&site.clock).attested(&broker).await;
    let came = resource(&broker, &guest, GRANTED).await;
    assert_eq!(guest.open(&came.body).unwrap().expose(), b"the secret");
}
