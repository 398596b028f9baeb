//! A package being written beside its final place.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom as _, SystemRandom};
use rustix::fs::{CWD, RenameFlags};

use crate::error::Error;
use crate::hex;
use crate::rules::{KeyRule, OptionRule};

/// A package that appears under its name whole or not at all; removed unless committed, and where we were killed by the next
/// one of that name.
pub(super) struct Partial {
    path: PathBuf,
    target: PathBuf,
    /// Locked for as long as somebody writes here: what is not locked was left.
    _lock: File,
    committed: bool,
}

impl Partial {
    pub(super) fn create(target: &Path) -> Result<Self, Error> {
        let name = target.file_name().ok_or(OptionRule::OutputName)?;
        if fs::symlink_metadata(target).is_ok() {
            return Err(OptionRule::OutputExists.into());
        }
        sweep(target, name);
        let mut suffix = [0; SUFFIX_LEN];
        SystemRandom::new().fill(&mut suffix).map_err(|_| KeyRule::Randomness)?;
        let path = target.with_file_name(format!("{}{}{PARTIAL}", prefix(name), hex::encode(&suffix)));
        let created = || Error::io("creating the package");
        fs::create_dir(&path).map_err(created())?;
        let lock = lock(&path).map_err(created())?;
        let partial = Self { path, target: target.to_owned(), _lock: lock, committed: false };
        fs::create_dir(partial.path.join("objects")).map_err(created())?;
        Ok(partial)
    }

    /// Where the parts are written.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the package appear under its name, whole and durable, unless something else took the name.
    pub(super) fn commit(mut self) -> Result<(), Error> {
        sync_dir(&self.path.join("objects"))?;
        sync_dir(&self.path)?;
        rustix::fs::renameat_with(CWD, &self.path, CWD, &self.target, RenameFlags::NOREPLACE)
            .map_err(|error| Error::io("renaming the package")(error.into()))?;
        self.committed = true;
        let parent = self.target.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync_dir(parent.unwrap_or(Path::new(".")))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.committed {
            // The folder holds ciphertext only; if it cannot be removed, its name says what it is.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

const SUFFIX_LEN: usize = 8;
/// What the name of a package ends with while it is written.
const PARTIAL: &str = ".partial";

fn prefix(name: &OsStr) -> String {
    format!(".{}.", name.to_string_lossy())
}

fn lock(path: &Path) -> io::Result<File> {
    let dir = File::open(path)?;
    match dir.try_lock() {
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
        // Where nothing can be locked nothing is swept either.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(dir),
    }
}

/// Removes what runs that were killed left of this package. It is ciphertext of which nobody has the manifest; what cannot be
/// removed stands in nobody's way.
fn sweep(target: &Path, name: &OsStr) {
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
    let Ok(entries) = fs::read_dir(parent.unwrap_or(Path::new("."))) else { return };
    let prefix = prefix(name);
    let left = |name: &OsStr| {
        let suffix = name.to_str().and_then(|name| name.strip_prefix(&prefix)?.strip_suffix(PARTIAL));
        suffix.is_some_and(|hex| {
            hex.len() == 2 * SUFFIX_LEN && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    };
    for entry in entries.flatten() {
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_dir || !left(&entry.file_name()) {
            continue;
        }
        let path = entry.path();
        // What another run is writing is locked, and stays.
        if let Ok(dir) = File::open(&path)
            && dir.try_lock().is_ok()
        {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

pub(super) fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut file = File::create_new(path).map_err(Error::io("creating a file"))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Error::io("writing a file"))
}

fn sync_dir(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(Error::io("syncing a folder"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_replaces_what_took_the_name_and_leaves_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("other");
        let partial = Partial::create(&target).unwrap();
        fs::create_dir(&target).unwrap();
        assert_eq!(partial.commit().unwrap_err().stage(), "io");
        let left: Vec<_> =
            fs::read_dir(parent.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["other"]);
        assert_eq!(Partial::create(&target).err(), Some(OptionRule::OutputExists.into()));
        assert_eq!(Partial::create(Path::new("/")).err(), Some(OptionRule::OutputName.into()));
    }

    #[test]
    fn removes_what_a_killed_run_left_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("sealed");
        let make = |name: &str| {
            fs::create_dir_all(parent.path().join(name).join("objects")).unwrap();
            parent.path().join(name)
        };
        let left = make(".sealed.0123456789abcdef.partial");
        let kept = [
            ".sealed.0123456789abcde.partial",
            ".sealed.0123456789abcdeg.partial",
            ".other.0123456789abcdef.partial",
            "sealed.0123456789abcdef.partial",
        ]
        .map(make);
        let at_work = Partial::create(&target).unwrap();
        let second = Partial::create(&target).unwrap();
        assert!(!left.exists());
        assert!(kept.iter().all(|path| path.exists()));
        assert!(at_work.path().exists() && second.path().exists());
        let link = parent.path().join(".sealed.fedcba9876543210.partial");
        std::os::unix::fs::symlink(&kept[0], &link).unwrap();
        drop((at_work, second));
        Partial::create(&target).unwrap();
        assert!(link.symlink_metadata().is_ok() && kept[0].join("objects").exists());
    }
}
