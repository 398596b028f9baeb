//! The decision: one request against one policy.
//!
//! The order keeps a secret. First every grant judges the guest's platform, whatever model was asked for; only a
//! guest whose platform is in a grant learns anything about that grant's model. A model that does not exist and
//! one that is not for this guest get the same answer after the same work, which does not include looking up whether
//! there are versions of it.

use crate::claims::record;
use crate::grants::{Offered, Won, judge_grants};
use crate::refusal::{Denied, Refusal};
use crate::replay::measurement;
use crate::response::{BrokerKey, Exchange, ReleaseResponse, ReleasedTerms, WrappedKey};
use crate::{
    GrantRules, InstanceId, LogProof, MachinePseudonyms, PseudonymKey, ReleasePolicy, ReleaseRequest, Trace,
    WeightsKeyTerms, WrapError,
};
use anchorhold_audit_log::Predecessor;
use anchorhold_audit_log::claims::Claims;
use anchorhold_rats::{
    Check, Checks, Endorsements, Evidence, Expected, Secret, Sha256Digest, Stage, Timestamp, hex,
};
use anchorhold_verifier::{
    AppraisalPolicy, AttestationResult, Stated, StatedTee, TrustAnchors, appraise, authenticate, codes,
    dangerous, judge,
};
use std::borrow::Cow;
use std::fmt;

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
    claims: Option<Claims>,
    machines: MachinePseudonyms,
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

    /// What the decision was about, for the log.
    #[must_use]
    pub fn claims(&self) -> Option<&Claims> {
        self.claims.as_ref()
    }

    /// The machines below the guest, so that a later revocation of one can be held against it.
    #[must_use]
    pub const fn machines(&self) -> &MachinePseudonyms {
        &self.machines
    }

    /// Turns the grant into a refusal because a later stage denies it, with the rules that do. Such a stage can say no, and
    /// nothing that it says makes a grant.
    #[must_use]
    pub fn refuse_stage(self, checks: Checks) -> Refusal {
        Refusal::new(Denied::Stage).with_checks(checks).with_trace(self.trace).with_claims(self.claims)
    }

    /// Turns the grant into a refusal for a reason that is not the policy's.
    #[must_use]
    pub fn refuse(self, denied: Denied) -> Refusal {
        Refusal::new(denied).with_trace(self.trace).with_claims(self.claims)
    }

    /// Turns the grant into a refusal because `live` other instances hold a lease already.
    #[must_use]
    pub fn refuse_instances(self, live: u64) -> Refusal {
        let mut checks = Checks::new();
        let wanted = format!("fewer than {} other instances", self.max_instances);
        checks.record((Stage::Policy, "release_instances"), false, wanted, live.to_string());
        Refusal::new(Denied::Instances).with_checks(checks).with_trace(self.trace).with_claims(self.claims)
    }

    /// Tells the guest, with the key, which log of its deployment came before its own. Presumes that the guest asked.
    #[must_use]
    pub fn following(mut self, predecessor: Option<Predecessor>) -> Self {
        self.terms.predecessor = predecessor;
        self
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

    /// The signed answer. Presumes that the nonce is used up, and that `log` proves the entry of this very decision,
    /// both durably.
    #[must_use]
    pub fn answer(self, log: LogProof, broker: &BrokerKey) -> ReleaseResponse {
        ReleaseResponse::new(self.key, log, broker)
    }
}

/// What a decision takes beside policy and request.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    /// The roots that evidence must end in.
    pub anchors: &'a TrustAnchors,
    /// What vendors say about the parts in the evidence; nothing of it is trusted.
    pub endorsements: &'a Endorsements,
    /// Gives the versions that the broker holds of the model that is asked for; none, if it has none. Asked only for a guest whose
    /// platform is in a grant of that model, so that looking them up takes no time that tells anybody else whether there are any.
    pub models: &'a dyn Fn() -> &'a [WeightsKeyTerms],
    /// Under which machines are logged.
    pub pseudonyms: &'a PseudonymKey,
    /// The broker's time.
    pub at: Timestamp,
}

impl fmt::Debug for Given<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Given(at {})", self.at)
    }
}

/// Decides whether `request` gets a key.
///
/// Presumes that the caller recognised the nonce and knows it unused, and that `given.at` is its honest time.
///
/// Establishes, with `Ok`: the evidence is authentic up to one of the anchors; its report data commits to exactly
/// this nonce, these keys and this request; one grant's platform rules, model, version, purpose, KEM, log and manifest
/// match; nothing of it is revoked; the policy has not expired.
///
/// # Errors
/// [`Refusal`] with the rule that decided and what every grant said.
pub fn decide(policy: &ReleasePolicy, request: &ReleaseRequest, given: &Given<'_>) -> Result<Grant, Refusal> {
    require_in_force(policy, given.at)?;
    let authentic = authenticate(request.evidence(), given.endorsements, given.anchors, given.at)
        .map_err(|refusal| not_authentic(refusal.into_checks()))?;
    let expected = request.key_binding().expected();
    let stated = authentic.stated();
    require_binding(&stated, &expected)?;
    let asked = request.asked();
    let said =
        judge_grants(policy, &asked, Offered::Known(given.models), measurement(&stated), |appraisal| {
            judge(&stated, &appraisal_for(appraisal, given.anchors), &expected)
        });
    let claims = record(&stated, &asked, given.pseudonyms);
    let machines = given.pseudonyms.machines(&stated);
    let won = match said.won {
        Some(Won { rules, terms: Some(terms), appraisal, checks }) => (rules, terms, appraisal, checks),
        _ => return Err(refused(said.miss, said.trace).with_claims(claims)),
    };
    let (rules, terms, appraisal, of_grant) = won;
    let mut checks = authentic.checks().clone();
    checks.append(of_grant);
    // The same rules as above, and the only ones that make evidence acceptable.
    match appraise(authentic, &appraisal_for(appraisal, given.anchors), &expected) {
        Ok(attestation) => Ok(Grant {
            name: rules.name.clone(),
            max_instances: rules.max_instances,
            instance_id: request.request.instance_id,
            terms: released(terms, rules, policy),
            exchange: Exchange {
                binding: request.key_binding(),
                release_key: request.keys.release_key.clone(),
                report: Sha256Digest::of(&request.evidence.report),
            },
            attestation,
            checks,
            trace: said.trace,
            claims,
            machines,
        }),
        Err(refusal) => Err(Refusal::new(Denied::Evidence(Cow::Borrowed("evidence_refused")))
            .with_checks(refusal.into_checks())
            .with_trace(said.trace)),
    }
}

/// Refuses evidence that no endorsement makes good, so that vendors are asked about none of it. What the guest attached counts.
///
/// Establishes nothing about evidence that it lets pass.
///
/// # Errors
/// [`Refusal`], the same as [`decide`]'s.
pub fn require_endorsable(
    request: &ReleaseRequest,
    anchors: &TrustAnchors,
    at: Timestamp,
) -> Result<(), Refusal> {
    require_endorsable_evidence(request.evidence(), request.endorsements(), anchors, at)
}

/// The same for evidence of a guest that asks for resources.
pub(crate) fn require_endorsable_evidence(
    evidence: &Evidence,
    endorsements: &Endorsements,
    anchors: &TrustAnchors,
    at: Timestamp,
) -> Result<(), Refusal> {
    let Err(refusal) = authenticate(evidence, endorsements, anchors, at) else { return Ok(()) };
    let refusal = not_authentic(refusal.into_checks());
    if matches!(refusal.denied(), Denied::Endorsements) { Ok(()) } else { Err(refusal) }
}

pub(crate) fn require_in_force(policy: &ReleasePolicy, at: Timestamp) -> Result<(), Refusal> {
    if at < policy.expires() {
        return Ok(());
    }
    let mut checks = Checks::new();
    let wanted = format!("before {}", policy.expires());
    checks.record((Stage::Policy, "release_policy_expired"), false, wanted, at.to_string());
    Err(Refusal::new(Denied::PolicyExpired).with_checks(checks))
}

/// Evidence that is not authentic; where only endorsements are to blame, that is not the guest's fault.
pub(crate) fn not_authentic(checks: Checks) -> Refusal {
    let only_endorsements = checks.failed().all(|check| codes::is_of_endorsements(&check.code));
    let denied =
        if only_endorsements { Denied::Endorsements } else { Denied::Evidence(first_failed_code(&checks)) };
    Refusal::new(denied).with_checks(checks)
}

/// For whom the evidence was made is right or wrong whatever the grant, and nothing else counts when it is wrong. Below a
/// paravisor the virtual TPM's quote holds the report data; each device has signed a nonce of its own.
pub(crate) fn require_binding(stated: &Stated<'_>, expected: &Expected) -> Result<(), Refusal> {
    let of_tee = match &stated.tee {
        StatedTee::Snp(report) => report.report.report_data,
        StatedTee::Tdx(quote) => quote.body.report_data,
    };
    let (observed, wanted) = match stated.paravisor {
        Some(vtpm) => (vtpm.nonce, expected.quote_nonce()),
        None => (of_tee.as_bytes().as_slice(), expected.report_data.as_bytes().as_slice()),
    };
    let mut checks = Checks::new();
    if observed != wanted {
        checks.record((Stage::Binding, "binding_mismatch"), false, hex(wanted), hex(observed));
        return Err(Refusal::new(Denied::Binding).with_checks(checks));
    }
    if let Some(quote) = stated.tpm.filter(|quote| quote.nonce != expected.quote_nonce()) {
        let (wanted, observed) = (hex(expected.quote_nonce()), hex(quote.nonce));
        checks.record((Stage::Binding, "binding_mismatch"), false, wanted, observed);
        return Err(Refusal::new(Denied::Binding).with_checks(checks));
    }
    for (place, device) in stated.gpus.iter().enumerate() {
        let made_for = Some(device.nonce) == expected.gpu_nonce;
        let wanted = expected.gpu_nonce.map_or_else(String::new, |nonce| nonce.to_string());
        checks.record(codes::nvidia::NONCE, made_for, wanted, device.nonce.to_string());
        checks.last_is_of_device(place);
    }
    if checks.none_failed() {
        return Ok(());
    }
    Err(Refusal::new(Denied::Evidence(codes::nvidia::NONCE.name.into())).with_checks(checks))
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
        predecessor: None,
    }
}

/// The refusal when no grant passed: about what was asked for when some grant took the platform, else about the platform.
fn refused(miss: Option<Denied>, trace: Trace) -> Refusal {
    let (denied, checks) = match (miss, trace.lacking_endorsements()) {
        (Some(denied), _) => {
            let mut checks = Checks::new();
            let code = rule_of(&denied);
            checks.record((Stage::Policy, code), false, "granted to this guest", "not granted");
            (denied, checks)
        }
        (None, Some(grant)) => (Denied::Endorsements, grant.checks().clone()),
        (None, None) => {
            let checks = trace.nearest().map(|grant| grant.checks().clone()).unwrap_or_default();
            (Denied::Evidence(first_failed_code(&checks)), checks)
        }
    };
    Refusal::new(denied).with_checks(checks).with_trace(trace)
}

fn first_failed_code(checks: &Checks) -> Cow<'static, str> {
    checks.failed().next().map_or(Cow::Borrowed("evidence_refused"), |check: &Check| check.code.clone())
}

/// The grant's rules for these anchors. Evidence below a simulated root is acceptable only to a caller that named
/// that root as its anchor; no policy file can ask for it.
pub(crate) fn appraisal_for<'a>(
    appraisal: &'a AppraisalPolicy,
    anchors: &TrustAnchors,
) -> Cow<'a, AppraisalPolicy> {
    if anchors.are_simulated() {
        Cow::Owned(dangerous::allow_simulated(appraisal.clone()))
    } else {
        Cow::Borrowed(appraisal)
    }
}

/// The rule that a refusal names, without its values: those of a grant that does not release the model are not told.
const fn rule_of(denied: &Denied) -> &'static str {
    match denied {
        Denied::Version => "release_version",
        Denied::Purpose => "release_purpose",
        Denied::Kem => "release_kem",
        Denied::Audit => "release_audit",
        Denied::Manifest => "release_manifest",
        Denied::Revoked => "release_revoked",
        _ => "release_model",
    }
}
