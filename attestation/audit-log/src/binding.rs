//! What the evidence's report data was made of, kept so that anybody can make it again.

use crate::entry::Tee;
use crate::{Code, Hash, Origin};
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
    /// To show whose log it is, before anything else is in it.
    Log,
}

/// The inputs of the report data other than the audit key (the log's own) and the GPU evidence (in the
/// evidence). Claims: a verifier makes the report data from them and compares it with the signed report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BindingInputs {
    /// The context: SHA-256 of the request, of the served document's state or of the log's name.
    pub context: Hash,
    /// The relying party's nonce; zeros where nobody asked.
    pub nonce: Hash,
    /// What the evidence was made for.
    pub purpose: BindingPurpose,
    /// The digest of the HPKE key.
    pub release_key: Hash,
    /// SHA-256 of the TLS key's SubjectPublicKeyInfo.
    pub tls_key: Hash,
}

/// What entry 0 of a log says of evidence for the log's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// Nothing: no evidence speaks for the program that writes it, or it comes later.
    Unattested,
    /// It was made for this log, before anything else happened.
    Attested {
        /// The evidence, or an evidence bundle with endorsements: JSON, at most [`MAX_EVIDENCE_BYTES`].
        evidence_json: Vec<u8>,
        /// What its report data was made of: [`BindingInputs::of_log`].
        inputs: BindingInputs,
        /// What made it.
        tee: Tee,
    },
    /// It could not be made, for this reason.
    Failed(Code),
}

impl BindingInputs {
    /// Those of evidence for the log called `origin`, for which nobody had to give a nonce: its key is of this boot only.
    #[must_use]
    pub fn of_log(origin: &Origin, release_key: Hash, tls_key: Hash) -> Self {
        Self {
            context: Hash::of(origin.as_str().as_bytes()),
            nonce: Hash::new([0; 32]),
            purpose: BindingPurpose::Log,
            release_key,
            tls_key,
        }
    }

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        // Five strings of fixed length: there is nothing that could fail.
        serde_json::to_vec(&self).unwrap_or_default()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let inputs: Self = serde_json::from_slice(bytes).ok()?;
        (inputs.to_bytes() == bytes).then_some(inputs)
    }
}
