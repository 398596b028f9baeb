//! No changed byte is accepted, and nothing panics.

use crate::forge::*;
use crate::support::*;
use anchorhold_rats::GpuEvidence;
use anchorhold_verifier::TrustAnchors;
use anchorhold_verifier::nvidia::{Report, read_serialized};
use proptest::prelude::*;

fn assert_refused(evidence: GpuEvidence, anchors: &TrustAnchors, context: &str) {
    match judge(&[evidence], anchors, now()) {
        Ok(_) => panic!("accepted: {context}"),
        Err(refusal) => assert!(!refusal.code().is_empty(), "no reason: {context}"),
    }
}

#[test]
fn case_47_refuses_a_changed_bit_in_every_byte_of_reports() {
    let (whole, anchors) = (Device::switch(1, &[2]).evidence(), anchors());
    for index in 0..whole.report.len() {
        let mut changed = whole.clone();
        changed.report[index] ^= 1 << (index % 8);
        assert_refused(changed, &anchors, &format!("report byte {index}"));
    }
}

#[test]
fn case_47_refuses_changed_bits_all_over_a_real_report() {
    let Some(whole) = device("blackwell-575") else { return };
    let anchors = TrustAnchors::production();
    for index in (0..whole.report.len()).step_by(7) {
        let mut changed = whole.clone();
        changed.report[index] ^= 1 << (index % 8);
        assert_refused(changed, &anchors, &format!("report byte {index}"));
    }
}

#[test]
fn case_47_refuses_a_changed_bit_in_every_byte_of_certificates() {
    let (whole, anchors) = (Device::gpu(1).evidence(), anchors());
    for certificate in 0..whole.certificates.len() {
        for index in 0..whole.certificates[certificate].0.len() {
            let mut changed = whole.clone();
            changed.certificates[certificate].0[index] ^= 1 << (index % 8);
            assert_refused(changed, &anchors, &format!("certificate {certificate} byte {index}"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn case_09_nothing_panics_on_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..6000)) {
        let _ = Report::parse(&bytes);
        let _ = read_serialized(&bytes);
        let request = [0x11, 0xe0, 1, 0xff];
        let _ = Report::parse(&[&request, bytes.as_slice()].concat());
    }
}
