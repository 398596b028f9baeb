//! One server under watch.

use crate::connector::{AttestedConnector, ConnectError, Lease};
use crate::history::{HistoryError, Observation, Rollback, RollbackRule};
use crate::verification::{self, Reason, Standing, Verified};
use crate::{History, RelyingParty};
use anchorhold_channel::AttestedServer;
use anchorhold_channel::client::{Client, Limits, Target};
use anchorhold_rats::Timestamp;
use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::{self, Builder};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::timeout;

/// How long one verification may take in all, endorsements included.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(120);
/// How long before its evidence ends a server is judged again, in seconds.
const BEFORE_END: i64 = 60;
/// Between two looks at a server that is not accepted, in seconds.
const RETRY: i64 = 10;
/// Since the last look at a server that is not accepted, before a request looks again, in seconds.
const RETRY_FOR_REQUEST: i64 = 2;
/// The longest that [`VerifiedUpstream::watch`] sleeps, so that it notices when the clock was set or the machine slept.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// How a server is watched and asked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Of connections and of the verification's exchanges.
    pub limits: Limits,
    /// Between two verifications. Twice as long after one, nothing is sent any more until there is another.
    pub reverify: Duration,
    /// The most attested connections that wait for a request.
    pub max_idle: usize,
    /// How long one waits, before it is closed. A gateway closes it after 30 s.
    pub idle_timeout: Duration,
    /// What a rollback does.
    pub rollback: RollbackRule,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            reverify: Duration::from_secs(300),
            max_idle: 16,
            idle_timeout: Duration::from_secs(20),
            rollback: RollbackRule::Warn,
        }
    }
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The server is not accepted; nothing was sent.
    #[error("upstream is not attested: {0}")]
    NotAttested(Arc<Reason>),
    /// The exchange broke.
    #[error("exchange with the upstream broken: {0}")]
    Broken(legacy::Error),
    /// The request has no path, or names another host.
    #[error("request is not for a path of the upstream")]
    Request,
}

/// One server: the last verdict on it, when the next one is due, and a pool of attested connections. Clones are the same one.
pub struct VerifiedUpstream<R>(Arc<Inner<R>>);

impl<R> Clone for VerifiedUpstream<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R> fmt::Debug for VerifiedUpstream<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifiedUpstream({})", self.0.target)
    }
}

struct Inner<R> {
    target: Target,
    authority: Authority,
    relying: Arc<R>,
    settings: Settings,
    /// Held for moments, never across a wait.
    current: Mutex<Current>,
    /// Held by who verifies; others wait for the verdict.
    turn: tokio::sync::Mutex<()>,
    /// Held by who verifies, while the file is written.
    history: Arc<Mutex<Option<History>>>,
}

struct Current {
    verdict: Result<Arc<Accepted>, Arc<Reason>>,
    since: Timestamp,
    checked: Timestamp,
    /// How often it was looked at.
    rounds: u64,
    warnings: Vec<Rollback>,
    history: Option<HistorySummary>,
}

type Pool = legacy::Client<AttestedConnector, Full<Bytes>>;

/// A server that was accepted, and the connections that rest on it.
struct Accepted {
    server: Box<AttestedServer>,
    connector: AttestedConnector,
    pool: Pool,
    due: Timestamp,
    lapses: Timestamp,
}

/// What the history holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct HistorySummary {
    /// Entries in the file.
    pub entries: u64,
    /// When the first of them was accepted.
    pub first: Option<Timestamp>,
    /// When the last was.
    pub last: Option<Timestamp>,
}

/// How a server stands at a moment, for people and scripts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// The server.
    pub upstream: String,
    /// The verdict.
    pub verdict: Standing,
    /// Why it is not accepted.
    pub reason: Option<Reason>,
    /// Whether the trust anchors are not the vendors'. Then nothing is protected, whatever the verdict.
    pub simulated: Option<bool>,
    /// The launch digest of an accepted server.
    pub measurement: Option<String>,
    /// SHA-256 of its document.
    pub document_digest: Option<String>,
    /// Since when the verdict is this one.
    pub since: Timestamp,
    /// When it was last looked at.
    pub checked: Timestamp,
    /// When it will be looked at next.
    pub next_check: Timestamp,
    /// When its evidence ends.
    pub expires: Option<Timestamp>,
    /// In what it went back behind what was accepted before.
    pub rollbacks: Vec<Rollback>,
    /// The history, where one is kept.
    pub history: Option<HistorySummary>,
}

impl<R: RelyingParty> VerifiedUpstream<R> {
    /// A server that nobody has looked at yet.
    #[must_use]
    pub fn new(target: Target, relying: R, settings: Settings, history: Option<History>) -> Self {
        let now = relying.now();
        let authority = Authority::try_from(target.authority());
        let authority = authority.expect("a target was read from a URI with an authority");
        let reason = Reason::new(Standing::Unverified, "unverified", "not looked at yet");
        let current = Current {
            verdict: Err(Arc::new(reason)),
            since: now,
            checked: Timestamp::from_unix_seconds(0),
            rounds: 0,
            warnings: Vec::new(),
            history: history.as_ref().map(History::summary),
        };
        Self(Arc::new(Inner {
            target,
            authority,
            relying: Arc::new(relying),
            settings,
            current: Mutex::new(current),
            turn: tokio::sync::Mutex::new(()),
            history: Arc::new(Mutex::new(history)),
        }))
    }

    /// Judges the server now, or takes the verdict of whoever is about to.
    pub async fn verify(&self) -> Snapshot {
        let rounds = self.current().rounds;
        let turn = self.0.turn.lock().await;
        if self.current().rounds == rounds {
            let Inner { target, relying, settings, .. } = &*self.0;
            let judging = timeout(VERIFY_TIMEOUT, verification::verify(target, &**relying, &settings.limits));
            let late = || Reason::new(Standing::Unreachable, "unreachable", "no verdict within 120 s");
            let verified = judging.await.unwrap_or_else(|_| Err(late()));
            self.settle(verified).await;
        }
        drop(turn);
        self.snapshot()
    }

    /// Judges the server on time for as long as it is awaited, and tells how it stands after each time.
    pub async fn watch(&self, mut hear: impl FnMut(&Snapshot)) {
        loop {
            let snapshot = self.snapshot();
            let wait = snapshot.next_check.unix_seconds() - self.0.relying.now().unix_seconds();
            match u64::try_from(wait) {
                Ok(wait @ 1..) => tokio::time::sleep(Duration::from_secs(wait).min(LONGEST_SLEEP)).await,
                _ => hear(&self.verify().await),
            }
        }
    }

    /// How it stands.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let current = self.current();
        let accepted = current.verdict.as_ref().ok();
        let reason = self.standing(&current).err();
        Snapshot {
            upstream: self.0.target.to_string(),
            verdict: reason.as_ref().map_or(Standing::Accepted, |reason| reason.standing),
            reason: reason.map(|reason| (*reason).clone()),
            simulated: accepted.map(|accepted| accepted.server.result().simulated()),
            measurement: accepted.map(|accepted| accepted.server.result().measurement().to_string()),
            document_digest: accepted.map(|accepted| accepted.server.document_digest().to_string()),
            since: current.since,
            checked: current.checked,
            next_check: match accepted {
                Some(accepted) => accepted.due,
                None if current.rounds == 0 => current.since,
                None => current.checked.plus_seconds(RETRY),
            },
            expires: accepted.map(|accepted| accepted.server.expires()),
            rollbacks: current.warnings.clone(),
            history: current.history,
        }
    }

    /// A connector for what is accepted now. Looks at the server first where that is due.
    ///
    /// # Errors
    /// Why it is not accepted.
    pub async fn connector(&self) -> Result<AttestedConnector, Arc<Reason>> {
        Ok(self.accepted().await?.connector.clone())
    }

    /// Sends a request on an attested connection, and says by which attestation. The URI's path and query count; scheme and host
    /// may be left out. Where the server shows another key than the attested one it is judged again, and asked if it is
    /// accepted: nothing was sent before.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn request(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Arc<AttestedGuest>), RequestError> {
        *request.uri_mut() = self.absolute(request.uri())?;
        let mut accepted = self.accepted().await.map_err(RequestError::NotAttested)?;
        let error = match accepted.pool.request(request.clone()).await {
            Ok(response) => return Ok((response, accepted.guest())),
            Err(error) => error,
        };
        let Some(reason) = identity(&error) else { return Err(RequestError::Broken(error)) };
        self.verify().await;
        accepted = self.accepted().await.map_err(RequestError::NotAttested)?;
        match accepted.pool.request(request).await {
            Ok(response) => Ok((response, accepted.guest())),
            Err(error) if identity(&error).is_some() => Err(RequestError::NotAttested(Arc::new(reason))),
            Err(error) => Err(RequestError::Broken(error)),
        }
    }

    fn absolute(&self, uri: &Uri) -> Result<Uri, RequestError> {
        let same = uri.authority().is_none_or(|authority| *authority == self.0.authority);
        let path: PathAndQuery = uri.path_and_query().cloned().ok_or(RequestError::Request)?;
        if !same || !path.as_str().starts_with('/') {
            return Err(RequestError::Request);
        }
        let builder = Uri::builder().scheme(Scheme::HTTPS).authority(self.0.authority.clone());
        builder.path_and_query(path).build().map_err(|_| RequestError::Request)
    }

    /// What is accepted now; looks first where the last look was too long ago.
    async fn accepted(&self) -> Result<Arc<Accepted>, Arc<Reason>> {
        let (standing, checked) = {
            let current = self.current();
            (self.standing(&current), current.checked)
        };
        if standing.is_err() && self.0.relying.now() >= checked.plus_seconds(RETRY_FOR_REQUEST) {
            self.verify().await;
            return self.standing(&self.current());
        }
        standing
    }

    fn standing(&self, current: &Current) -> Result<Arc<Accepted>, Arc<Reason>> {
        let accepted = current.verdict.as_ref().map_err(Arc::clone)?;
        if self.0.relying.now() < accepted.lapses {
            return Ok(Arc::clone(accepted));
        }
        let text = format!("accepted until {}, and not looked at again since", accepted.lapses);
        Err(Arc::new(Reason::new(Standing::Lapsed, "lapsed", text)))
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn settle(&self, verified: Result<Verified, Reason>) {
        let mut warnings = Vec::new();
        let mut summary = None;
        let verdict = match verified {
            Ok(verified) => {
                let observation = Observation::of(&self.0.target, &verified.server, verified.at);
                let (rollbacks, now, kept) = self.remember(observation).await;
                warnings = rollbacks;
                summary = now;
                match (kept, warnings.first()) {
                    (Err(error), _) => Err(Reason::new(Standing::NoPolicy, "history", error)),
                    (Ok(()), Some(first)) if self.0.settings.rollback == RollbackRule::Refuse => {
                        Err(Reason::new(Standing::Rollback, first.code(), first))
                    }
                    (Ok(()), _) => self.accept(verified),
                }
            }
            Err(reason) => Err(reason),
        };
        let now = self.0.relying.now();
        let mut current = self.current();
        if let (Ok(before), false) = (&current.verdict, same_guest(&current.verdict, &verdict)) {
            before.connector.lease().end();
        }
        let standing = |verdict: &Result<Arc<Accepted>, Arc<Reason>>| match verdict {
            Ok(accepted) => (Standing::Accepted, Some(accepted.server.result().measurement())),
            Err(reason) => (reason.standing, None),
        };
        let verdict = verdict.map(Arc::new).map_err(Arc::new);
        if current.rounds == 0 || standing(&current.verdict) != standing(&verdict) {
            current.since = now;
        }
        current.verdict = verdict;
        current.checked = now;
        current.rounds += 1;
        current.warnings = warnings;
        current.history = summary.or(current.history);
    }

    /// The history's word on it; what is refused is not remembered as accepted.
    async fn remember(
        &self,
        observation: Observation,
    ) -> (Vec<Rollback>, Option<HistorySummary>, Result<(), HistoryError>) {
        let (history, rule) = (Arc::clone(&self.0.history), self.0.settings.rollback);
        let work = move || {
            let mut history = history.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(history) = history.as_mut() else { return (Vec::new(), None, Ok(())) };
            let rollbacks = history.compare(&observation);
            let refused = !rollbacks.is_empty() && rule == RollbackRule::Refuse;
            let kept = if refused { Ok(()) } else { history.append(observation) };
            (rollbacks, Some(history.summary()), kept)
        };
        // The file is synced, which may take as long as the disk likes.
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|_| (Vec::new(), None, Err(HistoryError::Lost)))
    }

    fn accept(&self, verified: Verified) -> Result<Accepted, Reason> {
        let Inner { target, relying, settings, .. } = &*self.0;
        let Verified { server, at } = verified;
        let interval = i64::try_from(settings.reverify.as_secs()).unwrap_or(i64::MAX).max(1);
        let ends = server.expires();
        let lapses = at.plus_seconds(interval.saturating_mul(2)).min(ends);
        let due = at.plus_seconds(interval).min(ends.plus_seconds(-BEFORE_END)).max(at.plus_seconds(1));
        let before =
            self.current().verdict.as_ref().ok().filter(|before| same_keys(&before.server, &server)).cloned();
        if let Some(before) = before {
            before.connector.lease().renew(lapses);
            let (connector, pool) = (before.connector.clone(), before.pool.clone());
            return Ok(Accepted { server, connector, pool, due, lapses });
        }
        let client = Client::attested(target.clone(), &server, at, settings.limits.clone());
        let client = client.map_err(|error| Reason::of_connection(&error))?;
        let clock = Arc::clone(relying);
        let lease = Arc::new(Lease::until(lapses));
        let connector = AttestedConnector::new(client, lease, Arc::new(move || clock.now()));
        let pool = pool(settings).build(connector.clone());
        Ok(Accepted { server, connector, pool, due, lapses })
    }
}

fn pool(settings: &Settings) -> Builder {
    let mut builder = legacy::Client::builder(TokioExecutor::new());
    builder
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(settings.idle_timeout)
        .pool_max_idle_per_host(settings.max_idle);
    builder
}

fn same_keys(one: &AttestedServer, other: &AttestedServer) -> bool {
    let authenticator = |server: &AttestedServer| server.state().channel.authenticator_key;
    one.keys() == other.keys()
        && authenticator(one) == authenticator(other)
        && one.result().measurement() == other.result().measurement()
}

fn same_guest(one: &Result<Arc<Accepted>, Arc<Reason>>, other: &Result<Accepted, Reason>) -> bool {
    matches!((one, other), (Ok(one), Ok(other)) if same_keys(&one.server, &other.server))
}

/// Why a connection was refused for whom it ends in.
fn identity(error: &legacy::Error) -> Option<Reason> {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        match error.downcast_ref::<ConnectError>() {
            Some(ConnectError::Connection(error)) => {
                let reason = Reason::of_connection(error);
                return (reason.standing != Standing::Unreachable).then_some(reason);
            }
            Some(ConnectError::Ended) => return Some(Reason::new(Standing::Lapsed, "lapsed", error)),
            Some(ConnectError::OtherHost) => return None,
            None => source = error.source(),
        }
    }
    None
}

/// Whose receipts the answers of one attested guest carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestedGuest {
    /// The key that signs its receipts.
    pub audit_key: anchorhold_rats::Ed25519PublicKey,
    /// Its launch digest.
    pub measurement: anchorhold_rats::Measurement,
    /// The origin of its log.
    pub origin: String,
}

impl Accepted {
    fn guest(&self) -> Arc<AttestedGuest> {
        let server = &self.server;
        Arc::new(AttestedGuest {
            audit_key: server.keys().audit_key,
            measurement: server.result().measurement(),
            origin: server.state().audit.origin.clone(),
        })
    }
}

impl<R: RelyingParty> tower::Service<Request<Full<Bytes>>> for VerifiedUpstream<R> {
    type Response = Response<Incoming>;
    type Error = RequestError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, RequestError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), RequestError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        let upstream = self.clone();
        Box::pin(async move { Ok(upstream.request(request).await?.0) })
    }
}

impl Snapshot {
    /// What is new against the last word on it, for people: nothing while nothing changed.
    #[must_use]
    pub fn news(&self, before: Option<&Self>) -> Vec<String> {
        let mut news = Vec::new();
        let known: BTreeSet<String> =
            before.into_iter().flat_map(|before| &before.rollbacks).map(ToString::to_string).collect();
        let same = before.is_some_and(|before| {
            (before.verdict, &before.measurement, &before.reason)
                == (self.verdict, &self.measurement, &self.reason)
        });
        if !same {
            let Self { upstream, measurement, reason, .. } = self;
            news.push(match (measurement, reason) {
                (_, Some(reason)) => {
                    format!("{upstream} is NOT accepted, and nothing is sent to it: {reason}")
                }
                (Some(measurement), None) => format!("{upstream} is accepted, measurement {measurement}"),
                (None, None) => format!("{upstream} is accepted"),
            });
        }
        let rollbacks = self.rollbacks.iter().map(ToString::to_string).filter(|text| !known.contains(text));
        news.extend(rollbacks.map(|text| format!("warning: rollback: {text}")));
        news
    }
}
