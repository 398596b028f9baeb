//! The profiles of `policies/appraisal`: each is read, and its key decisions are held.

use crate::support::{read, shipped};
use anchorhold_appraisal_policy::AppraisalProfile;
use anchorhold_verifier::nvidia::{BoardSize, Mode, OcspRules};
use anchorhold_verifier::snp::{Flag, Policy, Signer};
use anchorhold_verifier::tdx::TcbStatus;

fn profile(name: &str) -> AppraisalProfile {
    let (_, text) = shipped().into_iter().find(|(other, _)| other == name).unwrap();
    read(&text)
}

fn snp(name: &str) -> Policy {
    profile(name).snp().unwrap().clone()
}

#[test]
fn every_profile_has_its_files_name_says_why_and_names_no_reference_value() {
    let all = shipped();
    assert_eq!(all.len(), 9, "{} profiles", all.len());
    for (name, text) in all {
        let profile = read(&text);
        assert_eq!(profile.header().id, name);
        let comments = text.lines().filter(|line| line.trim_start().starts_with('#')).count();
        assert!(comments >= 5, "{name} has {comments} lines of reasons");
        let other = read(&profile.to_toml());
        assert_eq!(other.rules(), profile.rules(), "{name}");
        assert_eq!(
            (other.snp(), other.tdx(), other.gpu()),
            (profile.snp(), profile.tdx(), profile.gpu()),
            "{name}"
        );
        assert!(profile.snp().is_none_or(|snp| snp.measurements.is_empty()), "{name}");
        assert!(profile.tdx().is_none_or(|tdx| tdx.mrtds.is_empty()), "{name}");
        assert!(profile.paravisor().is_none_or(|paravisor| paravisor.pcrs.is_empty()), "{name}");
    }
}

#[test]
fn every_profile_asks_for_the_alias_check_a_revocation_list_and_floors_at_launch() {
    for (name, text) in shipped() {
        let Some(snp) = read(&text).snp().cloned() else { continue };
        assert!(snp.require_alias_check && snp.require_crl, "{name}");
        assert_eq!(snp.min_committed_tcb, Some(snp.min_tcb), "{name}");
        assert_eq!(snp.min_launch_tcb, Some(snp.min_tcb), "{name}");
        assert_eq!(snp.guest_policy.cxl_allowed, Flag::Clear, "{name}");
        assert_eq!(snp.allowed_vmpls, [0], "{name}");
    }
}

#[test]
fn case_06_no_profile_but_that_of_aws_names_milan_and_that_one_says_so() {
    for (name, text) in shipped() {
        let profile = read(&text);
        let named = profile.snp().is_some_and(|snp| snp.min_tcb.milan.is_some());
        assert_eq!(named, name == "snp-aws", "{name}");
    }
    let (_, text) = shipped().into_iter().find(|(name, _)| name == "snp-aws").unwrap();
    assert!(text.contains("THIS PROFILE NAMES MILAN"));
    assert!(profile("snp-aws").header().description.contains("Milan's seed is not safe"));
    assert_eq!(snp("snp-aws").allowed_signers, [Signer::Vlek]);
}

#[test]
fn machines_must_be_listed_where_they_are_ones_own() {
    for (name, text) in shipped() {
        let profile = read(&text);
        let owned =
            ["snp-bare-metal", "tdx-bare-metal", "gpu-h100-cc", "gpu-hgx-ppcie"].contains(&name.as_str());
        assert!(profile.snp().is_none_or(|snp| snp.allowed_chips.is_some() == owned), "{name}");
        assert!(profile.tdx().is_none_or(|tdx| tdx.allowed_platforms.is_some() == owned), "{name}");
        assert!(profile.gpu().is_none_or(|gpu| gpu.allowed_devices.is_some() == owned), "{name}");
    }
}

#[test]
fn every_td_is_up_to_date_by_a_late_recovery_and_its_registers_are_zero_as_shipped() {
    for (name, text) in shipped() {
        let Some(tdx) = read(&text).tdx().cloned() else { continue };
        assert_eq!(tdx.accepted_statuses, [TcbStatus::UpToDate], "{name}");
        assert!(tdx.grace.is_none() && tdx.accepted_advisories.is_none(), "{name}");
        assert!(tdx.min_tcb_evaluation_number >= 19, "{name}");
        assert_eq!(&tdx.rtmrs[1..3], [Some([0; 48]), Some([0; 48])], "{name}");
        assert!(!tdx.attributes.allow_perfmon && tdx.allowed_service_tds.is_empty(), "{name}");
        assert_eq!(tdx.attributes.require_sept_ve_disable, name != "tdx-azure", "{name}");
    }
}

#[test]
fn the_clouds_with_a_paravisor_ask_for_one_and_for_secure_boot() {
    for (name, text) in shipped() {
        let profile = read(&text);
        assert_eq!(profile.paravisor().is_some(), name.ends_with("-azure"), "{name}");
        assert!(profile.paravisor().is_none_or(|paravisor| paravisor.require_secure_boot), "{name}");
    }
    assert!(profile("tdx-bare-metal").event_log().is_some());
}

#[test]
fn case_07_gpus_are_confidential_measured_current_and_as_many_as_there_must_be() {
    for (name, mode, gpus, switches) in
        [("gpu-h100-cc", Mode::SinglePassthrough, 1, 0), ("gpu-hgx-ppcie", Mode::ProtectedPcie, 8, 4)]
    {
        let gpu = profile(name).gpu().unwrap().clone();
        assert_eq!((gpu.mode, gpu.board), (mode, BoardSize { gpus, switches }));
        assert!(gpu.require_rims && gpu.ocsp == OcspRules::default() && gpu.ocsp.require);
        assert!(!gpu.allow_missing_fwid && !gpu.allow_missing_feature_flag);
        assert_eq!(gpu.require_topology, mode == Mode::ProtectedPcie);
        assert_eq!(gpu.min_driver_version, Some("580.95.05".parse().unwrap()));
    }
}
