//! Cases 19 and 20: the wrong weights key, and the right one in the wrong hands.

use std::fs;

use anchorhold_sealed_weights::{
    CardRule, Error, MAX_MANIFEST_LEN, Manifest, OwnerKey, Role, WeightsKey, read_manifest,
};
use serde_json::Value;

use crate::support::*;

#[test]
fn case_19_finds_another_models_key_from_the_manifest_alone() {
    let fixture = Fixture::new();
    let package = fixture.package();
    fs::remove_dir_all(package.join("objects")).unwrap();
    fs::remove_file(package.join("card.sealed")).unwrap();
    let manifest = verified(&package);
    WeightsKey::open(&manifest, &KEY).unwrap();
    for bit in 0..256 {
        let mut wrong = KEY;
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(WeightsKey::open(&manifest, &wrong).unwrap_err(), Error::WrongKey);
    }
    // What is read to find it is the manifest, and that is bounded.
    const { assert!(MAX_MANIFEST_LEN <= 1 << 20) };
}

#[test]
fn case_19_refuses_a_key_whose_manifest_commits_to_another_version_or_name() {
    let fixture = Fixture::new();
    let package = fixture.package();
    let genuine = payload(&package);
    let zeros = Value::from("0".repeat(32));
    for (field, value) in [("version", Value::from(2)), ("model", Value::from("acme/other")), ("kid", zeros)]
    {
        let mut altered = genuine.clone();
        altered["predicate"][field] = value;
        sign_as_owner(&package, &altered);
        assert_eq!(stage(&package), "wrong_key", "{field}");
    }
}

#[test]
fn case_20_refuses_altered_weights_under_the_right_key() {
    let fixture = Fixture::new();
    let package = fixture.package();
    for role in [Role::Weights, Role::Tokenizer, Role::Pooling] {
        let mut plain = fixture.plain(role);
        let middle = plain.len() / 2;
        plain[middle] ^= 1;
        let object = (fs::read(data(&package, role)).unwrap(), fs::read(tree(&package, role)).unwrap());
        let (header, root) = encrypt_with_key(&package, role, &plain);
        assert_eq!(stage(&package), "mixed");
        // With the signed header in place, the tree still does not lead to the signed root.
        let mut sealed = fs::read(data(&package, role)).unwrap();
        sealed[..74].copy_from_slice(&object.0[..74]);
        fs::write(data(&package, role), &sealed).unwrap();
        assert_eq!(stage(&package), "tree");
        // With the signed tree in place, the segments are not those that it names.
        fs::write(tree(&package, role), &object.1).unwrap();
        assert_eq!(stage(&package), "segment");

        sealed[..74].copy_from_slice(&header);
        fs::write(data(&package, role), &sealed).unwrap();
        assert_eq!(write_tree(&package, role), root);
        let manifest = read_manifest(&package).unwrap();
        let mut altered = payload(&package);
        describe(&mut altered, &package, role, &header, &root);
        // A manifest that describes the altered object needs the owner's signature, not the weights key.
        let attacker = OwnerKey::from_seed(&KEY).unwrap().public_key();
        sign(&package, &altered, &KEY, &attacker);
        assert_eq!(stage(&package), "signature");
        sign(&package, &altered, &KEY, &owner_public());
        assert_eq!(stage(&package), "signature");
        // The attack is real: signed by the owner, the very same object is accepted up to the card's digests, which a
        // load of the weights leaves to the owner.
        sign_as_owner(&package, &altered);
        assert_eq!(consume(&package).unwrap_err(), CardRule::Digest.into());
        if role == Role::Weights {
            opened(&package).load(&threads(1)).unwrap();
        }
        fs::write(package.join("manifest.json"), manifest).unwrap();
        fs::write(data(&package, role), object.0).unwrap();
        fs::write(tree(&package, role), object.1).unwrap();
        consume(&package).unwrap();
    }
}

#[test]
fn case_20_refuses_another_owner_and_an_unsigned_manifest() {
    let fixture = Fixture::new();
    let bytes = read_manifest(&fixture.package()).unwrap();
    let other = OwnerKey::from_seed(&[8; 32]).unwrap().public_key();
    assert_eq!(Manifest::verify(&bytes, &other).unwrap_err().stage(), "signature");
    assert_eq!(Manifest::verify(&bytes, &[0; 32]).unwrap_err().stage(), "signature");
    let mut envelope: Value = serde_json::from_slice(&bytes).unwrap();
    envelope["signatures"] = Value::Array(Vec::new());
    let text = format!(
        r#"{{"payloadType":{},"payload":{},"signatures":[]}}"#,
        envelope["payloadType"], envelope["payload"]
    );
    assert_eq!(Manifest::verify(text.as_bytes(), &owner_public()).unwrap_err().stage(), "signature");
}

#[test]
fn owner_keys_are_stored_and_read_back() {
    let (made, document) = OwnerKey::generate().unwrap();
    assert_eq!(OwnerKey::from_pkcs8(&document).unwrap().public_key(), made.public_key());
    assert_eq!(OwnerKey::from_pkcs8(&document[1..]).unwrap_err().stage(), "key");
    assert_eq!(format!("{made:?}"), "OwnerKey");
}

#[test]
fn keys_print_only_their_type() {
    let fixture = Fixture::new();
    let key = WeightsKey::open(&verified(&fixture.package()), &KEY).unwrap();
    assert_eq!(format!("{key:?}"), "WeightsKey");
    let model = opened(&fixture.package());
    assert!(!format!("{:?}", weights(&model)).contains("5a5a"));
    assert_eq!(format!("{:?}", weights(&model).scratch().unwrap()), "Scratch");
}
