//! The envelope itself.

use crate::error::Error;
use crate::signers::{SigningKey, TrustedSigners, key_id};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

/// The longest envelope that is read, in bytes. Holds a payload of 256 KiB with the most signatures.
pub const MAX_ENVELOPE_BYTES: usize = 384 * 1024;
/// The most signatures of one envelope.
pub const MAX_SIGNATURES: usize = 16;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    #[serde(rename = "payloadType")]
    payload_type: String,
    payload: String,
    signatures: Vec<Signature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    keyid: String,
    sig: String,
}

/// A payload that enough trusted signers signed. Made only by [`verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    payload: Vec<u8>,
    signers: Vec<[u8; 32]>,
}

impl Verified {
    /// The signed bytes.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The signed bytes, by value.
    #[must_use]
    pub fn into_payload(self) -> Vec<u8> {
        self.payload
    }

    /// The raw public keys of those who signed, in the order of their key ids.
    #[must_use]
    pub fn signers(&self) -> &[[u8; 32]] {
        &self.signers
    }
}

impl Envelope {
    /// Reads an envelope that is spelled as [`write`](Self::write) spells it.
    fn read(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_ENVELOPE_BYTES {
            return Err(Error::TooLong { observed_bytes: bytes.len() });
        }
        let envelope: Self = serde_json::from_slice(bytes).map_err(|_| Error::Malformed)?;
        if envelope.write()? != bytes {
            return Err(Error::NotCanonical);
        }
        Ok(envelope)
    }

    fn write(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self).map_err(|_| Error::Malformed)
    }

    fn payload(&self) -> Result<Vec<u8>, Error> {
        STANDARD.decode(&self.payload).map_err(|_| Error::Payload)
    }

    fn require_type(&self, wanted: &'static str) -> Result<(), Error> {
        if self.payload_type == wanted { Ok(()) } else { Err(Error::PayloadType { wanted }) }
    }
}

/// The envelope of `payload`, signed by each of `keys`.
///
/// # Errors
/// [`Error`] when there is no key, one twice, or too many, or when the envelope would be too long.
pub fn sign(payload_type: &'static str, payload: &[u8], keys: &[&SigningKey]) -> Result<Vec<u8>, Error> {
    let Some((first, rest)) = keys.split_first() else { return Err(Error::NoKey) };
    let payload_text = STANDARD.encode(payload);
    let envelope = Envelope {
        payload_type: payload_type.to_owned(),
        payload: payload_text,
        signatures: vec![signature(payload_type, payload, first)],
    };
    let mut bytes = checked(&envelope)?;
    for key in rest {
        bytes = add_signature(&bytes, payload_type, key)?;
    }
    Ok(bytes)
}

/// The same envelope with one more signature. The signatures that it has are not judged.
///
/// # Errors
/// [`Error`] when the bytes are no envelope of this payload type, the key signed already, or there are too many.
pub fn add_signature(bytes: &[u8], payload_type: &'static str, key: &SigningKey) -> Result<Vec<u8>, Error> {
    let mut envelope = Envelope::read(bytes)?;
    envelope.require_type(payload_type)?;
    let payload = envelope.payload()?;
    let added = signature(payload_type, &payload, key);
    let at = envelope.signatures.partition_point(|signature| signature.keyid < added.keyid);
    if envelope.signatures.get(at).is_some_and(|signature| signature.keyid == added.keyid) {
        return Err(Error::DuplicateSigner { index: at });
    }
    if envelope.signatures.len() >= MAX_SIGNATURES {
        let observed = envelope.signatures.len().saturating_add(1);
        return Err(Error::SignatureCount { limit: MAX_SIGNATURES, observed });
    }
    envelope.signatures.insert(at, added);
    checked(&envelope)
}

/// What an envelope states, unverified: its payload type and payload, for telling files apart and for reading what
/// is about to be signed. Not for trust.
///
/// # Errors
/// [`Error`] when the bytes are no canonical envelope.
pub fn unverified(bytes: &[u8]) -> Result<(String, Vec<u8>), Error> {
    let envelope = Envelope::read(bytes)?;
    let payload = envelope.payload()?;
    Ok((envelope.payload_type, payload))
}

/// The payload of an envelope.
///
/// Establishes that at least [`TrustedSigners::threshold`] different trusted keys signed exactly this payload under this
/// payload type, and that the envelope holds nothing else.
///
/// # Errors
/// [`Error`], naming the rule.
pub fn verify(bytes: &[u8], payload_type: &'static str, trusted: &TrustedSigners) -> Result<Verified, Error> {
    let envelope = Envelope::read(bytes)?;
    envelope.require_type(payload_type)?;
    let count = envelope.signatures.len();
    if count > trusted.len() {
        return Err(Error::SignatureCount { limit: trusted.len(), observed: count });
    }
    if count < trusted.threshold() {
        return Err(Error::Threshold { wanted: trusted.threshold(), observed: count });
    }
    let payload = envelope.payload()?;
    let message = pre_authentication_encoding(payload_type, &payload);
    let mut signers = Vec::with_capacity(count);
    let mut previous: Option<&str> = None;
    for (index, signature) in envelope.signatures.iter().enumerate() {
        let key = trusted.find(&signature.keyid).ok_or(Error::UnknownSigner { index })?;
        if signers.contains(key) {
            return Err(Error::DuplicateSigner { index });
        }
        if previous.is_some_and(|previous| previous > signature.keyid.as_str()) {
            return Err(Error::Order { index });
        }
        previous = Some(&signature.keyid);
        let sig = STANDARD.decode(&signature.sig).map_err(|_| Error::SignatureEncoding { index })?;
        UnparsedPublicKey::new(&ED25519, key)
            .verify(&message, &sig)
            .map_err(|_| Error::Signature { index })?;
        signers.push(*key);
    }
    Ok(Verified { payload, signers })
}

fn checked(envelope: &Envelope) -> Result<Vec<u8>, Error> {
    let bytes = envelope.write()?;
    if bytes.len() > MAX_ENVELOPE_BYTES {
        return Err(Error::TooLong { observed_bytes: bytes.len() });
    }
    Ok(bytes)
}

fn signature(payload_type: &str, payload: &[u8], key: &SigningKey) -> Signature {
    let sig = key.sign(&pre_authentication_encoding(payload_type, payload));
    Signature { keyid: key_id(&key.public_key()), sig: STANDARD.encode(sig) }
}

/// The envelope with these signatures, each a key id and a signature in base64, in the order of key ids.
pub(crate) fn write(
    payload_type: &str,
    payload: &[u8],
    signatures: Vec<(String, String)>,
) -> Result<Vec<u8>, Error> {
    let signatures = signatures.into_iter().map(|(keyid, sig)| Signature { keyid, sig }).collect();
    Envelope { payload_type: payload_type.to_owned(), payload: STANDARD.encode(payload), signatures }.write()
}

/// PAE of the specification, section "Protocol".
pub(crate) fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;
