//! Writing an evidence bundle: one deterministic tar file that anybody can check without us.

use crate::binding::BindingInputs;
use crate::bundle::{
    CHECKPOINT, ENTRIES, EVIDENCE, FORMAT, LEAF_HASHES, MANIFEST, MAX_LOCATED_ENTRIES, Manifest, PROOF,
    README, README_TEXT, RangeProof,
};
use crate::entry::Entry;
use crate::event::EventType;
use crate::merkle::{self, Range, RangeProver, TreeHead};
use crate::reader::{LogReader, ReadError, read_small};
use crate::storage::{BINDING_FILE, EVIDENCE_FILE};
use crate::{Hash, Origin, tar};
use std::fmt;
use std::io::{self, Write};
use std::path::Path;

/// Why a bundle was not written.
#[derive(Debug)]
pub enum ExportError {
    /// The log is not as it was written.
    Read(ReadError),
    /// The bundle could not be written; what was written is not a bundle.
    Write(io::Error),
    /// The log has no checkpoint that could prove anything.
    NoCheckpoint,
    /// The range is empty or goes beyond the checkpoint.
    Range {
        /// The checkpoint's size.
        size: u64,
    },
    /// A range of more than [`MAX_LOCATED_ENTRIES`] entries.
    TooLong,
    /// The file with the inputs of the evidence's report data is malformed.
    Binding,
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "{error}"),
            Self::Write(error) => write!(f, "write the bundle: {error}"),
            Self::NoCheckpoint => f.write_str("the log has no checkpoint"),
            Self::Range { size } => write!(f, "the range is empty or goes beyond the {size} covered entries"),
            Self::TooLong => write!(f, "a range holds at most {MAX_LOCATED_ENTRIES} entries"),
            Self::Binding => f.write_str("the inputs of the evidence's report data are malformed"),
        }
    }
}

impl std::error::Error for ExportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read(error) => Some(error),
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
    entries_bytes: u64,
    /// The digest of the evidence that a covered entry names.
    evidence: Option<Hash>,
    leaf_hashes: Option<Vec<Hash>>,
    proof: Option<Vec<Hash>>,
}

/// Writes the bundle of the log in `directory` to `out`. The log may be in use: the bundle ends at the
/// latest checkpoint. Memory is 32 bytes for each entry up to [`MAX_LOCATED_ENTRIES`], constant beyond.
///
/// # Errors
/// [`ExportError`].
pub fn export(
    directory: &Path,
    out: impl Write,
    options: &ExportOptions,
) -> Result<ExportSummary, ExportError> {
    let reader = LogReader::open(directory)?;
    let checkpoint = reader.checkpoint().ok_or(ExportError::NoCheckpoint)?;
    let head = checkpoint.head;
    let mut plan = plan(&reader, head.size, options)?;
    let (evidence, binding) = read_evidence(directory, plan.evidence)?;
    let manifest = Manifest {
        audit_key: reader.key().public_key(),
        binding,
        boot: reader.boot(),
        count: plan.range.end - plan.range.first,
        evidence: evidence.as_deref().map(Hash::of),
        first: plan.range.first,
        format: FORMAT.to_owned(),
        leaf_hashes: plan.leaf_hashes.is_some(),
        origin: Origin::new(&checkpoint.origin).map_err(|_| ExportError::Read(ReadError::Key))?,
        size: head.size,
        uncovered: reader.head().size - head.size,
    };
    let mut tar = tar::Writer::new(io::BufWriter::with_capacity(256 * 1024, out));
    tar.member(MANIFEST, &manifest.to_bytes().ok_or(ExportError::Binding)?)?;
    tar.member(README, README_TEXT.as_bytes())?;
    tar.member(CHECKPOINT, reader.checkpoint_note())?;
    if let Some(evidence) = &evidence {
        tar.member(EVIDENCE, evidence)?;
    }
    if let Some(hashes) = plan.proof.take() {
        tar.member(PROOF, &serde_json::to_vec(&RangeProof { hashes }).map_err(io::Error::from)?)?;
    }
    if let Some(hashes) = &plan.leaf_hashes {
        let bytes: Vec<u8> = hashes.iter().flat_map(|hash| *hash.as_bytes()).collect();
        tar.member(LEAF_HASHES, &bytes)?;
    }
    write_entries(&reader, &plan, &mut tar)?;
    tar.finish()?;
    Ok(ExportSummary { manifest, head })
}

fn plan(reader: &LogReader, size: u64, options: &ExportOptions) -> Result<Plan, ExportError> {
    let range = options.range.clone().unwrap_or(0..size);
    if range.is_empty() || range.end > size {
        return Err(ExportError::Range { size });
    }
    let whole = range == (0..size);
    let count = range.end - range.start;
    let located = count <= MAX_LOCATED_ENTRIES;
    if !whole && !located {
        return Err(ExportError::TooLong);
    }
    let mut inside = Vec::new();
    let mut entries_bytes = 0;
    let mut evidence = None;
    let tree_range = Range { first: range.start, end: range.end, size };
    let mut prover = RangeProver::new(tree_range).ok_or(ExportError::Range { size })?;
    reader.for_each_leaf::<ReadError>(size, |index, leaf| {
        let hash = merkle::leaf_hash(leaf);
        if evidence.is_none() {
            evidence = evidence_named_by(leaf);
        }
        if range.contains(&index) {
            entries_bytes += leaf.len() as u64 + 1;
            if located {
                inside.push(hash);
            }
        } else {
            prover.push(hash);
        }
        Ok(())
    })?;
    let proof = prover.finish().ok_or(ExportError::Range { size })?;
    Ok(Plan {
        range: tree_range,
        entries_bytes,
        evidence,
        leaf_hashes: located.then_some(inside),
        proof: (!whole).then_some(proof),
    })
}

fn evidence_named_by(leaf: &[u8]) -> Option<Hash> {
    let entry = Entry::from_bytes(leaf).ok().filter(|entry| entry.kind == EventType::BootEvidence)?;
    entry.platform?.evidence
}

/// The evidence and its inputs, unless the log was stopped before a covered entry named them: what lies in
/// the directory then belongs to nothing.
fn read_evidence(
    directory: &Path,
    named: Option<Hash>,
) -> Result<(Option<Vec<u8>>, Option<BindingInputs>), ExportError> {
    if named.is_none() {
        return Ok((None, None));
    }
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
    reader: &LogReader,
    plan: &Plan,
    tar: &mut tar::Writer<W>,
) -> Result<(), ExportError> {
    let out = tar.begin(ENTRIES, plan.entries_bytes)?;
    reader.for_each_leaf::<ExportError>(plan.range.end, |index, leaf| {
        if index >= plan.range.first {
            out.write_all(leaf)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    })?;
    tar.end(plan.entries_bytes)?;
    Ok(())
}

/// Writes every whole entry of the log in `directory`, also those beyond the checkpoint, one to a line, and
/// gives back how many there are. For reading; it proves nothing.
///
/// # Errors
/// [`ExportError`].
pub fn export_jsonl(directory: &Path, out: impl Write) -> Result<u64, ExportError> {
    let reader = LogReader::open(directory)?;
    let mut out = io::BufWriter::with_capacity(256 * 1024, out);
    reader.for_each_leaf::<ExportError>(reader.head().size, |_, leaf| {
        out.write_all(leaf)?;
        Ok(out.write_all(b"\n")?)
    })?;
    out.flush()?;
    Ok(reader.head().size)
}
