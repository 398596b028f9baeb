//! What the broker's log says of a decision.

use anchorhold_audit_log::claims::Claims;
use anchorhold_audit_log::{
    Actor, ActorKind, AuthMethod, CheckResult, Claim, Code, Decision, Event, EventType, GrantId, Hash, Key,
    KeyId, KeyOperation, LogState, MAX_CHECKS, MAX_ENTRY_BYTES, Measurement, Model, ModelId, Outcome,
    Platform, PolicyId, Request, RequestId, Route, Stamp, Tcb, Tee,
};
use anchorhold_key_release::{
    Grant, GrantTrace, PseudonymKey, Refusal, ReleasePolicy, ReleaseRequest, WeightsKeyTerms, evidence_digest,
};
use anchorhold_rats::{Checks, Evidence, Outcome as CheckOutcome, Secret, Sha256Digest};
use anchorhold_verifier::{AttestationResult, TeeClaims, codes, snp};
use std::io;
use std::sync::Arc;

/// What is the same for every entry of one broker.
pub struct Journal {
    /// Under which machines are logged: they can be told apart, not named.
    pseudonyms: PseudonymKey,
    simulated: bool,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Journal(simulated: {})", self.simulated)
    }
}

impl Journal {
    /// The journal of a broker that holds evidence to simulated roots, or to real ones.
    #[must_use]
    pub fn new(chip_key: &Secret<32>, simulated: bool) -> Self {
        Self { pseudonyms: PseudonymKey::new(chip_key), simulated }
    }

    /// The key of the pseudonyms under which machines are logged.
    #[must_use]
    pub const fn pseudonyms(&self) -> &PseudonymKey {
        &self.pseudonyms
    }

    /// What is logged of accepted evidence.
    #[must_use]
    pub fn platform(&self, evidence: &Evidence, result: &AttestationResult) -> Platform {
        let mut platform = self.platform_of_evidence(evidence);
        platform.meas = Some(Measurement::new(*result.measurement().as_bytes()));
        match &result.claims().tee {
            TeeClaims::Snp(report) => {
                platform.chip = report.chip_id().map(|chip| Hash::new(self.pseudonyms.chip(&chip)));
                platform.policy_bits = Some(report.report().policy.0);
                platform.tcb = Some(tcb(report.tcb()));
            }
            TeeClaims::Tdx(quote) => {
                platform.chip = Some(Hash::new(self.pseudonyms.platform(&quote.pck().platform_id)));
                platform.policy_bits = Some(quote.body().td_attributes.0);
            }
        }
        platform
    }

    /// What is logged of evidence whose word is not taken.
    #[must_use]
    pub fn platform_of_evidence(&self, evidence: &Evidence) -> Platform {
        Platform::of_evidence(self.tee(evidence.tee), hash(evidence_digest(evidence)))
    }

    /// A platform of this kind, under this pseudonym.
    #[must_use]
    pub fn platform_named(&self, tee: anchorhold_rats::Tee, chip: Option<[u8; 32]>) -> Platform {
        Platform { chip: chip.map(Hash::new), ..Platform::new(self.tee(tee)) }
    }

    const fn tee(&self, tee: anchorhold_rats::Tee) -> Tee {
        match (tee, self.simulated) {
            (anchorhold_rats::Tee::Snp, false) => Tee::Snp,
            (anchorhold_rats::Tee::Snp, true) => Tee::SnpSimulated,
            (anchorhold_rats::Tee::Tdx, false) => Tee::Tdx,
            (anchorhold_rats::Tee::Tdx, true) => Tee::TdxSimulated,
        }
    }
}

/// One request while it is judged: all that its entry will say of it besides the verdict.
#[derive(Clone)]
pub struct Visit {
    /// The clock.
    pub clock: Arc<dyn Fn() -> Stamp + Send + Sync>,
    /// When the request came.
    pub began: Stamp,
    /// Our name for it.
    pub rid: RequestId,
    /// Over which route.
    pub route: Route,
    /// The policy that judges it.
    pub policy: Option<Arc<ReleasePolicy>>,
}

impl std::fmt::Debug for Visit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Visit({})", self.rid)
    }
}

impl Visit {
    /// An event about this request that happens now.
    #[must_use]
    pub fn event(&self, kind: EventType, outcome: Outcome, status: u16) -> Event {
        let now = (self.clock)();
        let ms = now.mono_ns.saturating_sub(self.began.mono_ns) / 1_000_000;
        let mut event = Event::new(kind, outcome, now);
        event.actor = Some(Actor {
            auth: Some(AuthMethod::Attestation),
            kind: ActorKind::Client,
            pseud: None,
            tenant: None,
        });
        event.request = Some(Request {
            finish: None,
            ms,
            receipt: None,
            rid: self.rid.clone(),
            route: self.route,
            status: Some(status),
            stream: false,
            tin: 0,
            tout: 0,
            ttft_ms: None,
        });
        event
    }

    /// The entry of a release.
    #[must_use]
    pub fn release(&self, journal: &Journal, request: &ReleaseRequest, grant: &Grant) -> Event {
        let mut event = self.event(EventType::KeyRelease, Outcome::Success, 200);
        event.decision =
            self.policy.as_deref().and_then(|policy| decision(policy, grant.checks(), grant.claims()));
        if let Some(decision) = &mut event.decision {
            decision.grant = GrantId::new(grant.name()).ok();
            decision.lease_s = Some(u64::from(grant.terms().lease_s));
        }
        event.platform = Some(journal.platform(request.evidence(), grant.attestation()));
        let released = grant.terms();
        let terms = WeightsKeyTerms {
            model_id: released.model_id.clone(),
            version: released.version,
            kid: released.kid.clone(),
            manifest_digest: released.manifest_digest,
            owner_key: released.owner_key,
        };
        (event.model, event.key) = model_and_key(&terms, KeyOperation::Release);
        let origin = request.request().log_origin.clone();
        event.log = Some(LogState::of(origin));
        event
    }

    /// The entry of a refusal.
    #[must_use]
    pub fn refusal(&self, journal: &Journal, request: Option<&ReleaseRequest>, refusal: &Refusal) -> Event {
        let denied = refusal.denied();
        let outcome = if denied.status() >= 500 { Outcome::Error } else { Outcome::Denied };
        let mut event = self.event(EventType::KeyRefuse, outcome, denied.status());
        event.code = code(denied.code());
        let nearest = refusal.trace().nearest().map_or(refusal.checks(), GrantTrace::checks);
        // What was refused before a policy looked at it was not decided by one.
        let judged = self.policy.as_deref().filter(|_| !nearest.all().is_empty());
        event.decision = judged.and_then(|policy| decision(policy, nearest, refusal.claims()));
        event.platform = request.map(|request| journal.platform_of_evidence(request.evidence()));
        // Before the platform is known to be one of ours, nothing that the caller wrote goes into the log.
        event.model = request
            .filter(|_| refusal.platform_accepted())
            .and_then(|request| model_named(&request.request().model_id));
        event
    }
}

fn tcb(tcb: snp::Tcb) -> Tcb {
    match tcb {
        snp::Tcb::Milan(v) => Tcb { bl: v.bootloader, fmc: None, snp: v.snp, tee: v.tee, ucode: v.microcode },
        snp::Tcb::Genoa(v) => Tcb { bl: v.bootloader, fmc: None, snp: v.snp, tee: v.tee, ucode: v.microcode },
        snp::Tcb::Turin(v) => {
            Tcb { bl: v.bootloader, fmc: Some(v.fmc), snp: v.snp, tee: v.tee, ucode: v.microcode }
        }
    }
}

/// The most bytes of an entry that its rules and claims may take; the rest is for everything else.
const MAX_DECISION_BYTES: usize = MAX_ENTRY_BYTES - 4 * 1024;
/// What the JSON of one rule takes beside its three texts.
const RULE_BYTES: usize = 48;

/// The policy behind a decision, what it was about, and its rules. Where an entry has not room for all rules, failed ones come
/// first.
#[must_use]
pub fn decision(policy: &ReleasePolicy, checks: &Checks, claims: Option<&Claims>) -> Option<Decision> {
    let mut rules: Vec<_> =
        checks.all().iter().filter(|check| check.outcome != CheckOutcome::Skipped).collect();
    rules.sort_by_key(|check| check.outcome == CheckOutcome::Passed);
    let of_claims =
        claims.map_or(0, |claims| serde_json::to_vec(claims).map_or(usize::MAX, |json| json.len()));
    let mut room = MAX_DECISION_BYTES.saturating_sub(of_claims);
    let mut results = Vec::new();
    for check in rules.into_iter().take(MAX_CHECKS) {
        // The claims have the machine's pseudonym.
        let told = |value| if codes::names_machine(&check.code) { "not told" } else { value };
        let result = CheckResult {
            got: Claim::of(told(check.observed.as_str())),
            id: code(&check.code),
            ok: check.outcome == CheckOutcome::Passed,
            want: Claim::of(told(check.wanted.as_str())),
        };
        let texts = [result.got.as_str(), result.id.as_str(), result.want.as_str()];
        let bytes = RULE_BYTES + texts.iter().map(|text| text.len()).sum::<usize>();
        let Some(left) = room.checked_sub(bytes) else { break };
        room = left;
        results.push(result);
    }
    Some(Decision {
        checks: results,
        claims: claims.cloned(),
        grant: None,
        lease_s: None,
        policy_digest: Hash::new(*policy.digest().as_bytes()),
        policy_id: PolicyId::new(policy.id()).ok()?,
        policy_ver: policy.version(),
    })
}

/// The policy behind a decision without rules of its own, and the grant that allowed it.
#[must_use]
pub fn decision_by(policy: &ReleasePolicy, grant: Option<&str>) -> Option<Decision> {
    let grant = grant.and_then(|grant| GrantId::new(grant).ok());
    decision(policy, &Checks::new(), None).map(|decision| Decision { grant, ..decision })
}

/// A key by its name alone; `None` for a name that entries do not hold.
#[must_use]
pub fn key_named(name: &str, op: KeyOperation) -> Option<Key> {
    KeyId::new(name).ok().map(|kid| Key { kek: None, kid, op })
}

/// A digest as the log writes it.
#[must_use]
pub const fn hash(digest: Sha256Digest) -> Hash {
    Hash::new(*digest.as_bytes())
}

/// A code as the log writes it.
#[must_use]
pub fn code(text: &str) -> Code {
    Code::new(text).unwrap_or_else(|_| Code::from_static("unnamed"))
}

/// A model by its name alone.
#[must_use]
pub fn model_named(id: &str) -> Option<Model> {
    ModelId::new(id).ok().map(|id| Model { id, manifest: None, ver: None })
}

/// A model version and its key.
#[must_use]
pub fn model_and_key(terms: &WeightsKeyTerms, op: KeyOperation) -> (Option<Model>, Option<Key>) {
    let manifest = Some(Hash::new(*terms.manifest_digest.as_bytes()));
    let model = model_named(terms.model_id.as_str()).map(|model| Model {
        manifest,
        ver: Some(terms.version),
        ..model
    });
    (model, KeyId::new(&terms.kid).ok().map(|kid| Key { kek: None, kid, op }))
}

/// A random name for one request.
///
/// # Errors
/// When the system gives no randomness.
pub fn request_id() -> io::Result<RequestId> {
    let bytes: Secret<16> = Secret::random().map_err(io::Error::other)?;
    let text = anchorhold_audit_log::Hex::new(*bytes.expose()).to_string();
    RequestId::new(&text).map_err(io::Error::other)
}
