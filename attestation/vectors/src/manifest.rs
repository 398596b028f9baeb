//! The manifest: which cases there are, and which verdict is right.

use anchorhold_rats::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The longest manifest that is read, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 8 * 1024 * 1024;
/// The most cases in one manifest.
pub const MAX_CASES: usize = 10_000;

/// `manifest.json`, format 1. Keys that are not named here are notes for people and are not read, except in a
/// policy, where a rule that is not known cannot be passed over.
#[derive(Debug, Clone, Deserialize)]
pub struct Manifest {
    /// 1.
    pub format: u32,
    /// The cases in order, each read by itself: one that is not understood leaves the others as they are.
    #[serde(deserialize_with = "each")]
    pub cases: Vec<Result<Case, UnreadCase>>,
}

/// A case that is not understood. It has no verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadCase {
    /// Its name; its place, from 1, where it has none.
    pub id: String,
    /// What is not understood.
    pub why: String,
    /// The verdict that is right, where that much can be read.
    pub expect: Option<Expectation>,
}

fn each<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Result<Case, UnreadCase>>, D::Error> {
    let texts = Vec::<Box<RawValue>>::deserialize(deserializer)?;
    Ok((1..).zip(&texts).map(|(place, text)| Case::read(place, text.get())).collect())
}

impl Case {
    fn read(place: usize, text: &str) -> Result<Self, UnreadCase> {
        serde_json::from_str(text).map_err(|error| {
            let value: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
            let named = value.get("id").and_then(|id| id.as_str());
            UnreadCase {
                id: named.map_or_else(|| format!("case {place}"), str::to_owned),
                why: error.to_string(),
                expect: value.get("expect").and_then(|expect| Expectation::deserialize(expect).ok()),
            }
        })
    }
}

/// One case.
#[derive(Debug, Clone, Deserialize)]
pub struct Case {
    /// Its name; unique in the manifest.
    pub id: String,
    /// The kind of evidence.
    pub platform: Platform,
    /// Paths by role, relative to the folder.
    pub files: BTreeMap<String, String>,
    /// Which root is the anchor.
    #[serde(default)]
    pub pin: Pin,
    /// The time to judge by.
    pub at: Timestamp,
    /// The rules to judge by; what is not named is permissive.
    #[serde(default)]
    pub policy: CasePolicy,
    /// The right verdict.
    pub expect: Expectation,
    /// Of a rejection, the stage that must find it; empty where any will do.
    #[serde(default)]
    pub stage: String,
    /// What is wrong with the evidence, for people.
    #[serde(default)]
    pub why: String,
    /// Of a rejection, the reason code that this verifier must give. Other verifiers have other codes.
    #[serde(default)]
    pub code: String,
}

/// The kind of evidence of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// An AMD SEV-SNP report.
    Snp,
    /// An Intel TDX quote.
    Tdx,
    /// NVIDIA GPUs and switches.
    Nvidia,
    /// A virtual TPM below Azure's paravisor.
    Azure,
    /// A TPM of the guest's own. Other readers of the format do not know this platform.
    Tpm,
}

/// Which root is the trust anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pin {
    /// The vendor's, whatever the files present.
    #[default]
    Real,
    /// The one in the files: the caller named it.
    Forged,
}

/// A verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expectation {
    /// The evidence is good.
    Accept,
    /// It is not.
    Reject,
    /// Either will do, as long as there is a verdict.
    Either,
}

impl Expectation {
    /// The word in the manifest.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Reject => "reject",
            Self::Either => "either",
        }
    }
}

/// The rules of a case. Byte strings are hexadecimal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CasePolicy {
    /// REPORT_DATA or REPORTDATA, exactly.
    pub report_data: Option<String>,
    /// HOST_DATA, exactly.
    pub host_data: Option<String>,
    /// MEASUREMENT, exactly.
    pub measurement: Option<String>,
    /// MRTD, exactly.
    pub mrtd: Option<String>,
    /// RTMR0, exactly.
    pub rtmr0: Option<String>,
    /// RTMR1, exactly.
    pub rtmr1: Option<String>,
    /// RTMR2, exactly.
    pub rtmr2: Option<String>,
    /// RTMR3, exactly.
    pub rtmr3: Option<String>,
    /// The nonce in a device's report, exactly.
    pub nonce: Option<String>,
    /// The extraData of a TPM quote, exactly.
    pub tpm_nonce: Option<String>,
    /// The VMPLs that are accepted; otherwise 0 only.
    pub allow_vmpl: Option<Vec<u32>>,
    /// `false`: the guest policy must forbid SMT.
    pub allow_smt: Option<bool>,
    /// `false`: PERFMON must be off.
    pub allow_perfmon: Option<bool>,
    /// `true`: a device's report may lack the FWID.
    pub allow_missing_fwid: Option<bool>,
    /// A revocation list of the root must have been judged.
    pub require_crl: bool,
    /// The guest's ID key must be signed by an author key.
    pub require_author_key: bool,
    /// The platform must have finished its check for memory aliases.
    pub require_alias_check: bool,
    /// An event log must be there and give the registers of the quote.
    pub require_eventlog: bool,
    /// SEPT_VE_DISABLE must be set.
    pub require_sept_ve_disable: bool,
    /// Reference manifests must be there and match.
    pub appraise_rim: bool,
    /// The lowest REPORTED_TCB, by component.
    pub min_tcb: Option<BTreeMap<String, u8>>,
    /// The lowest LAUNCH_TCB, by component.
    pub min_launch_tcb: Option<BTreeMap<String, u8>>,
    /// The lowest evaluation number of TCB info and QE identity.
    pub min_tcb_eval: Option<u32>,
    /// Bits of the mitigation vectors that must be set.
    pub require_mit_vector: Option<String>,
    /// How many GPUs there must be.
    pub gpu_count: Option<usize>,
    /// Debugging is accepted.
    pub allow_debug: bool,
}
