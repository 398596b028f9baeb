//! The name of a key-encryption key.

use std::fmt;
use std::str::FromStr;

/// Text that is no id of a key-encryption key. The text is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdError;

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "not an id of a key-encryption key: wanted a letter, then letters, digits and -, lower case, at most {} bytes",
            KekId::LIMIT_BYTES
        )
    }
}

impl std::error::Error for IdError {}

/// The id of a key-encryption key: a lower-case letter, then lower-case letters, digits and `-`. It is never used again
/// for another key. The alphabet is safe in a file name, in TOML and in the audit log.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KekId(String);

impl KekId {
    /// The most bytes it may have.
    pub const LIMIT_BYTES: usize = 32;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KekId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let begins_well = text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
        if begins_well && text.len() <= Self::LIMIT_BYTES && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError)
        }
    }
}

impl fmt::Display for KekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KekId({})", self.0)
    }
}

impl serde::Serialize for KekId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for KekId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_safe_name() {
        for bad in ["", "-a", "1", "A", "a/b", "a.b", "../a", "a b", "a\0", "ä", &"a".repeat(33)] {
            assert_eq!(bad.parse::<KekId>(), Err(IdError), "{bad:?}");
        }
        for good in ["a", "file-1", &"a".repeat(32)] {
            assert_eq!(good.parse::<KekId>().unwrap().as_str(), good);
        }
    }
}
