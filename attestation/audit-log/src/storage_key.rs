//! Entries as they lie on the disk: encrypted under a key that the writer's memory holds, and those to whom it gave copies.
//!
//! AES-256-GCM (NIST SP 800-38D) with the entry's index as the nonce. Nobody sees one key and nonce with two plaintexts: a key is made for
//! one log, which takes it by value and is never continued; in it one ciphertext of each index reaches the medium, because the first call of
//! the medium that fails poisons the log. What is staged and given up again (a batch with an event that cannot be encoded) never left
//! memory. The index in the nonce also keeps an entry in its place: at another it does not open.

use crate::LogPlace;
use crate::reader::{ReadError, io_error, read_small};
use crate::storage::KEY_COPIES_FILE;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use std::fmt;
use std::io;
use std::sync::Arc;

/// The length of a key in bytes.
pub const STORAGE_KEY_BYTES: usize = 32;
/// What an encrypted entry has more than its plaintext, in bytes.
pub(crate) const TAG_BYTES: usize = 16;

fn aead(key: &[u8; STORAGE_KEY_BYTES]) -> LessSafeKey {
    // A key of this length is always taken.
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("AES-256 takes every key of 32 bytes"))
}

fn nonce(index: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    let (_, low) = nonce.split_at_mut(NONCE_LEN - 8);
    low.copy_from_slice(&index.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

/// What one log encrypts its entries under. Made fresh, not copied, and used up by the log that begins with it.
pub struct StorageKey(LessSafeKey);

impl StorageKey {
    /// A fresh key, and its bytes for those who may read the log.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn generate() -> io::Result<(Self, [u8; STORAGE_KEY_BYTES])> {
        let mut bytes = [0; STORAGE_KEY_BYTES];
        crate::random::fill(&mut bytes).map_err(|_| io::Error::other("the system gives no randomness"))?;
        Ok((Self(aead(&bytes)), bytes))
    }

    /// Encrypts the entry at `index` in place and gives back its tag.
    pub(crate) fn seal(&self, index: u64, header: [u8; 4], entry: &mut [u8]) -> [u8; TAG_BYTES] {
        let tag = self.0.seal_in_place_separate_tag(nonce(index), Aad::from(header), entry);
        let tag = tag.expect("an entry is far below the 64 GiB of one message");
        tag.as_ref().try_into().expect("GCM's tag has 16 bytes")
    }
}

impl fmt::Debug for StorageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StorageKey")
    }
}

/// What opens the entries of one log. It encrypts nothing.
#[derive(Clone)]
pub struct ReadingKey(Arc<LessSafeKey>);

impl ReadingKey {
    /// From the bytes that came with the [`StorageKey`].
    #[must_use]
    pub fn new(bytes: &[u8; STORAGE_KEY_BYTES]) -> Self {
        Self(Arc::new(aead(bytes)))
    }

    /// Decrypts the entry at `index` in place; false when it is not what was encrypted for that place.
    pub(crate) fn open(&self, index: u64, header: [u8; 4], body: &mut Vec<u8>) -> bool {
        let length = match self.0.open_in_place(nonce(index), Aad::from(header), body) {
            Ok(plaintext) => plaintext.len(),
            Err(_) => return false,
        };
        body.truncate(length);
        true
    }
}

impl fmt::Debug for ReadingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReadingKey")
    }
}

/// The copies of the key that a log's directory holds for its readers, as the writer stored them; `None` when there are none. Nothing is
/// known of them yet: a host may have written others.
///
/// # Errors
/// [`ReadError::Io`].
pub fn read_key_copies<'a>(log: impl Into<LogPlace<'a>>) -> Result<Option<Vec<u8>>, ReadError> {
    match read_small(&log.into().path.join(KEY_COPIES_FILE)) {
        Ok(copies) => Ok(Some(copies)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("read the copies of the log's key")(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_opens_at_its_place_with_its_header_and_key_alone() {
        let (key, bytes) = StorageKey::generate().unwrap();
        let mut sealed = b"an entry".to_vec();
        let tag = key.seal(7, [1; 4], &mut sealed);
        assert_ne!(sealed, b"an entry");
        sealed.extend_from_slice(&tag);
        let reading = ReadingKey::new(&bytes);
        let open = |key: &ReadingKey, index, header| {
            let mut body = sealed.clone();
            key.open(index, header, &mut body).then_some(body)
        };
        assert_eq!(open(&reading, 7, [1; 4]).as_deref(), Some(b"an entry".as_slice()));
        assert_eq!(open(&reading, 8, [1; 4]), None);
        assert_eq!(open(&reading, 7, [2; 4]), None);
        let (_, other) = StorageKey::generate().unwrap();
        assert_eq!(open(&ReadingKey::new(&other), 7, [1; 4]), None);
        assert!(!reading.open(7, [1; 4], &mut Vec::new()));
    }

    #[test]
    fn keys_show_their_kind_alone() {
        let (key, bytes) = StorageKey::generate().unwrap();
        assert_eq!(format!("{key:?} {:?}", ReadingKey::new(&bytes)), "StorageKey ReadingKey");
    }
}
