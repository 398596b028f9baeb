//! The private key of one who may read logs.

use anchorhold_hpke::{Error, PrivateKey};
use anchorhold_rats::{Kem, Secret, WrappingKey, hex};
use std::fmt;
use zeroize::Zeroizing;

/// The longest file of a reader's key, in bytes.
pub const READER_KEY_FILE_BYTES: usize = 256;
const PREFIX: &str = "anchorhold-log-reader-v1:";

/// Text that is no reader's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReaderKeyError;

impl fmt::Display for ReaderKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a log reader's private key, as `anchorhold audit reader new` makes it")
    }
}

impl std::error::Error for ReaderKeyError {}

/// The private key of one who may read logs. It serves nothing else. Wiped on drop, and shown by its public half.
#[derive(Debug)]
pub struct ReaderKey {
    kem: Kem,
    seed: Secret<32>,
    key: PrivateKey,
}

impl ReaderKey {
    /// A fresh key.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn generate(kem: Kem) -> Result<Self, Error> {
        Ok(Self::from_seed(kem, Secret::random().map_err(|_| Error::Random)?))
    }

    /// The key that belongs to `seed` (RFC 9180, section 7.1.3, `DeriveKeyPair`).
    #[must_use]
    pub fn from_seed(kem: Kem, seed: Secret<32>) -> Self {
        Self { kem, key: PrivateKey::from_seed(kem, &seed), seed }
    }

    /// Reads the file of a key: the KEM's name and the seed in hex, in its one spelling.
    ///
    /// # Errors
    /// [`ReaderKeyError`].
    pub fn from_text(text: &str) -> Result<Self, ReaderKeyError> {
        let line = text.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix('\n'));
        let (name, seed) = line.and_then(|line| line.split_once(':')).ok_or(ReaderKeyError)?;
        let kem = Kem::named(name).ok_or(ReaderKeyError)?;
        let seed = Zeroizing::new(unhex(seed).ok_or(ReaderKeyError)?);
        Secret::copy_from(&seed).map(|seed| Self::from_seed(kem, seed)).ok_or(ReaderKeyError)
    }

    /// The file of the key; secret.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let seed = Zeroizing::new(hex(self.seed.expose()));
        Zeroizing::new(format!("{PREFIX}{}:{}\n", self.kem, *seed))
    }

    /// What the settings of guests name.
    #[must_use]
    pub const fn public_key(&self) -> &WrappingKey {
        self.key.public_key()
    }

    pub(crate) fn open(
        &self,
        info: &[u8],
        enc: &[u8],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.key.open(info, enc, ciphertext)
    }
}

/// The bytes of lower-case hex.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |[high, low]: &[u8; 2]| Some(digit(high)? << 4 | digit(low)?);
    rest.is_empty().then(|| pairs.iter().map(byte).collect())?
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at a surprise")]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_a_key_round_trips_and_is_the_only_one() {
        for kem in Kem::ALL {
            let key = ReaderKey::from_seed(kem, Secret::take(&mut [0xa7; 32]));
            let text = key.to_text();
            assert!(text.len() <= READER_KEY_FILE_BYTES);
            assert_eq!(ReaderKey::from_text(&text).unwrap().public_key(), key.public_key());
            for bad in [
                text.trim().to_owned(),
                format!("{}\n", *text),
                text.to_uppercase(),
                text.replace(kem.name(), "x448"),
                text.replace("a7a7", "a7"),
                text.replace("a7a7", "a7a"),
                text.replace("a7a7", "a7zz"),
                text.replace("reader-v1", "reader-v2"),
            ] {
                assert_eq!(ReaderKey::from_text(&bad).map(drop), Err(ReaderKeyError), "{bad}");
            }
        }
    }

    #[test]
    fn a_key_is_shown_by_its_public_half() {
        let shown = format!("{:?}", ReaderKey::from_seed(Kem::X25519, Secret::take(&mut [0xa7; 32])));
        assert!(!shown.contains("167") && !shown.contains("a7a7"), "{shown}");
    }
}
