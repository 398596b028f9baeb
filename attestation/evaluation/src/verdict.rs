//! The verdict in one word.

use anchorhold_rats::{Checks, Stage};
use serde::Serialize;
use std::fmt;

/// How a verification ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every rule passed.
    Accepted,
    /// It is not shown that the evidence is genuine, fresh and made by whoever holds the connection's key.
    NotAuthentic,
    /// A revocation list or other signed side input is missing, stale or names a certificate of the chain.
    EndorsementsUnavailable,
    /// Authentic, and the policy does not accept it.
    NotAcceptable,
}

impl Verdict {
    /// The verdict for these checks. Of several failures the one that says least about the peer decides: what is not
    /// authentic cannot be called unacceptable.
    #[must_use]
    pub fn of(checks: &Checks) -> Self {
        let rank = |stage| match stage {
            Stage::Parse
            | Stage::Signature
            | Stage::Chain
            | Stage::Identity
            | Stage::Binding
            | Stage::Eventlog => (0, Self::NotAuthentic),
            Stage::Collateral => (1, Self::EndorsementsUnavailable),
            Stage::Tcb | Stage::Policy | Stage::Rim => (2, Self::NotAcceptable),
        };
        let first = checks.failed().map(|check| rank(check.stage)).min_by_key(|(rank, _)| *rank);
        first.map_or(Self::Accepted, |(_, verdict)| verdict)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accepted => "accepted",
            Self::NotAuthentic => "NOT AUTHENTIC",
            Self::EndorsementsUnavailable => "ENDORSEMENTS UNAVAILABLE",
            Self::NotAcceptable => "NOT ACCEPTABLE",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(stages: &[Stage]) -> Checks {
        let mut checks = Checks::new();
        checks.record((Stage::Parse, "passed"), true, "", "");
        for stage in stages {
            checks.record((*stage, "failed"), false, "", "");
        }
        checks
    }

    #[test]
    fn the_failure_that_says_least_decides() {
        for (stages, verdict) in [
            (&[][..], Verdict::Accepted),
            (&[Stage::Policy], Verdict::NotAcceptable),
            (&[Stage::Policy, Stage::Collateral], Verdict::EndorsementsUnavailable),
            (&[Stage::Policy, Stage::Collateral, Stage::Binding], Verdict::NotAuthentic),
            (&[Stage::Signature, Stage::Tcb], Verdict::NotAuthentic),
        ] {
            assert_eq!(Verdict::of(&failing(stages)), verdict, "{stages:?}");
        }
    }
}
