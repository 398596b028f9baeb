//! The audit log of this boot behind one thread, which appends together what waits together.
//!
//! The thread owns the log. Whoever records waits for, or is called with, the index that proves the entry durable.

use crate::clock::Clock;
use anchorhold_audit_log::merkle::TreeHead;
use anchorhold_audit_log::{BindingInputs, Event, Log, Stamp, Tee};
use anyhow::Context as _;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Entries that may wait; whoever records more is held up.
const MAX_WAITING: usize = 1024;
/// Entries that become durable with one write.
const MAX_TOGETHER: usize = 256;
/// A checkpoint is at most this old while there is something new.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);

type Reply = Box<dyn FnOnce(Option<u64>) + Send>;

enum Order {
    Append(Box<Event>, Reply),
    Evidence(Box<BootEvidence>, Reply),
    Close,
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
    pub(crate) fn start(log: Log, clock: Clock) -> anyhow::Result<Self> {
        let head = Arc::new(Mutex::new(log.head()));
        let (orders, waiting) = sync_channel(MAX_WAITING);
        let shared = Arc::clone(&head);
        let thread = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || write(log, &waiting, &shared, clock))?;
        Ok(Self { recorder: Recorder { orders, head }, thread })
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

fn write(
    mut log: Log,
    waiting: &Receiver<Order>,
    head: &Mutex<TreeHead>,
    clock: Clock,
) -> anyhow::Result<()> {
    let mut checkpointed = Instant::now();
    loop {
        let first = match waiting.recv_timeout(CHECKPOINT_EVERY) {
            Ok(order) => Some(order),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let mut orders: Vec<Order> = first.into_iter().collect();
        while orders.len() < MAX_TOGETHER
            && let Ok(order) = waiting.try_recv()
        {
            orders.push(order);
        }
        if !obey(&mut log, orders) {
            break;
        }
        *head.lock().unwrap_or_else(PoisonError::into_inner) = log.head();
        if log.uncovered() > 0 && checkpointed.elapsed() >= CHECKPOINT_EVERY {
            // A failure poisons the log, and the next entry is refused because of it.
            let _ = log.checkpoint();
            checkpointed = Instant::now();
        }
    }
    log.close(clock.stamp()).context("closing the audit log").map(|_| ())
}

/// Carries out what waited; false when the log is to be ended.
fn obey(log: &mut Log, orders: Vec<Order>) -> bool {
    let mut events = Vec::new();
    let mut replies: Vec<Reply> = Vec::new();
    let mut go_on = true;
    for order in orders {
        match order {
            Order::Append(event, reply) => {
                events.push(*event);
                replies.push(reply);
            }
            Order::Evidence(evidence, reply) => {
                flush(log, &mut events, &mut replies);
                let BootEvidence { json, inputs, tee, at } = *evidence;
                reply(log.record_evidence(&json, &inputs, tee, at).ok());
            }
            Order::Close => go_on = false,
        }
    }
    flush(log, &mut events, &mut replies);
    go_on
}

fn flush(log: &mut Log, events: &mut Vec<Event>, replies: &mut Vec<Reply>) {
    if events.is_empty() {
        return;
    }
    let first = log.append(events).ok();
    events.clear();
    for (reply, at) in replies.drain(..).zip(0..) {
        reply(first.map(|index| index + at));
    }
}
