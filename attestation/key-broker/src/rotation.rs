//! Wrapping every secret of the state anew, while the broker serves.
//!
//! There is no record of how far a run has come: each secret says itself which key it is under. A run that was cut off is
//! begun again and passes over what is done. What the log tells of it is in the transaction that did it.
//!
//! The tables that hold wrapped secrets are listed here once, in [`Stored::all`]; a new one belongs there.

use crate::kek::{Blob, KekError, KekId, Place};
use crate::state::ModelRow;
use crate::store::{Change, StoreError, Table, View};
use anchorhold_key_release::WeightsKeyTerms;
use std::collections::BTreeMap;
use std::fmt;

/// How many secrets are wrapped before they are stored, in one transaction.
pub const PAGE: usize = 16;
/// How many rows are read at a time where only their keys' names are wanted.
const CENSUS_ROWS: usize = 512;
/// Before the id of a key in [`Table::Meta`]; the value is the version below which nothing is under it any more.
const RETIRED: &[u8] = b"retired kek ";
/// The kind of place of a resource's key; its name is the resource's.
pub const RESOURCE_KEY: &str = "resource key";
/// No key has as many versions.
const ALL_VERSIONS: u32 = u32::MAX;

/// A table of wrapped secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Of the broker itself.
    Own,
    /// Weights keys.
    Weights,
    /// Keys of resources.
    Resource,
}

impl Kind {
    const fn table(self) -> Table {
        match self {
            Self::Own => Table::Secrets,
            Self::Weights => Table::Models,
            Self::Resource => Table::ResourceKeys,
        }
    }
}

/// Where a wrapped secret is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    kind: Kind,
    key: Vec<u8>,
}

impl Cursor {
    /// The cursor as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let kind = match self.kind {
            Kind::Own => 0,
            Kind::Weights => 1,
            Kind::Resource => 2,
        };
        [&[kind], self.key.as_slice()].concat()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; `None` for anything else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, key) = bytes.split_first()?;
        let kind = match kind {
            0 => Kind::Own,
            1 => Kind::Weights,
            2 => Kind::Resource,
            _ => return None,
        };
        Some(Self { kind, key: key.to_vec() })
    }
}

/// A wrapped secret as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    at: Cursor,
    /// The row around the wrapped secret, where there is one.
    row: Option<ModelRow>,
    wrapped: Vec<u8>,
}

impl Stored {
    fn read(kind: Kind, key: Vec<u8>, value: Vec<u8>) -> Result<Self, StoreError> {
        let at = Cursor { kind, key };
        Ok(match kind {
            Kind::Own | Kind::Resource => Self { at, row: None, wrapped: value },
            Kind::Weights => {
                let row: ModelRow =
                    serde_json::from_slice(&value).map_err(|_| StoreError::Corrupt("model"))?;
                Self { at, wrapped: row.wrapped.clone(), row: Some(row) }
            }
        })
    }

    /// At most `limit` wrapped secrets behind `after`, of every table that has some.
    fn all(view: &dyn View, after: Option<&Cursor>, limit: usize) -> Result<Vec<Self>, StoreError> {
        let mut out = Vec::new();
        for kind in [Kind::Own, Kind::Weights, Kind::Resource] {
            let from = match after {
                Some(cursor) if cursor.kind > kind => continue,
                // The next key after one is that with a zero behind it.
                Some(cursor) if cursor.kind == kind => [cursor.key.as_slice(), &[0]].concat(),
                _ => Vec::new(),
            };
            for (key, value) in view.scan(kind.table(), &from..&[u8::MAX], limit.saturating_sub(out.len()))? {
                out.push(Self::read(kind, key, value)?);
            }
        }
        Ok(out)
    }

    /// The place that the secret is bound to.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn place(&self) -> Result<Place<'_>, StoreError> {
        match &self.row {
            Some(row) => Ok(Place { kind: "weights key", name: row.terms.as_bytes() }),
            None if self.at.kind == Kind::Resource => Ok(Place { kind: RESOURCE_KEY, name: &self.at.key }),
            None => {
                let kind = std::str::from_utf8(&self.at.key).map_err(|_| StoreError::Corrupt("secret"))?;
                Ok(Place { kind, name: &[] })
            }
        }
    }

    /// The wrapped secret.
    #[must_use]
    pub fn wrapped(&self) -> &[u8] {
        &self.wrapped
    }

    /// The terms of a weights key.
    #[must_use]
    pub fn terms(&self) -> Option<WeightsKeyTerms> {
        self.row.as_ref()?.read_terms().ok()
    }

    /// Where it is stored.
    #[must_use]
    pub const fn cursor(&self) -> &Cursor {
        &self.at
    }

    /// Whether it is still stored as it was read.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn is_unchanged(&self, view: &dyn View) -> Result<bool, StoreError> {
        let now = view.get(self.at.kind.table(), &self.at.key)?;
        Ok(now.map(|value| Self::read(self.at.kind, self.at.key.clone(), value)).transpose()?.as_ref()
            == Some(self))
    }

    /// Stores another wrapping of it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put(&self, change: &mut dyn Change, wrapped: Vec<u8>) -> Result<(), StoreError> {
        let value = match &self.row {
            None => wrapped,
            Some(row) => serde_json::to_vec(&ModelRow { terms: row.terms.clone(), wrapped })
                .map_err(|_| StoreError::Corrupt("model"))?,
        };
        change.put(self.at.kind.table(), &self.at.key, &value)
    }
}

impl fmt::Display for Stored {
    /// The name of a secret in messages and entries: `broker/signing-seed`, `acme/chat/7` for a weights key, or a resource's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.terms() {
            Some(terms) => write!(f, "{}/{}", terms.model_id, terms.version),
            None if self.at.kind == Kind::Resource => f.write_str(&String::from_utf8_lossy(&self.at.key)),
            None => write!(f, "broker/{}", String::from_utf8_lossy(&self.at.key).replace(' ', "-")),
        }
    }
}

/// The next wrapped secrets behind `after`, at most [`PAGE`].
///
/// # Errors
/// [`StoreError`].
pub fn page(view: &dyn View, after: Option<&Cursor>) -> Result<Vec<Stored>, StoreError> {
    Stored::all(view, after, PAGE)
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

/// Under which keys the secrets are.
///
/// # Errors
/// [`StoreError`].
pub fn census(view: &dyn View) -> Result<Census, StoreError> {
    let (mut census, mut after) = (Census::default(), None);
    loop {
        let rows = Stored::all(view, after.as_ref(), CENSUS_ROWS)?;
        for row in &rows {
            match Blob::parse(&row.wrapped) {
                Ok(blob) => {
                    *census.under.entry((blob.kek().clone(), blob.sealed().version)).or_default() += 1;
                }
                Err(_) => census.unreadable += 1,
            }
        }
        match rows.last() {
            Some(last) => after = Some(last.at.clone()),
            None => return Ok(census),
        }
    }
}

/// The key that a wrapping is under, if that key, or its version, is retired. Every storing of a secret asks.
///
/// # Errors
/// [`StoreError`].
pub fn retired_of(view: &dyn View, wrapped: &[u8]) -> Result<Option<KekId>, StoreError> {
    let blob = Blob::parse(wrapped).map_err(|_| StoreError::Corrupt("wrapped secret"))?;
    let Some(gone_below) = view.get(Table::Meta, &retired_key(blob.kek()))? else { return Ok(None) };
    let gone_below: [u8; 4] =
        gone_below.try_into().map_err(|_| StoreError::Corrupt("note of a retired key"))?;
    let retired = blob.sealed().version < u32::from_be_bytes(gone_below);
    Ok(retired.then(|| blob.kek().clone()))
}

fn retired_key(kek: &KekId) -> Vec<u8> {
    [RETIRED, kek.as_str().as_bytes()].concat()
}

/// How many secrets keep a key, or its versions below `below`, from being retired. What cannot be read may be under any.
///
/// # Errors
/// [`StoreError`].
pub fn in_use(view: &dyn View, kek: &KekId, below: Option<u32>) -> Result<u64, StoreError> {
    let census = census(view)?;
    Ok(census.of(kek, below).saturating_add(census.unreadable))
}

/// Notes that nothing will be under `kek`, or its versions below `below`, any more. Presumes that nothing is.
///
/// # Errors
/// [`StoreError`].
pub fn put_retired(change: &mut dyn Change, kek: &KekId, below: Option<u32>) -> Result<(), StoreError> {
    let version = below.unwrap_or(ALL_VERSIONS);
    change.put(Table::Meta, &retired_key(kek), &version.to_be_bytes())
}

/// A page of a run, wrapped and not stored yet.
#[derive(Debug, Default)]
pub struct Renewed {
    /// What was wrapped anew, with its new wrapping.
    pub rows: Vec<(Stored, Vec<u8>)>,
    /// What does not open, with the reason.
    pub failed: Vec<(Stored, KekError)>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Cursor>,
}
