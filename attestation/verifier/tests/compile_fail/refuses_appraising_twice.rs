//! One authentication is appraised once.

use anchorhold_rats::Expected;
use anchorhold_verifier::{AppraisalPolicy, AuthenticEvidence, appraise};

pub fn twice(evidence: AuthenticEvidence, policy: &AppraisalPolicy, first: &Expected, second: &Expected) -> bool {
    appraise(evidence, policy, first).is_ok() || appraise(evidence, policy, second).is_ok()
}

fn main() {}
