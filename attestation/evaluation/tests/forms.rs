//! One evaluation in its three forms, and tokens that are refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    missing_docs,
    reason = "tests stop at a surprise"
)]

use anchorhold_attester::software::{LaunchConfig, SoftwareGuest, simulated_ark_der};
use anchorhold_evaluation::ear::{
    Algorithm, Ear, Error, Jwks, MAX_TOKEN_BYTES, Signer, Status, VerifyingKey, verify, verify_with_set,
};
use anchorhold_evaluation::{Evaluation, Verdict, explain};
use anchorhold_rats::{Endorsements, Evidence, Expected, Measurement, Nonce, ReportData, Timestamp};
use anchorhold_verifier::dangerous::{self, SimulatedRoots};
use anchorhold_verifier::snp::{GenoaTcb, MinimumTcb, Policy};
use anchorhold_verifier::{AppraisalPolicy, appraise, authenticate};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};

const MEASUREMENT: Measurement = Measurement::new([7; 48]);
const REPORT_DATA: ReportData = ReportData::new([9; 64]);

fn at() -> Timestamp {
    "2026-07-25T00:00:00Z".parse().unwrap()
}

fn evidence() -> Evidence {
    SoftwareGuest::launch(LaunchConfig::new(MEASUREMENT), at()).unwrap().attest(&REPORT_DATA).unwrap()
}

fn policy(measurement: Measurement) -> AppraisalPolicy {
    let genoa = Some(GenoaTcb { bootloader: 10, tee: 0, snp: 25, microcode: 84 });
    let minimum = MinimumTcb { genoa, ..MinimumTcb::default() };
    dangerous::allow_simulated(Policy::strict(vec![measurement], minimum)).into()
}

fn evaluate(evidence: &Evidence, policy: &AppraisalPolicy) -> Evaluation {
    let anchors = dangerous::simulated_anchors(&SimulatedRoots::amd(simulated_ark_der())).unwrap();
    let outcome = authenticate(evidence, &Endorsements::default(), &anchors, at())
        .and_then(|authentic| appraise(authentic, policy, &Expected::from(REPORT_DATA)));
    Evaluation::of(evidence.tee, &outcome, at(), true)
}

fn p256() -> Signer {
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    Signer::from_pkcs8(key.as_ref()).unwrap()
}

fn ed25519() -> Signer {
    Signer::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap().as_ref()).unwrap()
}

#[test]
fn the_three_forms_say_the_same_of_accepted_evidence() {
    let evaluation = evaluate(&evidence(), &policy(MEASUREMENT));
    assert_eq!(evaluation.verdict, Verdict::Accepted);
    let text = evaluation.text();
    assert!(text.starts_with("accepted (simulated root: nothing is protected): snp"), "{text}");
    assert!(text.contains(&MEASUREMENT.to_string()) && text.contains("Genoa"), "{text}");
    let json = serde_json::to_value(&evaluation).unwrap();
    assert_eq!((&json["verdict"], &json["simulated"]), (&"accepted".into(), &true.into()));
    let nonce = Nonce::new([3; 32]);
    let ear = Ear::of(&evaluation, Some(&nonce), Some("urn:sha256:aa"));
    let cpu = &ear.submods["cpu"];
    assert_eq!(cpu.verifier_claims.measurement.as_deref(), Some(MEASUREMENT.to_string().as_str()));
    assert_eq!((cpu.trust_vector.executables, cpu.trust_vector.configuration), (Some(3), Some(2)));
    // A simulated root is no hardware that anybody recognises.
    assert_eq!((cpu.trust_vector.hardware, cpu.status), (Some(97), Status::Contraindicated));
    assert!(!ear.is_affirming());
    assert_eq!(ear.eat_nonce.as_deref(), Some("AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM"));
    assert_eq!(ear.exp, evaluation.expires.map(Timestamp::unix_seconds));
}

#[test]
fn the_three_forms_say_the_same_of_refused_evidence() {
    let evaluation = evaluate(&evidence(), &policy(Measurement::new([8; 48])));
    assert_eq!(evaluation.verdict, Verdict::NotAcceptable);
    assert!(evaluation.text().contains("FAILED snp_measurement"), "{}", evaluation.text());
    assert_eq!((evaluation.measurement, evaluation.expires), (None, None));
    let ear = Ear::of(&evaluation, None, None);
    let cpu = &ear.submods["cpu"];
    assert_eq!(cpu.verifier_claims.failed.len(), 1);
    assert_eq!(cpu.verifier_claims.failed[0].code, "snp_measurement");
    assert_eq!((cpu.trust_vector.executables, cpu.status), (Some(97), Status::Contraindicated));

    let mut forged = evidence();
    forged.report[0x90] ^= 1;
    let evaluation = evaluate(&forged, &policy(MEASUREMENT));
    assert_eq!(evaluation.verdict, Verdict::NotAuthentic);
    assert_eq!(Ear::of(&evaluation, None, None).submods["cpu"].trust_vector.executables, Some(99));
}

#[test]
fn an_explanation_shows_meaning_and_bytes() {
    let evidence = evidence();
    let evaluation = evaluate(&evidence, &policy(MEASUREMENT));
    let explained = explain(&evaluation.checks, &evidence);
    assert_eq!(explained.len(), evaluation.checks.all().len());
    let measurement = explained.iter().find(|rule| rule.check.code == "snp_measurement").unwrap();
    assert!(measurement.meaning.unwrap().starts_with("MEASUREMENT"), "{:?}", measurement.meaning);
    // Every rule of the verifier has a meaning.
    assert!(explained.iter().all(|rule| rule.meaning.is_some() || !rule.check.code.contains("snp_")));
}

#[test]
fn a_token_is_read_with_the_key_and_algorithm_that_signed_it() {
    let ear = Ear::of(&evaluate(&evidence(), &policy(MEASUREMENT)), None, None);
    for (signer, algorithm) in [(p256(), Algorithm::Es256), (ed25519(), Algorithm::EdDsa)] {
        assert_eq!(signer.algorithm(), algorithm);
        let token = signer.sign(&ear).unwrap();
        assert_eq!(verify(&token, algorithm, signer.public_key(), ear.iat), Ok(ear.clone()));
    }
}

#[test]
fn refuses_tokens_of_other_keys_algorithms_profiles_and_times() {
    let ear = Ear::of(&evaluate(&evidence(), &policy(MEASUREMENT)), None, None);
    let (signer, other) = (ed25519(), ed25519());
    let token = signer.sign(&ear).unwrap();
    let read = |token: &str, at| verify(token, Algorithm::EdDsa, signer.public_key(), at);
    assert_eq!(verify(&token, Algorithm::EdDsa, other.public_key(), ear.iat), Err(Error::Signature));
    assert_eq!(verify(&token, Algorithm::Es256, signer.public_key(), ear.iat), Err(Error::Algorithm));
    assert_eq!(read(&token, ear.iat - 1), Err(Error::Expired));
    assert_eq!(read(&token, ear.exp.unwrap()), Err(Error::Expired));
    let profile = Ear { eat_profile: "tag:other".into(), ..ear.clone() };
    assert_eq!(read(&signer.sign(&profile).unwrap(), ear.iat), Err(Error::Profile));
    // {"alg":"none"} with no signature.
    let claims = token.split('.').nth(1).unwrap();
    let none = format!("eyJhbGciOiJub25lIn0.{claims}.");
    assert_eq!(read(&none, ear.iat), Err(Error::Algorithm));
    for bad in ["", "a", "a.b", "@.@.@"] {
        assert!(matches!(read(bad, ear.iat), Err(Error::Malformed(_))), "{bad}");
    }
    let cut = token.rsplit_once('.').unwrap().0;
    assert_eq!(read(&format!("{cut}."), ear.iat), Err(Error::Signature));
    assert_eq!(read(&"a".repeat(MAX_TOKEN_BYTES + 1), ear.iat), Err(Error::TooLong));
    assert_eq!(Signer::from_pkcs8(&[1, 2, 3]).unwrap_err(), Error::Key);
}

#[test]
fn a_set_of_keys_is_tried_by_key_id_and_never_by_what_the_token_brings() {
    let ear = Ear::of(&evaluate(&evidence(), &policy(MEASUREMENT)), None, None);
    let claims = serde_json::to_vec(&ear).unwrap();
    let [one, two] = [1, 2].map(|_| {
        let key =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        Signer::from_pkcs8(key.as_ref()).unwrap()
    });
    let key = |signer: &Signer| VerifyingKey::new(signer.algorithm(), signer.public_key().to_vec());
    let keys = Jwks::of(key(&one));
    let kid = key(&one).thumbprint();
    for kid in [None, Some(kid.as_str())] {
        let token = one.sign_json(kid, &claims).unwrap();
        assert_eq!(verify_with_set(&token, &keys, ear.iat), Ok(ear.clone()));
    }
    let unknown = one.sign_json(Some("another"), &claims).unwrap();
    assert_eq!(verify_with_set(&unknown, &keys, ear.iat), Err(Error::UnknownKey));
    let claimed = two.sign_json(Some(&kid), &claims).unwrap();
    assert_eq!(verify_with_set(&claimed, &keys, ear.iat), Err(Error::Signature));

    // A key in the header counts for nothing, and critical members are refused.
    let with_header = |header: serde_json::Value, signer: &Signer| {
        let token = signer.sign_json(None, &claims).unwrap();
        let (_, rest) = token.split_once('.').unwrap();
        format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()))
    };
    let own = with_header(serde_json::json!({ "alg": "ES256", "jwk": key(&two).to_jwk() }), &two);
    assert_eq!(verify_with_set(&own, &keys, ear.iat), Err(Error::Signature));
    let critical = with_header(serde_json::json!({ "alg": "ES256", "crit": ["b64"], "b64": false }), &one);
    assert_eq!(verify_with_set(&critical, &keys, ear.iat), Err(Error::Critical));
    for alg in ["none", "HS256", "ES384", "EdDSA"] {
        let other = with_header(serde_json::json!({ "alg": alg }), &one);
        assert_eq!(verify_with_set(&other, &keys, ear.iat), Err(Error::Algorithm), "{alg}");
    }
}

/// The token of RFC 7515, appendix A.2, and its key.
#[test]
fn a_token_signed_with_rsa_is_read_where_rsa_is_asked_for() {
    const KEY: &str = r#"{"keys":[{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}]}"#;
    const SIGNED: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    const SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    let keys = Jwks::from_json_with_rsa(KEY.as_bytes()).unwrap();
    let claims = anchorhold_evaluation::ear::verify_json(&format!("{SIGNED}.{SIGNATURE}"), &keys).unwrap();
    assert!(claims.starts_with(b"{\"iss\":\"joe\""));
    for signature in [SIGNATURE.replacen('c', "d", 1), SIGNATURE[4..].to_owned(), String::new()] {
        assert_eq!(
            anchorhold_evaluation::ear::verify_json(&format!("{SIGNED}.{signature}"), &keys),
            Err(Error::Signature)
        );
    }
    let other = SIGNED.replacen("eyJhbGciOiJSUzI1NiJ9", "eyJhbGciOiJFUzI1NiJ9", 1);
    assert_eq!(
        anchorhold_evaluation::ear::verify_json(&format!("{other}.{SIGNATURE}"), &keys),
        Err(Error::Algorithm)
    );
    assert!(Jwks::from_json(KEY.as_bytes()).is_err());
}
