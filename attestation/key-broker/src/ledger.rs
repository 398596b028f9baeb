//! Changes of the state together with their entries in the broker's log, in one transaction: what the log tells has
//! happened, and what has happened is in the log.
//!
//! Callers that come at the same time share one transaction, so a disk that syncs a thousand times a second decides more than a
//! thousand requests. One of them does the work for all who wait.

use crate::store::{Change, Store, StoreError, Table, View, look_up};
use anchorhold_audit_log::merkle::{self, Node, Place, TreeHead, frontier_from, inclusion_proof_from};
use anchorhold_audit_log::{
    BootId, Checkpoint, Event, EventType, ExportError, Hash, LogError, LogSource, LogState, Origin, Outcome,
    Signer, Stamp, VerifierKey, VisitLeaf, encode_entry,
};
use anchorhold_key_release::LogProof;
use anchorhold_rats::Secret;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The most callers that share one transaction.
const MAX_BATCH: usize = 64;
/// How many entries an export reads at a time.
const EXPORT_ROWS: usize = 512;

/// Names in [`Table::Meta`].
const ORIGIN: &[u8] = b"log origin";
const SIZE: &[u8] = b"log size";
const CHECKPOINT: &[u8] = b"log checkpoint";

/// Why nothing was changed, or not for certain.
#[derive(Debug)]
pub enum LedgerError {
    /// The store.
    Store(StoreError),
    /// The state has a log already.
    Exists,
    /// Another caller's change failed, and this one's with it.
    Together,
    /// The log's name is none, or its key is refused.
    Log(&'static str),
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Exists => f.write_str("the state has a log already"),
            Self::Together => f.write_str("another change of the same transaction failed"),
            Self::Log(why) => write!(f, "audit log: {why}"),
        }
    }
}

impl std::error::Error for LedgerError {}

impl From<StoreError> for LedgerError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A signed head of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHead {
    /// Size and root.
    pub head: TreeHead,
    /// The checkpoint as a signed note; with cosignatures where there are some.
    pub note: Vec<u8>,
}

/// What a change may do: look, change, and append to the log.
///
/// A change first looks at everything that could make it come to nothing, and only then changes something: an error ends
/// the transaction for everybody in it.
pub struct Writing<'a> {
    change: &'a mut dyn Change,
    frontier: &'a mut merkle::Frontier,
    boot: BootId,
}

impl fmt::Debug for Writing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Writing({})", self.frontier.size())
    }
}

impl Writing<'_> {
    /// The tables.
    pub fn tables(&mut self) -> &mut dyn Change {
        self.change
    }

    /// Appends an entry that tells of `event`, and gives back its index. Comes before the change that it tells of, so that an
    /// event which cannot be an entry ends nothing half done.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn append(&mut self, event: &Event) -> Result<u64, StoreError> {
        let index = self.frontier.size();
        let leaf = encode_entry(event, index, self.boot).map_err(|error| match error {
            LogError::Random => StoreError::Unreachable(Box::new(error)),
            _ => StoreError::Corrupt("event, of which there can be no entry,"),
        })?;
        self.change.put(Table::Entries, &index.to_be_bytes(), &leaf)?;
        let mut outcome = Ok(());
        self.frontier.push_completing(merkle::leaf_hash(&leaf), |node, hash| {
            if outcome.is_ok() {
                outcome = self.change.put(Table::Nodes, &node_key(node), hash.as_bytes());
            }
        });
        outcome.map(|()| index)
    }
}

fn node_key(node: Node) -> [u8; 9] {
    let mut key = [node.level; 9];
    key.iter_mut().skip(1).zip(node.index.to_be_bytes()).for_each(|(to, from)| *to = from);
    key
}

fn node(view: &(impl View + ?Sized), node: Node) -> Result<Hash, StoreError> {
    let hash = view.get(Table::Nodes, &node_key(node))?.ok_or(StoreError::Corrupt("log"))?;
    Hash::try_from(hash.as_slice()).map_err(|_| StoreError::Corrupt("log"))
}

fn size(view: &(impl View + ?Sized)) -> Result<u64, StoreError> {
    let size = view.get(Table::Meta, SIZE)?.ok_or(StoreError::Corrupt("log size"))?;
    size.try_into().map(u64::from_be_bytes).map_err(|_| StoreError::Corrupt("log size"))
}

fn frontier(view: &(impl View + ?Sized)) -> Result<merkle::Frontier, StoreError> {
    frontier_from(size(view)?, |at| node(view, at))
}

/// Where a caller finds its result. Dropped without one, as by a panic, it says so.
struct Reply<T>(Arc<Mutex<Option<Result<T, LedgerError>>>>);

impl<T> Reply<T> {
    fn put(&self, outcome: Result<T, LedgerError>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(outcome);
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        self.put(Err(LedgerError::Together));
    }
}

type Done = Box<dyn FnOnce(Result<&Arc<SignedHead>, LedgerError>) + Send>;
type Job = Box<dyn FnOnce(&mut Writing<'_>) -> Result<Done, (StoreError, Done)> + Send>;

/// The callers that wait, and whether one of them is at work.
#[derive(Default)]
struct Queue {
    waiting: Vec<Job>,
    at_work: bool,
}

/// The state with its log.
pub struct Ledger {
    store: Arc<dyn Store>,
    signer: Signer,
    boot: BootId,
    queue: Mutex<Queue>,
    free: Condvar,
    latest: watch::Sender<Arc<SignedHead>>,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ledger({})", self.signer.key())
    }
}

fn signer(id: &str, seed: &Secret<32>) -> Result<Signer, LedgerError> {
    let origin = Origin::new(&format!("key-broker/{id}")).map_err(|_| LedgerError::Log("no origin"))?;
    Signer::from_seed(origin, seed.expose()).map_err(|_| LedgerError::Log("no signer"))
}

impl Ledger {
    /// Begins the log of a new state under a random name, signed with the key that belongs to `seed`. Its entry 0 is
    /// `log.open`; `first` goes on from there, in the same transaction.
    ///
    /// # Errors
    /// [`LedgerError::Exists`] when the state has a log; otherwise as [`commit`](Self::commit).
    pub fn create(
        store: Arc<dyn Store>,
        seed: &Secret<32>,
        at: Stamp,
        first: impl FnOnce(&mut Writing<'_>) -> Result<(), StoreError>,
    ) -> Result<Self, LedgerError> {
        let id: Secret<16> = Secret::random().map_err(|_| LedgerError::Log("no randomness"))?;
        let id = BootId::new(*id.expose());
        let ledger = Self::new(store, seed, id)?;
        let mut open = Event::new(EventType::LogOpen, Outcome::Success, at);
        open.log = Some(LogState { lost_max: Some(0), ..LogState::of(ledger.signer.origin().clone()) });
        let (mut first, mut head) = (Some(first), None);
        ledger.store.write(&mut |change| {
            if change.get(Table::Meta, ORIGIN)?.is_some() {
                return Ok(());
            }
            change.put(Table::Meta, ORIGIN, id.to_string().as_bytes())?;
            let mut frontier = merkle::Frontier::new();
            let mut writing = Writing { change, frontier: &mut frontier, boot: id };
            writing.append(&open)?;
            if let Some(first) = first.take() {
                first(&mut writing)?;
            }
            head = Some(ledger.seal(change, &frontier)?);
            Ok(())
        })?;
        ledger.publish(head.ok_or(LedgerError::Exists)?);
        Ok(ledger)
    }

    /// Opens the log of a state. Establishes that the newest checkpoint is signed with the key that belongs to `seed` and is the head
    /// of the stored tree.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn open(store: Arc<dyn Store>, seed: &Secret<32>) -> Result<Self, LedgerError> {
        let id = look_up(&*store, |view| {
            let id = view.get(Table::Meta, ORIGIN)?.ok_or(StoreError::Corrupt("log name"))?;
            let id = std::str::from_utf8(&id).ok().and_then(|id| id.parse::<BootId>().ok());
            id.ok_or(StoreError::Corrupt("log name"))
        })?;
        let ledger = Self::new(store, seed, id)?;
        let head = ledger.read_head()?;
        Checkpoint::verify(&head.note, ledger.signer.key())
            .ok()
            .filter(|checkpoint| checkpoint.head == head.head)
            .ok_or(LedgerError::Store(StoreError::Corrupt("log checkpoint")))?;
        ledger.publish(head);
        Ok(ledger)
    }

    fn new(store: Arc<dyn Store>, seed: &Secret<32>, boot: BootId) -> Result<Self, LedgerError> {
        let signer = signer(&boot.to_string(), seed)?;
        let empty = SignedHead { head: TreeHead::empty(), note: Vec::new() };
        Ok(Self {
            store,
            signer,
            boot,
            queue: Mutex::default(),
            free: Condvar::new(),
            latest: watch::Sender::new(Arc::new(empty)),
        })
    }

    fn read_head(&self) -> Result<SignedHead, StoreError> {
        look_up(&*self.store, |view| {
            let note = view.get(Table::Meta, CHECKPOINT)?.ok_or(StoreError::Corrupt("log checkpoint"))?;
            Ok(SignedHead { head: frontier(view)?.head(), note })
        })
    }

    /// The store below.
    #[must_use]
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// What verifies the log's checkpoints.
    #[must_use]
    pub const fn key(&self) -> &VerifierKey {
        self.signer.key()
    }

    /// The newest head that this process knows; another broker on the same store may have gone on.
    #[must_use]
    pub fn latest(&self) -> Arc<SignedHead> {
        Arc::clone(&self.latest.borrow())
    }

    /// Told of each new head.
    #[must_use]
    pub fn heads(&self) -> watch::Receiver<Arc<SignedHead>> {
        self.latest.subscribe()
    }

    /// Reads the head again, in case that another broker on the same store has gone on.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn refresh(&self) -> Result<Arc<SignedHead>, LedgerError> {
        Ok(self.publish(self.read_head()?))
    }

    /// Runs `work` in a transaction and gives back its result, and a signed head that covers its entries, when all is durable.
    ///
    /// # Errors
    /// [`LedgerError`]; but for [`StoreError::Uncertain`], nothing of it has happened then.
    ///
    /// # Panics
    /// Never: the result is there when the transaction is over.
    pub fn commit<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writing<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<(T, Arc<SignedHead>), LedgerError> {
        let slot = Arc::new(Mutex::new(None));
        let reply = Reply(Arc::clone(&slot));
        let job: Job = Box::new(move |writing| match work(writing) {
            Ok(value) => Ok(Box::new(move |head: Result<&Arc<SignedHead>, LedgerError>| {
                reply.put(head.map(|head| (value, Arc::clone(head))));
            })),
            Err(error) => Err((error, Box::new(move |head| reply.put(head.and(Err(LedgerError::Together)))))),
        });
        let mut queue = self.lock();
        queue.waiting.push(job);
        loop {
            if let Some(outcome) = slot.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return outcome;
            }
            if queue.at_work {
                queue = self.free.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            queue.at_work = true;
            let count = queue.waiting.len().min(MAX_BATCH);
            let batch: Vec<Job> = queue.waiting.drain(..count).collect();
            drop(queue);
            let turn = Turn(self);
            self.run(batch);
            drop(turn);
            queue = self.lock();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One transaction for all of `batch`; each is told how it ended.
    fn run(&self, batch: Vec<Job>) {
        let mut jobs = batch.into_iter();
        let mut done: Vec<Done> = Vec::new();
        let mut at_fault = None;
        let mut head = None;
        let outcome = self.store.write(&mut |change| {
            let mut frontier = frontier(change)?;
            let before = frontier.size();
            for job in jobs.by_ref() {
                match job(&mut Writing { change, frontier: &mut frontier, boot: self.boot }) {
                    Ok(one) => done.push(one),
                    Err((error, one)) => {
                        at_fault = Some(one);
                        return Err(error);
                    }
                }
            }
            head = if frontier.size() == before { None } else { Some(self.seal(change, &frontier)?) };
            Ok(())
        });
        match outcome {
            Ok(()) => {
                let head = head.map_or_else(|| self.latest(), |head| self.publish(head));
                done.into_iter().for_each(|one| one(Ok(&head)));
            }
            Err(error) => {
                // Whose fault it was hears what it was; so does the first of all when it was the store's.
                let first =
                    if at_fault.is_some() || done.is_empty() { at_fault } else { Some(done.remove(0)) };
                if let Some(one) = first {
                    one(Err(LedgerError::Store(error)));
                }
                // The rest, and those that did not get their turn, hear of it by being dropped.
            }
        }
    }

    /// Signs the new head and stores it in the same transaction.
    fn seal(&self, change: &mut dyn Change, frontier: &merkle::Frontier) -> Result<SignedHead, StoreError> {
        let head = frontier.head();
        let note = Checkpoint::new(self.signer.origin().as_str(), head).sign(&self.signer);
        let note = note.map_err(|_| StoreError::Corrupt("log name"))?;
        change.put(Table::Meta, SIZE, &head.size.to_be_bytes())?;
        change.put(Table::Meta, CHECKPOINT, &note)?;
        Ok(SignedHead { head, note })
    }

    fn publish(&self, head: SignedHead) -> Arc<SignedHead> {
        let head = Arc::new(head);
        // Whoever read the store later may have been here before.
        self.latest.send_if_modified(|latest| {
            let newer = head.head.size > latest.head.size;
            if newer {
                latest.clone_from(&head);
            }
            newer
        });
        head
    }

    /// Appends one entry.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn append(&self, event: Event) -> Result<u64, LedgerError> {
        self.commit(move |writing| writing.append(&event)).map(|(index, _)| index)
    }

    /// The proof that the entry of this index is in the tree of `head`.
    ///
    /// # Errors
    /// [`LedgerError`]; `Corrupt` when it is not.
    pub fn prove(&self, index: u64, head: &SignedHead) -> Result<LogProof, LedgerError> {
        let place = Place { index, size: head.head.size };
        let (entry, inclusion) = look_up(&*self.store, |view| {
            let entry = view.get(Table::Entries, &index.to_be_bytes())?.ok_or(StoreError::Corrupt("log"))?;
            let proof =
                inclusion_proof_from(place, |at| node(view, at))?.ok_or(StoreError::Corrupt("log"))?;
            Ok((entry, proof))
        })?;
        let checkpoint =
            String::from_utf8(head.note.clone()).map_err(|_| StoreError::Corrupt("log checkpoint"))?;
        Ok(LogProof { entry, inclusion, checkpoint })
    }

    /// The hashes from the first `old_size` entries to the tree of `size` (RFC 6962, section 2.1.2).
    ///
    /// # Errors
    /// [`LedgerError`]; `Corrupt` when the old size is zero or above the size.
    pub fn prove_consistency(&self, old_size: u64, size: u64) -> Result<Vec<Hash>, LedgerError> {
        Ok(look_up(&*self.store, |view| {
            merkle::consistency_proof_from(old_size, size, |at| node(view, at))?
                .ok_or(StoreError::Corrupt("log"))
        })?)
    }

    /// The log as an export reads it, as it is now.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn source(&self) -> Result<Source<'_>, LedgerError> {
        let head = self.read_head()?;
        let checkpoint = Checkpoint::verify(&head.note, self.signer.key())
            .map_err(|_| StoreError::Corrupt("log checkpoint"))?;
        Ok(Source { ledger: self, head, checkpoint })
    }
}

/// The turn of the caller that works for all; the next one begins when it is dropped, however that comes about.
struct Turn<'a>(&'a Ledger);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().at_work = false;
        self.0.free.notify_all();
    }
}

/// The log at one moment.
#[derive(Debug)]
pub struct Source<'a> {
    ledger: &'a Ledger,
    head: SignedHead,
    checkpoint: Checkpoint,
}

impl LogSource for Source<'_> {
    fn key(&self) -> &VerifierKey {
        self.ledger.key()
    }

    fn boot(&self) -> BootId {
        self.ledger.boot
    }

    fn checkpoint(&self) -> Option<(&Checkpoint, &[u8])> {
        Some((&self.checkpoint, &self.head.note))
    }

    fn size(&self) -> u64 {
        self.head.head.size
    }

    fn visit_leaves(&self, count: u64, visit: VisitLeaf<'_>) -> Result<(), ExportError> {
        let source = |error: StoreError| ExportError::Source(Box::new(error));
        let mut next = 0;
        while next < count {
            let (from, to) = (next.to_be_bytes(), count.to_be_bytes());
            let rows =
                look_up(self.ledger.store(), |view| view.scan(Table::Entries, &from..&to, EXPORT_ROWS));
            let rows = rows.map_err(source)?;
            if rows.is_empty() {
                return Err(source(StoreError::Corrupt("log")));
            }
            for (key, leaf) in rows {
                if key != next.to_be_bytes() {
                    return Err(source(StoreError::Corrupt("log")));
                }
                visit(next, &leaf)?;
                next += 1;
            }
        }
        Ok(())
    }

    /// A broker's log has no evidence of its own.
    fn evidence(
        &self,
        _named: Hash,
    ) -> Result<(Option<Vec<u8>>, Option<anchorhold_audit_log::BindingInputs>), ExportError> {
        Ok((None, None))
    }
}
