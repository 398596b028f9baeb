//! Signatures that travel without what they sign: each signer works alone, and whoever collects puts them together.

use crate::envelope::{self, pre_authentication_encoding};
use crate::error::Error;
use crate::signers::{SigningKey, key_id};
use crate::{MAX_ENVELOPE_BYTES, MAX_SIGNATURES};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The value of `format`.
const FORMAT: &str = "urn:anchorhold:approval:v1";
/// The longest approval that is read, in bytes.
pub const MAX_APPROVAL_BYTES: usize = 4 * 1024;

/// One signer's signature over a payload that is named by its digest. The signature is the one that an envelope of this payload
/// type holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    format: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    sha256: String,
    key: String,
    sig: String,
}

/// Why an approval was not read, or approvals make no envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApprovalError {
    /// Over [`MAX_APPROVAL_BYTES`].
    TooLong {
        /// The length that came.
        observed_bytes: usize,
    },
    /// Not the JSON of an approval.
    Malformed,
    /// Under another payload type.
    PayloadType {
        /// Its place among the approvals, from 0.
        index: usize,
        /// The caller's payload type.
        wanted: &'static str,
    },
    /// Of another payload.
    Payload {
        /// Its place among the approvals, from 0.
        index: usize,
    },
    /// The signatures, or the envelope that they would make.
    Envelope(Error),
}

impl fmt::Display for ApprovalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { observed_bytes } => {
                write!(f, "approval is {observed_bytes} bytes, the limit is {MAX_APPROVAL_BYTES}")
            }
            Self::Malformed => f.write_str("not an approval"),
            Self::PayloadType { index, wanted } => write!(f, "approval {index} is not under {wanted}"),
            Self::Payload { index } => write!(f, "approval {index} is of another file"),
            Self::Envelope(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ApprovalError {}

impl From<Error> for ApprovalError {
    fn from(error: Error) -> Self {
        Self::Envelope(error)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digest_of(payload: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, payload).as_ref())
}

fn key_of(text: &str) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() || pairs.len() != key.len() {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(pairs) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    (hex(&key) == text).then_some(key)
}

impl Approval {
    /// The approval of `payload` by the holder of `key`.
    #[must_use]
    pub fn sign(payload_type: &'static str, payload: &[u8], key: &SigningKey) -> Self {
        let sig = key.sign(&pre_authentication_encoding(payload_type, payload));
        Self {
            format: FORMAT.to_owned(),
            payload_type: payload_type.to_owned(),
            sha256: digest_of(payload),
            key: hex(&key.public_key()),
            sig: STANDARD.encode(sig),
        }
    }

    /// Reads an approval's JSON.
    ///
    /// # Errors
    /// [`ApprovalError::TooLong`] or [`ApprovalError::Malformed`].
    pub fn from_json(json: &[u8]) -> Result<Self, ApprovalError> {
        if json.len() > MAX_APPROVAL_BYTES {
            return Err(ApprovalError::TooLong { observed_bytes: json.len() });
        }
        let approval: Self = serde_json::from_slice(json).map_err(|_| ApprovalError::Malformed)?;
        if approval.format != FORMAT || key_of(&approval.key).is_none() {
            return Err(ApprovalError::Malformed);
        }
        Ok(approval)
    }

    /// The approval as a file.
    ///
    /// # Panics
    /// Never: an approval has only texts.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("texts are JSON");
        json.push(b'\n');
        json
    }

    /// SHA-256 of the payload that was approved, in lower-case hex.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The raw public key of whoever says to have approved; a claim until [`verify`](Self::verify).
    #[must_use]
    pub fn key(&self) -> [u8; 32] {
        key_of(&self.key).unwrap_or_default()
    }

    /// Establishes that the holder of [`key`](Self::key) signed exactly this payload under this payload type. Whether that key
    /// counts, it does not say.
    ///
    /// # Errors
    /// [`ApprovalError`]: the approval is of another payload or payload type, or does not verify; `index` is its place among several.
    pub fn verify(
        &self,
        index: usize,
        payload_type: &'static str,
        payload: &[u8],
    ) -> Result<(), ApprovalError> {
        if self.payload_type != payload_type {
            return Err(ApprovalError::PayloadType { index, wanted: payload_type });
        }
        if self.sha256 != digest_of(payload) {
            return Err(ApprovalError::Payload { index });
        }
        let sig = STANDARD.decode(&self.sig).map_err(|_| Error::SignatureEncoding { index })?;
        UnparsedPublicKey::new(&ED25519, self.key())
            .verify(&pre_authentication_encoding(payload_type, payload), &sig)
            .map_err(|_| Error::Signature { index }.into())
    }
}

/// The envelope of `payload` with these approvals as its signatures.
///
/// # Errors
/// [`ApprovalError`] when there is none, one is of something else or does not verify, two are of one key, or there are too many.
pub fn assemble(
    payload_type: &'static str,
    payload: &[u8],
    approvals: &[Approval],
) -> Result<Vec<u8>, ApprovalError> {
    if approvals.is_empty() {
        return Err(Error::NoKey.into());
    }
    if approvals.len() > MAX_SIGNATURES {
        return Err(Error::SignatureCount { limit: MAX_SIGNATURES, observed: approvals.len() }.into());
    }
    let mut signatures: Vec<(String, String)> = Vec::with_capacity(approvals.len());
    for (index, approval) in approvals.iter().enumerate() {
        approval.verify(index, payload_type, payload)?;
        let id = key_id(&approval.key());
        let at = signatures.partition_point(|(other, _)| *other < id);
        if signatures.get(at).is_some_and(|(other, _)| *other == id) {
            return Err(Error::DuplicateSigner { index }.into());
        }
        signatures.insert(at, (id, approval.sig.clone()));
    }
    let bytes = envelope::write(payload_type, payload, signatures)?;
    if bytes.len() > MAX_ENVELOPE_BYTES {
        return Err(Error::TooLong { observed_bytes: bytes.len() }.into());
    }
    Ok(bytes)
}

#[cfg(test)]
#[path = "detached_tests.rs"]
mod tests;
