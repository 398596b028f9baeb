//! Entries between their encoding and the medium.

use super::LogError;
use crate::Hash;
use crate::entry::{Entry, Event, Slot};
use crate::frame::{begin_frame, end_frame, last_leaf};
use crate::id::Ulid;
use crate::merkle;
use crate::storage_key::StorageKey;

/// The random bytes of one entry's id.
const ID_BYTES: usize = 10;
/// For how many entries randomness is fetched at once; the system's generator is slow for a few bytes.
const IDS_AT_ONCE: usize = 64;

/// Entries that are written together, encoded and framed.
#[derive(Debug, Default)]
pub(super) struct Staged {
    pub(super) frames: Vec<u8>,
    pub(super) leaves: Vec<Hash>,
    /// The time since boot of the last one.
    pub(super) last_mono_ns: u64,
}

/// How much is staged, to go back to.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    frames_bytes: usize,
    leaves: usize,
    last_mono_ns: u64,
}

impl Staged {
    pub(super) const fn len(&self) -> u64 {
        self.leaves.len() as u64
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }

    /// Encodes one more entry, encrypted where there is a key; after an error nothing is added.
    pub(super) fn push(
        &mut self,
        event: Event,
        slot: Slot,
        key: Option<&StorageKey>,
    ) -> Result<(), LogError> {
        let (index, last_mono_ns) = (slot.seq, event.at.mono_ns);
        let at = begin_frame(&mut self.frames);
        if let Err(error) = Entry::assign(event, slot).write_to(&mut self.frames) {
            self.frames.truncate(at);
            return Err(LogError::Entry(error));
        }
        self.leaves.push(merkle::leaf_hash(last_leaf(&self.frames, at)));
        end_frame(&mut self.frames, at, index, key);
        self.last_mono_ns = last_mono_ns;
        Ok(())
    }

    pub(super) const fn mark(&self) -> Mark {
        Mark { frames_bytes: self.frames.len(), leaves: self.leaves.len(), last_mono_ns: self.last_mono_ns }
    }

    /// Forgets what was pushed since.
    pub(super) fn back_to(&mut self, mark: Mark) {
        self.frames.truncate(mark.frames_bytes);
        self.leaves.truncate(mark.leaves);
        self.last_mono_ns = mark.last_mono_ns;
    }

    /// Empties it and keeps its memory.
    pub(super) fn clear(&mut self) {
        self.frames.clear();
        self.leaves.clear();
    }
}

/// Randomness for ids of entries.
pub(super) struct Ids {
    random: [[u8; ID_BYTES]; IDS_AT_ONCE],
    used: usize,
}

impl Default for Ids {
    fn default() -> Self {
        Self { random: [[0; ID_BYTES]; IDS_AT_ONCE], used: IDS_AT_ONCE }
    }
}

impl std::fmt::Debug for Ids {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ids")
    }
}

impl Ids {
    /// A new id for this moment.
    pub(super) fn next(&mut self, wall_ns: i64) -> Result<Ulid, LogError> {
        if self.used == IDS_AT_ONCE {
            crate::random::fill(self.random.as_flattened_mut()).map_err(|_| LogError::Random)?;
            self.used = 0;
        }
        let random = self.random.get(self.used).copied().ok_or(LogError::Random)?;
        self.used += 1;
        Ok(id(wall_ns, random))
    }
}

pub(super) fn id(wall_ns: i64, random: [u8; ID_BYTES]) -> Ulid {
    Ulid::from_parts(u64::try_from(wall_ns / 1_000_000).unwrap_or(0), random)
}
