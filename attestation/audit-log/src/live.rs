//! A log that is being written, as the files of c2sp.org/tlog-tiles: what an auditor reads while it grows.
//!
//! Nothing is stored beside the log. A level-0 tile and an entry bundle are read out of the segments when asked for; hashes above them, one
//! for 256 entries, and the place of each 256th entry are kept in memory.

use crate::checkpoint::Checkpoint;
use crate::merkle::{self, Frontier};
use crate::note::VerifierKey;
use crate::reader::{ReadError, Segments, Step, read_checkpoint, read_key};
use crate::tlog::tiles::{TILE_WIDTH, Tile, TileKind, push_entry};
use crate::{Hash, LogPlace, ReadingKey};
use std::path::PathBuf;
use std::str::FromStr;

/// The name of the checkpoint's file.
pub const CHECKPOINT: &str = "checkpoint";

/// One of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveFile {
    /// The latest checkpoint, with its cosignatures.
    Checkpoint,
    /// A tile or an entry bundle.
    Tile(Tile),
}

impl FromStr for LiveFile {
    type Err = crate::tlog::tiles::TileError;

    fn from_str(path: &str) -> Result<Self, Self::Err> {
        if path == CHECKPOINT { Ok(Self::Checkpoint) } else { path.parse().map(Self::Tile) }
    }
}

/// Follows one log's directory. Owned by one thread; the writer does not know of it.
///
/// Presumes nothing of the directory: every entry that is given out is covered by the checkpoint that was given out, whose root hash was
/// compared.
#[derive(Debug)]
pub struct LiveLog {
    path: PathBuf,
    reading: Option<ReadingKey>,
    key: VerifierKey,
    checkpoint: Option<Checkpoint>,
    note: Vec<u8>,
    segments: Segments,
    frontier: Frontier,
    /// Where each 256th entry begins.
    places: Vec<(u32, u64)>,
    /// The hashes of full tiles, of level 1 and up.
    above: Vec<Vec<Hash>>,
}

impl LiveLog {
    /// Begins to follow the log at `place`; reads no entry yet.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn open<'a>(place: impl Into<LogPlace<'a>>) -> Result<Self, ReadError> {
        let LogPlace { path, key } = place.into();
        Ok(Self {
            path: path.to_owned(),
            reading: key.cloned(),
            key: read_key(path)?,
            checkpoint: None,
            note: Vec::new(),
            segments: Segments::new(path, key.cloned()),
            frontier: Frontier::new(),
            places: Vec::new(),
            above: Vec::new(),
        })
    }

    /// Takes up what was written and covered since. Costs as much as what is new.
    ///
    /// # Errors
    /// [`ReadError`]: the log is not as it was written, and whoever follows it begins anew.
    pub fn refresh(&mut self) -> Result<(), ReadError> {
        let (Some(checkpoint), note) = read_checkpoint(&self.path, &self.key)? else { return Ok(()) };
        let size = checkpoint.head.size;
        if size < self.frontier.size() {
            return Err(ReadError::Missing { covered: self.frontier.size(), observed: size });
        }
        while self.frontier.size() < size {
            self.take()?;
        }
        if self.frontier.root() != checkpoint.head.root {
            return Err(ReadError::Root { size });
        }
        (self.checkpoint, self.note) = (Some(checkpoint), note);
        Ok(())
    }

    fn take(&mut self) -> Result<(), ReadError> {
        let index = self.frontier.size();
        if index.is_multiple_of(u64::from(TILE_WIDTH)) {
            self.places.push(self.segments.place());
        }
        match self.segments.next_leaf()? {
            Step::Leaf => {}
            Step::End => return Err(ReadError::Missing { covered: index + 1, observed: index }),
            Step::Bad => return Err(self.segments.damaged(index)),
        }
        let above = &mut self.above;
        self.frontier.push_completing(merkle::leaf_hash(&self.segments.leaf), |node, hash| {
            if node.level > 0 && node.level % 8 == 0 {
                let level = usize::from(node.level / 8 - 1);
                if above.len() == level {
                    above.push(Vec::new());
                }
                if let Some(hashes) = above.get_mut(level) {
                    hashes.push(hash);
                }
            }
        });
        Ok(())
    }

    /// How many entries the latest checkpoint covers.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.head.size)
    }

    /// The content of a file as of the last [`refresh`](Self::refresh); `None` when the log has no such file yet.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(&self, file: LiveFile) -> Result<Option<Vec<u8>>, ReadError> {
        match file {
            LiveFile::Checkpoint => Ok(self.checkpoint.as_ref().map(|_| self.note.clone())),
            LiveFile::Tile(tile) if !tile.is_within(self.size()) => Ok(None),
            LiveFile::Tile(tile) => match tile.kind() {
                TileKind::Entries => {
                    let mut bundle = Vec::new();
                    self.entries(&tile, |leaf| {
                        // No entry is too long for its two bytes of length.
                        let _ = push_entry(&mut bundle, leaf);
                    })?;
                    Ok(Some(bundle))
                }
                TileKind::Hashes { level: 0 } => {
                    let mut hashes = Vec::new();
                    self.entries(&tile, |leaf| hashes.extend_from_slice(merkle::leaf_hash(leaf).as_bytes()))?;
                    Ok(Some(hashes))
                }
                TileKind::Hashes { level } => Ok(self.hashes(level, &tile)),
            },
        }
    }

    fn hashes(&self, level: u8, tile: &Tile) -> Option<Vec<u8>> {
        let hashes = self.above.get(usize::from(level).checked_sub(1)?)?;
        let first = usize::try_from(tile.index()).ok()?.checked_mul(usize::from(TILE_WIDTH))?;
        let hashes = hashes.get(first..first.checked_add(usize::from(tile.width()))?)?;
        Some(hashes.iter().flat_map(|hash| *hash.as_bytes()).collect())
    }

    fn entries(&self, tile: &Tile, mut take: impl FnMut(&[u8])) -> Result<(), ReadError> {
        let first = tile.index() * u64::from(TILE_WIDTH);
        let place = usize::try_from(tile.index()).ok().and_then(|at| self.places.get(at));
        let missing = |observed| ReadError::Missing { covered: self.size(), observed };
        let log = LogPlace { path: &self.path, key: self.reading.as_ref() };
        let mut segments = Segments::from_entry(log, first, *place.ok_or_else(|| missing(first))?)?;
        for index in first..first + u64::from(tile.width()) {
            match segments.next_leaf()? {
                Step::Leaf => take(&segments.leaf),
                Step::End => return Err(missing(index)),
                Step::Bad => return Err(segments.damaged(index)),
            }
        }
        Ok(())
    }
}
