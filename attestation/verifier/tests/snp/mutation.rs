//! No single changed bit, and no cut, is accepted; nothing panics.

use crate::support::*;
use anchorhold_attester::software::LaunchConfig;
use anchorhold_attester::software::Product;
use anchorhold_rats::{Evidence, Timestamp};
use anchorhold_verifier::TrustAnchors;
use anchorhold_verifier::der::Reader;
use anchorhold_verifier::snp::Report;
use anchorhold_verifier::x509::{Certificate, RevocationList};
use proptest::prelude::*;

fn assert_refused(evidence: &Evidence, anchors: &TrustAnchors, at: Timestamp, context: &str) {
    match authenticate(evidence, anchors, at) {
        Ok(_) => panic!("accepted: {context}"),
        Err(refusal) => assert!(!refusal.code().is_empty(), "no reason: {context}"),
    }
}

fn flip_every_bit(part: &str, length: usize, mut judge: impl FnMut(usize, u8, &str)) {
    for index in 0..length {
        for bit in 0..8 {
            judge(index, 1 << bit, &format!("{part} byte {index:#x} bit {bit}"));
        }
    }
}

#[test]
fn case_47_refuses_every_changed_bit_of_a_simulated_report() {
    for product in [Product::Genoa, Product::Turin] {
        let whole = launch(LaunchConfig::for_product(MEASUREMENT, product)).attest(&REPORT_DATA).unwrap();
        let anchors = simulated();
        flip_every_bit("report", whole.report.len(), |index, bit, context| {
            let mut changed = whole.clone();
            changed.report[index] ^= bit;
            assert_refused(&changed, &anchors, now(), context);
        });
    }
}

#[test]
fn case_47_refuses_every_changed_bit_of_a_simulated_vcek_and_ask() {
    let whole = evidence();
    let anchors = simulated();
    for certificate in [0, 1] {
        flip_every_bit("certificate", whole.certificates[certificate].0.len(), |index, bit, context| {
            let mut changed = whole.clone();
            changed.certificates[certificate].0[index] ^= bit;
            assert_refused(&changed, &anchors, now(), context);
        });
    }
}

#[test]
fn case_47_refuses_a_changed_bit_in_every_byte_of_the_real_samples() {
    let anchors = TrustAnchors::production();
    for sample in read_samples() {
        let at = sample.expected[0].0;
        let whole = &sample.evidence;
        if authenticate(whole, &anchors, at).is_err() {
            assert_eq!(sample.id, "snp/milan-v4-gcp");
            continue;
        }
        for index in 0..whole.report.len() {
            let mut changed = whole.clone();
            changed.report[index] ^= 1 << (index % 8);
            assert_refused(&changed, &anchors, at, &format!("{} report {index:#x}", sample.id));
        }
        for index in 0..whole.certificates[0].0.len() {
            let mut changed = whole.clone();
            changed.certificates[0].0[index] ^= 1 << (index % 8);
            assert_refused(&changed, &anchors, at, &format!("{} leaf {index:#x}", sample.id));
        }
    }
}

#[test]
fn case_47_refuses_every_cut_of_a_certificate() {
    let whole = evidence();
    for certificate in [0, 1] {
        for length in 0..whole.certificates[certificate].0.len() {
            let mut cut = whole.clone();
            cut.certificates[certificate].0.truncate(length);
            assert_eq!(
                refusal(&cut),
                "snp_certificate_malformed",
                "certificate {certificate} cut at {length}"
            );
        }
    }
}

proptest! {
    #[test]
    fn case_47_random_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1500)) {
        prop_assert!(Certificate::parse(&bytes).is_err());
        prop_assert!(RevocationList::parse(&bytes).is_err());
        let mut reader = Reader::new(&bytes);
        while let Ok((_, value)) = reader.any() {
            prop_assert!(value.len() <= bytes.len());
        }
        let _ = Report::parse(&bytes);
    }

    #[test]
    fn case_47_random_reports_of_the_right_length_are_read_without_a_panic(
        version in 0_u8..8,
        mut bytes in proptest::collection::vec(any::<u8>(), 1184),
    ) {
        bytes[..4].copy_from_slice(&[version, 0, 0, 0]);
        prop_assert!(Report::parse(&bytes).is_err(), "random reserved bytes are never all zero");
    }

    #[test]
    fn case_47_a_certificate_with_spliced_bytes_is_refused_without_a_panic(
        at in 0_usize..1200,
        splice in proptest::collection::vec(any::<u8>(), 1..40),
    ) {
        let mut changed = evidence();
        let original = changed.certificates[0].0.clone();
        let end = (at + splice.len()).min(original.len());
        let at = at.min(end);
        changed.certificates[0].0.splice(at..end, splice);
        prop_assume!(changed.certificates[0].0 != original);
        prop_assert!(authenticate(&changed, &simulated(), now()).is_err());
    }
}
