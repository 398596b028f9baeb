//! A guest whose weights keys come from a KBS of Confidential Containers; here the KBS is the key broker in that role.

use crate::support::{Served, chat, count};
use anchorhold_e2e::guest::{OverKbs, Settings};
use anchorhold_e2e::models::{self, CHAT};
use anchorhold_e2e::owner::Sealed;
use anchorhold_e2e::policy::Policy;
use anchorhold_e2e::refusals::Stand;
use anchorhold_rats::Sha256Digest;
use std::time::Duration;

const RESOURCE: &str = "demo/weights-key/1";

fn policy(version: u64, measurement: &str) -> String {
    let policy = Policy { version, measurement, models: &[], lease: "60s", max_instances: 1 };
    policy.to_toml_for_resource(RESOURCE)
}

/// A broker that serves the key of the chat model as a resource, and a guest's settings for it.
fn stand() -> (Stand, Sealed, Settings) {
    let mut stand = Stand::new().unwrap();
    let sealed = stand.owner.seal_for_kbs(&models::chat(), (CHAT, 1)).unwrap();
    stand.broker.add_resource(RESOURCE, &sealed.import).unwrap();
    stand.broker.set_policy(&policy(1, &stand.measurement)).unwrap();
    stand.broker.serve().unwrap();
    let mut settings = Settings::new(&stand.broker, &stand.owner, std::slice::from_ref(&sealed)).unwrap();
    let token_keys = stand.broker.keys.token_keys.clone();
    settings.over_kbs = Some(OverKbs { token_keys, resource: RESOURCE.to_owned() });
    (stand, sealed, settings)
}

#[test]
fn a_guest_serves_with_a_key_from_a_kbs_and_renews_it() {
    let (stand, sealed, settings) = stand();
    let mut served = Served::start(stand, &settings);
    assert_eq!(served.post("/v1/chat/completions", &chat("hello")).status, 200);
    let state = served.caller.server.state();
    assert_eq!(state.models[0].manifest_digest.to_string(), sealed.manifest_digest);
    assert_eq!(state.policy_digest, None::<Sha256Digest>, "the protocol does not tell the guest");
    assert_eq!(served.guest.stage("release", Some(CHAT)).unwrap()["lease_s"], 60);

    served.guest.next_stage("release", Duration::from_secs(70)).unwrap();
    assert_eq!(served.post("/v1/chat/completions", &chat("hello")).status, 200);
    let of_broker = served.stand.broker.entries().unwrap();
    assert_eq!((count(&of_broker, "attest.verified"), count(&of_broker, "key.release")), (2, 2));
    assert!(
        of_broker
            .iter()
            .filter(|entry| entry["type"] == "key.release")
            .all(|entry| { entry["key"]["kid"] == RESOURCE && entry["decision"]["grant"] == "guests" })
    );
    let entries = served.stop();
    assert_eq!((count(&entries, "key.release"), count(&entries, "boot.evidence")), (2, 1));
    // A KBS knows of no guest's log, and the guest says so once.
    let told: Vec<_> = entries.iter().filter(|entry| entry["type"] == "log.predecessor").collect();
    assert_eq!((told.len(), &told[0]["code"]), (1, &"not_told".into()));
}

#[test]
fn case_05_a_guest_that_no_grant_of_resources_takes_does_not_start() {
    let (stand, _, settings) = stand();
    stand.broker.set_policy(&policy(2, &"ab".repeat(48))).unwrap();
    let refusal = stand.start(&settings).unwrap().refused().unwrap();
    assert_eq!((refusal.by.as_str(), refusal.code.as_str()), ("key broker", "kbs_attestation_error"));
    let entries = stand.broker.entries().unwrap();
    let rejected = entries.iter().find(|entry| entry["type"] == "attest.rejected").unwrap();
    assert_eq!(rejected["code"], "snp_measurement");
}

#[test]
fn case_04_a_guest_refuses_tokens_of_another_key() {
    let (stand, _, mut settings) = stand();
    let other = Stand::new().unwrap();
    let token_keys = other.broker.keys.token_keys.clone();
    settings.over_kbs = Some(OverKbs { token_keys, resource: RESOURCE.to_owned() });
    let refusal = stand.start(&settings).unwrap().refused().unwrap();
    assert_eq!(refusal.by, "keeper");
    assert!(refusal.text.contains("key"), "{}", refusal.text);
    assert_eq!(count(&stand.broker.entries().unwrap(), "key.release"), 0);
}

#[test]
fn case_06_a_guest_refuses_the_key_of_another_model() {
    let (stand, _, settings) = stand();
    let other = stand.owner.seal_for_kbs(&models::chat(), ("other", 1)).unwrap();
    stand.broker.add_resource(RESOURCE, &other.import).unwrap();
    let refusal = stand.start(&settings).unwrap().refused().unwrap();
    assert_eq!(refusal.by, "keeper");
    assert!(refusal.text.contains("has the key of \"other\""), "{}", refusal.text);
}
