//! Following a log that somebody else serves as tiles: each new entry, once a checkpoint is shown to cover it and to continue what was
//! seen before.

use super::tiles::{MAX_BUNDLE_BYTES, TILE_WIDTH, Tile, TileError, TileKind, read_entries, read_node};
use crate::checkpoint::{Checkpoint, CheckpointError, ConsistencyError};
use crate::entry::{Entry, EntryError};
use crate::merkle::{self, Frontier, ProofError, TreeHead, consistency_proof_from, frontier_from};
use crate::note::VerifierKey;
use std::collections::BTreeMap;
use std::fmt;

/// The entry bundles that are held until their entries are proven; bounds the memory of a reader that has much to catch up with.
const BUNDLES_PER_ROUND: u64 = 8;
/// The longest content of any tile, in bytes: that of an entry bundle.
pub const MAX_TILE_BYTES: usize = MAX_BUNDLE_BYTES;

/// Why a log was not followed any further. Nothing that was not proven has been given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FollowError<E> {
    /// Not a checkpoint of this log.
    Checkpoint(CheckpointError),
    /// The log covers less than it did.
    Shrunk {
        /// How many entries were covered before.
        seen: u64,
        /// How many are now.
        observed: u64,
    },
    /// The checkpoint does not continue what was seen before, or its tiles do not.
    Inconsistent(ConsistencyError),
    /// The entries are not those of the checkpoint.
    Root {
        /// The checkpoint's size.
        size: u64,
    },
    /// What was read is not a tile.
    Tile(TileError),
    /// The log holds something at this index that is no entry of it.
    Entry {
        /// Where.
        index: u64,
        /// Why; none where the entry says that it stands elsewhere.
        error: Option<EntryError>,
    },
    /// What the reader or the taker of entries said.
    Source(E),
}

impl<E: fmt::Display> fmt::Display for FollowError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checkpoint(error) => write!(f, "{error}"),
            Self::Shrunk { seen, observed } => {
                write!(f, "checkpoint covers {observed} entries, an earlier one covered {seen}")
            }
            Self::Inconsistent(error) => write!(f, "{error}"),
            Self::Root { size } => write!(f, "entries are not the {size} of the checkpoint"),
            Self::Tile(error) => write!(f, "{error}"),
            Self::Entry { index, error: Some(error) } => write!(f, "entry {index}: {error}"),
            Self::Entry { index, error: None } => write!(f, "entry {index} names another index"),
            Self::Source(error) => write!(f, "{error}"),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for FollowError<E> {}

impl<E> From<TileError> for FollowError<E> {
    fn from(error: TileError) -> Self {
        Self::Tile(error)
    }
}

/// Follows one log, whose key is known beforehand.
#[derive(Debug, Clone)]
pub struct Follower {
    key: VerifierKey,
    /// The latest checkpoint that was shown to continue those before, and its note. No entry was given out that it does not cover.
    seen: Option<(Checkpoint, Vec<u8>)>,
    /// The right edge of the tree up to which entries were given out; none after [`after`](Self::after), until tiles have given it.
    frontier: Option<Frontier>,
}

impl Follower {
    /// From the first entry on.
    #[must_use]
    pub const fn new(key: VerifierKey) -> Self {
        Self { key, seen: None, frontier: Some(Frontier::new()) }
    }

    /// From behind a checkpoint that was seen earlier. Presumes that the entries that it covers are known.
    ///
    /// # Errors
    /// [`CheckpointError`]: the note is not of the log with this key.
    pub fn after(key: VerifierKey, note: &[u8]) -> Result<Self, CheckpointError> {
        let checkpoint = Checkpoint::verify(note, &key)?;
        Ok(Self { key, seen: Some((checkpoint, note.to_vec())), frontier: None })
    }

    /// The note of the latest checkpoint, for [`after`](Self::after); `None` while there are entries of it that were not given out.
    #[must_use]
    pub fn note(&self) -> Option<&[u8]> {
        let (checkpoint, note) = self.seen.as_ref()?;
        let is_behind = self.frontier.as_ref().is_some_and(|given| given.size() < checkpoint.head.size);
        (!is_behind).then_some(note.as_slice())
    }

    /// Takes a checkpoint, reads the tiles that it needs and calls `give` with each entry that was not given out yet.
    ///
    /// Establishes, of each entry before it is given, that the holder of the key signed a log that has it at this index and that extends
    /// every checkpoint taken before. After an error the next call goes on where this one ended; the latest few entries may come again.
    /// Memory does not grow with the number of entries.
    ///
    /// # Errors
    /// [`FollowError`]; what `read` and `give` return comes back as its `Source`. `read` bounds what it reads by [`MAX_TILE_BYTES`].
    pub fn take<E>(
        &mut self,
        note: &[u8],
        mut read: impl FnMut(Tile) -> Result<Vec<u8>, E>,
        mut give: impl FnMut(&Entry) -> Result<(), E>,
    ) -> Result<(), FollowError<E>> {
        let checkpoint = Checkpoint::verify(note, &self.key).map_err(FollowError::Checkpoint)?;
        let head = checkpoint.head;
        let mut given = self.begin(&head, &mut read)?;
        loop {
            let (grown, leaves) = round(&given, head.size, &mut read)?;
            prove(&grown.head(), &head, &mut read)?;
            // Whatever `give` says, this checkpoint was shown to be a continuation, and none may contradict it from here on.
            self.seen = Some((checkpoint.clone(), note.to_vec()));
            self.frontier = Some(given.clone());
            for (index, leaf) in (given.size()..).zip(&leaves) {
                give(&entry_at(index, leaf)?).map_err(FollowError::Source)?;
            }
            given = grown;
            if given.size() == head.size {
                self.frontier = Some(given);
                return Ok(());
            }
        }
    }

    /// The right edge of what was given out, kept or read out of tiles; with it, that `head` does not contradict what was seen.
    fn begin<E>(
        &self,
        head: &TreeHead,
        read: &mut impl FnMut(Tile) -> Result<Vec<u8>, E>,
    ) -> Result<Frontier, FollowError<E>> {
        let Some((seen, _)) = &self.seen else { return Ok(self.frontier.clone().unwrap_or_default()) };
        let seen = seen.head;
        if head.size < seen.size {
            return Err(FollowError::Shrunk { seen: seen.size, observed: head.size });
        }
        if head.size == seen.size && head.root != seen.root {
            return Err(FollowError::Inconsistent(ConsistencyError::Equivocation { size: seen.size }));
        }
        let forked = FollowError::Inconsistent(ConsistencyError::NotProven(ProofError::RootMismatch));
        let Some(given) = self.frontier.clone() else {
            let mut tiles = Tiles::new(head.size, read);
            let given = frontier_from(seen.size, |node| tiles.node(node))?;
            return if given.root() == seen.root { Ok(given) } else { Err(forked) };
        };
        if given.size() < seen.size {
            prove(&seen, head, read).map_err(|error| match error {
                FollowError::Root { .. } => forked,
                other => other,
            })?;
        }
        Ok(given)
    }
}

/// The next entries, not proven yet, and the tree with them.
fn round<E>(
    frontier: &Frontier,
    size: u64,
    read: &mut impl FnMut(Tile) -> Result<Vec<u8>, E>,
) -> Result<(Frontier, Vec<Vec<u8>>), FollowError<E>> {
    let mut grown = frontier.clone();
    let mut leaves = Vec::new();
    let first = frontier.size() / u64::from(TILE_WIDTH);
    for at in first..first.saturating_add(BUNDLES_PER_ROUND) {
        let Some(tile) = Tile::of_tree(TileKind::Entries, at, size) else { break };
        let bundle = read(tile).map_err(FollowError::Source)?;
        let known = grown.size().saturating_sub(at.saturating_mul(u64::from(TILE_WIDTH)));
        let known = usize::try_from(known).unwrap_or(usize::MAX);
        for leaf in read_entries(&bundle, tile.width())?.into_iter().skip(known) {
            grown.push(merkle::leaf_hash(leaf));
            leaves.push(leaf.to_vec());
        }
    }
    Ok((grown, leaves))
}

/// Establishes that the tree of one head is the other's, or is continued by it.
fn prove<E>(
    old: &TreeHead,
    head: &TreeHead,
    read: &mut impl FnMut(Tile) -> Result<Vec<u8>, E>,
) -> Result<(), FollowError<E>> {
    let wrong = FollowError::Root { size: head.size };
    if old.size == head.size {
        return if old.root == head.root { Ok(()) } else { Err(wrong) };
    }
    let mut tiles = Tiles::new(head.size, read);
    let proof = consistency_proof_from(old.size, head.size, |node| tiles.node(node))?;
    let proven = proof.is_some_and(|proof| merkle::verify_consistency(old, head, &proof).is_ok());
    if proven { Ok(()) } else { Err(wrong) }
}

fn entry_at<E>(index: u64, leaf: &[u8]) -> Result<Entry, FollowError<E>> {
    let entry = Entry::from_bytes(leaf);
    let entry = entry.map_err(|error| FollowError::Entry { index, error: Some(error) })?;
    if entry.seq == index { Ok(entry) } else { Err(FollowError::Entry { index, error: None }) }
}

/// Hash tiles of a tree, each read once. A proof asks for a bounded number of them.
struct Tiles<'a, R> {
    size: u64,
    read: &'a mut R,
    kept: BTreeMap<Tile, Vec<u8>>,
}

impl<'a, R> Tiles<'a, R> {
    const fn new(size: u64, read: &'a mut R) -> Self {
        Self { size, read, kept: BTreeMap::new() }
    }

    fn node<E>(&mut self, node: merkle::Node) -> Result<crate::Hash, FollowError<E>>
    where
        R: FnMut(Tile) -> Result<Vec<u8>, E>,
    {
        let Self { size, read, kept } = self;
        read_node(node, *size, |tile| {
            if let Some(content) = kept.get(&tile) {
                return Ok(content.clone());
            }
            let content = read(tile).map_err(FollowError::Source)?;
            kept.insert(tile, content.clone());
            Ok(content)
        })
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
