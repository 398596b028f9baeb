//! The guest's role: one exchange with a server, step by step, without sockets, devices or clock.
//!
//! ```text
//! begin ─body─▶ /auth ─▶ AwaitingChallenge::take ─▶ Attesting::send ─body─▶ /attest ─▶ AwaitingToken::take ─▶ Attested
//! ```
//!
//! A resource can be asked for and opened only with an [`Attested`], which exists only after the token was verified:
//!
//! ```compile_fail,E0599
//! # use anchorhold_kbs::client::AwaitingToken;
//! fn too_early(waiting: AwaitingToken, jwe: &[u8]) {
//!     let _ = waiting.open(jwe); // no token yet
//! }
//! ```
//!
//! ```compile_fail,E0382
//! # use anchorhold_kbs::client::AwaitingToken;
//! # use anchorhold_rats::Timestamp;
//! fn twice(waiting: AwaitingToken, body: &[u8], at: Timestamp) {
//!     let _ = waiting.take(body, None, at);
//!     let _ = waiting.take(body, None, at); // used up
//! }
//! ```
//!
//! ```compile_fail,E0451
//! let _ = anchorhold_kbs::client::Attested {}; // nor can it be made in any other way
//! ```

use crate::jwe::{self, JweError};
use crate::message::{self, Challenge, InitDataBody, MessageError};
use crate::server::PREFIX;
use crate::session::{COOKIE, MAX_COOKIE_HEADER_BYTES};
use crate::{
    AcceptedToken, ResourcePath, RuntimeData, RuntimeDigest, Tee, TeeKey, TeeKeyError, TokenError, TokenRules,
};
use anchorhold_rats::{Nonce, Timestamp};
use serde_json::value::RawValue;
use std::fmt;
use zeroize::Zeroizing;

/// Why an exchange did not go on. No error quotes what came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientError {
    /// No key was made.
    Key(TeeKeyError),
    /// A body is not that of the protocol.
    Message(MessageError),
    /// The server set no session cookie, or one that cannot be sent back.
    Cookie,
    /// The token was not taken.
    Token(TokenError),
    /// The resource was not opened.
    Resource(JweError),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(error) => error.fmt(f),
            Self::Message(error) => error.fmt(f),
            Self::Cookie => f.write_str("the server set no session cookie that can be sent back"),
            Self::Token(error) => error.fmt(f),
            Self::Resource(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ClientError {}

/// The path of introductions.
#[must_use]
pub fn auth_path() -> String {
    format!("{PREFIX}/auth")
}

/// The path of attestations.
#[must_use]
pub fn attest_path() -> String {
    format!("{PREFIX}/attest")
}

/// Begins an exchange for a guest in a `tee`, which takes tokens by `rules`: the body of the introduction, and what waits
/// for its answer.
///
/// # Errors
/// [`ClientError::Key`] when there is no randomness.
pub fn begin(tee: Tee, rules: TokenRules) -> Result<(Vec<u8>, AwaitingChallenge), ClientError> {
    TeeKey::generate().map(|key| begin_with(tee, rules, key)).map_err(ClientError::Key)
}

pub(crate) fn begin_with(tee: Tee, rules: TokenRules, key: TeeKey) -> (Vec<u8>, AwaitingChallenge) {
    (message::write_auth(tee), AwaitingChallenge { rules, key })
}

/// An introduction that was sent.
#[derive(Debug)]
pub struct AwaitingChallenge {
    rules: TokenRules,
    key: TeeKey,
}

/// A challenge that was taken, before evidence was made for it.
#[derive(Debug)]
pub struct Attesting {
    rules: TokenRules,
    key: TeeKey,
    challenge: Challenge,
    cookie: String,
}

/// An attestation that was sent.
#[derive(Debug)]
pub struct AwaitingToken {
    rules: TokenRules,
    key: TeeKey,
    nonce: String,
    cookie: String,
}

/// A guest whose token was verified.
#[derive(Debug)]
pub struct Attested {
    key: TeeKey,
    token: AcceptedToken,
    cookie: String,
}

/// The content of a resource: wiped on drop, printed as a type name only.
pub struct Resource(Zeroizing<Vec<u8>>);

impl Resource {
    /// The bytes, for the one call that needs them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resource")
    }
}

/// The session's value out of a `Set-Cookie` header: visible ASCII that a `Cookie` header may hold.
fn cookie_of(set_cookie: &str) -> Option<String> {
    let pair = set_cookie.split(';').next()?;
    let (name, value) = pair.split_once('=')?;
    let allowed = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\');
    let good = name.trim() == COOKIE
        && (1..MAX_COOKIE_HEADER_BYTES - COOKIE.len()).contains(&value.len())
        && value.bytes().all(allowed);
    good.then(|| value.to_owned())
}

fn cookie_header(value: &str) -> String {
    format!("{COOKIE}={value}")
}

impl AwaitingChallenge {
    /// Takes the answer to the introduction, with the value of its `Set-Cookie` header.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn take(self, body: &[u8], set_cookie: Option<&str>) -> Result<Attesting, ClientError> {
        let challenge = message::read_challenge(body).map_err(ClientError::Message)?;
        let cookie = set_cookie.and_then(cookie_of).ok_or(ClientError::Cookie)?;
        Ok(Attesting { rules: self.rules, key: self.key, challenge, cookie })
    }
}

impl Attesting {
    fn runtime_data<T>(&self, with: impl FnOnce(&RuntimeData<'_>) -> T) -> T {
        with(&RuntimeData { nonce: &self.challenge.nonce, key: &self.key.public_key() })
    }

    /// The nonce for the evidence of devices, which is made first.
    #[must_use]
    pub fn device_nonce(&self) -> Nonce {
        self.runtime_data(|data| data.device_digest(self.challenge.algorithm).device_nonce())
    }

    /// What the TEE's evidence must commit to, given the text with the evidence of devices.
    #[must_use]
    pub fn digest(&self, additional_evidence: &str) -> RuntimeDigest {
        self.runtime_data(|data| data.primary_digest(self.challenge.algorithm, additional_evidence))
    }

    /// The value of the `Cookie` header to send with the attestation.
    #[must_use]
    pub fn cookie_header(&self) -> String {
        cookie_header(&self.cookie)
    }

    /// The body of the attestation with `primary_evidence` of the TEE, which commits to [`digest`](Self::digest), the text
    /// with the evidence of devices, and the TOML of the initialisation data where the guest was launched with some; and
    /// what waits for its answer.
    #[must_use]
    pub fn send(
        self,
        primary_evidence: &RawValue,
        additional_evidence: &str,
        init_data: Option<&str>,
    ) -> (Vec<u8>, AwaitingToken) {
        let init_data =
            init_data.map(|body| InitDataBody { format: "toml".to_owned(), body: body.to_owned() });
        let Self { rules, key, challenge, cookie } = self;
        let body = message::write_attestation(
            &challenge.nonce,
            &key.public_key(),
            primary_evidence,
            additional_evidence,
            init_data,
        );
        (body, AwaitingToken { rules, key, nonce: challenge.nonce, cookie })
    }
}

impl AwaitingToken {
    /// Takes the answer to the attestation at the time `at`, with the value of its `Set-Cookie` header.
    ///
    /// Establishes that a verifier whose key is pinned accepted evidence of the guest that holds this exchange's key, for
    /// this exchange's nonce.
    ///
    /// # Errors
    /// [`ClientError`]; the exchange is worth nothing then.
    pub fn take(self, body: &[u8], set_cookie: Option<&str>, at: Timestamp) -> Result<Attested, ClientError> {
        let token = message::read_token(body).map_err(ClientError::Message)?;
        let token = self.rules.accept(token, at).map_err(ClientError::Token)?;
        let token = token.demand(&self.key.public_key(), &self.nonce).map_err(ClientError::Token)?;
        // A server that keeps its session sends the same cookie again, or none.
        let cookie = match set_cookie {
            Some(header) => cookie_of(header).ok_or(ClientError::Cookie)?,
            None => self.cookie,
        };
        Ok(Attested { key: self.key, token, cookie })
    }
}

impl Attested {
    /// The token, which other relying parties take too.
    #[must_use]
    pub fn token(&self) -> &AcceptedToken {
        &self.token
    }

    /// The path to ask for a resource at, with `GET`.
    #[must_use]
    pub fn resource_path(resource: &ResourcePath) -> String {
        format!("{PREFIX}/resource/{resource}")
    }

    /// The value of the `Cookie` header to ask with.
    #[must_use]
    pub fn cookie_header(&self) -> String {
        cookie_header(&self.cookie)
    }

    /// Opens the answer to a request for a resource.
    ///
    /// Establishes only that it was encrypted to this exchange's key: that it comes from the server is for TLS to show.
    ///
    /// # Errors
    /// [`ClientError::Resource`].
    pub fn open(&self, body: &[u8]) -> Result<Resource, ClientError> {
        jwe::open(body, &self.key).map(Resource).map_err(ClientError::Resource)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_cookies_that_can_be_sent_back() {
        for (header, value) in [
            ("kbs-session-id=abc", "abc"),
            ("kbs-session-id=a.b-c_d=; Expires=Wed, 09 Jun 2027 10:18:14 GMT", "a.b-c_d="),
            (" kbs-session-id=abc;Path=/", "abc"),
        ] {
            assert_eq!(cookie_of(header).as_deref(), Some(value), "{header}");
        }
        let long = format!("kbs-session-id={}", "a".repeat(MAX_COOKIE_HEADER_BYTES));
        for header in [
            "",
            "kbs-session-id",
            "kbs-session-id=",
            "other=abc",
            "kbs-session-id=a b",
            "kbs-session-id=\"a\"",
            "kbs-session-id=a,b",
            "kbs-session-id=a\r\nx: y",
            "kbs-session-id=\u{e9}",
            &long,
        ] {
            assert_eq!(cookie_of(header), None, "{header}");
        }
    }
}
