//! The owner's signing key, and the weights key bound to the manifest that commits to it.

use std::fmt;

use anchorhold_dsse::SigningKey;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::floe::{Message, Start};
use crate::manifest::VerifiedManifest;
use crate::object::{KeyId, ObjectEntry};
use crate::rules::{HeaderRule, KeyRule};

const KEY_ID_LABEL: &[u8] = b"anchorhold/sealed-weights/v2/key-id";
const COMMITMENT_LABEL: &[u8] = b"anchorhold/sealed-weights/v2/commitment";

/// The Ed25519 key with which a model's owner signs manifests.
pub struct OwnerKey(SigningKey);

impl OwnerKey {
    /// Makes a new key and returns it with its PKCS #8 document, which is a secret to be stored.
    ///
    /// # Errors
    /// [`Error::Key`] when the system gives no randomness.
    pub fn generate() -> Result<(Self, Zeroizing<Vec<u8>>), Error> {
        let document =
            Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyRule::Randomness)?;
        let document = Zeroizing::new(document.as_ref().to_vec());
        Ok((Self::from_pkcs8(&document)?, document))
    }

    /// Reads a PKCS #8 document as [`OwnerKey::generate`] makes it (RFC 8410, version 2).
    ///
    /// # Errors
    /// [`Error::Key`] when it is not one.
    pub fn from_pkcs8(document: &[u8]) -> Result<Self, Error> {
        let key = SigningKey::from_pkcs8(document);
        key.map(Self).map_err(|_| KeyRule::Document.into())
    }

    /// The key that RFC 8032 derives from a 32-byte seed.
    ///
    /// # Errors
    /// [`Error::Key`] when ring refuses the seed.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, Error> {
        let key = SigningKey::from_seed(seed);
        key.map(Self).map_err(|_| KeyRule::Seed.into())
    }

    /// The public half, which verifiers of the manifest are configured with.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.0.public_key()
    }

    /// The key itself, which signs other documents of the owner too; each under a payload type of its own.
    #[must_use]
    pub fn signing_key(&self) -> &SigningKey {
        &self.0
    }
}

impl fmt::Debug for OwnerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnerKey")
    }
}

/// The weights key of one verified manifest. Its existence establishes that the key is the one the owner committed to.
pub struct WeightsKey {
    manifest: VerifiedManifest,
    key: Zeroizing<[u8; 32]>,
}

impl WeightsKey {
    /// Binds `key` to the manifest that commits to it. No object needs to be read to find a wrong key.
    ///
    /// # Errors
    /// [`Error::WrongKey`] when the manifest's commitment or key id is of another key.
    pub fn open(manifest: &VerifiedManifest, key: &[u8; 32]) -> Result<Self, Error> {
        let commitment = commitment_input(manifest.model_id(), manifest.version());
        let mac = hmac::Key::new(hmac::HMAC_SHA256, key);
        hmac::verify(&mac, &commitment, manifest.commitment()).map_err(|_| Error::WrongKey)?;
        if key_id(key) != manifest.kid() {
            return Err(Error::WrongKey);
        }
        Ok(Self { manifest: manifest.clone(), key: Zeroizing::new(*key) })
    }

    /// The manifest whose objects this key opens.
    #[must_use]
    pub fn manifest(&self) -> &VerifiedManifest {
        &self.manifest
    }

    /// The FLOE message of an object of this manifest, from its signed header.
    pub(crate) fn message(&self, object: &ObjectEntry) -> Result<Message, Error> {
        let associated_data = object.associated_data(self.manifest.model_id(), self.manifest.version());
        let start = Start {
            key: &self.key,
            associated_data: &associated_data,
            segment_len: object.segment_len(),
            segment_count: object.segment_count(),
        };
        Message::open(&start, object.header())
            .map_err(|_| Error::Header { object: object.id(), rule: HeaderRule::OtherKey })
    }
}

impl fmt::Debug for WeightsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeightsKey")
    }
}

/// The public name of a weights key: the first 16 bytes of an HMAC under it. The same in every manifest that uses it.
#[must_use]
pub fn key_id(key: &[u8; 32]) -> KeyId {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), KEY_ID_LABEL);
    KeyId::from_prefix_of(tag.as_ref())
}

/// The commitment to a weights key in one manifest: HMAC-SHA-256 under the key over model and version. HMAC is
/// collision resistant for keys of one length, so a manifest has at most one key that anybody can find.
pub(crate) fn commitment(key: &[u8; 32], model_id: &str, version: u64) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &commitment_input(model_id, version));
    let mut out = [0; 32];
    out.copy_from_slice(tag.as_ref());
    out
}

fn commitment_input(model_id: &str, version: u64) -> Vec<u8> {
    let mut out = COMMITMENT_LABEL.to_vec();
    out.extend_from_slice(&(model_id.len() as u64).to_be_bytes());
    out.extend_from_slice(model_id.as_bytes());
    out.extend_from_slice(&version.to_be_bytes());
    out
}
