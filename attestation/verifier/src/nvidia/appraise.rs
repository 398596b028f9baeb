//! Whether authentic devices are acceptable.

use super::device::DeviceChecks;
use super::ocsp::{Answer, Subject};
use super::{
    AuthenticDevice, GpuFields, Kind, Mode, Policy, Stated, SwitchFields, VbiosVersion, codes, topology,
};
use crate::{Accepted, Authentic, Refusal};
use anchorhold_rats::{Checks, Code, Nonce};

/// Judges authentic devices against `policy` and the nonce that the relying party computed itself.
///
/// Establishes that every rule of the policy holds for the board and for each device, and that each device signed
/// `gpu_nonce`; `None` means that no devices are expected. Presumes that the nonce is fresh and bound to the guest, as
/// that of [`KeyBinding`](anchorhold_rats::KeyBinding) is.
///
/// # Errors
/// [`Refusal`] with every rule that failed, not only the first.
pub fn appraise(
    mut evidence: Authentic<Vec<AuthenticDevice>>,
    policy: &Policy,
    gpu_nonce: Option<&Nonce>,
) -> Result<Accepted<Vec<AuthenticDevice>>, Refusal> {
    let mut checks = std::mem::take(&mut evidence.checks);
    let devices: Vec<_> = evidence.claims.iter().map(AuthenticDevice::stated).collect();
    judge_policy(&devices, evidence.simulated, policy, gpu_nonce, &mut checks);
    Accepted::judged(evidence, checks)
}

/// Records every rule of the policy.
pub(crate) fn judge_policy(
    devices: &[Stated<'_>],
    simulated: bool,
    policy: &Policy,
    gpu_nonce: Option<&Nonce>,
    checks: &mut Checks,
) {
    let root = if simulated { "a simulated root" } else { "NVIDIA's root" };
    let allowed = policy.relaxations.simulated;
    let wanted = if allowed { "any root the caller named" } else { "NVIDIA's root" };
    checks.record(codes::SIMULATED, allowed || !simulated, wanted, root);
    for (code, kind, what, wanted) in [
        (codes::GPU_COUNT, Kind::Gpu, "GPUs", policy.board.gpus),
        (codes::SWITCH_COUNT, Kind::Switch, "switches", policy.board.switches),
    ] {
        let count = devices.iter().filter(|device| device.architecture.kind() == kind).count();
        checks.record(code, count == wanted, format!("{wanted} {what}"), count.to_string());
    }
    for (index, device) in devices.iter().enumerate() {
        let mut checks = DeviceChecks { index, checks };
        judge_device(device, policy, gpu_nonce, &mut checks);
        judge_references(device, policy, &mut checks);
        if let Some(gpu) = device.fields.gpu() {
            judge_gpu(gpu, policy, &mut checks);
        }
        if let Some(switch) = device.fields.switch() {
            judge_switch(switch, policy, &mut checks);
        }
    }
    if policy.require_topology {
        topology::judge(devices, checks);
    } else {
        for code in [codes::TOPOLOGY_GPUS, codes::TOPOLOGY_SWITCHES] {
            checks.skip(code, "not asked", "not compared");
        }
    }
}

/// Which device it is, and for whom it made the report.
fn judge_device(
    device: &Stated<'_>,
    policy: &Policy,
    gpu_nonce: Option<&Nonce>,
    checks: &mut DeviceChecks<'_>,
) {
    let observed = device.nonce;
    let wanted = gpu_nonce.map_or_else(|| "no device at all".to_owned(), ToString::to_string);
    checks.record(codes::NONCE, gpu_nonce == Some(&observed), wanted, observed.to_string());

    let architecture = device.architecture;
    let allowed = policy.allowed_architectures.contains(&architecture);
    let names: Vec<_> = policy.allowed_architectures.iter().map(ToString::to_string).collect();
    let wanted = if names.is_empty() { "none".to_owned() } else { names.join(" or ") };
    checks.record(codes::ARCHITECTURE_DENIED, allowed, wanted, architecture.to_string());

    let pdi = device.pdi;
    let denied = policy.denied_devices.contains(&pdi);
    let wanted = format!("none of {} denied devices", policy.denied_devices.len());
    checks.record(codes::DEVICE_DENIED, !denied, wanted, pdi.to_string());
    match &policy.allowed_devices {
        Some(allowed) => {
            let wanted = format!("one of {} allowed devices", allowed.len());
            checks.record(codes::DEVICE_NOT_ALLOWED, allowed.contains(&pdi), wanted, pdi.to_string());
        }
        None => checks.skip(codes::DEVICE_NOT_ALLOWED, "not asked", pdi.to_string()),
    }
}

/// What vouches for firmware and certificates beside the chain.
fn judge_references(device: &Stated<'_>, policy: &Policy, checks: &mut DeviceChecks<'_>) {
    let missing = device.missing_rims.join(", ");
    let observed = if missing.is_empty() { "all compared".to_owned() } else { format!("no {missing}") };
    if policy.require_rims {
        checks.record(codes::RIM_MISSING, missing.is_empty(), "a manifest for each firmware", observed);
    } else {
        checks.skip(codes::RIM_MISSING, "not asked", observed);
    }
    let rules = &policy.ocsp;
    let unanswered: Vec<_> =
        device.answers.iter().filter(|answer| answer.standing.is_none()).map(describe).collect();
    let observed = if unanswered.is_empty() { "all answered".to_owned() } else { unanswered.join(", ") };
    if rules.require {
        let wanted = "an OCSP answer about every intermediate";
        checks.record(codes::OCSP_MISSING, unanswered.is_empty(), wanted, observed);
    } else {
        checks.skip(codes::OCSP_MISSING, "not asked", observed);
    }
    for answer in device.answers {
        let Some(standing) = answer.standing else { continue };
        let what = describe(answer);
        let young = standing.age_seconds <= rules.max_age_seconds;
        let wanted = format!("an answer about {what} of at most {} seconds", rules.max_age_seconds);
        checks.record(codes::OCSP_AGE, young, wanted, format!("{} seconds", standing.age_seconds));
        let allowed = match answer.subject {
            Subject::Device => rules.allow_hold,
            Subject::Rim => rules.allow_hold_rim,
        };
        let wanted = format!("{what} {}", if allowed { "good or on hold" } else { "good" });
        let observed = if standing.on_hold { "on hold" } else { "good" };
        checks.record(codes::OCSP_HOLD, allowed || !standing.on_hold, wanted, observed);
    }
}

fn describe(answer: &Answer) -> String {
    let subject = match answer.subject {
        Subject::Device => "the device's",
        Subject::Rim => "its manifests'",
    };
    format!("{subject} {}", answer.certificate)
}

fn judge_gpu(gpu: &GpuFields, policy: &Policy, checks: &mut DeviceChecks<'_>) {
    judge_mode(gpu, policy, checks);
    let observed = if gpu.fwid.is_some() { "stated" } else { "not stated" };
    if policy.allow_missing_fwid {
        checks.skip(codes::FWID_MISSING, "stated or not", observed);
    } else {
        checks.record(codes::FWID_MISSING, gpu.fwid.is_some(), "a stated firmware identity", observed);
    }
    let driver = &gpu.driver_version;
    match &policy.min_driver_version {
        Some(minimum) => {
            let passed = driver.is_at_least(minimum);
            checks.record(codes::DRIVER_MINIMUM, passed, format!("at least {minimum}"), driver.to_string());
        }
        None => checks.skip(codes::DRIVER_MINIMUM, "not asked", driver.to_string()),
    }
    match &policy.allowed_drivers {
        Some(allowed) => {
            let wanted = format!("one of {} allowed drivers", allowed.len());
            checks.record(codes::DRIVER_NOT_ALLOWED, allowed.contains(driver), wanted, driver.to_string());
        }
        None => checks.skip(codes::DRIVER_NOT_ALLOWED, "not asked", driver.to_string()),
    }
    record_minimum(codes::VBIOS_MINIMUM, policy.min_vbios_version, gpu.vbios_version, checks);
}

fn judge_switch(switch: &SwitchFields, policy: &Policy, checks: &mut DeviceChecks<'_>) {
    let minimum = policy.min_switch_bios_version;
    record_minimum(codes::SWITCH_BIOS_MINIMUM, minimum, switch.bios_version, checks);
}

fn record_minimum(
    code: Code,
    minimum: Option<VbiosVersion>,
    version: VbiosVersion,
    checks: &mut DeviceChecks<'_>,
) {
    match minimum {
        Some(minimum) => {
            let wanted = format!("at least {minimum}");
            checks.record(code, version >= minimum, wanted, version.to_string());
        }
        None => checks.skip(code, "not asked", version.to_string()),
    }
}

/// The confidential mode by both fields that speak of it. Where the policy forgives the first, the second still counts.
fn judge_mode(gpu: &GpuFields, policy: &Policy, checks: &mut DeviceChecks<'_>) {
    let wanted = policy.mode.to_string();
    match gpu.mode {
        Some(mode) => {
            checks.record(codes::MODE, mode == policy.mode, wanted, mode.to_string());
        }
        None if policy.allow_missing_feature_flag => {
            checks.skip(codes::MODE, format!("{wanted} or not stated"), "not stated");
        }
        None => {
            checks.record(codes::MODE, false, wanted, "not stated");
        }
    }
    let protected = policy.mode == Mode::ProtectedPcie;
    let name = |on| if on { "on" } else { "off" };
    let wanted = format!("protected PCIe {}", name(protected));
    match gpu.protected_pcie {
        Some(on) => {
            checks.record(codes::PROTECTED_PCIE, on == protected, wanted, name(on));
        }
        None if protected => {
            checks.record(codes::PROTECTED_PCIE, false, wanted, "not stated");
        }
        None => checks.skip(codes::PROTECTED_PCIE, wanted, "not stated"),
    }
}
