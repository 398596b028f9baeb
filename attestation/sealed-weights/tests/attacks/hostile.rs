//! Case 22: an owner, or somebody with the owner's signing key, seals hostile contents.

use std::fs;

use anchorhold_sealed_weights::{Role, WeightsKey, open_card};
use serde_json::Value;

use crate::support::*;

/// Replaces an object's plaintext with the owner's signature over the result.
fn replace(package: &std::path::Path, role: Role, plain: &[u8]) {
    let (header, root) = encrypt_with_key(package, role, plain);
    let mut payload = payload(package);
    describe(&mut payload, package, role, &header, &root);
    sign_as_owner(package, &payload);
}

/// The card's plaintext, decrypted with another implementation.
fn card(package: &std::path::Path) -> Vec<u8> {
    let entry = entry(package, Role::Card);
    let key = fast_floe::Key::from_bytes(KEY);
    fast_floe::decrypt(
        &key,
        &entry.associated_data("acme/tiny", 1),
        &fs::read(data(package, Role::Card)).unwrap(),
    )
    .unwrap()
}

#[test]
fn another_implementation_reads_every_object() {
    let fixture = Fixture::new();
    let package = fixture.package();
    for role in [Role::Config, Role::Tokenizer, Role::Pooling, Role::Weights] {
        let entry = entry(&package, role);
        let sealed = fs::read(data(&package, role)).unwrap();
        let key = fast_floe::Key::from_bytes(KEY);
        let plain = fast_floe::decrypt(&key, &entry.associated_data("acme/tiny", 1), &sealed).unwrap();
        assert_eq!(plain, fixture.plain(role), "{role}");
    }
    let card: Value = serde_json::from_slice(&card(&package)).unwrap();
    assert_eq!(card["files"].as_array().unwrap().len(), 4);
    assert_eq!(card["tensors"][0]["name"], "embedding");
}

#[test]
fn case_22_refuses_a_file_header_that_the_card_does_not_describe() {
    let fixture = Fixture::new();
    let package = fixture.package();
    let genuine = fixture.plain(Role::Weights);
    let text = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = genuine.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        let mut altered = genuine.clone();
        altered[at..at + to.len()].copy_from_slice(to.as_bytes());
        altered
    };
    let mut long_header = genuine.clone();
    long_header[..8].copy_from_slice(&(100_u64 << 20).to_le_bytes());
    let cases = [
        (text("\"embedding\"", "\"Embedding\""), "tensors: file's header and card disagree"),
        (text("\"BF16\"", "\"I16\" "), "tensors: file's header and card disagree"),
        (
            text("\"shape\":[17]", "\"shape\":[18]"),
            "tensors: shape and element type do not give the number of bytes",
        ),
        (text("[0,2400000]", "[8,2400008]"), "tensors: tensors overlap or leave a gap"),
        (text("\"half\"", "\"tail\""), "tensors: two tensors share a name"),
        (long_header, "tensors: header is longer than 8 MiB"),
    ];
    for (altered, expected) in cases {
        replace(&package, Role::Weights, &altered);
        assert_eq!(consume(&package).unwrap_err().to_string(), expected);
    }
    replace(&package, Role::Weights, &genuine);
    consume(&package).unwrap();
}

#[test]
fn case_22_refuses_a_hostile_tensor_index_in_the_card() {
    let fixture = Fixture::new();
    let package = fixture.package();
    let genuine = String::from_utf8(card(&package)).unwrap();
    let ids = |role: Role| entry(&package, role).id().to_string();
    let cases = [
        ("\"begin\":0,", "\"begin\":8,", "tensors"),
        ("\"shape\":[600000]", "\"shape\":[600001]", "tensors"),
        ("\"embedding\"", "\"half\"     ", "tensors"),
        ("\"dtype\":\"F32\"", "\"dtype\":\"F99\"", "card"),
        ("\"format\":1", "\"format\":2", "card"),
        ("\"format\"", "\"Format\"", "card"),
        ("\"name\":\"config.json\"", "\"name\":\"config.jsoN\"", "card"),
        ("\"role\":\"config\"", "\"role\":\"weights\"", "mixed"),
        (&ids(Role::Config), &ids(Role::Tokenizer), "mixed"),
    ];
    for (from, to, expected) in cases {
        let mut altered = genuine.replacen(from, to, 1);
        assert_ne!(altered, genuine, "{from}");
        // The signed length stays: spaces are added, or one unneeded digit of the last tensor's name taken.
        if altered.len() > genuine.len() {
            altered = altered.replacen("\"name\":\"gap\"", "\"name\":\"\"", 1);
        }
        let padding = genuine.len() - altered.len();
        altered.push_str(&" ".repeat(padding));
        replace(&package, Role::Card, altered.as_bytes());
        assert_eq!(stage(&package), expected, "{from} -> {to}");
    }
    replace(&package, Role::Card, genuine.as_bytes());
    let key = WeightsKey::open(&verified(&package), &KEY).unwrap();
    open_card(&key, &fs::File::open(data(&package, Role::Card)).unwrap()).unwrap();
}
