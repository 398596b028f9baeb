//! Reading a log's directory, which may be hostile or torn.

use crate::anchors::MAX_ANCHORS_FILE_BYTES;
use crate::checkpoint::Checkpoint;
use crate::entry::{Entry, EntryError};
use crate::event::EventType;
use crate::frame::{FRAME_HEADER_BYTES, FrameHeader, begins_write, is_frame};
use crate::merkle::{self, Frontier, TreeHead};
use crate::note::{MAX_NOTE_BYTES, VerifierKey};
use crate::slots;
use crate::storage::{ANCHORS_FILE, COSIGNED_FILE, KEY_FILE, SEGMENT_DIRECTORY, SLOTS_FILE, segment_name};
use crate::{BootId, Hash, LogPlace, ReadingKey};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// How many places after damage are tried for a later write. Hostile bytes may hold more of them.
const MAX_RESUME_TRIES: usize = 4096;
/// The most bytes after damage that are looked through: one batch of the largest entries.
const MAX_TAIL_BYTES: u64 = 32 * 1024 * 1024;
const READ_BUFFER_BYTES: usize = 256 * 1024;
/// How often the slots of a log that is written meanwhile are read.
const READ_TRIES: usize = 4;

/// Why a log cannot be read, or not up to its checkpoint.
#[derive(Debug)]
pub enum ReadError {
    /// The medium failed.
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the medium said.
        source: io::Error,
    },
    /// The key file is not a verifier key.
    Key,
    /// The checkpoint is malformed or not signed by the key in the key file.
    Checkpoint(crate::CheckpointError),
    /// Neither of the two slots holds a checkpoint, and they were not left so by a crash: one of them is always whole.
    Slots,
    /// The bytes where an entry should be were changed: a whole entry follows, or a checkpoint covers them.
    Damaged {
        /// The entry's index.
        index: u64,
        /// The segment's number.
        segment: u32,
        /// The byte in the segment at which its frame starts.
        offset: u64,
    },
    /// The entries are encrypted, and no key was given.
    KeyWanted,
    /// A key was given, and this entry is not encrypted: it was put in, or the log is not the key's.
    NotEncrypted {
        /// Its index.
        index: u64,
    },
    /// An entry does not open with the key. For entry 0 that is a key of another log; for a later one, the entry was changed or stands in
    /// the place of another.
    NotOpened {
        /// Its index.
        index: u64,
    },
    /// An entry is intact and is none that this log wrote.
    Entry {
        /// Its index.
        index: u64,
        /// Why.
        error: EntryError,
    },
    /// An entry stands where another should be: entries were dropped, moved or put in.
    Misplaced {
        /// The index at which it stands.
        index: u64,
        /// The index that it carries.
        observed: u64,
    },
    /// An entry was written by another boot.
    ForeignBoot {
        /// Its index.
        index: u64,
    },
    /// Fewer entries than the checkpoint covers.
    Missing {
        /// How many the checkpoint covers.
        covered: u64,
        /// How many there are.
        observed: u64,
    },
    /// The entries do not have the root hash that the checkpoint signs: one of the first `size` was changed.
    Root {
        /// The checkpoint's size.
        size: u64,
    },
    /// No entry at all.
    Empty,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, source } => write!(f, "{doing}: {source}"),
            Self::Key => f.write_str("the log's key file is not a verifier key"),
            Self::Checkpoint(error) => write!(f, "{error}"),
            Self::Slots => f.write_str("the log's checkpoint is damaged in both of its places"),
            Self::Damaged { index, segment, offset } => {
                write!(f, "entry {index} is damaged (segment {segment}, byte {offset})")
            }
            Self::KeyWanted => f.write_str("the log's entries are encrypted, and no key to them was given"),
            Self::NotEncrypted { index } => {
                write!(f, "entry {index} is not encrypted, as a log with a key is")
            }
            Self::NotOpened { index: 0 } => {
                f.write_str("the key is not that of this log: entry 0 does not open")
            }
            Self::NotOpened { index } => {
                write!(f, "entry {index} does not open: it was changed or stands in the place of another")
            }
            Self::Entry { index, error } => write!(f, "entry {index}: {error}"),
            Self::Misplaced { index, observed } => write!(f, "entry {index} carries index {observed}"),
            Self::ForeignBoot { index } => write!(f, "entry {index} is of another boot than entry 0"),
            Self::Missing { covered, observed } => {
                write!(f, "the checkpoint covers {covered} entries, there are {observed}")
            }
            Self::Root { size } => {
                write!(f, "the first {size} entries do not have the root hash of the checkpoint")
            }
            Self::Empty => f.write_str("the log has no entry"),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Checkpoint(error) => Some(error),
            Self::Entry { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// The latest checkpoint and its note. Where witnesses cosigned one of the same size or a later one, that; a later one shows that the
/// other file was set back, and the entries are held to it.
pub(crate) fn read_checkpoint(
    path: &Path,
    key: &VerifierKey,
) -> Result<(Option<Checkpoint>, Vec<u8>), ReadError> {
    let verified = |note: Option<Vec<u8>>| match note {
        None => Ok(None),
        Some(note) => {
            let checkpoint = Checkpoint::verify(&note, key).map_err(ReadError::Checkpoint)?;
            Ok(Some((checkpoint, note)))
        }
    };
    let (own, cosigned) =
        (verified(read_slots(path)?)?, verified(read_checkpoint_file(path, COSIGNED_FILE)?)?);
    let latest = match (own, cosigned) {
        (Some((own, _)), Some((cosigned, _)))
            if own.head.size == cosigned.head.size && own.head.root != cosigned.head.root =>
        {
            return Err(ReadError::Root { size: own.head.size });
        }
        (Some((own, note)), Some((cosigned, _))) if own.head.size > cosigned.head.size => Some((own, note)),
        (own, None) => own,
        (_, cosigned) => cosigned,
    };
    Ok(latest.map_or((None, Vec::new()), |(checkpoint, note)| (Some(checkpoint), note)))
}

/// The note in the later of the two slots.
fn read_slots(path: &Path) -> Result<Option<Vec<u8>>, ReadError> {
    for _ in 0..READ_TRIES {
        let Some(file) = read_checkpoint_file(path, SLOTS_FILE)? else { return Ok(None) };
        if let Ok(note) = slots::newest(&file) {
            return Ok(note.map(<[u8]>::to_vec));
        }
        // A writer may have been at one and then at the other while they were read.
    }
    Err(ReadError::Slots)
}

fn read_checkpoint_file(path: &Path, name: &str) -> Result<Option<Vec<u8>>, ReadError> {
    match read_small(&path.join(name)) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("read the checkpoint")(error)),
    }
}

pub(crate) fn io_error(doing: &'static str) -> impl FnOnce(io::Error) -> ReadError {
    move |source| ReadError::Io { doing, source }
}

/// Bytes after the last whole entry: a write that was under way when the process or the machine stopped.
/// None of it was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TornTail {
    /// The segment's number.
    pub segment: u32,
    /// Where the last whole entry ends.
    pub offset: u64,
    /// How many bytes follow it.
    pub bytes: u64,
}

/// A log that was read from end to end: every entry is whole, in its place and of one boot, and the first
/// ones have the root hash that the checkpoint signs.
///
/// Presumes nothing of the directory. That the key in it is the log's own is shown by the boot's evidence,
/// not here.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    reading: Option<ReadingKey>,
    key: VerifierKey,
    boot: BootId,
    head: TreeHead,
    checkpoint: Option<Checkpoint>,
    checkpoint_note: Vec<u8>,
    last: EventType,
    torn: Option<TornTail>,
}

impl LogReader {
    /// Reads the log at `place`. A log that is being written may be read; the view is that of this moment.
    ///
    /// # Errors
    /// [`ReadError`] naming the first entry that is not as it was written.
    pub fn open<'a>(place: impl Into<LogPlace<'a>>) -> Result<Self, ReadError> {
        let place = place.into();
        let path = place.path;
        let key = read_key(path)?;
        // Before the entries: what the checkpoint covers is on disk before the checkpoint is.
        let (checkpoint, checkpoint_note) = read_checkpoint(path, &key)?;
        let survey = Survey::run(place, checkpoint.as_ref().map(|checkpoint| checkpoint.head))?;
        let (boot, last) = survey.boot.zip(survey.last).ok_or(ReadError::Empty)?;
        Ok(Self {
            path: path.to_owned(),
            reading: place.key.cloned(),
            key,
            boot,
            head: TreeHead { size: survey.frontier.size(), root: survey.frontier.root() },
            checkpoint,
            checkpoint_note,
            last,
            torn: survey.torn,
        })
    }

    /// Reads the log and cuts a torn tail off the file, so that it ends with a whole entry. The log stays
    /// closed: its key went with the process that wrote it.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn recover<'a>(place: impl Into<LogPlace<'a>>) -> Result<Self, ReadError> {
        let reader = Self::open(place)?;
        if let Some(torn) = reader.torn {
            let name = reader.path.join(SEGMENT_DIRECTORY).join(segment_name(torn.segment));
            let cut = |file: File| file.set_len(torn.offset).and_then(|()| file.sync_all());
            OpenOptions::new().write(true).open(name).and_then(cut).map_err(io_error("cut a torn tail"))?;
        }
        Ok(reader)
    }

    /// Calls `visit` with the index and bytes of each of the first `count` entries.
    ///
    /// # Errors
    /// [`ReadError`], or the error of `visit`.
    pub fn for_each_leaf<E: From<ReadError>>(
        &self,
        count: u64,
        mut visit: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut segments = Segments::new(&self.path, self.reading.clone());
        for index in 0..count {
            match segments.next_leaf()? {
                Step::Leaf => visit(index, &segments.leaf)?,
                Step::End => return Err(ReadError::Missing { covered: count, observed: index }.into()),
                Step::Bad => return Err(segments.damaged(index).into()),
            }
        }
        Ok(())
    }

    /// The hashes of the first `count` leaves, for proofs; 32 bytes of memory each.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn leaf_hashes(&self, count: u64) -> Result<Vec<Hash>, ReadError> {
        let mut hashes = Vec::new();
        self.for_each_leaf::<ReadError>(count, |_, leaf| {
            hashes.push(merkle::leaf_hash(leaf));
            Ok(())
        })?;
        Ok(hashes)
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the directory says verifies the checkpoint.
    #[must_use]
    pub const fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// The boot that wrote the entries.
    #[must_use]
    pub const fn boot(&self) -> BootId {
        self.boot
    }

    /// Size and root hash of all whole entries.
    #[must_use]
    pub const fn head(&self) -> TreeHead {
        self.head
    }

    /// The latest checkpoint; `None` when the process stopped before the first.
    #[must_use]
    pub const fn checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoint.as_ref()
    }

    /// The latest checkpoint as the note that was signed; empty when there is none.
    #[must_use]
    pub fn checkpoint_note(&self) -> &[u8] {
        &self.checkpoint_note
    }

    /// The file of checkpoints that were kept along the way, and the newest one that is cosigned; neither was looked into.
    pub(crate) fn read_anchors(&self) -> Result<(Vec<u8>, Option<Vec<u8>>), ReadError> {
        let read = |name: &str, limit| match read_within(&self.path.join(name), limit) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("read the anchors")(error)),
        };
        let kept = read(ANCHORS_FILE, MAX_ANCHORS_FILE_BYTES)?;
        Ok((kept.unwrap_or_else(|| b"[]".to_vec()), read(COSIGNED_FILE, MAX_NOTE_BYTES)?))
    }

    /// Whether the log was ended on purpose: its last entry is `log.close` and a checkpoint covers it.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let covered = self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.head.size);
        self.last == EventType::LogClose && covered == self.head.size
    }

    /// What follows the last whole entry.
    #[must_use]
    pub const fn torn_tail(&self) -> Option<TornTail> {
        self.torn
    }
}

/// The key that the directory says is the log's.
pub(crate) fn read_key(path: &Path) -> Result<VerifierKey, ReadError> {
    let key = read_small(&path.join(KEY_FILE)).map_err(io_error("read the log's key"))?;
    let key = std::str::from_utf8(&key).ok().and_then(|text| text.strip_suffix('\n'));
    key.and_then(|text| VerifierKey::parse(text).ok()).ok_or(ReadError::Key)
}

/// Reads a file that is never long.
pub(crate) fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    read_within(path, MAX_NOTE_BYTES.max(crate::MAX_EVIDENCE_BYTES))
}

fn read_within(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("over {limit} bytes")));
    }
    Ok(bytes)
}

/// One pass over all entries.
#[derive(Default)]
struct Survey {
    frontier: Frontier,
    boot: Option<BootId>,
    last: Option<EventType>,
    torn: Option<TornTail>,
}

impl Survey {
    fn run(place: LogPlace<'_>, covered: Option<TreeHead>) -> Result<Self, ReadError> {
        let mut survey = Self::default();
        let mut segments = Segments::new(place.path, place.key.cloned());
        let covered_size = covered.map_or(0, |head| head.size);
        loop {
            let index = survey.frontier.size();
            if let Some(head) = covered.filter(|head| head.size == index)
                && head.root != survey.frontier.root()
            {
                return Err(ReadError::Root { size: index });
            }
            match segments.next_leaf()? {
                Step::Leaf => survey.take(&segments.leaf)?,
                Step::End => break,
                Step::Bad if index < covered_size => return Err(segments.damaged(index)),
                Step::Bad => {
                    survey.torn = segments.torn_tail(index)?;
                    if survey.torn.is_some() {
                        break;
                    }
                }
            }
        }
        let observed = survey.frontier.size();
        if observed < covered_size {
            return Err(ReadError::Missing { covered: covered_size, observed });
        }
        Ok(survey)
    }

    fn take(&mut self, leaf: &[u8]) -> Result<(), ReadError> {
        let index = self.frontier.size();
        let entry = Entry::from_bytes(leaf).map_err(|error| ReadError::Entry { index, error })?;
        if entry.seq != index {
            return Err(ReadError::Misplaced { index, observed: entry.seq });
        }
        if *self.boot.get_or_insert(entry.boot) != entry.boot {
            return Err(ReadError::ForeignBoot { index });
        }
        self.last = Some(entry.kind);
        self.frontier.push(merkle::leaf_hash(leaf));
        Ok(())
    }
}

/// What stands at the current place.
pub(crate) enum Step {
    /// A whole entry, now in `leaf`.
    Leaf,
    /// Nothing: the segments end here.
    End,
    /// Something that is no whole entry.
    Bad,
}

/// The segment files in order.
#[derive(Debug)]
pub(crate) struct Segments {
    directory: PathBuf,
    key: Option<ReadingKey>,
    /// The index of the next entry.
    index: u64,
    number: u32,
    file: Option<BufReader<File>>,
    offset: u64,
    pub(crate) leaf: Vec<u8>,
}

impl Segments {
    pub(crate) fn new(path: &Path, key: Option<ReadingKey>) -> Self {
        let directory = path.join(SEGMENT_DIRECTORY);
        Self { directory, key, index: 0, number: 0, file: None, offset: 0, leaf: Vec::new() }
    }

    /// The same, from where the entry with this index begins, or the one before it ends.
    ///
    /// # Errors
    /// [`ReadError::Io`].
    pub(crate) fn from_entry(
        log: LogPlace<'_>,
        index: u64,
        (number, offset): (u32, u64),
    ) -> Result<Self, ReadError> {
        let mut segments = Self { index, number, offset, ..Self::new(log.path, log.key.cloned()) };
        if let Some(mut file) = segments.open(number)? {
            file.seek(SeekFrom::Start(offset)).map_err(io_error("read a segment"))?;
            segments.file = Some(BufReader::with_capacity(READ_BUFFER_BYTES, file));
        }
        Ok(segments)
    }

    /// The segment, and where in it the next entry begins unless that begins the next segment.
    pub(crate) const fn place(&self) -> (u32, u64) {
        (self.number, self.offset)
    }

    fn open(&self, number: u32) -> Result<Option<File>, ReadError> {
        match File::open(self.directory.join(segment_name(number))) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("open a segment")(error)),
        }
    }

    pub(crate) fn next_leaf(&mut self) -> Result<Step, ReadError> {
        loop {
            if self.file.is_none() {
                match self.open(self.number)? {
                    Some(file) => self.file = Some(BufReader::with_capacity(READ_BUFFER_BYTES, file)),
                    None => return Ok(Step::End),
                }
            }
            let Some(file) = self.file.as_mut() else { return Ok(Step::End) };
            let mut header = [0; FRAME_HEADER_BYTES];
            match read_up_to(file, &mut header)? {
                0 => {}
                FRAME_HEADER_BYTES => return self.read_body(header),
                _ => return Ok(Step::Bad),
            }
            let Some(next) = self.number.checked_add(1) else { return Ok(Step::End) };
            let Some(next_file) = self.open(next)? else { return Ok(Step::End) };
            // The writer fills a segment before it begins the next, perhaps since the last look.
            let Some(file) = self.file.as_mut() else { return Ok(Step::End) };
            match read_up_to(file, &mut header)? {
                0 => {
                    let file = BufReader::with_capacity(READ_BUFFER_BYTES, next_file);
                    (self.number, self.offset, self.file) = (next, 0, Some(file));
                }
                FRAME_HEADER_BYTES => return self.read_body(header),
                _ => return Ok(Step::Bad),
            }
        }
    }

    fn read_body(&mut self, header: [u8; FRAME_HEADER_BYTES]) -> Result<Step, ReadError> {
        let (Some(header), Some(file)) = (FrameHeader::parse(header), self.file.as_mut()) else {
            return Ok(Step::Bad);
        };
        self.leaf.resize(header.body_bytes, 0);
        let whole = read_up_to(file, &mut self.leaf)? == header.body_bytes;
        if !whole || !header.fits(&self.leaf) {
            return Ok(Step::Bad);
        }
        let index = self.index;
        match (&self.key, header.encrypted) {
            (None, false) => {}
            (None, true) => return Err(ReadError::KeyWanted),
            (Some(_), false) => return Err(ReadError::NotEncrypted { index }),
            (Some(key), true) if !header.open(key, index, &mut self.leaf) => {
                return Err(ReadError::NotOpened { index });
            }
            (Some(_), true) => {}
        }
        self.index += 1;
        self.offset += (FRAME_HEADER_BYTES + header.body_bytes) as u64;
        Ok(Step::Leaf)
    }

    pub(crate) const fn damaged(&self, index: u64) -> ReadError {
        ReadError::Damaged { index, segment: self.number, offset: self.offset }
    }

    /// What follows the last whole entry, if it is what a write under way leaves: in the last segment, not
    /// longer than one batch, and with no later write in it. `None` when the write has ended meanwhile; the
    /// entry is then read again.
    fn torn_tail(&mut self, index: u64) -> Result<Option<TornTail>, ReadError> {
        let mut file = self.open(self.number)?.ok_or_else(|| self.damaged(index))?;
        let mut tail = Vec::new();
        file.seek(SeekFrom::Start(self.offset)).map_err(io_error("read a segment"))?;
        file.by_ref().take(MAX_TAIL_BYTES + 1).read_to_end(&mut tail).map_err(io_error("read a segment"))?;
        if is_frame(&tail) {
            file.seek(SeekFrom::Start(self.offset)).map_err(io_error("read a segment"))?;
            self.file = Some(BufReader::with_capacity(READ_BUFFER_BYTES, file));
            return Ok(None);
        }
        let last = match self.number.checked_add(1) {
            Some(next) => self.open(next)?.is_none(),
            None => true,
        };
        let bytes = tail.len() as u64;
        if !last || bytes > MAX_TAIL_BYTES || holds_write(&tail) {
            return Err(self.damaged(index));
        }
        Ok(Some(TornTail { segment: self.number, offset: self.offset, bytes }))
    }
}

/// Whether a whole entry that begins a write stands anywhere in the tail. What an encrypted one begins with is known to nobody, so each place
/// that could be a header is one; of what is not, one in 2^17 places looks like it.
fn holds_write(tail: &[u8]) -> bool {
    let is_begin = |at: &usize| {
        let header = tail.get(*at..).and_then(|rest| rest.first_chunk());
        header.and_then(|header| FrameHeader::parse(*header)).is_some_and(|header| header.begins)
    };
    let tries = (0..tail.len()).filter(is_begin).take(MAX_RESUME_TRIES);
    tries.into_iter().any(|at| tail.get(at..).is_some_and(begins_write))
}

/// Fills `buffer` as far as the file goes.
fn read_up_to(file: &mut impl Read, buffer: &mut [u8]) -> Result<usize, ReadError> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(io_error("read a segment")(error)),
        }
    }
    Ok(filled)
}
