//! Schema version 1 of an entry: one JSON object, keys sorted, no white space, integers only.
//!
//! The bytes stored are the bytes hashed and the bytes exported. Reading them back holds them to the same
//! form, so an entry has exactly one spelling.

mod actor;
mod decision;
mod keeping;
mod kernel;
mod platform;
mod request;
mod sealed;
mod state;

pub use actor::{Actor, ActorKind, AuthMethod};
pub use decision::{CheckResult, Decision, Key, KeyOperation, MAX_CHECKS, MAX_SIGNERS, Setting};
pub use keeping::{Keeping, MAX_PROFILES};
pub use kernel::{Kernel, Layer, MAX_PERMISSIONS};
pub use platform::{Platform, Tcb, Tee};
pub use request::{Finish, Model, Request, Route};
pub use sealed::{Ciphertext, MAX_SEALED_BYTES, Sealed, SubjectKeyId};
pub use state::LogState;

use crate::BootId;
use crate::canonical;
use crate::claims::Claims;
use crate::event::{EventType, Outcome};
use crate::id::{Code, CorrelationId, Ulid};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest entry, in bytes.
pub const MAX_ENTRY_BYTES: usize = 16 * 1024;
/// More than most entries have, so that one is written without growing its buffer.
const USUAL_ENTRY_BYTES: usize = 1024;
/// The schema that this crate writes and reads.
pub const SCHEMA_VERSION: u8 = 1;

/// When something happened, as the guest tells it. A claim: entries are ordered by index, not by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The wall clock, in nanoseconds since 1970-01-01 UTC.
    pub wall_ns: i64,
    /// Nanoseconds since boot; never steps back.
    pub mono_ns: u64,
}

/// What is to be logged. The log adds the index, the boot and an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What is told.
    pub kind: EventType,
    /// How it ended.
    pub outcome: Outcome,
    /// Why; [`Code::OK`] unless set.
    pub code: Code,
    /// When.
    pub at: Stamp,
    /// Who acted.
    pub actor: Option<Actor>,
    /// The request.
    pub request: Option<Request>,
    /// The model.
    pub model: Option<Model>,
    /// The platform.
    pub platform: Option<Platform>,
    /// The decision.
    pub decision: Option<Decision>,
    /// What the kernel refused.
    pub kernel: Option<Kernel>,
    /// The key.
    pub key: Option<Key>,
    /// The log.
    pub log: Option<LogState>,
    /// What was set.
    pub setting: Option<Setting>,
    /// What ties entries of two logs together.
    pub correlation: Option<CorrelationId>,
    /// The act of an archive.
    pub keeping: Option<Keeping>,
    /// The personal part, sealed.
    pub sealed: Option<Sealed>,
}

impl Event {
    /// An event with code [`Code::OK`] and no part filled.
    #[must_use]
    pub const fn new(kind: EventType, outcome: Outcome, at: Stamp) -> Self {
        Self {
            kind,
            outcome,
            code: Code::OK,
            at,
            actor: None,
            request: None,
            model: None,
            platform: None,
            decision: None,
            kernel: None,
            key: None,
            log: None,
            setting: None,
            correlation: None,
            keeping: None,
            sealed: None,
        }
    }
}

/// An entry as stored; its fields are in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// OCSF activity id.
    pub act: u8,
    /// Who acted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    /// The boot that wrote it.
    pub boot: BootId,
    /// What was set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cfg: Option<Setting>,
    /// OCSF class uid.
    pub cls: u32,
    /// Stable reason code.
    pub code: Code,
    /// What ties entries of two logs together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corr: Option<CorrelationId>,
    /// A key release decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// The entry's own id.
    pub id: Ulid,
    /// The act of an archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<Keeping>,
    /// What the kernel refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<Kernel>,
    /// Which key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// The state of a log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<LogState>,
    /// Which model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    /// Nanoseconds since boot.
    pub mono: u64,
    /// How it ended.
    pub out: Outcome,
    /// What evidence said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// One request in numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub req: Option<Request>,
    /// The personal part, sealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sealed: Option<Sealed>,
    /// The entry's index in the log.
    pub seq: u64,
    /// OCSF severity.
    pub sev: u8,
    /// The guest's wall clock, in nanoseconds since 1970.
    pub t: i64,
    /// What is told.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// Schema version.
    pub v: u8,
}

impl Entry {
    /// The digest of evidence for the log's key, where this entry names some: `log.open`, and in logs that began without, `boot.evidence`.
    /// The first of a log counts.
    pub(crate) fn evidence_of_log(&self) -> Option<crate::Hash> {
        let names = matches!(self.kind, EventType::LogOpen | EventType::BootEvidence);
        self.platform.as_ref().filter(|_| names)?.evidence
    }
}

/// Why bytes are not an entry, or an event cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryError {
    /// Over [`MAX_ENTRY_BYTES`].
    TooLong {
        /// The length that came.
        observed_bytes: usize,
    },
    /// A decision lists more than [`MAX_CHECKS`] rules.
    TooManyChecks {
        /// How many it lists.
        observed: usize,
    },
    /// A list is over its limit.
    TooMany {
        /// Of what.
        what: &'static str,
    },
    /// Not the JSON of an entry.
    Malformed,
    /// The JSON of an entry in another spelling than the canonical one.
    NotCanonical,
    /// Another schema version than [`SCHEMA_VERSION`].
    Version {
        /// The version that came.
        observed: u8,
    },
    /// Class, activity or severity are not those of the type.
    Classification,
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { observed_bytes } => {
                write!(f, "entry is {observed_bytes} bytes, the limit is {MAX_ENTRY_BYTES}")
            }
            Self::TooManyChecks { observed } => {
                write!(f, "decision lists {observed} rules, the limit is {MAX_CHECKS}")
            }
            Self::TooMany { what } => write!(f, "entry holds too many {what}"),
            Self::Malformed => f.write_str("not the JSON of an entry"),
            Self::NotCanonical => f.write_str("entry is not in canonical form"),
            Self::Version { observed } => write!(f, "entry has schema {observed}, wanted {SCHEMA_VERSION}"),
            Self::Classification => f.write_str("class, activity or severity do not match the type"),
        }
    }
}

impl std::error::Error for EntryError {}

/// Where an entry goes: what the log, and nobody else, assigns.
pub(crate) struct Slot {
    pub(crate) seq: u64,
    pub(crate) boot: BootId,
    pub(crate) id: Ulid,
}

impl Entry {
    pub(crate) fn assign(event: Event, slot: Slot) -> Self {
        Self {
            act: event.kind.activity(),
            actor: event.actor,
            boot: slot.boot,
            cfg: event.setting,
            cls: event.kind.class(),
            code: event.code,
            corr: event.correlation,
            decision: event.decision,
            id: slot.id,
            keep: event.keeping,
            kernel: event.kernel,
            key: event.key,
            log: event.log,
            model: event.model,
            mono: event.at.mono_ns,
            out: event.outcome,
            platform: event.platform,
            req: event.request,
            sealed: event.sealed,
            seq: slot.seq,
            sev: event.kind.severity(event.outcome),
            t: event.at.wall_ns,
            kind: event.kind,
            v: SCHEMA_VERSION,
        }
    }

    /// The canonical bytes.
    ///
    /// # Errors
    /// [`EntryError`] when a list or the whole is over its limit.
    pub fn to_bytes(&self) -> Result<Vec<u8>, EntryError> {
        let mut bytes = Vec::with_capacity(USUAL_ENTRY_BYTES);
        self.write_to(&mut bytes)?;
        Ok(bytes)
    }

    /// Appends the canonical bytes. After an error `out` may hold a part of them.
    pub(crate) fn write_to(&self, out: &mut Vec<u8>) -> Result<(), EntryError> {
        let claims = self.decision.as_ref().and_then(|decision| decision.claims.as_ref());
        let signers = self.cfg.as_ref().map_or(0, |setting| setting.approved_by.len());
        let permissions = self.kernel.as_ref().map_or(0, |kernel| kernel.perms.len());
        let profiles = self.keep.as_ref().map_or(0, |keeping| keeping.profiles.len());
        let excess = claims
            .and_then(Claims::excess)
            .or((signers > MAX_SIGNERS).then_some("signers"))
            .or((permissions > MAX_PERMISSIONS).then_some("permissions"))
            .or((profiles > MAX_PROFILES).then_some("profiles"));
        if let Some(what) = excess {
            return Err(EntryError::TooMany { what });
        }
        let checks = self.decision.as_ref().map_or(0, |decision| decision.checks.len());
        if checks > MAX_CHECKS {
            return Err(EntryError::TooManyChecks { observed: checks });
        }
        let before = out.len();
        canonical::write(self, out).map_err(|_| EntryError::Malformed)?;
        let observed_bytes = out.len() - before;
        if observed_bytes > MAX_ENTRY_BYTES {
            return Err(EntryError::TooLong { observed_bytes });
        }
        Ok(())
    }

    /// Reads an entry and holds it to its one canonical form.
    ///
    /// # Errors
    /// [`EntryError`]; no error quotes the input.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EntryError> {
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(EntryError::TooLong { observed_bytes: bytes.len() });
        }
        let entry: Self = serde_json::from_slice(bytes).map_err(|_| EntryError::Malformed)?;
        if entry.v != SCHEMA_VERSION {
            return Err(EntryError::Version { observed: entry.v });
        }
        let kind = entry.kind;
        if (entry.act, entry.cls, entry.sev) != (kind.activity(), kind.class(), kind.severity(entry.out)) {
            return Err(EntryError::Classification);
        }
        if entry.to_bytes()? != bytes {
            return Err(EntryError::NotCanonical);
        }
        Ok(entry)
    }
}
