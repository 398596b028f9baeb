//! What the operator does: keys, policies, revocations, and looking at what there is.

use super::activate::stored_signers;
use super::{Broker, BrokerError};
use crate::journal;
use crate::kek::{KekError, Place};
use crate::rotation;
use crate::state::{self, Imported, Lease, ModelRow, RevokedRow};
use crate::store::{StoreError, look_up};
use anchorhold_audit_log::{
    Code, EventType, ExportError, ExportOptions, ExportSummary, Hash, Key, KeyId, KeyOperation, Measurement,
    Outcome, Setting, export_from, export_jsonl_from,
};
use anchorhold_key_release::{Revoked, WeightsKeyImport, WeightsKeyTerms};
use anchorhold_rats::{Secret, Sha256Digest, Tee, Timestamp};
use serde::{Deserialize, Serialize};
use std::io::Write;

/// What the operator is shown of a broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Name, version and digest of the policy in force.
    pub policy: Option<(String, u64, Sha256Digest)>,
    /// When it expires.
    pub policy_expires: Option<Timestamp>,
    /// Name, version and digest of the set of those who may sign policies.
    pub signers: Option<(String, u64, Sha256Digest)>,
    /// How many entries the log has.
    pub log_size: u64,
    /// How many of them enough witnesses have cosigned.
    pub cosigned_size: u64,
    /// The leases that are live.
    pub leases: Vec<Lease>,
    /// What was revoked beside the policy.
    pub revoked: Vec<(String, String)>,
}

/// A setting that went from the first digest to the second.
pub(super) fn setting(name: &'static str, (old, new): (Option<Hash>, Option<Hash>)) -> Setting {
    Setting { approved_by: Vec::new(), name: Code::from_static(name), new, old }
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
        let wrapped = self.keyring.wrap(place, weights_key.expose()).map_err(BrokerError::Kek)?;
        let row = ModelRow { terms: name, wrapped };
        let mut event = self.operator_event(EventType::KeyImport, Outcome::Success);
        (event.model, event.key) = journal::model_and_key(&terms, KeyOperation::Wrap);
        let stored = terms.clone();
        let (outcome, _) = self.ledger.commit(move |writing| {
            let outcome = state::can_put_model(&*writing.tables(), &stored)?;
            if let Some(kek) = rotation::retired_of(&*writing.tables(), &row.wrapped)? {
                return Ok(Err(kek));
            }
            if outcome == Imported::Stored {
                writing.append(&event)?;
                state::put_model(writing.tables(), &stored, &row)?;
            }
            Ok(Ok(outcome))
        })?;
        match outcome.map_err(|kek| BrokerError::Kek(KekError::Retired { kek }))? {
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

    /// Whether the broker holds a key that `revoked` names, by its own name or its manifest's; `None` of an image or a machine, of
    /// which it keeps no list.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub fn holds(&self, revoked: &Revoked) -> Result<Option<bool>, BrokerError> {
        let named = |wanted: &dyn Fn(&WeightsKeyTerms) -> bool| {
            look_up(self.ledger.store(), |view| state::holds_key(view, wanted)).map(Some)
        };
        Ok(match revoked {
            Revoked::Kid(kid) => named(&|terms| terms.kid == *kid)?,
            Revoked::Manifest(digest) => named(&|terms| terms.manifest_digest == *digest)?,
            _ => None,
        })
    }

    /// Revokes at once what no policy file has to say yet. It can only refuse; a policy file does not take it back.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub fn revoke(&self, revoked: &Revoked) -> Result<(), BrokerError> {
        let mut event = self.operator_event(EventType::KeyRevoke, Outcome::Success);
        event.code = journal::code(revoked.kind());
        let pseudonyms = self.journal.pseudonyms();
        match revoked {
            Revoked::Kid(kid) => {
                event.key = KeyId::new(kid).ok().map(|kid| Key { kek: None, kid, op: KeyOperation::Revoke });
            }
            Revoked::Measurement(measurement) => {
                // The kind of guest that has it is not known, and does not matter.
                let mut platform = self.journal.platform_named(Tee::Snp, None);
                platform.meas = Some(Measurement::new(*measurement.as_bytes()));
                event.platform = Some(platform);
            }
            Revoked::Chip(chip) => {
                event.platform = Some(self.journal.platform_named(Tee::Snp, Some(pseudonyms.chip(chip))));
            }
            Revoked::Platform(platform) => {
                let name = Some(pseudonyms.platform(platform));
                event.platform = Some(self.journal.platform_named(Tee::Tdx, name));
            }
            Revoked::Device(device) => {
                event.setting =
                    Some(setting("revoked_device", (None, Some(Hash::new(pseudonyms.device(device))))));
            }
            Revoked::Manifest(digest) => {
                event.setting =
                    Some(setting("revoked_manifest", (None, Some(Hash::new(*digest.as_bytes())))));
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

    /// What there is.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub fn status(&self) -> Result<Status, BrokerError> {
        let policy = self.policy()?;
        let at = self.around.now();
        let (leases, revoked, signers) = look_up(self.ledger.store(), |view| {
            Ok((state::all_live_leases(view, at)?, state::revocations(view)?, stored_signers(view)?))
        })?;
        Ok(Status {
            policy_expires: policy.as_ref().map(|policy| policy.expires()),
            policy: policy.map(|policy| (policy.id().to_owned(), policy.version(), policy.digest())),
            signers: signers.map(|set| (set.id().to_owned(), set.version(), set.digest())),
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
