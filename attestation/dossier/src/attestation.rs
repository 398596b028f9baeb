//! Whether the evidence in a bundle vouches for the log's key.

use anchorhold_audit_log::{BindingInputs, BindingPurpose, Report};
use anchorhold_evaluation::Verdict;
use anchorhold_rats::{
    Checks, Ed25519PublicKey, Endorsements, Evidence, KeyBinding, Measurement, Nonce, Purpose, Sha256Digest,
    Stage, Timestamp,
};
use anchorhold_verifier::{AppraisalPolicy, AttestationResult, TrustAnchors, appraise, authenticate};
use serde::Serialize;

/// What was found out about the evidence.
#[derive(Debug, Serialize)]
pub struct Attestation {
    /// The verdict.
    pub verdict: Verdict,
    /// The time for which it was judged.
    pub at: Timestamp,
    /// Whether the roots are simulated ones, under which nothing is protected.
    pub simulated: bool,
    /// The measurement, where the evidence is accepted.
    pub measurement: Option<Measurement>,
    /// Every rule that was looked at.
    pub checks: Checks,
}

/// Establishes, when the verdict is `Accepted`, that a guest which one of the policies accepts holds the audit key of this
/// report's manifest. Presumes that the report is accepted: otherwise the manifest is a claim.
#[must_use]
pub fn judge(
    report: &Report,
    anchors: &TrustAnchors,
    policies: &[AppraisalPolicy],
    at: Timestamp,
) -> Attestation {
    let mut checks = Checks::new();
    if policies.is_empty() {
        checks.record((Stage::Policy, "audit_policy"), false, "a policy that accepts something", "none");
    }
    let result = vouched(report, &mut checks).and_then(|(evidence, binding)| {
        let nearest = policies.iter().map(|policy| {
            authenticate(&evidence, &Endorsements::default(), anchors, at)
                .and_then(|authentic| appraise(authentic, policy, &binding.expected()))
        });
        let nearest =
            nearest.min_by_key(|judged| judged.as_ref().err().map_or(0, |r| r.checks().failed().count()));
        match nearest? {
            Ok(result) => Some(result),
            Err(refusal) => {
                checks.append(refusal.checks().clone());
                None
            }
        }
    });
    if let Some(result) = &result {
        checks.append(result.checks().clone());
    }
    Attestation {
        verdict: Verdict::of(&checks),
        at,
        simulated: anchors.are_simulated(),
        measurement: result.as_ref().map(AttestationResult::measurement),
        checks,
    }
}

/// The evidence, and what it has to vouch for.
fn vouched(report: &Report, checks: &mut Checks) -> Option<(Evidence, KeyBinding)> {
    let manifest = report.manifest.as_ref();
    let inputs = manifest.and_then(|manifest| Some((manifest.audit_key, manifest.binding?)));
    let (bytes, inputs) = match (&report.evidence, inputs) {
        (Some(bytes), Some(inputs)) => (bytes, inputs),
        (evidence, _) => {
            let observed = if evidence.is_some() { "no inputs of the report data" } else { "no evidence" };
            checks.record((Stage::Parse, "audit_evidence"), false, "evidence for the audit key", observed);
            return None;
        }
    };
    match Evidence::from_json(bytes) {
        Ok(evidence) => {
            let binding = binding(&inputs, &evidence);
            Some((evidence, binding))
        }
        Err(error) => {
            checks.record(
                (Stage::Parse, "audit_evidence"),
                false,
                "evidence for the audit key",
                error.to_string(),
            );
            None
        }
    }
}

fn binding(
    (audit_key, inputs): &(anchorhold_audit_log::PublicKey, BindingInputs),
    evidence: &Evidence,
) -> KeyBinding {
    KeyBinding {
        purpose: match inputs.purpose {
            BindingPurpose::KeyRelease => Purpose::KeyRelease,
            BindingPurpose::Serving => Purpose::Serving,
        },
        nonce: Nonce::new(*inputs.nonce.as_bytes()),
        tls_key: Sha256Digest::new(*inputs.tls_key.as_bytes()),
        release_key: Sha256Digest::new(*inputs.release_key.as_bytes()),
        audit_key: Ed25519PublicKey::new(*audit_key.as_bytes()),
        context: Sha256Digest::new(*inputs.context.as_bytes()),
        gpu_evidence: evidence.gpu_digest(),
    }
}
