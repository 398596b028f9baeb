//! The one error object of the API.

use serde::Serialize;
use std::borrow::Cow;
use std::fmt;

/// Seconds that a client should wait before it tries again.
const RETRY_SECONDS: u32 = 1;

/// What a caller is told when a request is not answered: a status and four constant-shaped keys.
///
/// The message is always text of this project. It names fields and limits, never what the caller sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    status: u16,
    kind: &'static str,
    code: Option<&'static str>,
    param: Option<String>,
    message: Cow<'static, str>,
    retry_after: Option<u32>,
}

/// Of what a tenant has used up its minute's worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverQuota {
    /// Requests.
    Requests,
    /// Tokens of prompts and answers.
    Tokens,
}

#[derive(Serialize)]
struct Outer<'a> {
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
}

impl ApiError {
    fn new(
        status: u16,
        kind: &'static str,
        code: Option<&'static str>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { status, kind, code, param: None, message: message.into(), retry_after: None }
    }

    fn request(status: u16, code: Option<&'static str>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(status, "invalid_request_error", code, message)
    }

    fn later(mut self) -> Self {
        self.retry_after = Some(RETRY_SECONDS);
        self
    }

    fn about(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// 400: a body that cannot be read at all.
    #[must_use]
    pub fn malformed(message: impl Into<Cow<'static, str>>) -> Self {
        Self::request(400, None, message)
    }

    /// 400: the field `param` has a value that it must not have. Neither text may hold the caller's bytes.
    #[must_use]
    pub fn invalid(param: impl Into<String>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::request(400, None, message).about(param)
    }

    /// 400: a documented field that this server does not offer.
    #[must_use]
    pub fn unsupported(param: impl Into<String>) -> Self {
        let param = param.into();
        let message = format!("'{param}' is not supported by this server with this value");
        Self::request(400, Some("unsupported_parameter"), message).about(param)
    }

    /// 400: an older field that this server does not offer; `newer` took its place.
    #[must_use]
    pub fn superseded(param: impl Into<String>, newer: &'static str) -> Self {
        let param = param.into();
        let message = format!("'{param}' is not supported by this server; use '{newer}'");
        Self::request(400, Some("unsupported_parameter"), message).about(param)
    }

    /// 400: prompt, or prompt and output, do not fit the model's context.
    #[must_use]
    pub fn context_length(param: &'static str, tokens: u64, limit: u64) -> Self {
        // Clients that cannot see the code, LiteLLM among them, know this refusal by how OpenAI's begins.
        let message =
            format!("this model's maximum context length is {limit} tokens, the request asks for {tokens}");
        Self::request(400, Some("context_length_exceeded"), message).about(param)
    }

    /// 401: no key, or none that is known.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::request(
            401,
            Some("invalid_api_key"),
            "a known API key is needed, as 'authorization: Bearer KEY'",
        )
    }

    /// 403: a key that is known, and not for this; `scope` is what it would need.
    #[must_use]
    pub fn permission_denied(scope: &'static str) -> Self {
        let message = format!("this key may not be used for this; it needs the scope '{scope}'");
        Self::request(403, Some("permission_denied"), message)
    }

    /// 404: no such route.
    #[must_use]
    pub fn unknown_route() -> Self {
        Self::request(404, Some("not_found"), "there is no such route")
    }

    /// 404: a route of the API that this server does not have.
    #[must_use]
    pub fn unsupported_route() -> Self {
        Self::request(404, Some("unsupported_route"), "this server does not offer this route")
    }

    /// 404: no such model.
    #[must_use]
    pub fn model_not_found() -> Self {
        Self::request(404, Some("model_not_found"), "there is no such model; see /v1/models").about("model")
    }

    /// 404: no response is stored.
    #[must_use]
    pub fn response_not_found() -> Self {
        Self::request(404, Some("not_found"), "no response is stored on this server").about("response_id")
    }

    /// 400: the model is of another kind; `can` says what it does instead.
    #[must_use]
    pub fn wrong_kind(can: &'static str) -> Self {
        Self::request(400, Some("model_wrong_kind"), format!("this model only {can}")).about("model")
    }

    /// 405: the route does not know the method.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        Self::request(405, Some("method_not_allowed"), "this route does not know this method")
    }

    /// 408: the body did not arrive in time.
    #[must_use]
    pub fn slow_body() -> Self {
        Self::request(408, Some("request_timeout"), "the body did not arrive in time")
    }

    /// 413: the body is over the limit.
    #[must_use]
    pub fn too_large(limit_bytes: usize) -> Self {
        let message = format!("the body is over the limit of {limit_bytes} bytes");
        Self::request(413, Some("request_too_large"), message)
    }

    /// 422: the body was encrypted to a key that is not in use.
    #[must_use]
    pub fn stale_body_key() -> Self {
        let message =
            "the body was encrypted to a key that is not in use; fetch the attestation document again";
        Self::request(422, Some("stale_body_key"), message)
    }

    /// 415: the body is not plain JSON; the text says which header is wrong.
    #[must_use]
    pub fn unsupported_media_type(message: &'static str) -> Self {
        Self::request(415, Some("unsupported_media_type"), message)
    }

    /// 429: this tenant has as many requests running as it may.
    #[must_use]
    pub fn rate_limited() -> Self {
        let message = "as many requests are running as this key may have at once";
        Self::new(429, "rate_limit_error", Some("rate_limit_exceeded"), message).later()
    }

    /// 429: this tenant has used up what it may in a minute; the request would pass after `seconds`.
    #[must_use]
    pub fn over_quota(what: OverQuota, seconds: u32) -> Self {
        let (kind, message) = match what {
            OverQuota::Requests => ("requests", "more requests in a minute than this key's tenant may send"),
            OverQuota::Tokens => ("tokens", "more tokens in a minute than this key's tenant may use"),
        };
        let error = Self::new(429, kind, Some("rate_limit_exceeded"), message);
        Self { retry_after: Some(seconds), ..error }
    }

    /// 503: true again later; `code` is stable.
    #[must_use]
    pub fn unavailable(code: &'static str, message: &'static str) -> Self {
        Self::new(503, "server_error", Some(code), message).later()
    }

    /// 500: broken on our side.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(500, "server_error", Some("internal_error"), "the server could not answer this request")
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The stable code, when there is one.
    #[must_use]
    pub fn code(&self) -> Option<&'static str> {
        self.code
    }

    /// The field that is wrong, when it is one.
    #[must_use]
    pub fn param(&self) -> Option<&str> {
        self.param.as_deref()
    }

    /// The text.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Seconds for the `retry-after` header.
    #[must_use]
    pub fn retry_after(&self) -> Option<u32> {
        self.retry_after
    }

    /// The body: `{"error": {..}}` with all four keys.
    #[must_use]
    pub fn to_json(&self) -> String {
        let inner =
            Inner { message: &self.message, kind: self.kind, param: self.param.as_deref(), code: self.code };
        serde_json::to_string(&Outer { error: inner }).expect("four strings are always JSON")
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}
