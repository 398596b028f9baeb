//! Resources: which guest gets which opaque secret, as a table of the release policy beside the grants of weights keys.
//!
//! A guest is admitted once, by its platform, and then asks for resources by name. The names that a grant lists are the only
//! ones it covers: there are no patterns.

use crate::decide::{
    appraisal_for, not_authentic, require_binding, require_endorsable_evidence, require_in_force,
};
use crate::grants::judge_platforms;
use crate::policy::{PolicyError, words};
use crate::refusal::{Denied, Refusal};
use crate::replay::measurement;
use crate::{GrantTrace, ReleasePolicy, Trace};
use anchorhold_appraisal_policy::{GrantPlatform, Reader, Rule};
use anchorhold_rats::{Endorsements, Evidence, Expected, Measurement, ResourcePath, Sha256Digest, Timestamp};
use anchorhold_verifier::{AttestationResult, TrustAnchors, appraise, authenticate, judge};
use std::borrow::Cow;

/// The most grants of resources of one policy. Their names travel in a token.
pub(crate) const MAX_RESOURCE_GRANTS: usize = 64;
const PATHS: &str = "a list of resources such as \"repository/type/tag\"";

/// One grant of resources as read. All of its platform rules must hold.
#[derive(Debug, Clone)]
pub struct ResourceGrant {
    name: String,
    paths: Vec<ResourcePath>,
    platform: GrantPlatform,
    /// Indices of the policy's platform rules of resources; one of them must accept.
    platforms: Vec<usize>,
}

impl ResourceGrant {
    /// Reads a table of the file; `places` says where its platform rules lie.
    pub(crate) fn read(
        mut reader: Reader,
        places: impl FnOnce(&GrantPlatform) -> Vec<usize>,
    ) -> Result<Self, PolicyError> {
        let name = reader.name("name")?;
        let paths = reader.list("paths", PATHS, str::parse)?;
        let platform = GrantPlatform::read(&mut reader)?;
        reader.finish()?;
        let platforms = places(&platform);
        Ok(Self { name, paths, platform, platforms })
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

    /// The launch digests and MRTDs that it names.
    #[must_use]
    pub fn measurements(&self) -> Vec<Measurement> {
        self.platform.measurements()
    }

    /// Every rule with the value in force, whether the file spells it out or not. Paths are below the grant.
    #[must_use]
    pub fn rules(&self) -> Vec<Rule> {
        let paths = words(self.paths.iter().map(ResourcePath::as_str));
        let mut out = vec![Rule::accepts("paths", paths, "the resources, each by its full name")];
        out.extend(self.platform.rules());
        out
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
    require_in_force(policy, at)?;
    let authentic = authenticate(guest.evidence, guest.endorsements, anchors, at)
        .map_err(|refusal| not_authentic(refusal.into_checks()))?;
    let stated = authentic.stated();
    require_binding(&stated, guest.expected)?;
    let current = !policy.revoked.measurements.contains(&measurement(&stated));
    let judged = judge_platforms(&policy.resource_platforms, current, |appraisal| {
        judge(&stated, &appraisal_for(appraisal, anchors), guest.expected)
    });
    let (mut trace, mut grants, mut won) = (Trace::default(), Vec::new(), None);
    for grant in &policy.resources {
        let of_grant = grant.platforms.iter().filter_map(|index| judged.get(*index));
        let Some((appraisal, checks)) = of_grant.min_by_key(|(_, checks)| checks.failed().count()) else {
            continue;
        };
        let passed = checks.none_failed();
        if passed {
            grants.push(grant.name.clone());
            won = won.or(Some(*appraisal));
        }
        trace.push(GrantTrace::new(grant.name.clone(), checks.clone(), passed));
    }
    let Some(appraisal) = won else { return Err(refused(trace)) };
    // The same rules as above, and the only ones that make evidence acceptable.
    match appraise(authentic, &appraisal_for(appraisal, anchors), guest.expected) {
        Ok(attestation) => Ok(Admission { grants, policy_digest: policy.digest(), attestation, trace }),
        Err(refusal) => Err(Refusal::new(Denied::Evidence(Cow::Borrowed("evidence_refused")))
            .with_checks(refusal.into_checks())
            .with_trace(trace)),
    }
}

/// The refusal when no grant took the platform.
fn refused(trace: Trace) -> Refusal {
    let (endorsements, grant) = match trace.lacking_endorsements() {
        Some(grant) => (true, Some(grant)),
        None => (false, trace.nearest()),
    };
    let checks = grant.map(|grant| grant.checks().clone()).unwrap_or_default();
    let code = checks.failed().next().map_or(Cow::Borrowed("resource_refused"), |check| check.code.clone());
    let denied = if endorsements { Denied::Endorsements } else { Denied::Evidence(code) };
    Refusal::new(denied).with_checks(checks).with_trace(trace)
}

/// Refuses evidence that no endorsement makes good, so that vendors are asked about none of it.
///
/// Establishes nothing about evidence that it lets pass.
///
/// # Errors
/// [`Refusal`], the same as [`admit`]'s.
pub fn require_endorsable_guest(
    guest: &ResourceGuest<'_>,
    anchors: &TrustAnchors,
    at: Timestamp,
) -> Result<(), Refusal> {
    require_endorsable_evidence(guest.evidence, guest.endorsements, anchors, at)
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
