//! Refusals of the stages parse, signature and identity. Every report here carries a good signature over the
//! changed bytes, so only the rule in question can refuse it.

use crate::support::*;
use anchorhold_attester::software::{LaunchConfig, Product, ReportVersion, Signer};
use anchorhold_rats::{Der, Stage};
use anchorhold_verifier::TrustAnchors;
use anchorhold_verifier::snp::{ChipId, REPORT_LEN, Report, SIGNED_LEN};

#[test]
fn accepts_every_known_version() {
    for version in 2..=5 {
        authentic(&report_with(|fields| fields.version = version));
    }
}

#[test]
fn case_09_refuses_evidence_over_its_limits() {
    let mut many = evidence();
    many.certificates = vec![Der(vec![]); 9];
    assert_eq!(refusal(&many), "evidence_limit");
    let mut long = evidence();
    long.report = vec![0; 16 * 1024 + 1];
    assert_eq!(refusal(&long), "evidence_limit");
}

#[test]
fn case_09_refuses_every_other_length() {
    let whole = evidence();
    for length in (0..REPORT_LEN).chain([REPORT_LEN + 1, 2 * REPORT_LEN]) {
        let mut other = whole.clone();
        other.report.resize(length, 0);
        assert_eq!(refusal(&other), "snp_report_length", "{length}");
    }
}

#[test]
fn case_05_refuses_unknown_versions() {
    for version in [0, 1, 6, 0x0100_0005, u32::MAX] {
        assert_eq!(
            refusal(&report_with(|fields| fields.version = version)),
            "snp_report_version",
            "{version}"
        );
    }
}

#[test]
fn case_05_refuses_other_signature_algorithms() {
    for algorithm in [0_u8, 2, 0xff] {
        assert_eq!(refusal(&bytes_with(|bytes| bytes[0x34] = algorithm)), "snp_signature_algorithm");
    }
    assert_eq!(refusal(&bytes_with(|bytes| bytes[0x37] = 1)), "snp_signature_algorithm");
}

#[test]
fn case_05_refuses_reserved_bytes_that_are_not_zero() {
    let refused = |version: ReportVersion, number: Option<u8>, offset: usize| {
        let guest = launch(LaunchConfig { report_version: version, ..config() });
        let mut bytes = guest.report_fields(&REPORT_DATA).encode();
        if let Some(number) = number {
            bytes[0] = number;
            bytes[0x188..0x18b].fill(0);
        }
        bytes[offset] = 1;
        assert_eq!(refusal(&guest.sign(&bytes).unwrap()), "snp_report_reserved", "{version:?} {offset:#x}");
    };
    for offset in (0x4c..0x50).chain(0x18b..0x1a0).chain([0x1eb, 0x1ef]).chain(0x208..SIGNED_LEN) {
        refused(ReportVersion::V5, None, offset);
    }
    for offset in 0x1f8..0x208 {
        refused(ReportVersion::V3, None, offset);
        refused(ReportVersion::V3, Some(4), offset);
    }
    for offset in (0x188..0x18b).chain(0x1f8..0x208) {
        refused(ReportVersion::V3, Some(2), offset);
    }
    for bit in 5..32 {
        assert_eq!(
            refusal(&report_with(|fields| fields.flags |= 1 << bit)),
            "snp_report_reserved",
            "flag {bit}"
        );
    }
}

#[test]
fn case_05_refuses_unsigned_bytes_that_are_not_zero() {
    let whole = evidence();
    let r_and_s = (SIGNED_LEN..SIGNED_LEN + 48).chain(SIGNED_LEN + 72..SIGNED_LEN + 120);
    let used: Vec<usize> = r_and_s.collect();
    for offset in (SIGNED_LEN..REPORT_LEN).filter(|offset| !used.contains(offset)) {
        let mut padded = whole.clone();
        padded.report[offset] = 1;
        assert_eq!(refusal(&padded), "snp_signature_padding", "{offset:#x}");
    }
}

#[test]
fn case_05_refuses_guest_policies_that_are_not_well_formed() {
    assert_eq!(refusal(&report_with(|fields| fields.policy &= !(1 << 17))), "snp_guest_policy_reserved");
    for bit in 26..64 {
        assert_eq!(
            refusal(&report_with(|fields| fields.policy |= 1 << bit)),
            "snp_guest_policy_reserved",
            "{bit}"
        );
    }
}

#[test]
fn case_05_refuses_vmpls_that_do_not_exist() {
    for vmpl in [4, 0x0100_0000, u32::MAX] {
        assert_eq!(refusal(&report_with(|fields| fields.vmpl = vmpl)), "snp_vmpl_range", "{vmpl}");
    }
}

#[test]
fn case_05_refuses_unknown_signing_keys_and_unsigned_reports() {
    for key in 2..7 {
        assert_eq!(
            refusal(&report_with(|fields| fields.flags = key << 2)),
            "snp_signing_key_reserved",
            "{key}"
        );
    }
    assert_eq!(refusal(&report_with(|fields| fields.flags = 7 << 2)), "snp_report_unsigned");
    assert_eq!(refusal(&report_with(|fields| fields.flags = 1 << 1)), "snp_report_unsigned");
}

#[test]
fn a_vlek_may_sign_where_the_chip_key_is_masked() {
    let guest = launch(LaunchConfig { signer: Signer::Vlek, ..config() });
    authentic(&guest_report_with(&guest, |fields| fields.flags |= 1 << 1));
}

#[test]
fn case_05_refuses_a_signature_by_another_key() {
    let chip_id = Some([5; 64]);
    let mine = launch(LaunchConfig { chip_id, ..config() });
    let other = launch(LaunchConfig { chip_id, ..config() });
    let mut swapped = mine.attest(&REPORT_DATA).unwrap();
    swapped.certificates = other.attest(&REPORT_DATA).unwrap().certificates;
    let refusal = authenticate(&swapped, &simulated(), now()).unwrap_err();
    assert_eq!((refusal.stage(), refusal.code()), (Stage::Signature, "snp_report_signature"));
}

#[test]
fn case_05_refuses_a_signature_over_other_bytes() {
    let mut changed = evidence();
    changed.report[0x90] ^= 1;
    assert_eq!(refusal(&changed), "snp_report_signature");
    let mut zero = evidence();
    zero.report[SIGNED_LEN..].fill(0);
    assert_eq!(refusal(&zero), "snp_report_signature");
}

#[test]
fn case_06_refuses_a_cpuid_of_another_product() {
    for cpuid in [[0x19, 0x01, 1], [0x1a, 0x02, 1], [0x19, 0x20, 1], [0x1b, 0x00, 0], [0, 0, 0]] {
        assert_eq!(refusal(&report_with(|fields| fields.cpuid = cpuid)), "snp_product_cpuid", "{cpuid:02x?}");
    }
    let milan = launch(LaunchConfig::for_product(MEASUREMENT, Product::Milan));
    let genoa_cpuid = guest_report_with(&milan, |fields| fields.cpuid = [0x19, 0x11, 1]);
    assert_eq!(refusal(&genoa_cpuid), "snp_product_cpuid");
}

#[test]
fn case_05_refuses_a_chip_that_the_certificate_does_not_name() {
    assert_eq!(refusal(&report_with(|fields| fields.chip_id[0] ^= 1)), "snp_chip_id");
    assert_eq!(refusal(&report_with(|fields| fields.chip_id[63] ^= 1)), "snp_chip_id");
    assert_eq!(refusal(&guest_report_with(&turin(), |fields| fields.chip_id[7] ^= 1)), "snp_chip_id");
    assert_eq!(refusal(&guest_report_with(&turin(), |fields| fields.chip_id[8] ^= 1)), "snp_chip_id");
}

#[test]
fn a_masked_chip_id_is_taken_from_the_certificate() {
    let chip_id = [5; 64];
    let guest = launch(LaunchConfig { chip_id: Some(chip_id), ..config() });
    let masked = guest_report_with(&guest, |fields| fields.chip_id = [0; 64]);
    assert_eq!(authentic(&masked).claims().chip_id(), Some(ChipId(chip_id)));
    let vlek = launch(LaunchConfig { signer: Signer::Vlek, ..config() });
    assert_eq!(authentic(&vlek.attest(&REPORT_DATA).unwrap()).claims().chip_id(), None);
}

#[test]
fn every_broken_rule_of_the_shape_is_reported() {
    let evidence = report_with(|fields| {
        fields.vmpl = 9;
        fields.policy = 0;
    });
    let refusal = Report::parse(&evidence.report).unwrap_err();
    let codes: Vec<_> = refusal.checks().failed().map(|check| check.code.as_ref()).collect();
    assert_eq!(codes, ["snp_guest_policy_reserved", "snp_vmpl_range"]);
    assert_eq!(refusal.stage(), Stage::Parse);
    assert!(refusal.to_string().contains("snp_vmpl_range: wanted 0 to 3, observed 9"));
}

#[test]
fn authentic_evidence_says_where_its_root_comes_from_and_when_it_ends() {
    let authentic = authentic(&evidence());
    assert!(authentic.simulated());
    assert_eq!(authentic.expires(), now().plus_seconds(config().certificate_seconds));
    assert!(!TrustAnchors::production().are_simulated());
    assert!(simulated().are_simulated());
}
