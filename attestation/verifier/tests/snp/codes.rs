//! Every reason code of the family is the reason of some refusal, and most are the only one.

use crate::support::*;
use anchorhold_attester::software::certificate::{Extension, name};
use anchorhold_attester::software::revocation::RevocationTemplate;
use anchorhold_attester::software::{
    Authority, Debug, LaunchConfig, MigrationAgent, Signer, simulated_ark_der,
};
use anchorhold_rats::{Der, Evidence, Measurement, ReportData};
use anchorhold_verifier::codes::snp as codes;
use anchorhold_verifier::snp::{ChipId, FirmwareVersion, Flag, MinimumTcb, MitigationVectors, Policy};
use std::collections::BTreeSet;

type Case = (&'static str, Vec<String>);

fn authentication(evidence: &Evidence) -> Vec<String> {
    failed(authenticate(evidence, &simulated(), now()))
}

fn edited(edit: impl FnOnce(&mut Evidence)) -> Vec<String> {
    let mut evidence = evidence();
    edit(&mut evidence);
    authentication(&evidence)
}

fn lists(lists: Vec<Vec<u8>>) -> Vec<String> {
    let lists: Vec<_> = lists.into_iter().map(Der).collect();
    failed(authenticate_with(&evidence(), &lists, &simulated(), now()))
}

fn list(edit: impl FnOnce(&mut RevocationTemplate)) -> Vec<u8> {
    let mut template = RevocationTemplate {
        issuer: name(Authority::Ark.common_name()),
        this_update: now(),
        next_update: now(),
        revoked: vec![],
    };
    edit(&mut template);
    template.sign(&Authority::Ark.key().unwrap()).unwrap()
}

fn of_launch(edit: impl FnOnce(&mut LaunchConfig)) -> Evidence {
    let mut config = config();
    edit(&mut config);
    launch(config).attest(&REPORT_DATA).unwrap()
}

/// What the usual policy says of a changed guest.
fn guest(edit: impl FnOnce(&mut LaunchConfig)) -> Vec<String> {
    failed(judge(&of_launch(edit), &policy()))
}

/// What a changed policy says of the usual guest.
fn asked(edit: impl FnOnce(&mut Policy)) -> Vec<String> {
    failed(judge(&evidence(), &policy_with(edit)))
}

fn of_shape() -> Vec<Case> {
    vec![
        ("snp_report_length", edited(|evidence| evidence.report.push(0))),
        ("snp_report_version", authentication(&report_with(|fields| fields.version = 6))),
        ("snp_signature_algorithm", authentication(&bytes_with(|bytes| bytes[0x34] = 2))),
        ("snp_report_reserved", authentication(&bytes_with(|bytes| bytes[0x4c] = 1))),
        ("snp_signature_padding", edited(|evidence| *evidence.report.last_mut().unwrap() = 1)),
        ("snp_guest_policy_reserved", authentication(&report_with(|fields| fields.policy |= 1 << 26))),
        ("snp_vmpl_range", authentication(&report_with(|fields| fields.vmpl = 4))),
        ("snp_signing_key_reserved", authentication(&report_with(|fields| fields.flags = 2 << 2))),
        ("snp_report_unsigned", authentication(&report_with(|fields| fields.flags = 7 << 2))),
        ("snp_report_signature", edited(|evidence| evidence.report[0x90] ^= 1)),
        ("snp_product_cpuid", authentication(&report_with(|fields| fields.cpuid[1] = 1))),
        ("snp_chip_id", authentication(&report_with(|fields| fields.chip_id[0] ^= 1))),
    ]
}

fn of_chain() -> Vec<Case> {
    let signed_by = |authority: Authority, index: usize| {
        let guest = launch(config());
        let mut evidence = guest.attest(&REPORT_DATA).unwrap();
        let template = if index == 0 { guest.template().clone() } else { ask_template() };
        evidence.certificates[index] = Der(template.sign(&authority.key().unwrap()).unwrap());
        authentication(&evidence)
    };
    let root = || Der(simulated_ark_der().to_vec());
    vec![
        ("snp_certificate_count", edited(|evidence| evidence.certificates.extend([root(), root()]))),
        ("snp_certificate_malformed", edited(|evidence| evidence.certificates[0].0.push(0))),
        ("snp_leaf_missing", edited(|evidence| evidence.certificates.clear())),
        ("snp_intermediate_missing", edited(|evidence| evidence.certificates.truncate(1))),
        ("snp_presented_root", edited(|evidence| evidence.certificates.push(Der(vec![])))),
        ("snp_no_trust_anchor", authentication(&ask_with(|ask| ask.issuer = name("ARK-SIMULATED (other)")))),
        ("snp_intermediate_signature", signed_by(Authority::Asvk, 1)),
        ("snp_intermediate_authority", authentication(&ask_with(|ask| ask.extensions.clear()))),
        ("snp_intermediate_kind", authentication(&report_with(|fields| fields.flags = 1 << 2))),
        ("snp_intermediate_product", authentication(&ask_with(|ask| ask.subject = name("SEV-Milan")))),
        ("snp_intermediate_crl_link", authentication(&ask_with_crl_at("https://a.invalid/crl"))),
        ("snp_leaf_issuer", authentication(&leaf_with(|leaf| leaf.issuer = name("SEV-SIMULATED (other)")))),
        ("snp_leaf_signature", signed_by(Authority::Asvk, 0)),
        ("snp_leaf_kind", authentication(&leaf_with(|leaf| leaf.subject = name("SEV-VLEK")))),
        (
            "snp_leaf_key",
            authentication(&leaf_with(|leaf| leaf.extensions.extend(Extension::intermediate()))),
        ),
        ("snp_leaf_extensions", authentication(&leaf_with(|leaf| drop(leaf.extensions.remove(0))))),
        ("snp_certificate_validity", authentication(&leaf_with(|leaf| leaf.not_after = leaf.not_before))),
    ]
}

fn of_lists() -> Vec<Case> {
    let ask = Authority::Ask.key().unwrap();
    let template = RevocationTemplate {
        issuer: name(Authority::Ask.common_name()),
        this_update: now(),
        next_update: now(),
        revoked: vec![],
    };
    vec![
        ("snp_crl_count", lists(vec![list(|_| {}); 5])),
        ("snp_crl_malformed", lists(vec![vec![]])),
        ("snp_crl_issuer", lists(vec![list(|list| list.issuer = name("ARK-SIMULATED (other)"))])),
        ("snp_crl_signature", lists(vec![template.sign(&ask).unwrap()])),
        ("snp_crl_freshness", lists(vec![list(|list| list.next_update = now().plus_seconds(-1))])),
        ("snp_certificate_revoked", lists(vec![list(|list| list.revoked = vec![vec![2]])])),
        ("snp_crl_missing", asked(|policy| policy.require_crl = true)),
    ]
}

fn of_firmware() -> Vec<Case> {
    let certified = Extension::amd_byte(&[3, 8], 83);
    let minimum = |edit: fn(&mut MinimumTcb)| {
        let mut minimum = minimum();
        edit(&mut minimum);
        minimum
    };
    let high = minimum(|minimum| minimum.genoa.as_mut().unwrap().microcode = 255);
    let mitigations = MitigationVectors { launch: 1 << 63, current: 0 };
    let version = FirmwareVersion { major: 255, minor: 0, build: 0 };
    vec![
        ("snp_tcb_reserved", authentication(&report_with(|fields| fields.launch_tcb[2] = 1))),
        ("snp_tcb_certified", authentication(&leaf_with(|leaf| leaf.extensions[9] = certified))),
        ("snp_tcb_order", guest(|config| config.launch_tcb[7] += 1)),
        ("snp_tcb_minimum", asked(|policy| policy.min_tcb = high)),
        ("snp_tcb_committed_minimum", asked(|policy| policy.min_committed_tcb = Some(high))),
        ("snp_tcb_launch_minimum", asked(|policy| policy.min_launch_tcb = Some(high))),
        ("snp_product_denied", asked(|policy| policy.min_tcb = minimum(|minimum| minimum.genoa = None))),
        (
            "snp_firmware_provisional",
            failed(judge(
                &of_launch(|config| config.current_tcb[7] += 1),
                &policy_with(|policy| policy.require_committed_firmware = true),
            )),
        ),
        (
            "snp_firmware_order",
            failed(judge(&report_with(|fields| fields.committed_version[0] += 1), &policy())),
        ),
        ("snp_firmware_version", asked(|policy| policy.min_firmware_version = Some(version))),
        ("snp_mitigations", asked(|policy| policy.required_mitigations = mitigations)),
    ]
}

fn of_flags() -> Vec<Case> {
    let bits =
        |edit: fn(&mut Policy)| failed(judge(&of_launch(|c| c.platform_info = 1 << 5), &policy_with(edit)));
    vec![
        ("snp_debug_allowed", guest(|config| config.debug = Debug::Allowed)),
        ("snp_migration_allowed", guest(|config| config.migration_agent = MigrationAgent::Allowed)),
        ("snp_abi_version", asked(|policy| policy.guest_policy.min_abi_version = (255, 255))),
        ("snp_smt", asked(|policy| policy.guest_policy.smt_allowed = Flag::Clear)),
        ("snp_single_socket", asked(|policy| policy.guest_policy.single_socket = Flag::Set)),
        ("snp_cxl", asked(|policy| policy.guest_policy.cxl_allowed = Flag::Set)),
        ("snp_aes_256_xts", asked(|policy| policy.guest_policy.aes_256_xts = Flag::Set)),
        ("snp_rapl", asked(|policy| policy.guest_policy.rapl_disabled = Flag::Set)),
        ("snp_ciphertext_hiding", asked(|policy| policy.guest_policy.ciphertext_hiding = Flag::Set)),
        ("snp_page_swap", asked(|policy| policy.guest_policy.page_swap_disabled = Flag::Set)),
        ("snp_alias_check", guest(|config| config.platform_info = 0)),
        ("snp_platform_smt", bits(|policy| policy.platform.smt_enabled = Flag::Set)),
        ("snp_platform_tsme", bits(|policy| policy.platform.tsme_enabled = Flag::Set)),
        ("snp_platform_ecc", bits(|policy| policy.platform.ecc_enabled = Flag::Set)),
        ("snp_platform_rapl", bits(|policy| policy.platform.rapl_disabled = Flag::Set)),
        (
            "snp_platform_ciphertext_hiding",
            bits(|policy| policy.platform.ciphertext_hiding_enabled = Flag::Set),
        ),
        ("snp_platform_tio", bits(|policy| policy.platform.tio_enabled = Flag::Set)),
    ]
}

fn of_identity() -> Vec<Case> {
    let other_data = appraise(authentic(&evidence()), &policy(), &ReportData::new([0; 64]));
    let vlek = of_launch(|config| config.signer = Signer::Vlek);
    let no_provider = policy_with(|policy| {
        policy.allowed_signers = vec![anchorhold_verifier::snp::Signer::Vlek];
        policy.allowed_providers = Some(vec![]);
    });
    let strict = Policy::strict(vec![MEASUREMENT], minimum());
    let unknown = Measurement::new([0; 48]);
    let chip = ChipId([5; 64]);
    let known_chip = of_launch(|config| config.chip_id = Some(chip.0));
    vec![
        ("snp_measurements_empty", asked(|policy| policy.measurements.clear())),
        ("snp_measurement", asked(|policy| policy.measurements = vec![unknown])),
        ("snp_simulated", failed(judge(&evidence(), &strict))),
        ("snp_vmpl", guest(|config| config.vmpl = 1)),
        ("snp_signer", failed(judge(&vlek, &policy()))),
        ("snp_provider", failed(judge(&vlek, &no_provider))),
        ("snp_guest_svn", asked(|policy| policy.min_guest_svn = u32::MAX)),
        ("snp_host_data", asked(|policy| policy.host_data = Some([9; 32]))),
        ("snp_family_id", asked(|policy| policy.family_id = Some([9; 16]))),
        ("snp_image_id", asked(|policy| policy.image_id = Some([9; 16]))),
        ("snp_id_key", asked(|policy| policy.id_keys = Some(vec![]))),
        ("snp_author_key_missing", asked(|policy| policy.require_author_key = true)),
        ("snp_author_key", asked(|policy| policy.author_keys = Some(vec![]))),
        (
            "snp_chip_denied",
            failed(judge(&known_chip, &policy_with(|policy| policy.denied_chips = vec![chip]))),
        ),
        ("snp_chip_not_allowed", asked(|policy| policy.allowed_chips = Some(vec![chip]))),
        ("snp_report_data", failed(other_data)),
    ]
}

#[test]
fn every_code_is_the_reason_of_a_refusal() {
    // The wrong kind, name or key of a certificate shows in more than one rule.
    let not_alone = ["snp_intermediate_kind", "snp_intermediate_product", "snp_measurements_empty"];
    let mut seen = BTreeSet::new();
    for (code, found) in
        [of_shape(), of_chain(), of_lists(), of_firmware(), of_flags(), of_identity()].concat()
    {
        assert!(found.iter().any(|found| found == code), "{code}: {found:?}");
        let alone = found.iter().all(|found| found == code);
        assert_eq!(alone, !not_alone.contains(&code), "{code}: {found:?}");
        assert!(seen.insert(code), "{code} twice");
    }
    let all: BTreeSet<_> = codes::ALL.iter().map(|code| code.name).collect();
    assert_eq!(seen, all);
}
