//! The signed form.

use crate::support::HEADER;
use anchorhold_appraisal_policy::{
    AppraisalProfile, MACHINE_LIST_TYPE, MachineList, NotInForce, PROFILE_TYPE, PolicyError, SignedError,
    sign, verify_signed,
};
use anchorhold_dsse::{Error, SigningKey, TrustedSigners};
use anchorhold_rats::{Sha256Digest, Timestamp};

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32]).unwrap()
}

/// Two of these three.
fn trusted() -> TrustedSigners {
    TrustedSigners::of(&[1, 2, 3].map(|seed| key(seed).public_key()), 2).unwrap()
}

fn at() -> Timestamp {
    "2026-02-01T00:00:00Z".parse().unwrap()
}

fn verify(bytes: &[u8], at: Timestamp) -> Result<AppraisalProfile, SignedError> {
    verify_signed(bytes, &trusted(), at).map(|verified| verified.into_document())
}

fn signed(seeds: &[u8]) -> Vec<u8> {
    let keys: Vec<_> = seeds.iter().map(|seed| key(*seed)).collect();
    sign::<AppraisalProfile>(HEADER, &keys.iter().collect::<Vec<_>>()).unwrap()
}

#[test]
fn enough_signers_make_a_verified_profile_of_the_exact_bytes() {
    let verified = verify_signed::<AppraisalProfile>(&signed(&[3, 1]), &trusted(), at()).unwrap();
    assert_eq!(verified.document().digest(), Sha256Digest::of(HEADER.as_bytes()));
    let mut signers = verified.signers().to_vec();
    signers.sort_unstable();
    let mut wanted = [key(1).public_key(), key(3).public_key()];
    wanted.sort_unstable();
    assert_eq!(signers, wanted);
}

#[test]
fn case_08_refuses_too_few_signers_a_stranger_and_a_signature_over_other_bytes() {
    let refused = |bytes: &[u8]| verify(bytes, at()).unwrap_err();
    let envelope = SignedError::Envelope;
    assert_eq!(refused(&signed(&[1])), envelope(Error::Threshold { wanted: 2, observed: 1 }));
    let stranger = refused(&signed(&[1, 9]));
    assert!(matches!(stranger, SignedError::Envelope(Error::UnknownSigner { .. })), "{stranger}");
    let one = String::from_utf8(signed(&[1, 2])).unwrap();
    let newer = HEADER.replace("version = 7", "version = 8");
    let payload = |text: &str| serde_payload(text);
    let changed = one.replace(&payload(HEADER), &payload(&newer));
    assert_ne!(changed, one);
    assert_eq!(refused(changed.as_bytes()), envelope(Error::Signature { index: 0 }));
    assert_eq!(refused(HEADER.as_bytes()), envelope(Error::Malformed));
    assert_eq!(refused(b""), envelope(Error::Malformed));
}

/// The payload as it stands in the envelope.
fn serde_payload(text: &str) -> String {
    let bytes = anchorhold_dsse::sign(PROFILE_TYPE, text.as_bytes(), &[&key(1)]).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (_, rest) = text.split_once("\"payload\":\"").unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

#[test]
fn refuses_one_signer_twice() {
    let text = String::from_utf8(signed(&[1])).unwrap();
    let (head, tail) = text.split_once('[').unwrap();
    let one = tail.strip_suffix("]}").unwrap();
    let twice = format!("{head}[{one},{one}]}}");
    let refused = verify(twice.as_bytes(), at()).unwrap_err();
    assert_eq!(refused, SignedError::Envelope(Error::DuplicateSigner { index: 1 }));
    assert!(TrustedSigners::of(&[key(1).public_key(), key(1).public_key()], 2).is_err());
}

#[test]
fn a_signature_on_one_kind_of_file_is_none_on_another() {
    let keys = [key(1), key(2)];
    let as_list = anchorhold_dsse::sign(MACHINE_LIST_TYPE, HEADER.as_bytes(), &[&keys[0], &keys[1]]).unwrap();
    assert_eq!(
        verify(&as_list, at()).unwrap_err(),
        SignedError::Envelope(Error::PayloadType { wanted: PROFILE_TYPE })
    );
    let refused = verify_signed::<MachineList>(&signed(&[1, 2]), &trusted(), at()).unwrap_err();
    assert_eq!(refused, SignedError::Envelope(Error::PayloadType { wanted: MACHINE_LIST_TYPE }));
}

#[test]
fn case_08_refuses_a_signed_profile_that_is_not_in_force() {
    let bytes = signed(&[1, 2]);
    let (issued, expires): (Timestamp, Timestamp) =
        ("2026-01-01T00:00:00Z".parse().unwrap(), "2027-01-01T00:00:00Z".parse().unwrap());
    assert!(verify(&bytes, issued).is_ok());
    let refused = verify(&bytes, expires).unwrap_err();
    assert_eq!(refused, SignedError::NotInForce(NotInForce::Expired { expires }));
    let refused = verify(&bytes, issued.plus_seconds(-1)).unwrap_err();
    assert_eq!(refused, SignedError::NotInForce(NotInForce::NotYet { issued }));
}

#[test]
fn a_signature_does_not_make_a_bad_file_good() {
    let keys = [key(1), key(2)];
    let signed =
        |payload: &[u8]| anchorhold_dsse::sign(PROFILE_TYPE, payload, &[&keys[0], &keys[1]]).unwrap();
    let image = "ab".repeat(48);
    let debug = format!("{HEADER}[snp]\nmeasurements = [\"sha384:{image}\"]\ndebug = true\n");
    let refused = verify(&signed(debug.as_bytes()), at()).unwrap_err();
    assert!(matches!(refused, SignedError::Policy(PolicyError::Denied { .. })), "{refused}");
    assert_eq!(verify(&signed(&[0xff]), at()).unwrap_err(), SignedError::NotUtf8);
    let refused = sign::<AppraisalProfile>(&debug, &[&keys[0]]).unwrap_err();
    assert!(matches!(refused, SignedError::Policy(PolicyError::Denied { .. })), "{refused}");
    assert_eq!(sign::<AppraisalProfile>(HEADER, &[]).unwrap_err(), SignedError::Envelope(Error::NoKey));
}
