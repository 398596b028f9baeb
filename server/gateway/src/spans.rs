//! Spans of requests, one JSON object a line, with the names of OpenTelemetry's conventions for generative models (`gen_ai.*`, semantic
//! conventions 1.37) and none of their content. They go where the log goes, for a collector outside to pick up: the gateway may
//! listen and open nothing, so it exports to nobody.

use crate::trace::{TraceParent, new_id};
use crate::words::since_1970;
use anchorhold_ipc::{RequestOutcome, RequestRecord, Route};
use std::time::Duration;

/// What the conventions call a route's work; `None` for work that is not a model's.
fn operation(route: Route) -> Option<&'static str> {
    match route {
        Route::ChatCompletions => Some("chat"),
        Route::Responses => Some("generate_content"),
        Route::Completions => Some("text_completion"),
        Route::Embeddings => Some("embeddings"),
        Route::Rerank => Some("rerank"),
        Route::Tokenize => Some("tokenize"),
        Route::Models | Route::Audit | Route::Other => None,
    }
}

/// What the conventions call the kind of a failure; empty for none.
fn failure(record: &RequestRecord) -> &'static str {
    match record.outcome {
        RequestOutcome::Complete => "",
        RequestOutcome::Rejected => "rejected",
        RequestOutcome::Cancelled => "cancelled",
        RequestOutcome::Error => "error",
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The span of a request that took so long and has just ended. Without randomness for its ids there is none.
pub(crate) fn request(record: &RequestRecord, parent: Option<&TraceParent>, took: Duration) {
    let Some(operation) = operation(record.route) else { return };
    let end = since_1970();
    let trace_id = parent.map(TraceParent::trace_id).or_else(new_id::<16>);
    let (Some(trace_id), Some(span_id)) = (trace_id, new_id::<8>()) else { return };
    tracing::info!(
        trace_id,
        span_id,
        parent_span_id = parent.map(TraceParent::parent_id).unwrap_or_default(),
        kind = "server",
        start_time_unix_nano = nanos(end.saturating_sub(took)),
        end_time_unix_nano = nanos(end),
        gen_ai.operation.name = operation,
        gen_ai.provider.name = "anchorhold",
        gen_ai.request.model = record.model,
        gen_ai.usage.input_tokens = record.tokens_in,
        gen_ai.usage.output_tokens = record.tokens_out,
        http.response.status_code = record.status,
        "error.type" = failure(record),
        rid = record.rid,
        "span"
    );
}
