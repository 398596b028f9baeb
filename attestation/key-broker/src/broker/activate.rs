//! Which policy is in force, who decides about that, and what another policy would have decided.

use super::operate::setting;
use super::{Broker, BrokerError};
use crate::cedar::Cedar;
use crate::journal;
use crate::state::{self, PolicyRow, SignersRow};
use crate::store::{StoreError, View};
use anchorhold_audit_log::{Entry, Event, EventType, ExportError, Hash, LogSource as _, Outcome};
use anchorhold_key_release::{
    ActivationError, ApprovedPolicy, Approvers, Backtest, InForce, Machines, ReleasePolicy, RotationError,
    SignerSet,
};
use anchorhold_rats::{Checks, Ed25519PublicKey, Sha256Digest, Timestamp};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

const POLICY: &str = "release_policy";
const SIGNERS: &str = "release_signers";

/// The policy that another one is to take the place of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Replaces {
    /// The one with this digest, and no other.
    Digest(Sha256Digest),
    /// None: there is no policy yet.
    Nothing,
    /// Whichever is in force. For a file that is read again because its place is where the policy is kept.
    InForce,
}

/// A policy that is to come into force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPolicy {
    /// The file, signed where this broker has signers.
    pub file: Vec<u8>,
    /// The Cedar policies that it names.
    pub cedar: Option<String>,
    /// Whose place it takes.
    pub replaces: Replaces,
}

/// How an activation ended.
enum Activated {
    Done(Arc<ReleasePolicy>),
    Refused {
        error: ActivationError,
        /// What it was held against.
        in_force: Option<Sha256Digest>,
    },
}

/// Ids of keys as entries have them, in ascending order.
fn ids(keys: &[Ed25519PublicKey]) -> Vec<Hash> {
    let mut ids: Vec<_> = keys.iter().map(|key| hash(&Sha256Digest::of(key.as_bytes()))).collect();
    ids.sort_unstable_by_key(|id| *id.as_bytes());
    ids
}

fn hash(digest: &Sha256Digest) -> Hash {
    Hash::new(*digest.as_bytes())
}

/// The signers that are stored.
pub(super) fn stored_signers(view: &dyn View) -> Result<Option<SignerSet>, StoreError> {
    let row = state::signers(view)?;
    row.map(|row| SignerSet::from_toml(&row.file).map_err(|_| StoreError::Corrupt("signers"))).transpose()
}

/// The entry that tells of the first signers.
pub(super) fn first_signers(set: &SignerSet, at: anchorhold_audit_log::Stamp) -> Event {
    let mut event = Event::new(EventType::ConfigChange, Outcome::Success, at);
    event.setting = Some(setting(SIGNERS, (None, Some(hash(&set.digest())))));
    event
}

impl Broker {
    /// Puts a policy in force if those who may say so approved it, if the policy in force is the one that it is to replace, and if
    /// it is newer; logged either way, with who approved what. Looking and replacing are one transaction.
    ///
    /// # Errors
    /// [`BrokerError`]; the policy in force stays.
    pub fn activate(&self, new: NewPolicy) -> Result<Arc<ReleasePolicy>, BrokerError> {
        let came = hash(&Sha256Digest::of(&new.file));
        match self.try_activate(new)? {
            Activated::Done(policy) => Ok(policy),
            Activated::Refused { error, in_force } => {
                let mut event = self.operator_event(EventType::PolicyReject, Outcome::Denied);
                event.code = journal::code(error.code());
                event.setting = Some(setting(POLICY, (in_force.as_ref().map(hash), Some(came))));
                self.ledger.append(event)?;
                Err(BrokerError::Activation(error))
            }
        }
    }

    /// The same, before a refusal is logged.
    fn try_activate(&self, new: NewPolicy) -> Result<Activated, BrokerError> {
        let (at, simulated) = (self.around.now(), self.anchors.are_simulated());
        let mut event = self.operator_event(EventType::PolicyLoad, Outcome::Success);
        let (outcome, _) = self.ledger.commit(move |writing| {
            let signers = stored_signers(&*writing.tables())?;
            let row = state::policy(&*writing.tables())?;
            let in_force = row.as_ref().map(|row| InForce { digest: row.digest(), version: row.version });
            let old = in_force.map(|in_force| in_force.digest);
            let approved = match approved(&new, signers.as_ref(), simulated, (in_force, at)) {
                Ok(approved) => approved,
                Err(error) => return Ok(Activated::Refused { error, in_force: old }),
            };
            let policy = approved.policy();
            event.decision = journal::decision(policy, &Checks::new(), None);
            let mut setting = setting(POLICY, (old.as_ref().map(hash), Some(hash(&policy.digest()))));
            setting.approved_by = ids(approved.signers());
            event.setting = Some(setting);
            writing.append(&event)?;
            let signed = signers.map(|_| String::from_utf8_lossy(&new.file).into_owned());
            let row = PolicyRow {
                version: policy.version(),
                file: approved.text().to_owned(),
                signed,
                cedar: new.cedar.clone(),
            };
            state::put_policy(writing.tables(), &row)?;
            Ok(Activated::Done(Arc::new(policy.clone())))
        })?;
        Ok(outcome)
    }

    /// Puts another set of signers in the place of the one in force, if that one says so; logged either way.
    ///
    /// # Errors
    /// [`BrokerError`]; the signers stay.
    pub fn rotate_signers(&self, envelope: &[u8]) -> Result<SignerSet, BrokerError> {
        let file = envelope.to_vec();
        let mut event = self.operator_event(EventType::ConfigChange, Outcome::Success);
        let (outcome, _) = self.ledger.commit(move |writing| {
            let Some(old) = stored_signers(&*writing.tables())? else { return Ok(Err(None)) };
            let rotation = match old.rotate(&file) {
                Ok(rotation) => rotation,
                Err(error) => return Ok(Err(Some((error, old.digest())))),
            };
            let new = rotation.set();
            let mut setting = setting(SIGNERS, (Some(hash(&old.digest())), Some(hash(&new.digest()))));
            setting.approved_by = ids(rotation.signed_by());
            event.setting = Some(setting);
            writing.append(&event)?;
            let signed = Some(String::from_utf8_lossy(&file).into_owned());
            state::put_signers(writing.tables(), &SignersRow { file: new.text().to_owned(), signed })?;
            Ok(Ok(new.clone()))
        })?;
        let (error, old) = match outcome {
            Ok(new) => return Ok(new),
            Err(None) => return Err(BrokerError::NoSigners),
            Err(Some(refused)) => refused,
        };
        let mut event = self.operator_event(EventType::PolicyReject, Outcome::Denied);
        event.code = journal::code(RotationError::code(&error));
        event.setting = Some(setting(SIGNERS, (Some(hash(&old)), Some(hash(&Sha256Digest::of(envelope))))));
        self.ledger.append(event)?;
        Err(BrokerError::Rotation(error))
    }

    /// What `policy` would have said to the decisions in the log from `since` on. The key of the pseudonyms is here, so rules about
    /// machines are asked too.
    ///
    /// # Errors
    /// [`BrokerError::Policy`], or that the log could not be read.
    pub fn backtest(&self, policy: &str, since: Option<Timestamp>) -> Result<Backtest, BrokerError> {
        let policy = ReleasePolicy::from_toml(policy).map_err(BrokerError::Policy)?;
        let since_ns = since.map_or(i64::MIN, |since| since.unix_seconds().saturating_mul(1_000_000_000));
        let source = self.ledger.source()?;
        let machines = Machines::Compared(self.journal.pseudonyms());
        let mut found = Backtest::default();
        let read = source.visit_leaves(source.size(), &mut |_, leaf| {
            let entry = Entry::from_bytes(leaf).map_err(|error| ExportError::Source(Box::new(error)))?;
            if entry.t >= since_ns {
                found.add(&policy, &entry, machines);
            }
            Ok(())
        });
        read.map(|()| found).map_err(|error| BrokerError::Log(Box::new(error)))
    }
}

/// Everything that a policy must be before it takes the place of the one in force.
fn approved(
    new: &NewPolicy,
    signers: Option<&SignerSet>,
    simulated: bool,
    (in_force, at): (Option<InForce>, Timestamp),
) -> Result<ApprovedPolicy, ActivationError> {
    let approvers = match signers {
        Some(set) => Approvers::Signers(set),
        None if simulated => Approvers::DangerousAnybody,
        None => return Err(ActivationError::NoSigners),
    };
    let approved = ApprovedPolicy::approved(&new.file, approvers)?;
    let replaces = match new.replaces {
        Replaces::Digest(digest) => Some(digest),
        Replaces::Nothing => None,
        Replaces::InForce => in_force.map(|in_force| in_force.digest),
    };
    approved.may_replace(in_force, replaces, at)?;
    approved.require_cedar(new.cedar.as_deref().map(str::as_bytes))?;
    let read = new.cedar.as_deref().map(Cedar::read).transpose();
    read.map_err(|error| ActivationError::CedarUnreadable { why: error.to_string() })?;
    Ok(approved)
}
