//! One request with a key, from its admission to its entry in the audit log.
//!
//! An [`Exchange`] that is dropped before it is closed belongs to a caller who left: it is logged as cancelled.

use crate::App;
use crate::audit::Receipt;
use crate::flight::{Tokens, Update, Worker};
use crate::front::{Caller, millis};
use crate::gate::Place;
use crate::keeper::Slot;
use crate::padding::Padding;
use crate::pool::Found;
use crate::quota::Turn;
use crate::refuse::{audit_unavailable, denied, json, outcome, overloaded, refuse};
use crate::stream::{self, Run};
use anchorhold_api::ApiError;
use anchorhold_channel::server::{BodyError, read_body};
use anchorhold_ipc::{AuditEvent, ModelKind, Reason, RequestOutcome, RequestRecord, Route, Tenancy};
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use prometheus_client::metrics::gauge::Gauge;
use std::sync::Arc;
use std::time::Duration;

/// How long a body may take to arrive.
const BODY_WAIT: Duration = Duration::from_secs(30);
/// The status that the log shows for a caller who left before there was one.
const CLIENT_LEFT: u16 = 499;
const RECEIPT: HeaderName = HeaderName::from_static("x-anchorhold-receipt");
pub(crate) const RECEIPT_KEY: HeaderName = HeaderName::from_static("x-anchorhold-receipt-key");
/// Bytes of a body for each token that its prompt is taken to have until it is counted.
const BYTES_PER_TOKEN: u64 = 4;

/// What a route answers.
pub(crate) enum Answer {
    /// JSON.
    Whole(Vec<u8>),
    /// Events.
    Stream(Box<Run>),
}

pub(crate) struct Exchange {
    app: Arc<App>,
    caller: Caller,
    route: Route,
    receipt: Receipt,
    /// The place of the entry in the queue to the keeper; taken when the entry is sent.
    slot: Option<Slot>,
    admission: Option<Admission>,
    model: String,
    is_stream: bool,
    /// Of prompt and output.
    tokens: Tokens,
    /// Pieces of text that came from the worker; each is a token or more.
    heard: u64,
    /// Why it is not answered.
    reason: Option<Reason>,
}

/// One of the requests that may run at once; given back on drop.
struct Admission {
    turn: Turn,
    _all: Place,
    in_flight: Gauge,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.in_flight.dec();
    }
}

impl Exchange {
    /// Takes the place of the request's audit entry.
    ///
    /// # Errors
    /// The keeper does not keep up, or the system gives no randomness.
    pub(crate) fn begin(app: &Arc<App>, caller: Caller, route: Route) -> Result<Self, ApiError> {
        let slot = app.keeper.reserve().ok_or_else(audit_unavailable)?;
        Ok(Self {
            app: Arc::clone(app),
            caller,
            route,
            receipt: Receipt::new().ok_or_else(ApiError::internal)?,
            slot: Some(slot),
            admission: None,
            model: String::new(),
            is_stream: false,
            tokens: Tokens::default(),
            heard: 0,
            reason: None,
        })
    }

    pub(crate) fn rid(&self) -> &str {
        &self.caller.rid
    }

    /// Counts the request among those that run.
    ///
    /// # Errors
    /// There are too many, its tenant has used up what it may, the gateway drains, or the log takes no entries.
    pub(crate) fn admit(&mut self) -> Result<(), ApiError> {
        let app = &self.app;
        if *app.draining.borrow() {
            return Err(ApiError::unavailable("draining", "this server is about to stop"));
        }
        if !app.keeper.log_takes_entries() {
            return Err(audit_unavailable());
        }
        let all = app.gate.enter(self.caller.live.config.limits.max_in_flight).ok_or_else(overloaded)?;
        let estimate = self.caller.declared.unwrap_or(0).div_ceil(BYTES_PER_TOKEN);
        let turn = self.caller.tenant.quota.enter(estimate).map_err(denied)?;
        let in_flight = app.metrics.in_flight.clone();
        in_flight.inc();
        self.admission = Some(Admission { turn, _all: all, in_flight });
        Ok(())
    }

    /// Reads the body, which must be plain JSON by its headers, and commits to it.
    ///
    /// # Errors
    /// 413, 415, 408, 429 when it is longer than its tenant may send now, or 400 when the connection broke.
    pub(crate) async fn body(&mut self, request: Request) -> Result<Bytes, ApiError> {
        plain_json(request.headers())?;
        let most = self.caller.live.config.limits.body_bytes;
        let body = read_body(request.into_body(), most, BODY_WAIT).await.map_err(|error| match error {
            BodyError::TooLong { max_bytes } => ApiError::too_large(max_bytes),
            BodyError::TooSlow { .. } => ApiError::slow_body(),
            BodyError::Broken => ApiError::malformed("the body could not be read to its end"),
        })?;
        self.receipt.request(&body);
        if let Some(Admission { turn, .. }) = &mut self.admission {
            let bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
            turn.reserve_up_to(bytes.div_ceil(BYTES_PER_TOKEN)).map_err(denied)?;
        }
        Ok(body)
    }

    /// Commits to a request without a body.
    pub(crate) fn no_body(&mut self) {
        self.receipt.request(b"");
    }

    /// The worker of the model that the caller named.
    ///
    /// # Errors
    /// There is no such model, it is of another kind, or its worker is gone.
    pub(crate) fn worker(&mut self, model: &str, kind: ModelKind) -> Result<Arc<Worker>, ApiError> {
        let worker = self.any_worker(model)?;
        if worker.info.kind == kind {
            return Ok(worker);
        }
        self.model.clear();
        Err(ApiError::wrong_kind(match worker.info.kind {
            ModelKind::Chat => "generates text",
            ModelKind::Embedding => "makes embeddings",
            ModelKind::Rerank => "ranks documents",
        }))
    }

    /// The same, whatever the model can do.
    ///
    /// # Errors
    /// There is no such model, or its worker is gone.
    pub(crate) fn any_worker(&mut self, model: &str) -> Result<Arc<Worker>, ApiError> {
        let away = || ApiError::unavailable("model_not_ready", "this model does not answer now");
        if !self.caller.tenant.may_ask(model) {
            // As if there were none.
            return Err(ApiError::model_not_found());
        }
        match self.app.pool.find(model) {
            Found::Ready(worker) => {
                self.model = model.to_owned();
                Ok(worker)
            }
            Found::Away => {
                self.model = model.to_owned();
                Err(away())
            }
            Found::Unknown if self.caller.live.config.models.iter().any(|expected| expected == model) => {
                Err(away())
            }
            Found::Unknown => Err(ApiError::model_not_found()),
        }
    }

    pub(crate) fn padding(&self) -> &Padding {
        &self.caller.live.config.padding
    }

    /// For whom the work is, as workers know it.
    pub(crate) fn tenancy(&self) -> Tenancy {
        self.caller.tenant.tenancy
    }

    /// How long the reader of a stream may take nothing.
    pub(crate) fn stalled(&self) -> Duration {
        self.caller.live.config.limits.stalled
    }

    pub(crate) fn streams(&mut self) {
        self.is_stream = true;
    }

    /// The first text is there.
    pub(crate) fn first_token(&self) {
        self.app.metrics.first_token(self.route, &self.model, self.caller.begun.elapsed().as_secs_f64());
    }

    /// Takes note of what the worker says, so that a caller who leaves is charged for what was made.
    pub(crate) fn hear(&mut self, update: &Update) {
        if matches!(update, Update::Delta { .. }) {
            self.heard = self.heard.saturating_add(1);
        }
    }

    /// The same of so many pieces that nobody took any more.
    pub(crate) fn hear_unread(&mut self, pieces: usize) {
        self.heard = self.heard.saturating_add(u64::try_from(pieces).unwrap_or(u64::MAX));
    }

    /// The usage so far: of what has ended.
    pub(crate) fn count(&mut self, tokens: Tokens) {
        self.tokens = tokens;
    }

    /// Commits to the next bytes of the answer.
    pub(crate) fn commit(&mut self, bytes: &[u8]) {
        if !self.caller.is_head {
            self.receipt.response(bytes);
        }
    }

    /// Says why the request is not answered, for its entry.
    pub(crate) fn failed(&mut self, error: &ApiError) {
        self.reason = Some(Reason::of(error.code()));
    }

    /// Sends the entry and waits until it is durable. Gives the keeper's receipt where the request has one.
    ///
    /// # Errors
    /// It is not, and nothing may be served.
    pub(crate) async fn close(
        &mut self,
        outcome: RequestOutcome,
        status: StatusCode,
    ) -> Result<Option<String>, ApiError> {
        let Some(slot) = self.slot.take() else { return Ok(None) };
        let record = self.record(outcome, status.as_u16());
        let appended = self.app.keeper.record(slot, AuditEvent::Request(record.into())).await;
        appended.map_err(|_| {
            self.app.metrics.audit_refusals.inc();
            audit_unavailable()
        })
    }

    /// Sends the entry and does not wait for it: for answers that hold nothing of any request.
    pub(crate) fn close_later(self, status: StatusCode) {
        self.note(RequestOutcome::Complete, status);
    }

    fn note(mut self, outcome: RequestOutcome, status: StatusCode) {
        if let Some(slot) = self.slot.take() {
            let record = self.record(outcome, status.as_u16());
            self.app.keeper.note(slot, AuditEvent::Request(record.into()));
        }
    }

    /// Ends the exchange with what its route answers, or begins the stream.
    pub(crate) async fn answer(mut self, result: Result<Answer, ApiError>) -> Response {
        match result {
            Ok(Answer::Stream(run)) => stream::respond(self, *run),
            Ok(Answer::Whole(body)) => self.whole(RequestOutcome::Complete, StatusCode::OK, body).await,
            // Who comes at the wrong moment should know at once, and not wait for the disk behind the entries of all that is
            // served. Nothing of the request was read, so there is nothing of it in the answer.
            Err(error)
                if error.retry_after().is_some()
                    && self.receipt.commitments().is_none()
                    && self.app.keeper.keeps_up() =>
            {
                let told = refuse(&error);
                self.failed(&error);
                self.note(outcome(&error), told.status());
                told
            }
            Err(error) => {
                let told = refuse(&error);
                self.failed(&error);
                let status = told.status();
                let mut response = self.whole(outcome(&error), status, error.to_json().into_bytes()).await;
                if response.status() == status {
                    response.headers_mut().extend(told.headers().clone());
                }
                response
            }
        }
    }

    /// The answer, once its entry is durable.
    async fn whole(mut self, outcome: RequestOutcome, status: StatusCode, body: Vec<u8>) -> Response {
        self.commit(&body);
        let receipt = match self.close(outcome, status).await {
            Ok(receipt) => receipt,
            Err(error) => return refuse(&error),
        };
        let mut response = json(status, body);
        response.headers_mut().extend(self.receipt_key());
        let receipt = receipt.and_then(|receipt| HeaderValue::try_from(receipt).ok());
        response.headers_mut().extend(receipt.map(|receipt| (RECEIPT, receipt)));
        response
    }

    /// What the log is told, which is counted and written to our own log too.
    fn record(&mut self, outcome: RequestOutcome, status: u16) -> RequestRecord {
        self.charge(outcome);
        let reason = match outcome {
            RequestOutcome::Complete => None,
            RequestOutcome::Cancelled => Some(Reason::CallerLeft),
            RequestOutcome::Rejected | RequestOutcome::Error => Some(self.reason.unwrap_or(Reason::Internal)),
        };
        let record = RequestRecord {
            rid: self.caller.rid.clone(),
            tenant: self.caller.tenant.name.to_string(),
            auth: self.caller.auth,
            route: self.route,
            model: self.model.clone(),
            outcome,
            reason,
            status,
            stream: self.is_stream,
            tokens_in: self.tokens.read,
            tokens_out: self.tokens.made,
            millis: millis(self.caller.begun),
            commitments: self.receipt.commitments(),
            caller: self.caller.part.clone(),
        };
        let trace = self.caller.trace.as_ref();
        crate::log::request(&record, trace);
        if self.caller.live.config.spans {
            crate::spans::request(&record, trace, self.caller.begun.elapsed());
        }
        self.app.metrics.count(&record, self.tokens.found, self.caller.begun.elapsed().as_secs_f64());
        record
    }

    /// Says what the tenant's quota is charged with.
    fn charge(&mut self, outcome: RequestOutcome) {
        let counted = self.tokens.read.saturating_add(self.tokens.made);
        let Some(Admission { turn, .. }) = &mut self.admission else { return };
        turn.used = match outcome {
            RequestOutcome::Complete => counted,
            // Nothing was computed.
            RequestOutcome::Rejected => 0,
            // The fault is ours: what came is charged, and no prompt.
            RequestOutcome::Error => counted.max(self.heard),
            // The prompt may have been computed, and what came was.
            RequestOutcome::Cancelled => counted.max(turn.reserved().saturating_add(self.heard)),
        };
    }

    /// The key of the commitments, for the caller.
    pub(crate) fn receipt_key(&self) -> Option<(HeaderName, HeaderValue)> {
        let mut value = HeaderValue::from_str(self.receipt.header()).ok()?;
        value.set_sensitive(true);
        Some((RECEIPT_KEY, value))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            let record = self.record(RequestOutcome::Cancelled, CLIENT_LEFT);
            self.app.keeper.note(slot, AuditEvent::Request(record.into()));
        }
    }
}

/// Refuses bodies that say they are something else than plain JSON.
fn plain_json(headers: &HeaderMap) -> Result<(), ApiError> {
    if headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
        return Err(ApiError::unsupported_media_type(
            "a compressed body is not taken; send it without content-encoding",
        ));
    }
    let mut kinds = headers.get_all(CONTENT_TYPE).iter();
    let (kind, None) = (kinds.next(), kinds.next()) else {
        return Err(ApiError::unsupported_media_type("there is more than one content-type"));
    };
    let essence = kind.map(|kind| kind.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default());
    if essence.is_some_and(|essence| essence.trim_ascii().eq_ignore_ascii_case(b"application/json")) {
        return Ok(());
    }
    Err(ApiError::unsupported_media_type("the content-type must be application/json"))
}
