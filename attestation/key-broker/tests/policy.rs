//! Who decides which policy is in force: signers, the digest that is replaced, rotation, and what the log says of it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests stop at a surprise")]

mod common;

use anchorhold_key_broker::broker::{Broker, BrokerError, NewPolicy, Replaces};
use anchorhold_key_broker::state;
use anchorhold_key_broker::store::look_up;
use anchorhold_key_release::{ActivationError, RotationError, SIGNER_SET_TYPE, SignerSet};
use anchorhold_rats::Sha256Digest;
use anchorhold_verifier::TrustAnchors;
use common::signers::{public, set, signed, signed_as};
use common::{POLICY, Site, entries, set_policy};

/// A broker whose policies two of three sign, with version 42 in force.
fn two_of_three() -> (Site, std::sync::Arc<Broker>) {
    let site = Site::signed_by(Some(&SignerSet::from_toml(&set(1, 2, &[1, 2, 3])).unwrap()));
    let broker = site.open();
    let new = NewPolicy { file: signed(POLICY, &[1, 3]), cedar: None, replaces: Replaces::Nothing };
    broker.activate(new).unwrap();
    (site, broker)
}

fn digest(text: &str) -> Sha256Digest {
    Sha256Digest::of(text.as_bytes())
}

fn version(version: u64) -> String {
    POLICY.replace("= 42", &format!("= {version}"))
}

fn id(seed: u8) -> String {
    Sha256Digest::of(public(seed).as_bytes()).to_string()
}

/// Type and code of the last entry.
fn last(broker: &Broker) -> (String, String) {
    let entry = entries(broker).pop().unwrap();
    (entry["type"].as_str().unwrap().to_owned(), entry["code"].as_str().unwrap().to_owned())
}

fn rejected(code: &str) -> (String, String) {
    ("policy.reject".to_owned(), code.to_owned())
}

#[test]
fn case_08_an_approved_policy_comes_into_force_and_the_log_says_who_approved_what() {
    let (site, broker) = two_of_three();
    let next = version(43);
    let envelope = signed(&next, &[2, 3]);
    let new = NewPolicy { file: envelope.clone(), cedar: None, replaces: Replaces::Digest(digest(POLICY)) };
    assert_eq!(broker.activate(new).unwrap().digest(), digest(&next));
    let entry = entries(&broker).pop().unwrap();
    assert_eq!((&entry["type"], &entry["out"]), (&"policy.load".into(), &"success".into()));
    assert_eq!(entry["cfg"]["name"], "release_policy");
    assert_eq!(entry["cfg"]["old"], digest(POLICY).to_string());
    assert_eq!(entry["cfg"]["new"], digest(&next).to_string());
    assert_eq!(entry["decision"]["policy_digest"], entry["cfg"]["new"]);
    let mut approved: Vec<String> = vec![id(2), id(3)];
    approved.sort_unstable();
    assert_eq!(entry["cfg"]["approved_by"], serde_json::json!(approved));
    // What was signed is kept, so that it can be shown.
    let row = look_up(broker.ledger().store(), |view| state::policy(view)).unwrap().unwrap();
    assert_eq!(row.signed.unwrap().into_bytes(), envelope);
    drop(broker);
    assert_eq!(site.open().policy().unwrap().unwrap().version(), 43);
}

#[test]
fn case_08_refuses_what_too_few_or_others_approved_and_the_policy_in_force_stays() {
    let (_site, broker) = two_of_three();
    let next = version(43);
    let text = |seeds: &[u8]| String::from_utf8(signed(&next, seeds)).unwrap();
    let one = text(&[1]);
    let (head, tail) = one.split_once('[').unwrap();
    let signature = tail.strip_suffix("]}").unwrap();
    let twice = format!("{head}[{signature},{signature}]}}");
    let altered = text(&[1, 2]).replacen("\"payload\":\"I", "\"payload\":\"J", 1);
    assert_ne!(altered, text(&[1, 2]));
    let expired = next.replace("2027-01-31", "2026-01-31");
    for (file, code) in [
        (next.clone().into_bytes(), "policy_unsigned"),
        (signed(&next, &[2]), "policy_too_few_signatures"),
        (signed(&next, &[1, 4]), "policy_wrong_signer"),
        (signed(&next, &[1, 2, 4]), "policy_wrong_signer"),
        (twice.into_bytes(), "policy_duplicate_signer"),
        (altered.into_bytes(), "policy_signature"),
        (signed_as(SIGNER_SET_TYPE, &next, &[1, 2]), "policy_signature"),
        (signed(&next.replace("kem ", "kam "), &[1, 2]), "policy_malformed"),
        (signed(&expired, &[1, 2]), "policy_expired"),
        (signed(&version(41), &[1, 2]), "policy_not_newer"),
        (signed(POLICY, &[1, 2]), "policy_not_newer"),
    ] {
        let new = NewPolicy { file: file.clone(), cedar: None, replaces: Replaces::Digest(digest(POLICY)) };
        let refused = broker.activate(new);
        assert!(matches!(refused, Err(BrokerError::Activation(_))), "{code}");
        assert_eq!(last(&broker), rejected(code));
        let entry = entries(&broker).pop().unwrap();
        assert_eq!(entry["cfg"]["new"], Sha256Digest::of(&file).to_string());
        assert_eq!(entry["cfg"]["old"], digest(POLICY).to_string());
        assert_eq!(broker.policy().unwrap().unwrap().version(), 42);
    }
}

#[test]
fn case_08_refuses_a_policy_that_names_another_one_than_that_in_force() {
    let (_site, broker) = two_of_three();
    for replaces in [Replaces::Nothing, Replaces::Digest(digest("another"))] {
        let new = NewPolicy { file: signed(&version(43), &[1, 2]), cedar: None, replaces };
        let refused = broker.activate(new);
        assert!(matches!(refused, Err(BrokerError::Activation(ActivationError::Replaced { .. }))));
        assert_eq!(last(&broker), rejected("policy_replaced"));
    }
    assert_eq!(broker.policy().unwrap().unwrap().version(), 42);
}

#[test]
fn case_08_of_concurrent_updates_of_one_policy_one_wins() {
    let (_site, broker) = two_of_three();
    let broker = &*broker;
    let won = std::thread::scope(|scope| {
        let update = |number| {
            let file = signed(&version(number), &[1, 2]);
            let replaces = Replaces::Digest(digest(POLICY));
            broker.activate(NewPolicy { file, cedar: None, replaces }).is_ok()
        };
        let threads: Vec<_> = (43..47).map(|number| scope.spawn(move || update(number))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).filter(|won| *won).count()
    });
    assert_eq!(won, 1);
    let count = |key: &str, value: &str| entries(broker).iter().filter(|entry| entry[key] == value).count();
    assert_eq!((count("code", "policy_replaced"), count("type", "policy.load")), (3, 2));
}

#[test]
fn case_08_without_signers_a_newer_policy_is_taken_and_a_signed_one_is_not() {
    let site = Site::bare();
    let broker = site.open();
    set_policy(&broker, POLICY).unwrap();
    for (file, code) in [
        (POLICY.as_bytes().to_vec(), "policy_not_newer"),
        (version(41).into_bytes(), "policy_not_newer"),
        (signed(&version(43), &[1]), "policy_no_signers"),
    ] {
        assert!(set_policy(&broker, file).is_err());
        assert_eq!(last(&broker), rejected(code));
    }
    assert!(matches!(broker.rotate_signers(b"{}"), Err(BrokerError::NoSigners)));
    set_policy(&broker, version(43)).unwrap();
    drop(broker);
    assert_eq!(site.open().policy().unwrap().unwrap().version(), 43);
}

#[test]
fn case_08_a_broker_of_real_guests_does_not_open_without_signers() {
    let open = |site: &Site| {
        let opened =
            Broker::open(&site.layout(), TrustAnchors::production(), common::no_witness(), site.around());
        opened.map(drop)
    };
    assert!(matches!(open(&Site::bare()), Err(BrokerError::NoSigners)));
    let signers = SignerSet::from_toml(&set(1, 1, &[1])).unwrap();
    assert!(open(&Site::signed_by(Some(&signers))).is_ok());
}

#[test]
fn case_08_signers_are_replaced_by_those_that_there_are_and_by_nobody_else() {
    let (site, broker) = two_of_three();
    let next = set(2, 1, &[3, 4]);
    let rotation = |text: &str, seeds: &[u8]| signed_as(SIGNER_SET_TYPE, text, seeds);
    for (file, code) in [
        (rotation(&next, &[3, 4]), "signers_too_few_old"),
        (rotation(&next, &[1, 2]), "signers_too_few_new"),
        (rotation(&next, &[1, 2, 4, 5]), "signers_wrong_signer"),
        (rotation(&set(3, 1, &[3, 4]), &[1, 2, 3]), "signers_not_next"),
        (rotation(&next.replace("acme", "other"), &[1, 2, 3]), "signers_other_set"),
        (rotation("signers = 1", &[1, 2, 3]), "signers_malformed"),
        (signed(&next, &[1, 2, 3]), "signers_signature"),
        (next.clone().into_bytes(), "signers_signature"),
    ] {
        let refused = broker.rotate_signers(&file);
        assert!(matches!(&refused, Err(BrokerError::Rotation(_))), "{code}: {refused:?}");
        assert_eq!(last(&broker), rejected(code));
        assert_eq!(broker.status().unwrap().signers.unwrap().1, 1);
    }
    broker.rotate_signers(&rotation(&next, &[1, 2, 4])).unwrap();
    let entry = entries(&broker).pop().unwrap();
    assert_eq!((&entry["type"], &entry["cfg"]["name"]), (&"config.change".into(), &"release_signers".into()));
    assert_eq!(entry["cfg"]["old"], digest(&set(1, 2, &[1, 2, 3])).to_string());
    assert_eq!(entry["cfg"]["new"], digest(&next).to_string());
    assert_eq!(entry["cfg"]["approved_by"].as_array().unwrap().len(), 3);
    drop(broker);
    let broker = site.open();
    assert!(set_policy(&broker, signed(&version(43), &[1, 2])).is_err(), "they are signers no more");
    set_policy(&broker, signed(&version(43), &[4])).unwrap();
    // The same rotation again has signers that are none of either set any more.
    let again = broker.rotate_signers(&rotation(&next, &[1, 2, 4]));
    assert!(matches!(again, Err(BrokerError::Rotation(RotationError::Envelope(_)))));
}

#[test]
fn the_first_signers_are_in_the_log() {
    let (_site, broker) = two_of_three();
    let entries = entries(&broker);
    assert_eq!((&entries[0]["type"], &entries[1]["type"]), (&"log.open".into(), &"config.change".into()));
    assert_eq!(entries[1]["cfg"]["new"], digest(&set(1, 2, &[1, 2, 3])).to_string());
}
