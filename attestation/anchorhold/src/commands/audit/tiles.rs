//! `anchorhold audit tiles`: a log as static files, which any web server can offer.

use super::AuditKey;
use super::entries::{Bundle, not_proven, require_whole};
use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::{self, Format, line};
use anchorhold_audit_log::Hash;
use anchorhold_audit_log::live::CHECKPOINT;
use anchorhold_audit_log::tlog::tiles::{Tile, TileError, Tiler};
use serde::Serialize;
use std::fs::{DirBuilder, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

const FORMAT: &str = "urn:anchorhold:audit-tiles:v1";

/// Write a log as the static files that other people's readers of transparency logs know (c2sp.org/tlog-tiles)
///
/// The bundle is verified first, and has to be of a whole log. The folder gets `checkpoint`, `tile/LEVEL/...` and `tile/entries/...`, from
/// which a reader makes every proof by itself. Entries are in it as they were hashed. `checkpoint` is written last.
#[derive(clap::Args)]
pub(crate) struct TilesArgs {
    /// The bundle
    file: PathBuf,
    /// The folder to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The key that must have signed the log: in hex, or as a note key
    #[arg(long, value_name = "KEY")]
    audit_key: Option<AuditKey>,
    #[command(flatten)]
    format: Format,
}

#[derive(Serialize)]
struct Tiled {
    format: &'static str,
    origin: String,
    size: u64,
    root_hash: Hash,
    tiles: u64,
}

/// Why a tile was not written.
enum Trouble {
    Tile(TileError),
    Write(PathBuf, io::Error),
}

impl From<TileError> for Trouble {
    fn from(error: TileError) -> Self {
        Self::Tile(error)
    }
}

impl Trouble {
    fn failure(self) -> Failure {
        match self {
            Self::Tile(error) => Failure::other(error),
            Self::Write(path, error) => files::failed("write", &path, &error),
        }
    }
}

pub(super) fn run(args: &TilesArgs) -> Result<Exit, Failure> {
    let expectations = args.audit_key.clone().map(AuditKey::expectations).unwrap_or_default();
    let bundle = Bundle { path: &args.file, expectations: &expectations };
    let report = bundle.verify_each(|_| ())?;
    let (Some(manifest), Some(checkpoint), true) =
        (&report.manifest, &report.checkpoint, report.is_accepted())
    else {
        return Ok(not_proven(&report));
    };
    require_whole(manifest, "tiles are")?;
    DirBuilder::new().create(&args.out).map_err(|e| files::failed("create", &args.out, &e))?;
    let mut tiler = Tiler::new();
    let (mut tiles, mut failed) = (0, None);
    let mut write = |tile: Tile, bytes: &[u8]| {
        tiles += 1;
        write_new(&args.out, &tile.to_string(), bytes)
    };
    bundle.verify_each(|entry| {
        if failed.is_none() {
            // An entry that was read has no more than its one spelling.
            let leaf = entry.to_bytes().unwrap_or_default();
            failed = tiler.push(&leaf, &mut write).err();
        }
    })?;
    if let Some(trouble) = failed {
        return Err(trouble.failure());
    }
    tiler.partial(&mut write).map_err(Trouble::failure)?;
    if tiler.head() != checkpoint.head {
        return Err(Failure::other("the bundle was changed while it was read"));
    }
    write_new(&args.out, CHECKPOINT, &report.checkpoint_note).map_err(Trouble::failure)?;
    let origin = manifest.origin.to_string();
    let tiled =
        Tiled { format: FORMAT, origin, size: checkpoint.head.size, root_hash: checkpoint.head.root, tiles };
    if args.format.json {
        output::json(&tiled)?;
        return Ok(Exit::Ok);
    }
    let mut out = String::new();
    line(&mut out, "log", &tiled.origin);
    line(&mut out, "entries", &tiled.size.to_string());
    line(&mut out, "root", &tiled.root_hash.to_string());
    line(&mut out, "tiles", &tiled.tiles.to_string());
    output::text(&out)?;
    Ok(Exit::Ok)
}

/// Writes a new file below the folder. The names are those of tiles, so none leads out of it.
fn write_new(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), Trouble> {
    let path = folder.join(name);
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    let written = made
        .and_then(|()| File::create_new(&path))
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(|error| Trouble::Write(path, error))
}
