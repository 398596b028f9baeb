//! Reports against manifests.

use crate::support::*;
use anchorhold_rats::{Checks, Outcome};
use anchorhold_verifier::nvidia::rim::{AuthenticRim, Measured, compare};

fn rim(resources: &[String]) -> AuthenticRim {
    let chain = Chain::new();
    judge(&sign(&body_with(&resources.concat()), &chain), &chain).unwrap().claims().clone()
}

/// A report whose blocks, by SPDM index, repeat one byte.
fn measured(blocks: &[(u8, u8)]) -> Measured {
    let blocks = blocks.iter().map(|(index, byte)| (*index, vec![*byte; 48])).collect();
    Measured { blocks, nvdec0_disabled: false }
}

/// The codes that failed with the text of what was wanted, and the verdict.
fn failures(rims: &[&AuthenticRim], measured: &Measured) -> Vec<(String, String)> {
    let mut checks = Checks::new();
    let passed = compare(rims, measured, &mut checks);
    let failed: Vec<_> =
        checks.failed().map(|check| (check.code.to_string(), check.wanted.clone())).collect();
    assert_eq!(passed, failed.is_empty());
    failed
}

fn codes(rims: &[&AuthenticRim], measured: &Measured) -> Vec<String> {
    failures(rims, measured).into_iter().map(|(code, _)| code).collect()
}

#[test]
fn accepts_one_of_the_values_of_each_active_index() {
    let driver = rim(&[resource(1, true, &[2, 3]), resource(2, false, &[9])]);
    let vbios = rim(&[resource(0, true, &[1]), resource(1, false, &[9])]);
    for second in [2, 3] {
        let report = measured(&[(1, 1), (2, second), (3, 0), (64, 0)]);
        assert!(codes(&[&driver, &vbios], &report).is_empty());
    }
}

#[test]
fn refuses_each_index_that_differs_by_itself() {
    let driver = rim(&[resource(4, true, &[1]), resource(5, true, &[2]), resource(6, true, &[3, 4])]);
    let failed = failures(&[&driver], &measured(&[(5, 9), (6, 2), (7, 5)]));
    let wanted = |index: u8, count: usize| {
        ("rim_measurement".to_string(), format!("index {index}: one of {count} reference values"))
    };
    assert_eq!(failed, [wanted(4, 1), wanted(6, 2)]);
}

#[test]
fn refuses_the_value_of_another_index() {
    let driver = rim(&[resource(4, true, &[1]), resource(5, true, &[2])]);
    assert_eq!(codes(&[&driver], &measured(&[(4, 1), (5, 2), (6, 1)])), ["rim_measurement"; 2]);
}

#[test]
fn refuses_a_report_without_an_active_index() {
    let driver = rim(&[resource(4, true, &[1]), resource(5, true, &[2])]);
    assert_eq!(codes(&[&driver], &measured(&[(6, 2)])), ["rim_measurement_missing"]);
    assert_eq!(codes(&[&driver], &Measured::default()), ["rim_measurement_missing"; 2]);
}

#[test]
fn refuses_values_of_another_length() {
    let driver = rim(&[resource(0, true, &[1])]);
    for length in [0, 47, 49, 96] {
        let mut report = measured(&[]);
        report.blocks.insert(1, vec![1; length]);
        assert_eq!(codes(&[&driver], &report), ["rim_measurement"], "{length}");
    }
}

#[test]
fn refuses_an_index_of_two_manifests() {
    let driver = rim(&[resource(3, true, &[1]), resource(4, true, &[2])]);
    let vbios = rim(&[resource(4, true, &[2])]);
    let report = measured(&[(4, 1), (5, 2)]);
    assert_eq!(codes(&[&driver, &vbios], &report), ["rim_index_conflict"]);
    assert_eq!(codes(&[&driver, &driver], &report), ["rim_index_conflict"]);
    assert!(codes(&[&driver], &report).is_empty());
}

#[test]
fn refuses_to_compare_with_nothing() {
    assert_eq!(codes(&[], &measured(&[(1, 1)])), ["rim_no_values"]);
}

#[test]
fn skips_the_decoder_only_when_it_is_disabled() {
    let driver = rim(&[resource(34, true, &[1]), resource(35, true, &[2]), resource(36, true, &[3])]);
    let mut report = measured(&[(35, 1), (36, 9), (37, 3)]);
    assert_eq!(codes(&[&driver], &report), ["rim_measurement"]);
    report.nvdec0_disabled = true;
    let mut checks = Checks::new();
    assert!(compare(&[&driver], &report, &mut checks));
    let skipped: Vec<_> = checks.all().iter().filter(|check| check.outcome == Outcome::Skipped).collect();
    assert_eq!(skipped.len(), 1);
    assert!(skipped[0].wanted.starts_with("index 35"));
    for other in [35, 37] {
        let mut changed = report.clone();
        changed.blocks.insert(other, vec![8; 48]);
        assert_eq!(codes(&[&driver], &changed), ["rim_measurement"], "{other}");
    }
}
