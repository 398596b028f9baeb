//! The server's role: what to answer a guest, without sockets, state or clock.
//!
//! 1. [`Server::introduce`] answers `POST /kbs/v0/auth`.
//! 2. [`Server::read_attestation`] reads `POST /kbs/v0/attest`. The caller judges the evidence with
//!    `anchorhold-verifier`, marks the nonce as used, and gives what the verifier accepted to [`Attesting::accept`];
//!    [`Server::admit`] then makes the token.
//! 3. [`Server::session`] recognises a guest that asks for a resource; the caller decides, and
//!    [`seal`](crate::seal) encrypts the resource to [`TokenSession::key`].

use crate::ear::{IssuedFor, Pass, TokenIssuer, TokenSession};
use crate::message::{self, MessageError};
use crate::session::{COOKIE, SessionError, session_cookie};
use crate::{HashAlgorithm, InitData, Problem, ReadEvidence, RuntimeData, Session, SessionKey, TeePublicKey};
use anchorhold_evaluation::Evaluation;
use anchorhold_rats::{Evidence, Expected, Timestamp};
use anchorhold_verifier::AttestationResult;

/// What every path of the protocol begins with.
pub const PREFIX: &str = "/kbs/v0";

/// The keys of a server.
#[derive(Debug)]
pub struct Server {
    sessions: SessionKey,
    tokens: TokenIssuer,
}

/// An answer with a cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// JSON.
    pub body: Vec<u8>,
    /// The value of `Set-Cookie`.
    pub set_cookie: String,
}

/// An attestation that was read. Nothing of it is proven but that its nonce is ours.
#[derive(Debug)]
pub struct Attesting {
    session: Session,
    nonce: String,
    key: TeePublicKey,
    evidence: ReadEvidence,
    expected: Expected,
    init_data: Option<InitData>,
}

/// An attestation whose evidence was accepted.
#[derive(Debug)]
pub struct Accepted {
    attesting: Attesting,
    evaluation: Evaluation,
    devices: usize,
}

impl From<&MessageError> for Problem {
    fn from(error: &MessageError) -> Self {
        match error {
            MessageError::Version => Self::Version,
            MessageError::Tee | MessageError::Key(_) => Self::Unsupported,
            MessageError::InitData(_) => Self::InitData,
            MessageError::TooLong { .. } | MessageError::Malformed => Self::Malformed,
        }
    }
}

fn set_cookie(value: &str, lifetime_s: i64) -> String {
    format!("{COOKIE}={value}; Max-Age={}; Path={PREFIX}; HttpOnly; Secure", lifetime_s.max(0))
}

impl Server {
    /// A server with these keys.
    #[must_use]
    pub const fn new(sessions: SessionKey, tokens: TokenIssuer) -> Self {
        Self { sessions, tokens }
    }

    /// The key that signs tokens.
    #[must_use]
    pub const fn tokens(&self) -> &TokenIssuer {
        &self.tokens
    }

    /// Answers an introduction at the time `at`. Nothing is stored, so a flood costs no memory.
    ///
    /// # Errors
    /// [`Problem`].
    pub fn introduce(&self, body: &[u8], at: Timestamp) -> Result<Answer, Problem> {
        let tee = message::read_auth(body).map_err(|error| Problem::from(&error))?;
        let issued = self.sessions.issue(tee, at).map_err(|_| Problem::Unavailable)?;
        let lifetime_s = issued.expires.unix_seconds() - at.unix_seconds();
        let set_cookie = set_cookie(&issued.cookie, lifetime_s);
        Ok(Answer { body: message::write_challenge(&issued.nonce), set_cookie })
    }

    /// Reads an attestation with the value of its `Cookie` header at the time `at`.
    ///
    /// Establishes that the nonce is one of this server that is not over, for the kind of TEE that the guest named.
    ///
    /// # Errors
    /// [`Problem`].
    pub fn read_attestation(
        &self,
        body: &[u8],
        cookie_header: Option<&str>,
        at: Timestamp,
    ) -> Result<Attesting, Problem> {
        let cookie = cookie_header.and_then(session_cookie).ok_or(Problem::Session)?;
        let read = message::read_attestation(body).map_err(|error| Problem::from(&error))?;
        let session = self.sessions.recognise(&read.nonce, cookie, at).map_err(|error| match error {
            SessionError::Foreign => Problem::Session,
            SessionError::Expired => Problem::SessionExpired,
        })?;
        let evidence = ReadEvidence::read(session.tee, read.primary_evidence, &read.additional_evidence)
            .map_err(|_| Problem::Unsupported)?;
        let init_data = read.init_data.map(|init_data| InitData::read(&init_data.format, &init_data.body));
        let init_data = init_data.transpose().map_err(|_| Problem::InitData)?;
        let runtime_data = RuntimeData { nonce: &read.nonce, key: &read.key };
        // No hash function was chosen in the challenge, so it is the protocol's own.
        let expected = runtime_data.expected(HashAlgorithm::default(), &read.additional_evidence);
        Ok(Attesting { session, nonce: read.nonce, key: read.key, evidence, expected, init_data })
    }

    /// Makes the token of an accepted guest at the time `at`: the answer to its attestation. The cookie is the token, so
    /// that a guest is recognised by either, by any server with the same keys.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] when nothing was signed.
    pub fn admit(&self, accepted: &Accepted, pass: Pass, at: Timestamp) -> Result<Answer, Problem> {
        let Accepted { attesting, evaluation, devices } = accepted;
        let issued_for = IssuedFor {
            evaluation,
            devices: *devices,
            nonce: &attesting.nonce,
            key: &attesting.key,
            report_data: attesting.expected.report_data,
            init_data: attesting.init_data.as_ref().map(InitData::digest),
            pass,
        };
        let token = self.tokens.issue(issued_for, at).map_err(|_| Problem::Unavailable)?;
        let set_cookie = set_cookie(&token, crate::ear::TOKEN_LIFETIME_S);
        Ok(Answer { body: message::write_token(&token), set_cookie })
    }

    /// Recognises a guest by the values of its `Authorization` and `Cookie` headers at the time `at`. A bearer token goes
    /// before a cookie.
    ///
    /// # Errors
    /// [`Problem::TokenMissing`] or [`Problem::Token`].
    pub fn session(
        &self,
        authorization: Option<&str>,
        cookie_header: Option<&str>,
        at: Timestamp,
    ) -> Result<TokenSession, Problem> {
        let token = match authorization {
            Some(header) => header.strip_prefix("Bearer ").ok_or(Problem::TokenMissing)?,
            None => cookie_header.and_then(session_cookie).ok_or(Problem::TokenMissing)?,
        };
        self.tokens.read(token, at)
    }
}

impl Attesting {
    /// The nonce, to be used once, and until when it is to be remembered.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// What the guest sent, to be judged.
    #[must_use]
    pub fn evidence(&self) -> &Evidence {
        &self.evidence.evidence
    }

    /// The evidence with what came beside it.
    #[must_use]
    pub fn read_evidence(&self) -> &ReadEvidence {
        &self.evidence
    }

    /// What the evidence must show.
    #[must_use]
    pub fn expected(&self) -> &Expected {
        &self.expected
    }

    /// Takes what the verifier accepted, at the time `at`.
    ///
    /// Establishes that the evidence holds the digest of the initialisation data that came, if some came, and that the
    /// paravisor's claims hold the report data where its evidence says so. Presumes that `result` is of
    /// [`evidence`](Self::evidence) and was judged for [`expected`](Self::expected).
    ///
    /// # Errors
    /// [`Problem::InitData`] or [`Problem::Binding`].
    pub fn accept(self, result: AttestationResult, at: Timestamp) -> Result<Accepted, Problem> {
        let claims = result.claims();
        if self.init_data.as_ref().is_some_and(|init_data| !init_data.is_bound_to(claims)) {
            return Err(Problem::InitData);
        }
        let user_data = claims.paravisor.as_ref().and_then(|vtpm| vtpm.claims().user_data);
        if self.evidence.binds_user_data && user_data != Some(*self.expected.report_data.as_bytes()) {
            return Err(Problem::Binding);
        }
        let (devices, simulated) = (claims.gpus.len(), result.simulated());
        let evaluation = Evaluation::of(self.evidence.evidence.tee, &Ok(result), at, simulated);
        Ok(Accepted { attesting: self, evaluation, devices })
    }
}
