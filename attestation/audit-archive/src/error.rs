//! Why an archive did not do what it was asked.

use anchorhold_audit_log::{
    CheckpointError, EntryError, ExportError, HoldId, LogError, Origin, SubjectKeyId,
};
use anchorhold_audit_personal::KeyringError;
use std::io;
use std::path::PathBuf;

/// What this crate's functions give back.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an archive did not do what it was asked. Nothing was removed, unless a variant says so.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The medium failed; what was begun is finished when the archive is next opened to be changed.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the medium said.
        source: io::Error,
    },
    /// The folder is there already.
    #[error("{} exists already", path.display())]
    Exists {
        /// Which folder.
        path: PathBuf,
    },
    /// The folder is no archive.
    #[error("{} is not an archive", path.display())]
    NotAnArchive {
        /// Which folder.
        path: PathBuf,
    },
    /// Another process changes it.
    #[error("the archive is being changed by another process")]
    Busy,
    /// The key is not the archive's.
    #[error("the key is not that of this archive's log")]
    OtherKey,
    /// The archive's log is not as it was signed.
    #[error("the archive's log is not as it was signed: {0}")]
    Acts(&'static str),
    /// The checkpoint of a log is not signed by its key.
    #[error("checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// An act cannot be an entry.
    #[error("the act cannot be logged: {0}")]
    Entry(#[from] EntryError),
    /// An act could not be logged.
    #[error("the act cannot be logged: {0}")]
    Log(#[from] LogError),
    /// A bundle proves nothing.
    #[error("the bundle is not proven: {check}: {finding}")]
    NotProven {
        /// The question that was answered with no.
        check: &'static str,
        /// What was found.
        finding: String,
    },
    /// A bundle holds a part of a log.
    #[error("the bundle holds a part of the log; an archive takes whole logs")]
    Part,
    /// The archive has this log, of this size or a greater one.
    #[error("the archive has log {origin} with {size} entries already")]
    Known {
        /// Which log.
        origin: Origin,
        /// Its size here.
        size: u64,
    },
    /// An archived log is not as it came.
    #[error("log {origin} is damaged at entry {index}")]
    Damaged {
        /// Which log.
        origin: Origin,
        /// The first entry that is not what its hash says, or is not there.
        index: u64,
    },
    /// The archive has no such log.
    #[error("the archive has no log {origin}")]
    NoLog {
        /// Which log.
        origin: Origin,
    },
    /// The keyring could not be read or changed.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// A hold of this name was placed before; a name is used once.
    #[error("there is or was a hold {hold}; choose another name")]
    HoldExists {
        /// Which hold.
        hold: HoldId,
    },
    /// There is no hold of this name, or it was released.
    #[error("no hold {hold} stands")]
    NoHold {
        /// Which hold.
        hold: HoldId,
    },
    /// A hold's time ends before it begins.
    #[error("the hold's time is empty")]
    EmptyTime,
    /// A hold covers entries under a key that was to be destroyed, or that cannot be ruled out.
    #[error("hold {hold} covers entries under key {kid}")]
    UnderHold {
        /// Which hold.
        hold: HoldId,
        /// Which key.
        kid: SubjectKeyId,
    },
    /// A key of this name is in no keyring, and was not destroyed before.
    #[error("no key {kid} is in the keyring")]
    NoKey {
        /// Which key.
        kid: SubjectKeyId,
    },
    /// More of something than an archive holds.
    #[error("an archive holds at most {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        limit: usize,
    },
    /// A bundle could not be written.
    #[error("{0}")]
    Export(#[from] ExportError),
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Random,
}
