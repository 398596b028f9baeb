//! One worker's line, and the requests that are under way on it.
//!
//! Two threads own the two directions. [`Worker::requests`] says who waits for which request; it is held for single
//! map operations. A [`Flight`] that is dropped with requests under way cancels them.

use anchorhold_ipc::{
    Event, FinishReason, Line, LineReader, LineWriter, ModelInfo, RequestError, RequestId, Work, WorkKind,
};
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Messages on their way to one worker. A request takes a place for its own cancellation before it is submitted.
const MAX_QUEUED: usize = 4096;
/// The most events that one request may have waiting for a slow reader; one token makes at most one.
const MAX_WAITING: usize = 128 * 1024;
/// Events of a request besides its tokens.
const OTHER_EVENTS: usize = 4;

/// Tokens of one generation, or of several together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tokens {
    /// Of prompts.
    pub(crate) read: u64,
    /// Those of them that were found in the worker's cache.
    pub(crate) found: u64,
    /// That were generated.
    pub(crate) made: u64,
}

impl Tokens {
    pub(crate) fn add(&mut self, other: Self) {
        let Self { read, found, made } = other;
        self.read = self.read.saturating_add(read);
        self.found = self.found.saturating_add(found);
        self.made = self.made.saturating_add(made);
    }
}

/// What a worker says about one request.
#[derive(Debug)]
pub(crate) enum Update {
    Embedded { vectors: Vec<Vec<f32>>, tokens_in: u64 },
    Ranked { scores: Vec<f32>, tokens_in: u64 },
    Delta(String),
    Finished { reason: FinishReason, tokens: Tokens },
    Failed(RequestError),
}

impl Update {
    fn is_last(&self) -> bool {
        !matches!(self, Self::Delta(_))
    }
}

/// Why a worker says no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FlightError {
    /// Its line is closed.
    Lost,
    /// Nothing came within the limit.
    Late,
    /// Too many messages wait for it.
    Full,
}

/// The model that answers at the other end of a line.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) info: ModelInfo,
    outgoing: mpsc::Sender<Work>,
    requests: Mutex<Requests>,
    next: AtomicU64,
    socket: OwnedFd,
    patience: Patience,
}

/// How long is waited for a worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For its next word about a request.
    pub(crate) answer: Duration,
    /// For the end of a request.
    pub(crate) request: Duration,
}

#[derive(Debug, Default)]
struct Requests {
    lost: bool,
    /// Nothing new is taken; the line is closed when nothing is under way any more.
    retired: bool,
    /// The place of a request within its flight, and the flight's channel.
    waiting: HashMap<RequestId, (usize, mpsc::Sender<(usize, Update)>)>,
}

impl Worker {
    /// Begins to talk; `lost` is called once, when the line is closed.
    pub(crate) fn start(
        info: ModelInfo,
        socket: OwnedFd,
        patience: Patience,
        lost: impl FnOnce(&Self) + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        let (writer, reader) = Line::<Work, Event>::new(socket.try_clone()?).split();
        let (outgoing, queue) = mpsc::channel(MAX_QUEUED);
        let (requests, next) = (Mutex::default(), AtomicU64::new(0));
        let worker = Arc::new(Self { info, outgoing, requests, next, socket, patience });
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        thread("to-worker").spawn(move || write(writer, queue))?;
        let reading = Arc::clone(&worker);
        thread("from-worker").spawn(move || {
            read(reader, &reading);
            *reading.lock() = Requests { lost: true, ..Requests::default() };
            reading.close();
            lost(&reading);
        })?;
        Ok(worker)
    }

    fn lock(&self) -> MutexGuard<'_, Requests> {
        // A panic while the lock is held leaves a whole map behind.
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lock().lost
    }

    /// Closes the line; both threads end, and every request under way with them.
    pub(crate) fn close(&self) {
        // A line that the peer already closed answers an error, and is closed all the same.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
    }

    /// Takes nothing new from now on, and closes the line when what is under way has ended.
    pub(crate) fn retire(&self) {
        let mut requests = self.lock();
        requests.retired = true;
        self.close_if_done(&requests);
    }

    fn close_if_done(&self, requests: &Requests) {
        if requests.retired && requests.waiting.is_empty() {
            self.close();
        }
    }

    /// Begins these requests, whose events come back together.
    pub(crate) fn submit(self: &Arc<Self>, kinds: Vec<WorkKind>) -> Result<Flight, FlightError> {
        let tokens = usize::try_from(self.info.max_tokens).unwrap_or(usize::MAX);
        let each = tokens.saturating_add(OTHER_EVENTS).min(MAX_WAITING);
        let (sender, events) = mpsc::channel(each.saturating_mul(kinds.len()).clamp(1, MAX_WAITING));
        let mut flight = Flight { worker: Arc::clone(self), open: HashMap::new(), events };
        for (place, kind) in kinds.into_iter().enumerate() {
            let id = RequestId(self.next.fetch_add(1, Ordering::Relaxed));
            let submit = self.slot()?;
            let cancel = self.slot()?;
            let mut requests = self.lock();
            if requests.lost || requests.retired {
                return Err(FlightError::Lost);
            }
            requests.waiting.insert(id, (place, sender.clone()));
            drop(requests);
            flight.open.insert(place, (id, cancel));
            let within_ms = u32::try_from(self.patience.request.as_millis()).unwrap_or(u32::MAX);
            submit.send(Work::Submit { id, within_ms, kind });
        }
        Ok(flight)
    }

    fn slot(&self) -> Result<mpsc::OwnedPermit<Work>, FlightError> {
        self.outgoing.clone().try_reserve_owned().map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => FlightError::Full,
            mpsc::error::TrySendError::Closed(_) => FlightError::Lost,
        })
    }
}

fn write(mut writer: LineWriter<Work>, mut queue: mpsc::Receiver<Work>) {
    while let Some(work) = queue.blocking_recv() {
        if writer.send(&work, &[]).is_err() {
            writer.shut_down();
            return;
        }
    }
}

/// Hands events to the flights they belong to, until the line breaks. Never waits for a flight.
fn read(mut reader: LineReader<Event>, worker: &Worker) {
    while let Ok((event, _)) = reader.receive() {
        let (id, update) = match event {
            Event::Embedded { id, vectors, tokens_in } => (id, Update::Embedded { vectors, tokens_in }),
            Event::Ranked { id, scores, tokens_in } => (id, Update::Ranked { scores, tokens_in }),
            Event::Delta { id, text } => (id, Update::Delta(text)),
            Event::Finished { id, reason, tokens_in, tokens_found, tokens_out } => {
                let tokens = Tokens { read: tokens_in, found: tokens_found, made: tokens_out };
                (id, Update::Finished { reason, tokens })
            }
            Event::Failed { id, error } => (id, Update::Failed(error)),
        };
        let mut requests = worker.lock();
        let ends = update.is_last();
        // An event about no request is late: its request was cancelled.
        let Some((place, sender)) = requests.waiting.get(&id) else { continue };
        // More events than tokens: the worker breaks its word, and the request is given up.
        let taken = sender.try_send((*place, update)).is_ok();
        if ends || !taken {
            requests.waiting.remove(&id);
            worker.close_if_done(&requests);
        }
    }
}

/// Requests of one caller that are under way on one worker.
#[derive(Debug)]
pub(crate) struct Flight {
    worker: Arc<Worker>,
    /// By place: the id, and the place in the queue for its cancellation.
    open: HashMap<usize, (RequestId, mpsc::OwnedPermit<Work>)>,
    events: mpsc::Receiver<(usize, Update)>,
}

impl Flight {
    /// The next event of any of them, and the place of its request.
    pub(crate) async fn next(&mut self) -> Result<(usize, Update), FlightError> {
        let event =
            timeout(self.worker.patience.answer, self.events.recv()).await.map_err(|_| FlightError::Late)?;
        let (place, update) = event.ok_or(FlightError::Lost)?;
        if update.is_last() {
            self.open.remove(&place);
        }
        Ok((place, update))
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        for (_, (id, cancel)) in self.open.drain() {
            // A request that already ended at the worker needs no cancellation.
            let mut requests = self.worker.lock();
            if requests.waiting.remove(&id).is_some() {
                cancel.send(Work::Cancel { id });
            }
            self.worker.close_if_done(&requests);
        }
    }
}
