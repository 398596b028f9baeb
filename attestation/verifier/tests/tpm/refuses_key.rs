//! Keys that do not vouch for what they sign.

use crate::support::*;

#[test]
fn refuses_a_public_area_that_is_not_one_of_an_ecc_key() {
    let whole = sent(&tpm());
    for length in 0..whole.key.len() {
        let mut cut = whole.clone();
        cut.key.truncate(length);
        assert_eq!(refusal(&cut), "tpm_key_malformed", "{length}");
    }
    let mut long = whole.clone();
    long.key.push(0);
    assert_eq!(refusal(&long), "tpm_key_malformed");
    // RSA, a derivation, an authorisation policy longer than a digest, and short coordinates.
    for (at, byte) in [(1, 1), (19, 0x20), (9, 65), (21, 31)] {
        let mut changed = whole.clone();
        changed.key[at] = byte;
        assert_eq!(refusal(&changed), "tpm_key_malformed", "byte {at}");
    }
}

#[test]
fn refuses_other_algorithms() {
    // Names by SHA-384, a symmetric cipher, ECDAA, SHA-384, P-384.
    for (at, byte) in [(3, 0x0c), (11, 6), (13, 0x1a), (15, 0x0c), (17, 4)] {
        let mut changed = sent(&tpm());
        changed.key[at] = byte;
        assert_eq!(refusal(&changed), "tpm_key_type", "byte {at}");
    }
}

/// A key that is not restricted signs whatever it is given, also what looks like a quote.
#[test]
fn refuses_a_key_that_signs_what_its_tpm_did_not_make_or_that_can_leave_it() {
    let (mut tpm, good) = (tpm(), 0x0005_0072);
    for attribute in [1, 4, 5, 16, 18] {
        tpm.attributes = good & !(1 << attribute);
        assert_eq!(refusal(&sent(&tpm)), "tpm_key_attributes", "{attribute}");
    }
    tpm.attributes = good | 1 << 17;
    assert_eq!(refusal(&sent(&tpm)), "tpm_key_attributes");
    // Not subject to dictionary attack protection: says nothing about what it signs.
    tpm.attributes = good | 1 << 10;
    assert_eq!(authenticate(&sent(&tpm)).unwrap().key(), name_of(&tpm));
}

#[test]
fn refuses_a_quote_of_another_key_or_of_a_key_below_another() {
    let one = tpm();
    let mut evidence = sent(&one);
    evidence.key = tpm().public_area();
    assert_eq!(refusal(&evidence), "tpm_quote_signature");
    let other = requoted(&one, |quote| quote[20] ^= 1);
    assert_eq!(refusal(&other), "tpm_signer");
}
