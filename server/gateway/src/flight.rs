//! One worker's line, and the requests that are under way on it.
//!
//! Two threads own the two directions. [`Worker::requests`] says who waits for which request; it is held for single
//! map operations. A [`Flight`] that is dropped with requests under way cancels them.

use anchorhold_ipc::{
    CallPart, Event, FinishReason, Line, LineReader, LineWriter, Load, ModelInfo, Prompt, RequestError,
    RequestId, TokenId, ToldToken, Work, WorkKind,
};
use prometheus_client::metrics::histogram::Histogram;
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// Messages on their way to one worker. A request takes a place for its own cancellation before it is submitted.
const MAX_QUEUED: usize = 4096;
/// The most events that one flight may have waiting for a slow reader. A choice has one for each of its tokens at most, and
/// [`OTHER_EVENTS`].
const MAX_WAITING: usize = 128 * 1024;
/// The most bytes of memory that what is told of the tokens of one flight may take, all of it together.
const MAX_TOLD_BYTES: u64 = 64 * 1024 * 1024;
/// What one spelled token takes of it: its fields, and the bytes of nearly every vocabulary's tokens.
const SPELLED_BYTES: u64 = 64;
/// Events of a choice besides its tokens.
const OTHER_EVENTS: usize = 4;
/// Events of one token where tools may be called: what it tells, text before a call, the beginning of the call, and arguments.
const EVENTS_OF_A_CALLING_TOKEN: usize = 4;

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

/// What a worker says about one request. It holds a caller's text, and so is never printed.
pub(crate) enum Update {
    Embedded { vectors: Vec<Vec<f32>>, tokens_in: u64 },
    Ranked { scores: Vec<f32>, tokens_in: u64 },
    Tokenized { tokens: Vec<TokenId>, spelled: Option<Vec<Vec<u8>>> },
    Detokenized { text: String },
    Delta { text: String, told: Vec<ToldToken> },
    Call(CallPart),
    Finished { reason: FinishReason, tokens: Tokens },
    Failed(RequestError),
}

/// What an update leaves of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    Nothing,
    Choice,
    Request,
}

impl Update {
    fn ends(&self) -> Ends {
        match self {
            Self::Delta { .. } | Self::Call(_) => Ends::Nothing,
            Self::Finished { .. } => Ends::Choice,
            Self::Embedded { .. }
            | Self::Ranked { .. }
            | Self::Tokenized { .. }
            | Self::Detokenized { .. }
            | Self::Failed(_) => Ends::Request,
        }
    }
}

/// The most tokens of one flight that may be told with so many of the likeliest at each place.
pub(crate) fn most_told(logprobs: u8) -> u64 {
    MAX_TOLD_BYTES / (SPELLED_BYTES * (1 + u64::from(logprobs)))
}

/// Why a flight brings nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FlightError {
    /// The worker's line is closed.
    Lost,
    /// A request was given up: the worker broke its word, or its caller reads too slowly.
    GivenUp,
    /// Nothing came within the limit.
    Late,
    /// Too many messages wait for the worker.
    Full,
    /// The gateway stops.
    Ending,
}

/// The model that answers at the other end of a line.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) info: ModelInfo,
    /// What it told last of what it has to do. Held for single assignments.
    load: Mutex<Load>,
    /// The time between two texts of a choice.
    between_texts: Histogram,
    outgoing: mpsc::Sender<Work>,
    requests: Mutex<Requests>,
    next: AtomicU64,
    socket: OwnedFd,
    patience: Patience,
    /// True once what still runs is to end.
    ending: watch::Receiver<bool>,
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
    waiting: HashMap<RequestId, Waiting>,
}

/// Who waits for a request.
#[derive(Debug)]
struct Waiting {
    /// The place of its first choice within its flight.
    first: usize,
    /// Of each choice, whether it has not ended.
    open: Vec<bool>,
    /// Of each choice, when its latest text came.
    texts: Vec<Option<Instant>>,
    /// To its flight; `None` once the request is given up, and it is kept so that its flight cancels it.
    sender: Option<mpsc::Sender<(usize, Update)>>,
}

impl Requests {
    /// Gives up this request and the others of its flight, which then ends and cancels those that have not ended.
    fn give_up(&mut self, id: RequestId) {
        let Some(sender) = self.waiting.get_mut(&id).and_then(|waiting| waiting.sender.take()) else {
            return;
        };
        for waiting in self.waiting.values_mut() {
            waiting.sender.take_if(|own| own.same_channel(&sender));
        }
    }
}

/// What becomes of a request after an event about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// More is to come.
    Waits,
    /// It has ended at the worker.
    Ended,
    /// Nobody waits for it any more, and it may not have ended at the worker.
    GivenUp,
}

impl Waiting {
    /// How long ago the text of this choice came before this one, if it is a text and not the first.
    fn since_last_text(&mut self, choice: u16, update: &Update) -> Option<Duration> {
        let Update::Delta { .. } = update else { return None };
        let now = Instant::now();
        self.texts.get_mut(usize::from(choice))?.replace(now).map(|last| now.saturating_duration_since(last))
    }

    /// Hands over what the worker says about a choice.
    fn take(&mut self, choice: u16, update: Update) -> Next {
        let choice = usize::from(choice);
        let ends = update.ends();
        // A choice that ended or never was, or more events than tokens: the worker breaks its word, and the request is given up.
        match self.open.get_mut(choice) {
            // What ends the whole request may come after its first choice has ended.
            Some(_) if ends == Ends::Request => {}
            Some(open) if *open => *open = ends == Ends::Nothing,
            _ => return Next::GivenUp,
        }
        let taken =
            self.sender.as_ref().is_some_and(|sender| sender.try_send((self.first + choice, update)).is_ok());
        if ends == Ends::Request || !self.open.iter().any(|open| *open) {
            return Next::Ended;
        }
        if taken { Next::Waits } else { Next::GivenUp }
    }
}

impl Worker {
    /// Begins to talk; `lost` is called once, when the line is closed.
    pub(crate) fn start(
        (info, between_texts): (ModelInfo, Histogram),
        socket: OwnedFd,
        (patience, ending): (Patience, watch::Receiver<bool>),
        lost: impl FnOnce(&Self) + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        let (writer, reader) = Line::<Work, Event>::new(socket.try_clone()?).split();
        let (outgoing, queue) = mpsc::channel(MAX_QUEUED);
        let (requests, next) = (Mutex::default(), AtomicU64::new(0));
        let worker = Arc::new(Self {
            info,
            load: Mutex::default(),
            between_texts,
            outgoing,
            requests,
            next,
            socket,
            patience,
            ending,
        });
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

    /// What it told last of what it has to do.
    pub(crate) fn load(&self) -> Load {
        *self.load.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Begins these requests of so many choices each, whose events come back together.
    pub(crate) fn submit(
        self: &Arc<Self>,
        kinds: Vec<WorkKind>,
        choices: u16,
    ) -> Result<Flight, FlightError> {
        let choices = usize::from(choices.max(1));
        let tokens = usize::try_from(self.info.max_tokens).unwrap_or(usize::MAX);
        let each = if kinds.iter().any(offers_tools) { EVENTS_OF_A_CALLING_TOKEN } else { 1 };
        let each = tokens.saturating_mul(each).saturating_add(OTHER_EVENTS).min(MAX_WAITING);
        let all = kinds.len().saturating_mul(choices);
        let most = all.saturating_mul(OTHER_EVENTS).saturating_add(most_events(&kinds)).min(MAX_WAITING);
        let (sender, events) = mpsc::channel(each.saturating_mul(all).min(most).max(1));
        let (open, ending) = (HashMap::new(), self.ending.clone());
        let mut flight = Flight { worker: Arc::clone(self), choices, open, events, ending };
        for (place, kind) in kinds.into_iter().enumerate() {
            let id = RequestId(self.next.fetch_add(1, Ordering::Relaxed));
            let submit = self.slot()?;
            let cancel = self.slot()?;
            let mut requests = self.lock();
            if requests.lost || requests.retired {
                return Err(FlightError::Lost);
            }
            let first = place * choices;
            let (open, texts) = (vec![true; choices], vec![None; choices]);
            let waiting = Waiting { first, open, texts, sender: Some(sender.clone()) };
            requests.waiting.insert(id, waiting);
            drop(requests);
            flight.open.insert(place, Open { id, cancel, left: choices });
            let within_ms = u32::try_from(self.patience.request.as_millis()).unwrap_or(u32::MAX);
            submit.send(Work::Submit { id, within_ms, kind: Box::new(kind) });
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

fn offers_tools(kind: &WorkKind) -> bool {
    matches!(kind, WorkKind::Generate { prompt: Prompt::Chat(conversation), .. } if !conversation.tools.is_empty())
}

/// The most events with tokens that may wait, by what is told of each.
fn most_events(kinds: &[WorkKind]) -> usize {
    let told = kinds.iter().filter_map(|kind| match kind {
        WorkKind::Generate { logprobs, .. } => *logprobs,
        WorkKind::Embed { .. }
        | WorkKind::Rerank { .. }
        | WorkKind::Tokenize { .. }
        | WorkKind::Detokenize { .. } => None,
    });
    told.max().map_or(MAX_WAITING, |logprobs| usize::try_from(most_told(logprobs)).unwrap_or(MAX_WAITING))
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
        let (id, choice, update) = match event {
            Event::Load(load) => {
                *worker.load.lock().unwrap_or_else(PoisonError::into_inner) = load;
                continue;
            }
            Event::Embedded { id, vectors, tokens_in } => (id, 0, Update::Embedded { vectors, tokens_in }),
            Event::Ranked { id, scores, tokens_in } => (id, 0, Update::Ranked { scores, tokens_in }),
            Event::Delta { id, choice, text, told } => (id, choice, Update::Delta { text, told }),
            Event::Call { id, choice, part } => (id, choice, Update::Call(part)),
            Event::Finished { id, choice, reason, tokens_in, tokens_found, tokens_out } => {
                // The prompt counts once, with the first choice.
                let (read, found) = if choice == 0 { (tokens_in, tokens_found) } else { (0, 0) };
                let tokens = Tokens { read, found, made: tokens_out };
                (id, choice, Update::Finished { reason, tokens })
            }
            Event::Tokenized { id, tokens, spelled } => (id, 0, Update::Tokenized { tokens, spelled }),
            Event::Detokenized { id, text } => (id, 0, Update::Detokenized { text }),
            Event::Failed { id, error } => (id, 0, Update::Failed(error)),
        };
        let mut requests = worker.lock();
        // An event about no request is late: its request was cancelled.
        let Some(waiting) = requests.waiting.get_mut(&id) else { continue };
        if let Some(since) = waiting.since_last_text(choice, &update) {
            worker.between_texts.observe(since.as_secs_f64());
        }
        match waiting.take(choice, update) {
            Next::Waits => {}
            Next::Ended => {
                requests.waiting.remove(&id);
                worker.close_if_done(&requests);
            }
            Next::GivenUp => requests.give_up(id),
        }
    }
}

/// Requests of one caller that are under way on one worker.
#[derive(Debug)]
pub(crate) struct Flight {
    worker: Arc<Worker>,
    /// Of each request.
    choices: usize,
    /// Requests that have not ended, by their place among them.
    open: HashMap<usize, Open>,
    events: mpsc::Receiver<(usize, Update)>,
    ending: watch::Receiver<bool>,
}

#[derive(Debug)]
struct Open {
    id: RequestId,
    /// The place in the queue for its cancellation.
    cancel: mpsc::OwnedPermit<Work>,
    /// Choices that have not ended.
    left: usize,
}

impl Flight {
    /// The next event of any of them, and the place of its choice: those of the first request come first.
    pub(crate) async fn next(&mut self) -> Result<(usize, Update), FlightError> {
        let event = tokio::select! {
            biased;
            // Also when the gateway itself is gone.
            _ = self.ending.wait_for(|ending| *ending) => return Err(FlightError::Ending),
            event = timeout(self.worker.patience.answer, self.events.recv()) => event,
        };
        let event = event.map_err(|_| FlightError::Late)?;
        let (place, update) = event
            .ok_or_else(|| if self.worker.is_lost() { FlightError::Lost } else { FlightError::GivenUp })?;
        let request = place / self.choices;
        if let Some(open) = self.open.get_mut(&request) {
            open.left = match update.ends() {
                Ends::Nothing => open.left,
                Ends::Choice => open.left.saturating_sub(1),
                Ends::Request => 0,
            };
            if open.left == 0 {
                self.open.remove(&request);
            }
        }
        Ok((place, update))
    }
}

impl Flight {
    /// How many events wait to be taken.
    pub(crate) fn waiting(&self) -> usize {
        self.events.len()
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        for (_, Open { id, cancel, .. }) in self.open.drain() {
            // A request that already ended at the worker needs no cancellation.
            let mut requests = self.worker.lock();
            if requests.waiting.remove(&id).is_some() {
                cancel.send(Work::Cancel { id });
            }
            self.worker.close_if_done(&requests);
        }
    }
}
