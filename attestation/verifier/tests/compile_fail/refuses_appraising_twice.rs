//! One authentication is appraised once.

use anchorhold_rats::ReportData;
use anchorhold_verifier::{AppraisalPolicy, AuthenticEvidence, appraise};

pub fn twice(evidence: AuthenticEvidence, policy: &AppraisalPolicy, first: &ReportData, second: &ReportData) -> bool {
    appraise(evidence, policy, first).is_ok() || appraise(evidence, policy, second).is_ok()
}

fn main() {}
