//! Changes of the key-encryption keys while the broker serves: a new one comes, every secret goes under it, the old one is
//! destroyed. See [`kek_admin`](crate::kek_admin) for what may be cut off where.

use super::Broker;
use crate::journal::model_and_key;
use crate::kek::settings::{Origin, Role, Settings, WrittenKek};
use crate::kek::{Destroy, Health, KekError, KekId, Target};
use crate::kek_admin::{Fate, KekAdminError, KekReply, KekRequest, Listed, ShareOrder};
use crate::rotation::{self, Cursor, Renewed, Stored};
use crate::store::look_up;
use anchorhold_audit_log::{Code, Event, EventType, Key, KeyId, KeyOperation, Outcome};
use std::path::Path;

impl Broker {
    /// Does what the operator asks about key-encryption keys. Blocks for as long as the backends take.
    ///
    /// # Errors
    /// [`KekAdminError`].
    pub fn kek(&self, request: &KekRequest) -> Result<KekReply, KekAdminError> {
        match request {
            KekRequest::List {} => self.list_keks(),
            KekRequest::Add { kek, origin, role, shares } => {
                self.add_kek(kek, (*origin, *role), shares.as_ref())
            }
            KekRequest::Promote { id } => self.promote_kek(id),
            KekRequest::Rotate { id } => {
                let version = self.keyring.member(id)?.call(|backend| backend.rotate())?;
                self.ledger.append(self.kek_event(EventType::ConfigChange, id, KeyOperation::Rotate))?;
                Ok(KekReply::Rotate { version })
            }
            KekRequest::Rewrap { after } => self.rewrap(after),
            KekRequest::Retire { id, below: Some(below), fate } => self.retire_versions(id, *below, *fate),
            KekRequest::Retire { id, below: None, fate } => self.retire_kek(id, *fate),
        }
    }

    fn list_keks(&self) -> Result<KekReply, KekAdminError> {
        let census = look_up(self.ledger.store(), rotation::census)?;
        let retired = match self.keyring.settings() {
            Some(folder) => Settings::read(&folder)?.retired().iter().cloned().collect(),
            None => Vec::new(),
        };
        let listed = |health: Health| Listed {
            secrets: census.of(&health.kek, None),
            primary: health.primary,
            trouble: health.version.as_ref().err().map(ToString::to_string),
            version: health.version.ok(),
            id: health.kek,
        };
        let keks = self.keyring.health().into_iter().map(listed).collect();
        Ok(KekReply::List { keks, retired, unreadable: census.unreadable })
    }

    fn add_kek(
        &self,
        kek: &WrittenKek,
        (origin, role): (Origin, Role),
        order: Option<&ShareOrder>,
    ) -> Result<KekReply, KekAdminError> {
        let folder = self.keyring.settings().ok_or(KekAdminError::NoSettings)?;
        let settings = Settings::read(&folder)?.with(kek.clone(), role)?;
        let scheme = order.map(ShareOrder::scheme).transpose()?;
        let (member, made) = kek.obtain(&folder, origin, scheme)?;
        member.health()?;
        let shares = match order.map(|order| order.write(kek.id(), &made)).transpose() {
            Ok(shares) => shares.unwrap_or_default(),
            Err(error) => {
                // Nothing is under the key yet, and without its shares it is not what was asked for.
                member.call(|backend| backend.destroy(Destroy::Key))?;
                return Err(KekAdminError::Shares(error));
            }
        };
        self.ledger.append(self.kek_event(EventType::ConfigChange, kek.id(), KeyOperation::Wrap))?;
        settings.write(&folder)?;
        let _ = self.keyring.add(member);
        if role == Role::Primary {
            self.keyring.set_primary(kek.id())?;
        }
        Ok(KekReply::Add { id: kek.id().clone(), shares })
    }

    fn promote_kek(&self, id: &KekId) -> Result<KekReply, KekAdminError> {
        let folder = self.keyring.settings().ok_or(KekAdminError::NoSettings)?;
        let settings = Settings::read(&folder)?.led_by(id)?;
        self.keyring.member(id)?.health()?;
        self.ledger.append(self.kek_event(EventType::ConfigChange, id, KeyOperation::Wrap))?;
        settings.write(&folder)?;
        self.keyring.set_primary(id)?;
        Ok(KekReply::Promote { id: id.clone() })
    }

    fn rewrap(&self, after: &[u8]) -> Result<KekReply, KekAdminError> {
        let after = match after {
            [] => None,
            bytes => Some(Cursor::from_bytes(bytes).ok_or(KekAdminError::Cursor)?),
        };
        let target = self.keyring.target()?;
        let Renewed { rows, failed, next } = self.renew(&target, after.as_ref())?;
        let renewed = self.store_renewed(&target, rows)?;
        Ok(KekReply::Rewrap {
            renewed,
            failed: failed.iter().map(|(row, error)| format!("{row}: {error}")).collect(),
            next: next.map(|cursor| cursor.to_bytes()).unwrap_or_default(),
        })
    }

    /// Wraps the next page, outside of any transaction, so that a slow backend keeps nobody from the store. A secret that
    /// does not open is passed over; a backend in trouble ends the run.
    fn renew(&self, target: &Target, after: Option<&Cursor>) -> Result<Renewed, KekAdminError> {
        let stored = look_up(self.ledger.store(), |view| rotation::page(view, after))?;
        let mut renewed =
            Renewed { next: stored.last().map(|row| row.cursor().clone()), ..Renewed::default() };
        for row in stored {
            match self.keyring.rewrap(target, row.place()?, row.wrapped()) {
                Ok(Some(wrapped)) => renewed.rows.push((row, wrapped)),
                Ok(None) => {}
                Err(error @ (KekError::Backend { .. } | KekError::Random)) => return Err(error.into()),
                Err(error) => renewed.failed.push((row, error)),
            }
        }
        Ok(renewed)
    }

    /// Stores a page with an entry for each secret, in one transaction. A secret that has changed meanwhile stays as it is.
    fn store_renewed(&self, target: &Target, rows: Vec<(Stored, Vec<u8>)>) -> Result<u64, KekAdminError> {
        if rows.is_empty() {
            return Ok(0);
        }
        let rows: Vec<_> =
            rows.into_iter().map(|(row, wrapped)| (self.rotate_event(target, &row), row, wrapped)).collect();
        let (stored, _) = self.ledger.commit(move |writing| {
            let mut unchanged = Vec::new();
            for (event, row, wrapped) in &rows {
                if let Some(kek) = rotation::retired_of(&*writing.tables(), wrapped)? {
                    return Ok(Err(KekError::Retired { kek }));
                }
                if row.is_unchanged(&*writing.tables())? {
                    unchanged.push((event, row, wrapped));
                }
            }
            let mut stored = 0;
            for (event, row, wrapped) in unchanged {
                writing.append(event)?;
                row.put(writing.tables(), wrapped.clone())?;
                stored += 1;
            }
            Ok(Ok(stored))
        })?;
        Ok(stored?)
    }

    fn retire_kek(&self, id: &KekId, fate: Fate) -> Result<KekReply, KekAdminError> {
        let folder = self.keyring.settings().ok_or(KekAdminError::NoSettings)?;
        let settings = Settings::read(&folder)?;
        if settings.primary() == id {
            return Err(KekAdminError::Primary);
        }
        let settings = settings.without(id)?;
        // Before anything stops to open; what counts is the same question in the transaction.
        let secrets = look_up(self.ledger.store(), |view| rotation::in_use(view, id, None))?;
        if secrets > 0 {
            return Err(KekAdminError::InUse { secrets });
        }
        // One whose files are gone is not in the ring.
        let member = self.keyring.retire(id);
        let retired = self.note_retired(id, None).and_then(|()| match (&member, fate) {
            (Some(member), Fate::Destroyed) => {
                member.call(|backend| backend.destroy(Destroy::Key))?;
                self.ledger.append(self.kek_event(EventType::KeyDestroy, id, KeyOperation::Destroy))?;
                Ok(())
            }
            _ => Ok(()),
        });
        match retired {
            Ok(()) => self.forget(&settings, &folder, id),
            Err(error) => {
                if let Some(member) = member {
                    self.keyring.reinstate(member);
                }
                Err(error)
            }
        }
    }

    fn forget(&self, settings: &Settings, folder: &Path, id: &KekId) -> Result<KekReply, KekAdminError> {
        settings.write(folder)?;
        Ok(KekReply::Retire { id: id.clone() })
    }

    fn retire_versions(&self, id: &KekId, below: u32, fate: Fate) -> Result<KekReply, KekAdminError> {
        let member = self.keyring.member(id)?;
        if below > member.call(|backend| backend.version())? {
            return Err(KekAdminError::Primary);
        }
        self.note_retired(id, Some(below))?;
        if fate == Fate::Destroyed {
            member.call(move |backend| backend.destroy(Destroy::VersionsBelow(below)))?;
            self.ledger.append(self.kek_event(EventType::KeyDestroy, id, KeyOperation::Destroy))?;
        }
        Ok(KekReply::Retire { id: id.clone() })
    }

    /// Has the state note, and the log tell, that nothing will be under a key any more, if nothing is. Every storing of a
    /// secret looks at the note in its own transaction, so nothing slips in between.
    fn note_retired(&self, id: &KekId, below: Option<u32>) -> Result<(), KekAdminError> {
        let mut event = self.kek_event(EventType::ConfigChange, id, KeyOperation::Revoke);
        event.code = Code::from_static("kek_retired");
        let id = id.clone();
        let (in_use, _) = self.ledger.commit(move |writing| {
            let in_use = rotation::in_use(&*writing.tables(), &id, below)?;
            if in_use == 0 {
                writing.append(&event)?;
                rotation::put_retired(writing.tables(), &id, below)?;
            }
            Ok(in_use)
        })?;
        if in_use == 0 { Ok(()) } else { Err(KekAdminError::InUse { secrets: in_use }) }
    }

    fn kek_event(&self, kind: EventType, id: &KekId, op: KeyOperation) -> Event {
        let mut event = self.operator_event(kind, Outcome::Success);
        event.key = KeyId::new(id.as_str()).ok().map(|kid| Key { kek: None, kid, op });
        event
    }

    fn rotate_event(&self, target: &Target, row: &Stored) -> Event {
        let mut event = self.operator_event(EventType::KeyRotate, Outcome::Success);
        match row.terms() {
            Some(terms) => (event.model, event.key) = model_and_key(&terms, KeyOperation::Rotate),
            None => {
                let kid = KeyId::new(&row.to_string()).ok();
                event.key = kid.map(|kid| Key { kek: None, kid, op: KeyOperation::Rotate });
            }
        }
        if let Some(key) = event.key.as_mut() {
            key.kek = KeyId::new(target.kek.as_str()).ok();
        }
        event
    }
}
