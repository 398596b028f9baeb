//! The broker without its sockets: challenges, decisions, imports and policies, each with its entry in the log.

use crate::journal::{self, Journal, JournalError};
use crate::state::{Layout, Spent, State, StateError};
use anchorhold_audit_log::{
    Actor, ActorKind, Code, Event, EventType, KeyOperation, Outcome, RequestId, Stamp,
};
use anchorhold_key_release::{
    BrokerKey, Challenge, Denied, Explain, Given, Grant, ImportError, NonceKey, PolicyError, PseudonymKey,
    Refusal, ReleaseKey, ReleasePolicy, ReleaseRequest, WeightsKeyImport, WeightsKeyTerms, decide,
};
use anchorhold_rats::{Endorsements, Secret, Timestamp};
use anchorhold_verifier::TrustAnchors;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// The kinds of secrets that a state holds beside the weights keys.
pub mod secrets {
    /// Seed of the Ed25519 key that signs answers.
    pub const SIGNING: &str = "signing seed";
    /// Seed of the HPKE key to which owners wrap weights keys.
    pub const IMPORT: &str = "import seed";
    /// Seed of the Ed25519 key that signs the broker's audit logs.
    pub const LOG: &str = "log seed";
    /// The key by which the broker recognises its nonces.
    pub const NONCE: &str = "nonce key";
    /// The key of the HMAC under which chips are logged.
    pub const CHIP: &str = "chip key";
    /// The TLS key, PKCS#8.
    pub const TLS: &str = "tls key";
}

/// Why the broker did not start, or did not take an import or a policy.
#[derive(Debug)]
pub enum BrokerError {
    /// The state.
    State(StateError),
    /// The audit log.
    Journal(JournalError),
    /// The policy file.
    Policy(PolicyError),
    /// The policy file has expired already.
    PolicyExpired {
        /// When.
        expires: Timestamp,
    },
    /// The import file.
    Import(ImportError),
}

impl fmt::Display for BrokerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(error) => error.fmt(f),
            Self::Journal(error) => error.fmt(f),
            Self::Policy(error) => write!(f, "policy: {error}"),
            Self::PolicyExpired { expires } => write!(f, "policy expired at {expires}"),
            Self::Import(error) => write!(f, "weights key import: {error}"),
        }
    }
}

impl std::error::Error for BrokerError {}

impl From<StateError> for BrokerError {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}

impl From<JournalError> for BrokerError {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

/// What the broker takes from its surroundings; the binary brings the real ones.
#[derive(Clone)]
pub struct Surroundings {
    /// The clock.
    pub clock: Arc<dyn Fn() -> Stamp + Send + Sync>,
    /// Where faults of the state and the log are told, for the operator.
    pub report: Arc<dyn Fn(&str) + Send + Sync>,
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Surroundings")
    }
}

/// An answer over HTTP; the body is JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The JSON.
    pub body: Vec<u8>,
    /// The broker's name of the request, as in its log.
    pub request_id: Option<String>,
}

/// A key broker with its state, log and keys.
pub struct Broker {
    state: State,
    journal: Journal,
    anchors: TrustAnchors,
    signing: BrokerKey,
    import: ReleaseKey,
    nonces: NonceKey,
    pseudonyms: PseudonymKey,
    policy: RwLock<Option<Arc<ReleasePolicy>>>,
    around: Surroundings,
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Broker({})", self.signing.public_key())
    }
}

/// One release request while it is judged.
struct Visit {
    began: Stamp,
    at: Timestamp,
    rid: RequestId,
    policy: Option<Arc<ReleasePolicy>>,
}

fn at(stamp: Stamp) -> Timestamp {
    Timestamp::from_unix_seconds(stamp.wall_ns.div_euclid(1_000_000_000))
}

impl Broker {
    /// Opens the state in `layout`, begins a log, and reads the policy in force. Evidence must end in `anchors`.
    ///
    /// # Errors
    /// [`BrokerError`]; in particular when another broker has the state.
    pub fn open(layout: &Layout, anchors: TrustAnchors, around: Surroundings) -> Result<Self, BrokerError> {
        let state = State::open(layout)?;
        let signing = BrokerKey::from_seed(&state.secret_32(secrets::SIGNING)?);
        let import = ReleaseKey::from_seed(&state.secret_32(secrets::IMPORT)?);
        let nonces = NonceKey::new(&state.secret_32(secrets::NONCE)?);
        let policy = state.policy()?.map(|file| ReleasePolicy::from_toml(&file).map(Arc::new));
        let policy = RwLock::new(policy.transpose().map_err(BrokerError::Policy)?);
        let (seed, chip_key) = (state.secret_32(secrets::LOG)?, state.secret_32(secrets::CHIP)?);
        let now = (around.clock)();
        let pseudonyms = PseudonymKey::new(&chip_key);
        let journal = Journal::begin(&layout.logs(), &seed, &chip_key, anchors.are_simulated(), now)?;
        Ok(Self { state, journal, anchors, signing, import, nonces, pseudonyms, policy, around })
    }

    /// The state; for what belongs to no decision.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The log.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The key that signs answers.
    #[must_use]
    pub fn signing_key(&self) -> &BrokerKey {
        &self.signing
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Option<Arc<ReleasePolicy>> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the log.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn close(&self) -> Result<(), JournalError> {
        self.journal.close((self.around.clock)())
    }

    /// Answers `POST /v1/challenge`. Nothing is stored and nothing logged, so a flood costs neither.
    #[must_use]
    pub fn challenge(&self) -> Answer {
        let broker_time = at((self.around.clock)());
        match self.nonces.issue(broker_time) {
            Ok((nonce, expires)) => {
                let challenge =
                    Challenge { nonce, expires, broker_time, broker_key_id: self.signing.key_id() };
                let body =
                    serde_json::to_vec(&challenge).expect("a challenge has only fields that JSON can hold");
                Answer { status: 200, body, request_id: None }
            }
            Err(error) => {
                (self.around.report)(&error.to_string());
                unlogged(Denied::Backend)
            }
        }
    }

    /// Answers `POST /v1/release`: one decision, one entry in the log, durable before this returns.
    #[must_use]
    pub fn release(&self, body: &[u8]) -> Answer {
        let Some(visit) = self.visit() else { return unlogged(Denied::Backend) };
        let request = match ReleaseRequest::from_json(body) {
            Ok(request) => request,
            Err(error) => return self.refuse(&visit, None, &Refusal::new(Denied::from(&error))),
        };
        match self.judge(&visit, &request) {
            Ok((grant, weights_key)) => self.answer(&visit, &request, grant, &weights_key),
            Err(refusal) => self.refuse(&visit, Some(&request), &refusal),
        }
    }

    /// Answers a release request whose body was not taken.
    #[must_use]
    pub fn refuse_unread(&self, denied: Denied) -> Answer {
        match self.visit() {
            Some(visit) => self.refuse(&visit, None, &Refusal::new(denied)),
            None => unlogged(Denied::Backend),
        }
    }

    fn visit(&self) -> Option<Visit> {
        let began = (self.around.clock)();
        let rid = journal::request_id().map_err(|error| (self.around.report)(&error.to_string())).ok()?;
        Some(Visit { began, at: at(began), rid, policy: self.policy() })
    }

    /// The decision, with everything that must be on disk before an answer.
    fn judge(&self, visit: &Visit, request: &ReleaseRequest) -> Result<(Grant, Secret<32>), Refusal> {
        let expires = self
            .nonces
            .recognise(request.nonce(), visit.at)
            .map_err(|error| Refusal::new(Denied::Challenge(error)))?;
        if self.state.is_used(request.nonce()).map_err(|error| self.backend(&error))? {
            return Err(Refusal::new(Denied::ChallengeUsed));
        }
        let policy = visit.policy.as_deref().ok_or_else(|| Refusal::new(Denied::NoPolicy))?;
        let models =
            self.state.versions(&request.request().model_id).map_err(|error| self.backend(&error))?;
        let spend = |grant: Option<&Grant>| {
            self.state.spend(request.nonce(), expires, grant, visit.at).map_err(|error| self.backend(&error))
        };
        let spent_before = |spent| match spent {
            Spent::Before => Some(Refusal::new(Denied::ChallengeUsed)),
            Spent::Full => Some(Refusal::new(Denied::Busy)),
            Spent::Fresh | Spent::NoRoom { .. } => None,
        };
        let given = Given {
            anchors: &self.anchors,
            endorsements: &Endorsements::default(),
            models: &models,
            pseudonyms: &self.pseudonyms,
            at: visit.at,
        };
        match decide(policy, request, &given) {
            Ok(grant) => {
                // A key that does not open is a fault of ours; the guest may try again with the same nonce.
                let terms = grant.terms();
                let weights_key = self
                    .state
                    .weights_key(&terms.model_id, terms.version)
                    .map_err(|error| self.backend(&error))?;
                match spend(Some(&grant))? {
                    Spent::Fresh => Ok((grant, weights_key)),
                    Spent::NoRoom { live } => Err(grant.refuse_instances(live)),
                    spent => Err(spent_before(spent).unwrap_or_else(|| Refusal::new(Denied::Backend))),
                }
            }
            Err(refusal) if refusal.platform_accepted() => Err(spent_before(spend(None)?).unwrap_or(refusal)),
            Err(refusal) => Err(refusal),
        }
    }

    fn backend(&self, error: &StateError) -> Refusal {
        (self.around.report)(&error.to_string());
        Refusal::new(Denied::Backend)
    }

    /// Seals, logs, answers; in this order, so that what the log says was released can be answered.
    fn answer(
        &self,
        visit: &Visit,
        request: &ReleaseRequest,
        grant: Grant,
        weights_key: &Secret<32>,
    ) -> Answer {
        let mut event = self.event(EventType::KeyRelease, Outcome::Success, visit, 200);
        event.decision = visit
            .policy
            .as_deref()
            .and_then(|policy| journal::decision(policy, grant.checks(), Some(&grant)));
        event.platform = Some(self.journal.platform_of(request.evidence(), grant.attestation()));
        let released = grant.terms();
        let terms = WeightsKeyTerms {
            model_id: released.model_id.clone(),
            version: released.version,
            kid: released.kid.clone(),
            manifest_digest: released.manifest_digest,
            owner_key: released.owner_key,
        };
        (event.model, event.key) = journal::model_and_key(&terms, KeyOperation::Release);
        match grant.seal(weights_key, &self.signing) {
            Ok(response) => match self.journal.append(event) {
                Ok(()) => {
                    Answer { status: 200, body: response.to_json(), request_id: Some(visit.rid.to_string()) }
                }
                Err(error) => {
                    (self.around.report)(&error.to_string());
                    unlogged(Denied::Backend)
                }
            },
            // The evidence names a key to which nothing can be wrapped.
            Err(_) => self.refuse(visit, Some(request), &Refusal::new(Denied::Malformed)),
        }
    }

    fn refuse(&self, visit: &Visit, request: Option<&ReleaseRequest>, refusal: &Refusal) -> Answer {
        let denied = refusal.denied();
        let outcome = if denied.status() >= 500 { Outcome::Error } else { Outcome::Denied };
        let mut event = self.event(EventType::KeyRefuse, outcome, visit, denied.status());
        event.code = journal::code(denied.code());
        let nearest =
            refusal.trace().nearest().map_or(refusal.checks(), anchorhold_key_release::GrantTrace::checks);
        event.decision = visit.policy.as_deref().and_then(|policy| journal::decision(policy, nearest, None));
        event.platform =
            request.map(|request| journal::platform_of_evidence(self.journal.tee(), request.evidence()));
        // Before the platform is known to be one of ours, nothing that the caller wrote goes into the log.
        event.model = request
            .filter(|_| refusal.platform_accepted())
            .and_then(|request| journal::model_named(&request.request().model_id));
        if let Err(error) = self.journal.append(event) {
            (self.around.report)(&error.to_string());
            return unlogged(Denied::Backend);
        }
        let explain = match visit.policy.as_deref() {
            Some(policy) if policy.explain_to_guest() => Explain::Checks,
            _ => Explain::Code,
        };
        let request_id = Some(visit.rid.to_string());
        Answer { status: denied.status(), body: refusal.to_json(explain), request_id }
    }

    fn event(&self, kind: EventType, outcome: Outcome, visit: &Visit, status: u16) -> Event {
        let now = (self.around.clock)();
        let ms = now.mono_ns.saturating_sub(visit.began.mono_ns) / 1_000_000;
        let mut event = Event::new(kind, outcome, now);
        event.actor = Some(journal::guest());
        event.request = Some(journal::request(visit.rid.clone(), status, ms));
        event
    }

    /// Takes a weights key from its owner: unwraps it, and stores it wrapped under the broker's own key. It is
    /// never on disk in the clear.
    ///
    /// # Errors
    /// [`BrokerError`]; nothing was stored then.
    pub fn import(&self, file: &[u8]) -> Result<WeightsKeyTerms, BrokerError> {
        let import = WeightsKeyImport::from_json(file).map_err(BrokerError::Import)?;
        let weights_key = import.open(&self.import).map_err(BrokerError::Import)?;
        self.state.import(import.terms(), &weights_key)?;
        let mut event = self.operator_event(EventType::ConfigChange, Outcome::Success, Code::OK);
        (event.model, event.key) = journal::model_and_key(import.terms(), KeyOperation::Wrap);
        self.journal.append(event)?;
        Ok(import.terms().clone())
    }

    /// Puts a policy in force if it is newer than the one in force; logged either way.
    ///
    /// # Errors
    /// [`BrokerError`]; the policy in force stays.
    pub fn set_policy(&self, file: &str) -> Result<Arc<ReleasePolicy>, BrokerError> {
        match self.try_set_policy(file) {
            Ok(policy) => {
                let mut event = self.operator_event(EventType::PolicyLoad, Outcome::Success, Code::OK);
                event.decision = journal::decision(&policy, &anchorhold_rats::Checks::new(), None);
                self.journal.append(event)?;
                Ok(policy)
            }
            Err(error) => {
                let code = match &error {
                    BrokerError::Policy(_) => "policy_malformed",
                    BrokerError::PolicyExpired { .. } => "policy_expired",
                    BrokerError::State(StateError::PolicyVersion { .. }) => "policy_not_newer",
                    _ => "backend",
                };
                let event =
                    self.operator_event(EventType::PolicyReject, Outcome::Denied, Code::from_static(code));
                self.journal.append(event)?;
                Err(error)
            }
        }
    }

    fn try_set_policy(&self, file: &str) -> Result<Arc<ReleasePolicy>, BrokerError> {
        let policy = Arc::new(ReleasePolicy::from_toml(file).map_err(BrokerError::Policy)?);
        if at((self.around.clock)()) >= policy.expires() {
            return Err(BrokerError::PolicyExpired { expires: policy.expires() });
        }
        // Held over the transaction, so that memory and disk agree on the order of two updates.
        let mut current = self.policy.write().unwrap_or_else(PoisonError::into_inner);
        self.state.set_policy(policy.version(), file)?;
        *current = Some(Arc::clone(&policy));
        Ok(policy)
    }

    fn operator_event(&self, kind: EventType, outcome: Outcome, code: Code) -> Event {
        let mut event = Event::new(kind, outcome, (self.around.clock)());
        event.actor = Some(Actor::new(ActorKind::Operator));
        event.code = code;
        event
    }
}

/// The answer when nothing could be logged.
fn unlogged(denied: Denied) -> Answer {
    let status = denied.status();
    Answer { status, body: Refusal::new(denied).to_json(Explain::Code), request_id: None }
}
