//! What guests ask and say about their leases.

use super::{Broker, BrokerError};
use crate::ledger::Writing;
use crate::state::{self, Lease};
use crate::store::{StoreError, look_up};
use anchorhold_audit_log::{
    Actor, ActorKind, AuthMethod, Code, Event, EventType, Key, KeyId, KeyOperation, Model, ModelId, Outcome,
    VerifierKey,
};
use anchorhold_key_release::{HeldKey, InstanceId, LeaseEnd, LeaseEndError};
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
        let leases = look_up(self.ledger.store(), |view| state::all_live_leases(view, at))?;
        let lease = leases.iter().find(|lease| lease.instance == instance && lease.kid == kid);
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
        let mut event = self.operator_event(EventType::KeyExpire, Outcome::Success);
        event.actor =
            Some(Actor { auth: Some(AuthMethod::Attestation), kind: ActorKind::Client, tenant: None });
        event.code = Code::from_static("returned");
        let end = end.clone();
        let (returned, _) = self.ledger.commit(move |writing| {
            let Some(row) = state::witnessed(&*writing.tables(), end.log_origin())? else {
                return Ok(Ok(Returned::Unknown));
            };
            let key = VerifierKey::parse(&row.key).map_err(|_| StoreError::Corrupt("witnessed log"))?;
            let (instance, kid) = match end.verify(&key) {
                Ok(named) => named,
                Err(error) => return Ok(Err(error)),
            };
            let mut leases = state::all_live_leases(&*writing.tables(), at)?;
            leases.retain(|lease| lease.instance == instance && lease.kid == kid);
            let returned = if leases.is_empty() { Returned::Unknown } else { Returned::Ended };
            leases.iter().try_for_each(|lease| end_one(writing, event.clone(), lease))?;
            Ok(Ok(returned))
        })?;
        Ok(returned)
    }
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
