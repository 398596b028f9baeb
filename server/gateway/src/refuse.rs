//! The one place where errors become statuses, headers and constant bodies.

use crate::flight::FlightError;
use crate::quota::Denied;
use anchorhold_api::{ApiError, OverQuota};
use anchorhold_ipc::{RejectReason, RequestError, RequestOutcome, StructureFault, TokenField, ToolFault};
use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use std::time::Duration;

/// A response with a JSON body.
pub(crate) fn json(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The response that tells this error.
pub(crate) fn refuse(error: &ApiError) -> Response {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(status, error.to_json());
    let headers = response.headers_mut();
    if let Some(seconds) = error.retry_after() {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

pub(crate) fn audit_unavailable() -> ApiError {
    ApiError::unavailable("audit_unavailable", "the audit log takes no entries now, so nothing is served")
}

pub(crate) fn worker_lost() -> ApiError {
    ApiError::unavailable("worker_lost", "the model's process ended while it worked on this request")
}

pub(crate) fn overloaded() -> ApiError {
    ApiError::unavailable("overloaded", "as many requests are running as this server takes at once")
}

/// Why a tenant's request does not pass now.
pub(crate) fn denied(denied: Denied) -> ApiError {
    let seconds =
        |wait: Duration| u32::try_from(wait.as_nanos().div_ceil(1_000_000_000)).unwrap_or(u32::MAX).max(1);
    match denied {
        Denied::Concurrency => ApiError::rate_limited(),
        Denied::Requests(wait) => ApiError::over_quota(OverQuota::Requests, seconds(wait)),
        Denied::Tokens(wait) => ApiError::over_quota(OverQuota::Tokens, seconds(wait)),
    }
}

/// Why a flight brought nothing more.
pub(crate) fn flight(error: FlightError) -> ApiError {
    match error {
        FlightError::Lost => worker_lost(),
        FlightError::GivenUp => ApiError::internal(),
        FlightError::Late => ApiError::unavailable("worker_timeout", "the model did not answer in time"),
        FlightError::Full => overloaded(),
        FlightError::Ending => {
            ApiError::unavailable("server_stopping", "this server stops before the answer is whole")
        }
    }
}

/// Where a request has what a worker may refuse.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Named {
    /// The prompt, or the input.
    pub(crate) prompt: &'static str,
    /// The form that the answer must have.
    pub(crate) form: &'static str,
}

/// What a worker refused.
pub(crate) fn worker(error: &RequestError, named: Named) -> ApiError {
    let field = named.prompt;
    match error {
        RequestError::Rejected(RejectReason::ContextLength { tokens, limit }) => {
            ApiError::context_length(field, *tokens, *limit)
        }
        RequestError::Rejected(RejectReason::UnknownToken(place)) => {
            let field = match place {
                TokenField::Prompt => field,
                TokenField::StopTokens => "stop_token_ids",
                TokenField::LogitBias => "logit_bias",
            };
            ApiError::invalid(field, "a token id is outside the model's vocabulary")
        }
        RequestError::Rejected(RejectReason::EmptyPrompt) => {
            ApiError::invalid(field, "the prompt has no tokens")
        }
        RequestError::Rejected(RejectReason::WrongKind) => ApiError::wrong_kind("does something else"),
        RequestError::Rejected(RejectReason::Template) => {
            ApiError::invalid(field, "the model's chat template does not take this conversation")
        }
        RequestError::Rejected(RejectReason::TooMany) => {
            ApiError::invalid("n", "more choices or tokens to tell of than this server takes")
        }
        RequestError::Rejected(RejectReason::TooManyInputs { limit }) => ApiError::invalid(
            field,
            format!("this model's answers are long: at most {limit} inputs fit into one request"),
        ),
        RequestError::Rejected(RejectReason::AnswerTooLong { limit }) => ApiError::invalid(
            field,
            format!("the answer would be over the limit of {limit} bytes; ask for less at a time"),
        ),
        RequestError::Rejected(RejectReason::Structure(fault)) => {
            // A form that no field asked for is that of a strict tool.
            let field = if named.form.is_empty() { "tools" } else { named.form };
            ApiError::invalid(field, structure(*fault))
        }
        RequestError::Rejected(RejectReason::Tools(ToolFault::NotOffered)) => {
            ApiError::invalid("tools", "this model's chat template shows it no tools, so it cannot call any")
        }
        RequestError::Rejected(RejectReason::Tools(ToolFault::Structure(fault))) => {
            ApiError::invalid("tools", structure(*fault))
        }
        RequestError::Overloaded => overloaded(),
        RequestError::Late => ApiError::unavailable(
            "request_timeout",
            "the answer took longer than this server gives a request",
        ),
        RequestError::Internal => ApiError::internal(),
    }
}

fn structure(fault: StructureFault) -> &'static str {
    match fault {
        StructureFault::Malformed => "the form cannot be read, or has parts that this server does not offer",
        StructureFault::Unsatisfiable => "no text has this form",
        StructureFault::TooComplex => "this form takes more work than one request may ask for",
        StructureFault::NotOffered => "this model does not offer to keep to a form",
    }
}

/// How the audit log calls a request that ended with this error.
pub(crate) fn outcome(error: &ApiError) -> RequestOutcome {
    match error.code() {
        Some("internal_error" | "worker_lost" | "worker_timeout" | "request_timeout" | "server_stopping") => {
            RequestOutcome::Error
        }
        _ => RequestOutcome::Rejected,
    }
}
