//! Checking ciphertext piece by piece, in any order and without a key: what a cache needs that fetches a package.

use std::ops::Range;

use crate::error::Error;
use crate::floe::HEADER_LEN;
use crate::merkle::{self, HASH_LEN, Hash};
use crate::object::ObjectEntry;

/// The leaf hashes of one object's segments. Exists only if they lead to the root that the owner signed.
#[derive(Debug, Clone)]
pub struct Leaves {
    entry: ObjectEntry,
    hashes: Vec<Hash>,
}

impl Leaves {
    /// Holds the whole content of a tree file against the signed root.
    ///
    /// # Errors
    /// [`Error::Truncated`] or [`Error::Trailing`] for another length than [`ObjectEntry::tree_len`]; [`Error::Tree`].
    pub fn from_tree(entry: &ObjectEntry, tree: &[u8]) -> Result<Self, Error> {
        Error::check_length("tree", entry.tree_len(), tree.len() as u64)?;
        let hashes = tree.as_chunks::<HASH_LEN>().0.to_vec();
        if merkle::root(&hashes) != *entry.root() {
            return Err(Error::Tree { object: entry.id() });
        }
        Ok(Self { entry: entry.clone(), hashes })
    }

    /// The object that these are the leaves of.
    #[must_use]
    pub const fn entry(&self) -> &ObjectEntry {
        &self.entry
    }

    /// Holds one encrypted segment against its leaf. Establishes that these bytes are what the owner signed at this place,
    /// not that they decrypt.
    ///
    /// # Errors
    /// [`Error::Segment`] when there is no such segment, it has another length, or other bytes.
    pub fn check(&self, index: u64, segment: &[u8]) -> Result<(), Error> {
        let refused = |rule| Error::Segment { object: self.entry.id(), index, rule };
        let range = self.entry.segment_range(index).ok_or(refused("object has no such segment"))?;
        if range.end - range.start != segment.len() as u64 {
            return Err(refused("segment has another length"));
        }
        let hash = usize::try_from(index).ok().and_then(|at| self.hashes.get(at));
        if hash != Some(&merkle::leaf(segment)) {
            return Err(refused("not the segment that the tree names"));
        }
        Ok(())
    }
}

impl ObjectEntry {
    /// Bytes of the object's tree file.
    #[must_use]
    pub fn tree_len(&self) -> u64 {
        self.segment_count().saturating_mul(HASH_LEN as u64)
    }

    /// The bytes that stand before the first segment of the object's file.
    #[must_use]
    pub const fn header_bytes(&self) -> &[u8; HEADER_LEN] {
        self.header()
    }

    /// Where an encrypted segment lies in the object's file, or `None` when the object has no such segment. The segments
    /// cover the file from the end of [`ObjectEntry::header_bytes`] without a gap.
    #[must_use]
    pub fn segment_range(&self, index: u64) -> Option<Range<u64>> {
        let span = self.layout().span(index)?;
        Some(span.offset..span.offset.checked_add(span.len as u64)?)
    }

    /// Holds a whole object file in memory against the signed header and root. This is how the card is checked, which has no
    /// tree file.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::Trailing`], [`Error::Header`], [`Error::Tree`].
    pub fn check_whole(&self, bytes: &[u8]) -> Result<(), Error> {
        Error::check_length("object", self.ciphertext_len(), bytes.len() as u64)?;
        let object = self.id();
        if bytes.first_chunk() != Some(self.header()) {
            return Err(Error::Header { object, rule: "not the header that the manifest names" });
        }
        let leaf = |index| {
            let range = self.segment_range(index)?;
            let range = usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?;
            bytes.get(range).map(merkle::leaf)
        };
        let leaves: Option<Vec<Hash>> = (0..self.segment_count()).map(leaf).collect();
        if leaves.is_none_or(|leaves| merkle::root(&leaves) != *self.root()) {
            return Err(Error::Tree { object });
        }
        Ok(())
    }
}
