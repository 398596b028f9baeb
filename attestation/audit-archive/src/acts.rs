//! The archive's own log: one entry to a line, and a checkpoint that the archivist signs.
//!
//! `anchorhold_audit_log::Log` is the log of one process, whose key goes with it. This one goes on for years, by one short command after
//! another, so its entries lie in a file of their own. An act is one once a checkpoint covers it: lines beyond the last one are of a command
//! that was cut off, had no effect, and are cut off by the next.

use crate::error::{Error, Result};
use crate::files::{self, failed};
use crate::state::State;
use crate::steps::Steps;
use anchorhold_audit_log::merkle::{Frontier, TreeHead, leaf_hash};
use anchorhold_audit_log::note::{MAX_NOTE_BYTES, Signer, VerifierKey};
use anchorhold_audit_log::{
    BindingInputs, BootId, Checkpoint, Entry, Event, EventType, ExportError, Hash, LogSource, LogState,
    MAX_ENTRY_BYTES, Outcome, Stamp, VisitLeaf, encode_entry,
};
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// The most acts of one archive.
const MAX_ACTS: u32 = 1_000_000;
const ENTRIES: &str = "acts.jsonl";
const CHECKPOINT: &str = "acts.note";

#[derive(Debug)]
pub(crate) struct Acts {
    folder: PathBuf,
    key: VerifierKey,
    boot: BootId,
    checkpoint: Checkpoint,
    note: Vec<u8>,
    frontier: Frontier,
    /// How many bytes of the file the checkpoint covers.
    covered_bytes: u64,
    /// The wall clock of the first act, and how long after it the last one was.
    times: (i64, u64),
    pub(crate) state: State,
}

impl Acts {
    /// Begins the log in a folder that has none.
    pub(crate) fn begin(folder: &Path, signer: &Signer, boot: BootId, at_ns: i64) -> Result<Self> {
        files::replace(&folder.join(ENTRIES), b"", &Steps::default())?;
        let head = Frontier::new().head();
        let mut acts = Self {
            folder: folder.to_owned(),
            key: signer.key().clone(),
            boot,
            checkpoint: Checkpoint::new(signer.origin().as_str(), head),
            note: Vec::new(),
            frontier: Frontier::new(),
            covered_bytes: 0,
            times: (at_ns, 0),
            state: State::default(),
        };
        let mut open = Event::new(EventType::LogOpen, Outcome::Success, acts.stamp(at_ns));
        // It announces no heartbeat: an archive is silent when nobody does anything.
        open.log = Some(LogState::of(signer.origin().clone()));
        acts.append(&[open], signer, &Steps::default())?;
        Ok(acts)
    }

    /// Reads the log and holds it to its checkpoint.
    pub(crate) fn open(folder: &Path, key: VerifierKey, boot: BootId) -> Result<Self> {
        let note = files::read(&folder.join(CHECKPOINT), MAX_NOTE_BYTES)?;
        let checkpoint = Checkpoint::verify(&note, &key)?;
        let size = checkpoint.head.size;
        if size == 0 || size > u64::from(MAX_ACTS) {
            return Err(Error::Acts("its size is out of range"));
        }
        let mut acts = Self {
            folder: folder.to_owned(),
            key,
            boot,
            checkpoint,
            note,
            frontier: Frontier::new(),
            covered_bytes: 0,
            times: (0, 0),
            state: State::default(),
        };
        let mut first_ns = None;
        let mut covered_bytes = 0;
        let (mut frontier, mut state) = (Frontier::new(), State::default());
        let mut last_mono = 0;
        acts.each_line(size, |index, line| {
            let entry = Entry::from_bytes(line)?;
            if entry.seq != index || entry.boot != boot {
                return Err(Error::Acts("an entry is in another's place"));
            }
            first_ns.get_or_insert(entry.t);
            last_mono = entry.mono;
            covered_bytes += line.len() as u64 + 1;
            frontier.push(leaf_hash(line));
            state.take(&entry).map_err(Error::Acts)
        })?;
        if frontier.head() != acts.checkpoint.head {
            return Err(Error::Acts("its entries are not those of its checkpoint"));
        }
        (acts.frontier, acts.state, acts.covered_bytes) = (frontier, state, covered_bytes);
        acts.times = (first_ns.unwrap_or_default(), last_mono);
        Ok(acts)
    }

    /// Calls `visit` with the index and bytes of the first `count` entries.
    fn each_line<E: From<Error>>(
        &self,
        count: u64,
        mut visit: impl FnMut(u64, &[u8]) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let path = self.folder.join(ENTRIES);
        let mut file = BufReader::new(File::open(&path).map_err(failed("open", &path))?);
        let mut line = Vec::new();
        for index in 0..count {
            line.clear();
            let limit = MAX_ENTRY_BYTES as u64 + 1;
            (&mut file).take(limit).read_until(b'\n', &mut line).map_err(failed("read", &path))?;
            let whole = line.strip_suffix(b"\n");
            visit(index, whole.ok_or(Error::Acts("an entry is missing or too long"))?)?;
        }
        Ok(())
    }

    /// The time of an act: the archivist's wall clock, and how long after the first act, which never steps back.
    pub(crate) fn stamp(&self, at_ns: i64) -> Stamp {
        let since = u64::try_from(at_ns.saturating_sub(self.times.0)).unwrap_or(0);
        Stamp { wall_ns: at_ns, mono_ns: since.max(self.times.1) }
    }

    /// Adds acts, all or none: they are durable and signed when this returns, and count from then on.
    pub(crate) fn append(&mut self, events: &[Event], signer: &Signer, steps: &Steps) -> Result<u64> {
        let first = self.frontier.size();
        let (mut frontier, mut state) = (self.frontier.clone(), self.state.clone());
        let mut bytes = Vec::new();
        for (event, seq) in events.iter().zip(first..) {
            if seq >= u64::from(MAX_ACTS) {
                return Err(Error::TooMany { what: "acts", limit: MAX_ACTS as usize });
            }
            let leaf = encode_entry(event, seq, self.boot)?;
            state.take(&Entry::from_bytes(&leaf)?).map_err(Error::Acts)?;
            frontier.push(leaf_hash(&leaf));
            bytes.extend(leaf);
            bytes.push(b'\n');
        }
        let path = self.folder.join(ENTRIES);
        steps.next().map_err(failed("write", &path))?;
        let file = OpenOptions::new().write(true).open(&path).map_err(failed("open", &path))?;
        let written = (|| {
            // What a command that was cut off left behind the checkpoint never counted.
            file.set_len(self.covered_bytes)?;
            let mut file = &file;
            std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(self.covered_bytes))?;
            file.write_all(&bytes)?;
            steps.next()?;
            file.sync_all()
        })();
        written.map_err(failed("write", &path))?;
        let checkpoint = Checkpoint::new(signer.origin().as_str(), frontier.head());
        let note = checkpoint.sign(signer).map_err(|_| Error::OtherKey)?;
        files::replace(&self.folder.join(CHECKPOINT), &note, steps)?;
        self.times.1 = events.last().map_or(self.times.1, |event| event.at.mono_ns);
        self.covered_bytes += bytes.len() as u64;
        (self.checkpoint, self.note, self.frontier, self.state) = (checkpoint, note, frontier, state);
        Ok(first)
    }

    pub(crate) fn head(&self) -> TreeHead {
        self.checkpoint.head
    }

    pub(crate) fn note(&self) -> &[u8] {
        &self.note
    }
}

impl LogSource for Acts {
    fn key(&self) -> &VerifierKey {
        &self.key
    }

    fn boot(&self) -> BootId {
        self.boot
    }

    fn checkpoint(&self) -> Option<(&Checkpoint, &[u8])> {
        Some((&self.checkpoint, &self.note))
    }

    fn size(&self) -> u64 {
        self.checkpoint.head.size
    }

    fn visit_leaves(&self, count: u64, visit: VisitLeaf<'_>) -> std::result::Result<(), ExportError> {
        self.each_line(count, |index, line| visit(index, line).map_err(Stop::Visit)).map_err(
            |stop| match stop {
                Stop::Visit(error) => error,
                Stop::Read(error) => ExportError::Source(Box::new(error)),
            },
        )
    }

    fn evidence(
        &self,
        _named: Hash,
    ) -> std::result::Result<(Option<Vec<u8>>, Option<BindingInputs>), ExportError> {
        Ok((None, None))
    }
}

/// Whose error ended a visit.
pub(crate) enum Stop {
    Read(Error),
    Visit(ExportError),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Read(error)
    }
}
