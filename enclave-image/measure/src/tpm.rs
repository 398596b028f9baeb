//! The PCRs of a TPM after a measured boot (TPM 2.0 Library, part 1, "Extend of a PCR").

use crate::boot::Event;
use crate::digest::{sha256, sha384};

/// The PCRs that [`events`](crate::boot::events) determines whole. PCRs 0, 1 and 7 hold firmware, machine and Secure Boot,
/// which no file of the image determines.
pub const PREDICTED: [u32; 10] = [2, 3, 4, 5, 6, 9, 11, 12, 13, 14];

/// A PCR of the SHA-256 bank after `events`.
#[must_use]
pub fn pcr_sha256(events: &[Event], pcr: u32) -> [u8; 32] {
    let extend = |register: [u8; 32], event: &Event| sha256(&[&register, &event.digests.sha256]);
    events.iter().filter(|event| event.pcr == pcr).fold([0; 32], extend)
}

/// A PCR of the SHA-384 bank after `events`.
#[must_use]
pub fn pcr_sha384(events: &[Event], pcr: u32) -> [u8; 48] {
    let extend = |register: [u8; 48], event: &Event| sha384(&[&register, &event.digests.sha384]);
    events.iter().filter(|event| event.pcr == pcr).fold([0; 48], extend)
}
