//! `receipt verify`.

use crate::support::{Folder, MEASUREMENT, Ran, document_with_audit_key, guest, run};
use anchorhold_audit_log::{
    DeviceId, Hash, Measurement, ModelId, Origin, Receipt, ReceiptModel, RequestId, SignedReceipt, Signer,
    commit,
};
use anchorhold_rats::{Ed25519PublicKey, Nonce, Sha256Digest};

const KEY: [u8; 32] = [7; 32];
const NONCE: Nonce = Nonce::new([1; 32]);
const TLS_KEY: Sha256Digest = Sha256Digest::new([2; 32]);

fn signer(seed: u8) -> Signer {
    Signer::from_seed(Origin::new("acme/1").unwrap(), &[seed; 32]).unwrap()
}

fn receipt(measurement: [u8; 48]) -> SignedReceipt {
    SignedReceipt {
        origin: Origin::new("acme/1").unwrap(),
        index: 12,
        rid: RequestId::new("01J0000000000000000000000A").unwrap(),
        at_ns: 1_800_000_000_000_000_000,
        status: 200,
        model: Some(ReceiptModel {
            id: ModelId::new("acme/chat").unwrap(),
            version: 3,
            manifest_digest: Hash::new([8; 32]),
            policy_digest: None,
        }),
        measurement: Measurement::new(measurement),
        selinux_policy: None,
        gpus: Vec::new(),
        tokens_in: 7,
        tokens_out: 9,
        commitments: Receipt::new(commit(&KEY, b"question"), commit(&KEY, b"data: [DONE]\n\n")),
    }
}

/// A folder with a receipt, the two bodies and the key.
fn kept(receipt: &SignedReceipt) -> Folder {
    let folder = Folder::new();
    let text = receipt.sign(&signer(5)).unwrap();
    folder.write("receipt", format!("{text}\n"));
    folder.write("request", "question");
    folder.write("response", format!(": x-anchorhold-receipt {text}\n\ndata: [DONE]\n\n"));
    folder.write("key", KEY.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    folder
}

fn verify(folder: &Folder, more: &[&str]) -> Ran {
    let more = more.iter().map(|word| match word.strip_prefix('@') {
        Some(name) => folder.path(name),
        None => (*word).to_owned(),
    });
    run(["receipt".to_owned(), "verify".to_owned(), "--json".to_owned()].into_iter().chain(more))
}

fn audit_key(seed: u8) -> String {
    let key = signer(seed).key().public_key();
    Ed25519PublicKey::new(*key.as_bytes()).to_string()
}

/// The arguments that name the two bodies and the key.
const BODIES: [&str; 6] = ["--request", "@request", "--response", "@response", "--receipt-key", "@key"];

#[test]
fn a_receipt_of_a_known_key_is_accepted_from_a_file_or_out_of_the_stream() {
    let folder = kept(&receipt([5; 48]));
    let key = audit_key(5);
    for from in [&["@receipt"][..], &[]] {
        let args = [from, &["--audit-key", &key][..], &BODIES[..]].concat();
        let ran = verify(&folder, &args);
        ran.expect(0, "");
        assert_eq!(ran.json()["receipt"]["index"], 12);
    }
}

#[test]
fn refuses_another_key_and_other_bodies() {
    let folder = kept(&receipt([5; 48]));
    let failed = |args: &[&str]| {
        let ran = verify(&folder, args);
        ran.expect(3, "");
        let checks = ran.json()["checks"].as_array().unwrap().clone();
        let failed = checks.iter().filter(|check| check["outcome"] == "failed");
        failed.map(|check| check["code"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(failed(&["@receipt", "--audit-key", &audit_key(6)]), ["receipt_signature"]);
    folder.write("request", "another question");
    let (own, other) = (audit_key(5), BODIES);
    assert_eq!(failed(&[&["--audit-key", &own][..], &other[..]].concat()), ["receipt_commitments"]);
}

#[test]
fn a_receipt_has_to_be_about_the_guest_of_the_document() {
    let measured = *MEASUREMENT.as_bytes();
    for (says, code) in [(measured, 0), ([6; 48], 3)] {
        let folder = kept(&receipt(says));
        let key = Ed25519PublicKey::new(*signer(5).key().public_key().as_bytes());
        folder.write("document", document_with_audit_key(&guest(), (NONCE, TLS_KEY), key));
        let (root, measurement) = (folder.simulated_root(), MEASUREMENT.to_string());
        let (nonce, tls_key) = (NONCE.to_string(), TLS_KEY.to_string());
        let trust = ["--measurement", &measurement, "--dangerous-simulated-root", &root];
        let saved = ["@receipt", "--document", "@document", "--nonce", &nonce, "--tls-key", &tls_key];
        let ran = verify(&folder, &[&saved[..], &trust[..], &BODIES[..]].concat());
        assert_eq!(ran.code, code, "{}", ran.out);
        let other_nonce = Nonce::new([9; 32]).to_string();
        let saved = ["@receipt", "--document", "@document", "--nonce", &other_nonce, "--tls-key", &tls_key];
        assert_eq!(verify(&folder, &[&saved[..], &trust[..]].concat()).code, 3);
    }
}

#[test]
fn a_receipt_without_a_key_or_a_document_is_a_usage_error() {
    let folder = kept(&receipt([5; 48]));
    assert_eq!(verify(&folder, &["@receipt"]).code, 2);
    let key = audit_key(5);
    folder.write("key", "abc");
    assert_eq!(verify(&folder, &[&["--audit-key", &key][..], &BODIES[..]].concat()).code, 2);
}

#[test]
fn a_receipt_is_asked_for_the_policies_that_it_names() {
    let said = SignedReceipt { selinux_policy: Some(Hash::new([4; 32])), ..receipt([5; 48]) };
    let (folder, key) = (kept(&said), audit_key(5));
    let (named, other) = ("04".repeat(32), "05".repeat(32));
    let failed = |more: &[&str]| {
        let ran = verify(&folder, &[&["@receipt", "--audit-key", &key][..], more].concat());
        let checks = ran.json()["checks"].as_array().unwrap().clone();
        let failed = checks.iter().filter(|check| check["outcome"] == "failed");
        failed.map(|check| check["code"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(failed(&["--selinux-policy", &named]).is_empty());
    assert_eq!(failed(&["--selinux-policy", &other]), ["receipt_selinux_policy"]);
    // It names no release policy at all.
    assert_eq!(failed(&["--release-policy", &named]), ["receipt_release_policy"]);
    let shown = run([
        "receipt".to_owned(),
        "verify".to_owned(),
        folder.path("receipt"),
        "--audit-key".to_owned(),
        key,
    ]);
    assert!(shown.out.contains(&named), "{}", shown.out);
}

#[test]
fn a_receipt_names_the_selinux_policy_and_the_gpus_of_the_attested_guest() {
    // The guest of the document says that its kernel enforces none, and there are no GPUs in its evidence.
    let folder = kept(&SignedReceipt {
        selinux_policy: Some(Hash::new([4; 32])),
        gpus: vec![DeviceId::new([6; 8])],
        ..receipt(*MEASUREMENT.as_bytes())
    });
    let key = Ed25519PublicKey::new(*signer(5).key().public_key().as_bytes());
    folder.write("document", document_with_audit_key(&guest(), (NONCE, TLS_KEY), key));
    let (root, measurement) = (folder.simulated_root(), MEASUREMENT.to_string());
    let (nonce, tls_key) = (NONCE.to_string(), TLS_KEY.to_string());
    let args = [
        "@receipt",
        "--document",
        "@document",
        "--nonce",
        &nonce,
        "--tls-key",
        &tls_key,
        "--measurement",
        &measurement,
        "--dangerous-simulated-root",
        &root,
    ];
    let ran = verify(&folder, &args);
    ran.expect(3, "");
    let report = ran.json();
    let failed = report["checks"].as_array().unwrap().iter().filter(|check| check["outcome"] == "failed");
    let codes: Vec<_> = failed.map(|check| check["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["receipt_selinux_policy", "receipt_gpus"]);
}
