//! Evidence as it travels: one JSON object with the TEE's signed report and the certificates for it.

use crate::{Sha256Digest, base64_bytes};
use ring::digest;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest evidence JSON that is read, in bytes.
pub const MAX_EVIDENCE_JSON_BYTES: usize = 256 * 1024;
/// The most certificates that may accompany a report.
pub const MAX_CERTIFICATES: usize = 8;
const MAX_REPORT_BYTES: usize = 16 * 1024;
const MAX_CERTIFICATE_BYTES: usize = 8 * 1024;
const MAX_GPUS: usize = 16;
const MAX_GPU_BYTES: usize = 64 * 1024;

/// The kind of trusted execution environment that signed a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tee {
    /// AMD SEV-SNP.
    Snp,
}

impl fmt::Display for Tee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Snp => f.write_str("snp"),
        }
    }
}

/// Bytes that claim to be DER (a certificate) or a device's raw report; base64 in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Der(#[serde(with = "base64_bytes")] pub Vec<u8>);

/// What an attester sends. Untrusted until a verifier has authenticated and appraised it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Who signed the report.
    pub tee: Tee,
    /// The report, byte for byte as the TEE gave it.
    #[serde(with = "base64_bytes")]
    pub report: Vec<u8>,
    /// DER certificates, leaf (VCEK or VLEK) first, then its issuers. A root among them is ignored:
    /// trust anchors are never taken from evidence.
    pub certificates: Vec<Der>,
    /// Evidence of each GPU; empty where there is none.
    pub gpus: Vec<Der>,
}

/// Why evidence JSON was not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EvidenceError {
    /// Longer than [`MAX_EVIDENCE_JSON_BYTES`].
    TooLong {
        /// The length that came.
        observed_bytes: usize,
    },
    /// Not the JSON of [`Evidence`]; line and column of where reading stopped.
    Malformed {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// A list or an item is over its limit.
    Limit {
        /// Which one.
        what: &'static str,
        /// The most that is allowed.
        limit: usize,
    },
}

impl fmt::Display for EvidenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { observed_bytes } => {
                write!(f, "evidence is {observed_bytes} bytes, the limit is {MAX_EVIDENCE_JSON_BYTES}")
            }
            Self::Malformed { line, column } => {
                write!(f, "evidence is not the expected JSON (line {line}, column {column})")
            }
            Self::Limit { what, limit } => write!(f, "{what} over the limit of {limit}"),
        }
    }
}

impl std::error::Error for EvidenceError {}

impl Evidence {
    /// Reads evidence and holds it to the limits of this module.
    ///
    /// # Errors
    /// [`EvidenceError`]; no error quotes the input.
    pub fn from_json(json: &[u8]) -> Result<Self, EvidenceError> {
        if json.len() > MAX_EVIDENCE_JSON_BYTES {
            return Err(EvidenceError::TooLong { observed_bytes: json.len() });
        }
        let evidence: Self = serde_json::from_slice(json)
            .map_err(|e| EvidenceError::Malformed { line: e.line(), column: e.column() })?;
        evidence.check_limits()?;
        Ok(evidence)
    }

    /// Holds evidence that came inside another document to the same limits.
    ///
    /// # Errors
    /// [`EvidenceError::Limit`] naming the list or item.
    pub fn check_limits(&self) -> Result<(), EvidenceError> {
        let over = |items: &[Der], limit: usize| items.iter().any(|item| item.0.len() > limit);
        for (broken, what, limit) in [
            (self.report.len() > MAX_REPORT_BYTES, "report bytes", MAX_REPORT_BYTES),
            (self.certificates.len() > MAX_CERTIFICATES, "certificates", MAX_CERTIFICATES),
            (over(&self.certificates, MAX_CERTIFICATE_BYTES), "certificate bytes", MAX_CERTIFICATE_BYTES),
            (self.gpus.len() > MAX_GPUS, "gpus", MAX_GPUS),
            (over(&self.gpus, MAX_GPU_BYTES), "gpu evidence bytes", MAX_GPU_BYTES),
        ] {
            if broken {
                return Err(EvidenceError::Limit { what, limit });
            }
        }
        Ok(())
    }

    /// The digest of all GPU evidence that goes into the key binding: SHA-256 over each item's length
    /// (8 bytes, big-endian) and bytes. Of no GPU it is the digest of nothing, not zero.
    #[must_use]
    pub fn gpu_digest(&self) -> Sha256Digest {
        let mut context = digest::Context::new(&digest::SHA256);
        for gpu in &self.gpus {
            context.update(&(gpu.0.len() as u64).to_be_bytes());
            context.update(&gpu.0);
        }
        let mut out = [0; 32];
        out.copy_from_slice(context.finish().as_ref());
        Sha256Digest::new(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence() -> Evidence {
        Evidence { tee: Tee::Snp, report: vec![1, 2], certificates: vec![Der(vec![3])], gpus: vec![] }
    }

    #[test]
    fn reads_what_it_writes() {
        let json = serde_json::to_vec(&evidence()).unwrap();
        assert_eq!(Evidence::from_json(&json), Ok(evidence()));
    }

    #[test]
    fn case_09_refuses_unknown_keys_duplicate_keys_and_excess() {
        for bad in [
            r#"{"tee":"snp","report":"AQI=","certificates":[],"gpus":[],"more":1}"#,
            r#"{"tee":"snp","tee":"snp","report":"AQI=","certificates":[],"gpus":[]}"#,
            r#"{"tee":"sgx","report":"AQI=","certificates":[],"gpus":[]}"#,
            r#"{"tee":"snp","report":"AQJ=","certificates":[],"gpus":[]}"#,
            r#"{"tee":"snp","report":"AQI=","certificates":[]}"#,
        ] {
            assert!(
                matches!(Evidence::from_json(bad.as_bytes()), Err(EvidenceError::Malformed { .. })),
                "{bad}"
            );
        }
        let mut many = evidence();
        many.certificates = vec![Der(vec![]); MAX_CERTIFICATES + 1];
        let json = serde_json::to_vec(&many).unwrap();
        assert!(matches!(Evidence::from_json(&json), Err(EvidenceError::Limit { what: "certificates", .. })));
        let long = vec![b' '; MAX_EVIDENCE_JSON_BYTES + 1];
        assert!(matches!(Evidence::from_json(&long), Err(EvidenceError::TooLong { .. })));
    }
}
