//! The workers while they serve: their leases, their ends, and what follows.

use super::{Keeper, named};
use crate::anchor;
use crate::fetch::Fetched;
use crate::gateway::Voice;
use crate::key::HeldKey;
use crate::release::{ATTEMPTS_TO_RENEW, Exchange, NoKey};
use crate::settings::Model;
use crate::share::Share;
use crate::stages::Stage;
use crate::worker::Running;
use anchorhold_audit_log::{Actor, ActorKind, Code, EventType, Kernel, Key, KeyId, KeyOperation, Outcome};
use anchorhold_ipc::{ModelInfo, ToGateway};
use anchorhold_rats::Sha256Digest;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// A worker that ends this often within [`CRASH_WINDOW`] is not started again.
const MAX_CRASHES: usize = 5;
const CRASH_WINDOW: Duration = Duration::from_secs(60);
const FIRST_RESTART_PAUSE: Duration = Duration::from_millis(100);
/// A lease is renewed when this share of it has passed.
const RENEW_AT: f64 = 0.8;
/// After a renewal failed, the next attempt is this far away.
const RENEW_AGAIN: Duration = Duration::from_secs(10);
/// How often the broker is asked whether something was revoked.
const ASK_LEASE: Duration = Duration::from_secs(30);
/// How long a model whose key must go may finish what it has begun.
const RETIRE: Duration = Duration::from_secs(20);

/// One model: its key, its package if it was fetched, and its worker while there is one.
pub(crate) struct Slot {
    pub(crate) model: Model,
    pub(crate) key: Option<HeldKey>,
    pub(crate) fetched: Option<Fetched>,
    pub(super) lease_ends: Instant,
    pub(super) renew_at: Instant,
    pub(super) running: Option<Running>,
    /// How many entries the log had when it told of the worker.
    pub(super) logged: u64,
    /// What the worker answers for, and the gateway's end of its line until it is handed over.
    pub(super) ready: Option<(ModelInfo, Option<OwnedFd>)>,
    pub(super) generation: u64,
    pub(super) crashes: Vec<Instant>,
    pub(super) restart_at: Option<Instant>,
    pub(super) ask_at: Instant,
    /// The key is gone, and the worker goes when it is done, at this time at the latest.
    pub(super) retires: Option<Instant>,
}

/// Why a model goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// Its lease ended.
    Expired,
    /// Its key, manifest or image was revoked.
    Revoked,
}

impl Slot {
    pub(crate) fn new(model: Model, key: HeldKey) -> Self {
        let now = Instant::now();
        let mut slot = Self {
            model,
            key: None,
            fetched: None,
            lease_ends: now,
            renew_at: now,
            running: None,
            logged: 0,
            ready: None,
            generation: 0,
            crashes: Vec::new(),
            restart_at: None,
            ask_at: now,
            retires: None,
        };
        slot.take(key);
        slot
    }

    /// SHA-256 of the release policy under which the key was granted.
    pub(super) fn policy_digest(&self) -> Option<Sha256Digest> {
        self.key.as_ref().and_then(|key| key.policy_digest)
    }

    /// Takes a key and counts its lease from now, which is never longer than the broker meant.
    pub(super) fn take(&mut self, key: HeldKey) {
        let lease = Duration::from_secs(u64::from(key.lease_s));
        let now = Instant::now();
        self.lease_ends = now + lease;
        self.renew_at = now + lease.mul_f64(RENEW_AT);
        self.ask_at = now + ASK_LEASE;
        self.key = Some(key);
    }
}

impl Keeper {
    /// A worker ended that should not have: say so, and start it again after a pause, unless it keeps ending.
    pub(super) fn worker_gone(
        &mut self,
        (at, generation): (usize, u64),
        voice: &Voice,
    ) -> anyhow::Result<()> {
        let Some(slot) =
            self.slots.get_mut(at).filter(|slot| slot.generation == generation && slot.running.is_some())
        else {
            return Ok(());
        };
        if slot.retires.is_some() {
            self.unload(at, voice);
            return Ok(());
        }
        (slot.running, slot.ready) = (None, None);
        // What ended it, before that it ended.
        self.look_at_share(at)?;
        let Some(slot) = self.slots.get_mut(at) else { return Ok(()) };
        let now = Instant::now();
        slot.crashes.retain(|crash| now.duration_since(*crash) < CRASH_WINDOW);
        slot.crashes.push(now);
        let crashes = slot.crashes.len();
        let pause =
            FIRST_RESTART_PAUSE * 2_u32.saturating_pow(u32::try_from(crashes).unwrap_or(u32::MAX).min(6) - 1);
        slot.restart_at = (crashes < MAX_CRASHES).then(|| now + pause);
        let model = slot.model.id.clone();
        voice.say(&ToGateway::WorkerGone { model: model.clone() }, None);
        self.record(EventType::ComponentCrash, Outcome::Failure, |event| {
            event.model = named(&model);
            event.code =
                Code::from_static(if crashes < MAX_CRASHES { "worker" } else { "worker_crash_loop" });
        })
        .map(|_| ())
    }

    /// Ends the worker of a model that keeps trying what it may not. What follows is what follows a crash.
    pub(super) fn end_refused(&mut self, model: &str) -> anyhow::Result<()> {
        let running =
            self.slots.iter_mut().find(|slot| slot.model.id == model).and_then(|slot| slot.running.as_mut());
        let Some(running) = running else { return Ok(()) };
        running.kill();
        let recorded = self.record(EventType::WorkerLimit, Outcome::Denied, |event| {
            event.model = named(model);
            event.code = Code::from_static("refusals");
        });
        recorded.map(drop)
    }

    /// Makes an entry of what a worker met that its share ended at. One that was refused threads too often is ended, as one is that the
    /// kernel refused too much.
    pub(crate) fn look_at_share(&mut self, at: usize) -> anyhow::Result<()> {
        let (Ok(groups), Some(slot)) = (&mut self.groups, self.slots.get(at)) else { return Ok(()) };
        let Some(more) = groups.get_mut(at).map(Share::look).transpose()?.flatten() else { return Ok(()) };
        let model = slot.model.id.clone();
        for (code, count) in [("memory", more.ended_for_memory), ("pids", more.refused_pids)] {
            if count == 0 {
                continue;
            }
            self.record(EventType::WorkerLimit, Outcome::Denied, |event| {
                event.actor = Some(Actor::new(ActorKind::Worker));
                event.model = named(&model);
                event.code = Code::from_static(code);
                event.kernel = Some(Kernel::counted(count));
            })?;
        }
        let is_too_many = self.workers.refused_model(&model, more.refused_pids);
        if is_too_many { self.end_refused(&model) } else { Ok(()) }
    }

    /// Restarts that are due, leases to renew, leases that ended.
    pub(super) fn look_after_slots(&mut self, voice: &Voice) {
        for at in 0..self.slots.len() {
            self.hand_over(at, voice);
            let now = Instant::now();
            let Some(slot) = self.slots.get_mut(at) else { continue };
            if slot.retires.is_some_and(|due| now >= due) {
                self.unload(at, voice);
            } else if slot.key.is_some() && now >= slot.lease_ends {
                self.retire(at, Reason::Expired, voice);
            } else if slot.key.is_some() && now >= slot.renew_at {
                self.renew(at, voice);
            } else if slot.key.is_some() && now >= slot.ask_at {
                self.ask_lease(at, voice);
            } else if slot.restart_at.is_some_and(|due| now >= due) {
                slot.restart_at = None;
                self.restart(at, voice);
            }
        }
    }

    fn restart(&mut self, at: usize, voice: &Voice) {
        let outcome = self.load(at);
        let Some(slot) = self.slots.get_mut(at) else { return };
        let (model, count) = (slot.model.id.clone(), u32::try_from(slot.crashes.len()).unwrap_or(u32::MAX));
        let logged = match outcome {
            Ok(()) => {
                self.hand_over(at, voice);
                self.stages.tell(&Stage::Restarted { model: &model, count });
                Outcome::Success
            }
            // A package that was good and is not any more, or a worker that cannot start: try again, as after a crash.
            Err(_) if slot.crashes.len() < MAX_CRASHES => {
                slot.crashes.push(Instant::now());
                slot.restart_at = Some(Instant::now() + FIRST_RESTART_PAUSE * 8);
                Outcome::Failure
            }
            Err(_) => Outcome::Failure,
        };
        // The log refuses only when it is poisoned, and then the next request is refused because of it.
        let _ = self.record(EventType::ComponentRestart, logged, |event| event.model = named(&model));
    }

    /// Asks whether the model's key was revoked since it was released.
    fn ask_lease(&mut self, at: usize, voice: &Voice) {
        let Some(slot) = self.slots.get_mut(at) else { return };
        slot.ask_at = Instant::now() + ASK_LEASE;
        let Some(kid) = slot.key.as_ref().map(|key| key.kid.clone()) else { return };
        if self.releaser.is_revoked(&self.identity, &kid) {
            self.retire(at, Reason::Revoked, voice);
        }
    }

    /// Attests again before the lease ends.
    fn renew(&mut self, at: usize, voice: &Voice) {
        let Some(model) = self.slots.get(at).map(|slot| slot.model.clone()) else { return };
        let mut exchange = Exchange {
            identity: &self.identity,
            recorder: self.writer.recorder(),
            stages: &mut self.stages,
            clock: self.clock,
            audit: anchor::terms(self.settings.audit.witnesses.as_ref()),
            evidence_recorded: &mut self.evidence_recorded,
            predecessor_recorded: &mut self.predecessor_recorded,
        };
        let renewed = self.releaser.obtain(&mut exchange, &model, ATTEMPTS_TO_RENEW);
        let Some(slot) = self.slots.get_mut(at) else { return };
        match renewed {
            Ok(key) => {
                slot.take(key);
                self.tell_receipts(at);
            }
            Err(NoKey::Revoked(_)) => self.retire(at, Reason::Revoked, voice),
            // Refusals and outages are recorded where they happen; the lease goes on to its end.
            Err(NoKey::Other(_)) => slot.renew_at = Instant::now() + RENEW_AGAIN,
        }
    }

    /// The key goes now. The worker takes nothing more, finishes what it has, and goes with the weights.
    fn retire(&mut self, at: usize, why: Reason, voice: &Voice) {
        let Some(slot) = self.slots.get_mut(at) else { return };
        let kid = slot.key.take().and_then(|key| KeyId::new(&key.kid).ok());
        slot.restart_at = None;
        slot.retires = Some(Instant::now() + RETIRE);
        let (model, gone) = (slot.model.id.clone(), slot.running.is_none());
        voice.say(&ToGateway::WorkerRetires { model: model.clone() }, None);
        let (kind, code) = match why {
            Reason::Expired => (EventType::KeyExpire, Code::OK),
            Reason::Revoked => (EventType::KeyRevoke, Code::from_static("revoked")),
        };
        // The log refuses only when it is poisoned, and then the next request is refused because of it.
        let _ = self.record(kind, Outcome::Success, |event| {
            event.model = named(&model);
            event.code = code;
            event.key = kid.map(|kid| Key { kek: None, kid, op: KeyOperation::Destroy });
        });
        self.stages.tell(&Stage::Retires { model: &model, revoked: why == Reason::Revoked });
        if gone {
            self.unload(at, voice);
        }
    }

    /// The worker of a model whose key is gone has finished, or has had its time.
    fn unload(&mut self, at: usize, voice: &Voice) {
        let Some(slot) = self.slots.get_mut(at) else { return };
        (slot.running, slot.ready, slot.retires) = (None, None, None);
        slot.generation += 1;
        let model = slot.model.id.clone();
        voice.say(&ToGateway::WorkerGone { model: model.clone() }, None);
        // As above: a poisoned log stops requests by itself.
        let _ = self.record(EventType::ModelUnload, Outcome::Success, |event| event.model = named(&model));
    }
}
