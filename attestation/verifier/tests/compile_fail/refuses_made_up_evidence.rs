//! Authentic evidence cannot be made from a report that was only read.

use anchorhold_verifier::AuthenticEvidence;
use anchorhold_verifier::snp::Report;

pub fn by_change(mut evidence: AuthenticEvidence, report: Report) -> AuthenticEvidence {
    evidence.report = report;
    evidence
}

pub fn by_default() -> AuthenticEvidence {
    Default::default()
}

fn main() {}
