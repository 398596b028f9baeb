//! Whether authentic evidence is acceptable.

use super::codes;
use super::tcb::{ReportTcbs, TcbSet};
use super::{AuthenticReport, Flag, MinimumTcb, Policy, Report, Signer, TcbVersion};
use crate::{Accepted, Authentic, Refusal};
use anchorhold_rats::Code;
use anchorhold_rats::{Checks, ReportData};

/// Judges an authentic report against `policy` and the report data that the relying party computed itself.
///
/// Establishes that every rule of the policy holds and that the report was made for `report_data`. Presumes
/// that the caller chose a fresh nonce that `report_data` commits to.
///
/// # Errors
/// [`Refusal`] with every rule that failed, not only the first.
pub fn appraise(
    mut evidence: Authentic<AuthenticReport>,
    policy: &Policy,
    report_data: &ReportData,
) -> Result<Accepted<AuthenticReport>, Refusal> {
    let mut checks = std::mem::take(&mut evidence.checks);
    judge_policy(&evidence.claims, evidence.simulated, policy, report_data, &mut checks);
    Accepted::judged(evidence, checks)
}

/// Records every rule of the policy.
pub(crate) fn judge_policy(
    evidence: &AuthenticReport,
    simulated: bool,
    policy: &Policy,
    report_data: &ReportData,
    checks: &mut Checks,
) {
    let root = if simulated { "a simulated root" } else { "AMD's root" };
    let allowed = policy.relaxations.simulated;
    let wanted = if allowed { "any root the caller named" } else { "AMD's root" };
    checks.record(codes::SIMULATED, allowed || !simulated, wanted, root);
    judge_guest(evidence, policy, checks);
    judge_guest_policy(&evidence.report, policy, checks);
    judge_platform(evidence, policy, checks);
    judge_launch(&evidence.report, policy, checks);
    match &evidence.tcbs {
        ReportTcbs::Milan(set) => judge_tcb(set, policy, |minimum| minimum.milan, checks),
        ReportTcbs::Genoa(set) => judge_tcb(set, policy, |minimum| minimum.genoa, checks),
        ReportTcbs::Turin(set) => judge_tcb(set, policy, |minimum| minimum.turin, checks),
    }
    judge_firmware(&evidence.report, policy, checks);
    let observed = evidence.report.report_data;
    checks.record(
        codes::REPORT_DATA,
        observed == *report_data,
        report_data.to_string(),
        observed.to_string(),
    );
}

/// Who made the report, and of what guest.
fn judge_guest(evidence: &AuthenticReport, policy: &Policy, checks: &mut Checks) {
    let report = &evidence.report;
    let count = policy.measurements.len();
    checks.record(
        codes::MEASUREMENTS_EMPTY,
        count > 0,
        "at least one measurement in the policy",
        count.to_string(),
    );
    let known = policy.measurements.contains(&report.measurement);
    checks.record(codes::MEASUREMENT, known, join(&policy.measurements), report.measurement.to_string());

    let allowed = policy.allowed_vmpls.contains(&report.vmpl);
    checks.record(codes::VMPL, allowed, join(&policy.allowed_vmpls), report.vmpl.to_string());

    let name = |signer: &Signer| match signer {
        Signer::Vcek => "VCEK",
        Signer::Vlek => "VLEK",
    };
    let wanted: Vec<_> = policy.allowed_signers.iter().map(name).collect();
    let allowed = policy.allowed_signers.contains(&evidence.signer);
    checks.record(codes::SIGNER, allowed, join(&wanted), name(&evidence.signer));

    let observed = evidence.chip_id.map_or_else(|| "hidden".to_string(), |chip| chip.to_string());
    if !policy.denied_chips.is_empty() {
        let allowed = evidence.chip_id.is_some_and(|chip| !policy.denied_chips.contains(&chip));
        let wanted = format!("none of {} denied chips", policy.denied_chips.len());
        checks.record(codes::CHIP_DENIED, allowed, wanted, observed.clone());
    }
    if let Some(chips) = &policy.allowed_chips {
        let allowed = evidence.chip_id.is_some_and(|chip| chips.contains(&chip));
        checks.record(
            codes::CHIP_NOT_ALLOWED,
            allowed,
            format!("one of {} allowed chips", chips.len()),
            observed,
        );
    }
}

fn judge_guest_policy(report: &Report, policy: &Policy, checks: &mut Checks) {
    let (bits, rules) = (report.policy, &policy.guest_policy);
    for (code, relaxed, set) in [
        (codes::DEBUG_ALLOWED, policy.relaxations.debug, bits.debug_allowed()),
        (codes::MIGRATION_ALLOWED, policy.relaxations.migration_agent, bits.migration_agent_allowed()),
    ] {
        let wanted = if relaxed { "denied or allowed" } else { "denied" };
        checks.record(code, relaxed || !set, wanted, if set { "allowed" } else { "denied" });
    }
    for (code, rule, set) in [
        (codes::SMT, rules.smt_allowed, bits.smt_allowed()),
        (codes::SINGLE_SOCKET, rules.single_socket, bits.single_socket()),
        (codes::CXL, rules.cxl_allowed, bits.cxl_allowed()),
        (codes::AES_256_XTS, rules.aes_256_xts, bits.aes_256_xts()),
        (codes::RAPL, rules.rapl_disabled, bits.rapl_disabled()),
        (codes::CIPHERTEXT_HIDING, rules.ciphertext_hiding, bits.ciphertext_hiding()),
        (codes::PAGE_SWAP, rules.page_swap_disabled, bits.page_swap_disabled()),
    ] {
        record_flag(code, rule, set, checks);
    }
    let ((major, minor), wanted) = (bits.abi_version(), rules.min_abi_version);
    let passed = (major, minor) >= wanted;
    checks.record(
        codes::ABI_VERSION,
        passed,
        format!("at least {}.{}", wanted.0, wanted.1),
        format!("{major}.{minor}"),
    );
    let (svn, wanted) = (report.guest_svn, policy.min_guest_svn);
    checks.record(codes::GUEST_SVN, svn >= wanted, format!("at least {wanted}"), svn.to_string());
}

fn judge_platform(evidence: &AuthenticReport, policy: &Policy, checks: &mut Checks) {
    let (bits, rules) = (evidence.report.platform_info, &policy.platform);
    let alias = if policy.require_alias_check { Flag::Set } else { Flag::Either };
    for (code, rule, set) in [
        (codes::ALIAS_CHECK, alias, bits.alias_check_complete()),
        (codes::PLATFORM_SMT, rules.smt_enabled, bits.smt_enabled()),
        (codes::PLATFORM_TSME, rules.tsme_enabled, bits.tsme_enabled()),
        (codes::PLATFORM_ECC, rules.ecc_enabled, bits.ecc_enabled()),
        (codes::PLATFORM_RAPL, rules.rapl_disabled, bits.rapl_disabled()),
        (
            codes::PLATFORM_CIPHERTEXT_HIDING,
            rules.ciphertext_hiding_enabled,
            bits.ciphertext_hiding_enabled(),
        ),
    ] {
        record_flag(code, rule, set, checks);
    }
    let observed = if evidence.crl_judged { "judged" } else { "not given" };
    if policy.require_crl {
        checks.record(codes::CRL_MISSING, evidence.crl_judged, "a revocation list", observed);
    } else {
        checks.skip(codes::CRL_MISSING, "not asked", observed);
    }
}

/// What the launch of the guest was bound to.
fn judge_launch(report: &Report, policy: &Policy, checks: &mut Checks) {
    record_bytes(codes::HOST_DATA, policy.host_data.as_ref(), &report.host_data, checks);
    record_bytes(codes::FAMILY_ID, policy.family_id.as_ref(), &report.family_id, checks);
    record_bytes(codes::IMAGE_ID, policy.image_id.as_ref(), &report.image_id, checks);
    let author = if policy.require_author_key { Flag::Set } else { Flag::Either };
    record_flag(codes::AUTHOR_KEY_MISSING, author, report.author_key_enabled, checks);
    for (code, keys, observed) in [
        (codes::ID_KEY, &policy.id_keys, &report.id_key_digest),
        (codes::AUTHOR_KEY, &policy.author_keys, &report.author_key_digest),
    ] {
        match keys {
            Some(keys) => {
                let wanted: Vec<_> = keys.iter().map(|key| hex(key)).collect();
                checks.record(code, keys.contains(observed), join(&wanted), hex(observed));
            }
            None => checks.skip(code, "not asked", hex(observed)),
        }
    }
}

/// The relations among the report's TCB versions, and the policy's minima. `pick` selects the product's minimum,
/// so only versions of one product can meet here.
fn judge_tcb<T: TcbVersion>(
    set: &TcbSet<T>,
    policy: &Policy,
    pick: impl Fn(&MinimumTcb) -> Option<T>,
    checks: &mut Checks,
) {
    for (name, version) in [("committed", set.committed), ("reported", set.reported), ("launch", set.launch)]
    {
        record_floor(codes::TCB_ORDER, ("current", set.current), &version, name, checks);
    }
    match pick(&policy.min_tcb) {
        Some(minimum) => {
            checks.record(codes::PRODUCT_DENIED, true, "a product with a minimum TCB in the policy", "one");
            record_floor(codes::TCB_MINIMUM, ("reported", set.reported), &minimum, "the minimum", checks);
        }
        None => {
            let observed = product_name(set.reported);
            checks.record(
                codes::PRODUCT_DENIED,
                false,
                "a product with a minimum TCB in the policy",
                observed,
            );
        }
    }
    for (code, name, version, minima) in [
        (codes::TCB_COMMITTED_MINIMUM, "committed", set.committed, &policy.min_committed_tcb),
        (codes::TCB_LAUNCH_MINIMUM, "launch", set.launch, &policy.min_launch_tcb),
    ] {
        match minima.as_ref().map(&pick) {
            Some(Some(minimum)) => record_floor(code, (name, version), &minimum, "the minimum", checks),
            Some(None) => {
                checks.record(code, false, "a minimum for this product", product_name(version));
            }
            None => checks.skip(code, "not asked", version.into().to_string()),
        }
    }
}

fn product_name<T: TcbVersion>(version: T) -> &'static str {
    match version.into() {
        super::Tcb::Milan(_) => "Milan",
        super::Tcb::Genoa(_) => "Genoa",
        super::Tcb::Turin(_) => "Turin",
    }
}

/// Records one check that passed, or one for each component of `version` that is below `floor`.
fn record_floor<T: TcbVersion>(
    code: Code,
    (name, version): (&str, T),
    floor: &T,
    floor_name: &str,
    checks: &mut Checks,
) {
    let below = version.below(floor);
    if below.is_empty() {
        let floor: super::Tcb = (*floor).into();
        checks.record(
            code,
            true,
            format!("{name} not below {floor_name} {floor}"),
            version.into().to_string(),
        );
    }
    for (component, wanted, observed) in below {
        let wanted = format!("{name} {component} at least {wanted} ({floor_name})");
        checks.record(code, false, wanted, observed.to_string());
    }
}

fn judge_firmware(report: &Report, policy: &Policy, checks: &mut Checks) {
    let provisional =
        report.committed_tcb != report.current_tcb || report.committed_version != report.current_version;
    let observed = if provisional { "provisional" } else { "committed" };
    if policy.require_committed_firmware {
        checks.record(codes::FIRMWARE_PROVISIONAL, !provisional, "committed firmware", observed);
    } else {
        checks.skip(codes::FIRMWARE_PROVISIONAL, "not asked", observed);
    }
    let committed = report.committed_version;
    match policy.min_firmware_version {
        Some(wanted) => {
            let passed = committed >= wanted && report.current_version >= wanted;
            checks.record(
                codes::FIRMWARE_VERSION,
                passed,
                format!("at least {wanted}"),
                committed.to_string(),
            );
        }
        None => checks.skip(codes::FIRMWARE_VERSION, "not asked", committed.to_string()),
    }
    let wanted = policy.required_mitigations;
    let active = report.mitigations.map_or(0, |vectors| vectors.launch & vectors.current);
    let passed = active & wanted == wanted;
    checks.record(codes::MITIGATIONS, passed, format!("bits {wanted:#x}"), format!("{active:#x}"));
}

fn record_flag(code: Code, rule: Flag, set: bool, checks: &mut Checks) {
    let observed = if set { "set" } else { "clear" };
    match rule {
        Flag::Either => checks.skip(code, "not asked", observed),
        Flag::Set => {
            checks.record(code, set, "set", observed);
        }
        Flag::Clear => {
            checks.record(code, !set, "clear", observed);
        }
    }
}

fn record_bytes<const N: usize>(
    code: Code,
    wanted: Option<&[u8; N]>,
    observed: &[u8; N],
    checks: &mut Checks,
) {
    match wanted {
        Some(wanted) => {
            checks.record(code, wanted == observed, hex(wanted), hex(observed));
        }
        None => checks.skip(code, "not asked", hex(observed)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A list for people; long ones are cut.
fn join<T: ToString>(items: &[T]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<_> = items.iter().take(SHOWN).map(ToString::to_string).collect();
    let rest = items.len().saturating_sub(SHOWN);
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("{}{more}", if shown.is_empty() { "none".into() } else { shown.join(" or ") })
}
