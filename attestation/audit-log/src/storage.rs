//! Where a log's bytes go. A directory in service; in tests, one that fails on command.

mod beside;

use self::beside::Beside;
use crate::slots::SLOT_BYTES;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
#[cfg(unix)]
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) const SEGMENT_DIRECTORY: &str = "entries";
/// The log's own checkpoint; see [`slots`](crate::slots).
pub(crate) const SLOTS_FILE: &str = "checkpoint.slots";
pub(crate) const COSIGNED_FILE: &str = "checkpoint.cosigned";
/// Cosigned checkpoints that are kept along the way.
pub(crate) const ANCHORS_FILE: &str = "anchors";
pub(crate) const KEY_FILE: &str = "key.vkey";
pub(crate) const EVIDENCE_FILE: &str = "evidence.json";
/// Copies of the key to the entries, for those who may read them; what is in it is theirs and the writer's.
pub(crate) const KEY_COPIES_FILE: &str = "storage-key.json";
pub(crate) const BINDING_FILE: &str = "binding.json";
/// Those of the evidence with which a key was asked for, where the log began with evidence of its own.
pub(crate) const RELEASE_EVIDENCE_FILE: &str = "release-evidence.json";
pub(crate) const RELEASE_BINDING_FILE: &str = "release-binding.json";

pub(crate) fn segment_name(number: u32) -> String {
    format!("{number:08}.seg")
}

/// Where one of the two latest checkpoints lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointSlot {
    /// Of every checkpoint with an even number.
    First,
    /// Of every one with an odd number; the log's first is one.
    Second,
}

/// What a log needs of the medium. After any error the log asks nothing of it again: a later success would
/// not tell what became of the earlier bytes.
pub trait Storage {
    /// Begins segment `number`, which must not exist; what follows is appended to it.
    ///
    /// # Errors
    /// Those of the medium.
    fn begin_segment(&mut self, number: u32) -> io::Result<()>;

    /// Appends to the current segment; not durable until [`sync`](Self::sync).
    ///
    /// # Errors
    /// Those of the medium.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was appended durable (fdatasync).
    ///
    /// # Errors
    /// Those of the medium.
    fn sync(&mut self) -> io::Result<()>;

    /// Begins to [`append`](Self::append) the bytes and to make them durable beside the caller's own work. Several that were begun are carried
    /// out in their order, each only when the one before is durable, and after one that failed none is. Until as many have been
    /// [ended](Self::end_write), nothing else is appended or synced and no segment is begun; small files may be replaced and slots written. A
    /// medium that cannot do so does it at once.
    ///
    /// # Errors
    /// Those of the medium.
    fn begin_write(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        self.append(&bytes)?;
        self.sync()
    }

    /// Waits until the earliest write that was begun and not ended is durable. Gives back its bytes, or none, for their memory.
    ///
    /// # Errors
    /// Those of the medium.
    fn end_write(&mut self) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    /// Whether [`end_write`](Self::end_write) would not wait.
    fn write_has_ended(&mut self) -> bool {
        true
    }

    /// Overwrites a slot; not durable until [`sync_slots`](Self::sync_slots). What is left of the write when it is torn may be anything, but the
    /// other slot stays as it is. Both are zeros before.
    ///
    /// # Errors
    /// Those of the medium.
    fn write_slot(&mut self, slot: CheckpointSlot, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was written into slots durable.
    ///
    /// # Errors
    /// Those of the medium.
    fn sync_slots(&mut self) -> io::Result<()>;

    /// Begins [`sync_slots`](Self::sync_slots) beside the caller's own work and any other call but those for slots.
    ///
    /// # Errors
    /// Those of the medium.
    fn begin_sync_slots(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Waits for the sync of slots that was begun.
    ///
    /// # Errors
    /// Those of the medium.
    fn end_sync_slots(&mut self) -> io::Result<()> {
        self.sync_slots()
    }

    /// Puts a durable small file in the place of `name`, all or nothing.
    ///
    /// # Errors
    /// Those of the medium.
    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
}

/// A directory of one boot's log. Files are readable by their owner only.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    segment: Option<Arc<File>>,
    entries: Beside,
    slots: Arc<File>,
    checkpoints: Beside,
}

/// Options for a file of the owner alone. A WebAssembly module reads receipts and has no files, so nothing is asked for there.
#[cfg(unix)]
fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

#[cfg(not(unix))]
fn private_file() -> OpenOptions {
    OpenOptions::new()
}

/// The same for directories.
#[cfg(unix)]
fn private_directory() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

#[cfg(not(unix))]
fn private_directory() -> DirBuilder {
    DirBuilder::new()
}

/// Holds a file that stays open to be there still. Written in place, a file that somebody removed would take everything and keep nothing.
#[cfg(unix)]
fn still_has_name(file: &File) -> io::Result<()> {
    if file.metadata()?.nlink() == 0 { Err(io::Error::other("the log's file was removed")) } else { Ok(()) }
}

#[cfg(not(unix))]
fn still_has_name(_: &File) -> io::Result<()> {
    Ok(())
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

impl Directory {
    /// Makes the directory, which must not exist.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn create(path: &Path) -> io::Result<Self> {
        let builder = private_directory();
        builder.create(path)?;
        builder.create(path.join(SEGMENT_DIRECTORY))?;
        let mut slots = private_file().write(true).create_new(true).open(path.join(SLOTS_FILE))?;
        slots.write_all(&[0; 2 * SLOT_BYTES])?;
        slots.sync_all()?;
        sync_directory(path)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync_directory(parent.unwrap_or(Path::new(".")))?;
        Ok(Self {
            path: path.to_owned(),
            segment: None,
            entries: Beside::default(),
            slots: Arc::new(slots),
            checkpoints: Beside::default(),
        })
    }
}

fn not_begun() -> io::Error {
    io::Error::other("no segment was begun")
}

impl Storage for Directory {
    fn begin_segment(&mut self, number: u32) -> io::Result<()> {
        let directory = self.path.join(SEGMENT_DIRECTORY);
        let file = private_file().append(true).create_new(true).open(directory.join(segment_name(number)))?;
        file.sync_all()?;
        sync_directory(&directory)?;
        self.segment = Some(Arc::new(file));
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.segment.as_deref().ok_or_else(not_begun)?.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.segment.as_deref().ok_or_else(not_begun)?.sync_data()
    }

    fn begin_write(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        self.entries.begin(self.segment.as_ref().ok_or_else(not_begun)?, bytes)
    }

    fn end_write(&mut self) -> io::Result<Vec<u8>> {
        self.entries.end()
    }

    fn write_has_ended(&mut self) -> bool {
        self.entries.has_ended()
    }

    fn write_slot(&mut self, slot: CheckpointSlot, bytes: &[u8]) -> io::Result<()> {
        let mut file = &*self.slots;
        still_has_name(file)?;
        self.segment.as_deref().map_or(Ok(()), still_has_name)?;
        file.seek(SeekFrom::Start(slot.offset() as u64))?;
        file.write_all(bytes)
    }

    fn sync_slots(&mut self) -> io::Result<()> {
        self.slots.sync_data()
    }

    fn begin_sync_slots(&mut self) -> io::Result<()> {
        self.checkpoints.begin(&self.slots, Vec::new())
    }

    fn end_sync_slots(&mut self) -> io::Result<()> {
        self.checkpoints.end().map(drop)
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let new = self.path.join(format!("{name}.new"));
        let mut file = private_file().write(true).create(true).truncate(true).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, self.path.join(name))?;
        sync_directory(&self.path)
    }
}
