//! Four threads around a model: one reads requests, one turns them into tokens, one computes, one writes answers.

use crate::clock::Clock;
use crate::desk::Desk;
use crate::embed::{Embedding, Of};
use crate::forms::FormBudget;
use crate::generate::Generation;
use crate::intake::{Command, Intake, Job};
use crate::panics::AbortOnPanic;
use crate::reports::Reports;
use crate::{Compute, Model};
use anchorhold_engine::{EmbeddingLimits, GenerationLimits, Load, Moment, RequestId, SubmitError};
use anchorhold_ipc::{Event, Line, LineWriter, RejectReason, RequestError, Work};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Requests between the intake and the steps. A full queue makes the intake, and then the gateway, wait for a step.
const MAX_COMMANDS: usize = 256;
/// Answers between the steps and the line. A gateway that does not read makes the steps wait.
const MAX_EVENTS: usize = 1024;
/// The most commands between two steps, so that those who run get on however many arrive.
const MAX_COMMANDS_PER_STEP: usize = 2 * MAX_COMMANDS;

/// The limits of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of a model that generates.
    pub generation: GenerationLimits,
    /// Of a model that embeds or scores.
    pub embedding: EmbeddingLimits,
    /// The memory that compiled forms take together before they are at work, in bytes, shared out as
    /// [`GenerationLimits::waiting`] is. One form is taken when its tenant has none.
    pub form_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            generation: GenerationLimits::default(),
            embedding: EmbeddingLimits::default(),
            form_bytes: 256 << 20,
        }
    }
}

/// A model with its queue: takes requests, and computes a step at a time.
pub(crate) trait Steps {
    /// Takes a request.
    fn submit(&mut self, id: RequestId, ends_by: Moment, job: Job) -> Result<(), RequestError>;
    /// Forgets a request and frees what it holds; unknown ones are not alive any more.
    fn cancel(&mut self, id: RequestId);
    /// Computes one step and says what came of it.
    fn step(&mut self, now: Moment) -> Vec<Event>;
    /// What there is to do, and what is held.
    fn load(&self) -> Load;
    /// Whether a step would do nothing.
    fn is_idle(&self) -> bool;
    /// Whether the model computes nothing any more.
    fn is_over(&self) -> bool {
        false
    }
}

/// Makes the threads, calls `settle`, and serves until the line ends, then drops the model.
///
/// # Errors
/// The system gives no thread, or that of `settle`.
pub(crate) fn serve(
    model: Model,
    data: Line<Event, Work>,
    limits: Limits,
    settle: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let Model { language, compute } = model;
    let (writer, reader) = data.split();
    let (events, outgoing) = sync_channel(MAX_EVENTS);
    let (commands, incoming) = sync_channel(MAX_COMMANDS);
    let clock = Clock::start();
    let intake = Intake {
        desk: Desk::default(),
        forms: FormBudget::new(limits.form_bytes),
        language: Arc::clone(&language),
        clock,
        kind: compute.kind(),
        context: compute.context(),
        vocabulary: compute.vocabulary(),
        commands,
        events: events.clone(),
    };
    let mut steps: Box<dyn Steps> = match compute {
        Compute::Generator { generator, eos } => {
            Box::new(Generation::new(limits.generation, generator, eos, language))
        }
        Compute::Embedder { embedder, vocabulary } => {
            Box::new(Embedding::new(limits.embedding, (embedder, Of::Texts), vocabulary))
        }
        Compute::Scorer { scorer, vocabulary } => {
            Box::new(Embedding::new(limits.embedding, (scorer, Of::Pairs), vocabulary))
        }
    };
    // Each of the two threads lets go of it at its end, and with the last go the ways to the steps and to the line.
    let reading = Arc::new(intake);
    let working = Arc::clone(&reading);
    thread::scope(|scope| {
        thread::Builder::new().spawn_scoped(scope, || write_events(writer, outgoing))?;
        thread::Builder::new().spawn_scoped(scope, move || reading.read(reader))?;
        thread::Builder::new().spawn_scoped(scope, move || working.work())?;
        // Those that the model computes on are there since it was loaded.
        settle()?;
        compute_steps(steps.as_mut(), clock, incoming, events);
        Ok(())
    })
}

/// Takes commands and computes steps in turn, until the intake or the writer is gone, or the model computes nothing any more: the
/// process ends then, and the keeper starts another.
fn compute_steps(
    steps: &mut dyn Steps,
    clock: Clock,
    commands: Receiver<Command>,
    events: SyncSender<Option<Event>>,
) {
    let _guard = AbortOnPanic;
    let mut reports = Reports::new();
    loop {
        let load = steps.load();
        let due = reports.due(load, clock.now());
        let mut next = match due {
            _ if !steps.is_idle() => commands.try_recv().ok(),
            Some(wait) if !wait.is_zero() => commands.recv_timeout(wait).ok(),
            Some(_) => commands.try_recv().ok(),
            None => commands.recv().ok(),
        };
        if reports.due(load, clock.now()).is_some_and(|wait| wait.is_zero()) {
            reports.tell(load, clock.now());
            if events.send(Some(Event::Load(load))).is_err() {
                return;
            }
        }
        let mut taken = 0;
        while let Some(command) = next {
            let refused = match command {
                Command::Submit { id, ends_by, job } => {
                    steps.submit(id, ends_by, job).err().map(|error| (id, error))
                }
                Command::Cancel { id } => {
                    steps.cancel(id);
                    None
                }
                Command::End => return,
            };
            if let Some((id, error)) = refused
                && events.send(Some(Event::Failed { id, error })).is_err()
            {
                return;
            }
            taken += 1;
            next = if taken < MAX_COMMANDS_PER_STEP { commands.try_recv().ok() } else { None };
        }
        for event in steps.step(clock.now()) {
            if events.send(Some(event)).is_err() {
                return;
            }
        }
        if steps.is_over() {
            // A writer that is gone has closed the line already.
            let _ = events.send(None);
            return;
        }
    }
}

/// Writes events until nobody makes any, the last one has come, or the line breaks; then closes the line.
fn write_events(mut line: LineWriter<Event>, events: Receiver<Option<Event>>) {
    let _guard = AbortOnPanic;
    while let Ok(Some(event)) = events.recv() {
        // An event over the line's limit is a fault of ours, and ends the line as any other does: a request whose answer would be one is
        // refused before it is computed.
        if line.send(&event, &[]).is_err() {
            break;
        }
    }
    line.shut_down();
}

/// How a refusal of the queue reads on the line.
pub(crate) fn refusal(error: &SubmitError) -> RequestError {
    match *error {
        SubmitError::Overloaded => RequestError::Overloaded,
        SubmitError::Empty => RequestError::Rejected(RejectReason::EmptyPrompt),
        SubmitError::TooLong { tokens, limit } => {
            RequestError::Rejected(RejectReason::ContextLength { tokens, limit })
        }
        SubmitError::UnknownToken(field) => RequestError::Rejected(RejectReason::UnknownToken(field)),
        SubmitError::InUse => RequestError::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anchorhold_ipc::{LineError, MAX_FRAME_BYTES, pair};

    #[test]
    fn an_event_over_the_limit_ends_the_line_and_nothing_follows() {
        let (ours, theirs) = pair().unwrap();
        let (events, outgoing) = sync_channel(3);
        let failed = |id| Event::Failed { id: RequestId(id), error: RequestError::Internal };
        let text = "x".repeat(MAX_FRAME_BYTES);
        let long = Event::Delta { id: RequestId(2), choice: 0, text, told: Vec::new() };
        for event in [failed(1), long, failed(3)] {
            events.send(Some(event)).unwrap();
        }
        write_events(Line::<Event, Work>::new(ours).split().0, outgoing);
        let mut gateway = Line::<Work, Event>::new(theirs);
        assert_eq!(gateway.receive().unwrap().0, failed(1));
        assert!(matches!(gateway.receive(), Err(LineError::Closed)));
        assert!(events.send(None).is_err(), "and the steps find out");
    }
}
