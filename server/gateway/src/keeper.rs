//! The line to the keeper: entries and attestation out, workers and answers in.
//!
//! Two threads own the two directions. Requests wait for their answers by ticket; [`Waiting`] is the only shared
//! state, held for single map operations.

use crate::live::Current;
use crate::pool::Pool;
use anchorhold_ipc::{
    AuditEvent, FromGateway, Line, LineReader, LineWriter, LogCondition, LogFile, LogPart, LogStanding,
    ToGateway,
};
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

/// Messages on their way to the keeper. A request takes its place before it begins, so its entry is never lost.
const MAX_QUEUED: usize = 2048;
/// How long a request waits until its entry is durable.
const APPEND_WAIT: Duration = Duration::from_secs(10);
/// How long a caller waits for an attestation document or a signature.
const ATTEST_WAIT: Duration = Duration::from_secs(10);
/// How long an auditor waits for a file of the log. The first one of a long log takes the time to read all of it.
const READ_WAIT: Duration = Duration::from_secs(60);
/// How long the last message may take to leave.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// A place in the queue to the keeper.
pub(crate) type Slot = mpsc::OwnedPermit<FromGateway>;

/// The keeper does not answer in time, cannot do it, or is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoAnswer;

#[derive(Debug)]
pub(crate) struct Keeper {
    outgoing: mpsc::Sender<FromGateway>,
    waiting: Arc<Waiting>,
    ticket: AtomicU64,
    /// Completes when the writing thread ends.
    written: tokio::sync::Mutex<Option<oneshot::Receiver<()>>>,
}

/// Who waits for which ticket.
#[derive(Debug, Default)]
struct Waiting {
    tickets: Mutex<Tickets>,
    /// Whether the log refused the latest entry that it answered.
    log_refuses: AtomicBool,
    standing: Mutex<LogStanding>,
    /// Entries of the log that it is known to have.
    entries: AtomicU64,
}

#[derive(Debug, Default)]
struct Tickets {
    closed: bool,
    appended: HashMap<u64, oneshot::Sender<Durable>>,
    /// Those who wait for a document or for a signature.
    answered: HashMap<u64, oneshot::Sender<Option<Vec<u8>>>>,
    /// Those who wait for a file of the log.
    read: HashMap<u64, oneshot::Sender<LogFile>>,
}

/// What the keeper says of an entry: its receipt where it has one, or `None` when it is not in the log.
type Durable = Option<Option<String>>;

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Tickets> {
        // A panic while the lock is held leaves whole maps behind.
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, ticket: u64, answer: Option<Vec<u8>>) {
        let waiter = self.lock().answered.remove(&ticket);
        // A caller who left does not wait any more.
        let _ = waiter.map(|waiter| waiter.send(answer));
    }
}

impl Keeper {
    pub(crate) fn start(
        line: Line<FromGateway, ToGateway>,
        listeners: (Arc<Pool>, Arc<Current>),
        draining: watch::Sender<bool>,
    ) -> io::Result<Self> {
        let (writer, reader) = line.split();
        let (outgoing, queue) = mpsc::channel(MAX_QUEUED);
        let (done, written) = oneshot::channel();
        let waiting = Arc::new(Waiting::default());
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        thread("to-keeper").spawn(move || {
            write(writer, queue);
            // The receiver is gone only when nobody waits for the end.
            let _ = done.send(());
        })?;
        let answers = Arc::clone(&waiting);
        thread("from-keeper").spawn(move || {
            read(reader, &answers, &listeners, &draining);
            let mut tickets = answers.lock();
            *tickets = Tickets { closed: true, ..Tickets::default() };
            drop(tickets);
            draining.send_replace(true);
        })?;
        let written = tokio::sync::Mutex::new(Some(written));
        Ok(Self { outgoing, waiting, ticket: AtomicU64::new(0), written })
    }

    /// A place for one message; `None` when the keeper does not keep up.
    pub(crate) fn reserve(&self) -> Option<Slot> {
        self.outgoing.clone().try_reserve_owned().ok()
    }

    /// Whether the log took the latest entry that it answered, or has not answered any, and is not without witnesses for too long.
    pub(crate) fn log_takes_entries(&self) -> bool {
        self.log_standing().state.allows_new()
    }

    /// How the log stands, as the keeper last told and the latest answer showed.
    pub(crate) fn log_standing(&self) -> LogStanding {
        // A panic while the lock is held leaves a whole value behind.
        let told = *self.waiting.standing.lock().unwrap_or_else(PoisonError::into_inner);
        match self.waiting.log_refuses.load(Ordering::Relaxed) {
            true => LogStanding { state: LogCondition::Failed, ..told },
            false => told,
        }
    }

    /// Whether the log takes entries and less than half of the queue is taken. Only then may entries be sent that nobody waits for: who is
    /// refused and comes again at once cannot take the places of those who are served.
    pub(crate) fn keeps_up(&self) -> bool {
        self.log_takes_entries() && self.outgoing.capacity() > MAX_QUEUED / 2
    }

    /// How many entries the log is known to have, by those that it answered.
    pub(crate) fn entries(&self) -> u64 {
        self.waiting.entries.load(Ordering::Relaxed)
    }

    /// Sends an entry and does not wait for it.
    pub(crate) fn note(&self, slot: Slot, event: AuditEvent) {
        slot.send(FromGateway::Record { ticket: self.next_ticket(), event });
    }

    /// Sends an entry; the future completes with its receipt when it is durable. The entry is on its way even if nobody waits.
    pub(crate) fn record(
        &self,
        slot: Slot,
        event: AuditEvent,
    ) -> impl Future<Output = Result<Option<String>, NoAnswer>> + Send + use<> {
        let ticket = self.next_ticket();
        let (sender, receiver) = oneshot::channel();
        let waiting = Arc::clone(&self.waiting);
        let mut tickets = waiting.lock();
        if !tickets.closed {
            tickets.appended.insert(ticket, sender);
        }
        drop(tickets);
        slot.send(FromGateway::Record { ticket, event });
        async move {
            let answer = timeout(APPEND_WAIT, receiver).await;
            waiting.lock().appended.remove(&ticket);
            answer.ok().and_then(Result::ok).flatten().ok_or(NoAnswer)
        }
    }

    /// The attestation document for `nonce`, as the keeper made it.
    pub(crate) async fn attest(&self, nonce: [u8; 32]) -> Result<Vec<u8>, NoAnswer> {
        self.ask(|ticket| FromGateway::Attest { ticket, nonce }).await
    }

    /// The signature for an authenticator with this transcript.
    pub(crate) async fn authenticate(&self, transcript_hash: Vec<u8>) -> Result<Vec<u8>, NoAnswer> {
        self.ask(|ticket| FromGateway::Authenticate { ticket, transcript_hash }).await
    }

    /// A file of the audit log, for an auditor.
    pub(crate) async fn read_log(&self, part: LogPart) -> LogFile {
        let Some(slot) = self.reserve() else { return LogFile::Unavailable };
        let ticket = self.next_ticket();
        let (sender, receiver) = oneshot::channel();
        {
            let mut tickets = self.waiting.lock();
            if tickets.closed {
                return LogFile::Unavailable;
            }
            tickets.read.insert(ticket, sender);
        }
        slot.send(FromGateway::ReadLog { ticket, part });
        let answer = timeout(READ_WAIT, receiver).await;
        self.waiting.lock().read.remove(&ticket);
        answer.ok().and_then(Result::ok).unwrap_or(LogFile::Unavailable)
    }

    async fn ask(&self, message: impl FnOnce(u64) -> FromGateway) -> Result<Vec<u8>, NoAnswer> {
        let slot = self.reserve().ok_or(NoAnswer)?;
        let ticket = self.next_ticket();
        let (sender, receiver) = oneshot::channel();
        {
            let mut tickets = self.waiting.lock();
            if tickets.closed {
                return Err(NoAnswer);
            }
            tickets.answered.insert(ticket, sender);
        }
        slot.send(message(ticket));
        let answer = timeout(ATTEST_WAIT, receiver).await;
        self.waiting.lock().answered.remove(&ticket);
        answer.ok().and_then(Result::ok).flatten().ok_or(NoAnswer)
    }

    /// Says that everything is finished and waits until that has left.
    pub(crate) async fn drained(&self) {
        if let Some(slot) = self.reserve() {
            slot.send(FromGateway::Drained);
        }
        if let Some(written) = self.written.lock().await.take() {
            // Nothing is left to do if the keeper does not take it.
            let _ = timeout(LAST_WAIT, written).await;
        }
    }

    fn next_ticket(&self) -> u64 {
        self.ticket.fetch_add(1, Ordering::Relaxed)
    }
}

fn write(mut writer: LineWriter<FromGateway>, mut queue: mpsc::Receiver<FromGateway>) {
    while let Some(message) = queue.blocking_recv() {
        if writer.send(&message, &[]).is_err() {
            writer.shut_down();
            return;
        }
        if message == FromGateway::Drained {
            return;
        }
    }
}

/// Takes messages until the line breaks.
fn read(
    mut reader: LineReader<ToGateway>,
    waiting: &Waiting,
    (pool, current): &(Arc<Pool>, Arc<Current>),
    draining: &watch::Sender<bool>,
) {
    while let Ok((message, descriptors)) = reader.receive() {
        match message {
            ToGateway::WorkerReady(info) => {
                if let Some(socket) = descriptors.into_iter().next() {
                    pool.add(info, socket);
                }
            }
            ToGateway::WorkerGone { model } => pool.remove(&model),
            ToGateway::WorkerRetires { model } => pool.retire(&model),
            ToGateway::Attested(answer) => waiting.answer(answer.ticket, answer.document),
            ToGateway::Authenticated { ticket, signature } => waiting.answer(ticket, signature),
            ToGateway::LogFile { ticket, file } => {
                let waiter = waiting.lock().read.remove(&ticket);
                let _ = waiter.map(|waiter| waiter.send(file));
            }
            ToGateway::Appended(answer) => {
                waiting.log_refuses.store(answer.index.is_none(), Ordering::Relaxed);
                let entries = answer.index.map_or(0, |index| index.saturating_add(1));
                waiting.entries.fetch_max(entries, Ordering::Relaxed);
                let waiter = waiting.lock().appended.remove(&answer.ticket);
                let _ = waiter.map(|waiter| waiter.send(answer.index.map(|_| answer.receipt)));
            }
            ToGateway::Reload { settings, files } => {
                let files = files.into_iter().map(|(path, text)| (path.into(), text)).collect();
                current.reload(&settings, &files);
            }
            // The port is open already.
            ToGateway::Listen { .. } => {}
            ToGateway::LogStands(standing) => {
                *waiting.standing.lock().unwrap_or_else(PoisonError::into_inner) = standing;
            }
            ToGateway::Drain => {
                draining.send_replace(true);
            }
        }
    }
}
