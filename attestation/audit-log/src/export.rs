//! Writing an evidence bundle: one deterministic tar file that anybody can check without us.

use crate::anchors::{self, MAX_ANCHOR_BYTES, MAX_ANCHORS};
use crate::binding::BindingInputs;
use crate::bundle::{
    CHECKPOINT, EVIDENCE, FORMAT, MANIFEST, Manifest, PART_ENTRIES, PROOF, README, README_TEXT, RangeProof,
    anchor_member, entries_member, hashes_member,
};
use crate::checkpoint::Checkpoint;
use crate::entry::Entry;
use crate::merkle::{self, Range, RangeProver, TreeHead};
use crate::note::VerifierKey;
use crate::reader::{LogReader, ReadError, read_small};
use crate::storage::{BINDING_FILE, EVIDENCE_FILE};
use crate::{BootId, Hash, LogPlace, Origin, tar};
use std::fmt;
use std::io::{self, Write};
use std::path::Path;

/// Why a bundle was not written.
#[derive(Debug)]
pub enum ExportError {
    /// The log is not as it was written.
    Read(ReadError),
    /// The store that holds the log, in its own words.
    Source(Box<dyn std::error::Error + Send + Sync>),
    /// The bundle could not be written; what was written is not a bundle.
    Write(io::Error),
    /// The log has no checkpoint that could prove anything.
    NoCheckpoint,
    /// The range is empty or goes beyond the checkpoint.
    Range {
        /// The checkpoint's size.
        size: u64,
    },
    /// The file with the inputs of the evidence's report data is malformed.
    Binding,
    /// The file of the checkpoints that were kept along the way is malformed, or holds one of another log.
    Anchors,
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "{error}"),
            Self::Source(error) => write!(f, "{error}"),
            Self::Write(error) => write!(f, "write the bundle: {error}"),
            Self::NoCheckpoint => f.write_str("the log has no checkpoint"),
            Self::Range { size } => {
                write!(f, "the range is empty, or not among the {size} covered entries that are there")
            }
            Self::Binding => f.write_str("the inputs of the evidence's report data are malformed"),
            Self::Anchors => f.write_str("the checkpoints that were kept along the way are malformed"),
        }
    }
}

impl std::error::Error for ExportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read(error) => Some(error),
            Self::Source(error) => Some(error.as_ref()),
            Self::Write(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ReadError> for ExportError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<io::Error> for ExportError {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

/// Which entries go into a bundle.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExportOptions {
    /// From this index up to, not including, that one; all that the checkpoint covers when `None`.
    pub range: Option<std::ops::Range<u64>>,
}

/// What a bundle holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportSummary {
    /// What the bundle says of itself.
    pub manifest: Manifest,
    /// The checkpoint's size and root hash.
    pub head: TreeHead,
}

/// What the first pass over the entries finds.
struct Plan {
    range: Range,
    /// How many bytes the entries of each part have; 8 bytes of memory for 65,536 entries.
    part_bytes: Vec<u64>,
    /// The digest of the evidence that a covered entry names.
    evidence: Option<Hash>,
    proof: Option<Vec<Hash>>,
}

/// The first leaves of a log whose entries came to the end of their time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Their hashes, which stay; the entries that are visited begin after them.
    pub hashes: Vec<Hash>,
    /// The evidence beside the log, if one of them named it.
    pub evidence: Option<Hash>,
}

/// What is called with the index and bytes of each entry.
pub type VisitLeaf<'a> = &'a mut dyn FnMut(u64, &[u8]) -> Result<(), ExportError>;

/// Where a log's entries come from: a directory, or another store of a log.
pub trait LogSource {
    /// The key that signs the log.
    fn key(&self) -> &VerifierKey;

    /// What the entries carry as their boot.
    fn boot(&self) -> BootId;

    /// The latest checkpoint, read and as the note that was signed; `None` before the first.
    fn checkpoint(&self) -> Option<(&Checkpoint, &[u8])>;

    /// How many entries there are, those included that no checkpoint covers.
    fn size(&self) -> u64;

    /// What is gone of the log. A log that is written loses nothing.
    ///
    /// # Errors
    /// [`ExportError::Source`].
    fn pruned(&self) -> Result<Pruned, ExportError> {
        Ok(Pruned::default())
    }

    /// Calls `visit` with the index and bytes of each of the first `count` entries that are not pruned.
    ///
    /// # Errors
    /// [`ExportError::Read`] or [`ExportError::Source`], or the error of `visit`.
    fn visit_leaves(&self, count: u64, visit: VisitLeaf<'_>) -> Result<(), ExportError>;

    /// Cosigned checkpoints that were kept along the way, as notes, the smallest first.
    ///
    /// # Errors
    /// [`ExportError`].
    fn anchors(&self) -> Result<Vec<Vec<u8>>, ExportError> {
        Ok(Vec::new())
    }

    /// The evidence with this digest, and what its report data was made of, as they are kept beside the entries.
    ///
    /// # Errors
    /// [`ExportError`].
    fn evidence(&self, named: Hash) -> Result<(Option<Vec<u8>>, Option<BindingInputs>), ExportError>;
}

impl LogSource for LogReader {
    fn key(&self) -> &VerifierKey {
        self.key()
    }

    fn boot(&self) -> BootId {
        self.boot()
    }

    fn checkpoint(&self) -> Option<(&Checkpoint, &[u8])> {
        self.checkpoint().map(|checkpoint| (checkpoint, self.checkpoint_note()))
    }

    fn size(&self) -> u64 {
        self.head().size
    }

    fn visit_leaves(&self, count: u64, visit: VisitLeaf<'_>) -> Result<(), ExportError> {
        self.for_each_leaf(count, visit)
    }

    fn anchors(&self) -> Result<Vec<Vec<u8>>, ExportError> {
        let (kept, cosigned) = self.read_anchors()?;
        let mut notes = anchors::from_file(&kept).ok_or(ExportError::Anchors)?;
        // The newest that is cosigned may not have been kept for good.
        let size = |note: &[u8]| Checkpoint::verify(note, self.key()).map(|checkpoint| checkpoint.head.size);
        let last = notes.last().map_or(Ok(0), |note| size(note)).map_err(|_| ExportError::Anchors)?;
        if let Some(newest) = cosigned
            && size(&newest).is_ok_and(|size| size > last)
            && newest.len() <= MAX_ANCHOR_BYTES
        {
            notes.truncate(MAX_ANCHORS - 1);
            notes.push(newest);
        }
        Ok(notes)
    }

    fn evidence(&self, _named: Hash) -> Result<(Option<Vec<u8>>, Option<BindingInputs>), ExportError> {
        read_evidence(self.path())
    }
}

/// Writes the bundle of the log at `log` to `out`. The log may be in use: the bundle ends at the
/// latest checkpoint. Memory does not grow with the log.
///
/// # Errors
/// [`ExportError`].
pub fn export<'a>(
    log: impl Into<LogPlace<'a>>,
    out: impl Write,
    options: &ExportOptions,
) -> Result<ExportSummary, ExportError> {
    export_from(&LogReader::open(log)?, out, options)
}

/// The same from any source.
///
/// # Errors
/// [`ExportError`].
pub fn export_from(
    source: &dyn LogSource,
    out: impl Write,
    options: &ExportOptions,
) -> Result<ExportSummary, ExportError> {
    let (checkpoint, note) = source.checkpoint().ok_or(ExportError::NoCheckpoint)?;
    let head = checkpoint.head;
    let mut plan = plan(source, head.size, options)?;
    // What lies beside a log that was stopped before a covered entry named it belongs to nothing.
    let (evidence, binding) = plan.evidence.map_or(Ok((None, None)), |named| source.evidence(named))?;
    let anchors = anchors_of(source, plan.range)?;
    let manifest = Manifest {
        // There are no more than MAX_ANCHORS.
        anchors: u32::try_from(anchors.len()).unwrap_or(u32::MAX),
        audit_key: source.key().public_key(),
        binding,
        boot: source.boot(),
        count: plan.range.end - plan.range.first,
        evidence: evidence.as_deref().map(Hash::of),
        first: plan.range.first,
        format: FORMAT.to_owned(),
        leaf_hashes: true,
        origin: Origin::new(&checkpoint.origin).map_err(|_| ExportError::Read(ReadError::Key))?,
        size: head.size,
        uncovered: source.size().saturating_sub(head.size),
    };
    let mut tar = tar::Writer::new(io::BufWriter::with_capacity(256 * 1024, out));
    tar.member(MANIFEST, &manifest.to_bytes().ok_or(ExportError::Binding)?)?;
    tar.member(README, README_TEXT.as_bytes())?;
    tar.member(CHECKPOINT, note)?;
    for (at, anchor) in (0..).zip(&anchors) {
        tar.member(&anchor_member(at), anchor)?;
    }
    if let Some(evidence) = &evidence {
        tar.member(EVIDENCE, evidence)?;
    }
    if let Some(hashes) = plan.proof.take() {
        tar.member(PROOF, &serde_json::to_vec(&RangeProof { hashes }).map_err(io::Error::from)?)?;
    }
    write_entries(source, &plan, &mut tar)?;
    tar.finish()?;
    Ok(ExportSummary { manifest, head })
}

/// The anchors whose trees end within the range, short of the log's: the range shows that they are of this log.
fn anchors_of(source: &dyn LogSource, range: Range) -> Result<Vec<Vec<u8>>, ExportError> {
    let mut anchors = Vec::new();
    for note in source.anchors()? {
        let checkpoint = Checkpoint::verify(&note, source.key()).map_err(|_| ExportError::Anchors)?;
        let size = checkpoint.head.size;
        if (range.first..=range.end).contains(&size) && size < range.size {
            anchors.push(note);
        }
    }
    Ok(anchors)
}

fn plan(source: &dyn LogSource, size: u64, options: &ExportOptions) -> Result<Plan, ExportError> {
    let pruned = source.pruned()?;
    let gone = pruned.hashes.len() as u64;
    let range = options.range.clone().unwrap_or(gone..size);
    if range.is_empty() || range.end > size || range.start < gone {
        return Err(ExportError::Range { size });
    }
    let whole = range == (0..size);
    let mut part_bytes = Vec::new();
    let mut evidence = pruned.evidence;
    let tree_range = Range { first: range.start, end: range.end, size };
    let mut prover = RangeProver::new(tree_range).ok_or(ExportError::Range { size })?;
    pruned.hashes.into_iter().for_each(|hash| prover.push(hash));
    source.visit_leaves(size, &mut |index, leaf| {
        if evidence.is_none() {
            evidence = evidence_named_by(leaf);
        }
        if range.contains(&index) {
            if (index - range.start).is_multiple_of(PART_ENTRIES) {
                part_bytes.push(0);
            }
            if let Some(bytes) = part_bytes.last_mut() {
                *bytes += leaf.len() as u64 + 1;
            }
        } else {
            prover.push(merkle::leaf_hash(leaf));
        }
        Ok(())
    })?;
    let proof = prover.finish().ok_or(ExportError::Range { size })?;
    Ok(Plan { range: tree_range, part_bytes, evidence, proof: (!whole).then_some(proof) })
}

fn evidence_named_by(leaf: &[u8]) -> Option<Hash> {
    Entry::from_bytes(leaf).ok()?.evidence_of_log()
}

/// The evidence and its inputs that lie in a log's directory.
fn read_evidence(directory: &Path) -> Result<(Option<Vec<u8>>, Option<BindingInputs>), ExportError> {
    let read = |name| match read_small(&directory.join(name)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ReadError::Io { doing: "read the evidence", source }),
    };
    let evidence = read(EVIDENCE_FILE)?;
    let binding = match read(BINDING_FILE)?.filter(|_| evidence.is_some()) {
        Some(bytes) => Some(BindingInputs::from_bytes(&bytes).ok_or(ExportError::Binding)?),
        None => None,
    };
    Ok((evidence, binding))
}

fn write_entries<W: Write>(
    source: &dyn LogSource,
    plan: &Plan,
    tar: &mut tar::Writer<W>,
) -> Result<(), ExportError> {
    let mut parts = plan.part_bytes.iter().zip(0_u64..);
    let mut part = None;
    let mut hashes = Vec::new();
    source.visit_leaves(plan.range.end, &mut |index, leaf| {
        if index < plan.range.first {
            return Ok(());
        }
        let (bytes, number) = match part {
            Some(part) => part,
            // The source has more entries now than when they were counted.
            None => parts.next().ok_or(ExportError::Range { size: plan.range.size })?,
        };
        if hashes.is_empty() {
            tar.begin(&entries_member(number), *bytes)?;
        }
        part = Some((bytes, number));
        tar.content().write_all(leaf)?;
        tar.content().write_all(b"\n")?;
        hashes.extend_from_slice(merkle::leaf_hash(leaf).as_bytes());
        let count = hashes.len() as u64 / 32;
        if count == PART_ENTRIES || index + 1 == plan.range.end {
            tar.end(*bytes)?;
            tar.member(&hashes_member(number), &hashes)?;
            hashes.clear();
            part = None;
        }
        Ok(())
    })
}

/// Writes every whole entry of the log at `log`, also those beyond the checkpoint, one to a line, and
/// gives back how many there are. For reading; it proves nothing.
///
/// # Errors
/// [`ExportError`].
pub fn export_jsonl<'a>(log: impl Into<LogPlace<'a>>, out: impl Write) -> Result<u64, ExportError> {
    export_jsonl_from(&LogReader::open(log)?, out)
}

/// The same from any source.
///
/// # Errors
/// [`ExportError`].
pub fn export_jsonl_from(source: &dyn LogSource, out: impl Write) -> Result<u64, ExportError> {
    let size = source.size();
    let mut out = io::BufWriter::with_capacity(256 * 1024, out);
    source.visit_leaves(size, &mut |_, leaf| {
        out.write_all(leaf)?;
        Ok(out.write_all(b"\n")?)
    })?;
    out.flush()?;
    Ok(size)
}
