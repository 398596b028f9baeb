//! The logs that the broker witnesses, and in which order those of one deployment came.

use super::{read, write};
use crate::store::{Change, StoreError, Table, View};
use anchorhold_audit_log::merkle::TreeHead;
use anchorhold_audit_log::{Hash, Origin, Predecessor, VerifierKey};
use serde::{Deserialize, Serialize};

/// Begins the names in [`Table::Meta`] under which the newest log of each deployment stands.
const NEWEST: &[u8] = b"newest log of ";

/// What the broker knows of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessedRow {
    /// The log's verifier key, as text.
    pub key: String,
    /// The size of the last checkpoint that was cosigned; 0 before the first.
    pub size: u64,
    /// Its root hash, hex.
    pub root: Hash,
    /// That checkpoint, as the log signed it.
    pub checkpoint: String,
    /// A checkpoint that contradicts it, signed by the log: together they prove two histories. The first that came.
    pub contradiction: Option<String>,
    /// Whether the log said with that checkpoint that nothing follows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closed: bool,
    /// The log of the same deployment that was the newest when this one came, as far as it was cosigned then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predecessor: Option<Predecessor>,
}

impl WitnessedRow {
    /// A log of which nothing is known but its key.
    #[must_use]
    pub fn new(key: &VerifierKey) -> Self {
        let empty = TreeHead::empty();
        Self {
            key: key.to_string(),
            size: 0,
            root: empty.root,
            checkpoint: String::new(),
            contradiction: None,
            closed: false,
            predecessor: None,
        }
    }

    /// Size and root hash.
    #[must_use]
    pub const fn head(&self) -> TreeHead {
        TreeHead { size: self.size, root: self.root }
    }
}

/// The log of this name.
///
/// # Errors
/// [`StoreError`].
pub fn witnessed(view: &dyn View, origin: &str) -> Result<Option<WitnessedRow>, StoreError> {
    view.get(Table::Witnessed, origin.as_bytes())?.map(|row| read("witnessed log", &row)).transpose()
}

/// Stores what is known of a log.
///
/// # Errors
/// [`StoreError`].
pub fn put_witnessed(change: &mut dyn Change, origin: &str, row: &WitnessedRow) -> Result<(), StoreError> {
    change.put(Table::Witnessed, origin.as_bytes(), &write("witnessed log", row)?)
}

fn newest_of(origin: &Origin) -> Option<Vec<u8>> {
    origin.deployment().map(|deployment| [NEWEST, deployment.as_bytes()].concat())
}

/// The log that a log of this name follows if it is registered now: the newest of its deployment. `None` where there is none.
///
/// # Errors
/// [`StoreError`].
pub fn following(view: &dyn View, origin: &Origin) -> Result<Option<Predecessor>, StoreError> {
    let Some(name) = newest_of(origin) else { return Ok(None) };
    let Some(newest) = view.get(Table::Meta, &name)? else { return Ok(None) };
    let corrupt = StoreError::Corrupt("newest log of a deployment");
    let newest = std::str::from_utf8(&newest).ok().and_then(|newest| Origin::new(newest).ok());
    let Some(newest) = newest else { return Err(corrupt) };
    let row = witnessed(view, newest.as_str())?.ok_or(corrupt)?;
    Ok(Some(Predecessor { closed: row.closed, origin: newest, root: row.root, size: row.size }))
}

/// Registers a guest's log as the newest of its deployment, behind `predecessor`. Each log so follows another one, and none is followed by
/// two: whoever has a log knows of the one before it.
///
/// Presumes that `predecessor` is what [`following`] gives in the same transaction.
///
/// # Errors
/// [`StoreError`].
pub fn register(
    change: &mut dyn Change,
    (origin, key): (&Origin, &VerifierKey),
    predecessor: Option<Predecessor>,
) -> Result<(), StoreError> {
    let row = WitnessedRow { predecessor, ..WitnessedRow::new(key) };
    put_witnessed(change, origin.as_str(), &row)?;
    match newest_of(origin) {
        Some(name) => change.put(Table::Meta, &name, origin.as_str().as_bytes()),
        None => Ok(()),
    }
}
