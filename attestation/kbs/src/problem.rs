//! Errors as the protocol answers them: RFC 7807 bodies with Trustee's types (`kbs/src/error.rs`).

use serde::{Deserialize, Serialize};

/// What the types of problems begin with. An identifier; nothing is there to be fetched.
const TYPE_PREFIX: &str = "https://github.com/confidential-containers/kbs/errors/";
/// The longest body that is read, in bytes.
const MAX_PROBLEM_BYTES: usize = 16 * 1024;
/// The most of a type or detail that is kept, in characters.
const MAX_TEXT: usize = 512;

/// Why a request got no answer. Each has one constant sentence, which holds nothing of the request.
///
/// A resource that does not exist, one that is for other guests, and one whose grant ended all are
/// [`PolicyDeny`](Self::PolicyDeny). Trustee's clients take 401 as a reason to attest once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// The body is not that of the protocol.
    Malformed,
    /// Another version of the protocol.
    Version,
    /// A kind of TEE, or a form of evidence, that is not taken.
    Unsupported,
    /// No cookie, or one that does not belong to the nonce.
    Session,
    /// The session is over.
    SessionExpired,
    /// The nonce was used before.
    NonceUsed,
    /// The evidence is not authentic, or no grant takes its platform.
    Evidence,
    /// The evidence is for another nonce, key or devices.
    Binding,
    /// The initialisation data is not the one of the evidence.
    InitData,
    /// Neither cookie nor bearer token.
    TokenMissing,
    /// The token is not one of this server, or is over.
    Token,
    /// This guest does not get this resource, whether or not it exists.
    PolicyDeny,
    /// The path names no resource.
    Path,
    /// The path names something that this server has not.
    Plugin,
    /// The resource could not be encrypted to the guest's key.
    Jwe,
    /// The server's policy, state or log is out of reach, or it has as much to do as it takes.
    Unavailable,
}

/// The JSON of a problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemBody {
    /// What kind it is, as a URI.
    #[serde(rename = "type")]
    pub kind: String,
    /// A sentence.
    pub detail: String,
}

impl Problem {
    /// The HTTP status: 401 for everything about a guest, 404 for paths, as in Trustee; 503 for faults of ours, so that
    /// nobody takes them for a refusal.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Path | Self::Plugin => 404,
            Self::Unavailable => 503,
            _ => 401,
        }
    }

    /// The last part of Trustee's type.
    const fn kind(self) -> &'static str {
        match self {
            Self::Malformed
            | Self::Version
            | Self::Unsupported
            | Self::Session
            | Self::SessionExpired
            | Self::NonceUsed
            | Self::Evidence
            | Self::Binding
            | Self::InitData => "AttestationError",
            Self::TokenMissing => "TokenNotFound",
            Self::Token => "TokenVerifierError",
            Self::PolicyDeny => "PolicyDeny",
            Self::Path => "InvalidRequestPath",
            Self::Plugin => "PluginNotFound",
            Self::Jwe => "JweError",
            Self::Unavailable => "PluginInternalError",
        }
    }

    const fn detail(self) -> &'static str {
        match self {
            Self::Malformed => "the body is not that of the protocol",
            Self::Version => "KBS Client Protocol Version Mismatch: expect =0.4.0",
            Self::Unsupported => "this kind of TEE or evidence is not supported",
            Self::Session => "the session cookie is missing or does not belong to the nonce",
            Self::SessionExpired => "the session has expired",
            Self::NonceUsed => "the challenge was answered before",
            Self::Evidence => "the evidence was refused",
            Self::Binding => "the evidence does not commit to the nonce, the key and the devices",
            Self::InitData => "the initialisation data is not the one that the evidence holds",
            Self::TokenMissing => "attestation token not found",
            Self::Token => "the attestation token was refused",
            Self::PolicyDeny => "access denied by policy",
            Self::Path => "the request path is invalid",
            Self::Plugin => "plugin not found",
            Self::Jwe => "the resource was not encrypted",
            Self::Unavailable => "the server is not ready; try again",
        }
    }

    /// The code in logs.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Version => "kbs_version",
            Self::Unsupported => "kbs_unsupported",
            Self::Session => "challenge_foreign",
            Self::SessionExpired => "challenge_expired",
            Self::NonceUsed => "challenge_used",
            Self::Evidence => "evidence_refused",
            Self::Binding => "binding_mismatch",
            Self::InitData => "kbs_init_data",
            Self::TokenMissing => "kbs_token_missing",
            Self::Token => "kbs_token_refused",
            Self::PolicyDeny => "resource_refused",
            Self::Path => "kbs_path",
            Self::Plugin => "kbs_plugin",
            Self::Jwe => "kbs_jwe",
            Self::Unavailable => "backend",
        }
    }

    /// The body of the answer.
    ///
    /// # Panics
    /// Never: texts are JSON.
    #[must_use]
    pub fn to_json(self) -> Vec<u8> {
        let body =
            ProblemBody { kind: format!("{TYPE_PREFIX}{}", self.kind()), detail: self.detail().to_owned() };
        serde_json::to_vec(&body).expect("texts are JSON")
    }
}

impl ProblemBody {
    /// Reads what another server answered, cut to 512 characters each and without control characters, so that it can be
    /// shown; `None` when it is something else. Members that are not known are left out, as RFC 7807 says.
    #[must_use]
    pub fn from_json(json: &[u8]) -> Option<Self> {
        if json.len() > MAX_PROBLEM_BYTES {
            return None;
        }
        let read: Self = serde_json::from_slice(json).ok()?;
        let shown = |text: String| text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect();
        Some(Self { kind: shown(read.kind), detail: shown(read.detail) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Problem; 16] = [
        Problem::Malformed,
        Problem::Version,
        Problem::Unsupported,
        Problem::Session,
        Problem::SessionExpired,
        Problem::NonceUsed,
        Problem::Evidence,
        Problem::Binding,
        Problem::InitData,
        Problem::TokenMissing,
        Problem::Token,
        Problem::PolicyDeny,
        Problem::Path,
        Problem::Plugin,
        Problem::Jwe,
        Problem::Unavailable,
    ];

    #[test]
    fn every_problem_is_a_body_that_reads_back_and_has_a_code_of_its_own() {
        let mut codes = std::collections::BTreeSet::new();
        for problem in ALL {
            let body = ProblemBody::from_json(&problem.to_json()).unwrap();
            assert!(body.kind.starts_with(TYPE_PREFIX), "{body:?}");
            assert!(codes.insert(problem.code()), "{problem:?}");
        }
        let deny = String::from_utf8(Problem::PolicyDeny.to_json()).unwrap();
        let wanted = r#"{"type":"https://github.com/confidential-containers/kbs/errors/PolicyDeny","detail":"access denied by policy"}"#;
        assert_eq!(deny, wanted);
        assert_eq!((Problem::PolicyDeny.status(), Problem::Path.status()), (401, 404));
    }

    #[test]
    fn what_another_server_says_is_bounded() {
        let long = format!(r#"{{"type":"t\n","detail":"{}","status":401}}"#, "d".repeat(1000));
        let read = ProblemBody::from_json(long.as_bytes()).unwrap();
        assert_eq!((read.kind.as_str(), read.detail.len()), ("t", MAX_TEXT));
        assert_eq!(ProblemBody::from_json(b"[]"), None);
        assert_eq!(ProblemBody::from_json(&vec![b' '; MAX_PROBLEM_BYTES + 1]), None);
    }
}
