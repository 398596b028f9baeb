//! A TPM beside a TEE: both for one report data, and each only where the policy names it.

use crate::support::*;
use anchorhold_attester::software::{LaunchConfig, SoftwareGuest, simulated_ark_der};
use anchorhold_rats::{Endorsements, Evidence, Measurement, Outcome, ReportData};
use anchorhold_verifier::dangerous::{SimulatedRoots, allow_simulated, simulated_anchors};
use anchorhold_verifier::{AppraisalPolicy, appraise, authenticate, snp, tpm};

const MEASUREMENT: Measurement = Measurement::new([7; 48]);

fn evidence(tpm: Option<&anchorhold_attester::software::SoftwareTpm>) -> Evidence {
    let guest = SoftwareGuest::launch(LaunchConfig::new(MEASUREMENT), at()).unwrap();
    Evidence { tpm: tpm.map(sent), ..guest.attest(&ReportData::new(NONCE)).unwrap() }
}

fn appraisal(tpm: Option<tpm::Policy>) -> AppraisalPolicy {
    let genoa = Some(snp::GenoaTcb { bootloader: 10, tee: 0, snp: 25, microcode: 84 });
    let minimum = snp::MinimumTcb { genoa, ..snp::MinimumTcb::default() };
    let snp = allow_simulated(snp::Policy::strict(vec![MEASUREMENT], minimum));
    AppraisalPolicy { snp: Some(snp), tpm, ..AppraisalPolicy::default() }
}

fn judged(evidence: &Evidence, policy: &AppraisalPolicy, report_data: [u8; 64]) -> Vec<String> {
    let anchors = simulated_anchors(&SimulatedRoots::amd(simulated_ark_der())).unwrap();
    let evidence = Evidence::from_json(&serde_json::to_vec(evidence).unwrap()).unwrap();
    let refusal = match authenticate(&evidence, &Endorsements::default(), &anchors, at()) {
        Ok(authentic) => match appraise(authentic, policy, &ReportData::new(report_data).into()) {
            Ok(result) => {
                assert_eq!(result.claims().tpm.is_some(), policy.tpm.is_some());
                return Vec::new();
            }
            Err(refusal) => refusal,
        },
        Err(refusal) => refusal,
    };
    let all = refusal.checks().all().iter();
    all.filter(|check| check.outcome == Outcome::Failed).map(|check| check.code.to_string()).collect()
}

#[test]
fn both_are_accepted_for_one_report_data() {
    let tpm = tpm();
    let policy = policy(&tpm::authenticate(&sent(&tpm), at()).unwrap());
    assert_eq!(judged(&evidence(Some(&tpm)), &appraisal(Some(policy.clone())), NONCE), [""; 0]);
    let codes = judged(&evidence(Some(&tpm)), &appraisal(Some(policy)), [6; 64]);
    assert_eq!(codes, ["tpm_nonce", "snp_report_data"]);
}

#[test]
fn refuses_a_tpm_that_the_policy_does_not_name_and_demands_one_that_it_does() {
    let tpm = tpm();
    let policy = policy(&tpm::authenticate(&sent(&tpm), at()).unwrap());
    assert_eq!(judged(&evidence(Some(&tpm)), &appraisal(None), NONCE), ["family_denied"]);
    assert_eq!(judged(&evidence(None), &appraisal(Some(policy)), NONCE), ["family_missing"]);
    assert_eq!(judged(&evidence(None), &appraisal(None), NONCE), [""; 0]);
}

#[test]
fn case_12_refuses_a_quote_over_its_limits() {
    let tpm = tpm();
    let whole = evidence(Some(&tpm));
    let changes: [fn(&mut anchorhold_rats::TpmEvidence); 5] = [
        |tpm| tpm.key = vec![0; 1025],
        |tpm| tpm.quote = vec![0; 1025],
        |tpm| tpm.pcrs = vec![anchorhold_rats::Der(vec![0; 32]); 25],
        |tpm| tpm.pcrs[0].0 = vec![0; 65],
        |tpm| tpm.event_log = Some(anchorhold_rats::Der(vec![0; 256 * 1024 + 1])),
    ];
    for change in changes {
        let mut changed = whole.clone();
        changed.tpm.iter_mut().for_each(change);
        assert!(changed.check_limits().is_err());
    }
}
