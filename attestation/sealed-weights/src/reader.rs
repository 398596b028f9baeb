//! Reading one sealed object: every segment is copied to private memory, hashed against the owner's tree, then
//! decrypted there. A host that changes the file meanwhile changes what is hashed, not what was.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

use zeroize::{Zeroize, Zeroizing};

use crate::card::Card;
use crate::error::Error;
use crate::floe::{HEADER_LEN, Header, Message, SegmentRefusal};
use crate::key::WeightsKey;
use crate::layout::Span;
use crate::merkle::{self, HASH_LEN, Hash, LeafHasher};
use crate::object::{ObjectEntry, ObjectId};
use crate::role::Role;

/// Bytes read at once while hashing, so that they are hashed from the cache.
const READ_LEN: usize = 256 << 10;

/// The private memory in which segments are decrypted. One per thread; wiped when dropped.
pub struct Scratch(Zeroizing<Vec<u8>>);

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scratch")
    }
}

/// One object whose header and tree were checked. Segments can be read in any order and from several threads.
pub struct ObjectReader {
    entry: ObjectEntry,
    message: Message,
    leaves: Vec<Hash>,
    file: File,
}

impl ObjectReader {
    /// Opens an object of the key's manifest from its tree and data files.
    ///
    /// Establishes that the tree leads to the root the owner signed, and that the header is the signed one. Presumes
    /// nothing about the files: both may be in the hands of an attacker, now and later.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::Trailing`], [`Error::Tree`], [`Error::Header`]; [`Error::Mixed`] when tree and
    /// header agree on being another object's; [`Error::Io`].
    pub fn open(key: &WeightsKey, object: &ObjectId, tree: &File, data: File) -> Result<Self, Error> {
        let entry = key
            .manifest()
            .objects()
            .iter()
            .find(|entry| entry.id() == *object)
            .ok_or(Error::Mixed("object is not one of the manifest's"))?;
        let tree_len = entry.segment_count().saturating_mul(HASH_LEN as u64);
        let tree = read_whole(tree, "tree", tree_len)?;
        let (leaves, _) = tree.as_chunks::<HASH_LEN>();
        let found = read_header(&data, "object", entry)?;
        let message = check_object(key, entry, leaves, &found)?;
        Ok(Self { entry: entry.clone(), message, leaves: leaves.to_vec(), file: data })
    }

    /// The object as the manifest describes it.
    #[must_use]
    pub const fn entry(&self) -> &ObjectEntry {
        &self.entry
    }

    /// Memory in which one segment of this object fits.
    #[must_use]
    pub fn scratch(&self) -> Scratch {
        let len = self.entry.layout().span(0).map_or(0, |span| span.len);
        Scratch(Zeroizing::new(vec![0; len]))
    }

    /// Reads, checks and decrypts segment `index`; the plaintext lies in `scratch` until the next call.
    ///
    /// # Errors
    /// [`Error::Segment`] or [`Error::Tag`] when it is not the signed segment, [`Error::Truncated`], [`Error::Io`]. The
    /// scratch then holds no plaintext of this segment.
    pub fn read_segment<'s>(&self, index: u64, scratch: &'s mut Scratch) -> Result<&'s [u8], Error> {
        let refused = |rule| Error::Segment { object: self.entry.id(), index, rule };
        let span = self.entry.layout().span(index).ok_or(refused("object has no such segment"))?;
        let leaf = usize::try_from(index).ok().and_then(|index| self.leaves.get(index));
        let leaf = leaf.ok_or(refused("object has no such segment"))?;
        let segment = scratch.0.get_mut(..span.len).ok_or(refused("scratch is of a smaller object"))?;
        if self.read_hashed(span, segment)? != *leaf {
            return Err(refused("not the segment that the tree names"));
        }
        decrypt(&self.message, &self.entry, (index, span), segment)
    }

    /// Reads a whole object into memory.
    ///
    /// # Errors
    /// [`Error::TooLarge`] beyond `limit` bytes of plaintext, and those of [`ObjectReader::read_segment`].
    pub fn read_small(&self, limit: u64) -> Result<Zeroizing<Vec<u8>>, Error> {
        let actual = self.entry.plaintext_len();
        let too_large = Error::TooLarge { limit, actual };
        if actual > limit {
            return Err(too_large);
        }
        let mut out = Zeroizing::new(Vec::with_capacity(usize::try_from(actual).map_err(|_| too_large)?));
        let mut scratch = self.scratch();
        for index in 0..self.entry.segment_count() {
            out.extend_from_slice(self.read_segment(index, &mut scratch)?);
        }
        Ok(out)
    }

    /// Fills `segment` from the file and returns its leaf hash.
    fn read_hashed(&self, span: Span, segment: &mut [u8]) -> Result<Hash, Error> {
        let mut hasher = LeafHasher::new();
        let mut offset = span.offset;
        for part in segment.chunks_mut(READ_LEN) {
            let read = read_full(&self.file, part, offset).map_err(Error::io("reading an object"))?;
            offset = offset.saturating_add(read as u64);
            if read < part.len() {
                return Err(Error::Truncated {
                    part: "object",
                    expected: self.entry.ciphertext_len(),
                    actual: offset,
                });
            }
            hasher.update(part);
        }
        Ok(hasher.finish())
    }
}

impl fmt::Debug for ObjectReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectReader").field("object", &self.entry.id()).finish_non_exhaustive()
    }
}

/// Opens the card, which is small enough to be its own tree: its segments are hashed from the file.
///
/// # Errors
/// As [`ObjectReader::open`] and [`ObjectReader::read_segment`], then [`Error::Card`], [`Error::Tensors`] or
/// [`Error::Mixed`] when the decrypted card breaks a rule or does not fit the manifest.
pub fn open_card(key: &WeightsKey, file: &File) -> Result<Card, Error> {
    let entry = key.manifest().card();
    let found = read_header(file, "card", entry)?;
    let mut bytes = read_whole(file, "card", entry.ciphertext_len())?;
    let body = bytes.get_mut(HEADER_LEN..).unwrap_or_default();
    let spans: Vec<Span> =
        (0..entry.segment_count()).filter_map(|index| entry.layout().span(index)).collect();
    let mut leaves = Vec::with_capacity(spans.len());
    let mut rest = &*body;
    for span in &spans {
        let (segment, tail) = rest.split_at_checked(span.len).unwrap_or((rest, &[]));
        leaves.push(merkle::leaf(segment));
        rest = tail;
    }
    let message = check_object(key, entry, &leaves, &found)?;
    let mut plain = Zeroizing::new(Vec::with_capacity(body.len()));
    let mut rest = body;
    for (index, span) in (0..).zip(spans) {
        let (segment, tail) = rest.split_at_mut_checked(span.len).unwrap_or_default();
        plain.extend_from_slice(decrypt(&message, entry, (index, span), segment)?);
        rest = tail;
    }
    Card::parse(&plain, key.manifest().objects())
}

/// The keys of an object whose found tree and header are the signed ones.
fn check_object(
    key: &WeightsKey,
    entry: &ObjectEntry,
    leaves: &[Hash],
    found: &Header,
) -> Result<Message, Error> {
    let object = entry.id();
    match (merkle::root(leaves) == *entry.root(), found == entry.header()) {
        (true, true) => key.message(entry),
        (true, false) => Err(Error::Header { object, rule: "not the header that the manifest names" }),
        (false, true) if entry.role() == Role::Card => {
            Err(Error::Card("segments do not lead to the signed root"))
        }
        (false, true) => Err(Error::Tree { object }),
        (false, false) => Err(Error::Mixed("header and segment hashes are of another object")),
    }
}

fn decrypt<'s>(
    message: &Message,
    entry: &ObjectEntry,
    (index, span): (u64, Span),
    segment: &'s mut [u8],
) -> Result<&'s [u8], Error> {
    let object = entry.id();
    match message.decrypt(index, span.last, segment) {
        Ok(plaintext) => Ok(plaintext),
        Err(SegmentRefusal::Framing) => {
            Err(Error::Segment { object, index, rule: "length word is not that of its place" })
        }
        Err(SegmentRefusal::Tag) => Err(Error::Tag { object, index }),
    }
}

/// Checks a data file's length and reads its first bytes.
fn read_header(file: &File, part: &'static str, entry: &ObjectEntry) -> Result<Header, Error> {
    let actual = file.metadata().map_err(Error::io("sizing an object"))?.len();
    Error::check_length(part, entry.ciphertext_len(), actual)?;
    let mut header = [0; HEADER_LEN];
    let read = read_full(file, &mut header, 0).map_err(Error::io("reading a header"))?;
    Error::check_length(part, HEADER_LEN as u64, read as u64)?;
    Ok(header)
}

/// Reads a file whose length is known, into memory that is wiped when dropped.
pub(crate) fn read_whole(
    file: &File,
    part: &'static str,
    expected: u64,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let actual = file.metadata().map_err(Error::io("sizing a file"))?.len();
    Error::check_length(part, expected, actual)?;
    let len = usize::try_from(expected).map_err(|_| Error::TooLarge { limit: usize::MAX as u64, actual })?;
    let mut bytes = Zeroizing::new(vec![0; len]);
    let read = read_full(file, &mut bytes, 0).map_err(Error::io("reading a file"))?;
    Error::check_length(part, expected, read as u64)?;
    Ok(bytes)
}

/// Positioned reads until `out` is full or the file ends; returns the number of bytes read.
pub(crate) fn read_full(file: &File, out: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = out.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset.saturating_add(done as u64)) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                out.zeroize();
                return Err(error);
            }
        }
    }
    Ok(done)
}
