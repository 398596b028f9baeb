//! Whether authentic evidence is acceptable.

use super::body::offset;
use super::codes;
use super::policy::{Flag, Grace, Policy};
use super::{AuthenticQuote, Stated, Tcb, Xfam};
use crate::show::{hex, join};
use crate::{Accepted, Authentic, Refusal};
use anchorhold_rats::{Checks, Code, ReportData, Timestamp};

/// Judges an authentic quote against `policy` and the report data that the relying party computed itself.
///
/// Establishes that every rule of the policy holds and that the quote was made for `report_data`. Presumes
/// that the caller chose a fresh nonce that `report_data` commits to.
///
/// # Errors
/// [`Refusal`] with every rule that failed, not only the first.
pub fn appraise(
    mut evidence: Authentic<AuthenticQuote>,
    policy: &Policy,
    report_data: &ReportData,
) -> Result<Accepted<AuthenticQuote>, Refusal> {
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
    let root = if simulated { "a simulated root" } else { "Intel's root" };
    let allowed = policy.relaxations.simulated;
    let wanted = if allowed { "any root the caller named" } else { "Intel's root" };
    checks.record(codes::SIMULATED, allowed || !simulated, wanted, root);
    judge_measurements(evidence, policy, checks);
    judge_attributes(evidence, policy, checks);
    judge_bound(evidence, policy, checks);
    judge_tcb(evidence, policy, checks);
    judge_platform(evidence, policy, checks);
    let padding = evidence.padding;
    let (code, observed) = (codes::PADDING, format!("{padding} zero bytes"));
    let wanted =
        if policy.allow_zero_padding { "any zero bytes after the quote" } else { "nothing after the quote" };
    checks.record(code, policy.allow_zero_padding || padding == 0, wanted, observed);
    let observed = evidence.body.report_data;
    let code = evidence.source(codes::REPORT_DATA, offset::REPORT_DATA, 64);
    checks.record(code, observed == *report_data, report_data.to_string(), observed.to_string());
}

/// What was measured into the TD and around it.
fn judge_measurements(evidence: &Stated<'_>, policy: &Policy, checks: &mut Checks) {
    let (quote, body) = (evidence, evidence.body);
    let count = policy.mrtds.len();
    checks.record(codes::MRTDS_EMPTY, count > 0, "at least one MRTD in the policy", count.to_string());
    let known = policy.mrtds.contains(&body.mrtd);
    let code = quote.source(codes::MRTD, offset::MRTD, 48);
    checks.record(code, known, join(&policy.mrtds), body.mrtd.to_string());
    let codes = [codes::RTMR0, codes::RTMR1, codes::RTMR2, codes::RTMR3];
    for (((code, at), wanted), observed) in
        codes.into_iter().zip(offset::RTMRS).zip(&policy.rtmrs).zip(&body.rtmrs)
    {
        record_exact(quote.source(code, at, 48), wanted.as_ref(), observed, checks);
    }
    for (code, at, wanted, observed) in [
        (codes::MR_CONFIG_ID, offset::MR_CONFIG_ID, &policy.mr_config_id, &body.mr_config_id),
        (codes::MR_OWNER, offset::MR_OWNER, &policy.mr_owner, &body.mr_owner),
        (codes::MR_OWNER_CONFIG, offset::MR_OWNER_CONFIG, &policy.mr_owner_config, &body.mr_owner_config),
    ] {
        record_exact(quote.source(code, at, 48), wanted.as_ref(), observed, checks);
    }
    let code = quote.source(codes::MRSEAM, offset::MRSEAM, 48);
    match &policy.mr_seams {
        Some(known) => {
            let wanted: Vec<_> = known.iter().map(|seam| hex(seam)).collect();
            checks.record(code, known.contains(&body.mr_seam), join(&wanted), hex(&body.mr_seam));
        }
        None => checks.skip(code, "not asked", hex(&body.mr_seam)),
    }
}

fn judge_attributes(evidence: &Stated<'_>, policy: &Policy, checks: &mut Checks) {
    let (bits, rules) = (evidence.body.td_attributes, &policy.attributes);
    let at = |code| evidence.source(code, offset::TD_ATTRIBUTES, 8);
    let relaxations = policy.relaxations;
    for (code, relaxed, set) in [
        (codes::DEBUG, relaxations.debug, bits.debug()),
        (codes::PROFILING, false, bits.profiling()),
        (codes::MIGRATABLE, relaxations.migration_agent, bits.migratable()),
        (codes::PERFMON, rules.allow_perfmon, bits.perfmon()),
    ] {
        let wanted = if relaxed { "clear or set" } else { "clear" };
        checks.record(at(code), relaxed || !set, wanted, if set { "set" } else { "clear" });
    }
    let reserved = bits.reserved();
    let (wanted, observed) = ("no reserved or unknown bit", format!("bits {reserved:#x}"));
    checks.record(at(codes::ATTRIBUTES_RESERVED), reserved == 0, wanted, observed);
    let disabled = if rules.require_sept_ve_disable { Flag::Set } else { Flag::Either };
    for (code, rule, set) in [
        (codes::SEPT_VE_DISABLE, disabled, bits.sept_ve_disabled()),
        (codes::PKS, rules.pks, bits.pks()),
        (codes::KEY_LOCKER, rules.key_locker, bits.key_locker()),
        (codes::LASS, rules.lass, bits.lass()),
        (codes::STEP_DEFENCE, rules.step_defence, bits.step_defence()),
        (codes::PROVISIONING_AGENT, rules.provisioning_agent, bits.provisioning_agent()),
    ] {
        record_flag(at(code), rule, Some(set), checks);
    }
    let xfam = evidence.body.xfam;
    let at = |code| evidence.source(code, offset::XFAM, 8);
    let wanted = format!("bits {:#x}, and others only of {:#x}", Xfam::FIXED_1, Xfam::KNOWN);
    checks.record(at(codes::XFAM_FIXED), xfam.is_well_formed(), wanted, format!("{:#x}", xfam.0));
    match policy.xfam {
        Some(wanted) => {
            let (same, wanted) = (xfam == wanted, format!("{:#x}", wanted.0));
            checks.record(at(codes::XFAM), same, wanted, format!("{:#x}", xfam.0));
        }
        None => checks.skip(at(codes::XFAM), "not asked", format!("{:#x}", xfam.0)),
    }
}

/// What is bound to the TD beside its own contents: service TDs, devices, VMs inside it.
fn judge_bound(evidence: &Stated<'_>, policy: &Policy, checks: &mut Checks) {
    let (quote, body) = (evidence, evidence.body);
    let extended = body.td15.as_ref().and_then(|td15| td15.extended.as_ref());
    let services = &policy.allowed_service_tds;
    let mut bound = Vec::new();
    bound.extend(body.td15.as_ref().map(|td15| (offset::MR_SERVICE_TD, &td15.mr_service_td)));
    bound.extend(extended.map(|more| (offset::INITIAL_SERVICE_TD, &more.initial_service_td)));
    bound.extend(extended.map(|more| (offset::CURRENT_SERVICE_TD, &more.current_service_td)));
    for (at, digest) in &bound {
        record_bound(quote.source(codes::SERVICE_TD, *at, 48), services, digest, checks);
    }
    if bound.is_empty() {
        checks.skip(codes::SERVICE_TD, "no service TD", "a TD 1.0 body names none");
    }
    let set = body.td_attributes.service_td_extended();
    let passed = !set || (extended.is_some() && !services.is_empty());
    let code = quote.source(codes::SERVICE_TD_EXTENDED, offset::TD_ATTRIBUTES, 8);
    let wanted = "clear, or an extended body and service TDs in the policy";
    checks.record(code, passed, wanted, if set { "set" } else { "clear" });
    let Some(extended) = extended else {
        let why = "the body is not extended";
        checks.skip(codes::DEVICE_INFO, "no device", why);
        checks.skip(codes::VM_INDEX, "a named VM index", why);
        return;
    };
    let code = quote.source(codes::DEVICE_INFO, offset::DEVICE_INFO, 48);
    record_bound(code, &policy.allowed_device_infos, &extended.device_info, checks);
    let index = extended.vm_index;
    let known = policy.allowed_vm_indices.contains(&index);
    let code = quote.source(codes::VM_INDEX, offset::VM_INDEX, 1);
    checks.record(code, known, join(&policy.allowed_vm_indices), index.to_string());
}

/// Records that a digest is zero or named.
fn record_bound(code: Code, allowed: &[[u8; 48]], digest: &[u8; 48], checks: &mut Checks) {
    let passed = *digest == [0; 48] || allowed.contains(digest);
    let allowed: Vec<_> = allowed.iter().map(|digest| hex(digest)).collect();
    checks.record(code, passed, format!("zero or one of: {}", join(&allowed)), hex(digest));
}

fn judge_tcb(evidence: &Stated<'_>, policy: &Policy, checks: &mut Checks) {
    let tcb = evidence.tcb;
    let accepted = status_accepted(tcb, policy, evidence.at);
    let mut wanted = join(&policy.accepted_statuses);
    if let Some(Grace { statuses, seconds }) = &policy.grace {
        wanted = format!("{wanted}, or {} within {seconds} seconds of a newer level", join(statuses));
    }
    if let Some(advisories) = &policy.accepted_advisories {
        wanted = format!("{wanted}, or no other advisories than {}", join(advisories));
    }
    let superseded = tcb.superseded().map_or_else(String::new, |since| format!(", superseded {since}"));
    let observed = format!("{}{superseded}, advisories: {}", tcb.status, tcb.advisories.join(" "));
    checks.record(codes::TCB_STATUS, accepted, wanted, observed);
    let wanted = policy.min_tcb_evaluation_number;
    let (info, identity) = (tcb.tcb_info_evaluation_number, tcb.qe_identity_evaluation_number);
    let observed = format!("{info} of the TCB info, {identity} of the QE identity");
    let passed = info.min(identity) >= wanted;
    checks.record(codes::EVALUATION_NUMBER, passed, format!("at least {wanted}"), observed);
}

/// Whether the policy accepts the status, which is never revoked: authentication refuses that.
fn status_accepted(tcb: &Tcb, policy: &Policy, at: Timestamp) -> bool {
    let within_grace = policy.grace.as_ref().is_some_and(|grace| {
        let until = tcb.superseded().map(|since| since.plus_seconds(grace.seconds.into()));
        grace.statuses.contains(&tcb.status) && until.is_some_and(|until| at < until)
    });
    let only_accepted_advisories = policy.accepted_advisories.as_ref().is_some_and(|accepted| {
        !tcb.advisories.is_empty() && tcb.advisories.iter().all(|advisory| accepted.contains(advisory))
    });
    policy.accepted_statuses.contains(&tcb.status) || within_grace || only_accepted_advisories
}

/// The platform by its PCK certificate.
fn judge_platform(evidence: &Stated<'_>, policy: &Policy, checks: &mut Checks) {
    let (pck, rules) = (evidence.pck, &policy.platform);
    for (code, rule, flag) in [
        (codes::DYNAMIC_PLATFORM, rules.dynamic_platform, pck.dynamic_platform),
        (codes::CACHED_KEYS, rules.cached_keys, pck.cached_keys),
        (codes::SMT, rules.smt, pck.smt_enabled),
    ] {
        record_flag(code, rule, flag, checks);
    }
    let (platform, denied) = (pck.platform_id, &policy.denied_platforms);
    let wanted = format!("none of {} denied platforms", denied.len());
    checks.record(codes::PLATFORM_DENIED, !denied.contains(&platform), wanted, platform.to_string());
    match &policy.allowed_platforms {
        Some(allowed) => {
            let wanted = format!("one of {} allowed platforms", allowed.len());
            let passed = allowed.contains(&platform);
            checks.record(codes::PLATFORM_NOT_ALLOWED, passed, wanted, platform.to_string());
        }
        None => checks.skip(codes::PLATFORM_NOT_ALLOWED, "not asked", platform.to_string()),
    }
}

/// Records a rule about a bit. One that is not stated breaks every rule about it.
fn record_flag(code: Code, rule: Flag, bit: Option<bool>, checks: &mut Checks) {
    let observed = match bit {
        Some(true) => "set",
        Some(false) => "clear",
        None => "not stated",
    };
    match rule {
        Flag::Either => checks.skip(code, "not asked", observed),
        Flag::Set => {
            checks.record(code, bit == Some(true), "set", observed);
        }
        Flag::Clear => {
            checks.record(code, bit == Some(false), "clear", observed);
        }
    }
}

fn record_exact(code: Code, wanted: Option<&[u8; 48]>, observed: &[u8; 48], checks: &mut Checks) {
    match wanted {
        Some(wanted) => {
            checks.record(code, wanted == observed, hex(wanted), hex(observed));
        }
        None => checks.skip(code, "not asked", hex(observed)),
    }
}
