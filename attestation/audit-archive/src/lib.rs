//! An archive of exported audit logs, outside of any guest.
//!
//! A folder holds the logs, the keyring of their personal parts, and a Merkle log of its own, which the archivist's key signs: a log that came
//! ([`Archivist::add`]), entries that went ([`Archivist::prune`]), a hold that was placed or released, a key that was destroyed ([`Archivist::erase`]) are
//! entries of that log. It is the archive's whole memory: which holds stand and what is gone is read out of it, so there is no second
//! record that could say otherwise.
//!
//! Order of writes: an act is in the archive's log, signed and durable, before anything is removed. Whoever opens the archive to change it
//! finishes what a crash cut off, because the log says what was to go.
//!
//! Pruning takes a log's first entries, up to the first one that must still be kept (the "minimum index" of c2sp.org/tlog-tiles). The hashes
//! of all leaves, the checkpoint with its cosignatures and the evidence stay, so that every proof that was ever made still verifies, and what is
//! left is exported and verified as a range.
//!
//! *Not* promised: that nobody has a copy. Whoever may write to the folder can set it back to an older state; an auditor who kept a checkpoint of
//! the archive's log sees that.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests stop at a surprise")
)]

mod acts;
mod archive;
mod archivist;
mod error;
mod files;
mod prune;
mod retention;
mod shelf;
mod state;
mod steps;

#[cfg(test)]
mod archivist_tests;

pub use archive::{Archive, Description, MAX_DESCRIPTION_BYTES};
pub use archivist::{Added, Archivist, Erasure};
pub use error::{Error, Result};
pub use prune::{Plan, Why};
pub use retention::{MAX_RETENTION_BYTES, Profile, Retention, RetentionError, Selection};
pub use shelf::ArchivedLog;
pub use state::{Gone, Hold, LogRecord, MAX_HOLDS, MAX_LOGS, Scope, State};
