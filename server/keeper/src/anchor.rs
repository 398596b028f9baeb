//! The boot's log in front of its witnesses: a thread that has each new checkpoint cosigned, and what follows when nobody does.
//!
//! This boot's own memory is the truth about its log. A witness that knows more, or another history, shows that another guest signs with
//! the same key, so this one ends; it never takes over what the witness says.

use crate::audit::{ANCHOR_MS, Checkpoints, Over, Recorder};
use crate::run::Happening;
use crate::settings::LogWitnesses;
use crate::start::warn;
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
/// How often an entry tells up to where the log is cosigned.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What the guest says of its witnesses when it asks for a key. The program does what it says; that it is this program is in the evidence.
pub(crate) fn terms(witnesses: Option<&LogWitnesses>) -> AuditTerms {
    witnesses.map_or_else(AuditTerms::default, |witnesses| AuditTerms {
        anchor_ms: Some(ANCHOR_MS),
        witnesses: u32::try_from(witnesses.needed).unwrap_or(u32::MAX),
    })
}

/// Something about witnesses that the log has to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// The log is cosigned up to this size.
    Anchored(u64),
    /// Nobody cosigned for a while.
    Late,
    /// Nobody cosigned for so long that nothing new is served.
    Held,
    /// They cosign again.
    Again,
}

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Well,
    Late,
    Held,
}

/// The thread, and how it stands with the witnesses.
pub(crate) struct Anchor {
    checkpoints: Arc<Checkpoints>,
    thread: Option<JoinHandle<()>>,
    late: Duration,
    held: Duration,
    standing: Standing,
    told: Instant,
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
            standing: Standing::Well,
            told: Instant::now(),
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

    /// What has changed since the last look.
    pub(crate) fn look(&mut self) -> Option<Told> {
        let (waited, cosigned) = self.checkpoints.lateness();
        let standing = match waited {
            waited if waited >= self.held => Standing::Held,
            waited if waited >= self.late => Standing::Late,
            _ => Standing::Well,
        };
        if standing != self.standing {
            let before = std::mem::replace(&mut self.standing, standing);
            return match (before, standing) {
                (_, Standing::Well) => Some(Told::Again),
                (_, Standing::Held) => Some(Told::Held),
                (_, Standing::Late) => Some(Told::Late),
            };
        }
        if standing == Standing::Well && self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            return Some(Told::Anchored(cosigned));
        }
        None
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
