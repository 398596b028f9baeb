//! A wrapped secret as it is stored.
//!
//! ```text
//! magic       4 bytes   "AKB1"
//! id length   1 byte    1 to 32
//! id                    the key-encryption key's id
//! version     4 bytes   the key's version, from 1, big-endian
//! commitment  32 bytes  HMAC-SHA-256 under the secret
//! sealed                the rest, 1 to 4,096 bytes, in the form of the key's backend
//! ```

use super::{KekId, Sealed};
use std::fmt;

const MAGIC: &[u8; 4] = b"AKB1";
/// The longest secret that is wrapped, in bytes: a certificate with many names.
pub const MAX_SECRET_BYTES: usize = 2048;
/// The most bytes that a backend may make of a secret.
const MAX_SEALED_BYTES: usize = 4096;
/// The length of a commitment in bytes.
pub(super) const COMMITMENT_BYTES: usize = 32;

/// Bytes that are no wrapped secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobError {
    /// It begins with other bytes.
    Magic,
    /// It ends too early.
    Truncated,
    /// The key's id is none.
    Id,
    /// There is no version 0.
    Version,
    /// What the backend made is empty or too long.
    Sealed {
        /// Its length in bytes.
        observed_bytes: usize,
    },
}

impl fmt::Display for BlobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("it does not begin with AKB1"),
            Self::Truncated => f.write_str("it ends too early"),
            Self::Id => f.write_str("it names no key-encryption key"),
            Self::Version => f.write_str("it names version 0 of its key"),
            Self::Sealed { observed_bytes } => {
                write!(f, "it holds {observed_bytes} bytes of ciphertext, wanted 1 to {MAX_SEALED_BYTES}")
            }
        }
    }
}

impl std::error::Error for BlobError {}

/// A wrapped secret with the key-encryption key that opens it. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    kek: KekId,
    commitment: [u8; COMMITMENT_BYTES],
    sealed: Sealed,
}

impl Blob {
    /// A blob of what a backend made.
    ///
    /// # Errors
    /// [`BlobError::Version`] and [`BlobError::Sealed`] when a backend made what cannot be stored.
    pub fn new(kek: KekId, commitment: [u8; COMMITMENT_BYTES], sealed: Sealed) -> Result<Self, BlobError> {
        let observed_bytes = sealed.bytes.len();
        if sealed.version == 0 {
            return Err(BlobError::Version);
        }
        if observed_bytes == 0 || observed_bytes > MAX_SEALED_BYTES {
            return Err(BlobError::Sealed { observed_bytes });
        }
        Ok(Self { kek, commitment, sealed })
    }

    /// Reads a blob. What [`to_bytes`](Self::to_bytes) writes is read back the same, and nothing else is read.
    ///
    /// # Errors
    /// [`BlobError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BlobError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(BlobError::Magic)?;
        let (length, rest) = rest.split_first().ok_or(BlobError::Truncated)?;
        let (id, rest) = rest.split_at_checked(usize::from(*length)).ok_or(BlobError::Truncated)?;
        let (version, rest) = rest.split_first_chunk::<4>().ok_or(BlobError::Truncated)?;
        let (commitment, sealed) =
            rest.split_first_chunk::<COMMITMENT_BYTES>().ok_or(BlobError::Truncated)?;
        let kek = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok()).ok_or(BlobError::Id)?;
        let sealed = Sealed { version: u32::from_be_bytes(*version), bytes: sealed.to_vec() };
        Self::new(kek, *commitment, sealed)
    }

    /// The bytes to store.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let id = self.kek.as_str().as_bytes();
        let mut out = MAGIC.to_vec();
        out.push(u8::try_from(id.len()).expect("an id has at most 32 bytes"));
        out.extend_from_slice(id);
        out.extend_from_slice(&self.sealed.version.to_be_bytes());
        out.extend_from_slice(&self.commitment);
        out.extend_from_slice(&self.sealed.bytes);
        out
    }

    /// The key-encryption key that opens it.
    #[must_use]
    pub const fn kek(&self) -> &KekId {
        &self.kek
    }

    /// What the backend made.
    #[must_use]
    pub const fn sealed(&self) -> &Sealed {
        &self.sealed
    }

    pub(super) const fn commitment(&self) -> &[u8; COMMITMENT_BYTES] {
        &self.commitment
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob() -> Blob {
        let sealed = Sealed { version: 7, bytes: vec![9; 60] };
        Blob::new("file-1".parse().unwrap(), [3; 32], sealed).unwrap()
    }

    #[test]
    fn a_blob_is_read_back_as_it_was_written() {
        assert_eq!(Blob::parse(&blob().to_bytes()), Ok(blob()));
    }

    #[test]
    fn the_form_on_disk_is_the_documented_one() {
        let bytes = blob().to_bytes();
        assert_eq!(bytes[..15], *b"AKB1\x06file-1\0\0\0\x07");
        assert_eq!(bytes[15..47], [3; 32]);
        assert_eq!(bytes[47..], [9; 60]);
    }

    #[test]
    fn refuses_every_prefix() {
        let bytes = blob().to_bytes();
        // From the first byte of the ciphertext on, a prefix is a blob that does not open.
        for end in 0..=47 {
            assert!(Blob::parse(&bytes[..end]).is_err(), "{end}");
        }
        assert_eq!(Blob::parse(&bytes[..47]), Err(BlobError::Sealed { observed_bytes: 0 }));
    }

    #[test]
    fn refuses_other_magic_ids_and_version_0() {
        let altered = |at: usize, value: u8| {
            let mut bytes = blob().to_bytes();
            bytes[at] = value;
            Blob::parse(&bytes)
        };
        assert_eq!(altered(3, b'2'), Err(BlobError::Magic));
        assert_eq!(altered(5, b'F'), Err(BlobError::Id));
        assert_eq!(altered(5, 0xff), Err(BlobError::Id));
        assert_eq!(altered(14, 0), Err(BlobError::Version));
        let mut empty = b"AKB1\0".to_vec();
        empty.extend_from_slice(&[1; 60]);
        assert_eq!(Blob::parse(&empty), Err(BlobError::Id));
    }

    #[test]
    fn refuses_ciphertext_over_the_limit() {
        let with = |length: usize| {
            let mut bytes = blob().to_bytes();
            bytes.truncate(47);
            bytes.resize(47 + length, 1);
            Blob::parse(&bytes).map(drop)
        };
        assert_eq!(with(4096), Ok(()));
        assert_eq!(with(4097), Err(BlobError::Sealed { observed_bytes: 4097 }));
    }
}
