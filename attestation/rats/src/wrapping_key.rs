//! Public keys to which secrets are wrapped, each with the HPKE KEM that it is for.

use crate::Sha256Digest;
use crate::bytes::{decode_into, hex};
use std::fmt;

/// A key encapsulation mechanism of HPKE (RFC 9180) that this version speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kem {
    /// DHKEM(X25519, HKDF-SHA256), 0x0020 (RFC 9180, section 7.1).
    X25519,
    /// X-Wing, 0x647a: X25519 and ML-KEM-768 together (draft-connolly-cfrg-xwing-kem-10). What was recorded today stays
    /// secret as long as one of the two holds.
    XWing,
}

impl Kem {
    /// Every KEM, the one to prefer first.
    pub const ALL: [Self; 2] = [Self::XWing, Self::X25519];

    /// The name in texts and policies.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::X25519 => "x25519",
            Self::XWing => "x-wing",
        }
    }

    /// The length of a public key, in bytes.
    #[must_use]
    pub const fn public_key_bytes(self) -> usize {
        match self {
            Self::X25519 => 32,
            Self::XWing => 1216,
        }
    }

    /// The length of an encapsulated key, in bytes.
    #[must_use]
    pub const fn encapsulated_key_bytes(self) -> usize {
        match self {
            Self::X25519 => 32,
            Self::XWing => 1120,
        }
    }

    /// The KEM of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kem| kem.name() == name)
    }
}

impl fmt::Display for Kem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Text or bytes that are no [`WrappingKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseWrappingKeyError;

impl fmt::Display for ParseWrappingKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not \"x25519:\" or \"x-wing:\" and the key in lower-case hex")
    }
}

impl std::error::Error for ParseWrappingKeyError {}

/// A public key to which secrets are wrapped. As text: the KEM's name, a colon, and the key in lower-case hex.
///
/// The length is the KEM's; whether the bytes are a usable key is found by wrapping to it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct WrappingKey {
    kem: Kem,
    bytes: Vec<u8>,
}

impl WrappingKey {
    /// The key with these bytes.
    ///
    /// # Errors
    /// [`ParseWrappingKeyError`] when they are not as many as the KEM's public keys have.
    pub fn new(kem: Kem, bytes: Vec<u8>) -> Result<Self, ParseWrappingKeyError> {
        if bytes.len() == kem.public_key_bytes() {
            Ok(Self { kem, bytes })
        } else {
            Err(ParseWrappingKeyError)
        }
    }

    /// What it is for.
    #[must_use]
    pub const fn kem(&self) -> Kem {
        self.kem
    }

    /// The public key as the KEM serialises it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What evidence commits to: SHA-256 of the text form, so that a key cannot be taken for one of another KEM.
    #[must_use]
    pub fn digest(&self) -> Sha256Digest {
        Sha256Digest::of(self.to_string().as_bytes())
    }
}

impl fmt::Display for WrappingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kem, hex(&self.bytes))
    }
}

impl fmt::Debug for WrappingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrappingKey({}, {})", self.kem, self.digest())
    }
}

impl std::str::FromStr for WrappingKey {
    type Err = ParseWrappingKeyError;

    fn from_str(text: &str) -> Result<Self, ParseWrappingKeyError> {
        let (name, hex) = text.split_once(':').ok_or(ParseWrappingKeyError)?;
        let kem = Kem::named(name).ok_or(ParseWrappingKeyError)?;
        let mut bytes = vec![0; kem.public_key_bytes()];
        decode_into(hex, &mut bytes).map_err(|_| ParseWrappingKeyError)?;
        Ok(Self { kem, bytes })
    }
}

impl serde::Serialize for WrappingKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for WrappingKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_round_trips_and_is_the_only_one() {
        for kem in Kem::ALL {
            let key = WrappingKey::new(kem, vec![0xa7; kem.public_key_bytes()]).unwrap();
            let text = key.to_string();
            assert_eq!(text.parse(), Ok(key.clone()));
            for bad in [
                text.to_uppercase(),
                text.replace(':', ""),
                text.replace(kem.name(), "x448"),
                format!("{text}00"),
                text[..text.len() - 2].to_owned(),
                format!(" {text}"),
            ] {
                assert_eq!(bad.parse::<WrappingKey>(), Err(ParseWrappingKeyError), "{bad}");
            }
            assert!(WrappingKey::new(kem, vec![0; kem.public_key_bytes() + 1]).is_err());
        }
    }

    #[test]
    fn every_byte_and_the_kem_change_the_digest() {
        let key =
            |kem: Kem, byte| WrappingKey::new(kem, vec![byte; kem.public_key_bytes()]).unwrap().digest();
        let digests = [key(Kem::X25519, 1), key(Kem::X25519, 2), key(Kem::XWing, 1), key(Kem::XWing, 2)];
        assert!((1..4).all(|at| !digests[..at].contains(&digests[at])));
    }
}
