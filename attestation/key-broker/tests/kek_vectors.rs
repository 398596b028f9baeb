//! The vectors of `tests/vectors/kek`, which another implementation wrote.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests stop at a surprise")]

use anchorhold_key_broker::kek::settings::Settings;
use anchorhold_key_broker::kek::share::{Share, combine};
use anchorhold_key_broker::kek::transit::{ciphertext, key_state, lease, plaintext, refusal, renewed};
use anchorhold_key_broker::kek::{BackendError, Keyring, LocalKey, Member, Place};
use anchorhold_key_broker::kek_admin::KekRequest;
use anchorhold_rats::Secret;
use std::sync::Arc;

fn vector(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/kek");
    std::fs::read_to_string(format!("{folder}/{name}")).unwrap()
}

fn bytes(hex: &serde_json::Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn any_three_shares_of_another_implementation_recover_its_key() {
    let wanted: Vec<u8> = (0..32).collect();
    let shares: Vec<Share> =
        (1..=5).map(|n| Share::from_text(&vector(&format!("share-{n}.txt"))).unwrap()).collect();
    for (a, b, c) in [(0, 1, 2), (4, 2, 0), (3, 1, 4)] {
        let (kek, key) = combine(&[shares[a].clone(), shares[b].clone(), shares[c].clone()]).unwrap();
        assert_eq!((kek.as_str(), key.expose().as_slice()), ("file-1", wanted.as_slice()));
    }
}

#[test]
fn a_secret_that_another_implementation_wrapped_opens() {
    let vector: serde_json::Value = serde_json::from_str(&vector("wrapped.json")).unwrap();
    let key = Secret::copy_from(&bytes(&vector["key"])).unwrap();
    let kek = vector["kek"].as_str().unwrap().parse().unwrap();
    let ring = Keyring::new(Member::local(kek, Arc::new(LocalKey::new(&key))));
    let name = bytes(&vector["name"]);
    let place = Place { kind: vector["kind"].as_str().unwrap(), name: &name };
    let opened = ring.unwrap(place, &bytes(&vector["wrapped"])).unwrap();
    assert_eq!(opened.as_slice(), bytes(&vector["secret"]));
}

#[test]
fn answers_in_the_documented_form_are_read() {
    let answer = |name: &str| vector(&format!("transit-{name}.json")).into_bytes();
    assert_eq!(ciphertext(&answer("encrypt")).unwrap().version, 1);
    assert_eq!(plaintext(&answer("decrypt")).unwrap().as_slice(), [0xa5; 32]);
    assert_eq!(key_state(&answer("key")).unwrap().version(), Ok(1));
    assert!(lease(&answer("token")).unwrap().renew_after().is_some());
    assert!(renewed(&answer("renewed")).unwrap().renew_after().is_some());
    assert_eq!(refusal(400, &answer("too-old"), 3), BackendError::Version { observed: 3 });
}

#[test]
fn settings_and_requests_are_read() {
    let settings = Settings::from_toml(&vector("kek.toml")).unwrap();
    assert_eq!(settings.keks().len(), 3);
    let request: KekRequest = serde_json::from_str(&vector("request.json")).unwrap();
    assert_eq!(serde_json::to_string(&request).unwrap(), vector("request.json").trim_end());
    for bad in [
        r#"{"do":"add"}"#,
        r#"{"do":"burn"}"#,
        r#"{"do":"list","more":1}"#,
        r#"{"do":"retire","id":"../x","fate":"left"}"#,
    ] {
        assert!(serde_json::from_str::<KekRequest>(bad).is_err(), "{bad}");
    }
}
