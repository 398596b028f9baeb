//! The verifier as a WebAssembly module that imports nothing, for browsers and edge servers. The host calls `bundle` with each
//! byte of an evidence bundle, `measurement` with each byte of the MEASUREMENT or MRTD that it accepts, and then
//! `judge` with the time in seconds since 1970. `tests/scripts/verifier_size.sh` builds it.

#![expect(
    unsafe_code,
    reason = "names that are exported as they stand need an attribute that counts as unsafe"
)]

use anchorhold_rats::{EvidenceBundle, Expected, MAX_BUNDLE_JSON_BYTES, Measurement, Timestamp};
use anchorhold_verifier::snp::{self, GenoaTcb, MinimumTcb, TurinTcb};
use anchorhold_verifier::{AppraisalPolicy, TrustAnchors, appraise, authenticate, tdx};
use std::sync::{Mutex, PoisonError};

/// The first firmware of each product whose microcode loader checks signatures (AMD-SB-3019, AMD-SB-7033). Milan is refused.
const MINIMUM: MinimumTcb = MinimumTcb {
    milan: None,
    genoa: Some(GenoaTcb { bootloader: 10, tee: 0, snp: 23, microcode: 84 }),
    turin: Some(TurinTcb { fmc: 0, bootloader: 1, tee: 0, snp: 2, microcode: 71 }),
};

/// What the host gave since the last verdict.
static GIVEN: Mutex<(Vec<u8>, Vec<u8>)> = Mutex::new((Vec::new(), Vec::new()));

/// The verdicts of [`judge`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Verdict {
    /// Authentic, and of the measurement that was given.
    Accepted = 0,
    /// Authentic, and not acceptable.
    NotAcceptable = 1,
    /// Not authentic.
    NotAuthentic = 2,
    /// No bundle with report data, or no measurement.
    Unreadable = 3,
}

/// The next byte of the bundle, JSON. Bytes over the limit of a bundle are dropped, and what is left is no JSON.
#[unsafe(no_mangle)]
pub extern "C" fn bundle(byte: u8) {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    if given.0.len() <= MAX_BUNDLE_JSON_BYTES {
        given.0.push(byte);
    }
}

/// The next byte of the measurement.
#[unsafe(no_mangle)]
pub extern "C" fn measurement(byte: u8) {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    if given.1.len() <= Measurement::LEN {
        given.1.push(byte);
    }
}

/// Judges what was given at this time, under the vendors' roots. The report data is that of the bundle, so a host that wants
/// fresh evidence compares it with the one it asked for.
#[unsafe(no_mangle)]
pub extern "C" fn judge(unix_seconds: i64) -> Verdict {
    let (bundle, measurement) = std::mem::take(&mut *GIVEN.lock().unwrap_or_else(PoisonError::into_inner));
    let (Ok(bundle), Ok(measurement)) =
        (EvidenceBundle::from_json(&bundle), Measurement::try_from(measurement.as_slice()))
    else {
        return Verdict::Unreadable;
    };
    let Some(report_data) = bundle.report_data else { return Verdict::Unreadable };
    let at = Timestamp::from_unix_seconds(unix_seconds);
    let policy = AppraisalPolicy {
        snp: Some(snp::Policy::strict(vec![measurement], MINIMUM)),
        tdx: Some(tdx::Policy::strict(vec![measurement])),
        ..AppraisalPolicy::default()
    };
    match authenticate(&bundle.evidence, &bundle.endorsements, &TrustAnchors::production(), at) {
        Err(_) => Verdict::NotAuthentic,
        Ok(authentic) => match appraise(authentic, &policy, &Expected::from(report_data)) {
            Ok(_) => Verdict::Accepted,
            Err(_) => Verdict::NotAcceptable,
        },
    }
}
