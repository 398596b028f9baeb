//! The answer to a release request: the weights key in HPKE, signed by the broker.

use crate::wrap::{self, ReleaseKey, WrapError, digest_of_items};
use crate::{ModelId, request};
use anchorhold_rats::{Ed25519PublicKey, KeyBinding, Secret, Sha256Digest, base64_bytes};
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
}

/// Everything that both ends saw before the answer, as one digest: what was asked, by whom, with which evidence,
/// of which broker. An answer for any other exchange does not open.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) binding: KeyBinding,
    /// SHA-256 of the report.
    pub(crate) report: Sha256Digest,
}

impl Exchange {
    pub(crate) fn transcript(&self, broker: &Ed25519PublicKey) -> Sha256Digest {
        digest_of_items(&[
            b"anchorhold release transcript v1",
            self.binding.nonce.as_bytes(),
            self.binding.context.as_bytes(),
            self.binding.report_data().as_bytes(),
            self.report.as_bytes(),
            broker.as_bytes(),
        ])
    }
}

fn signed_message(transcript: &Sha256Digest, enc: &[u8], ciphertext: &[u8]) -> Sha256Digest {
    digest_of_items(&[b"anchorhold release response v1", transcript.as_bytes(), enc, ciphertext])
}

impl ReleaseResponse {
    /// Wraps and signs. Only a [`Grant`](crate::Grant) calls this.
    pub(crate) fn seal(
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
        let wrapped = wrap::wrap(&exchange.binding.release_key, transcript.as_bytes(), &plain)?;
        let message = signed_message(&transcript, &wrapped.enc, &wrapped.ciphertext);
        let signature = broker.pair.sign(message.as_bytes()).as_ref().to_vec();
        Ok(Self { enc: wrapped.enc.to_vec(), ciphertext: wrapped.ciphertext, signature })
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
        let message = signed_message(transcript, &self.enc, &self.ciphertext);
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
        let enc: [u8; 32] = self.enc.as_slice().try_into().map_err(|_| WrapError::Open)?;
        let plain = key.unwrap(transcript.as_bytes(), &enc, &self.ciphertext)?;
        let (secret, terms) = plain.split_at_checked(KEY_BYTES).ok_or(WrapError::Open)?;
        let secret = Secret::copy_from(secret).ok_or(WrapError::Open)?;
        let terms = serde_json::from_slice(terms).map_err(|_| WrapError::Open)?;
        Ok((secret, terms))
    }
}
