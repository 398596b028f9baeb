//! The key that signs authenticators, with its certificate.

use super::signed_content;
use crate::tls;
use anchorhold_rats::Ed25519PublicKey;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use std::fmt;

/// The lengths of a transcript's hash, in bytes: SHA-256 and SHA-384.
const HASH_BYTES: [usize; 2] = [32, 48];

/// A fresh Ed25519 key that signs nothing but authenticators. It never leaves the process that made it.
pub struct AuthenticatorKey {
    pair: Ed25519KeyPair,
    certificate: Vec<u8>,
}

impl fmt::Debug for AuthenticatorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthenticatorKey({})", self.public_key())
    }
}

impl AuthenticatorKey {
    /// A new key.
    ///
    /// # Errors
    /// [`tls::Error::SelfSign`] when the system gives no randomness.
    pub fn generate() -> Result<Self, tls::Error> {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
        let mut params = rcgen::CertificateParams::new(Vec::new())?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "Anchorhold authenticator");
        let certificate = params.self_signed(&pair)?.der().to_vec();
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pair.serialized_der())
            .map_err(|_| tls::Error::SelfSign(rcgen::Error::CouldNotParseKeyPair))?;
        Ok(Self { pair, certificate })
    }

    /// The key that the attestation document names.
    #[must_use]
    pub fn public_key(&self) -> Ed25519PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        Ed25519PublicKey::new(bytes)
    }

    /// The DER of the certificate for [`Unsigned::new`](super::Unsigned::new). Nobody vouches for it but the key itself.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// The signature for [`Unsigned::finish`](super::Unsigned::finish); `None` when `transcript_hash` has the length of no hash that
    /// TLS 1.3 uses here.
    #[must_use]
    pub fn sign(&self, transcript_hash: &[u8]) -> Option<Vec<u8>> {
        HASH_BYTES
            .contains(&transcript_hash.len())
            .then(|| self.pair.sign(&signed_content(transcript_hash)).as_ref().to_vec())
    }
}
