//! What the operator does: keys, policies, revocations, and looking at what there is.

use super::{Broker, BrokerError};
use crate::journal;
use crate::kek::Place;
use crate::state::{self, Imported, Lease, ModelRow, PolicyRow, RevokedRow};
use crate::store::{StoreError, look_up};
use anchorhold_audit_log::{
    Code, EventType, ExportError, ExportOptions, ExportSummary, Hash, Key, KeyId, KeyOperation, Measurement,
    Outcome, Platform, Setting, export_from, export_jsonl_from,
};
use anchorhold_key_release::{InstanceId, ReleasePolicy, Revoked, WeightsKeyImport, WeightsKeyTerms};
use anchorhold_rats::{Checks, Secret, Sha256Digest, Timestamp};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::sync::Arc;

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

/// What the operator is shown of a broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Name, version and digest of the policy in force.
    pub policy: Option<(String, u64, Sha256Digest)>,
    /// When it expires.
    pub policy_expires: Option<Timestamp>,
    /// How many entries the log has.
    pub log_size: u64,
    /// How many of them enough witnesses have cosigned.
    pub cosigned_size: u64,
    /// The leases that are live.
    pub leases: Vec<Lease>,
    /// What was revoked beside the policy.
    pub revoked: Vec<(String, String)>,
}

impl Broker {
    /// Takes a weights key from its owner: unwraps it, and stores it wrapped under the broker's own key. It is
    /// never on disk in the clear. The same file may come twice.
    ///
    /// # Errors
    /// [`BrokerError`]; nothing was stored then.
    pub fn import(&self, file: &[u8]) -> Result<WeightsKeyTerms, BrokerError> {
        let import = WeightsKeyImport::from_json(file).map_err(BrokerError::Import)?;
        let weights_key = import.open(&self.import).map_err(BrokerError::Import)?;
        let terms = import.terms().clone();
        let name = serde_json::to_string(&terms).map_err(|_| StoreError::Corrupt("terms"))?;
        let place = Place { kind: "weights key", name: name.as_bytes() };
        let wrapped = self.kek.wrap(place, weights_key.expose()).map_err(BrokerError::Kek)?;
        let row = ModelRow { terms: name, wrapped };
        let mut event = self.operator_event(EventType::KeyImport, Outcome::Success);
        (event.model, event.key) = journal::model_and_key(&terms, KeyOperation::Wrap);
        let stored = terms.clone();
        let (outcome, _) = self.ledger.commit(move |writing| {
            let outcome = state::can_put_model(&*writing.tables(), &stored)?;
            if outcome == Imported::Stored {
                writing.append(&event)?;
                state::put_model(writing.tables(), &stored, &row)?;
            }
            Ok(outcome)
        })?;
        match outcome {
            Imported::Stored => Ok(terms),
            Imported::TooMany => Err(BrokerError::TooManyVersions),
            Imported::Taken if self.is_stored(&terms, &weights_key)? => Ok(terms),
            Imported::Taken => Err(BrokerError::VersionTaken { version: terms.version }),
        }
    }

    fn is_stored(&self, terms: &WeightsKeyTerms, weights_key: &Secret<32>) -> Result<bool, BrokerError> {
        let row = look_up(self.ledger.store(), |view| state::model(view, &terms.model_id, terms.version))?;
        let row = row.ok_or(StoreError::Corrupt("model"))?;
        Ok(row.read_terms()? == *terms && self.unwrap_key(&row)? == *weights_key)
    }

    /// Puts a policy in force if it is newer than the one in force; logged either way.
    ///
    /// # Errors
    /// [`BrokerError`]; the policy in force stays.
    pub fn set_policy(&self, file: &str) -> Result<Arc<ReleasePolicy>, BrokerError> {
        let outcome = self.try_set_policy(file);
        let code = match &outcome {
            Err(BrokerError::Policy(_)) => "policy_malformed",
            Err(BrokerError::PolicyExpired { .. }) => "policy_expired",
            Err(BrokerError::PolicyVersion { .. }) => "policy_not_newer",
            Err(_) | Ok(_) => return outcome,
        };
        let mut event = self.operator_event(EventType::PolicyReject, Outcome::Denied);
        event.code = Code::from_static(code);
        self.ledger.append(event)?;
        outcome
    }

    fn try_set_policy(&self, file: &str) -> Result<Arc<ReleasePolicy>, BrokerError> {
        let policy = Arc::new(ReleasePolicy::from_toml(file).map_err(BrokerError::Policy)?);
        if self.around.now() >= policy.expires() {
            return Err(BrokerError::PolicyExpired { expires: policy.expires() });
        }
        let mut event = self.operator_event(EventType::PolicyLoad, Outcome::Success);
        event.decision = journal::decision(&policy, &Checks::new(), None);
        let row = PolicyRow { version: policy.version(), file: file.to_owned() };
        let (outcome, _) = self.ledger.commit(move |writing| {
            let current = state::policy(&*writing.tables())?.map(|current| current.version);
            if let Some(current) = current.filter(|current| row.version <= *current) {
                return Ok(Err(current));
            }
            writing.append(&event)?;
            state::put_policy(writing.tables(), &row)?;
            Ok(Ok(()))
        })?;
        match outcome {
            Ok(()) => Ok(policy),
            Err(current) => Err(BrokerError::PolicyVersion { current, observed: policy.version() }),
        }
    }

    /// Revokes at once what no policy file has to say yet. It can only refuse; a policy file does not take it back.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub fn revoke(&self, revoked: &Revoked) -> Result<(), BrokerError> {
        let mut event = self.operator_event(EventType::KeyRevoke, Outcome::Success);
        event.code = journal::code(revoked.kind());
        match revoked {
            Revoked::Kid(kid) => {
                event.key = KeyId::new(kid).ok().map(|kid| Key { kid, op: KeyOperation::Revoke });
            }
            Revoked::Measurement(measurement) => {
                let mut platform = Platform::new(self.journal.tee());
                platform.meas = Some(Measurement::new(*measurement.as_bytes()));
                event.platform = Some(platform);
            }
            Revoked::Chip(chip) => event.platform = Some(self.journal.platform_of_chip(&chip.0)),
            Revoked::Manifest(digest) => {
                let new = Some(Hash::new(*digest.as_bytes()));
                event.setting = Some(Setting { name: Code::from_static("revoked_manifest"), new, old: None });
            }
        }
        let row =
            RevokedRow { kind: revoked.kind().to_owned(), name: revoked.name(), since: self.around.now() };
        let (room, _) = self.ledger.commit(move |writing| {
            let room = state::can_put_revocation(&*writing.tables(), &row)?;
            if room {
                writing.append(&event)?;
                state::put_revocation(writing.tables(), &row)?;
            }
            Ok(room)
        })?;
        if room { Ok(()) } else { Err(BrokerError::TooManyRevocations) }
    }

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
        let revoked = policy.is_some_and(|policy| {
            policy.revoked().concern(&lease.kid, &lease.manifest_digest, &lease.measurement)
        });
        Ok(if revoked { LeaseState::Revoked } else { LeaseState::Live })
    }

    /// What there is.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub fn status(&self) -> Result<Status, BrokerError> {
        let policy = self.policy()?;
        let at = self.around.now();
        let (leases, revoked) = look_up(self.ledger.store(), |view| {
            Ok((state::all_live_leases(view, at)?, state::revocations(view)?))
        })?;
        Ok(Status {
            policy_expires: policy.as_ref().map(|policy| policy.expires()),
            policy: policy.map(|policy| (policy.id().to_owned(), policy.version(), policy.digest())),
            log_size: self.ledger.latest().head.size,
            cosigned_size: self.cosigned.size(),
            leases,
            revoked: revoked.into_iter().map(|row| (row.kind, row.name)).collect(),
        })
    }

    /// Writes the broker's log as an evidence bundle.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn export_log(&self, out: impl Write) -> Result<ExportSummary, ExportError> {
        let source = self.ledger.source().map_err(|error| ExportError::Source(Box::new(error)))?;
        export_from(&source, out, &ExportOptions::default())
    }

    /// Writes the broker's log, one entry to a line.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn export_entries(&self, out: impl Write) -> Result<u64, ExportError> {
        let source = self.ledger.source().map_err(|error| ExportError::Source(Box::new(error)))?;
        export_jsonl_from(&source, out)
    }
}
