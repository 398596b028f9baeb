//! Proofs (c2sp.org/tlog-proof v1): one file that shows, without the log, that an entry stands in it.

use super::decimal;
use super::policy::{Accepted, Policy, PolicyRefusal};
use crate::Hash;
use crate::merkle::{self, MAX_PROOF_HASHES, Place, ProofError};
use crate::note::{MAX_NOTE_BYTES, Note};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::fmt;

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";
/// The most bytes of extra data that are read.
pub const MAX_EXTRA_BYTES: usize = 16 * 1024;
/// The longest proof that is read: the note, the hashes, the extra data in base64 and the other lines.
pub const MAX_PROOF_BYTES: usize = MAX_NOTE_BYTES + MAX_PROOF_HASHES * 45 + MAX_EXTRA_BYTES / 3 * 4 + 128;

/// Why a proof was not read or proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlogProofError {
    /// Not a proof in its one spelling, or over a limit.
    Malformed,
    /// Its checkpoint was refused.
    Policy(PolicyRefusal),
    /// The hashes do not lead from the entry to the checkpoint's root.
    NotProven(ProofError),
}

impl fmt::Display for TlogProofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("not a proof of the form c2sp.org/tlog-proof@v1"),
            Self::Policy(error) => write!(f, "{error}"),
            Self::NotProven(error) => write!(f, "inclusion is not proven: {error}"),
        }
    }
}

impl std::error::Error for TlogProofError {}

/// A proof that was read and shows nothing yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    extra: Option<Vec<u8>>,
    index: u64,
    hashes: Vec<Hash>,
    note: Vec<u8>,
}

impl TlogProof {
    /// The proof that the leaf at `index` is in the tree of the checkpoint `note`.
    ///
    /// # Errors
    /// [`TlogProofError::Malformed`] for more hashes than any tree needs, or a checkpoint that is no note.
    pub fn new(index: u64, hashes: Vec<Hash>, note: Vec<u8>) -> Result<Self, TlogProofError> {
        if hashes.len() > MAX_PROOF_HASHES || Note::parse(&note).is_err() {
            return Err(TlogProofError::Malformed);
        }
        Ok(Self { extra: None, index, hashes, note })
    }

    /// Reads a proof.
    ///
    /// # Errors
    /// [`TlogProofError::Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TlogProofError> {
        if bytes.len() > MAX_PROOF_BYTES {
            return Err(TlogProofError::Malformed);
        }
        std::str::from_utf8(bytes).ok().and_then(Self::parse).ok_or(TlogProofError::Malformed)
    }

    fn parse(text: &str) -> Option<Self> {
        let (head, note) = text.split_once("\n\n")?;
        let mut lines = head.split('\n');
        if lines.next()? != FIRST_LINE {
            return None;
        }
        let mut line = lines.next()?;
        let extra = match line.strip_prefix("extra ") {
            None => None,
            Some(encoded) => {
                line = lines.next()?;
                Some(BASE64.decode(encoded).ok().filter(|extra| extra.len() <= MAX_EXTRA_BYTES)?)
            }
        };
        let index = decimal(line.strip_prefix("index ")?)?;
        let mut hashes = Vec::new();
        for line in lines {
            if hashes.len() == MAX_PROOF_HASHES {
                return None;
            }
            // The engine refuses missing padding and non-zero trailing bits.
            hashes.push(Hash::try_from(BASE64.decode(line).ok()?.as_slice()).ok()?);
        }
        Self::new(index, hashes, note.as_bytes().to_vec()).ok().map(|proof| Self { extra, ..proof })
    }

    /// The file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("{FIRST_LINE}\n");
        if let Some(extra) = &self.extra {
            text.push_str(&format!("extra {}\n", BASE64.encode(extra)));
        }
        text.push_str(&format!("index {}\n", self.index));
        for hash in &self.hashes {
            text.push_str(&BASE64.encode(hash.as_bytes()));
            text.push('\n');
        }
        text.push('\n');
        [text.as_bytes(), &self.note].concat()
    }

    /// Which leaf it is about.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// What the file carries beside; nothing shows that it is anybody's word.
    #[must_use]
    pub fn unverified_extra(&self) -> Option<&[u8]> {
        self.extra.as_deref()
    }

    /// Establishes that a log which `policy` names signed, and enough of its witnesses saw, a tree whose leaf at [`index`](Self::index)
    /// is `leaf`. Presumes that the policy is the caller's own.
    ///
    /// # Errors
    /// [`TlogProofError`].
    pub fn verify(&self, leaf: &[u8], policy: &Policy) -> Result<Accepted, TlogProofError> {
        let accepted = policy.judge(&self.note).map_err(TlogProofError::Policy)?;
        let head = accepted.checkpoint().head;
        let place = Place { index: self.index, size: head.size };
        merkle::verify_inclusion(&merkle::leaf_hash(leaf), place, &self.hashes, &head.root)
            .map_err(TlogProofError::NotProven)?;
        Ok(accepted)
    }
}
