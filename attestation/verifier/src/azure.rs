//! A cloud's paravisor (Azure): the HCL report, the virtual TPM's key and its quote.
//!
//! The paravisor runs in the guest's most privileged layer and gives the system above it a virtual TPM. The TEE's report
//! data is the digest of the paravisor's *runtime claims*; the claims name the TPM's attestation key; that key signs a
//! quote over the PCRs and the caller's nonce. So the nonce is not in the TEE's report: it is in the quote.
//!
//! 1. Authenticate the TEE's report by itself ([`snp`](crate::snp), [`tdx`](crate::tdx)).
//! 2. [`authenticate`] what the paravisor adds, with the bytes of that report.
//! 3. Appraise the TEE's report for [`AuthenticVtpm::report_data`], and [`appraise`] the rest for the nonce.
//!
//! Sources: *OpenHCL*, `openhcl_attestation_protocol` (`igvm_attest::get`: request header and runtime data, version 1 and 2);
//! Microsoft Learn, *Guest attestation for confidential virtual machines* (runtime claims); *Trusted Platform Module
//! Library Part 2* 1.59, section 10.12 (TPMS_ATTEST); *Intel TDX Module Base Architecture Specification*, TDREPORT_STRUCT.

mod authenticate;
mod claims;
pub mod codes;
mod hcl;
mod policy;

pub use crate::tpm::{Attest, ClockInfo, MAX_NONCE_BYTES, PCRS};
pub(crate) use authenticate::judge;
pub use authenticate::{AuthenticVtpm, Input, Stated, authenticate};
pub use claims::{Claims, ParseVmIdError, VmConfiguration, VmId};
pub use hcl::{HclReport, MAX_HCL_REPORT_BYTES};
pub(crate) use policy::judge_policy;
pub use policy::{Policy, appraise};
