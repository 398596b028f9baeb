//! Sealing: a model folder becomes a signed, encrypted package, written in constant memory and renamed into place
//! when it is whole.

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};
use ring::rand::{SecureRandom, SystemRandom};
use rustix::fs::{CWD, RenameFlags};
use zeroize::Zeroizing;

use crate::card::Card;
use crate::error::Error;
use crate::floe::{IV_LEN, Message, PAYLOAD_OFFSET, Start};
use crate::hex;
use crate::key::{self, OwnerKey};
use crate::layout::{Layout, SegmentSize};
use crate::manifest::{self, Manifest};
use crate::merkle::{self, Hash};
use crate::object::{self, KeyId, ObjectEntry, ObjectId};
use crate::package::MANIFEST_NAME;
use crate::role::Role;
use crate::source::{self, Source};

/// What the owner decides about a package.
#[derive(Debug, Clone)]
pub struct SealOptions<'a> {
    /// The model's name: at most 128 letters, digits, `.`, `_`, `-`, in parts between `/`.
    pub model_id: &'a str,
    /// Higher than that of every earlier package of the model; at least 1.
    pub version: u64,
    /// The present time, in seconds of the Unix epoch.
    pub created_s: u64,
    /// The last second of the Unix epoch at which the package may be loaded.
    pub not_after_s: u64,
    /// The digest of the manifest before this one, if there was one.
    pub previous: Option<[u8; 32]>,
    /// Plaintext bytes per segment; 4 MiB unless there is a reason.
    pub segment: SegmentSize,
}

/// What was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealSummary {
    /// SHA-256 of the manifest file, by which a release names the package.
    pub manifest_digest: [u8; 32],
    /// The public name of the weights key.
    pub kid: KeyId,
    /// Number of objects beside the card.
    pub objects: usize,
    /// Bytes of plaintext in them.
    pub plaintext_bytes: u64,
    /// Bytes of their ciphertext.
    pub ciphertext_bytes: u64,
}

/// Seals the model folder `source` into the new package `out`, which must not exist.
///
/// `weights_key` must be random, kept by the key broker, and of this package alone. On any error nothing is left at
/// `out`; the parts so far are removed.
///
/// # Errors
/// [`Error::Options`], [`Error::Source`] with the file at fault, [`Error::Tensors`], [`Error::Io`].
pub fn seal(
    source: &Path,
    out: &Path,
    options: &SealOptions<'_>,
    owner: &OwnerKey,
    weights_key: &[u8; 32],
) -> Result<SealSummary, Error> {
    seal_with(source, out, options, (owner, weights_key), &SystemRandom::new())
}

/// Where ids and initialisation vectors come from: the system, or a fixed sequence in tests.
trait Random {
    fn fill(&self, out: &mut [u8]) -> Result<(), Error>;
}

impl Random for SystemRandom {
    fn fill(&self, out: &mut [u8]) -> Result<(), Error> {
        SecureRandom::fill(self, out).map_err(|_| Error::Key("the system gives no randomness"))
    }
}

fn seal_with(
    source: &Path,
    out: &Path,
    options: &SealOptions<'_>,
    (owner, weights_key): (&OwnerKey, &[u8; 32]),
    random: &dyn Random,
) -> Result<SealSummary, Error> {
    check_options(options)?;
    let source = Source::open(source)?;
    let partial = Partial::create(out)?;
    let sealer = Sealer { options, key: weights_key, random, dir: &partial.path };
    let mut objects = Vec::with_capacity(source.files.len());
    let mut files = Vec::with_capacity(source.files.len());
    for mut input in source.files {
        let (entry, sha256) = sealer.seal_object(input.role, &mut input.file, input.len)?;
        files.push((entry.id(), entry.role(), sha256));
        objects.push(entry);
    }
    let card = Zeroizing::new(Card::new(files, source.index).to_bytes()?);
    if card.len() as u64 > Role::Card.max_len() {
        return Err(Error::Card("larger than 24 MiB"));
    }
    let (card, _) = sealer.seal_object(Role::Card, &mut card.as_slice(), card.len() as u64)?;
    let summary_of = |objects: &[ObjectEntry], digest| SealSummary {
        manifest_digest: digest,
        kid: key::key_id(weights_key),
        objects: objects.len(),
        plaintext_bytes: objects.iter().map(ObjectEntry::plaintext_len).sum(),
        ciphertext_bytes: objects.iter().map(ObjectEntry::ciphertext_len).sum(),
    };
    let manifest = Manifest {
        model_id: options.model_id.to_owned(),
        version: options.version,
        created_s: options.created_s,
        not_after_s: options.not_after_s,
        previous: options.previous,
        kid: key::key_id(weights_key),
        commitment: key::commitment(weights_key, options.model_id, options.version),
        card,
        objects,
    };
    let bytes = manifest.sign(owner)?;
    write_synced(&partial.path.join(MANIFEST_NAME), &bytes)?;
    partial.commit()?;
    Ok(summary_of(&manifest.objects, merkle::sha256(&bytes)))
}

fn check_options(options: &SealOptions<'_>) -> Result<(), Error> {
    let checked = manifest::check_identity(options.model_id, options.version)
        .and_then(|()| manifest::check_times(options.created_s, options.not_after_s));
    checked.map_err(|error| match error {
        Error::Manifest(rule) => Error::Options(rule),
        other => other,
    })
}

struct Sealer<'a> {
    options: &'a SealOptions<'a>,
    key: &'a [u8; 32],
    random: &'a dyn Random,
    dir: &'a Path,
}

impl Sealer<'_> {
    /// Writes one object and its tree, and returns its entry and the plaintext's digest.
    fn seal_object(
        &self,
        role: Role,
        input: &mut dyn Read,
        plaintext_len: u64,
    ) -> Result<(ObjectEntry, Hash), Error> {
        let id = ObjectId::new(self.fresh()?);
        let layout = Layout { size: self.options.segment, plaintext_len };
        let (model_id, version) = (self.options.model_id, self.options.version);
        let associated_data = object::associated_data(model_id, version, id, role, plaintext_len);
        let start = Start {
            key: self.key,
            associated_data: &associated_data,
            segment_len: layout.size.segment_len(),
            segment_count: layout.segment_count(),
        };
        let message = Message::create(&start, &self.fresh::<IV_LEN>()?);
        let path = match role {
            Role::Card => self.dir.join(role.file_name()),
            _ => self.dir.join("objects").join(id.to_string()),
        };
        let mut output = File::create_new(&path).map_err(Error::io("creating an object"))?;
        output.write_all(message.header()).map_err(Error::io("writing an object"))?;
        let (leaves, sha256) = self.seal_segments(role, input, layout, (&message, &mut output))?;
        output.sync_all().map_err(Error::io("writing an object"))?;
        if role != Role::Card {
            write_synced(&path.with_extension("tree"), leaves.as_flattened())?;
        }
        let entry = ObjectEntry::sealed((id, role), layout, *message.header(), merkle::root(&leaves))?;
        Ok((entry, sha256))
    }

    fn seal_segments(
        &self,
        role: Role,
        input: &mut dyn Read,
        layout: Layout,
        (message, output): (&Message, &mut File),
    ) -> Result<(Vec<Hash>, Hash), Error> {
        let changed = |_: io::Error| source::refused(role.file_name(), "changed while it was read");
        let oversized = || source::refused(role.file_name(), "segment does not fit its place");
        let mut leaves = Vec::new();
        let mut plain = Context::new(&SHA256);
        let mut buffer = Zeroizing::new(vec![0; layout.span(0).map_or(0, |span| span.len)]);
        for index in 0..layout.segment_count() {
            let span = layout.span(index).ok_or_else(oversized)?;
            let segment = buffer.get_mut(..span.len).ok_or_else(oversized)?;
            let payload = segment.get_mut(PAYLOAD_OFFSET..span.len - 16).ok_or_else(oversized)?;
            input.read_exact(payload).map_err(changed)?;
            plain.update(payload);
            message.encrypt(index, span.last, self.fresh()?, segment).ok_or_else(oversized)?;
            leaves.push(merkle::leaf(segment));
            output.write_all(segment).map_err(Error::io("writing an object"))?;
        }
        if input.read(&mut [0]).map_err(changed)? != 0 {
            return Err(source::refused(role.file_name(), "changed while it was read"));
        }
        Ok((leaves, merkle::finish(plain)))
    }

    fn fresh<const N: usize>(&self) -> Result<[u8; N], Error> {
        let mut out = [0; N];
        self.random.fill(&mut out)?;
        Ok(out)
    }
}

/// A package being written beside its final place; removed unless committed.
struct Partial {
    path: PathBuf,
    target: PathBuf,
    committed: bool,
}

impl Partial {
    fn create(target: &Path) -> Result<Self, Error> {
        let name = target.file_name().ok_or(Error::Options("output has no name"))?;
        if fs::symlink_metadata(target).is_ok() {
            return Err(Error::Options("output exists already"));
        }
        let mut suffix = [0; 8];
        Random::fill(&SystemRandom::new(), &mut suffix)?;
        let name = format!(".{}.{}.partial", name.to_string_lossy(), hex::encode(&suffix));
        let path = target.with_file_name(name);
        fs::create_dir(&path).map_err(Error::io("creating the package"))?;
        let partial = Self { path, target: target.to_owned(), committed: false };
        fs::create_dir(partial.path.join("objects")).map_err(Error::io("creating the package"))?;
        Ok(partial)
    }

    /// Makes the package appear under its name, whole and durable, unless something else took the name.
    fn commit(mut self) -> Result<(), Error> {
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

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut file = File::create_new(path).map_err(Error::io("creating a file"))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Error::io("writing a file"))
}

fn sync_dir(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(Error::io("syncing a folder"))
}

#[cfg(test)]
#[path = "seal_tests.rs"]
mod tests;
