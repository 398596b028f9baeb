//! A package being written beside its final place.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom as _, SystemRandom};
use rustix::fs::{CWD, RenameFlags};

use crate::error::Error;
use crate::hex;
use crate::rules::{KeyRule, OptionRule};

/// A package that appears under its name whole or not at all; removed unless committed.
pub(super) struct Partial {
    path: PathBuf,
    target: PathBuf,
    committed: bool,
}

impl Partial {
    pub(super) fn create(target: &Path) -> Result<Self, Error> {
        let name = target.file_name().ok_or(OptionRule::OutputName)?;
        if fs::symlink_metadata(target).is_ok() {
            return Err(OptionRule::OutputExists.into());
        }
        let mut suffix = [0; 8];
        SystemRandom::new().fill(&mut suffix).map_err(|_| KeyRule::Randomness)?;
        let name = format!(".{}.{}.partial", name.to_string_lossy(), hex::encode(&suffix));
        let path = target.with_file_name(name);
        fs::create_dir(&path).map_err(Error::io("creating the package"))?;
        let partial = Self { path, target: target.to_owned(), committed: false };
        fs::create_dir(partial.path.join("objects")).map_err(Error::io("creating the package"))?;
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
}
