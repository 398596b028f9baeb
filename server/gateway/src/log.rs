//! Log lines: one JSON object each, to stderr, made of the numbers and fixed words of a [`RequestRecord`] only.

use crate::trace::TraceParent;
use anchorhold_ipc::{Reason, RequestOutcome, RequestRecord, Route};
use tracing_subscriber::EnvFilter;

/// Only our own words are logged: a library's debug lines may hold headers.
const FILTER: &str = "off,anchorhold_gateway=info";

/// Sends the lines to stderr from now on. A second call has no effect.
pub fn init() {
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_target(false)
        .with_env_filter(EnvFilter::new(FILTER))
        .with_writer(std::io::stderr);
    // Whoever installed one first keeps it.
    let _ = subscriber.try_init();
}

/// One request that ended, and the span of the caller's that it belongs to.
pub(crate) fn request(record: &RequestRecord, trace: Option<&TraceParent>) {
    tracing::info!(
        trace_id = trace.map(TraceParent::trace_id).unwrap_or_default(),
        parent_id = trace.map(TraceParent::parent_id).unwrap_or_default(),
        rid = record.rid,
        tenant = record.tenant,
        route = route_word(record.route),
        model = record.model,
        outcome = outcome_word(record.outcome),
        reason = record.reason.map(Reason::code),
        status = record.status,
        stream = record.stream,
        tokens_in = record.tokens_in,
        tokens_out = record.tokens_out,
        millis = record.millis,
        "request"
    );
}

/// A caller who is not let in, and is not told why.
pub(crate) fn no_entry(reason: Reason) {
    tracing::info!(reason = reason.code(), "no entry");
}

/// Settings were read again and are in force.
pub(crate) fn settings_taken() {
    tracing::info!(outcome = "taken", "settings");
}

/// Settings were read again and are not in force; `reason` is about the operator's text.
pub(crate) fn settings_refused(reason: &str) {
    tracing::error!(outcome = "refused", reason, "settings");
}

pub(crate) fn route_word(route: Route) -> &'static str {
    match route {
        Route::ChatCompletions => "chat_completions",
        Route::Completions => "completions",
        Route::Embeddings => "embeddings",
        Route::Rerank => "rerank",
        Route::Tokenize => "tokenize",
        Route::Models => "models",
        Route::Responses => "responses",
        Route::Audit => "audit",
        Route::Other => "other",
    }
}

pub(crate) fn outcome_word(outcome: RequestOutcome) -> &'static str {
    match outcome {
        RequestOutcome::Complete => "complete",
        RequestOutcome::Rejected => "rejected",
        RequestOutcome::Cancelled => "cancelled",
        RequestOutcome::Error => "error",
    }
}
