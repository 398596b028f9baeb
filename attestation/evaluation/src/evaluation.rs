//! One evaluation.

use crate::Verdict;
use anchorhold_rats::{Checks, Measurement, Outcome, Sha256Digest, Tee, Timestamp};
use anchorhold_verifier::{AttestationResult, Refusal};
use serde::Serialize;
use std::fmt::Write as _;

/// The value of `format`. Keys are only ever added under one format.
pub const EVALUATION_FORMAT: &str = "urn:anchorhold:evaluation:v1";

/// The appraisal profile by which evidence was judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UsedProfile {
    /// What operators call it.
    pub id: String,
    /// Its version.
    pub version: u64,
    /// SHA-256 of the file.
    pub digest: Sha256Digest,
}

impl UsedProfile {
    /// The profile as a URI, for the `ear_appraisal_policy_ids` of an EAR.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("urn:sha256:{}", self.digest)
    }
}

/// What an evaluation looked at and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evaluation {
    /// [`EVALUATION_FORMAT`].
    pub format: &'static str,
    /// The time for which it was judged.
    pub at: Timestamp,
    /// Who signed the report.
    pub tee: Tee,
    /// How it ended.
    pub verdict: Verdict,
    /// The appraisal profile, when there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<UsedProfile>,
    /// Whether the trust anchors are not the vendors'. Then nothing is protected, whatever the verdict.
    pub simulated: bool,
    /// What was launched; only of accepted evidence.
    pub measurement: Option<Measurement>,
    /// The line of hardware; only of accepted evidence.
    pub product: Option<String>,
    /// The security versions of the firmware; only of accepted evidence.
    pub tcb: Option<String>,
    /// The end of the earliest validity among all inputs: from then on new evidence is needed. Only of accepted evidence.
    pub expires: Option<Timestamp>,
    /// Every rule in order.
    pub checks: Checks,
}

impl Evaluation {
    /// The evaluation that ended like this.
    #[must_use]
    pub fn of(
        tee: Tee,
        outcome: &Result<AttestationResult, Refusal>,
        at: Timestamp,
        simulated: bool,
    ) -> Self {
        let (accepted, checks) = match outcome {
            Ok(result) => (Some(result), result.checks()),
            Err(refusal) => (None, refusal.checks()),
        };
        Self {
            format: EVALUATION_FORMAT,
            at,
            tee,
            verdict: Verdict::of(checks),
            profile: None,
            simulated,
            measurement: accepted.map(AttestationResult::measurement),
            product: accepted.map(|result| result.claims().tee.product()),
            tcb: accepted.map(|result| result.claims().tee.tcb()),
            expires: accepted.map(AttestationResult::expires),
            checks: checks.clone(),
        }
    }

    /// The same evaluation, made by this profile.
    #[must_use]
    pub fn by(mut self, profile: Option<UsedProfile>) -> Self {
        self.profile = profile;
        self
    }

    /// The evaluation for a person: the verdict first, then each failed rule, then what was looked at.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        let simulated = if self.simulated { " (simulated root: nothing is protected)" } else { "" };
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{}{simulated}: {} evidence judged for {}", self.verdict, self.tee, self.at);
        let profile =
            |used: &UsedProfile| format!("{} version {}, SHA-256 {}", used.id, used.version, used.digest);
        for (label, value) in [
            ("profile", self.profile.as_ref().map(profile)),
            ("measurement", self.measurement.map(|measurement| measurement.to_string())),
            ("product", self.product.clone()),
            ("firmware", self.tcb.clone()),
            ("good until", self.expires.map(|expires| expires.to_string())),
        ] {
            if let Some(value) = value {
                let _ = writeln!(out, "  {label:12} {value}");
            }
        }
        for check in self.checks.failed() {
            let _ = writeln!(
                out,
                "  FAILED {}: wanted {}, observed {}",
                check.code, check.wanted, check.observed
            );
        }
        let count = |outcome| self.checks.all().iter().filter(|check| check.outcome == outcome).count();
        let _ = writeln!(
            out,
            "  {} rules passed, {} failed, {} did not apply",
            count(Outcome::Passed),
            count(Outcome::Failed),
            count(Outcome::Skipped)
        );
        out
    }
}
