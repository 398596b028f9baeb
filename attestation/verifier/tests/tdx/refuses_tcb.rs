//! One test for each rule about TCB levels, and the statuses that come out of them.

use crate::made::*;
use crate::support::at;
use anchorhold_attester::software::tdx::{CollateralTemplate, TcbInfo, TdConfig};
use anchorhold_verifier::tdx::{Grace, Policy, TcbStatus};

fn status(made: &Made) -> TcbStatus {
    made.authentic().claims().tcb().status
}

fn with_tcb_info(edit: impl FnOnce(&mut TcbInfo)) -> Made {
    with_collateral(|source| edit(&mut source.tcb_info))
}

/// Of the first level of the platform, the module and the quoting enclave.
fn set_status(source: &mut CollateralTemplate, platform: &str, module: &str, qe: &str) {
    source.tcb_info.tcb_levels[0].tcb_status = platform.to_string();
    source.tcb_info.tdx_module_identities[0].tcb_levels[0].tcb_status = module.to_string();
    source.qe_identity.tcb_levels[0].tcb_status = qe.to_string();
}

#[test]
fn case_06_refuses_a_platform_that_meets_no_level() {
    for index in [0, 7, 15] {
        let made = with_tcb_info(|info| {
            info.tcb_levels.iter_mut().for_each(|level| level.tcb.sgx[index].svn = 200);
        });
        assert_eq!(made.refused(), ["tdx_platform_level", "tdx_platform_level"], "{index}");
    }
    for index in [2, 15] {
        let made = with_tcb_info(|info| {
            info.tcb_levels.iter_mut().for_each(|level| level.tcb.tdx[index].svn = 200);
        });
        // Launch and now.
        assert_eq!(made.refused(), ["tdx_platform_level", "tdx_platform_level"], "{index}");
    }
    let made = with_tcb_info(|info| info.tcb_levels.iter_mut().for_each(|level| level.tcb.pce_svn = 12));
    assert_eq!(made.refused(), ["tdx_platform_level", "tdx_platform_level"]);
    assert_eq!(with_tcb_info(|info| info.tcb_levels.clear()).refused(), ["tdx_platform_level"; 2]);
}

#[test]
fn the_first_two_tdx_components_belong_to_the_module_from_version_1_on() {
    let high = |info: &mut TcbInfo| {
        info.tcb_levels.iter_mut().for_each(|level| level.tcb.tdx[0].svn = 200);
    };
    assert_eq!(with_tcb_info(high).refused(), [""; 0]);
    let version_0 = |config: &mut TdConfig| {
        config.tee_tcb_svn = [3, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        config.tee_tcb_svn2 = config.tee_tcb_svn;
    };
    let guest = guest_with(version_0);
    let authentic = Made::by(&guest).authentic();
    let launch = &authentic.claims().tcb().launch;
    assert_eq!((launch.platform.status, &launch.module), (TcbStatus::UpToDate, &None));
    let made = guest_with_collateral(&guest, |source| high(&mut source.tcb_info));
    assert_eq!(made.refused(), ["tdx_platform_level", "tdx_platform_level"]);
}

#[test]
fn case_06_refuses_modules_that_the_tcb_info_does_not_know() {
    let version_9 = |config: &mut TdConfig| config.tee_tcb_svn[1] = 9;
    assert_eq!(made(version_9).refused(), ["tdx_module_unknown", "tdx_module_level"]);
    let now_9 = |config: &mut TdConfig| config.tee_tcb_svn2[1] = 9;
    assert_eq!(made(now_9).refused(), ["tdx_module_level"]);
    let renamed = with_tcb_info(|info| info.tdx_module_identities[0].id = "TDX_1".to_string());
    assert_eq!(renamed.refused(), ["tdx_module_unknown", "tdx_module_level", "tdx_module_level"]);
}

#[test]
fn case_06_refuses_a_module_that_meets_no_level_of_its_identity() {
    let old = made(|config| config.tee_tcb_svn[0] = 1);
    assert_eq!(old.refused(), ["tdx_module_level"]);
    let old_now = made(|config| config.tee_tcb_svn2[0] = 1);
    assert_eq!(old_now.refused(), ["tdx_module_level"]);
}

#[test]
fn case_06_refuses_a_module_of_another_signer_or_with_other_attributes() {
    assert_eq!(made(|config| config.mr_signer_seam[47] = 1).refused(), ["tdx_mrsignerseam"]);
    assert_eq!(made(|config| config.seam_attributes = 1).refused(), ["tdx_seam_attributes"]);
    // The identity of the version is what counts, not the base module.
    let base = with_tcb_info(|info| info.tdx_module.as_mut().unwrap().mrsigner = "1".repeat(96));
    assert_eq!(base.refused(), [""; 0]);
    let own = with_tcb_info(|info| info.tdx_module_identities[0].module.mrsigner = "1".repeat(96));
    assert_eq!(own.refused(), ["tdx_mrsignerseam"]);
    // Bits outside the mask must be zero.
    let unmasked = |config: &mut TdConfig| config.seam_attributes = 1 << 8;
    let made = guest_with_collateral(&guest_with(unmasked), |source| {
        source.tcb_info.tdx_module_identities[0].module.attributes_mask = "FF00000000000000".to_string();
    });
    assert_eq!(made.refused(), ["tdx_seam_attributes"]);
}

#[test]
fn case_06_refuses_a_revoked_part_whatever_the_policy() {
    for (platform, module, qe) in [
        ("Revoked", "UpToDate", "UpToDate"),
        ("UpToDate", "Revoked", "UpToDate"),
        ("UpToDate", "UpToDate", "Revoked"),
    ] {
        let made = with_collateral(|source| set_status(source, platform, module, qe));
        assert_eq!(made.refused(), ["tdx_tcb_revoked"], "{platform} {module} {qe}");
    }
    // Launched on a revoked module, updated since.
    let guest = guest_with(|config| config.tee_tcb_svn[0] = 2);
    let made = guest_with_collateral(&guest, |source| {
        source.tcb_info.tdx_module_identities[0].tcb_levels[1].tcb_status = "Revoked".to_string();
    });
    assert_eq!(made.refused(), ["tdx_tcb_revoked"]);
}

#[test]
fn case_06_the_worst_part_decides() {
    use TcbStatus::*;
    for ((platform, module, qe), wanted) in [
        (("UpToDate", "UpToDate", "UpToDate"), UpToDate),
        (("OutOfDate", "UpToDate", "UpToDate"), OutOfDate),
        (("UpToDate", "OutOfDate", "UpToDate"), OutOfDate),
        (("UpToDate", "UpToDate", "OutOfDate"), OutOfDate),
        (("SWHardeningNeeded", "UpToDate", "UpToDate"), SwHardeningNeeded),
        (("SWHardeningNeeded", "UpToDate", "OutOfDate"), OutOfDate),
        (("ConfigurationNeeded", "OutOfDate", "UpToDate"), OutOfDateConfigurationNeeded),
        (("ConfigurationAndSWHardeningNeeded", "UpToDate", "UpToDate"), ConfigurationAndSwHardeningNeeded),
        (("OutOfDateConfigurationNeeded", "UpToDate", "UpToDate"), OutOfDateConfigurationNeeded),
    ] {
        let made = with_collateral(|source| set_status(source, platform, module, qe));
        assert_eq!(status(&made), wanted, "{platform} {module} {qe}");
        let failed: &[&str] = if wanted == UpToDate { &[] } else { &["tdx_tcb_status"] };
        assert_eq!(made.failed(|_| {}), failed);
        assert_eq!(made.failed(|policy| policy.accepted_statuses = vec![wanted]), [""; 0]);
    }
}

#[test]
fn the_highest_level_that_is_met_counts_in_whatever_order_the_levels_stand() {
    let reversed = with_collateral(|source| {
        source.tcb_info.tcb_levels.reverse();
        source.tcb_info.tdx_module_identities[0].tcb_levels.reverse();
    });
    assert_eq!(status(&reversed), TcbStatus::UpToDate);
    // Of equal levels the first.
    let twice = with_tcb_info(|info| {
        let mut same = info.tcb_levels[0].clone();
        same.tcb_status = "OutOfDate".to_string();
        info.tcb_levels.insert(1, same);
    });
    assert_eq!(status(&twice), TcbStatus::UpToDate);
}

#[test]
fn a_td_that_was_launched_below_an_older_module_should_be_launched_again() {
    let guest = guest_with(|config| config.tee_tcb_svn[0] = 2);
    let made = Made::by(&guest);
    assert_eq!(status(&made), TcbStatus::TdRelaunchAdvised);
    assert_eq!(made.failed(|_| {}), ["tdx_tcb_status"]);
    let relaunch = |policy: &mut Policy| policy.accepted_statuses.push(TcbStatus::TdRelaunchAdvised);
    assert_eq!(made.failed(relaunch), [""; 0]);
    let configuration = guest_with_collateral(&guest, |source| {
        source.tcb_info.tcb_levels[0].tcb_status = "ConfigurationNeeded".to_string();
    });
    assert_eq!(status(&configuration), TcbStatus::TdRelaunchAdvisedConfigurationNeeded);
    // Where the older module runs now, updates are missing now.
    assert_eq!(status(&made_now_older()), TcbStatus::OutOfDate);
}

fn made_now_older() -> Made {
    made(|config| config.tee_tcb_svn2[0] = 2)
}

/// A platform on the older of its two levels, superseded at 2024-03-13.
fn old_platform() -> Made {
    let newer = guest().config().platform.clone();
    let guest = guest_with(|config| config.platform.components[0] -= 1);
    guest_with_collateral(&guest, |source| {
        source.tcb_info = TcbInfo::for_platform(&newer, now().plus_seconds(-60));
    })
}

#[test]
fn an_old_platform_is_known_with_its_dates_and_advisories() {
    let authentic = old_platform().authentic();
    let tcb = authentic.claims().tcb();
    assert_eq!(tcb.status, TcbStatus::OutOfDate);
    assert_eq!(tcb.advisories, ["INTEL-SA-00960"]);
    assert_eq!(tcb.launch.platform.date, at("2023-08-09T00:00:00Z"));
    assert_eq!(tcb.date(), at("2023-08-09T00:00:00Z"));
    assert_eq!(tcb.superseded(), Some(at("2024-03-13T00:00:00Z")));
    assert_eq!(made(|_| {}).authentic().claims().tcb().superseded(), None);
}

#[test]
fn case_06_grace_ends_at_the_stated_second() {
    let made = old_platform();
    let since = u32::try_from(now().unix_seconds() - at("2024-03-13T00:00:00Z").unix_seconds()).unwrap();
    let grace = |statuses: &[TcbStatus], seconds| {
        let grace = Some(Grace { statuses: statuses.to_vec(), seconds });
        made.failed(|policy| policy.grace = grace)
    };
    assert_eq!(grace(&[TcbStatus::OutOfDate], since + 1), [""; 0]);
    assert_eq!(grace(&[TcbStatus::OutOfDate], since), ["tdx_tcb_status"]);
    assert_eq!(grace(&[TcbStatus::SwHardeningNeeded], since + 1), ["tdx_tcb_status"]);
    assert_eq!(grace(&[], u32::MAX), ["tdx_tcb_status"]);
    // Nothing newer would mend a newest level that is not up to date.
    let newest = with_collateral(|source| set_status(source, "OutOfDate", "UpToDate", "UpToDate"));
    let forever = Grace { statuses: vec![TcbStatus::OutOfDate], seconds: u32::MAX };
    assert_eq!(newest.failed(|policy| policy.grace = Some(forever)), ["tdx_tcb_status"]);
}

#[test]
fn case_06_only_named_advisories_are_accepted() {
    let made = old_platform();
    let accept = |advisories: &[&str]| {
        let accepted = Some(advisories.iter().map(ToString::to_string).collect());
        made.failed(|policy| policy.accepted_advisories = accepted)
    };
    assert_eq!(accept(&["INTEL-SA-00960", "INTEL-SA-00001"]), [""; 0]);
    assert_eq!(accept(&["INTEL-SA-00001"]), ["tdx_tcb_status"]);
    assert_eq!(accept(&[]), ["tdx_tcb_status"]);
    // A status for which no advisory is named is not accepted by advisories.
    let unnamed = with_collateral(|source| set_status(source, "OutOfDate", "UpToDate", "UpToDate"));
    let failed = unnamed.failed(|policy| policy.accepted_advisories = Some(vec!["INTEL-SA-00960".into()]));
    assert_eq!(failed, ["tdx_tcb_status"]);
}

#[test]
fn advisories_of_all_parts_are_joined() {
    let made = with_collateral(|source| {
        set_status(source, "SWHardeningNeeded", "OutOfDate", "OutOfDate");
        let advisory = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        source.tcb_info.tcb_levels[0].advisory_ids = advisory(&["INTEL-SA-00002", "INTEL-SA-00001"]);
        source.tcb_info.tdx_module_identities[0].tcb_levels[0].advisory_ids = advisory(&["INTEL-SA-00003"]);
        source.qe_identity.tcb_levels[0].advisory_ids = advisory(&["INTEL-SA-00001", "INTEL-SA-00004"]);
    });
    let wanted = ["INTEL-SA-00001", "INTEL-SA-00002", "INTEL-SA-00003", "INTEL-SA-00004"];
    assert_eq!(made.authentic().claims().tcb().advisories, wanted);
}

#[test]
fn case_06_refuses_evaluations_below_the_floor() {
    let made = made(|_| {});
    assert_eq!(made.failed(|policy| policy.min_tcb_evaluation_number = 18), [""; 0]);
    assert_eq!(made.failed(|policy| policy.min_tcb_evaluation_number = 19), ["tdx_evaluation_number"]);
    let older = with_collateral(|source| source.qe_identity.tcb_evaluation_data_number = 17);
    assert_eq!(older.failed(|policy| policy.min_tcb_evaluation_number = 18), ["tdx_evaluation_number"]);
    let older = with_tcb_info(|info| info.tcb_evaluation_data_number = 17);
    assert_eq!(older.failed(|policy| policy.min_tcb_evaluation_number = 18), ["tdx_evaluation_number"]);
}
