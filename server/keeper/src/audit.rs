//! The audit log of this boot behind one thread, which appends together what waits together.
//!
//! The thread owns the log. Whoever records waits for, or is called with, the index that proves the entry durable. When little waits,
//! the thread writes it and waits for the medium itself. When much waits, the medium works beside it: the thread encodes the next entries
//! meanwhile, so that the rate is that of the slower of the two and not of both in turn.

use crate::clock::Clock;
use anchorhold_audit_log::merkle::TreeHead;
use anchorhold_audit_log::{
    BindingInputs, Durability, Event, Hash, Log, LogError, MAX_UNCOVERED, Stamp, Tee,
};
use anyhow::Context as _;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Entries that may wait; whoever records more is held up.
const MAX_WAITING: usize = 1024;
/// Entries that become durable with one write.
const MAX_TOGETHER: usize = 512;
/// From so many entries on, handing a write to another thread costs less than the encoding that goes on meanwhile.
const MANY: usize = 64;
/// How often the thread looks whether the medium is done, while entries come in beside it.
const LOOK_EVERY: Duration = Duration::from_micros(50);
/// A checkpoint is at most this old while there is something new.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(250);
/// A checkpoint follows a round of the writer after which more entries lack one: the next round might bring them over the limit.
const MAX_LEFT: u64 = MAX_UNCOVERED - MAX_TOGETHER as u64;
/// The longest time that an entry stays without a cosignature while witnesses answer: a quarter of it until there is a checkpoint, the
/// rest for the witnesses.
pub(crate) const ANCHOR_MS: u32 = 1000;
/// How long the end of a log waits for its cosignatures.
const LAST_COSIGNATURE: Duration = Duration::from_secs(3);

type Reply = Box<dyn FnOnce(Option<u64>) + Send>;

enum Order {
    Append(Box<Event>, Reply),
    Evidence(Box<BootEvidence>, Reply),
    /// The proof from an old size to a later one.
    Prove((u64, u64), SyncSender<Option<Vec<Hash>>>),
    /// A checkpoint with its cosignatures, and the smallest size that a witness knows.
    Cosigned(Vec<u8>, u64),
    Close,
}

impl Order {
    fn is_critical(&self) -> bool {
        matches!(self, Self::Append(event, _) if event.kind.durability() == Durability::Critical)
    }
}

/// The evidence of this boot, as it goes beside the log.
pub(crate) struct BootEvidence {
    pub(crate) json: Vec<u8>,
    pub(crate) inputs: BindingInputs,
    pub(crate) tee: Tee,
    pub(crate) at: Stamp,
}

/// Records entries; can be cloned.
#[derive(Clone)]
pub(crate) struct Recorder {
    orders: SyncSender<Order>,
    head: Arc<Mutex<TreeHead>>,
    has_failed: Arc<AtomicBool>,
    checkpoints: Arc<Checkpoints>,
}

impl Recorder {
    /// Hands an event to the log; `reply` is called with its index when it is durable, or with nothing when the log
    /// does not take entries.
    pub(crate) fn record_then(&self, event: Event, reply: impl FnOnce(Option<u64>) + Send + 'static) {
        if let Err(refused) = self.orders.send(Order::Append(Box::new(event), Box::new(reply)))
            && let Order::Append(_, reply) = refused.0
        {
            reply(None);
        }
    }

    /// Records an event and waits until it is durable.
    ///
    /// # Errors
    /// The log does not take entries.
    pub(crate) fn record(&self, event: Event) -> anyhow::Result<u64> {
        let (done, wait) = sync_channel(1);
        self.record_then(event, move |index| {
            // The receiver below outlives this call.
            let _ = done.send(index);
        });
        wait.recv().ok().flatten().context("the audit log does not take entries")
    }

    /// Stores the boot's evidence beside the log, covered by an entry.
    ///
    /// # Errors
    /// The log does not take entries.
    pub(crate) fn record_evidence(&self, evidence: BootEvidence) -> anyhow::Result<u64> {
        let (done, wait) = sync_channel(1);
        let reply: Reply = Box::new(move |index| {
            let _ = done.send(index);
        });
        self.orders
            .send(Order::Evidence(Box::new(evidence), reply))
            .ok()
            .and_then(|()| wait.recv().ok().flatten())
            .context("the audit log does not take the evidence")
    }

    /// The consistency proof between two sizes of the log; `None` when it cannot be made any more.
    pub(crate) fn prove(&self, old_size: u64, size: u64) -> Option<Vec<Hash>> {
        let (done, wait) = sync_channel(1);
        self.orders.send(Order::Prove((old_size, size), done)).ok()?;
        wait.recv().ok().flatten()
    }

    /// Stores a cosigned checkpoint beside the log.
    pub(crate) fn store_cosigned(&self, note: Vec<u8>, known: u64) {
        // A log that is gone needs it no more.
        let _ = self.orders.send(Order::Cosigned(note, known));
    }

    /// Where the newest checkpoint is told.
    pub(crate) fn checkpoints(&self) -> &Arc<Checkpoints> {
        &self.checkpoints
    }

    /// Whether the log's medium failed; it then takes nothing more.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    /// Size and root of what is durable now.
    pub(crate) fn head(&self) -> TreeHead {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that owns the log.
pub(crate) struct Writer {
    recorder: Recorder,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Writer {
    /// `witnesses` says whether somebody has to be shown that the log grows.
    pub(crate) fn start(mut log: Log, clock: Clock, witnesses: Witnessing) -> anyhow::Result<Self> {
        if witnesses == Witnessing::Some {
            log.keep_growth();
        }
        let head = Arc::new(Mutex::new(log.head()));
        let checkpoints = Arc::new(Checkpoints::default());
        let (orders, waiting) = sync_channel(MAX_WAITING);
        let recorder = Recorder { orders, head, has_failed: Arc::default(), checkpoints };
        let (head, has_failed) = (Arc::clone(&recorder.head), Arc::clone(&recorder.has_failed));
        let checkpoints = Arc::clone(&recorder.checkpoints);
        let replies = VecDeque::new();
        let writing = Writing { log, replies, staged: 0, head, has_failed, checkpoints, clock, witnesses };
        let thread =
            std::thread::Builder::new().name("audit".to_owned()).spawn(move || writing.run(&waiting))?;
        Ok(Self { recorder, thread })
    }

    pub(crate) fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Ends the log with its final checkpoint.
    ///
    /// # Errors
    /// The log could not be ended; it then reads as one that ended uncleanly.
    pub(crate) fn close(self) -> anyhow::Result<()> {
        self.recorder.orders.send(Order::Close).ok().context("the audit log is gone")?;
        self.thread.join().map_err(|_| anyhow::anyhow!("the audit log's thread panicked"))?
    }
}

/// Whether a log has witnesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Witnessing {
    None,
    Some,
}

/// The newest checkpoint and what witnesses have cosigned, for those who wait for either.
#[derive(Default)]
pub(crate) struct Checkpoints {
    state: Mutex<Checkpointed>,
    changed: Condvar,
}

/// What is told of checkpoints.
#[derive(Default)]
struct Checkpointed {
    newest: Option<(TreeHead, Vec<u8>)>,
    cosigned: u64,
    /// Since when there is a checkpoint that is not cosigned.
    waiting_since: Option<Instant>,
    /// Nobody will cosign any more.
    over: bool,
}

impl Checkpoints {
    fn state(&self) -> MutexGuard<'_, Checkpointed> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, head: TreeHead, note: &[u8]) {
        let mut state = self.state();
        if state.newest.as_ref().is_none_or(|(newest, _)| newest.size < head.size) {
            state.newest = Some((head, note.to_vec()));
            state.waiting_since.get_or_insert_with(Instant::now);
            self.changed.notify_all();
        }
    }

    /// Waits for a checkpoint that is larger than what is cosigned, at most until then; `Err` when there is nobody to wait for.
    pub(crate) fn next(&self, within: Duration) -> Result<Option<(TreeHead, Vec<u8>)>, Over> {
        let mut state = self.state();
        let until = Instant::now() + within;
        loop {
            if state.over {
                return Err(Over);
            }
            if let Some((head, note)) = &state.newest
                && head.size > state.cosigned
            {
                return Ok(Some((*head, note.clone())));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Tells that witnesses cosigned up to this size.
    pub(crate) fn cosigned(&self, size: u64) {
        let mut state = self.state();
        state.cosigned = state.cosigned.max(size);
        let behind = state.newest.as_ref().is_some_and(|(newest, _)| newest.size > state.cosigned);
        state.waiting_since = behind.then(Instant::now);
        self.changed.notify_all();
    }

    /// Lets so much time pass, unless all waiting ends.
    pub(crate) fn pause(&self, pause: Duration) -> Result<(), Over> {
        let waited = self.changed.wait_timeout_while(self.state(), pause, |state| !state.over);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.over { Err(Over) } else { Ok(()) }
    }

    /// Ends all waiting.
    pub(crate) fn end(&self) {
        self.state().over = true;
        self.changed.notify_all();
    }

    /// Waits until witnesses have cosigned up to this size; false when they did not in time.
    pub(crate) fn wait_for(&self, size: u64, within: Duration) -> bool {
        let until = Instant::now() + within;
        let mut state = self.state();
        while state.cosigned < size && !state.over {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.cosigned >= size
    }

    /// For how long the oldest checkpoint that is not cosigned has waited, and the size that is.
    pub(crate) fn lateness(&self) -> (Duration, u64) {
        let state = self.state();
        (state.waiting_since.map_or(Duration::ZERO, |since| since.elapsed()), state.cosigned)
    }
}

/// Nothing is cosigned any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Over;

/// The thread that owns the log.
struct Writing {
    log: Log,
    /// Who waits for which index, in order; the last `staged` of them for entries that are not written yet.
    replies: VecDeque<(u64, Reply)>,
    staged: usize,
    head: Arc<Mutex<TreeHead>>,
    has_failed: Arc<AtomicBool>,
    checkpoints: Arc<Checkpoints>,
    clock: Clock,
    witnesses: Witnessing,
}

impl Writing {
    fn run(mut self, waiting: &Receiver<Order>) -> anyhow::Result<()> {
        let mut checkpointed = Instant::now();
        self.publish();
        loop {
            let patience = if self.replies.is_empty() { CHECKPOINT_EVERY } else { LOOK_EVERY };
            let mut next = match waiting.recv_timeout(patience) {
                Ok(order) => Some(order),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let (mut go_on, mut is_critical) = (true, false);
            while let Some(order) = next {
                is_critical |= self.witnesses == Witnessing::Some && order.is_critical();
                go_on &= self.obey(order);
                next = if self.staged < MAX_TOGETHER { waiting.try_recv().ok() } else { None };
            }
            if !go_on {
                break;
            }
            let written = self.write(is_critical).and_then(|()| self.beat());
            self.answer(&written);
            let uncovered = self.log.uncovered();
            let is_due = is_critical || uncovered > MAX_LEFT || checkpointed.elapsed() >= CHECKPOINT_EVERY;
            if uncovered > 0 && is_due {
                // While the medium is busy with entries, the checkpoint goes beside them. A failure poisons the log, and the next entry is
                // refused because of it.
                let _ = match self.log.is_settled() {
                    true => self.log.checkpoint().map(drop),
                    false => self.log.begin_checkpoint(),
                };
                checkpointed = Instant::now();
                self.has_failed.store(self.log.is_poisoned(), Ordering::Relaxed);
            }
            self.publish();
        }
        self.commit();
        self.log.end(self.clock.stamp()).context("closing the audit log")?;
        self.publish();
        if self.witnesses == Witnessing::Some {
            self.show_the_end(waiting);
        }
        Ok(())
    }

    /// Carries out what was asked; false when the log is to be ended.
    fn obey(&mut self, order: Order) -> bool {
        match order {
            Order::Append(event, reply) => match self.log.stage(*event) {
                Ok(index) => {
                    self.replies.push_back((index, reply));
                    self.staged += 1;
                }
                Err(_) => reply(None),
            },
            Order::Evidence(evidence, reply) => {
                self.commit();
                let BootEvidence { json, inputs, tee, at } = *evidence;
                reply(self.log.record_evidence(&json, &inputs, tee, at).ok());
            }
            Order::Prove((old_size, size), reply) => {
                // Whoever asked may have given up.
                let _ = reply.send(self.log.prove(old_size, size));
            }
            Order::Cosigned(note, known) => {
                // A failure poisons the log, and the next entry is refused because of it.
                let _ = self.log.store_cosigned(&note, known, self.clock.stamp());
            }
            Order::Close => return false,
        }
        true
    }

    /// Writes what is staged, unless it is little and the medium is busy: then more may come before it is done.
    fn write(&mut self, is_critical: bool) -> Result<(), LogError> {
        let is_settled = self.log.collect()?;
        if self.staged >= MANY && !is_critical {
            self.staged = 0;
            self.log.submit()
        } else if is_critical || is_settled {
            self.staged = 0;
            self.log.commit()
        } else {
            Ok(())
        }
    }

    /// Shows that the log is alive, when it is time.
    fn beat(&mut self) -> Result<(), LogError> {
        let cosigned = match self.witnesses {
            Witnessing::Some => Some(self.checkpoints.lateness().1),
            Witnessing::None => None,
        };
        self.log.beat(self.clock.stamp(), cosigned).map(drop)
    }

    fn commit(&mut self) {
        self.staged = 0;
        let committed = self.log.commit();
        self.answer(&committed);
    }

    /// Answers those whose entries are durable and, after an error, all others: an error acknowledges nothing.
    fn answer(&mut self, written: &Result<(), LogError>) {
        // A checkpoint that the log made by itself is told before the entries that it made room for.
        self.publish();
        let size = self.log.size();
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = self.log.head();
        self.has_failed.store(self.log.is_poisoned(), Ordering::Relaxed);
        let is_answered = |index: u64| index < size || written.is_err();
        while self.replies.front().is_some_and(|(index, _)| is_answered(*index)) {
            let Some((index, reply)) = self.replies.pop_front() else { break };
            reply((index < size).then_some(index));
        }
    }

    fn publish(&self) {
        let (head, note) = self.log.latest_checkpoint();
        self.checkpoints.publish(head, note);
    }

    /// Gives witnesses a moment to cosign the last checkpoint, so that the log is seen to have ended on purpose.
    fn show_the_end(&mut self, waiting: &Receiver<Order>) {
        let until = Instant::now() + LAST_COSIGNATURE;
        while let Ok(order) = waiting.recv_timeout(until.saturating_duration_since(Instant::now())) {
            let last = matches!(&order, Order::Cosigned(note, _) if note.starts_with(self.log.latest_checkpoint().1));
            self.obey(order);
            if last {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anchorhold_audit_log::{EventType, LogReader, Origin, Outcome, Signer};

    const PATIENCE: Duration = Duration::from_secs(20);

    fn writer(path: &std::path::Path, witnesses: Witnessing) -> (Writer, Clock) {
        let clock = Clock::start();
        let signer = Signer::from_seed(Origin::new("acme/1").unwrap(), &[1; 32]).unwrap();
        let boot = anchorhold_audit_log::BootId::new([2; 16]);
        let log = Log::create(path, signer, boot, clock.stamp()).unwrap();
        (Writer::start(log, clock, witnesses).unwrap(), clock)
    }

    fn event(clock: Clock, kind: EventType) -> Event {
        Event::new(kind, Outcome::Success, clock.stamp())
    }

    #[test]
    fn no_more_entries_than_promised_lack_a_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, clock) = writer(&folder.path().join("log"), Witnessing::Some);
        let recorder = writer.recorder();
        let (done, indexes) = std::sync::mpsc::channel();
        for _ in 0..4000 {
            let done = done.clone();
            recorder.record_then(event(clock, EventType::InferComplete), move |index| {
                done.send(index).unwrap();
            });
        }
        for expected in 1..=4000 {
            let index = indexes.recv_timeout(PATIENCE).unwrap().unwrap();
            assert_eq!(index, expected, "in the order in which they were recorded");
            let newest = recorder.checkpoints().state().newest.as_ref().map_or(0, |(head, _)| head.size);
            assert!(index < newest + MAX_UNCOVERED, "{index} is durable and {newest} are covered");
        }
        writer.close().unwrap();
        let log = LogReader::open(&folder.path().join("log")).unwrap();
        assert!(log.is_closed());
        assert_eq!(log.head().size, 4002);
    }

    #[test]
    fn what_is_cosigned_is_told_and_stored_and_the_end_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (writer, clock) = writer(&path, Witnessing::Some);
        let recorder = writer.recorder().clone();
        let checkpoints = Arc::clone(recorder.checkpoints());
        assert!(!checkpoints.wait_for(1, Duration::ZERO), "nobody has cosigned");
        recorder.record(event(clock, EventType::ModelLoad)).unwrap();
        // The witness: it takes every checkpoint that there is, the last one too.
        let (of_thread, store) = (Arc::clone(&checkpoints), recorder.clone());
        let witness = std::thread::spawn(move || {
            let mut known = 0;
            while let Ok(newest) = of_thread.next(PATIENCE) {
                let Some((head, note)) = newest else { continue };
                assert!(known == 0 || store.prove(known, head.size).is_some());
                known = head.size;
                store.store_cosigned(note, known);
                of_thread.cosigned(known);
            }
            known
        });
        assert!(checkpoints.wait_for(2, PATIENCE));
        assert!(checkpoints.lateness().1 >= 2);
        writer.close().unwrap();
        checkpoints.end();
        assert_eq!(witness.join().unwrap(), 3, "log.close is cosigned");
        assert_eq!(checkpoints.next(PATIENCE), Err(Over));
        assert!(!checkpoints.wait_for(9, PATIENCE), "whoever waits is sent away at the end");
        let own = LogReader::open(&path).unwrap();
        assert_eq!(std::fs::read(path.join("checkpoint.cosigned")).unwrap(), own.checkpoint_note());
    }

    #[test]
    fn case_30_a_failed_medium_is_told_and_takes_nothing_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (writer, clock) = writer(&path, Witnessing::None);
        let recorder = writer.recorder().clone();
        recorder.record(event(clock, EventType::ModelLoad)).unwrap();
        assert!(!recorder.has_failed());
        std::fs::remove_dir_all(&path).unwrap();
        // The next checkpoint finds no directory, and then no entry is taken.
        while recorder.record(event(clock, EventType::ModelLoad)).is_ok() {}
        assert!(recorder.record(event(clock, EventType::ModelLoad)).is_err());
        assert!(recorder.has_failed());
        assert!(writer.close().is_err());
    }
}
