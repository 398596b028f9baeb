//! What evidence commits to: the digest of the runtime data (`guest-components`, `kbs_protocol/src/client/rcar_client.rs`).
//!
//! The digest is over a JSON object in the canonical form of RFC 8785. Its members are texts and one object of texts, and
//! their names are ASCII, for which that form is: members in the order of the alphabet, no spaces, and the escapes that
//! `serde_json` writes.

use crate::TeePublicKey;
use crate::jwk::JwkMembers;
use anchorhold_rats::{Expected, Nonce, ReportData};
use ring::digest;
use serde::Serialize;

/// The hash functions that a server may choose; without a choice it is SHA-384.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HashAlgorithm {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    #[default]
    Sha384,
    /// SHA-512.
    Sha512,
}

impl HashAlgorithm {
    /// The one that has this name in the protocol.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let named = [("sha256", Self::Sha256), ("sha384", Self::Sha384), ("sha512", Self::Sha512)];
        named.into_iter().find_map(|(known, algorithm)| (known == name).then_some(algorithm))
    }

    pub(crate) fn digest(self, bytes: &[u8]) -> digest::Digest {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, bytes)
    }

    fn runtime_digest(self, bytes: &[u8]) -> RuntimeDigest {
        RuntimeDigest(self.digest(bytes).as_ref().to_vec())
    }
}

/// What a guest commits to in its evidence, beside the evidence of its devices.
#[derive(Debug, Clone)]
pub struct RuntimeData<'a> {
    /// The server's nonce as it came, which is base64.
    pub nonce: &'a str,
    /// The guest's public key.
    pub key: &'a TeePublicKey,
}

#[derive(Serialize)]
struct DeviceData<'a> {
    nonce: &'a str,
    #[serde(rename = "tee-pubkey")]
    key: JwkMembers,
}

#[derive(Serialize)]
struct PrimaryData<'a> {
    #[serde(rename = "additional-evidence")]
    additional_evidence: &'a str,
    nonce: &'a str,
    #[serde(rename = "tee-pubkey")]
    key: JwkMembers,
}

/// A digest of runtime data: 32, 48 or 64 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeDigest(Vec<u8>);

impl RuntimeDigest {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The digest as report data: followed by zeros up to 64 bytes.
    #[must_use]
    pub fn report_data(&self) -> ReportData {
        let mut out = [0; ReportData::LEN];
        out.iter_mut().zip(self.as_bytes()).for_each(|(to, from)| *to = *from);
        ReportData::new(out)
    }

    /// The first 32 bytes, which devices sign as their nonce.
    #[must_use]
    pub fn device_nonce(&self) -> Nonce {
        let mut out = [0; Nonce::LEN];
        out.iter_mut().zip(self.as_bytes()).for_each(|(to, from)| *to = *from);
        Nonce::new(out)
    }
}

impl RuntimeData<'_> {
    /// What the evidence of devices commits to.
    ///
    /// # Panics
    /// Never: texts are JSON.
    #[must_use]
    pub fn device_digest(&self, algorithm: HashAlgorithm) -> RuntimeDigest {
        let data = DeviceData { nonce: self.nonce, key: self.key.into() };
        algorithm.runtime_digest(&serde_json::to_vec(&data).expect("texts are JSON"))
    }

    /// What the TEE's evidence commits to; `additional_evidence` is the text that carries the evidence of devices, empty
    /// where there is none.
    ///
    /// # Panics
    /// Never: texts are JSON.
    #[must_use]
    pub fn primary_digest(&self, algorithm: HashAlgorithm, additional_evidence: &str) -> RuntimeDigest {
        let data = PrimaryData { additional_evidence, nonce: self.nonce, key: self.key.into() };
        algorithm.runtime_digest(&serde_json::to_vec(&data).expect("texts are JSON"))
    }

    /// What a verifier demands of evidence for this data.
    #[must_use]
    pub fn expected(&self, algorithm: HashAlgorithm, additional_evidence: &str) -> Expected {
        let primary = self.primary_digest(algorithm, additional_evidence);
        Expected {
            report_data: primary.report_data(),
            gpu_nonce: Some(self.device_digest(algorithm).device_nonce()),
            quote_nonce_bytes: primary.as_bytes().len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = br#"{"kty":"EC","crv":"P-256","alg":"ECDH-ES+A256KW","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}"#;

    #[test]
    fn what_is_hashed_is_the_canonical_form() {
        let key = TeePublicKey::from_json(KEY).unwrap();
        let data = RuntimeData { nonce: "bm9uY2U=", key: &key };
        let jwk = key.to_json();
        let device = format!(r#"{{"nonce":"bm9uY2U=","tee-pubkey":{jwk}}}"#);
        let digest = data.device_digest(HashAlgorithm::Sha384);
        assert_eq!(digest.as_bytes(), digest::digest(&digest::SHA384, device.as_bytes()).as_ref());
        assert_eq!(digest.device_nonce().as_bytes(), &digest.as_bytes()[..32]);

        // The escapes of RFC 8785, section 3.2.2.2.
        let additional = "{\"a\":\"\\\u{8}\t\n\u{c}\r\u{1f}\u{7f}\u{e9}/\"}";
        let escaped = "{\\\"a\\\":\\\"\\\\\\b\\t\\n\\f\\r\\u001f\u{7f}\u{e9}/\\\"}";
        let primary =
            format!(r#"{{"additional-evidence":"{escaped}","nonce":"bm9uY2U=","tee-pubkey":{jwk}}}"#);
        for (algorithm, with) in [
            (HashAlgorithm::Sha256, &digest::SHA256),
            (HashAlgorithm::Sha384, &digest::SHA384),
            (HashAlgorithm::Sha512, &digest::SHA512),
        ] {
            let digest = data.primary_digest(algorithm, additional);
            assert_eq!(digest.as_bytes(), digest::digest(with, primary.as_bytes()).as_ref());
            let expected = data.expected(algorithm, additional);
            let (front, rest) = expected.report_data.as_bytes().split_at(expected.quote_nonce_bytes);
            assert_eq!((front, rest.iter().all(|byte| *byte == 0)), (digest.as_bytes(), true));
        }
    }

    #[test]
    fn case_03_every_item_changes_the_report_data() {
        let key = TeePublicKey::from_json(KEY).unwrap();
        let other = crate::TeeKey::generate().unwrap().public_key();
        let one = RuntimeData { nonce: "bm9uY2U=", key: &key };
        let all = [
            one.primary_digest(HashAlgorithm::Sha384, ""),
            one.primary_digest(HashAlgorithm::Sha384, "{}"),
            RuntimeData { nonce: "bm9uY2Y=", key: &key }.primary_digest(HashAlgorithm::Sha384, ""),
            RuntimeData { nonce: "bm9uY2U=", key: &other }.primary_digest(HashAlgorithm::Sha384, ""),
            one.device_digest(HashAlgorithm::Sha384),
        ];
        for (at, digest) in all.iter().enumerate() {
            assert!(!all[..at].contains(digest), "{at}");
        }
    }
}
