//! Evidence of every family together: a TEE's report with what accompanies it.

use crate::outcome::{Accepted, Authentic};
use crate::relaxation::{Relax, Relaxations, sealed};
use crate::{Refusal, TrustAnchors, codes, snp};
use anchorhold_rats::{Checks, Endorsements, Evidence, Expected, Measurement, Tee, Timestamp};

/// What the parts of the evidence state.
#[derive(Debug)]
pub struct Claims {
    /// Of the TEE.
    pub tee: TeeClaims,
}

/// What the TEE states.
#[derive(Debug)]
pub enum TeeClaims {
    /// AMD SEV-SNP.
    Snp(Box<snp::AuthenticReport>),
}

impl TeeClaims {
    /// What was launched: MEASUREMENT of SNP, MRTD of TDX.
    #[must_use]
    pub const fn measurement(&self) -> Measurement {
        match self {
            Self::Snp(report) => report.report().measurement,
        }
    }

    /// The line of hardware, such as `Genoa`.
    #[must_use]
    pub fn product(&self) -> String {
        match self {
            Self::Snp(report) => report.product().to_string(),
        }
    }

    /// The security versions of the firmware, for people.
    #[must_use]
    pub fn tcb(&self) -> String {
        match self {
            Self::Snp(report) => report.tcb().to_string(),
        }
    }
}

/// Evidence whose signatures hold up to the named trust anchors.
pub type AuthenticEvidence = Authentic<Claims>;
/// Evidence that a policy accepted.
pub type AttestationResult = Accepted<Claims>;

impl AttestationResult {
    /// What was launched: MEASUREMENT of SNP, MRTD of TDX.
    #[must_use]
    pub const fn measurement(&self) -> Measurement {
        self.claims().tee.measurement()
    }
}

/// What a relying party accepts. A family that is not named is refused, so the default accepts nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppraisalPolicy {
    /// For AMD SEV-SNP.
    pub snp: Option<snp::Policy>,
}

impl From<snp::Policy> for AppraisalPolicy {
    fn from(policy: snp::Policy) -> Self {
        Self { snp: Some(policy) }
    }
}

impl sealed::Sealed for AppraisalPolicy {}
impl Relax for AppraisalPolicy {
    fn relax(&mut self, change: fn(&mut Relaxations)) {
        if let Some(policy) = &mut self.snp {
            policy.relax(change);
        }
    }
}

/// Judges whether `evidence` is authentic at the time `at`.
///
/// Establishes that the report has the documented shape, that the TEE's key signed exactly the received bytes, that a root
/// in `anchors` certified that key for the firmware and chip that the report names, that all certificates were valid
/// at `at`, and that the endorsements that were given are signed, current and revoke nothing. Presumes that `at` is the
/// caller's honest time.
///
/// # Errors
/// [`Refusal`], with the rules of the first stage that failed.
pub fn authenticate(
    evidence: &Evidence,
    endorsements: &Endorsements,
    anchors: &TrustAnchors,
    at: Timestamp,
) -> Result<AuthenticEvidence, Refusal> {
    evidence
        .check_limits()
        .and_then(|()| endorsements.check_limits())
        .map_err(|error| Refusal::of(codes::EVIDENCE_LIMIT, "evidence within limits", error.to_string()))?;
    let mut checks = Checks::new();
    let judged = match evidence.tee {
        Tee::Snp => {
            let input = snp::Input {
                report: &evidence.report,
                certificates: &evidence.certificates,
                crls: &endorsements.snp_crls,
            };
            snp::judge(&input, anchors, at, &mut checks)
                .map(|(report, expires)| (TeeClaims::Snp(Box::new(report)), expires))
        }
        Tee::Tdx => {
            checks.record(codes::FAMILY_DENIED, false, "SEV-SNP", "TDX");
            None
        }
    };
    match judged {
        Some((tee, expires)) if checks.none_failed() => {
            Ok(Authentic { claims: Claims { tee }, expires, simulated: anchors.are_simulated(), checks })
        }
        _ => Err(Refusal::new(checks)),
    }
}

/// Judges authentic evidence against `policy` and what the relying party computed itself.
///
/// Establishes that every rule of the policy holds and that the evidence was made for `expected`. Presumes
/// that the caller chose a fresh nonce that `expected` commits to. The evidence is consumed, so that one
/// authentication is appraised once.
///
/// # Errors
/// [`Refusal`] with every rule that failed, not only the first.
pub fn appraise(
    mut evidence: AuthenticEvidence,
    policy: &AppraisalPolicy,
    expected: &Expected,
) -> Result<AttestationResult, Refusal> {
    let mut checks = std::mem::take(&mut evidence.checks);
    match (&evidence.claims.tee, &policy.snp) {
        (TeeClaims::Snp(report), Some(policy)) => {
            snp::judge_policy(report, evidence.simulated, policy, &expected.report_data, &mut checks);
        }
        (TeeClaims::Snp(_), None) => {
            checks.record(codes::FAMILY_DENIED, false, "a family that the policy names", "SEV-SNP");
        }
    }
    Accepted::judged(evidence, checks)
}
