//! An attestation result cannot be made from authentic evidence without appraisal.

use anchorhold_verifier::{AttestationResult, AuthenticEvidence};

pub fn by_constructor(evidence: AuthenticEvidence) -> AttestationResult {
    AttestationResult::new(evidence)
}

pub fn by_default() -> AttestationResult {
    Default::default()
}

fn main() {}
