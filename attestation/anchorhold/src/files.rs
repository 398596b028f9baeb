//! Files that are read whole within a limit, and files that are made new.

use crate::exit::Failure;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Reads a file of at most `max_bytes` bytes.
pub(crate) fn read(path: &Path, max_bytes: usize) -> Result<Vec<u8>, Failure> {
    let file = File::open(path).map_err(|e| failed("open", path, &e))?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(|e| failed("read", path, &e))?;
    if bytes.len() > max_bytes {
        return Err(Failure::other(format!("{} is over the limit of {max_bytes} bytes", path.display())));
    }
    Ok(bytes)
}

/// Reads a UTF-8 file of at most `max_bytes` bytes.
pub(crate) fn read_text(path: &Path, max_bytes: usize) -> Result<String, Failure> {
    let wrong = |_| Failure::other(format!("{} is not UTF-8 text", path.display()));
    String::from_utf8(read(path, max_bytes)?).map_err(wrong)
}

/// Refuses a secret that others may read.
pub(crate) fn require_private(path: &Path) -> Result<(), Failure> {
    let mode = path.metadata().map_err(|e| failed("open", path, &e))?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let text = format!("{} may be read by others (mode {:03o}, wanted 600)", path.display(), mode & 0o777);
    Err(Failure::other(text).hint("chmod 600 the file; make a new key if others had access"))
}

/// Makes a new file that only its owner may read; an existing one stays as it is.
pub(crate) fn create_private(path: &Path) -> Result<File, Failure> {
    create(path, 0o600)
}

/// Makes a new file; an existing one stays as it is.
pub(crate) fn create_public(path: &Path) -> Result<File, Failure> {
    create(path, 0o644)
}

fn create(path: &Path, mode: u32) -> Result<File, Failure> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    opened.map_err(|e| failed("create", path, &e))
}

/// Writes all of `bytes` and waits until they are on disk.
pub(crate) fn write(mut file: &File, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|e| failed("write", path, &e))
}

pub(crate) fn failed(doing: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::other(format!("cannot {doing} {}: {error}", path.display()))
}
