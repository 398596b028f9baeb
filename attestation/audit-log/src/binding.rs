//! What the evidence's report data was made of, kept so that anybody can make it again.

use crate::Hash;
use serde::{Deserialize, Serialize};

/// The longest evidence JSON that is kept, in bytes.
pub const MAX_EVIDENCE_BYTES: usize = 1024 * 1024;

/// What the evidence was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BindingPurpose {
    /// To obtain a weights key.
    KeyRelease,
    /// To show a caller whom it talks to.
    Serving,
}

/// The inputs of the report data other than the audit key (the log's own) and the GPU evidence (in the
/// evidence). Claims: a verifier makes the report data from them and compares it with the signed report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BindingInputs {
    /// The context: SHA-256 of the request or of the served document's state.
    pub context: Hash,
    /// The relying party's nonce.
    pub nonce: Hash,
    /// What the evidence was made for.
    pub purpose: BindingPurpose,
    /// The digest of the HPKE key.
    pub release_key: Hash,
    /// SHA-256 of the TLS key's SubjectPublicKeyInfo.
    pub tls_key: Hash,
}

impl BindingInputs {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        // Five strings of fixed length: there is nothing that could fail.
        serde_json::to_vec(&self).unwrap_or_default()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let inputs: Self = serde_json::from_slice(bytes).ok()?;
        (inputs.to_bytes() == bytes).then_some(inputs)
    }
}
