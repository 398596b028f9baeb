//! The registers of Intel TDX: MRTD, which the TDX module computes while the hypervisor builds the guest, and the four
//! RTMRs, which firmware, loader and kernel extend.
//!
//! Specifications: Intel TDX Module Base Architecture (348549), "Measurement and Attestation"; TDX Virtual Firmware Design
//! Guide (344991), section 11 for the metadata and section 8 for what is measured.

mod hob;
mod metadata;
mod mrtd;

pub use hob::{MAX_MEMORY_BYTES, memory_list_digest, variables_digest};
pub use mrtd::{PageOrder, mrtd};

use crate::digest::sha384;
use anchorhold_rats::Measurement;

/// The value of an RTMR after `events`, the SHA-384 digests that extended it, in order: each time SHA-384 over the register
/// and the digest, from zero on. PCRs of a TPM's SHA-384 bank follow the same rule.
#[must_use]
pub fn extended<'a>(events: impl IntoIterator<Item = &'a [u8; 48]>) -> Measurement {
    Measurement::new(events.into_iter().fold([0; 48], |register, event| sha384(&[&register, event])))
}
