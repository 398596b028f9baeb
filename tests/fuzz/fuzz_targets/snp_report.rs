//! A report of any bytes, alone and in front of any certificates, is read and judged without a panic, and every
//! refusal has a reason.
#![no_main]

use anchorhold_rats::{Der, Endorsements, Evidence, Timestamp};
use anchorhold_verifier::snp::{REPORT_LEN, Report};
use anchorhold_verifier::{TrustAnchors, authenticate};
use libfuzzer_sys::fuzz_target;

/// 2026-07-25, inside the validity of the real samples.
const AT: i64 = 1_784_937_600;

fuzz_target!(|input: &[u8]| {
    let (report, certificates) = input.split_at(input.len().min(REPORT_LEN));
    if let Ok(read) = Report::parse(report) {
        assert_eq!(report.len(), REPORT_LEN);
        assert!(read.vmpl <= 3 && (2..=5).contains(&read.version));
    }
    // Two certificates, cut where the first byte of the rest says.
    let certificates = match certificates.split_first() {
        Some((cut, rest)) => {
            let (leaf, intermediate) = rest.split_at(rest.len().min(usize::from(*cut) * 8));
            vec![Der(leaf.to_vec()), Der(intermediate.to_vec())]
        }
        None => Vec::new(),
    };
    let evidence = Evidence::snp(report.to_vec(), certificates);
    let at = Timestamp::from_unix_seconds(AT);
    if let Err(refusal) = authenticate(&evidence, &Endorsements::default(), &TrustAnchors::production(), at) {
        assert!(!refusal.code().is_empty(), "a refusal without a reason");
    }
});
