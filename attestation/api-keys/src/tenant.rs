//! The name of a tenant.

use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::str::FromStr;

const MAX_CHARS: usize = 64;

/// A tenant's name: 1 to 64 characters of `a-z`, `0-9` and `-`. It stands in logs and in the audit log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct TenantName(String);

/// Not the name of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a tenant: expected 1 to {MAX_CHARS} characters of a-z, 0-9 and -")]
pub struct TenantNameError;

impl TenantName {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TenantName {
    type Err = TenantNameError;

    fn from_str(text: &str) -> Result<Self, TenantNameError> {
        let plain = text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if plain && (1..=MAX_CHARS).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(TenantNameError)
        }
    }
}

impl fmt::Display for TenantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TenantName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_short_and_plain() {
        for good in ["a", "acme-2", &"z".repeat(64)] {
            assert_eq!(good.parse::<TenantName>().unwrap().as_str(), good);
        }
        for bad in ["", "Acme", "a b", "a_b", "ä", "a\n", &"z".repeat(65)] {
            assert_eq!(bad.parse::<TenantName>(), Err(TenantNameError), "{bad}");
        }
    }
}
