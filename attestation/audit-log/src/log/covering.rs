//! Checkpoints of a log under way: at most one is signed and not yet durable.

use super::{History, Log, LogError};
use crate::Hash;
use crate::checkpoint::Checkpoint;
use crate::entry::Stamp;
use crate::merkle::TreeHead;
use crate::note::NoteError;
use crate::slots;
use crate::storage::{ANCHORS_FILE, COSIGNED_FILE, CheckpointSlot, Storage};

/// What checkpoints cover.
#[derive(Debug)]
pub(super) struct Covering {
    /// The latest durable checkpoint, and its note.
    covered: TreeHead,
    note: Vec<u8>,
    /// One that was written and is not known to be durable.
    begun: Option<(TreeHead, Vec<u8>)>,
    /// How many were begun; the number of the latest.
    sequence: u64,
}

impl Covering {
    pub(super) fn new() -> Self {
        Self { covered: TreeHead::empty(), note: Vec::new(), begun: None, sequence: 0 }
    }
}

impl<S: Storage> Log<S> {
    /// Signs what is settled and stores the checkpoint; what is staged or submitted comes into a later one.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn checkpoint(&mut self) -> Result<Vec<u8>, LogError> {
        self.end_checkpoint()?;
        self.write_checkpoint()?;
        self.store("write the checkpoint", Storage::sync_slots)?;
        self.take_checkpoint();
        Ok(self.covering.note.clone())
    }

    /// Signs what is settled, and has the medium store the checkpoint beside the caller's own work. It is the
    /// [latest](Self::latest_checkpoint) when the next entries settle, or after [`settle`](Self::settle) or [`commit`](Self::commit). Nothing
    /// when one is under way.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn begin_checkpoint(&mut self) -> Result<(), LogError> {
        if self.covering.begun.is_some() {
            return self.is_sound();
        }
        self.write_checkpoint()?;
        self.store("write the checkpoint", Storage::begin_sync_slots)
    }

    /// Writes a checkpoint over the one before the latest, which must be durable.
    fn write_checkpoint(&mut self) -> Result<(), LogError> {
        self.is_sound()?;
        let kind = if self.has_ended { Checkpoint::closing } else { Checkpoint::new };
        let checkpoint = kind(self.signer.origin().as_str(), self.head());
        let note = checkpoint.sign(&self.signer).map_err(LogError::Sign)?;
        let sequence = self.covering.sequence + 1;
        // A log's name and one signature are far below it.
        let content = slots::encode(sequence, &note).ok_or(LogError::Sign(NoteError::TooLong))?;
        self.store("write the checkpoint", |storage| {
            storage.write_slot(CheckpointSlot::of(sequence), &content)
        })?;
        self.covering.sequence = sequence;
        self.covering.begun = Some((checkpoint.head, note));
        Ok(())
    }

    /// Waits until the checkpoint that was begun is durable.
    pub(super) fn end_checkpoint(&mut self) -> Result<(), LogError> {
        if self.covering.begun.is_some() {
            self.store("write the checkpoint", Storage::end_sync_slots)?;
            self.take_checkpoint();
        }
        Ok(())
    }

    /// The checkpoint that was begun is durable.
    fn take_checkpoint(&mut self) {
        let Some((head, note)) = self.covering.begun.take() else { return };
        (self.covering.covered, self.covering.note) = (head, note);
        if self.history == History::Alone {
            self.growth.rebase(head.size);
        }
    }

    /// Keeps, from now on, what it takes to prove to witnesses that the log grew and nothing else; see [`Growth`](crate::merkle::Growth).
    pub fn keep_growth(&mut self) {
        self.history = History::Witnessed;
    }

    /// The consistency proof from `old_size` to `size`; `None` when it cannot be made of what is kept.
    #[must_use]
    pub fn prove(&self, old_size: u64, size: u64) -> Option<Vec<Hash>> {
        self.growth.prove(old_size, size)
    }

    /// Stores a checkpoint with its cosignatures, about once in [`HEARTBEAT_S`](super::HEARTBEAT_S) seconds for good ([`anchors`](crate::anchors)), and forgets
    /// what only proofs from before `known` need: the smallest size that a witness has cosigned.
    ///
    /// # Errors
    /// [`LogError`]; [`LogError::Sign`] when the note is not a checkpoint of this log.
    pub fn store_cosigned(&mut self, note: &[u8], known: u64, at: Stamp) -> Result<(), LogError> {
        let verified = Checkpoint::verify(note, self.signer.key());
        let Ok(checkpoint) = verified else { return Err(LogError::Sign(NoteError::NotSigned)) };
        self.store("write the cosigned checkpoint", |storage| storage.replace(COSIGNED_FILE, note))?;
        if self.anchors.take(note, checkpoint.head.size, at.mono_ns) {
            let anchors = self.anchors.to_bytes();
            self.store("write the anchors", |storage| storage.replace(ANCHORS_FILE, &anchors))?;
        }
        self.growth.rebase(known);
        Ok(())
    }

    /// The latest checkpoint: its size and root hash, and the note that was signed.
    #[must_use]
    pub fn latest_checkpoint(&self) -> (TreeHead, &[u8]) {
        (self.covering.covered, &self.covering.note)
    }

    /// How many durable entries no checkpoint covers yet. A caller that wants a bound in time signs a
    /// [`checkpoint`](Self::checkpoint) when this is not zero, at least once a second.
    #[must_use]
    pub const fn uncovered(&self) -> u64 {
        self.size() - self.covering.covered.size
    }
}
