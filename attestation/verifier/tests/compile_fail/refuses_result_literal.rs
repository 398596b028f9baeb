//! An attestation result cannot be written down field by field.

use anchorhold_verifier::{AttestationResult, AuthenticEvidence};

pub fn by_literal(evidence: AuthenticEvidence) -> AttestationResult {
    AttestationResult { evidence }
}

fn main() {}
