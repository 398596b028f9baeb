//! A package on disk, and a whole sealed model behind open files.
//!
//! The two are apart because the process that opens files and the process that decrypts need not be the same.

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use zeroize::Zeroizing;

use crate::card::Card;
use crate::error::Error;
use crate::floe::HEADER_LEN;
use crate::key::WeightsKey;
use crate::load::{self, Destination};
use crate::manifest::{MAX_MANIFEST_LEN, VerifiedManifest};
use crate::merkle::{self, HASH_LEN, Hash};
use crate::object::ObjectEntry;
use crate::reader::{self, ObjectReader};
use crate::role::Role;
use crate::tensors::TensorIndex;

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
/// [`Error::Io`]; [`Error::TooLarge`] beyond [`MAX_MANIFEST_LEN`].
pub fn read_manifest(dir: &Path) -> Result<Vec<u8>, Error> {
    let file = open_beneath(&open_dir(dir)?, MANIFEST_NAME)?;
    let actual = file.metadata().map_err(Error::io("sizing the manifest"))?.len();
    let limit = MAX_MANIFEST_LEN as u64;
    let len = usize::try_from(actual).ok().filter(|len| *len <= MAX_MANIFEST_LEN);
    let mut bytes = vec![0; len.ok_or(Error::TooLarge { limit, actual })?];
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
        let card = open_beneath(&dir, Role::Card.file_name())?;
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
    pub fn verify_ciphertext(&self, manifest: &VerifiedManifest) -> Result<(), Error> {
        check_ciphertext(manifest.card(), &self.card, None)?;
        if self.objects.len() != manifest.objects().len() {
            return Err(Error::Mixed("files and manifest list different objects"));
        }
        for (object, files) in manifest.objects().iter().zip(&self.objects) {
            check_ciphertext(object, &files.data, Some(&files.tree))?;
        }
        Ok(())
    }
}

/// A model whose card, trees and headers were checked. Its contents are decrypted on demand.
#[derive(Debug)]
pub struct SealedModel {
    card: Card,
    readers: Vec<ObjectReader>,
}

impl SealedModel {
    /// Opens every object. Establishes what [`ObjectReader::open`] does, and that the card fits the manifest.
    ///
    /// # Errors
    /// Those of [`reader::open_card`] and [`ObjectReader::open`]; [`Error::Mixed`] when the files are not as many as
    /// the manifest's objects.
    pub fn open(key: &WeightsKey, files: PackageFiles) -> Result<Self, Error> {
        let objects = key.manifest().objects();
        if files.objects.len() != objects.len() {
            return Err(Error::Mixed("files and manifest list different objects"));
        }
        let card = reader::open_card(key, &files.card)?;
        let open = |(object, files): (&ObjectEntry, ObjectFiles)| {
            ObjectReader::open(key, &object.id(), &files.tree, files.data)
        };
        let readers = objects.iter().zip(files.objects).map(open).collect::<Result<_, Error>>()?;
        Ok(Self { card, readers })
    }

    /// The decrypted card.
    #[must_use]
    pub const fn card(&self) -> &Card {
        &self.card
    }

    /// The tensor table of the weights.
    #[must_use]
    pub const fn index(&self) -> &TensorIndex {
        self.card.index()
    }

    /// Decrypts a file other than the weights.
    ///
    /// # Errors
    /// [`Error::Absent`] when the package has none of this role; those of [`ObjectReader::read_small`];
    /// [`Error::Card`] when it is not the file that the card describes.
    pub fn file(&self, role: Role) -> Result<Zeroizing<Vec<u8>>, Error> {
        let found = self.card.files().iter().zip(&self.readers).find(|(file, _)| file.role() == role);
        let (file, reader) = found.ok_or(Error::Absent(role.as_str()))?;
        let bytes = reader.read_small(role.max_len().min(Role::Tokenizer.max_len()))?;
        if merkle::sha256(&bytes) != *file.sha256() {
            return Err(Error::Card("file is not the one that the card describes"));
        }
        Ok(bytes)
    }

    /// The roles of the package's files.
    pub fn roles(&self) -> impl Iterator<Item = Role> + '_ {
        self.card.files().iter().map(crate::card::CardFile::role)
    }

    /// The weights, to be read with [`load::load_tensors`].
    ///
    /// # Errors
    /// [`Error::Absent`], which a verified manifest rules out.
    pub fn weights(&self) -> Result<&ObjectReader, Error> {
        let mut readers = self.readers.iter();
        readers.find(|reader| reader.entry().role() == Role::Weights).ok_or(Error::Absent("weights"))
    }

    /// Loads every tensor as numbers, in the order of [`SealedModel::index`].
    ///
    /// # Errors
    /// Those of [`load::load_f32`].
    pub fn load_f32(&self, threads: NonZeroUsize) -> Result<Vec<Vec<f32>>, Error> {
        load::load_f32(self.weights()?, self.index(), threads)
    }

    /// Decrypts everything and keeps nothing: establishes that a later load of the same bytes will succeed.
    ///
    /// # Errors
    /// Those of [`SealedModel::file`] and [`load::load_tensors`].
    pub fn verify(&self, threads: NonZeroUsize) -> Result<(), Error> {
        for role in self.roles().filter(|role| *role != Role::Weights) {
            self.file(role)?;
        }
        let skips = self.index().tensors().iter().map(|_| Destination::Skip).collect();
        load::load_tensors(self.weights()?, self.index(), threads, skips)
    }
}

/// Holds an object file against its signed header and root, and its tree file, if it has one, against its segments.
fn check_ciphertext(entry: &ObjectEntry, data: &File, tree: Option<&File>) -> Result<(), Error> {
    let object = entry.id();
    let actual = data.metadata().map_err(Error::io("sizing an object"))?.len();
    Error::check_length("object", entry.ciphertext_len(), actual)?;
    let mut header = [0; HEADER_LEN];
    let read = reader::read_full(data, &mut header, 0).map_err(Error::io("reading a header"))?;
    Error::check_length("object", HEADER_LEN as u64, read as u64)?;
    if header != *entry.header() {
        return Err(Error::Header { object, rule: "not the header that the manifest names" });
    }
    let expected = tree.map(|tree| read_leaves(entry, tree)).transpose()?;
    let mut leaves = Vec::new();
    let mut segment = Vec::new();
    for index in 0..entry.segment_count() {
        let refused = |rule| Error::Segment { object, index, rule };
        let span = entry.layout().span(index).ok_or(refused("object has no such segment"))?;
        segment.resize(span.len, 0);
        let read =
            reader::read_full(data, &mut segment, span.offset).map_err(Error::io("reading an object"))?;
        Error::check_length("object", span.len as u64, read as u64)?;
        let leaf = merkle::leaf(&segment);
        let named = expected.as_ref().map(|expected| expected.get(leaves.len()));
        if named.is_some_and(|named| named != Some(&leaf)) {
            return Err(refused("not the segment that the tree names"));
        }
        leaves.push(leaf);
    }
    if merkle::root(&leaves) != *entry.root() {
        return Err(Error::Tree { object });
    }
    Ok(())
}

/// The leaf hashes of a tree file that leads to the signed root.
fn read_leaves(entry: &ObjectEntry, tree: &File) -> Result<Vec<Hash>, Error> {
    let len = entry.segment_count().saturating_mul(HASH_LEN as u64);
    let bytes = reader::read_whole(tree, "tree", len)?;
    let (leaves, _) = bytes.as_chunks::<HASH_LEN>();
    if merkle::root(leaves) != *entry.root() {
        return Err(Error::Tree { object: entry.id() });
    }
    Ok(leaves.to_vec())
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
