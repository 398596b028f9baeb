//! Who certifies keys of TPMs: a root and an authority below it, open enough to make bad certificates for tests.

use super::SoftwareTpm;
use crate::der;
use crate::software::certificate::{Extension, Template, name};
use crate::software::{Curve, Error, SigningKey};
use anchorhold_rats::{Der, Timestamp};

/// 2.23.133.8.3, tcg-kp-AIKCertificate.
const ATTESTATION_KEY: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x03];
/// Extended key usage, below 2.5.29.
const EXTENDED_KEY_USAGE: u8 = 0x25;
const DAY_SECONDS: i64 = 86_400;
const YEAR_SECONDS: i64 = 365 * DAY_SECONDS;

/// An operator's root (P-384) and the authority that certifies keys for it (P-256).
#[derive(Debug)]
pub struct TpmAuthority {
    root: SigningKey,
    issuing: SigningKey,
}

/// What is signed: the certificate of a TPM's key, of the authority, and of the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmTemplates {
    /// Of the key that quotes.
    pub leaf: Template,
    /// Of the authority.
    pub issuing: Template,
    /// Of the root.
    pub root: Template,
}

impl TpmAuthority {
    /// A hierarchy of its own.
    ///
    /// # Errors
    /// [`Error::Random`] when there is no randomness.
    pub fn new() -> Result<Self, Error> {
        Ok(Self { root: SigningKey::generate(Curve::P384)?, issuing: SigningKey::generate(Curve::P256)? })
    }

    /// Good certificates of this TPM's key, from a day before `at` on.
    #[must_use]
    pub fn templates(&self, tpm: &SoftwareTpm, at: Timestamp) -> TpmTemplates {
        let template = |issuer: (&str, Curve), subject: &str, key: Vec<u8>, extensions| Template {
            serial: vec![1],
            algorithm: issuer.1.signature_algorithm(),
            issuer: name(issuer.0),
            subject: name(subject),
            not_before: at.plus_seconds(-DAY_SECONDS),
            not_after: at.plus_seconds(YEAR_SECONDS),
            public_key_info: key,
            extensions,
        };
        let (root, issuing) = ("TPM root", "TPM authority");
        let usage = der::sequence(&[&der::object_identifier(ATTESTATION_KEY)]);
        let of_key = vec![
            Extension::end_entity(),
            Extension::key_usage(0x80),
            Extension::standard(EXTENDED_KEY_USAGE, false, usage),
        ];
        let of_authority = |path_length| vec![Extension::authority(path_length), Extension::key_usage(0x06)];
        TpmTemplates {
            leaf: template((issuing, Curve::P256), "TPM attestation key", tpm.key_info(), of_key),
            issuing: template((root, Curve::P384), issuing, self.issuing.key_info(), of_authority(Some(0))),
            root: template((root, Curve::P384), root, self.root.key_info(), of_authority(None)),
        }
    }

    /// The certificates, the key's first.
    ///
    /// # Errors
    /// [`Error::Signature`] when ring does not sign.
    pub fn sign(&self, templates: &TpmTemplates) -> Result<Vec<Der>, Error> {
        let TpmTemplates { leaf, issuing, root } = templates;
        let signed =
            [leaf.sign_ecdsa(&self.issuing)?, issuing.sign_ecdsa(&self.root)?, root.sign_ecdsa(&self.root)?];
        Ok(signed.map(Der).into())
    }
}
