//! The keeper's and the gateway's end of a worker that runs in a thread.

use anchorhold_engine::{
    CacheDomain, FinishReason, ModelKind, Prompt, RequestId, Sampling, StopRules, Structure, Tenancy,
};
use anchorhold_ipc::{
    Confinement, Event, FromWorker, Line, Load, LoadModel, LoadReport, ModelInfo, Precision, Shorter,
    ToWorker, ToldToken, WireSecret, Work, WorkKind, pair,
};
use anchorhold_worker::{Exit, Limits, LoadFailure, Model, Sockets, run};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use std::os::fd::OwnedFd;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A worker that is silent for this long is stuck; nothing here takes a hundredth of it.
pub(crate) const STUCK: Duration = Duration::from_secs(60);

pub(crate) struct Rig {
    pub(crate) keeper: Line<ToWorker, FromWorker>,
    pub(crate) gateway: Line<Work, Event>,
    /// The gateway's end once more, for bytes that are no message.
    socket: OwnedFd,
    worker: JoinHandle<Exit>,
    /// What the worker told last.
    load: Load,
}

pub(crate) fn confinement() -> Confinement {
    Confinement { active: vec!["seccomp".into()], missing: vec!["landlock: too old".into()] }
}

/// What holds it when it serves.
pub(crate) fn serving() -> Confinement {
    Confinement { active: vec!["seccomp".into(), "seccomp serving".into()], missing: Vec::new() }
}

pub(crate) fn report() -> LoadReport {
    let model = ModelInfo {
        id: "toy".into(),
        version: 3,
        kind: ModelKind::Chat,
        max_tokens: 64,
        dimensions: 0,
        shorter: Shorter::No,
        manifest_digest: [7; 32],
    };
    LoadReport { model, bytes: 12, memory_bytes: 24, locked_bytes: 8, micros: 34 }
}

pub(crate) fn load_order() -> ToWorker {
    // So that a test sees that what ended is freed.
    order(false)
}

fn order(keep_prefixes: bool) -> ToWorker {
    ToWorker::Load(Box::new(LoadModel {
        manifest: b"manifest".to_vec(),
        manifest_digest: [7; 32],
        version_min: 1,
        at_s: 0,
        owner_key: [1; 32],
        weights_key: WireSecret(Box::new([2; 32])),
        objects: Vec::new(),
        threads: 1,
        cpus: Vec::new(),
        keep_prefixes,
        precision: Precision::F32,
    }))
}

impl Rig {
    /// A worker that has not heard anything yet.
    pub(crate) fn begin(
        limits: Limits,
        load: impl FnOnce(LoadModel, Vec<OwnedFd>) -> Result<(Model, LoadReport), LoadFailure> + Send + 'static,
    ) -> Self {
        let (control, keeper) = pair().unwrap();
        let (data, gateway) = pair().unwrap();
        set_socket_timeout(&keeper, Timeout::Recv, Some(STUCK)).unwrap();
        set_socket_timeout(&gateway, Timeout::Recv, Some(STUCK)).unwrap();
        let sockets = Sockets::new(control, data).unwrap();
        let worker =
            thread::spawn(move || run(sockets, (confinement(), || Ok(serving())), limits, load).unwrap());
        let socket = gateway.try_clone().unwrap();
        Self { keeper: Line::new(keeper), gateway: Line::new(gateway), socket, worker, load: Load::default() }
    }

    /// A worker that serves this model.
    pub(crate) fn serving(model: Model, limits: Limits) -> Self {
        Self::ordered(model, limits, &load_order())
    }

    /// One that keeps what it computed for prompts.
    pub(crate) fn keeping(model: Model, limits: Limits) -> Self {
        Self::ordered(model, limits, &order(true))
    }

    fn ordered(model: Model, limits: Limits, order: &ToWorker) -> Self {
        let mut rig = Self::begin(limits, |_, _| Ok((model, report())));
        rig.keeper.send(order, &[]).unwrap();
        assert_eq!(rig.keeper.receive().unwrap().0, FromWorker::Confined(confinement()));
        assert_eq!(
            rig.keeper.receive().unwrap().0,
            FromWorker::Loaded { report: report(), serving: serving() }
        );
        rig
    }

    pub(crate) fn submit(&mut self, id: u64, kind: WorkKind) {
        self.submit_within(600_000, id, kind);
    }

    pub(crate) fn submit_within(&mut self, within_ms: u32, id: u64, kind: WorkKind) {
        self.gateway.send(&Work::Submit { id: RequestId(id), within_ms, kind: kind.into() }, &[]).unwrap();
    }

    pub(crate) fn cancel(&mut self, id: u64) {
        self.gateway.send(&Work::Cancel { id: RequestId(id) }, &[]).unwrap();
    }

    /// The socket of the gateway's line.
    pub(crate) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// The next event about a request.
    pub(crate) fn event(&mut self) -> Event {
        loop {
            match self.gateway.receive().unwrap().0 {
                Event::Load(load) => self.load = load,
                event => return event,
            }
        }
    }

    /// The next report that `is_wanted`; no request is under way.
    pub(crate) fn load(&mut self, is_wanted: impl Fn(&Load) -> bool) -> Load {
        while !is_wanted(&self.load) {
            match self.gateway.receive().unwrap().0 {
                Event::Load(load) => self.load = load,
                other => panic!("{other:?}"),
            }
        }
        self.load
    }

    /// The text of one generation, alone on the line, and how it ended.
    pub(crate) fn read_generation(&mut self) -> Answer {
        let (mut deltas, mut told) = (Vec::new(), Vec::new());
        loop {
            match self.event() {
                Event::Delta { text, told: mut of, .. } => {
                    deltas.push(text);
                    told.append(&mut of);
                }
                Event::Finished { reason, tokens_in, tokens_out, .. } => {
                    return Answer { deltas, told, reason, tokens_in, tokens_out };
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Waits for the worker's end; both lines stay open.
    pub(crate) fn exit(self) -> Exit {
        let Self { worker, keeper: _keeper, gateway: _gateway, socket: _socket, .. } = self;
        worker.join().unwrap()
    }

    /// Ends the gateway's line and waits for the worker's end.
    pub(crate) fn exit_without_gateway(self) -> Exit {
        let Self { worker, keeper: _keeper, gateway, socket, .. } = self;
        drop((gateway, socket));
        worker.join().unwrap()
    }

    /// Ends the keeper's line and waits for the worker's end.
    pub(crate) fn exit_without_keeper(self) -> Exit {
        let Self { worker, keeper, gateway: _gateway, socket: _socket, .. } = self;
        drop(keeper);
        worker.join().unwrap()
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) deltas: Vec<String>,
    pub(crate) told: Vec<ToldToken>,
    pub(crate) reason: FinishReason,
    pub(crate) tokens_in: u64,
    pub(crate) tokens_out: u64,
}

pub(crate) fn text(text: &str) -> Prompt {
    Prompt::Text(text.into())
}

pub(crate) const TENANCY: Tenancy = Tenancy { domain: CacheDomain([1; 16]), share: 1 };

/// A greedy generation that ends at any of `stop`.
pub(crate) fn generate(prompt: Prompt, max_tokens: u32, stop: &[&str]) -> WorkKind {
    let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
    let stop = stop.iter().map(ToString::to_string).collect();
    WorkKind::Generate {
        tenancy: TENANCY,
        prompt,
        sampling,
        stop: StopRules { max_tokens, stop, ..StopRules::default() },
        choices: 1,
        logprobs: None,
        structure: None,
    }
}

/// The same, changed.
pub(crate) fn with(mut kind: WorkKind, change: impl FnOnce(&mut Asked<'_>)) -> WorkKind {
    if let WorkKind::Generate { sampling, stop, choices, logprobs, structure, .. } = &mut kind {
        change(&mut Asked { sampling, stop, choices, logprobs, structure });
    }
    kind
}

/// What a test changes of a generation.
pub(crate) struct Asked<'a> {
    pub(crate) sampling: &'a mut Sampling,
    pub(crate) stop: &'a mut StopRules,
    pub(crate) choices: &'a mut u16,
    pub(crate) logprobs: &'a mut Option<u8>,
    pub(crate) structure: &'a mut Option<Box<Structure>>,
}
