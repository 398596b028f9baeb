//! An attestation result cannot be written down field by field.

use anchorhold_verifier::{AttestationResult, AuthenticEvidence};

pub fn by_literal(authentic: AuthenticEvidence) -> AttestationResult {
    AttestationResult { authentic }
}

fn main() {}
