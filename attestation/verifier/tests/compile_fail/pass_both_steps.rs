//! The control: both steps in order compile.

use anchorhold_rats::{Evidence, ReportData, Timestamp};
use anchorhold_verifier::{AppraisalPolicy, AttestationResult, Refusal, TrustAnchors, appraise, authenticate};

pub fn verify(
    evidence: &Evidence,
    at: Timestamp,
    policy: &AppraisalPolicy,
    report_data: &ReportData,
) -> Result<AttestationResult, Refusal> {
    appraise(authenticate(evidence, &TrustAnchors::production(), at)?, policy, report_data)
}

fn main() {}
