//! A weights key as a resource: what an owner puts into a KBS for guests of this project.

use crate::client::Resource;
use anchorhold_rats::{Ed25519PublicKey, Secret, Sha256Digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::Zeroizing;

/// The value of `format`.
pub const WEIGHTS_KEY_FORMAT: &str = "urn:anchorhold:weights-key:v1";
/// The longest such resource, in bytes.
pub const MAX_WEIGHTS_KEY_BYTES: usize = 4 * 1024;
/// The shortest and the longest lease, in seconds, as in release policies.
const LEASE_S: std::ops::RangeInclusive<u32> = 60..=86_400;
const MAX_NAME_BYTES: usize = 256;
/// Room for the key in base64.
const KEY_TEXT_BYTES: usize = 44;

/// What a weights key is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightsKeyResourceTerms {
    /// The model.
    pub model_id: String,
    /// Its version.
    pub version: u64,
    /// The key's public name.
    pub kid: String,
    /// SHA-256 of the only manifest that the key is for.
    pub manifest_digest: Sha256Digest,
    /// The key that signed that manifest.
    pub owner_key: Ed25519PublicKey,
    /// For how long the key may be used before the guest attests again, in seconds.
    pub lease_s: u32,
}

/// Why a resource is no weights key. No error quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightsKeyError {
    /// Not the documented JSON.
    Malformed,
    /// Another format than [`WEIGHTS_KEY_FORMAT`].
    Format,
    /// A lease out of its range, or a name that is empty or too long.
    Value,
}

impl fmt::Display for WeightsKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("the resource is not the JSON of a weights key"),
            Self::Format => write!(f, "the resource is not of the format {WEIGHTS_KEY_FORMAT}"),
            Self::Value => f.write_str("the weights key has a lease or a name that is never allowed"),
        }
    }
}

impl std::error::Error for WeightsKeyError {}

/// The key is borrowed from the resource, so that no copy of its text stays behind.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<'a> {
    format: &'a str,
    terms: WeightsKeyResourceTerms,
    weights_key: &'a str,
}

/// A weights key and what it is for.
#[derive(Debug)]
pub struct WeightsKeyResource {
    /// What it is for.
    pub terms: WeightsKeyResourceTerms,
    /// The key.
    pub weights_key: Secret<32>,
}

impl WeightsKeyResource {
    /// Reads what a KBS released.
    ///
    /// # Errors
    /// [`WeightsKeyError`].
    pub fn read(resource: &Resource) -> Result<Self, WeightsKeyError> {
        Self::from_json(resource.expose())
    }

    /// Reads the content of a resource.
    ///
    /// # Errors
    /// [`WeightsKeyError`].
    pub fn from_json(json: &[u8]) -> Result<Self, WeightsKeyError> {
        if json.len() > MAX_WEIGHTS_KEY_BYTES {
            return Err(WeightsKeyError::Malformed);
        }
        let Document { format, terms, weights_key } =
            serde_json::from_slice(json).map_err(|_| WeightsKeyError::Malformed)?;
        if format != WEIGHTS_KEY_FORMAT {
            return Err(WeightsKeyError::Format);
        }
        let named = |name: &str| (1..=MAX_NAME_BYTES).contains(&name.len());
        if !LEASE_S.contains(&terms.lease_s) || !named(&terms.model_id) || !named(&terms.kid) {
            return Err(WeightsKeyError::Value);
        }
        // One byte more than a key, so that a longer one is seen.
        let mut bytes = Zeroizing::new([0; 36]);
        let length = STANDARD.decode_slice(weights_key, bytes.as_mut_slice());
        let key = length.ok().and_then(|length| Secret::copy_from(bytes.get(..length)?));
        key.map(|weights_key| Self { terms, weights_key }).ok_or(WeightsKeyError::Malformed)
    }

    /// The content of the resource. It holds the key in the clear, because a KBS takes resources so.
    ///
    /// # Panics
    /// Never: the terms are texts and numbers.
    #[must_use]
    pub fn to_json(&self) -> Zeroizing<Vec<u8>> {
        let mut text = Zeroizing::new([0; KEY_TEXT_BYTES]);
        let length = STANDARD.encode_slice(self.weights_key.expose(), text.as_mut_slice()).unwrap_or(0);
        let weights_key =
            text.get(..length).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default();
        let document = Document { format: WEIGHTS_KEY_FORMAT, terms: self.terms.clone(), weights_key };
        // It never grows, so no copy of the key stays behind.
        let mut json = Zeroizing::new(Vec::with_capacity(MAX_WEIGHTS_KEY_BYTES));
        serde_json::to_writer(&mut *json, &document).expect("texts and numbers are JSON");
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> WeightsKeyResource {
        let terms = WeightsKeyResourceTerms {
            model_id: "acme/chat".into(),
            version: 3,
            kid: "kid-1".into(),
            manifest_digest: Sha256Digest::new([1; 32]),
            owner_key: Ed25519PublicKey::new([2; 32]),
            lease_s: 3600,
        };
        WeightsKeyResource { terms, weights_key: Secret::take(&mut [7; 32]) }
    }

    #[test]
    fn reads_what_it_writes() {
        let json = key().to_json();
        let read = WeightsKeyResource::from_json(&json).unwrap();
        assert_eq!((read.terms, read.weights_key), (key().terms, key().weights_key));
        assert!(json.capacity() == MAX_WEIGHTS_KEY_BYTES, "the buffer grew");
        assert!(!format!("{:?}", key()).contains("BwcH"));
    }

    #[test]
    fn refuses_what_is_no_weights_key() {
        let good = String::from_utf8(key().to_json().to_vec()).unwrap();
        let text = STANDARD.encode([7; 32]);
        for (from, to, error) in [
            ("weights-key:v1", "weights-key:v2", WeightsKeyError::Format),
            ("\"lease_s\":3600", "\"lease_s\":59", WeightsKeyError::Value),
            ("\"lease_s\":3600", "\"lease_s\":86401", WeightsKeyError::Value),
            ("acme/chat", "", WeightsKeyError::Value),
            ("kid-1", "", WeightsKeyError::Value),
            ("\"version\":3", "\"version\":-3", WeightsKeyError::Malformed),
            ("\"version\":3", "\"version\":3,\"more\":1", WeightsKeyError::Malformed),
            (text.as_str(), &STANDARD.encode([7; 31]), WeightsKeyError::Malformed),
            (text.as_str(), &STANDARD.encode([7; 33]), WeightsKeyError::Malformed),
            (text.as_str(), &STANDARD.encode([7; 64]), WeightsKeyError::Malformed),
            (text.as_str(), "", WeightsKeyError::Malformed),
        ] {
            let changed = good.replace(from, to);
            assert_ne!(changed, good);
            assert_eq!(WeightsKeyResource::from_json(changed.as_bytes()).err(), Some(error), "{to}");
        }
        let long = vec![b' '; MAX_WEIGHTS_KEY_BYTES + 1];
        assert_eq!(WeightsKeyResource::from_json(&long).err(), Some(WeightsKeyError::Malformed));
    }
}
