//! Signed files and manifests of cases: DSSE envelopes of profiles, EAR tokens, and the corpus's manifest. What nobody
//! signed is not believed.
#![no_main]

use anchorhold_appraisal_policy::{AppraisalProfile, PROFILE_TYPE, verify_signed};
use anchorhold_dsse::{SigningKey, TrustedSigners};
use anchorhold_evaluation::ear::{Algorithm, Ear, verify};
use anchorhold_fuzz::edit::{Script, raw_or_edited};
use anchorhold_fuzz::now;
use anchorhold_vectors::Manifest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use libfuzzer_sys::fuzz_target;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use std::sync::LazyLock;

const SEED: [u8; 32] = [9; 32];
const PROFILE: &str = include_str!("../../../policies/appraisal/snp-bare-metal.toml");
const EAR: &str = concat!(
    r#"{"eat_profile":"tag:ietf.org,2026:rats/ear#04","iat":1784937000,"exp":1784938000,"#,
    r#""ear_verifier_id":{"developer":"anchorhold","build":"0.1.0"},"submods":{"cpu":{"ear_status":"affirming","#,
    r#""ear_trustworthiness_vector":{"hardware":2,"executables":3},"ear_appraisal_policy_ids":["urn:a"],"#,
    r#""ear_verifier_claims":{"simulated":true}}}}"#
);
const MANIFEST: &str = concat!(
    r#"{"format":1,"cases":[{"id":"a","platform":"snp","files":{"report":"a.bin"},"pin":"forged","#,
    r#""at":"2026-07-25T00:00:00Z","policy":{"report_data":"00","min_tcb":{"snp":1},"allow_vmpl":[0]},"#,
    r#""expect":"reject","stage":"tcb","why":"old","code":"snp_reported_tcb"}]}"#
);

struct Good {
    key: SigningKey,
    trusted: TrustedSigners,
    envelope: Vec<u8>,
    token_key: Ed25519KeyPair,
    token: String,
    ear: Ear,
}

static GOOD: LazyLock<Good> = LazyLock::new(|| {
    let key = SigningKey::from_seed(&SEED).expect("a key");
    let envelope = anchorhold_dsse::sign(PROFILE_TYPE, PROFILE.as_bytes(), &[&key]).expect("an envelope");
    let token_key = Ed25519KeyPair::from_seed_unchecked(&SEED).expect("a key");
    let token = token(&token_key, br#"{"alg":"EdDSA","typ":"JWT"}"#, EAR.as_bytes());
    let ear = verify(&token, Algorithm::EdDsa, token_key.public_key().as_ref(), 1_784_937_600)
        .expect("a good token");
    assert!(serde_json::from_str::<Manifest>(MANIFEST).is_ok(), "a good manifest");
    Good { trusted: TrustedSigners::one(&key.public_key()), key, envelope, token_key, token, ear }
});

fn token(key: &Ed25519KeyPair, header: &[u8], claims: &[u8]) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn judge_token(token: &str) -> Option<Ear> {
    let key = GOOD.token_key.public_key();
    assert!(
        verify(token, Algorithm::Es256, key.as_ref(), 1_784_937_600).is_err(),
        "the token chose the algorithm"
    );
    let ear = verify(token, Algorithm::EdDsa, key.as_ref(), 1_784_937_600).ok()?;
    let _ = ear.is_affirming();
    Some(ear)
}

fuzz_target!(|input: &[u8]| {
    let mut script = Script(input);
    match script.byte() % 6 {
        0 => {
            let envelope = raw_or_edited(script.0, &GOOD.envelope);
            if let Ok(verified) = anchorhold_dsse::verify(&envelope, PROFILE_TYPE, &GOOD.trusted) {
                assert_eq!(verified.payload(), PROFILE.as_bytes(), "an unsigned change counts");
            }
        }
        1 => {
            let payload = script.edited(PROFILE.as_bytes());
            let envelope = anchorhold_dsse::sign(PROFILE_TYPE, &payload, &[&GOOD.key]).expect("an envelope");
            let verified = anchorhold_dsse::verify(&envelope, PROFILE_TYPE, &GOOD.trusted);
            assert!(
                verified.is_ok_and(|verified| verified.payload() == payload),
                "what was signed is not read"
            );
            if let Ok(profile) = verify_signed::<AppraisalProfile>(&envelope, &GOOD.trusted, now()) {
                assert!(profile.document().valid_at(now()));
            }
        }
        2 => {
            if let Some(ear) = judge_token(&script.edited_text(&GOOD.token)) {
                assert_eq!(ear, GOOD.ear, "an unsigned change counts");
            }
        }
        3 => {
            let claims = script.edited(EAR.as_bytes());
            if let Some(ear) = judge_token(&token(&GOOD.token_key, br#"{"alg":"EdDSA"}"#, &claims)) {
                assert!(ear.iat <= 1_784_937_600 && ear.exp.is_none_or(|exp| exp > 1_784_937_600));
            }
        }
        4 => {
            let header = script.edited(br#"{"alg":"EdDSA","typ":"JWT"}"#);
            judge_token(&token(&GOOD.token_key, &header, EAR.as_bytes()));
        }
        _ => {
            let _ = serde_json::from_slice::<Manifest>(&raw_or_edited(script.0, MANIFEST.as_bytes()));
        }
    }
});
