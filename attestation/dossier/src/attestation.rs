//! Whether the evidence in a bundle vouches for the log's key.

use anchorhold_audit_log::{BindingPurpose, Manifest, Report};
use anchorhold_evaluation::Verdict;
use anchorhold_rats::{
    Checks, Ed25519PublicKey, Endorsements, Evidence, EvidenceBundle, EvidenceError, KeyBinding, Measurement,
    Nonce, Purpose, Sha256Digest, Stage, Timestamp,
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
    /// Whether witnesses say that time: they had seen the entry that names the evidence by then.
    pub is_witnessed: bool,
    /// Whether the roots are simulated ones, under which nothing is protected.
    pub simulated: bool,
    /// The measurement, where the evidence is accepted.
    pub measurement: Option<Measurement>,
    /// Every rule that was looked at.
    pub checks: Checks,
}

/// Establishes, when the verdict is `Accepted`, that a guest which one of the policies accepts holds the audit key of this
/// report's manifest. Presumes that the report is accepted: otherwise the manifest is a claim.
///
/// It is judged for the time by which witnesses had seen the entry that names it, so that it can be judged long after its certificates
/// ended; `at` is for logs of which no believed witness says so.
#[must_use]
pub fn judge(
    report: &Report,
    anchors: &TrustAnchors,
    policies: &[AppraisalPolicy],
    at: Timestamp,
) -> Attestation {
    let witnessed = report.evidence_by_s.and_then(|seconds| i64::try_from(seconds).ok());
    let at = witnessed.map_or(at, Timestamp::from_unix_seconds);
    let mut checks = Checks::new();
    if policies.is_empty() {
        checks.record((Stage::Policy, "audit_policy"), false, "a policy that accepts something", "none");
    }
    let result = vouched(report, &mut checks).and_then(|(evidence, endorsements, binding)| {
        let nearest = policies.iter().map(|policy| {
            authenticate(&evidence, &endorsements, anchors, at)
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
        is_witnessed: witnessed.is_some(),
        simulated: anchors.are_simulated(),
        measurement: result.as_ref().map(AttestationResult::measurement),
        checks,
    }
}

/// The evidence with what the guest had of vendors, and what it has to vouch for.
fn vouched(report: &Report, checks: &mut Checks) -> Option<(Evidence, Endorsements, KeyBinding)> {
    let mut refuse = |observed: String| {
        checks.record((Stage::Parse, "audit_evidence"), false, "evidence for the audit key", observed);
        None
    };
    let manifest = report.manifest.as_ref();
    match (&report.evidence, manifest) {
        (Some(bytes), Some(manifest)) if manifest.binding.is_some() => match read(bytes) {
            Ok((evidence, endorsements)) => {
                let binding = binding(manifest, &evidence)?;
                Some((evidence, endorsements, binding))
            }
            Err(error) => refuse(error.to_string()),
        },
        (Some(_), _) => refuse("no inputs of the report data".to_owned()),
        (None, _) => refuse("no evidence".to_owned()),
    }
}

/// Evidence, alone or with endorsements.
fn read(json: &[u8]) -> Result<(Evidence, Endorsements), EvidenceError> {
    match EvidenceBundle::from_json(json) {
        Ok(bundle) => Ok((bundle.evidence, bundle.endorsements)),
        Err(_) => Evidence::from_json(json).map(|evidence| (evidence, Endorsements::default())),
    }
}

/// What the evidence has to vouch for: what the manifest claims, and for evidence that was made for the log, the log's name.
fn binding(manifest: &Manifest, evidence: &Evidence) -> Option<KeyBinding> {
    let inputs = manifest.binding?;
    let purpose = match inputs.purpose {
        BindingPurpose::KeyRelease => Purpose::KeyRelease,
        BindingPurpose::Serving => Purpose::Serving,
        BindingPurpose::Log => Purpose::Log,
    };
    let context = match purpose {
        Purpose::Log => Sha256Digest::of(manifest.origin.as_str().as_bytes()),
        Purpose::KeyRelease | Purpose::Serving => Sha256Digest::new(*inputs.context.as_bytes()),
    };
    Some(KeyBinding {
        purpose,
        nonce: Nonce::new(*inputs.nonce.as_bytes()),
        tls_key: Sha256Digest::new(*inputs.tls_key.as_bytes()),
        release_key: Sha256Digest::new(*inputs.release_key.as_bytes()),
        audit_key: Ed25519PublicKey::new(*manifest.audit_key.as_bytes()),
        context,
        gpu_evidence: evidence.gpu_digest(),
    })
}
