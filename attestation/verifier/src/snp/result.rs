//! What appraisal says.

use super::{AuthenticEvidence, ChipId, Product, Report, Signer, Tcb};
use anchorhold_rats::{Checks, Measurement, Timestamp};

/// Authentic evidence that a policy accepted, with the report data the relying party expected.
///
/// Made only by [`appraise`](super::appraise). Says what held at the time of authentication; ask for new
/// evidence at the latest when [`expires`](Self::expires) has passed.
#[derive(Debug)]
pub struct AttestationResult {
    evidence: AuthenticEvidence,
}

impl AttestationResult {
    /// The result for evidence in whose checks no rule failed.
    pub(super) const fn new(evidence: AuthenticEvidence) -> Self {
        Self { evidence }
    }

    /// Every rule that was looked at, of authentication and appraisal. None failed.
    #[must_use]
    pub const fn checks(&self) -> &Checks {
        &self.evidence.checks
    }

    /// The launch digest of the guest.
    #[must_use]
    pub const fn measurement(&self) -> Measurement {
        self.evidence.report.measurement
    }

    /// Whether the root is not AMD's. Such a result protects nothing.
    #[must_use]
    pub const fn simulated(&self) -> bool {
        self.evidence.simulated
    }

    /// REPORTED_TCB, for which the signing key is certified.
    #[must_use]
    pub fn tcb(&self) -> Tcb {
        self.evidence.tcbs.reported()
    }

    /// The chip, unless a VLEK hides it.
    #[must_use]
    pub const fn chip_id(&self) -> Option<ChipId> {
        self.evidence.chip_id
    }

    /// The product line of the chip.
    #[must_use]
    pub const fn product(&self) -> Product {
        self.evidence.product
    }

    /// The kind of key that signed the report.
    #[must_use]
    pub const fn signer(&self) -> Signer {
        self.evidence.signer
    }

    /// POLICY of the guest, as bits.
    #[must_use]
    pub const fn policy_bits(&self) -> u64 {
        self.evidence.report.policy.0
    }

    /// The end of the earliest validity among the inputs.
    #[must_use]
    pub const fn expires(&self) -> Timestamp {
        self.evidence.expires
    }

    /// The whole report.
    #[must_use]
    pub const fn report(&self) -> &Report {
        &self.evidence.report
    }
}
