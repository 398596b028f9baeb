//! Why something was not answered.

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[$doc:meta])+ $name:ident = $code:literal;)+) => {
        /// Why a request was not answered, or a caller not let in. A closed list: text could hold what a caller sent.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Reason {
            $($(#[$doc])+ $name,)+
        }

        impl Reason {
            const ALL: &[Self] = &[$(Self::$name),+];

            /// The word for it: that of the API's error where there is one. Lower-case letters and `_`.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)+
                }
            }
        }
    };
}

reasons! {
    /// The body cannot be read, or a field has a value that it must not have.
    InvalidRequest = "invalid_request";
    /// A field that this server does not offer.
    UnsupportedParameter = "unsupported_parameter";
    /// Prompt and answer do not fit the model's context.
    ContextLength = "context_length_exceeded";
    /// A key that is known, and not for this.
    PermissionDenied = "permission_denied";
    /// No such route, or nothing stored.
    NotFound = "not_found";
    /// A route that this server does not offer.
    UnsupportedRoute = "unsupported_route";
    /// No such model.
    ModelNotFound = "model_not_found";
    /// The model does something else.
    ModelWrongKind = "model_wrong_kind";
    /// The route does not know the method.
    MethodNotAllowed = "method_not_allowed";
    /// The body did not arrive in time, or the answer was not whole in time.
    RequestTimeout = "request_timeout";
    /// The body is over the limit.
    RequestTooLarge = "request_too_large";
    /// The body was encrypted to a key that is not in use.
    StaleBodyKey = "stale_body_key";
    /// The body is not plain JSON by its headers.
    UnsupportedMediaType = "unsupported_media_type";
    /// The tenant has as much running, or had as much in a minute, as it may.
    RateLimit = "rate_limit_exceeded";
    /// Broken on our side.
    Internal = "internal_error";
    /// The server is about to stop.
    Draining = "draining";
    /// The log takes no entries.
    AuditUnavailable = "audit_unavailable";
    /// The log cannot be read now.
    AuditLogBusy = "audit_log_busy";
    /// The model does not answer now.
    ModelNotReady = "model_not_ready";
    /// Too many attestations are being made.
    AttestationBusy = "attestation_busy";
    /// Evidence could not be made.
    AttestationUnavailable = "attestation_unavailable";
    /// The model's process ended.
    WorkerLost = "worker_lost";
    /// The model did not answer in time.
    WorkerTimeout = "worker_timeout";
    /// As many requests are running as the server takes.
    Overloaded = "overloaded";
    /// The server stopped before the answer was whole.
    ServerStopping = "server_stopping";
    /// The caller left.
    CallerLeft = "caller_left";
    /// No key, more than one, or none that is known.
    KeyUnknown = "key_unknown";
    /// A known key, or a token, before its time.
    NotYetValid = "not_yet_valid";
    /// A known key, or a token, after its time.
    Expired = "expired";
    /// A token that is not believed, or whose holder is nobody here.
    TokenRefused = "token_refused";
    /// Something that has no word here.
    Other = "other";
}

impl Reason {
    /// The reason with the code of an error of the API; errors about a field have none.
    #[must_use]
    pub fn of(code: Option<&str>) -> Self {
        let Some(code) = code else { return Self::InvalidRequest };
        Self::ALL.iter().copied().find(|reason| reason.code() == code).unwrap_or(Self::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_leads_back_to_its_reason() {
        for reason in Reason::ALL {
            assert_eq!(Reason::of(Some(reason.code())), *reason);
        }
        assert_eq!(Reason::of(None), Reason::InvalidRequest);
        assert_eq!(Reason::of(Some("what a caller sent")), Reason::Other);
    }
}
