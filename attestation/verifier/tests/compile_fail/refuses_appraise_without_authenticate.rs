//! Evidence cannot be appraised before it was authenticated.

use anchorhold_rats::{Evidence, ReportData};
use anchorhold_verifier::{AppraisalPolicy, AttestationResult, Refusal, appraise};

pub fn verify(
    evidence: Evidence,
    policy: &AppraisalPolicy,
    report_data: &ReportData,
) -> Result<AttestationResult, Refusal> {
    appraise(evidence, policy, report_data)
}

fn main() {}
