//! Schema version 1 of an entry: one JSON object, keys sorted, no white space, integers only.
//!
//! The bytes stored are the bytes hashed and the bytes exported. Reading them back holds them to the same
//! form, so an entry has exactly one spelling.

use crate::canonical;
use crate::claims::Claims;
use crate::event::{EventType, Outcome};
use crate::id::{
    Claim, Code, CorrelationId, GrantId, KeyId, ModelId, Origin, PolicyId, RequestId, TenantId, Ulid,
};
use crate::{BootId, Hash, Measurement, Receipt};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest entry, in bytes.
pub const MAX_ENTRY_BYTES: usize = 16 * 1024;
/// More than most entries have, so that one is written without growing its buffer.
const USUAL_ENTRY_BYTES: usize = 1024;
/// The most rules that one decision may list.
pub const MAX_CHECKS: usize = 64;
/// The most keys that one changed document may name as its signers.
pub const MAX_SIGNERS: usize = 16;
/// The most permissions that one denial may list: as many as a class of the kernel has.
pub const MAX_PERMISSIONS: usize = 32;
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

/// Who acted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// How it showed who it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthMethod>,
    /// What it is.
    pub kind: ActorKind,
    /// For which tenant it acted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
}

impl Actor {
    /// An actor without a tenant.
    #[must_use]
    pub const fn new(kind: ActorKind) -> Self {
        Self { auth: None, kind, tenant: None }
    }
}

/// What kind of actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActorKind {
    /// A caller of the API.
    Client,
    /// A person who runs the system.
    Operator,
    /// A key broker.
    Broker,
    /// A process that holds one model.
    Worker,
    /// The guest itself.
    System,
}

/// How an actor showed who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// A bearer key.
    ApiKey,
    /// A token of an identity provider.
    Token,
    /// A certificate of the connection.
    Certificate,
    /// Evidence.
    Attestation,
    /// It did not.
    None,
}

/// One request in numbers; nothing of its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Why generation ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish: Option<Finish>,
    /// From the first byte of the request to the last of the answer, in milliseconds.
    pub ms: u64,
    /// Commitments that only the caller can open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
    /// Our own id of the request.
    pub rid: RequestId,
    /// Which route.
    pub route: Route,
    /// The HTTP status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Whether the answer was streamed.
    pub stream: bool,
    /// Prompt tokens.
    pub tin: u64,
    /// Generated tokens.
    pub tout: u64,
    /// Until the first token, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttft_ms: Option<u64>,
}

/// The routes that the log tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Route {
    /// `/v1/chat/completions`.
    #[serde(rename = "chat.completions")]
    ChatCompletions,
    /// `/v1/completions`.
    #[serde(rename = "completions")]
    Completions,
    /// `/v1/embeddings`.
    #[serde(rename = "embeddings")]
    Embeddings,
    /// `/v1/rerank`.
    #[serde(rename = "rerank")]
    Rerank,
    /// `/tokenize` and `/detokenize`.
    #[serde(rename = "tokenize")]
    Tokenize,
    /// `/v1/responses` and below.
    #[serde(rename = "responses")]
    Responses,
    /// `/v1/models` and below.
    #[serde(rename = "models")]
    Models,
    /// The key broker's `/v1/challenge`.
    #[serde(rename = "challenge")]
    Challenge,
    /// The key broker's `/v1/release`.
    #[serde(rename = "release")]
    Release,
    /// The key broker's `/kbs/v0`: the protocol of Confidential Containers.
    #[serde(rename = "kbs")]
    Kbs,
    /// A witness's `/add-checkpoint`.
    #[serde(rename = "add-checkpoint")]
    AddCheckpoint,
    /// `/v1/audit` and below.
    #[serde(rename = "audit")]
    Audit,
    /// Any other route.
    #[serde(rename = "other")]
    Other,
}

/// Why generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model or a stop string ended it.
    Stop,
    /// The limit on tokens ended it.
    Length,
    /// The model called a tool.
    ToolCalls,
}

/// Which model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Its name.
    pub id: ModelId,
    /// SHA-256 of its sealed manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Hash>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ver: Option<u64>,
}

/// What evidence said of the platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Platform {
    /// HMAC of the chip id, so that chips can be told apart and not named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chip: Option<Hash>,
    /// SHA-256 of the evidence JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Hash>,
    /// The launch measurement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meas: Option<Measurement>,
    /// The guest policy bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_bits: Option<u64>,
    /// Firmware versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcb: Option<Tcb>,
    /// Which TEE.
    pub tee: Tee,
}

impl Platform {
    /// A platform of which nothing is known.
    #[must_use]
    pub const fn new(tee: Tee) -> Self {
        Self { chip: None, evidence: None, meas: None, policy_bits: None, tcb: None, tee }
    }

    /// A platform of which only the evidence's digest is known.
    #[must_use]
    pub const fn of_evidence(tee: Tee, evidence: Hash) -> Self {
        Self { evidence: Some(evidence), ..Self::new(tee) }
    }
}

/// Which TEE made the evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tee {
    /// AMD SEV-SNP under AMD's root.
    #[serde(rename = "snp")]
    Snp,
    /// The software attester's simulated root: protects nothing.
    #[serde(rename = "snp-simulated")]
    SnpSimulated,
    /// Intel TDX under Intel's root.
    #[serde(rename = "tdx")]
    Tdx,
    /// TDX under the software attester's simulated root: protects nothing.
    #[serde(rename = "tdx-simulated")]
    TdxSimulated,
}

/// SNP firmware versions (security patch levels).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tcb {
    /// Boot loader.
    pub bl: u8,
    /// FMC, on products that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fmc: Option<u8>,
    /// SNP firmware.
    pub snp: u8,
    /// PSP operating system.
    pub tee: u8,
    /// Microcode.
    pub ucode: u8,
}

/// A key release decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// The rules that were looked at, at most [`MAX_CHECKS`].
    pub checks: Vec<CheckResult>,
    /// What was asked, and the claims of the evidence, where it was authentic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claims: Option<Claims>,
    /// The grant that allowed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// How long the key may be used, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_s: Option<u64>,
    /// SHA-256 of the policy's bytes.
    pub policy_digest: Hash,
    /// The policy's name.
    pub policy_id: PolicyId,
    /// The policy's version.
    pub policy_ver: u64,
}

/// One rule of a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckResult {
    /// What was there.
    pub got: Claim,
    /// The rule.
    pub id: Code,
    /// Whether it held.
    pub ok: bool,
    /// What the rule asked for.
    pub want: Claim,
}

/// A thing that was set, by digests of what it was and is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// The ids of the keys that approved it (SHA-256 of the raw public key), in ascending order; at most [`MAX_SIGNERS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approved_by: Vec<Hash>,
    /// What was set.
    pub name: Code,
    /// What it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Hash>,
    /// What it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Hash>,
}

/// Which key, and what was done with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The key-encryption key that it is under now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kek: Option<KeyId>,
    /// Its public name.
    pub kid: KeyId,
    /// What was done.
    pub op: KeyOperation,
}

/// What was done with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyOperation {
    /// It was wrapped.
    Wrap,
    /// It was unwrapped.
    Unwrap,
    /// It was given to a guest.
    Release,
    /// It was wrapped under another key-encryption key.
    Rotate,
    /// It must not be released any more.
    Revoke,
    /// It was erased.
    Destroy,
}

/// What the kernel's audit records said, in words of the guest's policy: types, classes, permissions, numbers. No path, name or argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// The class of what was to be reached, such as `tcp_socket`; for AppArmor, the operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<Code>,
    /// How often, since this was last told.
    pub count: u64,
    /// Whether it was refused, or, for a change of mode, whether the policy is enforced now.
    pub enforced: bool,
    /// Who refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<Layer>,
    /// The permissions that were wanted, at most [`MAX_PERMISSIONS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub perms: Vec<Code>,
    /// The signal that ended the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<u32>,
    /// The domain of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Code>,
    /// The number of the system call on this architecture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syscall: Option<u32>,
    /// The type of what was to be reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Code>,
}

impl Kernel {
    /// So many of something of which nothing more is known.
    #[must_use]
    pub const fn counted(count: u64) -> Self {
        Self {
            class: None,
            count,
            enforced: true,
            layer: None,
            perms: Vec::new(),
            signal: None,
            source: None,
            syscall: None,
            target: None,
        }
    }
}

/// A layer of the kernel that refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// SELinux.
    Selinux,
    /// AppArmor.
    Apparmor,
    /// The filter of system calls.
    Seccomp,
}

/// The state of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogState {
    /// There is an entry at least every so many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beat_s: Option<u32>,
    /// The most entries that can be lost, because no checkpoint covers them yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_max: Option<u64>,
    /// The log's name.
    pub origin: Origin,
    /// The root hash over the first `size` entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Hash>,
    /// A tree size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

impl LogState {
    /// Of a log of this name, and nothing more.
    #[must_use]
    pub const fn of(origin: Origin) -> Self {
        Self { beat_s: None, lost_max: None, origin, root: None, size: None }
    }
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
            kernel: event.kernel,
            key: event.key,
            log: event.log,
            model: event.model,
            mono: event.at.mono_ns,
            out: event.outcome,
            platform: event.platform,
            req: event.request,
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
        let excess = claims
            .and_then(Claims::excess)
            .or((signers > MAX_SIGNERS).then_some("signers"))
            .or((permissions > MAX_PERMISSIONS).then_some("permissions"));
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
