//! The one way in which this crate says no.

use anchorhold_rats::{Check, Checks, Code, Outcome, Stage};
use std::fmt;

/// Evidence was refused: at least one rule failed. Lists every rule that was looked at, passed ones too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    checks: Checks,
}

impl Refusal {
    /// The refusal for these checks, one of which failed.
    pub(crate) fn new(checks: Checks) -> Self {
        Self { checks }
    }

    /// The refusal for one broken rule.
    pub(crate) fn of(code: Code, wanted: impl Into<String>, observed: impl Into<String>) -> Self {
        let mut checks = Checks::new();
        checks.record(code, false, wanted, observed);
        Self { checks }
    }

    /// All rules that were looked at, in order.
    #[must_use]
    pub const fn checks(&self) -> &Checks {
        &self.checks
    }

    /// All rules that were looked at, in order, by value.
    #[must_use]
    pub fn into_checks(self) -> Checks {
        self.checks
    }

    /// The code of the first rule that failed.
    #[must_use]
    pub fn code(&self) -> &str {
        self.first().map_or("", |check| check.code.as_ref())
    }

    /// The stage of the first rule that failed.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.first().map_or(Stage::Parse, |check| check.stage)
    }

    fn first(&self) -> Option<&Check> {
        self.checks.all().iter().find(|check| check.outcome == Outcome::Failed)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, check) in self.checks.failed().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{}: wanted {}, observed {}", check.code, check.wanted, check.observed)?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}
