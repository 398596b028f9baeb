//! Cases that are judged by an appraisal profile, the way a relying party judges: all parts of the evidence together.

use super::{hex, hex_bytes, of_refusal};
use crate::corpus::{Error, Files};
use crate::manifest::{Case, CasePolicy, Pin};
use anchorhold_appraisal_policy::AppraisalProfile;
use anchorhold_rats::{Checks, Endorsements, Evidence, Expected, Nonce, ReportData};
use anchorhold_verifier::{
    AppraisalPolicy, Claims, TeeClaims, TrustAnchors, appraise, authenticate, dangerous,
};

/// The profile of a case, where it has one.
pub(super) fn read(files: &Files) -> Result<Option<AppraisalProfile>, Error> {
    let Some(bytes) = files.get("profile") else { return Ok(None) };
    let text =
        std::str::from_utf8(bytes).map_err(|_| Error::Form { what: "profile", wanted: "text in UTF-8" })?;
    Ok(Some(AppraisalProfile::from_toml(text)?))
}

/// The policy of a profile that judges this case: one that is in force, and beside which the manifest names nothing but
/// what the evidence must be bound to. No file can accept simulated roots, so a case under one says so by its pin.
pub(super) fn policy(case: &Case, profile: &AppraisalProfile) -> Result<AppraisalPolicy, Error> {
    if !profile.valid_at(case.at) {
        return Err(Error::Form { what: "profile", wanted: "in force at the time of the case" });
    }
    let CasePolicy { report_data, tpm_nonce, nonce, .. } = case.policy.clone();
    if case.policy != (CasePolicy { report_data, tpm_nonce, nonce, ..CasePolicy::default() }) {
        return Err(Error::Form { what: "policy", wanted: "without rules beside those of the profile" });
    }
    let policy = profile.appraisal().clone();
    Ok(match case.pin {
        Pin::Real => policy,
        Pin::Forged => dangerous::allow_simulated(policy),
    })
}

/// All rules that were looked at.
pub(super) fn judge(
    case: &Case,
    policy: &AppraisalPolicy,
    evidence: &Evidence,
    endorsements: &Endorsements,
    anchors: &TrustAnchors,
) -> Result<Checks, Error> {
    let authentic = match authenticate(evidence, endorsements, anchors, case.at) {
        Ok(authentic) => authentic,
        Err(refusal) => return Ok(of_refusal(refusal)),
    };
    let expected = expected(&case.policy, authentic.claims())?;
    Ok(match appraise(authentic, policy, &expected) {
        Ok(accepted) => accepted.checks().clone(),
        Err(refusal) => of_refusal(refusal),
    })
}

/// What the evidence must be bound to; what the case does not name is as the evidence has it.
fn expected(rules: &CasePolicy, claims: &Claims) -> Result<Expected, Error> {
    let report_data = if let Some(vtpm) = &claims.paravisor {
        let nonce = match &rules.tpm_nonce {
            Some(text) => hex_bytes("tpm_nonce", text)?,
            None => vtpm.nonce().to_vec(),
        };
        let wrong = |_| Error::Form { what: "tpm_nonce", wanted: "64 bytes, as profiles ask for" };
        ReportData::try_from(nonce.as_slice()).map_err(wrong)?
    } else if let Some(text) = &rules.report_data {
        ReportData::new(hex("report_data", text)?)
    } else {
        match &claims.tee {
            TeeClaims::Snp(report) => report.report().report_data,
            TeeClaims::Tdx(quote) => quote.body().report_data,
        }
    };
    let gpu_nonce = match &rules.nonce {
        Some(text) => Some(Nonce::new(hex("nonce", text)?)),
        None => claims.gpus.first().map(|device| device.report().nonce),
    };
    Ok(Expected { gpu_nonce, ..report_data.into() })
}
