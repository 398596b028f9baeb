//! The Cedar policies that a release policy names. They are asked after a grant has passed and can only deny.
//!
//! A program that is built without the feature `cedar` puts no policy in force that names some, and does not open a state that has
//! such a policy.

use anchorhold_key_release::Grant;
use anchorhold_rats::{Checks, Timestamp};
use std::fmt;

/// Why Cedar policies cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CedarError {
    /// This program is built without them.
    NotBuilt,
    /// They are not read.
    Unreadable(String),
}

impl fmt::Display for CedarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBuilt => f.write_str("this program is built without Cedar policies"),
            Self::Unreadable(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for CedarError {}

/// Cedar policies that were read.
#[derive(Debug)]
pub struct Cedar {
    #[cfg(feature = "cedar")]
    stage: anchorhold_release_cedar::Stage,
    #[cfg(not(feature = "cedar"))]
    never: std::convert::Infallible,
}

#[cfg(feature = "cedar")]
impl Cedar {
    /// Reads policies and holds them to the schema.
    ///
    /// # Errors
    /// [`CedarError`].
    pub fn read(text: &str) -> Result<Self, CedarError> {
        let stage = anchorhold_release_cedar::Stage::read(text);
        stage.map(|stage| Self { stage }).map_err(|error| CedarError::Unreadable(error.to_string()))
    }

    /// What they say to a decision at `at` that a grant has passed. Where nothing can be said, that is a denial.
    #[must_use]
    pub fn judge(&self, grant: &Grant, at: Timestamp) -> Checks {
        let terms = grant.terms();
        self.stage.judge(&anchorhold_release_cedar::Granted {
            grant: grant.name(),
            model: (terms.model_id.as_str(), terms.version, &terms.kid),
            manifest: &terms.manifest_digest,
            claims: grant.claims(),
            at,
        })
    }
}

#[cfg(not(feature = "cedar"))]
impl Cedar {
    /// Refuses.
    ///
    /// # Errors
    /// [`CedarError::NotBuilt`].
    pub fn read(_: &str) -> Result<Self, CedarError> {
        Err(CedarError::NotBuilt)
    }

    /// Never: there is no such value.
    #[must_use]
    pub fn judge(&self, _: &Grant, _: Timestamp) -> Checks {
        match self.never {}
    }
}
