//! Our attestation results as the `ear` crate (Veraison) reads them.

use anchorhold_attester::software::{LaunchConfig, SoftwareGuest, simulated_ark_der};
use anchorhold_evaluation::Evaluation;
use anchorhold_evaluation::ear::{Ear, Signer};
use anchorhold_rats::{Endorsements, Expected, Measurement, Nonce, ReportData, Timestamp};
use anchorhold_verifier::dangerous::{SimulatedRoots, simulated_anchors};
use anchorhold_verifier::{AppraisalPolicy, appraise, authenticate};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

/// A JSON web key of an uncompressed P-256 point.
fn jwk(point: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let (x, y) = point[1..].split_at(32);
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}"#)
}

#[test]
fn veraisons_reader_takes_our_token_and_sees_the_same_claims() {
    let at = Timestamp::from_unix_seconds(1_700_000_000);
    let report_data = ReportData::new([9; 64]);
    let guest = SoftwareGuest::launch(LaunchConfig::new(Measurement::new([7; 48])), at).unwrap();
    let evidence = guest.attest(&report_data).unwrap();
    let anchors = simulated_anchors(&SimulatedRoots::amd(simulated_ark_der())).unwrap();
    // The empty policy refuses everything, so there are failed rules to carry.
    let outcome = authenticate(&evidence, &Endorsements::default(), &anchors, at)
        .and_then(|authentic| appraise(authentic, &AppraisalPolicy::default(), &Expected::from(report_data)));
    let evaluation = Evaluation::of(evidence.tee, &outcome, at, true);
    let ours = Ear::of(&evaluation, Some(&Nonce::new([3; 32])), Some("urn:sha256:aa"));

    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    let signer = Signer::from_pkcs8(pkcs8.as_ref()).unwrap();
    let token = signer.sign(&ours).unwrap();
    let key = jwk(signer.public_key());
    let theirs = ear::Ear::from_jwt_jwk(&token, ear::Algorithm::ES256, key.as_bytes()).unwrap();
    theirs.validate().unwrap();
    assert_eq!(theirs.profile, ours.eat_profile);
    assert_eq!(theirs.iat, ours.iat);
    let (cpu, our_cpu) = (&theirs.submods["cpu"], &ours.submods["cpu"]);
    assert_eq!(cpu.status.to_string(), "contraindicated");
    assert_eq!(cpu.trust_vector.hardware.get(), our_cpu.trust_vector.hardware.unwrap());
    assert_eq!(cpu.policy_ids.len(), 1);
}
