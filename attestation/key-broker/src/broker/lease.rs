//! What guests ask and say about their leases.

use super::{Broker, BrokerError};
use crate::ledger::Writing;
use crate::state::{self, Lease};
use crate::store::{StoreError, View, look_up};
use anchorhold_audit_log::{
    Actor, ActorKind, AuthMethod, Code, Event, EventType, Key, KeyId, KeyOperation, Model, ModelId, Outcome,
    VerifierKey,
};
use anchorhold_key_release::{HeldKey, InstanceId, LeaseEnd, LeaseEndError};
use anchorhold_rats::Timestamp;
use serde::{Deserialize, Serialize};

/// What a guest is told of its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeaseState {
    /// It goes on.
    Live,
    /// What it rests on was revoked: the key must not be used any more.
    Revoked,
    /// There is none, or none any more.
    Unknown,
}

/// What became of a lease that a guest gave back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Returned {
    /// It has ended.
    Ended,
    /// There is none, or none any more.
    Unknown,
}

impl Broker {
    /// What has become of the lease of an instance for a key. An instance id is known to its guest and to the broker's log only.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub fn lease_state(&self, instance: InstanceId, kid: &str) -> Result<LeaseState, BrokerError> {
        let at = self.around.now();
        let leases = look_up(self.ledger.store(), |view| state::leases_of(view, instance, at))?;
        let lease = leases.iter().find(|lease| lease.kid == kid);
        let Some(lease) = lease else { return Ok(LeaseState::Unknown) };
        let policy = self.policy()?;
        let held = HeldKey {
            kid: &lease.kid,
            manifest: &lease.manifest_digest,
            measurement: &lease.measurement,
            machines: &lease.machines,
        };
        let revoked = policy.is_some_and(|policy| policy.revoked().concern(&held, self.journal.pseudonyms()));
        Ok(if revoked { LeaseState::Revoked } else { LeaseState::Live })
    }

    /// Ends the leases of a guest that has wiped a key, so that their places are free. Each is one entry in the log.
    ///
    /// # Errors
    /// `Ok(Err)` when the note is not signed by the log that the guest's evidence named; [`BrokerError`].
    pub fn end_lease(&self, end: &LeaseEnd) -> Result<Result<Returned, LeaseEndError>, BrokerError> {
        let at = self.around.now();
        // Anybody can send notes: a change, which costs a sync of the disk, begins only for one that will end something.
        match look_up(self.ledger.store(), |view| given_back(view, end, at))? {
            Ok(leases) if leases.is_empty() => return Ok(Ok(Returned::Unknown)),
            Ok(_) => {}
            Err(error) => return Ok(Err(error)),
        }
        let mut event = self.operator_event(EventType::KeyExpire, Outcome::Success);
        event.actor = Some(Actor {
            auth: Some(AuthMethod::Attestation),
            kind: ActorKind::Client,
            pseud: None,
            tenant: None,
        });
        event.code = Code::from_static("returned");
        let end = end.clone();
        let (returned, _) = self.ledger.commit(move |writing| {
            // Looked up again: the guest may have said it twice at once.
            let leases = match given_back(&*writing.tables(), &end, at)? {
                Ok(leases) => leases,
                Err(error) => return Ok(Err(error)),
            };
            leases.iter().try_for_each(|lease| end_one(writing, event.clone(), lease))?;
            Ok(Ok(if leases.is_empty() { Returned::Unknown } else { Returned::Ended }))
        })?;
        Ok(returned)
    }
}

/// The live leases that a note ends; none where its log is not known. Establishes that the log's own key signed the note.
fn given_back(
    view: &dyn View,
    end: &LeaseEnd,
    at: Timestamp,
) -> Result<Result<Vec<Lease>, LeaseEndError>, StoreError> {
    let Some(row) = state::witnessed(view, end.log_origin())? else { return Ok(Ok(Vec::new())) };
    let key = VerifierKey::parse(&row.key).map_err(|_| StoreError::Corrupt("witnessed log"))?;
    let (instance, kid) = match end.verify(&key) {
        Ok(named) => named,
        Err(error) => return Ok(Err(error)),
    };
    let mut leases = state::leases_of(view, instance, at)?;
    leases.retain(|lease| lease.kid == kid);
    Ok(Ok(leases))
}

fn end_one(writing: &mut Writing<'_>, mut event: Event, lease: &Lease) -> Result<(), StoreError> {
    event.key = KeyId::new(&lease.kid).ok().map(|kid| Key { kek: None, kid, op: KeyOperation::Destroy });
    event.model = ModelId::new(lease.model_id.as_str()).ok().map(|id| Model {
        id,
        manifest: Some(anchorhold_audit_log::Hash::new(*lease.manifest_digest.as_bytes())),
        ver: Some(lease.version),
    });
    writing.append(&event)?;
    state::end_lease(writing.tables(), lease)
}
