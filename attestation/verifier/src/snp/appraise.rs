//! Whether authentic evidence is acceptable.

use super::codes;
use super::{AuthenticReport, Flag, Policy, Report, Signer, Stated};
use crate::show::{hex, join};
use crate::{Accepted, Authentic, Refusal};
use anchorhold_rats::{Checks, Code, ReportData};

mod firmware;

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
    judge_policy(&evidence.claims.stated(), evidence.simulated, policy, report_data, &mut checks);
    Accepted::judged(evidence, checks)
}

/// Records every rule of the policy.
pub(crate) fn judge_policy(
    evidence: &Stated<'_>,
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
    judge_guest_policy(evidence.report, policy, checks);
    judge_platform(evidence, policy, checks);
    judge_launch(evidence.report, policy, checks);
    firmware::judge(evidence, policy, checks);
    let observed = evidence.report.report_data;
    checks.record(
        codes::REPORT_DATA,
        observed == *report_data,
        report_data.to_string(),
        observed.to_string(),
    );
}

/// Who made the report, and of what guest.
fn judge_guest(evidence: &Stated<'_>, policy: &Policy, checks: &mut Checks) {
    let report = evidence.report;
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
    judge_provider(evidence, policy, checks);

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

fn judge_provider(evidence: &Stated<'_>, policy: &Policy, checks: &mut Checks) {
    match (&policy.allowed_providers, evidence.provider) {
        (Some(allowed), Some(provider)) => {
            let named = allowed.iter().any(|name| name == provider);
            checks.record(codes::PROVIDER, named, join(allowed), provider);
        }
        (None, Some(provider)) => checks.skip(codes::PROVIDER, "not asked", provider),
        (_, None) => checks.skip(codes::PROVIDER, "a provider", "a VCEK is of no provider"),
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

fn judge_platform(evidence: &Stated<'_>, policy: &Policy, checks: &mut Checks) {
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
        (codes::PLATFORM_TIO, rules.tio_enabled, bits.tio_enabled()),
    ] {
        record_flag(code, rule, set, checks);
    }
    let observed = if evidence.crl_judged { "judged" } else { "not given" };
    if policy.require_crl {
        checks.record(codes::CRL_MISSING, evidence.crl_judged, "a revocation list of the ARK", observed);
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
