//! The signed public part of a package: which objects it has, their sizes, headers and tree roots.

use std::collections::HashSet;
use std::sync::Arc;

use crate::dsse;
use crate::error::Error;
use crate::key::OwnerKey;
use crate::layout::SegmentSize;
use crate::merkle::{self, Hash};
use crate::object::{KeyId, ObjectEntry};
use crate::role::Role;
use crate::rules::{ManifestRule, MixedRule};
use crate::statement;
use crate::suite::Suite;

/// The largest manifest file, in bytes.
pub const MAX_MANIFEST_LEN: usize = 256 << 10;
/// The longest model id, in bytes.
pub const MAX_MODEL_ID_LEN: usize = 128;
/// The most files of weights in one package.
pub const MAX_WEIGHTS: usize = 256;
/// The most segments of one object, which bounds its tree file to 64 MiB. Follows from the limits of the roles.
pub const MAX_SEGMENTS: u64 = Role::Weights.max_len().div_ceil(SegmentSize::Mib1.payload_len() as u64);

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
    pub(crate) suite: Suite,
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
            return Err(ManifestRule::TooLong.into());
        }
        let payload = dsse::verify(bytes, owner_key)?;
        let manifest = Self::parse(&payload)?;
        Ok(VerifiedManifest(Arc::new(Verified { manifest, digest: merkle::sha256(bytes) })))
    }

    /// The signed bytes of the manifest. Everything a reader would refuse is refused here already.
    pub(crate) fn sign(&self, owner: &OwnerKey) -> Result<Vec<u8>, Error> {
        let payload = statement::write(self)?;
        if Self::parse(&payload)? != *self {
            return Err(ManifestRule::NotStatement.into());
        }
        let bytes = dsse::sign(&payload, owner)?;
        if bytes.len() > MAX_MANIFEST_LEN {
            return Err(ManifestRule::TooLong.into());
        }
        Ok(bytes)
    }

    fn parse(payload: &[u8]) -> Result<Self, Error> {
        let manifest = statement::read(payload)?;
        check_identity(&manifest.model_id, manifest.version)?;
        check_times(manifest.created_s, manifest.not_after_s)?;
        check_set(&manifest)?;
        Ok(manifest)
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
            return Err(MixedRule::NotReleased.into());
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
            return Err(MixedRule::OtherModel.into());
        }
        self.require_version(previous.version().saturating_add(1))?;
        self.require_previous(previous.digest())
    }

    /// Demands that this manifest names `digest` as that of the one before it: for a release that pins the chain.
    ///
    /// # Errors
    /// [`Error::Mixed`] when it names another, or none.
    pub fn require_previous(&self, digest: &[u8; 32]) -> Result<(), Error> {
        if self.previous() != Some(digest) {
            return Err(MixedRule::OtherPredecessor.into());
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

    /// The algorithms of the package.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.0.manifest.suite
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

    /// The first object of a role, if the package has one.
    #[must_use]
    pub fn object(&self, role: Role) -> Option<&ObjectEntry> {
        self.objects().iter().find(|object| object.role == role)
    }
}

/// What a model may be called: path-like names of letters, digits, `.`, `_` and `-`.
pub(crate) fn check_identity(model_id: &str, version: u64) -> Result<(), ManifestRule> {
    let part = |part: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        !part.is_empty() && !part.starts_with('.') && part.bytes().all(plain)
    };
    if model_id.len() > MAX_MODEL_ID_LEN || !model_id.split('/').all(part) {
        return Err(ManifestRule::ModelId);
    }
    if version == 0 {
        return Err(ManifestRule::VersionZero);
    }
    Ok(())
}

pub(crate) fn check_times(created_s: u64, not_after_s: u64) -> Result<(), ManifestRule> {
    if created_s >= not_after_s || not_after_s > LAST_SECOND {
        return Err(ManifestRule::Times);
    }
    Ok(())
}

/// The card comes first and once; no id or header appears twice; then either one bundle, or files with weights among them.
fn check_set(manifest: &Manifest) -> Result<(), ManifestRule> {
    if manifest.card.role != Role::Card || manifest.objects.iter().any(|object| object.role == Role::Card) {
        return Err(ManifestRule::CardPlace);
    }
    let mut ids = HashSet::new();
    let mut headers = HashSet::new();
    let mut roles = HashSet::new();
    for object in std::iter::once(&manifest.card).chain(&manifest.objects) {
        if !ids.insert(object.id) || !headers.insert(object.header) {
            return Err(ManifestRule::Shared);
        }
        if !roles.insert(object.role) && object.role != Role::Weights {
            return Err(ManifestRule::DuplicateRole);
        }
    }
    if roles.contains(&Role::Bundle) {
        return if manifest.objects.len() == 1 { Ok(()) } else { Err(ManifestRule::BundleNotAlone) };
    }
    let weights = manifest.objects.iter().filter(|object| object.role == Role::Weights).count();
    if weights == 0 || weights > MAX_WEIGHTS {
        return Err(ManifestRule::WeightsCount);
    }
    Ok(())
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
