//! Where endorsements come from, and what happens when there are none.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests stop at a surprise")]

mod common;

use anchorhold_attester::software::simulated_ark_der;
use anchorhold_attester::software::tdx::{
    CollateralTemplate, Registers, TdConfig, TdxGuest, simulated_intel_root_der,
};
use anchorhold_key_broker::broker::Broker;
use anchorhold_key_broker::endorser::Endorser;
use anchorhold_key_release::{KeyRequest, Session};
use anchorhold_rats::{Endorsements, Evidence, Measurement, Sha256Digest, TdxCollateral, Timestamp};
use anchorhold_verifier::TrustAnchors;
use anchorhold_verifier::dangerous::{SimulatedRoots, simulated_anchors};
use common::{Guest, Site, challenge, entries, import_file, post, refusal, set_policy};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

const POLICY: &str = include_str!("../../../policies/release/tdx-guests.toml");

fn anchors() -> TrustAnchors {
    let (amd, intel) = (Some(simulated_ark_der()), Some(simulated_intel_root_der()));
    simulated_anchors(&SimulatedRoots { amd, intel, ..SimulatedRoots::default() }).unwrap()
}

/// Gives what it was told to give, and counts how often it was asked.
#[derive(Default)]
struct Told {
    gives: Mutex<Endorsements>,
    asked: AtomicUsize,
}

impl Endorser for Told {
    fn endorse(&self, _: &Evidence, _: Timestamp) -> Endorsements {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.gives.lock().unwrap().clone()
    }
}

fn broker(endorser: Option<Arc<dyn Endorser>>) -> (Site, Arc<Broker>) {
    let mut site = Site::bare();
    site.endorser = endorser;
    let broker = site.open_with(anchors());
    set_policy(&broker, POLICY).unwrap();
    broker.import(&import_file("acme/chat-70b", 7)).unwrap();
    (site, broker)
}

fn config() -> TdConfig {
    let mut config = TdConfig::new(Measurement::new([0xb1; 48]));
    config.registers = Registers::Values([[0; 48], [0x11; 48], [0x22; 48], [0; 48]]);
    config
}

fn collateral(issued: Timestamp) -> TdxCollateral {
    CollateralTemplate::for_platform(&config().platform, issued).sign().unwrap()
}

/// The body of a TD's request, with these endorsements.
async fn body(site: &Site, broker: &Arc<Broker>, attached: Endorsements) -> Vec<u8> {
    let challenge = challenge(broker).await;
    let request: KeyRequest = common::key_request(("acme/chat-70b", 1), 1);
    let keys = Guest::new(&site.clock).keys();
    let session = Session::begin(&challenge, common::pinned(broker), request, keys).unwrap();
    let td = TdxGuest::launch(config(), site.clock.now()).unwrap();
    let evidence = td.attest(&session.report_data(Sha256Digest::of(b""))).unwrap();
    session.send_endorsed(evidence, attached).0
}

fn of(collateral: TdxCollateral) -> Endorsements {
    Endorsements { tdx: Some(collateral), ..Endorsements::default() }
}

const UNAVAILABLE: (u16, &str) = (503, "endorsements_unavailable");

async fn ask(site: &Site, broker: &Arc<Broker>, attached: Endorsements) -> (u16, String) {
    let answer = post(broker, "/v1/release", body(site, broker, attached).await).await;
    if answer.0 == 200 { (200, String::new()) } else { refusal(answer) }
}

#[tokio::test]
async fn without_endorsements_the_answer_is_503_and_with_those_that_the_guest_attaches_it_is_the_key() {
    let (site, broker) = broker(None);
    let refused = ask(&site, &broker, Endorsements::default()).await;
    assert_eq!((refused.0, refused.1.as_str()), UNAVAILABLE);
    let entry = entries(&broker).pop().unwrap();
    assert_eq!((&entry["out"], &entry["code"]), (&"error".into(), &"endorsements_unavailable".into()));
    assert_eq!(entry["platform"]["tee"], "tdx-simulated");
    assert_eq!(ask(&site, &broker, of(collateral(site.clock.now()))).await.0, 200);
    let entry = entries(&broker).pop().unwrap();
    assert_eq!((&entry["type"], &entry["platform"]["tee"]), (&"key.release".into(), &"tdx-simulated".into()));
    let platform = entry["decision"]["claims"]["tee"]["tdx"]["platform"].as_str().unwrap();
    assert!(entry["platform"]["chip"].as_str().unwrap().starts_with(platform));
}

#[tokio::test]
async fn endorsements_that_ended_are_503_and_a_challenge_is_good_again_afterwards() {
    let (site, broker) = broker(None);
    let old = of(collateral(site.clock.now().plus_seconds(-60 * 86_400)));
    let mut body = body(&site, &broker, old).await;
    let refused = refusal(post(&broker, "/v1/release", body.clone()).await);
    assert_eq!((refused.0, refused.1.as_str()), UNAVAILABLE);
    let mut json: serde_json::Value = serde_json::from_slice(&body).unwrap();
    json["endorsements"] = serde_json::to_value(of(collateral(site.clock.now()))).unwrap();
    body = serde_json::to_vec(&json).unwrap();
    assert_eq!(post(&broker, "/v1/release", body).await.0, 200);
}

#[tokio::test]
async fn the_brokers_own_endorsements_are_taken_before_those_of_the_guest() {
    let told = Arc::new(Told::default());
    let (site, broker) = broker(Some(told.clone()));
    let now = site.clock.now();
    let old = of(collateral(now.plus_seconds(-60 * 86_400)));
    // Without any of its own, the guest's must do.
    assert_eq!(ask(&site, &broker, of(collateral(now))).await.0, 200);
    *told.gives.lock().unwrap() = old.clone();
    assert_eq!(ask(&site, &broker, of(collateral(now))).await.1, UNAVAILABLE.1);
    *told.gives.lock().unwrap() = of(collateral(now));
    assert_eq!(ask(&site, &broker, old).await.0, 200);
    assert_eq!(ask(&site, &broker, Endorsements::default()).await.0, 200);
    assert_eq!(told.asked.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn nobody_is_asked_about_evidence_that_no_endorsement_makes_good() {
    let told = Arc::new(Told::default());
    let (site, broker) = broker(Some(told.clone()));
    let body = body(&site, &broker, Endorsements::default()).await;
    let mut json: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let report = json["evidence"]["report"].as_str().unwrap();
    // One bit of the TD's registers, which the quoting enclave signed.
    let altered = format!("{}B{}", &report[..400], &report[401..]);
    assert_ne!(altered, report);
    json["evidence"]["report"] = altered.into();
    let (status, code) = refusal(post(&broker, "/v1/release", serde_json::to_vec(&json).unwrap()).await);
    assert_eq!((status, code.starts_with("tdx_")), (403, true), "{code}");
    assert_eq!(told.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn case_09_refuses_endorsements_over_their_limits() {
    let (site, broker) = broker(None);
    let many = Endorsements { rims: vec![anchorhold_rats::Der(vec![0]); 33], ..Endorsements::default() };
    let answer = post(&broker, "/v1/release", body(&site, &broker, many).await).await;
    assert_eq!(refusal(answer), (400, "malformed".to_owned()));
}
