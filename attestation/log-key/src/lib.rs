//! The key to an audit log's entries, for those who may read them: one HPKE message (RFC 9180, base mode) to each reader, in one small file
//! beside the log.
//!
//! The guest calls [`KeyCopies::seal`] with the readers out of its measured settings; a reader calls [`KeyCopies::open`] with a
//! [`ReaderKey`]. There is no I/O here.
//!
//! Promised: the file tells a host nothing but how many readers there are and the digests of their keys. This crate does *not* show who wrote
//! the file: anybody can encrypt a key to a reader. A key that is not the log's opens none of its entries, and that they are the log's is for
//! its tree, its checkpoints and its evidence to show.

mod reader;

pub use reader::{READER_KEY_FILE_BYTES, ReaderKey, ReaderKeyError};

use anchorhold_hpke as hpke;
use anchorhold_rats::{Secret, Sha256Digest, WrappingKey, hex};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The most readers of one log.
pub const MAX_READERS: usize = 16;
/// The longest file of copies, in bytes: sixteen X-Wing messages in hex are 38 KiB.
pub const MAX_COPIES_BYTES: usize = 64 * 1024;
const FORMAT: &str = "anchorhold-log-key-v1";
const INFO: &[u8] = b"anchorhold audit log key v1\0";

/// Why there are no copies, or none that opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// A reader's public key is no usable key.
    Reader {
        /// Its place in the list, from 0.
        at: usize,
    },
    /// More than [`MAX_READERS`].
    TooMany {
        /// How many.
        observed: usize,
    },
    /// The same reader twice.
    Twice {
        /// The place of the second.
        at: usize,
    },
    /// The bytes are no file of copies.
    Malformed,
    /// None of the copies is for this key.
    NotAReader {
        /// How many readers there are.
        readers: usize,
    },
    /// The copy for this key was changed.
    Open,
    /// The system gives no randomness.
    Random,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reader { at } => write!(f, "reader {at} is no usable public key"),
            Self::TooMany { observed } => write!(f, "{observed} readers, the limit is {MAX_READERS}"),
            Self::Twice { at } => write!(f, "reader {at} is named twice"),
            Self::Malformed => f.write_str("the copies of the log's key are malformed"),
            Self::NotAReader { readers } => {
                write!(f, "the log's key was given to {readers} readers, and this key is none of theirs")
            }
            Self::Open => f.write_str("the copy of the log's key for this reader was changed"),
            Self::Random => f.write_str("the system gives no randomness"),
        }
    }
}

impl std::error::Error for Error {}

/// The copies, as they lie beside the log. What is read is claimed, until an entry opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyCopies {
    copies: Vec<KeyCopy>,
    format: String,
    /// The log's name, which the messages are bound to.
    origin: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyCopy {
    ciphertext: String,
    enc: String,
    /// The digest of the reader's key, by which a reader finds its copy.
    reader: Sha256Digest,
}

fn info(origin: &str) -> Vec<u8> {
    [INFO, origin.as_bytes()].concat()
}

impl KeyCopies {
    /// Encrypts the key of the log called `origin` to each reader.
    ///
    /// # Errors
    /// [`Error::Reader`], [`Error::TooMany`], [`Error::Twice`] or [`Error::Random`].
    pub fn seal(key: &Secret<32>, origin: &str, readers: &[WrappingKey]) -> Result<Self, Error> {
        if readers.len() > MAX_READERS {
            return Err(Error::TooMany { observed: readers.len() });
        }
        let mut copies: Vec<KeyCopy> = Vec::with_capacity(readers.len());
        for (at, reader) in readers.iter().enumerate() {
            let digest = reader.digest();
            if copies.iter().any(|copy| copy.reader == digest) {
                return Err(Error::Twice { at });
            }
            let sealed = hpke::seal(reader, &info(origin), key.expose()).map_err(|error| match error {
                hpke::Error::Random => Error::Random,
                hpke::Error::PublicKey | hpke::Error::Open => Error::Reader { at },
            })?;
            copies.push(KeyCopy {
                ciphertext: hex(&sealed.ciphertext),
                enc: hex(&sealed.enc),
                reader: digest,
            });
        }
        Ok(Self { copies, format: FORMAT.to_owned(), origin: origin.to_owned() })
    }

    /// The file.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Strings alone: there is nothing that could fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a file in its one spelling.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_COPIES_BYTES {
            return Err(Error::Malformed);
        }
        let copies: Self = serde_json::from_slice(bytes).map_err(|_| Error::Malformed)?;
        let fits = copies.format == FORMAT && copies.copies.len() <= MAX_READERS && copies.to_json() == bytes;
        if fits { Ok(copies) } else { Err(Error::Malformed) }
    }

    /// Opens the copy that was made for this reader.
    ///
    /// # Errors
    /// [`Error::NotAReader`], [`Error::Malformed`] or [`Error::Open`].
    pub fn open(&self, reader: &ReaderKey) -> Result<Secret<32>, Error> {
        let digest = reader.public_key().digest();
        let copy = self.copies.iter().find(|copy| copy.reader == digest);
        let copy = copy.ok_or(Error::NotAReader { readers: self.copies.len() })?;
        let unhex = |text: &str| reader::unhex(text).ok_or(Error::Malformed);
        let (enc, ciphertext) = (unhex(&copy.enc)?, unhex(&copy.ciphertext)?);
        let key = reader.open(&info(&self.origin), &enc, &ciphertext).map_err(|_| Error::Open)?;
        Secret::copy_from(&key).ok_or(Error::Open)
    }

    /// How many readers there are.
    #[must_use]
    pub const fn readers(&self) -> usize {
        self.copies.len()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests stop at a surprise")]
mod tests {
    use super::*;
    use anchorhold_rats::Kem;

    fn reader(kem: Kem) -> ReaderKey {
        ReaderKey::generate(kem).unwrap()
    }

    fn key() -> Secret<32> {
        Secret::take(&mut [7; 32])
    }

    fn copies(readers: &[&ReaderKey]) -> KeyCopies {
        let readers: Vec<_> = readers.iter().map(|reader| reader.public_key().clone()).collect();
        KeyCopies::seal(&key(), "acme/1", &readers).unwrap()
    }

    #[test]
    fn each_reader_opens_its_copy_and_nobody_else_does() {
        let (one, two, other) = (reader(Kem::X25519), reader(Kem::XWing), reader(Kem::X25519));
        let read = KeyCopies::from_json(&copies(&[&one, &two]).to_json()).unwrap();
        assert!(read.open(&one).unwrap() == key() && read.open(&two).unwrap() == key());
        assert_eq!(read.open(&other).unwrap_err(), Error::NotAReader { readers: 2 });
        assert_eq!(copies(&[]).open(&one).unwrap_err(), Error::NotAReader { readers: 0 });
    }

    #[test]
    fn the_key_is_not_in_the_file() {
        let json = copies(&[&reader(Kem::X25519)]).to_json();
        assert!(!String::from_utf8(json).unwrap().contains(&hex(key().expose())));
    }

    #[test]
    fn a_copy_that_was_changed_or_is_of_another_log_does_not_open() {
        let one = reader(Kem::X25519);
        let made = copies(&[&one]);
        let changes: [fn(&mut KeyCopies); 3] = [
            |copies| copies.origin = "acme/2".to_owned(),
            |copies| copies.copies[0].ciphertext.replace_range(0..2, "zz"),
            |copies| copies.copies[0].enc = hex(&[9; 32]),
        ];
        let found = changes.map(|change| {
            let mut changed = made.clone();
            change(&mut changed);
            KeyCopies::from_json(&changed.to_json()).unwrap().open(&one).unwrap_err()
        });
        assert_eq!(found, [Error::Open, Error::Malformed, Error::Open]);
        // A key of another length.
        let sealed = hpke::seal(one.public_key(), &info("acme/1"), &[7; 16]).unwrap();
        let mut short = made;
        (short.copies[0].enc, short.copies[0].ciphertext) = (hex(&sealed.enc), hex(&sealed.ciphertext));
        assert_eq!(short.open(&one).unwrap_err(), Error::Open);
    }

    #[test]
    fn refuses_files_that_are_none() {
        let one = reader(Kem::X25519);
        let json = String::from_utf8(copies(&[&one]).to_json()).unwrap();
        for changed in [
            String::new(),
            format!("{json} "),
            json.replace("-v1", "-v2"),
            json.replace("\"enc\"", "\"more\":1,\"enc\""),
            json.replace("\"origin\":\"acme/1\"", "\"origin\":1"),
        ] {
            assert_eq!(KeyCopies::from_json(changed.as_bytes()).unwrap_err(), Error::Malformed, "{changed}");
        }
        let mut many = copies(&[&one]);
        many.copies = vec![many.copies[0].clone(); MAX_READERS + 1];
        assert_eq!(KeyCopies::from_json(&many.to_json()).unwrap_err(), Error::Malformed);
        let long = vec![b' '; MAX_COPIES_BYTES + 1];
        assert_eq!(KeyCopies::from_json(&long).unwrap_err(), Error::Malformed);
    }

    #[test]
    fn as_many_readers_as_there_may_be_fit_into_the_file() {
        let readers: Vec<_> = (0..MAX_READERS).map(|_| reader(Kem::XWing)).collect();
        let made = copies(&readers.iter().collect::<Vec<_>>());
        assert_eq!(KeyCopies::from_json(&made.to_json()).unwrap().readers(), MAX_READERS);
    }

    #[test]
    fn refuses_readers_that_are_too_many_twice_or_no_keys() {
        let seal = |readers: &[WrappingKey]| KeyCopies::seal(&key(), "acme/1", readers).unwrap_err();
        let one = reader(Kem::X25519).public_key().clone();
        assert_eq!(seal(&[one.clone(), one.clone()]), Error::Twice { at: 1 });
        let zero = WrappingKey::new(Kem::X25519, vec![0; 32]).unwrap();
        assert_eq!(seal(&[one.clone(), zero]), Error::Reader { at: 1 });
        assert_eq!(seal(&vec![one; MAX_READERS + 1]), Error::TooMany { observed: MAX_READERS + 1 });
    }
}
