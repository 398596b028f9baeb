//! Sealing: a model folder becomes a signed, encrypted package, written in constant memory and renamed into place
//! when it is whole. The same folder, options and keys give the same bytes.

mod derive;
mod partial;
mod plaintext;

use std::fs::File;
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use ring::digest::{Context, SHA256};
use zeroize::Zeroizing;

use crate::card::{Card, CardFile};
use crate::effort::{Effort, Meter};
use crate::error::Error;
use crate::floe::{HEADER_LEN, Message, Start};
use crate::key::{self, OwnerKey};
use crate::layout::SegmentSize;
use crate::manifest::{self, Manifest, VerifiedManifest};
use crate::memory::Region;
use crate::merkle::{self, Hash};
use crate::model_signature::ModelSignature;
use crate::object::{self, CARD_NAME, Form, KeyId, ObjectEntry, ObjectId};
use crate::package::MANIFEST_NAME;
use crate::padding::Padding;
use crate::role::Role;
use crate::rules::{ManifestRule, OptionRule, SegmentRule};
use crate::source::Source;
use crate::suite::Suite;
use crate::tensors::FileTable;
use derive::{Content, Seed};
use partial::{Partial, write_synced};
use plaintext::{Plaintext, Survey};

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
    /// The manifest of the version before this one; none by default. Must be of the same model and a lower version.
    pub previous: Option<&'a VerifiedManifest>,
    /// Plaintext bytes per segment; 4 MiB by default.
    pub segment: SegmentSize,
    /// The hash of the segments; SHA-256 by default.
    pub suite: Suite,
    /// Whether sizes are hidden; not by default.
    pub padding: Padding,
    /// An OpenSSF signature over the files of the folder, to be carried and checked; none by default.
    pub model_signature: Option<&'a ModelSignature>,
}

impl<'a> SealOptions<'a> {
    /// The options that have no default. A package is made at the first of `valid_s` and may be loaded until the last, in
    /// seconds of the Unix epoch.
    #[must_use]
    pub fn new(model_id: &'a str, version: u64, valid_s: RangeInclusive<u64>) -> Self {
        Self {
            model_id,
            version,
            created_s: *valid_s.start(),
            not_after_s: *valid_s.end(),
            previous: None,
            segment: SegmentSize::default(),
            suite: Suite::default(),
            padding: Padding::default(),
            model_signature: None,
        }
    }
}

/// What was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealSummary {
    /// SHA-256 of the manifest file, by which a release names the package.
    pub manifest_digest: [u8; 32],
    /// The public name of the weights key.
    pub kid: KeyId,
    /// Number of files of the model.
    pub files: usize,
    /// Number of objects beside the card.
    pub objects: usize,
    /// Bytes of the files.
    pub plaintext_bytes: u64,
    /// Bytes of the objects.
    pub ciphertext_bytes: u64,
}

/// Seals the model folder `source` into the new package `out`, which must not exist.
///
/// `weights_key` must be random, kept by the key broker, and of this package alone, or of another time that the very same
/// package is made. Every byte is read twice: to find what decides the package's bytes, and to encrypt it; progress counts
/// both. On any error nothing is left at `out`; the parts so far are removed.
///
/// # Errors
/// [`Error::Options`], [`Error::Source`] with the file at fault, [`Error::Tensors`], [`Error::Gguf`], [`Error::Json`],
/// [`Error::WeightsIndex`], [`Error::ModelSignature`] when the folder is not what was signed, [`Error::Io`].
pub fn seal(
    source: &Path,
    out: &Path,
    options: &SealOptions<'_>,
    owner: &OwnerKey,
    weights_key: &[u8; 32],
    effort: &Effort<'_>,
) -> Result<SealSummary, Error> {
    check_options(options)?;
    let source = Source::open(source)?;
    // Refused at once, before anything is hashed; what counts are the tables of the bytes that were hashed.
    source.tables()?;
    let partial = Partial::create(out)?;
    let plaintext_bytes: u64 = source.files.iter().map(|file| file.len).sum();
    let meter = effort.meter(plaintext_bytes.saturating_mul(2));
    let plaintexts = Plaintext::of(&source, options)?;
    let survey = Survey::take(&source, &plaintexts, options, effort, &meter)?;
    let tables = survey.tables(&source, &plaintexts, options)?;
    let content = Content { options, files: &source.files, digests: &survey.files };
    let sealer =
        Sealer { options, key: weights_key, seed: Seed::of(weights_key, &content), dir: partial.path() };
    let card = sealer.card(&source, &plaintexts, &survey, tables)?;
    let mut objects = Vec::with_capacity(plaintexts.len());
    for ((position, plaintext), digests) in (1..).zip(&plaintexts).zip(&survey.segments) {
        objects.push(sealer.seal_object(position, plaintext, digests, (effort, &meter))?);
    }
    let card_text = Zeroizing::new(card.to_bytes()?);
    let card = sealer.seal_card(&card_text)?;
    let manifest = Manifest {
        model_id: options.model_id.to_owned(),
        version: options.version,
        created_s: options.created_s,
        not_after_s: options.not_after_s,
        previous: options.previous.map(|previous| *previous.digest()),
        suite: options.suite,
        kid: key::key_id(weights_key),
        commitment: key::commitment(weights_key, options.model_id, options.version),
        card,
        objects,
    };
    let bytes = manifest.sign(owner)?;
    write_synced(&partial.path().join(MANIFEST_NAME), &bytes)?;
    partial.commit()?;
    Ok(SealSummary {
        manifest_digest: merkle::sha256(&bytes),
        kid: manifest.kid,
        files: source.files.len(),
        objects: manifest.objects.len(),
        plaintext_bytes,
        ciphertext_bytes: manifest.objects.iter().map(ObjectEntry::ciphertext_len).sum(),
    })
}

fn check_options(options: &SealOptions<'_>) -> Result<(), OptionRule> {
    let checked = manifest::check_identity(options.model_id, options.version)
        .and_then(|()| manifest::check_times(options.created_s, options.not_after_s));
    checked.map_err(|rule| match rule {
        ManifestRule::VersionZero => OptionRule::VersionZero,
        ManifestRule::Times => OptionRule::Times,
        _ => OptionRule::ModelId,
    })?;
    if let Some(previous) = options.previous {
        if previous.model_id() != options.model_id {
            return Err(OptionRule::PreviousModel);
        }
        if previous.version() >= options.version {
            return Err(OptionRule::PreviousVersion);
        }
    }
    Ok(())
}

struct Sealer<'a> {
    options: &'a SealOptions<'a>,
    key: &'a [u8; 32],
    seed: Seed,
    dir: &'a Path,
}

impl Sealer<'_> {
    /// The card, which is known before anything is encrypted.
    fn card(
        &self,
        source: &Source,
        plaintexts: &[Plaintext<'_>],
        survey: &Survey,
        tables: Vec<FileTable>,
    ) -> Result<Card, Error> {
        let places = (1..).zip(plaintexts).flat_map(|(position, plaintext)| {
            plaintext.parts().iter().map(move |part| (self.seed.id(position), part.offset))
        });
        let files = source.files.iter().zip(&survey.files).zip(places);
        let files = files.map(|((file, sha256), (id, offset))| {
            let (len, role, name) = (file.len, file.role, file.name.clone());
            CardFile { id, offset, len, role, name, sha256: *sha256 }
        });
        Card::new(self.options.padding, files.collect(), tables, self.options.model_signature.cloned())
    }

    /// The message and the unfinished entry of an object.
    fn begin(&self, position: u64, role: Role, plaintext_len: u64) -> (ObjectId, Message) {
        let id = self.seed.id(position);
        let (model_id, version) = (self.options.model_id, self.options.version);
        let associated_data = object::associated_data(model_id, version, id, role, plaintext_len);
        let size = self.options.segment;
        let start = Start {
            key: self.key,
            associated_data: &associated_data,
            segment_len: size.segment_len(),
            segment_count: size.layout(plaintext_len).segment_count(),
        };
        (id, Message::create(&start, &self.seed.iv(position)))
    }

    fn finish(
        &self,
        (id, role): (ObjectId, Role),
        plaintext_len: u64,
        message: &Message,
        leaves: &[Hash],
    ) -> Result<ObjectEntry, Error> {
        let form = Form { suite: self.options.suite, size: self.options.segment, plaintext_len };
        Ok(ObjectEntry::checked((id, role), form, *message.header(), merkle::root(leaves))?)
    }

    /// Writes one object and its tree. Each segment must be what the survey saw, and is compared before it is encrypted.
    fn seal_object(
        &self,
        position: u64,
        plaintext: &Plaintext<'_>,
        digests: &[Hash],
        (effort, meter): (&Effort<'_>, &Meter<'_>),
    ) -> Result<ObjectEntry, Error> {
        let (id, message) = self.begin(position, plaintext.role(), plaintext.len());
        let path = self.dir.join("objects").join(id.to_string());
        let output = create(&path, &message)?;
        let layout = self.options.segment.layout(plaintext.len());
        let mut leaves = vec![Hash::default(); digests.len()];
        let tasks = (0..).zip(digests).zip(&mut leaves).collect();
        let memory = || Region::new(layout.span(0).map_or(0, |span| span.payload_len()));
        effort.run(tasks, memory, |memory, ((index, digest), leaf)| {
            let range = layout.payload_range(index).ok_or(Error::Truncated {
                part: "plaintext",
                expected: index,
                actual: layout.segment_count(),
            })?;
            let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            let payload = memory.get_mut(..len).ok_or(OptionRule::TooLarge)?;
            plaintext.read_at(range.start, payload)?;
            if self.options.suite.leaf(payload) != *digest {
                return Err(plaintext.changed(range));
            }
            let nonce = self.seed.nonce(position, index, digest);
            *leaf = self.write_segment(&message, (id, index), nonce, payload, &output)?;
            meter.add(range.end - range.start);
            Ok(())
        })?;
        output.sync_all().map_err(Error::io("writing an object"))?;
        write_synced(&path.with_extension("tree"), leaves.as_flattened())?;
        self.finish((id, plaintext.role()), plaintext.len(), &message, &leaves)
    }

    /// Writes the card, whose nonces depend on its bytes like those of every object.
    fn seal_card(&self, text: &[u8]) -> Result<ObjectEntry, Error> {
        let len = text.len() as u64;
        let (id, message) = self.begin(0, Role::Card, len);
        let output = create(&self.dir.join(CARD_NAME), &message)?;
        let mut leaves = Vec::new();
        let mut payload = Zeroizing::new(Vec::new());
        for (index, part) in (0..).zip(text.chunks(self.options.segment.payload_len() as usize)) {
            payload.clear();
            payload.extend_from_slice(part);
            let nonce = self.seed.nonce(0, index, &self.options.suite.leaf(part));
            leaves.push(self.write_segment(&message, (id, index), nonce, &mut payload, &output)?);
        }
        output.sync_all().map_err(Error::io("writing an object"))?;
        self.finish((id, Role::Card), len, &message, &leaves)
    }

    /// Encrypts one segment, writes it to its place and returns its leaf hash.
    fn write_segment(
        &self,
        message: &Message,
        (object, index): (ObjectId, u64),
        nonce: [u8; 12],
        payload: &mut [u8],
        output: &File,
    ) -> Result<Hash, Error> {
        let refused = || Error::Segment { object, index, rule: SegmentRule::Length };
        let last = index.checked_add(1) == Some(message.segment_count());
        let frame = message.encrypt(index, last, nonce, payload).ok_or_else(refused)?;
        let step = u64::from(self.options.segment.segment_len());
        let mut offset =
            index.checked_mul(step).and_then(|at| at.checked_add(HEADER_LEN as u64)).ok_or_else(refused)?;
        let mut hasher = self.options.suite.leaf_hasher();
        for bytes in [&frame.prefix[..], payload, &frame.tag] {
            hasher.update(bytes);
            output.write_all_at(bytes, offset).map_err(Error::io("writing an object"))?;
            offset = offset.saturating_add(bytes.len() as u64);
        }
        Ok(hasher.finish())
    }
}

/// A new object file that begins with the message's header.
fn create(path: &Path, message: &Message) -> Result<File, Error> {
    let output = File::create_new(path).map_err(Error::io("creating an object"))?;
    output.write_all_at(message.header(), 0).map_err(Error::io("writing an object"))?;
    Ok(output)
}

/// SHA-256 of a whole file, read in pieces.
fn file_digest(len: u64, mut read: impl FnMut(u64, &mut [u8]) -> Result<(), Error>) -> Result<Hash, Error> {
    const READ_LEN: u64 = 1 << 20;
    let mut digest = Context::new(&SHA256);
    let mut buffer = Zeroizing::new(vec![0; usize::try_from(len.min(READ_LEN)).unwrap_or_default()]);
    let mut at = 0;
    while at < len {
        let wanted = usize::try_from((len - at).min(READ_LEN)).unwrap_or_default();
        let bytes = buffer.get_mut(..wanted).unwrap_or_default();
        read(at, bytes)?;
        digest.update(bytes);
        at += wanted as u64;
    }
    Ok(merkle::finish(digest))
}

#[cfg(test)]
#[path = "seal_tests.rs"]
mod tests;
