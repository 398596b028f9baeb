//! The registers of Intel TDX: MRTD, which the TDX module computes while the hypervisor builds the guest, and the four
//! RTMRs, which firmware, loader and kernel extend.
//!
//! Specifications: Intel TDX Module Base Architecture (348549), "Measurement and Attestation"; TDX Virtual Firmware Design
//! Guide (344991), section 11 for the metadata and section 8 for what is measured.

mod hob;
mod metadata;
mod mrtd;
mod rtmr0;

pub use hob::{MAX_MEMORY_BYTES, memory_list_digest, variables_digest};
pub use mrtd::{PageOrder, mrtd};
pub use rtmr0::{AcpiDigests, rtmr0};

use crate::boot::{Event, SEPARATOR};
use crate::digest::sha384;
use anchorhold_rats::Measurement;

/// The value of an RTMR after `events`, the SHA-384 digests that extended it, in order: each time SHA-384 over the register
/// and the digest, from zero on. PCRs of a TPM's SHA-384 bank follow the same rule.
#[must_use]
pub fn extended<'a>(events: impl IntoIterator<Item = &'a [u8; 48]>) -> Measurement {
    Measurement::new(events.into_iter().fold([0; 48], |register, event| sha384(&[&register, event])))
}

/// The RTMRs that the files of a boot determine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rtmrs {
    /// What firmware starts: boot loader and kernel.
    pub rtmr1: Measurement,
    /// Command line, initial file system, and what the stub measures of its own sections.
    pub rtmr2: Measurement,
}

/// RTMR1 and RTMR2 after the measurements of a boot.
///
/// Establishes what firmware with edk2's `TdTcg2Dxe` and a kernel leave in them when nothing else extends them. QEMU before
/// 10.1 fills in the header of a kernel that it boots directly before firmware measures it, so there RTMR1 differs; a unified
/// kernel image is never changed.
///
/// RTMR3 is zero until something in the guest extends it.
#[must_use]
pub fn rtmrs(events: &[Event]) -> Rtmrs {
    // PCRs 2 to 6 are one register, which gets one separator for all of them: of those here, that of PCR 4.
    let (of_firmware, of_loader) = (2..=6, 8..=15);
    let first = events
        .iter()
        .filter(|event| of_firmware.contains(&event.pcr) && (event.what != SEPARATOR || event.pcr == 4));
    let second = events.iter().filter(|event| of_loader.contains(&event.pcr));
    let register = |events: Vec<&Event>| extended(events.into_iter().map(|event| &event.digests.sha384));
    Rtmrs { rtmr1: register(first.collect()), rtmr2: register(second.collect()) }
}
