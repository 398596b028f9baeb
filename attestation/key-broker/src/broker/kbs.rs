//! The broker as a KBS of Confidential Containers: guests are admitted by their evidence, and admitted guests ask for
//! resources by name. The protocol is in `anchorhold-kbs`, the rules are in `anchorhold-key-release`.
//!
//! An admission uses the nonce up and a release takes nothing away, and both have their entry in the log in one transaction, under
//! the policy by which they were judged. A guest that brings no token of this broker is told so and not logged: nothing was
//! decided.

use super::{Answer, Broker, BrokerError, InForce, at};
use crate::journal::{self, Visit};
use crate::kek::{KekError, Place};
use crate::ledger::Writing;
use crate::rotation::{self, RESOURCE_KEY};
use crate::state::{self, Resource, ResourceRow};
use crate::store::{StoreError, look_up};
use anchorhold_audit_log::{Code, Event, EventType, KeyOperation, Outcome, Route};
use anchorhold_kbs::ear::{Pass, TokenSession};
use anchorhold_kbs::server::{self, Attesting};
use anchorhold_kbs::{MAX_RESOURCE_BYTES, Problem, Session, seal};
use anchorhold_key_release::{Denied, Refusal, ResourceGuest, admit, require_endorsable_guest};
use anchorhold_rats::{Endorsements, ResourcePath, Secret, Sha256Digest, Timestamp};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use std::borrow::Cow;
use std::time::Duration;
use zeroize::Zeroizing;

/// How often a request is judged anew because the policy changed while it was judged.
const MAX_ATTEMPTS: usize = 3;
/// How long an answer waits for the broker's witnesses.
const WITNESS_WAIT: Duration = Duration::from_secs(10);

/// What a guest sends with a request for a resource.
#[derive(Debug, Clone, Copy, Default)]
pub struct ResourceAsked<'a> {
    /// The name, as it is in the path.
    pub name: &'a str,
    /// The `Authorization` header.
    pub authorization: Option<&'a str>,
    /// The `Cookie` header.
    pub cookie: Option<&'a str>,
}

/// How a transaction ended.
enum Stored {
    /// The entry of this index was written.
    Done(u64),
    Refused(Problem),
    /// The policy or a revocation changed meanwhile; nothing was stored.
    Stale,
}

/// What an attestation came to, before it is stored.
struct Judged {
    event: Event,
    /// The nonce to use up; none where the evidence was not worth remembering.
    spend: Option<Session>,
    outcome: Result<server::Answer, Problem>,
}

fn answer(problem: Problem) -> Answer {
    Answer::json(problem.status(), problem.to_json())
}

fn with_cookie(answer: server::Answer) -> Answer {
    Answer { set_cookie: Some(answer.set_cookie), ..Answer::json(200, answer.body) }
}

/// What an admission rests on: the policy in force, and all that was revoked beside it.
fn basis(in_force: &InForce) -> Sha256Digest {
    let (policies, revocations) = in_force.read_for;
    let digest = in_force.policy.digest();
    let parts: [&[u8]; 4] =
        [b"anchorhold kbs basis v1", digest.as_bytes(), &policies.to_be_bytes(), &revocations.to_be_bytes()];
    Sha256Digest::of(&parts.concat())
}

impl Broker {
    /// Answers `POST /kbs/v0/auth`. Nothing is stored and nothing logged, so a flood costs neither.
    #[must_use]
    pub fn kbs_introduce(&self, body: &[u8]) -> Answer {
        self.kbs.introduce(body, self.around.now()).map_or_else(answer, with_cookie)
    }

    /// Answers `POST /kbs/v0/attest` with the value of the `Cookie` header: one decision, one entry in the log.
    #[must_use]
    pub fn kbs_attest(&self, body: &[u8], cookie: Option<&str>) -> Answer {
        for _ in 0..MAX_ATTEMPTS {
            let Some((visit, in_force)) = self.visit(Route::Kbs) else { return answer(Problem::Unavailable) };
            let judged = self.judge_guest(&visit, in_force.as_ref(), body, cookie);
            let judged_for = in_force.as_ref().map_or((0, 0), |in_force| in_force.read_for);
            let Judged { mut event, spend, outcome } = judged;
            let (code, at) = (event.code.clone(), at(visit.began));
            let stored = self.ledger.commit(move |writing| {
                store_attestation(writing, &mut event, spend.as_ref(), (judged_for, at))
            });
            match (stored, outcome) {
                (Ok((Stored::Stale, _)), _) => {}
                (Ok((Stored::Done(_), _)), Ok(admitted)) => return with_cookie(admitted),
                (Ok((Stored::Done(_), _)), Err(problem)) | (Ok((Stored::Refused(problem), _)), _) => {
                    return answer(problem);
                }
                (Err(error), _) => {
                    self.report(&format!("attestation ({code}): {error}"));
                    return answer(Problem::Unavailable);
                }
            }
        }
        self.report("the policy changed during every attempt to judge a guest");
        answer(Problem::Unavailable)
    }

    /// Answers an attestation whose body was not taken.
    #[must_use]
    pub fn kbs_refuse_unread(&self, problem: Problem) -> Answer {
        let Some((visit, _)) = self.visit(Route::Kbs) else { return answer(Problem::Unavailable) };
        match self.ledger.append(rejection(&visit, problem)) {
            Ok(_) => answer(problem),
            Err(error) => {
                self.report(&error.to_string());
                answer(Problem::Unavailable)
            }
        }
    }

    /// The decision about a guest; nothing is changed. A used nonce is refused before the dear verification, and for certain
    /// afterwards.
    fn judge_guest(
        &self,
        visit: &Visit,
        in_force: Option<&InForce>,
        body: &[u8],
        cookie: Option<&str>,
    ) -> Judged {
        let at = at(visit.began);
        let refused =
            |problem| Judged { event: rejection(visit, problem), spend: None, outcome: Err(problem) };
        let attesting = match self.kbs.read_attestation(body, cookie, at) {
            Ok(attesting) => attesting,
            Err(problem) => return refused(problem),
        };
        let session = *attesting.session();
        match look_up(self.ledger.store(), |view| state::is_used(view, &session.nonce, session.expires)) {
            Ok(false) => {}
            Ok(true) => return refused(Problem::NonceUsed),
            Err(error) => {
                self.report(&error.to_string());
                return refused(Problem::Unavailable);
            }
        }
        let Some(in_force) = in_force else { return refused(Problem::Unavailable) };
        self.admit_guest(visit, in_force, attesting, session)
    }

    fn admit_guest(
        &self,
        visit: &Visit,
        in_force: &InForce,
        attesting: Attesting,
        session: Session,
    ) -> Judged {
        let (at, policy) = (at(visit.began), &in_force.policy);
        let read = attesting.read_evidence();
        let evidence = &read.evidence;
        let guest =
            ResourceGuest { evidence, endorsements: &read.endorsements, expected: attesting.expected() };
        let admission = self.endorsed(&guest, at).and_then(|endorsements| {
            admit(policy, &self.anchors, &ResourceGuest { endorsements: &endorsements, ..guest }, at)
        });
        let admission = match admission {
            Ok(admission) => admission,
            Err(refusal) => {
                let problem = problem_of(&refusal);
                let mut event = rejection(visit, problem);
                event.code = journal::code(refusal.denied().code());
                let nearest = refusal.trace().nearest().map_or(refusal.checks(), |grant| grant.checks());
                event.decision = journal::decision(policy, nearest, None);
                event.platform = Some(self.journal.platform_of_evidence(evidence));
                return Judged { event, spend: None, outcome: Err(problem) };
            }
        };
        let mut event = visit.event(EventType::AttestVerified, Outcome::Success, 200);
        event.decision = journal::decision(policy, admission.attestation().checks(), None);
        event.platform = Some(self.journal.platform(evidence, admission.attestation()));
        let pass = Pass {
            policy_digest: admission.policy_digest(),
            basis: basis(in_force),
            grants: admission.grants().to_vec(),
        };
        let outcome = attesting
            .accept(admission.into_attestation(), at)
            .and_then(|accepted| self.kbs.admit(&accepted, pass, at));
        if let Err(problem) = &outcome {
            let (decision, platform) = (event.decision.take(), event.platform.take());
            event = Event { decision, platform, ..rejection(visit, *problem) };
        }
        Judged { event, spend: Some(session), outcome }
    }

    /// The broker's own endorsements, and what the guest attached where the broker has none.
    fn endorsed<'a>(
        &self,
        guest: &ResourceGuest<'a>,
        at: Timestamp,
    ) -> Result<Cow<'a, Endorsements>, Refusal> {
        let Some(endorser) = &self.around.endorser else { return Ok(Cow::Borrowed(guest.endorsements)) };
        // Nobody makes the broker ask vendors with evidence that no endorsement makes good.
        require_endorsable_guest(guest, &self.anchors, at)?;
        Ok(Cow::Owned(endorser.endorse(guest.evidence, at).or(guest.endorsements)))
    }

    /// Answers `GET /kbs/v0/resource/…`: for a guest that a token of this broker vouches for, one decision and one entry in the
    /// log. Whether a resource exists that the guest's grants do not cover is neither looked up nor told.
    #[must_use]
    pub fn kbs_resource(&self, asked: &ResourceAsked<'_>) -> Answer {
        let Ok(path) = asked.name.parse::<ResourcePath>() else { return answer(Problem::Path) };
        for _ in 0..MAX_ATTEMPTS {
            let Some((visit, in_force)) = self.visit(Route::Kbs) else { return answer(Problem::Unavailable) };
            let session = match self.kbs.session(asked.authorization, asked.cookie, at(visit.began)) {
                Ok(session) => session,
                Err(problem) => return answer(problem),
            };
            // Under another policy, or after a revocation, the guest must attest again.
            let Some(in_force) = in_force.filter(|in_force| basis(in_force) == session.pass().basis) else {
                return answer(Problem::Token);
            };
            if let Some(answer) = self.release_resource(&visit, &in_force, &session, &path) {
                return answer;
            }
        }
        self.report("the policy changed during every attempt to release a resource");
        answer(Problem::Unavailable)
    }

    /// Decides, stores and answers once; `None` when the policy changed meanwhile.
    fn release_resource(
        &self,
        visit: &Visit,
        in_force: &InForce,
        session: &TokenSession,
        path: &ResourcePath,
    ) -> Option<Answer> {
        let grant = in_force.policy.grants_resource(&session.pass().grants, path, at(visit.began));
        let outcome = match grant {
            Some(_) => self.sealed_resource(session, path),
            None => Err(Problem::PolicyDeny),
        };
        if outcome.as_ref().err() == Some(&Problem::Unavailable) {
            return Some(answer(Problem::Unavailable));
        }
        let mut event = match &outcome {
            Ok(_) => visit.event(EventType::KeyRelease, Outcome::Success, 200),
            Err(problem) => refusal(visit, EventType::KeyRefuse, *problem),
        };
        event.key = journal::key_named(path.as_str(), KeyOperation::Release);
        event.decision = journal::decision_by(&in_force.policy, grant.map(|grant| grant.name()));
        let judged_for = in_force.read_for;
        let stored = self.ledger.commit(move |writing| {
            if state::stands_for(&*writing.tables())? != judged_for {
                return Ok(Stored::Stale);
            }
            writing.append(&event).map(Stored::Done)
        });
        let (index, head) = match stored {
            Ok((Stored::Done(index), head)) => (index, head),
            Ok((Stored::Refused(problem), _)) => return Some(answer(problem)),
            Ok((Stored::Stale, _)) => return None,
            Err(error) => {
                self.report(&error.to_string());
                return Some(answer(Problem::Unavailable));
            }
        };
        let sealed = match outcome {
            Ok(sealed) => sealed,
            Err(problem) => return Some(answer(problem)),
        };
        if self.cosigned.wait(index + 1, head, WITNESS_WAIT).is_none() {
            self.report("too few witnesses cosigned the log in time; a released resource was held back");
            return Some(answer(Problem::Unavailable));
        }
        Some(Answer { request_id: Some(visit.rid.to_string()), ..Answer::json(200, sealed) })
    }

    /// The resource encrypted to the guest. One that does not exist is refused like one that is for others.
    fn sealed_resource(&self, session: &TokenSession, path: &ResourcePath) -> Result<Vec<u8>, Problem> {
        let unavailable = |error: BrokerError| {
            self.report(&error.to_string());
            Problem::Unavailable
        };
        let stored = look_up(self.ledger.store(), |view| state::resource(view, path));
        let stored = stored.map_err(|error| unavailable(error.into()))?.ok_or(Problem::PolicyDeny)?;
        let resource = self.open_resource(path, &stored).map_err(unavailable)?;
        seal(&resource, session.key()).map_err(|_| Problem::Jwe)
    }

    fn open_resource(
        &self,
        path: &ResourcePath,
        resource: &Resource,
    ) -> Result<Zeroizing<Vec<u8>>, BrokerError> {
        let key = self.keyring.unwrap_secret(place(path), &resource.wrapped_key).map_err(BrokerError::Kek)?;
        let mut content = Zeroizing::new(resource.row.content.clone());
        let length = cipher(&key)
            .open_in_place(only_nonce(), Aad::from(path.as_str()), content.as_mut_slice())
            .map_err(|_| StoreError::Corrupt("resource"))?
            .len();
        content.truncate(length);
        Ok(content)
    }

    /// Takes a resource from the operator, in place of any of that name.
    ///
    /// # Errors
    /// [`BrokerError`]; nothing was stored then.
    pub fn add_resource(&self, path: &ResourcePath, content: &[u8]) -> Result<(), BrokerError> {
        let named = journal::key_named(path.as_str(), KeyOperation::Wrap);
        if content.len() > MAX_RESOURCE_BYTES || named.is_none() {
            return Err(BrokerError::Resource);
        }
        let key: Secret<32> = Secret::random().map_err(|error| StoreError::Unreachable(Box::new(error)))?;
        let wrapped_key = self.keyring.wrap(place(path), key.expose()).map_err(BrokerError::Kek)?;
        let mut sealed = Zeroizing::new(Vec::with_capacity(content.len() + AES_256_GCM.tag_len()));
        sealed.extend_from_slice(content);
        cipher(&key)
            .seal_in_place_append_tag(only_nonce(), Aad::from(path.as_str()), &mut *sealed)
            .map_err(|_| BrokerError::Resource)?;
        let row = ResourceRow { content: sealed.to_vec(), since: self.around.now() };
        let resource = Resource { wrapped_key, row };
        let mut event = self.operator_event(EventType::KeyImport, Outcome::Success);
        event.key = named;
        let path = path.clone();
        let (room, _) = self.ledger.commit(move |writing| {
            if let Some(kek) = rotation::retired_of(&*writing.tables(), &resource.wrapped_key)? {
                return Ok(Err(kek));
            }
            let room = state::can_put_resource(&*writing.tables(), &path)?;
            if room {
                writing.append(&event)?;
                state::put_resource(writing.tables(), &path, &resource)?;
            }
            Ok(Ok(room))
        })?;
        match room.map_err(|kek| BrokerError::Kek(KekError::Retired { kek }))? {
            true => Ok(()),
            false => Err(BrokerError::TooManyResources),
        }
    }

    /// Takes a resource away. Gives back whether there was one.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub fn remove_resource(&self, path: &ResourcePath) -> Result<bool, BrokerError> {
        let mut event = self.operator_event(EventType::KeyRevoke, Outcome::Success);
        event.key = journal::key_named(path.as_str(), KeyOperation::Revoke);
        let path = path.clone();
        let (there, _) = self.ledger.commit(move |writing| {
            let there = state::resource(&*writing.tables(), &path)?.is_some();
            if there {
                writing.append(&event)?;
                state::remove_resource(writing.tables(), &path)?;
            }
            Ok(there)
        })?;
        Ok(there)
    }

    /// The names of all resources.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub fn resource_names(&self) -> Result<Vec<ResourcePath>, BrokerError> {
        Ok(look_up(self.ledger.store(), |view| state::resource_names(view))?)
    }

    /// The public keys of tokens, as a JSON web key set.
    #[must_use]
    pub fn token_keys(&self) -> String {
        self.kbs.tokens().keys().to_json()
    }
}

fn place(path: &ResourcePath) -> Place<'_> {
    Place { kind: RESOURCE_KEY, name: path.as_str().as_bytes() }
}

fn cipher(key: &Secret<32>) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.expose()).expect("32 bytes are an AES-256 key"))
}

/// Each resource has a key of its own, which seals once.
fn only_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

/// Policies that are missing or over are faults of ours; everything else is about the evidence.
fn problem_of(refusal: &Refusal) -> Problem {
    match refusal.denied() {
        Denied::PolicyExpired | Denied::NoPolicy | Denied::Backend | Denied::Busy | Denied::Endorsements => {
            Problem::Unavailable
        }
        Denied::Binding => Problem::Binding,
        _ => Problem::Evidence,
    }
}

fn refusal(visit: &Visit, kind: EventType, problem: Problem) -> Event {
    let outcome = if problem.status() >= 500 { Outcome::Error } else { Outcome::Denied };
    let mut event = visit.event(kind, outcome, problem.status());
    event.code = Code::new(problem.code()).unwrap_or(Code::from_static("unnamed"));
    event
}

fn rejection(visit: &Visit, problem: Problem) -> Event {
    refusal(visit, EventType::AttestRejected, problem)
}

/// Writes the entry of an attestation and uses its nonce up, or finds out why not.
fn store_attestation(
    writing: &mut Writing<'_>,
    event: &mut Event,
    spend: Option<&Session>,
    (judged_for, at): ((u64, u64), Timestamp),
) -> Result<Stored, StoreError> {
    let Some(session) = spend else { return writing.append(event).map(Stored::Done) };
    if state::stands_for(&*writing.tables())? != judged_for {
        return Ok(Stored::Stale);
    }
    let problem = if state::is_used(&*writing.tables(), &session.nonce, session.expires)? {
        Some(Problem::NonceUsed)
    } else if !state::has_room_for_nonce(&*writing.tables(), at)? {
        Some(Problem::Unavailable)
    } else {
        None
    };
    if let Some(problem) = problem {
        event.kind = EventType::AttestRejected;
        event.outcome = if problem.status() >= 500 { Outcome::Error } else { Outcome::Denied };
        event.code = journal::code(problem.code());
        if let Some(request) = &mut event.request {
            request.status = Some(problem.status());
        }
        writing.append(event)?;
        return Ok(Stored::Refused(problem));
    }
    let index = writing.append(event)?;
    state::use_up(writing.tables(), &session.nonce, at)?;
    Ok(Stored::Done(index))
}
