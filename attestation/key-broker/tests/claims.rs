//! What the log keeps of a decision, and what another policy says to it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests stop at a surprise")]

mod common;

use anchorhold_attester::software::{Debug, LaunchConfig};
use anchorhold_key_broker::broker::Broker;
use anchorhold_key_release::{Backtest, Ending};
use anchorhold_rats::Measurement;
use common::{Guest, POLICY, Site, challenge, entries, post};
use std::sync::Arc;

const CHIP: [u8; 64] = [0x0d; 64];

fn launch() -> LaunchConfig {
    LaunchConfig { chip_id: Some(CHIP), ..LaunchConfig::new(Measurement::new([0xa1; 48])) }
}

/// A broker that released once, and refused a guest that can be debugged.
async fn two_decisions() -> (Site, Arc<Broker>) {
    let (site, broker) = Site::with_model();
    for (config, status) in [(launch(), 200), (LaunchConfig { debug: Debug::Allowed, ..launch() }, 403)] {
        let (body, _) = Guest::launch(config, &site.clock).answer(&broker, &challenge(&broker).await);
        assert_eq!(post(&broker, "/v1/release", body).await.0, status);
    }
    (site, broker)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn backtest(broker: &Broker, policy: &str) -> Backtest {
    broker.backtest(policy, None).unwrap()
}

#[tokio::test]
async fn decisions_are_logged_with_their_claims_and_no_machine_by_name() {
    let (_site, broker) = two_decisions().await;
    let entries = entries(&broker);
    let [released, refused] = &entries[entries.len() - 2..] else { panic!() };
    for entry in [released, refused] {
        let claims = &entry["decision"]["claims"];
        assert_eq!(claims["tee"]["snp"]["product"], "genoa");
        assert_eq!(claims["tee"]["snp"]["measurement"], "a1".repeat(48));
        assert_eq!((&claims["asked"]["kem"], &claims["simulated"]), (&"x25519".into(), &true.into()));
        assert_eq!(claims["tee"]["snp"]["chip"].as_str().unwrap().len(), 64);
        assert!(serde_json::to_vec(entry).unwrap().len() < 16 * 1024);
        assert!(!entry.to_string().contains(&hex(&CHIP[..16])));
    }
    let chips = [released, refused].map(|entry| &entry["decision"]["claims"]["tee"]["snp"]["chip"]);
    assert_eq!(chips[0], chips[1], "one machine, one pseudonym");
    assert_eq!(&released["platform"]["chip"], chips[0]);
    assert_eq!(released["decision"]["claims"]["asked"]["model"], "acme/chat-70b");
    assert_eq!(refused["decision"]["claims"]["asked"].get("model"), None);
}

#[tokio::test]
async fn a_policy_is_asked_about_the_decisions_of_the_log() {
    let (_site, broker) = two_decisions().await;
    let same = backtest(&broker, POLICY);
    assert_eq!((same.releases, same.refusals, same.is_unchanged()), (1, 1, true));
    let higher = POLICY.replace("snp = 23", "snp = 99");
    assert_ne!(higher, POLICY);
    let found = backtest(&broker, &higher);
    assert_eq!((found.releases_refused, found.refusals_released, found.changed.len()), (1, 0, 1));
    let changed = &found.changed[0];
    assert_eq!(changed.then, Ending::Released { grant: "chat-prod".to_owned() });
    assert_eq!(changed.now, Ending::Refused { code: "snp_tcb_minimum".to_owned() });
    assert!(
        changed.failed.iter().any(|check| check.code == "snp_tcb_minimum" && check.wanted.contains("99"))
    );
    assert_eq!(changed.not_asked, ["max_instances"]);
    let later = broker.backtest(&higher, Some("2030-01-01T00:00:00Z".parse().unwrap())).unwrap();
    assert_eq!(later.releases, 0);
    assert!(broker.backtest("policy = 1", None).is_err());
}

#[tokio::test]
async fn rules_about_machines_are_asked_with_the_key_of_the_pseudonyms() {
    let (_site, broker) = two_decisions().await;
    for (rule, chip, refused) in [
        ("machines            = \"any\"", CHIP, 0),
        ("machines            = \"any\"", [0x0e; 64], 1),
        ("chips        = \"none\"", CHIP, 1),
        ("chips        = \"none\"", [0x0e; 64], 0),
    ] {
        assert!(POLICY.contains(rule));
        let key = rule.split('=').next().unwrap();
        let policy = POLICY.replacen(rule, &format!("{key}= [\"{}\"]", hex(&chip)), 1);
        assert_eq!(backtest(&broker, &policy).releases_refused, refused, "{rule} {chip:?}");
    }
}
