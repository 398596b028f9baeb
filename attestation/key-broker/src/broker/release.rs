//! One release request: the decision, and what must be on disk and in the log before the answer.

use super::{Answer, Broker, BrokerError, InForce, at, unlogged};
use crate::journal::{self, Visit};
use crate::kek::Place;
use crate::ledger::Writing;
use crate::state::{self, Lease};
use crate::store::{StoreError, look_up};
use anchorhold_audit_log::{EventType, Route};
use anchorhold_key_release::{
    BrokerKey, Denied, Explain, Given, Grant, Refusal, ReleaseRequest, WrapError, WrappedGrant, decide,
    require_endorsable,
};
use anchorhold_rats::{Endorsements, Nonce, Secret, Timestamp};
use std::borrow::Cow;
use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Duration;

/// How often a request is judged anew because the policy changed while it was judged.
const MAX_ATTEMPTS: usize = 3;
/// How long an answer waits for the broker's witnesses.
const WITNESS_WAIT: Duration = Duration::from_secs(10);

/// A request on its way through one decision.
struct Request {
    visit: Visit,
    at: Timestamp,
    request: ReleaseRequest,
    expires: Timestamp,
    judged_for: (u64, u64),
}

/// A grant and the key that it is for. The key is wrapped when all that goes with it is known.
struct Releasable {
    grant: Grant,
    weights_key: Secret<32>,
    signing: Arc<BrokerKey>,
}

/// What a decision came to.
enum Verdict {
    Release(Box<Releasable>),
    Refuse(Refusal),
}

/// How the transaction of a decision ended.
enum Stored {
    Released {
        index: u64,
        wrapped: Box<WrappedGrant>,
    },
    Refused(Refusal),
    /// The policy or a revocation changed meanwhile; nothing was stored.
    Stale,
}

impl Broker {
    /// Answers `POST /v1/release`: one decision, one entry in the log, durable before this returns.
    #[must_use]
    pub fn release(&self, body: &[u8]) -> Answer {
        for _ in 0..MAX_ATTEMPTS {
            let Some((visit, in_force)) = self.visit(Route::Release) else {
                return unlogged(&Denied::Backend);
            };
            let request = match ReleaseRequest::from_json(body) {
                Ok(request) => request,
                Err(error) => return self.refuse(visit, None, Refusal::new(Denied::from(&error))),
            };
            if let Some(answer) = self.attempt(visit, in_force, request) {
                return answer;
            }
        }
        self.report("the policy changed during every attempt to judge a request");
        unlogged(&Denied::Backend)
    }

    /// Answers a release request whose body was not taken.
    #[must_use]
    pub fn refuse_unread(&self, denied: Denied) -> Answer {
        match self.visit(Route::Release) {
            Some((visit, _)) => self.refuse(visit, None, Refusal::new(denied)),
            None => unlogged(&Denied::Backend),
        }
    }

    pub(super) fn visit(&self, route: Route) -> Option<(Visit, Option<InForce>)> {
        let began = (self.around.clock)();
        let rid = journal::request_id().map_err(|error| self.report(&error.to_string())).ok()?;
        let in_force = self.read_policy().map_err(|error| self.report(&error.to_string())).ok()?;
        let policy = in_force.as_ref().map(|in_force| Arc::clone(&in_force.policy));
        let clock = Arc::clone(&self.around.clock);
        Some((Visit { clock, began, rid, route, policy }, in_force))
    }

    /// Judges and stores once; `None` when the policy changed meanwhile.
    fn attempt(&self, visit: Visit, in_force: Option<InForce>, request: ReleaseRequest) -> Option<Answer> {
        let at = at(visit.began);
        let expires = match self.nonces.recognise(request.nonce(), at) {
            Ok(expires) => expires,
            Err(error) => {
                let refusal = Refusal::new(Denied::Challenge(error));
                return Some(self.refuse(visit, Some(request), refusal));
            }
        };
        let judged_for = in_force.as_ref().map_or((0, 0), |in_force| in_force.read_for);
        let verdict = match self.judge(in_force.as_ref(), &request, (expires, at)) {
            Ok(releasable) => Verdict::Release(Box::new(releasable)),
            Err(refusal) => Verdict::Refuse(refusal),
        };
        let asked = Request { visit, at, request, expires, judged_for };
        let explain = explain(&asked.visit);
        let rid = asked.visit.rid.to_string();
        let journal = Arc::clone(&self.journal);
        let stored = self.ledger.commit(move |writing| match verdict {
            Verdict::Release(releasable) => store_release(writing, &journal, &asked, *releasable),
            Verdict::Refuse(refusal) => store_refusal(writing, &journal, &asked, refusal),
        });
        match stored {
            Ok((Stored::Released { index, wrapped }, head)) => {
                let head = self.cosigned.wait(index + 1, head, WITNESS_WAIT);
                Some(self.answer(rid, index, *wrapped, head))
            }
            Ok((Stored::Refused(refusal), _)) => {
                let body = refusal.to_json(explain);
                Some(Answer { request_id: Some(rid), ..Answer::json(refusal.denied().status(), body) })
            }
            Ok((Stored::Stale, _)) => None,
            Err(error) => {
                self.report(&error.to_string());
                Some(unlogged(&Denied::Backend))
            }
        }
    }

    /// The decision; nothing is changed. A used nonce is refused before the dear verification, and for certain afterwards.
    fn judge(
        &self,
        in_force: Option<&InForce>,
        request: &ReleaseRequest,
        (expires, at): (Timestamp, Timestamp),
    ) -> Result<Releasable, Refusal> {
        let used = look_up(self.ledger.store(), |view| state::is_used(view, request.nonce(), expires));
        if used.map_err(|error| self.backend(&error.into()))? {
            return Err(Refusal::new(Denied::ChallengeUsed));
        }
        let InForce { policy, cedar, .. } = in_force.ok_or_else(|| Refusal::new(Denied::NoPolicy))?;
        let held = OnceCell::new();
        let versions =
            || look_up(self.ledger.store(), |view| state::versions(view, &request.request().model_id));
        let models = || held.get_or_init(versions).as_deref().unwrap_or_default();
        let endorsements = self.endorsements(request, at)?;
        let given = Given {
            anchors: &self.anchors,
            endorsements: &endorsements,
            models: &models,
            pseudonyms: self.journal.pseudonyms(),
            at,
        };
        let decided = decide(policy, request, &given);
        if let Some(Err(error)) = held.into_inner() {
            return Err(self.backend(&error.into()));
        }
        let grant = decided?;
        let said = cedar.as_ref().map(|cedar| cedar.judge(&grant, at));
        if let Some(checks) = said.filter(|checks| !checks.none_failed()) {
            return Err(grant.refuse_stage(checks));
        }
        // A key that does not open is a fault of ours; the guest may try again with the same nonce.
        let terms = grant.terms();
        let weights_key = look_up(self.ledger.store(), |view| {
            state::model(view, &terms.model_id, terms.version)?.ok_or(StoreError::Corrupt("model"))
        });
        let weights_key: Result<Secret<32>, BrokerError> =
            weights_key.map_err(BrokerError::from).and_then(|row| self.unwrap_key(&row));
        let weights_key = weights_key.map_err(|error| self.backend(&error))?;
        Ok(Releasable { grant, weights_key, signing: Arc::clone(&self.signing) })
    }

    /// The broker's own endorsements, and what the guest attached where the broker has none. What the guest's host brings may be
    /// older than what the broker can get, though never older than its vendor and the policy allow.
    fn endorsements<'a>(
        &self,
        request: &'a ReleaseRequest,
        at: Timestamp,
    ) -> Result<Cow<'a, Endorsements>, Refusal> {
        let attached = request.endorsements();
        let Some(endorser) = &self.around.endorser else { return Ok(Cow::Borrowed(attached)) };
        // Nobody makes the broker ask vendors with evidence that no endorsement makes good.
        require_endorsable(request, &self.anchors, at)?;
        Ok(Cow::Owned(endorser.endorse(request.evidence(), at).or(attached)))
    }

    pub(super) fn unwrap_key(&self, row: &state::ModelRow) -> Result<Secret<32>, BrokerError> {
        let place = Place { kind: "weights key", name: row.terms.as_bytes() };
        self.keyring.unwrap_secret(place, &row.wrapped).map_err(BrokerError::Kek)
    }

    fn backend(&self, error: &BrokerError) -> Refusal {
        self.report(&error.to_string());
        Refusal::new(Denied::Backend)
    }

    fn answer(
        &self,
        rid: String,
        index: u64,
        wrapped: WrappedGrant,
        head: Option<Arc<crate::ledger::SignedHead>>,
    ) -> Answer {
        let Some(head) = head else {
            self.report("too few witnesses cosigned the log in time; a released key was held back");
            return unlogged(&Denied::Backend);
        };
        match self.ledger.prove(index, &head) {
            Ok(log) => {
                let body = wrapped.answer(log, &self.signing).to_json();
                Answer { request_id: Some(rid), ..Answer::json(200, body) }
            }
            Err(error) => {
                self.report(&error.to_string());
                unlogged(&Denied::Backend)
            }
        }
    }

    /// A refusal that needs nothing of the state.
    fn refuse(&self, visit: Visit, request: Option<ReleaseRequest>, refusal: Refusal) -> Answer {
        let event = visit.refusal(&self.journal, request.as_ref(), &refusal);
        if let Err(error) = self.ledger.append(event) {
            self.report(&error.to_string());
            return unlogged(&Denied::Backend);
        }
        let body = refusal.to_json(explain(&visit));
        let request_id = Some(visit.rid.to_string());
        Answer { request_id, ..Answer::json(refusal.denied().status(), body) }
    }
}

fn explain(visit: &Visit) -> Explain {
    match visit.policy.as_deref() {
        Some(policy) if policy.explain_to_guest() => Explain::Checks,
        _ => Explain::Code,
    }
}

/// Why a nonce that was good cannot be used up.
fn nonce_refusal(
    writing: &mut Writing<'_>,
    nonce: &Nonce,
    (expires, at): (Timestamp, Timestamp),
) -> Result<Option<Denied>, StoreError> {
    let tables = writing.tables();
    if state::is_used(&*tables, nonce, expires)? {
        return Ok(Some(Denied::ChallengeUsed));
    }
    Ok((!state::has_room_for_nonce(&*tables, at)?).then_some(Denied::Busy))
}

/// Wraps the key, uses the nonce up, takes the lease, registers the guest's log and writes the entry, or finds out why not.
fn store_release(
    writing: &mut Writing<'_>,
    journal: &journal::Journal,
    asked: &Request,
    releasable: Releasable,
) -> Result<Stored, StoreError> {
    let Request { visit, at, request, expires, judged_for } = asked;
    if state::stands_for(&*writing.tables())? != *judged_for {
        return Ok(Stored::Stale);
    }
    let nonce = request.nonce();
    let Releasable { grant, weights_key, signing } = releasable;
    if let Some(denied) = nonce_refusal(writing, nonce, (*expires, *at))? {
        let refusal = grant.refuse(denied);
        writing.append(&visit.refusal(journal, Some(request), &refusal))?;
        return Ok(Stored::Refused(refusal));
    }
    let live = state::instances(&*writing.tables(), grant.name(), *at)?;
    let (own, others): (Vec<_>, Vec<_>) =
        live.into_iter().partition(|instance| *instance == grant.instance_id());
    let (origin, key) = (&request.request().log_origin, request.log_key());
    let log = state::witnessed(&*writing.tables(), key.name())?;
    let refusal = if others.len() as u64 >= u64::from(grant.max_instances()) {
        Some(Denied::Instances)
    } else {
        log.as_ref().filter(|log| log.key != key.to_string()).map(|_| Denied::LogOrigin)
    };
    if let Some(denied) = refusal {
        let others = others.len() as u64;
        let refusal =
            if denied == Denied::Instances { grant.refuse_instances(others) } else { grant.refuse(denied) };
        writing.append(&visit.refusal(journal, Some(request), &refusal))?;
        state::use_up(writing.tables(), nonce, *at)?;
        return Ok(Stored::Refused(refusal));
    }
    let is_new = log.is_none();
    let predecessor = match log {
        Some(log) => log.predecessor,
        None => state::following(&*writing.tables(), origin)?,
    };
    // In here, because what comes before the log is certain in here only.
    let told = predecessor.clone().filter(|_| request.request().audit.predecessor);
    let wrapped = match grant.following(told).wrap(&weights_key, &signing) {
        Ok(wrapped) => Box::new(wrapped),
        Err(error @ WrapError::Random) => return Err(StoreError::Unreachable(Box::new(error))),
        // The evidence names a key to which nothing can be wrapped.
        Err(WrapError::PublicKey | WrapError::Open) => {
            let refusal = Refusal::new(Denied::Malformed);
            writing.append(&visit.refusal(journal, Some(request), &refusal))?;
            return Ok(Stored::Refused(refusal));
        }
    };
    let mut event = visit.release(journal, request, wrapped.grant());
    if !own.is_empty() {
        event.kind = EventType::KeyRenew;
    }
    let index = writing.append(&event)?;
    state::use_up(writing.tables(), nonce, *at)?;
    state::put_lease(writing.tables(), &lease(&wrapped, *at), *at)?;
    if is_new {
        state::register(writing.tables(), (origin, &key), predecessor)?;
    }
    Ok(Stored::Released { index, wrapped })
}

fn lease(wrapped: &WrappedGrant, at: Timestamp) -> Lease {
    let grant = wrapped.grant();
    let terms = grant.terms();
    Lease {
        grant: grant.name().to_owned(),
        instance: grant.instance_id(),
        ends: at.plus_seconds(i64::from(terms.lease_s)),
        model_id: terms.model_id.clone(),
        version: terms.version,
        kid: terms.kid.clone(),
        manifest_digest: terms.manifest_digest,
        measurement: grant.attestation().measurement(),
        machines: grant.machines().clone(),
    }
}

/// Writes the entry of a refusal. The nonce of evidence from a platform of some grant is used up with it.
fn store_refusal(
    writing: &mut Writing<'_>,
    journal: &journal::Journal,
    asked: &Request,
    mut refusal: Refusal,
) -> Result<Stored, StoreError> {
    let Request { visit, at, request, expires, judged_for } = asked;
    if state::stands_for(&*writing.tables())? != *judged_for {
        return Ok(Stored::Stale);
    }
    if refusal.platform_accepted() {
        match nonce_refusal(writing, request.nonce(), (*expires, *at))? {
            Some(denied) => refusal = Refusal::new(denied),
            None => {
                writing.append(&visit.refusal(journal, Some(request), &refusal))?;
                state::use_up(writing.tables(), request.nonce(), *at)?;
                return Ok(Stored::Refused(refusal));
            }
        }
    }
    writing.append(&visit.refusal(journal, Some(request), &refusal))?;
    Ok(Stored::Refused(refusal))
}
