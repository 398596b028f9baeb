//! One test for each rule of the policy.

use crate::made::*;
use crate::support::codes_of;
use anchorhold_attester::software::tdx::{PlatformFlags, QuoteVersion, Registers, TdConfig};
use anchorhold_rats::{Measurement, Outcome, ReportData};
use anchorhold_verifier::dangerous;
use anchorhold_verifier::tdx::{Flag, PlatformId, Policy, Xfam, appraise, codes};

#[test]
fn case_05_refuses_other_mrtds_and_a_policy_without_any() {
    let made = made(|_| {});
    assert_eq!(made.failed(|policy| policy.mrtds = vec![Measurement::new([8; 48])]), ["tdx_mrtd"]);
    assert_eq!(made.failed(|policy| policy.mrtds.clear()), ["tdx_mrtds_empty", "tdx_mrtd"]);
    assert_eq!(made.failed(|policy| policy.mrtds.insert(0, Measurement::new([8; 48]))), [""; 0]);
}

#[test]
fn case_03_refuses_a_quote_for_other_report_data() {
    let refusal = appraise(made(|_| {}).authentic(), &policy(), &ReportData::new([8; 64])).unwrap_err();
    assert_eq!(codes_of(&refusal), ["tdx_report_data"]);
}

#[test]
fn case_05_refuses_a_simulated_root_unless_told() {
    let refusal = appraise(made(|_| {}).authentic(), &Policy::strict(vec![MRTD]), &REPORT_DATA).unwrap_err();
    assert_eq!(codes_of(&refusal), ["tdx_simulated"]);
}

#[test]
fn refuses_registers_that_are_not_the_named_ones() {
    let names = ["tdx_rtmr0", "tdx_rtmr1", "tdx_rtmr2", "tdx_rtmr3"];
    let values: [[u8; 48]; 4] = [1, 2, 3, 4].map(|value| [value; 48]);
    let made = made(|config| config.registers = Registers::Values(values));
    assert_eq!(made.failed(|policy| policy.rtmrs = values.map(Some)), [""; 0]);
    for (index, code) in names.into_iter().enumerate() {
        assert_eq!(made.failed(|policy| policy.rtmrs[index] = Some([9; 48])), [code]);
    }
}

#[test]
fn refuses_measurements_that_are_not_the_named_ones() {
    let made = made(|config| {
        config.mr_seam = [1; 48];
        config.mr_config_id = [2; 48];
        config.mr_owner = [3; 48];
        config.mr_owner_config = [4; 48];
    });
    let all = made.failed(|policy| {
        policy.mr_seams = Some(vec![[9; 48], [1; 48]]);
        policy.mr_config_id = Some([2; 48]);
        policy.mr_owner = Some([3; 48]);
        policy.mr_owner_config = Some([4; 48]);
    });
    assert_eq!(all, [""; 0]);
    assert_eq!(made.failed(|policy| policy.mr_seams = Some(vec![[9; 48]])), ["tdx_mrseam"]);
    assert_eq!(made.failed(|policy| policy.mr_seams = Some(Vec::new())), ["tdx_mrseam"]);
    assert_eq!(made.failed(|policy| policy.mr_config_id = Some([9; 48])), ["tdx_mr_config_id"]);
    assert_eq!(made.failed(|policy| policy.mr_owner = Some([9; 48])), ["tdx_mr_owner"]);
    assert_eq!(made.failed(|policy| policy.mr_owner_config = Some([9; 48])), ["tdx_mr_owner_config"]);
}

/// Where a policy holds a rule about a bit.
type Rule = fn(&mut Policy) -> &mut Flag;

const SEPT: u64 = 1 << 28;

fn with_attributes(attributes: u64) -> Made {
    made(|config| config.attributes = attributes)
}

#[test]
fn case_05_refuses_a_td_under_debug_unless_told() {
    let made = with_attributes(SEPT | 1);
    assert_eq!(made.failed(|_| {}), ["tdx_debug"]);
    assert_eq!(made.failed(|policy| *policy = dangerous::allow_debug(policy.clone())), [""; 0]);
}

#[test]
fn case_05_refuses_profiling_and_reserved_bits_even_where_debug_is_allowed() {
    let debug = |policy: &mut Policy| *policy = dangerous::allow_debug(policy.clone());
    for bit in [4, 5, 6] {
        assert_eq!(with_attributes(SEPT | 1 << bit).failed(debug), ["tdx_profiling"], "{bit}");
    }
    let reserved = (1..4).chain(7..16).chain(18..27).chain(32..62);
    for bit in reserved {
        assert_eq!(with_attributes(SEPT | 1 << bit).failed(debug), ["tdx_attributes_reserved"], "{bit}");
    }
}

#[test]
fn refuses_a_td_that_the_host_can_send_exceptions_unless_told() {
    let made = with_attributes(0);
    assert_eq!(made.failed(|_| {}), ["tdx_sept_ve_disable"]);
    assert_eq!(made.failed(|policy| policy.attributes.require_sept_ve_disable = false), [""; 0]);
}

#[test]
fn case_05_refuses_a_td_that_can_be_migrated_unless_told() {
    let made = with_attributes(SEPT | 1 << 29);
    assert_eq!(made.failed(|_| {}), ["tdx_migratable"]);
    assert_eq!(made.failed(|policy| *policy = dangerous::allow_migration_agent(policy.clone())), [""; 0]);
}

#[test]
fn refuses_performance_monitoring_unless_told() {
    let made = with_attributes(SEPT | 1 << 63);
    assert_eq!(made.failed(|_| {}), ["tdx_perfmon"]);
    assert_eq!(made.failed(|policy| policy.attributes.allow_perfmon = true), [""; 0]);
}

#[test]
fn refuses_attribute_bits_that_are_not_as_asked() {
    let rules: [(u32, Rule, &str, &[&str]); 5] = [
        (30, |policy| &mut policy.attributes.pks, "tdx_pks", &[]),
        (31, |policy| &mut policy.attributes.key_locker, "tdx_key_locker", &[]),
        (27, |policy| &mut policy.attributes.lass, "tdx_lass", &[]),
        (16, |policy| &mut policy.attributes.step_defence, "tdx_step_defence", &[]),
        (
            62,
            |policy| &mut policy.attributes.provisioning_agent,
            "tdx_provisioning_agent",
            &["tdx_provisioning_agent"],
        ),
    ];
    for (bit, rule, code, by_default) in rules {
        let (clear, set) = (with_attributes(SEPT), with_attributes(SEPT | 1 << bit));
        assert_eq!(clear.failed(|_| {}), [""; 0], "{code}");
        assert_eq!(set.failed(|_| {}), by_default, "{code}");
        assert_eq!(clear.failed(|policy| *rule(policy) = Flag::Set), [code]);
        assert_eq!(set.failed(|policy| *rule(policy) = Flag::Clear), [code]);
        assert_eq!(set.failed(|policy| *rule(policy) = Flag::Set), [""; 0]);
        assert_eq!(clear.failed(|policy| *rule(policy) = Flag::Clear), [""; 0]);
        assert_eq!(set.failed(|policy| *rule(policy) = Flag::Either), [""; 0]);
    }
}

#[test]
fn refuses_processor_features_that_cannot_be_or_are_not_as_asked() {
    for xfam in [0x2e7 & !1, 0x2e7 & !2, 0x2e7 | 1 << 3, 0x2e7 | 1 << 19, 0x2e7 | 1 << 63] {
        let made = made(|config| config.xfam = xfam);
        assert_eq!(made.failed(|_| {}), ["tdx_xfam_fixed"], "{xfam:#x}");
    }
    let made = made(|config| config.xfam = 0x2e7);
    assert_eq!(made.failed(|policy| policy.xfam = Some(Xfam(0x2e7))), [""; 0]);
    assert_eq!(made.failed(|policy| policy.xfam = Some(Xfam(0x602e7))), ["tdx_xfam"]);
}

#[test]
fn case_05_refuses_service_tds_that_are_not_named() {
    let named = |policy: &mut Policy| policy.allowed_service_tds = vec![[5; 48]];
    let places: [fn(&mut TdConfig); 3] = [
        |config| config.mr_service_td = [5; 48],
        |config| config.td15_ex.initial_service_td.0 = [5; 48],
        |config| config.td15_ex.current_service_td.0 = [5; 48],
    ];
    for (index, place) in places.into_iter().enumerate() {
        let made = made_extended(place);
        assert_eq!(made.failed(|_| {}), ["tdx_service_td"], "{index}");
        assert_eq!(made.failed(named), [""; 0], "{index}");
        assert_eq!(
            made.failed(|policy| policy.allowed_service_tds = vec![[6; 48]]),
            ["tdx_service_td"],
            "{index}"
        );
    }
    assert_eq!(made(places[0]).failed(|_| {}), ["tdx_service_td"]);
}

#[test]
fn case_05_refuses_extended_service_td_binding_that_is_not_shown_or_not_named() {
    let extended = |config: &mut TdConfig| config.attributes = SEPT | 1 << 17;
    let named = |policy: &mut Policy| policy.allowed_service_tds = vec![[5; 48]];
    assert_eq!(made(extended).failed(|_| {}), ["tdx_service_td_extended"]);
    assert_eq!(made(extended).failed(named), ["tdx_service_td_extended"]);
    assert_eq!(made_extended(extended).failed(|_| {}), ["tdx_service_td_extended"]);
    assert_eq!(made_extended(extended).failed(named), [""; 0]);
}

#[test]
fn refuses_devices_and_vm_indices_that_are_not_named() {
    let made = made_extended(|config| config.td15_ex.device_info = [5; 48]);
    assert_eq!(made.failed(|_| {}), ["tdx_device_info"]);
    assert_eq!(made.failed(|policy| policy.allowed_device_infos = vec![[5; 48]]), [""; 0]);
    let made = made_extended(|config| config.td15_ex.vm_id = 1);
    assert_eq!(made.failed(|_| {}), ["tdx_vm_index"]);
    assert_eq!(made.failed(|policy| policy.allowed_vm_indices = vec![1]), [""; 0]);
}

#[test]
fn refuses_platform_flags_that_are_not_as_asked_or_not_stated() {
    let rules: [(Rule, &str); 3] = [
        (|policy| &mut policy.platform.dynamic_platform, "tdx_dynamic_platform"),
        (|policy| &mut policy.platform.cached_keys, "tdx_cached_keys"),
        (|policy| &mut policy.platform.smt, "tdx_smt"),
    ];
    let with_flags = |value: Option<bool>| {
        made(|config| {
            config.platform.flags = value.map(|value| PlatformFlags {
                dynamic_platform: value,
                cached_keys: value,
                smt_enabled: value,
            });
        })
    };
    let (set, clear, none) = (with_flags(Some(true)), with_flags(Some(false)), with_flags(None));
    for (rule, code) in rules {
        assert_eq!(set.failed(|policy| *rule(policy) = Flag::Clear), [code]);
        assert_eq!(clear.failed(|policy| *rule(policy) = Flag::Set), [code]);
        assert_eq!(none.failed(|policy| *rule(policy) = Flag::Clear), [code]);
        assert_eq!(none.failed(|policy| *rule(policy) = Flag::Set), [code]);
        assert_eq!(set.failed(|policy| *rule(policy) = Flag::Set), [""; 0]);
        assert_eq!(clear.failed(|policy| *rule(policy) = Flag::Clear), [""; 0]);
        assert_eq!(none.failed(|_| {}), [""; 0]);
    }
}

#[test]
fn refuses_denied_platforms_and_those_that_are_not_allowed() {
    let made = made(|_| {});
    let (this, other) = (PlatformId(*b"SIMULATED PPID.."), PlatformId([1; 16]));
    assert_eq!(made.failed(|policy| policy.denied_platforms = vec![other, this]), ["tdx_platform_denied"]);
    assert_eq!(made.failed(|policy| policy.denied_platforms = vec![other]), [""; 0]);
    assert_eq!(
        made.failed(|policy| policy.allowed_platforms = Some(vec![other])),
        ["tdx_platform_not_allowed"]
    );
    assert_eq!(made.failed(|policy| policy.allowed_platforms = Some(vec![other, this])), [""; 0]);
}

#[test]
fn an_accepted_quote_was_looked_at_by_every_rule_and_each_names_its_bytes() {
    let accepted = made_extended(|_| {}).verify(|_| {}).unwrap();
    let checks = accepted.checks().all();
    for code in codes::ALL {
        assert!(checks.iter().any(|check| check.code == code.name), "{}", code.name);
    }
    let place = |name: &str| {
        let check = checks.iter().find(|check| check.code == name).unwrap();
        let source = check.source.as_ref().unwrap();
        assert_eq!(source.part, "quote");
        assert_ne!(check.outcome, Outcome::Failed);
        (source.offset, source.length)
    };
    assert_eq!(place("tdx_module_unknown"), (54 + 1, 1));
    assert_eq!(place("tdx_mrsignerseam"), (54 + 64, 48));
    assert_eq!(place("tdx_seam_attributes"), (54 + 112, 8));
    assert_eq!(place("tdx_mrtd"), (54 + 136, 48));
    assert_eq!(place("tdx_report_data"), (54 + 520, 64));
    assert_eq!(place("tdx_vm_index"), (54 + 648, 1));
    assert_eq!(place("tdx_tee_type"), (4, 4));
    let authentic = made(|config| config.version = QuoteVersion::V4);
    let accepted = authentic.verify(|_| {}).unwrap();
    let mrtd = accepted.checks().all().iter().find(|check| check.code == "tdx_mrtd").unwrap();
    assert_eq!(mrtd.source.as_ref().unwrap().offset, 48 + 136);
}

#[test]
fn every_refusal_is_reported_not_only_the_first() {
    let made = with_attributes(1 | 1 << 29);
    let failed = made.failed(|policy| {
        policy.mrtds = vec![Measurement::new([8; 48])];
        policy.min_tcb_evaluation_number = 99;
        policy.denied_platforms = vec![PlatformId(*b"SIMULATED PPID..")];
    });
    let wanted = [
        "tdx_mrtd",
        "tdx_debug",
        "tdx_migratable",
        "tdx_sept_ve_disable",
        "tdx_evaluation_number",
        "tdx_platform_denied",
    ];
    assert_eq!(failed, wanted);
}
