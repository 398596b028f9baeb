//! Runs every profile of `policies/appraisal` against every evidence of `policies/cases/appraisal.toml`.

use crate::evidence::{GPU_NONCE, Made, Recipe};
use crate::filled::{filled, machine_list};
use crate::support::{policies, read, shipped};
use anchorhold_appraisal_policy::MachineList;
use anchorhold_rats::{Checks, Expected, Timestamp};
use anchorhold_verifier::dangerous::allow_simulated;
use anchorhold_verifier::{AuthenticEvidence, TeeClaims, appraise, authenticate};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    evidence: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    why: String,
    at: Timestamp,
    make: Recipe,
    /// The profile as it is shipped, without reference values.
    #[serde(default)]
    as_shipped: bool,
    #[serde(default)]
    machines: Machines,
    /// By profile: "accept", or the codes of every rule that refuses.
    verdict: BTreeMap<String, Verdict>,
}

/// Which machine lists are applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Machines {
    /// One that allows the machines of the evidence.
    #[default]
    Listed,
    /// None.
    None,
    /// One that allows them, and one that revokes them.
    Revoked,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum Verdict {
    Word(String),
    Codes(BTreeSet<String>),
}

/// The codes of the rules that failed.
fn failed(checks: &Checks) -> BTreeSet<String> {
    checks.failed().map(|check| check.code.to_string()).collect()
}

/// Every code with which the profile refuses the evidence.
fn judge(case: &Case, text: &str, made: &Made) -> BTreeSet<String> {
    let authentic = authenticate(&made.evidence, &made.endorsements, &made.anchors, case.at);
    let authentic = match authentic {
        Ok(authentic) => authentic,
        Err(refusal) => return failed(refusal.checks()),
    };
    let text = if case.as_shipped { text.to_owned() } else { filled(text, authentic.claims()) };
    let mut policy = read(&text).appraisal().clone();
    for list in lists(case, &authentic) {
        list.apply(&mut policy, case.at).unwrap();
    }
    if authentic.simulated() {
        policy = allow_simulated(policy);
    }
    let own = match &authentic.claims().tee {
        TeeClaims::Snp(report) => report.report().report_data,
        TeeClaims::Tdx(quote) => quote.body().report_data,
    };
    let report_data = made.report_data.unwrap_or(own);
    let expected = Expected { gpu_nonce: Some(GPU_NONCE), ..report_data.into() };
    match appraise(authentic, &policy, &expected) {
        Ok(_) => BTreeSet::new(),
        Err(refusal) => failed(refusal.checks()),
    }
}

fn lists(case: &Case, evidence: &AuthenticEvidence) -> Vec<MachineList> {
    let list = |kind| machine_list(kind, evidence.claims(), case.at);
    let lists = match case.machines {
        Machines::None => Vec::new(),
        Machines::Listed => vec![list("allow")],
        Machines::Revoked => vec![list("allow"), list("revoke")],
    };
    lists.into_iter().flatten().collect()
}

fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string(policies().join("cases/appraisal.toml")).unwrap();
    toml::from_str::<Cases>(&text).unwrap_or_else(|error| panic!("{error}")).evidence
}

#[test]
fn every_profile_has_the_expected_verdict_on_every_evidence() {
    let profiles = shipped();
    let mut wrong = Vec::new();
    for case in cases() {
        let Some(made) = case.make.make(case.at) else { continue };
        let mut observed = BTreeMap::new();
        for (name, text) in &profiles {
            let codes = judge(&case, text, &made);
            let verdict =
                if codes.is_empty() { Verdict::Word("accept".to_owned()) } else { Verdict::Codes(codes) };
            observed.insert(name.clone(), verdict);
        }
        if observed != case.verdict {
            let lines: Vec<_> = observed
                .iter()
                .map(|(name, verdict)| match verdict {
                    Verdict::Word(word) => format!("{name} = {word:?}"),
                    Verdict::Codes(codes) => format!("{name} = {codes:?}"),
                })
                .collect();
            wrong.push(format!("# {}\n{}", case.why, lines.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "observed:\n{}", wrong.join("\n\n"));
}

#[test]
fn every_profile_accepts_some_evidence_and_refuses_more() {
    let cases = cases();
    let names: BTreeSet<_> = shipped().into_iter().map(|(name, _)| name).collect();
    for name in &names {
        let accepted =
            cases.iter().filter(|case| case.verdict.get(name) == Some(&Verdict::Word("accept".into())));
        let accepted = accepted.count();
        let refused =
            cases.iter().filter(|case| matches!(case.verdict.get(name), Some(Verdict::Codes(_)))).count();
        assert!(accepted >= 1 && refused >= 5, "{name}: {accepted} accepted, {refused} refused");
        assert_eq!(accepted + refused, cases.len(), "{name}");
    }
    // No case names a profile that there is not, and none accepts what is as shipped.
    for case in &cases {
        assert!(case.verdict.keys().all(|name| names.contains(name)), "{}", case.why);
        assert!(
            !case.as_shipped || case.verdict.values().all(|v| matches!(v, Verdict::Codes(_))),
            "{}",
            case.why
        );
    }
}
