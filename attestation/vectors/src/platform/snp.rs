//! Cases of SEV-SNP.

use super::{Roots, hex, hex_bytes, of_refusal, profile};
use crate::corpus::{Error, Files};
use crate::manifest::{Case, CasePolicy};
use anchorhold_rats::{Checks, Der, Endorsements, Evidence, Measurement, ReportData};
use anchorhold_verifier::TrustAnchors;
use anchorhold_verifier::dangerous;
use anchorhold_verifier::snp::{
    self, AuthenticReport, Flag, GenoaTcb, Input, MilanTcb, MinimumTcb, MitigationVectors, Policy, Product,
    Signer, TurinTcb,
};
use std::collections::BTreeMap;

/// Revocation lists: the one of the shared contract, and more of them.
const CRLS: [&str; 6] = ["crl", "crl-1", "crl-2", "crl-3", "crl-4", "crl-5"];

pub(super) fn judge(case: &Case, files: &Files) -> Result<Checks, Error> {
    let profile = profile::read(files)?;
    let anchors = match Roots::read(files).anchors(case.pin) {
        Ok(anchors) => anchors,
        Err(checks) => return Ok(checks),
    };
    let (evidence, endorsements) = present(files)?;
    if let Some(profile) = profile {
        let policy = profile::policy(case, &profile)?;
        return profile::judge(case, &policy, &evidence, &endorsements, &anchors);
    }
    let Evidence { report, certificates, .. } = &evidence;
    judge_input(case, &Input { report, certificates, crls: &endorsements.snp_crls }, &anchors, None)
}

/// The evidence of a case, with its revocation lists.
pub(super) fn present(files: &Files) -> Result<(Evidence, Endorsements), Error> {
    files.only(&[&["report", "vek", "ask", "ark", "profile"][..], &CRLS].concat())?;
    // Without the signer's certificate the others do not move up into its place.
    let roles: &[&str] = if files.get("vek").is_some() { &["vek", "ask", "ark"] } else { &[] };
    let all = |roles: &[&str]| -> Vec<Der> {
        roles.iter().filter_map(|role| files.get(role)).map(|der| Der(der.into())).collect()
    };
    let evidence = Evidence::snp(files.need("report")?.to_vec(), all(roles));
    Ok((evidence, Endorsements { snp_crls: all(&CRLS), ..Endorsements::default() }))
}

/// Judges a report; `bound` is the report data that it must be for, where the case itself names none.
pub(super) fn judge_input(
    case: &Case,
    input: &Input<'_>,
    anchors: &TrustAnchors,
    bound: Option<ReportData>,
) -> Result<Checks, Error> {
    let authentic = match snp::authenticate(input, anchors, case.at) {
        Ok(authentic) => authentic,
        Err(refusal) => return Ok(of_refusal(refusal)),
    };
    let (policy, report_data) = policy(&case.policy, authentic.claims())?;
    let report_data = bound.unwrap_or(report_data);
    Ok(match snp::appraise(authentic, &policy, &report_data) {
        Ok(accepted) => accepted.checks().clone(),
        Err(refusal) => of_refusal(refusal),
    })
}

/// The rules of the case; everything else accepts what the report says.
fn policy(rules: &CasePolicy, evidence: &AuthenticReport) -> Result<(Policy, ReportData), Error> {
    let (report, product) = (evidence.report(), evidence.product());
    let measurement = match &rules.measurement {
        Some(text) => Measurement::new(hex("measurement", text)?),
        None => report.measurement,
    };
    let report_data = match &rules.report_data {
        Some(text) => ReportData::new(hex("report_data", text)?),
        None => report.report_data,
    };
    let minimum = floor(product, rules.min_tcb.as_ref())?;
    let mut policy = dangerous::allow_simulated(Policy::strict(vec![measurement], minimum));
    policy.allowed_vmpls = rules.allow_vmpl.clone().unwrap_or_else(|| vec![0]);
    policy.allowed_signers = vec![Signer::Vcek, Signer::Vlek];
    policy.guest_policy.cxl_allowed = Flag::Either;
    if rules.allow_smt == Some(false) {
        policy.guest_policy.smt_allowed = Flag::Clear;
    }
    policy.require_alias_check = rules.require_alias_check;
    policy.require_crl = rules.require_crl;
    policy.require_author_key = rules.require_author_key;
    policy.host_data = rules.host_data.as_ref().map(|text| hex("host_data", text)).transpose()?;
    if rules.min_launch_tcb.is_some() {
        policy.min_launch_tcb = Some(floor(product, rules.min_launch_tcb.as_ref())?);
    }
    if let Some(text) = &rules.require_mit_vector {
        let bits = bits(text)?;
        policy.required_mitigations = MitigationVectors { launch: bits, current: bits };
    }
    if rules.allow_debug {
        policy = dangerous::allow_debug(policy);
    }
    Ok((policy, report_data))
}

/// Hexadecimal of a number, most significant digit first, with or without `0x`.
fn bits(text: &str) -> Result<u64, Error> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let wrong = Error::Form { what: "require_mit_vector", wanted: "a number of 64 bits in hexadecimal" };
    let padded = format!("{digits:0>16}");
    let bytes = hex_bytes("require_mit_vector", &padded)?;
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| wrong)
}

/// The floor for the product of the report; components that are not named are 0.
fn floor(product: Product, components: Option<&BTreeMap<String, u8>>) -> Result<MinimumTcb, Error> {
    let mut known: Vec<&str> = vec!["bootloader", "tee", "snp", "microcode"];
    if product == Product::Turin {
        known.push("fmc");
    }
    let named = |name: &str| components.and_then(|all| all.get(name)).copied().unwrap_or(0);
    if components.is_some_and(|all| all.keys().any(|name| !known.contains(&name.as_str()))) {
        return Err(Error::Form { what: "min_tcb", wanted: "an object of this product's components" });
    }
    let (bootloader, tee, snp, microcode) =
        (named("bootloader"), named("tee"), named("snp"), named("microcode"));
    let mut minimum = MinimumTcb::default();
    match product {
        Product::Milan => minimum.milan = Some(MilanTcb { bootloader, tee, snp, microcode }),
        Product::Genoa => minimum.genoa = Some(GenoaTcb { bootloader, tee, snp, microcode }),
        Product::Turin => {
            minimum.turin = Some(TurinTcb { fmc: named("fmc"), bootloader, tee, snp, microcode });
        }
    }
    Ok(minimum)
}
