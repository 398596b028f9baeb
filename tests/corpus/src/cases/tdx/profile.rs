//! Rules of an appraisal profile, and of whole evidence.

use super::tcb::set_platform;
use super::{Made, TdConfig};
use crate::cases::profile::{Profile, hex};
use crate::writer::{Case, Suite};
use anchorhold_attester::software::tdx::QuoteVersion;

const POLICY: &str = "policy";
const NAMES: &str = "the profile names another";
const ASKS: &str = "the profile asks for it";
const SEPT_VE_DISABLE: u64 = 1 << 28;

/// A key of the profile, its value, and the code that must find the good quote wanting.
type Rule = (&'static str, &'static str, &'static str, &'static str);

const RULES: [Rule; 10] = [
    ("mrtds", "[]", "tdx_mrtds_empty", "the profile accepts no TD"),
    ("attributes.pks", "\"set\"", "tdx_pks", ASKS),
    ("attributes.key_locker", "\"set\"", "tdx_key_locker", ASKS),
    ("attributes.lass", "\"set\"", "tdx_lass", ASKS),
    ("attributes.step_defence", "\"set\"", "tdx_step_defence", ASKS),
    ("xfam", "231", "tdx_xfam", NAMES),
    (
        "platform.dynamic_platform",
        "\"clear\"",
        "tdx_dynamic_platform",
        "the profile asks for a fixed platform",
    ),
    ("platform.cached_keys", "\"set\"", "tdx_cached_keys", ASKS),
    ("platform.smt", "\"clear\"", "tdx_smt", "the profile asks for it to be off"),
    ("machines", "\"listed\"", "tdx_platform_not_allowed", "no machine list names the platform"),
];

pub(super) fn write(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let judged = |profile: &Profile| made.case().file("profile", profile.text());
    suite.add("tdx-profile-good", judged(&Profile::tdx()), "a profile that accepts it")?;
    for (key, value, code, why) in RULES {
        let case = judged(&Profile::tdx().with(&format!("tdx.{key}"), value)).refused(POLICY, code);
        suite.add(format!("tdx-profile-{}", key.replace(['.', '_'], "-")), case, why)?;
    }
    let digest = hex(&[1; 48]);
    let seam = format!("[\"sha384:{}\"]", "01".repeat(48));
    let platform = format!("[{}]", hex(&made.config.platform.ppid));
    for (key, value, code, why) in [
        ("mr_seams", &seam, "tdx_mrseam", NAMES),
        ("mr_config_id", &digest, "tdx_mr_config_id", NAMES),
        ("mr_owner", &digest, "tdx_mr_owner", NAMES),
        ("mr_owner_config", &digest, "tdx_mr_owner_config", NAMES),
        ("denied_machines", &platform, "tdx_platform_denied", "the profile denies this platform"),
    ] {
        let case = judged(&Profile::tdx().with(&format!("tdx.{key}"), value)).refused(POLICY, code);
        suite.add(format!("tdx-profile-{}", key.replace('_', "-")), case, why)?;
    }
    let listed = Profile::tdx().with("tdx.machines", platform);
    suite.add("tdx-profile-good-platform", judged(&listed), "a platform that is named")?;
    let padded = made.raw(|quote| quote.resize(8000, 0));
    let strict = Profile::tdx().with("tdx.allow_zero_padding", "false").text();
    let case = padded.file("profile", strict).refused(POLICY, "tdx_padding");
    suite.add("tdx-profile-padding", case, "zero bytes follow, which the profile does not accept")?;
    statuses(suite, made)?;
    attributes(suite, made)?;
    extended(suite, made)?;
    families(suite, made)
}

fn statuses(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let case = made.signed(|all| set_platform(all, "SWHardeningNeeded"))?;
    let accepts = Profile::tdx().with("tdx.statuses", "[\"UpToDate\", \"SWHardeningNeeded\"]").text();
    suite.add(
        "tdx-profile-good-status",
        case.clone().file("profile", accepts),
        "a status that is accepted",
    )?;
    let refuses = Profile::tdx().with("tdx.statuses", "[\"UpToDate\", \"OutOfDate\"]").text();
    let case = case.file("profile", refuses).refused("tcb", "tdx_tcb_status");
    suite.add("tdx-profile-status", case, "a status that is not accepted")?;
    let case = made.signed(|all| set_platform(all, "Revoked"))?;
    let case = case.file("profile", Profile::tdx().text()).refused("tcb", "tdx_tcb_revoked");
    suite.add("tdx-profile-revoked", case, "a revoked level, which no profile can accept")
}

fn attributes(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let with = |bit: u32| made.fields(|fields| fields.body.attributes = SEPT_VE_DISABLE | 1 << bit);
    let profile = Profile::tdx().text();
    let case = with(62)?.file("profile", profile.clone()).refused(POLICY, "tdx_provisioning_agent");
    suite.add("tdx-profile-provisioning-agent", case, "the TD may provision devices")?;
    let case = with(63)?.file("profile", profile).refused(POLICY, "tdx_perfmon");
    suite.add("tdx-profile-perfmon", case, "counters, of which the profile says nothing")?;
    let case = with(17)?.refused(POLICY, "tdx_service_td_extended");
    suite.add("tdx-service-td-extended", case, "extended binding of service TDs that the body does not show")
}

/// What only an extended body states.
fn extended(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let made = Made::new(TdConfig { version: QuoteVersion::V5Td15Ex, ..made.config.clone() })?;
    let device = made.fields(|fields| {
        if let Some(extended) = &mut fields.body.td15_ex {
            extended.device_info = [1; 48];
        }
    })?;
    suite.add(
        "tdx-device-info",
        device.clone().refused(POLICY, "tdx_device_info"),
        "a device that nobody named",
    )?;
    let named = Profile::tdx().with("tdx.allowed_device_infos", format!("[{}]", hex(&[1; 48]))).text();
    suite.add("tdx-profile-good-device", device.file("profile", named), "a device that is named")?;
    let vm = made.fields(|fields| {
        if let Some(extended) = &mut fields.body.td15_ex {
            extended.vm_id = 1;
        }
    })?;
    suite.add("tdx-vm-index", vm.clone().refused(POLICY, "tdx_vm_index"), "a VM inside the TD")?;
    let named = Profile::tdx().with("tdx.vm_indices", "[0, 1]").text();
    suite.add("tdx-profile-good-vm-index", vm.file("profile", named), "a VM index that is named")
}

fn families(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let judged = |profile: Profile| -> Case { made.case().file("profile", profile.text()) };
    let case = judged(Profile::snp()).refused(POLICY, "family_denied");
    suite.add("tdx-profile-family", case, "the profile says nothing of TDX")?;
    let case = judged(Profile::tdx()).rule("report_data", "00".repeat(64));
    let case = case.refused("binding", "tdx_report_data");
    suite.add("tdx-profile-report-data", case, "made for somebody else")
}
