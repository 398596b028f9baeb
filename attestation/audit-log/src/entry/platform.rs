//! What evidence said.

use crate::{Hash, Measurement};
use serde::{Deserialize, Serialize};

/// What evidence said of the platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Platform {
    /// HMAC of the chip id, so that chips can be told apart and not named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chip: Option<Hash>,
    /// SHA-256 of the evidence JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Hash>,
    /// The launch measurement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meas: Option<Measurement>,
    /// The guest policy bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_bits: Option<u64>,
    /// Firmware versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcb: Option<Tcb>,
    /// Which TEE.
    pub tee: Tee,
}

impl Platform {
    /// A platform of which nothing is known.
    #[must_use]
    pub const fn new(tee: Tee) -> Self {
        Self { chip: None, evidence: None, meas: None, policy_bits: None, tcb: None, tee }
    }

    /// A platform of which only the evidence's digest is known.
    #[must_use]
    pub const fn of_evidence(tee: Tee, evidence: Hash) -> Self {
        Self { evidence: Some(evidence), ..Self::new(tee) }
    }
}

/// Which TEE made the evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tee {
    /// AMD SEV-SNP under AMD's root.
    #[serde(rename = "snp")]
    Snp,
    /// The software attester's simulated root: protects nothing.
    #[serde(rename = "snp-simulated")]
    SnpSimulated,
    /// Intel TDX under Intel's root.
    #[serde(rename = "tdx")]
    Tdx,
    /// TDX under the software attester's simulated root: protects nothing.
    #[serde(rename = "tdx-simulated")]
    TdxSimulated,
}

/// SNP firmware versions (security patch levels).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tcb {
    /// Boot loader.
    pub bl: u8,
    /// FMC, on products that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fmc: Option<u8>,
    /// SNP firmware.
    pub snp: u8,
    /// PSP operating system.
    pub tee: u8,
    /// Microcode.
    pub ucode: u8,
}
