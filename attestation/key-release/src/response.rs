//! The answer to a release request: the weights key in HPKE, signed by the broker.

use crate::wrap::{ReleaseKey, WrapError};
use crate::{LogProof, ModelId, request};
use anchorhold_audit_log::Predecessor;
use anchorhold_hpke::{Sealed, seal};
use anchorhold_rats::{Ed25519PublicKey, KeyBinding, Secret, Sha256Digest, WrappingKey, base64_bytes};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::Zeroizing;

/// The longest answer that a guest reads, in bytes.
pub(crate) const MAX_RESPONSE_BYTES: usize = 64 * 1024;
const KEY_BYTES: usize = 32;

/// The broker's signing key. The expanded key is ring's, which frees it on drop without wiping.
pub struct BrokerKey {
    pair: Ed25519KeyPair,
    public: Ed25519PublicKey,
}

impl BrokerKey {
    /// The key that belongs to `seed` (RFC 8032, section 5.1.5).
    ///
    /// # Panics
    /// Never: every 32 bytes are a seed.
    #[must_use]
    pub fn from_seed(seed: &Secret<32>) -> Self {
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed.expose()).expect("every 32 bytes are an Ed25519 seed");
        let bytes = pair.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes");
        Self { pair, public: Ed25519PublicKey::new(bytes) }
    }

    /// The public half, which guests pin.
    #[must_use]
    pub fn public_key(&self) -> Ed25519PublicKey {
        self.public
    }

    /// SHA-256 of the public half.
    #[must_use]
    pub fn key_id(&self) -> Sha256Digest {
        Sha256Digest::of(self.public.as_bytes())
    }
}

impl fmt::Debug for BrokerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BrokerKey({})", self.public)
    }
}

/// What comes with a released key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleasedTerms {
    /// The model.
    pub model_id: ModelId,
    /// The version that was released.
    pub version: u64,
    /// The key's public name.
    pub kid: String,
    /// SHA-256 of the only manifest that this key is for.
    pub manifest_digest: Sha256Digest,
    /// The key that signed that manifest.
    pub owner_key: Ed25519PublicKey,
    /// For how long the key may be used, in seconds from the answer.
    pub lease_s: u32,
    /// SHA-256 of the policy that allowed it.
    pub policy_digest: Sha256Digest,
    /// The log of the guest's deployment that the broker registered before the guest's. Told only to guests that asked with
    /// [`AuditTerms::predecessor`](crate::AuditTerms); `None` where the broker knows of none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predecessor: Option<Predecessor>,
}

/// The body of a successful answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseResponse {
    #[serde(with = "base64_bytes")]
    enc: Vec<u8>,
    #[serde(with = "base64_bytes")]
    ciphertext: Vec<u8>,
    #[serde(with = "base64_bytes")]
    signature: Vec<u8>,
    log: LogProof,
}

/// Everything that both ends saw before the answer, as one digest: what was asked, by whom, with which evidence,
/// of which broker. An answer for any other exchange does not open.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) binding: KeyBinding,
    /// The key whose digest the binding holds.
    pub(crate) release_key: WrappingKey,
    /// SHA-256 of the report.
    pub(crate) report: Sha256Digest,
}

impl Exchange {
    pub(crate) fn transcript(&self, broker: &Ed25519PublicKey) -> Sha256Digest {
        Sha256Digest::of_items(&[
            b"anchorhold release transcript v1",
            self.binding.nonce.as_bytes(),
            self.binding.context.as_bytes(),
            self.binding.report_data().as_bytes(),
            self.report.as_bytes(),
            broker.as_bytes(),
        ])
    }
}

/// The key and its terms in HPKE, for one exchange; nothing of it has left yet.
pub(crate) struct WrappedKey {
    transcript: Sha256Digest,
    wrapped: Sealed,
}

impl WrappedKey {
    pub(crate) fn new(
        exchange: &Exchange,
        terms: &ReleasedTerms,
        weights_key: &Secret<KEY_BYTES>,
        broker: &BrokerKey,
    ) -> Result<Self, WrapError> {
        let transcript = exchange.transcript(&broker.public);
        // The key goes first, as it is, so that no JSON writer ever holds it; the buffer never grows.
        let terms = serde_json::to_vec(terms).expect("terms have only fields that JSON can hold");
        let mut plain = Zeroizing::new(Vec::with_capacity(KEY_BYTES + terms.len()));
        plain.extend_from_slice(weights_key.expose());
        plain.extend_from_slice(&terms);
        let wrapped = seal(&exchange.release_key, transcript.as_bytes(), &plain)?;
        Ok(Self { transcript, wrapped })
    }
}

impl ReleaseResponse {
    /// Signs. Only a [`WrappedGrant`](crate::WrappedGrant) calls this.
    pub(crate) fn new(key: WrappedKey, log: LogProof, broker: &BrokerKey) -> Self {
        let Sealed { enc, ciphertext } = key.wrapped;
        let mut response = Self { enc, ciphertext, signature: Vec::new(), log };
        response.signature = broker.pair.sign(response.message(&key.transcript).as_bytes()).as_ref().to_vec();
        response
    }

    fn message(&self, transcript: &Sha256Digest) -> Sha256Digest {
        Sha256Digest::of_items(&[
            b"anchorhold release response v1",
            transcript.as_bytes(),
            &self.enc,
            &self.ciphertext,
            self.log.leaf_hash().as_bytes(),
        ])
    }

    /// The proof that the release stands in the broker's log; to be verified.
    pub(crate) const fn log(&self) -> &LogProof {
        &self.log
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// [`RequestError`](crate::RequestError) when it is not the documented JSON.
    pub fn from_json(json: &[u8]) -> Result<Self, crate::RequestError> {
        request::read_json("release response", json, MAX_RESPONSE_BYTES)
    }

    /// The body's bytes.
    ///
    /// # Panics
    /// Never: the type has only fields that JSON can hold.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an answer has only fields that JSON can hold")
    }

    /// Whether `broker` signed this for the exchange of `transcript`.
    pub(crate) fn signed_by(&self, broker: &Ed25519PublicKey, transcript: &Sha256Digest) -> bool {
        let message = self.message(transcript);
        UnparsedPublicKey::new(&ED25519, broker.as_bytes())
            .verify(message.as_bytes(), &self.signature)
            .is_ok()
    }

    /// Decrypts the key and its terms.
    pub(crate) fn open(
        &self,
        key: &ReleaseKey,
        transcript: &Sha256Digest,
    ) -> Result<(Secret<KEY_BYTES>, ReleasedTerms), WrapError> {
        let plain = key.unwrap(transcript.as_bytes(), &self.enc, &self.ciphertext)?;
        let (secret, terms) = plain.split_at_checked(KEY_BYTES).ok_or(WrapError::Open)?;
        let secret = Secret::copy_from(secret).ok_or(WrapError::Open)?;
        let terms = serde_json::from_slice(terms).map_err(|_| WrapError::Open)?;
        Ok((secret, terms))
    }
}
