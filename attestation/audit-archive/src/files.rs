//! Files that are read within a limit and replaced as a whole.

use crate::error::{Error, Result};
use crate::steps::Steps;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

pub(crate) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { doing, path, source }
}

/// Reads a file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed("open", path))?;
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(failed("read", path))?;
    if bytes.len() > limit {
        let source = io::Error::new(ErrorKind::FileTooLarge, format!("over {limit} bytes"));
        return Err(failed("read", path)(source));
    }
    Ok(bytes)
}

/// The same for a file that may be missing.
pub(crate) fn read_if_there(path: &Path, limit: usize) -> Result<Option<Vec<u8>>> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        _ => read(path, limit).map(Some),
    }
}

/// A new file for its owner alone; what a run that was cut off left under this name is nobody's.
pub(crate) fn create(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path).map_err(failed("create", path))
}

/// The name under which a file's successor is written.
pub(crate) fn successor(path: &Path) -> PathBuf {
    path.with_extension("new")
}

/// Puts a durable file in the place of `path`, all or nothing.
pub(crate) fn replace(path: &Path, bytes: &[u8], steps: &Steps) -> Result<()> {
    let new = successor(path);
    steps.next().map_err(failed("create", &new))?;
    let mut file = create(&new)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed("write", &new))?;
    put_in_place(path, steps)
}

/// Puts the successor, which is durable, in the place of `path`.
pub(crate) fn put_in_place(path: &Path, steps: &Steps) -> Result<()> {
    steps.next().map_err(failed("replace", path))?;
    std::fs::rename(successor(path), path).map_err(failed("replace", path))?;
    steps.next().map_err(failed("sync the folder of", path))?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

pub(crate) fn sync_folder(path: &Path) -> Result<()> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(failed("sync", path))
}
