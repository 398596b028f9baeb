//! The gateway: HTTP in front, two kinds of lines behind.
//!
//! ```text
//! client ──HTTP──▶ front (id, key, headers) ──▶ routes ──▶ Exchange ──▶ pool ──Work──▶ worker
//!                                                             └──Record──▶ keeper
//! ```
//!
//! Call [`Gateway::start`] with the keeper's line, serve [`Gateway::router`] until [`Gateway::draining`] completes, then
//! call [`Gateway::drained`]. Promised: every path but the public ones needs a key, and the key is looked at first; every request
//! with a key leaves one entry in the audit log, and a whole answer leaves only after its entry is durable; a caller
//! who leaves frees what the request holds at once; no text of a request reaches a log, a metric or an error.
//!
//! The gateway is *not* trusted with a weights key and never sees a tensor. A hostile one can read and answer the
//! requests that pass through it, and can log entries that are not true; it can open no model.

mod attestation;
mod audit;
mod config;
mod exchange;
mod flight;
mod front;
mod generate;
mod keeper;
mod keys;
mod log;
mod metrics;
mod pool;
mod refuse;
mod rerank;
mod routes;
mod status;
mod stream;
mod tokenize;
mod words;

pub use config::{Config, ConfigError, Limits};
pub use keys::{Keyring, MAX_KEY_BYTES, MAX_KEYS};
pub use log::init as init_log;

use anchorhold_ipc::{FromGateway, GuestCard, Line, ModelInfo, ToGateway};
use axum::Router;
use flight::Patience;
use metrics::Metrics;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};

/// Attestation documents that are being made at one time; each costs the keeper a call to the security processor.
const MAX_ATTESTATIONS: usize = 8;
/// Authenticators that the keeper is asked to sign at one time; each costs it one signature.
const MAX_AUTHENTICATORS: usize = 256;

/// What the keeper gives with the leave to open the port.
#[derive(Debug, Clone, Default)]
pub struct Opened {
    /// The DER that goes into authenticators of connections.
    pub authenticator_certificate: Vec<u8>,
    /// What anybody may know of the guest.
    pub guest: GuestCard,
}

/// A gateway that talks to its keeper.
#[derive(Debug)]
pub struct Gateway {
    app: Arc<App>,
}

/// What all requests share.
#[derive(Debug)]
struct App {
    keyring: Keyring,
    /// The models that must answer before the gateway says it is ready.
    expected: Vec<String>,
    limits: Limits,
    /// As many permits as requests may run at once, over all tenants.
    in_flight: Arc<Semaphore>,
    attestations: Semaphore,
    authenticators: Semaphore,
    pool: Arc<pool::Pool>,
    keeper: keeper::Keeper,
    opened: Opened,
    /// Where the server is, as its own settings name it.
    address: String,
    metrics: Arc<Metrics>,
    failures: audit::FailureRate,
    /// True once no new work is taken.
    draining: watch::Sender<bool>,
}

impl Gateway {
    /// Begins with these workers and listens to the keeper, in threads of its own. `Hello` and `Listening` are sent
    /// before this. `opened` is what came with `Listen`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        config: Config,
        line: Line<FromGateway, ToGateway>,
        workers: Vec<(ModelInfo, OwnedFd)>,
        opened: Opened,
    ) -> io::Result<Self> {
        let metrics = Arc::new(Metrics::new());
        let patience = Patience { answer: config.limits.answer, request: config.limits.request };
        let pool = Arc::new(pool::Pool::new(Arc::clone(&metrics), patience));
        workers.into_iter().for_each(|(info, socket)| pool.add(info, socket));
        let name = config.names.first().map_or("localhost", String::as_str);
        let address = format!("https://{name}:{}", config.listen.port());
        let draining = watch::Sender::new(false);
        let keeper = keeper::Keeper::start(line, Arc::clone(&pool), draining.clone())?;
        let app = App {
            keyring: config.keyring,
            expected: config.models,
            in_flight: Arc::new(Semaphore::new(config.limits.max_in_flight)),
            limits: config.limits,
            attestations: Semaphore::new(MAX_ATTESTATIONS),
            authenticators: Semaphore::new(MAX_AUTHENTICATORS),
            pool,
            keeper,
            opened,
            address,
            metrics,
            failures: audit::FailureRate::default(),
            draining,
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

    /// Tells the keeper that everything is finished; returns when the message has left, or cannot leave.
    pub async fn drained(&self) {
        self.app.keeper.drained().await;
    }
}
