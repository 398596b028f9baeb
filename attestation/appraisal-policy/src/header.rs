//! What every file of this crate begins with.

use crate::{PolicyError, Reader, Rule};
use anchorhold_rats::Timestamp;
use std::fmt;

const FORMAT: u64 = 1;
/// The longest time from `issued` to `expires`, in days: two years. A file that outlives its reviewers is no file that
/// expires.
pub const MAX_VALIDITY_DAYS: i64 = 731;
const A_TIME: &str = "a time such as \"2027-01-31T00:00:00Z\"";

/// Name, version and time of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What operators call it.
    pub id: String,
    /// Its version. Whoever has seen a greater one of the same id refuses it.
    pub version: u64,
    /// From when on it holds.
    pub issued: Timestamp,
    /// From when on it does not hold any more.
    pub expires: Timestamp,
    /// What it is for, for people.
    pub description: String,
}

/// A file that does not hold at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotInForce {
    /// The time is before it was issued.
    NotYet {
        /// From when on it holds.
        issued: Timestamp,
    },
    /// The time is at or after its end.
    Expired {
        /// Its end.
        expires: Timestamp,
    },
}

impl fmt::Display for NotInForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotYet { issued } => write!(f, "not in force before {issued}"),
            Self::Expired { expires } => write!(f, "expired at {expires}"),
        }
    }
}

impl std::error::Error for NotInForce {}

impl Header {
    pub(crate) fn read(file: &mut Reader) -> Result<Self, PolicyError> {
        if file.number::<u64>("format", "1")? != FORMAT {
            return Err(file.wrong("format", "1"));
        }
        let header = Self {
            id: file.name("id")?,
            version: file.number("version", "a whole number, 0 or more")?,
            issued: file.parsed("issued", A_TIME)?,
            expires: file.parsed("expires", A_TIME)?,
            description: file.sentence("description")?,
        };
        if header.expires <= header.issued {
            return Err(file.wrong("expires", "after issued"));
        }
        if header.expires > header.issued.plus_seconds(MAX_VALIDITY_DAYS * 86_400) {
            return Err(file.wrong("expires", "at most 731 days after issued"));
        }
        Ok(header)
    }

    /// Establishes that the file holds at the time `at`.
    ///
    /// # Errors
    /// [`NotInForce`] before it was issued and from its end on.
    pub fn require_at(&self, at: Timestamp) -> Result<(), NotInForce> {
        if at < self.issued {
            return Err(NotInForce::NotYet { issued: self.issued });
        }
        if at >= self.expires {
            return Err(NotInForce::Expired { expires: self.expires });
        }
        Ok(())
    }

    pub(crate) fn rules(&self) -> Vec<Rule> {
        let version = i64::try_from(self.version).unwrap_or(i64::MAX);
        vec![
            Rule::says("format", 1, "the format of this file"),
            Rule::says("id", self.id.as_str(), "the name of this file"),
            Rule::says("version", version, "its version; an older one than the last seen is refused"),
            Rule::says("issued", self.issued.to_string(), "from when on it holds"),
            Rule::at_most("expires", self.expires.to_string(), "from when on it accepts nothing"),
            Rule::says("description", self.description.as_str(), "what it is for"),
        ]
    }
}
