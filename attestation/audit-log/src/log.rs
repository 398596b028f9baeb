//! The writer: entries are durable before it says so, and checkpoints cover only what is durable.
//!
//! An entry goes three ways: it is staged (encoded, hashed, framed), submitted (written, and the medium asked to make it durable) and
//! settled (durable). [`Log::append`] goes all of them at once. A writer with much to write stages the next entries while the medium is
//! busy with those before; [`Log::size`] counts what is settled, and nothing else is acknowledged or covered. The medium has the next
//! write at hand when one is durable, and begins none before.

mod covering;
mod staged;

use self::covering::Covering;
use self::staged::{Ids, Staged};

use crate::anchors::Anchors;
use crate::binding::{BindingInputs, MAX_EVIDENCE_BYTES, Opening};
use crate::entry::{Entry, EntryError, Event, LogState, Platform, Setting, Slot, Stamp, Tee};
use crate::event::{EventType, Outcome};
use crate::merkle::{Growth, TreeHead};
use crate::note::{NoteError, Signer, VerifierKey};
use crate::storage::{
    BINDING_FILE, Directory, EVIDENCE_FILE, KEY_COPIES_FILE, KEY_FILE, RELEASE_BINDING_FILE,
    RELEASE_EVIDENCE_FILE, Storage,
};
use crate::storage_key::StorageKey;
use crate::{BootId, Hash};
use std::collections::VecDeque;
use std::path::Path;
use std::{fmt, io};

/// The most events of one batch.
pub const MAX_BATCH: usize = 1024;
/// The most entries that no checkpoint covers; the log signs one by itself before it holds more.
pub const MAX_UNCOVERED: u64 = 1024;
/// The most writes that are under way: one that the medium carries out, and the next, so that it does not wait for the caller between them.
pub const MAX_SUBMITTED: usize = 2;
/// There is an entry at least this often, whatever happens; `log.open` announces it.
pub const HEARTBEAT_S: u32 = 60;
/// A segment is followed by the next before it grows beyond this many bytes.
pub const SEGMENT_BYTES: usize = 64 * 1024 * 1024;

/// Why a log did not do what it was asked.
#[derive(Debug)]
pub enum LogError {
    /// The medium failed. The log takes nothing more; what this call was to add may or may not be there.
    Storage {
        /// What was being done.
        doing: &'static str,
        /// What the medium said.
        source: io::Error,
    },
    /// The medium failed earlier. Only a new log goes on.
    Poisoned,
    /// An event cannot be an entry; nothing was written.
    Entry(EntryError),
    /// A batch has no event or more than [`MAX_BATCH`]; nothing was written.
    BatchLength {
        /// How many it has.
        observed: usize,
    },
    /// Evidence is over [`MAX_EVIDENCE_BYTES`]; nothing was written.
    EvidenceTooLong {
        /// Its length.
        observed_bytes: usize,
    },
    /// This boot's evidence is recorded already; nothing was written.
    EvidenceRecorded,
    /// The checkpoint could not be signed; nothing was written.
    Sign(NoteError),
    /// The system gives no randomness; nothing was written.
    Random,
    /// There are as many segments as can be numbered.
    Full,
    /// The log was ended; nothing was written.
    Ended,
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage { doing, source } => write!(f, "{doing}: {source}"),
            Self::Poisoned => f.write_str("the log's storage failed earlier; it takes no more entries"),
            Self::Entry(error) => write!(f, "event cannot be logged: {error}"),
            Self::BatchLength { observed } => {
                write!(f, "batch of {observed} events, wanted 1 to {MAX_BATCH}")
            }
            Self::EvidenceTooLong { observed_bytes } => {
                write!(f, "evidence is {observed_bytes} bytes, the limit is {MAX_EVIDENCE_BYTES}")
            }
            Self::EvidenceRecorded => f.write_str("this boot's evidence is recorded already"),
            Self::Sign(error) => write!(f, "checkpoint cannot be signed: {error}"),
            Self::Random => f.write_str("the system gives no randomness"),
            Self::Full => f.write_str("the log has as many segments as can be numbered"),
            Self::Ended => f.write_str("the log was ended"),
        }
    }
}

impl std::error::Error for LogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Storage { source, .. } => Some(source),
            Self::Entry(error) => Some(error),
            Self::Sign(error) => Some(error),
            _ => None,
        }
    }
}

/// The bytes of the entry with index `seq` that tells `event` in the log of `boot`. For logs that keep their entries
/// elsewhere than [`Log`] does.
///
/// # Errors
/// [`LogError::Entry`] or [`LogError::Random`].
pub fn encode_entry(event: &Event, seq: u64, boot: BootId) -> Result<Vec<u8>, LogError> {
    let mut random = [0; 10];
    crate::random::fill(&mut random).map_err(|_| LogError::Random)?;
    let slot = Slot { seq, boot, id: staged::id(event.at.wall_ns, random) };
    Entry::assign(event.clone(), slot).to_bytes().map_err(LogError::Entry)
}

/// Whether the medium can still be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Medium {
    Sound,
    Failed,
}

/// Who has to be shown that the log grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum History {
    /// Nobody: what came before is forgotten at each checkpoint.
    Alone,
    /// Witnesses.
    Witnessed,
}

/// What a log begins with.
#[derive(Debug)]
pub struct Beginning {
    /// Its key and its name.
    pub signer: Signer,
    /// The boot that writes it.
    pub boot: BootId,
    /// When.
    pub at: Stamp,
    /// What its entries are encrypted under, with copies for those who may read them, which are stored beside the entries before the first
    /// of them; no copies, no file. `None` writes entries as they are: for media that nobody else reads.
    pub storage_key: Option<(StorageKey, Vec<u8>)>,
    /// What entry 0 says of evidence for the log's key.
    pub opening: Opening,
    /// The digest of the settings under which everything in the log happens.
    pub setting: Option<Setting>,
}

impl Beginning {
    /// A log whose entries are not encrypted.
    #[must_use]
    pub const fn new(signer: Signer, boot: BootId, at: Stamp) -> Self {
        Self { signer, boot, at, storage_key: None, opening: Opening::Unattested, setting: None }
    }

    /// Encrypts the entries; see [`storage_key`](Self::storage_key).
    #[must_use]
    pub fn encrypted(self, key: StorageKey, copies: Vec<u8>) -> Self {
        Self { storage_key: Some((key, copies)), ..self }
    }
}

/// The log of one boot, owned by one process. Not a lock: callers order their appends by `&mut`.
#[derive(Debug)]
pub struct Log<S: Storage = Directory> {
    storage: S,
    storage_key: Option<StorageKey>,
    signer: Signer,
    boot: BootId,
    growth: Growth,
    history: History,
    covering: Covering,
    segment: u32,
    segment_bytes: usize,
    /// Whether entry 0 names evidence.
    is_attested: bool,
    segment_limit_bytes: usize,
    ids: Ids,
    /// Encoded and not written.
    staged: Staged,
    /// Given to the medium and not known to be durable; none most of the time.
    submitted: VecDeque<Staged>,
    /// Memory of what was settled.
    spare: Staged,
    evidence: Option<Hash>,
    last_mono_ns: u64,
    anchored: (u64, u64),
    anchors: Anchors,
    medium: Medium,
    has_ended: bool,
}

impl Log<Directory> {
    /// Begins the log of `boot` in the directory `path`, which must not exist, with entries in the clear. The log's name is the signer's
    /// origin.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn create(path: &Path, signer: Signer, boot: BootId, at: Stamp) -> Result<Self, LogError> {
        Self::begin(path, Beginning::new(signer, boot, at))
    }

    /// Begins a log in the directory `path`, which must not exist. Entry 0 is `log.open`, and a checkpoint covers it.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn begin(path: &Path, beginning: Beginning) -> Result<Self, LogError> {
        let storage = Directory::create(path)
            .map_err(|source| LogError::Storage { doing: "make the log's directory", source })?;
        Self::begin_in(storage, beginning)
    }
}

impl<S: Storage> Log<S> {
    /// Begins a log in empty storage; see [`Log::begin`].
    ///
    /// # Errors
    /// [`LogError`].
    pub fn begin_in(storage: S, beginning: Beginning) -> Result<Self, LogError> {
        let Beginning { signer, boot, at, storage_key, opening, setting } = beginning;
        let (storage_key, copies) = storage_key.unzip();
        let mut log = Self {
            storage,
            storage_key,
            signer,
            boot,
            growth: Growth::new(),
            history: History::Alone,
            covering: Covering::new(),
            segment: 0,
            segment_bytes: 0,
            is_attested: false,
            segment_limit_bytes: SEGMENT_BYTES,
            ids: Ids::default(),
            staged: Staged::default(),
            submitted: VecDeque::new(),
            spare: Staged::default(),
            evidence: None,
            last_mono_ns: 0,
            anchored: (0, 0),
            anchors: Anchors::default(),
            medium: Medium::Sound,
            has_ended: false,
        };
        let key = format!("{}\n", log.signer.key());
        log.store("write the log's key", |storage| storage.replace(KEY_FILE, key.as_bytes()))?;
        if let Some(copies) = copies.filter(|copies| !copies.is_empty()) {
            log.store("write the copies of the log's key", |storage| {
                storage.replace(KEY_COPIES_FILE, &copies)
            })?;
        }
        log.store("begin a segment", |storage| storage.begin_segment(0))?;
        let mut open = Event::new(EventType::LogOpen, Outcome::Success, at);
        open.setting = setting;
        match opening {
            Opening::Unattested => {}
            Opening::Attested { evidence_json, inputs, tee } => {
                let digest = log.store_evidence((EVIDENCE_FILE, BINDING_FILE), &evidence_json, &inputs)?;
                open.platform = Some(Platform::of_evidence(tee, digest));
                log.is_attested = true;
            }
            Opening::Failed(code) => (open.outcome, open.code) = (Outcome::Failure, code),
        }
        open.log = Some(LogState {
            beat_s: Some(HEARTBEAT_S),
            lost_max: Some(MAX_UNCOVERED),
            ..LogState::of(log.signer.origin().clone())
        });
        log.append(&[open])?;
        log.checkpoint()?;
        Ok(log)
    }

    /// Runs one operation of the medium; an error poisons the log.
    fn store(
        &mut self,
        doing: &'static str,
        operation: impl FnOnce(&mut S) -> io::Result<()>,
    ) -> Result<(), LogError> {
        self.is_sound()?;
        operation(&mut self.storage).map_err(|source| {
            self.medium = Medium::Failed;
            LogError::Storage { doing, source }
        })
    }

    /// Lets each segment grow to this many bytes instead of [`SEGMENT_BYTES`].
    pub const fn set_segment_limit(&mut self, limit_bytes: usize) {
        self.segment_limit_bytes = limit_bytes;
    }

    /// Appends the events in order and gives back the index of the first. When it returns `Ok`, all of
    /// them are durable, with whatever was staged before; when it returns an error, none was acknowledged. One call costs one
    /// fdatasync, so events that wait together are best appended together.
    ///
    /// # Errors
    /// [`LogError`]. After [`LogError::Storage`] every call returns [`LogError::Poisoned`].
    pub fn append(&mut self, events: &[Event]) -> Result<u64, LogError> {
        self.accepts()?;
        if events.is_empty() || events.len() > MAX_BATCH {
            return Err(LogError::BatchLength { observed: events.len() });
        }
        if !self.staged.is_empty() {
            self.submit()?;
        }
        let (first, mark) = (self.next_index(), self.staged.mark());
        for event in events {
            if let Err(error) = self.stage(event.clone()) {
                self.staged.back_to(mark);
                return Err(error);
            }
        }
        self.commit()?;
        Ok(first)
    }

    fn accepts(&self) -> Result<(), LogError> {
        self.is_sound()?;
        if self.has_ended { Err(LogError::Ended) } else { Ok(()) }
    }

    fn is_sound(&self) -> Result<(), LogError> {
        if self.is_poisoned() { Err(LogError::Poisoned) } else { Ok(()) }
    }

    fn next_index(&self) -> u64 {
        self.size() + self.under_way() + self.staged.len()
    }

    /// How many entries are submitted.
    fn under_way(&self) -> u64 {
        self.submitted.iter().map(Staged::len).sum()
    }

    /// Encodes an event as the next entry and gives back its index. Nothing is written, so this may go on while the medium is busy
    /// with what was submitted. The entry is acknowledged when [`size`](Self::size) is above its index.
    ///
    /// # Errors
    /// [`LogError`]; [`LogError::BatchLength`] when [`MAX_BATCH`] entries are staged already. Nothing was staged.
    pub fn stage(&mut self, event: Event) -> Result<u64, LogError> {
        self.accepts()?;
        if self.staged.len() >= MAX_BATCH as u64 {
            return Err(LogError::BatchLength { observed: MAX_BATCH + 1 });
        }
        let seq = self.next_index();
        let id = self.ids.next(event.at.wall_ns)?;
        self.staged.push(event, Slot { seq, boot: self.boot, id }, self.storage_key.as_ref())?;
        Ok(seq)
    }

    /// Has the medium write what is staged and make it durable beside the caller's own work. Where [`MAX_SUBMITTED`] writes are under way
    /// already, waits for the first of them. Nothing when nothing is staged.
    ///
    /// # Errors
    /// [`LogError`]; what [`size`](Self::size) counts then is durable, and nothing else is acknowledged.
    pub fn submit(&mut self) -> Result<(), LogError> {
        if self.staged.is_empty() {
            return self.is_sound();
        }
        while self.submitted.len() >= MAX_SUBMITTED {
            self.settle_first()?;
        }
        self.make_room()?;
        let frames = std::mem::take(&mut self.staged.frames);
        self.segment_bytes += frames.len();
        self.store("write entries", |storage| storage.begin_write(frames))?;
        self.submitted.push_back(std::mem::replace(&mut self.staged, std::mem::take(&mut self.spare)));
        Ok(())
    }

    /// Counts what the medium has made durable meanwhile, and tells whether nothing is under way any more.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn collect(&mut self) -> Result<bool, LogError> {
        self.is_sound()?;
        while !self.submitted.is_empty() && self.storage.write_has_ended() {
            self.settle_first()?;
        }
        Ok(self.is_settled())
    }

    /// Waits until what was submitted is durable.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn settle(&mut self) -> Result<(), LogError> {
        self.is_sound()?;
        while !self.submitted.is_empty() {
            self.settle_first()?;
        }
        self.end_checkpoint()
    }

    /// Writes what is staged and waits until it is durable, with all that was submitted before. On the caller's own thread, so for a
    /// few entries it is sooner done than [`submit`](Self::submit) and [`settle`](Self::settle).
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn commit(&mut self) -> Result<(), LogError> {
        self.settle()?;
        if self.staged.is_empty() {
            return Ok(());
        }
        self.make_room()?;
        let frames = std::mem::take(&mut self.staged.frames);
        self.segment_bytes += frames.len();
        self.store("write entries", |storage| storage.append(&frames))?;
        self.store("make entries durable", Storage::sync)?;
        self.end_checkpoint()?;
        let settled = std::mem::take(&mut self.staged);
        self.grow(&settled);
        self.staged = Staged { frames, ..settled };
        self.staged.clear();
        Ok(())
    }

    /// Whether no entry is under way to the medium.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.submitted.is_empty()
    }

    /// Waits for the earliest write that was submitted, and for a checkpoint that was begun: entries are not acknowledged before it.
    fn settle_first(&mut self) -> Result<(), LogError> {
        let mut frames = Vec::new();
        self.store("make entries durable", |storage| storage.end_write().map(|bytes| frames = bytes))?;
        self.end_checkpoint()?;
        if let Some(settled) = self.submitted.pop_front() {
            self.grow(&settled);
            self.spare = Staged { frames, ..settled };
            self.spare.clear();
        }
        Ok(())
    }

    /// Takes durable entries into the tree.
    fn grow(&mut self, settled: &Staged) {
        settled.leaves.iter().for_each(|leaf| self.growth.push(*leaf));
        self.last_mono_ns = settled.last_mono_ns;
    }

    /// Prepares the medium for what is staged. Where it would leave too many entries uncovered, with all that is under way, a checkpoint is
    /// begun and made durable beside it; none of it is acknowledged before. Where the segment is full, the next is begun.
    fn make_room(&mut self) -> Result<(), LogError> {
        let is_over = |log: &Self| log.uncovered() + log.under_way() + log.staged.len() > MAX_UNCOVERED;
        if is_over(self) {
            self.end_checkpoint()?;
        }
        if is_over(self) {
            // What is not durable cannot be covered.
            while self.under_way() + self.staged.len() > MAX_UNCOVERED {
                self.settle_first()?;
            }
            self.begin_checkpoint()?;
        }
        let bytes = self.staged.frames.len();
        if self.segment_bytes > 0 && self.segment_bytes + bytes > self.segment_limit_bytes {
            self.settle()?;
            let next = self.segment.checked_add(1).ok_or(LogError::Full)?;
            self.store("begin a segment", |storage| storage.begin_segment(next))?;
            (self.segment, self.segment_bytes) = (next, 0);
        }
        Ok(())
    }

    /// Appends the entry that shows that the log is alive, if it is time for one: `log.anchor` every [`HEARTBEAT_S`] seconds while
    /// witnesses go on to cosign, `log.heartbeat` when there was no other entry for so long. `cosigned` is the size that they have. To be
    /// called more often than that.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn beat(&mut self, at: Stamp, cosigned: Option<u64>) -> Result<bool, LogError> {
        let is_due = |last_ns| at.mono_ns.saturating_sub(last_ns) >= u64::from(HEARTBEAT_S) * 1_000_000_000;
        let (anchored_ns, anchored) = self.anchored;
        let kind = match cosigned.filter(|size| *size > anchored) {
            Some(size) if is_due(anchored_ns) => {
                self.anchored = (at.mono_ns, size);
                EventType::LogAnchor
            }
            _ if is_due(self.last_mono_ns) => EventType::LogHeartbeat,
            _ => return Ok(false),
        };
        let mut event = Event::new(kind, Outcome::Success, at);
        event.log = Some(LogState { size: cosigned, ..LogState::of(self.signer.origin().clone()) });
        self.append(&[event]).map(|_| true)
    }

    /// Makes evidence and what its report data was made of durable, and gives back its digest.
    fn store_evidence(
        &mut self,
        (evidence, binding): (&str, &str),
        json: &[u8],
        inputs: &BindingInputs,
    ) -> Result<Hash, LogError> {
        if json.len() > MAX_EVIDENCE_BYTES {
            return Err(LogError::EvidenceTooLong { observed_bytes: json.len() });
        }
        self.store("write the evidence", |storage| storage.replace(evidence, json))?;
        self.store("write the binding", |storage| storage.replace(binding, &inputs.to_bytes()))?;
        Ok(Hash::of(json))
    }

    /// Stores the evidence with which a key is asked for, what its report data was made of, and a `boot.evidence` entry with its
    /// digest, and signs a checkpoint. Once in the life of a log. Where entry 0 names none, it is the evidence of the log's key too.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn record_evidence(
        &mut self,
        evidence_json: &[u8],
        inputs: &BindingInputs,
        tee: Tee,
        at: Stamp,
    ) -> Result<u64, LogError> {
        if self.evidence.is_some() {
            return Err(LogError::EvidenceRecorded);
        }
        let files = match self.is_attested {
            true => (RELEASE_EVIDENCE_FILE, RELEASE_BINDING_FILE),
            false => (EVIDENCE_FILE, BINDING_FILE),
        };
        let digest = self.store_evidence(files, evidence_json, inputs)?;
        let mut event = Event::new(EventType::BootEvidence, Outcome::Success, at);
        event.platform = Some(Platform::of_evidence(tee, digest));
        let index = self.append(&[event])?;
        self.evidence = Some(digest);
        self.checkpoint()?;
        Ok(index)
    }

    /// Ends the log: a `log.close` entry and the final checkpoint, which is given back.
    ///
    /// # Errors
    /// [`LogError`]; the log is then left as one that ended uncleanly.
    pub fn close(mut self, at: Stamp) -> Result<Vec<u8>, LogError> {
        self.end(at)
    }

    /// The same, for a log whose last checkpoint witnesses still have to see. Nothing can be appended afterwards.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn end(&mut self, at: Stamp) -> Result<Vec<u8>, LogError> {
        self.commit()?;
        let head = self.head();
        let mut close = Event::new(EventType::LogClose, Outcome::Success, at);
        close.log = Some(LogState {
            root: Some(head.root),
            size: Some(head.size),
            ..LogState::of(self.signer.origin().clone())
        });
        self.append(&[close])?;
        self.has_ended = true;
        self.checkpoint()
    }

    /// How many entries are durable.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.growth.size()
    }

    /// Size and root hash of what is durable.
    #[must_use]
    pub fn head(&self) -> TreeHead {
        self.growth.head()
    }

    /// Whether the medium failed and the log takes nothing more.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.medium == Medium::Failed
    }

    /// What verifies the log's checkpoints.
    #[must_use]
    pub const fn key(&self) -> &VerifierKey {
        self.signer.key()
    }

    /// The boot that writes it.
    #[must_use]
    pub const fn boot(&self) -> BootId {
        self.boot
    }
}
