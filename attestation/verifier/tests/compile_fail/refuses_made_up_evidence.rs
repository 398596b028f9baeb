//! Authentic evidence cannot be made from a report that was only read.

use anchorhold_verifier::snp::{AuthenticReport, Report};
use anchorhold_verifier::{Authentic, AuthenticEvidence};

pub fn by_change(mut evidence: AuthenticReport, report: Report) -> AuthenticReport {
    evidence.report = report;
    evidence
}

pub fn by_other_claims(mut evidence: Authentic<AuthenticReport>, claims: AuthenticReport) -> Authentic<AuthenticReport> {
    evidence.claims = claims;
    evidence
}

pub fn by_default() -> AuthenticEvidence {
    Default::default()
}

fn main() {}
