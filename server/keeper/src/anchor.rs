//! The boot's log in front of its witnesses: a thread that has each new checkpoint cosigned, and what follows when nobody does.
//!
//! This boot's own memory is the truth about its log. A witness that knows more, or another history, shows that another guest signs with
//! the same key, so this one ends; it never takes over what the witness says.

use crate::audit::{ANCHOR_MS, Checkpoints, Over, Recorder};
use crate::gateway::Voice;
use crate::run::{Happening, Keeper};
use crate::settings::LogWitnesses;
use crate::start::warn;
use anchorhold_audit_log::{Code, EventType, Outcome};
use anchorhold_ipc::{LogCondition, LogStanding, ToGateway};
use anchorhold_key_release::AuditTerms;
use anchorhold_witnesses::Witnesses;
use anyhow::{Context as _, ensure};
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// After an attempt that failed.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// What was done so far is cosigned within this time, or nothing is served.
const AT_START: Duration = Duration::from_secs(10);
/// How often the gateway is told how it stands with the witnesses.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What the guest says of its witnesses when it asks for a key. The program does what it says; that it is this program is in the evidence.
pub(crate) fn terms(witnesses: Option<&LogWitnesses>) -> AuditTerms {
    witnesses.map_or_else(AuditTerms::default, |witnesses| AuditTerms {
        anchor_ms: Some(ANCHOR_MS),
        witnesses: u32::try_from(witnesses.needed).unwrap_or(u32::MAX),
        ..AuditTerms::default()
    })
}

/// The thread, and how it stands with the witnesses.
pub(crate) struct Anchor {
    checkpoints: Arc<Checkpoints>,
    thread: Option<JoinHandle<()>>,
    late: Duration,
    held: Duration,
}

impl Anchor {
    /// Begins to have the log cosigned. The key broker knows a guest's log from the first key on that it released to it.
    ///
    /// # Errors
    /// A witness's certificate cannot be read, or the thread does not start.
    pub(crate) fn start(
        settings: &LogWitnesses,
        recorder: &Recorder,
        witnesses: Witnesses,
        happenings: Sender<Happening>,
    ) -> anyhow::Result<Self> {
        let checkpoints = Arc::clone(recorder.checkpoints());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let work = Work { recorder: recorder.clone(), witnesses, happenings };
        let thread = std::thread::Builder::new()
            .name("anchor".to_owned())
            .spawn(move || work.run(&runtime))
            .context("starting the anchor's thread")?;
        Ok(Self {
            checkpoints,
            thread: Some(thread),
            late: Duration::from_secs(settings.late_seconds.into()),
            held: Duration::from_secs(settings.held_seconds.into()),
        })
    }

    /// Waits until the first `size` entries are cosigned: what they tell may then have effects.
    ///
    /// # Errors
    /// Too few witnesses cosigned in time.
    pub(crate) fn require(&self, size: u64) -> anyhow::Result<()> {
        ensure!(
            self.checkpoints.wait_for(size, AT_START),
            "too few witnesses cosigned the log within {} s",
            AT_START.as_secs()
        );
        Ok(())
    }

    /// Whether the first `size` entries are cosigned.
    pub(crate) fn covers(&self, size: u64) -> bool {
        self.checkpoints.lateness().1 >= size
    }

    fn standing(&self) -> LogStanding {
        let (waited, cosigned) = self.checkpoints.lateness();
        let state = match waited {
            waited if waited >= self.held => LogCondition::Held,
            waited if waited >= self.late => LogCondition::Late,
            _ => LogCondition::Well,
        };
        let waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
        LogStanding { state, cosigned: Some(cosigned), waited_ms }
    }
}

impl Drop for Anchor {
    fn drop(&mut self) {
        self.checkpoints.end();
        if let Some(thread) = self.thread.take() {
            // What it panicked over was told by the panic.
            let _ = thread.join();
        }
    }
}

/// What the gateway was told of the log, and when.
#[derive(Debug, Default)]
pub(crate) struct Told {
    standing: LogStanding,
    at: Option<Instant>,
}

impl Keeper {
    /// Has what was done so far cosigned before anything is served.
    pub(crate) fn anchor(&mut self) -> anyhow::Result<()> {
        let Some(settings) = &self.settings.audit.witnesses else { return Ok(()) };
        let witnesses = self.witnesses.take().context("the witnesses were taken")?;
        let recorder = self.writer.recorder();
        let anchor = Anchor::start(settings, recorder, witnesses, self.happenings.clone())?;
        anchor.require(recorder.head().size)?;
        self.anchor = Some(anchor);
        Ok(())
    }

    fn log_standing(&self) -> LogStanding {
        let standing = self.anchor.as_ref().map_or_else(LogStanding::default, Anchor::standing);
        match self.writer.recorder().has_failed() {
            true => LogStanding { state: LogCondition::Failed, ..standing },
            false => standing,
        }
    }

    /// Logs how the log stands when that changes, and tells the gateway, which takes nothing new while witnesses are away too long.
    pub(crate) fn look_after_log(&mut self, voice: &Voice) {
        let (before, standing) = (self.told.standing, self.log_standing());
        if standing.state != before.state {
            self.log_changed(before.state, standing.state);
        } else if standing == before || self.told.at.is_some_and(|at| at.elapsed() < TELL_EVERY) {
            return;
        }
        // A gateway that is gone is reported by its reading thread.
        voice.say(&ToGateway::LogStands(standing), None);
        self.told = Told { standing, at: Some(Instant::now()) };
    }

    fn log_changed(&self, before: LogCondition, now: LogCondition) {
        let (kind, outcome, code) = match now {
            LogCondition::Well => (EventType::LogAnchor, Outcome::Success, "again"),
            LogCondition::Late => (EventType::LogAnchorFail, Outcome::Failure, "witness_missing"),
            LogCondition::Held => (EventType::LogAnchorFail, Outcome::Failure, "serving_held"),
            LogCondition::Failed => {
                return warn("the audit log's medium failed: nothing is served until the next boot");
            }
        };
        warn(&format!("the audit log stands {}, it stood {}", now.name(), before.name()));
        // A log that does not take it has failed, which is told next.
        let _ = self.record(kind, outcome, |event| event.code = Code::from_static(code));
    }
}

/// What the thread holds.
struct Work {
    recorder: Recorder,
    witnesses: Witnesses,
    happenings: Sender<Happening>,
}

/// A proof that the log cannot make any more.
struct TooFarBack;

impl fmt::Display for TooFarBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the log cannot prove its growth from so far back")
    }
}

impl Work {
    fn run(mut self, runtime: &tokio::runtime::Runtime) {
        let checkpoints = Arc::clone(self.recorder.checkpoints());
        let mut pause = FIRST_PAUSE;
        let mut failing = false;
        loop {
            let (head, note) = match checkpoints.next(LONGEST_PAUSE) {
                Ok(Some(newest)) => newest,
                Ok(None) => continue,
                Err(Over) => return,
            };
            let prove = |known| self.recorder.prove(known, head.size).ok_or(TooFarBack);
            match runtime.block_on(self.witnesses.cosign(head, &note, prove)) {
                Ok(cosigned) => {
                    self.recorder.store_cosigned(cosigned, self.witnesses.least_known());
                    checkpoints.cosigned(head.size);
                    (pause, failing) = (FIRST_PAUSE, false);
                }
                Err(error) if error.is_rollback() => {
                    warn(&format!("witnesses: {error}"));
                    // The keeper that is gone has ended what this would end.
                    let _ = self.happenings.send(Happening::LogForked);
                    return;
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        warn(&format!("witnesses: {error}"));
                    }
                    if checkpoints.pause(pause) == Err(Over) {
                        return;
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}
