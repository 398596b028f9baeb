//! Checkpoints (c2sp.org/tlog-checkpoint): a log's name, size and root hash, signed as a note.

use crate::Hash;
use crate::merkle::{self, ProofError, TreeHead};
use crate::note::{Note, NoteError, Signer, VerifierKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::fmt;

/// The most extension lines that are read.
pub const MAX_EXTENSION_LINES: usize = 16;

/// The extension line of a log's last checkpoint: the log says that nothing follows.
const CLOSED: &str = "closed";

/// Why bytes are not a checkpoint of the log in question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointError {
    /// The note was refused.
    Note(NoteError),
    /// The text is not origin, size, root hash and extension lines.
    Text,
    /// It speaks of another log than the one whose key signed.
    Origin,
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Note(error) => write!(f, "checkpoint: {error}"),
            Self::Text => f.write_str("text is not that of a checkpoint"),
            Self::Origin => f.write_str("checkpoint is of another log than its key"),
        }
    }
}

impl std::error::Error for CheckpointError {}

impl From<NoteError> for CheckpointError {
    fn from(error: NoteError) -> Self {
        Self::Note(error)
    }
}

/// Why two checkpoints of one log do not show one history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsistencyError {
    /// They are of different logs.
    DifferentLogs,
    /// Same size, different roots: the log signed two histories. The two checkpoints are the proof.
    Equivocation {
        /// The size.
        size: u64,
    },
    /// The proof does not lead from the one to the other.
    NotProven(ProofError),
}

impl fmt::Display for ConsistencyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DifferentLogs => f.write_str("checkpoints are of different logs"),
            Self::Equivocation { size } => write!(f, "the log signed two histories of {size} entries"),
            Self::NotProven(error) => write!(f, "consistency is not proven: {error}"),
        }
    }
}

impl std::error::Error for ConsistencyError {}

/// What a checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// Size and root.
    pub head: TreeHead,
    /// Lines of the log's own. This crate writes one, under a log's last checkpoint; see [`closing`](Self::closing).
    pub extensions: Vec<String>,
}

impl Checkpoint {
    /// A checkpoint without extension lines.
    #[must_use]
    pub fn new(origin: &str, head: TreeHead) -> Self {
        Self { origin: origin.to_owned(), head, extensions: Vec::new() }
    }

    /// The checkpoint with which a log ends. A witness sees no entries, so this is how it learns that the log was closed.
    #[must_use]
    pub fn closing(origin: &str, head: TreeHead) -> Self {
        Self { extensions: vec![CLOSED.to_owned()], ..Self::new(origin, head) }
    }

    /// Whether the log says with it that nothing follows.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.extensions.iter().any(|line| line == CLOSED)
    }

    /// The note text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let root = BASE64.encode(self.head.root.as_bytes());
        let mut text = format!("{}\n{}\n{root}\n", self.origin, self.head.size);
        for line in &self.extensions {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// Reads a note text.
    ///
    /// # Errors
    /// [`CheckpointError::Text`].
    pub fn from_text(text: &str) -> Result<Self, CheckpointError> {
        let text = text.strip_suffix('\n').ok_or(CheckpointError::Text)?;
        let mut lines = text.split('\n');
        let mut line = || lines.next().filter(|line| !line.is_empty()).ok_or(CheckpointError::Text);
        let (origin, size, root) = (line()?, line()?, line()?);
        let canonical = size == "0" || !size.starts_with('0');
        if !canonical || !size.bytes().all(|c| c.is_ascii_digit()) {
            return Err(CheckpointError::Text);
        }
        let size = size.parse().map_err(|_| CheckpointError::Text)?;
        let root = BASE64.decode(root).map_err(|_| CheckpointError::Text)?;
        let root = Hash::try_from(root.as_slice()).map_err(|_| CheckpointError::Text)?;
        let extensions: Vec<String> = lines.by_ref().take(MAX_EXTENSION_LINES).map(String::from).collect();
        if lines.next().is_some() || extensions.iter().any(String::is_empty) {
            return Err(CheckpointError::Text);
        }
        Ok(Self { origin: origin.to_owned(), head: TreeHead { size, root }, extensions })
    }

    /// This checkpoint as a signed note.
    ///
    /// # Errors
    /// [`NoteError::Text`].
    pub fn sign(&self, signer: &Signer) -> Result<Vec<u8>, NoteError> {
        signer.sign(&self.to_text())
    }

    /// Establishes that the holder of `key` signed this checkpoint of the log that the key is named after.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn verify(note: &[u8], key: &VerifierKey) -> Result<Self, CheckpointError> {
        let note = Note::parse(note)?;
        let checkpoint = Self::from_text(note.verify(std::slice::from_ref(key))?.text())?;
        if checkpoint.origin == key.name() { Ok(checkpoint) } else { Err(CheckpointError::Origin) }
    }

    /// Establishes that `newer` extends this checkpoint. Presumes that both were verified.
    ///
    /// # Errors
    /// [`ConsistencyError`].
    pub fn verify_extended_by(&self, newer: &Self, proof: &[Hash]) -> Result<(), ConsistencyError> {
        if self.origin != newer.origin {
            return Err(ConsistencyError::DifferentLogs);
        }
        if self.head.size == newer.head.size && self.head.root != newer.head.root {
            return Err(ConsistencyError::Equivocation { size: self.head.size });
        }
        merkle::verify_consistency(&self.head, &newer.head, proof).map_err(ConsistencyError::NotProven)
    }
}
