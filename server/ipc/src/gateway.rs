//! What keeper and gateway say to each other. What is not here cannot be said.

use crate::reason::Reason;
use crate::standing::LogStanding;
use crate::worker::{Confinement, ModelInfo};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// From the keeper to the gateway.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum ToGateway {
    /// Every model that is to be served is loaded: open the port. Comes once, after the first workers.
    Listen {
        /// The DER of the certificate with the key that signs authenticators of connections.
        authenticator_certificate: Vec<u8>,
        /// What anybody may know of the guest.
        guest: Box<GuestCard>,
        /// The attestation document for a certificate of the gateway's own, JSON.
        document: Vec<u8>,
    },
    /// A model answers on the descriptor that comes with this message.
    WorkerReady(ModelInfo),
    /// The worker of this model is gone; a new one may follow.
    WorkerGone {
        /// The model's id.
        model: String,
    },
    /// The model is to go: send nothing new to its worker, and close its line when what is under way has ended.
    WorkerRetires {
        /// The model's id.
        model: String,
    },
    /// Answer to [`FromGateway::Attest`].
    Attested(Box<ServingEvidence>),
    /// Answer to [`FromGateway::Authenticate`].
    Authenticated {
        /// The caller's number for this signature.
        ticket: u64,
        /// The Ed25519 signature; `None` when what was to be signed is no hash.
        signature: Option<Vec<u8>>,
    },
    /// Answer to [`FromGateway::ReadLog`].
    LogFile {
        /// The gateway's number for this file.
        ticket: u64,
        /// What the file holds.
        file: LogFile,
    },
    /// Answer to [`FromGateway::Record`]: the entry is durable (or could not be made so).
    Appended(Appended),
    /// How the audit log stands. Said when that changes, and while it has witnesses once a second.
    LogStands(LogStanding),
    /// Finish what runs and exit.
    Drain,
    /// The settings were read again: put them in force, or go on with the old ones and log why.
    Reload {
        /// The text of the gateway's settings.
        settings: String,
        /// The files that they name, by their paths as written there, and their texts.
        files: Vec<(String, String)>,
    },
}

/// Which file of the audit log, as c2sp.org/tlog-tiles divides it: numbers, since the keeper reads nothing that a caller wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogPart {
    /// The latest checkpoint.
    Checkpoint,
    /// A tile of hashes.
    Hashes {
        /// Its level, 0 to 63.
        level: u8,
        /// Its place in the level.
        index: u64,
        /// How many hashes, 1 to 256.
        width: u16,
    },
    /// A bundle of entries.
    Entries {
        /// Its place.
        index: u64,
        /// How many entries, 1 to 256.
        width: u16,
    },
}

/// A file of the audit log, as far as it can be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogFile {
    /// Its content.
    Found(Vec<u8>),
    /// The log has no such file, or not yet.
    Missing,
    /// Too many are being read, or the log cannot be read.
    Unavailable,
}

/// What anybody may know of a guest: the same as its attestation documents show, which are signed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestCard {
    /// What attests it, in words.
    pub platform: String,
    /// Whether no hardware stands behind what it says: a simulated root signs it.
    pub is_simulated: bool,
    /// The launch measurement, in hex.
    pub measurement: String,
    /// The name of this boot's audit log.
    pub log_origin: String,
    /// Its entries when the port was opened.
    pub log_size: u64,
    /// What held each of its processes then.
    pub held: Vec<HeldProcess>,
}

impl GuestCard {
    /// One layer more holds this process.
    pub fn holds(&mut self, process: &str, layer: &str) {
        let held = self.held.iter_mut().find(|held| held.process == process);
        held.into_iter().for_each(|held| held.active.push(layer.to_owned()));
    }
}

/// A process of the guest and the layers that hold it, by their names alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldProcess {
    /// Such as `gateway`; for a worker with the model's id.
    pub process: String,
    /// Layers in force.
    pub active: Vec<String>,
    /// Layers that are not.
    pub missing: Vec<String>,
}

impl HeldProcess {
    /// A process with its layers; the system's reasons for those that are missing are left out.
    #[must_use]
    pub fn new(process: &str, layers: &Confinement) -> Self {
        let name = |missing: &String| missing.split(':').next().unwrap_or_default().to_owned();
        Self {
            process: process.to_owned(),
            active: layers.active.clone(),
            missing: layers.missing.iter().map(name).collect(),
        }
    }
}

/// The attestation document for one nonce.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServingEvidence {
    /// The caller's number for this request.
    pub ticket: u64,
    /// The document's exact JSON, or `None` when evidence could not be made.
    pub document: Option<Vec<u8>>,
}

/// What became of an audit entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Appended {
    /// The caller's number for this entry.
    pub ticket: u64,
    /// Its index in the log; `None` when the log does not take entries, and nothing may be served.
    pub index: Option<u64>,
    /// What the caller is given to keep, in ASCII: the keeper's signature over what the entry says. Only for requests with
    /// commitments.
    pub receipt: Option<String>,
}

/// From the gateway to the keeper.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromGateway {
    /// The gateway's TLS key: SHA-256 of its SubjectPublicKeyInfo. Comes first, once.
    Hello {
        /// The digest of the key.
        tls_key: [u8; 32],
        /// The keys to which bodies may be encrypted, each as its KEM's name, a colon and the key in hex.
        body_keys: Vec<String>,
        /// What holds the gateway.
        confinement: Confinement,
    },
    /// The port is open; answer to [`ToGateway::Listen`].
    Listening {
        /// The address, as text.
        address: String,
        /// How long what runs may go on once the gateway drains, in seconds.
        drain_s: u32,
    },
    /// Make the attestation document for this nonce.
    Attest {
        /// Echoed in the answer.
        ticket: u64,
        /// The client's nonce.
        nonce: [u8; 32],
    },
    /// Sign the hash of an authenticator's transcript.
    Authenticate {
        /// Echoed in the answer.
        ticket: u64,
        /// SHA-256 or SHA-384.
        transcript_hash: Vec<u8>,
    },
    /// Read a file of the audit log, which an auditor asked for.
    ReadLog {
        /// Echoed in the answer.
        ticket: u64,
        /// Which file.
        part: LogPart,
    },
    /// Append this to the audit log.
    Record {
        /// Echoed in the answer.
        ticket: u64,
        /// What happened.
        event: AuditEvent,
    },
    /// All requests are finished; the gateway exits next.
    Drained,
}

/// What the gateway may have logged. It has no field that holds text of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuditEvent {
    /// One request ended.
    Request(Box<RequestRecord>),
    /// A caller was not let in.
    AuthFailure(Box<RefusedCaller>),
}

/// A caller who was not let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedCaller {
    /// The gateway's own id of the request, as in a [`RequestRecord`].
    pub rid: String,
    /// The route that was asked for.
    pub route: Route,
    /// Why; callers are not told.
    pub reason: Reason,
    /// The HTTP status.
    pub status: u16,
    /// From the first byte of the request to the refusal, in milliseconds.
    pub millis: u64,
    /// The address from which the connection came, which the keeper seals or drops as that of a [`CallerPart`].
    pub address: Option<IpAddr>,
}

/// One request, in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// The gateway's own id of the request: 26 characters of Crockford base32 (a ULID).
    pub rid: String,
    /// The tenant's configured name: 1 to 64 characters of `a-z0-9-`.
    pub tenant: String,
    /// How the caller showed whose it is.
    pub auth: CallerAuth,
    /// Which route.
    pub route: Route,
    /// The model that answered; empty when none was found.
    pub model: String,
    /// How it ended.
    pub outcome: RequestOutcome,
    /// Why it was not answered in full; `None` when it was.
    pub reason: Option<Reason>,
    /// The HTTP status.
    pub status: u16,
    /// Whether the answer was streamed.
    pub stream: bool,
    /// Prompt tokens.
    pub tokens_in: u64,
    /// Generated tokens.
    pub tokens_out: u64,
    /// From the first byte of the request to the last of the answer, in milliseconds.
    pub millis: u64,
    /// HMAC-SHA-256 of the request and of the response under a key that only the caller is told.
    pub commitments: Option<([u8; 32], [u8; 32])>,
    /// Who called. The keeper seals it into the entry, or drops it where its settings name nobody who may read that.
    pub caller: CallerPart,
}

/// Who called, as far as the gateway knows it. No text of a request is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallerPart {
    /// The address from which the connection came.
    pub address: Option<IpAddr>,
    /// The key that was shown: the first six bytes of its digest.
    pub key: Option<[u8; 6]>,
    /// What a person calls that key: 1 to 64 printable ASCII characters.
    pub label: Option<String>,
}

/// How a caller showed whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallerAuth {
    /// With a key.
    Key,
    /// With a token of an identity provider.
    Token,
    /// With a certificate of its connection.
    Certificate,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RequestOutcome {
    /// Answered in full.
    Complete,
    /// Refused before any work.
    Rejected,
    /// The caller left.
    Cancelled,
    /// Broke on our side.
    Error,
}

/// The routes that the audit log tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Route {
    /// `/v1/chat/completions`.
    ChatCompletions,
    /// `/v1/completions`.
    Completions,
    /// `/v1/embeddings`.
    Embeddings,
    /// `/v1/models` and below.
    Models,
    /// Anything else that needs a key.
    Other,
    /// `/v1/rerank`.
    Rerank,
    /// `/tokenize` and `/detokenize`.
    Tokenize,
    /// `/v1/responses` and below.
    Responses,
    /// `/v1/audit` and below.
    Audit,
}
