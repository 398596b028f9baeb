//! The two values that stand for a step passed: authenticated, and accepted.

use anchorhold_rats::{Checks, Timestamp};

/// Claims whose signatures hold up to a trust anchor that the caller named.
///
/// Says that a device (or whoever holds a simulated root) stated them; not that anyone should like what they say.
/// Made only by the `authenticate` functions of this crate.
#[derive(Debug)]
pub struct Authentic<T> {
    pub(crate) claims: T,
    pub(crate) expires: Timestamp,
    pub(crate) simulated: bool,
    pub(crate) checks: Checks,
}

/// Authentic claims that a policy accepted, with the binding that the relying party expected.
///
/// Made only by the `appraise` functions of this crate. Says what held at the time of authentication; ask for new
/// evidence at the latest when [`expires`](Self::expires) has passed.
#[derive(Debug)]
pub struct Accepted<T> {
    authentic: Authentic<T>,
}

impl<T> Authentic<T> {
    /// What was stated.
    #[must_use]
    pub const fn claims(&self) -> &T {
        &self.claims
    }

    /// The end of the earliest validity among the inputs: certificates, revocation lists, collateral.
    #[must_use]
    pub const fn expires(&self) -> Timestamp {
        self.expires
    }

    /// Whether the roots are not the vendors'.
    #[must_use]
    pub const fn simulated(&self) -> bool {
        self.simulated
    }

    /// Every rule that was looked at.
    #[must_use]
    pub const fn checks(&self) -> &Checks {
        &self.checks
    }
}

impl<T> Accepted<T> {
    /// The result, if no rule failed in `checks`, which are those of both steps.
    pub(crate) fn judged(authentic: Authentic<T>, checks: Checks) -> Result<Self, crate::Refusal> {
        if checks.none_failed() {
            Ok(Self { authentic: Authentic { checks, ..authentic } })
        } else {
            Err(crate::Refusal::new(checks))
        }
    }

    /// What was stated and accepted.
    #[must_use]
    pub const fn claims(&self) -> &T {
        &self.authentic.claims
    }

    /// The end of the earliest validity among the inputs.
    #[must_use]
    pub const fn expires(&self) -> Timestamp {
        self.authentic.expires
    }

    /// Whether the roots are not the vendors'. Such a result protects nothing.
    #[must_use]
    pub const fn simulated(&self) -> bool {
        self.authentic.simulated
    }

    /// Every rule that was looked at, of authentication and appraisal. None failed.
    #[must_use]
    pub const fn checks(&self) -> &Checks {
        &self.authentic.checks
    }
}
