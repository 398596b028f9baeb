//! The signed public part of a package: which objects it has, their sizes, headers and tree roots.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use crate::dsse;
use crate::error::Error;
use crate::floe;
use crate::hex::Hex;
use crate::key::OwnerKey;
use crate::layout::{Layout, SegmentSize};
use crate::merkle::{self, Hash};
use crate::object::{KeyId, ObjectEntry, ObjectId};
use crate::role::Role;

/// The largest manifest file, in bytes.
pub const MAX_MANIFEST_LEN: usize = 256 << 10;
/// The longest model id, in bytes.
pub const MAX_MODEL_ID_LEN: usize = 128;
/// The most segments of one object, which bounds its tree file to 64 MiB. Follows from the limits of the roles.
pub const MAX_SEGMENTS: u64 = Role::Weights.max_len().div_ceil(SegmentSize::Mib1.payload_len() as u64);

const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE: &str = "https://anchorhold.dev/sealed-weights/v1";
const SUITE: &str = "floe-aes256gcm-hkdfsha384.rfc6962-sha256.ed25519";
const FORMAT: u64 = 1;
/// The last second of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;

/// The statement of a manifest, before it is signed or after it was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    pub(crate) model_id: String,
    pub(crate) version: u64,
    pub(crate) created_s: u64,
    pub(crate) not_after_s: u64,
    pub(crate) previous: Option<Hash>,
    pub(crate) kid: KeyId,
    pub(crate) commitment: Hash,
    pub(crate) card: ObjectEntry,
    pub(crate) objects: Vec<ObjectEntry>,
}

impl Manifest {
    /// Verifies the exact bytes of a `manifest.json`.
    ///
    /// Establishes that the holder of `owner_key` (raw Ed25519) signed them, that every rule of the format holds, and
    /// their digest. Presumes that the caller got `owner_key` from a trusted place; says nothing about whether this is
    /// the version to serve: see [`VerifiedManifest::require`].
    ///
    /// # Errors
    /// [`Error::Manifest`] or [`Error::Signature`], naming the rule.
    pub fn verify(bytes: &[u8], owner_key: &[u8; 32]) -> Result<VerifiedManifest, Error> {
        if bytes.len() > MAX_MANIFEST_LEN {
            return Err(Error::Manifest("larger than 256 KiB"));
        }
        let payload = dsse::verify(bytes, owner_key)?;
        let manifest = Self::parse(&payload)?;
        Ok(VerifiedManifest(Arc::new(Verified { manifest, digest: merkle::sha256(bytes) })))
    }

    /// The signed bytes of the manifest. Everything a reader would refuse is refused here already.
    pub(crate) fn sign(&self, owner: &OwnerKey) -> Result<Vec<u8>, Error> {
        let payload = serde_json::to_vec(&self.statement())
            .map_err(|_| Error::Manifest("statement cannot be written"))?;
        if Self::parse(&payload)? != *self {
            return Err(Error::Manifest("statement does not read back as it was written"));
        }
        let bytes = dsse::sign(&payload, owner)?;
        if bytes.len() > MAX_MANIFEST_LEN {
            return Err(Error::Manifest("larger than 256 KiB"));
        }
        Ok(bytes)
    }

    fn parse(payload: &[u8]) -> Result<Self, Error> {
        let statement: Statement = serde_json::from_slice(payload)
            .map_err(|_| Error::Manifest("payload is not a sealed-weights statement"))?;
        if statement.kind != STATEMENT_TYPE || statement.predicate_type != PREDICATE_TYPE {
            return Err(Error::Manifest("statement or predicate type is not the expected one"));
        }
        let predicate = statement.predicate;
        if predicate.format != FORMAT {
            return Err(Error::Manifest("format version is not 1"));
        }
        if predicate.suite != SUITE {
            return Err(Error::Manifest("suite is not the one of format version 1"));
        }
        check_identity(&predicate.model, predicate.version)?;
        check_times(predicate.created_s, predicate.not_after_s)?;
        if statement.subject.len() != predicate.objects.len() {
            return Err(Error::Manifest("subjects and objects differ in number"));
        }
        let mut entries = Vec::with_capacity(predicate.objects.len());
        for (subject, object) in statement.subject.iter().zip(&predicate.objects) {
            entries.push(object.checked(subject)?);
        }
        check_set(&entries)?;
        let mut entries = entries.into_iter();
        let card = entries.next().ok_or(Error::Manifest("no object"))?;
        Ok(Self {
            model_id: predicate.model,
            version: predicate.version,
            created_s: predicate.created_s,
            not_after_s: predicate.not_after_s,
            previous: predicate.previous.map(|digest| digest.0),
            kid: predicate.kid,
            commitment: predicate.dek_commitment.0,
            card,
            objects: entries.collect(),
        })
    }

    fn statement(&self) -> Statement {
        let all = || std::iter::once(&self.card).chain(&self.objects);
        Statement {
            kind: STATEMENT_TYPE.to_owned(),
            subject: all().map(Subject::of).collect(),
            predicate_type: PREDICATE_TYPE.to_owned(),
            predicate: Predicate {
                format: FORMAT,
                model: self.model_id.clone(),
                version: self.version,
                created_s: self.created_s,
                not_after_s: self.not_after_s,
                previous: self.previous.map(Hex),
                suite: SUITE.to_owned(),
                kid: self.kid,
                dek_commitment: Hex(self.commitment),
                objects: all().map(Object::of).collect(),
            },
        }
    }
}

/// A manifest whose signature and rules were checked. Cheap to clone.
#[derive(Debug, Clone)]
pub struct VerifiedManifest(Arc<Verified>);

#[derive(Debug)]
struct Verified {
    manifest: Manifest,
    digest: Hash,
}

impl VerifiedManifest {
    /// Demands the exact manifest that a key release named, and at least its version.
    ///
    /// # Errors
    /// [`Error::Version`] when it is older, [`Error::Mixed`] when it is another manifest.
    pub fn require(&self, expected_digest: &[u8; 32], min_version: u64) -> Result<(), Error> {
        self.require_version(min_version)?;
        if self.0.digest != *expected_digest {
            return Err(Error::Mixed("manifest is not the one the release names"));
        }
        Ok(())
    }

    /// Demands at least this version.
    ///
    /// # Errors
    /// [`Error::Version`] when it is older.
    pub fn require_version(&self, min_version: u64) -> Result<(), Error> {
        let actual = self.version();
        if actual < min_version {
            return Err(Error::Version { least: min_version, actual });
        }
        Ok(())
    }

    /// Demands that the manifest has not expired at `at_s`, in seconds of the Unix epoch.
    ///
    /// # Errors
    /// [`Error::Expired`] when it has.
    pub fn require_valid_at(&self, at_s: u64) -> Result<(), Error> {
        let not_after_s = self.not_after_s();
        if at_s > not_after_s {
            return Err(Error::Expired { not_after_s, at_s });
        }
        Ok(())
    }

    /// Demands that this manifest is the next one after `previous`: same model, a higher version, and its digest named.
    ///
    /// # Errors
    /// [`Error::Version`] or [`Error::Mixed`].
    pub fn require_successor_of(&self, previous: &Self) -> Result<(), Error> {
        if self.model_id() != previous.model_id() {
            return Err(Error::Mixed("previous manifest is of another model"));
        }
        self.require_version(previous.version().saturating_add(1))?;
        if self.previous() != Some(previous.digest()) {
            return Err(Error::Mixed("manifest names another predecessor"));
        }
        Ok(())
    }

    /// SHA-256 of the exact bytes of the manifest file.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.0.digest
    }

    /// The model's name.
    #[must_use]
    pub fn model_id(&self) -> &str {
        &self.0.manifest.model_id
    }

    /// The version, which grows with every manifest of a model.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.0.manifest.version
    }

    /// When the package was made, in seconds of the Unix epoch: the owner's claim.
    #[must_use]
    pub fn created_s(&self) -> u64 {
        self.0.manifest.created_s
    }

    /// The last second of the Unix epoch at which the package may be loaded.
    #[must_use]
    pub fn not_after_s(&self) -> u64 {
        self.0.manifest.not_after_s
    }

    /// The digest of the manifest before this one, if there was one.
    #[must_use]
    pub fn previous(&self) -> Option<&[u8; 32]> {
        self.0.manifest.previous.as_ref()
    }

    /// The public name of the weights key.
    #[must_use]
    pub fn kid(&self) -> KeyId {
        self.0.manifest.kid
    }

    /// The commitment to the weights key.
    #[must_use]
    pub fn commitment(&self) -> &[u8; 32] {
        &self.0.manifest.commitment
    }

    /// The encrypted inner manifest.
    #[must_use]
    pub fn card(&self) -> &ObjectEntry {
        &self.0.manifest.card
    }

    /// Every object but the card, in the order in which the package lists them.
    #[must_use]
    pub fn objects(&self) -> &[ObjectEntry] {
        &self.0.manifest.objects
    }

    /// The object of a role, if the package has one.
    #[must_use]
    pub fn object(&self, role: Role) -> Option<&ObjectEntry> {
        self.objects().iter().find(|object| object.role == role)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    name: String,
    digest: SubjectDigest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SubjectDigest {
    #[serde(rename = "rfc6962Sha256")]
    root: Hex<32>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Predicate {
    format: u64,
    model: String,
    version: u64,
    created_s: u64,
    not_after_s: u64,
    #[serde(deserialize_with = "present")]
    previous: Option<Hex<32>>,
    suite: String,
    kid: KeyId,
    dek_commitment: Hex<32>,
    objects: Vec<Object>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Object {
    id: ObjectId,
    role: Role,
    ciphertext_len: u64,
    plaintext_len: u64,
    segment_len: u64,
    segment_count: u64,
    header: Hex<{ floe::HEADER_LEN }>,
}

/// An optional value whose key must be there: naming the function makes serde demand it.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Hex<32>>, D::Error> {
    Option::deserialize(deserializer)
}

impl Subject {
    fn of(entry: &ObjectEntry) -> Self {
        Self { name: entry.path(), digest: SubjectDigest { root: Hex(entry.root) } }
    }
}

impl Object {
    fn of(entry: &ObjectEntry) -> Self {
        Self {
            id: entry.id,
            role: entry.role,
            ciphertext_len: entry.ciphertext_len,
            plaintext_len: entry.plaintext_len(),
            segment_len: u64::from(entry.segment_len()),
            segment_count: entry.segment_count(),
            header: Hex(entry.header),
        }
    }

    /// The entry, if its numbers follow from each other and the subject is its own.
    fn checked(&self, subject: &Subject) -> Result<ObjectEntry, Error> {
        let size = SegmentSize::from_segment_len(self.segment_len)
            .ok_or(Error::Manifest("segment length is not 1, 4 or 16 MiB and 32 bytes"))?;
        if self.plaintext_len == 0 || self.plaintext_len > self.role.max_len() {
            return Err(Error::Manifest("plaintext length is zero or beyond the limit of the role"));
        }
        let layout = Layout { size, plaintext_len: self.plaintext_len };
        if self.segment_count != layout.segment_count()
            || Some(self.ciphertext_len) != layout.ciphertext_len()
        {
            return Err(Error::Manifest(
                "segment count or ciphertext length does not follow from the plaintext",
            ));
        }
        if !self.header.0.starts_with(&floe::parameters(size.segment_len())) {
            return Err(Error::Manifest("header has other parameters than the object"));
        }
        let header = self.header.0;
        let entry = ObjectEntry {
            id: self.id,
            role: self.role,
            layout,
            ciphertext_len: self.ciphertext_len,
            header,
            root: subject.digest.root.0,
        };
        if subject.name != entry.path() {
            return Err(Error::Manifest("subject and object name different files"));
        }
        Ok(entry)
    }
}

/// What a model may be called: path-like names of letters, digits, `.`, `_` and `-`.
pub(crate) fn check_identity(model_id: &str, version: u64) -> Result<(), Error> {
    let part = |part: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        !part.is_empty() && !part.starts_with('.') && part.bytes().all(plain)
    };
    if model_id.len() > MAX_MODEL_ID_LEN || !model_id.split('/').all(part) {
        return Err(Error::Manifest(
            "model id is not at most 128 letters, digits, '.', '_', '-' between '/'",
        ));
    }
    if version == 0 {
        return Err(Error::Manifest("version is zero"));
    }
    Ok(())
}

pub(crate) fn check_times(created_s: u64, not_after_s: u64) -> Result<(), Error> {
    if created_s >= not_after_s || not_after_s > LAST_SECOND {
        return Err(Error::Manifest("times are not created before not-after, until the year 9999"));
    }
    Ok(())
}

/// The card comes first and once; no id, role or header appears twice; nothing a model needs is missing.
fn check_set(entries: &[ObjectEntry]) -> Result<(), Error> {
    for (index, entry) in entries.iter().enumerate() {
        if (entry.role == Role::Card) != (index == 0) {
            return Err(Error::Manifest("card is not the first object and only that"));
        }
        let clashes = |other: &ObjectEntry| {
            other.id == entry.id || other.role == entry.role || other.header == entry.header
        };
        if entries.iter().take(index).any(clashes) {
            return Err(Error::Manifest("two objects share an id, a role or a header"));
        }
    }
    if !Role::REQUIRED.iter().all(|role| entries.iter().any(|entry| entry.role == *role)) {
        return Err(Error::Manifest("weights, config or tokenizer is missing"));
    }
    Ok(())
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
