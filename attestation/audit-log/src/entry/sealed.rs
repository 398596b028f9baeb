//! The personal part of an entry. The log holds its ciphertext alone; the key is elsewhere, and can be destroyed.

use crate::Hex;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Cow;
use std::fmt;

/// The longest ciphertext of a personal part, in bytes.
pub const MAX_SEALED_BYTES: usize = 512;
/// What AES-256-GCM adds; nothing shorter is a ciphertext.
const TAG_BYTES: usize = 16;

/// The random name of the key of one subject and period. It says nothing of the subject.
pub type SubjectKeyId = Hex<16>;

/// Whom an entry is about, for the holder of the subject's key. The leaf commits to the ciphertext, so proofs do not depend on the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// AES-256-GCM, with its tag.
    pub ct: Ciphertext,
    /// Which key.
    pub kid: SubjectKeyId,
    /// The nonce, which this key has for no other entry.
    pub n: Hex<12>,
}

/// Bytes that are written in base64url without padding.
#[derive(Clone, PartialEq, Eq)]
pub struct Ciphertext(Vec<u8>);

impl Ciphertext {
    /// These bytes; `None` when they are shorter than a tag or longer than [`MAX_SEALED_BYTES`].
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        (TAG_BYTES..=MAX_SEALED_BYTES).contains(&bytes.len()).then_some(Self(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Ciphertext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ciphertext({} bytes)", self.0.len())
    }
}

impl Serialize for Ciphertext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Ciphertext {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let bytes = URL_SAFE_NO_PAD.decode(text.as_bytes()).ok();
        bytes.and_then(Self::new).ok_or_else(|| de::Error::custom("not a ciphertext of an entry"))
    }
}
