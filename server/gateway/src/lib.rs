//! The gateway: HTTP in front, two kinds of lines behind.
//!
//! ```text
//! client ──HTTP──▶ front (id, key, headers) ──▶ routes ──▶ Exchange ──▶ pool ──Work──▶ worker
//!                                                             └──Record──▶ keeper
//! ```
//!
//! Call [`Gateway::start`] with the keeper's line, serve [`Gateway::router`] until [`Gateway::draining`] completes, call
//! [`Gateway::end`] when the time for what runs is up, then [`Gateway::drained`]. Promised: every path but the public ones
//! needs a key, and the key is looked at first; every request with a key leaves one entry in the audit log, and a whole answer leaves only after its entry is durable; a caller
//! who leaves frees what the request holds at once; no text of a request reaches a log, a metric or an error.
//!
//! The gateway is *not* trusted with a weights key and never sees a tensor. A hostile one can read and answer the
//! requests that pass through it, and can log entries that are not true; it can open no model.

mod ask;
mod attestation;
mod audit;
mod bodies;
mod config;
mod embed;
mod exchange;
mod flight;
mod front;
mod gate;
mod gather;
mod generate;
mod keeper;
mod keys;
mod live;
mod log;
mod log_part;
mod metrics;
mod oidc;
mod padding;
mod pool;
mod quota;
mod reader;
mod refuse;
mod rerank;
mod routes;
mod spans;
mod status;
mod stream;
mod tokenize;
mod trace;
mod words;

pub use bodies::BodyKeys;
pub use config::{
    Clients, Config, ConfigError, ENVIRONMENT, Faults, Files, Limits, Overrides, Written, shown,
};
pub use keys::MAX_KEY_BYTES;
pub use log::init as init_log;

use anchorhold_ipc::{FromGateway, GuestCard, Line, ModelInfo, ToGateway};
use axum::Router;
use flight::Patience;
use gate::Gate;
use live::Current;
use metrics::Metrics;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};

/// Attestation documents that are being made at one time; each costs the keeper a call to the security processor.
const MAX_ATTESTATIONS: usize = 8;
/// Authenticators that the keeper is asked to sign at one time; each costs it one signature.
const MAX_AUTHENTICATORS: usize = 256;

/// A gateway that talks to its keeper.
#[derive(Debug)]
pub struct Gateway {
    app: Arc<App>,
}

/// What all requests share.
#[derive(Debug)]
struct App {
    /// The settings in force.
    current: Arc<Current>,
    /// Around the requests that run, of all tenants.
    gate: Gate,
    attestations: Semaphore,
    authenticators: Semaphore,
    pool: Arc<pool::Pool>,
    keeper: keeper::Keeper,
    /// The DER that goes into authenticators of connections.
    authenticator_certificate: Vec<u8>,
    /// What anybody may know of the guest.
    guest: GuestCard,
    /// Where the server is, as its own settings name it.
    address: String,
    body_keys: BodyKeys,
    metrics: Arc<Metrics>,
    failures: audit::FailureRate,
    /// True once no new work is taken.
    draining: watch::Sender<bool>,
    /// True once what still runs is to end.
    ending: watch::Sender<bool>,
}

/// What a gateway begins with.
#[derive(Debug)]
pub struct Opening {
    /// Models that answer, each with the line to its worker.
    pub workers: Vec<(ModelInfo, OwnedFd)>,
    /// What came with `Listen`.
    pub authenticator_certificate: Vec<u8>,
    /// The keys whose public halves went out with `Hello`.
    pub body_keys: BodyKeys,
    /// What anybody may know of the guest; came with `Listen` too.
    pub guest: GuestCard,
    /// How many layers hold this process, and how many its kernel refused.
    pub layers: (usize, usize),
    /// The port that was bound, where the settings leave it to the system.
    pub port: u16,
}

impl Gateway {
    /// Begins with these workers and listens to the keeper, in threads of its own. `Hello` and `Listening` are sent
    /// before this. What stands beside the settings' file stays in force when the file is read again.
    ///
    /// # Errors
    /// The system gives no thread, or no randomness.
    pub fn start(
        (config, overrides): (Config, Overrides),
        line: Line<FromGateway, ToGateway>,
        opening: Opening,
    ) -> io::Result<Self> {
        let metrics = Arc::new(Metrics::new());
        let patience = Patience { answer: config.limits.answer, request: config.limits.request };
        let ending = watch::Sender::new(false);
        let pool = Arc::new(pool::Pool::new(Arc::clone(&metrics), patience, ending.subscribe()));
        let Opening { workers, authenticator_certificate, body_keys, guest, layers, port } = opening;
        metrics.confined(layers.0, layers.1);
        workers.into_iter().for_each(|(info, socket)| pool.add(info, socket));
        let name = config.names.first().map_or("localhost", String::as_str);
        let address = format!("https://{name}:{port}");
        let draining = watch::Sender::new(false);
        let current = Arc::new(Current::new(config, overrides)?);
        let listeners = (Arc::clone(&pool), Arc::clone(&current));
        let keeper = keeper::Keeper::start(line, listeners, draining.clone())?;
        let app = App {
            current,
            gate: Gate::default(),
            attestations: Semaphore::new(MAX_ATTESTATIONS),
            authenticators: Semaphore::new(MAX_AUTHENTICATORS),
            pool,
            keeper,
            authenticator_certificate,
            guest,
            address,
            body_keys,
            metrics,
            failures: audit::FailureRate::default(),
            draining,
            ending,
        };
        Ok(Self { app: Arc::new(app) })
    }

    /// The routes, with keys, ids and headers.
    pub fn router(&self) -> Router {
        routes::router(Arc::clone(&self.app))
    }

    /// Takes no new work from now on.
    pub fn drain(&self) {
        self.app.draining.send_replace(true);
    }

    /// Completes when no new work is taken: [`drain`](Self::drain) was called, or the keeper asked for it or is gone.
    pub async fn draining(&self) {
        // The sender lives in `app`, so the wait ends only with the value.
        let _ = self.app.draining.subscribe().wait_for(|draining| *draining).await;
    }

    /// Ends what still runs: each answer that is not whole is told so, in an event of its own when it is a stream, and logged.
    pub fn end(&self) {
        self.app.ending.send_replace(true);
    }

    /// Tells the keeper that everything is finished; returns when the message has left, or cannot leave.
    pub async fn drained(&self) {
        self.app.keeper.drained().await;
    }
}
