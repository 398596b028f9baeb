//! Keys that sign, and keys that are trusted.

use crate::MAX_SIGNATURES;
use ring::digest;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use std::fmt;

/// A document or seed that is no Ed25519 key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyError;

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an Ed25519 key in PKCS #8 version 2")
    }
}

impl std::error::Error for KeyError {}

/// An Ed25519 key that signs envelopes. Prints only its type.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// Reads a PKCS #8 document (RFC 8410, version 2).
    ///
    /// # Errors
    /// [`KeyError`] when it is not one.
    pub fn from_pkcs8(document: &[u8]) -> Result<Self, KeyError> {
        Ed25519KeyPair::from_pkcs8(document).map(Self).map_err(|_| KeyError)
    }

    /// The key that RFC 8032 derives from a 32-byte seed.
    ///
    /// # Errors
    /// [`KeyError`] when ring refuses the seed.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, KeyError> {
        Ed25519KeyPair::from_seed_unchecked(seed).map(Self).map_err(|_| KeyError)
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(self.0.public_key().as_ref());
        out
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

/// The key id: SHA-256 of the raw public key, in lower-case hexadecimal.
#[must_use]
pub fn key_id(public_key: &[u8; 32]) -> String {
    digest::digest(&digest::SHA256, public_key).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Why keys and a threshold trust nobody, or the same key twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignersError {
    /// The same key twice would count twice.
    DuplicateKey {
        /// The position of the second, from 0.
        index: usize,
    },
    /// A threshold of none, or of more than there are keys.
    Threshold {
        /// The number of keys.
        keys: usize,
        /// The threshold.
        threshold: usize,
    },
    /// More keys than an envelope may have signatures.
    TooMany {
        /// The number of keys.
        observed: usize,
    },
}

impl fmt::Display for SignersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateKey { index } => write!(f, "trusted key {index} is named twice"),
            Self::Threshold { keys, threshold } => {
                write!(f, "threshold is {threshold}, wanted 1 to {keys}, the number of trusted keys")
            }
            Self::TooMany { observed } => {
                write!(f, "{observed} trusted keys, the limit is {MAX_SIGNATURES}")
            }
        }
    }
}

impl std::error::Error for SignersError {}

/// Whose signatures count, and how many of them are needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedSigners {
    /// Key id and raw public key.
    keys: Vec<(String, [u8; 32])>,
    threshold: usize,
}

impl TrustedSigners {
    /// One key, whose signature is needed.
    #[must_use]
    pub fn one(public_key: &[u8; 32]) -> Self {
        Self { keys: vec![(key_id(public_key), *public_key)], threshold: 1 }
    }

    /// `threshold` of these raw Ed25519 keys.
    ///
    /// # Errors
    /// [`SignersError`] when a key is named twice, or the threshold is none or cannot be met.
    pub fn of(public_keys: &[[u8; 32]], threshold: usize) -> Result<Self, SignersError> {
        if public_keys.len() > MAX_SIGNATURES {
            return Err(SignersError::TooMany { observed: public_keys.len() });
        }
        let mut keys: Vec<(String, [u8; 32])> = Vec::new();
        for (index, key) in public_keys.iter().enumerate() {
            if keys.iter().any(|(_, known)| known == key) {
                return Err(SignersError::DuplicateKey { index });
            }
            keys.push((key_id(key), *key));
        }
        if threshold == 0 || threshold > keys.len() {
            return Err(SignersError::Threshold { keys: keys.len(), threshold });
        }
        Ok(Self { keys, threshold })
    }

    /// How many signatures are needed.
    #[must_use]
    pub const fn threshold(&self) -> usize {
        self.threshold
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn find(&self, key_id: &str) -> Option<&[u8; 32]> {
        self.keys.iter().find(|(id, _)| id == key_id).map(|(_, key)| key)
    }
}
