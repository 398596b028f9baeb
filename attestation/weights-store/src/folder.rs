//! A package on disk while it comes.
//!
//! `manifest.json` appears last, so a folder that has it holds a whole package. What only the fetch needs lies in `.fetch`: the
//! manifest that the files belong to, a note for each object, and the lock.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::Arc;

use anchorhold_sealed_weights::{MANIFEST_NAME, MAX_MANIFEST_LEN, Manifest, ObjectEntry, VerifiedManifest};

use crate::disk::{self, Dir, TEMPORARY};
use crate::error::Error;

const OBJECTS: &str = "objects";
const STATE: &str = ".fetch";
const LOCK: &str = "lock";
/// More names than this in a folder of ours are not ours.
const MAX_NAMES: usize = 4096;
/// The rights of others, none of which they may have to a cache: what is in it tells what is served.
pub(crate) const OTHERS: u32 = 0o077;
/// What others may not do with a folder that a package is fetched into.
const OTHERS_WRITE: u32 = 0o022;

/// A folder that a package is fetched into.
#[derive(Debug)]
pub struct Folder {
    dir: Dir,
    objects: Dir,
    state: Arc<Dir>,
}

impl Folder {
    /// Opens the folder, and makes it if it is not there. Nobody else may be able to write to it.
    ///
    /// # Errors
    /// [`Error::CacheFolder`], [`Error::CacheFull`], [`Error::CacheIo`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let dir = open_ours(path, OTHERS_WRITE)?;
        let disk = || Error::disk("making a folder");
        // By this one the folder is known as ours, so it comes first.
        let state = Arc::new(dir.enter(STATE).map_err(disk())?);
        let objects = dir.enter(OBJECTS).map_err(disk())?;
        Ok(Self { dir, objects, state })
    }

    /// Refuses a folder that the package with this manifest may not be fetched into. It may where there is nothing yet, an
    /// unfinished fetch, or that very package. Whatever else is there stays as it is: a store that shows an old version
    /// must not replace a newer one.
    pub(crate) fn require_free(path: &Path, digest: &[u8; 32], owner_key: &[u8; 32]) -> Result<(), Error> {
        let foreign = || Error::FolderForeign { folder: path.to_owned() };
        let Ok(dir) = Dir::open(path) else {
            // Nothing is there, or `open` says why it is of no use.
            return Ok(());
        };
        let names = dir.names(MAX_NAMES).map_err(|_| foreign())?;
        if !names.iter().any(|name| name == MANIFEST_NAME) {
            return if names.is_empty() || names.iter().any(|name| name == STATE) {
                Ok(())
            } else {
                Err(foreign())
            };
        }
        let bytes = dir.read(MANIFEST_NAME, MAX_MANIFEST_LEN as u64).map_err(|_| foreign())?;
        let held = Manifest::verify(&bytes, owner_key).map_err(|_| foreign())?;
        if held.digest() == digest {
            return Ok(());
        }
        Err(Error::FolderHolds {
            folder: path.to_owned(),
            model_id: held.model_id().to_owned(),
            version: held.version(),
            held: *held.digest(),
            wanted: *digest,
        })
    }

    /// The file whose lock says that somebody is at work on the package.
    pub(crate) fn lock_file(&self) -> Result<File, Error> {
        self.state.create_file(LOCK).map_err(Error::disk("opening the lock"))
    }

    pub(crate) fn state(&self) -> &Arc<Dir> {
        &self.state
    }

    /// The manifest that the files belong to, whether all of them are there or not.
    pub(crate) fn manifest(&self) -> Option<Vec<u8>> {
        let read = |dir: &Dir| dir.read(MANIFEST_NAME, MAX_MANIFEST_LEN as u64).ok();
        read(&self.state).or_else(|| read(&self.dir))
    }

    /// Whether a fetch into this folder came to its end.
    pub(crate) fn is_whole(&self) -> bool {
        self.dir.open_file(MANIFEST_NAME).is_ok()
    }

    /// Notes which package the files belong to. What an earlier, other one left goes; nothing else that may lie here does.
    pub(crate) fn begin(&self, manifest: &VerifiedManifest, bytes: &[u8]) -> Result<(), Error> {
        let disk = || Error::disk("noting the manifest");
        if self.dir.read(MANIFEST_NAME, MAX_MANIFEST_LEN as u64).is_ok_and(|old| old != bytes) {
            self.dir.remove(MANIFEST_NAME).map_err(disk())?;
        }
        if self.state.read(MANIFEST_NAME, MAX_MANIFEST_LEN as u64).is_ok_and(|old| old == bytes) {
            return Ok(());
        }
        self.state.write(MANIFEST_NAME, bytes).map_err(disk())?;
        let known: Vec<String> = manifest.objects().iter().map(|object| object.id().to_string()).collect();
        let ours = |name: &str| {
            let stem = name.strip_suffix(TEMPORARY).unwrap_or(name);
            let stem = stem.strip_suffix(".tree").unwrap_or(stem);
            stem.len() == 32 && stem.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        for dir in [&self.objects, &*self.state] {
            for name in dir.names(MAX_NAMES).map_err(disk())? {
                let stem = name.strip_suffix(".tree").unwrap_or(&name);
                if ours(&name) && !known.iter().any(|id| id == stem) {
                    dir.remove(&name).map_err(disk())?;
                }
            }
        }
        Ok(())
    }

    /// The bytes of the card or of a tree, if they are there.
    pub(crate) fn small(&self, name: &str, limit: u64) -> Option<Vec<u8>> {
        self.dir.read(name, limit).ok()
    }

    /// Keeps the card or a tree.
    pub(crate) fn keep_small(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let written = match name.strip_prefix("objects/") {
            Some(name) => self.objects.write(name, bytes),
            None => self.dir.write(name, bytes),
        };
        written.map_err(Error::disk("writing a tree or the card"))
    }

    /// The file of an object with room for all of it, and whether it may hold segments already.
    pub(crate) fn object(&self, entry: &ObjectEntry) -> Result<(File, bool), Error> {
        let disk = || Error::disk("reserving an object");
        let file = self.objects.create_file(&entry.id().to_string()).map_err(disk())?;
        let kept = disk::reserve(&file, entry.ciphertext_len()).map_err(disk())?;
        Ok((file, kept))
    }

    /// A file of the package, to be read.
    pub(crate) fn open_file(&self, path: &str) -> Result<File, Error> {
        self.dir.open_file(path).map_err(Error::disk("opening a fetched file"))
    }

    /// Makes the package whole: everything before this is durable, and so is this.
    pub(crate) fn finish(&self, manifest: &[u8]) -> Result<(), Error> {
        let finished = self.objects.sync().and_then(|()| self.dir.write(MANIFEST_NAME, manifest));
        finished.map_err(Error::disk("writing the manifest"))
    }

    /// Removes what only the fetch needed. The package is whole without it.
    ///
    /// # Errors
    /// [`Error::CacheIo`].
    pub fn remove_notes(&self) -> Result<(), Error> {
        let removed = self.state.names(MAX_NAMES).and_then(|names| {
            names.iter().try_for_each(|name| self.state.remove(name))?;
            self.dir.remove_dir(STATE)
        });
        removed.map_err(Error::disk("removing notes"))
    }
}

/// A folder of ours to which others have none of the `refused` rights; made if it is not there.
pub(crate) fn open_ours(path: &Path, refused: u32) -> Result<Dir, Error> {
    let about = |text: String| Error::CacheFolder(format!("{}: {text}", path.display()));
    match DirBuilder::new().mode(disk::DIR_MODE.bits()).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(about(error.to_string())),
    }
    let dir = Dir::open(path).map_err(|error| about(error.to_string()))?;
    let metadata = dir.file().metadata().map_err(|error| about(error.to_string()))?;
    if metadata.mode() & refused != 0 {
        let (observed, wanted) = (metadata.mode() & 0o777, 0o777 & !refused);
        return Err(about(format!("has mode {observed:03o}, wanted {wanted:03o}")));
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(about("belongs to another user".to_owned()));
    }
    Ok(dir)
}
