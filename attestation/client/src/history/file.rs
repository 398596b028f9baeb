//! The file below a history.

use super::{HistoryError, MAX_HISTORY_BYTES};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The rights of others, none of which they may have.
const OTHERS: u32 = 0o077;

fn failed(doing: &'static str) -> impl Fn(io::Error) -> HistoryError {
    move |source| HistoryError::Io { doing, source }
}

/// A file that this process alone appends lines to.
#[derive(Debug)]
pub(super) struct Lines {
    file: File,
    path: PathBuf,
    len: u64,
}

impl Lines {
    /// Opens or makes the file; gives its whole lines. A torn last line is cut off.
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<u8>), HistoryError> {
        let file = options().create(true).open(path).map_err(failed("opened"))?;
        let metadata = file.metadata().map_err(failed("opened"))?;
        if !metadata.is_file() {
            return Err(HistoryError::NotAFile);
        }
        if metadata.mode() & OTHERS != 0 {
            return Err(HistoryError::Mode { mode: metadata.mode() & 0o777 });
        }
        lock(&file)?;
        let mut text = Vec::new();
        (&file).take(MAX_HISTORY_BYTES + 1).read_to_end(&mut text).map_err(failed("read"))?;
        if text.len() as u64 > MAX_HISTORY_BYTES {
            return Err(HistoryError::Limit { what: "bytes", limit: MAX_HISTORY_BYTES });
        }
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            text.truncate(whole);
            file.set_len(whole as u64).and_then(|()| file.sync_all()).map_err(failed("repaired"))?;
        }
        Ok((Self { file, path: path.to_owned(), len: whole as u64 }, text))
    }

    /// Its length in bytes.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// Appends whole lines, and waits until they are on disk.
    pub(super) fn append(&mut self, lines: &[u8]) -> Result<(), HistoryError> {
        let written = self.file.write_all(lines).and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            // What was written of it must not become the beginning of the next line; if that fails too, opening repairs it.
            let _ = self.file.set_len(self.len);
            return Err(HistoryError::Io { doing: "written", source });
        }
        self.len = self.len.saturating_add(lines.len() as u64);
        Ok(())
    }

    /// Puts the file aside, under its name with `.1`, and begins it anew with these lines. At every moment its name is that
    /// of the one or the other.
    pub(super) fn replace(&mut self, lines: &[u8]) -> Result<(), HistoryError> {
        let (aside, next) = (self.beside(".1"), self.beside(".new"));
        for path in [&aside, &next] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("rotated")(error));
                }
                _ => {}
            }
        }
        let mut file = options().create_new(true).open(&next).map_err(failed("rotated"))?;
        lock(&file)?;
        file.write_all(lines).and_then(|()| file.sync_all()).map_err(failed("rotated"))?;
        std::fs::hard_link(&self.path, &aside).map_err(failed("rotated"))?;
        std::fs::rename(&next, &self.path).map_err(failed("rotated"))?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = File::open(folder.unwrap_or(Path::new("."))).map_err(failed("rotated"))?;
        folder.sync_all().map_err(failed("rotated"))?;
        (self.file, self.len) = (file, lines.len() as u64);
        Ok(())
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(suffix);
        name.into()
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(0o600);
    options
}

fn lock(file: &File) -> Result<(), HistoryError> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(HistoryError::Busy),
        // Where nothing can be locked nobody was asked to wait either.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}
