//! One archived log on disk, which may be damaged: what came with its bundle, and those of its entries that are still there.

use crate::acts::Stop;
use crate::error::{Error, Result};
use crate::files::{self, failed};
use crate::state::LogRecord;
use crate::steps::Steps;
use anchorhold_audit_log::anchors::{self, MAX_ANCHORS_FILE_BYTES};
use anchorhold_audit_log::merkle::{Frontier, leaf_hash};
use anchorhold_audit_log::note::{MAX_NOTE_BYTES, VerifierKey};
use anchorhold_audit_log::{
    BindingInputs, BootId, Checkpoint, Entry, ExportError, Hash, LogSource, MAX_ENTRY_BYTES,
    MAX_EVIDENCE_BYTES, Manifest, Origin, Pruned, Report, VisitLeaf,
};
use std::fs::{DirBuilder, File};
use std::io::{BufRead, BufReader, BufWriter, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

const MANIFEST: &str = "manifest.json";
const CHECKPOINT: &str = "checkpoint.note";
const EVIDENCE: &str = "evidence.json";
const ANCHORS: &str = "anchors";
const LEAF_HASHES: &str = "leaf-hashes.bin";
const ENTRIES: &str = "entries.jsonl";
const MAX_MANIFEST_BYTES: usize = 16 * 1024;
const BUFFER_BYTES: usize = 256 * 1024;

/// The folder of a log in a size: by the digest of its name, since a name may hold slashes.
pub(crate) fn folder_name(origin: &Origin, size: u64) -> String {
    let digest = Hash::of(origin.as_str().as_bytes()).to_string();
    format!("{}-{size}", digest.get(..32).unwrap_or_default())
}

/// A log in an archive, under a checkpoint that its own key signed.
#[derive(Debug)]
pub struct ArchivedLog {
    folder: PathBuf,
    manifest: Manifest,
    key: VerifierKey,
    checkpoint: Checkpoint,
    note: Vec<u8>,
    /// The index before which entries are gone, as the archive's log says.
    minimum: u64,
}

/// Writes a log's folder while its bundle is read.
pub(crate) struct Incoming {
    folder: PathBuf,
    entries: BufWriter<File>,
    hashes: BufWriter<File>,
    minimum: u64,
    frontier: Frontier,
    failed: Option<Error>,
}

impl Incoming {
    /// Begins the folder; one that a command which was cut off left under this name is nobody's.
    pub(crate) fn begin(folder: &Path, minimum: u64) -> Result<Self> {
        if folder.symlink_metadata().is_ok() {
            std::fs::remove_dir_all(folder).map_err(failed("remove", folder))?;
        }
        DirBuilder::new().mode(0o700).create(folder).map_err(failed("make", folder))?;
        let file =
            |name| files::create(&folder.join(name)).map(|file| BufWriter::with_capacity(BUFFER_BYTES, file));
        let (entries, hashes) = (file(ENTRIES)?, file(LEAF_HASHES)?);
        Ok(Self {
            folder: folder.to_owned(),
            entries,
            hashes,
            minimum,
            frontier: Frontier::new(),
            failed: None,
        })
    }

    /// Takes the next entry. The first failure is kept, and nothing is written after it.
    pub(crate) fn take(&mut self, entry: &Entry) {
        if self.failed.is_none() {
            self.failed = self.write(entry).err();
        }
    }

    fn write(&mut self, entry: &Entry) -> Result<()> {
        let leaf = entry.to_bytes()?;
        let hash = leaf_hash(&leaf);
        self.frontier.push(hash);
        self.hashes.write_all(hash.as_bytes()).map_err(failed("write", &self.folder))?;
        if entry.seq >= self.minimum {
            let written = self.entries.write_all(&leaf).and_then(|()| self.entries.write_all(b"\n"));
            written.map_err(failed("write", &self.folder))?;
        }
        Ok(())
    }

    /// Ends the folder, durable, when the entries are those of the bundle that was verified.
    pub(crate) fn end(self, report: &Report, steps: &Steps) -> Result<()> {
        let Self { folder, entries, hashes, frontier, failed: error, .. } = self;
        if let Some(error) = error {
            return Err(error);
        }
        let (Some(manifest), Some(checkpoint)) = (&report.manifest, &report.checkpoint) else {
            return Err(Error::Part);
        };
        if frontier.head() != checkpoint.head {
            return Err(Error::NotProven {
                check: "root",
                finding: "the bundle was changed while it was read".to_owned(),
            });
        }
        for file in [entries, hashes] {
            let file = file.into_inner().map_err(|error| failed("write", &folder)(error.into_error()))?;
            file.sync_all().map_err(failed("sync", &folder))?;
        }
        let manifest =
            serde_json::to_vec(manifest).map_err(|error| failed("write", &folder)(error.into()))?;
        files::replace(&folder.join(MANIFEST), &manifest, steps)?;
        files::replace(&folder.join(CHECKPOINT), &report.checkpoint_note, steps)?;
        if !report.anchors.is_empty()
            && let Some(anchors) = anchors::to_file(&report.anchors)
        {
            files::replace(&folder.join(ANCHORS), &anchors, steps)?;
        }
        if let Some(evidence) = &report.evidence {
            files::replace(&folder.join(EVIDENCE), evidence, steps)?;
        }
        files::sync_folder(&folder)?;
        files::sync_folder(folder.parent().unwrap_or(Path::new(".")))
    }
}

impl ArchivedLog {
    /// Opens the log of which the archive's log tells. Its entries are looked at when they are read.
    pub(crate) fn open(logs: &Path, record: &LogRecord) -> Result<Self> {
        let folder = logs.join(folder_name(&record.origin, record.size));
        let damaged = || Error::Damaged { origin: record.origin.clone(), index: 0 };
        let manifest = files::read(&folder.join(MANIFEST), MAX_MANIFEST_BYTES)?;
        let manifest: Manifest = serde_json::from_slice(&manifest).map_err(|_| damaged())?;
        let key = VerifierKey::new(record.origin.as_str(), manifest.audit_key).map_err(|_| damaged())?;
        let note = files::read(&folder.join(CHECKPOINT), MAX_NOTE_BYTES)?;
        let checkpoint = Checkpoint::verify(&note, &key)?;
        if (checkpoint.head.size, checkpoint.head.root) != (record.size, record.root) {
            return Err(damaged());
        }
        Ok(Self { folder, manifest, key, checkpoint, note, minimum: record.minimum() })
    }

    /// What its bundle said of it.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The index before which entries are gone.
    #[must_use]
    pub const fn minimum(&self) -> u64 {
        self.minimum
    }

    fn damaged(&self, index: u64) -> Error {
        Error::Damaged { origin: self.manifest.origin.clone(), index }
    }

    /// Calls `visit` with the hash of each leaf, those included whose entries are gone.
    ///
    /// # Errors
    /// [`Error::Damaged`] when they are not those of the checkpoint, after all were visited.
    pub fn each_hash(&self, mut visit: impl FnMut(u64, Hash)) -> Result<()> {
        let path = self.folder.join(LEAF_HASHES);
        let mut file =
            BufReader::with_capacity(BUFFER_BYTES, File::open(&path).map_err(failed("open", &path))?);
        let mut frontier = Frontier::new();
        for index in 0..self.checkpoint.head.size {
            let mut hash = [0; 32];
            file.read_exact(&mut hash).map_err(|_| self.damaged(index))?;
            frontier.push(Hash::new(hash));
            visit(index, Hash::new(hash));
        }
        let ends = file.read(&mut [0]).map_err(failed("read", &path))? == 0;
        if ends && frontier.head() == self.checkpoint.head { Ok(()) } else { Err(self.damaged(0)) }
    }

    /// Calls `visit` with the index and bytes of each entry that is there, in order.
    ///
    /// # Errors
    /// [`Error::Damaged`] at the first that is missing or is not what its hash says; or the error of `visit`.
    pub fn each_leaf<E: From<Error>>(
        &self,
        mut visit: impl FnMut(u64, &[u8]) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let open = |name| {
            let path = self.folder.join(name);
            File::open(&path)
                .map(|file| BufReader::with_capacity(BUFFER_BYTES, file))
                .map_err(failed("open", &path))
        };
        let (mut entries, mut hashes) = (open(ENTRIES)?, open(LEAF_HASHES)?);
        hashes
            .seek_relative(i64::try_from(self.minimum.saturating_mul(32)).unwrap_or(i64::MAX))
            .map_err(failed("read", &self.folder))?;
        // What an act says is gone may still be there, until the archive is next changed.
        self.skip_gone(&mut entries)?;
        let mut line = Vec::new();
        for index in self.minimum..self.checkpoint.head.size {
            self.next_line(&mut entries, &mut line)?;
            let leaf = line.strip_suffix(b"\n").ok_or_else(|| self.damaged(index))?;
            let mut hash = [0; 32];
            hashes.read_exact(&mut hash).map_err(|_| self.damaged(index))?;
            if leaf_hash(leaf) != Hash::new(hash) {
                return Err(self.damaged(index).into());
            }
            visit(index, leaf)?;
        }
        let mut more = [0];
        if entries.read(&mut more).map_err(failed("read", &self.folder))? != 0 {
            return Err(self.damaged(self.checkpoint.head.size).into());
        }
        Ok(())
    }

    /// The same with entries that are read.
    ///
    /// # Errors
    /// As [`each_leaf`](Self::each_leaf).
    pub fn each_entry(&self, mut visit: impl FnMut(&Entry) -> Result<()>) -> Result<()> {
        self.each_leaf(|index, leaf| {
            let entry = Entry::from_bytes(leaf).map_err(|_| self.damaged(index))?;
            if entry.seq == index { visit(&entry) } else { Err(self.damaged(index)) }
        })
    }

    /// Holds everything that is there to the checkpoint: the hashes of all leaves, and each entry to its hash.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn check(&self) -> Result<()> {
        self.each_hash(|_, _| ())?;
        self.each_entry(|_| Ok(()))
    }

    /// The index of the first entry in the file, whatever the archive's log says.
    fn first_there(&self) -> Result<u64> {
        let path = self.folder.join(ENTRIES);
        let mut line = Vec::new();
        let file = File::open(&path).map_err(failed("open", &path))?;
        BufReader::new(file)
            .take(MAX_ENTRY_BYTES as u64 + 1)
            .read_until(b'\n', &mut line)
            .map_err(failed("read", &path))?;
        if line.is_empty() {
            return Ok(self.checkpoint.head.size);
        }
        let leaf = line.strip_suffix(b"\n").and_then(|leaf| Entry::from_bytes(leaf).ok());
        leaf.map(|entry| entry.seq).ok_or_else(|| self.damaged(self.minimum))
    }

    fn next_line(&self, from: &mut impl BufRead, line: &mut Vec<u8>) -> Result<()> {
        line.clear();
        let limit = MAX_ENTRY_BYTES as u64 + 1;
        from.take(limit).read_until(b'\n', line).map_err(failed("read", &self.folder)).map(drop)
    }

    /// Reads on to the first entry that is not gone.
    fn skip_gone(&self, entries: &mut impl BufRead) -> Result<()> {
        let mut line = Vec::new();
        for index in self.first_there()?..self.minimum {
            self.next_line(entries, &mut line)?;
            if !line.ends_with(b"\n") {
                return Err(self.damaged(index));
            }
        }
        Ok(())
    }

    /// Removes the entries before the minimum that are still there. What is removed was covered by an act before; done again, it does
    /// nothing.
    pub(crate) fn cut(&self, steps: &Steps) -> Result<bool> {
        let first = self.first_there()?;
        if first >= self.minimum {
            return Ok(false);
        }
        let path = self.folder.join(ENTRIES);
        let mut old =
            BufReader::with_capacity(BUFFER_BYTES, File::open(&path).map_err(failed("open", &path))?);
        self.skip_gone(&mut old)?;
        let new = files::successor(&path);
        steps.next().map_err(failed("create", &new))?;
        let mut out = files::create(&new)?;
        std::io::copy(&mut old, &mut out).and_then(|_| out.sync_all()).map_err(failed("write", &new))?;
        files::put_in_place(&path, steps)?;
        Ok(true)
    }

    /// The digest of the evidence that lies beside the log.
    fn own_evidence(&self) -> Result<Option<Vec<u8>>> {
        files::read_if_there(&self.folder.join(EVIDENCE), MAX_EVIDENCE_BYTES)
    }
}

impl LogSource for ArchivedLog {
    fn key(&self) -> &VerifierKey {
        &self.key
    }

    fn boot(&self) -> BootId {
        self.manifest.boot
    }

    fn checkpoint(&self) -> Option<(&Checkpoint, &[u8])> {
        Some((&self.checkpoint, &self.note))
    }

    fn size(&self) -> u64 {
        self.checkpoint.head.size
    }

    fn pruned(&self) -> std::result::Result<Pruned, ExportError> {
        let mut pruned = Pruned::default();
        if self.minimum > 0 {
            pruned.evidence = self.manifest.evidence;
            let minimum = self.minimum;
            let hashes = &mut pruned.hashes;
            self.each_hash(|index, hash| {
                if index < minimum {
                    hashes.push(hash);
                }
            })
            .map_err(|error| ExportError::Source(Box::new(error)))?;
        }
        Ok(pruned)
    }

    fn visit_leaves(&self, count: u64, visit: VisitLeaf<'_>) -> std::result::Result<(), ExportError> {
        let visited =
            self.each_leaf(
                |index, leaf| {
                    if index < count { visit(index, leaf).map_err(Stop::Visit) } else { Ok(()) }
                },
            );
        visited.map_err(|stop| match stop {
            Stop::Visit(error) => error,
            Stop::Read(error) => ExportError::Source(Box::new(error)),
        })
    }

    fn anchors(&self) -> std::result::Result<Vec<Vec<u8>>, ExportError> {
        let bytes = files::read_if_there(&self.folder.join(ANCHORS), MAX_ANCHORS_FILE_BYTES)
            .map_err(|error| ExportError::Source(Box::new(error)))?;
        bytes.map_or(Ok(Vec::new()), |bytes| anchors::from_file(&bytes).ok_or(ExportError::Anchors))
    }

    fn evidence(
        &self,
        _named: Hash,
    ) -> std::result::Result<(Option<Vec<u8>>, Option<BindingInputs>), ExportError> {
        let evidence = self.own_evidence().map_err(|error| ExportError::Source(Box::new(error)))?;
        let binding = self.manifest.binding.filter(|_| evidence.is_some());
        Ok((evidence, binding))
    }
}
