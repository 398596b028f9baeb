//! One verification of a server, from the connection to the verdict.

use crate::{RelyingParty, judge};
use anchorhold_channel::client::{Error, Limits, Target, connect_unverified_for_attestation};
use anchorhold_channel::document::{Document, Presented};
use anchorhold_channel::{AttestedServer, Verdict};
use anchorhold_rats::{Checks, Nonce, Timestamp};
use serde::Serialize;
use std::fmt;

/// The longest text of a reason, in bytes.
const MAX_TEXT_BYTES: usize = 512;

/// How a server stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Nobody has looked yet.
    Unverified,
    /// Every rule passed, and the evidence has not ended.
    Accepted,
    /// It is not shown that the evidence is genuine, fresh and made by whoever holds the connection.
    NotAuthentic,
    /// Authentic, and the policy does not accept it.
    NotAcceptable,
    /// Something that vendors must say is missing, stale or names a certificate of the chain.
    EndorsementsUnavailable,
    /// There was no answer to judge.
    Unreachable,
    /// There is no policy in force to judge by.
    NoPolicy,
    /// It was accepted, and goes back to something older than what was accepted before.
    Rollback,
    /// It was accepted, and has not been looked at since in time.
    Lapsed,
}

impl From<Verdict> for Standing {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Accepted => Self::Accepted,
            Verdict::NotAuthentic => Self::NotAuthentic,
            Verdict::NotAcceptable => Self::NotAcceptable,
            Verdict::EndorsementsUnavailable => Self::EndorsementsUnavailable,
        }
    }
}

/// Why a server is not accepted. Holds nothing of any request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// How it stands; not [`Standing::Accepted`].
    pub standing: Standing,
    /// The code of the rule that failed, such as `snp_measurement`.
    pub code: String,
    /// What was wanted and what came.
    pub text: String,
}

impl Reason {
    pub(crate) fn new(standing: Standing, code: &str, text: impl fmt::Display) -> Self {
        // Parts of it may be the peer's words, and people read it on terminals.
        let text = text.to_string();
        let plain = text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' });
        Self { standing, code: code.to_owned(), text: plain.take(MAX_TEXT_BYTES).collect() }
    }

    fn of_checks(checks: &Checks) -> Self {
        let standing = Verdict::of(checks).into();
        match checks.failed().next() {
            Some(check) => Self::new(
                standing,
                &check.code,
                format!("wanted {}, observed {}", check.wanted, check.observed),
            ),
            None => Self::new(Standing::NoPolicy, "no_policy", "there is no policy to judge by"),
        }
    }

    /// A connection that is not the attested guest's, or no connection.
    pub(crate) fn of_connection(error: &Error) -> Self {
        match error {
            Error::OtherKey { .. } => Self::new(Standing::NotAuthentic, "tls_key_bound", error),
            Error::Authenticator(_) => Self::new(Standing::NotAuthentic, "authenticator", error),
            Error::Status { what: "authenticator", .. } => {
                Self::new(Standing::NotAuthentic, "authenticator", error)
            }
            Error::Expired { .. } => Self::new(Standing::Lapsed, "expired", error),
            _ => Self::new(Standing::Unreachable, "unreachable", error),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.text)
    }
}

impl std::error::Error for Reason {}

/// A server that was accepted, and for which moment.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) server: Box<AttestedServer>,
    pub(crate) at: Timestamp,
}

/// Fetches the document over a fresh nonce, judges it for the connection's key, and has the connection shown to end in
/// the guest.
pub(crate) async fn verify(
    target: &Target,
    relying: &impl RelyingParty,
    limits: &Limits,
) -> Result<Verified, Reason> {
    let no_policy = |text| Reason::new(Standing::NoPolicy, "no_policy", text);
    let trust = relying.trust().await.map_err(no_policy)?;
    let nonce = Nonce::random().map_err(|_| Reason::of_connection(&Error::Random))?;
    let broken = |error: Error| Reason::of_connection(&error);
    let mut connection = connect_unverified_for_attestation(target, limits).await.map_err(broken)?;
    let bytes = connection.fetch_document(&nonce).await.map_err(broken)?;
    let at = relying.now();
    let endorsements = match Document::from_json(&bytes) {
        Ok(document) => relying.endorse(document.evidence(), &trust, at).await.map_err(|text| {
            Reason::new(Standing::EndorsementsUnavailable, "endorsements_unavailable", text)
        })?,
        // What cannot be read is refused below, by the judgement, which says more about it.
        Err(_) => Default::default(),
    };
    let presented = Presented { document: &bytes, nonce, tls_key: connection.tls_key() };
    let judged = judge(&presented, &endorsements, &trust, at);
    let server = judged.map_err(|refusal| {
        refusal.map_or_else(|| no_policy("there is no policy".to_owned()), |r| Reason::of_checks(r.checks()))
    })?;
    connection.authenticate(&server).await.map_err(broken)?;
    Ok(Verified { server, at })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_short_and_nothing_that_a_terminal_obeys() {
        let reason =
            Reason::new(Standing::Unreachable, "unreachable", "\u{1b}[2J".to_owned() + &"x".repeat(9000));
        assert_eq!(reason.text.len(), MAX_TEXT_BYTES);
        assert!(reason.to_string().starts_with("unreachable: ?[2Jx"));
    }
}
