//! The keeper at work: answering the gateway, watching workers, renewing leases, ending.

use crate::audit::Writer;
use crate::children::Apart;
use crate::clock::Clock;
use crate::cpus;
use crate::evidence::Identity;
use crate::fetch::{Fetched, Recheck};
use crate::gateway::{Desk, Gateway, Voice};
use crate::kernel::{Collecting, Workers};
use crate::key::HeldKey;
use crate::release::{ATTEMPTS_TO_RENEW, Exchange, NoKey, Releaser};
use crate::reload::GatewayFiles;
use crate::required::require;
use crate::settings::{Model, Package, Settings};
use crate::share::Share;
use crate::stages::{Memory, Stage, Stages};
use crate::start::warn;
use crate::worker::{self, LoadFailure, LoadOrder, Running, Source, with_group};
use anchorhold_audit_log::{
    Actor, ActorKind, Code, Event, EventType, Hash, Kernel, Key, KeyId, KeyOperation, Model as LoggedModel,
    ModelId, Outcome,
};
use anchorhold_channel::document::{AuditHead, DocumentState, RuntimeClaims, ServedModel};
use anchorhold_channel::wrapper;
use anchorhold_confine::{Beginning, Phase, Reach, Role, Starting};
use anchorhold_ipc::{Confinement, FromGateway, HeldProcess, ModelInfo, ServingEvidence, ToGateway};
use anchorhold_rats::Sha256Digest;
use anyhow::{Context as _, bail};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// How often leases and restarts are looked at.
const TICK: Duration = Duration::from_millis(100);
/// What the gateway may take beyond the time that it gives to what runs, and the most of that.
const AFTER_DRAIN: Duration = Duration::from_secs(15);
const MAX_DRAIN_S: u32 = 600;
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

/// The keeper among the processes that are held.
pub(crate) const KEEPER: &str = "keeper";

/// What the keeper reacts to.
#[derive(Debug)]
pub(crate) enum Happening {
    Gateway(FromGateway),
    GatewayGone,
    /// The worker of this slot and generation ended.
    WorkerGone {
        slot: usize,
        generation: u64,
    },
    /// The kernel refused so much of this model's worker that it is not sound.
    TooManyRefusals {
        model: String,
    },
    /// The kernel's audit records come to nobody any more.
    CollectorGone,
    /// Somebody asked us to stop.
    Terminate,
    /// Somebody changed the gateway's settings.
    Reload,
}

/// One model: its key, its package if it was fetched, and its worker while there is one.
pub(crate) struct Slot {
    pub(crate) model: Model,
    pub(crate) key: Option<HeldKey>,
    pub(crate) fetched: Option<Fetched>,
    lease_ends: Instant,
    renew_at: Instant,
    running: Option<Running>,
    /// What the worker answers for, and the gateway's end of its line until it is handed over.
    ready: Option<(ModelInfo, Option<OwnedFd>)>,
    generation: u64,
    crashes: Vec<Instant>,
    restart_at: Option<Instant>,
    ask_at: Instant,
    /// The key is gone, and the worker goes when it is done, at this time at the latest.
    retires: Option<Instant>,
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
    fn policy_digest(&self) -> Option<Sha256Digest> {
        self.key.as_ref().and_then(|key| key.policy_digest)
    }

    /// Takes a key and counts its lease from now, which is never longer than the broker meant.
    fn take(&mut self, key: HeldKey) {
        let lease = Duration::from_secs(u64::from(key.lease_s));
        let now = Instant::now();
        self.lease_ends = now + lease;
        self.renew_at = now + lease.mul_f64(RENEW_AT);
        self.ask_at = now + ASK_LEASE;
        self.key = Some(key);
    }
}

/// A model as entries name it; `None` for an id that is not of the log's alphabet.
pub(crate) fn named(id: &str) -> Option<LoggedModel> {
    ModelId::new(id).ok().map(|id| LoggedModel { id, manifest: None, ver: None })
}

/// Everything the keeper holds.
pub(crate) struct Keeper {
    pub(crate) settings: Settings,
    pub(crate) files: GatewayFiles,
    pub(crate) clock: Clock,
    pub(crate) stages: Stages,
    pub(crate) identity: Identity,
    /// What holds everything here, as it was found at the start.
    pub(crate) runtime: RuntimeClaims,
    pub(crate) releaser: Releaser,
    pub(crate) writer: Writer,
    pub(crate) happenings: Sender<Happening>,
    pub(crate) empty: PathBuf,
    /// For workers.
    pub(crate) beginning: Beginning,
    /// The control groups of workers, by the places of their models, or why they have none.
    pub(crate) groups: Result<Vec<Share>, String>,
    /// What takes from the keeper what only the start needed, until it has.
    pub(crate) starting: Option<Starting>,
    pub(crate) slots: Vec<Slot>,
    /// What holds each process, until the gateway is told.
    pub(crate) held: Vec<HeldProcess>,
    /// Whose refusals are counted.
    pub(crate) workers: Workers,
    /// Who reads the kernel's audit records.
    pub(crate) collecting: Option<Collecting>,
    /// What the threads of workers are bound to, in the order of the slots; empty if they are not.
    pub(crate) cpus: Vec<u16>,
    pub(crate) evidence_recorded: bool,
    /// How long the gateway may take to finish what runs, as it says when it listens.
    pub(crate) drain_within: Duration,
}

impl Keeper {
    pub(crate) fn record(
        &self,
        kind: EventType,
        outcome: Outcome,
        fill: impl FnOnce(&mut Event),
    ) -> anyhow::Result<u64> {
        let mut event = Event::new(kind, outcome, self.clock.stamp());
        event.actor = Some(Actor::new(ActorKind::System));
        fill(&mut event);
        self.writer.recorder().record(event)
    }

    /// Starts the worker of a slot and loads its model. A package that was fetched and is not as signed any more is fetched
    /// again where it is not, once.
    ///
    /// # Errors
    /// The package could not be fetched, or the worker could not be confined, or refused the package, or ended.
    pub(crate) fn load(&mut self, at: usize) -> anyhow::Result<()> {
        self.fetch(at, Recheck::No)?;
        match self.try_load(at)? {
            Ok(()) => Ok(()),
            Err(failure) if failure.may_be_rot() && self.was_fetched(at) => {
                let model = self.slots.get(at).context("no such model")?.model.clone();
                // The refusal is logged, and what follows is another attempt.
                let _ = self.load_failed(&model, failure);
                self.fetch(at, Recheck::Yes)?;
                self.try_load(at)?.map_err(|failure| self.load_failed(&model, failure))
            }
            Err(failure) => {
                let model = self.slots.get(at).context("no such model")?.model.clone();
                Err(self.load_failed(&model, failure))
            }
        }
    }

    fn try_load(&mut self, at: usize) -> anyhow::Result<Result<(), LoadFailure>> {
        let slot = self.slots.get_mut(at).context("no such model")?;
        let key = slot.key.as_ref().context("the lease has ended")?;
        let model = slot.model.clone();
        let source = match (&model.package, &slot.fetched) {
            (Package::Directory(directory), _) => Source::Directory(directory),
            (Package::Address(_), Some(fetched)) => Source::Fetched(fetched),
            (Package::Address(_), None) => bail!("the package was not fetched"),
        };
        let apart = Apart {
            beginning: &self.beginning,
            role: self.settings.worker.role(),
            category: u16::try_from(at)?,
            group: self.groups.as_ref().map_err(String::as_str).and_then(|groups| {
                groups.get(at).map(|share| &share.group).ok_or("none was made for this model")
            }),
        };
        let workers = self.workers.clone();
        let born = |pid| workers.add(pid, &model.id);
        let (starting, layers) = worker::Starting::start(&self.settings, &self.empty, &apart, born)?;
        self.stages.tell(&Stage::Worker {
            model: &model.id,
            pid: starting.id(),
            layers: &layers.active,
            missing: &layers.missing,
        });
        let (settings, at_now) = (&self.settings.worker, self.clock.wall());
        let order = LoadOrder {
            model: &model,
            source,
            key,
            threads: settings.threads,
            cpus: cpus::share(&self.cpus, settings.threads, at),
            keep_prefixes: settings.keep_prefixes,
            precision: settings.precision,
            at: at_now,
        };
        let (loaded, report, serving) = match starting.load(&order) {
            Ok(loaded) => loaded,
            Err(failure) => return Ok(Err(failure)),
        };
        let serving = with_group(serving, Ok(Ok(apart.group.is_ok())));
        require(&self.settings, ("worker", &apart.role), Phase::Serving, &serving)?;
        let held = HeldProcess::new(&format!("worker {}", model.id), &serving);
        self.held.retain(|other| other.process != held.process);
        self.held.push(held);
        slot.generation += 1;
        let ended = Happening::WorkerGone { slot: at, generation: slot.generation };
        let (running, data) = loaded.watch(self.happenings.clone(), ended)?;
        let manifest = Hash::new(report.model.manifest_digest);
        let version = report.model.version;
        let memory = Memory::from(&report);
        slot.running = Some(running);
        slot.ready = Some((report.model, Some(data)));
        self.record(EventType::ModelLoad, Outcome::Success, |event| {
            event.model = named(&model.id).map(|named| LoggedModel {
                manifest: Some(manifest),
                ver: Some(version),
                ..named
            });
        })?;
        let gigabytes_per_s = report.bytes as f64 / 1e3 / (report.micros.max(1)) as f64;
        let load_ms = report.micros as f64 / 1e3;
        if let Some(warning) = memory.warning(&model.id) {
            warn(&warning);
        }
        self.stages.tell(&Stage::Loaded {
            model: &model.id,
            bytes: report.bytes,
            load_ms,
            gigabytes_per_s,
            memory,
        });
        Ok(Ok(()))
    }

    fn load_failed(&mut self, model: &Model, failure: LoadFailure) -> anyhow::Error {
        let at = self.slots.iter().position(|slot| slot.model.id == model.id);
        // The log refuses only when it is poisoned, and what follows is refused because of it.
        let _ = at.map(|at| self.look_at_share(at));
        let (code, detail) = match failure {
            LoadFailure::Refused { code, detail } => (code, detail),
            LoadFailure::Broken(error) => ("worker_lost".to_owned(), format!("{error:#}")),
        };
        self.stages.tell(&Stage::LoadFailed { model: &model.id, code: &code, detail: &detail });
        let recorded = self.record(EventType::ModelReject, Outcome::Denied, |event| {
            event.model = named(&model.id);
            event.code = Code::new(&code).unwrap_or(Code::from_static("unnamed"));
        });
        let error = anyhow::anyhow!("the sealed package of {} was refused: {code}: {detail}", model.id);
        match recorded {
            Ok(_) => error,
            Err(log) => log.context(error),
        }
    }

    /// Hands the loaded workers to the gateway, which then listens.
    pub(crate) fn open(&mut self, mut gateway: Gateway, log: &Path) -> anyhow::Result<(Child, Voice)> {
        for at in 0..self.slots.len() {
            self.hand_over(at, &gateway.voice);
        }
        self.settle()?;
        let authenticator_certificate = self.identity.authenticator_key.certificate().to_vec();
        let held = std::mem::take(&mut self.held);
        let guest = Box::new(self.identity.card(self.writer.recorder().head().size, held));
        let document = self.identity.document(*wrapper::certificate_nonce().as_bytes(), &self.state())?;
        gateway.voice.say(&ToGateway::Listen { authenticator_certificate, guest, document }, None);
        let address = match gateway.receive().context("the gateway ended before it listened")? {
            FromGateway::Listening { address, drain_s } => {
                self.drain_within = Duration::from_secs(drain_s.min(MAX_DRAIN_S).into()) + AFTER_DRAIN;
                address
            }
            other => bail!("the gateway said {} before it listened", kind_of(&other)),
        };
        self.record(EventType::BootReady, Outcome::Success, |_| {})?;
        let desk = Desk {
            recorder: self.writer.recorder().clone(),
            voice: gateway.voice.clone(),
            clock: self.clock,
            authenticator_key: Arc::clone(&self.identity.authenticator_key),
            receipts: Arc::clone(&self.identity.receipts),
        };
        let opened = gateway.listen(desk, self.happenings.clone())?;
        watch_signals(self.happenings.clone())?;
        self.stages.tell(&Stage::Ready { address: &address, audit_log: &log.display().to_string() });
        Ok(opened)
    }

    /// Everything runs: what only the start needed is over, and the document says so.
    fn settle(&mut self) -> anyhow::Result<()> {
        let Some(starting) = self.starting.take() else { return Ok(()) };
        let layers = starting.serve().context("confining the keeper")?;
        let active = layers.active.iter().map(ToString::to_string).collect();
        let own = Confinement { active, missing: layers.missing };
        require(&self.settings, ("keeper", &Role::Keeper(Reach::default())), Phase::Serving, &own)?;
        self.runtime.layers.clone_from(&own.active);
        self.held.retain(|other| other.process != KEEPER);
        self.held.insert(0, HeldProcess::new(KEEPER, &own));
        Ok(())
    }

    /// Gives the gateway a worker's line, once.
    fn hand_over(&mut self, at: usize, voice: &Voice) {
        self.tell_receipts(at);
        if let Some(Slot { ready: Some((info, data)), .. }) = self.slots.get_mut(at)
            && let Some(data) = data.take()
        {
            // A gateway that is gone is reported by its reading thread.
            voice.say(&ToGateway::WorkerReady(info.clone()), Some(&data));
        }
    }

    /// What receipts say of a model from now on.
    fn tell_receipts(&self, at: usize) {
        if let Some(slot) = self.slots.get(at)
            && let Some((info, _)) = &slot.ready
        {
            self.identity.receipts.serves(info, slot.policy_digest());
        }
    }

    /// Serves until told to stop or until the gateway ends.
    pub(crate) fn run(
        mut self,
        mut child: Child,
        voice: &Voice,
        inbox: &Receiver<Happening>,
    ) -> anyhow::Result<()> {
        let outcome = loop {
            match inbox.recv_timeout(TICK) {
                Ok(Happening::Gateway(message)) => self.answer(message, voice),
                Ok(Happening::WorkerGone { slot, generation }) => {
                    self.worker_gone((slot, generation), voice)?
                }
                Ok(Happening::TooManyRefusals { model }) => self.end_refused(&model)?,
                Ok(Happening::CollectorGone) => {
                    if let Err(error) = self.collector_gone() {
                        break Err(error);
                    }
                }
                Ok(Happening::Terminate) => break self.drain(voice, inbox),
                Ok(Happening::Reload) => self.reload(voice),
                Ok(Happening::GatewayGone) | Err(RecvTimeoutError::Disconnected) => {
                    self.record(EventType::ComponentCrash, Outcome::Failure, |event| {
                        event.code = Code::from_static("gateway");
                    })?;
                    break Err(anyhow::anyhow!("the gateway ended"));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            for at in 0..self.slots.len() {
                self.look_at_share(at)?;
            }
            self.look_after_slots(voice);
        };
        self.give_back();
        // The gateway has drained or is gone; one that hangs is ended.
        let _ = child.kill();
        let _ = child.wait();
        self.collect_rest();
        let ended = if outcome.is_ok() { Outcome::Success } else { Outcome::Failure };
        self.record(EventType::BootStop, ended, |_| {})?;
        outcome.and(self.writer.close())
    }

    /// What the kernel has told of those that have ended goes into the log before it is closed.
    pub(crate) fn collect_rest(&mut self) {
        if let Some(collecting) = self.collecting.take() {
            collecting.finish();
        }
    }

    /// Ends the workers, wipes the keys, and tells the broker, so that the next boot finds the places free.
    pub(crate) fn give_back(&mut self) {
        let mut kids = Vec::new();
        for slot in std::mem::take(&mut self.slots) {
            let Some(kid) = slot.key.as_ref().map(|key| key.kid.clone()) else { continue };
            let model = slot.model.id.clone();
            drop(slot);
            // The log refuses only when it is poisoned, and its end says so.
            let _ = self.record(EventType::KeyExpire, Outcome::Success, |event| {
                event.model = named(&model);
                event.code = Code::from_static("returned");
                event.key =
                    KeyId::new(&kid).ok().map(|kid| Key { kek: None, kid, op: KeyOperation::Destroy });
            });
            kids.push(kid);
        }
        self.releaser.give_back(&self.identity, &kids);
    }

    fn answer(&mut self, message: FromGateway, voice: &Voice) {
        if let FromGateway::Attest { ticket, nonce } = message {
            let document = self.identity.document(nonce, &self.state()).ok();
            voice.say(&ToGateway::Attested(Box::new(ServingEvidence { ticket, document })), None);
        }
    }

    /// What the attestation document says is served now.
    fn state(&self) -> DocumentState {
        let head = self.writer.recorder().head();
        let models = self.slots.iter().filter_map(|slot| slot.ready.as_ref()).map(|(info, _)| ServedModel {
            id: info.id.clone(),
            version: info.version,
            manifest_digest: Sha256Digest::new(info.manifest_digest),
        });
        DocumentState {
            models: models.collect(),
            policy_digest: self.slots.iter().find_map(Slot::policy_digest),
            audit: AuditHead {
                origin: format!("{}/{}", self.settings.deployment, self.identity.instance),
                tree_size: head.size,
                root_hash: Sha256Digest::new(*head.root.as_bytes()),
            },
            channel: self.identity.channel_keys(),
            runtime: Some(self.runtime.clone()),
        }
    }

    /// A worker ended that should not have: say so, and start it again after a pause, unless it keeps ending.
    fn worker_gone(&mut self, (at, generation): (usize, u64), voice: &Voice) -> anyhow::Result<()> {
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
    fn end_refused(&mut self, model: &str) -> anyhow::Result<()> {
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

    /// Goes on without the kernel's records only where the settings allow that.
    fn collector_gone(&mut self) -> anyhow::Result<()> {
        self.collecting = None;
        self.record(EventType::ComponentCrash, Outcome::Failure, |event| {
            event.code = Code::from_static("collector");
        })?;
        let is_required = self.settings.collector.as_ref().is_some_and(|collector| collector.required);
        anyhow::ensure!(!is_required, "the collector ended");
        warn("the collector ended: the kernel's audit records are not logged any more");
        Ok(())
    }

    /// Restarts that are due, leases to renew, leases that ended.
    fn look_after_slots(&mut self, voice: &Voice) {
        for at in 0..self.slots.len() {
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
            evidence_recorded: &mut self.evidence_recorded,
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

    /// Lets the gateway finish what runs.
    /// Hands the gateway its settings as they are now. The gateway judges them; with what cannot be read, everything goes on as it was.
    fn reload(&self, voice: &Voice) {
        match self.files.message() {
            Ok(message) => {
                // A gateway that is gone is reported by its reading thread.
                voice.say(&message, None);
            }
            Err(error) => warn(&format!("the settings were not read again: {error:#}")),
        }
    }

    fn drain(&mut self, voice: &Voice, inbox: &Receiver<Happening>) -> anyhow::Result<()> {
        voice.say(&ToGateway::Drain, None);
        let until = Instant::now() + self.drain_within;
        loop {
            match inbox.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Happening::Gateway(FromGateway::Drained) | Happening::GatewayGone) => return Ok(()),
                Ok(Happening::Gateway(message)) => self.answer(message, voice),
                Ok(_) => {}
                Err(_) => bail!("the gateway did not finish within {} s", self.drain_within.as_secs()),
            }
        }
    }
}

fn kind_of(message: &FromGateway) -> &'static str {
    match message {
        FromGateway::Hello { .. } => "hello",
        FromGateway::Listening { .. } => "listening",
        FromGateway::Attest { .. } => "attest",
        FromGateway::Authenticate { .. } => "authenticate",
        FromGateway::Record { .. } => "record",
        FromGateway::Drained => "drained",
    }
}

/// SIGTERM and SIGINT become a happening, and so does each SIGHUP before them.
fn watch_signals(happenings: Sender<Happening>) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut terminate, mut interrupt, mut hangup) = {
        let _entered = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?)
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = terminate.recv() => return,
                    _ = interrupt.recv() => return,
                    // When nobody listens any more, the keeper is ending already.
                    _ = hangup.recv() => drop(happenings.send(Happening::Reload)),
                }
            }
        });
        // When nobody listens any more, the keeper is ending already.
        let _ = happenings.send(Happening::Terminate);
    })?;
    Ok(())
}
