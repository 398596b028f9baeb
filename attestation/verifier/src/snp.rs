//! AMD SEV-SNP: the report, the chain of its signer, TCB versions, and the appraisal policy.
//!
//! Sources: *SEV Secure Nested Paging Firmware ABI Specification* (AMD 56860), chapter 7.3 and table "ATTESTATION_REPORT
//! structure"; *Versioned Chip Endorsement Key (VCEK) Certificate and KDS Interface Specification* (AMD 57230).

mod appraise;
mod authenticate;
mod chain;
pub mod codes;
mod crl;
mod extensions;
mod fields;
mod intermediate;
mod policy;
mod product;
mod report;
mod tcb;

pub use crate::chain_cache::{ChainCache, MAX_CACHED_CHAINS};
pub use appraise::appraise;
pub(crate) use appraise::judge_policy;
pub(crate) use authenticate::judge;
pub use authenticate::{AuthenticReport, Input, Stated, authenticate, authenticate_with_cache};
pub use fields::{ChipId, FirmwareVersion, GuestPolicy, MitigationVectors, PlatformInfo, Signer, SigningKey};
pub use policy::{Flag, GuestPolicyRules, MinimumTcb, PlatformRules, Policy};
pub use product::{Cpuid, Product};
pub use report::{REPORT_LEN, Report, SIGNED_LEN};
pub use tcb::{GenoaTcb, MilanTcb, RawTcb, Tcb, TcbVersion, TurinTcb};
