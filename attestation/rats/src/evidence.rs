//! Evidence as it travels: one JSON object with the TEE's signed report and the certificates for it.

use crate::{Sha256Digest, base64_bytes};
use ring::digest;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest evidence JSON that is read, in bytes.
pub const MAX_EVIDENCE_JSON_BYTES: usize = 1024 * 1024;
/// The most certificates that may accompany a report.
pub const MAX_CERTIFICATES: usize = 8;
const MAX_REPORT_BYTES: usize = 16 * 1024;
const MAX_CERTIFICATE_BYTES: usize = 8 * 1024;
/// Eight GPUs and four switches are the largest board that NVIDIA ships.
const MAX_GPUS: usize = 16;
const MAX_GPU_REPORT_BYTES: usize = 16 * 1024;
const MAX_EVENT_LOG_BYTES: usize = 256 * 1024;
const MAX_PARAVISOR_BYTES: usize = 8 * 1024;
/// A public area, a quote or a signature.
const MAX_TPM_BYTES: usize = 1024;
const MAX_PCRS: usize = 24;
const MAX_PCR_BYTES: usize = 64;

/// The kind of trusted execution environment that signed a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tee {
    /// AMD SEV-SNP.
    Snp,
    /// Intel TDX.
    Tdx,
}

impl fmt::Display for Tee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Snp => f.write_str("snp"),
            Self::Tdx => f.write_str("tdx"),
        }
    }
}

/// Bytes of a format that is judged later, mostly DER; base64 in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Der(#[serde(with = "base64_bytes")] pub Vec<u8>);

/// What one GPU or NVSwitch signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuEvidence {
    /// The SPDM request and response, byte for byte as the driver gave them.
    #[serde(with = "base64_bytes")]
    pub report: Vec<u8>,
    /// DER certificates of the device, leaf first. A root among them is not trusted for being there.
    pub certificates: Vec<Der>,
}

/// What a cloud's paravisor adds: the virtual TPM's quote, and the report that vouches for its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paravisor {
    /// The HCL report as read from the virtual TPM.
    #[serde(with = "base64_bytes")]
    pub hcl_report: Vec<u8>,
    /// TPMS_ATTEST of the quote.
    #[serde(with = "base64_bytes")]
    pub quote: Vec<u8>,
    /// The signature over it, without TPM framing.
    #[serde(with = "base64_bytes")]
    pub signature: Vec<u8>,
    /// The PCR values that were quoted, in the order of their numbers.
    pub pcrs: Vec<Der>,
}

/// What a TPM of the guest's own adds: a quote of its PCRs, the key that signed it, and the event log of the boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TpmEvidence {
    /// TPMT_PUBLIC of the key that quotes.
    #[serde(with = "base64_bytes")]
    pub key: Vec<u8>,
    /// TPMS_ATTEST of the quote.
    #[serde(with = "base64_bytes")]
    pub quote: Vec<u8>,
    /// The signature over it, without TPM framing: r and s, 32 bytes each.
    #[serde(with = "base64_bytes")]
    pub signature: Vec<u8>,
    /// The PCR values that were quoted (SHA-256 bank), in the order of their numbers.
    pub pcrs: Vec<Der>,
    /// The measured-boot event log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_log: Option<Der>,
    /// DER certificates of the key, its own first, then its issuers up to a root. They say who vouches for the key; which root may,
    /// the policy says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<Der>,
}

/// What an attester sends. Untrusted until a verifier has authenticated and appraised it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Who signed the report.
    pub tee: Tee,
    /// The SNP report or TDX quote, byte for byte as the TEE gave it.
    #[serde(with = "base64_bytes")]
    pub report: Vec<u8>,
    /// For SNP, DER certificates, leaf (VCEK or VLEK) first, then its issuers. A root among them must be the pinned one:
    /// trust anchors are never taken from evidence. A TDX quote carries its own.
    pub certificates: Vec<Der>,
    /// Evidence of each GPU and switch; empty where there is none.
    pub gpus: Vec<GpuEvidence>,
    /// The measured-boot event log (CCEL).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_log: Option<Der>,
    /// What a cloud's paravisor adds, where the guest runs below one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paravisor: Option<Paravisor>,
    /// What a TPM of the guest's own adds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm: Option<TpmEvidence>,
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
    /// A file that says it is of another format.
    Format {
        /// The format that is read.
        wanted: &'static str,
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
            Self::Format { wanted } => write!(f, "not of the format {wanted}"),
        }
    }
}

impl std::error::Error for EvidenceError {}

impl TpmEvidence {
    /// Each limit, with whether it is broken.
    fn rules(&self) -> [(bool, &'static str, usize); 6] {
        let longest = [&self.key, &self.quote, &self.signature].map(Vec::len).into_iter().max();
        let log = self.event_log.as_ref().map_or(0, |log| log.0.len());
        let long_pcr = self.pcrs.iter().any(|pcr| pcr.0.len() > MAX_PCR_BYTES);
        [
            (longest > Some(MAX_TPM_BYTES), "tpm bytes", MAX_TPM_BYTES),
            (self.pcrs.len() > MAX_PCRS, "tpm pcrs", MAX_PCRS),
            (long_pcr, "tpm pcr bytes", MAX_PCR_BYTES),
            (log > MAX_EVENT_LOG_BYTES, "tpm event log bytes", MAX_EVENT_LOG_BYTES),
            (self.certificates.len() > MAX_CERTIFICATES, "tpm certificates", MAX_CERTIFICATES),
            (
                self.certificates.iter().any(|der| der.0.len() > MAX_CERTIFICATE_BYTES),
                "tpm certificate bytes",
                MAX_CERTIFICATE_BYTES,
            ),
        ]
    }
}

impl Evidence {
    /// An SNP report and its certificates, leaf first, with no devices.
    #[must_use]
    pub const fn snp(report: Vec<u8>, certificates: Vec<Der>) -> Self {
        Self {
            tee: Tee::Snp,
            report,
            certificates,
            gpus: Vec::new(),
            event_log: None,
            paravisor: None,
            tpm: None,
        }
    }

    /// A TDX quote with no devices and no event log.
    #[must_use]
    pub const fn tdx(quote: Vec<u8>) -> Self {
        Self {
            tee: Tee::Tdx,
            report: quote,
            certificates: Vec::new(),
            gpus: Vec::new(),
            event_log: None,
            paravisor: None,
            tpm: None,
        }
    }

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
        let mut rules = vec![
            (self.report.len() > MAX_REPORT_BYTES, "report bytes", MAX_REPORT_BYTES),
            (self.certificates.len() > MAX_CERTIFICATES, "certificates", MAX_CERTIFICATES),
            (over(&self.certificates, MAX_CERTIFICATE_BYTES), "certificate bytes", MAX_CERTIFICATE_BYTES),
            (self.gpus.len() > MAX_GPUS, "gpus", MAX_GPUS),
        ];
        for gpu in self.gpus.iter().take(MAX_GPUS) {
            rules.extend([
                (gpu.report.len() > MAX_GPU_REPORT_BYTES, "gpu report bytes", MAX_GPU_REPORT_BYTES),
                (gpu.certificates.len() > MAX_CERTIFICATES, "gpu certificates", MAX_CERTIFICATES),
                (
                    over(&gpu.certificates, MAX_CERTIFICATE_BYTES),
                    "gpu certificate bytes",
                    MAX_CERTIFICATE_BYTES,
                ),
            ]);
        }
        let event_log = self.event_log.as_ref().map_or(0, |log| log.0.len());
        rules.push((event_log > MAX_EVENT_LOG_BYTES, "event log bytes", MAX_EVENT_LOG_BYTES));
        if let Some(paravisor) = &self.paravisor {
            let longest = [&paravisor.hcl_report, &paravisor.quote, &paravisor.signature]
                .map(Vec::len)
                .into_iter()
                .max();
            rules.extend([
                (longest > Some(MAX_PARAVISOR_BYTES), "paravisor bytes", MAX_PARAVISOR_BYTES),
                (paravisor.pcrs.len() > MAX_PCRS, "pcrs", MAX_PCRS),
                (over(&paravisor.pcrs, MAX_PCR_BYTES), "pcr bytes", MAX_PCR_BYTES),
            ]);
        }
        if let Some(tpm) = &self.tpm {
            rules.extend(tpm.rules());
            // A paravisor gives the system above it its TPM; another one would have no say.
            rules.push((self.paravisor.is_some(), "tpms", 1));
        }
        match rules.into_iter().find(|(broken, ..)| *broken) {
            Some((_, what, limit)) => Err(EvidenceError::Limit { what, limit }),
            None => Ok(()),
        }
    }

    /// The digest of all GPU evidence that goes into the key binding: SHA-256 over, for each device, its report and
    /// then each of its certificates, every one preceded by its length (8 bytes, big-endian), and each device preceded
    /// by the count of its certificates (8 bytes, big-endian). Of no GPU it is the digest of nothing, not zero.
    #[must_use]
    pub fn gpu_digest(&self) -> Sha256Digest {
        gpu_digest(&self.gpus)
    }
}

/// The same, before the rest of the evidence is made: the report data holds it.
#[must_use]
pub fn gpu_digest(gpus: &[GpuEvidence]) -> Sha256Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut item = |bytes: &[u8]| {
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(bytes);
    };
    for gpu in gpus {
        item(&(gpu.certificates.len() as u64).to_be_bytes());
        item(&gpu.report);
        gpu.certificates.iter().for_each(|certificate| item(&certificate.0));
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    Sha256Digest::new(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence() -> Evidence {
        Evidence::snp(vec![1, 2], vec![Der(vec![3])])
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
