use super::*;
use crate::SignersError;

const TYPE: &str = "application/vnd.in-toto+json";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32]).unwrap()
}

fn owner() -> SigningKey {
    key(7)
}

fn signed(payload: &[u8]) -> String {
    String::from_utf8(sign(TYPE, payload, &[&owner()]).unwrap()).unwrap()
}

fn refusal(bytes: &[u8]) -> Error {
    verify(bytes, TYPE, &TrustedSigners::one(&owner().public_key())).unwrap_err()
}

/// Keys in the order of their key ids, which is the order of their signatures.
fn in_order(seeds: [u8; 3]) -> [SigningKey; 3] {
    let mut keys = seeds.map(key);
    keys.sort_by_key(|key| key_id(&key.public_key()));
    keys
}

fn trusted(keys: &[&SigningKey], threshold: usize) -> TrustedSigners {
    let public: Vec<_> = keys.iter().map(|key| key.public_key()).collect();
    TrustedSigners::of(&public, threshold).unwrap()
}

#[test]
fn returns_the_signed_payload() {
    let verified =
        verify(signed(b"statement").as_bytes(), TYPE, &TrustedSigners::one(&owner().public_key())).unwrap();
    assert_eq!(verified.payload(), b"statement");
    assert_eq!(verified.signers(), [owner().public_key()]);
    assert_eq!(verified.into_payload(), b"statement");
}

#[test]
fn encodes_as_the_specification_does() {
    assert_eq!(pre_authentication_encoding(TYPE, b"hi"), b"DSSEv1 28 application/vnd.in-toto+json 2 hi");
}

#[test]
fn refuses_another_owner() {
    let bytes = sign(TYPE, b"statement", &[&key(8)]).unwrap();
    assert_eq!(refusal(&bytes), Error::UnknownSigner { index: 0 });
}

#[test]
fn refuses_a_signature_over_the_bare_payload() {
    let genuine = STANDARD.encode(owner().sign(&pre_authentication_encoding(TYPE, b"statement")));
    let bare = STANDARD.encode(owner().sign(b"statement"));
    let refused = refusal(signed(b"statement").replace(&genuine, &bare).as_bytes());
    assert_eq!(refused, Error::Signature { index: 0 });
}

#[test]
fn refuses_another_payload_under_a_genuine_signature() {
    let (one, other) = (STANDARD.encode(b"statement"), STANDARD.encode(b"statemenT"));
    let changed = signed(b"statement").replace(&one, &other);
    assert_eq!(refusal(changed.as_bytes()), Error::Signature { index: 0 });
}

#[test]
fn refuses_every_other_spelling_of_a_genuine_envelope() {
    let text = signed(b"statement");
    let spaced = text.replacen(':', ": ", 1);
    assert_eq!(refusal(spaced.as_bytes()), Error::NotCanonical);
    let escaped = text.replacen("application/vnd", "application\\/vnd", 1);
    assert_eq!(refusal(escaped.as_bytes()), Error::NotCanonical);
    let unknown = text.replacen('{', "{\"x\":1,", 1);
    assert_eq!(refusal(unknown.as_bytes()), Error::Malformed);
    let twice = text.replacen('{', "{\"payload\":\"\",", 1);
    assert_eq!(refusal(twice.as_bytes()), Error::Malformed);
    let trailing = format!("{text}{{}}");
    assert_eq!(refusal(trailing.as_bytes()), Error::Malformed);
}

#[test]
fn refuses_another_payload_type() {
    let other = signed(b"statement").replace("in-toto+json", "in-toto+jsoN");
    assert_eq!(refusal(other.as_bytes()), Error::PayloadType { wanted: TYPE });
    let changed =
        verify(other.as_bytes(), "application/vnd.in-toto+jsoN", &TrustedSigners::one(&owner().public_key()));
    assert_eq!(changed.unwrap_err(), Error::Signature { index: 0 });
}

#[test]
fn refuses_no_signature_and_more_than_there_are_signers() {
    let text = signed(b"statement");
    let (head, tail) = text.split_once('[').unwrap();
    let one = tail.strip_suffix("]}").unwrap();
    assert_eq!(refusal(format!("{head}[]}}").as_bytes()), Error::Threshold { wanted: 1, observed: 0 });
    assert_eq!(
        refusal(format!("{head}[{one},{one}]}}").as_bytes()),
        Error::SignatureCount { limit: 1, observed: 2 }
    );
}

#[test]
fn refuses_payloads_and_signatures_that_are_not_canonical_base64() {
    // "c3RhdGVtZW50" is 12 digits without padding; with one digit less it is none.
    let text = signed(b"statement");
    assert_eq!(refusal(text.replace("c3RhdGVtZW50", "c3RhdGVtZW5").as_bytes()), Error::Payload);
    assert_eq!(refusal(text.replace("==\"}", "=\"}").as_bytes()), Error::SignatureEncoding { index: 0 });
}

#[test]
fn two_of_three_signers_are_enough_and_one_is_not() {
    let [a, b, c] = in_order([1, 2, 3]);
    let signers = trusted(&[&a, &b, &c], 2);
    for pair in [[&a, &b], [&b, &a], [&a, &c], [&c, &b]] {
        let bytes = sign(TYPE, b"statement", &pair).unwrap();
        assert_eq!(verify(&bytes, TYPE, &signers).unwrap().signers().len(), 2);
    }
    let alone = sign(TYPE, b"statement", &[&a]).unwrap();
    let refused = verify(&alone, TYPE, &signers).unwrap_err();
    assert_eq!(refused, Error::Threshold { wanted: 2, observed: 1 });
    let all = sign(TYPE, b"statement", &[&c, &b, &a]).unwrap();
    let verified = verify(&all, TYPE, &signers).unwrap();
    assert_eq!(verified.signers(), [a.public_key(), b.public_key(), c.public_key()]);
}

#[test]
fn refuses_one_signer_twice() {
    let [a, b, _] = in_order([1, 2, 3]);
    let text = String::from_utf8(sign(TYPE, b"statement", &[&a]).unwrap()).unwrap();
    let (head, tail) = text.split_once('[').unwrap();
    let one = tail.strip_suffix("]}").unwrap();
    let twice = format!("{head}[{one},{one}]}}");
    let refused = verify(twice.as_bytes(), TYPE, &trusted(&[&a, &b], 2)).unwrap_err();
    assert_eq!(refused, Error::DuplicateSigner { index: 1 });
    let refused = add_signature(text.as_bytes(), TYPE, &a).unwrap_err();
    assert_eq!(refused, Error::DuplicateSigner { index: 0 });
    assert_eq!(sign(TYPE, b"statement", &[&a, &a]).unwrap_err(), Error::DuplicateSigner { index: 0 });
}

#[test]
fn refuses_signatures_out_of_order() {
    let [a, b, _] = in_order([1, 2, 3]);
    let text = String::from_utf8(sign(TYPE, b"statement", &[&a, &b]).unwrap()).unwrap();
    let (head, tail) = text.split_once('[').unwrap();
    let (first, second) = tail.strip_suffix("]}").unwrap().split_once("},").unwrap();
    let swapped = format!("{head}[{second},{first}}}]}}");
    let refused = verify(swapped.as_bytes(), TYPE, &trusted(&[&a, &b], 2)).unwrap_err();
    assert_eq!(refused, Error::Order { index: 1 });
}

#[test]
fn refuses_a_bad_or_foreign_signature_among_enough_good_ones() {
    let [a, b, c] = in_order([1, 2, 3]);
    let signers = trusted(&[&a, &b, &c], 1);
    let good = String::from_utf8(sign(TYPE, b"statement", &[&a, &b]).unwrap()).unwrap();
    let of_b = STANDARD.encode(b.sign(&pre_authentication_encoding(TYPE, b"statement")));
    let of_other = STANDARD.encode(b.sign(b"other"));
    let bad = good.replace(&of_b, &of_other);
    assert_eq!(verify(bad.as_bytes(), TYPE, &signers).unwrap_err(), Error::Signature { index: 1 });
    let foreign = sign(TYPE, b"statement", &[&a, &b]).unwrap();
    let refused = verify(&foreign, TYPE, &trusted(&[&a, &c], 1)).unwrap_err();
    assert_eq!(refused, Error::UnknownSigner { index: 1 });
}

#[test]
fn refuses_excess() {
    let keys: Vec<_> = (1..=17).map(key).collect();
    let refs: Vec<_> = keys.iter().collect();
    let refused = sign(TYPE, b"", &refs).unwrap_err();
    assert_eq!(refused, Error::SignatureCount { limit: MAX_SIGNATURES, observed: 17 });
    let long = vec![b' '; MAX_ENVELOPE_BYTES + 1];
    assert_eq!(refusal(&long), Error::TooLong { observed_bytes: MAX_ENVELOPE_BYTES + 1 });
    assert!(matches!(sign(TYPE, &long, &[&owner()]).unwrap_err(), Error::TooLong { .. }));
    assert_eq!(sign(TYPE, b"", &[]).unwrap_err(), Error::NoKey);
}

#[test]
fn refuses_signers_that_trust_nobody_or_one_key_twice() {
    let keys = [[1; 32], [2; 32]];
    assert!(TrustedSigners::of(&keys, 2).is_ok());
    for threshold in [0, 3] {
        let refused = TrustedSigners::of(&keys, threshold).unwrap_err();
        assert_eq!(refused, SignersError::Threshold { keys: 2, threshold });
    }
    assert_eq!(TrustedSigners::of(&[], 0).unwrap_err(), SignersError::Threshold { keys: 0, threshold: 0 });
    let twice = TrustedSigners::of(&[[1; 32], [2; 32], [1; 32]], 1).unwrap_err();
    assert_eq!(twice, SignersError::DuplicateKey { index: 2 });
    let many: Vec<_> = (0..17).map(|n| [n; 32]).collect();
    assert_eq!(TrustedSigners::of(&many, 1).unwrap_err(), SignersError::TooMany { observed: 17 });
}

#[test]
fn a_signing_key_is_read_strictly_and_prints_its_type_only() {
    assert_eq!(SigningKey::from_pkcs8(b"no key").unwrap_err(), crate::KeyError);
    assert_eq!(format!("{:?}", owner()), "SigningKey");
    assert_eq!(unverified(signed(b"x").as_bytes()).unwrap(), (TYPE.to_owned(), b"x".to_vec()));
}
