//! Reading encrypted objects: each segment is copied to private memory, hashed, compared with the tree and decrypted
//! there, before anything of it is seen. Files are read at positions, so any number of threads can share them.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, IoSliceMut};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use zeroize::{Zeroize as _, Zeroizing};

use crate::card::Card;
use crate::error::Error;
use crate::floe::{Frame, HEADER_LEN, Header, Message, SegmentRefusal};
use crate::key::WeightsKey;
use crate::layout::Span;
use crate::memory::{Region, wipe};
use crate::merkle::{self, HASH_LEN, Hash};
use crate::object::{ObjectEntry, ObjectId};
use crate::role::Role;
use crate::rules::{CardRule, HeaderRule, MixedRule, SegmentRule};

/// Bytes read at once while hashing, so that they are hashed from the cache.
const READ_LEN: usize = 256 << 10;

/// The private memory in which segments are decrypted. One per thread; wiped when dropped.
pub struct Scratch(Region);

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scratch")
    }
}

impl Scratch {
    /// Its first `len` bytes, which are the plaintext of the segment of that length that was read last.
    pub(crate) fn first(&self, len: usize) -> Option<&[u8]> {
        self.0.get(..len)
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
        let objects = key.manifest().objects();
        let entry = objects.iter().find(|entry| entry.id() == *object).ok_or(MixedRule::UnknownObject)?;
        let tree = read_whole(tree, "tree", entry.tree_len())?;
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
    ///
    /// # Errors
    /// [`Error::Io`] when the system has none.
    pub fn scratch(&self) -> Result<Scratch, Error> {
        Region::new(self.entry.layout().span(0).map_or(0, |span| span.payload_len())).map(Scratch)
    }

    /// Reads, checks and decrypts segment `index`; the plaintext lies in `scratch` until the next call.
    ///
    /// # Errors
    /// [`Error::Segment`] or [`Error::Tag`] when it is not the signed segment, [`Error::Truncated`], [`Error::Io`]. The
    /// scratch then holds zeros in its place.
    pub fn read_segment<'s>(&self, index: u64, scratch: &'s mut Scratch) -> Result<&'s [u8], Error> {
        let span = self.span(index)?;
        let payload = scratch.0.get_mut(..span.payload_len());
        let payload = payload.ok_or_else(|| self.refused(index, SegmentRule::Length))?;
        self.read_into(index, payload)?;
        Ok(payload)
    }

    /// The same in a thread's scratch, which is made, or made larger, when this object needs it.
    pub(crate) fn read_with<'s>(
        &self,
        index: u64,
        scratch: &'s mut Option<Scratch>,
    ) -> Result<&'s [u8], Error> {
        let needed = self.span(index)?.payload_len();
        let fits = scratch.take().filter(|scratch| scratch.0.len() >= needed);
        let scratch = scratch.insert(match fits {
            Some(scratch) => scratch,
            None => self.scratch()?,
        });
        self.read_segment(index, scratch)
    }

    /// Reads, checks and decrypts segment `index` in the memory where its plaintext is to lie, which must be as long. That
    /// memory must be private: what is hashed in it is what is decrypted in it.
    ///
    /// # Errors
    /// As [`ObjectReader::read_segment`]; the memory then holds zeros.
    pub(crate) fn read_into(&self, index: u64, payload: &mut [u8]) -> Result<(), Error> {
        let result = self.fill(index, payload);
        if result.is_err() {
            wipe(payload);
        }
        result
    }

    fn fill(&self, index: u64, payload: &mut [u8]) -> Result<(), Error> {
        let span = self.span(index)?;
        if payload.len() != span.payload_len() {
            return Err(self.refused(index, SegmentRule::Length));
        }
        let leaf = usize::try_from(index).ok().and_then(|index| self.leaves.get(index));
        let mut frame = Frame::default();
        if Some(&self.read_hashed(span, &mut frame, payload)?) != leaf {
            return Err(self.refused(index, SegmentRule::NotInTree));
        }
        decrypt(&self.message, &self.entry, (index, span), (&frame, payload))
    }

    /// Reads bytes of the plaintext, whose number the caller has bounded.
    pub(crate) fn read_range(&self, range: Range<u64>) -> Result<Zeroizing<Vec<u8>>, Error> {
        if range.end > self.entry.plaintext_len() {
            return Err(CardRule::Place.into());
        }
        let len = range.end.saturating_sub(range.start);
        let mut out = Zeroizing::new(Vec::with_capacity(usize::try_from(len).unwrap_or_default()));
        let mut scratch = self.scratch()?;
        for piece in self.entry.layout().pieces(range) {
            let plaintext = self.read_segment(piece.segment, &mut scratch)?;
            out.extend(plaintext.iter().skip(piece.start).take(piece.len));
        }
        Ok(out)
    }

    fn span(&self, index: u64) -> Result<Span, Error> {
        self.entry.layout().span(index).ok_or_else(|| self.refused(index, SegmentRule::Absent))
    }

    const fn refused(&self, index: u64, rule: SegmentRule) -> Error {
        Error::Segment { object: self.entry.id(), index, rule }
    }

    /// Fills frame and payload from the file and returns the segment's leaf hash.
    fn read_hashed(&self, span: Span, frame: &mut Frame, payload: &mut [u8]) -> Result<Hash, Error> {
        let mut hasher = self.entry.suite.leaf_hasher();
        let mut offset = span.offset;
        let parts = payload.len().div_ceil(READ_LEN);
        let (mut prefix, mut tag) = (&mut frame.prefix[..], &mut frame.tag[..]);
        for (index, part) in payload.chunks_mut(READ_LEN).enumerate() {
            let before = std::mem::take(&mut prefix);
            let after = if index + 1 == parts { std::mem::take(&mut tag) } else { &mut [] };
            let wanted = before.len() + part.len() + after.len();
            let read = read_scattered(&self.file, [&mut *before, &mut *part, &mut *after], offset)
                .map_err(Error::io("reading an object"))?;
            offset = offset.saturating_add(read as u64);
            if read < wanted {
                let expected = self.entry.ciphertext_len();
                return Err(Error::Truncated { part: "object", expected, actual: offset });
            }
            for bytes in [before, part, after] {
                hasher.update(bytes);
            }
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
/// As [`ObjectReader::open`] and [`ObjectReader::read_segment`], then [`Error::Card`], [`Error::Tensors`],
/// [`Error::ModelSignature`] or [`Error::Mixed`] when the decrypted card breaks a rule or does not fit the manifest.
pub fn open_card(key: &WeightsKey, file: &File) -> Result<Card, Error> {
    let entry = key.manifest().card();
    let found = read_header(file, "card", entry)?;
    let mut bytes = read_whole(file, "card", entry.ciphertext_len())?;
    let mut segments = Vec::new();
    let mut rest = bytes.get_mut(HEADER_LEN..).unwrap_or_default();
    for span in (0..entry.segment_count()).filter_map(|index| entry.layout().span(index)) {
        let (segment, tail) = rest.split_at_mut_checked(span.len).unwrap_or_default();
        segments.push((span, segment));
        rest = tail;
    }
    let leaves: Vec<Hash> = segments.iter().map(|(_, segment)| entry.leaf(segment)).collect();
    let message = check_object(key, entry, &leaves, &found)?;
    let mut plain = Zeroizing::new(Vec::new());
    for (index, (span, segment)) in (0..).zip(segments) {
        let (frame, payload) = split(segment).ok_or(CardRule::Tree)?;
        decrypt(&message, entry, (index, span), (&frame, payload))?;
        plain.extend_from_slice(payload);
    }
    Card::parse(&plain, key.manifest().objects())
}

/// What stands around a segment's payload, and the payload.
fn split(segment: &mut [u8]) -> Option<(Frame, &mut [u8])> {
    let (prefix, rest) = segment.split_first_chunk_mut()?;
    let (payload, tag) = rest.split_last_chunk_mut()?;
    Some((Frame { prefix: *prefix, tag: *tag }, payload))
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
        (true, false) => Err(Error::Header { object, rule: HeaderRule::NotSigned }),
        (false, true) if entry.role() == Role::Card => Err(CardRule::Tree.into()),
        (false, true) => Err(Error::Tree { object }),
        (false, false) => Err(MixedRule::OtherObject.into()),
    }
}

fn decrypt(
    message: &Message,
    entry: &ObjectEntry,
    (index, span): (u64, Span),
    (frame, payload): (&Frame, &mut [u8]),
) -> Result<(), Error> {
    let object = entry.id();
    message.decrypt(index, span.last, frame, payload).map_err(|refusal| match refusal {
        SegmentRefusal::Framing => Error::Segment { object, index, rule: SegmentRule::LengthWord },
        SegmentRefusal::Tag => Error::Tag { object, index },
    })
}

/// Checks a data file's length and reads its first bytes.
pub(crate) fn read_header(file: &File, part: &'static str, entry: &ObjectEntry) -> Result<Header, Error> {
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
    // The limits of the format are far below what memory can address.
    let mut bytes = Zeroizing::new(vec![0; usize::try_from(expected).unwrap_or_default()]);
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

/// The same for consecutive bytes that go to several places.
fn read_scattered(file: &File, out: [&mut [u8]; 3], offset: u64) -> io::Result<usize> {
    let mut slices = out.map(IoSliceMut::new);
    let mut rest = &mut slices[..];
    IoSliceMut::advance_slices(&mut rest, 0);
    let mut done = 0;
    while !rest.is_empty() {
        match rustix::io::preadv(file, rest, offset.saturating_add(done as u64)) {
            Ok(0) => break,
            Ok(read) => {
                done += read;
                IoSliceMut::advance_slices(&mut rest, read);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(done)
}
