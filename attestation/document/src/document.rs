//! The attestation document: what a server shows about itself at [`PATH`], and how it is put together.
//!
//! The keeper makes it: [`DocumentState::to_json`], then [`binding`], then evidence over the binding's report data,
//! then [`Document::new`]. A relying party reads it with [`verify_document`](crate::verify_document) only.

use anchorhold_rats::{
    Checks, Ed25519PublicKey, Endorsements, Evidence, EvidenceError, Kem, KeyBinding, Nonce, Purpose,
    Sha256Digest, Stage, WrappingKey,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where the document is served; needs no API key. The query is `nonce=` and 64 lower-case hex digits.
pub const PATH: &str = "/.well-known/anchorhold-attestation";
/// The value of `format`.
pub const FORMAT: &str = "urn:anchorhold:attestation:v1";
/// The longest document that is read, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 512 * 1024;
/// The longest state string, in bytes.
pub const MAX_STATE_BYTES: usize = 32 * 1024;
/// The most models in one document.
pub const MAX_MODELS: usize = 64;
/// The most layers of confinement in one document.
pub const MAX_LAYERS: usize = 16;
/// The longest model id, log origin or name of a layer, in bytes.
pub const MAX_NAME_BYTES: usize = 256;

/// The path and query that ask for a document with this nonce.
#[must_use]
pub fn path_for(nonce: &Nonce) -> String {
    format!("{PATH}?nonce={nonce}")
}

/// The nonce of a request's query: exactly `nonce=` and 64 lower-case hex digits, nothing beside it.
#[must_use]
pub fn nonce_of_query(query: Option<&str>) -> Option<Nonce> {
    query?.strip_prefix("nonce=")?.parse().ok()
}

/// The public halves of the guest's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentKeys {
    /// SHA-256 of the SubjectPublicKeyInfo of the TLS key.
    pub tls_key: Sha256Digest,
    /// [`WrappingKey::digest`](anchorhold_rats::WrappingKey::digest) of the key to which weights keys are wrapped.
    pub release_key: Sha256Digest,
    /// The key that signs this boot's audit checkpoints.
    pub audit_key: Ed25519PublicKey,
}

/// One model that the server answers for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServedModel {
    /// The id in the API.
    pub id: String,
    /// The manifest's version.
    pub version: u64,
    /// SHA-256 of the signed manifest.
    pub manifest_digest: Sha256Digest,
}

/// Keys of the guest that callers use after the handshake. They stand in the state, for which the evidence vouches like for
/// [`DocumentKeys`]; those go to the key broker too, and these do not concern it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelKeys {
    /// The key that signs authenticators of connections (RFC 9261).
    pub authenticator_key: Ed25519PublicKey,
    /// The keys to which bodies may be encrypted, at most one of each KEM; none where the server takes no encrypted bodies.
    pub body_keys: Vec<WrappingKey>,
}

/// The end of the audit log when the document was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditHead {
    /// The log's origin.
    pub origin: String,
    /// Its number of entries.
    pub tree_size: u64,
    /// The root over them (RFC 6962, section 2.1).
    pub root_hash: Sha256Digest,
}

/// What holds the guest's programs, as the guest found it when it started. The evidence vouches that the guest says so; that the guest is
/// one that says the truth is for the measurement to show.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeClaims {
    /// SHA-256 of the SELinux policy that the kernel enforces, as the kernel gives it back; `null` where it enforces none.
    pub selinux_policy: Option<Sha256Digest>,
    /// The layers of confinement that hold the keeper and everything that it starts.
    pub layers: Vec<String>,
}

/// What the server does at the moment. Its JSON text travels as one string, because the evidence vouches for exactly
/// these bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentState {
    /// The models that are loaded.
    pub models: Vec<ServedModel>,
    /// SHA-256 of the release policy under which their keys were granted; `null` before the first grant.
    pub policy_digest: Option<Sha256Digest>,
    /// The audit log.
    pub audit: AuditHead,
    /// Keys for connections and bodies.
    pub channel: ChannelKeys,
    /// What holds the guest's programs, where the guest says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RuntimeClaims>,
}

impl DocumentState {
    /// The text for [`binding`] and [`Document::new`].
    ///
    /// # Errors
    /// [`Error::Limit`] when it would be refused by a reader.
    pub fn to_json(&self) -> Result<String, Error> {
        self.check_limits()?;
        let json = serde_json::to_string(self).map_err(|e| malformed(&e))?;
        limit(json.len(), MAX_STATE_BYTES, "state bytes").map(|()| json)
    }

    fn from_json(json: &str) -> Result<Self, Error> {
        limit(json.len(), MAX_STATE_BYTES, "state bytes")?;
        let state: Self = serde_json::from_str(json).map_err(|e| malformed(&e))?;
        state.check_limits().map(|()| state)
    }

    fn check_limits(&self) -> Result<(), Error> {
        limit(self.models.len(), MAX_MODELS, "models")?;
        limit(self.channel.body_keys.len(), Kem::ALL.len(), "body keys")?;
        let layers = self.runtime.as_ref().map_or(&[][..], |runtime| &runtime.layers);
        limit(layers.len(), MAX_LAYERS, "layers")?;
        let ids = self.models.iter().map(|model| &model.id);
        for name in ids.chain([&self.audit.origin]).chain(layers) {
            limit(name.len(), MAX_NAME_BYTES, "name bytes")?;
            // Names are printed on terminals by those who verify.
            if name.chars().any(char::is_control) {
                return Err(Error::Name);
            }
        }
        Ok(())
    }
}

/// Why a document was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not the JSON of a document; line and column of where reading stopped.
    #[error("not the expected JSON (line {line}, column {column})")]
    Malformed {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// The format is another one.
    #[error("format is not {FORMAT}")]
    Format,
    /// A length is over its limit.
    #[error("{observed} {what}, the limit is {limit}")]
    Limit {
        /// Which length.
        what: &'static str,
        /// What came.
        observed: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// A model id or the log's origin holds a control character.
    #[error("control character in a name")]
    Name,
    /// The evidence is over a limit of its own.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
}

fn malformed(error: &serde_json::Error) -> Error {
    Error::Malformed { line: error.line(), column: error.column() }
}

fn limit(observed: usize, limit: usize, what: &'static str) -> Result<(), Error> {
    if observed > limit { Err(Error::Limit { what, observed, limit }) } else { Ok(()) }
}

/// What the evidence of a served document vouches for.
#[must_use]
pub fn binding(
    nonce: Nonce,
    keys: &DocumentKeys,
    state_json: &str,
    gpu_evidence: Sha256Digest,
) -> KeyBinding {
    KeyBinding {
        purpose: Purpose::Serving,
        nonce,
        tls_key: keys.tls_key,
        release_key: keys.release_key,
        audit_key: keys.audit_key,
        context: Sha256Digest::of(state_json.as_bytes()),
        gpu_evidence,
    }
}

/// The document. Untrusted until [`verify_document`](crate::verify_document) has judged its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    format: String,
    nonce: Nonce,
    evidence: Evidence,
    keys: DocumentKeys,
    state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    endorsements: Option<Endorsements>,
}

impl Document {
    /// The document for `nonce`; `state_json` is the text that went into the [`binding`].
    ///
    /// # Errors
    /// [`Error`] when a reader would refuse it.
    pub fn new(
        nonce: Nonce,
        keys: DocumentKeys,
        state_json: String,
        evidence: Evidence,
    ) -> Result<Self, Error> {
        DocumentState::from_json(&state_json)?;
        evidence.check_limits()?;
        Ok(Self { format: FORMAT.into(), nonce, evidence, keys, state: state_json, endorsements: None })
    }

    /// The same with what vendors say about the parts in the evidence, so that a reader without a network can judge it. The evidence does
    /// not vouch for them and need not: their vendors have signed them.
    ///
    /// # Errors
    /// [`Error::Evidence`] when one is over its limit.
    pub fn with_endorsements(self, endorsements: Endorsements) -> Result<Self, Error> {
        endorsements.check_limits()?;
        let endorsements = (endorsements != Endorsements::default()).then_some(endorsements);
        Ok(Self { endorsements, ..self })
    }

    /// The bytes to serve, as `application/json`.
    ///
    /// # Errors
    /// [`Error::Limit`] when they are more than [`MAX_DOCUMENT_BYTES`].
    pub fn to_json(&self) -> Result<Vec<u8>, Error> {
        let json = serde_json::to_vec(self).map_err(|e| malformed(&e))?;
        limit(json.len(), MAX_DOCUMENT_BYTES, "document bytes").map(|()| json)
    }

    /// Reads a document strictly: no unknown or repeated key, every length within its limit. This judges the shape and
    /// nothing else.
    ///
    /// # Errors
    /// [`Error`]; none quotes the input.
    pub fn from_json(json: &[u8]) -> Result<Self, Error> {
        limit(json.len(), MAX_DOCUMENT_BYTES, "document bytes")?;
        let document: Self = serde_json::from_slice(json).map_err(|e| malformed(&e))?;
        if document.format != FORMAT {
            return Err(Error::Format);
        }
        document.evidence.check_limits()?;
        document.endorsements.as_ref().map_or(Ok(()), Endorsements::check_limits)?;
        Ok(document)
    }

    /// The nonce that it claims to answer.
    #[must_use]
    pub const fn nonce(&self) -> Nonce {
        self.nonce
    }

    /// The evidence.
    #[must_use]
    pub const fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// What it brings of what vendors say. Who can ask the vendors should: a server may bring what they said before a revocation,
    /// as long as that has not ended.
    #[must_use]
    pub const fn endorsements(&self) -> Option<&Endorsements> {
        self.endorsements.as_ref()
    }

    /// The keys that it claims.
    #[must_use]
    pub const fn keys(&self) -> &DocumentKeys {
        &self.keys
    }

    /// The exact text of the state.
    #[must_use]
    pub fn state_json(&self) -> &str {
        &self.state
    }

    /// The state, read.
    ///
    /// # Errors
    /// [`Error`] when the text is not the JSON of [`DocumentState`].
    pub fn state(&self) -> Result<DocumentState, Error> {
        DocumentState::from_json(&self.state)
    }
}

/// A document as it came, with what the relying party knows of how it came.
#[derive(Debug, Clone, Copy)]
pub struct Presented<'a> {
    /// The bytes of the document.
    pub document: &'a [u8],
    /// The nonce that was asked with.
    pub nonce: Nonce,
    /// The key that the peer has shown it holds on the connection.
    pub tls_key: Sha256Digest,
}

/// A document was refused, with every rule that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    checks: Checks,
}

impl Refusal {
    /// Only for checks of which at least one failed.
    pub(crate) const fn new(checks: Checks) -> Self {
        Self { checks }
    }

    /// Every rule in order.
    #[must_use]
    pub const fn checks(&self) -> &Checks {
        &self.checks
    }

    /// The code of the first rule that failed.
    #[must_use]
    pub fn code(&self) -> &str {
        self.checks.failed().next().map_or("unknown", |check| &check.code)
    }

    /// The stage of the first rule that failed.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.checks.failed().next().map_or(Stage::Parse, |check| check.stage)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.checks.failed().next() {
            Some(check) => write!(f, "{}: wanted {}, observed {}", check.code, check.wanted, check.observed),
            None => f.write_str("no rule failed"),
        }
    }
}

impl std::error::Error for Refusal {}
