//! A weights key that this guest holds, whichever way it came.

use anchorhold_kbs::WeightsKeyResource;
use anchorhold_key_release::ReleasedKey;
use anchorhold_rats::{Ed25519PublicKey, Secret, Sha256Digest};

/// The key and what it is for.
#[derive(Debug)]
pub(crate) struct HeldKey {
    pub(crate) weights_key: Secret<32>,
    pub(crate) version: u64,
    /// Its public name.
    pub(crate) kid: String,
    /// SHA-256 of the only manifest that it is for.
    pub(crate) manifest_digest: Sha256Digest,
    /// Who signed that manifest.
    pub(crate) owner_key: Ed25519PublicKey,
    /// For how long it may be used, in seconds.
    pub(crate) lease_s: u32,
    /// The policy by which it was released, where the protocol says so.
    pub(crate) policy_digest: Option<Sha256Digest>,
}

impl From<ReleasedKey> for HeldKey {
    fn from(key: ReleasedKey) -> Self {
        let (weights_key, terms) = key.into_parts();
        Self {
            weights_key,
            version: terms.version,
            kid: terms.kid,
            manifest_digest: terms.manifest_digest,
            owner_key: terms.owner_key,
            lease_s: terms.lease_s,
            policy_digest: Some(terms.policy_digest),
        }
    }
}

impl From<WeightsKeyResource> for HeldKey {
    fn from(WeightsKeyResource { terms, weights_key }: WeightsKeyResource) -> Self {
        Self {
            weights_key,
            version: terms.version,
            kid: terms.kid,
            manifest_digest: terms.manifest_digest,
            owner_key: terms.owner_key,
            lease_s: terms.lease_s,
            policy_digest: None,
        }
    }
}
