//! The control: both steps in order compile.

use anchorhold_rats::{Endorsements, Evidence, Expected, Timestamp};
use anchorhold_verifier::{AppraisalPolicy, AttestationResult, Refusal, TrustAnchors, appraise, authenticate};

pub fn verify(
    evidence: &Evidence,
    endorsements: &Endorsements,
    at: Timestamp,
    policy: &AppraisalPolicy,
    expected: &Expected,
) -> Result<AttestationResult, Refusal> {
    appraise(authenticate(evidence, endorsements, &TrustAnchors::production(), at)?, policy, expected)
}

fn main() {}
