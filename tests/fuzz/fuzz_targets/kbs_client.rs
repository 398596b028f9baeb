//! What a hostile KBS sends to a guest: challenges, tokens, key sets and encrypted resources. No token is taken that the
//! pinned key did not sign for this guest, and nothing opens that was not encrypted to its key.
#![no_main]

use anchorhold_evaluation::ear::{Jwks, Signer, VerifyingKey};
use anchorhold_fuzz::edit::{Script, raw_or_edited};
use anchorhold_fuzz::now;
use anchorhold_kbs::client::{self, Attested, Attesting, AwaitingToken};
use anchorhold_kbs::{Tee, TokenRules, seal};
use libfuzzer_sys::fuzz_target;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::value::RawValue;
use std::sync::LazyLock;

const CHALLENGE: &[u8] =
    br#"{"nonce":"klJLwKVmZ8d2Rrd3ijhnk/3AMEINfZjzIorL+85VDyE=","extra-params":{"selected-hash-algorithm":"sha384"}}"#;
const COOKIE: &str = "kbs-session-id=9a868ad5735d46db9a9c2a0b1671851b; Expires=Sat, 28 Nov 2026 21:46:19 GMT";
const RESOURCE: &[u8] = b"a secret";

static SIGNER: LazyLock<Signer> = LazyLock::new(|| {
    let key =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).expect("a key");
    Signer::from_pkcs8(key.as_ref()).expect("a key")
});

fn keys() -> Jwks {
    Jwks::of(VerifyingKey::new(SIGNER.algorithm(), SIGNER.public_key().to_vec()))
}

fn attesting() -> Attesting {
    let (_, waiting) = client::begin(Tee::Snp, TokenRules::new(keys())).expect("an exchange");
    waiting.take(CHALLENGE, Some(COOKIE)).expect("a challenge")
}

/// What waits for a token, and a good one.
fn waiting() -> (AwaitingToken, Vec<u8>) {
    let evidence = RawValue::from_string("{}".to_owned()).expect("JSON");
    let (body, waiting) = attesting().send(&evidence, "", None);
    let sent: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    let claims = serde_json::json!({
        "eat_profile": anchorhold_kbs::TRUSTEE_PROFILE, "iat": now().unix_seconds(), "exp": now().unix_seconds() + 300,
        "ear.verifier-id": { "developer": "", "build": "" },
        "submods": { "cpu0": { "ear.status": "affirming", "ear.veraison.annotated-evidence": {
            "runtime_data_claims": { "nonce": sent["runtime-data"]["nonce"], "tee-pubkey": sent["runtime-data"]["tee-pubkey"] },
        } } },
    });
    let token = SIGNER.sign_json(None, claims.to_string().as_bytes()).expect("a token");
    (waiting, serde_json::json!({ "token": token }).to_string().into_bytes())
}

struct Opened {
    attested: Attested,
    jwe: Vec<u8>,
}

static GOOD: LazyLock<Opened> = LazyLock::new(|| {
    let (waiting, token) = waiting();
    let attested = waiting.take(&token, None, now()).expect("a good token");
    let key = attested.token().claims().guest_key().expect("a key");
    let jwe = seal(RESOURCE, &key).expect("JWE");
    assert_eq!(attested.open(&jwe).expect("opens").expose(), RESOURCE);
    Opened { attested, jwe }
});

fuzz_target!(|input: &[u8]| {
    let mut script = Script(input);
    match script.byte() % 5 {
        0 => {
            let (_, waiting) = client::begin(Tee::Snp, TokenRules::new(keys())).expect("an exchange");
            if let Ok(attesting) = waiting.take(&raw_or_edited(script.0, CHALLENGE), Some(COOKIE)) {
                assert_ne!(attesting.digest("").as_bytes(), attesting.device_nonce().as_bytes());
            }
        }
        1 => {
            let (_, waiting) = client::begin(Tee::Snp, TokenRules::new(keys())).expect("an exchange");
            let cookie = raw_or_edited(script.0, COOKIE.as_bytes());
            if let Ok(attesting) = waiting.take(CHALLENGE, std::str::from_utf8(&cookie).ok()) {
                assert!(attesting.cookie_header().bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
        2 => {
            let (waiting, good) = waiting();
            let body = raw_or_edited(script.0, &good);
            let taken = waiting.take(&body, None, now());
            let token =
                |body: &[u8]| serde_json::from_slice::<serde_json::Value>(body).map(|v| v["token"].clone());
            assert!(taken.is_err() || token(&body).ok() == token(&good).ok(), "nobody signed this");
        }
        3 => {
            if let Ok(resource) = GOOD.attested.open(&raw_or_edited(script.0, &GOOD.jwe)) {
                assert_eq!(resource.expose(), RESOURCE);
            }
        }
        _ => {
            if let Ok(keys) = Jwks::from_json(&raw_or_edited(script.0, keys().to_json().as_bytes())) {
                assert!(Jwks::from_json(keys.to_json().as_bytes()).is_ok());
            }
        }
    }
});
