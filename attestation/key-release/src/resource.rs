//! Resources: which guest gets which opaque secret, as a table of the release policy beside the grants of weights keys.
//!
//! A guest is admitted once, by its platform, and then asks for resources by name. The names that a grant lists are the only
//! ones it covers: there are no patterns.

use crate::decide::binding_refusal;
use crate::policy::PolicyError;
use crate::refusal::{Denied, Refusal};
use crate::{GrantTrace, ReleasePolicy, Revocations, Trace};
use anchorhold_appraisal_policy::{Reader, measurement, snp::grant_rules};
use anchorhold_rats::{
    Checks, Endorsements, Evidence, Expected, ResourcePath, Sha256Digest, Stage, Timestamp,
};
use anchorhold_verifier::snp::ChipId;
use anchorhold_verifier::{
    AppraisalPolicy, AttestationResult, TrustAnchors, appraise, authenticate, dangerous,
};
use std::borrow::Cow;

/// The most grants of resources of one policy. Their names travel in a token.
pub(crate) const MAX_RESOURCE_GRANTS: usize = 64;
const PATHS: &str = "a list of resources such as \"repository/type/tag\"";

/// One grant of resources as read. All of its platform rules must hold.
#[derive(Debug, Clone)]
pub struct ResourceGrant {
    name: String,
    paths: Vec<ResourcePath>,
    appraisal: AppraisalPolicy,
}

impl ResourceGrant {
    /// Reads a table of the file.
    pub(crate) fn read(mut reader: Reader, revoked: &Revocations) -> Result<Self, PolicyError> {
        let name = reader.name("name")?;
        let paths = reader.list("paths", PATHS, str::parse)?;
        let mut image = reader.table("image")?;
        let measurements =
            image.list("measurements", "a list of launch digests as \"sha384:…\"", measurement)?;
        image.finish()?;
        let mut appraisal = grant_rules(reader.table("snp")?, measurements)?;
        appraisal.denied_chips.clone_from(&revoked.chips);
        reader.finish()?;
        Ok(Self { name, paths, appraisal: appraisal.into() })
    }

    pub(crate) fn deny_chips(&mut self, chips: &[ChipId]) {
        if let Some(snp) = &mut self.appraisal.snp {
            snp.denied_chips = chips.to_vec();
        }
    }

    /// What operators call the grant.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The resources that it covers.
    #[must_use]
    pub fn paths(&self) -> &[ResourcePath] {
        &self.paths
    }

    /// What the verifier is asked for.
    #[must_use]
    pub fn appraisal(&self) -> &AppraisalPolicy {
        &self.appraisal
    }
}

/// What a guest that asks for resources brings.
#[derive(Debug, Clone, Copy)]
pub struct ResourceGuest<'a> {
    /// Its evidence.
    pub evidence: &'a Evidence,
    /// What vendors say about the parts in it.
    pub endorsements: &'a Endorsements,
    /// What the evidence must show, for the nonce and the key of this exchange.
    pub expected: &'a Expected,
}

/// A guest that grants of resources take. It exists only after every platform rule of one grant passed.
///
/// ```compile_fail,E0599
/// let admission = anchorhold_key_release::Admission::default(); // nor can it be made in any other way
/// ```
#[derive(Debug)]
pub struct Admission {
    grants: Vec<String>,
    policy_digest: Sha256Digest,
    attestation: AttestationResult,
    trace: Trace,
}

impl Admission {
    /// The grants that take the guest, by name.
    #[must_use]
    pub fn grants(&self) -> &[String] {
        &self.grants
    }

    /// The policy by which it was judged.
    #[must_use]
    pub fn policy_digest(&self) -> Sha256Digest {
        self.policy_digest
    }

    /// What the verifier found, by the first of the grants.
    #[must_use]
    pub fn attestation(&self) -> &AttestationResult {
        &self.attestation
    }

    /// What every grant said.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// What the verifier found, given away.
    #[must_use]
    pub fn into_attestation(self) -> AttestationResult {
        self.attestation
    }
}

/// Decides at the moment `at` which grants of resources take a guest.
///
/// Establishes, with `Ok`: the evidence is authentic up to one of `anchors` and shows what was expected, every platform rule of
/// each named grant passed, its launch digest is not revoked, and the policy has not expired. Which resources that are is left
/// to [`ReleasePolicy::grants_resource`].
///
/// # Errors
/// [`Refusal`] with what every grant said.
pub fn admit(
    policy: &ReleasePolicy,
    anchors: &TrustAnchors,
    guest: &ResourceGuest<'_>,
    at: Timestamp,
) -> Result<Admission, Refusal> {
    if at >= policy.expires() {
        return Err(Refusal::new(Denied::PolicyExpired));
    }
    let mut trace = Trace::default();
    let mut grants = Vec::new();
    let mut first = None;
    // Grants with the same rules share a judgement, but an authentication is used up by each appraisal.
    let mut judged: Vec<(&AppraisalPolicy, bool, Checks)> = Vec::new();
    for grant in &policy.resources {
        let known = judged.iter().find(|(rules, ..)| *rules == &grant.appraisal);
        let (passed, checks) = match known {
            Some((_, passed, checks)) => (*passed, checks.clone()),
            None => {
                let (result, checks) = judge(policy, &grant.appraisal, anchors, guest, at)?;
                judged.push((&grant.appraisal, result.is_some(), checks.clone()));
                let passed = result.is_some();
                first = first.or(result);
                (passed, checks)
            }
        };
        if passed {
            grants.push(grant.name.clone());
        }
        trace.push(GrantTrace::new(grant.name.clone(), checks, passed));
    }
    match first {
        Some(attestation) => Ok(Admission { grants, policy_digest: policy.digest(), attestation, trace }),
        None => {
            let checks = trace.nearest().map(|grant| grant.checks().clone()).unwrap_or_default();
            let code =
                checks.failed().next().map_or(Cow::Borrowed("resource_refused"), |check| check.code.clone());
            Err(Refusal::new(Denied::Evidence(code)).with_checks(checks).with_trace(trace))
        }
    }
}

fn judge(
    policy: &ReleasePolicy,
    rules: &AppraisalPolicy,
    anchors: &TrustAnchors,
    guest: &ResourceGuest<'_>,
    at: Timestamp,
) -> Result<(Option<AttestationResult>, Checks), Refusal> {
    let authentic = authenticate(guest.evidence, guest.endorsements, anchors, at).map_err(|refusal| {
        let code = refusal.code().to_owned().into();
        Refusal::new(Denied::Evidence(code)).with_checks(refusal.into_checks())
    })?;
    // Evidence below a simulated root is acceptable only to a caller that named that root; no policy file can ask for it.
    let rules = if anchors.are_simulated() {
        Cow::Owned(dangerous::allow_simulated(rules.clone()))
    } else {
        Cow::Borrowed(rules)
    };
    Ok(match appraise(authentic, &rules, guest.expected) {
        Err(refusal) => match binding_refusal(refusal.checks()) {
            Some(binding) => return Err(binding),
            None => (None, refusal.into_checks()),
        },
        Ok(result) => {
            let mut checks = result.checks().clone();
            let current = !policy.revoked.measurements.contains(&result.measurement());
            let observed = if current { "not revoked" } else { "revoked" };
            let code = (Stage::Policy, "release_measurement_revoked");
            checks.record(code, current, "an image that is not revoked", observed);
            (current.then_some(result), checks)
        }
    })
}

impl ReleasePolicy {
    /// The grants of resources in the order of the file.
    #[must_use]
    pub fn resources(&self) -> &[ResourceGrant] {
        &self.resources
    }

    /// The first of `admitted`, which are names of grants of this very policy, that covers `path` at the moment `at`.
    ///
    /// Takes the same time for a resource that exists and for one that does not: whether there is one is not asked here.
    #[must_use]
    pub fn grants_resource(
        &self,
        admitted: &[String],
        path: &ResourcePath,
        at: Timestamp,
    ) -> Option<&ResourceGrant> {
        let in_force = at < self.expires();
        let covers = |grant: &&ResourceGrant| admitted.contains(&grant.name) && grant.paths.contains(path);
        self.resources.iter().find(covers).filter(|_| in_force)
    }
}
