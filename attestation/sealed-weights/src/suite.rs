//! The suites: which hash makes the leaves of an object's tree. Everything else is the same in both.

use std::fmt;

use ring::digest::{Context, SHA256};

use crate::merkle::{self, Hash};

/// The context string of BLAKE3's key derivation mode (BLAKE3 specification, section 2.9), which keeps these hashes apart
/// from all others.
const BLAKE3_CONTEXT: &str = "anchorhold sealed-weights v2 segment";

/// The algorithms of a package, chosen by its owner and signed in its manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Suite {
    /// SHA-256 throughout.
    #[default]
    Sha256,
    /// BLAKE3 over segments, SHA-256 above them.
    Blake3,
}

impl Suite {
    /// Both suites.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Blake3];

    /// The suite as the manifest writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "floe-aes256gcm-hkdfsha384.rfc6962-sha256.ed25519",
            Self::Blake3 => "floe-aes256gcm-hkdfsha384.rfc6962-sha256-blake3-leaves.ed25519",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.as_str() == name)
    }

    pub(crate) fn leaf_hasher(self) -> LeafHasher {
        match self {
            Self::Sha256 => {
                let mut context = Context::new(&SHA256);
                context.update(&[0]);
                LeafHasher::Sha256(Box::new(context))
            }
            Self::Blake3 => LeafHasher::Blake3(Box::new(blake3::Hasher::new_derive_key(BLAKE3_CONTEXT))),
        }
    }

    /// The leaf hash of `bytes`.
    pub(crate) fn leaf(self, bytes: &[u8]) -> Hash {
        let mut hasher = self.leaf_hasher();
        hasher.update(bytes);
        hasher.finish()
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A leaf hash that is fed in pieces.
pub(crate) enum LeafHasher {
    Sha256(Box<Context>),
    Blake3(Box<blake3::Hasher>),
}

impl LeafHasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(context) => context.update(bytes),
            Self::Blake3(hasher) => {
                hasher.update(bytes);
            }
        }
    }

    pub(crate) fn finish(self) -> Hash {
        match self {
            Self::Sha256(context) => merkle::finish(*context),
            Self::Blake3(hasher) => *hasher.finalize().as_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    #[test]
    fn names_are_distinct_and_read_back() {
        for suite in Suite::ALL {
            assert_eq!(Suite::from_name(&suite.to_string()), Some(suite));
        }
        assert_eq!(Suite::from_name("floe-null.rfc6962-sha256.ed25519"), None);
    }

    #[test]
    fn leaves_are_those_of_the_specifications() {
        // RFC 6962 section 2.1.3 by way of Certificate Transparency's shared vectors: the leaf of no byte.
        let empty = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
        assert_eq!(hex::encode(&Suite::Sha256.leaf(b"")), empty);
        assert_eq!(Suite::Blake3.leaf(b"segment"), blake3::derive_key(BLAKE3_CONTEXT, b"segment"));
        assert_ne!(Suite::Blake3.leaf(b""), *blake3::hash(b"").as_bytes());
    }

    #[test]
    fn pieces_hash_like_the_whole() {
        let bytes: Vec<u8> = (0..10_000_u32).map(|at| (at % 251) as u8).collect();
        for suite in Suite::ALL {
            for size in [1, 63, 1024, 4096] {
                let mut hasher = suite.leaf_hasher();
                bytes.chunks(size).for_each(|piece| hasher.update(piece));
                assert_eq!(hasher.finish(), suite.leaf(&bytes), "{suite} {size}");
            }
        }
    }
}
