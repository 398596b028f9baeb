//! Evidence cannot be appraised before it was authenticated.

use anchorhold_rats::{Evidence, Expected};
use anchorhold_verifier::{AppraisalPolicy, AttestationResult, Refusal, appraise};

pub fn verify(
    evidence: Evidence,
    policy: &AppraisalPolicy,
    expected: &Expected,
) -> Result<AttestationResult, Refusal> {
    appraise(evidence, policy, expected)
}

fn main() {}
