//! A rule that judges one place of the report says which, and there stands the value that it says it saw.

use crate::support::*;
use anchorhold_rats::{Check, Evidence, Outcome, Source};
use anchorhold_verifier::TrustAnchors;
use anchorhold_verifier::codes::snp as codes;
use anchorhold_verifier::snp::{Cpuid, FirmwareVersion, Product, RawTcb, Tcb};

/// How the bytes of a field read in the text of a check.
#[derive(Clone, Copy)]
enum Form {
    Hex,
    Number,
    HexNumber,
    Tcb,
    Cpuid,
    Version,
    Abi,
}

const FORMS: [(Form, &[&str]); 7] = [
    (
        Form::Hex,
        &[
            "snp_measurement",
            "snp_report_data",
            "snp_host_data",
            "snp_family_id",
            "snp_image_id",
            "snp_id_key",
            "snp_author_key",
            "snp_chip_id",
        ],
    ),
    (
        Form::Number,
        &[
            "snp_report_version",
            "snp_signature_algorithm",
            "snp_vmpl_range",
            "snp_signing_key_reserved",
            "snp_vmpl",
            "snp_guest_svn",
        ],
    ),
    (Form::HexNumber, &["snp_guest_policy_reserved", "snp_mitigations"]),
    (
        Form::Tcb,
        &[
            "snp_tcb_certified",
            "snp_tcb_order",
            "snp_tcb_minimum",
            "snp_tcb_committed_minimum",
            "snp_tcb_launch_minimum",
        ],
    ),
    (Form::Cpuid, &["snp_product_cpuid"]),
    (Form::Version, &["snp_firmware_version"]),
    (Form::Abi, &["snp_abi_version"]),
];

fn read(form: Form, bytes: &[u8], product: Product) -> String {
    let number = || bytes.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    match (form, bytes) {
        (Form::Hex, _) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        (Form::Number, _) => number().to_string(),
        (Form::HexNumber, _) => format!("{:#x}", number()),
        (Form::Tcb, _) => Tcb::decode(product, RawTcb(bytes.try_into().unwrap())).unwrap().to_string(),
        (Form::Cpuid, [family, model, stepping]) => {
            Cpuid { family: *family, model: *model, stepping: *stepping }.to_string()
        }
        (Form::Version, [build, minor, major]) => {
            FirmwareVersion { major: *major, minor: *minor, build: *build }.to_string()
        }
        (Form::Abi, [minor, major]) => format!("{major}.{minor}"),
        _ => panic!("{} bytes", bytes.len()),
    }
}

/// Holds one check against the report; true when the value stands where it says.
fn compare(check: &Check, report: &[u8], product: Product, context: &str) -> bool {
    let Some(Source { part, offset, length }) = &check.source else { return false };
    assert_eq!(part, "report", "{context}");
    let bytes = report.get(*offset..offset + length).unwrap_or_else(|| panic!("{context} outside"));
    let Some((form, _)) = FORMS.iter().find(|(_, codes)| codes.contains(&check.code.as_ref())) else {
        return false;
    };
    // CHIP_ID may be hidden, and the flags of SIGNING_KEY share their word.
    if check.outcome == Outcome::Skipped && check.code == "snp_chip_id" {
        return false;
    }
    let bytes = if check.code == "snp_signing_key_reserved" { &[bytes[0] >> 2 & 7][..] } else { bytes };
    assert_eq!(check.observed, read(*form, bytes, product), "{context}");
    true
}

/// The codes of the checks whose value was found where they say.
fn found(evidence: &Evidence, anchors: &TrustAnchors, at: anchorhold_rats::Timestamp) -> Vec<String> {
    let authentic = authenticate(evidence, anchors, at).unwrap();
    let product = authentic.claims().product();
    let mut policy = permissive(authentic.claims().report());
    policy.allowed_vmpls = vec![0, 1];
    policy.host_data = Some(authentic.claims().report().host_data);
    policy.min_committed_tcb = Some(policy.min_tcb);
    policy.min_launch_tcb = Some(policy.min_tcb);
    let policy = anchorhold_verifier::dangerous::allow_debug(policy);
    let policy = anchorhold_verifier::dangerous::allow_simulated(policy);
    let report_data = authentic.claims().report().report_data;
    let accepted = appraise(authentic, &policy, &report_data).unwrap();
    let checks = accepted.checks().all().iter();
    checks
        .filter(|check| compare(check, &evidence.report, product, &check.code))
        .map(|check| check.code.to_string())
        .collect()
}

#[test]
fn the_real_samples_have_the_observed_values_where_the_checks_say() {
    let anchors = TrustAnchors::production();
    let mut seen = 0;
    for sample in read_samples() {
        if authenticate(&sample.evidence, &anchors, sample.expected[0].0).is_ok() {
            assert!(found(&sample.evidence, &anchors, sample.expected[0].0).len() >= 24, "{}", sample.id);
            seen += 1;
        }
    }
    assert!(samples().is_none() || seen == 10, "{seen} samples");
}

#[test]
fn every_form_is_found_in_simulated_evidence() {
    let found = found(&evidence(), &simulated(), now());
    for code in FORMS.iter().flat_map(|(_, codes)| *codes) {
        assert!(found.iter().any(|found| found == code), "{code}");
    }
}

#[test]
fn every_source_lies_in_the_report() {
    let placed: Vec<_> = codes::ALL.iter().filter_map(|code| Some((code.name, code.source?))).collect();
    assert!(placed.len() > 40, "{}", placed.len());
    for (name, (part, offset, length)) in placed {
        assert_eq!(part, "report", "{name}");
        assert!(length > 0 && offset + length <= anchorhold_verifier::snp::REPORT_LEN, "{name}");
    }
}

#[test]
fn reserved_bytes_are_named_by_their_place() {
    let source = |edit: fn(&mut Vec<u8>)| {
        let refusal = authenticate(&bytes_with(edit), &simulated(), now()).unwrap_err();
        let check = refusal.checks().failed().next().unwrap().clone();
        let source = check.source.unwrap();
        (check.observed, source.offset, source.length)
    };
    assert_eq!(source(|bytes| bytes[0x4e] = 1), ("not zero at 0x04c".into(), 0x4c, 4));
    assert_eq!(source(|bytes| bytes[0x1ef] = 1), ("not zero at 0x1ef".into(), 0x1ef, 1));
    assert_eq!(source(|bytes| bytes[0x29f] = 1), ("not zero at 0x208".into(), 0x208, 152));
    assert_eq!(source(|bytes| bytes[0x4b] = 1), ("not zero at 0x048".into(), 0x48, 4));
}
