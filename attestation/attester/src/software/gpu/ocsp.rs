//! OCSP responses (RFC 6960), open enough to make bad ones for tests.

use super::certificates::serial;
use super::extensions::ocsp_signing;
use super::nvidia_name;
use crate::der;
use crate::software::certificate::{Extension, Template};
use crate::software::{Curve, Error, SigningKey};
use anchorhold_rats::Timestamp;
use ring::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, digest};

/// 1.3.6.1.5.5.7.48.1.
const OCSP: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01];
const LIFE_SECONDS: i64 = 7 * 86_400;
const BACKDATED_SECONDS: i64 = 3_600;

/// The hash by which a response names an issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OcspHash {
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384, with which NVIDIA's responder is asked.
    Sha384,
}

impl OcspHash {
    fn algorithm(self) -> (&'static Algorithm, &'static [u8]) {
        match self {
            Self::Sha1 => (&SHA1_FOR_LEGACY_USE_ONLY, &[0x2b, 0x0e, 0x03, 0x02, 0x1a]),
            Self::Sha256 => (&SHA256, &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01]),
            Self::Sha384 => (&SHA384, &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02]),
        }
    }
}

/// What a response says of one certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateStatus {
    /// Not revoked.
    Good,
    /// Revoked.
    Revoked {
        /// When.
        at: Timestamp,
        /// CRLReason, such as 1 for keyCompromise and 6 for certificateHold.
        reason: Option<u8>,
    },
    /// The responder does not know it.
    Unknown,
}

/// The answer about one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OcspEntry {
    /// How its issuer is named.
    pub hash: OcspHash,
    /// DER of the issuer's name.
    pub issuer: Vec<u8>,
    /// The issuer's public key, as the bits of its SubjectPublicKeyInfo.
    pub issuer_key: Vec<u8>,
    /// The certificate's serial number, unsigned big-endian.
    pub serial: Vec<u8>,
    /// Its status.
    pub status: CertificateStatus,
    /// Since when the status is known to hold.
    pub this_update: Timestamp,
    /// When there will be a newer one.
    pub next_update: Option<Timestamp>,
}

/// Who a response says made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Responder {
    /// DER of a name.
    Name(Vec<u8>),
    /// The SHA-1 digest of a public key.
    KeyHash(Vec<u8>),
}

/// What is signed in a response, and what accompanies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OcspTemplate {
    /// OCSPResponseStatus: 0 for successful.
    pub response_status: u8,
    /// Who makes it.
    pub responder: Responder,
    /// When it is made.
    pub produced: Timestamp,
    /// The answers.
    pub entries: Vec<OcspEntry>,
    /// The nonce of the request.
    pub nonce: Option<Vec<u8>>,
    /// DER certificates that are sent along.
    pub certificates: Vec<Vec<u8>>,
}

impl OcspTemplate {
    /// The issuer's own answer that the certificate with this serial number is good at the time `at`.
    #[must_use]
    pub fn good(serial: &[u8], issuer: &[u8], issuer_key: &[u8], at: Timestamp) -> Self {
        let this_update = at.plus_seconds(-BACKDATED_SECONDS);
        Self {
            response_status: 0,
            responder: Responder::KeyHash(digest(&SHA1_FOR_LEGACY_USE_ONLY, issuer_key).as_ref().to_vec()),
            produced: this_update,
            entries: vec![OcspEntry {
                hash: OcspHash::Sha384,
                issuer: issuer.to_vec(),
                issuer_key: issuer_key.to_vec(),
                serial: serial.to_vec(),
                status: CertificateStatus::Good,
                this_update,
                next_update: Some(this_update.plus_seconds(LIFE_SECONDS)),
            }],
            nonce: None,
            certificates: Vec::new(),
        }
    }

    /// The same answer by a responder to whom the issuer delegates, as NVIDIA's does: with a new key, which is to sign it, and
    /// the certificate for it.
    ///
    /// # Errors
    /// [`Error`] when there is no randomness or ring does not sign.
    pub fn delegate(mut self, issuer_key: &SigningKey) -> Result<(Self, SigningKey), Error> {
        let key = SigningKey::generate(Curve::P384)?;
        let issuer = self.entries.first().map(|entry| entry.issuer.as_slice()).unwrap_or_default();
        let template = responder_template(issuer, issuer_key, &key, self.produced);
        self.certificates = vec![template.sign_ecdsa(issuer_key)?];
        self.responder = Responder::Name(template.subject);
        Ok((self, key))
    }

    /// The response, DER, signed by `key` with ECDSA and the hash of its curve.
    ///
    /// # Errors
    /// [`Error::Signature`] when ring does not sign.
    pub fn sign(&self, key: &SigningKey) -> Result<Vec<u8>, Error> {
        let signed = self.encode();
        let signature = key.sign_der(&signed, "OCSP response")?;
        let certificates = if self.certificates.is_empty() {
            Vec::new()
        } else {
            der::value(0xa0, &der::sequence(&[&self.certificates.concat()]))
        };
        let algorithm = key.curve().signature_algorithm();
        let basic = der::sequence(&[&signed, &algorithm, &der::bit_string(&signature), &certificates]);
        let kind = der::object_identifier(&[OCSP, &[1]].concat());
        let bytes = der::value(0xa0, &der::sequence(&[&kind, &der::octet_string(&basic)]));
        Ok(der::sequence(&[&der::enumerated(self.response_status), &bytes]))
    }

    /// ResponseData.
    fn encode(&self) -> Vec<u8> {
        let responder = match &self.responder {
            Responder::Name(name) => der::value(0xa1, name),
            Responder::KeyHash(hash) => der::value(0xa2, &der::octet_string(hash)),
        };
        let entries: Vec<u8> = self.entries.iter().flat_map(OcspEntry::encode).collect();
        let nonce = self.nonce.as_ref().map(|nonce| {
            let id = [OCSP, &[2]].concat();
            let extension = Extension { id, critical: false, value: der::octet_string(nonce) };
            der::value(0xa1, &der::sequence(&[&extension.encode()]))
        });
        der::sequence(&[
            &responder,
            &der::generalized_time(self.produced),
            &der::sequence(&[&entries]),
            &nonce.unwrap_or_default(),
        ])
    }
}

impl OcspEntry {
    /// SingleResponse.
    fn encode(&self) -> Vec<u8> {
        let (algorithm, id) = self.hash.algorithm();
        let certificate = der::sequence(&[
            &der::sequence(&[&der::object_identifier(id)]),
            &der::octet_string(digest(algorithm, &self.issuer).as_ref()),
            &der::octet_string(digest(algorithm, &self.issuer_key).as_ref()),
            &der::unsigned_integer(&self.serial),
        ]);
        let status = match self.status {
            CertificateStatus::Good => der::value(0x80, &[]),
            CertificateStatus::Unknown => der::value(0x82, &[]),
            CertificateStatus::Revoked { at, reason } => {
                let reason = reason.map(|reason| der::value(0xa0, &der::enumerated(reason)));
                der::value(0xa1, &[der::generalized_time(at), reason.unwrap_or_default()].concat())
            }
        };
        let next = self.next_update.map(|at| der::value(0xa0, &der::generalized_time(at)));
        der::sequence(&[
            &certificate,
            &status,
            &der::generalized_time(self.this_update),
            &next.unwrap_or_default(),
        ])
    }
}

/// What the certificate of a responder says that the issuer with this name and key delegates to `key` for a month around `at`.
#[must_use]
pub fn responder_template(
    issuer: &[u8],
    issuer_key: &SigningKey,
    key: &SigningKey,
    at: Timestamp,
) -> Template {
    Template {
        serial: serial(key),
        algorithm: Curve::P384.signature_algorithm(),
        issuer: issuer.to_vec(),
        subject: nvidia_name("SIMULATED OCSP Responder"),
        not_before: at.plus_seconds(-15 * 86_400),
        not_after: at.plus_seconds(15 * 86_400),
        public_key_info: key.key_info(),
        extensions: vec![
            Extension::end_entity(),
            Extension::key_usage(0x80),
            ocsp_signing(),
            // id-pkix-ocsp-nocheck (RFC 6960, section 4.2.2.2.1).
            Extension { id: [OCSP, &[5]].concat(), critical: false, value: vec![0x05, 0x00] },
            Extension::subject_key(&key.key_identifier()),
            Extension::authority_key(&issuer_key.key_identifier()),
        ],
    }
}
