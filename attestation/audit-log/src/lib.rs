//! The audit log: what a guest or a key broker did, in a form that nobody can change afterwards unseen.
//!
//! One log per boot. [`Log::create`] begins it, [`Log::append`] adds typed [`Event`]s and returns when they
//! are durable, [`Log::checkpoint`] signs size and root hash with a key that exists only in this boot's
//! memory and that the boot's evidence vouches for.
//!
//! [`export`] writes a bundle for an auditor, [`verify`] checks one offline, [`LogReader`] reads a log's
//! directory after a crash.
//!
//! Entries are numbers, enums, digests and short identifiers. There is no field for text, so a prompt or an
//! answer cannot be logged; a [`Receipt`] lets the caller alone show which request an entry is about.
//!
//! Formats: Merkle trees of RFC 6962; notes, checkpoints, cosignatures, the witness protocol, tiles, proofs and policies of C2SP. The crate has no clock: times are
//! arguments.
//!
//! Entries are encrypted on the disk under a [`StorageKey`] where the log begins with one; key, checkpoints and evidence beside them are
//! public and lie in the clear. Without one the medium itself has to be trusted with what happened, not with that it stays unchanged.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests stop at a surprise"))]

pub mod anchors;
mod binding;
mod bundle;
mod bytes;
mod canonical;
mod chain;
mod checkpoint;
pub mod claims;
pub mod cosignature;
mod entry;
mod event;
mod export;
mod frame;
mod id;
pub mod live;
mod log;
pub mod merkle;
pub mod note;
mod place;
mod random;
mod reader;
mod receipt;
mod report;
mod slots;
mod storage;
mod storage_key;
pub mod tar;
pub mod tlog;
mod verify;
pub mod witness;

pub use binding::{BindingInputs, BindingPurpose, MAX_EVIDENCE_BYTES, Opening};
pub use bundle::{Manifest, PART_ENTRIES};
pub use bytes::{BootId, DeviceId, Hash, Hex, HexError, Measurement, PublicKey};
pub use chain::{Follows, Predecessor};
pub use checkpoint::{Checkpoint, CheckpointError, ConsistencyError, MAX_EXTENSION_LINES};
pub use entry::{
    Actor, ActorKind, AuthMethod, CheckResult, Ciphertext, Decision, Entry, EntryError, Event, Finish,
    Keeping, Kernel, Key, KeyOperation, Layer, LogState, MAX_CHECKS, MAX_ENTRY_BYTES, MAX_PERMISSIONS,
    MAX_PROFILES, MAX_SEALED_BYTES, MAX_SIGNERS, Model, Platform, Request, Route, SCHEMA_VERSION, Sealed,
    Setting, Stamp, SubjectKeyId, Tcb, Tee,
};
pub use event::{Durability, EventType, Outcome};
pub use export::{
    ExportError, ExportOptions, ExportSummary, LogSource, Pruned, VisitLeaf, export, export_from,
    export_jsonl, export_jsonl_from,
};
pub use id::{
    Claim, Code, CorrelationId, GrantId, HoldId, IdError, KeyId, ModelId, Origin, PolicyId, RequestId,
    TenantId, Ulid,
};
pub use log::{
    Beginning, HEARTBEAT_S, Log, LogError, MAX_BATCH, MAX_SUBMITTED, MAX_UNCOVERED, SEGMENT_BYTES,
    encode_entry,
};
pub use note::{Signer, VerifierKey};
pub use place::LogPlace;
pub use reader::{LogReader, ReadError, TornTail};
pub use receipt::{
    MAX_RECEIPT_BYTES, RECEIPT_KEY_BYTES, RECEIPT_TYPE, Receipt, ReceiptError, ReceiptModel,
    STREAM_RECEIPT_PREFIX, SignedReceipt, commit, split_stream, without_comments,
};
pub use report::{Check, Finding, Report, Status, Verdict};
pub use storage::{CheckpointSlot, Directory, Storage};
pub use storage_key::{ReadingKey, STORAGE_KEY_BYTES, StorageKey, read_key_copies};
pub use verify::{Expectations, MAX_EARLIER, verify, verify_each};
