//! The closed lists of messages. What is not here cannot be said.

use crate::standing::LogStanding;
use anchorhold_engine::{
    FinishReason, Load, ModelKind, Precision, Prompt, RequestId, Sampling, Shorter, StopRules, Structure,
    Tenancy, TokenField, TokenId,
};
use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A 32-byte secret on its way between two processes of the guest; wiped on drop, never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct WireSecret(pub Box<[u8; 32]>);

impl fmt::Debug for WireSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WireSecret")
    }
}

/// From the keeper to a worker.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker {
    /// Load this model; the descriptors of the package follow in the order of `objects`: first the card,
    /// then for each object its segments and its tree.
    Load(Box<LoadModel>),
    /// The lease ended: wipe keys and weights and exit.
    Wipe,
}

/// What a worker needs in order to load one sealed model.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadModel {
    /// The exact bytes of the signed manifest.
    pub manifest: Vec<u8>,
    /// What the key broker's grant says the manifest's SHA-256 must be.
    pub manifest_digest: [u8; 32],
    /// The lowest version that the release policy allows.
    pub version_min: u64,
    /// The keeper's clock, in seconds of the Unix epoch; a manifest that has expired by then is refused.
    pub at_s: u64,
    /// The Ed25519 key of the model's owner.
    pub owner_key: [u8; 32],
    /// The key that opens the package.
    pub weights_key: WireSecret,
    /// The objects of the package, in the order of their descriptors.
    pub objects: Vec<ObjectDescriptors>,
    /// The most threads to use.
    pub threads: u16,
    /// The CPUs that these threads are bound to, one each; none are bound if it is empty.
    pub cpus: Vec<u16>,
    /// Whether what was computed for a prompt is kept for later ones of the same tenant.
    pub keep_prefixes: bool,
    /// How exactly the model computes.
    pub precision: Precision,
}

/// The two descriptors of one object: its segments and its tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectDescriptors {
    /// The object's opaque id from the manifest.
    pub id: String,
}

/// From a worker to the keeper.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum FromWorker {
    /// What holds the worker; sent before anything is loaded.
    Confined(Confinement),
    /// The model is in memory and answers.
    Loaded {
        /// What was loaded.
        report: LoadReport,
        /// What holds the worker from now on.
        serving: Confinement,
    },
    /// The package was refused; the worker exits.
    LoadFailed {
        /// Stable code of the stage that refused, such as `segment`.
        code: String,
        /// What was wanted and observed, without content.
        detail: String,
    },
}

/// Which layers hold a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Layers in force, such as `seccomp`, `landlock`, `network namespace`.
    pub active: Vec<String>,
    /// Layers that this kernel refused, with the reason.
    pub missing: Vec<String>,
}

/// A loaded model and what loading it cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadReport {
    /// What was loaded.
    pub model: ModelInfo,
    /// Bytes of plaintext that came out of the package.
    pub bytes: u64,
    /// Bytes of memory that the weights lie in, on the processor's side.
    pub memory_bytes: u64,
    /// Those of them that are locked against swap.
    pub locked_bytes: u64,
    /// Time from the order to a model that answers, tokenizer included, in microseconds.
    pub micros: u64,
}

/// What the gateway tells callers about a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// The id under which it was sealed.
    pub id: String,
    /// The version under which it was sealed.
    pub version: u64,
    /// What it can do.
    pub kind: ModelKind,
    /// The most tokens of prompt and output together.
    pub max_tokens: u32,
    /// The length of an embedding, or 0.
    pub dimensions: u32,
    /// To which lengths an embedding may be cut.
    pub shorter: Shorter,
    /// SHA-256 of the signed manifest.
    pub manifest_digest: [u8; 32],
}

/// A secret text on its way between two processes of the guest; wiped on drop, never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct WireText(pub String);

impl fmt::Debug for WireText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WireText")
    }
}

/// From the keeper to a fetcher.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToFetcher {
    /// Fetch this package. Comes once.
    Fetch(Box<FetchPackage>),
}

/// What a fetcher needs in order to fetch one sealed package. No key of the guest is among it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchPackage {
    /// The package's address in its store.
    pub url: String,
    /// How the store is spoken to.
    pub store: StoreAccess,
    /// What the key broker's grant says the manifest's SHA-256 must be.
    pub manifest_digest: [u8; 32],
    /// The lowest version that the release policy allows.
    pub version_min: u64,
    /// The Ed25519 key of the model's owner.
    pub owner_key: [u8; 32],
    /// Whether what an earlier fetch left is believed or verified again.
    pub recheck: bool,
    /// The most bytes of all packages in the cache.
    pub cache_max_bytes: u64,
    /// The most bytes of memory that may hold the package when the cache's disk does not work.
    pub memory_max_bytes: u64,
}

/// How a store is spoken to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreAccess {
    /// Certificates, DER, of the authorities that may vouch for the store's name; none means Mozilla's list.
    pub authorities: Vec<Vec<u8>>,
    /// Whether the store may be spoken to without TLS.
    pub plain_http: bool,
    /// Who we are to the store.
    pub identity: StoreIdentity,
    /// The region of an S3 store.
    pub region: String,
    /// The address of an S3 store that is not Amazon's.
    pub endpoint: Option<String>,
    /// Whether the bucket's name stands in front of the S3 store's own.
    pub virtual_host: bool,
    /// Requests at one time.
    pub in_flight: u16,
    /// Bytes of one request.
    pub range_len: u64,
    /// For the whole fetch, in seconds.
    pub total_s: u64,
}

/// Who we are to a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoreIdentity {
    /// Nobody.
    Anonymous,
    /// The role that the cloud gives this machine.
    Machine,
    /// The holder of an access key, in the text that the AWS tools write.
    Key(WireText),
}

/// From a fetcher to the keeper.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromFetcher {
    /// What holds the fetcher; sent before anything is fetched.
    Confined(Confinement),
    /// How far the fetch is, in bytes.
    Progress {
        /// Verified so far.
        done: u64,
        /// Of the whole package.
        total: u64,
    },
    /// The cache's disk does not work; the package is fetched into memory instead.
    CacheFailed {
        /// Stable code, such as `cache_full`.
        code: String,
        /// What was being done, and the system's answer.
        detail: String,
    },
    /// The package is here. The descriptors are the card, for each object its segments and its tree, and the cache's
    /// lock where `locked`; all for reading alone.
    Fetched(FetchReport),
    /// The package was not fetched; the fetcher exits.
    Failed {
        /// Stable code, such as `absent`.
        code: String,
        /// What was wanted and observed.
        detail: String,
    },
}

/// A fetched package and what it cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchReport {
    /// The exact bytes of the signed manifest.
    pub manifest: Vec<u8>,
    /// The objects of the package, in the order of their descriptors.
    pub objects: Vec<ObjectDescriptors>,
    /// Whether the cache's lock is the last descriptor.
    pub locked: bool,
    /// Bytes that came from the store.
    pub fetched: u64,
    /// Bytes that were there already.
    pub reused: u64,
    /// Requests to the store.
    pub requests: u64,
}

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
    Request(RequestRecord),
    /// A caller was not let in.
    AuthFailure {
        /// The route.
        route: Route,
    },
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

/// From the gateway to a worker.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum Work {
    /// Begin this request.
    Submit {
        /// Names it in every [`Event`] about it.
        id: RequestId,
        /// How long it may take, from when it comes until it ends, in milliseconds.
        within_ms: u32,
        /// What to do.
        kind: Box<WorkKind>,
    },
    /// The caller left: stop within one step and free what the request holds. No event follows.
    Cancel {
        /// The request.
        id: RequestId,
    },
}

/// What a request asks of a model.
#[derive(PartialEq, Serialize, Deserialize)]
pub enum WorkKind {
    /// One vector for each input, in order.
    Embed {
        /// For whom, as of a generation.
        tenancy: Tenancy,
        /// The inputs.
        inputs: Vec<Prompt>,
    },
    /// Text after a prompt.
    Generate {
        /// For whom: the gateway says, from the caller's key.
        tenancy: Tenancy,
        /// What comes before.
        prompt: Prompt,
        /// How tokens are drawn.
        sampling: Sampling,
        /// When to end. A `max_tokens` of 0 means what is left of the context.
        stop: StopRules,
        /// How many texts, 1 to [`MAX_CHOICES`](crate::MAX_CHOICES). Each is sampled by [`Sampling::of_choice`].
        choices: u16,
        /// How many of the likeliest tokens are told at each place, up to [`MAX_LOGPROBS`](crate::MAX_LOGPROBS); `None` tells of no
        /// token.
        logprobs: Option<u8>,
        /// The form that each text must have.
        structure: Option<Box<Structure>>,
    },
    /// How well each document answers a query, in order.
    Rerank {
        /// For whom, as of a generation.
        tenancy: Tenancy,
        /// What is looked for.
        query: String,
        /// What is scored.
        documents: Vec<String>,
    },
    /// Which tokens a prompt is. The model computes nothing for it.
    Tokenize {
        /// For whom, as of a generation.
        tenancy: Tenancy,
        /// The prompt.
        prompt: Prompt,
        /// Whether the tokens that the model wants around a text are among them.
        specials: Specials,
        /// Whether the bytes of each token are told too.
        spell: bool,
    },
    /// Which text tokens are. The model computes nothing for it.
    Detokenize {
        /// For whom, as of a generation.
        tenancy: Tenancy,
        /// The tokens.
        tokens: Vec<TokenId>,
    },
}

/// What becomes of the tokens that a model wants around a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Specials {
    /// They are there, as in a prompt.
    Added,
    /// They are not.
    Omitted,
}

impl fmt::Debug for WorkKind {
    /// Without any text of the caller.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embed { tenancy, inputs } => {
                f.debug_struct("Embed").field("tenancy", tenancy).field("inputs", inputs).finish()
            }
            Self::Generate { tenancy, prompt, sampling, stop, choices, logprobs, structure } => f
                .debug_struct("Generate")
                .field("tenancy", tenancy)
                .field("prompt", prompt)
                .field("sampling", sampling)
                .field("stop", stop)
                .field("choices", choices)
                .field("logprobs", logprobs)
                .field("structure", structure)
                .finish(),
            Self::Rerank { tenancy, query, documents } => {
                write!(f, "Rerank({tenancy:?}, {} bytes, {} documents)", query.len(), documents.len())
            }
            Self::Tokenize { tenancy, prompt, specials, spell } => {
                write!(f, "Tokenize({tenancy:?}, {prompt:?}, {specials:?}, {spell})")
            }
            Self::Detokenize { tenancy, tokens } => write!(f, "Detokenize({tenancy:?}, {})", tokens.len()),
        }
    }
}

/// From a worker to the gateway.
#[derive(PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// Answer to an embedding request; ends it.
    Embedded {
        /// The request.
        id: RequestId,
        /// One vector for each input, in order.
        vectors: Vec<Vec<f32>>,
        /// Tokens of all inputs.
        tokens_in: u64,
    },
    /// More text of a choice: whole characters only, nothing that may still become a stop text.
    Delta {
        /// The request.
        id: RequestId,
        /// The choice, from 0.
        choice: u16,
        /// The text; empty only where `told` is not.
        text: String,
        /// Tokens of the text that has left so far, each told once, where that was asked.
        told: Vec<ToldToken>,
    },
    /// A part of a call that a choice makes.
    Call {
        /// The request.
        id: RequestId,
        /// The choice, from 0.
        choice: u16,
        /// The part.
        part: CallPart,
    },
    /// A choice ended. The last of them ends the request.
    Finished {
        /// The request.
        id: RequestId,
        /// The choice, from 0.
        choice: u16,
        /// Why.
        reason: FinishReason,
        /// Tokens of the prompt, which all choices share.
        tokens_in: u64,
        /// How many of those were not computed: for the first choice, because the tenant had asked something that begins alike; for the
        /// others, because the first had computed them too.
        tokens_found: u64,
        /// Tokens that were generated.
        tokens_out: u64,
    },
    /// Answer to a rerank request; ends it.
    Ranked {
        /// The request.
        id: RequestId,
        /// One score for each document, in order.
        scores: Vec<f32>,
        /// Tokens of all pairs of the query and a document.
        tokens_in: u64,
    },
    /// What the model has to do and holds: once in a second at most, and only when it has changed.
    Load(Load),
    /// Answer to a question for tokens; ends it.
    Tokenized {
        /// The request.
        id: RequestId,
        /// The tokens, in order.
        tokens: Vec<TokenId>,
        /// The bytes of each, where that was asked.
        spelled: Option<Vec<Vec<u8>>>,
    },
    /// Answer to a question for a text; ends it.
    Detokenized {
        /// The request.
        id: RequestId,
        /// The text. Tokens that are no text, such as those that end one, have no part in it.
        text: String,
    },
    /// The request was refused or broke; ends it.
    Failed {
        /// The request.
        id: RequestId,
        /// Why.
        error: RequestError,
    },
}

impl fmt::Debug for Event {
    /// Without any text, and without the numbers that were computed from it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded { id, vectors, tokens_in } => {
                write!(f, "Embedded({id:?}, {} vectors, {tokens_in} in)", vectors.len())
            }
            Self::Delta { id, choice, text, told } => {
                write!(f, "Delta({id:?}, {choice}, {} bytes, {} told)", text.len(), told.len())
            }
            Self::Call { id, choice, part } => write!(f, "Call({id:?}, {choice}, {part:?})"),
            Self::Finished { id, choice, reason, tokens_in, tokens_found, tokens_out } => write!(
                f,
                "Finished({id:?}, {choice}, {reason:?}, {tokens_in} in, {tokens_found} found, {tokens_out} out)"
            ),
            Self::Ranked { id, scores, tokens_in } => {
                write!(f, "Ranked({id:?}, {} scores, {tokens_in} in)", scores.len())
            }
            Self::Load(load) => load.fmt(f),
            Self::Tokenized { id, tokens, .. } => write!(f, "Tokenized({id:?}, {})", tokens.len()),
            Self::Detokenized { id, text } => write!(f, "Detokenized({id:?}, {} bytes)", text.len()),
            Self::Failed { id, error } => write!(f, "Failed({id:?}, {error:?})"),
        }
    }
}

/// A part of a call of a tool, as it comes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallPart {
    /// A call of the tool of this name, one of those offered, begins.
    Begin(String),
    /// More of the arguments of the call that began last. All of them together are a JSON object, unless the choice ended within.
    Arguments(String),
}

impl fmt::Debug for CallPart {
    /// Without the text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begin(_) => f.write_str("Begin"),
            Self::Arguments(text) => write!(f, "Arguments({} bytes)", text.len()),
        }
    }
}

/// A token of an answer, and what the model thought of it and of others in its place.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct ToldToken {
    /// The token.
    pub token: SpelledToken,
    /// The likeliest in its place, likeliest first.
    pub top: Vec<SpelledToken>,
}

/// A token's text and the natural logarithm of its probability, by the model's own logits.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct SpelledToken {
    /// Its bytes, which need not be whole characters.
    pub bytes: Vec<u8>,
    /// At most 0.
    pub logprob: f32,
}

impl fmt::Debug for ToldToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ToldToken({:?}, {:?})", self.token, self.top)
    }
}

impl fmt::Debug for SpelledToken {
    /// Without the text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpelledToken({} bytes, {})", self.bytes.len(), self.logprob)
    }
}

/// Why a worker did not answer a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RequestError {
    /// What was asked can never be answered by this model.
    Rejected(RejectReason),
    /// Too much waits already; try again later.
    Overloaded,
    /// Its time was over before its end.
    Late,
    /// The model failed; the request may be tried again.
    Internal,
}

/// Why a request can never be answered by this model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RejectReason {
    /// Prompt, or prompt and requested output, are longer than the model's context.
    ContextLength {
        /// Tokens that were asked for.
        tokens: u64,
        /// Tokens that fit.
        limit: u64,
    },
    /// A token id outside the vocabulary.
    UnknownToken(TokenField),
    /// The prompt has no tokens.
    EmptyPrompt,
    /// The model is of another kind.
    WrongKind,
    /// The model's chat template refused the conversation, or the model has none.
    Template,
    /// More choices, or more tokens to be told of, than one request may have.
    TooMany,
    /// The answer to so many inputs does not fit one message.
    TooManyInputs {
        /// How many of them fit.
        limit: u64,
    },
    /// The answer does not fit one message.
    AnswerTooLong {
        /// How many bytes fit.
        limit: u64,
    },
    /// The form that the answer must have.
    Structure(StructureFault),
    /// The tools that may be called.
    Tools(ToolFault),
}

/// What is wrong with the tools that may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToolFault {
    /// The model's chat template shows it no tools, or it writes calls in a way that is not known here.
    NotOffered,
    /// The form of their arguments.
    Structure(StructureFault),
}

/// What is wrong with the form that an answer must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StructureFault {
    /// Not a schema, a regular expression or a list of texts, or one with parts that are not offered.
    Malformed,
    /// No text has this form.
    Unsatisfiable,
    /// It takes more work than a request may ask for.
    TooComplex,
    /// The model's tokenizer does not tell which text a token is.
    NotOffered,
}
