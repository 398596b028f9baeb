//! One request with a key, from its admission to its entry in the audit log.
//!
//! An [`Exchange`] that is dropped before it is closed belongs to a caller who left: it is logged as cancelled.

use crate::App;
use crate::audit::Receipt;
use crate::flight::{Tokens, Worker};
use crate::front::{Caller, millis};
use crate::keeper::Slot;
use crate::pool::Found;
use crate::refuse::{audit_unavailable, json, outcome, overloaded, refuse};
use crate::stream::{self, Run};
use anchorhold_api::ApiError;
use anchorhold_channel::server::{BodyError, read_body};
use anchorhold_ipc::{AuditEvent, ModelKind, RequestOutcome, RequestRecord, Route, Tenancy};
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use prometheus_client::metrics::gauge::Gauge;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// How long a body may take to arrive.
const BODY_WAIT: Duration = Duration::from_secs(30);
/// The status that the log shows for a caller who left before there was one.
const CLIENT_LEFT: u16 = 499;
const RECEIPT: HeaderName = HeaderName::from_static("x-anchorhold-receipt");
const RECEIPT_KEY: HeaderName = HeaderName::from_static("x-anchorhold-receipt-key");
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit-requests");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining-requests");

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
}

/// One of the requests that may run at once; given back on drop.
struct Admission {
    _tenant: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
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
        })
    }

    pub(crate) fn rid(&self) -> &str {
        &self.caller.rid
    }

    /// Counts the request among those that run.
    ///
    /// # Errors
    /// There are too many, the gateway drains, or the log takes no entries.
    pub(crate) fn admit(&mut self) -> Result<(), ApiError> {
        let app = &self.app;
        if *app.draining.borrow() {
            return Err(ApiError::unavailable("draining", "this server is about to stop"));
        }
        if !app.keeper.log_takes_entries() {
            return Err(audit_unavailable());
        }
        let tenant = Arc::clone(&self.caller.tenant.in_flight).try_acquire_owned();
        let tenant = tenant.map_err(|_| ApiError::rate_limited())?;
        let all = Arc::clone(&app.in_flight).try_acquire_owned().map_err(|_| overloaded())?;
        let in_flight = app.metrics.in_flight.clone();
        in_flight.inc();
        self.admission = Some(Admission { _tenant: tenant, _all: all, in_flight });
        Ok(())
    }

    /// Reads the body, which must be plain JSON by its headers, and commits to it.
    ///
    /// # Errors
    /// 413, 415, 408, or 400 when the connection broke.
    pub(crate) async fn body(&mut self, request: Request) -> Result<Bytes, ApiError> {
        plain_json(request.headers())?;
        let most = self.app.limits.body_bytes;
        let body = read_body(request.into_body(), most, BODY_WAIT).await.map_err(|error| match error {
            BodyError::TooLong { max_bytes } => ApiError::too_large(max_bytes),
            BodyError::TooSlow { .. } => ApiError::slow_body(),
            BodyError::Broken => ApiError::malformed("the body could not be read to its end"),
        })?;
        self.receipt.request(&body);
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
        match self.app.pool.find(model) {
            Found::Ready(worker) => {
                self.model = model.to_owned();
                Ok(worker)
            }
            Found::Away => {
                self.model = model.to_owned();
                Err(away())
            }
            Found::Unknown if self.app.expected.iter().any(|expected| expected == model) => Err(away()),
            Found::Unknown => Err(ApiError::model_not_found()),
        }
    }

    /// For whom the work is, as workers know it.
    pub(crate) fn tenancy(&self) -> Tenancy {
        self.caller.tenant.tenancy
    }

    pub(crate) fn streams(&mut self) {
        self.is_stream = true;
    }

    /// The first text is there.
    pub(crate) fn first_token(&self) {
        self.app.metrics.first_token(self.route, self.caller.begun.elapsed().as_secs_f64());
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
        let appended = self.app.keeper.record(slot, AuditEvent::Request(record)).await;
        appended.map_err(|_| {
            self.app.metrics.audit_refusals.inc();
            audit_unavailable()
        })
    }

    /// Sends the entry and does not wait for it: for answers that hold nothing of any request.
    pub(crate) fn close_later(mut self, status: StatusCode) {
        if let Some(slot) = self.slot.take() {
            let record = self.record(RequestOutcome::Complete, status.as_u16());
            self.app.keeper.note(slot, AuditEvent::Request(record));
        }
    }

    /// Ends the exchange with what its route answers, or begins the stream.
    pub(crate) async fn answer(self, result: Result<Answer, ApiError>) -> Response {
        match result {
            Ok(Answer::Stream(run)) => stream::respond(self, *run),
            Ok(Answer::Whole(body)) => self.whole(RequestOutcome::Complete, StatusCode::OK, body).await,
            Err(error) => {
                let limit = self.app.limits.max_in_flight_per_tenant;
                let told = refuse(&error);
                let status = told.status();
                let mut response = self.whole(outcome(&error), status, error.to_json().into_bytes()).await;
                if response.status() == status {
                    response.headers_mut().extend(told.headers().clone());
                }
                if response.status() == StatusCode::TOO_MANY_REQUESTS {
                    response.headers_mut().insert(LIMIT, limit.into());
                    response.headers_mut().insert(REMAINING, 0.into());
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
    fn record(&self, outcome: RequestOutcome, status: u16) -> RequestRecord {
        let record = RequestRecord {
            rid: self.caller.rid.clone(),
            tenant: self.caller.tenant.name.clone(),
            route: self.route,
            model: self.model.clone(),
            outcome,
            status,
            stream: self.is_stream,
            tokens_in: self.tokens.read,
            tokens_out: self.tokens.made,
            millis: millis(self.caller.begun),
            commitments: self.receipt.commitments(),
        };
        crate::log::request(&record);
        self.app.metrics.count(&record, self.tokens.found, self.caller.begun.elapsed().as_secs_f64());
        record
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
            self.app.keeper.note(slot, AuditEvent::Request(record));
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
