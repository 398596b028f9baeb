//! A release policy with Cedar policies beside it, through the router.
#![cfg(feature = "cedar")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests stop at a surprise")]

mod common;

use anchorhold_key_broker::broker::{Broker, BrokerError, NewPolicy, Replaces};
use anchorhold_key_release::ActivationError;
use anchorhold_rats::Sha256Digest;
use common::{Guest, POLICY, Site, challenge, entries, import_file, post, refusal};
use std::sync::Arc;

fn site() -> (Site, Arc<Broker>) {
    let site = Site::bare();
    let broker = site.open();
    broker.import(&import_file("acme/chat-70b", 7)).unwrap();
    (site, broker)
}

fn with(cedar: &str) -> NewPolicy {
    let named = format!("\"sha256:{}\"", Sha256Digest::of(cedar.as_bytes()));
    let file = POLICY.replacen("= \"none\"", &format!("= {named}"), 1).into_bytes();
    NewPolicy { file, cedar: Some(cedar.to_owned()), replaces: Replaces::InForce }
}

#[tokio::test]
async fn cedar_policies_deny_what_a_grant_allows_and_the_nonce_is_used_up() {
    let (site, broker) = site();
    broker
        .activate(with(
            "permit(principal, action, resource); @id(\"old\") forbid(principal, action, resource) when { resource.version < 8 };",
        ))
        .unwrap();
    let guest = Guest::new(&site.clock);
    let (body, _) = guest.answer(&broker, &challenge(&broker).await);
    let refused = refusal(post(&broker, "/v1/release", body.clone()).await);
    assert_eq!(refused, (403, "stage_denied".to_owned()));
    let told = entries(&broker);
    let entry = told.last().unwrap();
    assert_eq!((&entry["type"], &entry["code"]), (&"key.refuse".into(), &"stage_denied".into()));
    assert_eq!(refusal(post(&broker, "/v1/release", body).await).1, "challenge_used");
}

#[tokio::test]
async fn cedar_policies_that_permit_leave_the_grant_as_it_is_also_after_a_restart() {
    let (site, broker) = site();
    broker.activate(with("permit(principal, action, resource) when { resource.version == 7 };")).unwrap();
    drop(broker);
    let broker = site.open();
    let guest = Guest::new(&site.clock);
    let (body, _) = guest.answer(&broker, &challenge(&broker).await);
    assert_eq!(post(&broker, "/v1/release", body).await.0, 200);
}

#[test]
fn case_08_refuses_cedar_policies_that_it_cannot_hold_a_guest_to() {
    let (_site, broker) = site();
    for cedar in [
        "permit(principal, action, resource) when { principal.colour == \"red\" };",
        "forbid(principal, action, resource);",
        "permit(",
    ] {
        let refused = broker.activate(with(cedar));
        assert!(
            matches!(refused, Err(BrokerError::Activation(ActivationError::CedarUnreadable { .. }))),
            "{cedar}"
        );
        assert_eq!(entries(&broker).last().unwrap()["code"], "policy_cedar");
    }
    assert!(broker.policy().unwrap().is_none());
}
