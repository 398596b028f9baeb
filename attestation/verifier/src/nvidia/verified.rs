//! Signatures that were verified earlier in the same call.

use crate::x509::{self, Certificate, PublicKey};
use ring::digest;
use std::cell::RefCell;
use std::collections::BTreeSet;

/// Remembers which signatures are valid, so that those that all devices of a board share (over intermediates,
/// identities, manifests' signers and OCSP answers) are verified once and not once for each device.
///
/// Made for one call and dropped with it. What it holds follows from the input alone: a digest over key, algorithm,
/// signed bytes and signature stands for a signature only if ring found it valid. Names, times, authority and
/// revocation are judged each time. It has at most one entry for each signature of the input, whose lists are bounded.
#[derive(Debug, Default)]
pub(super) struct Verified(RefCell<BTreeSet<[u8; digest::SHA256_OUTPUT_LEN]>>);

impl Verified {
    /// Whether the key of `issuer` signed `certificate`.
    pub(super) fn is_signed_by(&self, certificate: &Certificate<'_>, issuer: &Certificate<'_>) -> bool {
        let (algorithm, signed, signature) = certificate.signature_parts();
        self.verify(&issuer.public_key, algorithm, signed, signature)
    }

    /// As [`x509::verify`].
    pub(super) fn verify(
        &self,
        key: &PublicKey<'_>,
        algorithm: &[u8],
        signed: &[u8],
        signature: &[u8],
    ) -> bool {
        let (kind, point) = match key {
            PublicKey::P256(point) => (b"P-256", *point),
            PublicKey::P384(point) => (b"P-384", *point),
            // NVIDIA signs with no other key; one is verified each time.
            PublicKey::Rsa4096(_) | PublicKey::Other => {
                return x509::verify(key, algorithm, signed, signature);
            }
        };
        let name = name([kind, point, algorithm, signed, signature]);
        if self.0.borrow().contains(&name) {
            return true;
        }
        let valid = x509::verify(key, algorithm, signed, signature);
        if valid {
            self.0.borrow_mut().insert(name);
        }
        valid
    }
}

/// SHA-256 over the parts, each after its length (8 bytes, big-endian).
fn name(parts: [&[u8]; 5]) -> [u8; digest::SHA256_OUTPUT_LEN] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut out = [0; digest::SHA256_OUTPUT_LEN];
    out.copy_from_slice(context.finish().as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

    /// AlgorithmIdentifier of ecdsa-with-SHA384.
    const ALGORITHM: &[u8] = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03";

    fn key_pair() -> EcdsaKeyPair {
        let (with, random) = (&ECDSA_P384_SHA384_ASN1_SIGNING, SystemRandom::new());
        let document = EcdsaKeyPair::generate_pkcs8(with, &random).unwrap();
        EcdsaKeyPair::from_pkcs8(with, document.as_ref(), &random).unwrap()
    }

    #[test]
    fn remembers_a_valid_signature_and_no_other_one() {
        let (ours, other) = (key_pair(), key_pair());
        let signature = ours.sign(&SystemRandom::new(), b"signed").unwrap();
        let (signature, key) = (signature.as_ref(), PublicKey::P384(ours.public_key().as_ref()));
        let other = PublicKey::P384(other.public_key().as_ref());
        let verified = Verified::default();
        for _ in 0..2 {
            assert!(verified.verify(&key, ALGORITHM, b"signed", signature));
            assert_eq!(verified.0.borrow().len(), 1);
            assert!(!verified.verify(&other, ALGORITHM, b"signed", signature));
            assert!(!verified.verify(&key, ALGORITHM, b"Signed", signature));
            assert!(!verified.verify(&key, &ALGORITHM[1..], b"signed", signature));
            assert!(!verified.verify(&key, ALGORITHM, b"signed", &signature[1..]));
            assert!(!verified.verify(&PublicKey::Other, ALGORITHM, b"signed", signature));
            assert_eq!(verified.0.borrow().len(), 1, "a signature that is not valid is not remembered");
        }
    }

    #[test]
    fn the_boundaries_between_parts_count() {
        let whole = name([b"P-384", b"ab", b"c", b"d", b"e"]);
        for other in [[&b"a"[..], b"bc", b"d"], [b"ab", b"", b"cd"], [b"ab", b"d", b"c"]] {
            assert_ne!(name([b"P-384", other[0], other[1], other[2], b"e"]), whole);
        }
    }
}
