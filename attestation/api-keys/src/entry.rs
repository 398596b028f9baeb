//! One key as it is written down.

use crate::{Scopes, TenantName};
use anchorhold_rats::{Sha256Digest, Timestamp};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::str::FromStr;

/// The longest label, in characters.
pub const MAX_LABEL_CHARS: usize = 64;
/// How many hex digits of its digest name a key among those of a file.
const ID_CHARS: usize = 12;

/// What a person calls a key, such as where it is used: up to 64 printable ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Label(String);

/// Not a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a label: expected 1 to {MAX_LABEL_CHARS} printable ASCII characters")]
pub struct LabelError;

impl FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        let plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if plain && (1..=MAX_LABEL_CHARS).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(LabelError)
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A `[[key]]` table: whose key it is, its digest, and when and for what it may be used. The key itself is not here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Whose.
    pub tenant: TenantName,
    /// SHA-256 of the key's bytes.
    pub sha256: Sha256Digest,
    /// What a person calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Label>,
    /// From when on it may be used; always, if it is not written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// The first moment at which it may no longer be used; never, if it is not written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// What it may be used for, out of what its tenant may do; all of that, if it is not written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Scopes>,
}

/// Why a key cannot be among others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It could never be used.
    #[error("key {id}: expires at {expires}, which is not after not_before, {not_before}")]
    NeverValid {
        /// Which.
        id: String,
        /// From when on.
        not_before: Timestamp,
        /// Until when.
        expires: Timestamp,
    },
    /// The same digest stands there already.
    #[error("key {0}: the digest appears twice")]
    Twice(String),
}

impl Key {
    /// The first 12 hex digits of its digest, which name it for people.
    #[must_use]
    pub fn id(&self) -> String {
        self.sha256.to_string().chars().take(ID_CHARS).collect()
    }

    /// # Errors
    /// [`KeyError::NeverValid`].
    pub(crate) fn check(&self) -> Result<(), KeyError> {
        match (self.not_before, self.expires) {
            (Some(not_before), Some(expires)) if expires <= not_before => {
                Err(KeyError::NeverValid { id: self.id(), not_before, expires })
            }
            _ => Ok(()),
        }
    }
}
