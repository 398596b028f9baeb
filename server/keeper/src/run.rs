//! The keeper at work: answering the gateway, watching what happens, ending.

mod loading;
mod slots;

pub(crate) use slots::Slot;

use crate::anchor::{Anchor, Told};
use crate::audit::Writer;
use crate::clock::Clock;
use crate::evidence::Identity;
use crate::gateway::{Desk, Gateway, Voice};
use crate::kernel::{Collecting, Workers};
use crate::personal::Personal;
use crate::release::Releaser;
use crate::reload::GatewayFiles;
use crate::required::require;
use crate::settings::Settings;
use crate::share::Share;
use crate::shelf::Shelf;
use crate::stages::{Stage, Stages};
use crate::start::warn;
use anchorhold_audit_log::{
    Actor, ActorKind, Code, Event, EventType, Key, KeyId, KeyOperation, Model as LoggedModel, ModelId,
    Outcome, ReadingKey,
};
use anchorhold_channel::document::{AuditHead, DocumentState, RuntimeClaims, ServedModel};
use anchorhold_channel::wrapper;
use anchorhold_confine::{Beginning, Phase, Reach, Role, Starting};
use anchorhold_ipc::{Confinement, FromGateway, HeldProcess, ServingEvidence, ToGateway};
use anchorhold_rats::Sha256Digest;
use anchorhold_witnesses::Witnesses;
use anyhow::{Context as _, bail};
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
    /// A witness knows another history of this boot's log.
    LogForked,
    /// Somebody asked us to stop.
    Terminate,
    /// Somebody changed the gateway's settings.
    Reload,
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
    /// Who has the log cosigned, once keys were released.
    pub(crate) anchor: Option<Anchor>,
    /// How the log stands, as the gateway was told.
    pub(crate) told: Told,
    /// Whom it asks; read before the keeper gives up the files.
    pub(crate) witnesses: Option<Witnesses>,
    /// Where it is kept whom entries are about, until the gateway's desk has it.
    pub(crate) personal: Option<Personal>,
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
    pub(crate) predecessor_recorded: bool,
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

    /// Hands the loaded workers to the gateway, which then listens. Auditors read the log in the directory `log`, by its key.
    pub(crate) fn open(
        &mut self,
        mut gateway: Gateway,
        log: &Path,
        key: ReadingKey,
    ) -> anyhow::Result<(Child, Voice)> {
        self.anchor()?;
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
            shelf: Shelf::start(log.to_owned(), key, gateway.voice.clone())
                .context("beginning to read the audit log")?,
            personal: self.personal.take(),
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

    /// Gives the gateway a worker's line, once, and not before the entry that tells of it is cosigned.
    fn hand_over(&mut self, at: usize, voice: &Voice) {
        let Some(Slot { ready: Some((info, data)), logged, .. }) = self.slots.get_mut(at) else { return };
        if self.anchor.as_ref().is_some_and(|anchor| !anchor.covers(*logged)) {
            return;
        }
        if let Some(data) = data.take() {
            let ready = ToGateway::WorkerReady(info.clone());
            self.tell_receipts(at);
            // A gateway that is gone is reported by its reading thread.
            voice.say(&ready, Some(&data));
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
                Ok(Happening::LogForked) => {
                    self.record(EventType::LogAnchorFail, Outcome::Failure, |event| {
                        event.code = Code::from_static("log_forked");
                    })?;
                    break Err(anyhow::anyhow!("a witness knows another history of this log"));
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
            self.look_after_log(voice);
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
        FromGateway::ReadLog { .. } => "read log",
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
