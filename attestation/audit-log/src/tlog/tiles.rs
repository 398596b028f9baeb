//! Tiles (c2sp.org/tlog-tiles): the hashes and entries of a log as a finite set of small files that never change, from which a reader
//! makes every proof by itself.
//!
//! [`Tiler`] makes the files while leaves stream by, [`Tile`] names one, [`read_node`] reads the tree back out of them.

use super::decimal;
use crate::Hash;
use crate::merkle::{self, Frontier, Node};
use std::fmt;
use std::str::FromStr;

/// How many hashes, or entries, a full tile has.
pub const TILE_WIDTH: u16 = 256;
/// How many levels of the tree one level of tiles spans.
const TILE_HEIGHT: u8 = 8;
/// The highest level that the specification gives a path.
const MAX_LEVEL: u8 = 63;
/// The longest path that is read: that of the largest index.
const MAX_PATH_BYTES: usize = 64;
const HASH_BYTES: usize = 32;
/// The longest entry bundle: a full one of the largest entries.
pub const MAX_BUNDLE_BYTES: usize = TILE_WIDTH as usize * (2 + crate::MAX_ENTRY_BYTES);

/// Why something is no tile, or not the tile that it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TileError {
    /// Not a tile's path in its one spelling.
    Path,
    /// Not as many whole hashes or entries as the tile is wide.
    Width {
        /// How wide it is.
        wanted: u16,
    },
    /// An entry that is longer than the length before it can say.
    TooLong,
    /// The tree of this size has no such node.
    NoSuchNode,
}

impl fmt::Display for TileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path => f.write_str("not the path of a tile"),
            Self::Width { wanted } => write!(f, "not the content of a tile of width {wanted}"),
            Self::TooLong => f.write_str("entry is too long for a bundle"),
            Self::NoSuchNode => f.write_str("the tree has no such node"),
        }
    }
}

impl std::error::Error for TileError {}

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TileKind {
    /// Hashes of complete subtrees with `256^level` leaves each.
    Hashes {
        /// The level, 0 to 63.
        level: u8,
    },
    /// The entries whose hashes are in the tile of level 0 with the same index.
    Entries,
}

/// The name of one tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tile {
    kind: TileKind,
    index: u64,
    width: u16,
}

impl Tile {
    /// The tile at `index` of this kind in a tree of `size` leaves, as wide as that tree has it; `None` when the tree has none.
    #[must_use]
    pub fn of_tree(kind: TileKind, index: u64, size: u64) -> Option<Self> {
        let nodes = nodes_of(kind, size);
        let first = index.checked_mul(u64::from(TILE_WIDTH))?;
        let width = u16::try_from(nodes.checked_sub(first)?.min(u64::from(TILE_WIDTH))).ok()?;
        (width > 0).then_some(Self { kind, index, width })
    }

    /// The tile with this name; `None` when no tile has such a level or width.
    #[must_use]
    pub fn new(kind: TileKind, index: u64, width: u16) -> Option<Self> {
        let has_level = !matches!(kind, TileKind::Hashes { level } if level > MAX_LEVEL);
        (has_level && (1..=TILE_WIDTH).contains(&width)).then_some(Self { kind, index, width })
    }

    /// What it holds.
    #[must_use]
    pub const fn kind(&self) -> TileKind {
        self.kind
    }

    /// Its place among those of its kind.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// How many hashes or entries it has, 1 to 256.
    #[must_use]
    pub const fn width(&self) -> u16 {
        self.width
    }

    /// Whether it is as wide as tiles become, so that it never changes again.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.width == TILE_WIDTH
    }

    /// Whether a tree of `size` leaves has everything that this tile holds.
    #[must_use]
    pub fn is_within(&self, size: u64) -> bool {
        Self::of_tree(self.kind, self.index, size).is_some_and(|tile| tile.width >= self.width)
    }
}

/// How many hashes or entries of this kind a tree of `size` leaves has.
fn nodes_of(kind: TileKind, size: u64) -> u64 {
    match kind {
        TileKind::Entries => size,
        TileKind::Hashes { level } => size.checked_shr(u32::from(level) * 8).unwrap_or(0),
    }
}

/// `tile/<L>/<N>[.p/<W>]` or `tile/entries/<N>[.p/<W>]`.
impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Hashes { level } => write!(f, "tile/{level}/")?,
            TileKind::Entries => f.write_str("tile/entries/")?,
        }
        let mut groups = Vec::new();
        let mut rest = self.index;
        while {
            groups.push(rest % 1000);
            rest /= 1000;
            rest > 0
        } {}
        for (place, group) in groups.iter().enumerate().rev() {
            if place > 0 { write!(f, "x{group:03}/")? } else { write!(f, "{group:03}")? }
        }
        if self.is_full() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}

impl FromStr for Tile {
    type Err = TileError;

    fn from_str(path: &str) -> Result<Self, TileError> {
        if path.len() > MAX_PATH_BYTES {
            return Err(TileError::Path);
        }
        let tile = parse(path).ok_or(TileError::Path)?;
        // One spelling: whatever differs from how it is written is refused, leading groups of zeros among it.
        if tile.to_string() == path { Ok(tile) } else { Err(TileError::Path) }
    }
}

fn parse(path: &str) -> Option<Tile> {
    let (kind, rest) = path.strip_prefix("tile/")?.split_once('/')?;
    let kind = match kind {
        "entries" => TileKind::Entries,
        level => TileKind::Hashes {
            level: u8::try_from(decimal(level)?).ok().filter(|level| *level <= MAX_LEVEL)?,
        },
    };
    let (index, width) = match rest.split_once(".p/") {
        Some((index, width)) => (index, decimal(width).filter(|width| (1..256).contains(width))?),
        None => (rest, u64::from(TILE_WIDTH)),
    };
    let mut number = 0_u64;
    for group in index.split('/') {
        let digits = group.strip_prefix('x').unwrap_or(group);
        if digits.len() != 3 || !digits.bytes().all(|c| c.is_ascii_digit()) {
            return None;
        }
        number = number.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
    }
    Some(Tile { kind, index: number, width: u16::try_from(width).ok()? })
}

/// Reads the hashes of a tile. A file that is wider than the tile asked for is cut: a full tile stands in for each of its partial ones.
///
/// # Errors
/// [`TileError::Width`] when there are fewer, more than 256, or a part of one.
pub fn read_hashes(bytes: &[u8], width: u16) -> Result<Vec<Hash>, TileError> {
    let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
    let wanted = hashes.get(..usize::from(width)).ok_or(TileError::Width { wanted: width })?;
    if !rest.is_empty() || hashes.len() > usize::from(TILE_WIDTH) {
        return Err(TileError::Width { wanted: width });
    }
    Ok(wanted.iter().map(|hash| Hash::new(*hash)).collect())
}

/// Appends an entry to a bundle: its length in two bytes, big-endian, and its bytes.
///
/// # Errors
/// [`TileError::TooLong`]; the entries of this crate never are.
pub fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<(), TileError> {
    let length = u16::try_from(entry.len()).map_err(|_| TileError::TooLong)?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Ok(())
}

/// Reads the entries of a bundle of exactly `width` entries.
///
/// # Errors
/// [`TileError::Width`].
pub fn read_entries(bundle: &[u8], width: u16) -> Result<Vec<&[u8]>, TileError> {
    let mut entries = Vec::new();
    let mut rest = bundle;
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let at = usize::from(u16::from_be_bytes(*length));
        let (entry, after) = after.split_at_checked(at).ok_or(TileError::Width { wanted: width })?;
        if entries.len() == usize::from(width) {
            return Err(TileError::Width { wanted: width });
        }
        entries.push(entry);
        rest = after;
    }
    if rest.is_empty() && entries.len() == usize::from(width) {
        Ok(entries)
    } else {
        Err(TileError::Width { wanted: width })
    }
}

/// The hash of a complete subtree of the tree with `size` leaves, out of its tiles: what
/// [`inclusion_proof_from`](merkle::inclusion_proof_from) and [`consistency_proof_from`](merkle::consistency_proof_from) read.
///
/// Establishes nothing: a proof made of tiles is held against a checkpoint like any other.
///
/// # Errors
/// Those of `read`, which gives a tile's content; [`TileError`] when that is not one, or the tree has no such node.
pub fn read_node<E: From<TileError>>(
    node: Node,
    size: u64,
    read: impl FnOnce(Tile) -> Result<Vec<u8>, E>,
) -> Result<Hash, E> {
    let none = || E::from(TileError::NoSuchNode);
    let inner = node.level % TILE_HEIGHT;
    let kind = TileKind::Hashes { level: node.level / TILE_HEIGHT };
    let first = node.index.checked_mul(1 << inner).ok_or_else(none)?;
    let tile = Tile::of_tree(kind, first / u64::from(TILE_WIDTH), size).ok_or_else(none)?;
    let hashes = read_hashes(&read(tile)?, tile.width)?;
    let at = usize::try_from(first % u64::from(TILE_WIDTH)).map_err(|_| none())?;
    let below = hashes.get(at..at + (1 << inner)).ok_or_else(none)?;
    Ok(merkle::root(below))
}

/// Makes the tiles of a log while its leaves stream by, each full one as soon as it is full. Memory is that of one bundle and of one tile
/// for each level.
#[derive(Debug, Default)]
pub struct Tiler {
    frontier: Frontier,
    /// The hashes of the tile under way, for each level.
    levels: Vec<Vec<u8>>,
    bundle: Vec<u8>,
}

impl Tiler {
    /// A tiler at the beginning of a log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next leaf and gives `write` each tile that it completes.
    ///
    /// # Errors
    /// Those of `write`; [`TileError::TooLong`].
    pub fn push<E: From<TileError>>(
        &mut self,
        leaf: &[u8],
        mut write: impl FnMut(Tile, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        push_entry(&mut self.bundle, leaf)?;
        let levels = &mut self.levels;
        self.frontier.push_completing(merkle::leaf_hash(leaf), |node, hash| {
            if node.level % TILE_HEIGHT == 0 {
                let level = usize::from(node.level / TILE_HEIGHT);
                if levels.len() == level {
                    levels.push(Vec::new());
                }
                if let Some(tile) = levels.get_mut(level) {
                    tile.extend_from_slice(hash.as_bytes());
                }
            }
        });
        self.emit(|tile| tile.is_full(), &mut write)?;
        Ok(())
    }

    /// Gives `write` the partial tiles at the log's right edge, and forgets nothing: more leaves may follow.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn partial<E: From<TileError>>(
        &mut self,
        mut write: impl FnMut(Tile, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.emit(|tile| !tile.is_full(), &mut write)
    }

    /// Size and root hash of what was taken.
    #[must_use]
    pub fn head(&self) -> merkle::TreeHead {
        self.frontier.head()
    }

    fn emit<E>(
        &mut self,
        wanted: impl Fn(&Tile) -> bool,
        write: &mut impl FnMut(Tile, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let size = self.frontier.size();
        let last =
            |kind| Tile::of_tree(kind, nodes_of(kind, size).checked_sub(1)? / u64::from(TILE_WIDTH), size);
        if let Some(tile) = last(TileKind::Entries).filter(|tile| wanted(tile) && !self.bundle.is_empty()) {
            write(tile, &self.bundle)?;
            if tile.is_full() {
                self.bundle.clear();
            }
        }
        for (level, hashes) in (0_u8..).zip(&mut self.levels) {
            let tile = last(TileKind::Hashes { level }).filter(|tile| wanted(tile) && !hashes.is_empty());
            if let Some(tile) = tile {
                write(tile, hashes)?;
                if tile.is_full() {
                    hashes.clear();
                }
            }
        }
        Ok(())
    }
}
