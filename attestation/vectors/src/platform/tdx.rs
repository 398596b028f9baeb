//! Cases of TDX.

use super::{Roots, hex, of_refusal, profile};
use crate::corpus::{Error, Files};
use crate::manifest::{Case, CasePolicy};
use anchorhold_appraisal_policy::AppraisalProfile;
use anchorhold_rats::{Checks, Der, Endorsements, Evidence, Measurement, ReportData, TdxCollateral};
use anchorhold_verifier::dangerous;
use anchorhold_verifier::event_log::{self, Replayed};
use anchorhold_verifier::tdx::{self, AuthenticQuote, Flag, Input, Policy};
use anchorhold_verifier::{Refusal, TrustAnchors};

pub(super) fn judge(case: &Case, files: &Files) -> Result<Checks, Error> {
    let (evidence, endorsements) = present(files)?;
    let profile = profile::read(files)?;
    let anchors = match Roots::read(files).anchors(case.pin) {
        Ok(anchors) => anchors,
        Err(checks) => return Ok(checks),
    };
    if let Some(profile) = profile {
        let dstack = files.get(DSTACK).map(event_log::dstack::read);
        return judge_profile(case, (&evidence, &endorsements, dstack), &profile, &anchors);
    }
    let quote = &evidence.report;
    let mut checks = judge_quote(case, quote, endorsements.tdx.as_ref(), &anchors, None)?;
    let log = files.get("eventlog").map(event_log::read);
    let log = log.or_else(|| files.get(DSTACK).map(event_log::dstack::read));
    // A log that is there must be the history of the quote's registers, whether the case asks for one or not.
    if log.is_some() || case.policy.require_eventlog {
        let policy = event_log::Policy { allow_unknown_events: true, ..event_log::Policy::strict() };
        checks.append(judge_log(log, &policy, quote));
    }
    Ok(checks)
}

/// The evidence of a case, with its collateral. A log in dstack's form is no part of it.
pub(super) fn present(files: &Files) -> Result<(Evidence, Endorsements), Error> {
    files.only(&["quote", "root", "collateral", "eventlog", DSTACK, "profile"])?;
    if files.get("eventlog").is_some() && files.get(DSTACK).is_some() {
        return Err(Error::Role { role: DSTACK.to_owned(), what: "is beside another log" });
    }
    let mut evidence = Evidence::tdx(files.need("quote")?.to_vec());
    evidence.event_log = files.get("eventlog").map(|log| Der(log.into()));
    let tdx = files.get("collateral").map(read_collateral).transpose()?;
    Ok((evidence, Endorsements { tdx, ..Endorsements::default() }))
}

/// dstack's own form of an event log.
const DSTACK: &str = "dstack-eventlog";

/// Judges by a profile. dstack's log is no part of evidence: its rules are held against it beside the others.
fn judge_profile(
    case: &Case,
    (evidence, endorsements, dstack): (&Evidence, &Endorsements, Option<Result<Replayed, Refusal>>),
    profile: &AppraisalProfile,
    anchors: &TrustAnchors,
) -> Result<Checks, Error> {
    let mut policy = profile::policy(case, profile)?;
    let log_policy = dstack.as_ref().and_then(|_| policy.event_log.take());
    let mut checks = profile::judge(case, &policy, evidence, endorsements, anchors)?;
    match (dstack, log_policy) {
        (log, Some(log_policy)) => checks.append(judge_log(log, &log_policy, &evidence.report)),
        (Some(Err(refusal)), None) => checks.append(of_refusal(refusal)),
        _ => {}
    }
    Ok(checks)
}

/// Judges a quote; `bound` is the report data that it must be for, where the case itself names none.
pub(super) fn judge_quote(
    case: &Case,
    quote: &[u8],
    collateral: Option<&TdxCollateral>,
    anchors: &TrustAnchors,
    bound: Option<ReportData>,
) -> Result<Checks, Error> {
    let input = Input { quote, collateral };
    let authentic = match tdx::authenticate(&input, anchors, case.at) {
        Ok(authentic) => authentic,
        Err(refusal) => return Ok(of_refusal(refusal)),
    };
    let (policy, report_data) = policy(&case.policy, authentic.claims())?;
    let report_data = bound.unwrap_or(report_data);
    Ok(match tdx::appraise(authentic, &policy, &report_data) {
        Ok(accepted) => accepted.checks().clone(),
        Err(refusal) => of_refusal(refusal),
    })
}

/// Judges a log that was read, or `None` where none came, against the registers of the quote.
fn judge_log(log: Option<Result<Replayed, Refusal>>, policy: &event_log::Policy, quote: &[u8]) -> Checks {
    let replayed = match log.transpose() {
        Ok(replayed) => replayed,
        Err(refusal) => return of_refusal(refusal),
    };
    // A quote that cannot be read was refused already.
    let Ok(quote) = tdx::Quote::parse(quote) else { return Checks::new() };
    match event_log::appraise(replayed.as_ref(), &quote.body.rtmrs, policy) {
        Ok(checks) => checks,
        Err(refusal) => of_refusal(refusal),
    }
}

/// The rules of the case; everything else accepts what the quote says.
fn policy(rules: &CasePolicy, quote: &AuthenticQuote) -> Result<(Policy, ReportData), Error> {
    let body = quote.body();
    let mrtd = match &rules.mrtd {
        Some(text) => Measurement::new(hex("mrtd", text)?),
        None => body.mrtd,
    };
    let report_data = match &rules.report_data {
        Some(text) => ReportData::new(hex("report_data", text)?),
        None => body.report_data,
    };
    let mut policy = dangerous::allow_simulated(Policy::strict(vec![mrtd]));
    for (slot, text) in policy.rtmrs.iter_mut().zip([&rules.rtmr0, &rules.rtmr1, &rules.rtmr2, &rules.rtmr3])
    {
        *slot = text.as_ref().map(|text| hex("rtmr", text)).transpose()?;
    }
    policy.attributes.require_sept_ve_disable = rules.require_sept_ve_disable;
    policy.attributes.allow_perfmon = rules.allow_perfmon.unwrap_or(true);
    policy.attributes.provisioning_agent = Flag::Either;
    if rules.allow_smt == Some(false) {
        policy.platform.smt = Flag::Clear;
    }
    policy.min_tcb_evaluation_number = rules.min_tcb_eval.unwrap_or(0);
    if rules.allow_debug {
        policy = dangerous::allow_debug(policy);
    }
    Ok((policy, report_data))
}

pub(super) fn read_collateral(json: &[u8]) -> Result<TdxCollateral, Error> {
    let wanted = "the JSON of dcap-qvl's QuoteCollateralV3";
    TdxCollateral::from_dcap_json(json).map_err(|_| Error::Form { what: "collateral", wanted })
}
