//! An archive as it is read.

use crate::acts::Acts;
use crate::error::{Error, Result};
use crate::files;
use crate::prune::Plan;
use crate::retention::Selection;
use crate::shelf::ArchivedLog;
use crate::state::{LogRecord, State};
use anchorhold_audit_log::merkle::TreeHead;
use anchorhold_audit_log::note::VerifierKey;
use anchorhold_audit_log::{BootId, HoldId, LogSource, Origin, SubjectKeyId};
use anchorhold_audit_personal::Keyring;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The largest file that says what an archive is, in bytes.
pub const MAX_DESCRIPTION_BYTES: usize = 4096;
pub(crate) const DESCRIPTION: &str = "archive.json";
pub(crate) const ACTS: &str = "acts";
pub(crate) const LOGS: &str = "logs";
pub(crate) const KEYRING: &str = "keyring";
const FORMAT: &str = "anchorhold-audit-archive-v1";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    boot: BootId,
    format: String,
    key: String,
}

/// What an archive says that it is: the name and key of its own log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    pub(crate) boot: BootId,
    pub(crate) key: VerifierKey,
}

impl Description {
    /// Reads a description in its one spelling; `None` when it is none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let written: Written =
            serde_json::from_slice(bytes).ok().filter(|_| bytes.len() <= MAX_DESCRIPTION_BYTES)?;
        let description = Self { boot: written.boot, key: VerifierKey::parse(&written.key).ok()? };
        (written.format == FORMAT && description.to_bytes() == bytes).then_some(description)
    }

    /// The bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let written = Written { boot: self.boot, format: FORMAT.to_owned(), key: self.key.to_string() };
        // Texts and hex are always JSON.
        let mut bytes = serde_json::to_vec(&written).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// The key of the archive's log, which names the log.
    #[must_use]
    pub const fn key(&self) -> &VerifierKey {
        &self.key
    }
}

/// An archive whose own log was read and is as its key signed it.
///
/// Establishes that the acts are those that the holder of the key in the archive signed. Presumes that this key is the archivist's: compare
/// [`key`](Self::key) with one that is known beforehand.
#[derive(Debug)]
pub struct Archive {
    pub(crate) path: PathBuf,
    pub(crate) description: Description,
    pub(crate) acts: Acts,
}

impl Archive {
    /// Reads the archive in this folder.
    ///
    /// # Errors
    /// [`Error`].
    pub fn open(path: &Path) -> Result<Self> {
        let not_one = || Error::NotAnArchive { path: path.to_owned() };
        let bytes =
            files::read_if_there(&path.join(DESCRIPTION), MAX_DESCRIPTION_BYTES)?.ok_or_else(not_one)?;
        let description = Description::from_bytes(&bytes).ok_or_else(not_one)?;
        let acts = Acts::open(&path.join(ACTS), description.key.clone(), description.boot)?;
        Ok(Self { path: path.to_owned(), description, acts })
    }

    /// The key of the archive's log, which names the log.
    #[must_use]
    pub const fn key(&self) -> &VerifierKey {
        &self.description.key
    }

    /// Size and root hash of the archive's log.
    #[must_use]
    pub fn head(&self) -> TreeHead {
        self.acts.head()
    }

    /// The checkpoint of the archive's log, as it was signed: for an auditor to keep.
    #[must_use]
    pub fn checkpoint_note(&self) -> &[u8] {
        self.acts.note()
    }

    /// What it holds, and what it no longer does.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.acts.state
    }

    /// The archive's own log, to be exported.
    #[must_use]
    pub fn own_log(&self) -> &dyn LogSource {
        &self.acts
    }

    /// One of its logs.
    ///
    /// # Errors
    /// [`Error::NoLog`], or the log cannot be read.
    pub fn log(&self, origin: &Origin) -> Result<ArchivedLog> {
        let record = self.acts.state.logs.get(origin.as_str());
        self.open_log(record.ok_or_else(|| Error::NoLog { origin: origin.clone() })?)
    }

    pub(crate) fn open_log(&self, record: &LogRecord) -> Result<ArchivedLog> {
        ArchivedLog::open(&self.path.join(LOGS), record)
    }

    /// The keyring of its personal parts.
    ///
    /// # Errors
    /// [`Error::Keyring`].
    pub fn keyring(&self) -> Result<Keyring> {
        Ok(Keyring::open(&self.path.join(KEYRING))?)
    }

    /// What may go of each log at `now_ns`. Nothing is changed.
    ///
    /// # Errors
    /// A log cannot be read.
    pub fn plan(&self, selection: &Selection, now_ns: i64) -> Result<Vec<Plan>> {
        let state = &self.acts.state;
        let plan = |record: &LogRecord| Plan::of(&self.open_log(record)?, record, (state, selection), now_ns);
        state.logs.values().map(plan).collect()
    }

    /// The holds that cover entries under these keys. A key of which no entry is here is covered by each hold that stands, since it cannot
    /// be ruled out.
    ///
    /// # Errors
    /// A log cannot be read.
    pub fn holds_over(&self, kids: &[SubjectKeyId]) -> Result<BTreeMap<SubjectKeyId, HoldId>> {
        let state = &self.acts.state;
        let mut held = BTreeMap::new();
        if state.standing().next().is_none() {
            return Ok(held);
        }
        let mut seen = std::collections::BTreeSet::new();
        for record in state.logs.values() {
            self.open_log(record)?.each_entry(|entry| {
                let Some(sealed) = entry.sealed.as_ref().filter(|sealed| kids.contains(&sealed.kid)) else {
                    return Ok(());
                };
                seen.insert(sealed.kid);
                if let Some(hold) = state.hold_over(&record.origin, entry) {
                    held.entry(sealed.kid).or_insert_with(|| hold.clone());
                }
                Ok(())
            })?;
        }
        if let Some((hold, _)) = state.standing().next() {
            let unseen = kids.iter().filter(|kid| !seen.contains(kid));
            held.extend(unseen.map(|kid| (*kid, hold.clone())));
        }
        Ok(held)
    }
}
