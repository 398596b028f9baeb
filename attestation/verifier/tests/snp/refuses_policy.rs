//! Refusals of the stages policy and binding. Each evidence passes the unchanged policy except for one value.

use crate::support::*;
use anchorhold_attester::software::{Debug, LaunchConfig, MigrationAgent, Signer};
use anchorhold_rats::{Measurement, Outcome, ReportData, Stage};
use anchorhold_verifier::dangerous;
use anchorhold_verifier::snp::{ChipId, Flag, GuestPolicyRules, PlatformRules};

fn attest(config: LaunchConfig) -> anchorhold_rats::Evidence {
    launch(config).attest(&REPORT_DATA).unwrap()
}

#[test]
fn accepts_the_control_and_says_what_it_saw() {
    let evidence = attest(LaunchConfig { chip_id: Some([5; 64]), ..config() });
    let result = judge(&evidence, &policy()).unwrap();
    assert_eq!(result.claims().report().measurement, MEASUREMENT);
    assert_eq!(result.claims().chip_id(), Some(ChipId([5; 64])));
    assert_eq!(result.claims().report().policy.0, 0x3_0000);
    assert_eq!(result.claims().tcb().to_string(), "bootloader 10 tee 0 snp 25 microcode 84");
    assert_eq!(result.claims().report().report_data, REPORT_DATA);
    assert!(result.simulated());
    assert!(result.checks().none_failed());
    assert!(
        result
            .checks()
            .all()
            .iter()
            .any(|check| check.outcome == Outcome::Passed && check.code == "snp_measurement")
    );
    assert_eq!(result.expires(), now().plus_seconds(config().certificate_seconds));
}

#[test]
fn case_03_refuses_other_report_data() {
    let mut other = *REPORT_DATA.as_bytes();
    other[63] ^= 1;
    let refusal = appraise(authentic(&evidence()), &policy(), &ReportData::new(other)).unwrap_err();
    assert_eq!((refusal.stage(), refusal.code()), (Stage::Binding, "snp_report_data"));
}

#[test]
fn case_05_refuses_measurements_that_the_policy_does_not_name() {
    let other = policy_with(|policy| policy.measurements = vec![Measurement::new([8; 48])]);
    assert_eq!(failed(judge(&evidence(), &other)), ["snp_measurement"]);
    let both = policy_with(|policy| policy.measurements = vec![Measurement::new([8; 48]), MEASUREMENT]);
    assert_eq!(failed(judge(&evidence(), &both)), [""; 0]);
}

#[test]
fn case_08_refuses_everything_under_an_empty_list_of_measurements() {
    let empty = policy_with(|policy| policy.measurements.clear());
    assert_eq!(failed(judge(&evidence(), &empty)), ["snp_measurements_empty", "snp_measurement"]);
}

#[test]
fn case_05_refuses_debug_guest() {
    let debug = attest(LaunchConfig { debug: Debug::Allowed, ..config() });
    assert_eq!(failed(judge(&debug, &policy())), ["snp_debug_allowed"]);
    assert_eq!(failed(judge(&debug, &dangerous::allow_debug(policy()))), [""; 0]);
    assert_eq!(failed(judge(&debug, &dangerous::allow_migration_agent(policy()))), ["snp_debug_allowed"]);
}

#[test]
fn case_05_refuses_migratable_guest() {
    let migratable = attest(LaunchConfig { migration_agent: MigrationAgent::Allowed, ..config() });
    assert_eq!(failed(judge(&migratable, &policy())), ["snp_migration_allowed"]);
    assert_eq!(failed(judge(&migratable, &dangerous::allow_migration_agent(policy()))), [""; 0]);
    assert_eq!(failed(judge(&migratable, &dangerous::allow_debug(policy()))), ["snp_migration_allowed"]);
}

#[test]
fn case_05_refuses_vmpls_that_the_policy_does_not_name() {
    for vmpl in 1..=3 {
        let evidence = attest(LaunchConfig { vmpl, ..config() });
        assert_eq!(failed(judge(&evidence, &policy())), ["snp_vmpl"]);
        assert_eq!(
            failed(judge(&evidence, &policy_with(|policy| policy.allowed_vmpls = vec![vmpl]))),
            [""; 0]
        );
    }
    assert_eq!(
        failed(judge(&evidence(), &policy_with(|policy| policy.allowed_vmpls = vec![1]))),
        ["snp_vmpl"]
    );
}

#[test]
fn case_05_refuses_signers_that_the_policy_does_not_name() {
    use anchorhold_verifier::snp::Signer as Named;
    let vlek = attest(LaunchConfig { signer: Signer::Vlek, ..config() });
    assert_eq!(failed(judge(&vlek, &policy())), ["snp_signer"]);
    assert_eq!(
        failed(judge(&vlek, &policy_with(|policy| policy.allowed_signers = vec![Named::Vlek]))),
        [""; 0]
    );
    assert_eq!(
        failed(judge(&evidence(), &policy_with(|policy| policy.allowed_signers = vec![Named::Vlek]))),
        ["snp_signer"]
    );
}

#[test]
fn case_05_refuses_providers_that_the_policy_does_not_name() {
    use anchorhold_verifier::snp::Signer as Named;
    let vlek = attest(LaunchConfig { signer: Signer::Vlek, ..config() });
    let allowed = |providers: &[&str]| {
        policy_with(|policy| {
            policy.allowed_signers = vec![Named::Vcek, Named::Vlek];
            policy.allowed_providers = Some(providers.iter().map(ToString::to_string).collect());
        })
    };
    let this = "CN=simulated.anchorhold.invalid";
    assert_eq!(authentic(&vlek).claims().provider(), Some(this));
    assert_eq!(failed(judge(&vlek, &allowed(&["CN=another.invalid", this]))), [""; 0]);
    assert_eq!(failed(judge(&vlek, &allowed(&["CN=another.invalid"]))), ["snp_provider"]);
    assert_eq!(failed(judge(&vlek, &allowed(&[]))), ["snp_provider"]);
    assert_eq!(failed(judge(&evidence(), &allowed(&[]))), [""; 0], "a VCEK is of no provider");
}

#[test]
fn refuses_guest_svn_below_the_minimum() {
    let evidence = attest(LaunchConfig { guest_svn: 3, ..config() });
    assert_eq!(failed(judge(&evidence, &policy_with(|policy| policy.min_guest_svn = 3))), [""; 0]);
    assert_eq!(failed(judge(&evidence, &policy_with(|policy| policy.min_guest_svn = 4))), ["snp_guest_svn"]);
}

#[test]
fn refuses_guest_policies_below_the_minimum_abi() {
    let evidence = attest(LaunchConfig { guest_policy: 0x3_0000 | 0x0137, ..config() });
    let rule = |version| policy_with(|policy| policy.guest_policy.min_abi_version = version);
    assert_eq!(failed(judge(&evidence, &rule((1, 0x37)))), [""; 0]);
    assert_eq!(failed(judge(&evidence, &rule((0, 0xff)))), [""; 0]);
    assert_eq!(failed(judge(&evidence, &rule((1, 0x38)))), ["snp_abi_version"]);
    assert_eq!(failed(judge(&evidence, &rule((2, 0)))), ["snp_abi_version"]);
}

#[test]
fn refuses_each_guest_policy_bit_that_is_not_as_asked() {
    type Pick = fn(&mut GuestPolicyRules) -> &mut Flag;
    let bits: [(u32, Pick, &str); 7] = [
        (16, |rules| &mut rules.smt_allowed, "snp_smt"),
        (20, |rules| &mut rules.single_socket, "snp_single_socket"),
        (21, |rules| &mut rules.cxl_allowed, "snp_cxl"),
        (22, |rules| &mut rules.aes_256_xts, "snp_aes_256_xts"),
        (23, |rules| &mut rules.rapl_disabled, "snp_rapl"),
        (24, |rules| &mut rules.ciphertext_hiding, "snp_ciphertext_hiding"),
        (25, |rules| &mut rules.page_swap_disabled, "snp_page_swap"),
    ];
    for (bit, pick, code) in bits {
        let set = attest(LaunchConfig { guest_policy: 1 << 17 | 1 << bit, ..config() });
        let clear = attest(LaunchConfig { guest_policy: 1 << 17, ..config() });
        let rule = |flag| policy_with(|policy| *pick(&mut policy.guest_policy) = flag);
        assert_eq!(failed(judge(&set, &rule(Flag::Set))), [""; 0], "{code}");
        assert_eq!(failed(judge(&clear, &rule(Flag::Clear))), [""; 0], "{code}");
        assert_eq!(failed(judge(&set, &rule(Flag::Clear))), [code]);
        assert_eq!(failed(judge(&clear, &rule(Flag::Set))), [code]);
        assert_eq!(failed(judge(&set, &rule(Flag::Either))), [""; 0], "{code}");
    }
    let cxl = attest(LaunchConfig { guest_policy: 0x3_0000 | 1 << 21, ..config() });
    assert_eq!(failed(judge(&cxl, &policy())), ["snp_cxl"]);
}

#[test]
fn refuses_platforms_without_a_finished_alias_check() {
    let open = attest(LaunchConfig { platform_info: 0x05, ..config() });
    assert_eq!(failed(judge(&open, &policy())), ["snp_alias_check"]);
    assert_eq!(failed(judge(&open, &policy_with(|policy| policy.require_alias_check = false))), [""; 0]);
}

#[test]
fn refuses_each_platform_bit_that_is_not_as_asked() {
    type Pick = fn(&mut PlatformRules) -> &mut Flag;
    let bits: [(u32, Pick, &str); 6] = [
        (0, |rules| &mut rules.smt_enabled, "snp_platform_smt"),
        (1, |rules| &mut rules.tsme_enabled, "snp_platform_tsme"),
        (2, |rules| &mut rules.ecc_enabled, "snp_platform_ecc"),
        (3, |rules| &mut rules.rapl_disabled, "snp_platform_rapl"),
        (4, |rules| &mut rules.ciphertext_hiding_enabled, "snp_platform_ciphertext_hiding"),
        (7, |rules| &mut rules.tio_enabled, "snp_platform_tio"),
    ];
    for (bit, pick, code) in bits {
        let set = attest(LaunchConfig { platform_info: 1 << 5 | 1 << bit, ..config() });
        let clear = attest(LaunchConfig { platform_info: 1 << 5, ..config() });
        let rule = |flag| policy_with(|policy| *pick(&mut policy.platform) = flag);
        assert_eq!(failed(judge(&set, &rule(Flag::Set))), [""; 0], "{code}");
        assert_eq!(failed(judge(&clear, &rule(Flag::Clear))), [""; 0], "{code}");
        assert_eq!(failed(judge(&set, &rule(Flag::Clear))), [code]);
        assert_eq!(failed(judge(&clear, &rule(Flag::Set))), [code]);
    }
}

#[test]
fn unknown_platform_bits_are_ignored() {
    assert_eq!(
        failed(judge(&attest(LaunchConfig { platform_info: 1 << 63 | 0x67, ..config() }), &policy())),
        [""; 0]
    );
}

#[test]
fn case_05_refuses_other_launch_identities() {
    let named = policy_with(|policy| {
        policy.host_data = Some([1; 32]);
        policy.family_id = Some([2; 16]);
        policy.image_id = Some([3; 16]);
        policy.id_keys = Some(vec![[4; 48]]);
        policy.author_keys = Some(vec![[9; 48], [5; 48]]);
        policy.require_author_key = true;
    });
    let right = LaunchConfig {
        host_data: [1; 32],
        family_id: [2; 16],
        image_id: [3; 16],
        id_key_digest: [4; 48],
        author_key_digest: Some([5; 48]),
        ..config()
    };
    assert_eq!(failed(judge(&attest(right.clone()), &named)), [""; 0]);
    for (wrong, code) in [
        (LaunchConfig { host_data: [0; 32], ..right.clone() }, "snp_host_data"),
        (LaunchConfig { family_id: [0; 16], ..right.clone() }, "snp_family_id"),
        (LaunchConfig { image_id: [0; 16], ..right.clone() }, "snp_image_id"),
        (LaunchConfig { id_key_digest: [0; 48], ..right.clone() }, "snp_id_key"),
        (LaunchConfig { author_key_digest: Some([6; 48]), ..right.clone() }, "snp_author_key"),
    ] {
        assert_eq!(failed(judge(&attest(wrong), &named)), [code]);
    }
    let without_author = attest(LaunchConfig { author_key_digest: None, ..right });
    assert_eq!(failed(judge(&without_author, &named)), ["snp_author_key_missing", "snp_author_key"]);
}

#[test]
fn case_06_refuses_denied_chips_and_chips_off_the_list() {
    let evidence = attest(LaunchConfig { chip_id: Some([5; 64]), ..config() });
    let (this, other) = (ChipId([5; 64]), ChipId([6; 64]));
    let denied = |chips| policy_with(|policy| policy.denied_chips = chips);
    let allowed = |chips| policy_with(|policy| policy.allowed_chips = Some(chips));
    assert_eq!(failed(judge(&evidence, &denied(vec![other, this]))), ["snp_chip_denied"]);
    assert_eq!(failed(judge(&evidence, &denied(vec![other]))), [""; 0]);
    assert_eq!(failed(judge(&evidence, &allowed(vec![other]))), ["snp_chip_not_allowed"]);
    assert_eq!(failed(judge(&evidence, &allowed(vec![]))), ["snp_chip_not_allowed"]);
    assert_eq!(failed(judge(&evidence, &allowed(vec![other, this]))), [""; 0]);
}

#[test]
fn case_06_a_hidden_chip_does_not_pass_a_list_of_chips() {
    let hidden = attest(LaunchConfig { signer: Signer::Vlek, ..config() });
    let base = |policy: &mut anchorhold_verifier::snp::Policy| {
        policy.allowed_signers = vec![anchorhold_verifier::snp::Signer::Vlek];
    };
    let denied = policy_with(|policy| {
        base(policy);
        policy.denied_chips = vec![ChipId([6; 64])];
    });
    assert_eq!(failed(judge(&hidden, &denied)), ["snp_chip_denied"]);
    let allowed = policy_with(|policy| {
        base(policy);
        policy.allowed_chips = Some(vec![ChipId([0; 64])]);
    });
    assert_eq!(failed(judge(&hidden, &allowed)), ["snp_chip_not_allowed"]);
    // Masking CHIP_ID under a VCEK hides nothing: the certificate names the chip.
    let guest = launch(LaunchConfig { chip_id: Some([6; 64]), ..config() });
    let masked = guest_report_with(&guest, |fields| fields.chip_id = [0; 64]);
    let policy = policy_with(|policy| policy.denied_chips = vec![ChipId([6; 64])]);
    assert_eq!(failed(judge(&masked, &policy)), ["snp_chip_denied"]);
}

#[test]
fn every_failed_rule_is_reported() {
    let evidence = attest(LaunchConfig {
        debug: Debug::Allowed,
        migration_agent: MigrationAgent::Allowed,
        vmpl: 2,
        platform_info: 0,
        measurement: Measurement::new([1; 48]),
        ..config()
    });
    let found = failed(appraise(authentic(&evidence), &policy(), &ReportData::new([0; 64])));
    assert_eq!(
        found,
        [
            "snp_measurement",
            "snp_vmpl",
            "snp_debug_allowed",
            "snp_migration_allowed",
            "snp_alias_check",
            "snp_report_data"
        ]
    );
}

#[test]
fn case_05_refuses_a_simulated_root_unless_the_policy_was_told() {
    let strict = anchorhold_verifier::snp::Policy::strict(vec![MEASUREMENT], minimum());
    assert_eq!(failed(judge(&evidence(), &strict)), ["snp_simulated"]);
    assert_eq!(failed(judge(&evidence(), &dangerous::allow_debug(strict.clone()))), ["snp_simulated"]);
    assert_eq!(failed(judge(&evidence(), &dangerous::allow_simulated(strict))), [""; 0]);
}
