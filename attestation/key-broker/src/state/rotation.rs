//! Wrapping every secret of the state anew, while the broker serves.
//!
//! There is no record of how far a run has come: each secret says itself which key it is under. A run that was cut off
//! is begun again and passes over what is done.

use super::{MODELS, RETIRED_KEKS, SECRETS, State, StateError, weights_key_place};
use crate::kek::{Blob, KekError, KekId, Place, Target};
use anchorhold_key_release::WeightsKeyTerms;
use redb::{ReadableDatabase as _, ReadableTable};
use std::collections::BTreeMap;
use std::ops::Bound;

/// How many secrets are wrapped before they are stored, in one transaction.
const PAGE: usize = 16;

/// Where a wrapped secret is stored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum StoredKey {
    /// One of the broker itself, by kind.
    Secret(String),
    /// A weights key, by model and version.
    WeightsKey(String, u64),
}

/// A wrapped secret as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stored {
    key: StoredKey,
    /// The terms of a weights key, JSON; else nothing.
    name: Vec<u8>,
    wrapped: Vec<u8>,
}

type Renewed = Vec<(StoredKey, Option<WeightsKeyTerms>)>;

impl Stored {
    fn place(&self) -> Place<'_> {
        match &self.key {
            StoredKey::Secret(kind) => Place { kind, name: &[] },
            StoredKey::WeightsKey(..) => weights_key_place(&self.name),
        }
    }
}

/// How many secrets are under which version of which key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    /// By key and version.
    pub under: BTreeMap<(KekId, u32), u64>,
    /// What is no wrapped secret.
    pub unreadable: u64,
}

impl Census {
    fn count(&mut self, wrapped: &[u8]) {
        match Blob::parse(wrapped) {
            Ok(blob) => *self.under.entry((blob.kek().clone(), blob.sealed().version)).or_default() += 1,
            Err(_) => self.unreadable += 1,
        }
    }

    /// How many are under `kek`, in a version below `below` where one is given.
    #[must_use]
    pub fn of(&self, kek: &KekId, below: Option<u32>) -> u64 {
        let counted = self
            .under
            .iter()
            .filter(|((id, version), _)| id == kek && below.is_none_or(|below| *version < below));
        counted.map(|(_, count)| count).sum()
    }
}

/// One page of a run.
#[derive(Debug, Default)]
pub struct Page {
    /// What is under the wanted key now and was not before, with the terms of a weights key.
    pub renewed: Renewed,
    /// What does not open, or was changed meanwhile, with the reason.
    pub failed: Vec<(StoredKey, KekError)>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<StoredKey>,
}

impl State {
    /// Wraps the next few secrets behind `after` for `target`, and stores them in one transaction. A secret that does not
    /// open is passed over; a backend in trouble ends the page.
    ///
    /// # Errors
    /// [`StateError::Kek`] with the trouble, or the store. What earlier pages did stays.
    pub fn rewrap_page(&self, target: &Target, after: Option<&StoredKey>) -> Result<Page, StateError> {
        let rows = self.stored_after(after)?;
        let mut page = Page { next: rows.last().map(|row| row.key.clone()), ..Page::default() };
        let mut renewed = Vec::new();
        for row in rows {
            match self.keyring().rewrap(target, row.place(), &row.wrapped) {
                Ok(Some(wrapped)) => renewed.push((row, wrapped)),
                Ok(None) => {}
                Err(error @ (KekError::Backend { .. } | KekError::Random)) => return Err(error.into()),
                Err(error) => page.failed.push((row.key, error)),
            }
        }
        page.renewed = self.replace(&renewed)?;
        Ok(page)
    }

    fn stored_after(&self, after: Option<&StoredKey>) -> Result<Vec<Stored>, StateError> {
        let read = self.database.begin_read()?;
        let mut out = Vec::new();
        if !matches!(after, Some(StoredKey::WeightsKey(..))) {
            let start = match after {
                Some(StoredKey::Secret(kind)) => Bound::Excluded(kind.as_str()),
                _ => Bound::Unbounded,
            };
            for row in read.open_table(SECRETS)?.range::<&str>((start, Bound::Unbounded))?.take(PAGE) {
                let (kind, wrapped) = row?;
                let key = StoredKey::Secret(kind.value().to_owned());
                out.push(Stored { key, name: Vec::new(), wrapped: wrapped.value().to_vec() });
            }
        }
        if out.is_empty() {
            let start = match after {
                Some(StoredKey::WeightsKey(model, version)) => Bound::Excluded((model.as_str(), *version)),
                _ => Bound::Unbounded,
            };
            let table = read.open_table(MODELS)?;
            for row in table.range::<(&str, u64)>((start, Bound::Unbounded))?.take(PAGE) {
                let (key, value) = row?;
                let ((model, version), (name, wrapped)) = (key.value(), value.value());
                let key = StoredKey::WeightsKey(model.to_owned(), version);
                out.push(Stored { key, name: name.to_vec(), wrapped: wrapped.to_vec() });
            }
        }
        Ok(out)
    }

    /// Stores new wrappings of secrets that are still what they were.
    fn replace(&self, rows: &[(Stored, Vec<u8>)]) -> Result<Renewed, StateError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut renewed = Vec::new();
        let write = self.database.begin_write()?;
        {
            let retired = write.open_table(RETIRED_KEKS)?;
            let mut secrets = write.open_table(SECRETS)?;
            let mut models = write.open_table(MODELS)?;
            for (row, wrapped) in rows {
                refuse_retired(&retired, wrapped)?;
                let unchanged = match &row.key {
                    StoredKey::Secret(kind) => {
                        let same = secrets.get(kind.as_str())?.is_some_and(|now| now.value() == row.wrapped);
                        if same {
                            secrets.insert(kind.as_str(), wrapped.as_slice())?;
                        }
                        same
                    }
                    StoredKey::WeightsKey(model, version) => {
                        let (key, was) =
                            ((model.as_str(), *version), (row.name.as_slice(), row.wrapped.as_slice()));
                        let same = models.get(key)?.is_some_and(|now| now.value() == was);
                        if same {
                            models.insert(key, (row.name.as_slice(), wrapped.as_slice()))?;
                        }
                        same
                    }
                };
                if unchanged {
                    renewed.push((row.key.clone(), serde_json::from_slice(&row.name).ok()));
                }
            }
        }
        write.commit()?;
        Ok(renewed)
    }

    /// Under which keys the secrets are.
    ///
    /// # Errors
    /// The store.
    pub fn census(&self) -> Result<Census, StateError> {
        let read = self.database.begin_read()?;
        let mut census = Census::default();
        for row in read.open_table(SECRETS)?.iter()? {
            census.count(row?.1.value());
        }
        for row in read.open_table(MODELS)?.iter()? {
            census.count(row?.1.value().1);
        }
        Ok(census)
    }

    /// Notes that nothing is under `kek`, or under its versions below `below`, and never will be; or says how many secrets
    /// still are. One transaction, which every storing of a secret looks at: nothing slips in between.
    ///
    /// # Errors
    /// The store.
    pub fn retire_kek(&self, kek: &KekId, below: Option<u32>) -> Result<Result<(), u64>, StateError> {
        let write = self.database.begin_write()?;
        {
            let mut census = Census::default();
            for row in write.open_table(SECRETS)?.iter()? {
                census.count(row?.1.value());
            }
            for row in write.open_table(MODELS)?.iter()? {
                census.count(row?.1.value().1);
            }
            // What cannot be read may be under any key.
            let left = census.of(kek, below).saturating_add(census.unreadable);
            if left > 0 {
                return Ok(Err(left));
            }
            write.open_table(RETIRED_KEKS)?.insert(kek.as_str(), below.unwrap_or(ALL_VERSIONS))?;
        }
        write.commit()?;
        Ok(Ok(()))
    }
}

/// No key has as many versions.
const ALL_VERSIONS: u32 = u32::MAX;

/// Refuses a wrapping under a key, or a version of it, that is gone.
pub(super) fn refuse_retired(
    retired: &impl ReadableTable<&'static str, u32>,
    wrapped: &[u8],
) -> Result<(), StateError> {
    let blob = Blob::parse(wrapped).map_err(KekError::from)?;
    let gone_below = retired.get(blob.kek().as_str())?.map_or(0, |row| row.value());
    if blob.sealed().version < gone_below {
        return Err(KekError::Retired { kek: blob.kek().clone() }.into());
    }
    Ok(())
}
