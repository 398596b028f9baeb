//! Checking ciphertext piece by piece, in any order and without a key: what a cache needs that fetches a package.

use std::fs::File;
use std::ops::Range;

use crate::effort::{Effort, Meter};
use crate::error::Error;
use crate::floe::HEADER_LEN;
use crate::merkle::{self, HASH_LEN, Hash};
use crate::object::ObjectEntry;
use crate::reader::{read_full, read_header, read_whole};
use crate::rules::{HeaderRule, SegmentRule};

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
        let range = self.entry.segment_range(index).ok_or(refused(SegmentRule::Absent))?;
        if range.end - range.start != segment.len() as u64 {
            return Err(refused(SegmentRule::Length));
        }
        if self.get(index) != Some(&self.entry.leaf(segment)) {
            return Err(refused(SegmentRule::NotInTree));
        }
        Ok(())
    }

    fn get(&self, index: u64) -> Option<&Hash> {
        self.hashes.get(usize::try_from(index).ok()?)
    }
}

/// Holds an object file against its signed header and root, and its tree file, if it has one, against its segments.
pub(crate) fn check_ciphertext(
    entry: &ObjectEntry,
    data: &File,
    tree: Option<&File>,
    effort: &Effort<'_>,
    meter: &Meter<'_>,
) -> Result<(), Error> {
    let object = entry.id();
    if read_header(data, "object", entry)? != *entry.header() {
        return Err(Error::Header { object, rule: HeaderRule::NotSigned });
    }
    let expected = tree.map(|tree| {
        let bytes = read_whole(tree, "tree", entry.tree_len())?;
        Leaves::from_tree(entry, &bytes)
    });
    let expected = expected.transpose()?;
    let count = usize::try_from(entry.segment_count()).map_err(|_| Error::Tree { object })?;
    let mut leaves = vec![Hash::default(); count];
    effort.run(
        (0..).zip(&mut leaves).collect(),
        || Ok(Vec::new()),
        |segment, (index, leaf)| {
            let refused = |rule| Error::Segment { object, index, rule };
            let span = entry.layout().span(index).ok_or(refused(SegmentRule::Absent))?;
            segment.resize(span.len, 0);
            let read = read_full(data, segment, span.offset).map_err(Error::io("reading an object"))?;
            Error::check_length("object", span.len as u64, read as u64)?;
            *leaf = entry.leaf(segment);
            if expected.as_ref().is_some_and(|expected| expected.get(index) != Some(leaf)) {
                return Err(refused(SegmentRule::NotInTree));
            }
            meter.add(span.payload_len() as u64);
            Ok(())
        },
    )?;
    if merkle::root(&leaves) != *entry.root() {
        return Err(Error::Tree { object });
    }
    Ok(())
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
            return Err(Error::Header { object, rule: HeaderRule::NotSigned });
        }
        let leaf = |index| {
            let range = self.segment_range(index)?;
            let range = usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?;
            bytes.get(range).map(|segment| self.leaf(segment))
        };
        let leaves: Option<Vec<Hash>> = (0..self.segment_count()).map(leaf).collect();
        if leaves.is_none_or(|leaves| merkle::root(&leaves) != *self.root()) {
            return Err(Error::Tree { object });
        }
        Ok(())
    }
}
