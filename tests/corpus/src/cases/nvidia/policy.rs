//! Rules that the relying party sets for devices, as appraisal profiles.

use super::{Made, PDI};
use crate::writer::Suite;
use std::collections::BTreeMap;

const HEADER: &str = r#"format      = 1
id          = "cases"
version     = 1
issued      = "2026-01-01T00:00:00Z"
expires     = "2026-12-31T00:00:00Z"
description = "Rules of cases"

# Devices come with a guest; these cases are about the devices alone.
[snp]
measurements = []
products     = ["genoa"]
signers      = ["vcek"]
machines     = "listed"

[snp.min_tcb]
genoa = { bl = 10, tee = 0, snp = 23, ucode = 84 }
"#;
/// What a case does not change.
const RULES: [(&str, &str); 10] = [
    ("mode", "\"single\""),
    ("gpus", "1"),
    ("switches", "0"),
    ("architectures", "[\"hopper\"]"),
    ("machines", "\"any\""),
    ("require_rims", "false"),
    ("require_topology", "false"),
    ("allow_missing_fwid", "false"),
    ("allow_missing_feature_flag", "false"),
    ("ocsp.require", "false"),
];

/// An appraisal profile with these rules of the table `gpu` changed or added; those of the table below it begin with `ocsp.`.
pub(super) fn profile(changes: &[(&str, &str)]) -> String {
    let rules: BTreeMap<&str, &str> = RULES.iter().chain(changes).copied().collect();
    let mut gpu = String::new();
    let mut ocsp = String::new();
    for (key, value) in rules {
        match key.strip_prefix("ocsp.") {
            Some(key) => ocsp.push_str(&format!("{key} = {value}\n")),
            None => gpu.push_str(&format!("{key} = {value}\n")),
        }
    }
    format!("{HEADER}\n[gpu]\n{gpu}\n[gpu.ocsp]\n{ocsp}")
}

/// Name, change of the good profile, stage, code, and what is wrong.
type Row = (&'static str, (&'static str, &'static str), &'static str, &'static str, &'static str);

const ROWS: [Row; 10] = [
    ("switch-count", ("switches", "4"), "policy", "nvidia_switch_count", "four switches were asked for"),
    ("profile-gpus", ("gpus", "8"), "policy", "nvidia_gpu_count", "eight GPUs were asked for"),
    (
        "architecture-denied",
        ("architectures", "[\"blackwell\"]"),
        "policy",
        "nvidia_architecture_denied",
        "Hopper is not accepted",
    ),
    ("mode-other", ("mode", "\"multi\""), "policy", "nvidia_mode", "another confidential mode"),
    (
        "driver-minimum",
        ("min_driver_version", "\"590.12.1\""),
        "tcb",
        "nvidia_driver_minimum",
        "a driver below the minimum",
    ),
    (
        "vbios-minimum",
        ("min_vbios_version", "\"96.00.A5.00.02\""),
        "tcb",
        "nvidia_vbios_minimum",
        "a VBIOS below the minimum",
    ),
    (
        "driver-not-allowed",
        ("allowed_drivers", "[\"590.12.0\", \"590.13\"]"),
        "policy",
        "nvidia_driver_not_allowed",
        "a driver that is not on the list; versions are compared as text",
    ),
    (
        "device-denied",
        ("denied_machines", "[\"5a01020304050607\"]"),
        "policy",
        "nvidia_device_denied",
        "a device that is on the list of denied ones",
    ),
    (
        "device-not-allowed",
        ("machines", "[\"070605040302015a\"]"),
        "policy",
        "nvidia_device_not_allowed",
        "a device that is not on the list; the identity there has its bytes in the other order",
    ),
    (
        "device-none-allowed",
        ("machines", "\"listed\""),
        "policy",
        "nvidia_device_not_allowed",
        "no list names a device",
    ),
];

pub(super) fn write(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    suite.add("nvidia-good-profile", made.case().file("profile", profile(&[])), "as the profile asks")?;
    let hex: String = PDI.iter().map(|byte| format!("{byte:02x}")).collect();
    let listed = format!("[\"{hex}\"]");
    let narrow = profile(&[
        ("machines", &listed),
        ("min_driver_version", "\"590.12\""),
        ("allowed_drivers", "[\"590.12\"]"),
        ("min_vbios_version", "\"96.00.A5.00.01\""),
    ]);
    suite.add("nvidia-good-profile-narrow", made.case().file("profile", narrow), "exactly what is asked")?;
    for (id, change, stage, code, why) in ROWS {
        let case = made.case().file("profile", profile(&[change])).refused(stage, code);
        suite.add(format!("nvidia-{id}"), case, why)?;
    }
    stated(suite, made)?;
    let case = made.case().rule("gpu_count", 2).refused("policy", "nvidia_gpu_count");
    suite.add("nvidia-gpu-count", case, "two GPUs were asked for")?;
    suite.add(
        "nvidia-good-nonce",
        made.case().rule("nonce", "4e".repeat(32)),
        "the nonce that was expected",
    )?;
    let case = made.case().rule("nonce", format!("{}4f", "4e".repeat(31)));
    suite.add("nvidia-nonce", case.refused("binding", "nvidia_nonce"), "the report answers another nonce")
}

/// What older drivers do not state, and what does not agree.
fn stated(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let (stage, fwid, mode) = ("policy", "nvidia_fwid_missing", "nvidia_mode");
    let silent = made.config(|config| config.fwid = None)?;
    let case = silent.clone().rule("allow_missing_fwid", true);
    suite.add("nvidia-good-fwid-missing", case, "the report may lack the firmware identity")?;
    let case = silent.clone().rule("allow_missing_fwid", false).refused(stage, fwid);
    suite.add("nvidia-fwid-missing", case, "the report states no firmware identity")?;
    let case = silent.file("profile", profile(&[])).refused(stage, fwid);
    suite.add("nvidia-profile-fwid-missing", case, "the report states no firmware identity")?;
    let silent = made.config(|config| config.feature = None)?;
    let allowed = profile(&[("allow_missing_feature_flag", "true")]);
    suite.add(
        "nvidia-good-mode-missing",
        silent.clone().file("profile", allowed),
        "the mode may be missing",
    )?;
    let case = silent.file("profile", profile(&[])).refused(stage, mode);
    suite.add("nvidia-mode-missing", case, "the report states no confidential mode")?;
    let protected = "nvidia_protected_pcie";
    let case = made.config(|config| config.protected_pcie = Some(0xaa))?.refused(stage, protected);
    suite.add("nvidia-protected-pcie-on", case, "protected PCIe is on in another mode")?;
    let case = made.config(|config| config.feature = Some(2))?.refused(stage, protected);
    suite.add("nvidia-protected-pcie-off", case, "protected PCIe is stated and off")?;
    let case = made.config(|config| (config.feature, config.protected_pcie) = (Some(2), None))?;
    suite.add(
        "nvidia-protected-pcie-silent",
        case.refused(stage, protected),
        "only one field says that it is on",
    )
}
