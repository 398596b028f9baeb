//! Keys that somebody certified, and certificates that certify nothing.

use crate::support::*;
use anchorhold_attester::software::SoftwareTpm;
use anchorhold_attester::software::certificate::{Extension, name};
use anchorhold_attester::software::tpm::{TpmAuthority, TpmTemplates};
use anchorhold_rats::{Der, Sha256Digest};
use anchorhold_verifier::tpm::{self, Policy};
use proptest::prelude::*;

/// A change before certificates are signed.
type Edit = fn(&mut TpmTemplates);

/// A TPM with certificates that were changed before they were signed.
fn certified(authority: &TpmAuthority, change: impl FnOnce(&mut TpmTemplates)) -> SoftwareTpm {
    let mut tpm = tpm();
    let mut templates = authority.templates(&tpm, at());
    change(&mut templates);
    tpm.certificates = authority.sign(&templates).unwrap();
    tpm
}

fn authority() -> TpmAuthority {
    TpmAuthority::new().unwrap()
}

#[test]
fn a_key_below_a_named_root_is_accepted_and_below_another_it_is_not() {
    let tpm = certified(&authority(), |_| {});
    let quote = authenticate(&sent(&tpm)).unwrap();
    let root = Sha256Digest::of(&tpm.certificates[2].0);
    assert_eq!(quote.root(), Some(root));
    let by = |roots: Vec<Sha256Digest>| Policy { keys: Vec::new(), roots, ..policy(&quote) };
    assert_eq!(failed(&quote, &by(vec![Sha256Digest::of(b""), root]), &NONCE), [""; 0]);
    assert_eq!(failed(&quote, &by(vec![Sha256Digest::of(b"")]), &NONCE), ["tpm_key"]);
    assert_eq!(failed(&quote, &by(Vec::new()), &NONCE), ["tpm_keys_empty", "tpm_key"]);
    // A key that is named needs no certificate, and certificates make no other key of it.
    assert_eq!(failed(&quote, &policy(&quote), &NONCE), [""; 0]);
    let bare = authenticate(&sent(&crate::support::tpm())).unwrap();
    assert_eq!(
        (bare.root(), failed(&bare, &by(vec![root]), &NONCE).first().map(String::as_str)),
        (None, Some("tpm_key"))
    );
}

#[test]
fn refuses_certificates_that_are_none_or_of_another_key() {
    let good = certified(&authority(), |_| {});
    let with = |certificates: Vec<Der>| {
        let mut evidence = sent(&good);
        evidence.certificates = certificates;
        refusal(&evidence)
    };
    let certificates = &good.certificates;
    assert_eq!(with(vec![Der(vec![0x30])]), "tpm_certificates");
    assert_eq!(with(certificates[2..].to_vec()), "tpm_certificates");
    assert_eq!(with(certificates[1..].to_vec()), "tpm_certified_key");
    let mut cut = certificates.clone();
    cut[0].0.pop();
    assert_eq!(with(cut), "tpm_certificates");
    assert_eq!(with(certificates[..2].to_vec()), "tpm_chain", "no root");
    let other = certified(&authority(), |_| {});
    assert_eq!(with(other.certificates.clone()), "tpm_certified_key");
    assert_eq!(with([&certificates[..2], &other.certificates[2..]].concat()), "tpm_chain", "another root");
}

#[test]
fn refuses_chains_that_break_a_rule() {
    let authority = authority();
    let late = at().plus_seconds(1);
    let cases: [(&str, Edit); 9] = [
        ("tpm_certified_use", |all| all.leaf.extensions.truncate(2)),
        ("tpm_certified_use", |all| all.leaf.extensions[0] = Extension::authority(None)),
        ("tpm_certified_use", |all| all.leaf.extensions[2].value = vec![0x30, 0x04, 0x06, 0x02, 0x55, 0x1d]),
        ("tpm_certified_use", |all| all.leaf.extensions[1] = Extension::key_usage(0x20)),
        ("tpm_chain", |all| all.leaf.issuer = name("somebody")),
        ("tpm_chain", |all| all.issuing.extensions[0] = Extension::end_entity()),
        ("tpm_chain", |all| all.issuing.extensions[1] = Extension::key_usage(0x80)),
        ("tpm_chain", |all| all.root.extensions[0] = Extension::authority(Some(0))),
        ("tpm_chain", |all| all.root.subject = name("another root")),
    ];
    for (code, change) in cases {
        assert_eq!(refusal(&sent(&certified(&authority, change))), code);
    }
    for place in 0..3 {
        for early in [false, true] {
            let tpm = certified(&authority, |all| {
                let mut each = [&mut all.leaf, &mut all.issuing, &mut all.root];
                let template = &mut each[place];
                if early { template.not_before = late } else { template.not_after = at().plus_seconds(-1) }
            });
            assert_eq!(refusal(&sent(&tpm)), "tpm_chain", "certificate {place}");
        }
    }
    let swapped = certified(&authority, |all| {
        std::mem::swap(&mut all.issuing.public_key_info, &mut all.root.public_key_info)
    });
    assert_eq!(refusal(&sent(&swapped)), "tpm_chain");
}

#[test]
fn case_47_refuses_every_changed_bit_of_the_certificates() {
    let tpm = certified(&authority(), |_| {});
    let good = sent(&tpm);
    for place in 0..3 {
        for bit in 0..8 * good.certificates[place].0.len() {
            let mut changed = good.clone();
            changed.certificates[place].0[bit / 8] ^= 1 << (bit % 8);
            assert!(tpm::authenticate(&changed, at()).is_err(), "certificate {place} bit {bit}");
        }
    }
}

proptest! {
    #[test]
    fn case_47_random_certificates_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let mut evidence = sent(&tpm());
        evidence.certificates = vec![Der(bytes.clone()), Der(bytes)];
        prop_assert!(authenticate(&evidence).is_err());
    }
}
