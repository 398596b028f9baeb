//! Refusals over firmware versions: at the minimum passes, one below in any component does not, and versions of
//! different products never meet.

use crate::support::*;
use anchorhold_attester::software::certificate::Extension;
use anchorhold_attester::software::report::ReportFields;
use anchorhold_attester::software::{LaunchConfig, Product, ReportVersion, SoftwareGuest};
use anchorhold_verifier::dangerous;
use anchorhold_verifier::snp::{FirmwareVersion, GenoaTcb, MinimumTcb, MitigationVectors, Policy, TurinTcb};

/// The bytes of a TCB version in use by Milan and Genoa, and by Turin.
const OLD: [usize; 4] = [0, 1, 6, 7];
const TURIN: [usize; 5] = [0, 1, 2, 3, 7];

fn used(product: Product) -> &'static [usize] {
    match product {
        Product::Milan | Product::Genoa => &OLD,
        Product::Turin => &TURIN,
    }
}

/// A guest whose every component is 10 in all four TCB versions.
fn ten(product: Product, edit: impl FnOnce(&mut LaunchConfig)) -> SoftwareGuest {
    let mut config = LaunchConfig::for_product(MEASUREMENT, product);
    let mut tcb = [0; 8];
    used(product).iter().for_each(|index| tcb[*index] = 10);
    (config.current_tcb, config.reported_tcb, config.committed_tcb, config.launch_tcb) = (tcb, tcb, tcb, tcb);
    edit(&mut config);
    launch(config)
}

fn minimum_of(value: u8) -> MinimumTcb {
    let tcb = GenoaTcb { bootloader: value, tee: value, snp: value, microcode: value };
    let GenoaTcb { bootloader, tee, snp, microcode } = tcb;
    MinimumTcb {
        milan: Some(anchorhold_verifier::snp::MilanTcb { bootloader, tee, snp, microcode }),
        genoa: Some(tcb),
        turin: Some(TurinTcb { fmc: value, bootloader, tee, snp, microcode }),
    }
}

fn policy_of(minimum: MinimumTcb) -> Policy {
    dangerous::allow_simulated(Policy::strict(vec![MEASUREMENT], minimum))
}

#[test]
fn case_06_accepts_a_tcb_exactly_at_the_minimum() {
    for product in [Product::Milan, Product::Genoa, Product::Turin] {
        let evidence = ten(product, |_| {}).attest(&REPORT_DATA).unwrap();
        let mut policy = policy_of(minimum_of(10));
        policy.min_committed_tcb = Some(minimum_of(10));
        policy.min_launch_tcb = Some(minimum_of(10));
        assert_eq!(failed(judge(&evidence, &policy)), [""; 0], "{product:?}");
    }
}

#[test]
fn case_06_refuses_a_reported_tcb_one_below_in_each_component() {
    for product in [Product::Milan, Product::Genoa, Product::Turin] {
        for index in used(product) {
            let guest = ten(product, |config| config.reported_tcb[*index] = 9);
            let refusal =
                judge(&guest.attest(&REPORT_DATA).unwrap(), &policy_of(minimum_of(10))).unwrap_err();
            let failed: Vec<_> = refusal.checks().failed().collect();
            assert_eq!(failed.len(), 1, "{product:?} {index}: {refusal}");
            assert_eq!((failed[0].code.as_ref(), failed[0].observed.as_str()), ("snp_tcb_minimum", "9"));
            assert!(failed[0].wanted.starts_with("reported ") && failed[0].wanted.contains("at least 10"));
        }
    }
}

#[test]
fn case_06_refuses_a_committed_or_launch_tcb_one_below_in_each_component() {
    for product in [Product::Milan, Product::Genoa, Product::Turin] {
        for index in used(product) {
            let mut policy = policy_of(minimum_of(10));
            policy.min_committed_tcb = Some(minimum_of(10));
            policy.min_launch_tcb = Some(minimum_of(10));
            let committed = ten(product, |config| config.committed_tcb[*index] = 9);
            let found = failed(judge(&committed.attest(&REPORT_DATA).unwrap(), &policy));
            assert_eq!(found, ["snp_tcb_committed_minimum"], "{product:?} {index}");
            let launched = ten(product, |config| config.launch_tcb[*index] = 9);
            let found = failed(judge(&launched.attest(&REPORT_DATA).unwrap(), &policy));
            assert_eq!(found, ["snp_tcb_launch_minimum"], "{product:?} {index}");
        }
    }
}

#[test]
fn case_06_one_high_component_does_not_outweigh_a_low_one() {
    let guest = ten(Product::Genoa, |config| {
        config.current_tcb[7] = 255;
        config.reported_tcb[7] = 255;
        config.reported_tcb[0] = 9;
    });
    let found = failed(judge(&guest.attest(&REPORT_DATA).unwrap(), &policy_of(minimum_of(10))));
    assert_eq!(found, ["snp_tcb_minimum"]);
}

#[test]
fn case_06_refuses_a_product_for_which_the_policy_has_no_minimum() {
    let all = minimum_of(10);
    for (product, minimum) in [
        (Product::Milan, MinimumTcb { milan: None, ..all }),
        (Product::Genoa, MinimumTcb { genoa: None, ..all }),
        (Product::Turin, MinimumTcb { turin: None, ..all }),
    ] {
        let evidence = ten(product, |_| {}).attest(&REPORT_DATA).unwrap();
        assert_eq!(failed(judge(&evidence, &policy_of(minimum))), ["snp_product_denied"], "{product:?}");
        let mut policy = policy_of(all);
        policy.min_committed_tcb = Some(minimum);
        policy.min_launch_tcb = Some(minimum);
        let found = failed(judge(&evidence, &policy));
        assert_eq!(found, ["snp_tcb_committed_minimum", "snp_tcb_launch_minimum"], "{product:?}");
    }
    assert_eq!(MinimumTcb::default(), MinimumTcb { milan: None, genoa: None, turin: None });
}

#[test]
fn case_06_refuses_a_tcb_that_the_certificate_does_not_name() {
    for (product, arc) in [Product::Milan, Product::Genoa]
        .into_iter()
        .flat_map(|p| [1, 2, 3, 8].map(|arc| (p, arc)))
        .chain([1, 2, 3, 8, 9].map(|arc| (Product::Turin, arc)))
    {
        for value in [9, 11] {
            let evidence = guest_leaf_with(ten(product, |_| {}), |leaf| {
                let extension = Extension::amd_byte(&[3, arc], value);
                let place = leaf.extensions.iter_mut().find(|e| e.id == extension.id).unwrap();
                *place = extension;
            });
            assert_eq!(refusal(&evidence), "snp_tcb_certified", "{product:?} .3.{arc} {value}");
        }
    }
}

#[test]
fn case_06_refuses_reserved_tcb_bytes() {
    let fields: [fn(&mut ReportFields) -> &mut [u8; 8]; 4] = [
        |fields| &mut fields.current_tcb,
        |fields| &mut fields.reported_tcb,
        |fields| &mut fields.committed_tcb,
        |fields| &mut fields.launch_tcb,
    ];
    for product in [Product::Milan, Product::Genoa, Product::Turin] {
        for index in (0..8).filter(|index| !used(product).contains(index)) {
            for pick in fields {
                let evidence = guest_report_with(&ten(product, |_| {}), |fields| pick(fields)[index] = 1);
                assert_eq!(refusal(&evidence), "snp_tcb_reserved", "{product:?} {index}");
            }
        }
    }
}

#[test]
fn case_06_refuses_versions_above_the_current_one() {
    for product in [Product::Milan, Product::Genoa, Product::Turin] {
        for index in used(product) {
            let raise: [fn(&mut LaunchConfig) -> &mut [u8; 8]; 3] = [
                |config| &mut config.reported_tcb,
                |config| &mut config.committed_tcb,
                |config| &mut config.launch_tcb,
            ];
            for pick in raise {
                let guest = ten(product, |config| pick(config)[*index] = 11);
                let found = failed(judge(&guest.attest(&REPORT_DATA).unwrap(), &policy_of(minimum_of(10))));
                assert_eq!(found, ["snp_tcb_order"], "{product:?} {index}");
            }
        }
    }
}

#[test]
fn refuses_provisional_firmware_when_asked() {
    let policy = policy_with(|policy| policy.require_committed_firmware = true);
    assert_eq!(failed(judge(&evidence(), &policy)), [""; 0]);
    let newer = launch(LaunchConfig { current_tcb: [10, 0, 0, 0, 0, 0, 25, 85], ..config() });
    let newer = newer.attest(&REPORT_DATA).unwrap();
    assert_eq!(failed(judge(&newer, &policy)), ["snp_firmware_provisional"]);
    assert_eq!(failed(judge(&newer, &policy_with(|_| {}))), [""; 0]);
    let build = report_with(|fields| fields.current_version[0] += 1);
    assert_eq!(failed(judge(&build, &policy)), ["snp_firmware_provisional"]);
}

#[test]
fn refuses_firmware_below_the_minimum_version() {
    let at_least = |major, minor, build| {
        policy_with(|policy| policy.min_firmware_version = Some(FirmwareVersion { major, minor, build }))
    };
    assert_eq!(failed(judge(&evidence(), &at_least(1, 55, 43))), [""; 0]);
    assert_eq!(failed(judge(&evidence(), &at_least(1, 54, 255))), [""; 0]);
    for (major, minor, build) in [(1, 55, 44), (1, 56, 0), (2, 0, 0)] {
        assert_eq!(failed(judge(&evidence(), &at_least(major, minor, build))), ["snp_firmware_version"; 2]);
    }
    let committed_below = report_with(|fields| fields.committed_version[0] -= 1);
    assert_eq!(failed(judge(&committed_below, &at_least(1, 55, 43))), ["snp_firmware_version"]);
    let both_below = report_with(|fields| {
        fields.current_version[1] -= 1;
        fields.committed_version[1] -= 1;
    });
    assert_eq!(failed(judge(&both_below, &at_least(1, 55, 43))), ["snp_firmware_version"; 2]);
}

#[test]
fn refuses_a_committed_firmware_version_above_the_current_one() {
    for part in 0..3 {
        let above = report_with(|fields| fields.committed_version[part] += 1);
        assert_eq!(failed(judge(&above, &policy_with(|_| {}))), ["snp_firmware_order"], "{part}");
    }
}

#[test]
fn refuses_mitigations_that_are_not_active() {
    let both = MitigationVectors { launch: 0b1001, current: 0b1001 };
    let policy = |vectors| policy_with(|policy| policy.required_mitigations = vectors);
    assert_eq!(failed(judge(&evidence(), &policy(both))), [""; 0]);
    let at_launch = report_with(|fields| fields.launch_mitigations = 0b0001);
    assert_eq!(failed(judge(&at_launch, &policy(both))), ["snp_mitigations"]);
    let now = report_with(|fields| fields.current_mitigations = 0b1000);
    assert_eq!(failed(judge(&now, &policy(both))), ["snp_mitigations"]);
    for version in [ReportVersion::V2, ReportVersion::V3, ReportVersion::V4] {
        let old = launch(LaunchConfig { report_version: version, ..config() }).attest(&REPORT_DATA).unwrap();
        assert_eq!(failed(judge(&old, &policy(both))), ["snp_mitigations"; 2], "{version:?}");
        assert_eq!(failed(judge(&old, &policy(MitigationVectors::default()))), [""; 0], "{version:?}");
    }
}

#[test]
fn mitigations_are_two_sets_of_bits_and_no_numbers() {
    let patched_since = report_with(|fields| {
        fields.launch_mitigations = 0b0011;
        fields.current_mitigations = 0b0111;
    });
    let policy = |launch, current| {
        policy_with(|policy| policy.required_mitigations = MitigationVectors { launch, current })
    };
    assert_eq!(failed(judge(&patched_since, &policy(0b0011, 0b0111))), [""; 0]);
    assert_eq!(failed(judge(&patched_since, &policy(0b0001, 0b0100))), [""; 0]);
    assert_eq!(failed(judge(&patched_since, &policy(0b0100, 0b0100))), ["snp_mitigations"]);
    // A larger number that lacks the one bit.
    let other_bits = report_with(|fields| {
        fields.launch_mitigations = u64::MAX - 1;
        fields.current_mitigations = u64::MAX - 1;
    });
    assert_eq!(failed(judge(&other_bits, &policy(1, 0))), ["snp_mitigations"]);
    assert_eq!(failed(judge(&other_bits, &policy(0, 1))), ["snp_mitigations"]);
}
