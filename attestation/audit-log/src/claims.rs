//! What a key release decision was about: the claims of the evidence and what was asked, in numbers, words and digests, so
//! that another policy can be asked about it later.
//!
//! No machine is named: chips, platforms, devices and virtual machines stand under pseudonyms, keyed with a key that only the
//! broker has. Two entries about one machine can be told to be that; which machine it is, cannot. What nobody can replay
//! (signatures, nonces, reference manifests) is not here; the entry's outcome and rules tell of it.

use crate::id::{Claim, ModelId};
use crate::{Hash, Hex, Measurement};
use serde::{Deserialize, Serialize};

/// The most advisories of one TDX platform.
pub const MAX_ADVISORIES: usize = 32;
/// The most GPUs and switches of one guest.
pub const MAX_DEVICES: usize = 16;
/// The most PCRs of one virtual TPM.
pub const MAX_PCRS: usize = 24;
/// The longest JSON of [`Claims`] within these limits, in bytes.
pub const MAX_CLAIMS_BYTES: usize = 11 * 1024;

/// Claims and what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// What was asked for.
    pub asked: Asked,
    /// Of each GPU and switch, in the order of the evidence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuClaims>,
    /// Of the paravisor, where the guest runs below one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paravisor: Option<ParavisorClaims>,
    /// Whether the roots were not the vendors'.
    pub simulated: bool,
    /// Of the TEE.
    pub tee: TeeClaims,
    /// Of a TPM of the guest's own, where there is one; never beside a paravisor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm: Option<TpmClaims>,
}

/// What a guest asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The longest time that an entry of the guest's log stays without a witness, in milliseconds, as it says; none where no
    /// witness is waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anchor_ms: Option<u64>,
    /// The KEM of the guest's key.
    pub kem: Claim,
    /// The lowest version that would do.
    pub min_version: u64,
    /// The model; only where the guest's platform is one that some grant takes, and the name is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelId>,
    /// What for.
    pub purpose: Claim,
    /// How many witnesses cosign the guest's log, as it says.
    pub witnesses: u64,
}

/// What the TEE states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TeeClaims {
    /// AMD SEV-SNP.
    Snp(Box<SnpClaims>),
    /// Intel TDX.
    Tdx(Box<TdxClaims>),
}

/// What an SNP report and its chain state. The names are those of the report's fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnpClaims {
    /// AUTHOR_KEY_DIGEST.
    pub author_key: Measurement,
    /// AUTHOR_KEY_EN.
    pub author_key_enabled: bool,
    /// The chip's pseudonym; none where the report hides the chip.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chip: Option<Hash>,
    /// COMMITTED_TCB, in the layout of the product.
    pub committed_tcb: Hex<8>,
    /// The committed firmware: major, minor, build.
    pub committed_version: [u8; 3],
    /// Whether a revocation list of the ARK was judged.
    pub crl_judged: bool,
    /// CURRENT_TCB, in the layout of the product.
    pub current_tcb: Hex<8>,
    /// The current firmware: major, minor, build.
    pub current_version: [u8; 3],
    /// FAMILY_ID.
    pub family_id: Hex<16>,
    /// POLICY.
    pub guest_policy: u64,
    /// GUEST_SVN.
    pub guest_svn: u32,
    /// HOST_DATA.
    pub host_data: Hex<32>,
    /// ID_KEY_DIGEST.
    pub id_key: Measurement,
    /// IMAGE_ID.
    pub image_id: Hex<16>,
    /// LAUNCH_TCB, in the layout of the product.
    pub launch_tcb: Hex<8>,
    /// MEASUREMENT.
    pub measurement: Measurement,
    /// LAUNCH_MIT_VECTOR and CURRENT_MIT_VECTOR, from version 5 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mitigations: Option<[u64; 2]>,
    /// PLATFORM_INFO.
    pub platform_info: u64,
    /// The product line.
    pub product: SnpProduct,
    /// The cloud provider of a VLEK.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<Claim>,
    /// REPORTED_TCB, in the layout of the product.
    pub reported_tcb: Hex<8>,
    /// The kind of key that signed.
    pub signer: SnpSigner,
    /// VMPL.
    pub vmpl: u32,
}

/// A product line of EPYC processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SnpProduct {
    /// Third generation.
    Milan,
    /// Fourth generation.
    Genoa,
    /// Fifth generation.
    Turin,
}

/// The kind of key that signed an SNP report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SnpSigner {
    /// Of one chip.
    Vcek,
    /// Of a cloud provider.
    Vlek,
}

/// What a TDX quote, its chain and its collateral state. The names are those of the quote's fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TdxClaims {
    /// The advisories that affect the platform; at most [`MAX_ADVISORIES`].
    pub advisories: Vec<Claim>,
    /// TDATTRIBUTES.
    pub attributes: u64,
    /// Whether Intel keeps the platform's root keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_keys: Option<bool>,
    /// Whether packages can be added to the platform.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dynamic_platform: Option<bool>,
    /// FMSPC.
    pub fmspc: Hex<6>,
    /// MRCONFIGID.
    pub mr_config_id: Measurement,
    /// MROWNER.
    pub mr_owner: Measurement,
    /// MROWNERCONFIG.
    pub mr_owner_config: Measurement,
    /// MRSEAM.
    pub mr_seam: Measurement,
    /// MRTD.
    pub mrtd: Measurement,
    /// How many zero bytes followed the quote.
    pub padding: u64,
    /// The platform's pseudonym.
    pub platform: Hex<16>,
    /// The TCB evaluation data number of the QE identity.
    pub qe_evaluation: u32,
    /// RTMR0 to RTMR3.
    pub rtmrs: [Measurement; 4],
    /// Whether simultaneous multithreading is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smt: Option<bool>,
    /// Intel's word on the TCB.
    pub status: Claim,
    /// Since when a part that is not up to date is not the newest, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub superseded: Option<i64>,
    /// The TCB evaluation data number of the TCB info.
    pub tcb_evaluation: u32,
    /// What TDX 1.5 adds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub td15: Option<Td15Claims>,
    /// XFAM.
    pub xfam: u64,
}

/// What TDX 1.5 adds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Td15Claims {
    /// What the extended report adds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extended: Option<Td15ExtendedClaims>,
    /// MRSERVICETD.
    pub service_td: Measurement,
}

/// What the extended report of TDX 1.5 adds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Td15ExtendedClaims {
    /// The service TDs that are bound now.
    pub current_service_td: Measurement,
    /// The digest of what is known of bound devices.
    pub device_info: Measurement,
    /// The service TDs that were bound at creation.
    pub initial_service_td: Measurement,
    /// The index of a virtual machine inside the TD.
    pub vm_index: u8,
}

/// What a GPU or switch, its chain and its endorsements state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuClaims {
    /// The line of chips.
    pub architecture: GpuArchitecture,
    /// The device's pseudonym.
    pub device: Hex<8>,
    /// What is known of the revocation of the device's certificates.
    pub device_ocsp: OcspClaims,
    /// The driver; of a switch none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<Claim>,
    /// Whether the report states the firmware's identity.
    pub fwid: bool,
    /// Whether the device's links lead to exactly the devices of the other kind in the evidence.
    pub linked: bool,
    /// The confidential mode, where it is stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<GpuMode>,
    /// Whether protected PCIe is on, where it is stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protected_pcie: Option<bool>,
    /// What is known of the revocation of the certificates of its manifests' signers.
    pub rim_ocsp: OcspClaims,
    /// How many manifests that belong to the device did not come.
    pub rims_missing: u32,
    /// The version of the VBIOS, or of the switch's BIOS.
    pub vbios: Hex<5>,
}

/// What OCSP responders said of some certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OcspClaims {
    /// The age of the oldest answer when it was judged, in seconds; none where nothing was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_s: Option<i64>,
    /// Whether one of the certificates is on hold.
    pub hold: bool,
    /// How many certificates are without an answer.
    pub unanswered: u32,
}

/// The line of a GPU or switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GpuArchitecture {
    /// Hopper.
    Hopper,
    /// Blackwell.
    Blackwell,
    /// The NVSwitch LS10.
    Ls10,
}

/// The confidential mode of a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GpuMode {
    /// One GPU.
    Single,
    /// Several GPUs.
    Multi,
    /// A whole board.
    ProtectedPcie,
}

/// What a paravisor and its virtual TPM state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParavisorClaims {
    /// Whether a console is attached, where it is stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console: Option<bool>,
    /// The quoted PCRs in the order of their numbers; at most [`MAX_PCRS`].
    pub pcrs: Vec<Pcr>,
    /// Whether Secure Boot is on, where it is stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<bool>,
    /// The virtual machine's pseudonym, where it is stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vm: Option<Hex<16>>,
}

/// What a TPM of the guest's own states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TpmClaims {
    /// The pseudonym of the key that quotes.
    pub key: Hash,
    /// The numbers of the quoted PCRs to which the event log adds up, where there is a log; at most [`MAX_PCRS`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<Vec<u8>>,
    /// The quoted PCRs in the order of their numbers; at most [`MAX_PCRS`].
    pub pcrs: Vec<Pcr>,
    /// The SHA-256 digest of the root certificate below which the key is certified, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Hash>,
}

/// A PCR of the SHA-256 bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pcr {
    /// Its number.
    pub index: u8,
    /// Its value.
    pub value: Hash,
}

impl Claims {
    /// What is over its limit, if something is.
    #[must_use]
    pub(crate) fn excess(&self) -> Option<&'static str> {
        let advisories = match &self.tee {
            TeeClaims::Tdx(tdx) => tdx.advisories.len(),
            TeeClaims::Snp(_) => 0,
        };
        let pcrs = self.paravisor.as_ref().map_or(0, |paravisor| paravisor.pcrs.len());
        let logged = |tpm: &TpmClaims| tpm.log.as_ref().map_or(0, Vec::len);
        let tpm = self.tpm.as_ref().map_or(0, |tpm| tpm.pcrs.len().max(logged(tpm)));
        let rules = [
            (advisories > MAX_ADVISORIES, "advisories"),
            (self.gpus.len() > MAX_DEVICES, "devices"),
            (pcrs.max(tpm) > MAX_PCRS, "PCRs"),
            (self.paravisor.is_some() && self.tpm.is_some(), "TPMs"),
        ];
        rules.iter().find(|(over, _)| *over).map(|(_, what)| *what)
    }
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
