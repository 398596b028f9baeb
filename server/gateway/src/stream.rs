//! Streamed answers: events as the worker makes them, the audit entry, then the event that says that all went well.

use crate::exchange::Exchange;
use crate::flight::{Flight, Tokens, Update};
use crate::gather::{call_id, finish, tokens};
use crate::reader::Watched;
use crate::refuse::{self, Named};
use anchorhold_api::{ApiError, CallDelta, Frames, Part, Usage, characters};
use anchorhold_ipc::{CallPart, RequestOutcome};
use axum::body::Body;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, StatusCode};
use std::collections::VecDeque;

/// What stands in front of the receipt at the end of a stream.
const RECEIPT_COMMENT: &str = ": x-anchorhold-receipt ";
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// A generation whose first event is there.
pub(crate) struct Run {
    flight: Flight,
    frames: Box<dyn Frames>,
    /// How many choices have not ended.
    open: usize,
    /// Of each choice, how many characters began in the tokens that were told of it.
    offsets: Vec<usize>,
    /// Of each choice, whether it calls.
    calls: Vec<bool>,
    tokens: Tokens,
    /// Events on their way to the caller.
    ready: VecDeque<String>,
    /// The last event, when all others are ready.
    last: Option<String>,
    failed: Option<ApiError>,
}

impl Run {
    pub(crate) fn new(
        flight: Flight,
        mut frames: Box<dyn Frames>,
        open: usize,
        first: (usize, Update),
    ) -> Self {
        let ready = frames.begin(open).into();
        let (offsets, calls, tokens) = (vec![0; open], vec![false; open], Tokens::default());
        let mut run = Self { flight, frames, open, offsets, calls, tokens, ready, last: None, failed: None };
        run.take(first);
        run
    }

    fn take(&mut self, (place, update): (usize, Update)) {
        match update {
            Update::Delta { text, told } => {
                let tokens = tokens(told);
                let Some(offset) = self.offsets.get_mut(place) else { return };
                let part = Part { text: &text, tokens: &tokens, offset: *offset };
                self.ready.extend(self.frames.delta(place, part));
                *offset += characters(&tokens);
            }
            Update::Call(CallPart::Arguments(text)) => {
                self.ready.extend(self.frames.call(place, CallDelta::Arguments(&text)));
            }
            Update::Call(CallPart::Begin(name)) => {
                let (Some(id), Some(calls)) = (call_id(), self.calls.get_mut(place)) else {
                    self.failed = Some(ApiError::internal());
                    return;
                };
                *calls = true;
                self.ready.extend(self.frames.call(place, CallDelta::Begin { id: &id, name: &name }));
            }
            Update::Finished { reason, tokens } => {
                self.tokens.add(tokens);
                self.open = self.open.saturating_sub(1);
                let calls = self.calls.get(place).copied().unwrap_or(false);
                self.ready.extend(self.frames.finish(place, finish(reason, calls)));
                if self.open == 0 {
                    let Tokens { read, found, made } = self.tokens;
                    let ending = self.frames.end(Usage::new(read, found, made));
                    self.ready.extend(ending.before);
                    self.last = Some(ending.last);
                }
            }
            // Once the stream has begun, the caller's field is no longer at fault.
            Update::Failed(error) => {
                self.failed = Some(refuse::worker(&error, Named { prompt: "", form: "" }))
            }
            Update::Embedded { .. }
            | Update::Ranked { .. }
            | Update::Tokenized { .. }
            | Update::Detokenized { .. } => self.failed = Some(ApiError::internal()),
        }
    }
}

/// Both halves of a stream. Dropped before its end, it cancels the work and logs that the caller left.
struct Stream {
    run: Run,
    exchange: Exchange,
    is_over: bool,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.exchange.hear_unread(self.run.flight.waiting());
    }
}

/// The response whose body is `run`.
pub(crate) fn respond(mut exchange: Exchange, run: Run) -> Response {
    exchange.count(run.tokens);
    let (receipt, limit) = (exchange.receipt_key(), exchange.stalled());
    let padding = exchange.padding().clone();
    let stream = Stream { run, exchange, is_over: false };
    let events = futures_util::stream::unfold(Box::new(stream), |mut stream| async move {
        let event = stream.next().await?;
        Some((event, stream))
    });
    let mut response = Response::new(Body::from_stream(Watched::new(padding.pieces(events), limit)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    headers.extend(receipt);
    response
}

impl Stream {
    /// The next event; `None` after the last.
    async fn next(&mut self) -> Option<String> {
        loop {
            // However the stream ends, the choices that have ended are counted.
            self.exchange.count(self.run.tokens);
            if self.is_over {
                return None;
            }
            if let Some(event) = self.run.ready.pop_front() {
                self.exchange.commit(event.as_bytes());
                return Some(event);
            }
            if let Some(error) = self.run.failed.take() {
                return Some(self.break_off(&error).await);
            }
            if self.run.open == 0 {
                return Some(self.end().await);
            }
            match self.run.flight.next().await {
                Ok(event) => {
                    self.exchange.hear(&event.1);
                    self.run.take(event);
                }
                Err(error) => self.run.failed = Some(refuse::flight(error)),
            }
        }
    }

    /// The entry commits to the whole body without its comments, the last event included, and is durable before that leaves. The receipt
    /// leaves before it, as a comment, which clients that do not know it pass over.
    async fn end(&mut self) -> String {
        self.is_over = true;
        let last = self.run.last.take().unwrap_or_default();
        self.exchange.commit(last.as_bytes());
        match self.exchange.close(RequestOutcome::Complete, StatusCode::OK).await {
            Ok(Some(receipt)) => format!("{RECEIPT_COMMENT}{receipt}\n{last}"),
            Ok(None) => last,
            Err(error) => self.run.frames.failed(&error),
        }
    }

    async fn break_off(&mut self, error: &ApiError) -> String {
        self.is_over = true;
        let event = self.run.frames.failed(error);
        self.exchange.commit(event.as_bytes());
        self.exchange.failed(error);
        // The caller is told of the first error; a log that takes no entries shows in the next request.
        let _ = self.exchange.close(RequestOutcome::Error, StatusCode::OK).await;
        event
    }
}
