//! `anchorhold evidence token verify`.

use crate::support::{Folder, run};
use anchorhold_evaluation::ear::{Jwks, Signer, VerifyingKey};
use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;
use serde_json::{Value, json};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/kbs/tokens");

/// The command for one of the recorded tokens or the forgeries of it.
fn verify(folder: &Folder, name: &str) -> Vec<String> {
    let cases: Vec<Value> =
        serde_json::from_slice(&std::fs::read(format!("{VECTORS}/cases.json")).unwrap()).unwrap();
    let case = cases.iter().find(|case| case["name"] == name).unwrap();
    let text = |member: &str| case[member].as_str().unwrap();
    let token = folder.write("token.jwt", format!("{}\n", text("token")));
    let keys = format!("{VECTORS}/{}", text("keys"));
    ["evidence", "token", "verify", &token, "--key", &keys, "--at", text("at")]
        .map(ToOwned::to_owned)
        .to_vec()
}

#[test]
fn a_token_of_trustee_is_affirming() {
    let folder = Folder::new();
    let ran = run(verify(&folder, "recorded"));
    ran.expect(0, "");
    assert!(ran.out.starts_with("result       affirming\n"), "{}", ran.out);
    assert!(ran.out.contains("confidentialcontainers.org, attestation-service"), "{}", ran.out);
    let json = run(verify(&folder, "recorded").into_iter().chain(["--json".into()])).json();
    assert_eq!((&json["affirming"], &json["parts"][0][0]), (&json!(true), &json!("cpu0")));
}

#[test]
fn tokens_end_with_the_code_of_what_is_wrong_with_them() {
    let folder = Folder::new();
    for (name, code, said) in [
        ("expired", 3, "the token has expired"),
        ("wrong-key", 3, "not of this key"),
        ("alg-none", 3, "algorithm is not the one"),
        ("key-in-header", 3, "not of this key"),
        ("other-profile", 3, "the token's profile is not tag:github.com,2024"),
        ("made-in-the-future", 3, "not valid yet"),
        ("warning", 4, ""),
        ("contraindicated-device", 4, ""),
    ] {
        let ran = run(verify(&folder, name));
        ran.expect(code, said);
        assert!(code == 3 || ran.out.starts_with("result       NOT AFFIRMING\n"), "{name}: {}", ran.out);
    }
}

#[test]
fn tokens_of_the_later_profile_are_read_when_they_are_asked_for() {
    let folder = Folder::new();
    let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let signer = Signer::from_pkcs8(key.as_ref()).unwrap();
    let keys = Jwks::of(VerifyingKey::new(signer.algorithm(), signer.public_key().to_vec()));
    let claims = json!({
        "eat_profile": anchorhold_evaluation::ear::PROFILE, "iat": 1_780_000_000,
        "ear_verifier_id": { "developer": "d", "build": "b" },
        "submods": { "cpu": { "ear_status": "affirming", "ear_trustworthiness_vector": {} } },
    });
    let token = folder.write("t", signer.sign_json(None, claims.to_string().as_bytes()).unwrap());
    let keys = folder.write("k", keys.to_json());
    let command = ["evidence", "token", "verify", &token, "--key", &keys, "--at", "2026-06-01T00:00:00Z"];
    run(command.iter().chain(&["--profile", "ear"])).expect(0, "");
    run(command).expect(3, "not those of an attestation result");
}

#[test]
fn a_key_set_that_is_none_is_a_usage_error() {
    let folder = Folder::new();
    let (token, keys) = (folder.write("t", "a.b.c"), folder.write("k", "{}"));
    run(["evidence", "token", "verify", &token, "--key", &keys]).expect(2, "not a JSON web key set");
    run(["evidence", "token", "verify", &token]).expect(2, "--key");
}
