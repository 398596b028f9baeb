//! Firmware versions: what the TCB versions, the firmware's own version and its mitigations must be.

use super::codes;
use crate::snp::tcb::{ReportTcbs, TcbSet};
use crate::snp::{MinimumTcb, MitigationVectors, Policy, Report, Stated, Tcb, TcbVersion};
use anchorhold_rats::{Checks, Code};

/// Records every rule about firmware.
pub(super) fn judge(evidence: &Stated<'_>, policy: &Policy, checks: &mut Checks) {
    match ReportTcbs::of(evidence.product, evidence.report) {
        Some(ReportTcbs::Milan(set)) => judge_tcb(&set, policy, |minimum| minimum.milan, checks),
        Some(ReportTcbs::Genoa(set)) => judge_tcb(&set, policy, |minimum| minimum.genoa, checks),
        Some(ReportTcbs::Turin(set)) => judge_tcb(&set, policy, |minimum| minimum.turin, checks),
        // Authentication refuses these, so they are of no authentic report.
        None => {
            let wanted = format!("reserved bytes of {} zero", evidence.product);
            checks.record(codes::TCB_RESERVED, false, wanted, "not zero");
        }
    }
    judge_firmware(evidence.report, policy, checks);
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
        Tcb::Milan(_) => "Milan",
        Tcb::Genoa(_) => "Genoa",
        Tcb::Turin(_) => "Turin",
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
        let floor: Tcb = (*floor).into();
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
    judge_versions(report, policy, checks);
    judge_mitigations(report, policy, checks);
}

fn judge_versions(report: &Report, policy: &Policy, checks: &mut Checks) {
    let (current, committed) = (report.current_version, report.committed_version);
    let wanted = format!("current not below committed {committed}");
    checks.record(codes::FIRMWARE_ORDER, current >= committed, wanted, current.to_string());
    for (which, offset, version) in [("current", 0x1e8, current), ("committed", 0x1ec, committed)] {
        let code = codes::FIRMWARE_VERSION.at("report", offset, 3);
        match policy.min_firmware_version {
            Some(wanted) => {
                let passed = version >= wanted;
                checks.record(code, passed, format!("{which} at least {wanted}"), version.to_string());
            }
            None => checks.skip(code, "not asked", version.to_string()),
        }
    }
}

fn judge_mitigations(report: &Report, policy: &Policy, checks: &mut Checks) {
    let wanted = policy.required_mitigations;
    let active = report.mitigations.unwrap_or_default();
    let set = |vectors: MitigationVectors| [vectors.launch, vectors.current];
    let places = [("at launch", 0x1f8), ("now", 0x200)];
    for ((when, offset), (wanted, active)) in places.into_iter().zip(set(wanted).into_iter().zip(set(active)))
    {
        if report.mitigations.is_none() && wanted == 0 {
            checks.skip(codes::MITIGATIONS, "not asked", "a report of this version states none");
            continue;
        }
        let placed = codes::MITIGATIONS.at("report", offset, 8);
        let code = if report.mitigations.is_some() { placed } else { codes::MITIGATIONS };
        let passed = active & wanted == wanted;
        checks.record(code, passed, format!("{when} bits {wanted:#x}"), format!("{active:#x}"));
    }
}
