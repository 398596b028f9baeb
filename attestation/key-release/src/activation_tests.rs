use super::*;
use anchorhold_dsse::{Error, SigningKey, sign};

const TEXT: &str = include_str!("../../../policies/release/chat-prod.toml");

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32]).unwrap()
}

fn two_of_three() -> SignerSet {
    let mut text = "signers = \"acme\"\nversion = 1\nthreshold = 2\n".to_owned();
    for seed in 1..=3 {
        let public = Ed25519PublicKey::new(key(seed).public_key());
        text += &format!("[[signer]]\nname = \"signer-{seed}\"\nkey = \"{public}\"\n");
    }
    SignerSet::from_toml(&text).unwrap()
}

fn signed(text: &str, seeds: &[u8]) -> Vec<u8> {
    let keys: Vec<_> = seeds.iter().map(|seed| key(*seed)).collect();
    sign(RELEASE_POLICY_TYPE, text.as_bytes(), &keys.iter().collect::<Vec<_>>()).unwrap()
}

fn refused(file: &[u8]) -> ActivationError {
    ApprovedPolicy::approved(file, Approvers::Signers(&two_of_three())).unwrap_err()
}

fn approved() -> ApprovedPolicy {
    ApprovedPolicy::approved(&signed(TEXT, &[1, 3]), Approvers::Signers(&two_of_three())).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn enough_signers_approve_a_policy() {
    let approved = approved();
    assert_eq!(approved.text(), TEXT);
    assert_eq!(approved.policy().digest(), Sha256Digest::of(TEXT.as_bytes()));
    let mut wanted = [1, 3].map(|seed| Ed25519PublicKey::new(key(seed).public_key())).to_vec();
    wanted.sort_by_key(|key| Sha256Digest::of(key.as_bytes()));
    assert_eq!(approved.signers(), wanted);
}

#[test]
fn case_08_refuses_policies_that_too_few_or_others_signed() {
    let few = refused(&signed(TEXT, &[1]));
    assert_eq!(few, ActivationError::Envelope(Error::Threshold { wanted: 2, observed: 1 }));
    assert_eq!(few.code(), "policy_too_few_signatures");
    let wrong = refused(&signed(TEXT, &[1, 9]));
    assert!(matches!(wrong, ActivationError::Envelope(Error::UnknownSigner { .. })), "{wrong}");
    assert_eq!(wrong.code(), "policy_wrong_signer");
    let text = String::from_utf8(signed(TEXT, &[1])).unwrap();
    let (head, tail) = text.split_once('[').unwrap();
    let one = tail.strip_suffix("]}").unwrap();
    let twice = refused(format!("{head}[{one},{one}]}}").as_bytes());
    assert_eq!(twice, ActivationError::Envelope(Error::DuplicateSigner { index: 1 }));
    assert_eq!(twice.code(), "policy_duplicate_signer");
    let other = sign("application/vnd.other", TEXT.as_bytes(), &[&key(1), &key(2)]).unwrap();
    assert_eq!(refused(&other).code(), "policy_signature");
}

#[test]
fn case_08_refuses_what_is_not_signed_and_what_is_no_policy() {
    assert_eq!(refused(TEXT.as_bytes()), ActivationError::Unsigned);
    let malformed = refused(&signed("policy = 1", &[1, 2]));
    assert!(matches!(malformed, ActivationError::Malformed(_)), "{malformed}");
    assert_eq!(malformed.code(), "policy_malformed");
    let anybody = |file: &[u8]| ApprovedPolicy::approved(file, Approvers::DangerousAnybody);
    assert_eq!(anybody(&[0xff]).unwrap_err(), ActivationError::NotUtf8);
    assert_eq!(anybody(&signed(TEXT, &[1, 2])).unwrap_err(), ActivationError::NoSigners);
    assert!(anybody(TEXT.as_bytes()).unwrap().signers().is_empty());
}

#[test]
fn case_08_only_a_newer_policy_that_names_the_one_in_force_replaces_it() {
    let now = at("2026-06-01T00:00:00Z");
    let policy = approved();
    let old = Sha256Digest::new([7; 32]);
    let in_force = |version| Some(InForce { digest: old, version });
    assert_eq!(policy.may_replace(None, None, now), Ok(()));
    assert_eq!(policy.may_replace(in_force(41), Some(old), now), Ok(()));
    for current in [42, 43] {
        let refused = policy.may_replace(in_force(current), Some(old), now).unwrap_err();
        assert_eq!(refused, ActivationError::NotNewer { current, observed: 42 });
        assert_eq!(refused.code(), "policy_not_newer");
    }
    let other = Sha256Digest::new([8; 32]);
    for (in_force, named) in [(in_force(41), None), (in_force(41), Some(other)), (None, Some(old))] {
        let refused = policy.may_replace(in_force, named, now).unwrap_err();
        let in_force = in_force.map(|in_force| in_force.digest);
        assert_eq!(refused, ActivationError::Replaced { in_force, named });
        assert_eq!(refused.code(), "policy_replaced");
    }
}

#[test]
fn case_08_refuses_a_policy_at_its_last_second_and_not_before() {
    let policy = approved();
    assert_eq!(policy.may_replace(None, None, at("2027-01-30T23:59:59Z")), Ok(()));
    let refused = policy.may_replace(None, None, at("2027-01-31T00:00:00Z")).unwrap_err();
    assert_eq!(refused, ActivationError::Expired { expires: at("2027-01-31T00:00:00Z") });
    assert_eq!(refused.code(), "policy_expired");
}

#[test]
fn case_08_the_cedar_policies_are_those_that_the_policy_names() {
    let cedar = b"forbid (principal, action, resource);";
    let digest = Sha256Digest::of(cedar);
    let naming = TEXT.replace("= \"none\" # or the SHA-256", &format!("= \"sha256:{digest}\" #"));
    let naming = ApprovedPolicy::approved(naming.as_bytes(), Approvers::DangerousAnybody).unwrap();
    assert_eq!(naming.require_cedar(Some(cedar)), Ok(()));
    for other in [None, Some(b"permit (principal, action, resource);".as_slice())] {
        assert_eq!(naming.require_cedar(other).unwrap_err().code(), "policy_cedar");
    }
    assert_eq!(approved().require_cedar(None), Ok(()));
    assert!(approved().require_cedar(Some(cedar)).is_err());
}
