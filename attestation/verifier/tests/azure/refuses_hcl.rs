//! Refusals of the HCL report and of its ties to the TEE's report.

use crate::support::*;
use anchorhold_attester::software::paravisor::CLAIMS_AT;
use anchorhold_rats::Tee;
use anchorhold_verifier::azure::MAX_HCL_REPORT_BYTES;

const RUNTIME_AT: usize = 1216;

#[test]
fn accepts_both_kinds_of_tee() {
    for sent in [snp(), tdx(4), tdx(5)] {
        assert_eq!(failed(&sent, &policy(), &NONCE), [""; 0]);
    }
}

#[test]
fn case_09_refuses_hcl_reports_of_other_lengths() {
    let whole = snp();
    for length in [0, 1, CLAIMS_AT - 1, MAX_HCL_REPORT_BYTES + 1] {
        let mut other = whole.clone();
        other.paravisor.hcl_report.resize(length, 0);
        assert_eq!(other.refusal(), "azure_hcl_length", "{length}");
    }
    let mut longest = whole;
    longest.paravisor.hcl_report.resize(MAX_HCL_REPORT_BYTES, 0);
    longest.authentic();
}

#[test]
fn refuses_another_header() {
    let whole = snp();
    // Signature, version, request type, status, reserved (3), version of the runtime data.
    for (offset, value) in [
        (0, b'h'),
        (3, 0),
        (4, 0),
        (4, 3),
        (7, 1),
        (12, 1),
        (12, 3),
        (16, 1),
        (20, 1),
        (24, 1),
        (28, 1),
        (31, 1),
        (RUNTIME_AT + 4, 2),
    ] {
        assert_eq!(whole.with_hcl(offset, &[value]).refusal(), "azure_hcl_header", "{offset} {value}");
    }
    whole.with_hcl(4, &[2]).authentic();
}

#[test]
fn refuses_lengths_that_disagree() {
    let whole = snp();
    let claims = u32::try_from(paravisor().claims.len()).unwrap();
    for (offset, right) in [(8, 1236 + claims), (RUNTIME_AT, 20 + claims), (RUNTIME_AT + 16, claims)] {
        for wrong in [0, right - 1, right + 1, 4096, u32::MAX] {
            assert_eq!(
                whole.with_hcl(offset, &wrong.to_le_bytes()).refusal(),
                "azure_hcl_sizes",
                "{offset} {wrong}"
            );
        }
    }
    let mut beyond = whole.clone();
    beyond.paravisor.hcl_report.truncate(CLAIMS_AT + usize::try_from(claims).unwrap() - 1);
    assert_eq!(beyond.refusal(), "azure_hcl_sizes");
}

#[test]
fn refuses_other_report_types_and_hash_types() {
    let whole = snp();
    for kind in [0_u8, 1, 3, 5] {
        assert_eq!(whole.with_hcl(RUNTIME_AT + 8, &[kind]).refusal(), "azure_hcl_report_type", "{kind}");
    }
    for hash in [0_u8, 2, 3] {
        assert_eq!(whole.with_hcl(RUNTIME_AT + 12, &[hash]).refusal(), "azure_hcl_hash_type", "{hash}");
    }
}

#[test]
fn refuses_anything_after_the_claims() {
    let whole = snp();
    let end = CLAIMS_AT + paravisor().claims.len();
    for offset in [end, end + 1, whole.paravisor.hcl_report.len() - 1] {
        assert_eq!(whole.with_hcl(offset, &[1]).refusal(), "azure_hcl_padding", "{offset}");
    }
}

#[test]
fn refuses_a_hardware_report_that_is_no_tdreport() {
    // Type, subtype, version, reserved; reserved; reserved after the report data; after the report.
    for (offset, value) in [(0, 0), (1, 1), (2, 2), (3, 1), (4, 1), (15, 1), (192, 1), (223, 1)] {
        assert_eq!(tdx_around(|report| report[offset] = value).refusal(), "azure_td_report", "{offset}");
    }
    assert_eq!(tdx_around(|report| report.push(1)).refusal(), "azure_td_report");
    tdx_around(|report| report[2] = 1).authentic();
}

#[test]
fn refuses_a_report_of_another_kind_of_tee() {
    let mut sent = snp();
    sent.tee = Tee::Tdx;
    assert_eq!(sent.refusal(), "azure_tee_kind");
    let mut sent = tdx(4);
    sent.tee = Tee::Snp;
    assert_eq!(sent.refusal(), "azure_tee_kind");
}

#[test]
fn refuses_an_snp_report_beside_the_authenticated_one() {
    let whole = snp();
    for offset in 0..whole.report.len() {
        let mut other = whole.clone();
        other.report[offset] ^= 1;
        assert_eq!(other.refusal(), "azure_tee_report", "{offset}");
    }
    let mut longer = whole.clone();
    longer.report.push(0);
    assert_eq!(longer.refusal(), "azure_tee_report");
    let mut none = whole;
    none.report.clear();
    assert_eq!(none.refusal(), "azure_tee_report");
}

#[test]
fn refuses_a_tdreport_that_the_quote_was_not_made_from() {
    for version in [4, 5] {
        let whole = tdx(version);
        let at = if version == 5 { 54 } else { 48 };
        for offset in at..at + 584 {
            let mut other = whole.clone();
            other.report[offset] ^= 1;
            assert_eq!(other.refusal(), "azure_tee_report", "{version} {offset}");
        }
        for quote in [vec![], whole.report[..at + 583].to_vec(), [&[3], &whole.report[1..]].concat()] {
            let other = Sent { report: quote, ..whole.clone() };
            assert_eq!(other.refusal(), "azure_tee_report");
        }
    }
    for offset in [128, 191, 264, 383, 512, 911] {
        assert_eq!(tdx_around(|report| report[offset] ^= 1).refusal(), "azure_tee_report", "{offset}");
    }
}

#[test]
fn refuses_claims_that_the_report_data_is_not_of() {
    let paravisor = paravisor();
    let mut changed = crate::support::paravisor();
    changed.claims = paravisor.claims.replace("\"console-enabled\":true", "\"console-enabled\":false");
    let report = snp_report(&paravisor.report_data());
    let sent = changed.attest(Tee::Snp, &report, &NONCE).unwrap();
    let sent = Sent { tee: Tee::Snp, report, paravisor: sent };
    assert_eq!(sent.refusal(), "azure_claims_digest");

    let mut data = *paravisor.report_data().as_bytes();
    data[63] = 1;
    let report = snp_report(&data.into());
    let sent =
        Sent { tee: Tee::Snp, paravisor: paravisor.attest(Tee::Snp, &report, &NONCE).unwrap(), report };
    assert_eq!(sent.refusal(), "azure_claims_digest");
    let report = td_quote(4, &data.into());
    let sent =
        Sent { tee: Tee::Tdx, paravisor: paravisor.attest(Tee::Tdx, &report, &NONCE).unwrap(), report };
    assert_eq!(sent.refusal(), "azure_claims_digest");
}
