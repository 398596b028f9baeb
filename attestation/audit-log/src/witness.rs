//! The witness protocol (c2sp.org/tlog-witness), both ends, without I/O: the `add-checkpoint` request, and when a witness
//! takes it.
//!
//! A witness that has no cosignature for a log knows its head as that of the empty tree. It stores the head
//! that [`judge`] accepts, atomically with the look at the one before, and only then cosigns.

use crate::Hash;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::merkle::{self, TreeHead};
use crate::note::{Note, NoteError, VerifierKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::fmt;

/// The longest request that is read, in bytes.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;
/// The most hashes of a proof, as the specification says.
pub const MAX_PROOF_LINES: usize = 63;
/// The content type of a 409 answer, whose body is a tree size.
pub const SIZE_CONTENT_TYPE: &str = "text/x.tlog.size";

/// Why a witness does not cosign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WitnessRefusal {
    /// Not a request of the protocol, or an old size above the checkpoint's.
    Malformed,
    /// The witness does not know the log.
    UnknownLog,
    /// The log's key did not sign the checkpoint.
    NotSigned,
    /// The old size is not that of the last checkpoint which the witness cosigned.
    Conflict {
        /// That size.
        size: u64,
    },
    /// The log signed another root hash for the size that the witness cosigned: two histories.
    Fork {
        /// The size.
        size: u64,
    },
    /// The consistency proof does not lead from the one checkpoint to the other: two histories, or a wrong proof.
    NotProven,
}

impl WitnessRefusal {
    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::NotSigned => 403,
            Self::UnknownLog => 404,
            Self::Conflict { .. } | Self::Fork { .. } => 409,
            Self::NotProven => 422,
        }
    }

    /// The tree size that the body of a 409 answer tells.
    #[must_use]
    pub const fn size(self) -> Option<u64> {
        match self {
            Self::Conflict { size } | Self::Fork { size } => Some(size),
            _ => None,
        }
    }

    /// Whether the log's own signature shows, or suggests, two histories; worth keeping.
    #[must_use]
    pub const fn suggests_equivocation(self) -> bool {
        matches!(self, Self::Fork { .. } | Self::NotProven)
    }
}

impl fmt::Display for WitnessRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("not an add-checkpoint request"),
            Self::UnknownLog => f.write_str("the witness does not know the log"),
            Self::NotSigned => f.write_str("the log's key did not sign the checkpoint"),
            Self::Conflict { size } => write!(f, "the last cosigned checkpoint has size {size}"),
            Self::Fork { size } => write!(f, "another root hash was cosigned for size {size}"),
            Self::NotProven => f.write_str("the proof does not lead from the last cosigned checkpoint"),
        }
    }
}

impl std::error::Error for WitnessRefusal {}

/// A request that was read: of the protocol's shape, and nothing more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    old_size: u64,
    proof: Vec<Hash>,
    note: Vec<u8>,
    checkpoint: Checkpoint,
}

impl AddCheckpoint {
    /// The request that takes a witness from `old_size` to the checkpoint of `note`.
    ///
    /// # Errors
    /// [`WitnessRefusal::Malformed`] for whatever a witness would answer so.
    pub fn new(old_size: u64, proof: Vec<Hash>, note: Vec<u8>) -> Result<Self, WitnessRefusal> {
        let text = Note::parse(&note).map_err(|_| WitnessRefusal::Malformed)?;
        let checkpoint =
            Checkpoint::from_text(text.unverified_text()).map_err(|_| WitnessRefusal::Malformed)?;
        let too_long = proof.len() > MAX_PROOF_LINES || (old_size == 0 && !proof.is_empty());
        if too_long || old_size > checkpoint.head.size {
            return Err(WitnessRefusal::Malformed);
        }
        Ok(Self { old_size, proof, note, checkpoint })
    }

    /// Reads a request's body, in its one spelling.
    ///
    /// # Errors
    /// [`WitnessRefusal::Malformed`].
    pub fn from_bytes(body: &[u8]) -> Result<Self, WitnessRefusal> {
        if body.len() > MAX_REQUEST_BYTES {
            return Err(WitnessRefusal::Malformed);
        }
        Self::parse(std::str::from_utf8(body).ok().unwrap_or_default()).ok_or(WitnessRefusal::Malformed)
    }

    fn parse(text: &str) -> Option<Self> {
        let (head, note) = text.split_once("\n\n")?;
        let mut lines = head.split('\n');
        let old = lines.next()?.strip_prefix("old ")?;
        let canonical = old == "0" || !old.starts_with('0');
        if !canonical || !old.bytes().all(|c| c.is_ascii_digit()) {
            return None;
        }
        let mut proof = Vec::new();
        for line in lines {
            if proof.len() == MAX_PROOF_LINES {
                return None;
            }
            // The engine refuses missing padding and non-zero trailing bits.
            proof.push(Hash::try_from(BASE64.decode(line).ok()?.as_slice()).ok()?);
        }
        Self::new(old.parse().ok()?, proof, note.as_bytes().to_vec()).ok()
    }

    /// The body.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut body = format!("old {}\n", self.old_size);
        for hash in &self.proof {
            body.push_str(&BASE64.encode(hash.as_bytes()));
            body.push('\n');
        }
        body.push('\n');
        [body.as_bytes(), &self.note].concat()
    }

    /// The checkpoint as it came: a note that nobody is shown to have signed.
    #[must_use]
    pub fn note(&self) -> &[u8] {
        &self.note
    }

    /// The log that the checkpoint claims to be of.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.checkpoint.origin
    }
}

/// A checkpoint that a witness may cosign once it has stored its head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnessed {
    checkpoint: Checkpoint,
    note: Vec<u8>,
}

impl Witnessed {
    /// What was proven.
    #[must_use]
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The note as it came.
    #[must_use]
    pub fn note(&self) -> &[u8] {
        &self.note
    }
}

/// Decides whether a witness that knows the log's head as `known` may cosign.
///
/// Establishes that the holder of `key` signed the checkpoint, and that the tree of `known` is the beginning of its tree.
/// Presumes that `key` is the log's and that `known` is the head last stored for it, or [`TreeHead::empty`].
///
/// # Errors
/// [`WitnessRefusal`].
pub fn judge(
    request: &AddCheckpoint,
    key: &VerifierKey,
    known: &TreeHead,
) -> Result<Witnessed, WitnessRefusal> {
    let checkpoint = Checkpoint::verify(&request.note, key).map_err(|error| match error {
        CheckpointError::Note(NoteError::NotSigned | NoteError::BadSignature) => WitnessRefusal::NotSigned,
        CheckpointError::Origin => WitnessRefusal::UnknownLog,
        _ => WitnessRefusal::Malformed,
    })?;
    if request.old_size != known.size {
        return Err(WitnessRefusal::Conflict { size: known.size });
    }
    if known.size == checkpoint.head.size && known.root != checkpoint.head.root {
        return Err(WitnessRefusal::Fork { size: known.size });
    }
    if known.size > 0 {
        merkle::verify_consistency(known, &checkpoint.head, &request.proof)
            .map_err(|_| WitnessRefusal::NotProven)?;
    }
    Ok(Witnessed { checkpoint, note: request.note.clone() })
}

/// Puts a witness's answer, one or more signature lines, behind the note that it cosigned.
///
/// # Errors
/// Those of [`Note::parse`] when the result is no note.
pub fn with_signatures(note: &[u8], lines: &[u8]) -> Result<Vec<u8>, NoteError> {
    let joined = [note, lines].concat();
    Note::parse(&joined).map(|_| joined)
}
