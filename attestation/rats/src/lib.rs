//! The words that every part of Anchorhold shares: what an attester states, what a relying party asked
//! for, and what a verifier found, in the terms of RFC 9334.
//!
//! Start with [`Evidence`] (what is sent), [`KeyBinding`] (what its report data must commit to) and
//! [`Check`] (one line of what a verifier looked at). Nothing here decides anything: trust is created
//! only in `anchorhold-verifier`.
//!
//! This crate is *not* a verifier and holds no clock, device or network.

mod binding;
mod bundle;
mod bytes;
mod certificate_table;
mod check;
mod endorsements;
mod evidence;
mod foreign;
mod resource;
mod runtime_event;
mod secret;
mod time;
mod wrapping_key;

pub use binding::{Expected, KeyBinding, Purpose};
pub use bundle::{BUNDLE_FORMAT, EvidenceBundle, MAX_BUNDLE_JSON_BYTES};
pub use bytes::{Ed25519PublicKey, Measurement, Nonce, ParseHexError, ReportData, Sha256Digest, hex};
pub use certificate_table::{CertificateTable, TableError};
pub use check::{Check, Checks, Code, Outcome, Source, Stage};
pub use endorsements::{Endorsements, TdxCollateral};
pub use evidence::{
    Der, Evidence, EvidenceError, GpuEvidence, MAX_CERTIFICATES, MAX_EVIDENCE_JSON_BYTES, Paravisor, Tee,
    TpmEvidence, gpu_digest,
};
pub use foreign::MAX_FOREIGN_JSON_BYTES;
pub use resource::{ParsePathError, ResourcePath};
pub use runtime_event::{RUNTIME_EVENT_TYPE, RuntimeEvent};
pub use secret::{RandomError, Secret};
pub use time::{ParseTimestampError, Timestamp};
pub use wrapping_key::{Kem, ParseWrappingKeyError, WrappingKey};

/// Bytes in JSON as standard base64 with padding; anything else is refused.
pub mod base64_bytes {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    /// Writes `bytes` as base64.
    ///
    /// # Errors
    /// Whatever the serializer answers.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    /// Reads base64.
    ///
    /// # Errors
    /// Text that is not canonical base64. The error does not quote it.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        STANDARD.decode(text.as_bytes()).map_err(|_| D::Error::custom("not canonical base64"))
    }
}
