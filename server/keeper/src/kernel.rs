//! The kernel's audit records, as the collector tells them: each becomes an entry.
//!
//! The thread that reads the collector's line waits until an entry is durable before it reads on. So who makes more records than the log
//! takes is held up by the kernel, and nothing is dropped on the way.

use crate::audit::Recorder;
use crate::children;
use crate::clock::Clock;
use crate::required::require;
use crate::run::{Happening, named};
use crate::settings::{Collector, Hearing, Settings};
use crate::start::warn;
use anchorhold_audit_log::{Actor, ActorKind, Code, Event, EventType, Kernel, Layer, Outcome};
use anchorhold_confine::{Phase, Role};
use anchorhold_ipc::{
    Confinement, FromCollector, KernelEvent, KernelReport, Line, LineReader, MandatoryPolicy, PolicyDenial,
    ToCollector, WhyLost,
};
use anyhow::{Context as _, bail};
use rustix::net::Shutdown;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Child;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A worker of which the kernel refused more than this is ended. One that is sound is refused nothing.
const MAX_REFUSALS: u64 = 1_000;

/// Which model the worker of a process id has; shared with the thread that reads. Held for a look or a change.
#[derive(Clone, Default)]
pub(crate) struct Workers(Arc<Mutex<BTreeMap<u32, Watched>>>);

struct Watched {
    model: String,
    refusals: u64,
}

impl Workers {
    pub(crate) fn add(&self, pid: u32, model: &str) {
        let watched = Watched { model: model.to_owned(), refusals: 0 };
        let mut workers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A model has one worker at a time.
        workers.retain(|_, other| other.model != model);
        workers.insert(pid, watched);
    }

    /// Whether `count` more refusals make it too many of the worker of this model.
    pub(crate) fn refused_model(&self, model: &str, count: u64) -> bool {
        let workers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pid = workers.iter().find_map(|(pid, watched)| (watched.model == model).then_some(*pid));
        drop(workers);
        pid.and_then(|pid| self.refused(pid, count)).is_some_and(|(_, is_too_many)| is_too_many)
    }

    /// The model of a worker that was refused `count` more, and whether that makes it too many.
    fn refused(&self, pid: u32, count: u64) -> Option<(String, bool)> {
        let mut workers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let watched = workers.get_mut(&pid)?;
        let before = watched.refusals;
        watched.refusals = before.saturating_add(count);
        Some((watched.model.clone(), before <= MAX_REFUSALS && watched.refusals > MAX_REFUSALS))
    }
}

/// How long the collector may take to tell the rest.
const LAST_RECORDS: Duration = Duration::from_secs(20);

/// The collector's process; ended when it is dropped.
pub(crate) struct Collecting {
    child: Child,
    /// The line to it once more, to end it.
    line: OwnedFd,
    /// Is closed when nothing more is made an entry of.
    over: Receiver<Infallible>,
}

impl Collecting {
    /// Has the rest told and made entries of.
    pub(crate) fn finish(self) {
        // One that has ended has told all it could.
        let _ = rustix::net::shutdown(&self.line, Shutdown::Write);
        if self.over.recv_timeout(LAST_RECORDS) == Err(RecvTimeoutError::Timeout) {
            warn("the collector did not end: the last of the kernel's audit records are not logged");
        }
    }
}

impl Drop for Collecting {
    fn drop(&mut self) {
        // One that has ended cannot be killed, and that is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the collector and the thread that makes entries of what it tells; `tell` is told its process id and what holds it.
///
/// # Errors
/// The records do not come to it, where the settings require that they do.
pub(crate) fn collect(
    (all, settings): (&Settings, &Collector),
    empty: &Path,
    (recorder, clock): (Recorder, Clock),
    workers: Workers,
    tell: impl FnOnce((u32, &Confinement)),
    happenings: Sender<Happening>,
) -> anyhow::Result<Option<Collecting>> {
    let beside = settings.hearing == Hearing::Beside;
    let (child, line) = children::collector(&settings.program, beside, empty)?;
    let (until, over) = channel();
    let collecting = Collecting { child, line: line.try_clone()?, over };
    let mut reader = Line::<ToCollector, FromCollector>::new(line).split().1;
    let (first, _) = reader.receive().context("the collector ended before it had confined itself")?;
    match first {
        FromCollector::Confined(layers) => {
            require(all, ("collector", &Role::Collector), Phase::Serving, &layers)?;
            tell((collecting.child.id(), &layers));
        }
        FromCollector::Failed { detail } if settings.required => {
            bail!("the kernel's audit records cannot be read: {detail}")
        }
        FromCollector::Failed { detail } => {
            warn(&format!("the kernel's audit records are not logged: {detail}"));
            return Ok(None);
        }
        FromCollector::Told(_) => bail!("the collector did not confine itself"),
    }
    let desk = Desk { recorder, clock, workers, happenings };
    std::thread::Builder::new().name("kernel".to_owned()).spawn(move || {
        desk.read(reader);
        drop(until);
    })?;
    Ok(Some(collecting))
}

struct Desk {
    recorder: Recorder,
    clock: Clock,
    workers: Workers,
    happenings: Sender<Happening>,
}

impl Desk {
    fn read(self, mut reader: LineReader<FromCollector>) {
        while let Ok((FromCollector::Told(report), _)) = reader.receive() {
            let (pid, count) = (pid_of(&report.what), report.count);
            let mut entry = entry(report, self.clock);
            if let Some((model, is_too_many)) = pid.and_then(|pid| self.workers.refused(pid, count)) {
                entry.actor = Some(Actor::new(ActorKind::Worker));
                entry.model = named(&model);
                if is_too_many && self.happenings.send(Happening::TooManyRefusals { model }).is_err() {
                    return;
                }
            }
            if self.recorder.record(entry).is_err() {
                // A log that takes nothing stops requests by itself.
                break;
            }
        }
        // When nobody listens any more, the keeper is ending already.
        let _ = self.happenings.send(Happening::CollectorGone);
    }
}

fn pid_of(event: &KernelEvent) -> Option<u32> {
    match event {
        KernelEvent::Denied(PolicyDenial { pid, .. }) | KernelEvent::Filtered { pid, .. } => Some(*pid),
        KernelEvent::PolicyLoaded | KernelEvent::Mode { .. } | KernelEvent::Lost(_) => None,
    }
}

/// A word of the policy as the log takes it. The collector holds words to the same alphabet and a shorter length, so none is `unnamed`.
fn code(word: &str) -> Code {
    Code::new(word).unwrap_or(Code::from_static("unnamed"))
}

fn entry(report: KernelReport, clock: Clock) -> Event {
    let (kind, outcome, reason, kernel) = match report.what {
        KernelEvent::Denied(denial) => {
            let outcome = if denial.enforced { Outcome::Denied } else { Outcome::Failure };
            (EventType::PolicyDenial, outcome, "refused", of_policy(&denial, report.count))
        }
        KernelEvent::Filtered { source, syscall, signal, .. } => {
            let kernel = Kernel {
                layer: Some(Layer::Seccomp),
                signal: (signal != 0).then_some(signal),
                source: source.as_deref().map(code),
                syscall: Some(syscall),
                ..Kernel::counted(report.count)
            };
            let kind = if signal == 0 { EventType::SyscallDenial } else { EventType::SyscallKill };
            (kind, Outcome::Denied, "refused", kernel)
        }
        KernelEvent::PolicyLoaded => {
            (EventType::PolicyMode, Outcome::Success, "policy_loaded", Kernel::counted(report.count))
        }
        KernelEvent::Mode { enforcing } => {
            let kernel = Kernel { enforced: enforcing, ..Kernel::counted(report.count) };
            let outcome = if enforcing { Outcome::Success } else { Outcome::Failure };
            (EventType::PolicyMode, outcome, "mode_changed", kernel)
        }
        KernelEvent::Lost(why) => {
            let reason = match why {
                WhyLost::Kernel => "lost",
                WhyLost::Gap => "gap",
                WhyLost::Unreadable => "unreadable",
                WhyLost::TooMany => "too_many",
            };
            (EventType::KernelLost, Outcome::Error, reason, Kernel::counted(report.count))
        }
    };
    let mut event = Event::new(kind, outcome, clock.stamp());
    event.actor = Some(Actor::new(ActorKind::System));
    event.code = Code::from_static(reason);
    event.kernel = Some(kernel);
    event
}

fn of_policy(denial: &PolicyDenial, count: u64) -> Kernel {
    Kernel {
        class: Some(code(&denial.class)),
        enforced: denial.enforced,
        layer: Some(match denial.policy {
            MandatoryPolicy::Selinux => Layer::Selinux,
            MandatoryPolicy::AppArmor => Layer::Apparmor,
        }),
        perms: denial.permissions.iter().map(|permission| code(permission)).collect(),
        source: Some(code(&denial.source)),
        target: denial.target.as_deref().map(code),
        ..Kernel::counted(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denial(count: u64) -> KernelReport {
        let what = KernelEvent::Denied(PolicyDenial {
            policy: MandatoryPolicy::Selinux,
            pid: 7,
            source: "worker_t".to_owned(),
            target: Some("log_t".to_owned()),
            class: "file".to_owned(),
            permissions: vec!["read".to_owned(), "open".to_owned()],
            enforced: true,
        });
        KernelReport { what, count }
    }

    #[test]
    fn a_denial_is_an_entry_in_words_of_the_policy() {
        let event = entry(denial(3), Clock::start());
        assert_eq!((event.kind, event.outcome), (EventType::PolicyDenial, Outcome::Denied));
        let kernel = event.kernel.unwrap();
        assert_eq!(
            serde_json::to_string(&kernel).unwrap(),
            r#"{"class":"file","count":3,"enforced":true,"layer":"selinux","perms":["read","open"],"source":"worker_t","target":"log_t"}"#
        );
    }

    #[test]
    fn a_worker_is_over_its_limit_once() {
        let workers = Workers::default();
        workers.add(7, "m");
        assert_eq!(workers.refused(8, 1), None);
        assert_eq!(workers.refused(7, MAX_REFUSALS), Some(("m".to_owned(), false)));
        assert_eq!(workers.refused(7, 1), Some(("m".to_owned(), true)));
        assert_eq!(workers.refused(7, u64::MAX), Some(("m".to_owned(), false)));
        workers.add(9, "m");
        assert_eq!((workers.refused(7, 1), workers.refused(9, 1)), (None, Some(("m".to_owned(), false))));
    }

    #[test]
    fn what_was_lost_or_changed_is_told_with_its_reason() {
        let of = |what| {
            let event = entry(KernelReport { what, count: 5 }, Clock::start());
            (event.kind.name(), event.code.to_string(), event.outcome, event.kernel.unwrap().count)
        };
        assert_eq!(of(KernelEvent::Lost(WhyLost::Gap)), ("kernel.lost", "gap".to_owned(), Outcome::Error, 5));
        let mode = of(KernelEvent::Mode { enforcing: false });
        assert_eq!(mode, ("selinux.mode", "mode_changed".to_owned(), Outcome::Failure, 5));
        let kill = of(KernelEvent::Filtered { pid: 1, source: None, syscall: 59, signal: 31 });
        assert_eq!(kill, ("seccomp.kill", "refused".to_owned(), Outcome::Denied, 5));
    }
}
