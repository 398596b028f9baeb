//! A TPM beside the TEE's report: a quote of its PCRs by a key that the policy names, and the event log of the boot.
//!
//! A TPM says what was started, not that anything is secret: who runs the machine below it reads its memory. Beside the report of a
//! TEE it adds the history of the boot; alone it shows one to whoever trusts the machine. A signature means as much as the policy
//! that names the key, or the root of the certificates that came with it.
//!
//! 1. [`authenticate`] the quote: gives the key that signed it, and the PCRs.
//! 2. [`appraise`] key, PCRs, log and nonce.
//!
//! Sources: *Trusted Platform Module Library* 1.59, Part 1 section 16 (names) and Part 2 sections 10.12 (TPMS_ATTEST) and 12.2
//! (TPMT_PUBLIC); *TCG PC Client Platform Firmware Profile* 1.06, section 10 (event log).

mod attest;
mod authenticate;
mod certificates;
pub mod codes;
mod key;
mod log;
mod pcrs;
mod policy;

pub use attest::{Attest, ClockInfo, MAX_NONCE_BYTES, PCRS};
pub(crate) use authenticate::judge;
pub use authenticate::{AuthenticQuote, Stated, authenticate};
pub use key::KeyName;
pub use log::{PcrEvent, PcrLog};
pub(crate) use pcrs::{judge_pcrs, record_pcrs};
pub(crate) use policy::judge_policy;
pub use policy::{Policy, appraise};

use anchorhold_rats::Code;

/// Under which codes a family has the rules about a TPM's quote, and what it calls the quote among its evidence.
#[derive(Debug)]
pub(crate) struct QuoteCodes {
    pub(crate) part: &'static str,
    pub(crate) kind: Code,
    pub(crate) malformed: Code,
    pub(crate) selection: Code,
    pub(crate) count: Code,
    pub(crate) digest: Code,
    pub(crate) empty: Code,
    pub(crate) not_quoted: Code,
    pub(crate) value: Code,
}
