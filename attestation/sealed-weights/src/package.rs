//! A package on disk: its files, and its ciphertext, which can be checked without a key.
//!
//! Opening files is apart from decrypting them because the process that opens files and the process that decrypts need not
//! be the same.

use std::fs::File;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::ciphertext::check_ciphertext;
use crate::effort::Effort;
use crate::error::Error;
use crate::manifest::{MAX_MANIFEST_LEN, VerifiedManifest};
use crate::object::CARD_NAME;
use crate::reader;
use crate::rules::{ManifestRule, MixedRule};

/// The name of the manifest in a package.
pub const MANIFEST_NAME: &str = "manifest.json";

/// The open files of one object.
#[derive(Debug)]
pub struct ObjectFiles {
    /// `objects/<id>.tree`.
    pub tree: File,
    /// `objects/<id>`.
    pub data: File,
}

/// The open files of a package but the manifest. Nothing about their content is known yet.
#[derive(Debug)]
pub struct PackageFiles {
    /// `card.sealed`.
    pub card: File,
    /// One for each of [`VerifiedManifest::objects`], in that order.
    pub objects: Vec<ObjectFiles>,
}

/// Reads the bytes of a package's manifest, which are still to be verified.
///
/// # Errors
/// [`Error::Io`]; [`Error::Manifest`] beyond [`MAX_MANIFEST_LEN`].
pub fn read_manifest(dir: &Path) -> Result<Vec<u8>, Error> {
    let file = open_beneath(&open_dir(dir)?, MANIFEST_NAME)?;
    let actual = file.metadata().map_err(Error::io("sizing the manifest"))?.len();
    let len = usize::try_from(actual).ok().filter(|len| *len <= MAX_MANIFEST_LEN);
    let mut bytes = vec![0; len.ok_or(ManifestRule::TooLong)?];
    let read = reader::read_full(&file, &mut bytes, 0).map_err(Error::io("reading the manifest"))?;
    Error::check_length("manifest", actual, read as u64)?;
    Ok(bytes)
}

impl PackageFiles {
    /// Opens the files that `manifest` names. Only regular files under `dir` are opened; no link is followed.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(dir: &Path, manifest: &VerifiedManifest) -> Result<Self, Error> {
        let dir = open_dir(dir)?;
        let card = open_beneath(&dir, CARD_NAME)?;
        let mut objects = Vec::with_capacity(manifest.objects().len());
        for object in manifest.objects() {
            let path = format!("objects/{}", object.id());
            let tree = open_beneath(&dir, &format!("{path}.tree"))?;
            objects.push(ObjectFiles { tree, data: open_beneath(&dir, &path)? });
        }
        Ok(Self { card, objects })
    }

    /// Checks every byte of the package against the signed roots. Needs no key, so a cache can do it.
    ///
    /// Establishes that these are the bytes the owner signed; not that they decrypt.
    ///
    /// # Errors
    /// [`Error::Tree`], [`Error::Segment`], [`Error::Header`], [`Error::Truncated`], [`Error::Trailing`],
    /// [`Error::Io`]; [`Error::Mixed`] when the files are not as many as the manifest's objects.
    pub fn verify_ciphertext(&self, manifest: &VerifiedManifest, effort: &Effort<'_>) -> Result<(), Error> {
        if self.objects.len() != manifest.objects().len() {
            return Err(MixedRule::FileCount.into());
        }
        let total = manifest.objects().iter().map(|object| object.plaintext_len()).sum();
        let meter = effort.meter(manifest.card().plaintext_len().saturating_add(total));
        check_ciphertext(manifest.card(), &self.card, None, effort, &meter)?;
        for (object, files) in manifest.objects().iter().zip(&self.objects) {
            check_ciphertext(object, &files.data, Some(&files.tree), effort, &meter)?;
        }
        Ok(())
    }
}

pub(crate) fn open_dir(dir: &Path) -> Result<File, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(dir, flags, Mode::empty());
    dir.map(File::from).map_err(|error| Error::io("opening a folder")(error.into()))
}

/// Opens a regular file under `dir`; refuses links on the way and does not wait for a pipe's other end.
pub(crate) fn open_beneath(dir: &File, path: &str) -> Result<File, Error> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let file = rustix::fs::openat2(dir, path, flags, Mode::empty(), resolve);
    let file = file.map(File::from).map_err(|error| Error::io("opening a file")(error.into()))?;
    if !file.metadata().map_err(Error::io("opening a file"))?.is_file() {
        return Err(Error::Io { doing: "opening a regular file", kind: std::io::ErrorKind::InvalidInput });
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::{FdFlags, fcntl_getfd};
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_file_is_opened_below_the_folder_and_through_no_link() {
        let outer = tempfile::tempdir().unwrap();
        let inside = outer.path().join("package");
        fs::create_dir_all(inside.join("objects")).unwrap();
        fs::write(outer.path().join("secret"), "outside").unwrap();
        fs::write(inside.join("objects/a"), "object").unwrap();
        symlink("objects", inside.join("folder")).unwrap();
        symlink("objects/a", inside.join("file")).unwrap();
        symlink("..", inside.join("up")).unwrap();
        let folder = open_dir(&inside).unwrap();
        let file = open_beneath(&folder, "objects/a").unwrap();
        for descriptor in [&folder, &file] {
            assert!(fcntl_getfd(descriptor).unwrap().contains(FdFlags::CLOEXEC));
        }
        let absolute = outer.path().join("secret");
        for path in [
            "../secret",
            "objects/../../secret",
            "up/secret",
            "folder/a",
            "file",
            "objects",
            "absent",
            absolute.to_str().unwrap(),
        ] {
            assert!(open_beneath(&folder, path).is_err(), "{path}");
        }
        assert!(open_dir(&inside.join("objects/a")).is_err());
        let process = File::open("/proc/self").unwrap();
        assert!(open_beneath(&process, "fd/0").is_err(), "a link of the kernel's own");
    }
}
