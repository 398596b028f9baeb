//! Files that are read whole within a limit, and files that are made new.

use crate::exit::Failure;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The rights of others, none of which they may have to a secret.
const OTHERS: u32 = 0o077;

/// Reads a file of at most `max_bytes` bytes.
pub(crate) fn read(path: &Path, max_bytes: usize) -> Result<Vec<u8>, Failure> {
    let file = File::open(path).map_err(|e| failed("open", path, &e))?;
    let mut bytes = Vec::new();
    read_opened(file, path, max_bytes, &mut bytes)?;
    Ok(bytes)
}

fn read_opened(file: File, path: &Path, max_bytes: usize, bytes: &mut Vec<u8>) -> Result<(), Failure> {
    let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(bytes).map_err(|e| failed("read", path, &e))?;
    if bytes.len() > max_bytes {
        return Err(Failure::other(format!("{} is over the limit of {max_bytes} bytes", path.display())));
    }
    Ok(())
}

/// Reads a UTF-8 file of at most `max_bytes` bytes.
pub(crate) fn read_text(path: &Path, max_bytes: usize) -> Result<String, Failure> {
    let wrong = |_| Failure::other(format!("{} is not UTF-8 text", path.display()));
    String::from_utf8(read(path, max_bytes)?).map_err(wrong)
}

/// Reads a secret of at most `max_bytes` bytes, and refuses one that others may read. The file that is looked at is the one
/// that is read, whatever its name stands for by then.
pub(crate) fn read_private(path: &Path, max_bytes: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let file = File::open(path).map_err(|e| failed("open", path, &e))?;
    let metadata = file.metadata().map_err(|e| failed("open", path, &e))?;
    if metadata.is_dir() {
        return Err(Failure::other(format!("{} is a directory", path.display())));
    }
    let mode = metadata.permissions().mode();
    if mode & OTHERS != 0 {
        let text =
            format!("{} may be read by others (mode {:03o}, wanted 600)", path.display(), mode & 0o777);
        return Err(Failure::other(text).hint("chmod 600 the file; make a new key if others had access"));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    read_opened(file, path, max_bytes, &mut bytes)?;
    Ok(bytes)
}

/// Makes a new file that only its owner may read; an existing one stays as it is.
pub(crate) fn create_private(path: &Path) -> Result<File, Failure> {
    create(path, 0o600)
}

/// Makes a new file that only its owner may read, or takes over an empty one of ours, which a run that was killed left. A file
/// that holds anything stays as it is. It is ours alone for as long as it is open.
pub(crate) fn create_or_take_over_private(path: &Path) -> Result<File, Failure> {
    let exists = || {
        Failure::other(format!("cannot create {}: File exists", path.display()))
            .hint("what it holds is never overwritten; name a new file")
    };
    let file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let named = path.symlink_metadata().map_err(|e| failed("open", path, &e))?;
            if !named.is_file() || named.len() != 0 || named.mode() & OTHERS != 0 {
                return Err(exists());
            }
            let file = OpenOptions::new().write(true).open(path).map_err(|e| failed("open", path, &e))?;
            let opened = file.metadata().map_err(|e| failed("open", path, &e))?;
            // A link may have taken the name meanwhile.
            if (opened.dev(), opened.ino()) != (named.dev(), named.ino()) {
                return Err(exists());
            }
            file
        }
        Err(error) => return Err(failed("create", path, &error)),
    };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            return Err(Failure::other(format!("{} is being written by another process", path.display())));
        }
        // Where nothing can be locked nobody was asked to wait either.
        Ok(()) | Err(TryLockError::Error(_)) => {}
    }
    let length = file.metadata().map_err(|e| failed("open", path, &e))?.len();
    if length == 0 { Ok(file) } else { Err(exists()) }
}

/// A private file that is to be replaced as a whole, and that nobody else replaces meanwhile.
pub(crate) struct Replaced<'a> {
    path: &'a Path,
    /// Held until the end; the file itself stays, because whoever waits for it has it open.
    _lock: File,
}

impl<'a> Replaced<'a> {
    /// Begins; what is read from here on is what will be replaced.
    pub(crate) fn begin(path: &'a Path) -> Result<Self, Failure> {
        let beside = beside(path, "lock")?;
        let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&beside);
        let lock = opened.map_err(|e| failed("open", &beside, &e))?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => {
                Err(Failure::other(format!("{} is being changed by another process", path.display())))
            }
            // Where nothing can be locked nobody was asked to wait either.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(Self { path, _lock: lock }),
        }
    }

    /// Puts these bytes in its place: whoever reads it finds all of the old ones or all of the new ones, after a crash too.
    pub(crate) fn replace(&self, bytes: &[u8]) -> Result<(), Failure> {
        let new = beside(self.path, "new")?;
        // One that was left by a run that was killed is nobody's.
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed("remove", &new, &error)),
            _ => {}
        }
        write(&create_private(&new)?, &new, bytes)?;
        std::fs::rename(&new, self.path).map_err(|e| failed("replace", self.path, &e))?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all());
        folder.map_err(|e| failed("write the folder of", self.path, &e))
    }
}

/// The path with this ending after its own.
fn beside(path: &Path, ending: &str) -> Result<PathBuf, Failure> {
    let name = path.file_name().ok_or_else(|| Failure::other(format!("{} names no file", path.display())))?;
    let mut name = name.to_owned();
    name.push(".");
    name.push(ending);
    Ok(path.with_file_name(name))
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
