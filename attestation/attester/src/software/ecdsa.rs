//! ECDSA keys of the simulated hierarchies: P-256 with SHA-256 (Intel's) and P-384 with SHA-384 (NVIDIA's).

use super::Error;
use crate::der;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING,
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _,
};
use std::fmt;

/// A curve with the hash that goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// secp256r1 with SHA-256.
    P256,
    /// secp384r1 with SHA-384.
    P384,
}

impl Curve {
    /// AlgorithmIdentifier of ECDSA with this curve's hash, DER (RFC 5758, section 3.2).
    #[must_use]
    pub fn signature_algorithm(self) -> Vec<u8> {
        let last = match self {
            Self::P256 => 2,
            Self::P384 => 3,
        };
        der::sequence(&[&der::object_identifier(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, last])])
    }

    /// SubjectPublicKeyInfo of an uncompressed point on this curve (RFC 5480).
    #[must_use]
    pub fn key_info(self, point: &[u8]) -> Vec<u8> {
        const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
        let name: &[u8] = match self {
            Self::P256 => &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
            Self::P384 => &[0x2b, 0x81, 0x04, 0x00, 0x22],
        };
        let algorithm = [der::object_identifier(EC_PUBLIC_KEY), der::object_identifier(name)].concat();
        der::sequence(&[&der::sequence(&[&algorithm]), &der::bit_string(point)])
    }

    const fn signing(self) -> (&'static EcdsaSigningAlgorithm, &'static EcdsaSigningAlgorithm) {
        match self {
            Self::P256 => (&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P256_SHA256_FIXED_SIGNING),
            Self::P384 => (&ECDSA_P384_SHA384_ASN1_SIGNING, &ECDSA_P384_SHA384_FIXED_SIGNING),
        }
    }
}

/// A key that signs certificates and evidence of a simulated hierarchy.
pub struct SigningKey {
    curve: Curve,
    pkcs8: Vec<u8>,
    der: EcdsaKeyPair,
    fixed: EcdsaKeyPair,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("curve", &self.curve).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// A new key.
    ///
    /// # Errors
    /// [`Error::Random`] when there is no randomness.
    pub fn generate(curve: Curve) -> Result<Self, Error> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(curve.signing().0, &SystemRandom::new())
            .map_err(|_| Error::Random)?;
        Self::from_pkcs8(curve, pkcs8.as_ref(), "generated")
    }

    /// A key of the fixtures; `name` is for the error.
    pub(super) fn from_pkcs8(curve: Curve, pkcs8: &[u8], name: &'static str) -> Result<Self, Error> {
        let random = SystemRandom::new();
        let pair =
            |algorithm| EcdsaKeyPair::from_pkcs8(algorithm, pkcs8, &random).map_err(|_| Error::Key(name));
        let (der, fixed) = curve.signing();
        Ok(Self { curve, pkcs8: pkcs8.to_vec(), der: pair(der)?, fixed: pair(fixed)? })
    }

    /// The same key once more; it protects nothing, so it may stand in several places.
    pub(super) fn copy(&self) -> Result<Self, Error> {
        Self::from_pkcs8(self.curve, &self.pkcs8, "copied")
    }

    /// The curve.
    #[must_use]
    pub const fn curve(&self) -> Curve {
        self.curve
    }

    /// The public key: 4, x and y.
    #[must_use]
    pub fn point(&self) -> &[u8] {
        self.fixed.public_key().as_ref()
    }

    /// SubjectPublicKeyInfo of the public key.
    #[must_use]
    pub fn key_info(&self) -> Vec<u8> {
        self.curve.key_info(self.point())
    }

    /// The key identifier: SHA-1 of the public key (RFC 5280, section 4.2.1.2, method 1).
    #[must_use]
    pub fn key_identifier(&self) -> Vec<u8> {
        digest(&SHA1_FOR_LEGACY_USE_ONLY, self.point()).as_ref().to_vec()
    }

    /// The signature over `message` as a DER SEQUENCE of r and s; `what` is for the error.
    ///
    /// # Errors
    /// [`Error::Signature`] when ring does not sign.
    pub fn sign_der(&self, message: &[u8], what: &'static str) -> Result<Vec<u8>, Error> {
        sign(&self.der, message, what)
    }

    /// The signature over `message` as r and s, each as long as the curve's field, big-endian; `what` is for the error.
    ///
    /// # Errors
    /// [`Error::Signature`] when ring does not sign.
    pub fn sign_fixed(&self, message: &[u8], what: &'static str) -> Result<Vec<u8>, Error> {
        sign(&self.fixed, message, what)
    }
}

fn sign(pair: &EcdsaKeyPair, message: &[u8], what: &'static str) -> Result<Vec<u8>, Error> {
    let signature = pair.sign(&SystemRandom::new(), message).map_err(|_| Error::Signature(what))?;
    Ok(signature.as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_ASN1, UnparsedPublicKey};

    #[test]
    fn signs_in_both_forms() {
        let key = SigningKey::generate(Curve::P256).unwrap();
        let signature = key.sign_fixed(b"message", "message").unwrap();
        assert_eq!((signature.len(), key.point().len()), (64, 65));
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.point()).verify(b"message", &signature).unwrap();
        let key = SigningKey::generate(Curve::P384).unwrap();
        let signature = key.sign_der(b"message", "message").unwrap();
        UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, key.point()).verify(b"message", &signature).unwrap();
        assert!(
            UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, key.point())
                .verify(b"other", &signature)
                .is_err()
        );
    }
}
