//! Cases of TDX.

use super::{anchors, hex, of_refusal};
use crate::corpus::{Error, Files};
use crate::manifest::{Case, CasePolicy};
use anchorhold_rats::{Checks, Measurement, ReportData, TdxCollateral};
use anchorhold_verifier::dangerous::{self, SimulatedRoots};
use anchorhold_verifier::tdx::{self, AuthenticQuote, Flag, Input, Policy};
use anchorhold_verifier::{TrustAnchors, event_log};

pub(super) fn judge(case: &Case, files: &Files) -> Result<Checks, Error> {
    files.only(&["quote", "root", "collateral", "eventlog"])?;
    let roots = SimulatedRoots { intel: files.get("root"), ..SimulatedRoots::default() };
    let anchors = match anchors(case.pin, &roots) {
        Ok(anchors) => anchors,
        Err(checks) => return Ok(checks),
    };
    let (quote, collateral) = (files.need("quote")?, files.get("collateral"));
    let mut checks = judge_quote(case, quote, collateral, &anchors, None)?;
    checks.append(judge_log(files.get("eventlog"), &case.policy, quote));
    Ok(checks)
}

/// Judges a quote; `bound` is the report data that it must be for, where the case itself names none.
pub(super) fn judge_quote(
    case: &Case,
    quote: &[u8],
    collateral: Option<&[u8]>,
    anchors: &TrustAnchors,
    bound: Option<ReportData>,
) -> Result<Checks, Error> {
    let collateral = collateral.map(read_collateral).transpose()?;
    let input = Input { quote, collateral: collateral.as_ref() };
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

/// A log that is there must be the history of the quote's registers, whether the case asks for one or not.
fn judge_log(log: Option<&[u8]>, rules: &CasePolicy, quote: &[u8]) -> Checks {
    if log.is_none() && !rules.require_eventlog {
        return Checks::new();
    }
    let replayed = match log.map(event_log::read).transpose() {
        Ok(replayed) => replayed,
        Err(refusal) => return of_refusal(refusal),
    };
    // A quote that cannot be read was refused already.
    let Ok(quote) = tdx::Quote::parse(quote) else { return Checks::new() };
    let policy = event_log::Policy { allow_unknown_events: true, ..event_log::Policy::strict() };
    match event_log::appraise(replayed.as_ref(), &quote.body.rtmrs, &policy) {
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

fn read_collateral(json: &[u8]) -> Result<TdxCollateral, Error> {
    let wanted = "the JSON of dcap-qvl's QuoteCollateralV3";
    TdxCollateral::from_dcap_json(json).map_err(|_| Error::Form { what: "collateral", wanted })
}
