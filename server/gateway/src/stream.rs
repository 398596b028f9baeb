//! Streamed answers: events as the worker makes them, the audit entry, then `[DONE]`.

use crate::exchange::Exchange;
use crate::flight::{Flight, Tokens, Update};
use crate::generate::{finish, tokens};
use crate::reader::Watched;
use crate::refuse::{self, Named};
use anchorhold_api::{ApiError, DONE, Frames, Part, Usage, characters, error_event};
use anchorhold_ipc::RequestOutcome;
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
    frames: Frames,
    /// How many choices have not ended.
    open: usize,
    /// Of each choice, how many characters began in the tokens that were told of it.
    offsets: Vec<usize>,
    tokens: Tokens,
    /// Events on their way to the caller.
    ready: VecDeque<String>,
    failed: Option<ApiError>,
}

impl Run {
    pub(crate) fn new(flight: Flight, frames: Frames, open: usize, first: (usize, Update)) -> Self {
        let ready = (0..open).filter_map(|choice| frames.opening(choice)).collect();
        let offsets = vec![0; open];
        let mut run = Self { flight, frames, open, offsets, tokens: Tokens::default(), ready, failed: None };
        run.take(first);
        run
    }

    fn take(&mut self, (place, update): (usize, Update)) {
        match update {
            Update::Delta { text, told } => {
                let tokens = tokens(told);
                let Some(offset) = self.offsets.get_mut(place) else { return };
                let part = Part { text: &text, tokens: &tokens, offset: *offset };
                self.ready.push_back(self.frames.delta(place, part));
                *offset += characters(&tokens);
            }
            Update::Finished { reason, tokens } => {
                self.tokens.add(tokens);
                self.open = self.open.saturating_sub(1);
                self.ready.push_back(self.frames.finish(place, finish(reason)));
                if self.open == 0 {
                    let Tokens { read, found, made } = self.tokens;
                    self.ready.extend(self.frames.usage(Usage::new(read, found, made)));
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

    /// The entry commits to the whole body without its comments, [`DONE`] included, and is durable before [`DONE`] leaves. The receipt
    /// leaves before it, as a comment, which clients that do not know it pass over.
    async fn end(&mut self) -> String {
        self.is_over = true;
        self.exchange.commit(DONE.as_bytes());
        match self.exchange.close(RequestOutcome::Complete, StatusCode::OK).await {
            Ok(Some(receipt)) => format!("{RECEIPT_COMMENT}{receipt}\n{DONE}"),
            Ok(None) => DONE.to_owned(),
            Err(error) => error_event(&error),
        }
    }

    async fn break_off(&mut self, error: &ApiError) -> String {
        self.is_over = true;
        let event = error_event(error);
        self.exchange.commit(event.as_bytes());
        // The caller is told of the first error; a log that takes no entries shows in the next request.
        let _ = self.exchange.close(RequestOutcome::Error, StatusCode::OK).await;
        event
    }
}
