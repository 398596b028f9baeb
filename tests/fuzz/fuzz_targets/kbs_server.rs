//! What a guest sends to the server of the KBS protocol: introductions, attestations, and headers with sessions. Nothing
//! but the attestation that was made for the server's own nonce is taken.
#![no_main]

use anchorhold_evaluation::ear::Signer;
use anchorhold_fuzz::edit::{Script, raw_or_edited};
use anchorhold_fuzz::{made, now};
use anchorhold_kbs::ear::TokenIssuer;
use anchorhold_kbs::server::Server;
use anchorhold_kbs::{
    InitData, ProblemBody, ResourcePath, SessionKey, Tee, TeePublicKey, TokenRules, WeightsKeyResource,
    WrittenEvidence, client, session_cookie,
};
use anchorhold_rats::Secret;
use anchorhold_verifier::authenticate;
use libfuzzer_sys::fuzz_target;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use std::sync::LazyLock;

struct Good {
    server: Server,
    auth: Vec<u8>,
    attestation: Vec<u8>,
    cookie: String,
}

static GOOD: LazyLock<Good> = LazyLock::new(|| {
    let key =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).expect("a key");
    assert!(Signer::from_pkcs8(key.as_ref()).is_ok());
    let issuer = TokenIssuer::new(key.as_ref()).expect("an issuer");
    let rules = TokenRules::new(issuer.keys().clone());
    let server = Server::new(SessionKey::new(&Secret::take(&mut [1; 32])), issuer);
    let (auth, waiting) = client::begin(Tee::Snp, rules).expect("an exchange");
    let answer = server.introduce(&auth, now()).expect("a challenge");
    let attesting = waiting.take(&answer.body, Some(&answer.set_cookie)).expect("a challenge");
    let cookie = attesting.cookie_header();
    let gpus = vec![made::gpu().evidence(&attesting.device_nonce()).expect("evidence")];
    let additional = WrittenEvidence::additional(&gpus);
    let report_data = attesting.digest(&additional).report_data();
    let evidence = made::snp_guest().attest(&report_data).expect("evidence");
    let written = WrittenEvidence::of(&evidence).expect("JSON");
    let (attestation, _) = attesting.send(&written.primary, &additional, None);
    Good { server, auth, attestation, cookie }
});

fuzz_target!(|input: &[u8]| {
    let mut script = Script(input);
    let good = &*GOOD;
    match script.byte() % 4 {
        0 => {
            if let Ok(answer) = good.server.introduce(&raw_or_edited(script.0, &good.auth), now()) {
                assert!(answer.set_cookie.is_ascii());
            }
        }
        1 => attestation(&raw_or_edited(script.0, &good.attestation), &good.cookie),
        2 => {
            let cookie = raw_or_edited(script.0, good.cookie.as_bytes());
            let cookie = String::from_utf8_lossy(&cookie);
            let read = good.server.read_attestation(&good.attestation, Some(&cookie), now());
            assert!(read.is_err() || session_cookie(&cookie) == session_cookie(&good.cookie));
            assert!(good.server.session(Some(&cookie), Some(&cookie), now()).is_err(), "no token was given");
        }
        _ => parsers(script.0),
    }
});

fn attestation(body: &[u8], cookie: &str) {
    let Ok(attesting) = GOOD.server.read_attestation(body, Some(cookie), now()) else { return };
    let read = attesting.read_evidence();
    let Ok(authentic) = authenticate(&read.evidence, &read.endorsements, &made::ANCHORS, now()) else {
        return;
    };
    if let anchorhold_verifier::TeeClaims::Snp(report) = &authentic.claims().tee {
        // Spaces and the order of members may differ, what is committed to may not.
        let same = report.report().report_data == attesting.expected().report_data;
        let unchanged = GOOD.server.read_attestation(&GOOD.attestation, Some(cookie), now()).expect("good");
        assert_eq!(same, unchanged.expected() == attesting.expected());
    }
}

fn parsers(bytes: &[u8]) {
    let _ = ProblemBody::from_json(bytes);
    if let Ok(key) = TeePublicKey::from_json(bytes) {
        assert_eq!(TeePublicKey::from_json(key.to_json().as_bytes()), Ok(key));
    }
    if let Ok(key) = WeightsKeyResource::from_json(bytes) {
        let again = WeightsKeyResource::from_json(&key.to_json()).expect("what was written");
        assert_eq!((again.terms, again.weights_key), (key.terms, key.weights_key));
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = InitData::read("toml", text);
    if let Ok(path) = text.parse::<ResourcePath>() {
        assert_eq!(ResourcePath::from_uri(&path.to_uri()), Ok(path));
    }
}
