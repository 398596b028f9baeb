//! The file that carries a weights key from the owner to a key broker.

use crate::wrap::{ReleaseKey, WrapError};
use crate::{ModelId, request::read_json};
use anchorhold_hpke::{Sealed, seal};
use anchorhold_rats::{Ed25519PublicKey, Secret, Sha256Digest, WrappingKey, base64_bytes};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest import file, in bytes.
pub const MAX_IMPORT_BYTES: usize = 16 * 1024;
const FORMAT: &str = "anchorhold weights key v1";
const MAX_KID_BYTES: usize = 64;

/// Why an import file was not made or not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportError {
    /// Not the JSON of a weights key import.
    Malformed(crate::RequestError),
    /// Another format than this version reads.
    Format,
    /// The key id is not a letter or digit and up to 63 further letters, digits and `:._-`.
    Kid,
    /// Wrapping or unwrapping. `Open` means that it was made for another broker or that a field was altered.
    Wrap(WrapError),
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => error.fmt(f),
            Self::Format => write!(f, "not of the format \"{FORMAT}\""),
            Self::Kid => write!(f, "the key id is not 1 to {MAX_KID_BYTES} letters, digits and ':._-'"),
            Self::Wrap(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ImportError {}

/// What a weights key belongs to. Public; the wrapping holds the key to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightsKeyTerms {
    /// The model.
    pub model_id: ModelId,
    /// Its version, which only grows.
    pub version: u64,
    /// The key's public name.
    pub kid: String,
    /// SHA-256 of the signed manifest.
    pub manifest_digest: Sha256Digest,
    /// The key that signed the manifest.
    pub owner_key: Ed25519PublicKey,
}

impl WeightsKeyTerms {
    /// The HPKE context: every public field, so that none can be altered without losing the key.
    fn info(&self) -> Sha256Digest {
        Sha256Digest::of_items(&[
            FORMAT.as_bytes(),
            self.model_id.as_str().as_bytes(),
            &self.version.to_be_bytes(),
            self.kid.as_bytes(),
            self.manifest_digest.as_bytes(),
            self.owner_key.as_bytes(),
        ])
    }

    fn check(&self) -> Result<(), ImportError> {
        kid(&self.kid).map(|_| ()).ok_or(ImportError::Kid)
    }
}

/// `text`, if a weights key can have it for its name. Wherever keys are named it is held to this, so that a name that no key can
/// have is refused and not taken for one of a key that is elsewhere.
pub(crate) fn kid(text: &str) -> Option<&str> {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b':' | b'.' | b'_' | b'-');
    let begins_well = text.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric());
    Some(text).filter(|_| begins_well && text.len() <= MAX_KID_BYTES && text.bytes().all(plain))
}

/// A weights key that only one broker can read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightsKeyImport {
    format: String,
    terms: WeightsKeyTerms,
    #[serde(with = "base64_bytes")]
    enc: Vec<u8>,
    #[serde(with = "base64_bytes")]
    ciphertext: Vec<u8>,
}

impl WeightsKeyImport {
    /// Wraps `weights_key` to a broker's import key.
    ///
    /// # Errors
    /// [`ImportError`] when the terms are not to be written or the key is no usable key.
    pub fn wrap(
        weights_key: &Secret<32>,
        terms: WeightsKeyTerms,
        broker: &WrappingKey,
    ) -> Result<Self, ImportError> {
        terms.check()?;
        let Sealed { enc, ciphertext } =
            seal(broker, terms.info().as_bytes(), weights_key.expose()).map_err(ImportError::Wrap)?;
        Ok(Self { format: FORMAT.to_owned(), terms, enc, ciphertext })
    }

    /// Reads an import file.
    ///
    /// # Errors
    /// [`ImportError`]; no error quotes the file.
    pub fn from_json(json: &[u8]) -> Result<Self, ImportError> {
        let import: Self =
            read_json("weights key import", json, MAX_IMPORT_BYTES).map_err(ImportError::Malformed)?;
        if import.format != FORMAT {
            return Err(ImportError::Format);
        }
        import.terms.check()?;
        Ok(import)
    }

    /// The file's bytes.
    ///
    /// # Panics
    /// Never: the type has only fields that JSON can hold.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("an import has only fields that JSON can hold")
    }

    /// What the key belongs to; a claim until [`open`](Self::open) has succeeded.
    #[must_use]
    pub fn terms(&self) -> &WeightsKeyTerms {
        &self.terms
    }

    /// Unwraps the key. Establishes that whoever wrapped it stated exactly these terms; who that was, it does
    /// not establish.
    ///
    /// # Errors
    /// [`ImportError::Wrap`] when the file was made for another broker or a field was altered.
    pub fn open(&self, key: &ReleaseKey) -> Result<Secret<32>, ImportError> {
        let wrong = ImportError::Wrap(WrapError::Open);
        let plain = key
            .unwrap(self.terms.info().as_bytes(), &self.enc, &self.ciphertext)
            .map_err(ImportError::Wrap)?;
        Secret::copy_from(&plain).ok_or(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anchorhold_rats::Kem;

    fn terms() -> WeightsKeyTerms {
        WeightsKeyTerms {
            model_id: "acme/chat".parse().unwrap(),
            version: 3,
            kid: "k1".to_owned(),
            manifest_digest: Sha256Digest::new([1; 32]),
            owner_key: Ed25519PublicKey::new([2; 32]),
        }
    }

    #[test]
    fn the_broker_reads_what_the_owner_wrapped_and_nobody_else() {
        let (broker, other) =
            (ReleaseKey::generate(Kem::XWing).unwrap(), ReleaseKey::generate(Kem::XWing).unwrap());
        let key = Secret::take(&mut [7; 32]);
        let file = WeightsKeyImport::wrap(&key, terms(), broker.public_key()).unwrap().to_json();
        let import = WeightsKeyImport::from_json(&file).unwrap();
        assert_eq!(import.terms(), &terms());
        assert_eq!(import.open(&broker), Ok(key));
        assert_eq!(import.open(&other), Err(ImportError::Wrap(WrapError::Open)));
    }

    #[test]
    fn refuses_every_altered_term() {
        let broker = ReleaseKey::generate(Kem::XWing).unwrap();
        let import =
            WeightsKeyImport::wrap(&Secret::take(&mut [7; 32]), terms(), broker.public_key()).unwrap();
        for altered in [
            WeightsKeyTerms { model_id: "acme/chas".parse().unwrap(), ..terms() },
            WeightsKeyTerms { version: 4, ..terms() },
            WeightsKeyTerms { kid: "k2".to_owned(), ..terms() },
            WeightsKeyTerms { manifest_digest: Sha256Digest::new([9; 32]), ..terms() },
            WeightsKeyTerms { owner_key: Ed25519PublicKey::new([9; 32]), ..terms() },
        ] {
            let import = WeightsKeyImport { terms: altered, ..import.clone() };
            assert_eq!(import.open(&broker), Err(ImportError::Wrap(WrapError::Open)));
        }
    }

    #[test]
    fn refuses_other_formats_and_key_ids() {
        let broker = ReleaseKey::generate(Kem::XWing).unwrap();
        let key = Secret::take(&mut [7; 32]);
        let bad = WeightsKeyTerms { kid: "a\nb".to_owned(), ..terms() };
        assert_eq!(WeightsKeyImport::wrap(&key, bad, broker.public_key()), Err(ImportError::Kid));
        let file = WeightsKeyImport::wrap(&key, terms(), broker.public_key()).unwrap().to_json();
        let other = String::from_utf8(file).unwrap().replace(FORMAT, "anchorhold weights key v2");
        assert_eq!(WeightsKeyImport::from_json(other.as_bytes()), Err(ImportError::Format));
    }

    #[test]
    fn a_key_id_begins_with_a_letter_or_digit_and_is_no_longer_than_the_limit() {
        let check = |kid: String| WeightsKeyTerms { kid, ..terms() }.check();
        for good in ["k", "0", "k:1.a_b-c", &"k".repeat(MAX_KID_BYTES)] {
            assert_eq!(check(good.to_owned()), Ok(()), "{good}");
        }
        for bad in ["", ":k", "-k", "k/1", "k 1", "ä", &"k".repeat(MAX_KID_BYTES + 1)] {
            assert_eq!(check(bad.to_owned()), Err(ImportError::Kid), "{bad}");
        }
        assert!(ImportError::Kid.to_string().contains("64 letters, digits"));
        assert!(ImportError::Format.to_string().contains(FORMAT));
    }
}
