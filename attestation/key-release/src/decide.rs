//! The decision: one request against one policy.
//!
//! The order keeps a secret. First every grant judges the guest's platform, whatever model was asked for; only a
//! guest whose platform is in a grant learns anything about that grant's model. A model that does not exist and
//! one that is not for this guest get the same answer after the same work.

use crate::policy::ManifestRule;
use crate::refusal::{Denied, Refusal};
use crate::response::{BrokerKey, Exchange, ReleaseResponse, ReleasedTerms, WrappedKey};
use crate::{
    GrantRules, InstanceId, LogProof, ReleasePolicy, ReleaseRequest, Revocations, WeightsKeyTerms, WrapError,
};
use anchorhold_rats::{Check, Checks, Endorsements, Secret, Sha256Digest, Stage, Timestamp};
use anchorhold_verifier::{
    AppraisalPolicy, AttestationResult, TrustAnchors, appraise, authenticate, dangerous,
};
use std::borrow::Cow;
use std::fmt::Write as _;

/// What one grant said.
#[derive(Debug, Clone)]
pub struct GrantTrace {
    grant: String,
    checks: Checks,
    platform_passed: bool,
}

impl GrantTrace {
    pub(crate) const fn new(grant: String, checks: Checks, platform_passed: bool) -> Self {
        Self { grant, checks, platform_passed }
    }

    /// The grant's name.
    #[must_use]
    pub fn grant(&self) -> &str {
        &self.grant
    }

    /// Its rules in order, the platform's first.
    #[must_use]
    pub fn checks(&self) -> &Checks {
        &self.checks
    }

    /// Whether the guest's platform is one of this grant.
    #[must_use]
    pub fn platform_passed(&self) -> bool {
        self.platform_passed
    }
}

/// What every grant said about one request, allowed or not.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    grants: Vec<GrantTrace>,
}

impl Trace {
    pub(crate) fn push(&mut self, grant: GrantTrace) {
        self.grants.push(grant);
    }

    /// Each grant in the order of the policy.
    #[must_use]
    pub fn grants(&self) -> &[GrantTrace] {
        &self.grants
    }

    /// The grant with the fewest failed rules, the first of several.
    #[must_use]
    pub fn nearest(&self) -> Option<&GrantTrace> {
        self.grants.iter().min_by_key(|grant| grant.checks.failed().count())
    }

    /// One line per grant for an operator to read.
    #[must_use]
    pub fn explain(&self) -> String {
        let mut text = String::new();
        let nearest = self.nearest().map(GrantTrace::grant);
        for grant in &self.grants {
            let failed: Vec<&Check> = grant.checks.failed().collect();
            let verdict = if failed.is_empty() { "passed" } else { "refused" };
            let _ = write!(text, "grant \"{}\" {verdict}:", grant.grant);
            for check in &failed {
                let _ = write!(text, " {} wanted {}, observed {};", check.code, check.wanted, check.observed);
            }
            let others = grant.checks.all().len() - failed.len();
            let note =
                if nearest == Some(grant.grant()) && !failed.is_empty() { "; nearest grant" } else { "" };
            let _ = writeln!(text, " {others} other rules did not fail{note}");
        }
        text
    }
}

/// A decision for a request. It exists only after every rule of one grant passed, and [`wrap`](Self::wrap) uses
/// it up.
///
/// ```compile_fail,E0382
/// # use anchorhold_key_release::{BrokerKey, Grant};
/// # use anchorhold_rats::Secret;
/// fn twice(grant: Grant, weights_key: &Secret<32>, broker: &BrokerKey) {
///     let _ = grant.wrap(weights_key, broker);
///     let _ = grant.wrap(weights_key, broker); // used up
/// }
/// ```
///
/// ```compile_fail,E0599
/// let grant = anchorhold_key_release::Grant::default(); // nor can it be made in any other way
/// ```
#[derive(Debug)]
pub struct Grant {
    name: String,
    max_instances: u32,
    instance_id: InstanceId,
    terms: ReleasedTerms,
    exchange: Exchange,
    attestation: AttestationResult,
    checks: Checks,
    trace: Trace,
}

impl Grant {
    /// The grant's name in the policy.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many instances may hold a lease of this grant at one time. The caller counts.
    #[must_use]
    pub fn max_instances(&self) -> u32 {
        self.max_instances
    }

    /// Who asked.
    #[must_use]
    pub fn instance_id(&self) -> InstanceId {
        self.instance_id
    }

    /// What will be released, and on which terms.
    #[must_use]
    pub fn terms(&self) -> &ReleasedTerms {
        &self.terms
    }

    /// What the verifier found.
    #[must_use]
    pub fn attestation(&self) -> &AttestationResult {
        &self.attestation
    }

    /// The rules of this grant.
    #[must_use]
    pub fn checks(&self) -> &Checks {
        &self.checks
    }

    /// What every grant said.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Turns the grant into a refusal for a reason that is not the policy's.
    #[must_use]
    pub fn refuse(self, denied: Denied) -> Refusal {
        Refusal::new(denied).with_trace(self.trace)
    }

    /// Turns the grant into a refusal because `live` other instances hold a lease already.
    #[must_use]
    pub fn refuse_instances(self, live: u64) -> Refusal {
        let mut checks = Checks::new();
        let wanted = format!("fewer than {} other instances", self.max_instances);
        checks.record((Stage::Policy, "release_instances"), false, wanted, live.to_string());
        Refusal::new(Denied::Instances).with_checks(checks).with_trace(self.trace)
    }

    /// Wraps `weights_key` to the key that the evidence names. Presumes that it belongs to [`terms`](Self::terms).
    ///
    /// # Errors
    /// [`WrapError`] when the guest's key is no usable key or there is no randomness.
    pub fn wrap(self, weights_key: &Secret<32>, broker: &BrokerKey) -> Result<WrappedGrant, WrapError> {
        let key = WrappedKey::new(&self.exchange, &self.terms, weights_key, broker)?;
        Ok(WrappedGrant { grant: self, key })
    }
}

/// A grant with its key wrapped, before the decision is stored and logged. It answers once.
pub struct WrappedGrant {
    grant: Grant,
    key: WrappedKey,
}

impl std::fmt::Debug for WrappedGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WrappedGrant({})", self.grant.name)
    }
}

impl WrappedGrant {
    /// The grant.
    #[must_use]
    pub const fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Gives the wrapped key up and keeps the grant, for a refusal.
    #[must_use]
    pub fn into_grant(self) -> Grant {
        self.grant
    }

    /// The signed answer. Presumes that the nonce is used up, and that `log` proves the entry of this very decision,
    /// both durably.
    #[must_use]
    pub fn answer(self, log: LogProof, broker: &BrokerKey) -> ReleaseResponse {
        ReleaseResponse::new(self.key, log, broker)
    }
}

/// Decides whether `request` gets a key at the moment `at`.
///
/// `models` are the versions that the broker holds of the model that is asked for; none, if it has none. Presumes
/// that the caller recognised the nonce and knows it unused.
///
/// Establishes, with `Ok`: the evidence is authentic up to one of `anchors`; its report data commits to exactly
/// this nonce, these keys and this request; one grant's platform rules, model, version, purpose and manifest
/// match; nothing of it is revoked; the policy has not expired.
///
/// # Errors
/// [`Refusal`] with the rule that decided and what every grant said.
pub fn decide(
    policy: &ReleasePolicy,
    anchors: &TrustAnchors,
    request: &ReleaseRequest,
    models: &[WeightsKeyTerms],
    at: Timestamp,
) -> Result<Grant, Refusal> {
    if at >= policy.expires() {
        let mut checks = Checks::new();
        let wanted = format!("before {}", policy.expires());
        checks.record((Stage::Policy, "release_policy_expired"), false, wanted, at.to_string());
        return Err(Refusal::new(Denied::PolicyExpired).with_checks(checks));
    }
    let platforms = judge_platforms(policy, anchors, request, at)?;
    let mut trace = Trace::default();
    let mut nearest_miss: Option<(Shortfall, Denied)> = None;
    let mut won: Option<Won<'_>> = None;
    for rules in &policy.grants {
        let Some(at) = platforms.iter().position(|platform| platform.appraisal == &rules.appraisal) else {
            continue;
        };
        let Some(platform) = platforms.get(at) else { continue };
        let mut checks = platform.checks.clone();
        let platform_passed = platform.attestation.is_some();
        if platform_passed {
            let offer = judge_model(rules, &policy.revoked, request, models);
            checks.append(offer.checks);
            match offer.outcome {
                Ok(terms) if won.is_none() => {
                    won = Some(Won { rules, terms, platform: at, checks: checks.clone() })
                }
                Ok(_) => {}
                Err(miss) if nearest_miss.as_ref().is_none_or(|(least, _)| miss.0 < *least) => {
                    nearest_miss = Some(miss)
                }
                Err(_) => {}
            }
        }
        trace.push(GrantTrace::new(rules.name.clone(), checks, platform_passed));
    }
    let Some(won) = won else { return Err(refused(nearest_miss.map(|(_, denied)| denied), trace)) };
    let Some(attestation) = platforms.into_iter().nth(won.platform).and_then(|platform| platform.attestation)
    else {
        return Err(refused(None, trace));
    };
    Ok(Grant {
        name: won.rules.name.clone(),
        max_instances: won.rules.max_instances,
        instance_id: request.request.instance_id,
        terms: released(won.terms, won.rules, policy),
        exchange: Exchange {
            binding: request.key_binding(),
            release_key: request.keys.release_key.clone(),
            report: Sha256Digest::of(&request.evidence.report),
        },
        attestation,
        checks: won.checks,
        trace,
    })
}

/// The first grant of which every rule passed.
struct Won<'a> {
    rules: &'a GrantRules,
    terms: &'a WeightsKeyTerms,
    /// Index of its platform.
    platform: usize,
    checks: Checks,
}

fn released(terms: &WeightsKeyTerms, rules: &GrantRules, policy: &ReleasePolicy) -> ReleasedTerms {
    ReleasedTerms {
        model_id: terms.model_id.clone(),
        version: terms.version,
        kid: terms.kid.clone(),
        manifest_digest: terms.manifest_digest,
        owner_key: terms.owner_key,
        lease_s: rules.lease_s,
        policy_digest: policy.digest(),
    }
}

/// The refusal when no grant passed: about the model when some grant took the platform, else about the platform.
fn refused(model: Option<Denied>, trace: Trace) -> Refusal {
    let (denied, checks) = match model {
        Some(denied) => {
            let mut checks = Checks::new();
            let code = model_check_code(&denied);
            checks.record((Stage::Policy, code), false, "granted to this guest", "not granted");
            (denied, checks)
        }
        None => {
            let checks = trace.nearest().map(|grant| grant.checks.clone()).unwrap_or_default();
            (Denied::Evidence(first_failed_code(&checks)), checks)
        }
    };
    Refusal::new(denied).with_checks(checks).with_trace(trace)
}

fn first_failed_code(checks: &Checks) -> Cow<'static, str> {
    checks.failed().next().map_or(Cow::Borrowed("evidence_refused"), |check| check.code.clone())
}

/// The report data is right or wrong whatever the grant, and nothing else counts when it is wrong.
pub(crate) fn binding_refusal(checks: &Checks) -> Option<Refusal> {
    let failed = checks.failed().find(|check| check.stage == Stage::Binding)?;
    let mut shown = Checks::new();
    shown.record((Stage::Binding, "binding_mismatch"), false, failed.wanted.clone(), failed.observed.clone());
    Some(Refusal::new(Denied::Binding).with_checks(shown))
}

/// What one set of platform rules said. Grants with the same rules share it.
struct Platform<'a> {
    appraisal: &'a AppraisalPolicy,
    checks: Checks,
    /// Only when every platform rule passed.
    attestation: Option<AttestationResult>,
}

/// Judges the evidence once for each different set of platform rules. Each appraisal uses an authentication up, so
/// each has its own; [`ReleasePolicy`] bounds how many there are.
fn judge_platforms<'a>(
    policy: &'a ReleasePolicy,
    anchors: &TrustAnchors,
    request: &ReleaseRequest,
    at: Timestamp,
) -> Result<Vec<Platform<'a>>, Refusal> {
    let expected = request.key_binding().expected();
    let mut platforms: Vec<Platform<'a>> = Vec::new();
    for rules in &policy.grants {
        if platforms.iter().any(|platform| platform.appraisal == &rules.appraisal) {
            continue;
        }
        let authentic =
            authenticate(request.evidence(), &Endorsements::default(), anchors, at).map_err(|refusal| {
                let code = first_failed_code(refusal.checks());
                Refusal::new(Denied::Evidence(code)).with_checks(refusal.into_checks())
            })?;
        let appraisal = appraisal_for(&rules.appraisal, anchors);
        let (checks, attestation) = match appraise(authentic, &appraisal, &expected) {
            Err(refusal) => (refusal.into_checks(), None),
            Ok(result) => {
                let mut checks = result.checks().clone();
                let current = !policy.revoked.measurements.contains(&result.measurement());
                let (wanted, observed) = ("an image that is not revoked", revoked_or_not(current));
                checks.record((Stage::Policy, "release_measurement_revoked"), current, wanted, observed);
                (checks, current.then_some(result))
            }
        };
        if let Some(refusal) = binding_refusal(&checks) {
            return Err(refusal);
        }
        platforms.push(Platform { appraisal: &rules.appraisal, checks, attestation });
    }
    Ok(platforms)
}

/// The grant's rules for these anchors. Evidence below a simulated root is acceptable only to a caller that named
/// that root as its anchor; no policy file can ask for it.
fn appraisal_for<'a>(appraisal: &'a AppraisalPolicy, anchors: &TrustAnchors) -> Cow<'a, AppraisalPolicy> {
    if anchors.are_simulated() {
        Cow::Owned(dangerous::allow_simulated(appraisal.clone()))
    } else {
        Cow::Borrowed(appraisal)
    }
}

const fn revoked_or_not(good: bool) -> &'static str {
    if good { "not revoked" } else { "revoked" }
}

/// How far a request got in a grant that takes its platform; the refusal that got furthest is the one to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Shortfall {
    Revoked,
    Manifest,
    Version,
    Purpose,
    Model,
}

const fn model_check_code(denied: &Denied) -> &'static str {
    match denied {
        Denied::Version => "release_version",
        Denied::Purpose => "release_purpose",
        Denied::Manifest => "release_manifest",
        Denied::Revoked => "release_revoked",
        _ => "release_model",
    }
}

struct Offer<'a> {
    checks: Checks,
    outcome: Result<&'a WeightsKeyTerms, (Shortfall, Denied)>,
}

/// The rules about the model. Every rule is recorded; the first that failed names the refusal.
fn judge_model<'a>(
    rules: &GrantRules,
    revoked: &Revocations,
    request: &ReleaseRequest,
    models: &'a [WeightsKeyTerms],
) -> Offer<'a> {
    let asked = &request.request;
    let mut checks = Checks::new();
    let mut short: Option<(Shortfall, Denied)> = None;
    let mut rule = |code, passed, wanted: String, observed: String, missed: (Shortfall, Denied)| {
        if !checks.record((Stage::Policy, code), passed, wanted, observed) && short.is_none() {
            short = Some(missed);
        }
    };
    let named = asked.model_id == rules.model_id.as_str() && !models.is_empty();
    let observed = match asked.model_id.parse::<crate::ModelId>() {
        Ok(id) if models.is_empty() => format!("{id}, of which there is no key"),
        Ok(id) => id.to_string(),
        Err(_) => "no model id".to_owned(),
    };
    rule("release_model", named, rules.model_id.to_string(), observed, (Shortfall::Model, Denied::Model));
    let purposes: Vec<String> = rules.purposes.iter().map(ToString::to_string).collect();
    let purpose = rules.purposes.contains(&asked.purpose);
    let observed = asked.purpose.to_string();
    rule("release_purpose", purpose, purposes.join(" or "), observed, (Shortfall::Purpose, Denied::Purpose));

    let models = || models.iter().filter(|model| model.model_id == rules.model_id);
    let lowest = rules.version_min.max(asked.min_version);
    let recent = || models().filter(|model| model.version >= lowest);
    let highest = models().map(|model| model.version).max().map_or("none".to_owned(), |v| v.to_string());
    let passed = recent().next().is_some();
    rule("release_version", passed, format!(">= {lowest}"), highest, (Shortfall::Version, Denied::Version));
    let covered = || {
        recent().filter(|model| match &rules.manifests {
            ManifestRule::Any => true,
            ManifestRule::OneOf(digests) => digests.contains(&model.manifest_digest),
        })
    };
    let passed = covered().next().is_some();
    let observed = format!("{} of {}", covered().count(), recent().count());
    rule(
        "release_manifest",
        passed,
        "a granted manifest".to_owned(),
        observed,
        (Shortfall::Manifest, Denied::Manifest),
    );
    let current = covered()
        .filter(|model| {
            !revoked.manifests.contains(&model.manifest_digest) && !revoked.kids.contains(&model.kid)
        })
        .max_by_key(|model| model.version);
    let observed = revoked_or_not(current.is_some()).to_owned();
    let wanted = "a key and manifest that are not revoked".to_owned();
    rule("release_revoked", current.is_some(), wanted, observed, (Shortfall::Revoked, Denied::Revoked));
    let outcome = match (short, current) {
        (None, Some(terms)) => Ok(terms),
        (short, _) => Err(short.unwrap_or((Shortfall::Model, Denied::Model))),
    };
    Offer { checks, outcome }
}
