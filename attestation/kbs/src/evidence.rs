//! Evidence in the JSON of guest-components' attesters, read into the evidence of this project and written from it.
//!
//! Nothing is judged here and nothing trusted: what a conversion gets wrong, a signature does not fit. An SNP report is
//! carried there as a struct; its bytes are put together again, with zeros where the struct has no field.

mod azure;
mod nvidia;
mod snp;
mod tdx;

use crate::Tee;
use anchorhold_rats::{Endorsements, Evidence, EvidenceError, GpuEvidence, Paravisor};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::fmt;

/// Why evidence was not read. No error quotes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadEvidenceError {
    /// Not the JSON that guest-components' attester for this kind of TEE writes.
    Malformed {
        /// Whose JSON was expected.
        wanted: &'static str,
    },
    /// A form of evidence that guest-components wrote once and this crate does not read.
    Old,
    /// A list or an item is over its limit.
    Limit(EvidenceError),
}

impl fmt::Display for ReadEvidenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { wanted } => write!(f, "the evidence is not what {wanted} writes"),
            Self::Old => f.write_str("the evidence is of a form that is not written any more"),
            Self::Limit(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReadEvidenceError {}

/// Evidence as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadEvidence {
    /// The evidence.
    pub evidence: Evidence,
    /// What came along that vendors signed.
    pub endorsements: Endorsements,
    /// Whether the paravisor's claims must hold the report data too (version 2 of Azure's evidence).
    pub binds_user_data: bool,
}

impl ReadEvidence {
    /// Reads the members of `tee-evidence` of an attestation from a `tee`.
    ///
    /// # Errors
    /// [`ReadEvidenceError`].
    pub fn read(tee: Tee, primary: &str, additional: &str) -> Result<Self, ReadEvidenceError> {
        let mut read = match tee {
            Tee::Snp => snp::read(primary)?,
            Tee::Tdx => tdx::read(primary)?,
            Tee::AzSnpVtpm | Tee::AzTdxVtpm => azure::read(tee, primary)?,
        };
        read.evidence.gpus = nvidia::read(additional)?;
        read.evidence.check_limits().map_err(ReadEvidenceError::Limit)?;
        read.endorsements.check_limits().map_err(ReadEvidenceError::Limit)?;
        Ok(read)
    }
}

/// Evidence in the members of `tee-evidence`.
#[derive(Debug)]
pub struct WrittenEvidence {
    /// What the guest runs in.
    pub tee: Tee,
    /// The TEE's evidence.
    pub primary: Box<RawValue>,
}

/// Why evidence was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteEvidenceError {
    /// It is not a whole report of a version that guest-components writes.
    Report,
    /// A certificate that is neither VCEK, VLEK, ASK nor ARK by its place in the list.
    Certificates,
}

impl fmt::Display for WriteEvidenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Report => "the report is not one that guest-components writes",
            Self::Certificates => "the certificates are not a leaf and its issuers",
        })
    }
}

impl std::error::Error for WriteEvidenceError {}

impl WrittenEvidence {
    /// Writes the evidence of a TEE without its devices, as guest-components' attester would.
    ///
    /// # Errors
    /// [`WriteEvidenceError`].
    pub fn of(evidence: &Evidence) -> Result<Self, WriteEvidenceError> {
        let (tee, primary) = match (&evidence.paravisor, evidence.tee) {
            (Some(paravisor), _) => azure::write(evidence, paravisor)?,
            (None, anchorhold_rats::Tee::Snp) => (Tee::Snp, snp::write(evidence)?),
            (None, anchorhold_rats::Tee::Tdx) => (Tee::Tdx, tdx::write(evidence)),
        };
        let primary = serde_json::value::to_raw_value(&primary).expect("numbers and texts are JSON");
        Ok(Self { tee, primary })
    }

    /// Writes the evidence of devices as the text of `additional_evidence`; empty where there is none. It comes first: the
    /// TEE's evidence commits to it.
    #[must_use]
    pub fn additional(gpus: &[GpuEvidence]) -> String {
        nvidia::write(gpus)
    }
}

fn parse<T: DeserializeOwned>(json: &str, wanted: &'static str) -> Result<T, ReadEvidenceError> {
    serde_json::from_str(json).map_err(|_| ReadEvidenceError::Malformed { wanted })
}

/// Where a paravisor is, its parts; for the writers.
type Vtpm<'a> = &'a Paravisor;
